/**
 * Others that take lines over TCP and store them in PostgreSQL, in one run with the collector: rsyslog with ompgsql,
 * syslog-ng with sql(), and the Python program that the collector replaces. They are Debian's packages, unpacked into the
 * run's folder without root; where these can't be had, the row says why. Their configurations are in bench/peers/.
 *
 * Each gets the same lines over 4 connections, as fast as it takes them; the others store into a table without an index
 * or partitions, which costs less than the collector's. Each is measured three times, with new data:
 * - from the first byte sent to the last commit;
 * - killed with -9 while it gets lines, half a second after it has stored the first ones, and started again;
 * - with the server stopped for 5 s when a quarter of the lines is stored.
 * A line is lost if its sender could consider it delivered, and it is not in the table at the end. Delivered is what was
 * acknowledged, where there are acknowledgements; else what the system took from the sender.
 */
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type postgres from "postgres";
import { SECOND } from "../test/support/basics.ts";
import { ROOT } from "../test/support/files.ts";
import { cpuMs, freePort, isListening, launch, readProc } from "../test/support/processes.ts";
import type { PostgresServer } from "../test/support/server.ts";
import { startCollector } from "./collectors.ts";
import { dropTables, schemaIn } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { clientOf, count, perSecond, rounded, say, waitFor } from "./run.ts";
import type { Load } from "./sender.ts";
import { startSending, sum } from "./sender.ts";

const LOAD: Load = { title: "syslog, RFC 5424", kind: "numbered", connections: 4 };
const KILL_AFTER_MS = 500;
const OUTAGE_MS = 5 * SECOND;
const POLL_MS = 50;
const QUIET_MS = 600; // without a commit, before the rows are counted
const GIVEN_UP_MS = 5 * SECOND; // without a statement after a fault: what is not stored now is lost
const LIBRARIES = "usr/lib/x86_64-linux-gnu";

interface Running {
  pid: number;
  port: number;
  kill(): Promise<unknown>;
}

interface Peer {
  name: string;
  /** Share of the run's lines that it gets, so that each takes a few seconds. */
  share: number;
  table: "logs" | "peer_logs";
  isAcknowledging: boolean;
  /** Gets it ready in a folder. Throws with the reason why it can't. */
  prepare(folder: string): Promise<void>;
  /** Starts it, again if the data folder is not empty; resolves when it listens. */
  start(bench: Bench, folder: string, data: string): Promise<Running>;
}

const rsyslog = (title: string, share: number, queues: Record<string, string>): Peer => ({
  name: `rsyslog, ompgsql, ${title}`,
  share,
  table: "peer_logs",
  isAcknowledging: false,
  prepare: async (folder) => {
    await unpack(folder, ["rsyslog", "rsyslog-pgsql", "libestr0", "libfastjson4"]);
    await promisify(execFile)(join(folder, "usr/sbin/rsyslogd"), ["-v"], { env: environmentOf(folder) });
  },
  start: async (bench, folder, data) => {
    const { file, port } = await configure(bench, "rsyslog.conf", data, queues);
    const words = ["-n", "-f", file, "-i", join(data, "pid"), "-M", join(folder, LIBRARIES, "rsyslog")];
    return startPeer(join(folder, "usr/sbin/rsyslogd"), words, port, { cwd: folder, env: environmentOf(folder) });
  },
});

const syslogNg: Peer = {
  name: "syslog-ng, sql(), reliable disk buffer",
  share: 0.025,
  table: "peer_logs",
  isAcknowledging: false,
  prepare: async (folder) => {
    await unpack(folder, ["syslog-ng-core", "syslog-ng-mod-sql", "libdbi1", "libdbd-pgsql", "libivykis0", "libnet1"]);
    await lookForDriversIn(join(folder, LIBRARIES));
    await promisify(execFile)(join(folder, "usr/sbin/syslog-ng"), ["--version"], { env: environmentOf(folder) });
  },
  start: async (bench, folder, data) => {
    const { file, port } = await configure(bench, "syslog-ng.conf", data, {});
    const files = ["-R", join(data, "persist"), "-c", join(data, "control"), "-p", join(data, "pid")];
    const words = ["-F", "--no-caps", "-f", file, ...files, `--module-path=${modulesOf(folder)}`];
    const options = { cwd: join(folder, LIBRARIES), env: environmentOf(folder) };
    return startPeer(join(folder, "usr/sbin/syslog-ng"), words, port, options);
  },
};

