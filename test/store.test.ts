/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import postgres from "postgres";
import type { Collector } from "../collector.ts";
import { startCollector } from "../collector.ts";
import { DAY, eventually, jsonLines, seeded } from "./support/basics.ts";
import { NOWHERE, Program, query, rowsFrom, runProgram, start, whenStored } from "./support/collectors.ts";
import { ROOT, copyOf, folder, undoAfter } from "./support/files.ts";
import { haProxy } from "./support/haproxy.ts";
import { writeJournal } from "./support/journals.ts";
import {
  countOf,
  create,
  databaseWithTables,
  freshDatabase,
  freshRole,
  lockWaits,
  messages,
  missingDatabase,
  pgBouncer,
  proxyBefore,
  rowsOf,
  server,
  terminateConnections,
} from "./support/postgres.ts";
import type { TestDatabase } from "./support/postgres.ts";
import { isInstalled } from "./support/processes.ts";
import { Sender, TirelessSender, converse } from "./support/senders.ts";

describe("linger", () => {
  test("the first line after a quiet moment is stored at once, and what comes within --linger behind it is one batch", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url, linger: 1000 });
    await converse(collector.port, "warm\n");
    await whenStored(collector);
    let sentMs = Infinity;
    while (sentMs > 500) {
      await sql`truncate logs`;
      await sleep(1000);
      const startedMs = performance.now();
      for (const word of ["first", "second", "third"]) await converse(collector.port, `${word}\n`);
      sentMs = performance.now() - startedMs; // a busy machine may take longer than --linger
      await whenStored(collector);
    }

    const rows = await sql<{ message: string; xmin: string; waited: number }[]>`
      select message, xmin, extract(epoch from stored_at - created_at)::float8 as waited
      from logs, lateral (select min(stored_at) as stored_at from log_entries where log_entries.xmin = logs.xmin) as entry
      order by created_at`;
    const [first, second, third] = rows.map(({ message, xmin }) => ({ message, xmin }));
    assert.deepEqual([first?.message, second?.message, third?.message], ["first", "second", "third"]);
    assert.notEqual(first?.xmin, second?.xmin);
    assert.equal(second?.xmin, third?.xmin);
    assert.ok((rows[0]?.waited ?? NaN) < (rows[1]?.waited ?? NaN), `the first line waited ${rows[0]?.waited} s`);
  });

  test("a sender that waits for each ok costs one batch in each --linger, also where a line comes while one is read", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url, linger: 100 });
    const sender = await Sender.connect(t, collector.port);
    const startedMs = performance.now();
    sender.socket.on("data", () => void (performance.now() - startedMs < 1500 && sender.send("next\n")));
    await sender.send("first\n");
    await sleep(1500);
    await whenStored(collector);

    const periods = (performance.now() - startedMs) / 100;
    const [found] = await sql<{ batches: number; lines: number }[]>`
      select count(distinct xmin::text)::int as batches, count(*)::int as lines from logs`;
    const { batches = NaN, lines = NaN } = found ?? {};
    assert.ok(
      batches <= periods + 2 && lines > 2 * batches,
      `${lines} lines in ${batches} batches, ${periods} periods`,
    );
  });
});

