/**
 * collector — a TCP log collector that stores every line in PostgreSQL exactly once.
 *
 *     sockets ─► Framer ─► Journal ─► follow ─► AsyncQueue ─► work ─► PostgreSQL
 *        ▲                    │ fdatasync, then `ok`  (parsed batches)   one statement a batch,
 *        └─ backpressure: read on only when the last lines are on disk   exactly once
 *
 * Guarantees
 * - `ok` is sent only once its line is written to the journal and fdatasynced: it survives kill -9 and a power cut.
 * - A line answered `ok` gets into the table, and once: a batch and the keys of its journal entries are stored by one
 *   statement, so what is sent again after a crash or a lost connection adds nothing.
 * - Memory is bounded whatever the backlog: what is not stored yet is on disk, and a full journal pauses the senders.
 * Limits
 * - A database that forgets commits (restored, failed over to a lagging replica, synchronous_commit = off) forgets lines.
 * - The embedded PGlite does not sync its files: a power cut can damage what was already moved into it.
 * - A data directory put back to an older copy sends again lines whose keys may have been pruned since.
 *
 * On the wire: lines end with \n, \r\n or NUL; empty ones are ignored. A line is answered `ok\n`, or, where it was cut to
 * --max-line, `error: line of N bytes cut to M\n`. Under --ack auto, what begins like JSON or syslog gets no reply.
 *
 * On disk: DATA_DIR/journal/<sequence>-<journal id>.segment, integers little-endian, times in µs since 1970
 *   segment  "COLLECTR" · version u32 · crc32 u32 · journal id (16 bytes) · last time given before u64 · entries · zeros
 *   entry    "LOG\x01" · crc32 u32 · body's bytes u32 · lines u32 · position u64 · first line's time u64 · sections
 *   section  bytes u32 · cut from u32 (0: not cut) · bytes of the peer's address u8 · address · lines as they came
 * A CRC covers what follows it (the segment's: all of its header), and the entry's the journal's id as well.
 */
import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { once, setMaxListeners } from "node:events";
import { existsSync, openSync, readFileSync, realpathSync } from "node:fs";
import { chmod, link, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { createRequire } from "node:module";
import { Socket, connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { dirname, join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { crc32 } from "node:zlib";
import type postgres from "postgres";

export const VERSION = "0.1.0";

// ---- Options ---------------------------------------------------------------
// One table; the flags, the environment, --help and the README's table follow
// from it. A flag wins over its variable; an empty variable is as none.

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND = 1000; // ms, as all times but those of lines
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;

const OPTIONS = {
  listen: option("HOST:PORT", "127.0.0.1:8888", "where senders connect; port 0 picks a free one", address()),
  databaseUrl: option(
    "URL",
    "",
    "PostgreSQL to store into; without it, an embedded PGlite",
    pattern("postgres://user:password@host:port/database", /^(postgres(ql)?:\/\/.*)?$/),
  ),
  dataDir: option(
    "DIR",
    "./collector-data",
    "the journal and the embedded database; made with mode 0700",
    pattern("a folder's path", /./),
  ),
  workers: option("N", "2", "batches written at the same time", wholeNumber(1, 64)),
  ack: option(
    "auto|always|never",
    "auto",
    "who gets replies; auto: lines of plain text",
    oneOf("auto", "always", "never"),
  ),
  maxLine: option("SIZE", "64KiB", "longest line kept whole", byteSize(1, 64 * MIB)),
  maxConnections: option("N", "1000", "further senders are refused with an error line", wholeNumber(1, 1_000_000)),
  idleTimeout: option("TIME", "off", "close a sender that has been silent this long", durationOrOff()),
  journalMax: option("SIZE", "1GiB", "backlog on disk after which senders are paused", byteSize(MIB, 2 ** 50)),
  drainTimeout: option("TIME", "10s", "how long a stop waits for the database", duration()),
};

/** The options' values: sizes in bytes, times in milliseconds, `idleTimeout` 0 for off. */
export type Options = { [Name in OptionName]: (typeof OPTIONS)[Name] extends Option<infer Value> ? Value : never };

type OptionName = keyof typeof OPTIONS;

/** Texts to values; `undefined` for what is not allowed. */
interface Parser<Value> {
  allowed: string;
  parse: (text: string) => Value | undefined;
}

interface Option<Value> extends Parser<Value> {
  placeholder: string;
  fallback: string;
  meaning: string;
}

/** What the command line, the environment or the folder got wrong; ends the start with exit code 2. */
export class UsageError extends Error {}

/** Reads options from flags (by their camel-case names) and the environment. Throws {@link UsageError}. */
export function readOptions(
  flags: { [Name in OptionName]?: string },
  environment: Record<string, string | undefined>,
): Options {
  const read = (name: OptionName) => {
    const { fallback, allowed, parse } = OPTIONS[name];
    const text = flags[name] ?? (environment[variableOf(name)] || fallback);
    const value = parse(text);
    if (value !== undefined) return [name, value];
    throw new UsageError(
      `Cannot use ${name in flags ? flagOf(name) : variableOf(name)} "${text}": allowed is ${allowed}`,
    );
  };
  return Object.fromEntries(optionNames().map(read)) as Options;
}

/** The text of --help. */
export function helpText(): string {
  const rows = optionNames().map((name) => {
    const { placeholder, fallback, meaning } = OPTIONS[name];
    const second = `${variableOf(name)}, default ${fallback || "none"}`;
    return `  ${`${flagOf(name)} ${placeholder}`.padEnd(26)} ${meaning}\n${" ".repeat(29)}${second}`;
  });
  return `collector: a TCP log collector. Says \`ok\` once a line is on disk; stores every line in PostgreSQL exactly once.

  collector.ts [options]                     collect
  collector.ts query "select …" [--json]     print the rows of one SQL statement

${rows.join("\n")}
  --help, --version

Sizes take KiB, MiB and GiB; times take ms, s, m, h and d. A flag wins over its environment variable.`;
}

const optionNames = () => Object.keys(OPTIONS) as OptionName[];
const snakeOf = (name: string, joint: string) => name.replace(/[A-Z]/g, (letter) => joint + letter.toLowerCase());
const flagOf = (name: string) => `--${snakeOf(name, "-")}`;
const variableOf = (name: string) => (name === "databaseUrl" ? "" : "COLLECTOR_") + snakeOf(name, "_").toUpperCase();

function option<Value>(placeholder: string, fallback: string, meaning: string, parser: Parser<Value>): Option<Value> {
  return { placeholder, fallback, meaning, ...parser };
}

function address(): Parser<string> {
  const allowed = "a host and a port from 0 to 65535, such as 127.0.0.1:8888 or [::1]:8888";
  return { allowed, parse: (text) => (hostAndPort(text).port <= 65_535 ? text : undefined) };
}

function pattern(allowed: string, expression: RegExp): Parser<string> {
  return { allowed, parse: (text) => (expression.test(text) ? text : undefined) };
}

function oneOf<Word extends string>(...words: Word[]): Parser<Word> {
  return {
    allowed: words.join(", ").replace(/, (\w+)$/, " or $1"),
    parse: (text) => words.find((word) => word === text),
  };
}

function wholeNumber(least: number, most: number): Parser<number> {
  const allowed = `a whole number from ${least} to ${most}`;
  return { allowed, parse: (text) => quantity(text, { "": 1 }, least, most) };
}

function byteSize(least: number, most: number): Parser<number> {
  const allowed = `a size from ${least} to ${most} bytes, such as 64KiB, 16MiB or 1GiB`;
  return {
    allowed,
    parse: (text) => quantity(text, { "": 1, B: 1, KiB: KIB, MiB: MIB, GiB: 1024 * MIB }, least, most),
  };
}

function duration(): Parser<number> {
  const units = { ms: 1, s: SECOND, m: MINUTE, h: 60 * MINUTE, d: DAY };
  return { allowed: "a time up to 24d, such as 500ms, 10s or 5m", parse: (text) => quantity(text, units, 0, 24 * DAY) };
}

function durationOrOff(): Parser<number> {
  const { allowed, parse } = duration();
  return { allowed: `off, or ${allowed}`, parse: (text) => (text === "off" ? 0 : parse(text) || undefined) };
}

function quantity(text: string, units: Record<string, number>, least: number, most: number): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,15})([a-z]*)$/i.exec(text) ?? [];
  const value = Number(digits) * (units[unit] ?? Number.NaN);
  return value >= least && value <= most ? value : undefined;
}

function hostAndPort(text: string): { host: string; port: number } {
  const [, ipv6, name, port] = /^(?:\[([\da-f:.%a-z]+)\]|([^\s:[\]]+)):(\d{1,5})$/i.exec(text) ?? [];
  return { host: ipv6 ?? name ?? "", port: Number(port ?? Number.NaN) };
}

// ---- Types -----------------------------------------------------------------
// What a line is on its way: a frame in a section, in an entry, a record, in a batch.

/** Whole lines with their endings as they came or, where `cutFrom` is not 0, one line cut from that many bytes. */
interface Section {
  bytes: Buffer;
  cutFrom: number;
  /** That are not empty. */
  lines: number;
}

/** A number of `ok`, or the text of one error line. */
type Reply = number | string;

/** What a sender's next bytes complete. */
export interface Frames {
  sections: Section[];
  lines: number;
  replies: Reply[];
}

/** What the journal holds: lines, with who sent them and when. */
export interface Entry {
  /** Bytes since this journal's beginning; with the journal's id the key in `log_entries`. */
  position: number;
  /** When its first line was received, in µs since 1970; each further line is one later. */
  time: number;
  lines: number;
  /** Its sections; valid until the next block is read. */
  body: Buffer;
}

/** A stretch of the journal: consecutive entries of one segment. */
export interface Block {
  segment: Segment;
  entries: Entry[];
  /** The offset in the segment at which it ends. */
  end: number;
  lines: number;
  isReleased: boolean;
}

/** A parsed frame: the columns of `logs` that come from the line itself. */
export interface LogRecord {
  level: number;
  message: string;
  /** The sender's own time, in µs since 1970. */
  loggedAt?: number | undefined;
  host?: string | undefined;
  app?: string | undefined;
  /** The line where it is a JSON object: it travels as it is, since jsonb keeps every digit … */
  json?: string | undefined;
  /** … and loses there the keys that went into columns, divided by commas here. */
  taken?: string | undefined;
  /** The line as it came, where something in it had to be altered. */
  raw?: string | undefined;
}

/** Consecutive records of an entry that share every column but the message: what travels to PostgreSQL. */
interface Run extends Omit<LogRecord, "raw"> {
  position: number;
  time: number;
  lines: number;
  /** Between the messages; "" where it is one message, which may hold newlines. */
  delimiter: "\n" | "";
  peer: string;
  /** Our own `@collector` notes; `raw` in base64. */
  notes: { cut_from?: number; raw?: string } | undefined;
}

/** Records written by one statement, and the entries that they came from. */
interface Batch {
  block: Block;
  positions: number[];
  runs: Run[];
}

// ---- Collector -------------------------------------------------------------
// Wires the parts along a line's path; close() undoes it in the same order.

/** received = stored + deadLettered + inJournal, in lines since the start; what the start found in the journal is received. */
export interface Ledger {
  received: number;
  stored: number;
  deadLettered: number;
  inJournal: number;
}

export interface Collector {
  /** The port that senders connect to. */
  port: number;
  /** Resolves after `close()`; rejects when durability can no longer be promised, or the database is not one to store into. */
  done: Promise<void>;
  ledger(): Ledger;
  /** The rows of one SQL statement, as a table or a JSON object a line. */
  query(text: string, isJson: boolean): Promise<string>;
  /** Takes nothing new, acknowledges what was on its way, and drains to the database for up to `drainTimeout`. */
  close(): Promise<void>;
}

type Log = (line: string) => void;

const QUERY_WAIT = 5 * SECOND;

