/**
 * collector — a TCP log collector that stores every line in PostgreSQL exactly once.
 *
 *     sockets ─► Framer ─► Journal ─► follow ─► AsyncQueue ─► workers ─► PostgreSQL
 *                  ▲          │ fdatasync, then `ok`  (parsed batches)     one statement a batch
 *                  └─ backpressure: a sender is read again only when its last chunk is on disk
 *
 * Guarantees
 * - `ok` is sent only after the line is written to the journal and fdatasynced: it survives kill -9 and a power cut.
 * - Each line answered `ok` is in the table exactly once: a batch and the keys of its journal entries are one
 *   statement, so whatever is sent again after a crash or a lost connection stores nothing twice.
 * - Memory is bounded whatever the backlog: what is not stored yet is on disk, and a full journal pauses the senders.
 * Limits
 * - A database that forgets commits (restored, failed over to a lagging replica, synchronous_commit = off) forgets lines.
 * - The embedded PGlite does not sync its files: a power cut can damage what was already moved into it.
 * - A data directory put back to an older copy sends again what the database may have pruned the keys of.
 *
 * On the wire: lines end with \n, \r\n or NUL; empty ones are ignored. Each is answered `ok\n`, or `error: …\n` when it
 * was cut to --max-line. Under --ack auto, lines that begin like JSON or syslog get no replies.
 *
 * On disk: DATA_DIR/journal/<sequence>-<journal id>.segment, integers little-endian
 *   segment  "COLLECTR" · version u32 · crc32 u32 · journal id (16) · last time given before (µs) u64 · entries…
 *   entry    "LOG\x01" · crc32 u32 · body bytes u32 · lines u32 · position u64 · time of the first line (µs) u64 · sections…
 *   section  bytes u32 · cut from u32 (0: whole) · bytes of the peer's address u8 · peer · lines as they came
 * A CRC covers all that follows it, and an entry's also the journal id, so that no entry passes for another journal's.
 */
