/**
 * The log page's figures.
 *
 *     viewer            makes `--lines` lines over 30 days, and asks the page's API as a browser does: beside nothing,
 *                       then beside a sender that sends plain text as fast as it is taken
 *     viewer-tail       plain text with a live tail open, and without, in turns: `--pairs` of them
 *     viewer-browser    the page in Chromium: first paint, letters typed, 1,000 lines a second
 *     viewer-words      what a condition costs, by collation, on a server and on PGlite
 */
/* oxlint-disable no-await-in-loop -- what is measured has the machine for itself */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { PGlite } from "@electric-sql/pglite";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import type postgres from "postgres";
import { median, range } from "../test/support/basics.ts";
import { ROOT } from "../test/support/files.ts";
import type { RunningCollector } from "./collectors.ts";
import { startCollector } from "./collectors.ts";
import { dropTables } from "./logs.ts";
import type { Bench, Table } from "./run.ts";
import { clientOf, count, mib, perSecond, rounded, say, waitFor } from "./run.ts";
import { PLAIN, TEXT } from "./sender.ts";
import { throughCollector } from "./throughput.ts";

const DAYS = 30;
const TIMES = 20;
const TIMES_BESIDE = 5;
const NEEDLE_EVERY = 10_000;
const WALK_MAX_LINES = 10_000_000;
const DOWNLOAD_LINES = 1_000_000;
const PAGE = ["--page", "open"];
const HEADERS = { "x-collector": "1" };

// ---- On many lines ---------------------------------------------------------

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

export async function measureViewer(bench: Bench): Promise<Table> {
  await dropTables(bench.sql);
  await makeLines(bench.sql, bench.lines);
  return measureApi(bench);
}

export async function makeLines(sql: postgres.Sql, lines: number): Promise<void> {
  await sql.unsafe(await readFile(join(ROOT, "schema.sql"), "utf8"));
  await sql`select create_logs_partition((now() at time zone 'UTC')::date - day) from generate_series(-1, ${DAYS}) as day`;
  const stepUs = (DAYS * 86_400e6) / lines;
  for (let from = 1; from <= lines; from += 1_000_000) {
    const to = Math.min(lines, from + 999_999);
    await sql.unsafe(MAKE_LINES, [lines, stepUs, from, to]);
    say(`made ${count(to)} lines`);
  }
  await sql`vacuum analyze logs`;
}

/** Each figure alone, then beside a sender. */
export async function measureApi(bench: Bench): Promise<Table> {
  const collector = await startCollector(bench, bench.url, { flags: PAGE });
  const api = new Api(collector);
  await waitFor("the page", () => api.ask("/api/logs?limit=1").then(Boolean, () => false));
  const alone = await figuresOf(bench, collector, api);
  const sender = sendForever(collector.port);
  const beside = await figuresOf(bench, collector, api, sender).finally(() => sender.destroy());
  await collector.kill();
  const rows = [...alone].map(([what, figure]) => [what, figure, beside.get(what) ?? ""]);
  return {
    title: `the log page on ${count(bench.lines)} lines`,
    head: [`median of ${TIMES}, of ${TIMES_BESIDE} beside a sender`, "alone", "beside a sender"],
    rows,
  };
}

/** By what they are of, in the table's order. */
type Figures = Map<string, string>;

async function figuresOf(bench: Bench, collector: RunningCollector, api: Api, sender?: unknown): Promise<Figures> {
  const figures: Figures = new Map();
  const times = sender ? TIMES_BESIDE : TIMES;
  const note = (what: string, figure: string) => {
    figures.set(what, figure);
    say(`${sender ? "beside a sender: " : ""}${what}: ${figure}`);
  };
  const [line] = (await api.ask(`/api/logs?limit=1&until=${DAYS / 2}d`)).rows;
  const at = encodeURIComponent(`${line?.created_at},${line?.id}`);
  const steps = {
    "first page, 200 lines (limit 200 ms)": "/api/logs",
    "first page of errors": "/api/logs?q=level:error",
    [`first 50 with a word in 1 of ${count(NEEDLE_EVERY)} (limit 1,000 ms)`]: `/api/logs?q=needle&limit=50&until=${hoursAgo(1)}`,
    "histogram and filters of the last hour (limit 500 ms)": "/api/counts?since=1h",
    "10 lines around one, same sender and app (limit 100 ms)": `/api/context?at=${at}`,
  };
  for (const [what, path] of Object.entries(steps))
    note(what, `${count(median(await timesOf(times, () => api.ask(path))))} ms`);
  for (const [what, figure] of await walkInVain(bench, api)) note(what, figure);
  note(
    "  left: until the server does nothing for it (limit 1,000 ms)",
    `${Math.round(await leaveSearch(bench, api))} ms`,
  );
  for (const [what, figure] of await download(bench, collector, api, sender !== undefined)) note(what, figure);
  return figures;
}

