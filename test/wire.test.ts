/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { InFlight, Inbox, readOptions, startCollector } from "../collector.ts";
import { KIB, eventually, range, repeat } from "./support/basics.ts";
import { certificates } from "./support/certificates.ts";
import type { Certificate } from "./support/certificates.ts";
import { NOWHERE, Program, denoPath, runProgram, start, storedFrom } from "./support/collectors.ts";
import { ROOT, folder, undoAfter } from "./support/files.ts";
import { countFrame } from "./support/framing.ts";
import { messages } from "./support/postgres.ts";
import { freePort, isInstalled, peakRss } from "./support/processes.ts";
import { Sender, converse } from "./support/senders.ts";
import { converseTls, startTls } from "./support/tls.ts";

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
    assert.ok(peakRss(program.pid) < 192 * KIB ** 2);
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

  test("an octet count of characters instead of bytes costs no frame; the log tells it once, with the address", async (t) => {
    const wrong = "42 <14>1 2026-11-22T10:00:00Z h a - - - Größe"; // 44 bytes
    const right = range(3000).map((n) => countFrame(`<14>1 2026-11-22T10:00:00Z h a - - - line ${n}`));

    const { rows, collector } = await storedFrom(t, wrong + right.join("") + wrong);

    assert.deepEqual(messages(rows), ["Größe", ...range(3000).map((n) => `line ${n}`), "Größe"]);
    const told = collector.logged.filter((line) => line.includes("octet count"));
    assert.match(told.join("\n"), /^127\.0\.0\.1 sends frames with a wrong octet count: [^\n]+$/);
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
    test(`${what} is answered with an error line and closed, stores nothing, and is logged once`, async (t) => {
      const collector = await start(t);

      const replies = [await converse(collector.port, opening), await converse(collector.port, opening)];

      for (const reply of replies) assert.match(reply, /^error: [^\n]+\n$/);
      assert.equal(collector.ledger().received, 0);
      assert.equal(collector.logged.filter((line) => /HTTP|TLS/.test(line)).length, 1);
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
    await eventually(() => assert.equal(collector.ledger().received, lines));
    sender.read();
    sender.socket.end();

    await eventually(() => assert.equal(sender.replies.length, 3 * lines));
  });

  test("900 senders at once each get their ok, and nothing is logged", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const senders = await Promise.all(range(900).map(() => Sender.connect(t, program.port)));

    await Promise.all(senders.map((sender) => sender.send("hello\n")));

    await Promise.all(senders.map((sender) => sender.hears("ok\n")));
    assert.doesNotMatch(program.stderr, /warning/i);
  });
});

