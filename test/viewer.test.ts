/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { once } from "node:events";
import { cp, readFile, stat, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import fc from "fast-check";
import { conditionSql, parseQuery, searchLogs, tailLogs, textOfRow } from "../viewer/viewer.ts";
import type { LogReader, LogRow } from "../viewer/viewer.ts";
import type { Answer } from "../collector.ts";
import { eventually, jsonLines, range } from "./support/basics.ts";
import { ANY_PORT, NOWHERE, Program, ask, runProgram, start, whenStored } from "./support/collectors.ts";
import { ROOT, bareCopy, folder } from "./support/files.ts";
import { databaseWithTables, freshDatabase } from "./support/postgres.ts";
import { converse } from "./support/senders.ts";
import { LEVELS, TOKEN, askApi, embeddedTable, openViewer, serverTable } from "./support/viewer.ts";
import type { Table } from "./support/viewer.ts";

interface Logs {
  rows: LogRow[];
  reached: string;
  read: number;
  end: string;
  next: string;
  terms: { text: string; kind: string }[];
  error: string;
}

interface Counts {
  first_bar: string;
  step_s: number;
  bars: [string, number, number, number][];
  levels: [number, number][];
  apps: [string | null, number][];
  hosts: [string | null, number][];
  matched: number;
  read: number;
  end: string;
}

interface Tailed {
  rows: LogRow[];
  next: string;
  skipped: number;
  isSkippedMore: boolean;
}

interface Context {
  before: LogRow[];
  line: LogRow;
  after: LogRow[];
  ends: { before: string; after: string };
}

const now = Date.now();
const timeAt = (second: number) => new Date(now - 60_000 + second * 1000).toISOString().replace("Z", "456Z");
const messagesOf = (rows: LogRow[]) => rows.map(({ message }) => message);

/** Stores `count` lines `line 1`, `line 2`, …, a millisecond apart, the last one a second ago. */
const store = (table: Table, count: number, message = "'line ' || n") =>
  table.run(`insert into logs (created_at, message, app, peer, host, level)
    select now() - interval '1 s' - (${count} - n) * interval '1 ms', ${message}, 'app-' || n % 2, '10.0.0.' || n % 2,
           'web', case when n % 10 = 0 then 400 else 200 end from generate_series(1, ${count}) n`);

/** Stores `count` lines that are newer than all others. */
const storeNew = (table: Table, count: number) =>
  table.run(`insert into logs (created_at, message)
    select clock_timestamp() + n * interval '1 us', 'new ' || n from generate_series(1, ${count}) n`);

// What each query finds among these lines, by their messages' first words.
const LINES = `insert into logs (created_at, level, message, host, app, peer, attributes) values
  (now() - interval '9 s', 200, 'a GET /health 100% done', 'web-1', 'shop', '10.0.0.1', '{"status": 200, "duration": 12}'),
  (now() - interval '8 s', 300, 'b connection reset by peer', 'web-2', 'shop', '10.0.0.1', '{"status": "503", "duration": "512.5"}'),
  (now() - interval '7 s', 400, 'c Timeout of cart_items', null, 'cart', '10.0.0.2', '{"err": {"code": "ENOENT"}, "tags": ["x", "y"]}'),
  (now() - interval '6 s', 450, 'd C:\\temp\\file timed out', null, 'shipping', '10.0.0.2', '{"err.code": "ENOENT", "note": "say \\"hi\\""}'),
  (now() - interval '5 s', 100, 'e GRÖSSE Größe', null, null, null, null),
  (now() - interval '4 s', 600, 'f 5 * 3 = 15', null, 'SHOP', '::1', '{"status": 50, "duration": "n/a", "a key": "of two words", "path": "http://x/y"}')`;

const FOUND: Record<string, string> = {
  "": "a b c d e f",
  timeout: "c",
  TIMEOUT: "c",
  '"connection reset"': "b",
  '"reset connection"': "",
  "time*out": "c d",
  '"5 * 3"': "f",
  '"5 *"': "f",
  '"time*out"': "",
  "100%": "a",
  "1%0": "",
  cart_items: "c",
  cartXitems: "",
  "C:\\temp": "d",
  "http://x/y": "f",
  'say "hi"': "d",
  größe: "e",
  GRÖSSE: "e",
  ENOENT: "c d",
  "-health": "b c d e f",
  "-ENOENT": "a b e f",
  "--health": "",
  "connection -health reset": "b",
  "app:shop": "a b",
  "app:shop,cart": "a b c",
  "app:sh*": "a b d",
  "app:s*g": "d",
  "app:*": "a b c d f",
  "-app:*": "e",
  "-app:shop": "c d e f",
  "host:web-1": "a",
  "peer:10.0.0.*": "a b c d",
  "-peer:*": "e",
  'message:"f 5 * 3 = 15"': "f",
  "level:error": "c d",
  "level:err,warn": "b c d",
  "level>=warn": "b c d f",
  "level>error": "f",
  "level<warning": "a e",
  "level<=WARN": "a b e",
  "-level:debug": "a b c d f",
  "level:400": "c d",
  "level:nonsense": "",
  "status:503": "b",
  "status:200": "a",
  "status:5*": "b f",
  "status:*": "a b f",
  "-status:*": "c d e",
  "err.code:ENOENT": "c d",
  "tags.1:y": "c",
  '"a key":"of two words"': "f",
  "duration>=500": "b",
  "duration<512.5": "a",
  "duration<=512.5 level>=warn": "b",
  "-duration>12": "a c d e f",
  "duration>=abc": "",
  "app:": "",
  '"open quote': "",
  '"connection': "b",
  "5 > 3": "",
};

async function holdsTheLanguage(table: Table): Promise<void> {
  await table.run(LINES);
  for (const [query, expected] of Object.entries(FOUND)) {
    const found: string[] = [];
    for await (const rows of searchLogs(table.reader, { query }, new AbortController().signal))
      found.push(...messagesOf(rows));
    assert.equal(found.map((message) => message[0]).join(" "), expected, query);
  }
}

/** Texts that are likely to mean something, and to break something. */
const anyQuery = () =>
  fc
    .array(
      fc.oneof(
        fc.constantFrom("level", "app", "status", "a.b", ":", ">=", "<", '"', "\\", "*", "%", "_", ",", " ", "-", "'"),
        fc.constantFrom("$1", "--", "/*", ";", "503", "warn", "1e5", "-3", "\0", "\ud800", "ß", "é", "İ", "😀", "{}"),
        fc.string({ unit: "binary" }),
        fc.string({ unit: "grapheme" }),
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join(""));

async function acceptsAnyText(table: Table, runs: number): Promise<void> {
  await table.run(LINES);
  const signal = new AbortController().signal;
  await fc.assert(
    fc.asyncProperty(anyQuery(), async (query) => {
      const rows = searchLogs(table.reader, { query }, signal);
      while (!(await rows.next()).done);
    }),
    { numRuns: runs },
  );
}

/** Asks with headers that `fetch` would not send. */
const askWith = async (url: string, path: string, headers: Record<string, string>) =>
  new Promise<{ status: number; text: string }>((resolve, reject) => {
    request(`${url}${path}`, { headers }, (response) => {
      let text = "";
      response
        .on("data", (chunk: Buffer) => (text += chunk.toString()))
        .on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    })
      .on("error", reject)
      .end();
  });

/** A table that counts the statements that reach it. */
async function counted(t: TestContext) {
  const table = await serverTable(t);
  const state = { reads: 0 };
  const read: Table["reader"]["read"] = (...given) => (state.reads++, table.reader.read(...given));
  return { reader: { ...table.reader, read }, state };
}

const isAway = () => Promise.reject(new Error("connect ECONNREFUSED"));

const asReader = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const readToken = async (dataDir: string) => readFile(join(dataDir, "page-token"), "utf8");

describe("The query language", () => {
  test("finds what it says, on a server", async (t) => holdsTheLanguage(await serverTable(t)));

  test("finds the same in PGlite", async (t) => holdsTheLanguage(await embeddedTable(t)));

  test("compiles any text to SQL that PostgreSQL takes", async (t) => acceptsAnyText(await serverTable(t), 80));

  test("compiles any text to SQL that PGlite takes", async (t) => acceptsAnyText(await embeddedTable(t), 15));

  test("puts nothing that was typed into the statement", () => {
    fc.assert(
      fc.property(anyQuery(), (query) => {
        const values: string[] = [];
        const parameters = {
          values,
          text: (value: string) => `$${values.push(value)}::text`,
          number: (value: number | string) => `$${values.push(String(value))}::float8`,
          time: () => "",
        };

        const statement = conditionSql(parseQuery(query, LEVELS), parameters);

        const ours =
          /\$\d+::(?:text|float8)|::(?:text|numeric)|'\^-\?[^']*'|"C"|> 0|->>|#>>|>=|<=|<|>|=|~|[(),[\] ]|\b(?:true|and|or|is|not|null|message|attributes|collate|ilike|like|level|coalesce|strpos|lower|array|case|when|then|end|host|app|peer|id)\b/g;
        assert.equal(statement.replaceAll(ours, ""), "", statement);
      }),
      { numRuns: 2000 },
    );
  });

  test("looks at few rows first for a query of many words, as each word costs as much", async () => {
    const offsets: number[] = [];
    const read: Table["reader"]["read"] = async (statement, values) => {
      if (statement.includes("offset")) offsets.push(Number(values.at(-1)));
      return statement.includes("count(") ? [["0"]] : statement.endsWith("limit 1") ? [["1", "1"]] : [];
    };

    for (const words of [1, 8, 80, 1000])
      await searchLogs({ isEmbedded: true, levels: LEVELS, read }, { query: "a ".repeat(words) }, neverAborted).next();

    assert.deepEqual(offsets, [9999, 9999, 999, 99]);
  });

  test("gives each term back as it was typed, so that a chip can take it away", () => {
    const terms = parseQuery(' -app:"a b",c  timeout level>=warn "x y"', LEVELS);

    assert.deepEqual(
      terms.map(({ text }) => text),
      ['-app:"a b",c', "timeout", "level>=warn", '"x y"'],
    );
  });
});

const DATABASES = { "a server": serverTable, PGlite: embeddedTable };

for (const [name, open] of Object.entries(DATABASES)) {
  describe(`The API on ${name}`, () => {
    test("/api/logs gives the newest lines and a key to go on from, to the end of the range, each line once", async (t) => {
      const table = await open(t);
      await store(table, 450);
      const { url } = await openViewer(t, table);

      const pages: Logs[] = [];
      for (let before: string | undefined; pages.at(-1)?.end !== "range"; before = pages.at(-1)?.reached)
        pages.push((await askApi(url, "/api/logs", before ? { before } : {})).body);

      assert.deepEqual(
        messagesOf(pages.flatMap(({ rows }) => rows)),
        range(450).map((n) => `line ${450 - n}`),
      );
      assert.deepEqual(
        pages.map(({ rows, end }) => [rows.length, end]),
        [
          [200, "page"],
          [200, "page"],
          [50, "range"],
        ],
      );
    });

    test("/api/logs counts what it read, and stops at the range's ends", async (t) => {
      const table = await open(t);
      await store(table, 300);
      const { url } = await openViewer(t, table);
      const { rows } = (await askApi(url, "/api/logs")).body as Logs;
      const [since, until] = [rows[150]!.created_at, rows[50]!.created_at];

      const some = (await askApi(url, "/api/logs", { q: "level:error", since, until })).body as Logs;
      const first = (await askApi(url, "/api/logs", { q: "level:error", limit: "3" })).body as Logs;

      assert.deepEqual([some.rows.length, some.read, some.end], [10, 100, "range"]);
      assert.equal(some.rows[0]?.message, "line 240");
      assert.deepEqual(
        [messagesOf(first.rows), first.read, first.end],
        [["line 300", "line 290", "line 280"], 21, "page"],
      );
      assert.equal(first.reached, `${first.rows[2]?.created_at},${first.rows[2]?.id}`);
    });

    test("keeps microseconds, 20 digits of a number and 19 of an id", async (t) => {
      const table = await open(t);
      const time = timeAt(1);
      await table.run(`insert into logs (created_at, id, message, logged_at, attributes)
        values ('${time}', 9223372036854775806, 'x', '2026-11-22 10:00:00.000001+01', '{"n": 12345678901234567890.12}')`);
      const { url } = await openViewer(t, table);

      const { rows } = (await askApi(url, "/api/logs")).body as Logs;
      const at = `${rows[0]!.created_at},${rows[0]!.id}`;
      const { line } = (await askApi(url, "/api/context", { at })).body as Context;
      const download = await fetch(`${url}/api/export`, { headers: { authorization: `Bearer ${TOKEN}` } });

      assert.equal(at, `${time},9223372036854775806`);
      assert.equal(line.logged_at, "2026-11-22T09:00:00.000001Z");
      assert.equal(line.attributes, '{"n": 12345678901234567890.12}');
      assert.equal(
        await download.text(),
        `{"created_at":"${time}","id":"9223372036854775806","level":200,"message":"x","logged_at":"2026-11-22T09:00:00.000001Z",` +
          '"host":null,"app":null,"peer":null,"attributes":{"n": 12345678901234567890.12}}\n',
      );
    });

    test("/api/counts counts by bar, level, app and host, 60 bars at most", async (t) => {
      const table = await open(t);
      await store(table, 3000);
      const { url } = await openViewer(t, table);

      const { body } = await askApi(url, "/api/counts", { since: "15m" });
      const all = body as Counts;
      const errors = (await askApi(url, "/api/counts", { q: "level:error app:app-0" })).body as Counts;

      const sums = [1, 2, 3].map((at) => all.bars.reduce((sum, bar) => sum + Number(bar[at]), 0));
      assert.deepEqual(sums, [2700, 0, 300]);
      assert.deepEqual([all.matched, all.read, all.end, all.step_s], [3000, 3000, "range", 30]);
      assert.deepEqual(all.levels, [
        [200, 2700],
        [400, 300],
      ]);
      assert.deepEqual(Object.fromEntries(all.apps), { "app-0": 1500, "app-1": 1500 });
      assert.deepEqual(all.hosts, [["web", 3000]]);
      assert.deepEqual([errors.matched, errors.apps, errors.step_s], [300, [["app-0", 300]], 1]);
    });

    test("/api/context gives the lines around one, of the same peer and app, host, or all", async (t) => {
      const table = await open(t);
      await store(table, 100);
      const { url } = await openViewer(t, table);
      const { rows } = (await askApi(url, "/api/logs", { q: '"line 50"' })).body as Logs;
      const at = `${rows[0]!.created_at},${rows[0]!.id}`;

      const same = (await askApi(url, "/api/context", { at, before: "2", after: "3" })).body as Context;
      const all = (await askApi(url, "/api/context", { at, by: "all", before: "60", after: "1" })).body as Context;
      const gone = await askApi(url, "/api/context", { at: `${timeAt(0)},7` });

      assert.deepEqual(
        [messagesOf(same.before), messagesOf(same.after)],
        [
          ["line 46", "line 48"],
          ["line 52", "line 54", "line 56"],
        ],
      );
      assert.deepEqual(
        [all.before.length, messagesOf(all.after), all.ends],
        [49, ["line 51"], { before: "range", after: "page" }],
      );
      assert.equal(gone.status, 404);
    });

    test("/api/tail gives each new line that matches, and skips what is too much", async (t) => {
      const table = await open(t);
      await store(table, 10);
      const { url, commit } = await openViewer(t, table);
      const { next } = (await askApi(url, "/api/logs")).body as Logs;

      const waiting = askApi(url, "/api/tail", { after: next, q: "new" });
      await table.run("insert into logs (created_at, message) values (now(), 'new one'), (now(), 'other')");
      commit();
      const first = (await waiting).body as Tailed;
      await table.run(`insert into logs (created_at, message)
        select now() + n * interval '1 us', 'many ' || n from generate_series(1, 700) n`);
      const many = (await askApi(url, "/api/tail", { after: next })).body as Tailed;
      const none = (await askApi(url, "/api/tail", { after: many.next, wait: "0" })).body as Tailed;

      assert.deepEqual(messagesOf(first.rows), ["new one"]);
      assert.deepEqual([many.rows.length, many.skipped, many.isSkippedMore], [500, 202, false]);
      assert.deepEqual([none.rows, none.skipped], [[], 0]);
    });

    test("/api/tail counts no line as skipped that the search before it gave", async (t) => {
      const table = await open(t);
      await store(table, 10);
      let isStored = false;
      const read: LogReader["read"] = async (...statement) => {
        const rows = await table.reader.read(...statement);
        if (!isStored) await storeNew(table, 300); // once the search knows where its tail begins
        isStored = true;
        return rows;
      };
      const { url } = await openViewer(t, { reader: { ...table.reader, read } });

      const { rows, next } = (await askApi(url, "/api/logs")).body as Logs;
      await storeNew(table, 700);
      const { skipped } = (await askApi(url, "/api/tail", { after: next })).body as Tailed;

      assert.deepEqual(messagesOf(rows)[0], "new 300");
      assert.equal(skipped, 200);
    });
  });
}

describe("The tail", () => {
  test("never goes past the oldest line that is not stored yet: two workers commit out of order", async (t) => {
    const table = await serverTable(t);
    const { url, state, commit } = await openViewer(t, table);
    const place = ((await askApi(url, "/api/tail")).body as Tailed).next;
    const insert = (second: number, message: string) =>
      table.run(`insert into logs (created_at, message) values ('${timeAt(second)}', '${message}')`);

    state.oldestUnstoredUs = Date.parse(timeAt(10)) * 1000;
    await insert(20, "late");
    const first = (await askApi(url, "/api/tail", { after: place })).body as Tailed;
    await insert(10, "early");
    state.oldestUnstoredUs = undefined;
    commit();
    const second = (await askApi(url, "/api/tail", { after: first.next })).body as Tailed;

    assert.deepEqual(messagesOf(first.rows), ["late"]);
    assert.deepEqual(messagesOf(second.rows), ["early", "late"]); // who tails drops by key what it has
  });

  test("shows each of 200 batches once that two workers commit out of order", async (t) => {
    const table = await serverTable(t);
    const over = new AbortController();
    const lines = tailLogs(table.reader, "", over.signal);
    const seen: string[] = [];
    const tailing = (async () => {
      for await (const { rows } of lines) {
        seen.push(...messagesOf(rows));
        if (seen.length >= 200) over.abort();
      }
    })();
    await table.run("select pg_sleep(0.5)");

    const worker = async (first: number) => {
      for (const n of range(100).map((at) => first + 2 * at))
        await table.run(
          `insert into logs (created_at, message) values (clock_timestamp() - interval '${(n * 7) % 5} ms', 'batch ${n}')`,
        );
    };
    await Promise.all([worker(0), worker(1)]);
    await tailing.catch(() => {});

    assert.deepEqual(
      seen.toSorted(),
      range(200)
        .map((n) => `batch ${n}`)
        .toSorted(),
    );
  });

  test("refuses a 17th", async (t) => {
    const table = await serverTable(t);
    const { url, viewer } = await openViewer(t, table);
    const { next } = (await askApi(url, "/api/tail")).body as Tailed;

    const sixteen = range(16).map(() => askApi(url, "/api/tail", { after: next, wait: "1" }));
    const asked = await Promise.all([...sixteen, askApi(url, "/api/tail", { after: next, wait: "1" })]);

    assert.equal(asked.filter(({ status }) => status === 429).length, 1);
    viewer.close();
  });
});

describe("Who may look", () => {
  test("is who has the token: no other request reaches the database", async (t) => {
    const { reader, state } = await counted(t);
    const { url } = await openViewer(t, { reader });

    for (const [headers, status] of [
      [{}, 401],
      [{ authorization: "Bearer wrong" }, 401],
      [{ authorization: `Bearer ${TOKEN}x` }, 401],
      [{ authorization: `Basic ${TOKEN}` }, 401],
      [{ "x-collector": "1" }, 401],
      [{ authorization: `Bearer ${TOKEN}`, "sec-fetch-site": "cross-site" }, 403],
      [{ authorization: `Bearer ${TOKEN}`, "sec-fetch-site": "same-site" }, 403],
    ] as const)
      for (const path of ["/api/logs", "/api/counts", "/api/tail", "/api/context", "/api/export", "/api/none"])
        assert.equal((await askWith(url, path, headers)).status, status, `${path} ${JSON.stringify(headers)}`);

    assert.equal(state.reads, 0);
    assert.equal(
      (await askWith(url, "/api/logs", { authorization: `Bearer ${TOKEN}`, "sec-fetch-site": "same-origin" })).status,
      200,
    );
  });

  test("is everyone who can send our header where the page is open", async (t) => {
    const table = await serverTable(t);
    const { url } = await openViewer(t, table, "open");

    assert.equal((await askWith(url, "/api/logs", { "x-collector": "1" })).status, 200);
    assert.equal((await askWith(url, "/api/logs", {})).status, 401);
    assert.equal((await askWith(url, "/api/logs", { "x-collector": "1", "sec-fetch-site": "cross-site" })).status, 403);
  });
});

describe("A request that is wrong", () => {
  test("is answered 400 with the parameter's name", async (t) => {
    const { url } = await openViewer(t, await serverTable(t));
    const refused: [string, Record<string, string>, RegExp][] = [
      ["/api/logs", { since: "yesterday" }, /^Cannot read since: "yesterday" is not an age such as 15m/],
      ["/api/logs", { until: "2026-13-01" }, /^Cannot read until:/],
      ["/api/logs", { before: "x" }, /^Cannot read before:/],
      ["/api/logs", { before: "2026-11-27T00:00:00Z,99999999999999999999" }, /^Cannot read before:/],
      ["/api/logs", { limit: "0" }, /^Cannot read limit: "0" is not a number from 1 to 1000/],
      ["/api/logs", { q: "x".repeat(2001) }, /^Cannot read q: it has 2001 characters/],
      ["/api/counts", { step: "-1" }, /^Cannot read step:/],
      ["/api/counts", { zone: "x" }, /^Cannot read zone:/],
      ["/api/tail", { after: "now" }, /^Cannot read after:/],
      ["/api/tail", { after: "2026-11-27T00:00:00Z,1", wait: "9" }, /^Cannot read wait:/],
      ["/api/context", { at: "" }, /^Cannot read at:/],
      ["/api/context", { at: "2026-11-27T00:00:00Z,1", by: "me" }, /^Cannot read by:/],
      ["/api/export", { format: "xml" }, /^Cannot read format:/],
      ["/api/export", { since: "x" }, /^Cannot read since:/],
    ];

    for (const [path, parameters, reason] of refused) {
      const { status, body } = await askApi(url, path, parameters);
      assert.equal(status, 400, path);
      assert.match((body as Logs).error, reason);
    }
  });

  test("is answered 405 for a method that is not GET, and left to others for another path", async (t) => {
    const { url } = await openViewer(t, await serverTable(t));

    const posted = await fetch(`${url}/api/logs`, { method: "POST" });
    const other = await fetch(`${url}/healthz`);

    assert.deepEqual([posted.status, posted.headers.get("allow"), other.status], [405, "GET", 404]);
  });

  test("is answered 503 with the words of /healthz while the database is away", async (t) => {
    const table = await serverTable(t);
    const { url, state } = await openViewer(t, { reader: { ...table.reader, read: isAway } });
    state.up = false;

    const { status, body } = await askApi(url, "/api/logs");

    assert.deepEqual([status, (body as Logs).error], [503, "database away since then: ECONNREFUSED"]);
  });

  test("waits for its turn, and is answered 429 when that takes too long", { timeout: 120_000 }, async (t) => {
    const table = await serverTable(t);
    const hanging = new AbortController();
    const read = () => once(hanging.signal, "abort").then(() => Promise.reject(new Error("over")));
    const { url } = await openViewer(t, { reader: { ...table.reader, read } });

    const two = [askApi(url, "/api/logs"), askApi(url, "/api/logs")];
    const third = await askApi(url, "/api/logs");
    hanging.abort();

    assert.equal(third.status, 429);
    assert.deepEqual(
      (await Promise.all(two)).map(({ status }) => status),
      [503, 503],
    );
  });

  test("frees the server when its sender goes", async (t) => {
    const table = await serverTable(t);
    const read: Table["reader"]["read"] = (_statement, _values, signal) =>
      table.reader.read("select pg_sleep(1.9)::text", [], signal);
    const { url } = await openViewer(t, { reader: { ...table.reader, read } });
    const busy = async () =>
      (
        await table.reader.read(
          "select count(*) from pg_stat_activity where query like 'select pg_sleep(1.9)%'",
          [],
          new AbortController().signal,
        )
      )[0]?.[0];
    const headers = { authorization: `Bearer ${TOKEN}` };

    await eventually(async () => {
      const leaving = new AbortController();
      const asking = fetch(`${url}/api/logs`, { headers, signal: leaving.signal }).catch(() => {});
      await eventually(async () => assert.notEqual(await busy(), "0"), 1900);
      const left = performance.now();
      leaving.abort();
      await asking;
      while ((await busy()) !== "0");
      assert.ok(performance.now() - left < 1000, "its statement goes on");
    });
  });
});

describe("The download", () => {
  test("is all that matches, oldest first, as NDJSON or as CSV without formulas", async (t) => {
    const table = await serverTable(t);
    await store(table, 5000);
    await table.run(
      `insert into logs (created_at, message, app) values (now(), '=1+1, "quoted"', '@x'), (now(), e'two\\nlines', '-5')`,
    );
    const { url } = await openViewer(t, table);
    const get = async (parameters: string) =>
      (await fetch(`${url}/api/export?${parameters}`, { headers: { authorization: `Bearer ${TOKEN}` } })).text();

    const lines = jsonLines(await get("q=line")) as LogRow[];
    const csv = await get("format=csv&q=-line");
    const none = await get("format=csv&q=nothing");

    assert.deepEqual(messagesOf(lines), [...range(5000).map((n) => `line ${n + 1}`), "two\nlines"]);
    assert.match(csv, /^created_at,id,level,message,logged_at,host,app,peer,attributes\r\n/);
    assert.ok(csv.includes(`,200,"'=1+1, ""quoted""",,,'@x,,\r\n`), csv);
    assert.equal(none, "created_at,id,level,message,logged_at,host,app,peer,attributes\r\n");
  });
});

describe("A line in the terminal", () => {
  test("is one line, in which control and bidi characters are escapes", () => {
    const row = {
      created_at: timeAt(0),
      id: "1",
      level: 450,
      logged_at: null,
      host: "h",
      app: "a",
      peer: null,
      attributes: null,
    };

    const text = textOfRow({ ...row, message: "x\u001b[31m\n\ry\u202e\u009b" }, LEVELS);

    assert.equal(text, `${timeAt(0)} error     a@h x\\u001b[31m\\n\\ry\\u202e\\u009b`);
  });
});

describe("search and tail in the terminal", () => {
  test("search prints what matches, oldest first, as lines or with all columns as JSON", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`insert into logs (created_at, level, message, app, attributes) values
      (now() - interval '3 h', 400, 'long ago', 'shop', null), (now() - interval '2 s', 400, e'first \\x1b[31m', 'shop', '{"n": 12345678901234567890}'),
      (now() - interval '1 s', 400, 'second', 'shop', null), (now(), 200, 'other', 'cart', null)`);
    const how = { environment: { DATABASE_URL: url, COLLECTOR_DATA_DIR: await folder(t) } };

    const text = await runProgram(["search", "app:shop level>=error", "--since", "2h"], how);
    const json = await runProgram(["search", "app:shop", "--json"], how);
    const bad = await runProgram(["search", "x", "--since", "yesterday"], how);

    assert.match(
      text.stdout,
      /^\S+Z error     shop first \\u001b\[31m \{"n": 12345678901234567890\}\n\S+Z error     shop second\n$/,
    );
    const rows = jsonLines(json.stdout) as LogRow[];
    assert.deepEqual(
      [messagesOf(rows), Object.keys(rows[0] ?? {}).length],
      [["long ago", "first \u001b[31m", "second"], 9],
    );
    assert.match(json.stdout, /"attributes":\{"n": 12345678901234567890\}/);
    assert.equal(bad.code, 2);
    assert.match(bad.stderr, /^Cannot read since: "yesterday" is not an age such as 15m/);
  });

  test("tail prints new lines of a running collector on PGlite as they come", { timeout: 300_000 }, async (t) => {
    const dataDir = await folder(t);
    const collector = await Program.start(t, ["--data-dir", dataDir]);
    await converse(collector.port, "old\n");
    const tail = Program.spawn(t, ["tail", "new", "--data-dir", dataDir], {});

    await eventually(async () => {
      await converse(collector.port, "new line\nother\n");
      assert.match(tail.stdout, /info      new line\n/);
    }, 60_000);

    assert.doesNotMatch(tail.stdout, /old|other/);
    tail.signal("SIGINT");
    assert.equal(await tail.ended(), 130);
  });
});

