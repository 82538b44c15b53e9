/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Socket } from "node:net";
import { hostname } from "node:os";
import { delimiter, join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { pino as openPino } from "pino";
import winston from "winston";

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
import { KIB, eventually } from "./support/basics.ts";
import { Program, start } from "./support/collectors.ts";
import { folder, undoAfter } from "./support/files.ts";
import { countOf, freshDatabase, rowsOf } from "./support/postgres.ts";
import type { Row } from "./support/postgres.ts";
import { freePort } from "./support/processes.ts";
import { lacks, numbered, senderEnvironment } from "./support/programs.ts";
import type { Line } from "./support/programs.ts";
import { Sender } from "./support/senders.ts";

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
  const child = spawn(program, words, { env: senderEnvironment(), timeout: 120_000 });
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
