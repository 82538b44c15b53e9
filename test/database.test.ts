/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/** What databases, their drivers and what stands between do to the store. */
import assert from "node:assert/strict";
import { cp, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { UsageError, startCollector } from "../collector.ts";
import { eventually } from "./support/basics.ts";
import { certificates } from "./support/certificates.ts";
import { NOWHERE, Program, runProgram, start, whenStored } from "./support/collectors.ts";
import { MINUTES_AS_SECONDS, preloaded } from "./support/faults.ts";
import { COLLECTOR, MODULES, ROOT, bareCopy, folder, undoAfter } from "./support/files.ts";
import {
  countOf,
  databaseWithTables,
  freshDatabase,
  freshRole,
  lockWaits,
  messages,
  proxyBefore,
  rowsOf,
  terminateConnections,
} from "./support/postgres.ts";
import { cpuMs } from "./support/processes.ts";
import { Proxy } from "./support/proxies.ts";
import { PostgresServer } from "./support/server.ts";
import { converse } from "./support/senders.ts";

interface Letter {
  line: Buffer;
  sqlstate: string;
  error: string;
}

const lettersOf = (sql: Awaited<ReturnType<typeof freshDatabase>>["sql"]) =>
  sql<Letter[]>`select line, sqlstate, error from dead_letters order by created_at`;

/** Raises with the SQLSTATE that a line names. */
const RAISE_AT_POISON = `
  create function refuse() returns trigger language plpgsql as $$ begin
    if new.message like 'poison %' then raise 'no' using errcode = substr(new.message, 8); end if;
    return new;
  end $$;
  create trigger refuse before insert on logs for each row execute function refuse();`;

describe("a line that the database refuses, whatever it says", { concurrency: true }, () => {
  for (const code of [
    "check_violation",
    "45000",
    "P0002",
    "P0004",
    "42703",
    "42883",
    "55P03",
    "42501",
    "44000",
    "42P01",
    "0A000",
    "28000",
    "XX000",
  ])
    test(`a trigger that raises ${code} costs its line only, and the letter says why`, async (t) => {
      const { url, sql } = await databaseWithTables(t);
      await sql.unsafe(RAISE_AT_POISON);
      const collector = await start(t, { databaseUrl: url });

      for (let burst = 0; burst < 4; burst++) await converse(collector.port, `good\npoison ${code}\ngood\n`);
      await converse(collector.port, "last\n");
      await whenStored(collector);

      assert.equal(await countOf(sql, "logs"), 9);
      const letters = await lettersOf(sql);
      assert.deepEqual(
        letters.map(({ line }) => line.toString()),
        Array.from({ length: 4 }, () => `poison ${code}`),
      );
      assert.equal(collector.ledger().deadLettered, 4);
    });

  test("lines of one entry that are refused with different SQLSTATEs cost these lines only", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(RAISE_AT_POISON);
    const collector = await start(t, { databaseUrl: url });

    await converse(
      collector.port,
      "good\npoison P0002\ngood\npoison P0004\npoison 42501\npoison 28000\npoison 23514\nlast\n",
    );
    await whenStored(collector);

    assert.equal(await countOf(sql, "logs"), 3);
    assert.deepEqual((await lettersOf(sql)).map(({ sqlstate }) => sqlstate).toSorted(), [
      "23514",
      "28000",
      "42501",
      "P0002",
      "P0004",
    ]);
  });

  test("a policy's `with check` costs its line only", async (t) => {
    const role = await freshRole(t);
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`
      grant all on all tables in schema public to ${role}; grant create, usage on schema public to ${role};
      grant usage on all sequences in schema public to ${role};
      alter table logs enable row level security;
      create policy mine on logs for insert with check (message not like 'poison%');
      create policy see on logs for select using (true)`);
    const own = Object.assign(new URL(url), { username: role, password: role, pathname: `/${name}` }).href;
    const collector = await start(t, { databaseUrl: own });

    await converse(collector.port, "good\npoison\nlast\n");
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["good", "last"]);
    assert.deepEqual(
      (await lettersOf(sql)).map(({ sqlstate }) => sqlstate),
      ["42501"],
    );
  });

  test("a view's check option costs its line only", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`
      alter table logs rename to lines;
      create view logs as select * from lines where message not like 'poison%' with check option`);
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, "good\npoison\nlast\n");
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["good", "last"]);
    assert.equal(await countOf(sql, "dead_letters"), 1);
  });

  test("a column of a type without a cast takes what its text allows; other lines become dead letters", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe("alter table logs alter column app type int[] using null");
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, 'good\n{"app":"shop","msg":"x"}\n{"app":"{1,2}","msg":"y"}\n');
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["good", "y"]);
    assert.equal(await countOf(sql, "dead_letters"), 1);
  });

  test("a table that takes no line at all keeps them waiting, and makes none a dead letter", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(
      RAISE_AT_POISON.replace("new.message like 'poison %'", "true").replace("substr(new.message, 8)", "'P0002'"),
    );
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, "one\ntwo\n");
    await eventually(() => assert.match(collector.logged.join("\n"), /SQLSTATE P0002/));
    await eventually(() => assert.ok(collector.health().database.state === "away"));
    await sql`drop trigger refuse on logs`;
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]);
    assert.equal(await countOf(sql, "dead_letters"), 0);
  });
});

