/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import fc from "fast-check";
import mysql from "mysql2";
import { DatabaseRefused, UsageError, describeError } from "../collector.ts";
import type { Batch, LogRecord, Store, StoredLine, Table } from "../collector.ts";
import { openMysqlStore } from "../mysql/mysql.ts";
import { DAY, KIB, MIB, eventually, range } from "./support/basics.ts";
import { certificates } from "./support/certificates.ts";
import { Program, bunPath, runProgram, start, whenStored } from "./support/collectors.ts";
import { MODULES, ROOT, bareCopy, folder, undoAfter } from "./support/files.ts";
import { freshMysql, mysqlServer, noMariaDb, setGlobal } from "./support/mariadb.ts";
import { MariaDbServer, connectTo, rows } from "./support/mariadbServer.ts";
import { MUTANTS, isProven, openMutant, proveMysql } from "./support/mysqlProof.ts";
import { Proxy } from "./support/proxies.ts";
import { TirelessSender, converse } from "./support/senders.ts";

const TODAY = Math.floor(Date.now() / DAY);
const TODAY_US = TODAY * DAY * 1000;

const describeStore = noMariaDb
  ? (title: string, run: () => void) => describe(title, { skip: noMariaDb }, run)
  : describe;

/** A store on a URL, with what it logs; closed after the test. */
function storeOn(t: TestContext, url: string, { maxLine = 64 * KIB, workers = 2 } = {}) {
  const logged: string[] = [];
  const log = (line: string) => void logged.push(line);
  const parts = { driver: mysql, log, describe: describeError, UsageError, DatabaseRefused };
  const store = openMysqlStore({ ...parts, url, workers, maxLine });
  undoAfter(t, () => store.close());
  return Object.assign(store, { logged });
}

/** A store that is set up, on a database of this test's own. */
async function freshStore(t: TestContext, prepare?: string) {
  const database = await freshMysql(t);
  const store = storeOn(t, database.url);
  await store.setUp();
  if (prepare !== undefined) await database.sql.query(prepare);
  return { store, ...database };
}

type Fields = Partial<LogRecord> & { message: string; source?: string; notes?: string };

const line = (fields: string | Fields, timeUs = 0): StoredLine => {
  const record = typeof fields === "string" ? { message: fields } : fields;
  const { source = record.message, notes } = record;
  return { level: 200, timeUs, peer: "127.0.0.1", ...record, source, notes };
};

/** A batch of entries of some lines each, received one µs after the other, and its lines by their entries' positions. */
function batchOf(store: Store, entries: (string | Fields)[][], { journal = randomUUID(), timeUs = TODAY_US } = {}) {
  const lines = new Map<number, StoredLine[]>();
  let next = timeUs;
  const made = entries.map((some, at) => {
    const writer = store.createRowWriter(100);
    const parsed = some.map((fields) => line(fields, next++));
    for (const each of parsed) writer.add(each, each.timeUs, each.peer);
    lines.set(1000 * at, parsed);
    return { position: 1000 * at, timeUs: parsed[0]!.timeUs, lines: some.length, rows: writer.written() };
  });
  return { batch: { journal, entries: made } as unknown as Batch, lines };
}

async function storeByLines(
  store: Store,
  { journal, entries }: Batch,
  lines: Map<number, StoredLine[]>,
  ...suspects: string[]
) {
  let refused = 0;
  for (const entry of entries)
    refused += await store.storeLines(journal, entry, lines.get(entry.position) ?? [], new Set(suspects));
  return refused;
}

const storeAll = (store: Store, ...entries: (string | Fields)[][]) => store.storeBatch(batchOf(store, entries).batch);

async function allRows(answer: AsyncIterable<Table>): Promise<Table> {
  const all: Table = { columns: [], rows: [], outcome: "" };
  for await (const { columns, rows: some, outcome } of answer) {
    all.columns = columns;
    all.rows.push(...some);
    all.outcome += outcome;
  }
  return all;
}

const READING = { isWrite: false, timeoutMs: 20_000, maxRows: Infinity, signal: new AbortController().signal };

const queried = (store: Store, statement: string, options = {}) =>
  allRows(store.query(statement, { ...READING, ...options }));