const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();

/** In ms; a first time, which warms up, is not counted. */
async function timesOf(times: number, act: () => Promise<unknown>): Promise<number[]> {
  await act();
  const took: number[] = [];
  for (const _ of range(times)) {
    const started = performance.now();
    await act();
    took.push(performance.now() - started);
  }
  return took;
}

/** A word that no line has, as the page looks for it: an answer is asked for after 700 ms. */
async function walkInVain({ lines }: Bench, api: Api): Promise<[string, string][]> {
  const [started, storedBefore] = [performance.now(), await api.stored()];
  let [read, longestMs, end, reached] = [0, 0, "budget", ""];
  while (end === "budget" && read < WALK_MAX_LINES) {
    const asked = performance.now();
    const answer = await api.ask(
      `/api/logs?q=nowhere&budget=700&until=${hoursAgo(1)}${reached && `&before=${reached}`}`,
    );
    longestMs = Math.max(longestMs, performance.now() - asked);
    read += answer.read;
    [end, reached] = [answer.end, encodeURIComponent(answer.reached)];
  }
  const tookMs = performance.now() - started;
  return [
    [`a word without a match in ${count(Math.min(lines, WALK_MAX_LINES))} lines`, `${(tookMs / 1000).toFixed(1)} s`],
    ["  until progress is seen, the longest (limit 1,000 ms)", `${Math.round(longestMs)} ms`],
    ["  lines stored a second meanwhile", rounded(perSecond((await api.stored()) - storedBefore, tookMs))],
  ];
}

/** Leaves a search in its middle; resolves to the ms until the server does nothing for it. */
async function leaveSearch({ sql }: Bench, api: Api): Promise<number> {
  const leaving = new AbortController();
  const asked = api.ask("/api/logs?q=nowhere", leaving.signal).catch(() => {});
  await sleep(300);
  const left = performance.now();
  leaving.abort();
  await asked;
  await waitFor("the statement's end", async () => {
    const [row] = await sql`select count(*)::int as n from pg_stat_activity
      where application_name = 'collector viewer' and state = 'active'`;
    return row?.["n"] === 0;
  });
  return performance.now() - left;
}

/** The oldest million lines; in the middle, the partition that is being read is dropped where `isDropped`. */
async function download(
  { sql }: Bench,
  collector: RunningCollector,
  api: Api,
  isDropped: boolean,
): Promise<[string, string][]> {
  const [bounds] = await sql`
    select min(created_at) as since, max(created_at) + interval '1 us' as until
    from (select created_at from logs order by created_at limit ${DOWNLOAD_LINES}) as line`;
  const [since, until] = [bounds?.["since"] as Date, bounds?.["until"] as Date];
  const before = residentBytes(collector);
  const [started, storedBefore] = [performance.now(), await api.stored()];
  const response = await fetch(`${api.url}/api/export?since=${since.toISOString()}&until=${until.toISOString()}`, {
    headers: HEADERS,
  });
  let [lines, last, peak, droppedMs, rest] = [0, "", before, 0, ""];
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const all = (rest + chunk).split("\n");
    rest = all.pop() ?? "";
    for (const line of all) {
      const time = line.slice(15, 42);
      if (time < last) throw new Error(`Cannot go on: ${time} stands behind ${last}`);
      last = time;
    }
    const isHalf = lines < DOWNLOAD_LINES / 4 && lines + all.length >= DOWNLOAD_LINES / 4;
    lines += all.length;
    peak = Math.max(peak, residentBytes(collector));
    if (isDropped && isHalf) droppedMs = await dropPartitionOf(sql, last);
  }
  const tookMs = performance.now() - started;
  return [
    [`download of ${count(DOWNLOAD_LINES)} lines, lines a second`, rounded(perSecond(lines, tookMs))],
    ["  memory of the collector before, and its peak", `${mib(before)}, ${mib(peak)}`],
    [
      "  drop of the partition that is being read",
      isDropped ? `${Math.round(droppedMs)} ms, ${count(lines)} lines came` : "",
    ],
    ["  lines stored a second during the download", rounded(perSecond((await api.stored()) - storedBefore, tookMs))],
  ];
}

