/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { isInstalled } from "./support/processes.ts";
import { eventually, range } from "./support/basics.ts";
import { start, storedFrom } from "./support/collectors.ts";
import { ask, connectFrom, proxyV1, proxyV2 } from "./support/proxied.ts";
import { Sender, converse } from "./support/senders.ts";
import { converseTls, startTls } from "./support/tls.ts";
import { certificates } from "./support/certificates.ts";

const PROXY = { proxyFrom: "127.0.0.0/8" };

/** The addresses of a header of version 2: the sender, then the proxy. */
const v4 = (address: string) => Buffer.from([...address.split(".").map(Number), 127, 0, 0, 1, 1, 2, 3, 4]);

describe("places", () => {
  test("--max-connections-per-peer, half of all by default, bounds one address; others still get in", async (t) => {
    const collector = await start(t, { ...PROXY, maxConnections: 6 });
    const greedy = await Promise.all(range(3).map(() => connectFrom(t, collector.port, "192.0.2.1")));
    for (const socket of greedy) assert.equal(await ask(socket, "hello\n"), "ok\n");

    const fourth = await ask(await connectFrom(t, collector.port, "192.0.2.1"), "hello\n");
    const other = await ask(await connectFrom(t, collector.port, "192.0.2.2"), "hello\n");
    greedy[0]?.destroy();

    assert.match(fourth, /^error: 3 connections from there .*--max-connections-per-peer.*refused 192\.0\.2\.1\)\n$/);
    assert.equal(other, "ok\n");
    await eventually(async () => {
      assert.equal(await ask(await connectFrom(t, collector.port, "192.0.2.1"), "again\n"), "ok\n");
    });
  });

  test("senders of this machine and a proxy itself have no bound of their own, and this machine has places of its own", async (t) => {
    const collector = await start(t, { ...PROXY, maxConnections: 4, maxConnectionsPerPeer: 2 });
    const remote = await Promise.all(range(4).map((n) => connectFrom(t, collector.port, `192.0.2.${n}`)));
    for (const socket of remote) assert.equal(await ask(socket, "hello\n"), "ok\n");

    const refused = await ask(await connectFrom(t, collector.port, "192.0.2.9"), "hello\n");
    const local = await Promise.all(range(4).map(() => Sender.connect(t, collector.port)));
    for (const sender of local) await sender.asks("hello\n", "ok\n");

    assert.match(refused, /^error: 4 connections are open, --max-connections allows no more .*\n$/);
  });

  test("TLS handshakes that do not end keep nobody out, neither from TLS nor from plain text", async (t) => {
    const { certFile, keyFile } = (await certificates()).server;
    const listen = "127.0.0.1:0,tls://127.0.0.1:0";
    const collector = await start(t, { ...PROXY, listen, maxConnections: 20, tlsCert: certFile, tlsKey: keyFile });
    const [plain = 0, secure = 0] = collector.ports;
    const half = await Promise.all(range(40).map(() => connectFrom(t, secure, "192.0.2.1")));
    await eventually(() => assert.ok(half.filter(({ closed }) => closed).length >= 30));

    const replies = [
      await ask(await connectFrom(t, secure, "192.0.2.2", true), "hello\n"),
      await ask(await connectFrom(t, plain, "192.0.2.3"), "hello\n"),
      (await converseTls(secure, "hello\n")).replies,
      await converse(plain, "hello\n"),
    ];

    assert.deepEqual(replies, ["ok\n", "ok\n", "ok\n", "ok\n"]);
  });

  test("a sender that refuses our certificate is logged as the one who refused, with its address", async (t) => {
    if (!(await isInstalled("openssl", "version"))) return t.skip("no openssl on this machine");
    const { stranger } = await certificates();
    const collector = await startTls(t);
    const flags = [
      "s_client",
      "-connect",
      `127.0.0.1:${collector.port}`,
      "-CAfile",
      stranger.certFile,
      "-verify_return_error",
    ];

    await promisify(execFile)("openssl", flags).catch(() => {});

    await eventually(() =>
      assert.match(collector.logged.join("\n"), /127\.0\.0\.1 refused this collector: .*ERR_SSL_\w+_ALERT_\w+/),
    );
  });
});