describeStore("MySQL: rows", () => {
  test("every column arrives as it was given, to the microsecond and the byte, whatever is in it", async (t) => {
    const { store, sql } = await freshStore(t);
    const texts = [
      "'",
      "\\",
      "'),(",
      "\\N",
      "NULL",
      "a\tb\nc\rd",
      "é😀\u{10ffff}",
      "\u001a\b\u0001",
      "x\\",
      "),",
      "%s ? :a",
      "  ",
    ];
    const records = texts.map((text) => ({
      level: 300,
      message: text,
      loggedAtUs: TODAY_US - 1,
      host: text,
      app: text,
      attributes: JSON.stringify({ text }),
    }));

    await storeAll(store, records);

    const found = await rows<Record<string, unknown>>(sql, "select * from logs order by created_at");
    assert.deepEqual(
      found.map(({ level, message, logged_at, host, app, attributes }) => ({
        level,
        message,
        logged_at,
        host,
        app,
        attributes,
      })),
      records.map(({ level, message, host, app, attributes }) => ({
        level,
        message,
        host,
        app,
        attributes,
        logged_at: `${new Date(TODAY_US / 1000 - DAY).toISOString().slice(0, 10)} 23:59:59.999999`,
      })),
    );
    assert.equal(found[7]?.["created_at"], `${new Date(TODAY_US / 1000).toISOString().slice(0, 10)} 00:00:00.000007`);
    assert.equal(new Set(found.map(({ id }) => id)).size, texts.length);
  });

  test("texts of any characters arrive the same by LOAD DATA, by INSERT and line by line", async (t) => {
    const { store, sql } = await freshStore(t);
    const text = fc.string({
      unit: fc.constantFrom(...Array.from("'\\,()\n\t\0\u001aN0é😀\ud800 {}\""), "NULL", "),(", "\\'"),
    });
    const samples = fc.sample(fc.tuple(text, text, text), { numRuns: 400, seed: 1 });
    const records = samples.map(([message, host, attributes]) => ({ message: `x${message}`, host, attributes }));
    const expected = records.map(({ message, host, attributes }) =>
      [message, host, attributes].map((value) => (value === "" ? null : value.toWellFormed())),
    );

    await storeAll(store, records);
    const byLoad = await rows<{ message: string; host: string; attributes: string }>(sql, ORDERED);
    await setGlobal(t, "local_infile", 0);
    await sql.query("delete from logs");
    await storeAll(store, records);
    const byInsert = await rows<{ message: string; host: string; attributes: string }>(sql, ORDERED);
    await sql.query("delete from logs");
    const { batch, lines } = batchOf(store, [records]);
    const refused = await storeByLines(store, batch, lines);

    assert.deepEqual(asArrays(byLoad), expected);
    assert.deepEqual(asArrays(byInsert), expected);
    assert.deepEqual(asArrays(await rows(sql, ORDERED)), expected);
    assert.equal(refused, 0);
  });

  test("lines of 64 MiB, JSON with 40 digits and 40 levels, and times that DATETIME can't hold are stored", async (t) => {
    const { url, sql } = await freshMysql(t);
    await setGlobal(t, "max_allowed_packet", 640 * MIB);
    const store = storeOn(t, url, { maxLine: 64 * MIB });
    await store.setUp();
    const digits = "1234567890".repeat(4);
    const attributes = `{"n":${digits}.5,"deep":${"[".repeat(40)}${"]".repeat(40)}}`;
    const big = `${"x".repeat(KIB - 6)}'\\é😀`.repeat(63 * KIB);

    await storeAll(
      store,
      [
        { message: "a", attributes },
        { message: "year 1", loggedAtUs: Date.UTC(1, 0) * 1000 },
        { message: "year 12026", loggedAtUs: Date.UTC(12026, 0) * 1000 },
        { message: "year -1", loggedAtUs: -70_000_000_000_000_000 },
      ],
      [big],
    );
    const { batch, lines } = batchOf(store, [[big]]);
    await storeByLines(store, batch, lines);

    const found = await rows<{ size: number; crc: number; attributes: string; logged_at: string | null }>(
      sql,
      "select length(message) as size, md5(message) as crc, attributes, logged_at from logs order by created_at, id",
    );
    const bySize = found.map(({ size }) => size);
    assert.equal(bySize.filter((size) => size === Buffer.byteLength(big)).length, 2);
    assert.equal(new Set(found.filter(({ size }) => size > MIB).map(({ crc }) => crc)).size, 1);
    assert.ok(found.some((row) => row.attributes === attributes));
    assert.deepEqual(found.map((row) => row.logged_at).filter(Boolean), ["1901-01-01 00:00:00.000000"]);
  });
});

const asArrays = (found: { message: string; host: string; attributes: string }[]) =>
  found.map(({ message, host, attributes }) => [message, host, attributes]);

const ORDERED = "select message, host, attributes from logs order by created_at";

describeStore("MySQL: exactly once", () => {
  test("entries that are stored already are left out, in whatever batches they come again", async (t) => {
    const { store, sql } = await freshStore(t);
    const { batch } = batchOf(store, [["a1", "a2"], ["b"], ["c"], ["d1", "d2"]]);
    const part = (from: number, to: number) => ({ ...batch, entries: batch.entries.slice(from, to) });

    for (const [from, to] of [
      [1, 3],
      [0, 2],
      [0, 4],
      [0, 4],
    ] as const)
      await store.storeBatch(part(from, to));

    assert.deepEqual(await messagesIn(sql), ["a1", "a2", "b", "c", "d1", "d2"]);
    assert.deepEqual(await rows(sql, "select count(*) as n from log_entries"), [{ n: "4" }]);
  });

  test("two stores with the same entries at the same time store each once; the second waits for the first", async (t) => {
    const { store, sql, url } = await freshStore(t);
    const other = storeOn(t, url);
    const { batch, lines } = batchOf(
      store,
      range(50).map((entry) => range(100).map((n) => `${entry}:${n}`)),
    );

    const outcomes = await Promise.allSettled([
      store.storeBatch(batch),
      other.storeBatch({ ...batch, entries: batch.entries.slice(20) }),
      store.storeBatch({ ...batch, entries: batch.entries.slice(0, 30) }),
    ]);
    await store.storeBatch(batch);

    assert.equal(outcomes[0].status, "fulfilled");
    assert.deepEqual(
      await messagesIn(sql),
      [...lines.values()].flat().map(({ message }) => message),
    );
  });

  test("a batch whose transaction fails leaves neither rows nor keys", async (t) => {
    const { store, sql } = await freshStore(t, REFUSING_CHECK);
    const { batch } = batchOf(store, [["good"], ["bad", "good"]]);

    await assert.rejects(store.storeBatch(batch), (error) => store.reactionTo(error) === "content");

    assert.deepEqual(await messagesIn(sql), []);
    assert.deepEqual(await rows(sql, "select * from log_entries"), []);
  });

  test("a connection that is lost in the middle fails the batch at once, and the next try stores it", async (t) => {
    const { url, sql } = await freshStore(t);
    const relay = await proxyBefore(t, url);
    const store = storeOn(t, relay.url);
    await sql.query(SLOW_TRIGGER);
    const { batch } = batchOf(store, [["a", "slow"]]);
    const storing = store.storeBatch(batch);
    await eventually(async () => assert.ok((await processes(sql)).some(({ info }) => /sleep/i.test(info ?? ""))));
    const started = performance.now();

    relay.refuse();
    await assert.rejects(storing, (error) => store.reactionTo(error) === "away");
    const took = performance.now() - started;
    await relay.mend();
    await sql.query("drop trigger slow");
    await store.storeBatch(batch);

    assert.ok(took < 20_000, `${took} ms`);
    assert.deepEqual(await messagesIn(sql), ["a", "slow"]);
  });
});

async function proxyBefore(t: TestContext, url: string): Promise<Proxy> {
  const proxy = await Proxy.before(url);
  undoAfter(t, () => proxy.refuse());
  return proxy;
}

const SLOW_TRIGGER =
  "create trigger slow before insert on logs for each row if new.message = 'slow' then do sleep(3); end if";