async function dropPartitionOf(sql: postgres.Sql, time: string): Promise<number> {
  const started = performance.now();
  await sql.unsafe(`drop table logs_${time.slice(0, 10).replaceAll("-", "_")}`);
  return performance.now() - started;
}

/** In bytes; NaN where the system has no /proc. */
function residentBytes({ pid }: RunningCollector): number {
  if (process.platform !== "linux") return NaN;
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

interface Answer {
  rows: { created_at: string; id: string }[];
  read: number;
  end: string;
  reached: string;
  next: string;
}

/** A collector's page, as a script asks it. */
class Api {
  readonly #collector: RunningCollector;

  constructor(collector: RunningCollector) {
    this.#collector = collector;
  }

  /** It is printed a moment after the collector listens. */
  get url(): string {
    return /health and metrics on (\S+)/.exec(this.#collector.output())?.[1] ?? "";
  }

  async ask(path: string, signal?: AbortSignal): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, { headers: HEADERS, ...(signal && { signal }) });
    if (!response.ok) throw new Error(`Cannot ask ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  }

  async stored(): Promise<number> {
    const metrics = await (await fetch(`${this.url}/metrics`)).text();
    return Number(/^collector_lines_stored_total (\d+)/m.exec(metrics)?.[1]);
  }
}

/** Sends lines as fast as they are taken, until it is destroyed. */
function sendForever(port: number) {
  const lines = Buffer.from(`${TEXT}\n`.repeat(600));
  const socket = connect(port, "127.0.0.1");
  const send = () => {
    while (socket.writable && socket.write(lines));
  };
  return socket
    .on("error", () => {})
    .on("drain", send)
    .on("connect", send)
    .resume();
}

// ---- With a tail open ------------------------------------------------------

export async function measureViewerTail(bench: Bench): Promise<Table> {
  const ratios: number[] = [];
  const [tailed, bare]: number[][] = [[], []];
  for (const pair of range(bench.pairs)) {
    const outcomes = new Map<boolean, number>();
    for (const isTailed of pair % 2 === 0 ? [true, false] : [false, true]) {
      const { rowsPerS } = await throughCollector(
        bench,
        PLAIN,
        1,
        PAGE,
        (collector) => isTailed && void tail(new Api(collector)),
      );
      outcomes.set(isTailed, rowsPerS);
    }
    const [one, other] = [outcomes.get(true) ?? NaN, outcomes.get(false) ?? NaN];
    tailed?.push(one);
    bare?.push(other);
    ratios.push(one / other);
    say(
      `pair ${pair + 1}: ${count(one)} rows/s with a tail, ${count(other)} without, ratio ${(one / other).toFixed(3)}`,
    );
  }
  const row = [
    "plain text, 4 connections",
    rounded(median(tailed ?? [])),
    rounded(median(bare ?? [])),
    median(ratios).toFixed(3),
  ];
  const head = [
    `${count(bench.lines)} lines, median of ${bench.pairs}`,
    "rows/s with a tail",
    "without",
    "ratio (limit 0.97)",
  ];
  return { title: "plain text with a live tail open", head, rows: [row] };
}

/** Polls as a live page does, until the collector ends. */
async function tail(api: Api): Promise<void> {
  for (let after = ""; ;) {
    const answer = await api
      .ask(`/api/tail?wait=8${after && `&after=${encodeURIComponent(after)}`}`)
      .catch(() => undefined);
    if (!answer && after) return;
    after = answer?.next ?? after;
    if (!answer) await sleep(10); // the tables are not there yet
  }
}

// ---- In a browser ----------------------------------------------------------

const LOADS = 20;
const LETTERS = 40;
const FLOOD_LINES_PER_S = 1000;
const FLOOD_S = 10;
const BROWSER = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"];

const EMPTY_PAGE = '<!doctype html><html lang="en"><title>Empty</title><p>Empty</p></html>';
const OF_ONE_ANSWER = new Set(["connection", "content-length", "date", "keep-alive"]);

/** Resolves to the ms from the start of the navigation, once it has happened. */
const FIRST_PAINT = `new Promise((resolve) => new PerformanceObserver((list) => {
  for (const { name, startTime } of list.getEntries()) if (name === "first-contentful-paint") resolve(startTime);
}).observe({ type: "paint", buffered: true }))`;

/** Notes how long each letter took until the next frame was drawn, and how late each new line is shown. */
const WATCH = `(() => {
  const seen = (window.seen = { letters: [], lags: [], rows: 0, heap: 0, blockedMs: 0 });
  addEventListener("keydown", () => {
    const pressed = performance.now();
    requestAnimationFrame(() => setTimeout(() => seen.letters.push(performance.now() - pressed)));
  }, true);
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => (seen.blockedMs = Math.max(seen.blockedMs, entry.duration))))
    .observe({ entryTypes: ["longtask"] });
  new MutationObserver(() => {
    const rows = document.querySelectorAll("#lines tr.line");
    const sent = Number(/^sent at (\\d+)/.exec(rows[0]?.querySelector(".message")?.textContent ?? "")?.[1] ?? NaN);
    if (sent) seen.lags.push(Date.now() - sent);
    seen.rows = Math.max(seen.rows, rows.length);
    seen.heap = Math.max(seen.heap, performance.memory.usedJSHeapSize);
  }).observe(document.querySelector("#lines tbody"), { childList: true });
})()`;

interface Seen {
  letters: number[];
  lags: number[];
  rows: number;
  heap: number;
  blockedMs: number;
}

export async function measureViewerBrowser(bench: Bench): Promise<Table> {
  await dropTables(bench.sql);
  await makeLines(bench.sql, 100_000);
  const collector = await startCollector(bench, bench.url, { flags: PAGE });
  const api = new Api(collector);
  await waitFor("the page", () => api.url !== "");
  const { url } = api;
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: BROWSER });
  const { paints, emptyPaints } = await measurePaints(browser, url);
  const page = await browser.newPage();
  const seenNow = () => page.evaluate<Seen>("window.seen");
  await page.goto(url);
  await page.locator("#lines tr.line").first().waitFor();
  await showThousand(page);
  await page.evaluate(WATCH);
  await page.locator("#query").focus();
  await page.keyboard.type("x".repeat(LETTERS), { delay: 60 });
  const { letters } = await seenNow();

  await page.goto(url);
  await page.locator("#lines tr.line").first().waitFor();
  await page.evaluate(WATCH);
  await flood(collector.port);
  const live = await seenNow();
  await page.mouse.wheel(0, 400);
  await page.waitForTimeout(500);
  const place = "document.querySelectorAll('#lines tr.line')[30].getBoundingClientRect().top";
  const before = await page.evaluate<number>(place);
  await flood(collector.port);
  const moved = (await page.evaluate<number>(place)) - before;
  const held = await page.locator("#live").textContent();
  const after = await seenNow();
  await browser.close();
  await collector.kill();
  const rate = `${count(FLOOD_LINES_PER_S)} lines a second for ${FLOOD_S} s`;
  const rows = [
    [`first paint in a new tab, of ${LOADS} loads (limit 100 ms)`, medianAndMax(paints)],
    ["  of an empty page with the same headers, in turns", medianAndMax(emptyPaints)],
    ["  the least of each", [paints, emptyPaints].map((times) => `${Math.round(Math.min(...times))} ms`).join(", ")],
    ["a letter typed with 1,000 lines shown, until it is drawn (limit 50 ms)", medianAndMax(letters)],
    [`${rate}: from sending a line until it is shown`, medianAndMax(live.lags)],
    ["  longest task of the page", `${Math.round(live.blockedMs)} ms`],
    ["  lines in the page, and its memory, at most", `${count(live.rows)}, ${mib(live.heap)}`],
    [`scrolled, ${rate}: moved by`, `${moved} px (${held?.trim()})`],
    ["  lines in the page, and its memory, at most", `${count(after.rows)}, ${mib(after.heap)}`],
  ];
  return { title: "the log page in Chromium", head: ["what", "median, longest"], rows };
}

/** In ms. Each load has a tab of its own: in one that shows lines, the browser first takes these down. */
async function measurePaints(browser: Browser, url: string): Promise<{ paints: number[]; emptyPaints: number[] }> {
  const headers = [...(await fetch(url)).headers].filter(([name]) => !OF_ONE_ANSWER.has(name));
  const empty = createServer((_, response) => response.writeHead(200, Object.fromEntries(headers)).end(EMPTY_PAGE));
  await once(empty.listen(0, "127.0.0.1"), "listening");
  const emptyUrl = `http://127.0.0.1:${(empty.address() as AddressInfo).port}/`;
  const [paints, emptyPaints]: [number[], number[]] = [[], []];
  for (const _ of range(LOADS)) {
    paints.push(await firstPaint(browser, url));
    emptyPaints.push(await firstPaint(browser, emptyUrl));
  }
  empty.closeAllConnections();
  empty.close();
  return { paints, emptyPaints };
}

