/**
 * The database is away, then the collector is killed with -9, then both are back; before it the same lines live, for
 * what they are held against.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { MIB } from "../test/support/basics.ts";
import { peakRss } from "../test/support/processes.ts";
import { NO_DATABASE, startCollector } from "./collectors.ts";
import { dropTables, lastCommit } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { count, mib, perSecond, rounded, say } from "./run.ts";
import { LINES, PLAIN, send, stopAndWait } from "./sender.ts";
import { throughCollector } from "./throughput.ts";

const BACKLOG_BYTES = 1024 * MIB; // of lines at least, while the database is away
const FLAGS = ["--journal-max", "2GiB"];

export async function measureBacklog(bench: Bench): Promise<Table> {
  const times = Math.ceil(BACKLOG_BYTES / (bench.lines * (LINES.plain(0).length + 1)));
  const live = await throughCollector(bench, PLAIN, times, FLAGS);
  say(`backlog: ${count(live.lines)} lines live, ${count(live.rowsPerS)} rows/s`);

  await dropTables(bench.sql);
  const away = await startCollector(bench, NO_DATABASE, { flags: FLAGS });
  const sent = await send(PLAIN, away.port, bench.lines, times);
  const filling = peakRss(away.pid);
  await away.kill();
  const bytes = await sizeOf(join(away.dataDir, "journal"));
  await bench.sql`checkpoint`;

  const startedAt = Date.now();
  const back = await startCollector(bench, bench.url, { dataDir: away.dataDir, flags: FLAGS });
  const listening = Date.now() - startedAt;
  const sendOne = await stopAndWait(back.port);
  await sendOne(0);
  const replied = Date.now() - startedAt;
  const storedAt = await lastCommit(bench.sql, sent.lines + 1);
  const draining = peakRss(back.pid);
  await back.stop();
  const drained = perSecond(sent.lines, storedAt - startedAt);
  const acked = perSecond(sent.lines, sent.endedAt - sent.startedAt);
  const started = `listens after ${listening} ms, first \`ok\` after ${replied} ms (limit 3 s)`;
  const share = (drained / live.rowsPerS).toFixed(2);
  const rows = [
    ["live: stored", rounded(live.rowsPerS), mib(live.peakBytes)],
    ["the database is away: acknowledged", rounded(acked), mib(filling)],
    [`started again after \`kill -9\`: ${started}`, "", ""],
    [`the same: stored, from the start on; ${share} of live (limit 0.8)`, rounded(drained), mib(draining)],
  ];
  const title = `a backlog of ${count(sent.lines)} lines, a journal of ${mib(bytes)}`;
  return { title, head: ["", "lines/s", "peak RSS"], rows };
}

export async function sizeOf(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
