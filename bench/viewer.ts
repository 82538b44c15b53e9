/**
 * The log page's figures: `npm run bench -- viewer` makes 20,000,000 lines over 30 days, or `--lines N`, in the bench's
 * database, and asks the page's API as a browser does. Each figure is the median of 20 on a warm cache: beside nothing,
 * then beside a sender that sends plain text as fast as it is taken.
 */
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type postgres from "postgres";
import { startCollector } from "../collector.ts";

const DAYS = 30;
const TIMES = 20;
const NEEDLE_EVERY = 10_000;
const SCHEMA = fileURLToPath(new URL("../schema.sql", import.meta.url));

/** A shop's lines: one in 50 is an error, half have attributes, one in 10,000 says `needle`. */
const MAKE_LINES = `
  insert into logs (created_at, level, message, logged_at, host, app, peer, attributes)
  select created_at, case when n % 50 = 0 then 400 when n % 17 = 0 then 300 when n % 5 = 0 then 100 else 200 end,
    case when n % ${NEEDLE_EVERY} = 0 then 'needle ' else '' end || case n % 4
      when 0 then 'GET /api/orders/' || n || ' 200 in ' || n % 900 || ' ms'
      when 1 then 'connection reset by peer while reading response header from upstream, client: 10.0.0.' || n % 255
      when 2 then 'user ' || n % 1000 || ' signed in from Zürich' else 'cache miss for key session:' || md5(n::text) end,
    created_at - interval '3 ms', 'web-' || n % 3, 'app-' || n % 7, '10.0.0.' || n % 4,
    case when n % 2 = 0 then jsonb_build_object('status', 200 + n % 300, 'duration', n % 900, 'request_id', md5(n::text)) end
  from (select n, now() - ($1::bigint - n) * ($2::float8 * interval '1 us') as created_at
        from generate_series($3::bigint, $4::bigint) as n) as line`;

/** Resolves to a table of figures. */
export async function measureViewer(url: string, lines: number, say: (line: string) => void) {
  const dataDir = await mkdtemp(join(tmpdir(), "collector-bench-viewer-"));
  const collector = await startCollector({
    databaseUrl: url,
    dataDir,
    listen: "127.0.0.1:0",
    http: "127.0.0.1:0",
    page: "open",
    log: () => {},
  });
  const ask = async (path: string) => {
    const response = await fetch(`${collector.http}${path}`, { headers: { "x-collector": "1" } });
    if (!response.ok) throw new Error(`Cannot ask ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  };
  try {
    const middle = await ask(`/api/logs?limit=1&until=${DAYS / 2}d`);
    const [line] = middle.rows;
    const steps: [title: string, path: string][] = [
      ["first page, 200 lines", "/api/logs"],
      ["first page of errors", "/api/logs?q=level:error"],
      [`first 50 with a word in 1 of ${NEEDLE_EVERY.toLocaleString("en-US")}`, "/api/logs?q=needle&limit=50"],
      ["histogram and filters of the last hour", "/api/counts?since=1h"],
      [
        "10 lines around one, same sender and app",
        `/api/context?at=${encodeURIComponent(`${line?.created_at},${line?.id}`)}`,
      ],
      ["no match: until progress is seen", "/api/logs?q=nowhere&budget=700"],
    ];
    const alone = await measureAll(steps, ask, say);
    const sender = sendForever(collector.port);
    const beside = await measureAll(steps, ask, say).finally(() => sender.destroy());
    const seconds = await timeExport(`${collector.http}/api/export`);
    say(`download: ${Math.round(lines / seconds).toLocaleString("en-US")} lines/s`);
    return steps.map(([title], at) => [title, alone[at] ?? "", beside[at] ?? ""]);
  } finally {
    await collector.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}

interface Answer {
  rows: { created_at: string; id: string }[];
}

export async function makeLines(sql: postgres.Sql, lines: number, say: (line: string) => void): Promise<void> {
  await sql.unsafe(await readFile(SCHEMA, "utf8"));
  await sql`select create_logs_partition((now() at time zone 'UTC')::date - day) from generate_series(-1, ${DAYS}) as day`;
  const stepUs = (DAYS * 86_400e6) / lines;
  for (let from = 1; from <= lines; from += 1_000_000) {
    await sql.unsafe(MAKE_LINES, [lines, stepUs, from, Math.min(lines, from + 999_999)]);
    say(`made ${Math.min(lines, from + 999_999).toLocaleString("en-US")} lines`);
  }
  await sql`vacuum analyze logs`;
}

async function measureAll(
  steps: [string, string][],
  ask: (path: string) => Promise<unknown>,
  say: (line: string) => void,
): Promise<string[]> {
  const figures: string[] = [];
  for (const [title, path] of steps) {
    await ask(path);
    const times: number[] = [];
    for (let time = 0; time < TIMES; time++) {
      const started = performance.now();
      await ask(path);
      times.push(performance.now() - started);
    }
    figures.push(`${Math.round(times.toSorted((one, other) => one - other)[TIMES / 2] ?? NaN)} ms`);
    say(`${title}: ${figures.at(-1)}`);
  }
  return figures;
}

/** Sends lines as fast as they are taken, until it is destroyed. */
function sendForever(port: number) {
  const lines = Buffer.from(
    `${"the quick brown fox jumps over the lazy dog and keeps running through the forest until evening".repeat(1)}\n`.repeat(
      600,
    ),
  );
  const socket = connect(port, "127.0.0.1");
  const send = () => {
    while (socket.writable && socket.write(lines));
  };
  socket
    .on("error", () => {})
    .on("drain", send)
    .on("connect", send)
    .resume();
  return socket;
}

async function timeExport(url: string): Promise<number> {
  const started = performance.now();
  const response = await fetch(url, { headers: { "x-collector": "1" } });
  for await (const _ of response.body ?? []);
  return (performance.now() - started) / 1000;
}