const original: Peer = {
  name: "the Python original, asyncpg",
  share: 0.003,
  table: "peer_logs",
  isAcknowledging: true,
  prepare: async (folder) => {
    await unpack(folder, ["python3-asyncpg"]);
    await promisify(execFile)("/usr/bin/python3", ["-c", "import asyncpg"], { env: environmentOf(folder) });
  },
  start: async (bench, folder, _data) => {
    const port = await freePort();
    const words = [join(ROOT, "bench/peers/original.py"), String(port), bench.url];
    return startPeer("/usr/bin/python3", words, port, { cwd: folder, env: environmentOf(folder) });
  },
};

const ours: Peer = {
  name: "collector",
  share: 0.5,
  table: "logs",
  isAcknowledging: true,
  prepare: async () => {},
  start: async (bench, _folder, data) => {
    const collector = await startCollector(bench, bench.url, { dataDir: data });
    await schemaIn(bench.sql);
    return collector;
  },
};

const PEERS = [
  ours,
  rsyslog("queue in memory", 0.05, { MAIN_QUEUE: "FixedArray", QUEUE: "LinkedList" }),
  rsyslog("queue on disk", 0.025, { MAIN_QUEUE: "Direct", QUEUE: "Disk" }),
  syslogNg,
  original,
];

const HEAD = [
  "",
  "lines",
  "rows/s",
  "CPU a row: itself",
  "CPU a row: PostgreSQL",
  "delivered is what was",
  "lost at a `kill -9`",
  "lost in an outage of 5 s",
];

export async function measurePeers(bench: Bench): Promise<Table> {
  const { server } = bench;
  if (!server) throw new Error("Cannot measure peers on a server of yours, as it is stopped; unset BENCH_DATABASE_URL");
  const rows: string[][] = [];
  for (const [at, peer] of PEERS.entries()) {
    const folder = join(bench.folder, `peer-${at}`);
    await mkdir(folder);
    const problem = await peer.prepare(folder).then(() => undefined, reasonOf);
    rows.push(problem ? [`${peer.name}: skipped, ${problem}`] : await measurePeer(bench, server, peer, folder));
  }
  return { title: "beside others, into the same server", head: HEAD, rows };
}

const reasonOf = (error: unknown) =>
  String((error as { stderr?: string }).stderr || error)
    .trim()
    .split("\n")
    .at(-1);

async function measurePeer(bench: Bench, server: PostgresServer, peer: Peer, folder: string): Promise<string[]> {
  const lines = Math.floor(bench.lines * peer.share);
  const rate = await rateOf(bench, server, peer, folder, lines);
  say(`${peer.name}: ${count(rate.rowsPerS)} rows/s`);
  const killed = await lossesAt(bench, peer, folder, 2 * bench.lines, async (running, data) => {
    await whenStoring(bench.sql, peer, 1);
    await sleep(KILL_AFTER_MS);
    await running.kill();
    return peer.start(bench, folder, data);
  });
  say(`${peer.name}: ${killed} at a kill -9`);
  const some = Math.ceil(Math.min(lines, rate.rowsPerS * 4)); // on a slow machine it takes no longer
  const outage = await lossesAt(bench, peer, folder, some, async (running) => {
    await whenStoring(bench.sql, peer, some / 4);
    await server.stop();
    await sleep(OUTAGE_MS);
    await server.start();
    return running;
  });
  say(`${peer.name}: ${outage} in an outage`);
  const delivered = peer.isAcknowledging ? "acknowledged" : "sent";
  return [peer.name, count(lines), rounded(rate.rowsPerS), rate.own, rate.servers, delivered, killed, outage];
}

// ---- Rate ------------------------------------------------------------------

