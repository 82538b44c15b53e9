/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { lstat, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { eventually, jsonLines } from "./support/basics.ts";
import { Program, bunPath, denoPath, query, runProgram } from "./support/collectors.ts";
import { MODULES, ROOT, bareCopy, folder } from "./support/files.ts";
import { freshDatabase, messages, rowsOf } from "./support/postgres.ts";
import { mainThreadMs } from "./support/processes.ts";
import { converse } from "./support/senders.ts";

const PACKAGES = ["postgres", "@electric-sql/pglite", "@electric-sql/pglite-socket"]; // but for the optional one

describe("embedded", () => {
  test("without a database it keeps its own: first ok after 4 s of its main thread at most, 2.5 s later on; kill -9 loses and doubles nothing", async (t) => {
    const dataDir = await folder(t);
    const flags = ["--data-dir", dataDir];
    const first = await Program.start(t, flags);
    await converse(first.port, "one\n");
    const firstOkMs = mainThreadMs(first.pid);
    await eventually(async () => assert.match(await query(flags), /one/));
    await converse(first.port, "two\n");
    await first.kill();

    const next = await Program.start(t, flags);
    await converse(next.port, "three\n");
    const laterOkMs = mainThreadMs(next.pid);
    const code = await next.stop();

    assert.deepEqual(
      jsonLines(await query(flags)),
      ["one", "two", "three"].map((message) => ({ message })),
    );
    assert.equal(code, 0);
    assert.ok(firstOkMs < 4000 && laterOkMs < 2500, `first ok after ${firstOkMs} ms, later ${laterOkMs} ms`);
  });

  test("folders are 0700 and files 0600, whatever the umask, and the log names the folder and a command to try", async (t) => {
    const dataDir = join(await folder(t), "data");
    const umask = process.umask(0);
    const program = await Program.start(t, ["--data-dir", dataDir]);
    process.umask(umask);
    await converse(program.port, "one\n");
    await eventually(async () => assert.match(await query(["--data-dir", dataDir]), /one/));

    // PGlite makes a file with 0700, which is nobody else's either, and takes it away soon.
    await eventually(async () => {
      for (const path of ["", ...(await readdir(dataDir, { recursive: true }))]) {
        const entry = await lstat(join(dataDir, path));
        assert.equal(entry.mode & 0o077, 0, `${path} is ${(entry.mode & 0o777).toString(8)}`);
        if (entry.isFile()) assert.equal(entry.mode & 0o777, 0o600, path);
        if (entry.isDirectory()) assert.equal(entry.mode & 0o777, 0o700, path);
      }
    });
    assert.match(program.stderr, /listening on tcp:\/\/127\.0\.0\.1:\d+\nstoring into .*postgres\n/);
    assert.match(program.stderr, new RegExp(`try: echo hello \\| nc -q1 127\\.0\\.0\\.1 ${program.port}\n`));
  });

  test("a data directory whose path is longer than a socket's may be works, from any working directory", async (t) => {
    const dataDir = join(await folder(t), "a-long-name-".repeat(5), "another-long-name-".repeat(5));
    const flags = ["--data-dir", dataDir];
    const program = await Program.start(t, flags);

    await converse(program.port, "from afar\n");

    assert.ok(Buffer.byteLength(dataDir) > 150);
    await eventually(async () => assert.match(await query(flags), /from afar/));
    const second = await runProgram([...flags, "--listen", "127.0.0.1:0"]);
    assert.match(second.stderr, new RegExp(`process id ${program.pid}\\b`));
  });

  test("a statement that overflows PGlite's stack, of which PGlite tells nothing, fails, and lines are stored on", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await converse(program.port, "before\n");
    await query(flags);

    const deep = await runProgram(["query", "select repeat('[', 1000000)::json", ...flags]);
    await converse(program.port, "after\n");

    assert.deepEqual([deep.code, deep.stderr], [1, "Cannot run query: the embedded database has ended\n"]);
    assert.deepEqual(jsonLines(await query(flags)).length, 2);
  });

  test("checks, dead letters and every column work as on a server", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await eventually(async () => assert.equal(await query(flags), ""));
    await query([...flags, "--write"], "alter table logs add constraint no_spam check (message <> 'spam')");

    await converse(program.port, 'spam\n{"msg":"sold","level":"warn","price":1.50}\nspam\n');

    await eventually(async () => assert.equal(jsonLines(await query(flags, "select id from dead_letters")).length, 2));
    assert.equal(
      await query(flags, "select level, message, attributes from logs"),
      '{"level":300,"message":"sold","attributes":{"price": 1.50}}\n',
    );
  });

  test("close() while the embedded database is being made leaves nothing running", async (t) => {
    const dataDir = await folder(t);
    const source = `import { startCollector } from ${JSON.stringify(pathToFileURL(join(ROOT, "collector.ts")).href)};
      const collector = await startCollector({ listen: "127.0.0.1:0", http: "off", dataDir: ${JSON.stringify(dataDir)} });
      await collector.close();`;
    const words = ["--import", "tsx", "--input-type=module", "-e", source];

    const ended = await runProgram(words, { program: [process.execPath] });

    assert.equal(ended.code, 0, ended.stderr);
  });

  test("a first open that was interrupted begins anew, and stores what was acknowledged", async (t) => {
    const dataDir = await folder(t);
    await mkdir(join(dataDir, "postgres"));
    await writeFile(join(dataDir, "postgres/PG_VERSION"), "18\n");
    await writeFile(join(dataDir, "postgres.unfinished"), "");

    const program = await Program.start(t, ["--data-dir", dataDir]);
    await converse(program.port, "one\n");

    await eventually(async () => assert.match(await query(["--data-dir", dataDir]), /one/));
    assert.ok(!existsSync(join(dataDir, "postgres.unfinished")));
  });

  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isOld = major < 22 || (major === 22 && minor < 18);
  for (const [runtime, command, packages, skip] of [
    ["tsx", [process.execPath, join(MODULES, "tsx/dist/cli.mjs")], ["tsx", ...PACKAGES], false],
    ["Node alone", [process.execPath], PACKAGES, isOld && "Node before 22.18 runs no TypeScript"],
    ["Bun", [bunPath()], undefined, false],
    ["Deno", [denoPath(), "run", "-A"], undefined, false],
  ] as const) {
    const title = `collector.ts and schema.sql copied alone into an empty folder work under ${runtime}, embedded and with a server`;
    test(title, { skip }, async (t) => {
      const { url, sql } = await freshDatabase(t);
      const bare = await bareCopy(t, ["collector.ts", "schema.sql"], packages);
      if (runtime === "Deno") await writeFile(join(bare, "package.json"), "{}"); // without, it knows no packages
      if (runtime === "Node alone") await writeFile(join(bare, "package.json"), '{ "type": "module" }'); // as in the README
      const options = { program: [...command, "collector.ts"], cwd: bare };
      const embedded = await Program.start(t, [], {}, options);
      const served = await Program.start(t, ["--data-dir", "served"], { DATABASE_URL: url }, options);

      for (const program of [embedded, served]) assert.equal(await converse(program.port, "one\ntwo\n"), "ok\nok\n");

      await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]), 60_000);
      await eventually(async () => assert.equal(jsonLines(await query([], undefined, options)).length, 2), 60_000);
      assert.deepEqual(await Promise.all([embedded.stop(), served.stop()]), [0, 0]);
      assert.equal(jsonLines(await query([], undefined, options)).length, 2);
      for (const { stderr } of [embedded, served]) assert.doesNotMatch(stderr, /warning/i);
    });
  }
});