describe("a statement that is too slow", { concurrency: true }, () => {
  test("one entry whose lines together take longer than statement_timeout is stored in slices that commit", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`
      create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return new; end $$;
      create trigger slow before insert on logs for each row execute function slow();
      alter database ${name} set statement_timeout = '300ms'`);
    const lines = Array.from({ length: 60 }, (_, number) => `line ${number}`);
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, lines.map((line) => `${line}\n`).join(""));
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), lines);
    const [left] = await sql`select count(*)::int as entries from log_entries where stored_lines is not null`;
    assert.equal(left?.["entries"], 0);
  });

  test("slices that were committed before a kill -9 are not stored again", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`
      create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return new; end $$;
      create trigger slow before insert on logs for each row execute function slow();
      alter database ${name} set statement_timeout = '200ms'`);
    const lines = Array.from({ length: 100 }, (_, number) => `line ${number}`);
    const flags = ["--data-dir", await folder(t)];
    const first = await Program.start(t, flags, { DATABASE_URL: url });
    await converse(first.port, lines.map((line) => `${line}\n`).join(""));
    await eventually(async () => assert.ok(((await countOf(sql, "logs")) ?? 0) > 0));

    await first.kill();
    const stored = await countOf(sql, "logs");
    await Program.start(t, flags, { DATABASE_URL: url });

    assert.ok(stored! < 100, "it was killed in the middle");
    await eventually(async () => assert.equal(await countOf(sql, "logs"), 100));
    assert.deepEqual(messages(await rowsOf(sql)), lines);
  });
});

/** A server that does to each connection what it is told, in the database's place. */
async function impostor(t: TestContext, answer: (socket: Socket) => void): Promise<string> {
  const listener = createServer((socket) => answer(socket.on("error", () => {})));
  listener.listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  undoAfter(t, () => listener.close());
  return `postgres://collector:secret@127.0.0.1:${(listener.address() as AddressInfo).port}/logs`;
}

const scramChallenge = (text: string) => {
  const body = Buffer.from(text);
  const head = Buffer.alloc(9);
  head.write("R");
  head.writeInt32BE(8 + body.length, 1);
  head.writeInt32BE(11, 5);
  return Buffer.concat([head, body]);
};
const SASL = Buffer.from("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "latin1");

describe("what answers in the database's place", { concurrency: true }, () => {
  const impostors: Record<string, (socket: Socket) => void> = {
    "closes at once": (socket) => socket.end(),
    "resets at once": (socket) => socket.resetAndDestroy(),
    "is silent": () => {},
    "asks for endless rounds": (socket) =>
      socket.once("data", () => {
        socket.write(SASL);
        socket.once("data", () => socket.write(scramChallenge("r=abc,s=QSXCR+Q6sek8bf92,i=2000000000")));
      }),
    "sends a challenge without numbers": (socket) =>
      socket.once("data", () => {
        socket.write(SASL);
        socket.once("data", () => socket.write(scramChallenge("r=abc")));
      }),
    "sends messages that are too short": (socket) => socket.once("data", () => socket.write("R\0\0\0\x04Z\0\0\0\x04")),
    "speaks HTTP": (socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
  };
  for (const [what, answer] of Object.entries(impostors))
    test(`one that ${what} is named within 10 s, costs under 2 % of a core, and lines are journalled on`, async (t) => {
      const url = await impostor(t, answer);
      const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });

      await eventually(() => assert.match(program.stderr, /cannot store into PostgreSQL at .*: .+; lines wait/));
      await eventually(async () => {
        const [startedMs, startedCpuMs] = [performance.now(), cpuMs(program.pid)];
        await sleep(6000); // longer than the rest between two tries
        const share = (cpuMs(program.pid) - startedCpuMs) / (performance.now() - startedMs);
        assert.ok(share < 0.02, "it takes more of a core, and not for its start alone");
      });

      assert.equal(await converse(program.port, "hello\n"), "ok\n");
      assert.ok(program.isRunning);
    });
});