describe("The collector's log page", () => {
  test("shows to who has the token of the data directory what was sent, by connections of its own name", async (t) => {
    const [{ url, sql }, dataDir] = [await freshDatabase(t), await folder(t)];
    const collector = await start(t, { databaseUrl: url, dataDir, http: ANY_PORT });
    const token = await readToken(dataDir);

    await converse(collector.port, 'level=error msg="it broke" status=503\n');
    await whenStored(collector);
    const found = await ask(collector, "/api/logs?q=status:503", asReader(token));
    const others =
      await sql`select count(*)::int as open from pg_stat_activity where application_name = 'collector viewer'`;
    const page = await ask(collector, "/");

    assert.deepEqual(messagesOf((JSON.parse(found.text) as Logs).rows), ["it broke"]);
    assert.ok(others[0]?.["open"] === 1 || others[0]?.["open"] === 2);
    assert.match(page.text, /^<!doctype html>/);
    assert.equal(collector.page, `${collector.http}/#token=${token}`);
    assert.match(token, /^[0-9a-f]{32}$/);
    assert.equal((await stat(join(dataDir, "page-token"))).mode & 0o777, 0o600);
    assert.ok(!collector.logged.join("").includes(token));
  });

  test("shows what is in PGlite, and its tail wakes when a batch is stored", { timeout: 300_000 }, async (t) => {
    const dataDir = await folder(t);
    const collector = await start(t, { databaseUrl: "", dataDir, http: ANY_PORT });
    await converse(collector.port, "first\n");
    await whenStored(collector);
    const reader = asReader(await readToken(dataDir));
    const { next } = JSON.parse((await ask(collector, "/api/logs", reader)).text) as Logs;

    const waiting = ask(collector, `/api/tail?after=${encodeURIComponent(next)}`, reader);
    await converse(collector.port, "second\n");
    const tailed = JSON.parse((await waiting).text) as Tailed;

    assert.deepEqual(messagesOf(tailed.rows), ["second"]);
  });

  test("is closed to names that are not the collector's", async (t) => {
    const collector = await start(t, { http: ANY_PORT });

    for (const path of ["/", "/viewer.js", "/viewer.css", "/api/logs", "/api/none"])
      assert.equal((await ask(collector, path, { headers: { host: "rebound.example" } })).status, 403, path);
  });

  test("is 404 where it is off, or its folder is not there: that is logged", async (t) => {
    const off = await start(t, { http: ANY_PORT, page: "off" });
    const directory = await bareCopy(t, ["collector.ts", "schema.sql"]);
    const program = [process.execPath, "--import", "tsx", "collector.ts"];
    const flags = ["--http", ANY_PORT, "--database-url", NOWHERE, "--drain-timeout", "0s"];
    const bare = await Program.start(t, flags, {}, { program, cwd: directory });

    const [closed, missing] = [await ask(off, "/"), await ask(bare, "/")];

    assert.deepEqual(
      [closed.status, closed.text],
      [404, "no log page: --page is off; there are /healthz and /metrics\n"],
    );
    assert.equal(missing.status, 404);
    assert.match(missing.text, /copy viewer\/ beside collector\.ts/);
    assert.equal((await ask(bare, "/healthz")).status, 200);
  });

  test("works in a bare copy of collector.ts, schema.sql and viewer/", async (t) => {
    const directory = await bareCopy(t, ["collector.ts", "schema.sql"]);
    await cp(join(ROOT, "viewer"), join(directory, "viewer"), { recursive: true });
    const program = [process.execPath, "--import", "tsx", "collector.ts"];
    const flags = ["--http", ANY_PORT, "--database-url", NOWHERE, "--drain-timeout", "0s"];
    const bare = await Program.start(t, flags, {}, { program, cwd: directory });
    await eventually(() => assert.ok(bare.http, "prints no address"));

    assert.match((await ask(bare, "/")).text, /^<!doctype html>/);
    assert.equal((await ask(bare, "/api/logs")).status, 401);
  });

  test("is opened to all by --page open on loopback only", async (t) => {
    const collector = await start(t, { http: ANY_PORT, page: "open" });

    assert.equal(collector.page, `${collector.http}/`);
    assert.equal((await ask(collector, "/api/logs", { headers: { "x-collector": "1" } })).status, 503);
    await assert.rejects(start(t, { http: "0.0.0.0:0", page: "open" }), /^UsageError|Cannot open the log page to all/);
  });

  test("its link is printed by the command page, which makes nothing", async (t) => {
    const dataDir = await folder(t);
    const flags = ["--data-dir", dataDir, "--http", "127.0.0.1:7777"];

    const before = await runProgram(["page", ...flags]);
    await writeFile(join(dataDir, "page-token"), "abc");
    const after = await runProgram(["page", ...flags]);

    assert.deepEqual([before.code, before.stdout], [2, ""]);
    assert.match(before.stderr, /start the collector first/);
    assert.equal(after.stdout, "http://127.0.0.1:7777/#token=abc\n");
  });

  test("its link is the running collector's, wherever that listens, and a command that drops nothing", async (t) => {
    const dataDir = await folder(t);
    const collector = await start(t, { dataDir, http: "0.0.0.0:0" });

    const printed = await runProgram(["page", "--data-dir", dataDir]);
    const { value: asked } = await collector.run({ words: ["page"] }).next();

    assert.match(printed.stdout, /^http:\/\/127\.0\.0\.1:\d+\/#token=[\da-f]{32}\n$/);
    assert.equal(printed.stdout, `${collector.page}\n`);
    assert.equal((asked as Answer).table?.outcome, collector.page);
  });
});

const neverAborted = new AbortController().signal;
