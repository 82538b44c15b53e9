/**
 * What `--linger` gives and costs: two collectors on one database, in turns, each with one sender that waits for its `ok`.
 * A line's freshness is how long after its reception it was committed, by PostgreSQL's own note of the commit's time.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { range } from "../test/support/basics.ts";
import { startCollector } from "./collectors.ts";
import { timesOf } from "./latency.ts";
import { dropTables, lastCommit, schemaIn } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { count, formatMs, percentile } from "./run.ts";
import { stopAndWait, sum } from "./sender.ts";

const LINGERS = ["2ms", "25ms"];
const ROUNDS = 21; // the first one warms up
const PER_ROUND = 200;
const PAUSE_MS = 50; // between two turns

export async function measureLinger(bench: Bench): Promise<Table> {
  const { sql, url } = bench;
  await dropTables(sql);
  const turns = [];
  for (const linger of LINGERS) {
    const collector = await startCollector(bench, url, { flags: ["--linger", linger] });
    await schemaIn(sql);
    const sendOne = await stopAndWait(collector.port, (n) => `${linger} ${n}`);
    turns.push({ linger, collector, sendOne, times: [] as number[] });
  }
  for (const round of range(ROUNDS))
    for (const { sendOne, times } of turns) {
      const found = await timesOf(PER_ROUND, sendOne);
      if (round > 0) times.push(...found);
      await sleep(PAUSE_MS);
    }
  await lastCommit(sql, turns.length * ROUNDS * PER_ROUND);
  const rows: string[][] = [];
  for (const { linger, collector, times } of turns) {
    const acks = [0.5, 0.99].map((share) => formatMs(percentile(times, share)));
    rows.push([linger, count((times.length * 1000) / sum(times)), ...acks, ...(await freshnessOf(bench, linger))]);
    await collector.kill();
  }
  const head = ["`--linger`", "lines/s", "line to `ok`: p50", "p99", "line to its commit: p50", "p99"];
  return { title: "one sender that waits for each `ok`, PostgreSQL on the same disk, in turns", head, rows };
}

async function freshnessOf({ sql }: Bench, linger: string): Promise<string[]> {
  const [row] = await sql<{ ms: number[] }[]>`
    select percentile_cont(array[0.5, 0.99]) within group (
      order by extract(epoch from pg_xact_commit_timestamp(xmin) - created_at)::float8 * 1000) as ms
    from logs where message like ${`${linger} %`}`;
  return (row?.ms ?? []).map(formatMs);
}