describe("memory", () => {
  test("1,000 small chunks that wait for their taker are copied together, byte for byte", async () => {
    const stream = new PassThrough();
    const inbox = new Inbox(stream as unknown as Socket, new InFlight(), 0, new AbortController().signal);
    const sent = range(1000).map((n) => Buffer.from(`${n} `));

    for (const chunk of sent) stream.write(chunk);
    await inbox.isFilled();
    await eventually(() => assert.equal(stream.readableLength + stream.writableLength, 0));
    const chunks = takenFrom(inbox) ?? [];

    assert.deepEqual(Buffer.concat(chunks), Buffer.concat(sent));
    assert.ok(chunks.length <= 4, `${chunks.length} chunks`);
  });

  test("a sender that is read no more, as too much is in flight, goes on when it is its turn, also if it is the last", async () => {
    const inFlight = new InFlight();
    inFlight.open();
    inFlight.add(8 * KIB ** 2);
    const stream = new PassThrough();
    const inbox = new Inbox(stream as unknown as Socket, inFlight, 0, new AbortController().signal);

    const filled = inbox.isFilled();
    stream.write("line\n");
    await immediate();
    const isEarly = takenFrom(inbox) !== undefined;
    inFlight.remove(8 * KIB ** 2);

    assert.deepEqual([isEarly, await filled], [false, true]);
    assert.equal(Buffer.concat(takenFrom(inbox) ?? []).toString(), "line\n");
  });

  test("a sender that is read no more keeps its bytes in the kernel, and goes on with all of them", async (t) => {
    const server = createServer().listen(0, "127.0.0.1");
    t.after(() => server.close());
    await once(server, "listening");
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    t.after(() => client.destroy());
    const [stream] = (await once(server, "connection")) as [Socket];
    t.after(() => stream.destroy());
    const inFlight = new InFlight();
    inFlight.add(8 * KIB ** 2);
    const inbox = new Inbox(stream, inFlight, 0, new AbortController().signal);
    const sizeOfTaken = () => Buffer.concat(takenFrom(inbox) ?? []).length;

    client.write(Buffer.alloc(KIB ** 2));
    await eventually(() => assert.ok(stream.bytesRead > 0));
    for (let turn = 0; turn < 10; turn++) await immediate();
    const readAhead = stream.bytesRead;
    let received = sizeOfTaken();
    const rest = inbox.isFilled();
    inFlight.remove(8 * KIB ** 2);
    await rest;
    while (received < KIB ** 2 && (await inbox.isFilled())) received += sizeOfTaken();

    assert.deepEqual([readAhead <= 64 * KIB, received], [true, KIB ** 2]);
  });

  test("bytes that take long to frame are taken few at a time, each time in another turn of the event loop", async () => {
    const stream = new PassThrough({ highWaterMark: KIB ** 2 });
    const inFlight = new InFlight();
    const inbox = new Inbox(stream as unknown as Socket, inFlight, 0, new AbortController().signal);
    const few = new PassThrough();
    const other = new Inbox(few as unknown as Socket, inFlight, 0, new AbortController().signal);
    const sizes: number[] = [];
    const turns: number[] = [];
    let turn = 0;
    const counting = setInterval(() => turn++, 0);

    for (let chunk = 0; chunk < 16; chunk++) stream.write(Buffer.alloc(64 * KIB));
    few.write("line\n");
    await eventually(() => assert.equal(stream.readableLength + few.readableLength, 0));
    for (let size = 0; size < KIB ** 2; size += sizes.at(-1)!) {
      await inbox.isFilled();
      turns.push(turn);
      sizes.push(inbox.take(frameSlowly));
    }
    await other.isFilled();
    const isLate = turn > turns.at(-1)!;
    clearInterval(counting);

    assert.deepEqual([new Set(sizes), isLate], [new Set([64 * KIB]), false]);
    assert.ok(new Set(turns).size > 12, `16 takes in ${new Set(turns).size} turns`);
  });

  test("a stop has all that a sender sent taken at once", async () => {
    const stream = new PassThrough({ highWaterMark: KIB ** 2 });
    const stop = new AbortController();
    const inbox = new Inbox(stream as unknown as Socket, new InFlight(), 0, stop.signal);

    for (let chunk = 0; chunk < 16; chunk++) stream.write(Buffer.alloc(64 * KIB));
    await eventually(() => assert.equal(stream.readableLength, 0));
    await inbox.isFilled();
    stop.abort();

    assert.equal(takenFrom(inbox)?.length, 16);
  });

  for (const [what, chunk] of [
    ["tiny counted frames", "3 <1>".repeat(13_000)],
    ["tiny frames that are counted wrong", "5 <1>\n1x".repeat(8000)],
  ] as const)
    test(`900 senders that flood it with ${what} take no memory`, async (t) => {
      const program = await Program.start(t, ["--data-dir", await folder(t), "--drain-timeout", "0s"], {
        DATABASE_URL: NOWHERE,
      });
      const senders = await Promise.all(range(900).map(() => Sender.connect(t, program.port)));
      const until = performance.now() + 6000;

      await Promise.all(
        senders.map(async ({ socket }) => {
          while (performance.now() < until && !socket.destroyed) {
            if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), sleep(until - performance.now())]);
          }
          socket.destroy();
        }),
      );

      assert.ok(peakRss(program.pid) < 300 * KIB ** 2, `${peakRss(program.pid) / KIB ** 2} MiB`);
    });

  test("the start warns where lines of --max-connections senders may take over 512 MiB", async (t) => {
    const warnings = async (options: Parameters<typeof startCollector>[0]) =>
      (await start(t, options)).logged.filter((line) => line.includes("memory"));

    const [large] = await warnings({ maxLine: "16MiB", maxConnections: 60 });
    const small = await warnings({ maxLine: "8MiB", maxConnections: 64 });

    assert.match(large ?? "", /^warning: 60 senders with lines of 16777216 bytes may take 1\.9 GiB of memory; lower/);
    assert.deepEqual(small, []);
  });
});