const REFUSING_CHECK = "alter table logs add constraint no_bad check (message not like 'bad%')";

const messagesIn = async (sql: mysql.Connection | Awaited<ReturnType<typeof connectTo>>) =>
  (await rows<{ message: string }>(sql as never, "select message from logs order by created_at, id")).map(
    ({ message }) => message,
  );

const processes = (sql: Awaited<ReturnType<typeof connectTo>>) =>
  rows<{ id: number; info: string | null }>(
    sql,
    "select id, info from information_schema.processlist where db = database() and id <> connection_id()",
  );

describeStore("MySQL: what it refuses", () => {
  for (const [what, prepare, sqlstate] of [
    ["a check", REFUSING_CHECK, /^23000 4025|HY000 3819/],
    [
      "a trigger that signals",
      `create trigger refuse before insert on logs for each row
       if new.message like 'bad%' then signal sqlstate '45000' set message_text = 'refused'; end if`,
      /^45000 1644/,
    ],
    ["a column of another type", "alter table logs modify message varchar(6) character set latin1", /^22001 1406/],
    [
      "a column of other characters",
      "alter table logs modify message varchar(20) character set ascii",
      /^(HY000|22007) 1366/,
    ],
  ] as const)
    test(`${what} makes dead letters, with their bytes as they came; the other lines are stored in order`, async (t) => {
      const { store, sql } = await freshStore(t);
      await sql.query(prepare);
      const raw = Buffer.from([...Buffer.from("bad — "), 0xff, 0]);
      const notes = JSON.stringify({ "@collector": { raw: raw.toString("base64") } });
      const given = [
        "good 1",
        { message: "bad — 2", source: "<14>bad — 2" },
        "good 3",
        { message: "bad — \ufffd\ufffd", notes },
        "good 5",
      ];
      const { batch, lines } = batchOf(store, [given]);

      await storeOrTakeApart(store, batch, lines);

      const letters = await rows<{ line: Buffer; state: string; error: string; peer: string }>(sql, LETTERS);
      assert.deepEqual(await messagesIn(sql), ["good 1", "good 3", "good 5"]);
      assert.deepEqual(
        letters.map((letter) => letter.line),
        [Buffer.from("<14>bad — 2"), raw],
      );
      for (const { state, peer, error } of letters) {
        assert.match(state, sqlstate);
        assert.equal(peer, "127.0.0.1");
        assert.notEqual(error, "");
      }
    });

  test("a plain table with a unique index keeps its first row: the second line is a dead letter, not its replacement", async (t) => {
    const { store, sql } = await freshStore(t);
    await sql.query("alter table logs remove partitioning; alter table logs add unique (app(20))");
    const given = [
      { message: "a", app: "one" },
      { message: "b", app: "two" },
      { message: "c", app: "one" },
    ];
    const { batch, lines } = batchOf(store, [given]);

    const refused = await storeOrTakeApart(store, batch, lines);

    assert.equal(refused, 1);
    assert.deepEqual(await messagesIn(sql), ["a", "b"]);
    assert.deepEqual(
      (await rows<{ line: Buffer }>(sql, LETTERS)).map((letter) => letter.line.toString()),
      ["c"],
    );
    assert.deepEqual(store.logged, []);
  });

  test("dead letters are listed as text, stored again as of their own time, put back, or dropped", async (t) => {
    const { store, sql } = await freshStore(t, REFUSING_CHECK);
    const { batch, lines } = batchOf(store, [["bad 1", "good", "bad é", "bad 3"]]);
    await storeOrTakeApart(store, batch, lines);
    const listed = await allRows(store.listDeadLetters(READING));
    const ids = listed.rows.map(([id]) => String(id));
    await sql.query("alter table logs drop constraint no_bad, add constraint no_3 check (message not like '%3')");

    const retried = await store.retryDeadLetters(ids, ({ timeUs, peer, line: bytes }) => [
      { ...line(bytes.toString(), timeUs), peer },
    ]);
    const dropped = await store.dropDeadLetters(
      (await allRows(store.listDeadLetters(READING))).rows.map(([id]) => String(id)),
    );

    assert.deepEqual(
      listed.columns.map(({ name }) => name),
      ["id", "created_at", "peer", "sqlstate", "error", "line"],
    );
    assert.deepEqual(
      listed.rows.map((row) => row.at(-1)),
      ["bad 1", "bad é", "bad 3"],
    );
    assert.deepEqual(retried, { stored: 2, refused: 1 });
    assert.deepEqual(await messagesIn(sql), ["bad 1", "good", "bad é"]);
    assert.equal(dropped, 1);
    assert.deepEqual(await rows(sql, "select * from dead_letters"), []);
  });

  test("an entry that was stored in part, line by line, is gone on with behind its last line", async (t) => {
    const { store, sql } = await freshStore(t);
    const { batch, lines } = batchOf(store, [["one", "two", "three"], ["four"]]);
    const { journal, entries } = batch;
    await store.storeLines(journal, entries[0]!, lines.get(0)!, new Set());
    await sql.query("delete from logs where message = 'three'; update log_entries set stored_lines = 2");

    await assert.rejects(store.storeBatch(batch), (error) => store.reactionTo(error) === "content");
    const refused = await storeByLines(store, batch, lines);

    assert.equal(refused, 0);
    assert.deepEqual(await messagesIn(sql), ["one", "two", "three", "four"]);
    assert.deepEqual(await rows(sql, "select count(stored_lines) as open from log_entries"), [{ open: "0" }]);
  });

  test("a slice of lines that takes too long is ended, and taken in halves", async (t) => {
    const { store, sql } = await freshStore(t, SLOW_TRIGGER);
    const { batch, lines } = batchOf(store, [["slow", "b", "c", "d"]]);
    const storing = storeByLines(store, batch, lines);
    await eventually(async () => assert.equal((await processesOf(sql, /sleep/)).length, 1));

    const [{ id } = { id: 0 }] = await processesOf(sql, /sleep/);
    await sql.query(`kill query ${id}`);

    assert.equal(await storing, 0);
    assert.deepEqual(await messagesIn(sql), ["slow", "b", "c", "d"]);
  });

  test("a code that is suspect counts as the line's own, unless the table takes no line at all", async (t) => {
    const { store, sql } = await freshStore(t);
    const { batch, lines } = batchOf(store, [["good 1", "bad", "good 2"]]);

    await sql.query(oddTrigger("true"));
    await assert.rejects(storeByLines(store, batch, lines, "ER_NO_SUCH_TABLE"), /odd/);
    await sql.query(oddTrigger("new.message = 'bad'"));
    await assert.rejects(storeByLines(store, batch, lines), (error) => store.reactionTo(error) === "set up anew");
    const refused = await storeByLines(store, batch, lines, "ER_NO_SUCH_TABLE");

    assert.equal(refused, 1);
    assert.deepEqual(await messagesIn(sql), ["good 1", "good 2"]);
    assert.deepEqual(
      (await rows<{ state: string }>(sql, LETTERS)).map(({ state }) => state),
      ["42S02 1146"],
    );
  });

  test("errors are described without the server's message, which may quote lines", async (t) => {
    const { store } = await freshStore(t, "alter table logs modify app varchar(3)");
    const { batch } = batchOf(store, [[{ message: "m", app: "secret" }]]);

    const error: unknown = await store.storeBatch(batch).catch((reason: unknown) => reason);

    assert.equal(store.describe(error), "error 1406, SQLSTATE 22001");
  });
});