describe("TLS to the server", () => {
  test("random cuts and resets, in handshakes too, end nothing: every line is stored once", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const proxy = await Proxy.before(url, { certificate: (await certificates()).server });
    undoAfter(t, () => proxy.refuse());
    const program = await Program.start(t, ["--data-dir", await folder(t)], {
      DATABASE_URL: `${proxy.url}?sslmode=require`,
    });
    let sent = 0;

    for (let round = 0; round < 60; round++) {
      await converse(program.port, `line ${sent++}\n`);
      if (round % 3 === 0) await proxy.cutNext(round % 2 === 0 ? "handshake" : "anywhere", 100);
      if (round % 5 === 0) proxy.cutAll("reset");
    }

    await eventually(async () => assert.equal(await countOf(sql, "logs"), sent));
    assert.ok(program.isRunning, program.stderr);
  });

  test("sslmode=require where the server offers no TLS is refused in words", async (t) => {
    const { url } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: `${url}?sslmode=require` });

    await eventually(() => assert.match(collector.logged.join("\n"), /offers no TLS, and sslmode=require asks for it/));
  });

  test("verify-full checks name and address, verify-ca and a given root the chain, require neither", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const { server: certificate, ca } = await certificates();
    const proxy = await Proxy.before(url, { certificate });
    undoAfter(t, () => proxy.refuse());
    const stores = async (parameters: string) => {
      const collector = await start(t, { databaseUrl: `${proxy.url}?${parameters}` });
      await converse(collector.port, `${parameters}\n`);
      await eventually(() => assert.notEqual(collector.health().database.state, "opening"));
      const { state } = collector.health().database;
      await collector.close();
      return state === "up";
    };

    assert.equal(await stores("sslmode=require"), true);
    assert.equal(await stores(`sslmode=verify-ca&sslrootcert=${ca.certFile}`), true);
    assert.equal(await stores("sslmode=verify-full"), false, "its own authority is unknown");
    assert.equal(await stores(`sslmode=verify-full&sslrootcert=${ca.certFile}`), true, "127.0.0.1 is among its names");
    assert.ok(((await countOf(sql, "logs")) ?? 0) >= 3);
  });
});

describe("PostgreSQL's address", () => {
  const refused = {
    "sslmode=nonsense": /Cannot honour sslmode=nonsense/,
    "channel_binding=require": /Cannot honour channel_binding=require/,
    "gssencmode=require": /Cannot honour gssencmode=require/,
    "target_session_attrs=standby": /Cannot honour target_session_attrs=standby/,
    "sslcrl=/x": /Cannot honour sslcrl=/,
    "sslrootcert=/nowhere": /Cannot use sslrootcert \/nowhere/,
  };
  for (const [parameters, words] of Object.entries(refused))
    test(`${parameters} ends the start by name`, async (t) => {
      const options = { databaseUrl: `${NOWHERE}?${parameters}`, dataDir: await folder(t), listen: "127.0.0.1:0" };

      await assert.rejects(
        startCollector(options),
        (error) => error instanceof UsageError && words.test(error.message),
      );
    });

  test("PGSSLMODE is honoured, and a bad one refused", async (t) => {
    const { url } = await freshDatabase(t);
    const flags = ["--data-dir", await folder(t)];
    const asked = await Program.start(t, flags, { DATABASE_URL: url, PGSSLMODE: "require" });
    const bad = await runProgram(["--data-dir", await folder(t)], {
      environment: { DATABASE_URL: url, PGSSLMODE: "maybe" },
    });

    await eventually(() => assert.match(asked.stderr, /offers no TLS/));
    assert.equal(bad.code, 2);
    assert.match(bad.stderr, /PGSSLMODE/);
  });

  test("?password= and ?user= log in, and are never sent as parameters", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const { hostname, port, pathname } = new URL(url);
    const collector = await start(t, {
      databaseUrl: `postgres://${hostname}:${port}${pathname}?user=postgres&password=x`,
    });

    await converse(collector.port, "hello\n");
    await whenStored(collector);

    assert.equal(await countOf(sql, "logs"), 1);
    assert.doesNotMatch(collector.logged.join("\n"), /password/);
  });

  test("of several hosts the next is asked at each try, and one that is read-only is left for a primary", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const first = await proxyBefore(t, url);
    first.isReadOnly = true;
    const { host, pathname } = new URL(url);
    const several = `postgres://postgres@127.0.0.1:1,${new URL(first.url).host},${host}${pathname}`;
    const collector = await start(t, { databaseUrl: several });

    await converse(collector.port, "hello\n");
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["hello"]);
  });
});

