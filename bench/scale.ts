/**
 * How the cost of a line depends on connections, sizes, workers and backlogs, and what a machine with more cores would be
 * bound by. CPU is the collector's whole process; a rate on a machine whose cores are all busy is shared with the senders
 * and the server.
 */
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Framer, Journal } from "../collector.ts";
import { MIB, range } from "../test/support/basics.ts";
import { cpuMs, peakRss } from "../test/support/processes.ts";
import { sizeOf } from "./backlog.ts";
import { NO_DATABASE, startCollector } from "./collectors.ts";
import { dropTables, lastCommit, schemaIn } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { count, formatUs, mib, perSecond, rounded, say } from "./run.ts";
import type { Load } from "./sender.ts";
import { LINES, PLAIN, send, startSending } from "./sender.ts";
import { exportRows, throughCopy } from "./throughput.ts";

const CONNECTIONS = [1, 10, 100, 1000, 5000];
const SIZES = [20, 100, 1000, 10_000]; // of a line, in bytes
const BYTES_MAX = 200 * MIB; // sent for one size
const WORKERS = [1, 2, 4];
const BACKLOGS = [10, 100, 1000]; // in MiB, with 1,000,000 lines
const FLAGS = ["--max-connections", "5000", "--journal-max", "2GiB"];
const LINE_SIZE = LINES.plain(0).length + 1;

const HEAD = ["", "lines", "rows/s", "MiB/s", "CPU a line", "CPU a KiB", "peak RSS"];

export async function measureScale(bench: Bench): Promise<Table[]> {
  await through(bench, PLAIN, bench.lines); // a new server makes its WAL files
  const title = "what changes";
  const rows: string[][] = [];
  const add = (row: string[]) => (rows.push(row), say(row.join(" · ")));
  for (const connections of CONNECTIONS) {
    const name = `${count(connections)} ${connections === 1 ? "connection" : "connections"}`;
    add([name, ...(await through(bench, { ...PLAIN, connections }, bench.lines))]);
  }
  for (const size of SIZES) {
    const lines = Math.min(bench.lines, Math.floor(BYTES_MAX / size));
    add([`lines of ${count(size)} bytes`, ...(await through(bench, { ...PLAIN, size }, lines))]);
  }
  for (const workers of WORKERS) {
    const name = `${workers} ${workers === 1 ? "worker" : "workers"}`;
    add([name, ...(await through(bench, PLAIN, bench.lines, ["--workers", String(workers)]))]);
  }
  for (const backlog of BACKLOGS) {
    const size = Math.ceil((backlog * bench.lines) / 1_000_000);
    add([`a backlog of ${count(size)} MiB`, ...(await throughBacklog(bench, size * MIB))]);
  }
  return [{ title, head: HEAD, rows }, await measureParts(bench)];
}

/** The row's figures, without its name. */
async function through({ sql, url, folder }: Bench, load: Load, lines: number, flags: string[] = []) {
  await dropTables(sql);
  const collector = await startCollector({ folder }, url, { flags: [...FLAGS, ...flags] });
  await schemaIn(sql);
  await sql`checkpoint`;
  const cpuBefore = cpuMs(collector.pid);
  const sent = await send(load, collector.port, lines);
  const tookMs = (await lastCommit(sql, sent.lines)) - sent.startedAt;
  const cost = { cpu: cpuMs(collector.pid) - cpuBefore, peak: peakRss(collector.pid) };
  await collector.stop();
  return figures(sent.lines, sent.lines * (load.size ?? LINE_SIZE), tookMs, cost);
}

function figures(lines: number, bytes: number, tookMs: number, { cpu, peak }: { cpu: number; peak: number }): string[] {
  const rates = [rounded(perSecond(lines, tookMs)), (perSecond(bytes, tookMs) / MIB).toFixed(0)];
  return [count(lines), ...rates, formatUs((cpu * 1000) / lines), formatUs((cpu * 1000 * 1024) / bytes), mib(peak)];
}

/** From the start that finds the backlog to its last row. */
async function throughBacklog({ sql, url, folder }: Bench, bytes: number): Promise<string[]> {
  await dropTables(sql);
  const away = await startCollector({ folder }, NO_DATABASE, { flags: FLAGS });
  const each = 10_000; // lines, sent as many times as it takes
  const sent = await send(PLAIN, away.port, each, Math.ceil(bytes / LINE_SIZE / each));
  await away.kill();
  const size = await sizeOf(join(away.dataDir, "journal"));
  await sql`checkpoint`;
  const startedAt = Date.now();
  const back = await startCollector({ folder }, url, { dataDir: away.dataDir, flags: FLAGS });
  const tookMs = (await lastCommit(sql, sent.lines)) - startedAt;
  const cost = { cpu: cpuMs(back.pid), peak: peakRss(back.pid) };
  await back.stop();
  return figures(sent.lines, size, tookMs, cost);
}