/** A trigger that poses as the server: "no such table". */
const oddTrigger = (condition: string) => `create or replace trigger odd before insert on logs for each row
  if ${condition} then signal sqlstate '42S02' set mysql_errno = 1146, message_text = 'odd'; end if`;

const LETTERS = "select line, `sqlstate` as state, error, peer from dead_letters order by id";

/** What the collector does: the batch as a whole, or else line by line. */
async function storeOrTakeApart(store: Store, batch: Batch, lines: Map<number, StoredLine[]>): Promise<number> {
  try {
    await store.storeBatch(batch);
    return 0;
  } catch (error) {
    assert.equal(store.reactionTo(error), "content");
    return storeByLines(store, batch, lines);
  }
}

describeStore("MySQL: where LOAD DATA is not allowed", () => {
  test("rows go by INSERT while local_infile is off, which is logged once with the statement that turns it on", async (t) => {
    const { store, sql } = await freshStore(t);
    await setGlobal(t, "local_infile", 0);

    for (const round of range(3))
      await storeAll(
        store,
        range(2000).map((n) => `${round}:${n} ${"x".repeat(2000)}`),
        ["last"],
      );

    assert.equal((await messagesIn(sql)).length, 6003);
    assert.equal(store.logged.length, 1);
    assert.match(store.logged[0]!, /by INSERT, .*; type set global local_infile = 1$/);
  });

  test("a user without the right to delete stores by INSERT, too, and is told what to grant", async (t) => {
    const { name, url, sql } = await freshStore(t);
    const { admin } = await mysqlServer();
    await admin.query(`revoke all on ${name}.* from ${name}; grant select, insert on ${name}.* to ${name}`);
    const store = storeOn(t, url);
    await store.setUp();

    await storeAll(store, ["a", "b"]);

    assert.deepEqual(await messagesIn(sql), ["a", "b"]);
    assert.match(
      store.logged.join("\n"),
      /^cannot load rows into \S+ at \S+: error 1142, .*; grant delete on logs to this user$/,
    );
  });

  test("a max_allowed_packet that --max-line could exceed is refused with the statement that raises it", async (t) => {
    const { url } = await freshMysql(t);
    await setGlobal(t, "max_allowed_packet", 16 * MIB);
    const store = storeOn(t, url, { maxLine: 64 * MIB });

    await assert.rejects(store.setUp(), (error: Error) => {
      assert.ok(error instanceof DatabaseRefused);
      assert.match(
        error.message,
        /max_allowed_packet is 16777216, .*; type set global max_allowed_packet = 671088640, or/,
      );
      return true;
    });
  });
});

