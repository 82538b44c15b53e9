/**
 * From the first byte sent to the last row committed, beside `\copy`. A pair is one run through the collector and one
 * `\copy` of the same rows into the same table, emptied, with a checkpoint before each. A machine's speed drifts by more
 * than what is compared, so only a pair's ratio is exact.
 */
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, createReadStream, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import type postgres from "postgres";
import { MIB, median, range } from "../test/support/basics.ts";
import { cpuMs, peakRss } from "../test/support/processes.ts";
import type { RunningCollector } from "./collectors.ts";
import { queryCollector, startCollector } from "./collectors.ts";
import { dropTables, hasPartitions, lastCommit, rowsIn, schemaIn } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { count, formatUs, mib, perSecond, rounded, say, waitFor } from "./run.ts";
import type { Load } from "./sender.ts";
import { PLAIN, send } from "./sender.ts";

const EMBEDDED_SHARE = 0.3; // of the lines, on the embedded database
const HEAD = ["lines", "number", "rows/s", "`\\copy` rows/s", "ratio", "acknowledged/s", "CPU a line", "peak RSS"];

export const LOADS: Record<string, Load> = {
  plain: PLAIN,
  time: { title: "a time and a level first", kind: "time", connections: 4 },
  json: { title: "JSON, pino's 8 fields", kind: "json", connections: 4 },
  rfc5424: { title: "syslog, RFC 5424", kind: "rfc5424", connections: 4 },
  logfmt: { title: "logfmt, 7 pairs", kind: "logfmt", connections: 4 },
  connections: { title: "plain text, 1,000 connections", kind: "plain", connections: 1000 },
};

export interface Outcome {
  lines: number;
  rowsPerS: number;
  ackedPerS: number;
  /** CPU time of the collector's process, without its start; NaN where the system has no /proc. */
  cpuUsALine: number;
  peakBytes: number;
}

export async function measurePairs(bench: Bench, load: Load): Promise<Table> {
  const outcomes: Outcome[] = [];
  const copies: number[] = [];
  const rowsFile = join(bench.folder, "rows.tsv");
  let columns: string | undefined;
  for (const pair of range(bench.pairs)) {
    const outcome = await throughCollector(bench, load);
    columns ??= await exportRows(bench.sql, rowsFile);
    const copy = await throughCopy(bench, [rowsFile], columns, outcome.lines);
    outcomes.push(outcome);
    copies.push(copy);
    const ratio = (outcome.rowsPerS / copy).toFixed(2);
    say(`${load.title}, ${pair + 1}: ${count(outcome.rowsPerS)} rows/s, \\copy ${count(copy)}, ratio ${ratio}`);
  }
  const ratios = outcomes.map(({ rowsPerS }, pair) => rowsPerS / (copies[pair] ?? NaN));
  return throughputTable(load.title, outcomes, rounded(median(copies)), median(ratios).toFixed(2));
}

/** A table with one row: the median of some outcomes. */
export function throughputTable(name: string, outcomes: Outcome[], copy: string, ratio: string): Table {
  const rows = rounded(median(outcomes.map(({ rowsPerS }) => rowsPerS)));
  const acked = rounded(median(outcomes.map(({ ackedPerS }) => ackedPerS)));
  const cpu = formatUs(median(outcomes.map(({ cpuUsALine }) => cpuUsALine)));
  const peak = mib(Math.max(...outcomes.map(({ peakBytes }) => peakBytes)));
  const row = [name, count(outcomes[0]?.lines ?? 0), rows, copy, ratio, acked, cpu, peak];
  return { title: `throughput, median of ${outcomes.length}`, head: HEAD, rows: [row] };
}