describe("encodings", () => {
  test("UTF-16 that begins with its byte order mark is decoded, either way round; NUL ends no line there", async (t) => {
    for (const swap of [false, true]) {
      const bytes = Buffer.from('\ufeff{"level":"error","message":"Größe"}\r\nplain Ā\n', "utf16le");
      const { rows } = await storedFrom(t, swap ? bytes.swap16() : bytes, { ack: "never" });

      assert.deepEqual(
        rows.map(({ level, message, attributes }) => [level, message, attributes]),
        [
          [400, "Größe", null],
          [200, "plain Ā", null],
        ],
      );
    }
  });

  test("UTF-16 without its mark is a row a line, with the bytes as they came", async (t) => {
    const { rows } = await storedFrom(t, Buffer.from("first line\nsecond line", "utf16le"), { ack: "never" });

    const raw = rows.map(({ attributes }) => (attributes as { "@collector": { raw: string } })["@collector"].raw);
    assert.deepEqual(
      raw.map((text) => Buffer.from(text, "base64").toString("latin1").replaceAll("\0", "")),
      ["first line", "second line"],
    );
  });

  test("a UTF-8 byte order mark at a connection's beginning is dropped: JSON behind it is JSON", async (t) => {
    const { rows, replies } = await storedFrom(t, '\ufeff{"level":"error","message":"x"}\n');

    assert.deepEqual([rows[0]?.level, rows[0]?.message, replies], [400, "x", ""]);
  });
});