import { randomUUID } from "node:crypto";
import { isUtf8 } from "node:buffer";
import { once } from "node:events";
import { openSync, readFileSync, realpathSync } from "node:fs";
import { link, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { basename, dirname, join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { crc32 } from "node:zlib";
import type postgres from "postgres";

export const VERSION = "0.1.0";

// ---- Options ---------------------------------------------------------------
// One table: the flags, the environment, --help and the README's table follow
// from it. A flag wins over its variable; an empty variable is as none.

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const DAY_MS = 24 * 60 * MINUTE_MS;

const OPTIONS = {
  listen: {
    environment: "COLLECTOR_LISTEN",
    value: "HOST:PORT",
    default: "127.0.0.1:8888",
    meaning: "where senders connect; port 0 picks a free one",
    allowed: "a host and a port from 0 to 65535, such as 127.0.0.1:8888 or [::1]:8888",
    parse: (text: string) => (addressOf(text) ? text : undefined),
  },
  databaseUrl: {
    environment: "DATABASE_URL",
    value: "URL",
    default: "",
    meaning: "PostgreSQL to store into; without it, an embedded PGlite",
    allowed: "postgres://user:password@host:port/database",
    parse: (text: string) => (text === "" || /^postgres(ql)?:\/\//.test(text) ? text : undefined),
  },
  dataDir: {
    environment: "COLLECTOR_DATA_DIR",
    value: "DIR",
    default: "./collector-data",
    meaning: "the journal, and the embedded database; made with mode 0700",
    allowed: "a folder's path",
    parse: (text: string) => text || undefined,
  },
  workers: {
    environment: "COLLECTOR_WORKERS",
    value: "N",
    default: "2",
    meaning: "batches written at the same time",
    allowed: "a whole number from 1 to 64",
    parse: (text: string) => wholeNumber(text, 1, 64),
  },
  ack: {
    environment: "COLLECTOR_ACK",
    value: "auto|always|never",
    default: "auto",
    meaning: "who gets replies; auto: lines of plain text",
    allowed: "auto, always or never",
    parse: (text: string) => ACK_MODES.find((mode) => mode === text),
  },
  maxLine: {
    environment: "COLLECTOR_MAX_LINE",
    value: "SIZE",
    default: "64KiB",
    meaning: "longest line kept whole",
    allowed: "a size from 1 to 64MiB, such as 64KiB",
    parse: (text: string) => within(bytesOf(text), 1, 64 * MIB),
  },
  maxConnections: {
    environment: "COLLECTOR_MAX_CONNECTIONS",
    value: "N",
    default: "1000",
    meaning: "further senders are refused with an error line",
    allowed: "a whole number from 1 to 1000000",
    parse: (text: string) => wholeNumber(text, 1, 1_000_000),
  },
  idleTimeout: {
    environment: "COLLECTOR_IDLE_TIMEOUT",
    value: "TIME",
    default: "off",
    meaning: "close a sender that has been silent this long",
    allowed: "off, or a time from 1ms to 24d, such as 30s, 5m or 1h",
    parse: (text: string) => (text === "off" ? 0 : within(millisecondsOf(text), 1, 24 * DAY_MS)),
  },
  journalMax: {
    environment: "COLLECTOR_JOURNAL_MAX",
    value: "SIZE",
    default: "1GiB",
    meaning: "backlog on disk after which senders are paused",
    allowed: "a size of at least 1MiB, such as 1GiB",
    parse: (text: string) => within(bytesOf(text), MIB, Number.MAX_SAFE_INTEGER),
  },
  drainTimeout: {
    environment: "COLLECTOR_DRAIN_TIMEOUT",
    value: "TIME",
    default: "10s",
    meaning: "how long a stop waits for the database",
    allowed: "a time from 0s to 24d, such as 10s",
    parse: (text: string) => within(millisecondsOf(text), 0, 24 * DAY_MS),
  },
} as const;

const ACK_MODES = ["auto", "always", "never"] as const;

type OptionName = keyof typeof OPTIONS;

/** The options' values: sizes in bytes, times in milliseconds (`idleTimeout` 0: off). */
export type Options = { [Name in OptionName]: NonNullable<ReturnType<(typeof OPTIONS)[Name]["parse"]>> };

/** What the command line or the environment got wrong; ends the start with exit code 2. */
export class UsageError extends Error {}

/** Reads options from flags (by their camel-case names) and the environment. Throws {@link UsageError}. */
export function readOptions(
  flags: { [Name in OptionName]?: string },
  environment: Record<string, string | undefined>,
): Options {
  const read = (name: OptionName) => {
    const { environment: variable, default: fallback, allowed, parse } = OPTIONS[name];
    const text = flags[name] ?? (environment[variable] || fallback);
    const value = parse(text);
    if (value !== undefined) return [name, value];
    throw new UsageError(`Cannot use ${name in flags ? flagOf(name) : variable} "${text}": allowed is ${allowed}`);
  };
  return Object.fromEntries(optionNames().map(read)) as Options;
}

const optionNames = () => Object.keys(OPTIONS) as OptionName[];
const flagOf = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The text of --help. */
export function helpText(): string {
  const rows = optionNames().map((name) => {
    const { value, default: fallback, environment, meaning } = OPTIONS[name];
    return `  ${`${flagOf(name)} ${value}`.padEnd(26)} ${meaning}\n${" ".repeat(29)}${environment}, default ${fallback || "none"}`;
  });
  return `collector: a TCP log collector. Says \`ok\` once a line is on disk; stores every line in PostgreSQL exactly once.

  collector.ts [options]                     collect
  collector.ts query "select …" [--json]     print the rows of one SQL statement

${rows.join("\n")}
  --help, --version

Sizes take KiB, MiB and GiB; times take ms, s, m, h and d. A flag wins over its environment variable.`;
}

function addressOf(text: string): { host: string; port: number } | undefined {
  const [, ipv6, name, digits] = /^(?:\[([\da-f:.%a-z]+)\]|([^\s:[\]]+)):(\d{1,5})$/i.exec(text) ?? [];
  const port = wholeNumber(digits ?? "", 0, 65_535);
  return port === undefined ? undefined : { host: ipv6 ?? name ?? "", port };
}

function bytesOf(text: string): number | undefined {
  const [, digits, unit = "B"] = /^(\d{1,15})(B|KiB|MiB|GiB)?$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * KIB ** ["B", "KiB", "MiB", "GiB"].indexOf(unit);
}

function millisecondsOf(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,15})(ms|s|m|h|d)$/.exec(text) ?? [];
  const units: Record<string, number> = { ms: 1, s: SECOND_MS, m: MINUTE_MS, h: 60 * MINUTE_MS, d: DAY_MS };
  return digits === undefined ? undefined : Number(digits) * (units[unit] ?? 0);
}

const wholeNumber = (text: string, least: number, most: number) =>
  /^\d{1,15}$/.test(text) ? within(Number(text), least, most) : undefined;

const within = (value: number | undefined, least: number, most: number) =>
  value !== undefined && value >= least && value <= most ? value : undefined;

// ---- Types -----------------------------------------------------------------
// What a line is on its way: frames, a journal entry, a record, a batch.

/** Whole lines with their endings as they came or, where `cutFrom` is not 0, one line cut from that many bytes. */
interface Section {
  bytes: Buffer;
  cutFrom: number;
  /** That are not empty. */
  lines: number;
}

/** A number of `ok`, or the text of one error line. */
type Reply = number | string;

/** What one chunk from a sender completed. */
export interface Frames {
  sections: Section[];
  /** Lines that are not empty. */
  lines: number;
  replies: Reply[];
}

/** An entry as the journal holds it. `body` is valid until the next block is read. */
export interface Entry {
  /** Bytes since this journal's beginning; with the journal's id the key in `log_entries`. */
  position: number;
  /** When its first line was received, in microseconds since 1970; each further line is one later. */
  time: number;
  lines: number;
  body: Buffer;
}

/** A stretch of the journal: consecutive entries of one segment. */
export interface Block {
  segment: Segment;
  entries: Entry[];
  /** Offset in the segment at which the block ends. */
  end: number;
  lines: number;
  isStored: boolean;
}

/** A parsed frame: the columns of `logs` that come from the line itself. */
export interface LogRecord {
  level: number;
  message: string;
  /** The sender's own time, in microseconds since 1970. */
  loggedAt?: number;
  host?: string;
  app?: string;
  /** The line itself where it is a JSON object, of which jsonb keeps every digit, … */
  json?: string;
  /** … and its keys that went into columns. */
  taken?: string[];
  /** The line as it came, where a column had to be altered. */
  raw?: string;
}

/** Consecutive records of an entry that share every column but the message: what travels to PostgreSQL. */
interface Run extends Omit<LogRecord, "raw"> {
  position: number;
  time: number;
  lines: number;
  /** Between the messages; empty where `message` is one message that may hold newlines. */
  delimiter: "\n" | "";
  peer: string;
  /** Our own `@collector` notes; `raw` in base64. */
  notes: { cut_from?: number; raw?: string } | undefined;
}

/** Records written by one statement, and the entries that they came from. */
interface Batch {
  journal: string;
  positions: number[];
  runs: Run[];
}

// ---- Collector -------------------------------------------------------------
// Wires the parts in the order of a line's path; close() undoes it in that
// order too: senders first, the database last.

/** Every line received is stored, dead-lettered or in the journal; counted since the start, recovered lines included. */
export interface Ledger {
  received: number;
  stored: number;
  deadLettered: number;
  inJournal: number;
}

export interface Collector {
  /** The port that senders connect to. */
  port: number;
  /** Rejects when durability can no longer be promised, or the database is refused; resolves after `close()`. */
  done: Promise<void>;
  ledger(): Ledger;
  /** Prints the rows of a statement, as a table or a JSON object a line. */
  query(text: string, isJson: boolean): Promise<string>;
  /** Takes nothing new, acknowledges what was on its way, drains to the database for up to `drainTimeout`. */
  close(): Promise<void>;
}

/**
 * Starts a collector; it accepts lines when the promise resolves, whether or not its database is there.
 * Throws {@link UsageError} where an option, a file or a package is missing, and when another collector holds the folder.
 *
 * @example
 * const collector = await startCollector({ listen: "127.0.0.1:0", dataDir: "/var/lib/collector" });
 * console.log(collector.port, collector.ledger());
 * await collector.close();
 */
export async function startCollector(
  given: Partial<Options> & { log?: (line: string) => void } = {},
): Promise<Collector> {
  const options: Options = { ...readOptions({}, {}), ...given };
  const log = given.log ?? ((line: string) => void process.stderr.write(`${line}\n`));
  const done = deferred<void>();
  const stop = new AbortController(); // the drain's deadline
  const schema = readSchema();
  if (!options.databaseUrl) embeddedPackages();

  const isFirstStart = await makeDirectory(options.dataDir);
  const lock = await DirectoryLock.acquire(options.dataDir);
  const journal = await Journal.open(join(options.dataDir, "journal"), options.journalMax, log);
  const database = new Database(options, schema, log);
  const queue = new AsyncQueue<Work>(1);
  const tasks = [
    follow(journal, queue),
    ...range(options.databaseUrl ? options.workers : 1).map(() => work(queue, journal, database, stop.signal)),
  ];
  const housekeeping = keepHouse(journal, database, stop.signal);
  const senders = new Senders(options, journal, log);
  const port = await senders.listen().catch(async (error: unknown) => {
    lock.release();
    throw error;
  });
  const query = (text: string, isJson: boolean) => database.query(text, isJson);
  lock.answer(query);
  stop.signal.addEventListener("abort", () => queue.close());
  for (const task of [journal.failed, ...tasks])
    task.catch((error: unknown) => stop.signal.aborted || done.reject(error));

  log(`listening on tcp://${hostAndPort(addressOf(options.listen)?.host ?? "", port)}`);
  log(`storing into ${database.name}`);
  if (isFirstStart) log(`try: echo hello | nc ${addressOf(options.listen)?.host} ${port}`);

  const close = async () => {
    await senders.close();
    await journal.close();
    const drainEnds = setTimeout(() => stop.abort(), options.drainTimeout);
    await Promise.allSettled(tasks);
    clearTimeout(drainEnds);
    stop.abort();
    await housekeeping;
    await database.close();
    await journal.release();
    lock.release();
    const { inJournal } = ledger();
    log(
      inJournal === 0
        ? "stopped: all lines are stored"
        : `stopped: ${inJournal} lines are in the journal for the next start`,
    );
    done.resolve();
  };
  const ledger = () => {
    const { received, released } = journal;
    const deadLettered = database.deadLettered;
    return { received, stored: released - deadLettered, deadLettered, inJournal: received - released };
  };
  return { port, done: done.promise, ledger, query, close: onceOnly(close) };
}

// ---- Connections -----------------------------------------------------------
// One sender's life: read, make durable, only then reply. Nothing is read
// while the last chunk is not on disk: that is the backpressure.

const STOP_READING_MS = 500;
const AHEAD = Number(process.env["AHEAD"] ?? 2) * MIB;
const LINGER_MS = 30 * SECOND_MS;

/** The listening socket and its connections. */
class Senders {
  readonly #options: Options;
  readonly #journal: Journal;
  readonly #log: (line: string) => void;
  readonly #stop = new AbortController();
  readonly #serving = new Map<Socket, Promise<void>>();
  readonly #said = new Set<string>();
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
    this.#accept(socket),
  );

  constructor(options: Options, journal: Journal, log: (line: string) => void) {
    this.#options = options;
    this.#journal = journal;
    this.#log = log;
  }

  /** The port that it listens on. */
  async listen(): Promise<number> {
    const { listen } = this.#options;
    this.#server.listen({ ...addressOf(listen), backlog: 1024 });
    await once(this.#server, "listening").catch((error: unknown) => {
      throw new Error(`Cannot listen on ${listen}: ${codeOf(error)}; choose another --listen HOST:PORT`);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Stops accepting, reads what is on its way (to its end, or for 500 ms), and acknowledges it. */
  async close(): Promise<void> {
    this.#server.close();
    const readingEnds = setTimeout(() => {
      this.#stop.abort();
      this.#journal.waitNoMore();
    }, STOP_READING_MS);
    await Promise.all(this.#serving.values());
    clearTimeout(readingEnds);
  }

  #accept(socket: Socket): void {
    socket.on("error", () => {}); // what matters follows: the end of what can be read, and `close`
    const { maxConnections } = this.#options;
    if (this.#serving.size >= maxConnections) {
      return this.#refuse(socket, `${maxConnections} connections are open, and --max-connections allows no more`);
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
    const allowance = () => Math.max(64 * KIB, AHEAD / this.#serving.size);
    for await (const chunks of chunksOf(socket, this.#options.idleTimeout, this.#stop.signal, allowance)) {
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
    socket.setTimeout(SECOND_MS, () => socket.destroy());
    socket.resume().end(`error: ${reason}\n`);
  }
}

/**
 * What a sender sends, as much at a time as is there, up to its end, a cut, a silence of `idleMs` or the stop; an
 * `undefined` closes it. While the taker is busy at most `allowance()` bytes are read ahead.
 */
async function* chunksOf(
  socket: Socket,
  idleMs: number,
  stop: AbortSignal,
  allowance: () => number,
): AsyncGenerator<Buffer[] | undefined> {
  const changed = new Signal();
  const wake = () => changed.notify();
  let chunks: Buffer[] = [];
  let bytes = 0;
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= allowance()) socket.pause();
    changed.notify();
  });
  for (const event of ["end", "close"]) socket.on(event, wake);
  stop.addEventListener("abort", wake);
  let isSilent = false;
  while (!isSilent) {
    if (chunks.length > 0) {
      const taken = chunks;
      chunks = [];
      bytes = 0;
      socket.resume();
      yield taken;
      continue;
    }
    if (socket.readableEnded || socket.destroyed || stop.aborted) break;
    const timer = idleMs > 0 ? setTimeout(() => ((isSilent = true), wake()), idleMs) : undefined;
    await changed.wait();
    clearTimeout(timer);
  }
  stop.removeEventListener("abort", wake);
  yield undefined;
}

const OK = "ok\n";
const OKS = Buffer.from(OK.repeat(4096));
const MOST_OWED = 1024;

/**
 * The replies owed to a sender: counts of `ok` with error lines between them, written as fast as the sender reads.
 * One that reads nothing costs at most 1024 counts; past that, a cut line's reply is an `ok` like the others.
 */
class Replies {
  readonly #socket: Socket;
  readonly #owed: Reply[] = [];
  readonly #paid = new Signal();

  constructor(socket: Socket) {
    this.#socket = socket;
    for (const event of ["drain", "close"]) socket.on(event, () => this.#write());
  }

  send(replies: Reply[]): void {
    for (const reply of replies) {
      const last = this.#owed.length - 1;
      const count = typeof reply === "number" ? reply : 1;
      if (typeof this.#owed[last] === "number" && (count === reply || last >= MOST_OWED)) this.#owed[last] += count;
      else this.#owed.push(last >= MOST_OWED ? count : reply);
    }
    this.#write();
  }

  /** Ends our side once all is written; a sender that takes nothing for 30 s, or after a stop, is cut off. */
  async end(stop: AbortSignal): Promise<void> {
    this.#socket.setTimeout(LINGER_MS, () => this.#socket.destroy());
    this.#socket.resume();
    while (this.#owed.length > 0 && !this.#socket.destroyed && !stop.aborted) await this.#paid.wait();
    this.#socket.end();
    if (stop.aborted) this.#socket.destroySoon();
    if (!this.#socket.closed) await once(this.#socket, "close");
  }

  #write(): void {
    while (this.#owed.length > 0 && this.#socket.writable && !this.#socket.writableNeedDrain) {
      const reply = this.#owed[0] as Reply;
      const now = typeof reply === "number" ? Math.min(reply, OKS.length / OK.length) : 1;
      if (typeof reply === "number" && reply > now) this.#owed[0] = reply - now;
      else this.#owed.shift();
      this.#socket.write(typeof reply === "number" ? OKS.subarray(0, now * OK.length) : `${reply}\n`);
    }
    this.#paid.notify();
  }
}

// ---- Framing ---------------------------------------------------------------
// Bytes to lines, over any split of the bytes. A line is looked at only for
// where it ends and how it begins; the rest is left to the parsers.

const NUL = 0;
const NEWLINE = 10;
const RETURN = 13;
const BRACE = 123;
const SYSLOG = /^(?:<\d{1,3}>|[1-9]\d{0,6} <\d{1,3}>)/;
const HTTP = /^[A-Z]{3,10} \S+ HTTP\/\d/;
const OPENING_BYTES = 8 * KIB;

/** Cuts a sender's bytes into lines. `maxLine` in bytes, without the line's ending. */
export class Framer {
  /** Set once the connection turned out to speak HTTP or TLS: why it is refused. */
  foreign: string | undefined;
  readonly #maxLine: number;
  readonly #ack: Options["ack"];
  #isOpening = true;
  /** The line that has not ended yet: its first `maxLine` + 1 bytes in a buffer that doubles, its length and last byte. */
  #partial = Buffer.alloc(0);
  #length = 0;
  #lastByte = 0;

  constructor(maxLine: number, ack: Options["ack"]) {
    this.#maxLine = maxLine;
    this.#ack = ack;
  }

  /** The lines that `chunk` completes; `undefined`, the sender's end, completes the last one. Keeps no view of `chunk`. */
  push(chunks: Buffer[] | undefined): Frames {
    const frames: Frames = { sections: [], lines: 0, replies: [] };
    for (const chunk of chunks ?? []) this.#push(frames, chunk);
    if (chunks === undefined && this.#length > 0) this.#endPartial(frames, NUL);
    return frames;
  }

  #push(frames: Frames, chunk: Buffer): void {
    if (this.foreign !== undefined || (this.#isOpening && this.#isForeign(chunk))) return;
    let at = 0;
    if (this.#length > 0) {
      const end = endOfLine(chunk, 0);
      this.#keep(end < 0 ? chunk : chunk.subarray(0, end));
      if (end < 0) return;
      this.#endPartial(frames, chunk[end]);
      at = end + 1;
    }
    this.#keep(chunk.subarray(this.#wholeLines(frames, chunk, at)));
  }

  /** Adds the lines that end in `chunk` from `from` on; returns where the last one ended. */
  #wholeLines(frames: Frames, chunk: Buffer, from: number): number {
    const find = chunk.includes(NUL) ? endOfLine : (bytes: Buffer, at: number) => bytes.indexOf(NEWLINE, at);
    let start = from; // of the section, which all lines but over-long ones share
    let at = from;
    const addSection = () => {
      const lines = frames.lines - sectionsLines(frames);
      if (lines > 0) frames.sections.push({ bytes: chunk.subarray(start, at), cutFrom: 0, lines });
    };
    for (let end = find(chunk, at); end >= 0; end = find(chunk, at)) {
      const length = lengthOf(chunk, at, end);
      if (length > this.#maxLine) {
        addSection();
        this.#addCut(frames, chunk.subarray(at, end), length);
        start = end + 1;
      } else if (length > 0) {
        this.#count(frames, chunk, at);
      }
      at = end + 1;
    }
    addSection();
    return at;
  }

  #keep(bytes: Buffer): void {
    const kept = Math.min(this.#length, this.#maxLine + 1);
    const more = Math.min(bytes.length, this.#maxLine + 1 - kept);
    if (kept + more > this.#partial.length) {
      const larger = Buffer.allocUnsafe(Math.max(kept + more, Math.min(2 * this.#partial.length, this.#maxLine + 1)));
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
    frames.sections.push({ bytes: Buffer.concat([line.subarray(0, length), NEWLINE_BYTES]), cutFrom: 0, lines: 1 });
    this.#count(frames, line, 0);
  }

  /** Cuts at most 3 bytes more than it must, so that no UTF-8 sequence is torn (RFC 3629, section 3). */
  #addCut(frames: Frames, line: Buffer, length: number): void {
    let cut = this.#maxLine;
    while (cut > this.#maxLine - 3 && cut > 1 && ((line[cut] ?? 0) & 0xc0) === 0x80) cut--;
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

  /** Told by a line's first bytes alone: senders of JSON and syslog expect silence, and may drop lines at a reply. */
  #isReplied(bytes: Buffer, at: number): boolean {
    if (this.#ack !== "auto") return this.#ack === "always";
    const first = bytes[at] ?? 0;
    if (first === BRACE) return false;
    return first > 0x3c || first < 0x31 || !SYSLOG.test(bytes.toString("latin1", at, at + 16));
  }

  /** A web page must not be able to post lines: what begins like HTTP (RFC 9112, section 3) or TLS (RFC 8446, 5.1) is refused. */
  #isForeign(chunk: Buffer): boolean {
    const opening = Buffer.concat([this.#partial.subarray(0, this.#length), chunk.subarray(0, OPENING_BYTES)]);
    const end = endOfLine(opening, 0);
    if (opening[0] === 0x16 && (opening[1] ?? 3) === 3) {
      if (opening.length > 2) this.foreign = "a TLS handshake came to a port for plain TCP; turn TLS off in the sender";
    } else if (end >= 0 && HTTP.test(opening.toString("latin1", 0, end))) {
      this.foreign = "an HTTP request came to a port for log lines; send lines over plain TCP";
    } else if (end >= 0 || opening.length >= OPENING_BYTES) {
      this.#isOpening = false;
    }
    return this.foreign !== undefined;
  }
}

const sectionsLines = ({ sections }: Frames) => sections.reduce((sum, { lines }) => sum + lines, 0);
const NEWLINE_BYTES = Buffer.from("\n");

function endOfLine(bytes: Buffer, from: number): number {
  for (let at = from; at < bytes.length; at++) if (bytes[at] === NEWLINE || bytes[at] === NUL) return at;
  return -1;
}

const lengthOf = (bytes: Buffer, start: number, end: number) =>
  bytes[end] === NEWLINE && end > start && bytes[end - 1] === RETURN ? end - start - 1 : end - start;

// ---- Journal ---------------------------------------------------------------
// Append-only segments. One writer owns every position; a segment is deleted
// only when all of it is stored, and its keys are pruned only long after that.

const SEGMENT_MAGIC = Buffer.from("COLLECTR");
const FORMAT_VERSION = 1;
const SEGMENT_HEADER_BYTES = 40;
const ENTRY_MAGIC = 0x01_47_4f_4c; // "LOG\x01"
const ENTRY_HEADER_BYTES = 32;
const SECTION_HEADER_BYTES = 9;
const ENTRY_BYTES = 512 * KIB; // of an entry's body, unless its one line is longer
const BLOCK_BYTES = MIB; // of what is read and stored at a time
const SYNC_BYTES = 4 * MIB; // at most in one write and sync
const SEGMENT_NAME = /^(\d{10})-([\da-f-]{36})\.segment$/;
const RELEASED_NAME = /^\d{10}-([\da-f-]{36})-(\d+)\.released$/;
const RETRY_MS = SECOND_MS;
const CLOCK_STEP_MS = MINUTE_MS;
const PRUNE_AFTER_MS = 10 * MINUTE_MS;

/** One journal file. Offsets are in bytes of the file; `size` is what is synced. */
interface Segment {
  path: string;
  journal: string;
  sequence: number;
  size: number;
  /** Where the journal's positions stand at its end; 0 where it holds no entry. */
  endPosition: number;
  /** All before this offset is stored. */
  storedTo: number;
  unreadLines: number;
  isSealed: boolean;
  isDamaged: boolean;
  handle: FileHandle | undefined;
}

interface Append {
  peer: string;
  frames: Frames;
  written: Deferred<void>;
}

/** The journal of a data directory: what is received and not stored yet. */
export class Journal {
  /** Rejects when an fdatasync failed: nothing more can be promised then. */
  readonly failed: Promise<never>;
  /** Lines taken in, found at the start or appended since; and those of them that are released. */
  received = 0;
  released = 0;

  // durable
  readonly #segments: Segment[] = []; // oldest first; the last one is written
  #position = 0;
  #time = 0; // the last that was given to a line, µs
  // recomputed
  #clock = 0; // the last reading, µs
  #bytes = 0; // of all segments
  readonly #appends: Append[] = [];
  readonly #outstanding: Block[] = []; // read and not released, in order
  // handles
  readonly #directory: string;
  readonly #bytesMax: number;
  readonly #log: (line: string) => void;
  readonly #id = randomUUID();
  readonly #seed = crcSeed(this.#id);
  readonly #appended = new Signal();
  readonly #synced = new Signal();
  readonly #freed = new Signal();
  readonly #failure = deferred<never>();
  #scratch = Buffer.allocUnsafe(MIB); // the writer's
  #blockBytes = Buffer.allocUnsafe(BLOCK_BYTES + ENTRY_BYTES / 4); // the reader's
  #said = "";
  #mayWait = true;
  #isClosing = false;
  #writer: Promise<void> = Promise.resolve();

  private constructor(directory: string, bytesMax: number, log: (line: string) => void) {
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#log = log;
    this.failed = this.#failure.promise;
    this.failed.catch(() => {});
  }

  /** Takes up what earlier starts left (synced before it is read on), and opens a new segment under a new id. */
  static async open(directory: string, bytesMax: number, log: (line: string) => void): Promise<Journal> {
    const journal = new Journal(directory, bytesMax, log);
    await makeDirectory(directory);
    await journal.#recover();
    await journal.#addSegment();
    journal.#writer = journal.#write();
    return journal;
  }

  /** Resolves once the lines are synced; waits while the journal is full or its disk is. Rejects only after `waitNoMore`. */
  async append(peer: string, frames: Frames): Promise<void> {
    if (frames.lines === 0) return;
    const append = { peer, frames, written: deferred<void>() };
    this.#appends.push(append);
    this.#appended.notify();
    await append.written.promise;
  }

  /** Follows the journal, never past what is synced: blocks of about 512 KiB, as they come; ends after `close()`. */
  async *read(): AsyncGenerator<Block> {
    for (let segment = this.#segments[0]; segment; segment = this.#after(segment)) {
      let offset = Math.max(segment.storedTo, SEGMENT_HEADER_BYTES);
      while (offset < segment.size || !segment.isSealed) {
        if (offset === segment.size) {
          await this.#synced.wait();
          continue;
        }
        const block = await this.#readBlock(segment, offset);
        offset = block.end;
        segment.unreadLines -= block.lines;
        this.#outstanding.push(block);
        if (block.entries.length > 0) yield block;
        else await this.forget(block);
      }
      this.received -= segment.unreadLines; // what damage took
      await this.#removeStored();
    }
  }

  /** Forgets a block that is stored; call it only after the commit. */
  async forget(block: Block): Promise<void> {
    block.isStored = true;
    this.released += block.lines;
    while (this.#outstanding[0]?.isStored) {
      const { segment, end } = this.#outstanding.shift() as Block;
      segment.storedTo = end;
    }
    await this.#removeStored();
  }

  /** From here on the limit no longer holds, and what can't be written is given up: nobody was told `ok` for it. */
  waitNoMore(): void {
    this.#mayWait = false;
    this.#freed.notify();
  }

  /** Appends nothing more, after what was asked for; `read()` then ends where the journal does. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#appended.notify();
    await this.#writer;
    const last = this.#segments.at(-1);
    if (last) last.isSealed = true;
    this.#synced.notify();
  }

  /** Notes what is stored, and closes the files. */
  async release(): Promise<void> {
    await this.noteStored();
    for (const segment of this.#segments) await segment.handle?.close();
  }

  /** The low-water mark: a hint that saves sending again; not synced, and nothing depends on it. */
  async noteStored(): Promise<void> {
    const { path, storedTo } = this.#segments[0] as Segment;
    const hint = `${basename(path)} ${storedTo}`;
    const temporary = join(this.#directory, "stored.new");
    await writeFile(temporary, `${hint} ${crc32(hint)}\n`, { mode: 0o600 }).catch(() => {});
    await rename(temporary, join(this.#directory, "stored")).catch(() => {});
  }

  /** Calls `prune` for the keys of each segment released 10 minutes ago: no late statement can meet a forgotten key. */
  async pruneReleased(prune: (journal: string, before: number) => Promise<void>): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const [, journal = "", position] = RELEASED_NAME.exec(name) ?? [];
      if (position === undefined) continue;
      const path = join(this.#directory, name);
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs < PRUNE_AFTER_MS) continue;
      await prune(journal, Number(position));
      await rm(path);
    }
  }

  // -- writing

  async #write(): Promise<void> {
    while (!this.#isClosing || this.#appends.length > 0) {
      if (this.#appends.length === 0) {
        await this.#appended.wait();
        continue;
      }
      await this.#whenRoom();
      const group = this.#nextGroup();
      const isWritten = await this.#writeDurably(this.#encode(group), linesOf(group));
      for (const { written } of group)
        isWritten ? written.resolve() : written.reject(new Error("given up at the stop"));
      this.#synced.notify();
    }
  }

  async #whenRoom(): Promise<void> {
    if (this.#bytes < this.#bytesMax || !this.#mayWait) return;
    this.#log(
      `journal is full (--journal-max ${this.#bytesMax} bytes): senders wait until the database has taken some`,
    );
    while (this.#bytes >= this.#bytesMax && this.#mayWait) await this.#freed.wait();
    if (this.#mayWait) this.#log("journal has room again: senders go on");
  }

  #nextGroup(): Append[] {
    let bytes = 0;
    let count = 0;
    for (const { frames } of this.#appends) {
      for (const section of frames.sections) bytes += section.bytes.length;
      if (count > 0 && bytes > SYNC_BYTES) break;
      count++;
    }
    return this.#appends.splice(0, count);
  }

  /** Lays the group out as entries in the scratch buffer; whole lines of one peer in a row share a section. */
  #encode(group: Append[]): Buffer {
    let entryAt = 0;
    let sectionAt = 0;
    let at = ENTRY_HEADER_BYTES;
    let entryLines = 0;
    const seal = () => {
      this.#sealEntry(entryAt, at, entryLines);
      entryAt = at;
      sectionAt = 0;
      at += ENTRY_HEADER_BYTES;
      entryLines = 0;
    };
    let last: string | undefined;
    for (const { peer, frames } of group) {
      for (const { bytes, cutFrom, lines } of frames.sections) {
        this.#growScratch(at, SECTION_HEADER_BYTES + peer.length + bytes.length + ENTRY_HEADER_BYTES);
        if (sectionAt === 0 || cutFrom > 0 || peer !== last) {
          sectionAt = at;
          at += this.#startSection(at, peer, cutFrom);
        }
        at += bytes.copy(this.#scratch, at);
        this.#scratch.writeUInt32LE(this.#scratch.readUInt32LE(sectionAt) + bytes.length, sectionAt);
        last = cutFrom > 0 ? undefined : peer;
        entryLines += lines;
        if (at - entryAt >= ENTRY_BYTES) seal();
      }
    }
    if (entryLines > 0) seal();
    return this.#scratch.subarray(0, entryAt);
  }

  #startSection(at: number, peer: string, cutFrom: number): number {
    this.#scratch.writeUInt32LE(0, at);
    this.#scratch.writeUInt32LE(cutFrom, at + 4);
    this.#scratch.writeUInt8(peer.length, at + 8);
    return SECTION_HEADER_BYTES + this.#scratch.write(peer, at + SECTION_HEADER_BYTES, "latin1");
  }

  #sealEntry(start: number, end: number, lines: number): void {
    const header = this.#scratch;
    header.writeUInt32LE(ENTRY_MAGIC, start);
    header.writeUInt32LE(end - start - ENTRY_HEADER_BYTES, start + 8);
    header.writeUInt32LE(lines, start + 12);
    header.writeBigUInt64LE(BigInt(this.#position), start + 16);
    header.writeBigUInt64LE(BigInt(this.#nextTime(lines)), start + 24);
    header.writeUInt32LE(crc32(header.subarray(start + 8, end), this.#seed), start + 4);
    this.#position += end - start;
  }

  #growScratch(used: number, more: number): void {
    if (used + more <= this.#scratch.length) return;
    const larger = Buffer.allocUnsafe(2 * (used + more));
    this.#scratch.copy(larger, 0, 0, used);
    this.#scratch = larger;
  }

  /** The time of the first of `lines` lines: strictly increasing, unless the clock was stepped back by over a minute. */
  #nextTime(lines: number): number {
    const now = Date.now() * 1000;
    if (now < this.#clock - CLOCK_STEP_MS * 1000) {
      this.#log(`clock was stepped back by ${Math.round((this.#clock - now) / 1e6)} s: created_at follows it`);
      this.#time = 0;
    }
    this.#clock = now;
    const first = Math.max(now, this.#time + 1);
    this.#time = first + lines - 1;
    return first;
  }

  /** Writes until it succeeds; then syncs, once: after a failed fdatasync the kernel may have dropped the bytes. */
  async #writeDurably(bytes: Buffer, lines: number): Promise<boolean> {
    let cause: string | undefined;
    while ((cause = await this.#writeOnce(bytes).catch(codeOf)) !== undefined) {
      if (!this.#mayWait) return false;
      this.#sayOnce(`cannot write the journal in ${this.#directory}: ${cause}; senders wait, trying again`);
      await sleep(RETRY_MS);
    }
    if (this.#said !== "") this.#log("the journal can be written again: senders go on");
    this.#said = "";
    const segment = this.#segments.at(-1) as Segment;
    await segment.handle?.datasync().catch((error: unknown) => this.#fail(`sync ${segment.path}: ${codeOf(error)}`));
    segment.size += bytes.length;
    segment.endPosition = this.#position;
    segment.unreadLines += lines;
    this.#bytes += bytes.length;
    this.received += lines;
    return true;
  }

  async #writeOnce(bytes: Buffer): Promise<undefined> {
    let segment = this.#segments.at(-1) as Segment;
    const segmentMax = Math.min(64 * MIB, this.#bytesMax / 8);
    if (segment.size > SEGMENT_HEADER_BYTES && segment.size + bytes.length > segmentMax)
      segment = await this.#addSegment();
    const { bytesWritten = 0 } = (await segment.handle?.write(bytes, 0, bytes.length, segment.size)) ?? {};
    if (bytesWritten === bytes.length) return;
    await segment.handle?.truncate(segment.size); // a short write is no error in Node
    throw new Error("short write");
  }

  #sayOnce(line: string): void {
    if (this.#said !== line) this.#log(line);
    this.#said = line;
  }

  /** Ends the journal's life: the promise at stake is `ok` itself. */
  async #fail(what: string): Promise<never> {
    this.#failure.reject(new Error(`Cannot ${what}; what was not acknowledged may be lost, stopping`));
    return new Promise<never>(() => {}); // nothing is acknowledged from here on
  }

  async #addSegment(): Promise<Segment> {
    const last = this.#segments.at(-1);
    const sequence = (last?.sequence ?? 0) + 1;
    const path = join(this.#directory, `${String(sequence).padStart(10, "0")}-${this.#id}.segment`);
    const handle = await open(path, "w+", 0o600);
    const header = segmentHeader(this.#id, this.#time);
    const size = header.length;
    const segment = { path, journal: this.#id, sequence, size, endPosition: 0, storedTo: size, unreadLines: 0, handle };
    try {
      const { bytesWritten } = await handle.write(header, 0, header.length, 0);
      if (bytesWritten < header.length) throw new Error("short write");
      await handle.datasync();
      await syncDirectory(this.#directory);
    } catch (error) {
      await handle.close();
      throw error;
    }
    if (last) last.isSealed = true;
    this.#segments.push({ ...segment, isSealed: false, isDamaged: false });
    this.#bytes += size;
    this.#synced.notify();
    return this.#segments.at(-1) as Segment;
  }

  // -- recovering

  async #recover(): Promise<void> {
    const names = (await readdir(this.#directory)).filter((name) => SEGMENT_NAME.test(name));
    for (const name of names.sort()) this.#segments.push(await this.#takeUp(name));
    const [, name, offset = "", check] =
      HINT.exec(await readFile(join(this.#directory, "stored"), "utf8").catch(() => "")) ?? [];
    const hinted = this.#segments.findIndex(({ path }) => basename(path) === name);
    if (crc32(`${name} ${offset}`) !== Number(check)) return;
    for (const [index, segment] of this.#segments.slice(0, hinted + 1).entries()) {
      segment.storedTo = index === hinted ? Number(offset) : segment.size;
      const { lines } = await this.#scan(segment, segment.storedTo);
      segment.unreadLines -= lines;
      this.received -= lines;
    }
  }

  async #takeUp(name: string): Promise<Segment> {
    const [, sequence = "", journal = ""] = SEGMENT_NAME.exec(name) ?? [];
    const path = join(this.#directory, name);
    const handle = await open(path, "r+");
    await handle.datasync();
    const { size } = await handle.stat();
    const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
    await handle.read(header, 0, header.length, 0);
    const { version, time } = readSegmentHeader(header, journal);
    if (version > FORMAT_VERSION) {
      const known = `this collector knows up to ${FORMAT_VERSION}; start the newer one that wrote it`;
      throw new UsageError(`Cannot read ${path}: its format is version ${version}, ${known}`);
    }
    const found = await this.#scan({ handle } as Segment, size);
    this.received += found.lines;
    this.#bytes += size;
    this.#time = Math.max(this.#time, time, found.time);
    this.#clock = this.#time;
    const storedTo = Math.min(size, SEGMENT_HEADER_BYTES);
    const { endPosition, lines: unreadLines } = found;
    const segment = { path, journal, sequence: Number(sequence), size, endPosition, storedTo, unreadLines, handle };
    return { ...segment, isSealed: true, isDamaged: false };
  }

  /** Counts what the entries' headers say, up to `end` or the first that can't be right. Bodies are not looked at. */
  async #scan({ handle }: Segment, end: number): Promise<{ lines: number; time: number; endPosition: number }> {
    const found = { lines: 0, time: 0, endPosition: 0 };
    const window = Buffer.allocUnsafe(64 * KIB);
    let windowAt = 0;
    let windowBytes = 0;
    for (let at = SEGMENT_HEADER_BYTES; at + ENTRY_HEADER_BYTES <= end;) {
      if (at < windowAt || at + ENTRY_HEADER_BYTES > windowAt + windowBytes) {
        const { bytesRead } = (await handle?.read(window, 0, window.length, at)) ?? { bytesRead: 0 };
        windowAt = at;
        windowBytes = bytesRead;
      }
      const header = window.subarray(at - windowAt, at - windowAt + ENTRY_HEADER_BYTES);
      if (header.length < ENTRY_HEADER_BYTES || header.readUInt32LE(0) !== ENTRY_MAGIC) break;
      const bytes = ENTRY_HEADER_BYTES + header.readUInt32LE(8);
      at += bytes;
      if (at > end) break;
      found.lines += header.readUInt32LE(12);
      found.endPosition = Number(header.readBigUInt64LE(16)) + bytes;
      found.time = Number(header.readBigUInt64LE(24)) + header.readUInt32LE(12) - 1;
    }
    return found;
  }

  // -- reading

  #after(segment: Segment): Segment | undefined {
    return this.#segments.find(({ sequence }) => sequence > segment.sequence);
  }

  async #readBlock(segment: Segment, offset: number): Promise<Block> {
    segment.handle ??= await open(segment.path, "r");
    const block: Block = { segment, entries: [], end: offset, lines: 0, isStored: false };
    const bytes = await this.#readAt(segment, offset, this.#blockBytes.length);
    while (block.end - offset < BLOCK_BYTES) {
      const entry = entryAt(bytes, block.end - offset, crcSeed(segment.journal));
      if (!entry) break;
      block.entries.push(entry);
      block.lines += entry.lines;
      block.end += ENTRY_HEADER_BYTES + entry.body.length;
    }
    if (block.entries.length > 0) return block;
    const needed = ENTRY_HEADER_BYTES + (bytes.length < ENTRY_HEADER_BYTES ? 0 : bytes.readUInt32LE(8));
    if (needed > bytes.length && needed <= segment.size - offset) {
      this.#blockBytes = Buffer.allocUnsafe(needed);
      return this.#readBlock(segment, offset);
    }
    return { ...block, end: await this.#skipDamage(segment, offset) };
  }

  async #readAt(segment: Segment, offset: number, most: number): Promise<Buffer> {
    const wanted = Math.min(segment.size - offset, most);
    if (wanted > this.#blockBytes.length) this.#blockBytes = Buffer.allocUnsafe(wanted);
    const { bytesRead } = await (segment.handle as FileHandle).read(this.#blockBytes, 0, wanted, offset);
    return this.#blockBytes.subarray(0, bytesRead);
  }

  /** The offset of the next entry that checks, or the segment's end. */
  async #skipDamage(segment: Segment, offset: number): Promise<number> {
    const bytes = Buffer.from(await this.#readAt(segment, offset, segment.size - offset));
    const seed = crcSeed(segment.journal);
    for (let at = bytes.indexOf(ENTRY_MAGIC_BYTES, 1); at >= 0; at = bytes.indexOf(ENTRY_MAGIC_BYTES, at + 1)) {
      if (!entryAt(bytes, at, seed)) continue;
      this.#sayDamaged(segment, offset, at);
      return offset + at;
    }
    if (!isTornTail(bytes)) this.#sayDamaged(segment, offset, bytes.length);
    return segment.size;
  }

  #sayDamaged(segment: Segment, offset: number, bytes: number): void {
    segment.isDamaged = true;
    this.#log(
      `cannot read ${bytes} bytes at ${offset} of ${segment.path}: damaged; going on behind them, the file is kept as .bad`,
    );
  }

  // -- releasing

  async #removeStored(): Promise<void> {
    for (let oldest = this.#segments[0]; oldest?.isSealed; oldest = this.#segments[0]) {
      if (oldest.storedTo < oldest.size || this.#segments.length === 1) return;
      this.#segments.shift();
      await this.#remove(oldest);
      this.#bytes -= oldest.size;
      this.#freed.notify();
    }
  }

  /** A released segment becomes an empty file whose name remembers its keys; a damaged one is set aside, never deleted. */
  async #remove({ path, endPosition, isDamaged, handle }: Segment): Promise<void> {
    const released = path.replace(/\.segment$/, `-${endPosition}.released`);
    await handle?.close();
    if (isDamaged) await rename(path, path.replace(/segment$/, "bad"));
    else await rename(path, released);
    await writeFile(released, "", { mode: 0o600 });
    await syncDirectory(this.#directory);
  }
}

const HINT = /^(\S+) (\d+) (\d+)\n$/;
const ENTRY_MAGIC_BYTES = Buffer.from("LOG\x01", "latin1");

const linesOf = (group: Append[]) => group.reduce((sum, { frames }) => sum + frames.lines, 0);

const crcSeed = (journal: string) => crc32(journal);

function segmentHeader(journal: string, time: number): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(header);
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.write(journal.replaceAll("-", ""), 16, "hex");
  header.writeBigUInt64LE(BigInt(time), 32);
  header.writeUInt32LE(segmentHeaderCrc(header), 12);
  return header;
}

const segmentHeaderCrc = (header: Buffer) => crc32(header.subarray(16), crc32(header.subarray(0, 12)));

/** A header that doesn't check says nothing: the file's name has the journal's id too. */
function readSegmentHeader(header: Buffer, journal: string): { version: number; time: number } {
  const isIntact =
    header.readUInt32LE(12) === segmentHeaderCrc(header) &&
    header.toString("hex", 16, 32) === journal.replaceAll("-", "");
  return isIntact
    ? { version: header.readUInt32LE(8), time: Number(header.readBigUInt64LE(32)) }
    : { version: 0, time: 0 };
}

/** The entry that begins at `at`, if all of it is there and its CRC checks. */
function entryAt(bytes: Buffer, at: number, seed: number): Entry | undefined {
  if (bytes.length - at < ENTRY_HEADER_BYTES || bytes.readUInt32LE(at) !== ENTRY_MAGIC) return undefined;
  const end = at + ENTRY_HEADER_BYTES + bytes.readUInt32LE(at + 8);
  if (end > bytes.length || crc32(bytes.subarray(at + 8, end), seed) !== bytes.readUInt32LE(at + 4)) return undefined;
  return {
    position: Number(bytes.readBigUInt64LE(at + 16)),
    time: Number(bytes.readBigUInt64LE(at + 24)),
    lines: bytes.readUInt32LE(at + 12),
    body: bytes.subarray(at + ENTRY_HEADER_BYTES, end),
  };
}

/** Whether a segment's last bytes are what a crash left of an entry being written: it was never acknowledged. */
function isTornTail(tail: Buffer): boolean {
  if (tail.length < ENTRY_HEADER_BYTES) return true;
  const isCutShort = tail.readUInt32LE(0) === ENTRY_MAGIC && ENTRY_HEADER_BYTES + tail.readUInt32LE(8) > tail.length;
  return isCutShort || tail.every((byte) => byte === 0);
}

// ---- Queue -----------------------------------------------------------------
// Bounded: who puts waits for room, who takes waits for a value.

/** A bounded first-in, first-out queue for any number of producers and consumers. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #values: T[] = [];
  readonly #changed = new Signal();
  #isClosed = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Resolves when the value is in the queue; waits while `capacity` values are. Throws after `close()`. */
  async push(value: T): Promise<void> {
    while (this.#values.length >= this.#capacity && !this.#isClosed) await this.#changed.wait();
    if (this.#isClosed) throw new Error("Cannot push: the queue is closed");
    this.#values.push(value);
    this.#changed.notify();
  }

  /** Consumers get what is in the queue, then their loops end. */
  close(): void {
    this.#isClosed = true;
    this.#changed.notify();
  }

  /** Each value goes to one consumer. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (this.#values.length > 0 || !this.#isClosed) {
      const value = this.#values.shift();
      if (value === undefined) {
        await this.#changed.wait();
        continue;
      }
      this.#changed.notify();
      yield value;
    }
  }
}

// ---- Records ---------------------------------------------------------------
// Lines to records. Nothing here loses or refuses a line: what is not
// recognised is plain text, whole.

const DEFAULT_LEVEL = 200;
const DEEPEST_JSON = 1000; // levels; PGlite's stack holds a few thousand

/** Monolog's scale, under the names that loggers use for its eight levels (RFC 5424, section 6.2.1, has the same eight). */
const LEVELS: Record<string, number> = {
  ...{ trace: 100, verbose: 100, debug: 100, info: 200, information: 200, informational: 200, notice: 250 },
  ...{ warn: 300, warning: 300, err: 400, error: 400, crit: 500, critical: 500, alert: 550 },
  ...{ emerg: 600, emergency: 600, fatal: 600, panic: 600 },
};

/** A line in any of the known formats; plain text where it is none of them. */
export function parseLine(line: string): LogRecord {
  return parseJson(line) ?? { level: DEFAULT_LEVEL, message: line };
}

/** A JSON object with the everyday keys (RFC 8259); `undefined` for anything else, and for what jsonb can't hold. */
export function parseJson(line: string): LogRecord | undefined {
  if (!line.startsWith("{")) return undefined;
  const json = soundJson(line);
  const fields = parseObject(json);
  if (!fields || !fitsJsonb(json, fields)) return undefined;
  const record: LogRecord = { level: DEFAULT_LEVEL, message: json, json, taken: [] };
  if (json !== line) record.raw = line;
  for (const [column, { keys, read }] of Object.entries(JSON_COLUMNS)) {
    for (const key of keys) {
      const value = Object.hasOwn(fields, key) ? read(fields[key]) : undefined;
      if (value === undefined) continue;
      Object.assign(record, { [column]: value });
      record.taken?.push(key);
      break;
    }
  }
  return record;
}

const textOf = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);

/** Each column's keys, the better first; what a key holds is taken only if `read` understands it. */
const JSON_COLUMNS = {
  level: { keys: ["level", "severity"], read: levelOf },
  message: { keys: ["msg", "message"], read: textOf },
  loggedAt: { keys: ["time", "timestamp"], read: timeOf },
  host: { keys: ["hostname", "host"], read: textOf },
  app: { keys: ["app", "name"], read: textOf },
};

/** jsonb holds neither NUL nor half a surrogate pair: their escapes become U+FFFD's. */
function soundJson(line: string): string {
  if (!/\\u(?:0000|d[89a-f])/i.test(line)) return line;
  return line.replace(JSON_ESCAPE, (escape, lost?: string) => (lost === undefined ? escape : "\\ufffd"));
}

const JSON_ESCAPE = /\\(?:ud[89ab]..\\ud[c-f]..|(u0000|ud[89a-f]..)|[^])/gi;

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined; // not JSON: plain text
  }
}

/** jsonb's limits: depth (54001), and numbers of 131,072 digits before and 16,383 behind the point (22003). */
function fitsJsonb(line: string, fields: object): boolean {
  if (line.length > 2 * DEEPEST_JSON && isDeeper(fields, DEEPEST_JSON)) return false;
  if (!/[eE][+-]?\d{4}|\d{10000}/.test(line)) return true;
  const numbers = [...line.replace(/"(?:[^"\\]|\\.)*"/g, '""').matchAll(/(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?/g)];
  return numbers.every(([, whole = "", fraction = "", exponent = "0"]) => {
    return whole.length + Number(exponent) <= 131_072 && fraction.length - Number(exponent) <= 16_383;
  });
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

/** A level's name in any case, or a number: 10 to 60 as pino and bunyan count, 100 and more as Monolog does. */
export function levelOf(value: unknown): number | undefined {
  if (typeof value === "string") return LEVELS[value.toLowerCase()];
  if (typeof value !== "number" || value < 10 || value > 600) return undefined;
  if (value < 100) return value < 30 ? 100 : ({ 3: 200, 4: 300, 5: 400 }[Math.floor(value / 10)] ?? 600);
  return Object.values(LEVELS).findLast((level) => level <= value);
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)? ?(Z|[+-]\d\d:?\d\d)?$/i;

/** Microseconds since 1970 from RFC 3339 (local time where it names no zone) or an epoch in s, ms, µs or ns, by magnitude. */
export function timeOf(value: unknown): number | undefined {
  if (typeof value === "number") {
    const unit = [1e11, 1e14, 1e17, 1e20].findIndex((bound) => Math.abs(value) < bound);
    return unit < 0 ? undefined : Math.round(value * (1e6 / 1000 ** unit));
  }
  const [, day, time, fraction = "", zone = ""] = (typeof value === "string" && RFC3339.exec(value)) || [];
  if (day === undefined) return undefined;
  const milliseconds = Date.parse(`${day}T${time}${zone.replace(/^([+-]\d\d)(\d\d)$/, "$1:$2")}`);
  return Number.isNaN(milliseconds) ? undefined : milliseconds * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** The runs of a block's entries, in order. */
function runsOf(entries: Entry[]): Run[] {
  const runs: Run[] = [];
  for (const { position, time, body } of entries) {
    let next = time;
    for (const { peer, text, raw, cutFrom } of textsOf(body)) {
      const notes = { ...(cutFrom > 0 && { cut_from: cutFrom }), ...(raw && { raw }) };
      next = addRuns(runs, { position, peer, time: next, notes: cutFrom > 0 || raw ? notes : undefined }, text);
    }
  }
  return runs;
}

/** Adds the runs of a text's lines; returns the time of the line after them. */
function addRuns(runs: Run[], common: Pick<Run, "position" | "peer" | "time" | "notes">, text: string): number {
  let { time } = common;
  let plainFrom = 0; // start and number of the plain lines that are not in a run yet
  let plainLines = 0;
  const addPlain = (end: number) => {
    if (plainLines > 0)
      joinPlain(runs, { ...common, ...PLAIN, time, lines: plainLines, message: text.slice(plainFrom, end) });
    time += plainLines;
    plainLines = 0;
  };
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const record = text.charCodeAt(at) === BRACE ? parseJson(text.slice(at, end)) : undefined;
    if (record) {
      addPlain(at - 1);
      runs.push({ ...common, ...record, time: time++, lines: 1, delimiter: "", notes: notesOf(common.notes, record) });
    } else if (plainLines++ === 0) plainFrom = at;
  }
  addPlain(text.length);
  return time;
}

const PLAIN = { level: DEFAULT_LEVEL, delimiter: "\n" } as const;

/** Plain lines of one entry and sender are one run, however many packets they came in. */
function joinPlain(runs: Run[], next: Run): void {
  const last = runs.at(-1);
  const isSame = last?.delimiter === "\n" && last.position === next.position && last.peer === next.peer;
  if (!last || !isSame || last.notes || next.notes) return void runs.push(next);
  last.message += `\n${next.message}`;
  last.lines += next.lines;
}

const notesOf = (notes: Run["notes"], { raw }: LogRecord) =>
  raw === undefined ? notes : { raw: Buffer.from(raw).toString("base64"), ...notes };

/** The lines of an entry's body, decoded together where they are sound: divided by \n, none empty. */
function* textsOf(body: Buffer): Generator<{ peer: string; text: string; cutFrom: number; raw?: string }> {
  for (let at = 0; at < body.length;) {
    const cutFrom = body.readUInt32LE(at + 4);
    const linesAt = at + SECTION_HEADER_BYTES + body.readUInt8(at + 8);
    const peer = body.toString("latin1", at + SECTION_HEADER_BYTES, linesAt);
    const bytes = body.subarray(linesAt, (at = linesAt + body.readUInt32LE(at)));
    if (cutFrom > 0) yield { peer, cutFrom, ...soundText(bytes) };
    else if (isUtf8(bytes)) yield { peer, cutFrom, text: joinLines(bytes.toString()) };
    else for (const line of splitLines(bytes)) yield { peer, cutFrom, ...soundText(line) };
  }
}

function joinLines(text: string): string {
  const even =
    text.includes("\r\n") || text.includes("\0") ? text.replaceAll("\r\n", "\n").replaceAll("\0", "\n") : text;
  const dense = even.startsWith("\n") || even.includes("\n\n") ? even.replace(/\n+/g, "\n").replace(/^\n/, "") : even;
  return dense.endsWith("\n") ? dense.slice(0, -1) : dense;
}

function* splitLines(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, end = 0; at < bytes.length; at = end + 1) {
    end = endOfLine(bytes, at);
    if (end < 0) end = bytes.length;
    const length = lengthOf(bytes, at, end);
    if (length > 0) yield bytes.subarray(at, at + length);
  }
}

/** One line's text: U+FFFD for what is not UTF-8 and for NUL, and then the bytes as they came, in base64. */
function soundText(line: Buffer): { text: string; raw?: string } {
  const text = line.toString().replaceAll("\0", "\uFFFD");
  return isUtf8(line) && !line.includes(NUL) ? { text } : { text, raw: line.toString("base64") };
}

// ---- Workers ---------------------------------------------------------------
// The main loop. What the database has not committed stays in the journal;
// each failure chooses the next step, none gives a line up.

interface Work {
  block: Block;
  batch: Batch;
}

/** Reads the journal into batches; the queue's bound keeps it at most a few ahead of the database. */
async function follow(journal: Journal, queue: AsyncQueue<Work>): Promise<void> {
  for await (const block of journal.read()) await queue.push({ block, batch: batchOf(block) });
  queue.close();
}

/** One of the loops that store batches; `stop` ends it between two tries. */
async function work(queue: AsyncQueue<Work>, journal: Journal, database: Database, stop: AbortSignal): Promise<void> {
  for await (const { block, batch } of queue) {
    await storeUntilDone(batch, database, stop); // commit first,
    await journal.forget(block); //                  only then forget
  }
}

function batchOf({ segment, entries }: Block): Batch {
  return { journal: segment.journal, positions: entries.map(({ position }) => position), runs: runsOf(entries) };
}

const BACKOFF_MS = 100;
const BACKOFF_MAX_MS = 5 * SECOND_MS;

/** Resolves when the batch is committed; rejects only when stopped, or when the database is refused. */
async function storeUntilDone(batch: Batch, database: Database, stop: AbortSignal): Promise<void> {
  let step: Step = "insert";
  for (let failures = 0; ; failures++) {
    try {
      await database.store(batch, step);
      return database.isUp();
    } catch (error) {
      if (error instanceof DatabaseRefused || stop.aborted) throw error;
      const next = nextStep(error, batch);
      if (next === step || next === "insert") await database.isDown(error, pauseMs(failures), stop);
      step = next;
    }
  }
}

/** From half the exponential backoff to all of it, so that many collectors don't return at once. */
const pauseMs = (failures: number) => Math.min(BACKOFF_MS * 2 ** failures, BACKOFF_MAX_MS) * (0.5 + Math.random() / 2);

/** How to store a batch: as one statement, after making its days' partitions, in halves, or line by line. */
type Step = "insert" | "partition" | "halve" | "take apart";

/** What an error calls for: content is taken apart, a missing partition made; all else is tried again, for ever. */
function nextStep(error: unknown, { positions }: Batch): Step {
  const { code = "", constraint_name: constraint } = error as Partial<postgres.PostgresError>;
  if (code === "23514" && constraint === undefined) return "partition";
  if (code === "57014" && positions.length > 1) return "halve";
  return isAboutContent(code) ? "take apart" : "insert";
}

/** SQLSTATEs that will be the same at the next try: data, constraints, limits, and a trigger's `raise`. */
const isAboutContent = (code: string) => /^(22|23|54)...$|^P0001$/.test(code);

const PRUNE_EVERY_MS = MINUTE_MS;

/** Makes coming days' partitions, prunes released keys, notes what is stored; until stopped. */
async function keepHouse(journal: Journal, database: Database, stop: AbortSignal): Promise<void> {
  for (let rounds = 0; !stop.aborted; rounds++) {
    await journal.noteStored();
    if (rounds % (PRUNE_EVERY_MS / SECOND_MS) === 0) {
      await database.maintain().catch(() => {}); // the workers say when the database is away; next minute again
      await journal.pruneReleased((id, before) => database.prune(id, before)).catch(() => {});
    }
    await sleep(SECOND_MS, undefined, { signal: stop, ref: false }).catch(() => {});
  }
}

// ---- Database --------------------------------------------------------------
// One statement stores a batch and the keys of its entries, or nothing. The
// key is the entry, so it does not matter how entries are grouped next time.

const STATEMENT_MS = MINUTE_MS;
const CANCEL_MS = 10 * SECOND_MS;
const CONNECT_S = 10;
const IDLE_S = 5; // so that a database that is asked to stop need not wait for us
const LIFETIME_S = 60;
const DAYS_AHEAD = 7;

/** The database is there, but is not one to store into: said at once instead of retried. */
export class DatabaseRefused extends Error {}

class Database {
  readonly name: string;
  /** Lines put into `dead_letters` since the start. */
  deadLettered = 0;
  readonly #options: Options;
  readonly #schema: string;
  readonly #log: (line: string) => void;
  readonly #embedded: EmbeddedPostgres | undefined;
  #client: Promise<Client> | undefined;
  #days = new Set<number>(); // that have a partition, as days since 1970
  #down: { since: number; cause: string } | undefined;

  constructor(options: Options, schema: string, log: (line: string) => void) {
    const { databaseUrl, dataDir } = options;
    this.#options = options;
    this.#schema = schema;
    this.#log = log;
    this.#embedded = databaseUrl ? undefined : new EmbeddedPostgres(dataDir);
    this.name = databaseUrl ? nameOf(databaseUrl) : `PGlite in ${join(dataDir, "postgres")}`;
  }

  /** Resolves once the batch is committed, all of it or what the database accepts of it, with the rest in `dead_letters`. */
  async store(batch: Batch, step: Step): Promise<void> {
    if (step === "halve") {
      for (const half of halves(batch)) await this.store(half, "insert");
      return;
    }
    await this.#makePartitions(daysOf(batch.runs), step === "partition");
    if (step === "take apart") this.deadLettered += await this.#within((sql) => takeApart(sql, batch));
    else await this.#within((sql) => insertBatch(sql, batch));
  }

  /** Makes the partitions of the coming week. */
  async maintain(): Promise<void> {
    const today = Math.floor(Date.now() / DAY_MS);
    await this.#makePartitions(range(DAYS_AHEAD + 1).map((ahead) => today + ahead));
  }

  async prune(journal: string, before: number): Promise<void> {
    await this.#within((sql) => sql`delete from log_entries where journal = ${journal} and position < ${before}`);
  }

  /** Runs one statement of the user's. */
  async query(text: string, isJson: boolean): Promise<string> {
    const { sql } = await this.#connect();
    try {
      const rows = await sql.begin((transaction) => transaction.unsafe(text, [], { simple: false } as object).raw());
      return formatRows(rows as unknown as RawRows, isJson);
    } finally {
      await sql`discard all`; // the embedded database has but this one session: no setting of the user's may stay
    }
  }

  /** Says so when the database is back. */
  isUp(): void {
    if (this.#down)
      this.#log(`${this.name} is back after ${Math.round((Date.now() - this.#down.since) / SECOND_MS)} s`);
    this.#down = undefined;
  }

  /** Says why, once per cause, and waits for `waitMs` or the stop. */
  async isDown(error: unknown, waitMs: number, stop: AbortSignal): Promise<void> {
    const cause = describe(error);
    if (this.#down?.cause !== cause)
      this.#log(`cannot store into ${this.name}: ${cause}; lines wait in the journal, trying again`);
    this.#down = { since: this.#down?.since ?? Date.now(), cause };
    if (["42P01", "42703", "42883"].includes(codeOf(error))) await this.#discard(); // a table is gone: set it up again
    await sleep(waitMs, undefined, { signal: stop }).catch(() => {});
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    await client?.close();
    await this.#embedded?.close();
  }

  /** The client, made and its database set up when it is first needed, and after it was thrown away. */
  #connect(): Promise<Client> {
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
    const path = await this.#embedded?.start();
    const client = await makeClient(databaseUrl, path, path === undefined ? workers + 1 : 1);
    this.#days = new Set();
    try {
      await deadline(applySchema(client.sql, this.#schema), STATEMENT_MS);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /** Runs a statement or transaction against the deadline: cancelled first, and the client thrown away only if that fails. */
  async #within<T>(start: (sql: postgres.Sql) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    const running = start(client.sql);
    const cancel = setTimeout(() => client.cancel(running), STATEMENT_MS);
    try {
      return await deadline(running, STATEMENT_MS + CANCEL_MS);
    } catch (error) {
      if (!isFromServer(error)) await this.#discard();
      throw error;
    } finally {
      clearTimeout(cancel);
    }
  }

  /** Throws the client away: its queries fail, its sockets close, the next use makes a new one. */
  async #discard(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    this.#client = undefined;
    await client?.close();
  }

  async #makePartitions(days: Iterable<number>, isForced = false): Promise<void> {
    for (const day of days) {
      if (this.#days.has(day) && !isForced) continue;
      const date = new Date(day * DAY_MS).toISOString().slice(0, 10);
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

/** A postgres.js client that can be thrown away: `end()` may wait for ever, so its sockets are ours to destroy. */
async function makeClient(url: string, path: string | undefined, max: number): Promise<Client> {
  const { default: postgres } = await importPackage<{ default: typeof import("postgres") }>("postgres");
  const sockets = new Set<Socket>();
  let attempts = 0;
  const socket = ({ host, port }: { host: string[]; port: number[] }) => {
    const at = attempts++ % host.length; // the next of several hosts at each try
    const opened =
      path === undefined ? connect({ host: host[at] ?? "", port: port[at] ?? 0, noDelay: true }) : connect(path);
    sockets.add(opened.once("close", () => sockets.delete(opened)));
    return Object.assign(opened, { host: host[at] });
  };
  const embedded = { host: "localhost", username: "postgres", database: "postgres", ssl: false };
  const sql = postgres(url, {
    ...(path === undefined ? {} : embedded),
    ...({ socket } as object), // postgres.js knows it, its types don't
    max,
    prepare: false, // PgBouncer in transaction mode
    fetch_types: false,
    connect_timeout: CONNECT_S,
    idle_timeout: IDLE_S,
    max_lifetime: LIFETIME_S,
    connection: { application_name: "collector" },
    onnotice: () => {},
  });
  const cancel = (running: object) => {
    const { state } = running as { state?: { pid: number; secret: number } }; // BackendKeyData of its connection
    if (!state?.pid) return;
    const request = socket(sql.options as unknown as { host: string[]; port: number[] }).on("error", () => {});
    request.end(cancelRequest(state.pid, state.secret));
  };
  const close = async () => {
    await deadline(sql.end({ timeout: 1 }), 2 * SECOND_MS).catch(() => {});
    for (const left of sockets) left.destroy();
  };
  return { sql, cancel, close };
}

/** PostgreSQL's CancelRequest (section 55.7); postgres.js's own `cancel()` rejects where nobody can catch it. */
function cancelRequest(pid: number, secret: number): Buffer {
  const request = Buffer.alloc(16);
  for (const [index, word] of [16, 80_877_102, pid, secret].entries()) request.writeUInt32BE(word, 4 * index);
  return request;
}

const SCHEMA_LOCK = 0x636f6c6c; // "coll"

/** Refuses what is not ours to store into, then applies schema.sql; goes on where the tables are there and rights lack. */
async function applySchema(sql: postgres.Sql, schema: string): Promise<void> {
  await checkDatabase(sql);
  try {
    await sql.unsafe(`select pg_advisory_xact_lock(${SCHEMA_LOCK});\n${schema}`).simple(); // one query: one transaction
  } catch (error) {
    const [there] =
      await sql`select to_regclass('logs') is not null and to_regclass('log_entries') is not null as are`.catch(
        () => [],
      );
    if (codeOf(error) !== "42501" || !there?.["are"]) throw error;
  }
  await checkDatabase(sql);
}

const COLUMNS = {
  ...{
    created_at: "timestamp with time zone",
    level: "smallint",
    message: "text",
    logged_at: "timestamp with time zone",
  },
  ...{ host: "text", app: "text", peer: "text", attributes: "jsonb" },
};

async function checkDatabase(sql: postgres.Sql): Promise<void> {
  const [{ encoding } = { encoding: "" }] = await sql`select current_setting('server_encoding') as encoding`;
  if (encoding !== "UTF8") {
    throw new DatabaseRefused(
      `Cannot store into this database: its encoding is ${encoding}, not UTF8; make one with: create database logs encoding 'UTF8' template template0`,
    );
  }
  const rows = await sql`select attname as name from pg_attribute
    where attrelid = to_regclass('logs') and attnum > 0 and not attisdropped`;
  const names = rows.map(({ name }) => name as string);
  const missing = Object.keys(COLUMNS).filter((name) => !names.includes(name));
  if (names.length === 0 || missing.length === 0) return;
  throw new DatabaseRefused(
    `Cannot store into this database: its table logs lacks the columns ${missing.join(", ")}, so it is not ours; rename it, or use another database or schema`,
  );
}

/** Stores a batch and its entries' keys, or nothing. An entry that is stored already adds no row; one that is being stored is waited for. */
function insertBatch(sql: postgres.Sql, { journal, positions, runs }: Batch): postgres.PendingQuery<postgres.Row[]> {
  return sql`with claimed as (${claimEntries(sql, journal, positions)})
    ${insertRuns(sql, runs)} where run.position in (select position from claimed)`;
}

const claimEntries = (sql: postgres.ISql<{}>, journal: string, positions: number[]) => sql`
  insert into log_entries (journal, position)
  select ${journal}::uuid, position from unnest(${arrayLiteral(positions)}::bigint[]) as position order by position
  on conflict do nothing returning position`;

/** Every run becomes its lines again; a line's time is the run's + its number in µs. */
function insertRuns(sql: postgres.ISql<{}>, runs: Run[]): postgres.PendingQuery<postgres.Row[]> {
  const column = (read: (run: Run) => string | number | undefined) => arrayLiteral(runs.map(read));
  return sql`
    insert into logs (created_at, level, message, logged_at, host, app, peer, attributes)
    select to_timestamp((run.time + line.n - 1) / 1e6::float8), run.level, line.message,
           to_timestamp(run.logged_at / 1e6::float8), run.host, run.app, run.peer,
           case when run.json is not null or run.notes is not null then
             nullif(coalesce(run.json::jsonb - run.taken::text[], '{}') || coalesce(run.notes::jsonb, '{}'), '{}')
           end
    from unnest(${column((run) => run.position)}::bigint[], ${column((run) => run.time)}::bigint[],
                ${column((run) => run.level)}::smallint[], ${column((run) => run.loggedAt)}::bigint[],
                ${column((run) => run.host)}::text[], ${column((run) => run.app)}::text[],
                ${column((run) => run.peer)}::text[], ${column((run) => run.json)}::text[],
                ${column((run) => run.taken && arrayLiteral(run.taken))}::text[],
                ${column((run) => run.notes && JSON.stringify({ "@collector": run.notes }))}::text[],
                ${textArray(
                  sql,
                  runs.map(({ message }) => message),
                )}, ${column((run) => run.delimiter)}::text[])
           as run (position, time, level, logged_at, host, app, peer, json, taken, notes, messages, delimiter),
         string_to_table(run.messages, run.delimiter) with ordinality as line (message, n)`;
}

/** An array as PostgreSQL reads it (section 8.15.2): postgres.js passes text on as it is, four times faster than it makes arrays. */
function arrayLiteral(values: (string | number | undefined)[]): string {
  if (values.every((value) => value === undefined)) return "{}"; // unnest pads with nulls
  return `{${values.map((value) => (typeof value === "string" ? quoted(value) : (value ?? "null"))).join(",")}}`;
}

/** Few long texts travel as parameters of their own: PostgreSQL reads an array's text letter by letter. */
function textArray(sql: postgres.ISql<{}>, texts: string[]): postgres.PendingQuery<postgres.Row[]> {
  if (texts.length > LONG_RUNS) return sql`${arrayLiteral(texts)}::text[]`;
  return sql`array[${texts.map((text, index) => (index === 0 ? sql`${text}::text` : sql`, ${text}::text`))}]`;
}

const LONG_RUNS = Number(process.env["LR"] ?? 64);

const quoted = (text: string) =>
  `"${text.includes('"') || text.includes("\\") ? text.replace(/["\\]/g, "\\$&") : text}"`;

/** In one transaction: halves what the database refuses until a single line is left, and sets that aside. Returns how many. */
async function takeApart(sql: postgres.Sql, { journal, positions, runs }: Batch): Promise<number> {
  return sql.begin(async (transaction) => {
    const claimed = new Set(
      (await claimEntries(transaction, journal, positions)).map(({ position }) => Number(position)),
    );
    await transaction`set constraints all immediate`;
    return storeAccepted(transaction, runs.filter(({ position }) => claimed.has(position)).flatMap(singles));
  }) as Promise<number>;
}

async function storeAccepted(sql: postgres.TransactionSql, lines: Run[]): Promise<number> {
  if (lines.length === 0) return 0;
  try {
    await sql.savepoint((savepoint) => insertRuns(savepoint, lines));
    return 0;
  } catch (error) {
    if (nextStep(error, { journal: "", positions: [], runs: [] }) !== "take apart") throw error;
    const [line] = lines;
    if (lines.length === 1 && line) {
      return line.json !== undefined && JSONB_LIMITS.includes(codeOf(error))
        ? storeAccepted(sql, [asPlain(line)])
        : bury(sql, line, error);
    }
    const middle = Math.ceil(lines.length / 2);
    return (await storeAccepted(sql, lines.slice(0, middle))) + (await storeAccepted(sql, lines.slice(middle)));
  }
}

const JSONB_LIMITS = ["22003", "22P02", "22P05", "54000", "54001"];

/** JSON that jsonb refuses after all is stored as the text that it is. */
function asPlain({ position, time, lines, peer, notes, json, message }: Run): Run {
  return { position, time, lines, peer, notes, level: DEFAULT_LEVEL, message: json ?? message, delimiter: "" };
}

async function bury(sql: postgres.TransactionSql, line: Run, error: unknown): Promise<1> {
  const { code, message } = error as postgres.PostgresError;
  const bytes =
    line.notes?.raw === undefined ? Buffer.from(line.json ?? line.message) : Buffer.from(line.notes.raw, "base64");
  await sql`insert into dead_letters (created_at, peer, line, sqlstate, error)
    values (to_timestamp(${line.time}::bigint / 1e6::float8), ${line.peer}, ${bytes}, ${code}, ${message})`;
  return 1;
}

/** A run's lines as runs of one. */
function singles(run: Run): Run[] {
  if (run.delimiter === "") return [run];
  return run.message
    .split(run.delimiter)
    .map((message, index) => ({ ...run, message, time: run.time + index, lines: 1 }));
}

function halves({ journal, positions, runs }: Batch): Batch[] {
  const middle = positions[Math.ceil(positions.length / 2)] ?? 0;
  return [(position: number) => position < middle, (position: number) => position >= middle].map((isIn) => ({
    journal,
    positions: positions.filter(isIn),
    runs: runs.filter(({ position }) => isIn(position)),
  }));
}

/** The days, since 1970, that a batch's lines fall on. */
const daysOf = (runs: Run[]) => {
  const days = new Set<number>();
  for (const { time, lines } of runs) {
    days.add(Math.floor(time / 1000 / DAY_MS)).add(Math.floor((time + lines - 1) / 1000 / DAY_MS));
  }
  return days;
};

/** PGlite in a thread of its own, so that it holds up nobody's `ok`; it speaks PostgreSQL's protocol on a Unix socket. */
class EmbeddedPostgres {
  readonly #dataDir: string;
  #thread: Worker | undefined;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** The socket's path, once it can be connected to. */
  async start(): Promise<string> {
    const path = socketPath(this.#dataDir, "postgres.sock");
    if (this.#thread) return path;
    await rm(path, { force: true });
    const workerData = { ...embeddedPackages(), path, directory: join(this.#dataDir, "postgres") };
    const thread = new Worker(EMBEDDED_THREAD, { eval: true, workerData });
    const [outcome] = (await Promise.race([once(thread, "message"), once(thread, "exit")])) as [string | number];
    if (outcome !== "ready") {
      throw new DatabaseRefused(
        `Cannot open the embedded database in ${workerData.directory}: ${outcome}; move that folder away to start with a new one`,
      );
    }
    thread.on("error", () => {}).once("exit", () => (this.#thread = undefined));
    this.#thread = thread;
    return path;
  }

  async close(): Promise<void> {
    if (!this.#thread) return;
    const exited = once(this.#thread, "exit");
    this.#thread.postMessage("close");
    await deadline(exited, CANCEL_MS).catch(() => this.#thread?.terminate());
  }
}

/** Plain JavaScript: Node 20's threads do not inherit tsx's loader. */
const EMBEDDED_THREAD = `
  const { parentPort, workerData } = require("node:worker_threads");
  (async () => {
    const { PGlite } = await import(workerData.pglite);
    const { PGLiteSocketServer } = await import(workerData.socket);
    const db = await PGlite.create(workerData.directory);
    const server = new PGLiteSocketServer({ db, path: workerData.path });
    await server.start();
    parentPort.once("message", async () => {
      await server.stop();
      await db.close();
      process.exit();
    });
    parentPort.postMessage("ready");
  })().catch((error) => parentPort.postMessage(String(error)));
`;

/** Where the embedded database's packages are; throws what to install where they are not. */
function embeddedPackages(): { pglite: string; socket: string } {
  const { resolve: find } = createRequire(import.meta.url);
  try {
    return {
      pglite: pathToFileURL(find("@electric-sql/pglite")).href,
      socket: pathToFileURL(find("@electric-sql/pglite-socket")).href,
    };
  } catch {
    throw new UsageError(
      "Cannot start the embedded database: its packages are missing; npm i @electric-sql/pglite @electric-sql/pglite-socket, or set --database-url",
    );
  }
}

type Query = (text: string, isJson: boolean) => Promise<string>;

/**
 * Keeps a second collector off a data directory: a listening Unix socket, which the kernel closes when its process dies.
 * The holder of the highest `lock.N` that answers owns the directory. N only grows: who finds N dead links N + 1, and of
 * two who try, `link` lets one. Other processes ask the holder who it is, and to run queries.
 */
class DirectoryLock {
  readonly #server: Server;
  #query: Query = () => Promise.reject(new Error("the collector is starting; try again"));

  private constructor() {
    this.#server = createServer((socket) => void this.#answer(socket).catch(() => socket.destroy()));
  }

  /** Throws {@link UsageError} with the holder's process id while another process holds the directory. */
  static async acquire(directory: string): Promise<DirectoryLock> {
    const lock = new DirectoryLock();
    const own = `lock-${randomUUID()}`;
    lock.#server.listen(socketPath(directory, own));
    await once(lock.#server, "listening");
    try {
      while (!(await lock.#take(directory, own)));
    } catch (error) {
      lock.release();
      throw error;
    }
    await rm(join(directory, own), { force: true });
    return lock;
  }

  /** The process id of the directory's holder, if there is one. */
  static async holder(directory: string): Promise<number | undefined> {
    const newest = await newestLock(directory);
    return newest === 0
      ? undefined
      : askHolder(directory, newest).then(
          ({ pid }) => pid,
          () => undefined,
        );
  }

  /** Has the directory's holder run a query. */
  static async ask(directory: string, text: string, isJson: boolean): Promise<string> {
    const { output, error } = await askHolder(directory, await newestLock(directory), { text, isJson });
    if (output === undefined) throw new Error(error);
    return output;
  }

  /** From here on, queries are answered by `query`. */
  answer(query: Query): void {
    this.#query = query;
  }

  release(): void {
    this.#server.close();
  }

  async #take(directory: string, own: string): Promise<boolean> {
    const newest = await newestLock(directory);
    const pid = await DirectoryLock.holder(directory);
    if (pid !== undefined) {
      throw new UsageError(
        `Cannot use --data-dir ${directory}: the collector with process id ${pid} does; stop it, or choose another`,
      );
    }
    const mine = newest + 1;
    const isLinked = await link(join(directory, own), join(directory, `lock.${mine}`)).then(() => true, isTaken);
    if (!isLinked) return false;
    if ((await newestLock(directory)) === mine) {
      for (const old of range(mine)) await rm(join(directory, `lock.${old}`), { force: true });
      return true;
    }
    await rm(join(directory, `lock.${mine}`)); // linked a name of long ago: look again
    return false;
  }

  async #answer(socket: Socket): Promise<void> {
    socket.on("error", () => {}).write(`${JSON.stringify({ pid: process.pid })}\n`);
    const { text, isJson } = JSON.parse(await firstLine(socket)) as { text: string; isJson: boolean };
    const answer = await this.#query(text, isJson).then(
      (output) => ({ output }),
      (error: Error) => ({ error: error.message }),
    );
    socket.end(`${JSON.stringify(answer)}\n`);
  }
}

function isTaken(error: unknown): false {
  if (codeOf(error) !== "EEXIST") throw error;
  return false;
}

async function newestLock(directory: string): Promise<number> {
  return Math.max(0, ...(await readdir(directory)).map((name) => Number(/^lock\.(\d+)$/.exec(name)?.[1] ?? 0)));
}

/** Rejects where nobody listens. */
async function askHolder(
  directory: string,
  number: number,
  question?: { text: string; isJson: boolean },
): Promise<{ pid?: number; output?: string; error?: string }> {
  const socket = connect(socketPath(directory, `lock.${number}`));
  try {
    const greeting = await firstLine(socket);
    if (!question) return JSON.parse(greeting) as { pid: number };
    socket.write(`${JSON.stringify(question)}\n`);
    return JSON.parse(await firstLine(socket)) as { output?: string; error?: string };
  } finally {
    socket.destroy();
  }
}

async function firstLine(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.includes("\n")) return text.slice(0, text.indexOf("\n"));
  }
  throw new Error("the connection was closed");
}

type RawRows = postgres.RowList<(Buffer | null)[][]>;

/** Rows as an aligned table, or as a JSON object a line in which numbers keep their digits. */
function formatRows(rows: RawRows, isJson: boolean): string {
  const names = rows.columns.map(({ name }) => name);
  const cells = rows.map((row) => row.map((value) => value?.toString()));
  if (isJson) {
    const types = rows.columns.map(({ type }) => type);
    const field = (value: string | undefined, at: number) =>
      `${JSON.stringify(names[at])}:${jsonValue(value, types[at] ?? 0)}`;
    return cells.map((row) => `{${row.map(field).join(",")}}\n`).join("");
  }
  const table = [names, ...cells.map((row) => row.map((value) => (value ?? "").replaceAll("\n", "\\n")))];
  const widths = names.map((_, at) => Math.max(...table.map((row) => row[at]?.length ?? 0)));
  const lines = table.map((row) =>
    row
      .map((value, at) => value.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return [lines[0], widths.map((width) => "-".repeat(width)).join("  "), ...lines.slice(1), ""].join("\n");
}

const BARE_IN_JSON = [16, 20, 21, 23, 26, 114, 1700, 3802]; // bool, int8, int2, int4, oid, json, numeric, jsonb

function jsonValue(value: string | undefined, type: number): string {
  if (value === undefined) return "null";
  if (type === 16) return value === "t" ? "true" : "false";
  return BARE_IN_JSON.includes(type) && !/^-?(?:NaN|Infinity)$/.test(value) ? value : JSON.stringify(value);
}

// ---- Helpers ---------------------------------------------------------------
// Small and general; each is used above.

interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  let resolve: Deferred<T>["resolve"] = () => {};
  let reject: Deferred<T>["reject"] = () => {};
  const promise = new Promise<T>((fulfil, fail) => ([resolve, reject] = [fulfil, fail]));
  return { promise, resolve, reject };
}

/** Wakes all who wait; who checks a condition and then waits, in one tick, misses nothing. */
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

/** Rejects after `milliseconds`, whether or not the promise ever settles. */
async function deadline<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  const late = deferred<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer in ${milliseconds / SECOND_MS} s`)), milliseconds);
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

function onceOnly<T>(start: () => T): () => T {
  let started: { value: T } | undefined;
  return () => (started ??= { value: start() }).value;
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** An error's SQLSTATE or errno, else its message. */
function codeOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}

const isFromServer = (error: unknown) => error instanceof Error && error.name === "PostgresError";

const SQLSTATES: Record<string, string> = {
  "08006": "connection lost",
  "25006": "the server is read-only",
  "28000": "the server refuses this user",
  "28P01": "wrong password",
  "3D000": "no such database",
  "42501": "this role lacks rights",
  "42P01": "a table is missing",
  "53100": "the server's disk is full",
  "53300": "too many connections",
  "57014": "the statement took too long",
  "57P01": "the server is stopping",
  "57P03": "the server is starting or stopping",
};

/** What an error says without what it quotes: the server's messages may hold lines' contents. */
function describe(error: unknown): string {
  if (!isFromServer(error)) return codeOf(error);
  const { code, table_name: table, constraint_name: constraint } = error as postgres.PostgresError;
  const words = SQLSTATES[code];
  return [
    `SQLSTATE ${code}`,
    words && ` (${words})`,
    table && `, table ${table}`,
    constraint && `, constraint ${constraint}`,
  ]
    .filter(Boolean)
    .join("");
}

const nameOf = (url: string) => `PostgreSQL at ${url.replace(/^\w+:\/\/(?:[^@/]*@)?([^?]*).*$/s, "$1")}`;
const hostAndPort = (host: string, port: number) => `${host.includes(":") ? `[${host}]` : host}:${port}`;

/** Whether it was made just now. */
async function makeDirectory(path: string): Promise<boolean> {
  try {
    return (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined;
  } catch (error) {
    throw new UsageError(`Cannot use the folder ${path}: ${codeOf(error)}; choose another --data-dir DIR`);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  await handle.sync().finally(() => handle.close());
}

/** A path for a socket in a folder, within the 107 bytes that sockaddr_un holds. */
function socketPath(directory: string, name: string): string {
  const paths = [resolve(directory, name), relative(process.cwd(), join(directory, name))];
  return paths.find((path) => Buffer.byteLength(path) < 104) ?? `/proc/self/fd/${openSync(directory, "r")}/${name}`;
}

async function importPackage<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch {
    throw new UsageError(`Cannot load the package ${name}: it is missing; npm i ${name}`);
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
// The command line and the signals; importing this file starts nothing.

const EXIT_USAGE = 2;

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

function readCommandLine(words: string[]) {
  const texts = Object.fromEntries(optionNames().map((name) => [flagOf(name).slice(2), { type: "string" as const }]));
  const switches = { help: { type: "boolean" }, version: { type: "boolean" }, json: { type: "boolean" } } as const;
  const { values, positionals } = parseWords(words, { ...texts, ...switches });
  const [command = "collect", text = "", ...more] = positionals;
  const isQuery = command === "query";
  if (!isQuery && command !== "collect")
    throw new UsageError(`Cannot run "${command}": allowed is query "select …", or no command`);
  if (isQuery && (text === "" || more.length > 0))
    throw new UsageError('Cannot query: allowed is one statement, as in query "select …"');
  if (values["json"] && !isQuery) throw new UsageError("Cannot use --json: allowed is query with it");
  const given = optionNames().filter((name) => values[flagOf(name).slice(2)] !== undefined);
  const flags = Object.fromEntries(given.map((name) => [name, String(values[flagOf(name).slice(2)])]));
  const asked = values["help"] ? "help" : values["version"] ? "version" : command;
  return { flags, command: asked, text, isJson: values["json"] === true };
}

function parseWords(args: string[], options: Record<string, { type: "string" | "boolean" }>) {
  try {
    return parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`Cannot start: ${(error as Error).message.split(". ")[0]}; --help lists what is allowed`);
  }
}

/** Asks the collector that runs on the embedded database, for a second PGlite on its files would damage them. */
async function queryOnce(options: Options, text: string, isJson: boolean): Promise<string> {
  if (!options.databaseUrl) {
    await makeDirectory(options.dataDir);
    if ((await DirectoryLock.holder(options.dataDir)) !== undefined)
      return DirectoryLock.ask(options.dataDir, text, isJson);
  }
  const lock = options.databaseUrl ? undefined : await DirectoryLock.acquire(options.dataDir);
  const database = new Database(options, readSchema(), () => {});
  try {
    return await database.query(text, isJson);
  } finally {
    await database.close();
    lock?.release();
  }
}

/** The first signal stops in order; one that comes a second or more later, at once (npx passes one signal on twice). */
function stopOnSignals(collector: Collector): void {
  let stoppingSince: number | undefined;
  const stop = () => {
    if (stoppingSince !== undefined && Date.now() - stoppingSince >= SECOND_MS) process.exit(1);
    stoppingSince ??= Date.now();
    void collector.close();
  };
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(error instanceof UsageError ? EXIT_USAGE : 1);
}

const isMain = process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) main().catch(fail);
