/**
 * The whole collector into a MariaDB beside the command line's `LOAD DATA LOCAL INFILE` of the same rows, in pairs. The
 * server is one that the run starts, of Debian's package mariadb-server-core, with its default settings.
 */
/* oxlint-disable no-await-in-loop -- what is measured has the machine for itself */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Connection } from "mysql2/promise";
import { MariaDbServer, connectTo, rows } from "../test/support/mariadbServer.ts";

const QUIET_MS = 200; // without a new key, before the rows are counted
const POLL_MS = 10;
const NAME = "bench";

/** What the other benchmarks have, too. */
export interface Tools {
  folder: string;
  pairs: number;
  startCollector(databaseUrl: string): Promise<{ port: number; peakBytes(): number; stop(): Promise<void> }>;
  /** Sends the lines; times are in ms since 1970. */
  send(port: number): Promise<{ lines: number; startedAt: number; endedAt: number }>;
  say(line: string): void;
}

export interface Pair {
  lines: number;
  rowsPerS: number;
  ackedPerS: number;
  loadedPerS: number;
  peakBytes: number;
}

/** By LOAD DATA or, with local_infile off, by INSERT: `how` sets which. */
export async function measureMariaDb(tools: Tools, how: "load" | "insert"): Promise<Pair[]> {
  const server = await MariaDbServer.create(join(tools.folder), how === "insert" ? ["--local-infile=0"] : []);
  const sql = await connectTo(server.url);
  try {
    const pairs: Pair[] = [];
    await throughCollector(tools, server, sql); // a new server grows its files
    for (let pair = 0; pair < tools.pairs; pair++) {
      const through = await throughCollector(tools, server, sql);
      await sql.query("set global local_infile = 1");
      const loadedPerS = await throughLoad(tools, server, sql, through.lines);
      await sql.query(`set global local_infile = ${how === "insert" ? 0 : 1}`);
      pairs.push({ ...through, loadedPerS });
      const ratio = (through.rowsPerS / loadedPerS).toFixed(2);
      tools.say(
        `MariaDB by ${how}, ${pair + 1}: ${perSecond(through.rowsPerS)}, LOAD DATA ${perSecond(loadedPerS)}, ratio ${ratio}`,
      );
    }
    return pairs;
  } finally {
    await sql.end();
    await server.stop();
  }
}

const perSecond = (rate: number) => `${Math.round(rate).toLocaleString("en-US")} rows/s`;

async function throughCollector(tools: Tools, server: MariaDbServer, sql: Connection) {
  await sql.query(`drop database if exists ${NAME}; create database ${NAME}; use ${NAME}`);
  const collector = await tools.startCollector(`${server.url}/${NAME}`);
  await until(async () => (await countIn(sql, PARTITIONS)) > 8); // today, a week ahead, and the future
  const { lines, startedAt, endedAt } = await tools.send(collector.port);
  const storedAt = await lastCommit(sql, lines);
  const peakBytes = collector.peakBytes();
  await collector.stop();
  const [rowsPerS, ackedPerS] = [storedAt, endedAt].map((at) => (lines * 1000) / (at - startedAt)) as [number, number];
  return { lines, rowsPerS, ackedPerS, peakBytes };
}

const PARTITIONS = "information_schema.partitions where table_schema = database() and table_name = 'logs'";

/** Counting a million rows in a loop would take a core from what is measured: the keys are few. */
async function lastCommit(sql: Connection, lines: number): Promise<number> {
  let [entries, changedAt] = [-1, 0];
  await until(async () => {
    const found = await countIn(sql, "log_entries");
    if (found !== entries) [entries, changedAt] = [found, Date.now()];
    return Date.now() - changedAt > QUIET_MS && (await countIn(sql, "logs")) >= lines;
  });
  return changedAt;
}

const COLUMNS = "created_at, level, message, logged_at, host, app, peer, attributes";

/** The same rows from a file, into the same table, emptied. Resolves to rows a second. */
async function throughLoad({ folder }: Tools, server: MariaDbServer, sql: Connection, lines: number): Promise<number> {
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
  return (lines * 1000) / tookMs;
}

async function countIn(sql: Connection, table: string): Promise<number> {
  const [row] = await rows<{ n: string }>(sql, `select count(*) as n from ${table}`).catch(() => []);
  return Number(row?.n ?? 0);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endsAt = Date.now() + 5 * 60_000;
  while (!(await isSo())) {
    if (Date.now() > endsAt) throw new Error("Cannot go on: waited 5 minutes for the rows");
    await sleep(POLL_MS);
  }
}