describeStore("MySQL: set-up", () => {
  test("schema.sql can be applied again, and a user who may not create goes on where the tables are there", async (t) => {
    const { name, url, sql, store } = await freshStore(t);
    await sql.query(await readFile(join(ROOT, "mysql/schema.sql"), "utf8"));
    const { admin } = await mysqlServer();
    await admin.query(`revoke all on ${name}.* from ${name}; grant select, insert, delete on ${name}.* to ${name}`);

    await store.setUp();
    await storeOn(t, url).setUp();
  });

  test("the rights that docs/mysql.md lists suffice for all that a collector does", async (t) => {
    const { name, url, sql } = await freshMysql(t);
    const { admin } = await mysqlServer();
    const [, rights = ""] = /^grant (.*) on logs\.\* to collector;$/m.exec(
      await readFile(join(ROOT, "docs/mysql.md"), "utf8"),
    )!;
    await admin.query(`revoke all on ${name}.* from ${name}; grant ${rights} on ${name}.* to ${name}`);
    const store = storeOn(t, url);

    await store.setUp();
    await sql.query(REFUSING_CHECK);
    for (const day of [TODAY - 3, TODAY]) await store.makePartition(day);
    const { batch, lines } = batchOf(store, [["good", "bad 1", "bad 2"]]);
    const refused = await storeOrTakeApart(store, batch, lines);
    const [id = ""] = await store.deadLetterIds();
    const retried = await store.retryDeadLetters([id], ({ timeUs, line: bytes }) => [line(bytes.toString(), timeUs)]);
    const dropped = await store.dropDeadLetters(await store.deadLetterIds());
    await store.deleteLevels({ from: 0, to: 100, sinceUs: 0, ageMs: 0 });
    await store.pruneKeys(batch.journal, 1e9);
    await sql.query(AGE_LATE_DAYS);
    const day = await store.dropPartition(DAY);

    assert.deepEqual([refused, retried, dropped, day], [2, { stored: 0, refused: 1 }, 2, nameOf(TODAY - 3)]);
    assert.deepEqual(store.logged, []);
    await assert.rejects(queried(store, "select sleep(9)", { timeoutMs: 200 }), /took longer/);
  });

  test("a table named logs that is not ours, or one of another engine, is refused with words, and left alone", async (t) => {
    for (const [prepare, words] of [
      [
        "create table logs (id int, message text) engine = InnoDB",
        /its table logs lacks created_at, level, .*, so it is not ours; rename it/,
      ],
      [
        "create table log_entries (journal binary(16)) engine = MyISAM",
        /its table log_entries is of MyISAM; type alter table log_entries engine = InnoDB/,
      ],
    ] as const) {
      const { url, sql } = await freshMysql(t);
      await sql.query(prepare);

      await assert.rejects(
        storeOn(t, url).setUp(),
        (error: Error) => error instanceof DatabaseRefused && words.test(error.message),
      );
    }
  });

  test("tables that are gone, and a server that is read-only, are reasons to set up anew", async (t) => {
    const { store, sql } = await freshStore(t);
    await sql.query("drop table logs");

    const { batch } = batchOf(store, [["a"]]);
    await assert.rejects(store.storeBatch(batch), (error) => store.reactionTo(error) === "set up anew");
    await store.setUp();
    await store.storeBatch(batch);

    assert.deepEqual(await messagesIn(sql), ["a"]);
  });

  test("a server that sets sessions otherwise (sql_mode, time zone, autocommit, isolation) changes nothing", async (t) => {
    for (const [variable, value] of [
      ["sql_mode", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"],
      ["time_zone", "+05:00"],
      ["autocommit", 0],
      ["tx_isolation", "READ-UNCOMMITTED"],
    ] as const)
      await setGlobal(t, variable, value);
    const { store, sql } = await freshStore(t);

    await storeAll(store, ["it's a \\ line"]);
    await store.pruneKeys(randomUUID(), 1);

    const [row] = await rows<{ message: string; day: string }>(
      sql,
      "select message, date(created_at) as day from logs",
    );
    assert.deepEqual(row, { message: "it's a \\ line", day: new Date(TODAY * DAY).toISOString().slice(0, 10) });
  });
});

describeStore("MySQL: the proof", () => {
  for (const how of ["load", "insert"] as const)
    test(`20 rounds of two stores, overlapping entries, cuts, kills and changed partitions lose and double nothing (${how})`, async (t) => {
      if (how === "insert") await setGlobal(t, "local_infile", 0);

      const result = await proveMysql(await proofUrl(t), { rounds: 20, seed: 1, how });

      assert.ok(isProven(result), inspect(result));
      assert.ok(result.faults.size >= 10, inspect(result.faults));
    });

  for (const name of Object.keys(MUTANTS))
    test(`a store with one mistake ends wrong: ${name}`, async (t) => {
      const openStore = await openMutant(name);

      const result = await proveMysql(await proofUrl(t), { rounds: 20, seed: 1, how: "load", openStore });

      assert.ok(!isProven(result), inspect(result));
    });
});

/** A database of the proof's own, as the user who may kill sessions. */
async function proofUrl(t: TestContext): Promise<string> {
  const { name } = await freshMysql(t);
  return Object.assign(new URL((await mysqlServer()).url), { pathname: `/${name}` }).href;
}

const partitionsIn = async (sql: Awaited<ReturnType<typeof connectTo>>) =>
  (
    await rows<{ name: string }>(
      sql,
      `select partition_name as name from information_schema.partitions
       where table_schema = database() and table_name = 'logs' order by partition_ordinal_position`,
    )
  ).map(({ name }) => name);

const nameOf = (day: number) => `p${new Date(day * DAY).toISOString().slice(0, 10).replaceAll("-", "")}`;

/** As if what was stored in days that were over had been stored a week ago. */
const AGE_LATE_DAYS = "update late_days set stored_at = stored_at - interval 7 day";

describeStore("MySQL: days", () => {
  test("each has its partition, made ahead and for a backlog, once, whoever makes it", async (t) => {
    const { store, sql, url } = await freshStore(t);
    const other = storeOn(t, url);

    for (const day of [TODAY, TODAY + 1, TODAY - 3, TODAY, TODAY - 2])
      await Promise.all([store, other].map((one) => eventually(() => one.makePartition(day))));

    assert.deepEqual(await partitionsIn(sql), [...[-3, -2, 0, 1].map((ahead) => nameOf(TODAY + ahead)), "future"]);
  });

  test("a backlog's day goes with the next one that has lines already, and no line of another day moves", async (t) => {
    const { store, sql } = await freshStore(t);
    await store.makePartition(TODAY);
    await storeAll(store, ["today"]);

    await store.makePartition(TODAY - 3);
    await store.storeBatch(batchOf(store, [["old"]], { timeUs: TODAY_US - 3 * DAY * 1000 }).batch);

    assert.deepEqual(await partitionsIn(sql), [nameOf(TODAY), "future"]);
    assert.deepEqual(await messagesIn(sql), ["old", "today"]);
  });

  test("dropPartition drops the oldest day that is over, by name; partitions of the user's stay", async (t) => {
    const { store, sql } = await freshStore(t);
    await sql.query(`alter table logs reorganize partition future into
      (partition mine values less than ('2001-02-03'), partition future values less than (maxvalue))`);
    for (const day of [-3, -2, 0]) await store.makePartition(TODAY + day);
    await sql.query(AGE_LATE_DAYS);
    const sinceMidnightMs = Date.now() - TODAY * DAY;

    const dropped = [];
    for (const days of [3, 1, 0, 0]) dropped.push(await store.dropPartition(days * DAY + sinceMidnightMs));

    assert.deepEqual(dropped, [undefined, nameOf(TODAY - 3), nameOf(TODAY - 2), undefined]);
    assert.deepEqual(await partitionsIn(sql), ["mine", nameOf(TODAY), "future"]);
  });

  test("lines that are received years ago by the clock, and stored now, stay as long as others: the later time counts", async (t) => {
    const { store, sql } = await freshStore(t);
    const storeAndTidy = async (day: number, message: string) => {
      await store.makePartition(day);
      await store.storeBatch(batchOf(store, [[message]], { timeUs: day * DAY * 1000 }).batch);
      await store.deleteLevels({ from: 0, to: 600, sinceUs: 0, ageMs: DAY });
      return store.dropPartition(DAY);
    };
    await store.makePartition(TODAY);

    const dropped = [
      await storeAndTidy(TODAY - 1000, "long-ago"),
      await storeAndTidy(TODAY - 1001, "before the oldest"),
    ];
    const kept = await messagesIn(sql);
    await sql.query(`${AGE_LATE_DAYS} where day = utc_date() - interval 1000 day`);
    dropped.push(await store.dropPartition(DAY));
    await sql.query(AGE_LATE_DAYS);
    await store.deleteLevels({ from: 0, to: 600, sinceUs: 0, ageMs: DAY });
    const left = await messagesIn(sql);
    dropped.push(await store.dropPartition(DAY));

    assert.deepEqual(kept, ["before the oldest", "long-ago"]);
    assert.deepEqual([left, dropped], [[], [undefined, undefined, undefined, nameOf(TODAY - 1000)]]);
  });

  test("nothing young is dropped or deleted where our clock is years ahead of the server's", async (t) => {
    const { store, sql } = await freshStore(t);
    await store.makePartition(TODAY);
    await storeAll(store, ["young"]);
    t.mock.method(Date, "now", () => (TODAY + 1000) * DAY);

    const dropped = await store.dropPartition(10 * DAY);
    const { isDone } = await store.deleteLevels({ from: 0, to: 600, sinceUs: 0, ageMs: 10 * DAY });

    assert.deepEqual([dropped, isDone], [undefined, true]);
    assert.deepEqual(await messagesIn(sql), ["young"]);
  });

  test("a reader in the way fails it after a second as its own trouble, while lines go on being stored", async (t) => {
    const { store, sql } = await freshStore(t);
    await store.makePartition(TODAY - 3);
    await store.makePartition(TODAY);
    await sql.query(`${AGE_LATE_DAYS}; begin; select count(*) from logs`);

    const dropping = store.dropPartition(DAY).catch((error: unknown) => error);
    await storeAll(store, ["meanwhile"]);

    assert.equal(store.reactionTo(await dropping), "own");
    await sql.query("rollback");
    assert.deepEqual(await messagesIn(sql), ["meanwhile"]);
    assert.equal(await store.dropPartition(DAY), nameOf(TODAY - 3));
  });

  test("a table that the user partitions otherwise, or not at all, is left as it is", async (t) => {
    const { store, sql } = await freshStore(t, "alter table logs remove partitioning");

    await store.makePartition(TODAY);
    const dropped = await store.dropPartition(DAY);

    assert.equal(dropped, undefined);
    await storeAll(store, ["a"]);
    assert.deepEqual(await messagesIn(sql), ["a"]);
  });

  test("a day whose partition is missing is told from content, and makePartition makes it", async (t) => {
    const { store, sql } = await freshStore(t);
    await store.makePartition(TODAY - 1);
    await sql.query("alter table logs drop partition future");
    const { batch } = batchOf(store, [["a"]]);

    await assert.rejects(store.storeBatch(batch), (error) => store.reactionTo(error) === "partition");
    await store.makePartition(TODAY);
    await store.storeBatch(batch);

    assert.deepEqual(await messagesIn(sql), ["a"]);
  });

  test("deleteLevels deletes levels in stretches of 10,000 lines, from the oldest on", async (t) => {
    const { store, sql } = await freshStore(t);
    const some = range(25_000).map((n) => ({ message: String(n), level: n % 2 === 0 ? 100 : 400 }));
    await storeAll(store, some);
    const reached: number[] = [];

    for (let [sinceUs, isOver] = [0, false]; !isOver; reached.push(sinceUs)) {
      const { nextUs, isDone } = await store.deleteLevels({ from: 0, to: 100, sinceUs, ageMs: 0 });
      [sinceUs, isOver] = [nextUs, isDone];
    }

    assert.deepEqual(reached.slice(0, 2), [TODAY_US + 10_000, TODAY_US + 20_000]);
    assert.equal(reached.length, 3);
    const [counts] = await rows(sql, "select sum(level = 100) as debug, sum(level = 400) as errors from logs");
    assert.deepEqual(counts, { debug: "0", errors: "12500" });
  });
});

describeStore("MySQL: statements of a user's", () => {
  test("rows come as text with their columns, numbers and attributes as JSON that they are, binary as 0x", async (t) => {
    const { store } = await freshStore(t);
    await storeAll(store, [{ message: "m", attributes: '{"a":1.50}' }]);

    const answer = await queried(
      store,
      "select level, message, attributes, 1.50 as price, null as nothing, x'00ff' as bytes, cast(7 as unsigned) as n, 'é' as text from logs",
    );

    assert.deepEqual(answer.rows, [["200", "m", '{"a":1.50}', "1.50", null, "0x00ff", "7", "é"]]);
    assert.deepEqual(
      answer.columns.filter(({ isBare }) => isBare).map(({ name }) => name),
      ["level", "attributes", "price", "n"],
    );
  });

  test("no rows still give the columns, and a statement without rows what it did", async (t) => {
    const { store } = await freshStore(t);

    const empty = await queried(store, "select level, message from logs");
    const done = await queried(store, "insert into logs (created_at, message) values (now(), 'a'), (now(), 'b')", {
      isWrite: true,
    });

    assert.deepEqual([empty.columns.length, empty.rows], [2, []]);
    assert.deepEqual(done, { columns: [], rows: [], outcome: "Query OK, 2 rows affected" });
  });

  test("nothing is written without isWrite, whatever the statement, and only one statement runs", async (t) => {
    const { store, sql } = await freshStore(t);
    await storeAll(store, ["kept"]);
    await sql.query("create procedure emptying() begin commit; delete from logs; commit; end");
    const statements = [
      "delete from logs",
      "drop table logs",
      "truncate logs",
      "alter table logs add column x int",
      "call emptying()",
      "create table other (a int)",
      "select 1; delete from logs",
      "insert into logs (created_at, message) values (now(), 'x')",
      "load data local infile '/etc/passwd' into table logs",
    ];

    for (const statement of statements) await assert.rejects(queried(store, statement), statement);

    assert.deepEqual(await messagesIn(sql), ["kept"]);
  });

  test("a million rows are streamed in bounded memory, and a reader who leaves ends the statement at the server", async (t) => {
    const { store, sql } = await freshStore(t);
    const endless =
      "select a.n, repeat('x', 1000) from (with recursive t as (select 1 as n union all select n + 1 from t where n < 1000) select n from t) as a, (with recursive u as (select 1 as n union all select n + 1 from u where n < 1000) select n from u) as b";
    let [seen, peak] = [0, 0];
    const before = process.memoryUsage().rss;

    for await (const { rows: some } of store.query(endless, READING)) {
      seen += some.length;
      peak = Math.max(peak, process.memoryUsage().rss - before);
      if (seen % 10 === 0) await sleep(1); // a slow reader
      if (seen > 100_000) break;
    }

    assert.ok(peak < 150 * MIB, `${peak} bytes`);
    await eventually(async () => assert.deepEqual(await processesOf(sql, /repeat/), []));
  });

  test("a statement is ended at its deadline, or when its reader gives it up, at the server too", async (t) => {
    const { store, sql } = await freshStore(t);
    const giving = new AbortController();
    const slow = "select sleep(60), 'slow'";

    const started = performance.now();
    await assert.rejects(queried(store, slow, { timeoutMs: 300 }), /took longer than 0\.3 s/);
    const given = queried(store, slow, { signal: giving.signal });
    await eventually(async () => assert.equal((await processesOf(sql, /slow/)).length, 1));
    giving.abort(new Error("gave up"));
    await assert.rejects(given, /gave up/);

    assert.ok(performance.now() - started < 30_000);
    await eventually(async () => assert.deepEqual(await processesOf(sql, /slow/), []));
  });
});

const processesOf = async (sql: Awaited<ReturnType<typeof connectTo>>, pattern: RegExp) =>
  (await processes(sql)).filter(({ info }) => pattern.test(info ?? ""));

describeStore("MySQL: connections", () => {
  test("a server that is away, refuses, or is silent in the middle is away, and its name has no password", async (t) => {
    const { url } = await freshMysql(t);
    const nowhere = storeOn(t, "mysql://user:secret@127.0.0.1:1/db");
    const stranger = storeOn(t, url.replace(/:[^:@]*@/, ":wrong@"));

    const errors = await Promise.all(
      [nowhere, stranger].map((store) => store.setUp().catch((error: unknown) => error)),
    );

    assert.equal(nowhere.name, "MySQL at 127.0.0.1:1/db");
    assert.deepEqual(
      errors.map((error) => nowhere.reactionTo(error)),
      ["away", "away"],
    );
    assert.deepEqual(
      errors.map((error) => nowhere.describe(error)),
      ["ECONNREFUSED, nothing listens there", "error 1045, SQLSTATE 28000, wrong user or password"],
    );
  });

  test("a server that accepts and says nothing fails within 10 s, and close() ends what waits for it", async (t) => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    undoAfter(t, () => silent.close());
    await eventually(() => assert.ok(silent.listening));
    const store = storeOn(t, `mysql://u@127.0.0.1:${(silent.address() as AddressInfo).port}/db`);
    const waiting = store.ping().catch((error: unknown) => error);

    await sleep(100);
    await store.close();

    assert.equal(store.reactionTo(await waiting), "away");
    await assert.rejects(store.ping(), /stopping/);
  });

  test("idle sessions are closed after 5 s, so that a server need not wait for us", async (t) => {
    const { store, sql } = await freshStore(t);
    await store.ping();
    assert.ok((await processes(sql)).length > 0);

    await eventually(async () => assert.deepEqual(await processes(sql), []));
  });

  test("TLS is by ?ssl=: encrypted, or the certificate's chain and name checked; what is wrong is refused", async (t) => {
    const { ca } = await certificates();
    const { url } = await freshMysql(t);
    const { port } = new URL(url);
    const named = url.replace(`127.0.0.1:${port}`, `localhost:${port}`);
    const cipher = async (how: string, base = named) => {
      const store = storeOn(t, `${base}?${how}`);
      const answer = await queried(store, "show session status like 'Ssl_cipher'");
      return answer.rows[0]?.[1] !== "";
    };
    const authority = `ssl-ca=${encodeURIComponent(ca.certFile)}`;

    assert.equal(await cipher("ssl=off"), false);
    assert.equal(await cipher("ssl=require"), true);
    assert.equal(await cipher(`ssl-mode=VERIFY_IDENTITY&${authority}`), true);
    assert.equal(await cipher(`ssl=verify_ca&${authority}`, url), true);
    await assert.rejects(cipher("ssl=verify"), /certificate/);
    await assert.rejects(
      cipher(`ssl=verify&${authority}`, named.replace("localhost", "127.0.0.2")),
      /altnames|ECONNREFUSED/,
    );
  });

  test("over TLS, too, a lost connection rejects what runs at once", async (t) => {
    const { url } = await freshMysql(t);
    const relay = await proxyBefore(t, url);
    const store = storeOn(t, `${relay.url}?ssl=require`);
    await store.setUp();
    const running = queried(store, "select sleep(60)").catch((error: unknown) => error);
    const storing = store.storeBatch(batchOf(store, [["a"]]).batch);
    await storing;
    await sleep(100);
    const started = performance.now();

    relay.refuse();

    assert.ok((await running) instanceof Error);
    assert.ok(performance.now() - started < 20_000);
  });

  test("a URL without a database, or with options that are not ours, is refused without its password", async (t) => {
    for (const [url, words] of [
      ["mysql://u:secret@h", /it names no database/],
      ["mysql://u:secret%e9@h/db", /its % are not UTF-8/],
      ["mysql://u:secret@h/db?debug=true", /it has the option debug; allowed are ssl, ssl-mode, ssl-ca, socket/],
      ["mysql://u:secret@h/db?ssl=maybe", /its ssl is "maybe"; allowed are off, /],
      ["mysql://u:secret@h/db?ssl=verify&ssl-ca=/nowhere", /Cannot read \/nowhere: ENOENT/],
    ] as const)
      assert.throws(
        () => storeOn(t, url),
        (error: Error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, words);
          assert.doesNotMatch(error.message, /secret/);
          return true;
        },
      );
  });
});