async function firstPaint(browser: Browser, url: string): Promise<number> {
  const page = await browser.newPage();
  await page.waitForTimeout(300); // until the new tab is idle
  await page.goto(url);
  const paint = await page.evaluate<number>(FIRST_PAINT);
  await page.close();
  return paint;
}

const medianAndMax = (values: number[]) => `${Math.round(median(values))}, ${Math.round(Math.max(...values))} ms`;

async function showThousand(page: Page): Promise<void> {
  const shown = () => page.locator("#lines tr.line").count();
  await waitFor("1,000 lines", async () => {
    await page.evaluate("scrollTo(0, document.body.scrollHeight)");
    await page.waitForTimeout(100);
    return (await shown()) >= 1000;
  });
}

/** Sends lines that tell when they were sent. */
async function flood(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1").resume();
  const started = performance.now();
  for (let sent = 0; sent < FLOOD_LINES_PER_S * FLOOD_S;) {
    const due = Math.min(FLOOD_S, (performance.now() - started) / 1000) * FLOOD_LINES_PER_S;
    for (; sent < due; sent++) socket.write(`sent at ${Date.now()}: ${TEXT}\n`);
    await sleep(20);
  }
  socket.end();
  await sleep(1000);
}

// ---- Words -----------------------------------------------------------------

