/** The first lines after a start, sent as soon as the collector listens, against later ones of the same collector. */
import { median, range } from "../test/support/basics.ts";
import { peakRss } from "../test/support/processes.ts";
import { startCollector } from "./collectors.ts";
import { dropTables, lastCommit } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { count, mib, perSecond, rounded, say } from "./run.ts";
import { PLAIN, send } from "./sender.ts";

const LOADS = 4; // one after the other, of `--lines` each

export async function measureCold(bench: Bench): Promise<Table> {
  const runs: number[][] = [];
  for (const run of range(bench.pairs)) {
    const rates = await ratesFromStart(bench);
    runs.push(rates);
    say(`cold, ${run + 1}: ${rates.map(rounded).join(", ")} rows/s; first to later ${shareOf(rates).toFixed(2)}`);
  }
  const rows = range(LOADS).map((at) => {
    const name = at === 0 ? "the first" : `number ${at + 1}`;
    const share = at === 0 ? median(runs.map(shareOf)).toFixed(2) : "";
    return [name, rounded(median(runs.map((rates) => rates[at] ?? NaN))), share];
  });
  const title = `${count(bench.lines)} lines at a time after a start, into empty tables; median of ${bench.pairs}`;
  return { title, head: ["", "rows/s", "of the median of the later ones"], rows };
}

const shareOf = ([first = NaN, ...later]: number[]) => first / median(later);

async function ratesFromStart(bench: Bench): Promise<number[]> {
  await dropTables(bench.sql);
  await bench.sql`checkpoint`;
  const collector = await startCollector(bench, bench.url);
  const rates: number[] = [];
  let sum = 0;
  for (const _ of range(LOADS)) {
    const { lines, startedAt } = await send(PLAIN, collector.port, bench.lines);
    sum += lines;
    rates.push(perSecond(lines, (await lastCommit(bench.sql, sum)) - startedAt));
    await bench.sql`checkpoint`;
  }
  say(`cold: peak RSS ${mib(peakRss(collector.pid))}`);
  await collector.stop();
  return rates;
}