async function rateOf(bench: Bench, server: PostgresServer, peer: Peer, folder: string, lines: number) {
  const { sql } = bench;
  const running = await startWithNewData(bench, peer, folder);
  const observer = Number((await sql`select pg_backend_pid() as pid`)[0]?.["pid"]);
  const serverCpu = () => treeCpuMs(server.pid) - cpuMs(observer);
  const [ownBefore, serverBefore] = [cpuMs(running.pid), serverCpu()];
  const sender = await startSending(LOAD, running.port, lines);
  await whenStored(sql, peer, lines);
  const [own, servers] = [cpuMs(running.pid) - ownBefore, serverCpu() - serverBefore];
  const { startedAt } = await sender.report;
  const storedAt = await lastCommitTime(sql, peer);
  await running.kill();
  const formatUs = (ms: number) => `${((ms * 1000) / lines).toFixed(1)} µs`;
  return { rowsPerS: perSecond(lines, storedAt - startedAt), own: formatUs(own), servers: formatUs(servers) };
}

async function startWithNewData(bench: Bench, peer: Peer, folder: string, data?: string): Promise<Running> {
  const { sql } = bench;
  await dropTables(sql);
  await sql`drop table if exists peer_logs`;
  await sql`create table peer_logs (created_at timestamptz not null, level smallint not null, message text not null,
    host text, app text)`;
  await sql`checkpoint`;
  return peer.start(bench, folder, data ?? (await mkdtemp(join(folder, "data-"))));
}

/** Resolves when all lines are rows; counts only when nothing is committed for a while. */
async function whenStored(sql: postgres.Sql, peer: Peer, lines: number): Promise<void> {
  let [seen, seenAt] = ["", 0];
  await waitFor(`all rows of ${peer.name}`, async () => {
    const [last] = await sql`select xid::text from pg_last_committed_xact()`;
    if (String(last?.["xid"]) !== seen) [seen, seenAt] = [String(last?.["xid"]), Date.now()];
    if (Date.now() - seenAt < QUIET_MS) return false;
    seenAt = Date.now();
    return (await rowsOf(sql, peer)) === lines;
  });
}

const rowsOf = async (sql: postgres.Sql, { table }: Peer) =>
  Number((await sql`select count(*) as n from ${sql(table)}`)[0]?.["n"]);

/** In milliseconds since 1970. */
async function lastCommitTime(sql: postgres.Sql, { table }: Peer): Promise<number> {
  const [row] = await sql`
    select extract(epoch from max(pg_xact_commit_timestamp(xmin))) * 1000 as at from ${sql(table)}`;
  return Number(row?.["at"]);
}

/** CPU time of a process, of the children that it has, and of those that it had. */
function treeCpuMs(pid: number): number {
  const ofEnded = readProc(pid, "stat")
    .replace(/^.*\) /, "")
    .split(" ");
  const children = readdirSync("/proc").filter((name) => /^PPid:\t(\d+)$/m.exec(statusOf(name))?.[1] === String(pid));
  const ofChildren = sum(children.map((child) => cpuMs(Number(child))));
  return cpuMs(pid) + (Number(ofEnded[13]) + Number(ofEnded[14])) * 10 + ofChildren;
}

const statusOf = (name: string) => (/^\d+$/.test(name) ? readProc(Number(name), "status") : "");

// ---- Losses ----------------------------------------------------------------

type Fault = (running: Running, data: string) => Promise<Running>;

/** Does something bad while lines are sent; resolves to what is lost of what was delivered. */
async function lossesAt(bench: Bench, peer: Peer, folder: string, lines: number, fault: Fault): Promise<string> {
  const data = await mkdtemp(join(folder, "data-"));
  const running = await startWithNewData(bench, peer, folder, data);
  const sender = await startSending(LOAD, running.port, lines);
  const later = await fault(running, data);
  const sql = clientOf(bench.url); // the other one may have lost its connection
  await whenQuiet(sql, peer, lines);
  sender.stop(); // where it is still held up
  const { sent, replied } = await sender.report;
  const delivered = peer.isAcknowledging ? replied : sent;
  const { found, doubled } = await findLines(sql, peer, delivered, Math.floor(lines / LOAD.connections));
  await later.kill();
  await sql.end({ timeout: 1 });
  const losses = `${count(sum(delivered) - found)} of ${count(sum(delivered))}`;
  return doubled > 0 ? `${losses}; ${count(doubled)} doubled` : losses;
}

const whenStoring = (sql: postgres.Sql, peer: Peer, lines: number) =>
  waitFor(`the first rows of ${peer.name}`, async () => {
    await sleep(POLL_MS);
    return (await rowsOf(sql, peer)) >= lines;
  });

