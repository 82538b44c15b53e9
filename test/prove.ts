/**
 * The collector's promises, held while things break at random.
 *
 *     npm run prove                                   a minute, with a seed of its own
 *     npm run prove -- --seed 7 --for 10m             the same faults and lines again; a soak
 *     npm run prove -- --mariadb                      into a MariaDB, of Debian's package mariadb-server-core
 *     npm run prove -- --pgbouncer                    the same through a PgBouncer in transaction mode
 *     npm run prove -- --tls --poison --flood --hosts with TLS to the database, and resets in its handshakes; a trigger
 *                                                     that refuses lines with 21 SQLSTATEs; 900 peers that flood with
 *                                                     tiny frames; two hosts whose roles switch. Each alone as well
 *     PROVE_DATABASE_URL=postgres://… npm run prove   on a server of yours (a superuser's URL), which is not stopped
 *
 *     senders ─► collector ─► Network ─► PostgreSQL     one lane of faults breaks the collector, another what is behind it
 *
 * Every line names its sender, connection and number, and its bytes follow from those. At the end nothing is broken any
 * more, the collector drains, and every row is held against what was sent:
 * - each reply is the one due to its line, and each line that was answered is stored, or a dead letter that our CHECK or our trigger refused;
 * - nothing is there twice; what a connection brought is there in its order, from its first line on, byte for byte;
 * - a stop takes no longer than --drain-timeout, a second collector is refused, none ends by itself;
 * - created_at is the collector's clock, which is set back as well: by more than a minute, it follows, else it goes on;
 * - a sync that fails ends it, with a message; without database and disk it waits, and in a soak neither its memory nor its
 *   file descriptors grow;
 * - its log has no line twice within a minute, but what a start logs, and no stack trace.
 * A seed repeats the faults, their order and the lines; what the kernel makes of them differs from run to run.
 */
import { readdirSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SECOND, seeded } from "./support/basics.ts";
import type { Random } from "./support/basics.ts";
import { startPgBouncer } from "./support/pgbouncer.ts";
import { freePort } from "./support/processes.ts";
import { Collector } from "./prove/collector.ts";
import { Database } from "./prove/database.ts";
import { MariaDatabase } from "./prove/mariadb.ts";
import { faultsBefore, faultsBehind, stopInTime } from "./prove/faults.ts";
import type { Fault } from "./prove/faults.ts";
import { Injection } from "./prove/injection.ts";
import { CALM_S, Meter } from "./prove/meter.ts";
import { Network } from "./prove/network.ts";
import { flagsOf, report } from "./prove/report.ts";
import { Complaints, LONG_RUN_MS, MAX_WAIT_MS, countUp, elapsed, orComplain, print } from "./prove/run.ts";
import type { Run, Settings } from "./prove/run.ts";
import { Flood, STYLES, Sender } from "./prove/senders.ts";
import { takeStock } from "./prove/stock.ts";

