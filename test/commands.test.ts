/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { chmod, chown, lchown, lstat, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { KIB, eventually, jsonLines } from "./support/basics.ts";
import { Program, query, runProgram } from "./support/collectors.ts";
import { COLLECTOR, ROOT, bareCopy, folder } from "./support/files.ts";
import { databaseWithTables, freshDatabase, messages, missingDatabase, rowsOf } from "./support/postgres.ts";
import { peakRss } from "./support/processes.ts";
import { converse } from "./support/senders.ts";

const NOBODY = 65_534;

const EMBEDDED = ["@electric-sql/pglite", "@electric-sql/pglite-socket"];

describe("query", () => {
  test("prints the rows of a statement as a table, or as a JSON object a line that keeps every digit", async (t) => {
    const { url } = await freshDatabase(t);
    const text = "select 1 as one, 'a\"b' as text, null as nothing, 12345678901234567890.50 as big, true as yes";
    const environment = { DATABASE_URL: url };

    const table = await runProgram(["query", `${text} union all select 22, 'c', null, 1, false`], { environment });
    const json = await runProgram(["query", text, "--json"], { environment });

    const [head = "", rule = "", first = "", second = ""] = table.stdout.split("\n");
    assert.match(head, /^one +text +nothing +big +yes$/);
    assert.match(rule, /^-+/);
    assert.match(first, /^1 +a"b +12345678901234567890\.50/);
    assert.match(second, /^22 +c +1/);
    assert.equal(json.stdout, '{"one":1,"text":"a\\"b","nothing":null,"big":12345678901234567890.50,"yes":true}\n');
    assert.deepEqual([table.code, json.code], [0, 0]);
  });

  test("prints of a statement without rows what psql does, and with --json nothing", async (t) => {
    const { url } = await freshDatabase(t);
    const run = async (...words: string[]) =>
      (await runProgram(["query", ...words], { environment: { DATABASE_URL: url } })).stdout;

    assert.equal(await run("create table numbers (n int)", "--write"), "CREATE TABLE\n");
    assert.equal(await run("insert into numbers values (1), (2)", "--write"), "INSERT 0 2\n");
    assert.equal(await run("insert into numbers values (3)", "--json", "--write"), "");
    assert.equal(await run("delete from numbers where n > 1", "--write"), "DELETE 2\n");
    assert.equal(await run("select n from numbers where n > 1"), "n\n-\n");
  });

  test("query reports what the server refuses and exits non-zero, also where the text is no query", async (t) => {
    const { url } = await freshDatabase(t);
    const environment = { DATABASE_URL: url };

    const ends = await Promise.all(
      [["query", "select * from nowhere_at_all"], ["query"], ["query", "select 1", "more"], ["frobnicate"]].map(
        (words) => runProgram(words, { environment }),
      ),
    );

    for (const { code, stdout, stderr } of ends) {
      assert.notEqual(code, 0);
      assert.equal(stdout, "");
      assert.match(stderr, /^[^\n]+\n$/);
    }
    assert.match(ends[0]?.stderr ?? "", /^Cannot run query: [^\n]*nowhere_at_all/);
  });

  test("asks a running embedded collector, opens the embedded database itself where none runs, and refuses errors in both", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await converse(program.port, "one\n");
    await eventually(async () => assert.deepEqual(jsonLines(await query(flags)), [{ message: "one" }]));
    const errorBeside = await runProgram(["query", "select nonsense", ...flags]);
    await program.stop();

    const table = await runProgram(["query", "select message, level from logs", ...flags]);
    const errorWithout = await runProgram(["query", "select nonsense", ...flags]);

    const atOnce = await Promise.all([1, 2, 3].map((n) => runProgram(["query", `select ${n} as n`, ...flags])));

    assert.match(table.stdout, /^message +level\n-+ +-+\none +200\n/);
    for (const [index, end] of atOnce.entries())
      assert.deepEqual(end, { code: 0, stdout: `n\n-\n${index + 1}\n`, stderr: "" });
    for (const { code, stderr } of [errorBeside, errorWithout]) {
      assert.notEqual(code, 0);
      assert.match(stderr, /^Cannot run query: [^\n]*nonsense/);
    }
  });

  test("opens the embedded database itself where the collector ends before it takes the connection", async (t) => {
    const dataDir = await folder(t);
    const flags = ["--data-dir", dataDir];
    const program = await Program.start(t, flags);
    await converse(program.port, "one\n");
    await query(flags);
    const sockets = async () => (await readFile("/proc/net/unix", "utf8")).split(`${dataDir}/lock-`).length - 1;
    program.signal("SIGSTOP");
    const before = await sockets();

    const asking = query(flags);
    await eventually(async () => assert.ok((await sockets()) > before));
    await program.kill();

    assert.equal(await asking, '{"message":"one"}\n');
  });

  test("waits for what was acknowledged before it, also while the embedded database is opening", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await converse(program.port, "line\n".repeat(2000));

    const counted = await query(flags, "select count(*) from logs");

    assert.equal(counted, '{"count":2000}\n');
  });

  test("beside a collector that stores into a server, it waits, with DATABASE_URL and without", async (t) => {
    const { url } = await freshDatabase(t);
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags, { DATABASE_URL: url });

    for (const [lines, environment] of [
      [1000, { DATABASE_URL: url }],
      [2000, {}],
    ] as const) {
      await converse(program.port, "line\n".repeat(1000));
      assert.equal(await query(flags, "select count(*) from logs", { environment }), `{"count":${lines}}\n`);
    }
  });

  test("where it gives up waiting, it tells how many lines are missing, and exits 3", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags, { DATABASE_URL: url });
    await query(flags, "select 1");
    const locked = sql.begin(async (own) => {
      await own`lock table logs in access exclusive mode`;
      await converse(program.port, "one\ntwo\n");
      return runProgram(["query", "select 1 as one", ...flags]);
    });

    const { code, stdout, stderr } = await locked;

    assert.equal(stdout, "one\n---\n1\n");
    assert.equal(stderr, "2 lines are not stored yet: the answer may lack them\n");
    assert.equal(code, 3);
  });

  test("takes a statement behind comments, as a flag and beside flags", async (t) => {
    const { url } = await freshDatabase(t);
    const environment = { DATABASE_URL: url };

    const ends = await Promise.all([
      runProgram(["query", "-- a comment\nselect 1 as one", "--json"], { environment }),
      runProgram(["--json", "query", "--comment\n/* one /* in */ another */ ; select 1 as one"], { environment }),
      runProgram(["query", "-- nothing else"], { environment }),
    ]);

    assert.deepEqual(
      ends.map(({ stdout }) => stdout),
      ['{"one":1}\n', '{"one":1}\n', ""],
    );
    assert.equal(ends[2]?.stderr, "Cannot run query: there is no statement\n");
  });

  test("escapes control characters and those that turn the direction of writing", async (t) => {
    const { url } = await freshDatabase(t);
    const environment = { DATABASE_URL: url };
    const text = String.raw`select E'\x1b]0;x\x07\r\n\t' || chr(155) || chr(8238) || 'é' as "a\u001b", 'ok' as b`;

    const table = await runProgram(["query", text.replace("\\u001b", "\u001b")], { environment });
    const json = await runProgram(["query", text, "--json"], { environment });

    assert.match(table.stdout, /^a\\x1B +b\n-+ {2}--\n\\x1B\]0;x\\x07\\r\\n\\t\\u009B\\u202Eé {2}ok\n$/);
    assert.doesNotMatch(json.stdout, /[^\n\x20-\x7eé]/);
    assert.equal(Object.values(jsonLines(json.stdout)[0] as object)[0], "\u001b]0;x\u0007\r\n\t\u009b\u202eé");
  });

  for (const where of ["server", "embedded database"] as const) {
    test(`runs one statement on the ${where}, which reads only without --write, and no COPY`, async (t) => {
      const { flags, environment } = await somewhere(t, where);
      const run = (...words: string[]) => runProgram(["query", ...words, ...flags], { environment });

      const refused = [
        await run("insert into dead_letters (created_at, line, sqlstate, error) values (now(), '', '', '')"),
        await run("select 1; delete from dead_letters"),
        await run("/* so */ copy dead_letters to stdout", "--write"),
        await run("commit; select 1"),
      ];
      const ended = [await run("commit"), await run("rollback"), await run("begin")];
      const written = await run("create table numbers as select 1 as n", "--write");

      for (const { code, stdout, stderr } of refused) {
        assert.deepEqual([code, stdout], [1, ""]);
        assert.match(stderr, /^Cannot run query: [^\n]+\n$/);
      }
      assert.match(refused[0]?.stderr ?? "", /read-only.*--write/);
      assert.match(refused[2]?.stderr ?? "", /COPY/);
      assert.deepEqual(
        [...ended, written].map(({ code }) => code),
        [0, 0, 0, 0],
      );
      assert.equal(await query(flags, "select n from numbers", { environment }), '{"n":1}\n');
    });

    test(`cancels what takes longer than --timeout on the ${where}, and lines are stored on`, async (t) => {
      const { flags, environment, program } = await somewhere(t, where);

      const late = await runProgram(
        ["query", "select count(*) from generate_series(1, 1e12)", "--timeout", "500ms", ...flags],
        { environment },
      );
      await converse(program.port, "still here\n");

      assert.equal(late.stderr, "Cannot run query: it took longer than 0.5 s; --timeout TIME allows more\n");
      assert.equal(late.code, 1);
      assert.equal(await query(flags, "select message from logs", { environment }), '{"message":"still here"}\n');
    });

    test(`prints a million rows of the ${where} in bounded memory, and no more than --limit`, async (t) => {
      const { flags, environment, program } = await somewhere(t, where);
      const before = peakRss(program.pid);
      const text = "select n, repeat('x', 100) as text from generate_series(1, 1000000) as n";
      const heap = {
        program: [process.execPath, "--max-old-space-size=64", "--import", "tsx", join(ROOT, "collector.ts")],
      };

      const all = await runProgram(["query", text, "--json", ...flags], { environment, ...heap });
      const few = await runProgram(["query", text, "--limit", "3", ...flags], { environment });

      assert.equal(all.stderr, "");
      assert.equal(all.stdout.length, 1_000_000 * '{"n":,"text":""}\n'.length + 100_000_000 + 5_888_896);
      const grownMiB = (peakRss(program.pid) - before) / KIB ** 2;
      assert.ok(grownMiB < 384, `${grownMiB} MiB`); // all of the answer at once took 2.9 GiB
      assert.deepEqual(few.stdout.split("\n").length, 2 + 3 + 1);
      assert.equal(few.stderr, "3 rows printed, there are more: --limit N prints N\n");
      assert.equal(few.code, 0);
    });
  }

  test("Ctrl-C has the server cancel the statement", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const running = () =>
      sql`select from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active' and datname = current_database()`;
    const program = Program.spawn(t, ["query", "select pg_sleep(600)"], { environment: { DATABASE_URL: url } });
    await eventually(async () => assert.equal((await running()).length, 1));

    const code = await program.stop("SIGINT");

    assert.deepEqual([code, program.stdout, program.stderr], [130, "", ""]);
    await eventually(async () => assert.equal((await running()).length, 0));
  });

  test("dead retry stores a line's own bytes, and dead list prints them, whatever the database's bytea_output is", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`alter database ${name} set bytea_output = escape`);
    const line = Buffer.from("\u001b[31mspam é");
    await sql`insert into dead_letters (created_at, line, sqlstate, error) values (now(), ${line}, '23514', '')`;
    const environment = { DATABASE_URL: url };

    const listed = await runProgram(["dead", "list"], { environment });
    const retried = await runProgram(["dead", "retry"], { environment });

    assert.match(listed.stdout, /\\x1B\[31mspam é\n$/);
    assert.equal(retried.stdout, "1 stored, 0 refused again\n");
    assert.deepEqual(messages(await rowsOf(sql)), ["spam é"]);
  });

  test("a backend that is terminated is one line, for query and for dead retry", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`insert into dead_letters (created_at, line, sqlstate, error) values (now(), 'line', '23514', '')`;
    const environment = { DATABASE_URL: url };
    const terminate = async () =>
      assert.ok(
        (
          await sql`select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name = 'collector' and query ~ 'pg_sleep|delete' and state = 'active'`
        ).length > 0,
      );

    const asking = runProgram(["query", "select n, pg_sleep(0.01) from generate_series(1, 1e6) n"], { environment });
    await eventually(terminate);
    const retrying = await sql.begin(async (own) => {
      await own`lock table dead_letters in share mode`;
      const ending = runProgram(["dead", "retry"], { environment });
      await eventually(terminate);
      return ending;
    });

    for (const { code, stderr } of [await asking, retrying]) {
      assert.match(stderr, /^Cannot run (?:query|dead retry): [^\n]+\n$/);
      assert.equal(code, 1);
    }
    assert.equal((await sql`select from dead_letters`).length, 1);
  });
});