const WORD_LINES = 100_000;
const WORD_TIMES = 7;

const CONDITIONS = [
  "true",
  "level >= 400",
  "message ilike '%zzz%'",
  `message collate "C" ilike '%zzz%'`,
  `lower(message collate "C") like '%zzz%'`,
  `strpos(lower(message collate "C"), 'zzz') > 0`,
  `message collate "C" ilike '%zzz%' or attributes::text collate "C" ilike '%zzz%'`,
  `strpos(lower(message collate "C"), 'zzz') > 0 or strpos(lower(attributes::text collate "C"), 'zzz') > 0`,
  "attributes #>> array['status'] = '504'",
];

/** The least time of some, as others' work makes a time longer only. */
export async function measureViewerWords(bench: Bench): Promise<Table> {
  await bench.sql`create database words_icu encoding 'UTF8' locale_provider icu icu_locale 'en-US' template template0`;
  const icu = clientOf(Object.assign(new URL(bench.url), { pathname: "/words_icu" }).href);
  const embedded = new PGlite();
  const databases = [
    (text: string) => bench.sql.unsafe(text).simple(),
    (text: string) => icu.unsafe(text).simple(),
    (text: string) => embedded.exec(text),
  ];
  const columns: string[][] = [];
  for (const run of databases) {
    await run(`create table words (level int, message text, attributes jsonb);
      insert into words select 200 + n % 3 * 100, 'request ' || n || ' ${TEXT}',
        case when n % 2 = 0 then jsonb_build_object('status', 200 + n % 300, 'duration', n % 900, 'request_id', md5(n::text)) end
      from generate_series(1, ${WORD_LINES}) as n;
      set jit = off; set max_parallel_workers_per_gather = 0`);
    await run("vacuum analyze words");
    const column: string[] = [];
    for (const condition of CONDITIONS)
      column.push(
        `${Math.round(Math.min(...(await timesOf(WORD_TIMES, () => run(`select count(*) from words where ${condition}`)))))} ms`,
      );
    columns.push(column);
  }
  await embedded.close();
  await icu.end();
  await bench.sql`drop table words`;
  const rows = CONDITIONS.map((condition, at) => [`\`${condition}\``, ...columns.map((column) => column[at] ?? "")]);
  const head = [`${count(WORD_LINES)} lines, the least of ${WORD_TIMES}`, "locale C", "ICU en-US", "PGlite"];
  return { title: "conditions of a search", head, rows };
}