describe("PROXY headers", () => {
  const extension = Buffer.from([0x04, 0, 3, 1, 2, 3]); // NOOP
  const v6 = Buffer.from(`20010db8${"0".repeat(23)}1${"0".repeat(32)}01020304`, "hex");
  const headers: [string, Buffer, string][] = [
    ["version 1, IPv4", proxyV1("192.0.2.7"), "192.0.2.7"],
    ["version 1, IPv6", proxyV1("2001:db8:0::1"), "2001:db8::1"],
    ["version 1, UNKNOWN", Buffer.from("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), "127.0.0.1"],
    ["version 2, IPv4", proxyV2(1, 0x11, v4("192.0.2.8")), "192.0.2.8"],
    ["version 2, IPv4 and an extension", proxyV2(1, 0x11, Buffer.concat([v4("192.0.2.9"), extension])), "192.0.2.9"],
    ["version 2, IPv6", proxyV2(1, 0x21, v6), "2001:db8::1"],
    ["version 2, LOCAL", proxyV2(0, 0x11, v4("192.0.2.8")), "127.0.0.1"],
    ["version 2, a Unix socket", proxyV2(1, 0x31, Buffer.alloc(216, "/")), "127.0.0.1"],
    ["version 2, unspecified", proxyV2(1, 0, Buffer.alloc(0)), "127.0.0.1"],
  ];

  for (const [what, header, peer] of headers)
    test(`${what}: it gives the line's peer, whole or byte by byte`, async (t) => {
      const whole = await storedFrom(t, Buffer.concat([header, Buffer.from("hello\nagain\n")]), PROXY);
      const sender = await Sender.connect(t, whole.collector.port);
      for (const byte of header) await sender.send(Buffer.of(byte));
      await sender.asks("hello\n", "ok\n");

      await eventually(async () => {
        const peers = await whole.sql`select peer from logs`;
        assert.deepEqual(
          peers.map((row) => String(row["peer"])),
          [peer, peer, peer],
        );
      });
      assert.equal(whole.replies, "ok\nok\n");
    });

  test("--allow looks at the address that the header gives, and the proxy's own sends lines where it is allowed", async (t) => {
    const collector = await start(t, { ...PROXY, allow: "192.0.2.0/24" });

    const allowed = await ask(await connectFrom(t, collector.port, "192.0.2.1"), "hello\n");
    const refused = await ask(await connectFrom(t, collector.port, "198.51.100.1"), "hello\n");
    const direct = await converse(collector.port, "hello\n");

    assert.equal(allowed, "ok\n");
    assert.match(refused, /^error: --allow .*refused 198\.51\.100\.1\)\n$/);
    assert.match(direct, /^error: --allow .*refused 127\.0\.0\.1\)\n$/);
  });

  test("over TLS the header stands before the handshake", async (t) => {
    const collector = await startTls(t, { ...PROXY, allow: "192.0.2.1" });

    const reply = await ask(await connectFrom(t, collector.port, "192.0.2.1", true), "hello\n");

    assert.equal(reply, "ok\n");
  });

  test("a header that can't be read is refused; one from an address that --proxy-from does not name, too", async (t) => {
    const [naming, other] = [await start(t, PROXY), await start(t, { proxyFrom: "192.0.2.0/24" })];
    const bad = ["PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", `PROXY TCP4 ${"x".repeat(120)}`];
    const body = v4("192.0.2.8");
    const malformed = [...bad.map((text) => Buffer.from(text)), proxyV2(2, 0x11, body), proxyV2(1, 0x21, body)];

    for (const header of malformed)
      assert.match(
        await converse(naming.port, Buffer.concat([header, Buffer.from("x\n")])),
        /^error: its PROXY header/,
      );
    for (const header of [proxyV1("192.0.2.7"), proxyV2(1, 0x11, body)])
      assert.match(await converse(other.port, header), /^error: a PROXY header; --proxy-from does not name/);
    assert.deepEqual([naming.ledger().received, other.ledger().received], [0, 0]);
  });

  test("a proxy that looks whether we are there, and resets the connection before we accept it, is not logged", async (t) => {
    const collector = await start(t, PROXY);
    const touch = `const socket = net.connect(${collector.port}, "127.0.0.1", () =>
      socket.write("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\\r\\n", () => socket.resetAndDestroy()))`;

    spawnSync(process.execPath, ["-e", touch]); // we accept nothing meanwhile
    assert.equal(await converse(collector.port, "hello\n"), "ok\n");

    assert.doesNotMatch(collector.logged.join("\n"), /refused/);
  });

  test("a proxy's address may also send lines without a header", async (t) => {
    const collector = await start(t, PROXY);

    for (const line of ["P\n", "PROXY is down\n", "\r\n\r\nx\n", "hello\n"])
      assert.equal(await converse(collector.port, line), "ok\n");
  });
});