describe("where commands look", () => {
  test("a command makes nothing: without a folder, or a database in it, it exits 2 with words", async (t) => {
    const dataDir = await folder(t);
    const { url } = await missingDatabase(t);

    const without = await runProgram(["query", "select 1", "--data-dir", join(dataDir, "none")]);
    const empty = await runProgram(["dead", "list", "--data-dir", dataDir]);
    const missing = await runProgram(["query", "select 1"], { environment: { DATABASE_URL: url } });

    assert.match(
      without.stderr,
      /^Cannot read --data-dir \S+none: there is no such folder; start the collector first, or choose another\n$/,
    );
    assert.match(empty.stderr, /^Cannot ask --data-dir \S+: there is no database in it yet; [^\n]+\n$/);
    assert.match(missing.stderr, /^Cannot run query: [^\n]*no such database[^\n]*create database[^\n]+\n$/);
    assert.deepEqual([without.code, empty.code, missing.code], [2, 2, 2]);
    assert.deepEqual(await readdir(dataDir), []);
  });

  test("in the data directory of a collector that stores into a server, a command names that, without the password", async (t) => {
    const { url } = await freshDatabase(t);
    const dataDir = await folder(t);
    const secret = Object.assign(new URL(url), { password: "s3cret" }).href;
    const program = await Program.start(t, ["--data-dir", dataDir], { DATABASE_URL: secret });
    await program.stop();

    const { code, stderr } = await runProgram(["query", "select 1", "--data-dir", dataDir]);

    assert.match(
      stderr,
      /^Cannot ask --data-dir \S+: its collector stores into PostgreSQL at [^\n]+; set DATABASE_URL/,
    );
    assert.doesNotMatch(stderr + (await readFile(join(dataDir, "database"), "utf8")), /s3cret/);
    assert.equal(code, 2);
  });

  test("a command of root's leaves no file of root's in another user's data directory; another user's is refused", async (t) => {
    if (process.getuid?.() !== 0) return t.skip("only root can act for another user");
    const other = NOBODY - 1;
    const setpriv = ["setpriv", "--reuid", String(other), "--regid", String(other), "--clear-groups", ...COLLECTOR];
    if ((await runProgram(["--version"], { program: setpriv })).code !== 0)
      return t.skip("another user can't read the repository's folder");
    const dataDir = await folder(t);
    const program = await Program.start(t, ["--data-dir", dataDir]);
    await converse(program.port, "one\n");
    await query(["--data-dir", dataDir]);
    await program.stop();
    for (const path of ["", ...(await readdir(dataDir, { recursive: true }))])
      await lchown(join(dataDir, path), NOBODY, NOBODY);

    const asRoot = await runProgram(["query", "select message from logs", "--json", "--data-dir", dataDir]);
    const asOther = await runProgram(["query", "select 1", "--data-dir", dataDir], { program: setpriv });

    assert.equal(asRoot.stdout, '{"message":"one"}\n', asRoot.stderr);
    for (const path of await readdir(dataDir, { recursive: true }))
      assert.equal((await lstat(join(dataDir, path))).uid, NOBODY, path);
    assert.match(asOther.stderr, /^Cannot use --data-dir \S+: it is user 65534's; run this as that user\n$/);
    assert.equal(asOther.code, 2);
  });

  test("a command of root's asks the collector below a folder that is closed to its user; without it, it tells why not", async (t) => {
    if (process.getuid?.() !== 0) return t.skip("only root can act for another user");
    const above = await folder(t); // mode 0700; systemd's DynamicUser= has such a one, which its service does not see
    const dataDir = join(above, "data");
    const collector = await Program.start(t, ["--data-dir", dataDir]);
    await chown(dataDir, NOBODY, NOBODY);
    await converse(collector.port, "one\n");

    const asked = await query(["--data-dir", dataDir]);
    await collector.stop();
    const { code, stderr } = await runProgram(["query", "select 1", "--data-dir", dataDir]);

    assert.equal(asked, '{"message":"one"}\n');
    assert.match(
      stderr,
      /^Cannot use --data-dir \S+: user 65534, whose it is, may not enter a folder above it; ask while/,
    );
    assert.equal(code, 2);
  });

  test("a command of root's names what the data directory's owner may not read: schema.sql, a package", async (t) => {
    if (process.getuid?.() !== 0) return t.skip("only root can act for another user");
    const copy = await bareCopy(t, ["collector.ts", "schema.sql"], ["postgres", ...EMBEDDED]);
    const dataDir = join(await folder(t), "data");
    await mkdir(join(dataDir, "postgres"), { recursive: true });
    await writeFile(join(dataDir, "postgres/PG_VERSION"), "18\n");
    await chown(dataDir, NOBODY, NOBODY);
    const program = [process.execPath, "--import", import.meta.resolve("tsx"), join(copy, "collector.ts")];
    const fail = async () => {
      const { code, stderr } = await runProgram(["query", "select 1", "--data-dir", dataDir], { program });
      assert.equal(code, 2);
      return stderr;
    };
    const remedy = /: EACCES; install the collector where that user can read it, such as \/opt\/collector\n$/;

    await chmod(dirname(dataDir), 0o755);
    const noSchema = await fail();
    await chmod(copy, 0o755);
    await chmod(join(copy, "node_modules"), 0o700);
    const noPackage = await fail();

    assert.match(noSchema, /^Cannot read \S+\/schema\.sql as user 65534/);
    assert.match(noSchema, remedy);
    assert.match(noPackage, /^Cannot read \S+\/node_modules\/postgres as user 65534/);
    assert.match(noPackage, remedy);
  });
});

/** A running collector, and how a command reaches its database. */
async function somewhere(t: TestContext, where: "server" | "embedded database") {
  const flags = ["--data-dir", await folder(t)];
  const environment: Record<string, string> = where === "server" ? { DATABASE_URL: (await freshDatabase(t)).url } : {};
  const program = await Program.start(t, flags, environment);
  await query(flags, "select 1", { environment });
  return { flags, environment, program };
}