/** Resolves when all lines are stored, or nobody has executed a statement for a while. */
async function whenQuiet(sql: postgres.Sql, peer: Peer, lines: number): Promise<void> {
  let [seen, seenAt] = ["", Date.now()];
  await waitFor(`the last rows of ${peer.name}`, async () => {
    await sleep(POLL_MS * 4);
    const [last] = await sql`select max(state_change)::text as at from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`;
    if (String(last?.["at"]) !== seen) [seen, seenAt] = [String(last?.["at"]), Date.now()];
    return Date.now() - seenAt > GIVEN_UP_MS || (await rowsOf(sql, peer)) >= lines;
  });
}

/** Each connection had lines with `each` numbers of its own, of which the first ones were delivered. */
async function findLines(sql: postgres.Sql, { table }: Peer, delivered: number[], each: number) {
  const [row] = await sql`
    select count(distinct n) filter (where n % ${each}::int < (${delivered}::int[])[n / ${each}::int + 1])::int as found,
      (count(n) - count(distinct n))::int as doubled
    from (select substring(message from 'request (\\d+)\\.$')::int as n from ${sql(table)}) as line`;
  return { found: Number(row?.["found"]), doubled: Number(row?.["doubled"]) };
}

// ---- Packages --------------------------------------------------------------

/** Unpacks Debian's packages into a folder. */
async function unpack(folder: string, packages: string[]): Promise<void> {
  const isThere = spawnSync("apt-get", ["--version"]).status === 0 && spawnSync("dpkg", ["--version"]).status === 0;
  if (!isThere) throw new Error("there is no apt-get and dpkg");
  await promisify(execFile)("apt-get", ["download", "-q", ...packages], { cwd: folder, timeout: 60 * SECOND });
  const files = (await readdir(folder)).filter((name) => name.endsWith(".deb"));
  for (const file of files) await promisify(execFile)("dpkg", ["-x", file, "."], { cwd: folder });
}

function environmentOf(folder: string) {
  const libraries = [LIBRARIES, "usr/lib/syslog-ng"].map((path) => join(folder, path)).join(":");
  const { PATH = "" } = process.env;
  return { PATH, LD_LIBRARY_PATH: libraries, PYTHONPATH: join(folder, "usr/lib/python3/dist-packages") };
}

/** syslog-ng's, in a folder with its version's name. */
function modulesOf(folder: string): string {
  const all = join(folder, "usr/lib/syslog-ng");
  return join(all, readdirSync(all).find((name) => existsSync(join(all, name, "libafsql.so"))) ?? "");
}

/** libdbi looks for its drivers in one place, which is compiled into it: our copy looks beside itself. */
async function lookForDriversIn(libraries: string): Promise<void> {
  const path = join(libraries, "libdbi.so.1");
  const [library, compiledIn, wanted] = [await readFile(path), `/${LIBRARIES}/dbd`, "/proc/self/cwd/dbd"];
  const at = library.indexOf(compiledIn);
  if (at < 0) throw new Error(`libdbi does not look for its drivers in ${compiledIn}`);
  library.write(wanted.padEnd(compiledIn.length, "\0"), at, "latin1");
  await writeFile(path, library);
}

/** Writes a configuration for a port that is free. */
async function configure({ url }: Bench, name: string, folder: string, more: Record<string, string>) {
  const [port, database] = [await freePort(), new URL(url)];
  const values: Record<string, string> = {
    PORT: String(port),
    FOLDER: folder,
    DATABASE_PORT: database.port,
    DATABASE: database.pathname.slice(1),
    ...more,
  };
  const template = readFileSync(join(ROOT, "bench/peers", name), "utf8");
  const file = join(folder, name);
  await writeFile(
    file,
    template.replace(/%([A-Z_]+)%/g, (_, key: string) => values[key] ?? ""),
  );
  return { file, port };
}

/** Resolves when it listens. */
async function startPeer(
  command: string,
  words: string[],
  port: number,
  options: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<Running> {
  const child = launch(command, words, { ...options, stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  let output = "";
  child.stderr?.on("data", (chunk: Buffer) => (output = `${output}${chunk.toString()}`.slice(-2000)));
  const check = () => {
    if (child.exitCode !== null) throw new Error(`Cannot start ${command}: ${output.trim()}`);
  };
  await waitFor(command, () => isListening(port), check, 30 * SECOND);
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return { pid: child.pid ?? 0, port, kill };
}