/**
 * Starts a collector. It accepts lines when the promise resolves, whether or not its database is there. Throws
 * {@link UsageError} for a missing file or package, or a data directory that another collector holds.
 *
 * @example
 * const collector = await startCollector({ listen: "127.0.0.1:0", dataDir: "/var/lib/collector" });
 * console.log(collector.port, collector.ledger());
 * await collector.close();
 */
export async function startCollector(given: Partial<Options> & { log?: Log } = {}): Promise<Collector> {
  const options: Options = { ...readOptions({}, {}), ...given };
  const log = given.log ?? ((line) => void process.stderr.write(`${line}\n`));
  const database = new Database(options, readSchema(), log);
  locatePackages(...(options.databaseUrl === "" ? [DRIVER, ...EMBEDDED] : [DRIVER]));
  const isFirstStart = await makeFolder(options.dataDir);
  const lock = await DirectoryLock.acquire(options.dataDir);
  const journal = await Journal.open(join(options.dataDir, "journal"), options.journalMax, log);
  const queue = new AsyncQueue<Batch>(1);
  const stop = new AbortController(); // aborted when the drain has taken long enough
  const senders = new Senders(options, journal, log);
  const port = await senders.listen().catch((error: unknown) => {
    lock.release();
    throw error;
  });
  const done = deferred<void>();
  const tasks = [follow(journal, queue), ...database.workers(() => work(queue, journal, database, stop.signal))];
  const housekeeping = keepHouse(journal, database, stop.signal);
  for (const task of [journal.failed, housekeeping, ...tasks])
    task.catch((error) => stop.signal.aborted || done.reject(error));
  stop.signal.addEventListener("abort", () => queue.close());
  const query = async (text: string, isJson: boolean) => {
    await deadline(journal.whenReleased(journal.received), QUERY_WAIT).catch(() => {}); // what was answered `ok` is seen
    return database.query(text, isJson);
  };
  lock.answer(query);
  log(`listening on tcp://${options.listen.replace(/\d+$/, String(port))}`);
  log(`storing into ${database.name}`);
  if (isFirstStart) log(`try: echo hello | nc ${hostAndPort(options.listen).host} ${port}`);

  const ledger = () => {
    const { received, released } = journal;
    const { deadLettered } = database;
    return { received, stored: released - deadLettered, deadLettered, inJournal: received - released };
  };
  const close = async () => {
    await senders.close();
    await journal.seal();
    await deadline(Promise.allSettled(tasks), options.drainTimeout).catch(() => {}); // what is left stays in the journal
    stop.abort();
    await database.close();
    await journal.close();
    lock.release();
    const { inJournal } = ledger();
    log(inJournal === 0 ? "stopped: all lines are stored" : `stopped: ${inJournal} lines wait in the journal`);
    done.resolve();
  };
  return { port, done: done.promise, ledger, query, close: onceOnly(close) };
}

// ---- Connections -----------------------------------------------------------
// One sender's life: read, make durable, only then reply. Nothing more is taken
// from a sender while its last lines are not on disk: that is the backpressure.

const READ_AHEAD_BYTES = 2 * MIB; // of all senders together, while their last lines are being synced
const READ_AHEAD_LEAST = 64 * KIB; // of one sender
const STOP_READING_AFTER = 500;
const LINGER = 30 * SECOND;

/** The listening socket and its connections. */
class Senders {
  readonly #options: Options;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #serving = new Map<Socket, Promise<void>>();
  readonly #said = new Set<string>();
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (s) => this.#accept(s));

