/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/** What every store does, once for each: PostgreSQL, PGlite, and MySQL or MariaDB. */
import assert from "node:assert/strict";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { Collector } from "../collector.ts";
import { eventually } from "./support/basics.ts";
import { NOWHERE, start, whenStored } from "./support/collectors.ts";
import { copyOf, folder } from "./support/files.ts";
import { freshMysql, noMariaDb } from "./support/mariadb.ts";
import { freshDatabase } from "./support/postgres.ts";
import { converse } from "./support/senders.ts";

interface TestStore {
  name: string;
  skip?: string | false;
  /** An empty database of a test's own. */
  databaseUrl: (t: TestContext) => Promise<string>;
  /** Adds, and takes away, a check that refuses messages that begin with "bad". */
  check: string;
  uncheck: string;
  /** Puts a line of three days ago into `logs`. */
  addOld: (level: number, message: string) => string[];
}

const CHECK = "alter table logs add constraint no_bad check (message not like 'bad%')";
const UNCHECK = "alter table logs drop constraint no_bad";

const addOldToPostgres = (level: number, message: string) => [
  "select create_logs_partition(((now() - interval '3 days') at time zone 'UTC')::date)",
  `insert into logs (created_at, level, message) values (now() - interval '3 days', ${level}, '${message}')`,
];

const STORES: TestStore[] = [
  {
    name: "PostgreSQL",
    databaseUrl: async (t) => (await freshDatabase(t)).url,
    check: CHECK,
    uncheck: UNCHECK,
    addOld: addOldToPostgres,
  },
  { name: "PGlite", databaseUrl: async () => "", check: CHECK, uncheck: UNCHECK, addOld: addOldToPostgres },
  {
    name: "MySQL or MariaDB",
    skip: noMariaDb,
    databaseUrl: async (t) => (await freshMysql(t)).url,
    check: CHECK,
    uncheck: UNCHECK,
    addOld: (level, message) => [
      `insert into logs (created_at, level, message) values (utc_timestamp(6) - interval 3 day, ${level}, '${message}')`,
    ],
  },
];

/** The rows of a command's answer, or what it did. */
async function run({ run: ask }: Pick<Collector, "run">, ...words: string[]): Promise<(string | null)[][]> {
  const found: (string | null)[][] = [];
  for await (const { table } of ask({ words, isWrite: true })) {
    if (table === undefined) continue;
    found.push(...(table.columns.length > 0 ? table.rows : [[table.outcome]]));
  }
  return found;
}

const query = (collector: Pick<Collector, "run">, statement: string) => run(collector, "query", statement);

const messagesIn = async (collector: Pick<Collector, "run">) =>
  (await query(collector, "select message from logs order by created_at, id")).map(([message]) => message);