// ---- Parts -----------------------------------------------------------------
// Each part of a line's way alone: lines a second that one core makes, by its CPU time; COPY by the clock.

async function measureParts(bench: Bench): Promise<Table> {
  const { lines } = bench;
  const received = await cpuOfReceiving(bench);
  const journal = await timesOfJournal(bench);
  const stored = await cpuOfStoring(bench);
  const [one, two] = await ratesOfCopy(bench);
  const perCore = (ms: number) => rounded(perSecond(lines, ms));
  const cost = (ms: number) => formatUs((ms * 1000) / lines);
  const thread = received + journal.cpu + stored;
  const rows = [
    ["receive and frame", cost(received), perCore(received)],
    ["journal: write", cost(journal.cpu), perCore(journal.cpu)],
    ["journal: until synced, by the clock", "", perCore(journal.took)],
    ["read, parse, make rows, send them to the server", cost(stored), perCore(stored)],
    ["these, one after the other, as one collector does them", cost(thread), perCore(thread)],
    ["COPY by one backend, by the clock", "", rounded(one)],
    ["COPY by two backends, by the clock", "", rounded(two)],
  ];
  for (const row of rows) say(row.join(" · "));
  const [name, bound] = perSecond(lines, thread) < two ? ["the collector", perSecond(lines, thread)] : ["COPY", two];
  const title = `each part alone; with a core for each of collector, senders and two backends, ${name} would be the bound, at ${rounded(bound)} lines/s`;
  return { title, head: ["", "CPU a line", "lines/s"], rows };
}

/** CPU time in ms of a process that reads the lines from sockets, frames them, and throws them away. */
async function cpuOfReceiving({ lines }: Bench): Promise<number> {
  const server = createServer((socket) => {
    const framer = new Framer(64 * 1024, "never");
    socket.on("data", (chunk) => void framer.push([chunk])).on("error", () => {});
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const sender = await startSending(PLAIN, (server.address() as AddressInfo).port, lines);
  const before = process.cpuUsage();
  await sender.report;
  server.close();
  return ownCpuMs(before);
}

/** The same, with the journal alone: framed before, appended in pieces as a socket gives them. */
async function timesOfJournal({ folder, lines }: Bench): Promise<{ cpu: number; took: number }> {
  const directory = join(await mkdtemp(join(folder, "journal-")), "journal");
  const journal = await Journal.open(directory, 2048 * MIB, () => {});
  const text = range(640).map((n) => `${LINES.plain(n)}\n`);
  const framed = () => new Framer(64 * 1024, "never").push([Buffer.from(text.join(""))]);
  const pieces = range(Math.ceil(lines / text.length)).map(framed);
  const [before, startedAt] = [process.cpuUsage(), performance.now()];
  const atOnce = 32; // of some senders
  for (let at = 0; at < pieces.length; at += atOnce)
    await Promise.all(pieces.slice(at, at + atOnce).map((piece) => journal.append("127.0.0.1", piece)));
  const times = { cpu: ownCpuMs(before), took: performance.now() - startedAt };
  await journal.close();
  return times;
}

const ownCpuMs = (before: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};

/** CPU time in ms of a collector that stores a backlog and receives nothing. */
async function cpuOfStoring({ sql, url, folder, lines }: Bench): Promise<number> {
  const away = await startCollector({ folder }, NO_DATABASE, { flags: FLAGS });
  await send(PLAIN, away.port, lines);
  await away.kill();
  await dropTables(sql);
  const idle = await startCollector({ folder }, url);
  await schemaIn(sql);
  const starting = cpuMs(idle.pid);
  await idle.stop();
  const back = await startCollector({ folder }, url, { dataDir: away.dataDir, flags: FLAGS });
  await lastCommit(sql, lines);
  const cpu = cpuMs(back.pid) - starting;
  await back.stop();
  return cpu;
}

/** Rows a second of `\copy` by one session, and by two at the same time, each with half. */
async function ratesOfCopy(bench: Bench): Promise<[number, number]> {
  const { folder, sql, lines } = bench;
  const all = join(folder, "rows.tsv");
  const halves = [0, 1].map((half) => join(folder, `rows-${half}.tsv`));
  const columns = await exportRows(sql, all);
  const outputs = halves.map((path) => createWriteStream(path));
  let row = 0;
  for await (const line of createInterface({ input: createReadStream(all) })) outputs[row++ % 2]?.write(`${line}\n`);
  await Promise.all(outputs.map((output) => (output.end(), once(output, "finish"))));
  return [await throughCopy(bench, [all], columns, lines), await throughCopy(bench, halves, columns, lines)];
}