describeStore("MySQL: the collector", () => {
  test("under kill -9 of it and of the server every acknowledged line is stored, none twice, in order", async (t) => {
    const server = await MariaDbServer.create(await folder(t));
    undoAfter(t, () => server.stop());
    const admin = await connectTo(server.url);
    await admin.query("create database logs");
    await admin.end();
    const flags = ["--data-dir", await folder(t), "--database-url", `${server.url}/logs`];
    let program = await Program.start(t, flags);
    const again = [...flags, "--listen", `127.0.0.1:${program.port}`];
    const senders = ["a", "b"].map((name) => new TirelessSender(name, program.port));
    for (const sender of senders) undoAfter(t, () => sender.giveUp());
    const acknowledged = () => senders.reduce((sum, sender) => sum + sender.acknowledged.length, 0);
    const more = (lines: number) => {
      const target = acknowledged() + lines;
      return eventually(() => assert.ok(acknowledged() >= target, `${acknowledged()} of ${target}`));
    };

    for (let round = 0; round < 3; round++) {
      await more(1000);
      await server.stop("SIGKILL");
      await more(500);
      await program.kill();
      await server.start();
      program = await Program.start(t, again);
    }
    await Promise.all(senders.map((sender) => sender.stop()));
    const code = await program.stop();

    assert.equal(code, 0, program.stderr);
    const sql = await connectTo(`${server.url}/logs`);
    const stored = await messagesIn(sql);
    await sql.end();
    for (const { name, acknowledged: numbers } of senders) {
      const found = stored.filter((message) => message.startsWith(name)).map((message) => Number(message.slice(2)));
      assert.deepEqual(
        found,
        [...new Set(found)].toSorted((a, b) => a - b),
        "none twice, and in order",
      );
      const known = new Set(found);
      assert.deepEqual(
        numbers.filter((number) => !known.has(number)),
        [],
        "every acknowledged line",
      );
    }
  });

  test("it lists, counts and streams by the command line; lines and the password never appear in its output", async (t) => {
    const { url, sql } = await freshMysql(t);
    const flags = ["--data-dir", await folder(t), "--database-url", url];
    const program = await Program.start(t, flags);
    await eventually(() => partitionsIn(sql).then((names) => assert.equal(names.length, 9)));
    await sql.query(`${REFUSING_CHECK}; create trigger wait before insert on logs for each row
      if new.message like '%wait%' then signal sqlstate '40001' set mysql_errno = 1213, message_text = 'xyzzy'; end if`);

    await converse(program.port, 'bad xyzzy\n{"msg":"bad xyzzy"}\nhello xyzzy\n');
    const listed = await runProgram(["dead", "list", "--json", ...flags]);
    const printed = await runProgram(["query", "select level, message from logs", ...flags]);
    await converse(program.port, "xyzzy wait\n");
    await eventually(() => assert.match(program.stderr, /1213/));
    await program.kill();

    assert.match(printed.stdout, /^level {2}message *\n-+ {2}-+\n200 {4}hello xyzzy\n$/, printed.stderr);
    assert.deepEqual(
      listed.stdout
        .split("\n")
        .filter(Boolean)
        .map((row) => (JSON.parse(row) as { line: string }).line),
      ["bad xyzzy", '{"msg":"bad xyzzy"}'],
    );
    assert.match(program.stderr, new RegExp(`^storing into MySQL at ${new URL(url).host}/\\w+$`, "m"));
    assert.doesNotMatch(program.stderr + program.stdout, /xyzzy|w\?rd|w%3Frd/);
  });

  test("the days of an old backlog get partitions, unless a later day has lines already", async (t) => {
    const { url, sql } = await freshMysql(t);
    const dataDir = await folder(t);
    const past = await start(t, { dataDir, drainTimeout: 0 });
    const clock = t.mock.method(Date, "now", () => (TODAY - 20) * DAY + 1000);
    await converse(past.port, "old\n");
    clock.mock.restore();
    await past.close();

    const collector = await start(t, { dataDir, databaseUrl: url });
    await converse(collector.port, "new\n");
    await whenStored(collector);

    assert.deepEqual(await messagesIn(sql), ["old", "new"]);
    assert.ok((await partitionsIn(sql)).includes(nameOf(TODAY)));
    const [old] = await rows<{ day: string }>(sql, "select date(created_at) as day from logs where message = 'old'");
    assert.equal(old?.day, new Date((TODAY - 20) * DAY).toISOString().slice(0, 10));
  });

  for (const [runtime, command] of [
    ["tsx", [process.execPath, join(MODULES, "tsx/dist/cli.mjs")]],
    ["Bun", [bunPath()]],
  ] as const)
    test(`copied into an empty folder, it works with mysql/ and mysql2 under ${runtime}`, async (t) => {
      const { url, sql } = await freshMysql(t);
      const cwd = await bareCopy(t, ["collector.ts", "schema.sql", "mysql"]);
      const program = [...command, "collector.ts"];

      const collector = await Program.start(t, ["--database-url", url], {}, { program, cwd });
      const replies = await converse(collector.port, "one\n");

      assert.equal(replies, "ok\n");
      await eventually(async () => assert.deepEqual(await messagesIn(sql), ["one"]));
    });

  test("a copy without mysql/, or without mysql2, names what to copy or to install, exit code 2", async (t) => {
    const files = ["collector.ts", "schema.sql"];
    const program = [process.execPath, join(MODULES, "tsx/dist/cli.mjs"), "collector.ts"];
    const folders = [await bareCopy(t, files), await bareCopy(t, [...files, "mysql"], ["tsx"])];
    const flags = ["--listen", "127.0.0.1:0", "--database-url", "mysql://127.0.0.1:1/logs"];

    const [noFolder, noDriver] = await Promise.all(folders.map((cwd) => runProgram(flags, { program, cwd })));

    assert.match(noFolder!.stderr, /^Cannot find \S+mysql\/mysql\.ts: copy the folder mysql\/ beside collector\.ts\n$/);
    assert.equal(noDriver!.stderr, "Cannot find mysql2: type npm i mysql2@3.24.6\n");
    assert.deepEqual([noFolder!.code, noDriver!.code], [2, 2]);
  });
});