interface Vitals {
  stored: number;
  backlog: { lines: number };
}

/** postgres.js with the same public interface, and something changed within. */
const MUTANTS: Record<string, [from: string, to: string]> = {
  "resolves a COPY as soon as rows may come, whoever hooks it": [
    "query.resolve(stream)",
    "query.resolve(new Result())",
  ],
  "fails a COPY where it should end it": ["socket.write(b().c().end())", "socket.write(b().f().str(b.N).end())"],
  "reports a rolled-back commit as done": [
    "query.resolve(results || result)",
    "query.resolve(results || Object.assign(result, { command: '', count: 0 }))",
  ],
};

describe("a driver that changes a little", { concurrency: true }, () => {
  for (const [what, [from, to]] of Object.entries(MUTANTS))
    test(`one that ${what} loses no line in silence: they stay in the journal`, async (t) => {
      const { url, sql } = await freshDatabase(t);
      const copy = await bareCopy(t, ["collector.ts", "schema.sql"], ["tsx", "esbuild", "get-tsconfig"]);
      await cp(join(MODULES, "postgres"), join(copy, "node_modules/postgres"), { recursive: true });
      for (const file of ["src/connection.js", "cjs/src/connection.js"]) {
        const path = join(copy, "node_modules/postgres", file);
        const source = await readFile(path, "utf8");
        assert.ok(source.includes(from), `${file} has ${from}`);
        await writeFile(path, source.replace(from, to));
      }
      const program = await Program.start(
        t,
        ["--data-dir", await folder(t), "--http", "127.0.0.1:0"],
        { DATABASE_URL: url },
        {
          program: [...COLLECTOR.slice(0, -1), join(copy, "collector.ts")],
        },
      );

      assert.equal(await converse(program.port, "one\ntwo\n"), "ok\nok\n");
      await sleep(3000); // several tries
      const health = (await (await fetch(`${program.http}/healthz`)).json()) as Vitals;
      assert.equal(health.stored, await countOf(sql, "logs"), "what counts as stored is in the table");
      assert.equal(health.stored + health.backlog.lines, 2);
    });

  test("another version than the known one is told in one line at the start", async (t) => {
    const copy = await bareCopy(t, ["collector.ts", "schema.sql"], ["tsx", "esbuild", "get-tsconfig"]);
    await cp(join(MODULES, "postgres"), join(copy, "node_modules/postgres"), { recursive: true });
    const manifest = join(copy, "node_modules/postgres/package.json");
    await writeFile(manifest, (await readFile(manifest, "utf8")).replace('"version": "3.4.9"', '"version": "3.4.10"'));

    const program = await Program.start(
      t,
      ["--data-dir", await folder(t)],
      { DATABASE_URL: NOWHERE },
      { program: [...COLLECTOR.slice(0, -1), join(copy, "collector.ts")] },
    );

    assert.match(program.stderr, /^warning: the installed driver is postgres@3\.4\.10; type npm i postgres@3\.4\.9, /m);
  });
});

