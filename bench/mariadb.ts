/**
 * The whole collector into a MariaDB beside the command line's `LOAD DATA LOCAL INFILE` of the same rows, in pairs. The
 * server is one that the run starts, of Debian's package mariadb-server-core, with its default settings.
 */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Connection } from "mysql2/promise";
import { median, range } from "../test/support/basics.ts";
import { MariaDbServer, connectTo, rows } from "../test/support/mariadbServer.ts";
import { cpuMs, peakRss } from "../test/support/processes.ts";
import { startCollector } from "./collectors.ts";
import type { Bench, Table } from "./run.ts";
import { count, perSecond, rounded, say, waitFor } from "./run.ts";
import { PLAIN, send } from "./sender.ts";
import type { Outcome } from "./throughput.ts";
import { throughputTable } from "./throughput.ts";

const QUIET_MS = 200; // without a new key, before the rows are counted
const NAME = "bench";

/** By LOAD DATA or, with local_infile off, by INSERT: `how` sets which. */
export async function measureMariaDb(bench: Bench, how: "load" | "insert"): Promise<Table> {
  const folder = await mkdtemp(join(bench.folder, "mariadb-"));
  const server = await MariaDbServer.create(folder, how === "insert" ? ["--local-infile=0"] : []);
  const sql = await connectTo(server.url);
  const outcomes: Outcome[] = [];
  const loads: number[] = [];
  await throughCollector(bench, server, sql); // a new server grows its files
  for (const pair of range(bench.pairs)) {
    const outcome = await throughCollector(bench, server, sql);
    await sql.query("set global local_infile = 1");
    const load = await throughLoad(folder, server, sql, outcome.lines);
    await sql.query(`set global local_infile = ${how === "insert" ? 0 : 1}`);
    outcomes.push(outcome);
    loads.push(load);
    const ratio = (outcome.rowsPerS / load).toFixed(2);
    say(`MariaDB by ${how}, ${pair + 1}: ${count(outcome.rowsPerS)} rows/s, LOAD DATA ${count(load)}, ratio ${ratio}`);
  }
  await sql.end();
  await server.stop();
  const ratios = outcomes.map(({ rowsPerS }, pair) => rowsPerS / (loads[pair] ?? NaN));
  const title = `plain text, MariaDB by ${how} (beside LOAD DATA)`;
  return throughputTable(title, outcomes, rounded(median(loads)), median(ratios).toFixed(2));
}

async function throughCollector(bench: Bench, server: MariaDbServer, sql: Connection): Promise<Outcome> {
  await sql.query(`drop database if exists ${NAME}; create database ${NAME}; use ${NAME}`);
  const collector = await startCollector(bench, `${server.url}/${NAME}`);
  await waitFor("the schema", async () => (await countIn(sql, PARTITIONS)) > 8); // today, a week ahead, and the future
  const startMs = cpuMs(collector.pid);
  const { lines, startedAt, endedAt } = await send(PLAIN, collector.port, bench.lines);
  const storedAt = await lastCommit(sql, lines);
  const cpuUsALine = ((cpuMs(collector.pid) - startMs) * 1000) / lines;
  const peakBytes = peakRss(collector.pid);
  await collector.stop();
  const [rowsPerS, ackedPerS] = [perSecond(lines, storedAt - startedAt), perSecond(lines, endedAt - startedAt)];
  return { lines, rowsPerS, ackedPerS, cpuUsALine, peakBytes };
}

const PARTITIONS = "information_schema.partitions where table_schema = database() and table_name = 'logs'";

/** Counting a million rows in a loop would take a core from what is measured: the keys are few. */
async function lastCommit(sql: Connection, lines: number): Promise<number> {
  let [entries, changedAt] = [-1, 0];
  await waitFor("all rows", async () => {
    const found = await countIn(sql, "log_entries");
    if (found !== entries) [entries, changedAt] = [found, Date.now()];
    return Date.now() - changedAt > QUIET_MS && (await countIn(sql, "logs")) >= lines;
  });
  return changedAt;
}

const COLUMNS = "created_at, level, message, logged_at, host, app, peer, attributes";

/** The same rows from a file, into the same table, emptied. Resolves to rows a second. */
async function throughLoad(folder: string, server: MariaDbServer, sql: Connection, lines: number): Promise<number> {
  const file = join(folder, "rows.tsv");
  const client = ["--no-defaults", "-h127.0.0.1", `-P${server.port}`, "-uroot", "--local-infile=1", NAME];
  const output = createWriteStream(file);
  const selecting = execFile(
    "mariadb",
    [...client, "-BN", "--quick", "-e", `select ${COLUMNS} from logs order by created_at`],
    {
      maxBuffer: Infinity,
    },
  );
  selecting.stdout?.pipe(output);
  await once(output, "finish");
  await sql.query("truncate logs; truncate log_entries");
  const startedAt = Date.now();
  const load = `load data local infile '${file}' into table logs character set utf8mb4 (${COLUMNS})`;
  await promisify(execFile)("mariadb", [...client, "-e", load]);
  const tookMs = Date.now() - startedAt;
  if ((await countIn(sql, "logs")) !== lines) throw new Error(`Cannot go on: LOAD DATA of ${lines} rows stored others`);
  return perSecond(lines, tookMs);
}

async function countIn(sql: Connection, table: string): Promise<number> {
  const [row] = await rows<{ n: string }>(sql, `select count(*) as n from ${table}`).catch(() => []);
  return Number(row?.n ?? 0);
}