describe("exactly once", () => {
  test("under kill -9 at random moments and lost connections every acknowledged line is stored, none twice, in order", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const random = seeded(3);
    const flags = ["--data-dir", await folder(t)];
    let program = await Program.start(t, flags, { DATABASE_URL: url });
    const again = [...flags, "--listen", `127.0.0.1:${program.port}`];
    const senders = ["a", "b", "c", "d"].map((name) => new TirelessSender(name, program.port));
    for (const sender of senders) undoAfter(t, () => sender.giveUp());
    const acknowledged = () => senders.reduce((sum, sender) => sum + sender.acknowledged.length, 0);

    for (let round = 0; round < 6; round++) {
      for (const misfortune of [() => terminateConnections(sql), () => program.kill()]) {
        const target = acknowledged() + Math.ceil(random() * 4000);
        await eventually(() => assert.ok(acknowledged() >= target));
        await misfortune();
      }
      program = await Program.start(t, again, { DATABASE_URL: url });
    }
    await Promise.all(senders.map((sender) => sender.stop()));
    const code = await program.stop();

    assert.equal(code, 0);
    const rows = await sql<{ message: string }[]>`select message from logs order by created_at`;
    for (const { name, acknowledged: numbers } of senders) {
      const stored = rows
        .filter(({ message }) => message.startsWith(name))
        .map(({ message }) => Number(message.slice(2)));
      assert.deepEqual(
        stored,
        [...new Set(stored)].toSorted((a, b) => a - b),
        "none twice, and in order",
      );
      const known = new Set(stored);
      assert.deepEqual(
        numbers.filter((number) => !known.has(number)),
        [],
        "every acknowledged line",
      );
    }
  });

  test("a statement that outlives its collector, waiting for a lock, and the next collector's store no line twice", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const flags = ["--data-dir", await folder(t)];
    const lines = Array.from({ length: 3000 }, (_, index) => `line ${index}`);
    const killed = await Program.start(t, flags, { DATABASE_URL: url });
    await eventually(async () => assert.equal(await countOf(sql, "logs"), 0));
    const lock = await sql.reserve();
    await lock`begin`;
    await lock`lock table logs in exclusive mode`;
    const waiting = (count: number) => eventually(async () => assert.ok((await lockWaits(sql)) >= count));

    assert.equal(await converse(killed.port, `${lines.join("\n")}\n`), "ok\n".repeat(lines.length));
    await waiting(1);
    await killed.kill();
    const outlived = await lockWaits(sql);
    const next = await Program.start(t, flags, { DATABASE_URL: url });
    await waiting(outlived + 1);
    await lock`commit`;
    lock.release();

    await eventually(async () => assert.equal(await countOf(sql, "logs"), lines.length));
    assert.equal(await next.stop(), 0);
    assert.deepEqual(messages(await rowsOf(sql)), lines);
  });

  test("what a copied data directory sends again is stored once, its new lines apart; created_at increases over restarts", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const first = await startCollector({
      listen: "127.0.0.1:0",
      dataDir,
      databaseUrl: NOWHERE,
      http: "off",
      drainTimeout: 0,
      log: () => {},
    });
    await converse(first.port, "one\ntwo\n");
    await first.close();
    const copy = await copyOf(t, dataDir);

    for (const directory of [dataDir, copy]) {
      const next = await start(t, { dataDir: directory, databaseUrl: url });
      await converse(next.port, "three\n");
      await next.close();
    }

    const rows = await sql<
      { message: string; time: string }[]
    >`select message, (extract(epoch from created_at) * 1e6)::bigint::text as time from logs order by created_at`;
    assert.deepEqual(messages(rows), ["one", "two", "three", "three"]);
    assert.equal(new Set(rows.map(({ time }) => time)).size, 4);
  });

  test("the ledger adds up at any time: received = stored + dead-lettered + in the journal", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message <> 'spam')`;
    const collector = await start(t, { databaseUrl: url });
    const sending = converse(collector.port, `${"good\n".repeat(50_000)}spam\n${"good\n".repeat(50_000)}`);

    await eventually(() => {
      const { received, stored, deadLettered, inJournal } = collector.ledger();
      if (received !== stored + deadLettered + inJournal)
        throw new assert.AssertionError({ message: "does not add up" });
      assert.deepEqual([received, inJournal], [100_001, 0]);
    });

    await sending;
    assert.deepEqual(collector.ledger(), { received: 100_001, stored: 100_000, deadLettered: 1, inJournal: 0 });
    assert.equal(await countOf(sql, "logs"), 100_000);
  });
});

describe("dead letters", () => {
  test("a line that a check refuses goes to dead_letters with its bytes and SQLSTATE; the others are stored", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message not like '%spam%')`;
    const collector = await start(t, { databaseUrl: url });
    const lines = ["good 1", "spam 2", "good 3", '{"msg":"spam","price":1.50}', "good 5"];

    await converse(collector.port, `${lines.join("\n")}\n`);
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["good 1", "good 3", "good 5"]);
    const letters = await sql<
      { message: string; sqlstate: string; peer: string; error: string }[]
    >`select convert_from(line, 'UTF8') as message, sqlstate, peer, error from dead_letters order by created_at`;
    assert.deepEqual(messages(letters), ["spam 2", '{"msg":"spam","price":1.50}']);
    assert.ok(letters.every(({ sqlstate, peer }) => sqlstate === "23514" && peer === "127.0.0.1"));
    assert.match(letters[0]?.error ?? "", /no_spam/);
    assert.equal(collector.ledger().deadLettered, 2);
  });

  test("a line that a trigger raises at goes to dead_letters, byte for byte", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`create function refuse() returns trigger language plpgsql as $$
      begin if new.message like '%secret%' then raise exception 'refused: %', new.message; end if; return new; end $$;
      create trigger refuse before insert on logs for each row execute function refuse()`);
    const collector = await start(t, { databaseUrl: url });
    const bad = Buffer.from([...Buffer.from("secret "), 0xff, 0xfe]);

    await converse(collector.port, Buffer.concat([Buffer.from("good\n"), bad, Buffer.from("\ngood\n")]));
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["good", "good"]);
    const [letter] = await sql`select line, sqlstate from dead_letters`;
    assert.deepEqual([letter?.["line"], letter?.["sqlstate"]], [bad, "P0001"]);
  });

  test("dead letters are written once, however often the collector is killed", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message not like '%spam%')`;
    const flags = ["--data-dir", await folder(t)];
    for (let round = 0; round < 2; round++) {
      const program = await Program.start(t, flags, { DATABASE_URL: url });
      await converse(program.port, "spam\n".repeat(50));
      await eventually(async () => assert.equal(await countOf(sql, "dead_letters"), 50 * (round + 1)));
      await program.kill();
    }

    const last = await Program.start(t, flags, { DATABASE_URL: url });
    await last.stop();

    assert.equal(await countOf(sql, "dead_letters"), 100);
  });

  test("of many lines that are all refused each becomes a dead letter, and the lines after them are stored", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message not like '%spam%')`;
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, "spam\n".repeat(20_000));
    await converse(collector.port, `${"good\n".repeat(9999)}spam\n`);
    await whenStored(collector);

    assert.equal(await countOf(sql, "dead_letters"), 20_001);
    assert.equal(await countOf(sql, "logs"), 9999);
  });

  test("dead list prints them, dead retry stores what is no longer refused as of its own time, dead drop forgets", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message not like '%spam%')`;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, 'spam é\n{"level":"error","msg":"spam","price":1.50}\nspam forever\n');
    await whenStored(collector);
    const dead = (...words: string[]) => runProgram(["dead", ...words], { environment: { DATABASE_URL: url } });
    const received = await sql`select created_at from dead_letters order by id`;

    const list = await dead("list", "--json");
    await sql.unsafe("alter table logs drop constraint no_spam, add check (message not like '%forever')");
    const retried = await dead("retry");
    const retriedAgain = await dead("retry", "4");
    const unknown = [await dead("retry", "17", "4", "5"), await dead("drop", "17", "5")];
    const dropped = await dead("drop", "5");

    assert.deepEqual(
      jsonLines(list.stdout).map((letter) => (letter as { line: string }).line),
      ["spam é", '{"level":"error","msg":"spam","price":1.50}', "spam forever"],
    );
    assert.equal(retried.stdout, "2 stored, 1 refused again\n");
    assert.equal(retriedAgain.stdout, "0 stored, 1 refused again\n");
    for (const { code, stderr } of unknown) {
      assert.match(stderr, /^Cannot run dead \w+: there is no dead letter 17(?:, 4)?; nothing was done\n$/);
      assert.equal(code, 1);
    }
    assert.equal(dropped.stdout, "1 dropped\n");
    const rows = await rowsOf(sql);
    assert.deepEqual(messages(rows), ["spam é", "spam"]);
    assert.deepEqual(
      rows.map(({ level }) => level),
      [200, 400],
    );
    assert.deepEqual(
      rows.map(({ created_at }) => created_at),
      received.slice(0, 2).map((row) => row["created_at"]),
    );
  });

  test("dead works on the embedded database, beside a running collector and without one", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await query([...flags, "--write"], "alter table logs add constraint no_spam check (message <> 'spam') not valid");
    await converse(program.port, "spam\ngood\n");

    const beside = await runProgram(["dead", "retry", ...flags]);
    await program.stop();
    const without = await runProgram(["dead", "drop", ...flags]);

    assert.equal(beside.stdout, "0 stored, 1 refused again\n");
    assert.equal(without.stdout, "1 dropped\n");
  });
});

describe("database", () => {
  test("lines are acknowledged while the database does not exist, which is logged once, and arrive when it does", async (t) => {
    const database = await missingDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: database.url });
    const replies = await converse(program.port, "one\ntwo\n");
    await eventually(() => assert.match(program.stderr, /3D000/));

    await create(database);

    assert.equal(replies, "ok\nok\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(database.sql)), ["one", "two"]));
    await eventually(() => assert.match(program.stderr, / is back/));
    assert.equal(program.stderr.match(/3D000/g)?.length, 1);
  });

  test("a database that goes away and comes back is logged once each, and everything arrives once", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const proxy = await proxyBefore(t, url);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: proxy.url });
    await converse(program.port, "before\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before"]));

    proxy.refuse();
    const replies = await converse(program.port, "during\n".repeat(1000));
    await eventually(() => assert.match(program.stderr, /cannot store/));
    await proxy.mend();

    assert.equal(replies, "ok\n".repeat(1000));
    await eventually(async () => assert.equal(await countOf(sql, "logs"), 1001));
    await eventually(() => assert.match(program.stderr, / is back/));
    assert.deepEqual([program.stderr.match(/ is back/g)?.length, await program.stop()], [1, 0]);
  });

  test("what an operator can mend is told in words: host, password, database, rights", async (t) => {
    const { url, sql, name } = await freshDatabase(t);
    const role = await freshRole(t);
    const as = (user: string, password: string) => Object.assign(new URL(url), { username: user, password }).href;
    const causeOf = async (databaseUrl: string) => {
      const collector = await start(t, { databaseUrl });
      await eventually(() => assert.equal(collector.health().database.state, "away"));
      return collector.health().database.cause ?? "";
    };
    const port = await serverThatRefuses(t, "28P01");
    const own = `grant that, or use a new database of its own: create database ${name}_2 owner ${role}`;

    assert.match(await causeOf("postgres://nowhere.invalid/x"), /^(?:ENOTFOUND, there is no host|EAI_AGAIN, no name)/);
    assert.equal(await causeOf(NOWHERE), "ECONNREFUSED, nothing listens there");
    assert.equal(
      await causeOf(`postgres://app:wrong@127.0.0.1:${port}/x`),
      "SQLSTATE 28P01, wrong password of user app",
    );
    assert.match(
      await causeOf(`postgres://app@127.0.0.1:${port}/x`),
      /of user app; there is none in the URL, PGPASSWORD/,
    );
    await sql.unsafe("revoke create on schema public from public");
    assert.match(await causeOf(as(role, role)), new RegExp(`^SQLSTATE 42501, .*denied for schema public; ${own}$`));
    await sql.unsafe("revoke all on schema public from public");
    assert.match(await causeOf(as(role, role)), new RegExp(`^SQLSTATE 3F000, .*; ${own}$`));
  });

  test("an outage is one line, whatever the causes it goes through; its end is logged at once", async (t) => {
    const { admin } = await server();
    const { url, name } = await databaseWithTables(t);
    const proxy = await proxyBefore(t, url);
    const collector = await start(t, { databaseUrl: proxy.url });
    await eventually(() => assert.ok(collector.health().database.up));

    proxy.refuse();
    await converse(collector.port, "line\n");
    await eventually(() => assert.ok(!collector.health().database.up));
    await admin.unsafe(`alter database ${name} allow_connections false`);
    await proxy.mend();
    await eventually(() => assert.match(String(collector.health().database.cause), /55000/));
    await admin.unsafe(`alter database ${name} allow_connections true`);
    await whenStored(collector);

    await eventually(() => assert.match(collector.logged.join("\n"), / is back/));
    assert.equal(collector.logged.filter((line) => line.startsWith("cannot store")).length, 1);
  });

  test("when one batch is stored after an outage, the others are tried at once, and the database counts as up", async (t) => {
    const { url } = await databaseWithTables(t);
    const proxy = await proxyBefore(t, url);
    const words = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    const collector = await start(t, { databaseUrl: proxy.url, linger: 1, workers: words.length });
    await eventually(() => assert.ok(collector.health().database.up));
    proxy.refuse();
    for (const word of words) {
      await converse(collector.port, `${word}\n`);
      await sleep(200); // so that each is a batch
    }
    await sleep(8000); // until the tries are seconds apart

    await proxy.mend();
    await eventually(() => assert.ok(collector.ledger().stored >= 1));
    const storedAt = performance.now();
    await eventually(() => assert.ok(collector.health().database.up && collector.ledger().stored === words.length));

    assert.ok(performance.now() - storedAt < 3000); // by its own pace, one of seven would take longer
  });

  test("statements that the server cancels or refuses for a while are tried again until they succeed", async (t) => {
    const { admin } = await server();
    const { url, sql, name } = await databaseWithTables(t);
    await sql`alter database ${sql(name)} set default_transaction_read_only = on`;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "line\n");
    await eventually(() => assert.match(collector.logged.join("\n"), /25006/));

    await admin`alter database ${sql(name)} set default_transaction_read_only = off`;
    await terminateConnections(sql);

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["line"]));
  });

  test("a table named logs that is not ours is refused with words and exit code 1, its rows untouched", async (t) => {
    const { url, sql } = await freshDatabase(t);
    await sql`create table logs (id int, text text)`;

    const end = await runProgram(["--listen", "127.0.0.1:0", "--data-dir", await folder(t)], {
      environment: { DATABASE_URL: url },
    });

    assert.equal(end.code, 1);
    assert.match(end.stderr, /logs lacks .*created_at/);
    assert.equal((await sql`select from pg_class where relname = 'log_entries'`).length, 0);
  });

  test("a database whose encoding is not UTF8 is refused with words and exit code 1", async (t) => {
    const { url } = await freshDatabase(t, "encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0");

    const end = await runProgram(["--listen", "127.0.0.1:0", "--data-dir", await folder(t)], {
      environment: { DATABASE_URL: url },
    });

    assert.equal(end.code, 1);
    assert.match(end.stderr, /encoding is SQL_ASCII, not UTF8/);
  });

  test("a role that may not create things goes on where they are there", async (t) => {
    const role = await freshRole(t);
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`revoke create on schema public from public;
      revoke temporary on database ${name} from public; grant usage on schema public to ${role};
      grant select, insert, update, delete on all tables in schema public to ${role}`);
    const asRole = Object.assign(new URL(url), { username: role, password: role }).href;
    const collector = await start(t, { databaseUrl: asRole });

    await converse(collector.port, "line\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["line"]));
  });

  test("row-level security, under which PostgreSQL takes no COPY, lets a role's lines in by its policies", async (t) => {
    const role = await freshRole(t);
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`grant select, insert, update, delete on all tables in schema public to ${role};
      alter table logs enable row level security; create policy mine on logs using (level < 400) with check (true)`);
    const asRole = Object.assign(new URL(url), { username: role, password: role }).href;
    const collector = await start(t, { databaseUrl: asRole });

    await converse(collector.port, "one\nERROR two\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "ERROR two"]));
    assert.equal(collector.logged.filter((line) => line.includes("cannot store")).length, 0);
  });

  test("a logs whose columns have other types gets its lines as PostgreSQL casts them", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs alter column level type int, alter column attributes type json, alter column app type varchar`;
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, '<11>1 - - shop - - - hello\n{"level":"warn","msg":"x","id":7}\n');
    await whenStored(collector);

    const rows = await sql`select level, message, app, attributes::text from logs order by created_at`;
    assert.deepEqual(
      rows.map((row) => ({ ...row })),
      [
        { level: 400, message: "hello", app: "shop", attributes: '{"facility":"user"}' },
        { level: 300, message: "x", app: null, attributes: '{"id":7}' },
      ],
    );
  });

  test("where it stores is logged without the password, whatever characters that has", async (t) => {
    const collector = await start(t, { databaseUrl: "postgres://user:p@ss:w@127.0.0.1:1/none?password=x" });

    assert.match(collector.logged.join("\n"), /storing into PostgreSQL at 127\.0\.0\.1:1\/none$/m);
  });

  test("a command that none knows is refused, and drops nothing", async (t) => {
    const collector = await start(t);

    for (const words of [[], ["dead"], ["dead", "drop", "all"], ["frobnicate", "x"]])
      await assert.rejects(rowsFrom(collector.run({ words })), /Cannot run/);
  });

  test("schema.sql can be applied again, and again beside a running collector", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const schema = await readFile(join(ROOT, "schema.sql"), "utf8");
    const collector = await start(t, { databaseUrl: url });

    await sql.unsafe(schema);
    await converse(collector.port, "line\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["line"]));
  });

  test("partitions of the coming week are made at the start, and there is no default partition", async (t) => {
    const { url, sql } = await freshDatabase(t);
    await start(t, { databaseUrl: url });

    const days = Array.from({ length: 8 }, (_, index) => `logs_${dayAhead(index)}`);

    await eventually(async () => assert.deepEqual((await partitionsOf(sql)).toSorted(), days));
  });

  test("a partition that was dropped is made again, and so are the days of an old backlog", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2001, 1, 3, 4, 5) });
    await writeJournal(join(dataDir, "journal"), ["long-ago"]);
    t.mock.timers.reset();
    const collector = await start(t, { databaseUrl: url, dataDir });
    await converse(collector.port, "one\n");
    await whenStored(collector);

    for (const name of await partitionsOf(sql)) if (name !== "logs_2001_02_03") await sql`drop table ${sql(name)}`;
    await converse(collector.port, "two\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["long-ago", "two"]));
    const [row] = await sql`select created_at from logs where message = 'long-ago'`;
    assert.equal(row?.["created_at"].getTime(), Date.UTC(2001, 1, 3, 4, 5));
  });

  test("tables that are dropped while it runs are made again, and what came meanwhile is stored", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "one\n");
    await whenStored(collector);

    await sql`drop table logs, log_entries, dead_letters`;
    await converse(collector.port, "two\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["two"]));
  });

  test("log contents, and what the server quotes of them, never appear in the collector's output, nor do passwords", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`alter table logs add constraint no_spam check (message not like '%spam%');
      create function refuse() returns trigger language plpgsql as $$
      begin if new.message like '%raise%' then raise exception 'refused: %', new.message; end if;
            if new.message like '%wait%' then raise exception using errcode = '40001', message = new.message; end if;
      return new; end $$;
      create trigger refuse before insert on logs for each row execute function refuse()`);
    const program = await Program.start(t, ["--data-dir", await folder(t), "--drain-timeout", "0s"], {
      DATABASE_URL: url.replace(/\/\/([^:@]*)(:[^@]*)?@/, "//$1:hunter2@"),
    });

    await converse(program.port, 'xyzzy spam\nxyzzy raise\n{"msg":"xyzzy spam"}\n');
    await eventually(async () => assert.equal(await countOf(sql, "dead_letters"), 3));
    await converse(program.port, "xyzzy wait\n");
    await eventually(() => assert.match(program.stderr, /40001/));
    await program.stop();

    assert.doesNotMatch(program.stderr, /xyzzy|hunter2/);
    assert.doesNotMatch(program.stdout, /xyzzy|hunter2/);
  });
});

describe("retention", () => {
  test("--retention drops the days that are older as a whole; later days, days ahead and other partitions stay", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 5);
    await sql`create table logs_archive partition of logs for values from ('2001-01-01+00') to ('2002-01-01+00')`;
    await sql`create table logs_2002_01_01 partition of logs for values from ('2002-01-01+00') to ('2002-01-03+00')`;

    const collector = await start(t, { databaseUrl: url, retention: 2 * DAY });

    const kept = Array.from({ length: 10 }, (_, index) => `logs_${dayAhead(index - 2)}`); // the third is partly younger
    await eventually(async () =>
      assert.deepEqual((await partitionsOf(sql)).toSorted(), ["logs_2002_01_01", ...kept, "logs_archive"]),
    );
    const dropped = [5, 4, 3].map((n) => `dropped logs_${dayAhead(-n)}: all of its lines are older than --retention`);
    await eventually(() =>
      assert.deepEqual(
        collector.logged.filter((line) => line.startsWith("dropped")),
        dropped,
      ),
    );
  });

  test("while a long reader is in the way inserts wait for a moment only; it is logged once, and done when the reader is gone", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 3);
    const reader = await sql.reserve();
    await reader`begin`;
    await reader`select count(*) from logs`;
    const collector = await start(t, { databaseUrl: url, retention: DAY });
    const slowest = { ms: 0 };

    for (let line = 0; !/55P03/.test(collector.logged.join("\n")) || line < 20; line++) {
      const since = performance.now();
      await converse(collector.port, "line\n");
      await whenStored(collector);
      slowest.ms = Math.max(slowest.ms, performance.now() - since);
    }
    const held = await partitionsOf(sql);
    await reader`commit`;
    reader.release();

    await eventually(async () => assert.equal((await partitionsOf(sql)).length, 9));
    assert.ok(held.includes(`logs_${dayAhead(-3)}`));
    assert.ok(slowest.ms < 20_000, `${slowest.ms} ms`);
    await eventually(() => assert.match(collector.logged.join("\n"), /can drop old lines again/));
    assert.ok(collector.health().maintained["retention"]);
    assert.equal(collector.logged.filter((line) => line.includes("cannot drop old lines")).length, 1);
  });

  test("several collectors on one database drop the same days and levels without a word", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 40);
    const options = { databaseUrl: url, retention: 10 * DAY, retentionLevel: "debug=1d" };

    const collectors = await Promise.all([1, 2, 3].map(() => start(t, options)));

    await eventually(async () => assert.equal((await partitionsOf(sql)).length, 18));
    await eventually(async () => assert.deepEqual(await countsByLevel(sql), { 200: 10, 300: 10 }));
    for (const { logged } of collectors) assert.doesNotMatch(logged.join("\n"), /cannot/);
  });

  test("--retention-level deletes a level's older lines, and those below it down to the next named one", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 5);
    await sql`insert into logs (created_at, level, message)
      select now() - interval '3 days' + n * interval '1 ms', 100 + 100 * (n % 2), 'many' from generate_series(1, 25000) as n`;
    await sql`insert into logs (created_at, level, message) values (now() - interval '3 days', 250, 'notice')`;

    await start(t, { databaseUrl: url, retentionLevel: "notice=4d,debug=2d" });

    // 100 for 2 days; 101 to 250 for 4; those above for ever
    await eventually(async () => assert.deepEqual(await countsByLevel(sql), { 100: 1, 200: 12_503, 250: 1, 300: 5 }));
  });

  test("lines that are received years ago by the clock, and stored now, stay as long as others: the later time counts", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 3);
    const dataDir = await folder(t);
    t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2001, 1, 3, 4, 5) });
    await writeJournal(join(dataDir, "journal"), ["long-ago"]);
    t.mock.timers.reset();
    const options = { databaseUrl: url, retention: DAY, retentionLevel: "info=1h", dataDir };
    const wasLongAgo = async () => (await sql`select from logs where message = 'long-ago'`).length === 1;

    await maintained(await start(t, options));
    await maintained(await start(t, options)); // lines are looked at by a start that finds the day stored
    const isKept = await wasLongAgo();
    await sql`comment on table logs_2001_02_03 is 'lines stored at 2001-02-03T04:05:06Z'`;
    await maintained(await start(t, options));

    assert.ok(isKept);
    assert.deepEqual(await partitionsOf(sql).then((names) => names.filter((name) => name < "logs_2002")), []);
  });

  test("a role that does not own the table is logged once, and stores on", async (t) => {
    const role = await freshRole(t);
    const { url, sql } = await databaseWithOldDays(t, 3);
    await sql`select create_logs_partition(current_date + n) from generate_series(0, 7) as n`;
    await sql.unsafe(`grant select, insert, update, delete on all tables in schema public to ${role}`);
    const asRole = Object.assign(new URL(url), { username: role, password: role }).href;

    const collector = await start(t, { databaseUrl: asRole, retention: DAY });
    await converse(collector.port, "line\n");

    await whenStored(collector);
    await eventually(() => assert.match(collector.logged.join("\n"), /cannot drop old lines: SQLSTATE 42501/));
  });

  test("it works on the embedded database too", async (t) => {
    const dataDir = await folder(t);
    const options = { databaseUrl: "", dataDir };
    const first = await start(t, options);
    const run = (text: string) => rowsFrom(first.run({ words: ["query", text], isWrite: true }));
    await run(`select create_logs_partition(current_date - n) from generate_series(1, 5) as n`);
    await run(`insert into logs (created_at, level, message) ${OLD_LINES} generate_series(1, 5) as day`);
    await first.close();

    const second = await start(t, { ...options, retention: 3 * DAY, retentionLevel: "info=1d" });

    const count = { words: ["query", "select count(*) from logs"] };
    await eventually(async () => assert.deepEqual(await rowsFrom(second.run(count)), [["3"]]));
    assert.doesNotMatch(second.logged.join("\n"), /cannot/);
  });

  test("an earlier version's schema with rows in it is brought up to date by a start: the rows stay, and the new works", async (t) => {
    const earlier = await promisify(execFile)("git", ["show", "fdedaf9:schema.sql"], { cwd: ROOT }).catch(
      () => undefined,
    );
    if (!earlier) return t.skip("no git history here to take the earlier schema.sql from");
    const { url, sql } = await freshDatabase(t);
    await sql.unsafe(earlier.stdout);
    await sql`select create_logs_partition(current_date - n) from generate_series(0, 9) as n`;
    await sql.unsafe(`insert into logs (created_at, level, message) ${OLD_LINES} generate_series(1, 9) as day`);
    await sql`insert into dead_letters (created_at, line, sqlstate, error) values (now(), 'old', '23514', 'why')`;

    const collector = await start(t, { databaseUrl: url, retention: 5 * DAY });
    await converse(collector.port, "new\n");

    await eventually(async () => assert.deepEqual(await countsByLevel(sql), { 100: 5, 200: 6, 300: 5 }));
    assert.equal(await countOf(sql, "dead_letters"), 1);
  });
});

describe("several collectors", () => {
  test("three behind HAProxy, into one PostgreSQL through PgBouncer: every acknowledged line once, kill -9 or not", async (t) => {
    const missing = [["haproxy", "-v"], ["pgbouncer", "--version"]] as const; // prettier-ignore
    for (const [command, flag] of missing)
      if (!(await isInstalled(command, flag))) return t.skip(`no ${command} on this machine`);
    const { url, sql } = await freshDatabase(t);
    const pooled = await pgBouncer(t, url);
    const flags = [await folder(t), await folder(t), await folder(t)].map((directory) => ["--data-dir", directory]);
    const settings = { DATABASE_URL: pooled, COLLECTOR_RETENTION: "2d", COLLECTOR_RETENTION_LEVEL: "debug=1d" };
    const programs = await Promise.all(flags.map((own) => Program.start(t, own, settings)));
    const port = await haProxy(t, programs.map((program) => program.port)); // prettier-ignore
    const senders = Array.from({ length: 9 }, (_, index) => new TirelessSender(`s${index}`, port));
    for (const sender of senders) undoAfter(t, () => sender.giveUp());
    const acknowledged = () => senders.reduce((sum, sender) => sum + sender.acknowledged.length, 0);
    const grows = (target = acknowledged() + 5000) => eventually(() => assert.ok(acknowledged() > target));

    await grows();
    const [killed] = programs;
    await killed?.kill();
    await grows();
    const again = ["--listen", `127.0.0.1:${killed?.port}`, ...(flags[0] ?? [])];
    programs[0] = await Program.start(t, again, settings);
    await grows();
    await Promise.all(senders.map((sender) => sender.stop()));
    const codes = await Promise.all(programs.map((program) => program.stop()));

    const rows = new Set(messages(await rowsOf(sql)));
    assert.deepEqual(codes, [0, 0, 0]);
    assert.equal(await countOf(sql, "logs"), rows.size, "none twice");
    for (const { name, acknowledged: numbers } of senders)
      assert.deepEqual(numbers.filter((number) => !rows.has(`${name} ${number}`)), []); // prettier-ignore
    for (const { stderr } of programs) assert.doesNotMatch(stderr, /cannot/);
  });
});

/** A debug, an info and a warning that are a minute older than each of some days. */
const OLD_LINES = `select now() - day * interval '1 day' - interval '1 minute', level, 'old'
  from unnest(array[100, 200, 300]) as level,`;

/** The same with such lines of some days, and these days' partitions. */
async function databaseWithOldDays(t: TestContext, days: number): Promise<TestDatabase> {
  const database = await databaseWithTables(t);
  await database.sql`select create_logs_partition(current_date - day) from generate_series(1, ${days}::int) as day`;
  await database.sql.unsafe(
    `insert into logs (created_at, level, message) ${OLD_LINES} generate_series(1, ${days}) as day`,
  );
  return database;
}

async function countsByLevel(sql: postgres.Sql): Promise<Record<string, number>> {
  const rows = await sql<
    { level: number; lines: number }[]
  >`select level, count(*)::int as lines from logs group by level`;
  return Object.fromEntries(rows.map(({ level, lines }) => [level, lines]));
}

const partitionsOf = async (sql: postgres.Sql) =>
  (
    await sql<{ name: string }[]>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'logs'::regclass`
  ).map(({ name }) => name);

const dayAhead = (days: number) => new Date(Date.now() + days * DAY).toISOString().slice(0, 10).replaceAll("-", "_");

/** Waits until a collector has stored all, and has looked for what is too old; then stops it. */
async function maintained(collector: Collector): Promise<void> {
  await whenStored(collector);
  await eventually(() => assert.ok(collector.health().maintained["retention"]));
  await collector.close();
}

/** A port on which each connection is answered with a server's error. */
async function serverThatRefuses(t: TestContext, sqlstate: string): Promise<number> {
  const fields = Buffer.from(`SFATAL\0C${sqlstate}\0Mrefused\0\0`);
  const head = Buffer.from([69, 0, 0, 0, fields.length + 4]); // "E", and the length
  const refusing = createServer((socket) =>
    socket.on("error", () => {}).once("data", () => socket.end(Buffer.concat([head, fields]))),
  );
  undoAfter(t, () => refusing.close());
  await once(refusing.listen(0, "127.0.0.1"), "listening");
  return (refusing.address() as AddressInfo).port;
}
