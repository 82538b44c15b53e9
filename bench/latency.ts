/** Senders that wait for each `ok`, in turns with the bare disk, whose p50 and p99 give the bounds. */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { range } from "../test/support/basics.ts";
import { NO_DATABASE, startCollector } from "./collectors.ts";
import { dropTables } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { formatMs, percentile } from "./run.ts";
import { TEXT, stopAndWait } from "./sender.ts";

const ROUNDS = 60; // 6,000 lines; the p99 of 2,000 hangs on the 20 slowest, and differed by half from run to run
const WARM_UP_ROUNDS = 10; // some 7,000 lines, by when what they run through is compiled
const PER_ROUND = 100;
const SENDERS = [1, 10, 100];

export async function measureLatency(bench: Bench): Promise<Table> {
  await dropTables(bench.sql);
  const stores = { "without a database": NO_DATABASE, PostgreSQL: bench.url, PGlite: "" };
  const rows: string[][] = [];
  for (const [store, url] of Object.entries(stores)) rows.push(...(await latenciesWith(bench, store, url)));
  const head = ["", "p50", "p99", "p50 at most", "p99 at most"];
  return { title: "from a line to its `ok`, one at a time", head, rows };
}

/** A row for the disk alone and one for each number of senders; the first rounds warm up. */
async function latenciesWith(bench: Bench, store: string, url: string): Promise<string[][]> {
  const collector = await startCollector(bench, url);
  const senders = await Promise.all(range(Math.max(...SENDERS)).map(() => stopAndWait(collector.port)));
  const file = openSync(join(collector.dataDir, "bare"), "a");
  const bare: number[] = [];
  const acked = new Map<number, number[]>(SENDERS.map((number) => [number, []]));
  for (const round of range(WARM_UP_ROUNDS + ROUNDS)) {
    const synced = await timesOf(PER_ROUND, () => writeAndSync(file));
    if (round >= WARM_UP_ROUNDS) bare.push(...synced);
    for (const [number, times] of acked) {
      const each = Math.max(PER_ROUND / number, 5);
      const waited = await Promise.all(senders.slice(0, number).map((sendOne) => timesOf(each, sendOne)));
      if (round >= WARM_UP_ROUNDS) times.push(...waited.flat());
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
      const name = `${store}: ${number} ${number === 1 ? "sender" : "senders"}`;
      return [name, ...found, ...(number === 1 ? bounds : ["", ""])];
    }),
  ];
}

function writeAndSync(file: number): void {
  writeSync(file, `${TEXT}\n`);
  fdatasyncSync(file);
}

/** Times of some calls, one after the other, in ms. */
export async function timesOf(calls: number, call: (n: number) => unknown): Promise<number[]> {
  const times: number[] = [];
  for (const n of range(calls)) {
    const startedAt = performance.now();
    await call(n);
    times.push(performance.now() - startedAt);
  }
  return times;
}