describe("a synchronous standby that is away", () => {
  test("a commit that waits for it is not cancelled, and its lines are released only when it is confirmed", async (t) => {
    const server = await PostgresServer.create(await folder(t), { settings: ["fsync=off", "max_connections=20"] });
    undoAfter(t, () => server.stop("SIGQUIT"));
    const admin = (await import("postgres")).default(server.url, { max: 1, onnotice: () => {} });
    undoAfter(t, () => admin.end({ timeout: 1 }));
    const program = await Program.start(
      t,
      ["--data-dir", await folder(t), "--http", "127.0.0.1:0"],
      { DATABASE_URL: server.url },
      {
        program: await preloaded(t, MINUTES_AS_SECONDS),
      },
    );
    await converse(program.port, "before\n");
    await eventually(async () => assert.equal(await countOf(admin, "logs"), 1));
    await admin.unsafe("alter system set synchronous_standby_names = 'nobody'");
    await admin`select pg_reload_conf()`;
    const stored = async () => ((await (await fetch(`${program.http}/healthz`)).json()) as { stored: number }).stored;

    await converse(program.port, "during\n");
    const waiting = () => admin`select from pg_stat_activity where wait_event = 'SyncRep'`;
    await eventually(async () => assert.ok((await waiting()).length > 0));
    await sleep(3000); // three of its minutes
    const [storedMeanwhile, waitingStill] = [await stored(), (await waiting()).length];
    await admin.unsafe("alter system reset synchronous_standby_names");
    await admin`select pg_reload_conf()`;

    assert.equal(storedMeanwhile, 1);
    assert.ok(waitingStill > 0, "its wait is not ended by a cancel");
    await eventually(async () => assert.equal(await stored(), 2));
    assert.deepEqual(messages(await rowsOf(admin)), ["before", "during"]);
  });
});

describe("a role that owns nothing", () => {
  test("stores lines and dead letters with just the rights that docs/operating.md grants", async (t) => {
    const role = await freshRole(t);
    const { url, sql, name } = await databaseWithTables(t);
    const docs = await readFile(join(ROOT, "docs/operating.md"), "utf8");
    const grants = docs.match(/^grant .*;/gm) ?? [];
    await sql.unsafe(
      `revoke create, usage on schema public from public; revoke temporary on database ${name} from public`,
    );
    await sql.unsafe(grants.join("\n").replaceAll("to collector", `to ${role}`));
    await sql.unsafe("alter table logs add check (message <> 'refused')");
    const collector = await start(t, {
      databaseUrl: Object.assign(new URL(url), { username: role, password: role }).href,
    });

    await converse(collector.port, "one\nrefused\ntwo\n");
    await whenStored(collector);

    assert.equal(grants.length, 4);
    assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]);
    assert.equal(await countOf(sql, "dead_letters"), 1);
  });

  test("--retention drops old days where standard_conforming_strings is off, too", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`alter database ${name} set standard_conforming_strings = off`);
    await sql`select create_logs_partition(current_date - 9)`;
    const days = () => sql`select from pg_inherits where inhparent = 'logs'::regclass and inhrelid::regclass::text
      = 'logs_' || to_char(current_date - 9, 'YYYY_MM_DD')`;
    assert.equal((await days()).length, 1);

    await start(t, { databaseUrl: url, retention: "2d" });

    await eventually(async () => assert.equal((await days()).length, 0));
  });
});

describe("a database under a running collector", () => {
  test("a column that is renamed is an outage, not an exit, and all is stored when it is back", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await whenStored(collector);

    await sql`alter table logs rename column app to application`;
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.health().database.cause ?? "", /lacks app/));
    await sql`alter table logs rename column application to app`;
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]);
  });

  test("setting up that waits on a lock leaves no backend behind, however long it takes", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const locker = await sql.reserve();
    await locker`select pg_advisory_lock(${0x636f6c6c})`;
    const program = await Program.start(
      t,
      ["--data-dir", await folder(t)],
      { DATABASE_URL: url },
      {
        program: await preloaded(t, MINUTES_AS_SECONDS),
      },
    );
    await eventually(() => assert.match(program.stderr, /cannot store/));
    await sleep(4000); // four of its minutes

    const backends =
      await locker`select from pg_stat_activity where datname = current_database() and application_name = 'collector'`;
    await locker`select pg_advisory_unlock_all()`;
    locker.release();

    assert.ok(backends.length <= 4, `${backends.length} backends`);
  });

  test("setting up that loses its connection in the middle is tried again, and stores what came", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const locker = await sql.reserve();
    await locker`select pg_advisory_lock(${0x636f6c6c})`;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "one\n");
    await eventually(async () => assert.equal(await lockWaits(sql), 1));

    await terminateConnections(sql);
    await locker`select pg_advisory_unlock_all()`;
    locker.release();
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["one"]);
  });
});