export async function throughCollector(
  bench: Bench,
  load: Load,
  times = 1,
  flags: string[] = [],
  onStart: (collector: RunningCollector) => unknown = () => {},
): Promise<Outcome> {
  const { sql } = bench;
  await dropTables(sql);
  const collector = await startCollector(bench, bench.url, { flags });
  await schemaIn(sql);
  onStart(collector);
  await sql`checkpoint`;
  const startMs = cpuMs(collector.pid);
  const { lines, startedAt, endedAt } = await send(load, collector.port, bench.lines, times);
  const storedAt = await lastCommit(sql, lines);
  const cpuUsALine = ((cpuMs(collector.pid) - startMs) * 1000) / lines;
  const peakBytes = peakRss(collector.pid);
  await collector.stop();
  const [rowsPerS, ackedPerS] = [perSecond(lines, storedAt - startedAt), perSecond(lines, endedAt - startedAt)];
  return { lines, rowsPerS, ackedPerS, cpuUsALine, peakBytes };
}

// ---- Copy ------------------------------------------------------------------
// The yardstick: the same rows into the same emptied table, without a thing between the file and the server.

/** Writes the rows of `logs` to a file; returns their columns that hold anything. */
export async function exportRows(sql: postgres.Sql, path: string): Promise<string> {
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

/** Copies files at the same time; resolves to rows a second. */
export async function throughCopy(
  { url, sql }: Bench,
  paths: string[],
  columns: string,
  lines: number,
): Promise<number> {
  await sql`truncate logs, log_entries`;
  await sql`checkpoint`;
  const startedAt = Date.now();
  if (hasPsql()) await Promise.all(paths.map((path) => copyByPsql(url, path, columns)));
  else for (const path of paths) await copyByDriver(sql, path, columns);
  const took = Date.now() - startedAt;
  const rows = await rowsIn(sql);
  if (rows !== lines) throw new Error(`Cannot go on: \\copy of ${lines} rows stored ${rows}`);
  return perSecond(lines, took);
}

export const hasPsql = () => spawnSync("psql", ["--version"]).status === 0;

async function copyByPsql(url: string, path: string, columns: string): Promise<void> {
  const { bare, password } = withoutPassword(url); // which other users could read in the process list
  const env = { ...process.env, ...(password && { PGPASSWORD: password }) };
  const command = `\\copy logs (${columns}) from '${path}'`;
  await promisify(execFile)("psql", ["-qX", "-v", "ON_ERROR_STOP=1", "-d", bare, "-c", command], { env });
}

/** Where psql is not installed. */
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
// PGlite has one session, the collector's. So the end is taken from the collector, which says when it has stored all,
// and the rows are counted later.

export async function measureEmbedded(bench: Bench): Promise<Table> {
  const title = "plain text, embedded PGlite";
  const outcomes: Outcome[] = [];
  for (const pair of range(bench.pairs)) {
    const outcome = await throughEmbedded(bench);
    outcomes.push(outcome);
    say(`${title}, ${pair + 1}: ${count(outcome.rowsPerS)} rows/s`);
  }
  return throughputTable(title, outcomes, "", "");
}

async function throughEmbedded(bench: Bench): Promise<Outcome> {
  const collector = await startCollector(bench, "");
  const query = async (text: string) => (JSON.parse(await queryCollector(collector.dataDir, text)) as { n: number }).n;
  await waitFor("the schema", () => hasPartitions(query));
  const startMs = cpuMs(collector.pid);
  const { lines, startedAt, endedAt } = await send(PLAIN, collector.port, Math.floor(bench.lines * EMBEDDED_SHARE));
  let [cpuUsALine, peakBytes] = [NaN, NaN];
  const stopped = collector.stop();
  await waitFor("all rows", () => {
    peakBytes = peakRss(collector.pid) || peakBytes; // while it is there
    cpuUsALine = ((cpuMs(collector.pid) - startMs) * 1000) / lines || cpuUsALine;
    return collector.output().includes("all lines are stored");
  });
  const storedAt = Date.now();
  await stopped;
  const rows = await query("select count(*) as n from logs");
  if (rows !== lines) throw new Error(`Cannot go on: ${lines} lines became ${rows} rows`);
  const [rowsPerS, ackedPerS] = [perSecond(lines, storedAt - startedAt), perSecond(lines, endedAt - startedAt)];
  return { lines, rowsPerS, ackedPerS, cpuUsALine, peakBytes };
}
