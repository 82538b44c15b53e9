/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { Server } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { startCollector } from "../collector.ts";
import { KIB, eventually } from "./support/basics.ts";
import { ANY_PORT, NOWHERE, Program, runProgram, start, whenStored } from "./support/collectors.ts";
import { ROOT, folder } from "./support/files.ts";
import { countOf, create, freshDatabase, messages, missingDatabase, rowsOf } from "./support/postgres.ts";
import { isInstalled } from "./support/processes.ts";
import { Sender, converse } from "./support/senders.ts";

describe("life of the process", () => {
  test("SIGTERM: lines on their way are acknowledged, all is drained to the database, exit code 0", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const sender = await Sender.connect(t, program.port);
    await sender.asks("hello\n", "ok\n");

    await sender.send("on its way\n".repeat(50_000));
    const code = await program.stop();

    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n".repeat(50_001));
    assert.equal(await countOf(sql, "logs"), 50_001);
    assert.equal(code, 0);
    assert.match(program.stderr, /all lines are stored/);
  });

  test("SIGINT too; and what the database does not take before --drain-timeout stays for the next start", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "200ms"];
    const away = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    await converse(away.port, "one\ntwo\n");

    const code = await away.stop("SIGINT");
    const next = await Program.start(t, flags, { DATABASE_URL: url });

    assert.equal(code, 0);
    assert.match(away.stderr, /^stopping, for up to 0\.2 s; (?:.*\n)+stopped: 2 lines /m);
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]));
    assert.equal(await next.stop(), 0);
  });

  test("a stop with all stored leaves nothing to take up, not even with another database, and time goes on", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const earlier = await start(t, { dataDir, databaseUrl: url });
    await converse(earlier.port, "line\n".repeat(1000));
    await earlier.close();

    const later = await start(t, { dataDir });
    const received = later.ledger().received;
    await later.close();
    const last = await start(t, { dataDir, databaseUrl: url });
    await converse(last.port, "last\n");
    await whenStored(last);

    assert.equal(received, 0);
    assert.deepEqual(messages(await rowsOf(sql)).slice(-2), ["line", "last"]);
    assert.equal(await countOf(sql, "logs"), 1001);
  });

  test("two signals at once are one; a second one after a second or more exits at once", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "60s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    await converse(program.port, "one\n");
    const stopping = performance.now();

    program.signal("SIGTERM");
    program.signal("SIGTERM");
    await eventually(() => assert.ok(performance.now() - stopping > 1100));
    const isRunning = program.isRunning;
    const code = await program.stop();

    assert.ok(isRunning);
    assert.notEqual(code, 0);
    assert.ok(performance.now() - stopping < 50_000); // and not --drain-timeout
  });

  test("a second collector on one data directory refuses to start and names the first's process id", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const first = await Program.start(t, flags, { DATABASE_URL: NOWHERE });

    const second = await runProgram(["--listen", "127.0.0.1:0", ...flags], { environment: { DATABASE_URL: NOWHERE } });

    assert.notEqual(second.code, 0);
    assert.match(second.stderr, new RegExp(`^[^\n]*process id ${first.pid}\\b[^\n]*\n$`));
    assert.equal(await converse(first.port, "still here\n"), "ok\n");
  });

  test("of several started at once exactly one runs, and a lock left by kill -9 is no obstacle", async (t) => {
    const flags = ["--listen", "127.0.0.1:0", "--data-dir", await folder(t), "--drain-timeout", "0s"];

    for (let round = 0; round < 3; round++) {
      const programs = Array.from({ length: 4 }, () =>
        Program.spawn(t, flags, { environment: { DATABASE_URL: NOWHERE } }),
      );
      await eventually(() => assert.equal(programs.filter((program) => program.isRunning).length, 1));
      const running = programs.find((program) => program.isRunning);
      await running?.listening();
      assert.equal(programs.filter(({ stderr }) => stderr.includes("listening")).length, 1);
      assert.equal(programs.filter(({ stderr }) => stderr.includes(`process id ${running?.pid}`)).length, 3);
      await running?.kill();
    }
  });

  test("a port that is taken ends the start in one line that names it", async (t) => {
    const taken = await start(t);

    const end = await runProgram(["--listen", `127.0.0.1:${taken.port}`, "--data-dir", await folder(t)], {
      environment: { DATABASE_URL: NOWHERE },
    });

    assert.notEqual(end.code, 0);
    assert.match(end.stderr, new RegExp(`^[^\n]*127\\.0\\.0\\.1:${taken.port}: EADDRINUSE[^\n]*\n$`));
  });

  test("a full journal pauses the senders, and all goes on when the database is there", async (t) => {
    const database = await missingDatabase(t);
    const collector = await start(t, { databaseUrl: database.url, journalMax: KIB ** 2 });
    const lines = 40_000;
    const sender = await Sender.connect(t, collector.port);
    const sending = sender.send(`${"x".repeat(99)}\n`.repeat(lines));

    await eventually(() => assert.match(collector.logged.join("\n"), /senders wait/));
    const repliesWhenFull = sender.replies.length / 3;
    await create(database);
    await sending;

    await eventually(() => assert.equal(sender.replies.length, 3 * lines));
    await eventually(async () => assert.equal(await countOf(database.sql, "logs"), lines));
    assert.ok(repliesWhenFull < lines);
  });

  test("the first start prints commands to try, which end by themselves and show the line", async (t) => {
    const dataDir = join(await folder(t), "data");
    const program = await Program.start(t, ["--data-dir", dataDir]);
    await eventually(() => assert.match(program.stderr, /^to look: .*\n/m));
    const [, first = ""] = /^try: (.+)$/m.exec(program.stderr) ?? [];
    const [, withoutNc = ""] = /^without nc: (.+)$/m.exec(program.stderr) ?? [];
    const [, look = ""] = /^to look: (.+)$/m.exec(program.stderr) ?? [];

    assert.equal(await shell(withoutNc), "ok\n");
    if (await isInstalled("nc", "-h")) assert.equal(await shell(first), "ok\n");
    const rows = await shell(look);

    assert.match(rows, /hello/);
  });

  test("a close() that fails at one step takes the others, rejects, and frees the data directory", async (t) => {
    const dataDir = await folder(t);
    const common = { listen: ANY_PORT, http: "off", databaseUrl: NOWHERE, drainTimeout: 0, log: () => {} };
    const collector = await startCollector({ ...common, dataDir });
    collector.done.catch(() => {});
    await converse(collector.port, "one\n");
    const failing = t.mock.method(Server.prototype, "close", () => assert.fail("injected"), { times: 1 });

    await assert.rejects(collector.close(), /injected/);
    const next = await start(t, { dataDir });

    assert.equal(failing.mock.callCount() > 0, true);
    assert.equal(next.ledger().inJournal, 1);
  });
});

const shell = async (command: string) => (await promisify(execFile)("bash", ["-c", command], { cwd: ROOT })).stdout;