async function main(): Promise<number> {
  const settings = readCommandLine();
  const { forMs, seed } = settings;
  const folder = await mkdtemp(join(tmpdir(), "collector-prove-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const complaints = new Complaints();
  const database = settings.isMariaDb ? await MariaDatabase.open(folder) : await Database.open(folder, settings);
  print(`${flagsOf(settings)}: ${database.name}, Node ${process.version}`);
  setTimeout(() => fail(new Error("Cannot finish: something is stuck")), forMs + 10 * MAX_WAIT_MS).unref();
  const target = settings.isPooled ? (await startPgBouncer(folder, database.url)).url : database.url;
  const network = await Network.before(target, settings);
  const injection = new Injection(join(folder, "injected"), forMs);
  const [port, dataDir] = [await freePort(), join(folder, "data")];
  const place = {
    dataDir,
    port,
    databaseUrl: network.url,
    preload: injection.preload,
    mayBeFull: settings.isFlooded,
    complaints,
  };
  const collector = new Collector(place);
  const senders = STYLES.map((style, index) => new Sender(style, index, seed, place));
  const parts = { database, network, injection, collector, senders, flood: new Flood(port), complaints };
  await prove({ ...settings, ...parts, startedAt: Date.now(), counts: new Map<string, number>() });
  await database.close();
  return complaints.all.length;
}

async function prove(run: Run): Promise<void> {
  const { collector, senders, complaints } = run;
  await collector.start();
  const meter = new Meter();
  const looking = setInterval(() => meter.look(run), SECOND);
  const sending = senders.map((sender) => sender.run());
  await breakThings(run, meter);
  print(`${elapsed(run)}  nothing is broken any more: the senders end`);
  for (const sender of senders) sender.stop();
  await orComplain(Promise.all(sending), "a sender waits for its replies", complaints);
  await meter.lookWhileWaiting(run, "close");
  clearInterval(looking);
  await drain(run);
  report(run, await takeStock(run), meter);
}

function readCommandLine(): Settings {
  const fresh = { type: "string", default: String(Math.floor(Math.random() * 1e6)) } as const;
  const flag = { type: "boolean", default: false } as const;
  const flags = { mariadb: flag, pgbouncer: flag, tls: flag, poison: flag, flood: flag, hosts: flag };
  const { values } = parseArgs({ options: { seed: fresh, for: { type: "string", default: "60s" }, ...flags } });
  const {
    seed,
    for: time,
    mariadb: isMariaDb,
    pgbouncer: isPooled,
    tls: isTls,
    poison,
    flood,
    hosts: hasHosts,
  } = values;
  const [, digits, unit = ""] = /^(\d{1,6})(s|m|h)$/.exec(time) ?? [];
  const forMs = Number(digits) * ({ s: 1, m: 60, h: 3600 }[unit] ?? NaN) * SECOND;
  if (!(forMs > 0)) throw new Error(`Cannot use --for "${time}": allowed is a time, such as 60s or 10m`);
  if (!/^\d{1,9}$/.test(seed)) throw new Error(`Cannot use --seed "${seed}": allowed is a whole number`);
  if (isPooled && hasHosts)
    throw new Error("Cannot use --hosts with --pgbouncer: its sessions outlive a switch of roles");
  if (isMariaDb && (isPooled || isTls || poison || hasHosts))
    throw new Error("Cannot use --mariadb with --pgbouncer, --tls, --poison or --hosts: they are PostgreSQL's");
  return { seed: Number(seed), forMs, isMariaDb, isPooled, isTls, isPoisoned: poison, isFlooded: flood, hasHosts };
}

/** A long run lets one collector live from its third on, and looks at it whenever nothing is broken. */
async function breakThings(run: Run, meter: Meter): Promise<void> {
  const { seed, forMs, startedAt } = run;
  const isLong = forMs >= LONG_RUN_MS;
  const [random, randomBehind] = [seeded(seed), seeded(seed + 1)];
  const breakUntil = (endsAt: number, mayEnd: boolean) =>
    Promise.all([
      breakOneByOne(run, faultsBefore(run, mayEnd), endsAt, 4 * SECOND, random),
      breakOneByOne(run, faultsBehind(run), endsAt, 1.5 * SECOND, randomBehind),
    ]);
  const restMs = isLong ? (2 / 3) * forMs : 0;
  const looks = isLong ? Math.max(3, Math.floor(restMs / (60 * SECOND))) : 0;
  await breakUntil(startedAt + forMs - restMs, true);
  for (let left = looks; left > 0; left--) {
    await meter.lookWhileCalm(run);
    await breakUntil(startedAt + forMs - (restMs * (left - 1)) / looks - CALM_S * SECOND, false);
  }
  if (isLong) await meter.lookWhileCalm(run);
}

async function breakOneByOne(run: Run, faults: Fault[], endsAt: number, pauseMs: number, random: Random) {
  for (;;) {
    await sleep(random() * pauseMs);
    if (Date.now() >= endsAt) return;
    const [, name, inflict] = choose(faults, random);
    const holdMs = Math.round(300 + random() * 3500);
    print(`${elapsed(run)}  ${name}`);
    const isDone = await inflict(run, holdMs, random);
    countUp(run.counts, isDone === false ? `${name}: nothing came by` : name);
  }
}

function choose(faults: Fault[], random: Random): Fault {
  let left = random() * faults.reduce((sum, [weight]) => sum + weight, 0);
  return faults.find(([weight]) => (left -= weight) < 0) as Fault;
}

/** Stops the collector, and lets the next one drain what is left; one more must then have nothing to add. */
async function drain(run: Run): Promise<void> {
  const { collector, complaints } = run;
  await stopInTime(run);
  for (const drainTimeout of ["60s", "60s"]) {
    await collector.start(["--drain-timeout", drainTimeout]);
    await orComplain(collector.end("SIGTERM"), "the drain at the end takes over a minute", complaints);
    if (!collector.lastLines.includes("stopped: all lines are stored")) complaints.push("did not drain at the end");
  }
  const journal = readdirSync(join(collector.place.dataDir, "journal"));
  if (journal.some((name) => name.endsWith(".bad")))
    complaints.push("set a segment aside as .bad, and none was damaged");
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
}

main()
  .then((broken) => process.exit(broken === 0 ? 0 : 1))
  .catch(fail);