for (const store of STORES) {
  const startOn = async (t: TestContext, options: Parameters<typeof start>[1] = {}) =>
    start(t, { databaseUrl: await store.databaseUrl(t), ...options });

  describe(`store: ${store.name}`, { skip: store.skip }, () => {
    test("a line's columns and attributes arrive, with every digit, whatever its bytes", async (t) => {
      const collector = await startOn(t);
      const digits = "1234567890".repeat(4);
      const lines = [
        "it's \\N a 'plain' line\twith é😀, %s and NULL",
        `{"level":"warn","msg":"json","host":"web-1","app":"shop","price":1.50,"n":${digits},"deep":[[{"a":"\\u0000"}]]}`,
        "<11>1 2026-11-22T10:00:00.123456Z web-2 api 42 ID7 - from syslog",
        'level=error msg="from logfmt" user=bob\'s',
      ];
      const odd = Buffer.concat([Buffer.from("odd "), Buffer.from([0xff, 0xfe])]);

      await converse(collector.port, Buffer.concat([Buffer.from(`${lines.join("\n")}\n`), odd, Buffer.from("\n")]));
      await whenStored(collector);

      const found = await query(
        collector,
        "select level, message, host, app, peer, attributes from logs order by created_at, id",
      );
      assert.deepEqual(
        found.map((row) => row.slice(0, 5)),
        [
          ["200", lines[0], null, null, "127.0.0.1"],
          ["300", "json", "web-1", "shop", "127.0.0.1"],
          ["400", "from syslog", "web-2", "api", "127.0.0.1"],
          ["400", "from logfmt", null, null, "127.0.0.1"],
          ["200", "odd \ufffd\ufffd", null, null, "127.0.0.1"],
        ],
      );
      const attributes = found.map((row) => row[5] ?? "");
      assert.match(attributes[1]!, new RegExp(`"n": ?${digits}[,}]`));
      assert.match(attributes[1]!, /"price": ?1\.50[,}]/);
      assert.equal(JSON.parse(attributes[1]!).deep[0][0].a, "\ufffd");
      assert.equal(JSON.parse(attributes[3]!).user, "bob's");
      assert.equal(JSON.parse(attributes[4]!)["@collector"].raw, odd.toString("base64"));
    });

    test("what the database refuses becomes dead letters, which are listed, stored again as of their time, or dropped", async (t) => {
      const collector = await startOn(t);
      await converse(collector.port, "first\n");
      await whenStored(collector);
      await query(collector, store.check);

      await converse(collector.port, 'good 1\nbad 2\ngood 3\n{"msg":"bad 4","level":"warn"}\ngood 5\n');
      await whenStored(collector);
      const refused = collector.ledger();
      const listed = await run(collector, "dead", "list");
      const dropped = await run(collector, "dead", "drop", String(listed[0]?.[0]));
      await query(collector, store.uncheck);
      const retried = await run(collector, "dead", "retry");

      assert.deepEqual(refused, { received: 6, stored: 4, deadLettered: 2, inJournal: 0 });
      assert.deepEqual(
        listed.map((row) => row.at(-1)),
        ["bad 2", '{"msg":"bad 4","level":"warn"}'],
      );
      assert.deepEqual([dropped, retried], [[["1 dropped"]], [["1 stored, 0 refused again"]]]);
      assert.deepEqual(await messagesIn(collector), ["first", "good 1", "good 3", "bad 4", "good 5"]);
    });

    test("a retried dead letter is read as it would have been: in the collector's zone, and what came of a cut line", async (t) => {
      const collector = await startOn(t, { timezone: "Asia/Tokyo", maxLine: 100 });
      await converse(collector.port, "first\n");
      await whenStored(collector);
      await query(collector, store.check);
      const line = `{"msg":"bad","time":"2026-11-22 10:00:00","x":"${"x".repeat(200)}"}`;

      await converse(collector.port, `${line}\n`);
      await whenStored(collector);
      await query(collector, store.uncheck);
      const retried = await run(collector, "dead", "retry");
      const [row = []] = await query(collector, "select logged_at, attributes from logs where message = 'bad'");

      assert.deepEqual(retried, [["1 stored, 0 refused again"]]);
      assert.match(row[0] ?? "", /^2026-11-22 01:00:00/);
      assert.equal(JSON.parse(row[1] ?? "")["@collector"].cut_from, line.length);
    });

    test("20,000 lines with some that are refused are stored once each, and the ledger adds up", async (t) => {
      const collector = await startOn(t);
      await converse(collector.port, "first\n");
      await whenStored(collector);
      await query(collector, store.check);
      const lines = Array.from({ length: 20_000 }, (_, n) => `${n % 4999 === 0 ? "bad" : "line"} ${n}`);

      await converse(collector.port, `${lines.join("\n")}\n`);
      await whenStored(collector);

      const [counts] = await query(collector, "select count(*), count(distinct message) from logs");
      assert.deepEqual(counts, ["19996", "19996"]);
      assert.deepEqual(collector.ledger(), { received: 20_001, stored: 19_996, deadLettered: 5, inJournal: 0 });
    });

    test("of entries that come again, those that are stored are left out, and the others are stored", async (t) => {
      const [databaseUrl, dataDir] = [await store.databaseUrl(t), await folder(t)];
      const journal = join(dataDir, "journal");
      const first = await start(t, { dataDir, databaseUrl: NOWHERE, drainTimeout: 0 });
      for (const line of ["one", "two", "three"]) await converse(first.port, `${line}\n`);
      await first.close();
      const copy = await copyOf(t, journal);
      const second = await start(t, { dataDir, databaseUrl });
      await whenStored(second);
      const [[last] = []] = await query(second, "select max(position) from log_entries");
      await query(second, `delete from log_entries where position = ${last}`);
      await query(second, "delete from logs where message = 'three'");
      await second.close();

      await rm(journal, { recursive: true });
      await cp(copy, journal, { recursive: true });
      const third = await start(t, { dataDir, databaseUrl });
      await whenStored(third);

      assert.deepEqual(await messagesIn(third), ["one", "two", "three"]);
      assert.deepEqual(third.ledger(), { received: 3, stored: 3, deadLettered: 0, inJournal: 0 });
    });

    test("tables that are dropped while it runs are made again, and what came meanwhile is stored", async (t) => {
      const collector = await startOn(t);
      await converse(collector.port, "before\n");
      await whenStored(collector);

      await query(collector, "drop table logs");
      await converse(collector.port, "after\n");
      await whenStored(collector);

      assert.deepEqual(await messagesIn(collector), ["after"]);
    });

    test("--retention-level deletes the older lines of a level and of those below it, and --retention whole days", async (t) => {
      const [databaseUrl, dataDir] = [await store.databaseUrl(t), await folder(t)];
      const first = await start(t, { databaseUrl, dataDir });
      await converse(first.port, "young\n");
      await whenStored(first);
      for (const [level, message] of [
        [100, "debug"],
        [200, "info"],
        [400, "error"],
      ] as const)
        for (const statement of store.addOld(level, message)) await query(first, statement);
      await first.close();

      const second = await start(t, { databaseUrl, dataDir, retentionLevel: "info=1d" });
      await eventually(async () => assert.deepEqual(await messagesIn(second), ["error", "young"]));
      await second.close();
      if (store.name.startsWith("MySQL")) return; // there, the day went with a later one that had lines
      const third = await start(t, { databaseUrl, dataDir, retention: 86_400_000 });
      await eventually(async () => assert.deepEqual(await messagesIn(third), ["young"]));
    });

    test("query writes nothing without isWrite", async (t) => {
      const collector = await startOn(t);
      await converse(collector.port, "kept\n");
      await whenStored(collector);

      for (const statement of ["delete from logs", "drop table logs", "create table other (a int)"])
        await assert.rejects(async () => {
          for await (const _ of collector.run({ words: ["query", statement] }));
        }, statement);

      assert.deepEqual(await messagesIn(collector), ["kept"]);
    });
  });
}
