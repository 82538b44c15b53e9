/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { KIB, eventually } from "./support/basics.ts";
import { ANY_PORT, NOWHERE, Program, ask, bunPath, runProgram, start, whenStored } from "./support/collectors.ts";
import { COLLECTOR, MODULES, bareCopy, folder, undoAfter } from "./support/files.ts";
import { scrape, valueOf } from "./support/metrics.ts";
import { countOf, create, databaseWithTables, missingDatabase } from "./support/postgres.ts";
import { isInstalled } from "./support/processes.ts";
import { Sender, TirelessSender, converse } from "./support/senders.ts";

describe("health", () => {
  test("a scrape adds up to the line while senders send: received = stored + dead + lost + backlog; counters never fall", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add check (message !~ '7$')`;
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT });
    const senders = ["a", "b", "c"].map((name) => new TirelessSender(name, collector.port));
    undoAfter(t, () => senders.forEach((sender) => sender.giveUp()));

    const scrapes = [await scrape(collector)];
    while (valueOf(scrapes.at(-1), "collector_lines_dead_total") < 100) scrapes.push(await scrape(collector));
    await Promise.all(senders.map((sender) => sender.stop()));
    await whenStored(collector);
    scrapes.push(await scrape(collector));

    const column = (what: string) => scrapes.map((some) => valueOf(some, `collector_${what}`));
    const [received, backlog] = [column("lines_received_total"), column("backlog_lines")];
    const parts = ["lines_stored_total", "lines_dead_total", "lines_lost_total"].map(column);
    for (const [n, lines] of received.entries()) assert.equal(sumOf([backlog, ...parts].map((part) => part[n])), lines);
    for (const counter of [received, ...parts])
      assert.deepEqual(
        counter,
        counter.toSorted((a, b) => a - b),
      );
    assert.equal(received.at(-1), sumOf(senders.map(({ acknowledged }) => acknowledged.length)));
    assert.equal(await countOf(sql, "logs"), parts[0]?.at(-1));
  });

  test("metrics count what was received, answered, cut, altered and refused, how long syncs and inserts took", async (t) => {
    const { url } = await databaseWithTables(t);
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT, maxLine: 100, journalMax: 2 * KIB ** 2 });
    const json = '{"message":"json"}\n{"message":"\\u0000"}\n';
    const lines = Buffer.from(`one\n\n${"x".repeat(150)}\ntwo \xff\n\x1b[31mthree\x1b[0m\n${json}`, "latin1");

    await converse(collector.port, lines);
    await converse(collector.port, "GET / HTTP/1.1\r\n");
    await whenStored(collector);

    const scraped = await scrape(collector);
    const value = (name: string) => valueOf(scraped, `collector_${name}`);
    assert.deepEqual([value("lines_received_total"), value("lines_stored_total")], [6, 6]);
    assert.deepEqual([value("lines_cut_total"), value("lines_altered_total"), value("replies_total")], [1, 3, 4]);
    assert.deepEqual([value("connections_total"), value("connections_refused_total"), value("connections")], [2, 1, 0]);
    assert.equal(value("received_bytes_total"), lines.length - 2); // the empty line, and the ending of the one that is cut
    assert.deepEqual([value("batch_lines_sum"), value("database_up"), value("accepting")], [6, 1, 1]);
    assert.deepEqual([value("backlog_bytes"), value("backlog_limit_bytes")], [0, 2 * KIB ** 2]);
    assert.ok(value("sync_duration_seconds_count") >= 1 && value("insert_duration_seconds_sum") > 0);
  });

  test("/healthz is 200 while lines can be acknowledged, and describes a database that is away in words and numbers", async (t) => {
    const startedAt = Date.now();
    const collector = await start(t, { http: ANY_PORT });

    await converse(collector.port, "one\ntwo\n");
    await eventually(async () => assert.match((await ask(collector, "/healthz")).text, /ECONNREFUSED/));

    const { status, type, text } = await ask(collector, "/healthz");
    const { state, database, backlog, room, ...rest } = JSON.parse(text) as ReturnType<typeof collector.health>;
    assert.deepEqual([status, type, rest.accepting], [200, "application/json; charset=utf-8", true]);
    assert.match(state, /^accepting lines; database away since 20\S+: ECONNREFUSED, nothing listens there$/);
    assert.deepEqual([database.up, database.cause, backlog.lines], [false, "ECONNREFUSED, nothing listens there", 2]);
    const ageS = (Date.now() - startedAt) / 1000;
    assert.ok(Date.parse(database.since) >= startedAt - 1000 && backlog.oldest_age_s <= ageS + 1 && backlog.bytes > 8);
    assert.ok(room.bytes > 0 && room.bytes <= KIB ** 3);
    assert.deepEqual(
      [rest.received, rest.stored, rest.dead_letters, rest.maintained],
      [2, 0, 0, { partitions: null, keys: null }],
    );
  });

  test("/healthz shows for how long there is room at the present rate, is 503 when the journal is full, then 200", async (t) => {
    const database = await missingDatabase(t);
    const collector = await start(t, { databaseUrl: database.url, http: ANY_PORT, journalMax: KIB ** 2 });
    const sender = await Sender.connect(t, collector.port);
    const healthz = async () => ({ ...collector.health(), ...(await ask(collector, "/healthz")) });

    await sender.send(`${"x".repeat(1000)}\n`.repeat(500));
    await eventually(async () => assert.ok(((await healthz()).room.lasts_s ?? 0) > 0));
    await sender.send(`${"x".repeat(1000)}\n`.repeat(2000));
    await eventually(async () => assert.equal((await healthz()).status, 503));
    const full = { ...(await healthz()), accepting: valueOf(await scrape(collector), "collector_accepting") };
    await create(database);

    assert.match(full.state, /^journal is full \(--journal-max 1048576 bytes\): .*; database away/);
    assert.deepEqual([full.room.bytes, full.accepting], [0, 0]);
    await eventually(async () => assert.deepEqual([(await healthz()).status, collector.ledger().stored], [200, 2500]));
    await eventually(async () => assert.match((await healthz()).maintained["partitions"] ?? "", /^20/));
  });

  test("/healthz shows that the partitions have not been seen to for a day", async (t) => {
    const collector = await start(t);
    assert.doesNotMatch(collector.health().state, /partitions/);

    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 25 * 3_600_000 });

    assert.match(collector.health().state, /partitions not maintained since 20/);
  });

  test("requests whose Host is neither a loopback name nor the one listened on are refused", async (t) => {
    const collector = await start(t, { http: ANY_PORT });
    const withHost = async (host: string) => (await ask(collector, "/healthz", { headers: { host } })).status;
    const own = ["localhost", "LOCALHOST:8889", "127.0.0.1:1", "[::1]:8889", "127.1.2.3"];
    const foreign = ["evil.example", "evil.example:8889", "127.0.0.1.evil.example", "a.localhost.example", "10.0.0.1"];

    const statuses = { own: await Promise.all(own.map(withHost)), foreign: await Promise.all(foreign.map(withHost)) };
    const withoutHost = await converse(portOf(collector.http), "GET /healthz HTTP/1.0\r\n\r\n");

    assert.deepEqual(statuses, { own: own.map(() => 200), foreign: foreign.map(() => 403) });
    assert.match(withoutHost, /^HTTP\/1.1 200 /);
  });

  test("unknown paths are 404, other methods 405 with Allow, HEAD has no body, a body is ignored", async (t) => {
    const collector = await start(t, { http: ANY_PORT });

    const unknown = await ask(collector, "/metrics/x", { method: "POST" });
    const posted = await ask(collector, "/metrics", { method: "POST", body: "x".repeat(100_000) });
    const head = await ask(collector, "/healthz?full", { method: "HEAD" });
    const withBody = await ask(collector, "/metrics", { body: "one\ntwo\n" });

    assert.deepEqual([unknown.status, posted.status, head.status, withBody.status], [404, 405, 200, 200]);
    assert.deepEqual([posted.allow, head.text], ["GET, HEAD", ""]);
    assert.equal(collector.ledger().received, 0);
  });

  test("clients that send nothing, half a request or endless headers are cut off, and hold up no one", async (t) => {
    const collector = await start(t, { http: ANY_PORT });
    const openings = [
      "",
      "GET /healthz HTTP/1.1\r\nHost: local",
      `GET / HTTP/1.1\r\n${"Header: line\r\n".repeat(2000)}`,
    ];
    const slow = await Promise.all(openings.map(() => Sender.connect(t, portOf(collector.http))));

    for (const [n, client] of slow.entries()) await client.send(openings[n] ?? "");

    assert.equal((await ask(collector, "/healthz")).status, 200);
    await eventually(() => assert.ok(slow.every(({ isClosed }) => isClosed)));
    assert.match(slow[1]?.replies ?? "", /^HTTP\/1.1 408 /);
    assert.match(slow[2]?.replies ?? "", /^HTTP\/1.1 431 /);
  });

  test("however many clients are slow, whoever asks is answered", async (t) => {
    const collector = await start(t, { http: ANY_PORT });
    const slow = await Promise.all(Array.from({ length: 100 }, () => Sender.connect(t, portOf(collector.http))));
    for (const client of slow) await client.send("GET /healthz HTTP/1.1\r\nHost: local");

    const statuses = await Promise.all(
      Array.from({ length: 5 }, async () => (await ask(collector, "/healthz")).status),
    );

    assert.deepEqual(statuses, [200, 200, 200, 200, 200]);
  });

  test("a client that pipelines requests is cut off: their answers do not wait in memory", async (t) => {
    const collector = await start(t, { http: ANY_PORT });
    const client = await Sender.connect(t, portOf(collector.http));

    await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000));

    await eventually(() => assert.ok(client.isClosed));
    assert.ok(client.replies.split("HTTP/1.1 200 OK").length <= 2);
    assert.equal((await ask(collector, "/healthz")).status, 200);
  });

  test("a default port that is taken is logged and gone without; one that was asked for ends the start in one line", async (t) => {
    const holder = createServer();
    undoAfter(t, () => holder.close());
    const hold = () => once(holder.listen(8889, "127.0.0.1"), "listening"); // the tests of another Node may have it for a while
    await eventually(hold).catch(() => {}); // where another process keeps it, it is as taken
    const flags = ["--listen", "127.0.0.1:0", "--data-dir", await folder(t), "--drain-timeout", "0s"];
    const environment = { DATABASE_URL: NOWHERE, COLLECTOR_HTTP: "" };

    const byFlag = await runProgram([...flags, "--http", "127.0.0.1:8889"], { environment });
    const byVariable = await runProgram(flags, { environment: { ...environment, COLLECTOR_HTTP: "127.0.0.1:8889" } });
    const program = await Program.start(t, flags, environment);

    const taken = "Cannot listen on 127\\.0\\.0\\.1:8889 for health and metrics: EADDRINUSE";
    for (const { code, stderr } of [byFlag, byVariable]) {
      assert.match(stderr, new RegExp(`^${taken}; [^\n]*--http[^\n]*\n$`));
      assert.equal(code, 1);
    }
    assert.match(program.stderr, new RegExp(`^${taken}; going on without[^\n]*\nlistening on `));
    assert.equal(await converse(program.port, "one\n"), "ok\n");
  });

  test("a database that is away is looked for every second or two, also while there is nothing to store", async (t) => {
    const looks: number[] = [];
    const server = createServer((socket) => {
      looks.push(performance.now());
      socket.on("error", () => {}).destroy();
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    undoAfter(t, () => server.close());
    await start(t, { databaseUrl: `postgres://u:p@127.0.0.1:${(server.address() as AddressInfo).port}/d` });

    await eventually(() => assert.ok(looks.length >= 13));

    const rested = (looks[12] ?? Infinity) - (looks[8] ?? 0); // by the eighth, the rests don't grow any more
    assert.ok(rested > 2000 && rested < 9000, `4 rests of ${rested} ms in all`);
  });

  for (const [runtime, program] of [
    ["tsx, in a folder without package.json", [process.execPath, join(MODULES, "tsx/dist/cli.mjs"), "collector.ts"]],
    ["Bun", [bunPath(), "collector.ts"]],
  ] as const) {
    test(`both pages work under ${runtime}`, async (t) => {
      const bare = await bareCopy(t, ["collector.ts", "schema.sql"]);
      const flags = ["--http", ANY_PORT, "--drain-timeout", "0s"];
      const collector = await Program.start(t, flags, { DATABASE_URL: NOWHERE }, { program, cwd: bare });

      await converse(collector.port, "one\ntwo\n");

      assert.equal(valueOf(await scrape(collector), "collector_backlog_lines"), 2);
      assert.equal((await ask(collector, "/healthz")).status, 200);
      assert.equal((await ask(collector, "/healthz", { headers: { host: "evil.example" } })).status, 403);
      assert.equal(await collector.stop(), 0);
    });
  }

  test("a status line renews itself below the log on a terminal, colourless under NO_COLOR; not on a pipe, nor behind &", async (t) => {
    if (!(await isInstalled("script"))) return t.skip("script, of util-linux, is not here");
    const line = [...COLLECTOR, "--listen", "127.0.0.1:0", "--drain-timeout", "0s"].join(" ");
    const shown = async (environment: Record<string, string>, rest = "") => {
      const command = `set -m; stty cols 200; ${line} --data-dir ${await folder(t)} ${rest}`;
      const program = ["script", "-qefc", command, "/dev/null"];
      return Program.spawn(t, [], {
        program,
        environment: { DATABASE_URL: NOWHERE, SHELL: "/bin/sh", ...environment },
      });
    };

    const [coloured, plain] = [await shown({}), await shown({ NO_COLOR: "1" })];
    const [piped, behind] = [await shown({}, "2>&1 | cat"), await shown({}, '& trap "kill $!" HUP EXIT; cat')];

    const line1 =
      "database away: ECONNREFUSED, nothing listens there · backlog 0 · 0 lines/s in · 0 stored · 0 connections";
    await eventually(() => assert.ok(coloured.stdout.includes(`\r\x1b[K\x1b[33m${line1}\x1b[0m\r\x1b[K`)));
    await eventually(() => assert.ok(plain.stdout.includes(`\r\x1b[K${line1}\r\x1b[K`)));
    for (const bare of [piped, behind]) {
      await eventually(() => assert.match(bare.stdout, /cannot store into/));
      assert.doesNotMatch(bare.stdout, /\x1b|lines\/s/);
    }
    assert.match(coloured.stdout, /\r\x1b\[Klistening on tcp:[^\n]*\n/);
    assert.doesNotMatch(plain.stdout, /\x1b\[\d+m/);
  });
});

const portOf = (url = "") => Number(new URL(url).port);

const sumOf = (values: readonly (number | undefined)[]) => values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