  constructor(options: Options, journal: Journal, log: Log) {
    this.#options = options;
    this.#journal = journal;
    this.#log = log;
    setMaxListeners(0, this.#stop.signal);
  }

  /** Resolves to the port that it listens on. */
  async listen(): Promise<number> {
    const { listen } = this.#options;
    this.#server.listen({ ...hostAndPort(listen), backlog: 1024 });
    await once(this.#server, "listening").catch((error: unknown) => {
      throw new Error(`Cannot listen on ${listen}: ${codeOf(error)}; choose another --listen HOST:PORT`);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Stops accepting; reads what is on its way, to its end or for 500 ms, and acknowledges it. */
  async close(): Promise<void> {
    this.#server.close();
    const readingEnds = setTimeout(() => {
      this.#stop.abort();
      this.#journal.waitNoMore();
    }, STOP_READING_AFTER);
    await Promise.all(this.#serving.values());
    clearTimeout(readingEnds);
  }

  #accept(socket: Socket): void {
    socket.on("error", () => {}); // followed by `close`, after which what was received is still read
    const { maxConnections } = this.#options;
    if (this.#serving.size >= maxConnections) {
      return this.#refuse(socket, `${maxConnections} connections are open, --max-connections allows no more`);
    }
    const served = this.#serve(socket).catch(() => void socket.destroy());
    this.#serving.set(
      socket,
      served.finally(() => this.#serving.delete(socket)),
    );
  }

  async #serve(socket: Socket): Promise<void> {
    const peer = (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    const framer = new Framer(this.#options.maxLine, this.#options.ack);
    const replies = new Replies(socket);
    const allowance = () => Math.max(READ_AHEAD_LEAST, READ_AHEAD_BYTES / this.#serving.size);
    for await (const chunks of chunksOf(socket, this.#options.idleTimeout, allowance, this.#stop.signal)) {
      const frames = framer.push(chunks);
      if (framer.foreign !== undefined) return this.#refuse(socket, framer.foreign);
      await this.#journal.append(peer, frames); // durable first,
      replies.send(frames.replies); //              only then `ok`
    }
    await replies.end(this.#stop.signal);
  }

  #refuse(socket: Socket, reason: string): void {
    if (!this.#said.has(reason)) this.#log(`refused ${socket.remoteAddress}: ${reason} (said once)`);
    this.#said.add(reason);
    socket.setTimeout(SECOND, () => socket.destroy());
    socket.resume().end(`error: ${reason}\n`);
  }
}

/**
 * What a sender sends, as much at a time as is there, up to its end, a cut, a silence of `idle` ms or the stop; then an
 * `undefined`. While the taker is busy, about `allowance()` bytes are read ahead.
 */
async function* chunksOf(
  socket: Socket,
  idle: number,
  allowance: () => number,
  stop: AbortSignal,
): AsyncGenerator<Buffer[] | undefined> {
  const changed = new Signal();
  const wake = () => changed.notify();
  let chunks: Buffer[] = [];
  let bytes = 0;
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes >= allowance()) socket.pause();
    chunks.push(chunk);
    wake();
  });
  socket.on("end", wake).on("close", wake);
  stop.addEventListener("abort", wake);
  const silence = new AbortController();
  silence.signal.addEventListener("abort", wake);
  try {
    while (chunks.length > 0 || !(silence.signal.aborted || socket.readableEnded || socket.destroyed || stop.aborted)) {
      if (chunks.length === 0) {
        const timer = idle > 0 ? setTimeout(() => silence.abort(), idle) : undefined;
        await changed.wait();
        clearTimeout(timer);
        continue;
      }
      const taken = chunks;
      chunks = [];
      bytes = 0;
      socket.resume();
      yield taken;
    }
    yield undefined;
  } finally {
    stop.removeEventListener("abort", wake);
  }
}

const OK = "ok\n";
const OKS = Buffer.from(OK.repeat(4096));
const OWED_MOST = 1024;

/**
 * The replies owed to a sender: counts of `ok` with error lines between them, written as fast as the sender reads. One
 * that reads nothing costs at most 1,024 of them; past that, a cut line is answered `ok`, for it is durable like the others.
 */
class Replies {
  readonly #socket: Socket;
  readonly #owed: Reply[] = [];
  readonly #changed = new Signal();

  constructor(socket: Socket) {
    this.#socket = socket;
    for (const event of ["drain", "close"]) socket.on(event, () => this.#write());
  }

  /** Queues replies, and writes what the sender takes now. */
  send(replies: Reply[]): void {
    for (const reply of replies) {
      const last = this.#owed.length - 1;
      const count = typeof reply === "number" ? reply : 1;
      const isFull = last >= OWED_MOST;
      if (typeof this.#owed[last] === "number" && (count === reply || isFull)) this.#owed[last] += count;
      else this.#owed.push(isFull ? count : reply);
    }
    this.#write();
  }

  /** Ends our side when all is written; a sender that takes nothing for 30 s, or at a stop, is cut off. */
  async end(stop: AbortSignal): Promise<void> {
    this.#socket.setTimeout(LINGER, () => this.#socket.destroy());
    this.#socket.resume();
    while (this.#owed.length > 0 && !this.#socket.destroyed && !stop.aborted) await this.#changed.wait();
    this.#socket.end();
    if (stop.aborted) setTimeout(() => this.#socket.destroy(), STOP_READING_AFTER);
    if (!this.#socket.closed) await once(this.#socket, "close");
  }

  #write(): void {
    while (this.#owed.length > 0 && this.#socket.writable && !this.#socket.writableNeedDrain) {
      const reply = this.#owed.shift() as Reply;
      const now = Math.min(Number(reply), OKS.length / OK.length);
      if (Number(reply) > now) this.#owed.unshift(Number(reply) - now);
      this.#socket.write(typeof reply === "number" ? OKS.subarray(0, now * OK.length) : `${reply}\n`);
    }
    this.#changed.notify();
  }
}

// ---- Framing ---------------------------------------------------------------
// Bytes to lines, over any split of the bytes. Of a line, only its end and its
// first bytes are looked at here; the rest is left to the parsers.

const NUL = 0x00;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BRACE = 0x7b;
const SYSLOG = /^(?:<\d{1,3}>|[1-9]\d{0,6} <\d{1,3}>)/;
const HTTP = /^[A-Z]{3,10} \S+ HTTP\/\d/;
const OPENING_BYTES = 8 * KIB;

/** Cuts a sender's bytes into lines of at most `maxLine` bytes, their endings not counted. */
export class Framer {
  /** Why the connection is refused, once it turns out to speak HTTP or TLS. */
  foreign: string | undefined;
  readonly #maxLine: number;
  readonly #ack: Options["ack"];
  #isOpening = true;
  // The line that has not ended: its first `maxLine` + 1 bytes, in a buffer that doubles; its length; its last byte.
  #partial = Buffer.alloc(0);
  #length = 0;
  #lastByte = 0;

  constructor(maxLine: number, ack: Options["ack"]) {
    this.#maxLine = maxLine;
    this.#ack = ack;
  }

  /** The lines that the chunks complete, as views of them; `undefined`, the sender's end, completes the last one. */
  push(chunks: Buffer[] | undefined): Frames {
    const frames: Frames = { sections: [], lines: 0, replies: [] };
    for (const chunk of chunks ?? []) this.#push(frames, chunk);
    if (chunks === undefined && this.#length > 0) this.#endPartial(frames, NUL);
    return frames;
  }

  #push(frames: Frames, chunk: Buffer): void {
    if (this.#isOpening && this.#isForeign(chunk)) return;
    const end = this.#length > 0 ? endOfLine(chunk, 0) : -1;
    if (this.#length > 0) this.#keep(end < 0 ? chunk : chunk.subarray(0, end));
    if (this.#length > 0 && end < 0) return;
    if (end >= 0) this.#endPartial(frames, chunk[end]);
    this.#keep(chunk.subarray(this.#takeLines(frames, chunk, end + 1)));
  }

  /** Adds the lines that end in `chunk` from `from` on; returns where the last one ended. */
  #takeLines(frames: Frames, chunk: Buffer, from: number): number {
    const find = chunk.includes(NUL) ? endOfLine : (bytes: Buffer, at: number) => bytes.indexOf(NEWLINE, at);
    const section = { start: from, lines: 0 }; // all lines share one, but for those that are cut
    let at = from;
    const addSection = (next: number) => {
      const { start, lines } = section;
      if (lines > 0) frames.sections.push({ bytes: chunk.subarray(start, at), cutFrom: 0, lines });
      Object.assign(section, { start: next, lines: 0 });
    };
    for (let end = find(chunk, at); end >= 0; end = find(chunk, at)) {
      const length = lengthOf(chunk, at, end);
      if (length > this.#maxLine) {
        addSection(end + 1);
        this.#addCut(frames, chunk.subarray(at, end), length);
      } else if (length > 0) {
        section.lines++;
        this.#count(frames, chunk, at);
      }
      at = end + 1;
    }
    addSection(at);
    return at;
  }

  #keep(bytes: Buffer): void {
    const kept = Math.min(this.#length, this.#maxLine + 1);
    const more = Math.min(bytes.length, this.#maxLine + 1 - kept);
    if (kept + more > this.#partial.length) {
      const larger = Buffer.allocUnsafe(Math.max(kept + more, Math.min(2 * kept, this.#maxLine + 1)));
      this.#partial.copy(larger, 0, 0, kept);
      this.#partial = larger;
    }
    bytes.copy(this.#partial, kept, 0, more);
    this.#length += bytes.length;
    this.#lastByte = bytes.at(-1) ?? this.#lastByte;
  }

  #endPartial(frames: Frames, delimiter: number | undefined): void {
    const length = this.#length - (delimiter === NEWLINE && this.#lastByte === RETURN ? 1 : 0);
    const line = this.#partial;
    this.#partial = Buffer.alloc(0);
    this.#length = 0;
    if (length > this.#maxLine) return this.#addCut(frames, line, length);
    if (length === 0) return;
    const end = line[length - 1] === RETURN ? NUL : NEWLINE; // a return that belongs to the line must not seem to end it
    const bytes = Buffer.concat([line.subarray(0, length), Buffer.of(end)]);
    frames.sections.push({ bytes, cutFrom: 0, lines: 1 });
    this.#count(frames, line, 0);
  }

  /** Cuts up to 3 bytes more than it must, so that no UTF-8 sequence is torn (RFC 3629, section 3). */
  #addCut(frames: Frames, line: Buffer, length: number): void {
    let cut = this.#maxLine;
    while (cut > Math.max(1, this.#maxLine - 3) && ((line[cut] ?? 0) & 0xc0) === 0x80) cut--;
    frames.sections.push({ bytes: line.subarray(0, cut), cutFrom: length, lines: 1 });
    frames.lines++;
    if (this.#isReplied(line, 0)) frames.replies.push(`error: line of ${length} bytes cut to ${this.#maxLine}`);
  }

  #count(frames: Frames, bytes: Buffer, at: number): void {
    frames.lines++;
    if (!this.#isReplied(bytes, at)) return;
    const last = frames.replies.length - 1;
    if (typeof frames.replies[last] === "number") frames.replies[last]++;
    else frames.replies.push(1);
  }

  /** Told by a line's first bytes alone: senders of JSON and syslog expect silence, and may lose lines at a reply. */
  #isReplied(bytes: Buffer, at: number): boolean {
    if (this.#ack !== "auto") return this.#ack === "always";
    const first = bytes[at] ?? 0;
    if (first < 0x31 || first > 0x3c) return first !== BRACE; // neither a digit nor `<`
    return !SYSLOG.test(bytes.toString("latin1", at, at + 16));
  }

  /** A web page must not be able to post lines: HTTP (RFC 9112, section 3) and TLS (RFC 8446, section 5.1) are refused. */
  #isForeign(chunk: Buffer): boolean {
    const opening = Buffer.concat([this.#partial.subarray(0, this.#length), chunk.subarray(0, OPENING_BYTES)]);
    const end = endOfLine(opening, 0);
    if (opening[0] === 0x16 && (opening[1] ?? 3) === 3) {
      if (opening.length > 2) this.foreign = "a TLS handshake on a port for plain TCP; turn TLS off in the sender";
    } else if (end >= 0 && HTTP.test(opening.toString("latin1", 0, end))) {
      this.foreign = "an HTTP request on a port for log lines; send lines over plain TCP";
    } else if (end >= 0 || opening.length >= OPENING_BYTES) {
      this.#isOpening = false;
    }
    return this.foreign !== undefined;
  }
}

function endOfLine(bytes: Buffer, from: number): number {
  for (let at = from; at < bytes.length; at++) if (bytes[at] === NEWLINE || bytes[at] === NUL) return at;
  return -1;
}

/** Of the line from `start` whose delimiter is at `end`. */
const lengthOf = (bytes: Buffer, start: number, end: number) =>
  bytes[end] === NEWLINE && end > start && bytes[end - 1] === RETURN ? end - start - 1 : end - start;

// ---- Journal ---------------------------------------------------------------
// Append-only segments. One writer owns every position; a segment is deleted
// only when all of it is stored, and its keys only long after that.

const SEGMENT_BYTES = 16 * MIB; // at most, unless one sync brings more
const ENTRY_BYTES = 512 * KIB; // at most, unless one line is longer
const BLOCK_BYTES = MIB; // of what is read, and stored, at a time
const SYNC_BYTES = 4 * MIB; // written and synced at a time
const PADDING = Buffer.alloc(64 * KIB); // zeros behind what is written, for what comes next to be written over
const TRY_AGAIN_AFTER = SECOND;
const CLOCK_STEP = MINUTE; // a clock set back by more is followed
const PRUNE_AFTER = 10 * MINUTE;

const FORMAT_VERSION = 1;
const SEGMENT_MAGIC = Buffer.from("COLLECTR");
const SEGMENT_HEADER_BYTES = 40;
const ENTRY_MAGIC = Buffer.from("LOG\x01");
const ENTRY_HEADER_BYTES = 32;
const SECTION_HEADER_BYTES = 9;
const SEGMENT_NAME = /^(\d{10})-([\da-f-]{36})\.segment$/;
const RELEASED_NAME = /^\d{10}-([\da-f-]{36})-(\d+)\.released$/;

/** One journal file; `size` counts what is synced, offsets are bytes of the file. */
interface Segment {
  readonly path: string;
  readonly sequence: number;
  /** The id of the journal that it belongs to: each start of a collector makes one. */
  readonly journal: string;
  readonly handle: FileHandle;
  size: number;
  /** Up to here the file has blocks: a sync of bytes within them need not wait for the file system's own journal. */
  allocated: number;
  /** All before this offset is stored. */
  storedTo: number;
  /** Where the journal's positions stand behind its last entry; 0 where it has none. */
  endPosition: number;
  unreadLines: number;
  isSealed: boolean;
  isDamaged: boolean;
}

interface Append {
  peer: string;
  frames: Frames;
  isDurable: Deferred<boolean>;
}

/** The journal of a data directory: what is received and not stored yet. */
export class Journal {
  /** Rejects when an fdatasync failed: nothing more can be promised then. */
  readonly failed: Promise<never>;
  /** Lines found at the start or appended since, and those of them that are released. */
  received = 0;
  released = 0;
  // durable
  readonly #id = randomUUID();
  readonly #segments: Segment[] = []; // oldest first, the last one is written
  #position = 0;
  #lastTime = 0; // that a line was given, µs
  // recomputed
  readonly #appends: Append[] = [];
  readonly #outstanding: Block[] = []; // read and not released, in order
  #clock = 0; // the last reading, µs
  #trouble: string | undefined; // that was said, and has not ended
  #mayWait = true;
  #isSealed = false;
  // handles
  readonly #directory: string;
  readonly #bytesMax: number;
  readonly #log: Log;
  readonly #changed = { appends: new Signal(), synced: new Signal(), room: new Signal() };
  readonly #failure = deferred<never>();
  #written = Buffer.allocUnsafe(MIB); // the writer's, reused
  #read = Buffer.allocUnsafe(BLOCK_BYTES + ENTRY_BYTES); // the reader's, reused
  #writer = Promise.resolve();

  private constructor(directory: string, bytesMax: number, log: Log) {
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#log = log;
    this.failed = this.#failure.promise;
    this.failed.catch(() => {});
  }

  /** Takes up what earlier starts left (synced before it is read on), and opens a new segment under a new id. */
  static async open(directory: string, bytesMax: number, log: Log): Promise<Journal> {
    const journal = new Journal(directory, bytesMax, log);
    await makeFolder(directory);
    const names = (await readdir(directory)).filter((name) => SEGMENT_NAME.test(name));
    for (const name of names.toSorted()) await journal.#takeUp(name);
    await journal.#addSegment();
    journal.#writer = journal.#write();
    return journal;
  }

  /** Resolves when the lines are synced; waits while the journal or its disk is full. Rejects only after `waitNoMore()`. */
  async append(peer: string, frames: Frames): Promise<void> {
    if (frames.lines === 0) return;
    const isDurable = deferred<boolean>();
    this.#appends.push({ peer, frames, isDurable });
    this.#changed.appends.notify();
    if (!(await isDurable.promise)) throw new Error("Cannot write the journal, and the collector is stopping");
  }

  /** Follows the journal, never past what is synced, in blocks of about 1 MiB as they come; ends after `seal()`. */
  async *read(): AsyncGenerator<Block> {
    for (let segment = this.#segments[0]; segment; segment = this.#after(segment)) {
      for (let offset = SEGMENT_HEADER_BYTES; offset < segment.size || !segment.isSealed;) {
        if (offset >= segment.size) {
          await this.#changed.synced.wait();
          continue;
        }
        const block = await this.#readBlock(segment, offset);
        offset = block.end;
        segment.unreadLines -= block.lines;
        this.#outstanding.push(block);
        if (block.lines > 0) yield block;
        else await this.release(block);
      }
      this.received -= segment.unreadLines; // lost to damage
      await this.#removeReleased();
    }
  }

  /** Forgets a block; call it only when the block is stored. */
  async release(block: Block): Promise<void> {
    block.isReleased = true;
    this.released += block.lines;
    while (this.#outstanding[0]?.isReleased) {
      const { segment, end } = this.#outstanding.shift() as Block;
      segment.storedTo = end;
    }
    this.#changed.room.notify();
    await this.#removeReleased();
  }

  /** Whether nothing behind this block is synced yet. */
  isCaughtUp({ segment, end }: Block): boolean {
    return !segment.isSealed && end >= segment.size;
  }

  /** Resolves when that many lines are released. */
  async whenReleased(lines: number): Promise<void> {
    while (this.released < lines) await this.#changed.room.wait();
  }

  /** From here on the bound no longer holds, and what can't be written is given up: nobody was told `ok` for it. */
  waitNoMore(): void {
    this.#mayWait = false;
    this.#changed.room.notify();
  }

  /** Takes no more than what was appended so far; `read()` ends behind it. */
  async seal(): Promise<void> {
    this.#isSealed = true;
    this.#changed.appends.notify();
    await this.#writer;
    this.#last().isSealed = true;
    this.#changed.synced.notify();
  }

  async close(): Promise<void> {
    await this.#last().handle.truncate(this.#last().size); // the padding
    for (const { handle } of this.#segments) await handle.close();
  }

  /** Has the keys pruned of what was released 10 minutes ago: no late statement can meet a forgotten key. */
  async prune(forget: (journal: string, endPosition: number) => Promise<void>): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const [, journal = "", endPosition] = RELEASED_NAME.exec(name) ?? [];
      const path = join(this.#directory, name);
      if (endPosition === undefined || Date.now() - (await stat(path)).mtimeMs < PRUNE_AFTER) continue;
      await forget(journal, Number(endPosition));
      await rm(path);
    }
  }

  #last(): Segment {
    return this.#segments.at(-1) as Segment;
  }

  #after({ sequence }: Segment): Segment | undefined {
    return this.#segments.find((segment) => segment.sequence > sequence);
  }

  // -- writing: what arrives during one sync is the next group

  async #write(): Promise<void> {
    while (!this.#isSealed || this.#appends.length > 0) {
      if (this.#appends.length === 0) {
        await this.#changed.appends.wait();
        continue;
      }
      await this.#whenRoom();
      const group = this.#nextGroup();
      const lines = group.reduce((sum, { frames }) => sum + frames.lines, 0);
      const isDurable = await this.#writeDurably(this.#encode(group), lines);
      for (const append of group) append.isDurable.resolve(isDurable);
      this.#changed.synced.notify();
    }
  }

  async #whenRoom(): Promise<void> {
    const backlog = () => this.#segments.reduce((sum, { size, storedTo }) => sum + size - storedTo, 0);
    while (backlog() >= this.#bytesMax && this.#mayWait) {
      this.#say(
        `journal is full (--journal-max ${this.#bytesMax} bytes): senders wait until the database has taken some`,
      );
      await this.#changed.room.wait();
    }
    this.#sayOver();
  }

  #nextGroup(): Append[] {
    let bytes = 0;
    const isOver = ({ frames }: Append) =>
      (bytes += frames.sections.reduce((sum, s) => sum + s.bytes.length, 0)) > Math.min(SYNC_BYTES, this.#bytesMax / 8);
    const over = this.#appends.findIndex(isOver);
    return this.#appends.splice(0, over < 0 ? this.#appends.length : Math.max(1, over));
  }

  /** Lays a group out as entries. Whole lines of one peer in a row share a section, so that they are decoded together. */
  #encode(group: Append[]): Buffer {
    const entry = { start: 0, section: 0, peer: "", lines: 0 };
    let at = ENTRY_HEADER_BYTES;
    const seal = () => {
      this.#sealEntry(entry.start, at, entry.lines);
      Object.assign(entry, { start: at, section: 0, lines: 0 });
      at += ENTRY_HEADER_BYTES;
    };
    for (const { peer, frames } of group) {
      for (const { bytes, cutFrom, lines } of frames.sections) {
        this.#makeRoom(at, SECTION_HEADER_BYTES + peer.length + bytes.length + ENTRY_HEADER_BYTES);
        if (entry.section === 0 || entry.peer !== peer || cutFrom > 0) {
          Object.assign(entry, { section: at, peer: cutFrom > 0 ? "" : peer });
          at = this.#startSection(at, peer, cutFrom);
        }
        at += bytes.copy(this.#written, at);
        this.#written.writeUInt32LE(this.#written.readUInt32LE(entry.section) + bytes.length, entry.section);
        entry.lines += lines;
        if (at - entry.start >= ENTRY_BYTES) seal();
      }
    }
    if (entry.lines > 0) seal();
    return this.#written.subarray(0, entry.start);
  }

  #startSection(at: number, peer: string, cutFrom: number): number {
    this.#written.writeUInt32LE(0, at);
    this.#written.writeUInt32LE(cutFrom, at + 4);
    this.#written.writeUInt8(peer.length, at + 8);
    return at + SECTION_HEADER_BYTES + this.#written.write(peer, at + SECTION_HEADER_BYTES, "latin1");
  }

  #sealEntry(start: number, end: number, lines: number): void {
    const bytes = this.#written.subarray(start, end);
    ENTRY_MAGIC.copy(bytes);
    bytes.writeUInt32LE(bytes.length - ENTRY_HEADER_BYTES, 8);
    bytes.writeUInt32LE(lines, 12);
    bytes.writeBigUInt64LE(BigInt(this.#position), 16);
    bytes.writeBigUInt64LE(BigInt(this.#nextTime(lines)), 24);
    bytes.writeUInt32LE(entryCrc(bytes, this.#id), 4);
    this.#position += bytes.length;
  }

  #makeRoom(used: number, more: number): void {
    if (used + more <= this.#written.length) return;
    const larger = Buffer.allocUnsafe(2 * (used + more));
    this.#written.copy(larger, 0, 0, used);
    this.#written = larger;
  }

  /** The time of the first of `lines` lines: strictly increasing, unless the clock was set back by over a minute. */
  #nextTime(lines: number): number {
    const now = Date.now() * 1000;
    const isSetBack = now < this.#clock - CLOCK_STEP * 1000;
    if (isSetBack) this.#log(`clock was set back by ${Math.round((this.#clock - now) / 1e6)} s: created_at follows it`);
    const first = isSetBack ? now : Math.max(now, this.#lastTime + 1);
    this.#clock = now;
    this.#lastTime = first + lines - 1;
    return first;
  }

  /** Writes until it succeeds, and syncs once: after a failed fdatasync the kernel may have dropped what it could not write. */
  async #writeDurably(bytes: Buffer, lines: number): Promise<boolean> {
    for (let cause; (cause = await this.#tryToWrite(bytes).catch(codeOf)) !== undefined;) {
      if (!this.#mayWait) return false;
      this.#say(`cannot write the journal in ${this.#directory}: ${cause}; senders wait, trying again`);
      await sleep(TRY_AGAIN_AFTER);
    }
    this.#sayOver();
    const segment = this.#last();
    await segment.handle.datasync().catch((error: unknown) => this.#fail(segment, error));
    segment.size += bytes.length;
    segment.endPosition = this.#position;
    segment.unreadLines += lines;
    this.received += lines;
    return true;
  }

  async #tryToWrite(bytes: Buffer): Promise<undefined> {
    const most = Math.max(Math.min(SEGMENT_BYTES, this.#bytesMax / 8), this.#bytesMax / 256);
    const isFull = this.#last().size > SEGMENT_HEADER_BYTES && this.#last().size + bytes.length > most;
    if (isFull) await this.#addSegment();
    const segment = this.#last();
    const { handle, size, allocated } = segment;
    const isSmall = bytes.length < PADDING.length; // large writes gain nothing from it
    const past = (size + bytes.length) % PADDING.length;
    const padding = isSmall && size + bytes.length > allocated ? PADDING.length - past : 0;
    const { bytesWritten } = await handle.writev([bytes, PADDING.subarray(0, padding)], size);
    if (bytesWritten === bytes.length + padding) {
      segment.allocated = Math.max(allocated, size + bytesWritten);
      return;
    }
    segment.allocated = size;
    await handle.truncate(size); // a short write is no error in Node, so it is made one here
    throw new Error("short write");
  }

  /** The promise at stake is `ok` itself: nothing is acknowledged from here on. */
  #fail({ path }: Segment, error: unknown): Promise<never> {
    this.#failure.reject(new Error(`Cannot sync ${path}: ${codeOf(error)}; no more lines can be promised, stopping`));
    return new Promise(() => {});
  }

  async #addSegment(): Promise<void> {
    const previous = this.#segments.at(-1);
    const sequence = (previous?.sequence ?? 0) + 1;
    const path = join(this.#directory, `${String(sequence).padStart(10, "0")}-${this.#id}.segment`);
    const header = segmentHeader(this.#id, this.#lastTime);
    const handle = await open(path, "w+", 0o600);
    try {
      const { bytesWritten } = await handle.write(header, 0, header.length, 0);
      if (bytesWritten < header.length) throw new Error("short write");
      await handle.datasync();
      await syncFolder(this.#directory);
    } catch (error) {
      await handle.close();
      throw error;
    }
    if (previous) previous.isSealed = true;
    this.#add({ path, sequence, journal: this.#id, handle, size: header.length });
    this.#changed.synced.notify();
  }

  #add(segment: Pick<Segment, "path" | "sequence" | "journal" | "handle" | "size">): Segment {
    const storedTo = Math.min(segment.size, SEGMENT_HEADER_BYTES);
    const start = {
      storedTo,
      allocated: segment.size,
      endPosition: 0,
      unreadLines: 0,
      isSealed: false,
      isDamaged: false,
    };
    this.#segments.push({ ...segment, ...start });
    return this.#last();
  }

  #say(trouble: string): void {
    if (this.#trouble !== trouble) this.#log(trouble);
    this.#trouble = trouble;
  }

  #sayOver(): void {
    if (this.#trouble !== undefined && this.#mayWait) this.#log("journal can be written again: senders go on");
    this.#trouble = undefined;
  }

  // -- recovering: what was written but not synced is synced before it is read

  async #takeUp(name: string): Promise<void> {
    const [, sequence, journal = ""] = SEGMENT_NAME.exec(name) ?? [];
    const path = join(this.#directory, name);
    const handle = await open(path, "r+");
    await handle.datasync();
    const bytes = await handle.readFile();
    const { version, lastTime } = readSegmentHeader(bytes, journal);
    if (version > FORMAT_VERSION) {
      await handle.close();
      const remedy = `this collector knows versions up to ${FORMAT_VERSION}; start the newer one that wrote it`;
      throw new UsageError(`Cannot read ${path}: its format is version ${version}, ${remedy}`);
    }
    const segment = this.#add({ path, sequence: Number(sequence), journal, handle, size: bytes.length });
    segment.isSealed = true;
    for (let at = SEGMENT_HEADER_BYTES, next; (next = readEntryHeader(bytes, at)); at += next.bytes) {
      segment.unreadLines += next.lines;
      segment.endPosition = next.position + next.bytes;
      this.#lastTime = Math.max(this.#lastTime, next.time + next.lines - 1);
    }
    this.#lastTime = Math.max(this.#lastTime, lastTime);
    this.#clock = this.#lastTime;
    this.received += segment.unreadLines;
  }

  // -- reading

  async #readBlock(segment: Segment, offset: number): Promise<Block> {
    const block: Block = { segment, entries: [], end: offset, lines: 0, isReleased: false };
    const bytes = await this.#readAt(segment, offset, this.#read.length);
    for (
      let at = 0, entry;
      at < BLOCK_BYTES && (entry = readEntry(bytes, at, segment.journal));
      at = block.end - offset
    ) {
      block.entries.push(entry);
      block.lines += entry.lines;
      block.end += ENTRY_HEADER_BYTES + entry.body.length;
    }
    if (block.lines > 0) return block;
    const needed = bytes.length < ENTRY_HEADER_BYTES ? 0 : ENTRY_HEADER_BYTES + bytes.readUInt32LE(8);
    if (needed > bytes.length && needed <= segment.size - offset) {
      await this.#readAt(segment, offset, needed); // an entry of one long line; the buffer stays as large
      return this.#readBlock(segment, offset);
    }
    return { ...block, end: await this.#skipDamage(segment, offset) };
  }

  async #readAt({ handle, size }: Segment, offset: number, most: number): Promise<Buffer> {
    const length = Math.min(size - offset, most);
    if (length > this.#read.length) this.#read = Buffer.allocUnsafe(length);
    const { bytesRead } = await handle.read(this.#read, 0, length, offset);
    return this.#read.subarray(0, bytesRead);
  }

  /** The offset of the next entry that checks, or the segment's end. */
  async #skipDamage(segment: Segment, offset: number): Promise<number> {
    const bytes = await this.#readAt(segment, offset, segment.size - offset);
    let at = bytes.indexOf(ENTRY_MAGIC, 1);
    while (at >= 0 && !readEntry(bytes, at, segment.journal)) at = bytes.indexOf(ENTRY_MAGIC, at + 1);
    const skipped = at < 0 ? bytes.length : at;
    if (at >= 0 || !isTornTail(bytes)) {
      segment.isDamaged = true;
      this.#log(
        `cannot read ${skipped} bytes at ${offset} of ${segment.path}: damaged; going on behind, keeping it as .bad`,
      );
    }
    return offset + skipped;
  }

  // -- releasing

  async #removeReleased(): Promise<void> {
    for (
      let oldest = this.#segments[0];
      oldest?.isSealed && oldest.storedTo >= oldest.size;
      oldest = this.#segments[0]
    ) {
      if (this.#segments.length === 1) return; // its header carries the last time over
      this.#segments.shift();
      await this.#remove(oldest);
    }
  }

  /** A released segment becomes an empty file whose name remembers its keys; a damaged one is set aside, never deleted. */
  async #remove({ path, endPosition, isDamaged, handle }: Segment): Promise<void> {
    const released = path.replace(/\.segment$/, `-${endPosition}.released`);
    await handle.close();
    await rename(path, isDamaged ? path.replace(/segment$/, "bad") : released);
    await writeFile(released, "", { mode: 0o600 });
    await syncFolder(this.#directory);
  }
}

function segmentHeader(journal: string, lastTime: number): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(header);
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.write(journal.replaceAll("-", ""), 16, "hex");
  header.writeBigUInt64LE(BigInt(lastTime), 32);
  header.writeUInt32LE(segmentCrc(header), 12);
  return header;
}

const segmentCrc = (header: Buffer) => crc32(header.subarray(16, SEGMENT_HEADER_BYTES), crc32(header.subarray(0, 12)));

/** A header that doesn't check says nothing, and costs nothing: the file's name has the journal's id too. */
function readSegmentHeader(header: Buffer, journal: string): { version: number; lastTime: number } {
  const nothing = { version: 0, lastTime: 0 };
  if (header.length < SEGMENT_HEADER_BYTES || header.readUInt32LE(12) !== segmentCrc(header)) return nothing;
  if (header.toString("hex", 16, 32) !== journal.replaceAll("-", "")) return nothing;
  return { version: header.readUInt32LE(8), lastTime: Number(header.readBigUInt64LE(32)) };
}

const entryCrc = (entry: Buffer, journal: string) => crc32(entry.subarray(8), crc32(journal));

/** What the header at `at` says of its entry, where there is one and all of its bytes. */
function readEntryHeader(bytes: Buffer, at: number) {
  if (bytes.length - at < ENTRY_HEADER_BYTES || ENTRY_MAGIC.compare(bytes, at, at + 4) !== 0) return undefined;
  const length = ENTRY_HEADER_BYTES + bytes.readUInt32LE(at + 8);
  if (at + length > bytes.length) return undefined;
  const [position, time] = [bytes.readBigUInt64LE(at + 16), bytes.readBigUInt64LE(at + 24)];
  return { bytes: length, lines: bytes.readUInt32LE(at + 12), position: Number(position), time: Number(time) };
}

/** The entry at `at`, where its CRC checks. */
function readEntry(bytes: Buffer, at: number, journal: string): Entry | undefined {
  const header = readEntryHeader(bytes, at);
  const entry = bytes.subarray(at, at + (header?.bytes ?? 0));
  if (!header || entryCrc(entry, journal) !== entry.readUInt32LE(4)) return undefined;
  return { ...header, body: entry.subarray(ENTRY_HEADER_BYTES) };
}

/** Whether a segment's last bytes are what a crash leaves of an entry that was being written, so never acknowledged. */
function isTornTail(tail: Buffer): boolean {
  const written = tail.findLastIndex((byte) => byte !== 0) + 1;
  if (written === 0 || tail.length < ENTRY_HEADER_BYTES) return true;
  const end = ENTRY_HEADER_BYTES + tail.readUInt32LE(8);
  return ENTRY_MAGIC.compare(tail, 0, 4) === 0 && (end > tail.length || written < end - 1); // NUL may end a line
}

// ---- Queue -----------------------------------------------------------------
// Bounded: who puts waits for room, who takes waits for a value.

/** A first-in, first-out queue between any number of producers and consumers; each value goes to one consumer. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #values: T[] = [];
  readonly #changed = new Signal();
  #isClosed = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Resolves when the value is in the queue; waits while `capacity` others are. Rejects once the queue is closed. */
  async push(value: T): Promise<void> {
    while (this.#values.length >= this.#capacity && !this.#isClosed) await this.#changed.wait();
    if (this.#isClosed) throw new Error("Cannot push: the queue is closed");
    this.#values.push(value);
    this.#changed.notify();
  }

  /** Consumers get what is in the queue; then their loops end. */
  close(): void {
    this.#isClosed = true;
    this.#changed.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (this.#values.length > 0 || !this.#isClosed) {
      if (this.#values.length === 0) {
        await this.#changed.wait();
        continue;
      }
      const value = this.#values.shift() as T;
      this.#changed.notify();
      yield value;
    }
  }
}

// ---- Records ---------------------------------------------------------------
// Lines to records. Nothing here loses or refuses a line: what is not
// recognised is plain text, whole.

const DEFAULT_LEVEL = 200;
const DEEPEST_JSON = 1000; // objects in objects; PGlite's stack holds a few thousand

/** Monolog's scale, under the names that loggers use; it carries the severities of RFC 5424, section 6.2.1. */
const LEVELS: Record<string, number> = {
  ...{ trace: 100, verbose: 100, debug: 100, info: 200, information: 200, informational: 200, notice: 250 },
  ...{ warn: 300, warning: 300, err: 400, error: 400, crit: 500, critical: 500, alert: 550 },
  ...{ emerg: 600, emergency: 600, fatal: 600, panic: 600 },
};

/** A line as a record; plain text, whole, where it is nothing else. */
export function parseLine(line: string): LogRecord {
  return parseJson(line) ?? { level: DEFAULT_LEVEL, message: line };
}

/** A JSON object (RFC 8259) with the everyday keys; `undefined` for all else, and for what jsonb can't hold. */
export function parseJson(line: string): LogRecord | undefined {
  if (line.charCodeAt(0) !== BRACE) return undefined;
  const json = soundJson(line);
  const fields = parseObject(json);
  if (!fields || !fitsJsonb(json, fields)) return undefined;
  let taken = "";
  const take = <Value>(keys: string[], read: (value: unknown) => Value | undefined): Value | undefined => {
    for (const key of keys) {
      const value = read(fields[key]);
      if (value === undefined) continue;
      taken += `${key},`;
      return value;
    }
    return undefined;
  };
  const level = take(["level", "severity"], levelOf) ?? DEFAULT_LEVEL;
  const message = take(["msg", "message"], textOf) ?? json;
  const loggedAt = take(["time", "timestamp"], timeOf);
  const host = take(["hostname", "host"], textOf);
  const app = take(["app", "name"], textOf);
  return {
    level,
    message,
    loggedAt,
    host,
    app,
    json,
    taken: taken.slice(0, -1),
    raw: json === line ? undefined : line,
  };
}

const textOf = (value: unknown) => (typeof value === "string" && value !== "" ? value.toWellFormed() : undefined);

/** jsonb holds neither NUL nor half a surrogate pair: their escapes become U+FFFD's. */
function soundJson(line: string): string {
  if (!line.includes("\\u") || !/\\u(?:0000|d[89a-f])/i.test(line)) return line;
  return line.replace(JSON_ESCAPE, (escape, unsound?: string) => (unsound === undefined ? escape : "\\ufffd"));
}

const JSON_ESCAPE = /\\(?:ud[89ab]..\\ud[c-f]..|(u0000|ud[89a-f]..)|[^])/gi;

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined; // plain text that begins with a brace
  }
}

/** jsonb's bounds: its depth, and numbers of 131,072 digits before and 16,383 behind the point (PostgreSQL, section 8.1.2). */
function fitsJsonb(line: string, fields: object): boolean {
  if (line.length > 2 * DEEPEST_JSON && isDeeper(fields, DEEPEST_JSON)) return false;
  if (line.length < 10_000 && !/\de[+-]?\d{4}/i.test(line)) return true;
  const bare = line.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  return [...bare.matchAll(/(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?/gi)].every(
    ([, whole = "", fraction = "", exponent = "0"]) =>
      whole.length + Number(exponent) <= 131_072 && fraction.length - Number(exponent) <= 16_383,
  );
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

/** A level's name in any case, or a number: 10 to 60 as pino and bunyan count, 100 to 600 as Monolog does. */
export function levelOf(value: unknown): number | undefined {
  if (typeof value === "string")
    return Object.hasOwn(LEVELS, value.toLowerCase()) ? LEVELS[value.toLowerCase()] : undefined;
  if (typeof value !== "number" || value < 10 || value > 600) return undefined;
  if (value < 100) return [100, 100, 200, 300, 400, 600][Math.min(Math.floor(value / 10), 6) - 1];
  return Object.values(LEVELS).findLast((level) => level <= value);
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)? ?(Z|[+-]\d\d:?\d\d)?$/i;

/** µs since 1970, from RFC 3339 (local where it names no zone) or an epoch in s, ms, µs or ns, told by its magnitude. */
export function timeOf(value: unknown): number | undefined {
  if (typeof value === "number") {
    const size = Math.abs(value);
    if (size >= 1e20) return undefined;
    return Math.round(size < 1e11 ? value * 1e6 : size < 1e14 ? value * 1e3 : size < 1e17 ? value : value / 1e3);
  }
  const [, day, clock, fraction = "", zone = ""] = (typeof value === "string" && RFC3339.exec(value)) || [];
  const ms = Date.parse(`${day}T${clock}${zone.toUpperCase().replace(/^([+-]\d\d)(\d\d)$/, "$1:$2")}`);
  return Number.isNaN(ms) ? undefined : ms * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** The runs of a block's entries, in order. */
function runsOf(entries: Entry[]): Run[] {
  const runs: Run[] = [];
  for (const { position, time, body } of entries) {
    let next = time;
    for (const { peer, text, notes } of textsOf(body))
      next = addRuns(runs, { position, peer, notes, time: next }, text);
  }
  return runs;
}

/** Adds the runs of a text's lines; returns the time of the line after them. */
function addRuns(runs: Run[], common: Pick<Run, "position" | "peer" | "notes" | "time">, text: string): number {
  let { time } = common;
  const plain = { start: 0, lines: 0 }; // that are in no run yet
  const addPlain = (end: number) => {
    if (plain.lines > 0)
      addPlainRun(runs, { ...common, time, lines: plain.lines, message: text.slice(plain.start, end) });
    time += plain.lines;
    plain.lines = 0;
  };
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const record = text.charCodeAt(at) === BRACE ? parseJson(text.slice(at, end)) : undefined;
    if (record) {
      addPlain(at - 1);
      runs.push(runOf(record, common, time++));
    } else if (plain.lines++ === 0) {
      plain.start = at;
    }
  }
  addPlain(text.length);
  return time;
}

/** A record that is a run of its own; spelt out, for the speed of objects that are all of one shape. */
function runOf(record: LogRecord, common: Pick<Run, "position" | "peer" | "notes">, time: number): Run {
  const { position, peer } = common;
  const { level, message, loggedAt, host, app, json, taken, raw } = record;
  const notes = raw === undefined ? common.notes : { ...common.notes, raw: Buffer.from(raw).toString("base64") };
  return { position, peer, notes, time, lines: 1, delimiter: "", level, message, loggedAt, host, app, json, taken };
}

/** Plain lines of one entry and one sender's address are one run. */
function addPlainRun(runs: Run[], run: Omit<Run, "level" | "delimiter">): void {
  const last = runs.at(-1);
  const isSame = last?.delimiter === "\n" && last.position === run.position && last.peer === run.peer;
  if (!last || !isSame || last.notes || run.notes)
    return void runs.push({ ...run, level: DEFAULT_LEVEL, delimiter: "\n" });
  last.message += `\n${run.message}`;
  last.lines += run.lines;
}

type Text = Pick<Run, "notes"> & { text: string };

/** The lines of an entry's body, decoded together where they are sound: divided by \n, none empty. */
function* textsOf(body: Buffer): Generator<Text & { peer: string }> {
  for (let at = 0; at < body.length;) {
    const cutFrom = body.readUInt32LE(at + 4);
    const start = at + SECTION_HEADER_BYTES + body.readUInt8(at + 8);
    const peer = body.toString("latin1", at + SECTION_HEADER_BYTES, start);
    const bytes = body.subarray(start, start + body.readUInt32LE(at));
    if (cutFrom > 0) yield { peer, ...soundText(bytes, { cut_from: cutFrom }) };
    else if (isUtf8(bytes)) yield { peer, text: joinLines(bytes.toString()), notes: undefined };
    else for (const line of splitLines(bytes)) yield { peer, ...soundText(line, undefined) };
    at = start + bytes.length;
  }
}

function joinLines(text: string): string {
  const even = /[\0\r]/.test(text) ? text.replace(/\r\n|\0/g, "\n") : text;
  const dense = even.startsWith("\n") || even.includes("\n\n") ? even.replace(/^\n+|\n+(?=\n)/g, "") : even;
  return dense.endsWith("\n") ? dense.slice(0, -1) : dense;
}

function* splitLines(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, end = 0; at < bytes.length; at = end + 1) {
    end = endOfLine(bytes, at);
    if (end < 0) end = bytes.length;
    if (lengthOf(bytes, at, end) > 0) yield bytes.subarray(at, at + lengthOf(bytes, at, end));
  }
}

/** One line's text: U+FFFD for what is not UTF-8, and then its bytes as they came, in base64. */
function soundText(line: Buffer, notes: Run["notes"]): Text {
  return { text: line.toString(), notes: isUtf8(line) ? notes : { ...notes, raw: line.toString("base64") } };
}

// ---- Workers ---------------------------------------------------------------
// The main loop. What is not committed stays in the journal; each failure
// chooses the next try, none gives a line up.

const REST_MOST = 2; // ms

/**
 * Follows the journal, in batches; the queue's bound keeps it a few of them ahead of the database at most. Having caught
 * up, it waits until all is stored, and 2 ms at most: a trickle of lines is not a commit each, which would slow the syncs.
 */
async function follow(journal: Journal, queue: AsyncQueue<Batch>): Promise<void> {
  let lines = 0;
  for await (const block of journal.read()) {
    const { entries } = block;
    const started = performance.now();
    await queue.push({ block, positions: entries.map(({ position }) => position), runs: runsOf(entries) });
    lines += block.lines;
    if (!journal.isCaughtUp(block)) continue;
    await journal.whenReleased(lines);
    await sleep(Math.min(performance.now() - started, REST_MOST));
  }
  queue.close();
}

/** Stores batches until the queue is closed, or stopped between two tries. */
async function work(queue: AsyncQueue<Batch>, journal: Journal, database: Database, stop: AbortSignal): Promise<void> {
  for await (const batch of queue) {
    await storeUntilDone(batch, database, stop); // commit first,
    await journal.release(batch.block); //          only then forget
  }
}

const PAUSE_LEAST = 100;
const PAUSE_MOST = 5 * SECOND;

/** How to store a batch: as one statement; after making its days' partitions; in halves; line by line. */
type Step = "insert" | "partition" | "halve" | "take apart";

/** Resolves when the batch is committed; rejects only when stopped, or when the database is not one to store into. */
async function storeUntilDone(batch: Batch, database: Database, stop: AbortSignal): Promise<void> {
  let step: Step = "insert";
  for (let failures = 0; ; failures++) {
    try {
      await database.store(batch, step);
      return database.isUp();
    } catch (error) {
      if (stop.aborted || error instanceof DatabaseRefused) throw error;
      const next = nextStep(error, batch.positions.length);
      const pause = Math.min(PAUSE_LEAST * 2 ** failures, PAUSE_MOST) * (0.5 + Math.random() / 2); // all don't return at once
      if (next === step || next === "insert") await database.isDown(error, pause, stop);
      step = next;
    }
  }
}

/** Content is taken apart, a missing partition is made, too much is halved; all else is tried again as it is, for ever. */
function nextStep(error: unknown, entries: number): Step {
  const { code = "", constraint_name: constraint } = error as Partial<postgres.PostgresError>;
  if (code === "23514" && constraint === undefined) return "partition";
  if (code === "57014" && entries > 1) return "halve";
  return /^(22|23|54)...$|^P0001$/.test(code) ? "take apart" : "insert"; // data, constraints, limits, a trigger's `raise`
}

/** At the start and once a minute: the coming days' partitions are made, keys that are no longer needed are pruned. */
async function keepHouse(journal: Journal, database: Database, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      await database.makeComingPartitions();
      await journal.prune((id, endPosition) => database.prune(id, endPosition));
      database.isUp();
      await sleep(MINUTE, undefined, { signal: stop }).catch(() => {});
    } catch (error) {
      if (error instanceof DatabaseRefused) throw error;
      if (!stop.aborted) await database.isDown(error, PAUSE_MOST, stop);
    }
  }
}

// ---- Database --------------------------------------------------------------
// One statement stores a batch and its entries' keys, or nothing. The key is
// the entry, so it does not matter how entries are grouped when they come again.

const STATEMENT_MOST = MINUTE;
const CANCEL_MOST = 10 * SECOND;
const CLOSE_MOST = 3 * SECOND;
const DAYS_AHEAD = 7;

/** The database is there, but is not one to store into: said, not tried again. */
export class DatabaseRefused extends Error {}

class Database {
  readonly name: string;
  /** Lines put into `dead_letters` since the start. */
  deadLettered = 0;
  readonly #options: Options;
  readonly #schema: string;
  readonly #log: Log;
  readonly #embedded: EmbeddedPostgres | undefined;
  #client: Promise<Client> | undefined;
  #days = new Set<number>(); // since 1970, that have their partition
  #down: { since: number; cause: string } | undefined;
  #isClosed = false;

  constructor(options: Options, schema: string, log: Log) {
    const { databaseUrl, dataDir } = options;
    this.#options = options;
    this.#schema = schema;
    this.#log = log;
    this.#embedded = databaseUrl === "" ? new EmbeddedPostgres(dataDir) : undefined;
    this.name =
      this.#embedded?.name ?? `PostgreSQL at ${databaseUrl.replace(/^\w+:\/\/(?:[^@/]*@)?([^?]*).*$/s, "$1")}`;
  }

  /** Starts the loops that store: the embedded database has one session, and so one. */
  workers(start: () => Promise<void>): Promise<void>[] {
    return range(this.#embedded ? 1 : this.#options.workers).map(start);
  }

  /** Resolves when the batch is committed: all of it or, taken apart, what the database accepts, the rest in `dead_letters`. */
  async store(batch: Batch, step: Step): Promise<void> {
    if (step === "halve") {
      for (const half of halves(batch)) await this.store(half, "insert");
      return;
    }
    if (step === "partition") this.#days.clear();
    await this.#makePartitions(daysOf(batch.runs));
    if (step === "take apart") this.deadLettered += await this.#within((sql) => takeApart(sql, batch));
    else await this.#within((sql) => insertBatch(sql, batch));
  }

  async makeComingPartitions(): Promise<void> {
    const today = Math.floor(Date.now() / DAY);
    await this.#makePartitions(range(DAYS_AHEAD + 1).map((ahead) => today + ahead));
  }

  /** Forgets the keys of a journal's entries before a position. */
  async prune(journal: string, endPosition: number): Promise<void> {
    await this.#within((sql) => sql`delete from log_entries where journal = ${journal} and position < ${endPosition}`);
  }

  async query(text: string, isJson: boolean): Promise<string> {
    const client = await this.#connect();
    return runQuery(client.sql, text, isJson);
  }

  isUp(): void {
    if (this.#down) this.#log(`${this.name} is back after ${Math.round((Date.now() - this.#down.since) / SECOND)} s`);
    this.#down = undefined;
  }

  /** Says why, once a cause, and waits for `pause` ms or the stop. */
  async isDown(error: unknown, pause: number, stop: AbortSignal): Promise<void> {
    const cause = describe(error);
    const isNew = this.#down?.cause !== cause;
    if (isNew) this.#log(`cannot store into ${this.name}: ${cause}; lines wait in the journal, trying again`);
    this.#down = { since: this.#down?.since ?? Date.now(), cause };
    if (/^42(P01|703|883)$/.test(codeOf(error))) await this.#discard(); // something of ours is gone: set up anew
    await sleep(pause, undefined, { signal: stop }).catch(() => {});
  }

  /** What is under way fails: whether it was committed shows when it is sent again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await deadline(this.#discard(), CLOSE_MOST).catch(() => {});
    await this.#embedded?.close();
  }

  /** The client; made, and its database set up, when it is first needed and after it was discarded. */
  async #connect(): Promise<Client> {
    if (this.#isClosed) throw new Error("Cannot connect: the collector is stopping");
    if (this.#client) return this.#client;
    const client = this.#setUp();
    this.#client = client;
    client.catch(() => {
      if (this.#client === client) this.#client = undefined;
    });
    return client;
  }

  async #setUp(): Promise<Client> {
    const { databaseUrl, workers } = this.#options;
    const client = this.#embedded ? await this.#embedded.connect() : await makeClient(databaseUrl, workers + 1);
    this.#days.clear();
    try {
      await deadline(applySchema(client.sql, this.#schema), STATEMENT_MOST);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /** Runs what may take a minute; then has it cancelled, and discards the client only where no answer comes to that. */
  async #within<T>(start: (sql: postgres.Sql) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    const running = start(client.sql);
    const cancel = setTimeout(() => client.cancel(running), STATEMENT_MOST);
    try {
      return await deadline(running, STATEMENT_MOST + CANCEL_MOST);
    } catch (error) {
      if (!isFromServer(error) && (await this.#client) === client) await this.#discard();
      throw error;
    } finally {
      clearTimeout(cancel);
    }
  }

  /** Its queries fail, its sockets close, the next use makes a new one. */
  async #discard(): Promise<void> {
    const client = this.#client?.catch(() => undefined);
    this.#client = undefined;
    await (await client)?.close();
  }

  async #makePartitions(days: Iterable<number>): Promise<void> {
    for (const day of days) {
      if (this.#days.has(day)) continue;
      const date = new Date(day * DAY).toISOString().slice(0, 10);
      await this.#within((sql) => sql`select create_logs_partition(${date}::date)`);
      this.#days.add(day);
    }
  }
}

interface Client {
  sql: postgres.Sql;
  /** Asks the server to cancel what a query of this client runs. */
  cancel(running: object): void;
  close(): Promise<void>;
}

/** In seconds: a server that is asked to stop, and waits for its clients, need not wait for us long. */
const LEAVE_SOON = { idle_timeout: 5, max_lifetime: 60 };

interface SocketOptions {
  host: string[];
  port: number[];
  path?: string | false | undefined;
}

/** A postgres.js client that can be thrown away: its `end()` may never resolve, so its sockets are ours to destroy. */
async function makeClient(url: string, max: number, path?: string): Promise<Client> {
  const { default: postgres } = (await import(locatePackages(DRIVER)[0]!)) as { default: typeof import("postgres") };
  const sockets = new Set<Socket>();
  let attempts = 0;
  const socket = ({ host, port, path: file }: SocketOptions) => {
    const at = attempts++ % host.length; // of several hosts, the next at each try
    const opened = new Socket();
    const target = file ? { path: file } : { host: host[at]!, port: port[at]!, noDelay: true };
    setImmediate(() => opened.connect(target)); // when postgres.js listens for errors
    sockets.add(opened.once("close", () => sockets.delete(opened)));
    return Object.assign(opened, { host: host[at] }); // the name that TLS checks
  };
  const sql = postgres(url, {
    ...({ socket } as object), // postgres.js knows it, its types don't
    ...(path === undefined ? LEAVE_SOON : { path }),
    max,
    prepare: false, // PgBouncer in transaction mode
    fetch_types: false,
    connect_timeout: 10, // s
    connection: { application_name: "collector" },
    onnotice: () => {},
  });
  const cancel = (running: object) => {
    const { state } = running as { state?: { pid: number; secret: number } }; // of its connection
    if (!state?.pid) return;
    const request = Buffer.alloc(16); // CancelRequest; postgres.js's own `cancel()` rejects where nobody can catch it
    for (const [word, value] of [16, 80_877_102, state.pid, state.secret].entries())
      request.writeUInt32BE(value, 4 * word);
    socket(sql.options)
      .on("error", () => {})
      .end(request);
  };
  const close = async () => {
    await deadline(sql.end({ timeout: 1 }), 2 * SECOND).catch(() => {});
    for (const left of sockets) left.destroy();
  };
  return { sql, cancel, close };
}

const SCHEMA_LOCK = 0x636f6c6c; // "coll"

/** Refuses a database that is not one to store into; applies schema.sql; goes on without, where rights lack but tables don't. */
async function applySchema(sql: postgres.Sql, schema: string): Promise<void> {
  await checkDatabase(sql);
  try {
    await sql.unsafe(`select pg_advisory_xact_lock(${SCHEMA_LOCK});\n${schema}`).simple(); // one query is one transaction
  } catch (error) {
    const tables = await sql`select from pg_class where oid in (to_regclass('logs'), to_regclass('log_entries'))`.catch(
      () => [],
    );
    if (codeOf(error) !== "42501" || tables.length < 2) throw error;
  }
  await checkDatabase(sql);
}

const COLUMNS = ["created_at", "id", "level", "message", "logged_at", "host", "app", "peer", "attributes"];

async function checkDatabase(sql: postgres.Sql): Promise<void> {
  const [row] = await sql`select current_setting('server_encoding') as encoding,
    array_to_string(array(select attname from pg_attribute where attrelid = to_regclass('logs') and attnum > 0), ',') as columns`;
  const { encoding, columns } = row as unknown as { encoding: string; columns: string };
  const missing = COLUMNS.filter((name) => columns !== "" && !columns.split(",").includes(name));
  const isForeign = `its table logs lacks ${missing.join(", ")}, so it is not ours; rename it, or use another database`;
  const isMiscoded = `its encoding is ${encoding}, not UTF8; create database logs encoding 'UTF8' template template0`;
  if (encoding === "UTF8" && missing.length === 0) return;
  throw new DatabaseRefused(`Cannot store into this database: ${encoding === "UTF8" ? isForeign : isMiscoded}`);
}

/** Adds nothing for an entry that is stored already, and waits for one that is being stored. */
function insertBatch(sql: postgres.Sql, { block, positions, runs }: Batch) {
  return sql`with claimed as (${claimEntries(sql, block, positions)})
    ${insertRuns(sql, runs)} where run.position in (select position from claimed)`;
}

const claimEntries = (sql: Tag, { segment }: Block, positions: number[]) => sql`
  insert into log_entries (journal, position)
  select ${segment.journal}::uuid, position from unnest(${arrayLiteral(positions)}::bigint[]) as position order by position
  on conflict do nothing returning position`;

type Tag = Pick<postgres.Sql, "unsafe"> &
  ((
    text: TemplateStringsArray,
    ...values: postgres.ParameterOrFragment<never>[]
  ) => postgres.PendingQuery<postgres.Row[]>);

/** Every run becomes its lines again, a line's time being the run's + its number in µs. Columns that are all null travel as {}. */
function insertRuns(sql: Tag, runs: Run[]) {
  const column = (read: (run: Run) => string | number | undefined) => arrayLiteral(runs.map(read));
  return sql`
    insert into logs (created_at, level, message, logged_at, host, app, peer, attributes)
    select to_timestamp((run.time + line.n - 1) / 1e6::float8), run.level, line.message,
           to_timestamp(run.logged_at / 1e6::float8), run.host, run.app, run.peer,
           case when run.json is not null or run.notes is not null then
             nullif(coalesce(run.json::jsonb - string_to_array(run.taken, ','), '{}') || coalesce(run.notes::jsonb, '{}'), '{}')
           end
    from unnest(${column((run) => run.position)}::bigint[], ${column((run) => run.time)}::bigint[],
                ${column((run) => run.level)}::smallint[], ${column((run) => run.loggedAt)}::bigint[],
                ${column((run) => run.host)}::text[], ${column((run) => run.app)}::text[],
                ${column((run) => run.peer)}::text[], string_to_array(${jsonLines(runs)}, E'\\n', ''),
                ${column((run) => run.taken)}::text[],
                ${column((run) => run.notes && JSON.stringify({ "@collector": run.notes }))}::text[],
                ${textArray(sql, runs)}, ${column((run) => run.delimiter)}::text[])
           as run (position, time, level, logged_at, host, app, peer, json, taken, notes, messages, delimiter),
         string_to_table(run.messages, run.delimiter) with ordinality as line (message, n)`;
}

/** An array as PostgreSQL reads it (section 8.15.2): postgres.js passes text on as it is, four times faster than arrays. */
function arrayLiteral(values: (string | number | undefined)[]): string {
  if (values.every((value) => value === undefined)) return "{}"; // unnest pads with nulls
  return `{${values.map((value) => (typeof value === "string" ? quoted(value) : (value ?? "null"))).join(",")}}`;
}

const quoted = (text: string) => `"${/["\\]/.test(text) ? text.replace(/["\\]/g, "\\$&") : text}"`;

/** The runs' JSON, "" for none: divided by newlines, which a line does not hold, it needs no quoting. */
const jsonLines = (runs: Run[]) => (runs.some(({ json }) => json) ? runs.map(({ json }) => json ?? "").join("\n") : "");

const FEW_RUNS = 64;

/** The runs' messages. Few, and so long, ones are parameters of their own: of an array, PostgreSQL reads letter by letter. */
function textArray(sql: Tag, runs: Run[]) {
  if (runs.length > FEW_RUNS) return sql`${arrayLiteral(runs.map(({ message }) => message))}::text[]`;
  return sql`array[${runs.map(({ message }, index) => (index === 0 ? sql`${message}::text` : sql`, ${message}::text`))}]`;
}

/** In one transaction: halves what is refused until one line is left, and buries that. Returns how many. */
async function takeApart(sql: postgres.Sql, { block, positions, runs }: Batch): Promise<number> {
  const storeAll = async (transaction: postgres.TransactionSql) => {
    const rows = await claimEntries(transaction, block, positions);
    const claimed = new Set(rows.map(({ position }) => Number(position)));
    await transaction`set constraints all immediate`;
    return storeAccepted(transaction, runs.filter(({ position }) => claimed.has(position)).flatMap(singles));
  };
  return sql.begin<Promise<number>>(storeAll);
}

async function storeAccepted(sql: postgres.TransactionSql, lines: Run[]): Promise<number> {
  if (lines.length === 0) return 0;
  try {
    await sql.savepoint((savepoint) => insertRuns(savepoint, lines));
    return 0;
  } catch (error) {
    if (nextStep(error, 0) !== "take apart") throw error;
    const middle = Math.floor(lines.length / 2);
    if (middle === 0) return bury(sql, lines[0] as Run, error);
    return (await storeAccepted(sql, lines.slice(0, middle))) + (await storeAccepted(sql, lines.slice(middle)));
  }
}

const JSONB_BOUNDS = /^(22003|22P0[25]|5400[01])$/;

/** Puts a refused line into `dead_letters`; one that only jsonb refused is stored as the text that it is. */
async function bury(sql: postgres.TransactionSql, line: Run, error: unknown): Promise<number> {
  const { position, time, peer, notes, json, message } = line;
  const { code, message: reason } = error as postgres.PostgresError;
  if (json !== undefined && JSONB_BOUNDS.test(code)) {
    const text = { position, time, peer, notes, lines: 1, level: DEFAULT_LEVEL, message: json, delimiter: "" } as const;
    return storeAccepted(sql, [text]);
  }
  const bytes = notes?.raw === undefined ? Buffer.from(json ?? message) : Buffer.from(notes.raw, "base64");
  await sql`insert into dead_letters (created_at, peer, line, sqlstate, error)
    values (to_timestamp(${time}::bigint / 1e6::float8), ${peer}, ${bytes}, ${code}, ${reason})`;
  return 1;
}

/** A run's lines as runs of one. */
function singles(run: Run): Run[] {
  if (run.delimiter === "") return [run];
  return run.message.split(run.delimiter).map((message, n) => ({ ...run, message, time: run.time + n, lines: 1 }));
}

function halves({ block, positions, runs }: Batch): Batch[] {
  const middle = positions[Math.floor(positions.length / 2)] ?? 0;
  const half = (isIn: (position: number) => boolean) => ({
    block,
    positions: positions.filter(isIn),
    runs: runs.filter(({ position }) => isIn(position)),
  });
  return [half((position) => position < middle), half((position) => position >= middle)];
}

/** The days, since 1970, of the runs' lines. */
const daysOf = (runs: Run[]) => new Set(runs.flatMap(({ time, lines }) => [dayOf(time), dayOf(time + lines - 1)]));

const dayOf = (time: number) => Math.floor(time / 1000 / DAY);

/** PGlite in a thread of its own, so that it holds up nobody's `ok`; it speaks PostgreSQL's protocol on a Unix socket. */
class EmbeddedPostgres {
  readonly name: string;
  readonly #dataDir: string;
  #thread: Worker | undefined;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.name = `PGlite in ${this.#directory()}`;
  }

  /** A client of its one session, with the database started first. */
  async connect(): Promise<Client> {
    const path = socketPath(this.#dataDir, "postgres.sock");
    if (!this.#thread) await this.#start(path);
    return makeClient("postgres://postgres@localhost/postgres?sslmode=disable", 1, path);
  }

  async close(): Promise<void> {
    if (!this.#thread) return;
    const exited = once(this.#thread, "exit");
    this.#thread.postMessage("close");
    await deadline(exited, CANCEL_MOST).catch(() => this.#thread?.terminate());
  }

  #directory(): string {
    return join(this.#dataDir, "postgres");
  }

  async #start(path: string): Promise<void> {
    await rm(path, { force: true });
    const [pglite, socket] = locatePackages(...EMBEDDED);
    const workerData = { pglite, socket, path, directory: this.#directory() };
    const thread = new Worker(EMBEDDED_THREAD, { eval: true, workerData }).on("error", () => {});
    const [outcome] = (await Promise.race([once(thread, "message"), once(thread, "exit")])) as [string | number];
    if (outcome !== "ready") {
      throw new DatabaseRefused(
        `Cannot open ${this.name}: ${outcome}; move that folder away to start with an empty one`,
      );
    }
    this.#thread = thread.once("exit", () => (this.#thread = undefined));
    await makePrivate(workerData.directory);
  }
}

/** Plain JavaScript: Node 20's threads do not inherit tsx's loader. */
const EMBEDDED_THREAD = `
  const { parentPort, workerData } = require("node:worker_threads");
  const run = async () => {
    const { PGlite } = await import(workerData.pglite);
    const { PGLiteSocketServer } = await import(workerData.socket);
    const db = await PGlite.create(workerData.directory);
    const server = new PGLiteSocketServer({ db, path: workerData.path });
    await server.start();
    parentPort.postMessage("ready");
    parentPort.once("message", () => server.stop().then(() => db.close()).then(() => process.exit()));
  };
  run().catch((error) => parentPort.postMessage(String(error)));
`;

type Query = (text: string, isJson: boolean) => Promise<string>;

/** Runs one statement of the user's. The embedded database has one session, so nothing of it may stay behind. */
async function runQuery(sql: postgres.Sql, text: string, isJson: boolean): Promise<string> {
  try {
    const run = (transaction: postgres.TransactionSql) =>
      transaction.unsafe(text, [], { simple: false } as object).raw();
    return formatRows((await sql.begin(run)) as unknown as RawRows, isJson);
  } finally {
    await sql`discard all`;
  }
}

type RawRows = postgres.RowList<(Buffer | null)[][]>;

/** An aligned table, or a JSON object a line, in which numbers keep their digits. */
function formatRows(rows: RawRows, isJson: boolean): string {
  const names = rows.columns.map(({ name }) => name);
  const cells = rows.map((row) => row.map((value) => value?.toString()));
  if (isJson) {
    const field = (value: string | undefined, at: number) =>
      `${JSON.stringify(names[at])}:${jsonOf(value, rows.columns[at]?.type ?? 0)}`;
    return cells.map((row) => `{${row.map(field).join(",")}}\n`).join("");
  }
  const texts = [names, ...cells.map((row) => row.map((value) => (value ?? "").replaceAll("\n", "\\n")))];
  const widths = names.map((_, at) => texts.reduce((most, row) => Math.max(most, row[at]?.length ?? 0), 0));
  texts.splice(
    1,
    0,
    widths.map((width) => "-".repeat(width)),
  );
  return texts
    .map(
      (row) =>
        `${row
          .map((text, at) => text.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

const BARE_TYPES = new Set([20, 21, 23, 26, 114, 1700, 3802]); // int8, int2, int4, oid, json, numeric, jsonb

function jsonOf(value: string | undefined, type: number): string {
  if (value === undefined) return "null";
  if (type === 16) return String(value === "t");
  return BARE_TYPES.has(type) && !/NaN|Infinity/.test(value.slice(0, 9)) ? value : JSON.stringify(value);
}

// ---- Helpers ---------------------------------------------------------------
// The data directory's lock, and small things that are used above.

/**
 * Keeps a second collector off a data directory: a listening Unix socket, which the kernel closes when its process ends,
 * in containers too. Who listens at the highest `lock.N` holds the directory. N only grows: who finds N dead links N + 1,
 * and of two who try, `link` lets one. The holder tells other processes who it is, and runs their queries.
 */
class DirectoryLock {
  #query: Query = () => Promise.reject(new Error("the collector is starting; try again"));
  readonly #server = createServer((socket) => void this.#serve(socket).catch(() => socket.destroy()));

  /** Throws {@link UsageError} with the holder's process id while another process holds the directory. */
  static async acquire(directory: string): Promise<DirectoryLock> {
    const lock = new DirectoryLock();
    const own = `lock-${randomUUID()}`;
    lock.#server.listen(socketPath(directory, own));
    await once(lock.#server, "listening");
    try {
      while (!(await takeLock(directory, own)));
    } catch (error) {
      lock.release();
      throw error;
    }
    return lock;
  }

  /** From here on, queries are answered by `query`. */
  answer(query: Query): void {
    this.#query = query;
  }

  release(): void {
    this.#server.close();
  }

  async #serve(socket: Socket): Promise<void> {
    socket.on("error", () => {}).write(`${JSON.stringify({ pid: process.pid })}\n`);
    const { text, isJson } = JSON.parse(await firstLine(socket)) as { text: string; isJson: boolean };
    const answer = await this.#query(text, isJson).then(
      (output) => ({ output }),
      (error: Error) => ({ error: error.message }),
    );
    socket.end(`${JSON.stringify(answer)}\n`);
  }
}

async function takeLock(directory: string, own: string): Promise<boolean> {
  const newest = await newestLock(directory);
  const holder = await askHolder(directory, newest);
  if (holder) {
    const remedy = "stop it, or choose another";
    throw new UsageError(
      `Cannot use --data-dir ${directory}: the collector with process id ${holder.pid} does; ${remedy}`,
    );
  }
  const mine = join(directory, `lock.${newest + 1}`);
  const isLinked = await link(join(directory, own), mine).then(() => true, isTaken);
  if (!isLinked) return false;
  if ((await newestLock(directory)) > newest + 1) return rm(mine).then(() => false); // a number of long ago: look again
  for (const name of [own, ...range(newest + 1).map((old) => `lock.${old}`)])
    await rm(join(directory, name), { force: true });
  return true;
}

function isTaken(error: unknown): false {
  if (codeOf(error) !== "EEXIST") throw error;
  return false;
}

async function newestLock(directory: string): Promise<number> {
  const numbers = (await readdir(directory)).map((name) => Number(/^lock\.(\d+)$/.exec(name)?.[1] ?? 0));
  return Math.max(0, ...numbers);
}

interface Answer {
  pid: number;
  output?: string;
  error?: string;
}

/** Who holds the directory and, to a question, the query's output or error; `undefined` where nobody listens any more. */
async function askHolder(directory: string, number: number, question?: object): Promise<Answer | undefined> {
  const socket = connect(socketPath(directory, `lock.${number}`));
  const isGone = await once(socket, "connect").then(() => false, isRefused);
  if (isGone) return undefined;
  const { pid } = JSON.parse(await firstLine(socket)) as Answer;
  if (question) socket.write(`${JSON.stringify(question)}\n`);
  const answer = question ? (JSON.parse(await firstLine(socket)) as Answer) : {};
  socket.destroy();
  return { ...answer, pid };
}

function isRefused(error: unknown): true {
  if (!/^(ECONNREFUSED|ENOENT)$/.test(codeOf(error))) throw error;
  return true;
}

async function firstLine(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.includes("\n")) return text.slice(0, text.indexOf("\n"));
  }
  throw new Error("the connection was closed");
}

/** A path to a socket in a folder within the 107 bytes that sockaddr_un holds. */
function socketPath(directory: string, name: string): string {
  const paths = [resolve(directory, name), relative(process.cwd(), join(directory, name))];
  const short = paths.find((path) => Buffer.byteLength(path) < 104);
  return short ?? `/proc/self/fd/${openSync(directory, "r")}/${name}`;
}

interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  const parts = {} as Deferred<T>;
  parts.promise = new Promise<T>((fulfil, refuse) => Object.assign(parts, { resolve: fulfil, reject: refuse }));
  return parts;
}

/** Wakes all who wait; who checks a condition and waits in the same tick misses nothing. */
class Signal {
  #next = deferred<void>();

  wait(): Promise<void> {
    return this.#next.promise;
  }

  notify(): void {
    this.#next.resolve();
    this.#next = deferred();
  }
}

/** Rejects after `ms`, whether or not the promise ever settles. */
async function deadline<T>(promise: PromiseLike<T>, ms: number): Promise<T> {
  const late = deferred<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer in ${ms / SECOND} s`)), ms);
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

function onceOnly<T>(start: () => Promise<T>): () => Promise<T> {
  const started: Promise<T>[] = [];
  return () => (started[0] ??= start());
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** An error's SQLSTATE or errno, else its message. */
function codeOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}

const isFromServer = (error: unknown) => error instanceof Error && error.name === "PostgresError";

const SQLSTATES: Record<string, string> = {
  ...{ "25006": "the server is read-only", "28000": "this user may not connect", "28P01": "wrong password" },
  ...{ "3D000": "no such database", "42501": "this role lacks rights", "42P01": "a table is missing" },
  ...{ "53100": "the server's disk is full", "53300": "too many connections", "57014": "the statement took too long" },
  ...{ "57P01": "the server is stopping", "57P03": "the server is starting or stopping" },
};

/** What an error says, without the server's message: that may quote lines. */
function describe(error: unknown): string {
  if (!isFromServer(error)) return codeOf(error);
  const { code, table_name: table, constraint_name: constraint } = error as postgres.PostgresError;
  const words = SQLSTATES[code] === undefined ? [] : [SQLSTATES[code]];
  return [
    `SQLSTATE ${code}`,
    ...words,
    ...(table ? [`table ${table}`] : []),
    ...(constraint ? [`constraint ${constraint}`] : []),
  ].join(", ");
}

/** Resolves to whether it was made just now. */
async function makeFolder(path: string): Promise<boolean> {
  try {
    return (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined;
  } catch (error) {
    throw new UsageError(`Cannot use the folder ${path}: ${codeOf(error)}; choose another --data-dir DIR`);
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  await handle.sync().finally(() => handle.close());
}

/** PGlite unpacks its first files readable for all. */
async function makePrivate(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await chmod(join(entry.parentPath, entry.name), 0o600).catch(() => {}); // or gone already
  }
}

const DRIVER = "postgres";
const EMBEDDED = ["@electric-sql/pglite", "@electric-sql/pglite-socket"];

/** The packages' entry points, as URLs. Throws {@link UsageError} with the words that install those that are missing. */
function locatePackages(...names: string[]): string[] {
  const { resolve: find } = createRequire(import.meta.url);
  const missing = names.filter((name) => !isThere(() => find(name)));
  const orElse = missing.some((name) => EMBEDDED.includes(name)) ? ", or set --database-url" : "";
  if (missing.length === 0) return names.map((name) => pathToFileURL(find(name)).href);
  throw new UsageError(`Cannot find the packages that it runs on: npm i ${missing.join(" ")}${orElse}`);
}

function isThere(find: () => string): boolean {
  try {
    return find() !== "";
  } catch {
    return false;
  }
}

function readSchema(): string {
  const path = join(dirname(fileURLToPath(import.meta.url)), "schema.sql");
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`Cannot read ${path}: ${codeOf(error)}; copy schema.sql beside collector.ts`);
  }
}

// ---- Entry point -----------------------------------------------------------
// The command line and the signals. Importing this file starts nothing.

async function main(): Promise<void> {
  const { flags, command, text, isJson } = readCommandLine(process.argv.slice(2));
  if (command === "help") return void process.stdout.write(`${helpText()}\n`);
  if (command === "version") return void process.stdout.write(`${VERSION}\n`);
  process.umask(0o077);
  const options = readOptions(flags, process.env);
  if (command === "query") return void process.stdout.write(await queryOnce(options, text, isJson));
  const collector = await startCollector(options);
  stopOnSignals(collector);
  await collector.done;
  process.exit(0); // whatever a driver keeps open
}

function readCommandLine(args: string[]) {
  const { values, positionals } = parseWords(args);
  const [command = "collect", text = "", ...more] = positionals;
  const isQuery = command === "query" && text !== "" && more.length === 0;
  if (!isQuery && positionals.length > 0)
    throw new UsageError(`Cannot run "${positionals.join(" ")}": allowed is query "select …"`);
  if (values["json"] === true && !isQuery) throw new UsageError("Cannot use --json: allowed is query with it");
  const given = optionNames().map((name) => [name, values[flagOf(name).slice(2)]]);
  const flags = Object.fromEntries(given.filter(([, value]) => value !== undefined)) as Parameters<
    typeof readOptions
  >[0];
  const asked = ["help", "version"].find((name) => values[name] === true) ?? command;
  return { flags, command: asked, text, isJson: values["json"] === true };
}

function parseWords(args: string[]) {
  const texts = Object.fromEntries(optionNames().map((name) => [flagOf(name).slice(2), { type: "string" as const }]));
  const switches = Object.fromEntries(["help", "version", "json"].map((name) => [name, { type: "boolean" as const }]));
  try {
    return parseArgs({ args, options: { ...texts, ...switches }, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`Cannot start: ${(error as Error).message.split(". ")[0]}; --help lists what is allowed`);
  }
}

/** Asks a collector that runs on the embedded database: a second PGlite on its files would damage them. */
async function queryOnce(options: Options, text: string, isJson: boolean): Promise<string> {
  const { databaseUrl, dataDir } = options;
  if (databaseUrl !== "") return queryAndClose(await makeClient(databaseUrl, 1), text, isJson);
  if (!existsSync(dataDir)) throw new UsageError(`Cannot query --data-dir ${dataDir}: there is no such folder`);
  const answer = await askHolder(dataDir, await newestLock(dataDir), { text, isJson });
  if (answer?.output !== undefined) return answer.output;
  if (answer) throw new Error(answer.error);
  const lock = await DirectoryLock.acquire(dataDir);
  const embedded = new EmbeddedPostgres(dataDir);
  try {
    return await queryAndClose(await embedded.connect(), text, isJson);
  } finally {
    await embedded.close();
    lock.release();
  }
}

const queryAndClose = (client: Client, text: string, isJson: boolean) =>
  runQuery(client.sql, text, isJson).finally(() => client.close());

/** The first signal stops in order; one that comes a second or more later, at once: npx passes one signal on twice. */
function stopOnSignals(collector: Collector): void {
  const signals: number[] = [];
  const stop = () => {
    signals.push(Date.now());
    if (Date.now() - (signals[0] ?? 0) >= SECOND) process.exit(1);
    void collector.close();
  };
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(error instanceof UsageError ? 2 : 1);
}

const isMain = process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) main().catch(fail);