describe("tls", { concurrency: true }, () => {
  test("TLS 1.2 and 1.3 are spoken, nothing older; a sender that ends its side still gets all its replies", async (t) => {
    const { port } = await startTls(t);

    const [newer, older] = [
      await converseTls(port, "line\n".repeat(20_000)),
      await converseTls(port, "a\nb", { maxVersion: "TLSv1.2" }),
    ];
    const ciphers = "DEFAULT@SECLEVEL=0"; // or the client itself refuses what is so old
    const oldest = await converseTls(port, "a\n", { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers });

    assert.deepEqual([newer.protocol, newer.replies], ["TLSv1.3", "ok\n".repeat(20_000)]);
    assert.deepEqual([older.protocol, older.replies], ["TLSv1.2", "ok\nok\n"]);
    assert.deepEqual([oldest.error, oldest.replies], ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", ""]);
  });

  test("no session tickets are sent, which a sender that never reads would leave unread, and so lose its last lines", async (t) => {
    const { port } = await startTls(t);

    const { tickets, replies } = await converseTls(port, '{"msg":"silent"}\n'.repeat(1000));

    assert.deepEqual([tickets, replies], [0, ""]);
  });

  test("--tls-ca: a certificate that it signed is served; a wrong and a missing one are refused, each logged once", async (t) => {
    const { ca, client, stranger } = await certificates();
    const collector = await startTls(t, { tlsCa: ca.certFile });
    const served = await converseTls(collector.port, "line\n", client);
    const wrong = await repeat(3, () => converseTls(collector.port, "line\n", stranger));
    const missing = await repeat(3, () => converseTls(collector.port, "line\n", { maxVersion: "TLSv1.2" }));

    assert.equal(served.replies, "ok\n");
    for (const { replies } of wrong)
      assert.match(replies, /^error: .*DEPTH_ZERO_SELF_SIGNED_CERT \(collector refused [\d.]+\)\n$/);
    for (const { replies } of missing) assert.match(replies, /^error: .*no certificate.*\n$/);
    assert.equal(collector.ledger().received, 1);
    assert.deepEqual(collector.logged.filter((line) => /refused 127\.0\.0\.1/.test(line)).length, 2);
  });

  test("a handshake that does not end in 10 s is closed, and so is plain text; each is logged once", async (t) => {
    const collector = await startTls(t);
    const [silent, plain] = [await Sender.connect(t, collector.port), await Sender.connect(t, collector.port)];
    const since = performance.now();

    await plain.send("a line in plain text\n");

    await eventually(() => assert.ok(plain.isClosed));
    await eventually(() => assert.ok(silent.isClosed));
    assert.ok(performance.now() - since > 9000);
    assert.match(collector.logged.join("\n"), /plain text on a port for TLS[^]*did not end in 10 s/);
    assert.equal(collector.ledger().received, 0);
  });

  test("SIGHUP: new connections get the new certificate, open ones go on; a bad file is logged and the old one kept", async (t) => {
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

  test("TLS is refused under Deno, which loses the last lines of senders that never read", async (t) => {
    const { server: own } = await certificates();
    const flags = ["--data-dir", await folder(t), "--tls-cert", own.certFile, "--tls-key", own.keyFile];

    const { stderr, code } = await runProgram(flags, {
      program: [denoPath(), "run", "-A", join(ROOT, "collector.ts")],
    });

    assert.match(stderr, /^Cannot listen with TLS: Deno [^\n]+\n$/);
    assert.equal(code, 2);
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

  test("--listen given twice serves plain text on one address and TLS on the other, and logs both", async (t) => {
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
      assert.ok(collector.logged.includes(`listening on ${url}`));
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
    if (!(await isInstalled("openssl", "version"))) return t.skip("no openssl on this machine");
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

describe("allow", () => {
  test("--allow: others are closed with an error line, each logged once; networks and single addresses are served", async (t) => {
    const collector = await start(t, { allow: "127.0.0.1,127.0.8.0/24,fd00::/8" });
    const from = (localAddress: string) => converse(collector.port, "line\n", { localAddress });

    const served = [await from("127.0.0.1"), await from("127.0.8.200")];
    const refused = [await from("127.0.0.2"), await from("127.0.0.2"), await from("127.0.9.1")];

    assert.deepEqual(served, ["ok\n", "ok\n"]);
    for (const reply of refused)
      assert.match(reply, /^error: --allow does not name this address \(collector refused 127\.0\.(?:0\.2|9\.1)\)\n$/);
    assert.equal(collector.logged.filter((line) => /refused 127\.0\.(0\.2|9\.1): --allow/.test(line)).length, 2);
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
    assert.deepEqual(refused, ["error: --allow does not name this address (collector refused 127.0.0.1)\n", ""]);
  });

  test("--allow that is no network is refused, from embedders too: nobody is let in by a slip", async () => {
    for (const allow of ["10.0.0.0/33", ",", "10.0.0", "fd00::/129", "all", "127.0.0.1;10.0.0.1"])
      for (const refuse of [() => readOptions({ allow }, {}), () => startCollector({ allow })])
        await assert.rejects(async () => refuse(), /--allow "[^"]+": allowed is an address or a network/);
  });

  test("listening on more than loopback with neither --tls-ca nor --allow starts with one warning of what is open", async (t) => {
    const warnings = async (options: Parameters<typeof startCollector>[0]) =>
      (await start(t, options)).logged.filter((line) => line.startsWith("warning: "));
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

const takenFrom = (inbox: Inbox) => inbox.take((chunks) => chunks);

/** Takes 0.5 ms a KiB. */
const frameSlowly = (chunks: Buffer[] = []) => {
  const size = Buffer.concat(chunks).length;
  for (const until = performance.now() + size / (2 * KIB); performance.now() < until;);
  return size;
};
