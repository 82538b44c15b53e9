/**
 * collector — a TCP log collector that stores every line exactly once: in PostgreSQL or, through mysql/, in MySQL.
 *
 *     sockets ─► framing ─► journal ─► reader ─► records, rows ─► queue ─► workers ─► store
 *        ▲                     │ synced, then `ok`                (batches)           one transaction a batch,
 *        └─ backpressure       └─ the queue on disk                                   exactly once
 *
 * Guarantees
 * - `ok` is sent only after its line was written to the journal and synced: the line survives kill -9 and a power cut.
 * - Such a line is stored once. One transaction stores a batch and the keys of its entries, so a batch that is sent
 *   again adds nothing. A line that the database refuses for its content goes to the table `dead_letters` instead.
 * - Memory is bounded, however long the backlog: up to 8 MiB are read and not synced yet, lines that are not stored
 *   wait on disk, and a full journal pauses the senders.
 * Limits
 * - A database that forgets commits (restored, failed over to a lagging replica, synchronous_commit off) forgets lines.
 * - The embedded PGlite does not sync its files: a power cut can damage lines that are stored in it already.
 * - A data directory restored from an older copy sends lines again; those with keys pruned since are stored twice.
 * - A sender that gets no replies can lose the lines that are on their way when it or the collector stops.
 *
 * On the wire: TCP, or TLS 1.2 and newer. A frame is a line that ends with \n, \r\n, NUL or the connection's end, or it
 * is counted: `<count> <n>…` (RFC 6587, octet counting). Empty frames are ignored. Each frame is answered `ok\n` or, if
 * it was cut, `error: line of N bytes cut to M\n`; under --ack auto, JSON, syslog and counted frames get no reply. A
 * first line `#ack on` or `#ack off` overrides --ack, and is itself answered `ok`. A connection that begins like HTTP,
 * TLS or another protocol gets `error: …\n` and is closed. A proxy named by --proxy-from may send a PROXY header first.
 *
 * On disk, in DATA_DIR: lock.<N> (Unix socket), database (name of the server), page-token, postgres/ (PGlite) and
 * journal/, whose files are
 *   <sequence>-<journal id>.segment, .bad (damaged, set aside), and -<end position>.released (empty: keys to prune)
 * Integers are little-endian, times in µs since 1970, sizes in bytes.
 *   segment  "COLLECTR" · version u32 · crc32 u32 · journal id (16 bytes) · last time given u64 · entries · zeros
 *   entry    "LOG\x01" · crc32 u32 · body's size u32 · lines u32 · position u64 · first line's time u64 · sections
 *   section  bytes' size u32 · frame's size u32 · address's size u8 · address · bytes
 * A section's frame's size tells what its bytes are: 0, whole lines as they came; 2³²-1, counted frames as they came;
 * else the first bytes of one frame that had this size.
 * A segment's CRC covers the rest of its header; an entry's covers the journal's id and what follows the CRC.
 */
import { isUtf8 } from "node:buffer";
import { execFile } from "node:child_process";
import { X509Certificate, createPrivateKey, randomBytes, randomUUID } from "node:crypto";
import { once, setMaxListeners } from "node:events";
import { accessSync, constants, existsSync, readFileSync, realpathSync, statSync, statfsSync } from "node:fs";
import { access, chmod, link, mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { BlockList, Socket, SocketAddress, connect, createServer, isIP } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { homedir, userInfo } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, createSecureContext, createServer as createTlsServer } from "node:tls";
import type { SecureContextOptions, Server as TlsServer, TLSSocket } from "node:tls";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TextDecoder, parseArgs } from "node:util";
import type { ParseArgsConfig } from "node:util";
import { Writable } from "node:stream";
import type { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
import { crc32 } from "node:zlib";
import type postgres from "postgres";
import type { MysqlHost } from "./mysql/mysql.ts";
import type { LogReader, Viewer, ViewerHost } from "./viewer/viewer.ts";

export const VERSION = "0.2.0";

// ==== Part I: a line's way ====

// ---- Options ----------------------------------------------------------------
// One table. The flags, the environment variables, --help and docs/options.md follow from it: a new option is one entry
// here, then `npm run docs`.

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND = 1000; // all times are in ms, except those of lines (µs)
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const QUANTITIES = {
  N: { name: "a whole number", units: { "": 1 } },
  SIZE: { name: "a size (B, KiB, MiB, GiB)", units: { "": 1, B: 1, KiB: KIB, MiB: MIB, GiB: 1024 * MIB } },
  TIME: { name: "a time (ms, s, m, h, d)", units: { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY } },
};

/** Each option's default, parser, and meaning. */
const OPTIONS = {
  listen: ["127.0.0.1:8888", listenAddresses(), "where senders connect; port 0 for a free one, tls:// for TLS"],
  tlsCert: ["", filePath("FILE"), "certificate (PEM) for TLS; without tls:// in --listen, for all of it"],
  tlsKey: ["", filePath("FILE"), "the certificate's private key (PEM)"],
  tlsCa: ["", filePath("FILE"), "CA certificates (PEM); TLS senders must have one that these signed"],
  allow: ["", networks(), "networks and addresses that may connect; without it, all"],
  proxyFrom: ["", networks(), "who may send a PROXY header, which then gives the sender's address"],
  databaseUrl: ["", databaseAddress(), "PostgreSQL, MySQL or MariaDB to store into; without it, an embedded PGlite"],
  dataDir: ["./collector-data", filePath("DIR"), "the journal and the embedded database; made with mode 0700"],
  workers: ["2", quantity("N", "1", "64"), "batches written at the same time"],
  ack: ["auto", oneOf("auto", "always", "never"), "who gets replies; auto: lines of plain text"],
  maxLine: ["64KiB", quantity("SIZE", "1B", "64MiB"), "longest line kept whole"],
  maxConnections: ["1000", quantity("N", "1", "1000000"), "further senders are refused with an error line"],
  maxConnectionsPerPeer: [
    "half",
    orWord("half", "half", quantity("N", "1", "1000000")),
    "the same for one address; no bound for loopback",
  ],
  idleTimeout: ["off", orOff(0, quantity("TIME", "1ms", "24d")), "close a sender that has been silent this long"],
  journalMax: ["1GiB", quantity("SIZE", "1MiB", "256GiB"), "backlog on disk after which senders are paused"],
  linger: ["25ms", quantity("TIME", "0ms", "1s"), "rest between the batches of a trickle; its first line never waits"],
  timezone: ["", timeZone(), "IANA zone of times that name none; without it, the machine's"],
  drainTimeout: ["10s", quantity("TIME", "0s", "24d"), "how long a stop waits for the database"],
  retention: ["off", orOff(0, quantity("TIME", "1ms", "36500d")), "drop whole days whose lines are all older"],
  retentionLevel: ["", levelRules(), "delete older lines of the level, and of those below it"],
  http: [
    "127.0.0.1:8889",
    orOff("off", hostAndPort()),
    "where the log page, /healthz and /metrics are; off for nowhere",
  ],
  page: [
    "token",
    oneOf("token", "open", "off"),
    "who may look at the log page: who has its link, this machine, nobody",
  ],
} satisfies Record<string, [fallback: string, parser: Parser<unknown>, meaning: string]>;

/** The options' values: sizes in bytes, times in ms; an option that is off is 0, "", "off" or an empty list. */
export type Options = { [Name in OptionName]: (typeof OPTIONS)[Name][1] extends Parser<infer Value> ? Value : never };

/** Options as a caller may give them: values, or the texts that the command line takes. */
export type GivenOptions = { [Name in OptionName]?: Options[Name] | string | undefined };

type OptionName = keyof typeof OPTIONS;

// ---- Types ------------------------------------------------------------------
// What a line becomes on its way: a frame in a section, the section in an entry, the entry in a batch; then a record,
// and a row of the database.

/** Consecutive frames of one sender, or one frame that was cut. */
interface Section {
  bytes: Buffer;
  /** 0: whole lines with their endings; COUNTED: counted frames as they came; else the size that a cut frame had. */
  frameSize: number;
  /** Number of frames; empty ones are not counted. */
  lines: number;
}

/** A number of `ok` lines, or the text of one error line. */
type Reply = number | string;

/** What a sender's next chunks complete: its frames and, once these are durable, the replies to them. */
export interface Framed {
  sections: Section[];
  /** Number of frames in the sections. */
  lines: number;
  replies: Reply[];
  /** Number of frames whose octet count is wrong. */
  miscounted: number;
}

/** What the journal holds: lines, who sent them, and when they came. */
export interface Entry {
  /** Offset in bytes since the journal's beginning. With the journal's id, it is the entry's key in `log_entries`. */
  position: number;
  /** When its first line was received, in µs since 1970; each further line's time is 1 µs later. */
  timeUs: number;
  lines: number;
  /** Size of the whole entry in bytes, header included. */
  size: number;
  /** Bytes of its sections; valid until the next batch is read. */
  body: Buffer;
  /** Its lines as rows of `logs`, as a store sends them; Records fills them in. */
  rows?: Buffer;
  /** Number of lines in which something had to be changed; Records fills it in. */
  altered?: number;
}

/** Consecutive entries of one segment on their way to the database. Some of them are a batch, too (`partOf`). */
export interface Batch {
  /** Id of the journal that the entries' positions belong to. */
  journal: string;
  entries: Entry[];
  lines: number;
  /** Owns the memory of its entries' rows, until the batch is committed. */
  writer?: RowWriter;
  /** Where the journal finds it again: its segment, and the offsets in that at which it starts and ends. */
  segment: Segment;
  start: number;
  end: number;
}

/** A parsed frame: the columns of `logs` that come from the line itself. */
export interface LogRecord {
  level: number;
  message: string;
  /** The sender's own time, in µs since 1970. */
  loggedAtUs?: number | undefined;
  host?: string | undefined;
  app?: string | undefined;
  /** The line's other fields, as the text of a JSON object. */
  attributes?: string | undefined;
  /** Whether something in the line had to be changed, so that the line as it came must be kept, too. */
  isAltered?: boolean | undefined;
}

/** What the collector adds to a record's attributes, under `@collector`. */
interface Notes {
  /** Size of the frame before it was cut. */
  cut_from?: number;
  /** The line as it came, in base64. */
  raw?: string;
}

// ---- Collector --------------------------------------------------------------
// startCollector() wires the parts along a line's way; close() stops them in the same order, from the sockets to the
// database, so that each part can finish what the one before it handed on.

/** Numbers of lines since the start: at any time, received = stored + deadLettered + inJournal. */
export interface Ledger {
  /** From senders, and those that the start found in the journal. */
  received: number;
  stored: number;
  deadLettered: number;
  inJournal: number;
}

export interface Collector {
  /** The port that senders connect to: the first of `ports`. */
  port: number;
  /** A port for each address of `listen`, in its order. */
  ports: number[];
  /** Resolves after `close()`; rejects if lines can't be made durable, or if the database is not one to store into. */
  done: Promise<void>;
  ledger(): Ledger;
  /** What /healthz answers. */
  health(): Health;
  /** Where /healthz and /metrics are, such as `http://127.0.0.1:8889`; `undefined` if they are not served. */
  http: string | undefined;
  /** The log page's link, for those who may read the logs; `undefined` if there is no page. */
  page: string | undefined;
  /** Runs a command such as `{ words: ["query", "select 1"] }`, once all that was acknowledged before is stored. */
  run(command: Command, signal?: AbortSignal): AsyncGenerator<Answer>;
  /** Reads the TLS files again, for connections to come. If it can't, it logs that and keeps the old ones. */
  reloadCertificates(): void;
  /**
   * Takes nothing new, acknowledges what was on its way, and drains to the database for up to `drainTimeout`. When the
   * promise resolves, all is closed; lines that are not stored wait in the journal for the next start.
   */
  close(): Promise<void>;
}

type Log = (line: string) => void;

/**
 * Starts a collector. When the promise resolves, it accepts lines, whether or not its database can be reached. Throws
 * {@link UsageError} for a missing file or package, or a data directory that another collector holds. If the port of
 * `http` is taken, the start fails only if the caller gave `http`; else it goes on without.
 *
 * @example
 * const collector = await startCollector({ listen: "127.0.0.1:0", dataDir: "/var/lib/collector" });
 * console.log(collector.port, collector.ledger());
 * await collector.close();
 */
export async function startCollector(given: GivenOptions & { log?: Log } = {}): Promise<Collector> {
  const { log = writeLog } = given;
  const options = readOptions(given, {});
  refuseOpenPage(options);
  const store = await openStore(options, log);
  const tls = new TlsLayer(options);
  const isFirstStart = await makeFolder(options.dataDir);
  const lock = await lockDirectory(options.dataDir, store.name);
  const opened: (() => unknown)[] = [() => lock.unlock()]; // closed again if the start fails
  const stop = new AbortController(); // aborted when all is stored, or the drain has taken too long
  try {
    await noteDatabase(options, store.name);
    const journal = await Journal.open(join(options.dataDir, "journal"), options.journalMax, log);
    opened.unshift(() => journal.seal().then(() => journal.close()));
    const intake = new Intake(options, tls, journal, log);
    const database = new Database(store, new LineParser(options.timezone), stop.signal, log);
    const tasks = periodicTasks(options, journal, database, log);
    const vitals = new Vitals(options, journal, intake, database, tasks);
    const token = await openPageToken(options, log);
    const door = new ViewerDoor(options, token, store, journal, vitals);
    const pages = new HealthPages(options.http, vitals, door);
    opened.unshift(() => pages.close());
    const http = await pages.listen(given.http !== undefined, log);
    const listeners = await intake.listen();
    const loops = startLoops(options, journal, database, tasks, stop, log);
    const page = http === undefined || !door.isThere ? undefined : pageLink(http, token);
    const run = (command: Command, signal = new AbortController().signal) =>
      command.words[0] === "page" ? answerPage(page) : answerCommand(command, journal, database, signal);
    lock.answer(run);
    for (const line of greeting(options, store.name, listeners, http, isFirstStart)) log(line);
    const parts = [pages, intake, { close: () => journal.seal() }, loops, database, journal, { close: lock.unlock }];
    const ports = listeners.map(({ port }) => port);
    return {
      port: ports[0]!,
      ports,
      http,
      page,
      done: loops.done.promise,
      ledger: () => journal.ledger(),
      health: () => vitals.health(),
      reloadCertificates: () => log(tls.reloadCertificates()),
      run,
      close: makeClose(parts, () => log(farewell(journal.ledger())), loops.done),
    };
  } catch (error) {
    await closeAll(opened).catch(() => {});
    throw error;
  }
}

/** Starts the loops from the journal to the database, the periodic tasks, and the watch over the database's driver. */
function startLoops(
  options: Options,
  journal: Journal,
  database: Database,
  tasks: PeriodicTask[],
  stop: AbortController,
  log: Log,
) {
  const done = deferred<void>();
  const queue = new AsyncQueue<Batch>(1);
  const loops = [
    follow(journal, queue, database, options.linger),
    ...range(database.target.sessions).map(() => work(queue, journal, database)), // a worker for each session
  ];
  const housekeeping = keepHouse(tasks, database, stop.signal);
  stop.signal.addEventListener("abort", () => queue.close());
  for (const loop of [journal.failed, housekeeping, ...loops])
    loop.catch((error) => stop.signal.aborted || done.reject(error)); // a stop makes loops fail, too: that is no error
  const endWatch = watchDriver(() => database.target.disconnect(), log);
  /** Resolves when all is stored or `drainTimeout` is over; the rest waits in the journal. */
  const close = async () => {
    await deadline(Promise.allSettled(loops), options.drainTimeout).catch(() => {});
    stop.abort();
    endWatch();
  };
  return { done, close };
}

/** Returns what closes the parts, in their order and only once; `done` settles with it. */
function makeClose(parts: { close(): unknown }[], report: () => void, done: Deferred<void>): () => Promise<void> {
  let closing: Promise<void> | undefined;
  const start = () => {
    const closed = closeAll(parts.map((part) => () => part.close())).then(report);
    closed.then(done.resolve, done.reject);
    return closed;
  };
  return () => (closing ??= start());
}

// ---- Connections ------------------------------------------------------------
// A sender is let in; its lines are read, made durable, and only then answered. While its last lines are not synced,
// little more is read from it: that is the backpressure. A sender that is not let in gets one error line.

const STOP_READING_MS = 500; // how long a stop goes on reading
const KEEP_ALIVE_MS = MINUTE; // after such a silence, the kernel asks whether the sender's machine is still there
const UNREAD_REPLIES_MS = 30 * SECOND; // how long a sender that has ended may leave its last replies unread
const LEAVING_MAX = 1000; // refused connections that are still being told why

/** Accepts connections and serves them. TLS, too, begins as plain TCP: a PROXY header and --allow come first. */
class Intake {
  /** Since the start: connections, those of them that were refused, and replies. */
  accepted = 0;
  refused = 0;
  replied = 0;
  /** Number of frames whose octet count was wrong. */
  miscounted = 0;
  readonly #options: Options;
  readonly #journal: Journal;
  readonly #logOnce: Log;
  readonly #cutOff = new AbortController(); // aborted when a stop has read for STOP_READING_MS
  readonly #servers: Server[] = [];
  readonly #tls: TlsLayer;
  readonly #isAllowed: (address: string) => boolean;
  readonly #isProxy: (address: string) => boolean;
  // Places: equal numbers for senders on other machines, for those on this one, and for unfinished TLS handshakes.
  readonly #remote: Places;
  readonly #local: Places;
  readonly #handshaking: Places;
  readonly #beginning = new Set<Socket>(); // accepted, but not served yet
  readonly #serving = new Map<Replies, Promise<void>>();
  readonly #leaving = new Set<Socket>(); // refused, and being told why
  readonly #inFlight = new InFlight();
  readonly #scratch = Buffer.allocUnsafeSlow(2 * CHUNK_SIZE); // for a framer, until the journal has copied its frames

  constructor(options: Options, tls: TlsLayer, journal: Journal, log: Log) {
    this.#options = options;
    this.#tls = tls;
    this.#journal = journal;
    this.#logOnce = onceLog(log);
    this.#isAllowed = options.allow.length > 0 ? matcherOf(options.allow) : () => true;
    this.#isProxy = matcherOf(options.proxyFrom);
    this.#remote = new Places(options, this.#isProxy);
    this.#local = new Places(options, this.#isProxy);
    this.#handshaking = new Places(options, this.#isProxy);
    setMaxListeners(0, this.#cutOff.signal);
  }

  /** Listens on all addresses of --listen and resolves to them. Rejects if one can't be had, and listens on none. */
  async listen(): Promise<Listener[]> {
    const listeners: Listener[] = [];
    for (const listener of listenersOf(this.#options)) listeners.push(await this.#listenOn(listener));
    return listeners;
  }

  /** Stops accepting; reads what is on its way, until its senders end or for 500 ms, and acknowledges it. */
  async close(): Promise<void> {
    for (const server of this.#servers) server.close();
    for (const socket of this.#beginning) socket.destroy();
    for (const replies of this.#serving.keys()) replies.endIfSilent();
    const served = Promise.all(this.#serving.values());
    await deadline(served, STOP_READING_MS).catch(async () => {
      await immediate(); // a late timer comes before the sockets' turn: first, what the kernel holds is read
      this.#cutOff.abort();
      this.#journal.waitNoMore();
    });
    await served;
  }

  /** Number of senders that are served now. */
  get servedCount(): number {
    return this.#serving.size;
  }

  async #listenOn({ isTls, host, port }: Listener): Promise<Listener> {
    const socketOptions = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
    const server = createServer(socketOptions, (socket) => void this.#receive(socket, isTls));
    this.#servers.push(server.listen({ host, port, backlog: 1024 }));
    await once(server, "listening").catch((error: unknown) => {
      for (const each of this.#servers) each.close();
      const url = urlOf({ isTls, host, port }).replace("tcp://", "");
      throw new Error(`Cannot listen on ${url}: ${codeOf(error)}; choose another --listen HOST:PORT`);
    });
    server.on("error", (error) => this.#logOnce(`cannot accept a connection: ${codeOf(error)}`)); // and goes on
    return { isTls, host, port: (server.address() as AddressInfo).port };
  }

  /** Serves a connection from its beginning to its end. */
  async #receive(socket: Socket, isTls: boolean): Promise<void> {
    this.accepted++;
    socket.on("error", () => {}); // `close` follows; what was received before it is still read
    const address = withoutMapping(socket.remoteAddress ?? "");
    let [peer, stream, canRead] = [address, socket, !isTls]; // before its handshake, a TLS sender can't read a reason
    this.#beginning.add(socket.once("close", () => this.#beginning.delete(socket)));
    try {
      if (this.#isProxy(address)) peer = (await this.#readSource(socket, address)) ?? address;
      if (!this.#isAllowed(peer)) throw new Refused("--allow does not name this address");
      if (isTls) stream = await this.#handshaking.during(peer, () => this.#tls.secure(socket));
      canRead = true;
      if (stream !== socket) this.#tls.checkCertificate(stream as TLSSocket);
      this.#beginning.delete(socket);
      await this.#placesOf(peer).during(peer, () => this.#attend(stream, peer));
    } catch (error) {
      if (error instanceof Refused) this.#refuse(stream, peer, error, canRead);
      else this.#giveUp(stream, peer, error);
    }
  }

  /** Resolves to the sender's address as a proxy gives it; to `undefined` if it gives none. */
  #readSource(socket: Socket, proxy: string): Promise<string | undefined> {
    return this.#placesOf(proxy).during(proxy, () => readProxyHeader(socket, this.#options.idleTimeout));
  }

  #placesOf(peer: string): Places {
    return LOOPBACK.test(peer) ? this.#local : this.#remote;
  }

  /** Serves a sender, listed in `#serving` until it ends, so that a stop can wait for it. */
  async #attend(stream: Socket, peer: string): Promise<void> {
    const replies = new Replies(stream);
    const ended = deferred<void>();
    this.#serving.set(replies, ended.promise);
    try {
      await this.#serve(stream, peer, replies);
    } finally {
      this.#serving.delete(replies);
      ended.resolve();
    }
  }

  /** Reads a sender to its end. What has come is made durable first, and only then answered `ok`. */
  async #serve(stream: Socket, peer: string, replies: Replies): Promise<void> {
    const inbox = new Inbox(stream, this.#inFlight, this.#options.idleTimeout, this.#cutOff.signal);
    const framer = new Framer(this.#options.maxLine, this.#options.ack, this.#scratch);
    try {
      for (let isEnd = false; !isEnd;) {
        isEnd = !(await inbox.isFilled());
        // A line that our own stop cut off is kept, but not acknowledged, even if its end comes during the sync.
        const isCutOff = isEnd && this.#cutOff.signal.aborted && !stream.readableEnded;
        const { durable, owed } = this.#append(peer, framer, inbox);
        await durable; // first,
        if (!isCutOff) this.replied += replies.send(owed); // and only then `ok`
      }
    } finally {
      inbox.close();
    }
    await replies.end(this.#cutOff.signal);
  }

  /** Frames what has come, and hands it to the journal. Keeps no chunk, so that memory is freed during the sync. */
  #append(peer: string, framer: Framer, inbox: Inbox): { durable: Promise<void>; owed: Owed } {
    const framed = inbox.take((chunks) => framer.push(chunks));
    if (framer.refusal !== undefined) throw new Refused(framer.refusal);
    if (framed.miscounted > 0) this.#reportMiscounted(peer, framed.miscounted);
    const { lines, replies } = framed;
    return { durable: this.#journal.append(peer, framed), owed: { lines, replies } };
  }

  #reportMiscounted(peer: string, frames: number): void {
    this.miscounted += frames;
    const effect = "such a frame ends where the next one begins; the sender must count bytes, not characters";
    this.#logOnce(`${peer} sends frames with a wrong octet count: ${effect}`);
  }

  /**
   * Closes the connection; its last lines stay unacknowledged. The journal logs what stops it, and a sender that leaves
   * is no error; all else is a bug, and logged here.
   */
  #giveUp(stream: Socket, peer: string, error: unknown): void {
    stream.destroy();
    if (!(error instanceof NotDurable || error instanceof Gone))
      this.#logOnce(`cannot serve ${peer}: ${codeOf(error)}`);
  }

  /** Logs the reason; sends it to the sender, if that can read it; closes the connection. */
  #refuse(stream: Socket, peer: string, { message, isBySender }: Refused, canRead: boolean): void {
    this.refused++;
    const summary = isBySender ? `${peer} refused this collector` : `collector refused ${peer}`;
    if (peer !== "") this.#logOnce(`${summary}: ${message}`); // without an address, it has left: a probe
    if (!canRead || this.#leaving.size >= LEAVING_MAX) return void stream.destroy();
    this.#leaving.add(stream.once("close", () => this.#leaving.delete(stream)));
    setTimeout(() => stream.destroy(), SECOND).unref(); // even if it still sends
    stream.resume().end(`error: ${message} (${summary})\n`);
  }
}

/** The replies that some lines get, and the number of those lines. */
type Owed = Pick<Framed, "lines" | "replies">;

const OK = "ok\n";
const OKS = Buffer.from(OK.repeat(4096)); // as many as one write takes
const OWED_MAX = 1024; // counts and error lines that one sender may leave unread

/**
 * The replies owed to a sender: counts of `ok` with error lines between them, written as fast as the sender reads. If
 * it reads nothing, up to 1,024 of these are kept; beyond that, a cut line is answered `ok`, as it is durable, too.
 */
class Replies {
  readonly #stream: Socket;
  readonly #owed: Reply[] = [];
  readonly #changed = new Signal();
  #isSilent = false; // the last lines get no reply

  constructor(stream: Socket) {
    this.#stream = stream;
    for (const event of ["drain", "close"]) stream.on(event, () => this.#write());
  }

  /** Queues replies, and writes what the sender takes now. Returns the number of replies. */
  send({ lines, replies }: Owed): number {
    if (lines > 0) this.#isSilent = replies.length === 0;
    let sum = 0;
    for (const reply of replies) {
      const count = typeof reply === "number" ? reply : 1;
      sum += count;
      addReply(this.#owed, this.#owed.length > OWED_MAX ? count : reply);
    }
    this.#write();
    return sum;
  }

  /** Ends our side if no reply is owed or expected: the sender learns of a stop now, and keeps what it has not sent. */
  endIfSilent(): void {
    if (this.#isSilent && this.#owed.length === 0) this.#stream.end();
  }

  /**
   * Writes all replies, ends our side and waits for the sender's end. A sender that takes nothing for 30 s is cut off;
   * at a stop, so is one that has not left after 500 ms.
   */
  async end(cutOff: AbortSignal): Promise<void> {
    const destroy = () => void this.#stream.destroy();
    const destroySoon = () => void setTimeout(destroy, STOP_READING_MS);
    const maySendOn = cutOff.aborted || !this.#stream.readableEnded; // lines that must not look accepted
    if (maySendOn) destroySoon();
    else cutOff.addEventListener("abort", destroySoon);
    this.#stream.setTimeout(UNREAD_REPLIES_MS, destroy);
    this.#stream.resume();
    while (this.#owed.length > 0 && !this.#stream.destroyed) await this.#changed.wait();
    this.#stream.end();
    if (!this.#stream.closed) await once(this.#stream, "close").catch(() => {}); // an error is followed by `close`
    cutOff.removeEventListener("abort", destroySoon);
  }

  #write(): void {
    this.#stream.cork(); // one write, however many replies
    while (this.#owed.length > 0 && this.#stream.writable && !this.#stream.writableNeedDrain) {
      const reply = this.#owed.shift() as Reply;
      const count = Math.min(Number(reply), OKS.length / OK.length); // NaN for an error line
      if (Number(reply) > count) this.#owed.unshift(Number(reply) - count);
      this.#stream.write(typeof reply === "number" ? OKS.subarray(0, count * OK.length) : `${reply}\n`);
    }
    this.#stream.uncork();
    this.#changed.notify();
  }
}

// ---- Framing ----------------------------------------------------------------
// Turns chunks into sections, wherever the network split the bytes. Only a frame's end and its first bytes are looked
// at here; the rest is left to Records.

const [NUL, NEWLINE, RETURN, SPACE] = [0, 10, 13, 32]; // as bytes, and as characters' codes
const [LESS_THAN, GREATER_THAN, BRACE] = [60, 62, 123];
const NO_BYTES: Buffer = Buffer.alloc(0);
const COUNT_MAX_SIZE = 13; // of "1234567 <191>", which tells an octet count from a line that begins with a number
const [NO_COUNT, NONE, UNDECIDED] = [0, -1, -2]; // for a size or an offset; undecided: the bytes end too early to tell
const HOLD_MAX_SIZE = 4 * KIB; // what is held back until the bytes behind it tell which octet counts are right
const COUNTED = 0xffff_ffff; // as a section's frameSize: counted frames as they came

/**
 * Cuts a sender's chunks into frames of up to `maxLine` bytes, endings not counted: lines, and octet-counted syslog
 * messages (RFC 6587, section 3.4.1). `#ack on` or `#ack off` as the first line sets whether the sender gets replies.
 *
 * A wrong octet count costs its own frame, and at most the next. Counts are judged where the connection's first frame is
 * counted: one is wrong if neither another count nor a line's ending follows its frame, or right frames lie within. The
 * frame then ends where the next count begins, within it or behind it, or else where a line would end. After a counted
 * frame, a count also ends a line.
 *
 * The methods' verbs: *take* bytes from the chunk; *keep* them in the frame that has not ended; *hold* them back for
 * the next chunk; *end* a frame; *add* it to a section.
 */
export class Framer {
  /** Why the connection is refused, once it turns out to speak another protocol. */
  refusal: string | undefined;
  readonly #maxLine: number;
  readonly #scratch: Buffer;
  readonly #opening = new Opening(); // what the first bytes tell of the protocol and the encoding
  #ack: Options["ack"];
  #sends: "nothing yet" | "lines" | "lines, then counts" | "counts" = "nothing yet";
  #isEnd = false;
  #framed = nothingFramed(); // what push() returns next
  #loose = { bytes: NO_BYTES, size: 0, frameSize: 0, lines: 0 }; // copied frames, until they become one section
  // The chunk that is being framed.
  #chunk = NO_BYTES;
  #at = 0; // offset of the first byte that was not taken
  #held = NO_BYTES; // the last bytes of the chunk before, if they may begin an octet count
  // The frame that has not ended.
  #kept = NO_BYTES; // its first bytes; the buffer doubles as it grows
  #size = 0; // so far, with the bytes that were too many to keep
  #lastByte = 0;
  #countedSize = 0; // its size by its octet count, the count included; 0 for a line
  #isDoubted = false; // a count was wrong: now one right frame within another shows that the other's count is, too

  /** Copied frames are put into `scratch`, if it has room for them; else into new memory. */
  constructor(maxLine: number, ack: Options["ack"], scratch = NO_BYTES) {
    this.#maxLine = maxLine;
    this.#ack = ack;
    this.#scratch = scratch;
  }

  /**
   * Returns the frames that the chunks complete, as views of the chunks and of the scratch memory: valid as long as
   * those are. `undefined` stands for the sender's end, which completes the last frame.
   */
  push(chunks: Buffer[] | undefined): Framed {
    this.#loose.bytes = this.#scratch;
    for (const chunk of chunks ?? []) this.#frameChunk(this.#opening.textOf(chunk));
    if (chunks === undefined) this.#finish();
    this.#addLooseSection();
    const framed = this.#framed;
    this.#framed = nothingFramed();
    this.#loose.bytes = NO_BYTES; // these may be large, and the sender silent from now on
    this.#chunk = NO_BYTES;
    return framed;
  }

  /** Completes the last frame, at the sender's end. */
  #finish(): void {
    this.#isEnd = true;
    this.#frameChunk(this.#opening.lastText());
    while (this.#countedSize > 0 && this.#endAtChain()) this.#takeFrames();
    if (this.#size > 0) this.#endFrame(undefined);
  }

  #frameChunk(bytes: Buffer): void {
    this.refusal ??= this.#opening.refusal;
    this.#refill(this.#held, bytes);
    this.#held = NO_BYTES;
    this.#takeFrames();
  }

  /** Takes all of the chunk: whole frames, and the bytes that are kept or held for the next chunk. */
  #takeFrames(): void {
    while (this.#at < this.#chunk.length && this.refusal === undefined) {
      const countSize = this.#size === 0 ? octetCountSize(this.#chunk, this.#at) : NO_COUNT;
      if (this.#countedSize > 0) this.#takeRestOfCounted();
      else if (countSize > 0) this.#takeCounted();
      else if (countSize === UNDECIDED && !this.#isEnd) this.#hold(this.#at);
      else if (this.#size === 0 && this.#sends === "lines" && !this.#opening.isWide) this.#takeLines();
      else this.#takeLine();
    }
  }

  /** Takes one line, or as much of it as has come. */
  #takeLine(): void {
    const chunk = this.#chunk;
    const isCounting = this.#sends === "counts" || this.#sends === "lines, then counts";
    const find = this.#opening.isWide ? indexOfNewline : endOfLine;
    const end = isCounting ? this.#endByCounts(this.#at, this.#at) : find(chunk, this.#at);
    if (end === UNDECIDED) return this.#hold(this.#at);
    if (end === NONE) {
      this.#keepTo(isCounting && !this.#isEnd ? Math.max(this.#at, chunk.length - COUNT_MAX_SIZE) : chunk.length);
      return this.#hold(this.#at);
    }
    this.#keepTo(end);
    const isDelimiter = isEnding(chunk[end]); // if not, an octet count begins there
    if (isDelimiter) this.#at++;
    else if (this.#sends === "counts") this.#isDoubted = true; // the line is what a wrong count left
    this.#endFrame(isDelimiter ? chunk[end] : undefined);
  }

  /** Takes whole lines up to an octet count, and keeps one that has not ended. All but cut ones share a section. */
  #takeLines(): void {
    const chunk = this.#chunk;
    const find = chunk.includes(NUL) ? endOfLine : indexOfNewline;
    let [start, at, lines] = [this.#at, this.#at, 0];
    const isCount = () => isDigitByte(chunk[at]) && octetCountSize(chunk, at) !== NO_COUNT;
    for (let end; !isCount() && (end = find(chunk, at)) >= 0; at = end + 1) {
      const length = lineLength(chunk, at, end);
      if (length > this.#maxLine) {
        this.#addSection(chunk.subarray(start, at), 0, lines);
        this.#addFrame(chunk.subarray(at, end), length);
        [start, lines] = [end + 1, 0];
      } else if (length > 0) {
        lines++;
        if (this.#isReplied(chunk, at)) addReply(this.#framed.replies, 1);
      }
    }
    this.#addSection(chunk.subarray(start, at), 0, lines);
    this.#at = at;
    if (!isCount()) this.#keepTo(chunk.length);
  }

  /**
   * Takes whole counted frames, which share a section, up to one that must be cut, has not ended or has a wrong count;
   * then takes that one.
   */
  #takeCounted(): void {
    const chunk = this.#chunk;
    if (this.#sends !== "counts") this.#sends = this.#sends === "nothing yet" ? "counts" : "lines, then counts";
    let [at, lines] = [this.#at, 0];
    let [bodyAt, end] = [at, at];
    let isMiscounted: boolean | typeof UNDECIDED = false;
    while ((bodyAt = at + octetCountSize(chunk, at)) > at) {
      end = bodyAt + numberAt(chunk, at);
      isMiscounted = this.#isMiscounted(at, bodyAt, end);
      if (isMiscounted !== false || end > chunk.length || end - bodyAt > this.#maxLine) break;
      lines++;
      for (at = end; isEnding(chunk[at]);) at++;
    }
    this.#addSection(chunk.subarray(this.#at, at), COUNTED, lines);
    if (this.#ack === "always" && lines > 0) addReply(this.#framed.replies, lines);
    this.#at = at;
    if (bodyAt <= at) return; // no further count
    if (isMiscounted === UNDECIDED) this.#hold(at);
    else if (isMiscounted) this.#takeMiscounted(bodyAt, end);
    else if (end <= chunk.length) this.#takeOddFrame(bodyAt, end);
    else if (this.#isDoubted && this.#mayHold(at)) this.#hold(at);
    else this.#countedSize = end - at;
  }

  /** Takes more of a counted frame that began in an earlier chunk. If it fits, it is framed as if it had come whole. */
  #takeRestOfCounted(): void {
    const size = this.#size + this.#chunk.length - this.#at;
    const isLong = this.#countedSize > this.#keepMaxSize;
    if (!isLong && size >= this.#countedSize) return this.#refill(this.#takeKept(), this.#chunk.subarray(this.#at));
    const isFirstDrop = isLong && size > this.#keepMaxSize && this.#size <= this.#keepMaxSize; // all bytes are here yet
    if (isFirstDrop && this.#endAtChain()) return;
    const isWhole = size >= this.#countedSize;
    this.#keepTo(isWhole ? this.#at + this.#countedSize - this.#size : this.#chunk.length);
    if (isWhole) this.#endFrame(undefined);
  }

  /** Ends a frame whose count is wrong, or holds it back until the bytes tell where it ends. */
  #takeMiscounted(bodyAt: number, end: number): void {
    const realEnd = this.#endByCounts(bodyAt, end);
    if (realEnd === UNDECIDED) return this.#hold(this.#at);
    this.#endMiscounted(bodyAt, realEnd);
    if (realEnd !== NONE) return;
    this.#at = bodyAt; // it has not ended: from now on it is a line
    this.#keepTo(end);
  }

  /** Ends a frame at `realEnd`. If that is within its count, its first digits are the last of the text before. */
  #endMiscounted(bodyAt: number, realEnd: number): void {
    this.#framed.miscounted++;
    this.#isDoubted = true;
    if (realEnd !== NONE) this.#takeOddFrame(realEnd < bodyAt ? this.#at : bodyAt, realEnd);
  }

  /** Where a frame or a line ends that begins at `#at`: where a count begins, or where a line ends from `end` on. */
  #endByCounts(bodyAt: number, end: number): number {
    const chunk = this.#chunk;
    const from = bodyAt > this.#at ? this.#at + 1 : this.#at;
    const { right, maybe, isOpen } = new CountSearch(chunk, from, bodyAt, chunk.length, this.#isEnd, end);
    const countAt = maybe === NONE ? right : right === NONE ? maybe : Math.min(maybe, right);
    const delimiterAt = endOfLine(chunk, end, countAt === NONE ? chunk.length : countAt);
    if (delimiterAt >= 0) return delimiterAt;
    return right === NONE && isOpen && this.#mayHold(this.#at) ? UNDECIDED : countAt;
  }

  /**
   * Ends a counted frame that lacks bytes, and returns true, if there is a chain within it: a counted frame that
   * another one follows. Then the outer frame's count is wrong, and it ends where the chain begins. Called when no more
   * bytes come, or more than may be kept.
   */
  #endAtChain(): boolean {
    if (this.#size > this.#keepMaxSize) return false; // some of its bytes are dropped already
    const bytes = Buffer.concat([this.#kept.subarray(0, this.#size), this.#chunk.subarray(this.#at)]);
    const bodyAt = octetCountSize(bytes, 0);
    const { right } = new CountSearch(bytes, 1, bodyAt, Math.min(this.#countedSize, bytes.length), this.#isEnd);
    if (right === NONE) return false;
    this.#takeKept();
    this.#refill(bytes);
    this.#endMiscounted(bodyAt, right);
    return true;
  }

  /** Takes a counted frame by itself: one that must be cut, or does not end where its count tells. */
  #takeOddFrame(bodyAt: number, end: number): void {
    const bytes = this.#chunk.subarray(bodyAt, end);
    this.#at = end;
    this.#addFrame(bytes, trimmedLength(bytes, bytes.length));
  }

  /**
   * Whether a count is wrong, by what follows its frame or lies within it; may be `UNDECIDED`. One right frame within
   * is enough after a wrong count, or before one; else it takes a row. On a connection with lines, nothing tells.
   */
  #isMiscounted(at: number, bodyAt: number, end: number): boolean | typeof UNDECIDED {
    const chunk = this.#chunk;
    if (this.#sends !== "counts") return false;
    const isFollowed = end >= chunk.length || isEnding(chunk[end]) || octetCountSize(chunk, end) !== NO_COUNT;
    if (!isFollowed && chunk[end - 1] !== NEWLINE && chunk[end - 1] !== NUL) return true;
    const to = Math.min(end, chunk.length);
    if (!this.#isDoubted && (end > to || !mayHoldCount(chunk, bodyAt, end))) return false;
    const hasFrame = hasFrameWithin(chunk, at + 1, bodyAt, to);
    if (this.#isDoubted || !hasFrame) return hasFrame;
    const next = endOfFrames(chunk, at, 2, this.#isEnd);
    if (next === UNDECIDED && this.#mayHold(at)) return UNDECIDED;
    return next === NONE || hasRowOfFrames(chunk, at + 1, bodyAt, to);
  }

  #mayHold(from: number): boolean {
    return !this.#isEnd && this.#chunk.length - from <= HOLD_MAX_SIZE;
  }

  /** Makes the bytes of both the chunk that is being framed. */
  #refill(first: Buffer, then: Buffer = NO_BYTES): void {
    this.#chunk = first.length > 0 && then.length > 0 ? Buffer.concat([first, then]) : first.length > 0 ? first : then;
    this.#at = 0;
  }

  /** Leaves the chunk's last bytes to the next chunk. */
  #hold(from: number): void {
    this.#held = Buffer.from(this.#chunk.subarray(from));
    this.#at = this.#chunk.length;
  }

  /** Ends the frame that is kept. `delimiter` ended a line; a counted frame and a sender's last one have none. */
  #endFrame(delimiter: number | undefined): void {
    const isCounted = this.#countedSize > 0;
    const size = this.#size - (delimiter === NEWLINE && this.#lastByte === RETURN ? 1 : 0);
    const bytes = this.#takeKept();
    if (!isCounted) return this.#addFrame(bytes, size);
    const bodyAt = octetCountSize(bytes, 0);
    this.#addFrame(bytes.subarray(bodyAt), trimmedLength(bytes, size) - bodyAt); // it may count a line's ending
  }

  /** Room for a line, for one byte more that tells whether a cut tears a UTF-8 sequence, and for an octet count. */
  get #keepMaxSize(): number {
    return this.#maxLine + COUNT_MAX_SIZE;
  }

  /** Adds the chunk's bytes up to `end` to the frame that has not ended. If it is over-long, only its size grows. */
  #keepTo(end: number): void {
    const bytes = this.#chunk.subarray(this.#at, end);
    const keptSize = Math.min(this.#size, this.#keepMaxSize);
    const newSize = keptSize + Math.min(bytes.length, this.#keepMaxSize - keptSize);
    if (newSize > this.#kept.length) {
      const capacity = Math.max(newSize, Math.min(2 * keptSize, this.#keepMaxSize));
      this.#kept = enlarged(this.#kept, keptSize, capacity);
    }
    bytes.copy(this.#kept, keptSize, 0, newSize - keptSize);
    this.#size += bytes.length;
    this.#lastByte = bytes.at(-1) ?? this.#lastByte;
    this.#at = end;
  }

  /** Returns the bytes that are kept, and keeps none. */
  #takeKept(): Buffer {
    const kept = this.#kept.subarray(0, this.#size);
    this.#kept = NO_BYTES;
    this.#size = 0;
    this.#lastByte = 0;
    this.#countedSize = 0;
    return kept;
  }

  /**
   * Adds a frame of `length` bytes. An over-long one, of which some bytes may be dropped already, is cut and gets a
   * section of its own. Others share one: as lines or, if they have a line's ending within, counted. A line that ends
   * with \r gets the long ending, as the short one would take that \r for its own.
   */
  #addFrame(bytes: Buffer, length: number): void {
    if (length === 0 || (this.#sends === "nothing yet" && this.#readFirstFrame(bytes, length))) return;
    const isCut = length > this.#maxLine;
    const kept = bytes.subarray(0, isCut ? cutLength(bytes, this.#maxLine) : length);
    if (isCut) this.#addSection(kept, Math.min(length, COUNTED - 1), 1);
    else if (kept.includes(NEWLINE) || kept.includes(NUL)) this.#addLooseFrame(COUNTED, `${length} `, kept, "");
    else this.#addLooseFrame(0, "", kept, kept.at(-1) === RETURN ? "\r\n" : "\n");
    if (!this.#isReplied(bytes, 0)) return;
    if (isCut) this.#framed.replies.push(`error: line of ${length} bytes cut to ${this.#maxLine}`);
    else addReply(this.#framed.replies, 1);
  }

  /** Copies a frame to those before it: a section of its own would take 200 bytes besides the frame's, a view 100. */
  #addLooseFrame(frameSize: number, count: string, bytes: Buffer, ending: string): void {
    if (this.#loose.frameSize !== frameSize) this.#addLooseSection();
    const loose = this.#loose;
    const size = loose.size + count.length + bytes.length + ending.length;
    if (size > loose.bytes.length) loose.bytes = enlarged(loose.bytes, loose.size, Math.max(size, 2 * loose.size));
    loose.bytes.write(count, loose.size);
    bytes.copy(loose.bytes, loose.size + count.length);
    loose.bytes.write(ending, size - ending.length);
    loose.size = size;
    loose.frameSize = frameSize;
    loose.lines++;
  }

  /** Makes one section of the frames that were copied. */
  #addLooseSection(): void {
    const { bytes, size, frameSize, lines } = this.#loose;
    this.#loose = { bytes: bytes.subarray(size), size: 0, frameSize, lines: 0 };
    if (lines > 0) this.#addSection(bytes.subarray(0, size), frameSize, lines);
  }

  #addSection(bytes: Buffer, frameSize: number, lines: number): void {
    if (lines === 0) return;
    this.#addLooseSection(); // its frames came before
    this.#framed.sections.push({ bytes, frameSize, lines });
    this.#framed.lines += lines;
  }

  /** Reads the connection's first frame. Returns true if it is not a log line: `#ack …`, or another protocol's. */
  #readFirstFrame(bytes: Buffer, length: number): boolean {
    this.#sends = "lines";
    const frame = bytes.toString("latin1", 0, Math.min(length, 8 * KIB));
    this.refusal = foreignLine(frame, frame.length < length);
    const isAck = /^#ack (?:on|off)$/.test(frame);
    if (isAck) this.#ack = frame.endsWith("on") ? "always" : "never";
    if (isAck) addReply(this.#framed.replies, 1);
    return isAck || this.refusal !== undefined;
  }

  /**
   * Whether a frame gets a reply. Senders of JSON and syslog expect none, and may lose lines when one comes; what a
   * wrong count leaves of a message is no line of plain text.
   */
  #isReplied(bytes: Buffer, at: number): boolean {
    if (this.#ack !== "auto") return this.#ack === "always";
    return !this.#isDoubted && bytes[at] !== BRACE && !isPriority(bytes, at);
  }
}

/** A copy of the first `size` bytes that has room for `capacity`. */
function enlarged(bytes: Buffer, size: number, capacity: number): Buffer {
  const larger = Buffer.allocUnsafe(capacity);
  bytes.copy(larger, 0, 0, size);
  return larger;
}

const nothingFramed = (): Framed => ({ sections: [], lines: 0, replies: [], miscounted: 0 });

function addReply(replies: Reply[], reply: Reply): void {
  const last = replies.length - 1;
  if (typeof replies[last] === "number" && typeof reply === "number") replies[last] += reply;
  else replies.push(reply);
}

/** Where to cut: at `max` bytes, or up to 3 before, so that no UTF-8 sequence is torn (RFC 3629, section 3). */
function cutLength(bytes: Buffer, max: number): number {
  let cut = max;
  while (cut > Math.max(1, max - 3) && ((bytes[cut] ?? 0) & 0xc0) === 0x80) cut--;
  return cut;
}

/** Offset of the next delimiter; -1 for none. */
function endOfLine(bytes: Buffer, from: number, to = bytes.length): number {
  for (let at = from; at < to; at++) if (bytes[at] === NEWLINE || bytes[at] === NUL) return at;
  return -1;
}

const indexOfNewline = (bytes: Buffer, from: number) => bytes.indexOf(NEWLINE, from);

const isEnding = (byte: number | undefined) => byte === NEWLINE || byte === RETURN || byte === NUL;

/** The length, without its ending, of the line that begins at `start` and has its delimiter at `end`. */
const lineLength = (bytes: Buffer, start: number, end: number) =>
  bytes[end] === NEWLINE && end > start && bytes[end - 1] === RETURN ? end - start - 1 : end - start;

// ---- Journal ----------------------------------------------------------------
// The queue on disk: files that only grow, called segments. What arrives while one sync runs is the next group of
// entries; `ok` is sent once they are synced. A failed sync ends the collector, as no more lines can be made durable. A
// segment is removed when all of it is stored, and its keys ten minutes later.

const SEGMENT_MAX_SIZE = 16 * MIB; // or one group, if that is larger
const GROUP_MAX_SIZE = 4 * MIB; // written and synced at a time
const SPARES_MAX = 2; // memory of two groups is kept, as one grows while one is written
const ENTRY_MAX_SIZE = 512 * KIB; // or one line, if that is longer
const ENTRY_MAX_LINES = 10_000; // approximate; a short line's row is many times as long as the line
const TRY_AGAIN_MS = SECOND;
const CHECK_MS = SECOND / 2; // how often it is checked that the files are in place
const PRUNE_AFTER_MS = 10 * MINUTE;

/** Lines can't be made durable any more: their senders must not get `ok`. */
class NotDurable extends Error {}

/**
 * `open`: what can't be written now waits. `hurried`: what can't be written now is rejected. `sealing`: nothing new is
 * accepted. `sealed`: nothing more is written. `failed`: nothing more can be promised.
 */
type JournalPhase = "open" | "hurried" | "sealing" | "sealed" | "failed";

/** The journal of a data directory: what is received and not stored yet. */
export class Journal {
  /** Rejects when a sync fails, or the files are deleted or moved away: no more lines can be promised then. */
  readonly failed: Promise<never>;
  /** Number of lines found at the start or appended since; of these, `stored` and `deadLettered` are released. */
  received = 0;
  stored = 0;
  deadLettered = 0;
  /** Number of lines lost to damage; `received` no longer counts them. */
  lost = 0;
  // since the start: bytes of the lines received, number of lines cut to --max-line, seconds that each sync took
  bytesReceived = 0;
  linesCut = 0;
  readonly syncs = new Histogram(DURATIONS);
  // durable
  readonly #id = randomUUID();
  readonly #segments: Segment[] = []; // oldest first; the last one is written to
  // recomputed
  #phase: JournalPhase = "open";
  readonly #stamps: Stamps;
  readonly #groups: Group[] = []; // not written yet, oldest first
  readonly #unreleased: Batch[] = []; // read, but not released; in the journal's order
  readonly #released = new Set<Batch>(); // released, while one before them is not
  // handles
  readonly #directory: string;
  readonly #maxSize: number;
  readonly #reader: BatchReader;
  readonly #condition: Condition; // tells when lines can't be written
  readonly #removal: Condition; // tells when stored segments can't be removed
  readonly #changed = { groups: new Signal(), synced: new Signal(), room: new Signal() };
  readonly #failure = deferred<never>();
  #checks: NodeJS.Timeout | undefined;
  readonly #spares: Buffer[] = []; // memory of written groups, for the next ones
  #writer = Promise.resolve(); // settles when nothing more is written
  #remover = Promise.resolve(); // settles when the last removal is done

  private constructor(directory: string, maxSize: number, log: Log) {
    this.#directory = directory;
    this.#maxSize = maxSize;
    this.#stamps = new Stamps(log);
    this.#reader = new BatchReader(log);
    this.#condition = new Condition(log);
    this.#removal = new Condition(log);
    this.failed = this.#failure.promise;
    this.failed.catch(() => {});
  }

  /** Opens what earlier starts left. A new segment, under a new id, is made later, when the disk has room. */
  static async open(directory: string, maxSize: number, log: Log): Promise<Journal> {
    const journal = new Journal(directory, maxSize, log);
    await makeFolder(directory);
    const names = await readdir(directory).catch(cannotRead(directory));
    try {
      for (const name of names.filter((each) => SEGMENT_NAME.test(each)).toSorted())
        await journal.#recoverSegment(join(directory, name));
    } catch (error) {
      for (const { handle } of journal.#segments) await handle.close();
      throw error;
    }
    journal.#writer = journal.#write();
    journal.#checks = setInterval(() => void journal.#checkPlace(), CHECK_MS).unref();
    return journal;
  }

  /**
   * Resolves when the lines are synced; waits for room in the journal. Rejects after a failed sync and, after
   * `waitNoMore()`, where the lines can't be written.
   */
  append(peer: string, framed: Framed): Promise<void> {
    if (framed.lines === 0) return Promise.resolve();
    if (this.#phase !== "open" && this.#phase !== "hurried") return Promise.reject(notDurable());
    const group = this.#groupFor(framed);
    group.add(peer, framed);
    this.#changed.groups.notify();
    return group.durable.promise; // not awaited here: a suspended function would keep its arguments in memory
  }

  /** Yields batches of what is synced, in order, and waits for more; ends after `seal()`. */
  async *read(): AsyncGenerator<Batch> {
    for (let segment = await this.#segmentAfter(0); segment; segment = await this.#segmentAfter(segment.sequence)) {
      for (let offset = SEGMENT_HEADER_SIZE; await this.#hasMore(segment, offset);) {
        const batch = await this.#reader.read(segment, offset);
        offset = batch.end;
        this.#unreleased.push(batch);
        if (batch.lines > 0) yield batch;
        else await this.release(batch, 0); // no entry: damage, or the torn end that a crash left
      }
      const unread = segment.lines - segment.linesRead; // below 0 where the count at the start ended at damage
      this.received -= unread;
      this.lost += Math.max(0, unread);
      await this.#removeStored();
    }
  }

  /** Releases a batch that `read` yielded, once all of it is committed, `deadLettered` of its lines as dead letters. */
  async release(batch: Batch, deadLettered: number): Promise<void> {
    this.stored += batch.lines - deadLettered;
    this.deadLettered += deadLettered;
    this.#released.add(batch);
    for (let first; (first = this.#unreleased[0]) && this.#released.delete(first);) {
      first.segment.storedTo = first.end;
      this.#unreleased.shift();
    }
    this.#changed.room.notify();
    await this.#removeStored();
  }

  /** Whether this batch was all that was synced when it was read. */
  isCaughtUp({ segment, start, end, lines }: Batch): boolean {
    return !this.#isComplete(segment) && end - start < BATCH_SIZE && lines < BATCH_LINES;
  }

  /** Where all lines are: received = stored + deadLettered + inJournal, at any time. */
  ledger(): Ledger {
    const { received, stored, deadLettered } = this;
    return { received, stored, deadLettered, inJournal: received - this.released };
  }

  get released(): number {
    return this.stored + this.deadLettered;
  }

  /** Resolves when that many lines are released. */
  async whenReleased(lines: number): Promise<void> {
    while (this.released < lines) await this.#changed.room.wait();
  }

  /** Size on disk of what is not stored yet. */
  backlogBytes(): number {
    return sumOf(this.#segments, "unstoredSize");
  }

  /** When the oldest line that is not stored was received, in µs since 1970; `undefined` where all are. */
  oldestTimeUs(): number | undefined {
    return this.#unreleased[0]?.entries[0]?.timeUs;
  }

  /** Why no line can be made durable now; `undefined` while it can. */
  obstacle(): string | undefined {
    return this.#condition.trouble ?? this.#fullness();
  }

  /** Exceeds --journal-max from here on rather than wait, and rejects what can't be written: none of it got `ok`. */
  waitNoMore(): void {
    if (this.#phase === "open") this.#phase = "hurried";
    this.#changed.room.notify();
  }

  /** Accepts nothing new, and waits for room no more. Resolves when all is synced or rejected; then `read()` ends. */
  async seal(): Promise<void> {
    if (this.#phase !== "failed") this.#phase = "sealing";
    this.#changed.room.notify();
    this.#changed.groups.notify();
    await this.#writer;
    this.#phase = "sealed";
    this.#changed.synced.notify();
  }

  async close(): Promise<void> {
    clearInterval(this.#checks);
    this.#condition.cancelReport();
    const hasEntries = this.#segments.some(({ size }) => size > SEGMENT_HEADER_SIZE);
    const removeOthers = () => this.#removeStored();
    // Where all is stored, a new segment replaces the others: the next start needs only its header, with the last time.
    // On a full disk they stay: their lines are read again, but their keys keep them from being stored twice.
    if (hasEntries && this.released === this.received) await this.#addSegment().then(removeOthers, () => {});
    this.#removal.cancelReport();
    const last = this.#segments.at(-1);
    if (last?.journal === this.#id) await last.handle.truncate(last.size).catch(() => {}); // the padding may stay
    for (const { handle } of this.#segments) await handle.close();
  }

  /** Prunes the keys of segments removed 10 minutes ago: by then, no statement that stores their entries still runs. */
  async prune(pruneKeys: (journal: string, endPosition: number) => Promise<void>): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const [, journal = "", endPosition] = RELEASED_NAME.exec(name) ?? [];
      const path = join(this.#directory, name);
      if (endPosition === undefined || Date.now() - (await stat(path)).mtimeMs < PRUNE_AFTER_MS) continue;
      await pruneKeys(journal, Number(endPosition));
      await rm(path);
    }
  }

  /** The next segment; waits until there is one. `undefined` when the journal is sealed. */
  async #segmentAfter(sequence: number): Promise<Segment | undefined> {
    for (;;) {
      const next = this.#segments.find((segment) => segment.sequence > sequence);
      if (next || this.#phase === "sealed") return next;
      await this.#changed.synced.wait();
    }
  }

  /** Whether something is synced after an offset; waits while it may still come. */
  async #hasMore(segment: Segment, offset: number): Promise<boolean> {
    while (offset >= segment.size && !this.#isComplete(segment)) await this.#changed.synced.wait();
    return offset < segment.size;
  }

  /** Whether nothing more is written to this segment. */
  #isComplete(segment: Segment): boolean {
    return this.#phase === "sealed" || segment.journal !== this.#id || segment !== this.#segments.at(-1);
  }

  #groupFor(framed: Framed): Group {
    const maxSize = Math.min(GROUP_MAX_SIZE, this.#maxSize / 8);
    const last = this.#groups.at(-1);
    if (last?.hasRoomFor(framed, maxSize)) return last;
    last?.end(); // before another group begins: its positions and times come after these
    const bytes = this.#spares.pop() ?? Buffer.allocUnsafeSlow(Math.min(MIB, 2 * maxSize));
    const group = new Group(this.#id, this.#stamps, bytes);
    this.#groups.push(group);
    return group;
  }

  async #write(): Promise<void> {
    await this.#retry(() => this.#addSegment());
    for (let group; (group = await this.#nextGroup());) await this.#settle(group);
  }

  /** Makes a group durable, which resolves what `append()` returned to its senders; rejects that if it can't. */
  async #settle(group: Group): Promise<void> {
    const isWritten = await this.#retry(() => this.#makeDurable(group));
    if (isWritten && this.#phase !== "failed") group.durable.resolve();
    else group.durable.reject(notDurable());
    if (group.buffer.length <= 4 * GROUP_MAX_SIZE && this.#spares.length < SPARES_MAX) this.#spares.push(group.buffer);
    this.#changed.synced.notify();
  }

  /** The oldest group, when the journal has room; `undefined` when no more will come. */
  async #nextGroup(): Promise<Group | undefined> {
    while (this.#groups.length === 0) {
      if (this.#phase !== "open" && this.#phase !== "hurried") return undefined;
      await this.#changed.groups.wait();
    }
    for (let trouble; this.#phase === "open" && (trouble = this.#fullness());) {
      this.#report(trouble);
      await this.#changed.room.wait();
    }
    this.#report(undefined);
    this.#groups[0]?.end(); // before another begins
    return this.#groups.shift();
  }

  #fullness(): string | undefined {
    if (this.backlogBytes() < this.#maxSize) return undefined;
    return `journal is full (--journal-max ${this.#maxSize} bytes): senders wait until the database has taken some`;
  }

  /** Repeats an attempt until it succeeds. Resolves to false where a sync failed, or a stop does not wait. */
  async #retry(attempt: () => Promise<unknown>): Promise<boolean> {
    for (; this.#phase !== "failed"; await sleep(TRY_AGAIN_MS)) {
      try {
        await attempt();
        this.#report(undefined);
        return true;
      } catch (error) {
        if (error instanceof SyncFailed) this.#fail(error); // the promise at stake is `ok` itself
        if (this.#phase !== "open") return false;
        this.#report(`cannot write the journal in ${this.#directory}: ${codeOf(error)}; senders wait, trying again`);
      }
    }
    return false;
  }

  #report(trouble: string | undefined): void {
    if (this.#phase !== "open") return;
    this.#condition.report(trouble, trouble ?? "journal can be written again: senders go on");
  }

  /**
   * Fails the journal where its last segment was deleted or moved away. The promise at stake is that acknowledged lines
   * survive this process; no write would report that they don't.
   */
  async #checkPlace(): Promise<void> {
    const last = this.#segments.at(-1);
    const isInPlace = (await last?.isInPlace()) ?? true;
    if (isInPlace || last !== this.#segments.at(-1)) return; // stored segments are removed, but never the last
    const remedy = "stopping, as no more lines can be promised; put it back, or choose another --data-dir DIR";
    this.#fail(new Error(`Cannot keep lines in ${last?.path}: it was deleted or moved away; ${remedy}`));
  }

  /** Acknowledges nothing from here on; `failed` ends the collector. */
  #fail(error: Error): void {
    this.#phase = "failed";
    this.#failure.reject(error);
    this.#changed.room.notify();
    this.#changed.groups.notify();
  }

  async #makeDurable(group: Group): Promise<void> {
    const entries = group.end();
    const segment = await this.#segmentFor(entries.length);
    const startedMs = performance.now();
    await segment.append(entries);
    this.syncs.observe((performance.now() - startedMs) / SECOND);
    segment.lines += group.lines;
    this.received += group.lines;
    this.linesCut += group.linesCut;
    this.bytesReceived += group.bytesReceived;
  }

  /** The last segment; a new one where that is full or an earlier start's. 8 to 1,024 of them fill --journal-max. */
  async #segmentFor(size: number): Promise<Segment> {
    const maxSize = Math.max(Math.min(SEGMENT_MAX_SIZE, this.#maxSize / 8), this.#maxSize / 1024);
    const last = this.#segments.at(-1);
    const hasRoom = last && (last.size === SEGMENT_HEADER_SIZE || last.size + size <= maxSize);
    return hasRoom && last.journal === this.#id ? last : this.#addSegment();
  }

  async #addSegment(): Promise<Segment> {
    const sequence = (this.#segments.at(-1)?.sequence ?? 0) + 1;
    const segment = await Segment.create(this.#directory, sequence, this.#id, this.#stamps.lastTimeUs);
    this.#pushSegment(segment);
    this.#changed.synced.notify();
    return segment;
  }

  async #recoverSegment(path: string): Promise<void> {
    const segment = await Segment.recover(path).catch(cannotRead(path));
    this.#pushSegment(segment);
    this.received += segment.lines;
    // The last line's time, which need not be the latest: the clock may have been set back.
    if (segment.lastTimeUs > 0) this.#stamps.resume(segment.lastTimeUs, segment.writtenAtUs);
  }

  #pushSegment(segment: Segment): void {
    const last = this.#segments.at(-1);
    if (last) last.isContinued = last.journal === segment.journal;
    this.#segments.push(segment);
  }

  /** Removes segments that are stored, one after the other, the oldest first. */
  #removeStored(): Promise<void> {
    return (this.#remover = this.#remover.then(() => this.#removeOldest()));
  }

  /** Keeps the last segment: its header carries the last time over. One that can't be removed only takes up room. */
  async #removeOldest(): Promise<void> {
    for (let oldest; (oldest = this.#segments[0]) && this.#segments.length > 1 && oldest.unstoredSize === 0;) {
      const { path } = oldest;
      const cause = await oldest.remove(this.#directory).then(() => undefined, codeOf);
      const trouble = `cannot remove ${path}: ${cause}; its lines are stored, trying again when more are`;
      this.#removal.report(cause, cause === undefined ? "journal's stored segments can be removed again" : trouble);
      if (cause !== undefined) return;
      this.#segments.shift();
    }
  }
}

const notDurable = () => new NotDurable("Cannot write the journal: the collector is stopping; send the lines again");

// ---- Reader -----------------------------------------------------------------
// Follows the journal, never past what is synced. Live traffic, a backlog and what a crash left take the same path.

const BATCH_SIZE = 2.25 * MIB; // approximate; read, parsed and stored at a time
const BATCH_MAX_SIZE = BATCH_SIZE + ENTRY_MAX_SIZE; // unless it is one long line
const BATCH_LINES = 30_000; // approximate; a short line's row is many times as long as the line

/**
 * Moves batches from the journal to the queue, whose bound keeps it a few of them ahead of the database. When it has
 * caught up, it rests until `lingerMs` after it read the batch: a commit may sync the same disk as the journal, so a
 * trickle of lines must not be one commit each. The first line after a quiet moment never waits.
 */
async function follow(journal: Journal, queue: AsyncQueue<Batch>, database: Database, lingerMs: number): Promise<void> {
  for await (const batch of journal.read()) {
    const startedMs = performance.now();
    await database.fillRows(batch);
    await queue.push(batch);
    const restMs = lingerMs - (performance.now() - startedMs);
    if (restMs > 0 && journal.isCaughtUp(batch)) await sleep(restMs);
  }
  queue.close();
}

/** Reads segments in batches, all into one buffer: a batch's bytes are valid until the next batch is read. */
class BatchReader {
  readonly #buffer = Buffer.allocUnsafe(BATCH_MAX_SIZE);
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Reads the batch at an offset. Where no entry can be read, it has none, and ends after the unreadable bytes. */
  async read(segment: Segment, offset: number): Promise<Batch> {
    let bytes = await this.#load(segment, offset, this.#buffer.length);
    const needed = entrySize(bytes);
    const isLong = needed > bytes.length && needed <= segment.size - offset; // an entry of one long line
    if (isLong) bytes = await this.#load(segment, offset, needed);
    const entries = decodeEntries(bytes, segment.journal);
    const lines = sumOf(entries, "lines");
    const last = entries.at(-1);
    const size = last ? sumOf(entries, "size") : await this.#skipUnreadable(segment, offset);
    segment.linesRead += lines;
    segment.endPosition = Math.max(segment.endPosition, last ? last.position + last.size : 0);
    return { journal: segment.journal, entries, lines, segment, start: offset, end: offset + size };
  }

  async #load({ handle, path, size }: Segment, offset: number, maxSize: number): Promise<Buffer> {
    const length = Math.min(size - offset, maxSize);
    const buffer = length > this.#buffer.length ? Buffer.allocUnsafeSlow(length) : this.#buffer;
    const { bytesRead } = await handle.read(buffer, 0, length, offset).catch(cannotRead(path));
    return buffer.subarray(0, bytesRead);
  }

  /** Size of what can't be read. Logs it as damage, unless it is padding or what a crash left of the last entry. */
  async #skipUnreadable(segment: Segment, offset: number): Promise<number> {
    const bytes = await this.#load(segment, offset, segment.size - offset);
    const { size, isDamaged } = findSoundEntry(bytes, segment);
    if (!isDamaged) return size;
    const remedy = "damaged; going on after them, keeping the file as .bad";
    this.#log(`cannot read ${size} bytes at ${offset} of ${segment.path}: ${remedy}`);
    segment.isDamaged = true;
    return size;
  }
}

/** Reads a batch's entries again, into memory of their own. Rejects where one is damaged. */
export async function reread({ segment, entries, start, end }: Batch): Promise<Entry[]> {
  const bytes = Buffer.alloc(end - start);
  await segment.handle.read(bytes, 0, bytes.length, start);
  const again = decodeEntries(bytes, segment.journal);
  if (again.length < entries.length) throw new Error(`Cannot read ${segment.path}: damaged since it was read first`);
  return again;
}

/** Decodes the entries at the start of some bytes, as many as a batch has. */
function decodeEntries(bytes: Buffer, journal: string): Entry[] {
  const entries: Entry[] = [];
  let [at, lines] = [0, 0];
  for (let entry; at < BATCH_SIZE && lines < BATCH_LINES && (entry = decodeEntry(bytes, at, journal));) {
    entries.push(entry);
    at += entry.size;
    lines += entry.lines;
  }
  return entries;
}

// ---- Records ----------------------------------------------------------------
// Frames to records. Nothing here throws, loses or refuses a line.

const PARSE_MS = 1; // longest stretch of parsing; then sockets and workers have their turn
const PARSED_SIZE = 32 * KIB; // parsed before the next look at the clock

/** Parses the entries' lines, and fills in `rows`, in the form of the store's writer, and `altered`. */
async function fillRows(entries: Entry[], parser: LineParser, rows: RowWriter): Promise<void> {
  let resumedAtMs = performance.now();
  for (const entry of entries) {
    for (const frames = new FrameReader(entry.body); addRows(entry, frames, parser, rows);) {
      if (performance.now() - resumedAtMs < PARSE_MS) continue;
      await immediate();
      resumedAtMs = performance.now();
    }
    entry.rows = rows.written();
  }
}

/** Adds the rows of the next frames, of about 32 KiB; returns false at the entry's end. */
function addRows(entry: Entry, frames: FrameReader, parser: LineParser, rows: RowWriter): boolean {
  for (const pauseAt = frames.end + PARSED_SIZE; frames.end < pauseAt;) {
    if (!frames.next()) return false;
    const timeUs = entry.timeUs + frames.index;
    if (rows.addText !== undefined && frames.isPlainText()) rows.addText(frames, timeUs);
    else addRecord(entry, frames, timeUs, parser, rows);
  }
  return true;
}

function addRecord(entry: Entry, frames: FrameReader, timeUs: number, parser: LineParser, rows: RowWriter): void {
  const { source, notes } = frames.decode();
  const record = recordOfFrame(parser, source, timeUs / 1000, notes);
  if (record.isAltered || notes?.raw !== undefined) entry.altered = (entry.altered ?? 0) + 1;
  rows.add(record, timeUs, frames.peer);
}

/** A line as a record, with our notes among its attributes. */
function recordOfFrame(parser: LineParser, line: string, now: number, notes: Notes | undefined): LogRecord {
  const record = parser.parse(line, now, notes?.cut_from !== undefined);
  return withNotes(record, record.isAltered ? { raw: Buffer.from(line).toString("base64"), ...notes } : notes);
}

function withNotes(record: LogRecord, notes: Notes | undefined): LogRecord {
  if (notes === undefined) return record;
  const members = record.attributes === undefined ? "" : `${record.attributes.slice(1, -1)},`;
  return { ...record, attributes: `{${members}"@collector":${JSON.stringify(notes)}}` };
}

// ---- Rows -------------------------------------------------------------------
// Records as a store sends them. PostgreSQL's writer stands with its store, in Part II, MySQL's in mysql/.

/** Writes records as rows, in the form in which a store sends them. */
export interface RowWriter {
  add(record: LogRecord, timeUs: number, peer: string): void;
  /** Adds a frame whose record is its text alone, without decoding it. */
  addText?(frame: FrameReader, timeUs: number): void;
  /** The rows since the last call; valid until `clear()`, which uses the memory again. */
  written(): Buffer;
  clear(): void;
}

// ---- Queue ------------------------------------------------------------------
// A bounded queue: producers wait for room, consumers wait for a value.

/** A first-in, first-out queue between any number of producers and consumers; each value goes to one consumer. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #values: T[] = [];
  readonly #changed = new Signal();
  #isClosed = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Resolves when the value is in the queue; waits while `capacity` others are there. Rejects once it is closed. */
  async push(value: T): Promise<void> {
    while (this.#values.length >= this.#capacity && !this.#isClosed) await this.#changed.wait();
    if (this.#isClosed) throw new Error("Cannot push: the queue is closed");
    this.#values.push(value);
    this.#changed.notify();
  }

  /** Accepts no more values. Consumers still get what is in the queue; then their loops end. */
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

// ---- Workers ----------------------------------------------------------------
// The main loop. A batch is tried until it is committed: each failure chooses whether the next try takes it whole, in
// halves or line by line. What is not committed stays in the journal.

/** Stores batches until the queue is closed and empty; rejects when the database refuses them, or at a stop. */
async function work(queue: AsyncQueue<Batch>, journal: Journal, database: Database): Promise<void> {
  for await (const batch of queue) {
    const deadLettered = await database.store(batch); // commit first,
    await journal.release(batch, deadLettered); //       only then release
  }
}

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5 * SECOND;
const SUSPECT_AFTER = 3; // failures of a batch with one code; then a line is suspected

/** How to store a batch: as it is; each half as it is; line by line, in halves down to one entry. */
type Step = "whole" | "halves" | "lines";

/** A store and its state. Each failure decides how a batch is tried next; none gives a line up. */
class Database {
  /** Since the start: number of lines stored with something changed, and of failed tries to store a batch. */
  altered = 0;
  retries = 0;
  /** Seconds that storing each batch took, and the number of its lines. */
  readonly inserts = new Histogram(DURATIONS);
  readonly batchLines = new Histogram([1, 10, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]);
  readonly availability: Availability;
  readonly parser: LineParser;
  readonly target: Store;
  readonly #writers: RowWriter[] = []; // whose batches are committed: their memory is used again
  readonly #stop: AbortSignal;
  #setUp: Promise<void> | undefined;
  #wasSetUp = false;
  #days = new Set<number>(); // counted since 1970; they have their partition
  #oldestStoredUs = Infinity;

  constructor(target: Store, parser: LineParser, stop: AbortSignal, log: Log) {
    this.target = target;
    this.parser = parser;
    this.#stop = stop;
    this.availability = new Availability(target.name, log);
  }

  /** Fills in the rows of a batch's entries, as the store sends them. */
  async fillRows(batch: Batch): Promise<void> {
    batch.writer = this.#writers.pop() ?? this.target.createRowWriter(2 * BATCH_SIZE); // rows are larger than lines
    await fillRows(batch.entries, this.parser, batch.writer);
  }

  /** Runs something on the store, which is set up first where it is not yet. */
  async use<T>(run: (store: Store) => Promise<T>): Promise<T> {
    await (this.#setUp ??= this.#setItUp());
    return run(this.target);
  }

  /** Resolves when the batch is committed, to its number of dead letters; rejects only when stopped or refused. */
  async store(batch: Batch): Promise<number> {
    const deadLettered = await this.#store(batch, "whole", new Set());
    const isLong = batch.end - batch.start > BATCH_MAX_SIZE; // its writer has grown, and is not kept
    if (batch.writer && !isLong) this.#writers.push(batch.writer);
    batch.writer?.clear(); // a lost connection may still be sending from its memory, but never a commit
    return deadLettered;
  }

  async #store(batch: Batch, first: Step, suspects: Set<string>): Promise<number> {
    const failures = new Map<string, number>(); // number of them with each code
    for (let step = first; ;) {
      try {
        const deadLettered = await this.#try(batch, step, suspects);
        this.availability.noteUp(batch);
        return deadLettered;
      } catch (error) {
        if (this.#stop.aborted || error instanceof DatabaseRefused) throw error;
        this.retries++;
        const [reaction, code] = [this.target.reactionTo(error), codeOf(error)];
        const count = (failures.get(code) ?? 0) + 1;
        failures.set(code, count);
        if (reaction === "partition") this.#days.clear(); // the next try makes the partitions anew
        if (reaction === "partition" && count === 1) continue;
        const isOfLine = isFaultOfLine(reaction, code, count, suspects);
        if (step !== "lines" && reaction === "no bulk load") step = "lines";
        else if (step !== "lines" && isOfLine) step = batch.entries.length > 1 ? "halves" : "lines";
        else await this.rest(error, count - 1, batch);
      }
    }
  }

  /** Makes the partitions of days, counted since 1970. */
  async makePartitions(days: Iterable<number>): Promise<void> {
    for (const day of days) {
      if (!this.#days.has(day)) await this.use((store) => store.makePartition(day));
      this.#days.add(day);
    }
  }

  /** The time, in µs since 1970, of the oldest line stored since the last call. */
  takeOldestStoredUs(): number {
    const oldestUs = this.#oldestStoredUs;
    this.#oldestStoredUs = Infinity;
    return oldestUs;
  }

  /**
   * Reports why the database is away, and waits, longer each time; the wait ends early when the database answers
   * another caller. Jitter keeps collectors from returning all at once.
   */
  async rest(error: unknown, failures: number, batch?: Batch): Promise<void> {
    this.availability.noteAway(this.target.describe(error), batch);
    if (this.target.reactionTo(error) === "set up anew") this.#setUp = undefined;
    const jitter = 0.5 + Math.random() / 2;
    const pauseMs = Math.min(RETRY_MIN_MS * 2 ** failures, RETRY_MAX_MS) * jitter;
    await deadline(this.availability.answered.wait(), pauseMs).catch(() => {});
  }

  /** Closes all connections for good: what runs fails; the next start sends it again, which adds nothing twice. */
  async close(): Promise<void> {
    this.availability.close();
    await this.target.close();
  }

  async #setItUp(): Promise<void> {
    this.#days.clear();
    try {
      await this.target.setUp();
      this.#wasSetUp = true;
    } catch (error) {
      this.#setUp = undefined;
      if (!(error instanceof DatabaseRefused) || !this.#wasSetUp) throw error;
      throw new Error(error.message, { cause: error }); // it could be stored into before, so this is an outage
    }
  }

  async #try(batch: Batch, step: Step, suspects: Set<string>): Promise<number> {
    if (step !== "whole" && batch.entries.length > 1) return this.#storeHalves(batch, step, suspects);
    await this.makePartitions(daysOf(batch.entries));
    const startedMs = performance.now();
    const deadLettered = step === "lines" ? await this.#storeLines(batch, suspects) : 0;
    if (step !== "lines") await this.use((store) => store.storeBatch(batch));
    this.#observe(batch, performance.now() - startedMs);
    return deadLettered;
  }

  async #storeHalves(batch: Batch, step: Step, suspects: Set<string>): Promise<number> {
    const first = step === "lines" ? "lines" : "whole";
    const middle = Math.floor(batch.entries.length / 2);
    const deadLettered = await this.#store(partOf(batch, 0, middle), first, suspects);
    return deadLettered + (await this.#store(partOf(batch, middle, Infinity), first, suspects));
  }

  /** Stores one entry line by line, read and parsed again from the journal: this is rare, so no records were kept. */
  async #storeLines(batch: Batch, suspects: Set<string>): Promise<number> {
    await this.use((store) => store.ping()); // so that a database that is away costs no parsing
    const entries = await reread(batch);
    const entry = entries[0]!;
    const lines = linesOf(entry, this.parser);
    return this.use((store) => store.storeLines(batch.journal, entry, lines, suspects));
  }

  #observe({ entries, lines }: Batch, tookMs: number): void {
    this.inserts.observe(tookMs / SECOND);
    this.batchLines.observe(lines);
    this.altered += sumOf(entries, "altered");
    this.#oldestStoredUs = Math.min(this.#oldestStoredUs, entries[0]?.timeUs ?? Infinity);
  }
}

/** Reactions to errors that a trigger, a policy or a view may raise for one line only. */
const ALSO_RAISED_FOR_LINES = new Set<Reaction>(["own", "no bulk load", "partition", "set up anew"]);

/**
 * Whether a failure, the `count`-th with its code, counts as one line's fault. That line is looked for in halves of the
 * batch, then line by line in its entry. A code that comes again and again is a suspect from then on, whatever it means
 * otherwise, as a trigger may raise any; so is that of a missing partition, which the first failure had made.
 */
function isFaultOfLine(reaction: Reaction, code: string, count: number, suspects: Set<string>): boolean {
  if (reaction === "content" || reaction === "too long") return true;
  const isSuspect = suspects.has(code) || count >= SUSPECT_AFTER || reaction === "partition";
  if (!isSuspect || !ALSO_RAISED_FOR_LINES.has(reaction)) return false;
  suspects.add(code);
  return true;
}

/** Some entries of a batch, from one index up to another. */
function partOf(batch: Batch, from: number, to: number): Batch {
  const entries = batch.entries.slice(from, to);
  const start = batch.start + sumOf(batch.entries.slice(0, from), "size");
  return { ...batch, entries, lines: sumOf(entries, "lines"), start, end: start + sumOf(entries, "size") };
}

/** Days, counted since 1970, of the entries' lines. */
const daysOf = (entries: Entry[]) =>
  new Set(entries.flatMap(({ timeUs, lines }) => [dayOfTime(timeUs), dayOfTime(timeUs + lines - 1)]));

const dayOfTime = (timeUs: number) => Math.floor(timeUs / 1000 / DAY);

// ---- Store ------------------------------------------------------------------
// One transaction stores a batch and its entries' keys, or nothing. The key is the entry, so it does not matter how
// entries are grouped when they come again. A line that is refused for its content goes to `dead_letters`.

/** What to do about an error of the database. */
export type Reaction =
  | "content" // a line is refused: look for it
  | "partition" // the partition of its day is missing: make it
  | "too long" // store less at a time
  | "no bulk load" // store line by line
  | "set up anew" // a table is gone, or the server takes no writes any more
  | "own" // this statement alone failed: try again, storing goes on
  | "away"; // the server or the connection failed: try again

/** A database to store into: PostgreSQL and PGlite in Part II, MySQL and MariaDB in mysql/. */
export interface Store extends AskedStore {
  /** Where it stores, as logs and pages show it: without a password. */
  readonly name: string;
  /** Number of batches that it takes at the same time. */
  readonly sessions: number;
  /** Whether it is being opened, which may take a while. */
  readonly isOpening?: boolean;
  createRowWriter(size: number): RowWriter;
  /** Makes the tables where they are missing. Rejects with {@link DatabaseRefused} where it can't be stored into. */
  setUp(): Promise<void>;
  /** Commits the rows of the entries that are not stored yet, and their keys; all or nothing. */
  storeBatch(batch: Batch): Promise<void>;
  /**
   * Commits one entry line by line; resolves to the number of its lines that are in `dead_letters` instead. An error
   * whose code is among `suspects` counts as a line's own, unless the table takes no line at all: then it rejects.
   */
  storeLines(journal: string, entry: Entry, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number>;
  /** Makes the partition of a day, counted since 1970. */
  makePartition(day: number): Promise<void>;
  /** Drops the oldest day whose lines are all older than `ageMs`; resolves to its name, `undefined` for none. */
  dropPartition(ageMs: number): Promise<string | undefined>;
  /** Deletes what a rule covers in its next stretch of lines; resolves to the time at which the one after begins. */
  deleteLevels(range: LevelRange): Promise<{ nextUs: number; isDone: boolean }>;
  /** Deletes the keys of a journal's entries before a position. */
  pruneKeys(journal: string, endPosition: number): Promise<void>;
  ping(): Promise<void>;
  /** Closes its connections: what runs fails, and the next use makes new ones. */
  disconnect(): void;
  close(): Promise<void>;
  reactionTo(error: unknown): Reaction;
  /** An error in words, without the server's message, which may quote lines. */
  describe(error: unknown): string;
}

/** The database answers, but can't be stored into; its message ends the start. */
export class DatabaseRefused extends Error {}

/** Stores the entries of a batch that are not stored yet; resolves to false, and stores none, where one is in part. */
async function storeByCopy(session: Session, batch: Batch): Promise<boolean> {
  const claimed = await session.positions(`${BEGIN};${claimSql(batch)}`);
  const entries = batch.entries.filter(({ position }) => claimed.has(position));
  if (entries.length < batch.entries.length) {
    const inPart = await session.positions(storedInPartSql(batch));
    if (inPart.size > 0) return session.run(session.sql`rollback`).then(() => false);
  }
  if (entries.length > 0) await session.copy(copySql(), copyInput(entries), sumOf(entries, "lines"));
  else await session.run(session.sql`select txid_current()`); // a commit with an id waits for a standby, as theirs did
  await session.commit();
  return true;
}

/** Without keepalives, a server would wait for hours for a machine that lost its power, and keep its keys locked. */
const BEGIN = `begin; set local tcp_keepalives_idle = 10;
  set local tcp_keepalives_interval = 5; set local tcp_keepalives_count = 3`;

/** Claims entries: returns those not stored yet, once other transactions that are storing some of them have ended. */
const claimSql = ({ journal, entries }: Batch) => `
  insert into log_entries (journal, position)
  select '${journal}'::uuid, position from unnest(${positionsOf(entries)}) as position order by position
  on conflict do nothing returning position`;

const copySql = () => `copy logs (${ROW_COLUMNS.join(", ")}) from stdin (format binary)`;

// ---- Housekeeping -----------------------------------------------------------
// Periodic tasks, whose failures are logged and retried; storing goes on.

const DAYS_AHEAD = 7;

/** Checks that the database answers, and runs the tasks that are due: once a minute, sooner where a task failed. */
async function keepHouse(tasks: PeriodicTask[], database: Database, stop: AbortSignal): Promise<void> {
  for (let failures = 0; !stop.aborted;) {
    try {
      await database.use((store) => store.ping()); // an outage shows even while there is nothing to store
      database.availability.noteUp();
      for (const task of tasks) await task.runIfDue();
      failures = 0;
      const soonestMs = Math.min(MINUTE, ...tasks.map(({ dueAtMs }) => Math.max(0, dueAtMs - performance.now())));
      await sleep(soonestMs, undefined, { signal: stop }).catch(() => {});
    } catch (error) {
      if (error instanceof DatabaseRefused) throw error;
      if (!stop.aborted) await database.rest(error, Math.min(failures++, 4)); // at most 1.6 s: "back" is noticed soon
    }
  }
}

function periodicTasks({ retention, retentionLevel }: Options, journal: Journal, database: Database, log: Log) {
  const rules = retentionLevel.map((rule) => ({ ...rule, sinceUs: 0 }));
  const tasks = [
    new PeriodicTask("partitions", "make the coming days' partitions", MINUTE, database, log, () => {
      const today = Math.floor(Date.now() / DAY);
      return database.makePartitions(range(DAYS_AHEAD + 1).map((ahead) => today + ahead));
    }),
    new PeriodicTask("keys", "prune keys", MINUTE, database, log, () =>
      journal.prune((id, endPosition) => database.use((store) => store.pruneKeys(id, endPosition))),
    ),
  ];
  if (retention > 0 || rules.length > 0)
    tasks.push(
      new PeriodicTask("retention", "drop old lines", HOUR, database, log, () =>
        dropOldLines(retention, rules, database, log),
      ),
    );
  return tasks;
}

/** A rule of --retention-level, and the time, in µs since 1970, before which it was applied to all lines. */
export interface LevelRange extends LevelRule {
  sinceUs: number;
}

/** Drops days and deletes levels that are too old; resolves when nothing is left to do. */
async function dropOldLines(ageMs: number, ranges: LevelRange[], database: Database, log: Log): Promise<void> {
  const dropNext = () => (ageMs > 0 ? database.use((store) => store.dropPartition(ageMs)) : undefined);
  for (let name; (name = await dropNext()) !== undefined;)
    log(`dropped ${name}: all of its lines are older than --retention`);
  const oldestUs = database.takeOldestStoredUs();
  for (const range of ranges) range.sinceUs = Math.min(range.sinceUs, oldestUs);
  for (const range of ranges) await deleteLevels(range, database);
}

/** Deletes one bounded stretch of lines per statement, and rests as long as each took: nobody else is held up. */
async function deleteLevels(range: LevelRange, database: Database): Promise<void> {
  for (let started = performance.now(); ; started = performance.now()) {
    const { nextUs, isDone } = await database.use((store) => store.deleteLevels(range));
    range.sinceUs = nextUs;
    if (isDone) return;
    await sleep(performance.now() - started);
  }
}

// ==== Part II: what it stands on ====

// ---- Journal files ----------------------------------------------------------
// The journal's bytes, whose format this file's first comment specifies. A group encodes what arrives as entries; a
// segment is one file of them; `FrameReader` decodes them. A folder is synced after a file in it is made or renamed.

const FORMAT_VERSION = 2; // 1 had no sections of counted frames
const SEGMENT_MAGIC = Buffer.from("COLLECTR");
const SEGMENT_HEADER_SIZE = 40;
const ENTRY_MAGIC = Buffer.from("LOG\x01");
const ENTRY_HEADER_SIZE = 32;
const SECTION_HEADER_SIZE = 9;
const SEGMENT_NAME = /^(\d{10})-([\da-f-]{36})\.segment$/;
const RELEASED_NAME = /^\d{10}-([\da-f-]{36})-(\d+)\.released$/;

/**
 * O_DSYNC makes each write a synced one on Linux, in one trip to the thread pool instead of two. Other systems may
 * leave the bytes in the disk's cache, so fdatasync follows there.
 */
const DSYNC = process.platform === "linux" ? constants.O_DSYNC : 0;
const SEGMENT_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | DSYNC;
const PADDING = Buffer.alloc(48 * KIB); // zeros after what is written; the next writes overwrite them
const CLOCK_STEP_US = 1000 * MINUTE; // where the clock is set back by more, the lines' times follow it

/** A sync failed, so no more lines can be promised. It is not tried again: the kernel may have dropped what it held. */
class SyncFailed extends Error {}

/** One journal file; an offset counts the bytes before it. */
class Segment {
  readonly path: string;
  readonly sequence: number;
  /** Id of the journal that its positions belong to; each start of a collector makes a new one. */
  readonly journal: string;
  readonly handle: FileHandle;
  /** Durable: all before this offset is synced. */
  size: number;
  /** Number of lines in it, by its entries' headers. */
  lines = 0;
  /** Time of the last line up to its end, in µs since 1970; 0 where it is not known. */
  lastTimeUs = 0;
  /** When an earlier start last wrote to it, by that start's clock, in µs since 1970. */
  writtenAtUs = 0;
  /** Whether the next segment belongs to the same journal, so that all that was written to this one was synced. */
  isContinued = false;
  // Written by the reader: lines read, the position after the last entry read, whether something was unreadable.
  linesRead = 0;
  endPosition = 0;
  isDamaged = false;
  /** Written by releases: all before this offset is stored. */
  storedTo = SEGMENT_HEADER_SIZE;
  #allocatedTo = 0; // the file has blocks up to here: a sync within them need not wait for the file system's journal

  constructor(path: string, handle: FileHandle, size: number) {
    const [, sequence = "", journal = ""] = SEGMENT_NAME.exec(basename(path)) ?? [];
    this.path = path;
    this.sequence = Number(sequence);
    this.journal = journal;
    this.handle = handle;
    this.size = size;
  }

  /** Makes a file that holds only a header. It survives a power cut once the promise resolves. */
  static async create(folder: string, sequence: number, journal: string, lastTimeUs: number): Promise<Segment> {
    const path = join(folder, `${String(sequence).padStart(10, "0")}-${journal}.segment`);
    const handle = await open(path, SEGMENT_FLAGS, 0o600);
    const segment = new Segment(path, handle, 0);
    try {
      await segment.append(encodeSegmentHeader(journal, lastTimeUs));
      await withFolder(folder, (opened) => guardSync(folder, opened.sync()));
      return segment;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Opens what an earlier start left. It may not have synced what it wrote, so that is synced before it is read. */
  static async recover(path: string): Promise<Segment> {
    const handle = await open(path, "r+");
    try {
      await handle.datasync();
      const bytes = await handle.readFile();
      const segment = new Segment(path, handle, Math.max(bytes.length, SEGMENT_HEADER_SIZE));
      const { version, lastTimeUs } = decodeSegmentHeader(bytes, segment.journal);
      const remedy = `this collector knows versions up to ${FORMAT_VERSION}; start the newer one that wrote it`;
      if (version > FORMAT_VERSION)
        throw new UsageError(`Cannot read ${path}: its format is version ${version}, ${remedy}`);
      segment.lastTimeUs = lastTimeUs;
      segment.writtenAtUs = (await handle.stat()).mtimeMs * 1000;
      segment.#countLines(bytes);
      return segment;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Writes after what is synced; durable once the promise resolves. Can be tried again after errors but SyncFailed. */
  async append(bytes: Buffer): Promise<void> {
    const isPadded = bytes.length < PADDING.length && this.size > 0 && this.size + bytes.length > this.#allocatedTo;
    const padded = isPadded ? Buffer.concat([bytes, PADDING]) : bytes; // after large writes it would gain nothing
    const writing = this.handle.write(padded, 0, padded.length, this.size);
    const { bytesWritten } = await guardSync(this.path, writing, (code) => NO_ROOM.has(code));
    if (bytesWritten < padded.length) {
      this.#allocatedTo = this.size;
      await this.handle.truncate(this.size); // a short write is no error in Node, so it is made one here
      throw new Error("a short write, as on a full disk");
    }
    if (DSYNC === 0) await guardSync(this.path, this.handle.datasync());
    this.#allocatedTo = Math.max(this.#allocatedTo, this.size + padded.length);
    this.size += bytes.length;
  }

  /** Leaves an empty file whose name tells which keys to prune; a damaged segment is set aside, never deleted. */
  async remove(folder: string): Promise<void> {
    const released = this.path.replace(/\.segment$/, `-${this.endPosition}.released`);
    const kept = this.isDamaged ? this.path.replace(/segment$/, "bad") : released;
    if (existsSync(this.path)) await rename(this.path, kept); // else an earlier try did
    await writeFile(released, "", { mode: 0o600 });
    await withFolder(folder, (opened) => opened.sync());
    await this.handle.close();
  }

  /** Whether its path still leads to it: a restart does not find lines in a file that was deleted or moved away. */
  async isInPlace(): Promise<boolean> {
    try {
      const bigint = true;
      const [opened, found] = await Promise.all([this.handle.stat({ bigint }), stat(this.path, { bigint })]);
      return opened.ino === found.ino && opened.dev === found.dev;
    } catch (error) {
      return codeOf(error) !== "ENOENT";
    }
  }

  get unstoredSize(): number {
    return this.size - this.storedTo;
  }

  #countLines(bytes: Buffer): void {
    for (let at = SEGMENT_HEADER_SIZE, header; (header = decodeEntryHeader(bytes, at)); at += header.size) {
      this.lines += header.lines;
      const isSound = decodeEntry(bytes, at, this.journal) !== undefined; // else its time may be damaged
      if (isSound) this.lastTimeUs = header.timeUs + header.lines - 1;
    }
  }
}

/** Errors after which a synced write may be tried again: each try writes all of the bytes that are in doubt. */
const NO_ROOM = new Set(["ENOSPC", "EDQUOT", "EFBIG", "ENOMEM"]);

/** Settles as the sync does, but rejects with {@link SyncFailed}, unless it can be tried again after that error. */
async function guardSync<T>(path: string, syncing: Promise<T>, isRetried = (_code: string) => false): Promise<T> {
  return syncing.catch((error: unknown) => {
    if (isRetried(codeOf(error))) throw error;
    throw new SyncFailed(`Cannot sync ${path}: ${codeOf(error)}; no more lines can be promised, stopping`);
  });
}

/** Handles an error of reading by ending the collector: lines that a disk can't read now are not given up for lost. */
function cannotRead(path: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof UsageError) throw error;
    throw new Error(`Cannot read ${path}: ${codeOf(error)}; stopping, as it may hold lines that are not stored yet`);
  };
}

/** Size of the unreadable bytes before the next sound entry or the segment's end, and whether they are damage. */
function findSoundEntry(bytes: Buffer, { journal, isContinued }: Segment): { size: number; isDamaged: boolean } {
  let at = bytes.indexOf(ENTRY_MAGIC, 1);
  while (at >= 0 && !decodeEntry(bytes, at, journal)) at = bytes.indexOf(ENTRY_MAGIC, at + 1);
  if (at >= 0) return { size: at, isDamaged: true };
  const isPadding = bytes.every((byte) => byte === 0);
  return { size: bytes.length, isDamaged: !isPadding && (isContinued || !isTornTail(bytes, journal)) };
}

/** Whether a segment's last bytes are what a crash left of an entry whose write had not ended: it got no `ok`. */
function isTornTail(tail: Buffer, journal: string): boolean {
  const written = tail.findLastIndex((byte) => byte !== 0) + 1;
  const size = entrySize(tail);
  if (written === 0 || size === 0) return true;
  const isShort = size > tail.length || written < size - 1; // its last byte may be the NUL that ends a line
  return isShort && ENTRY_MAGIC.compare(tail, 0, 4) === 0 && !hasFlippedSize(tail, journal);
}

/** Whether the first entry is sound but for one bit of its size: then it was written whole, so it is not torn. */
function hasFlippedSize(bytes: Buffer, journal: string): boolean {
  const mended = Buffer.from(bytes);
  const size = bytes.readUInt32LE(8);
  return range(32).some((bit) => {
    mended.writeUInt32LE((size ^ (1 << bit)) >>> 0, 8);
    return decodeEntry(mended, 0, journal) !== undefined;
  });
}

/**
 * Lines that one sync makes durable together. They are encoded as entries as they arrive, while the group before is
 * synced. Consecutive whole lines of one peer share a section, so that they are decoded together.
 */
class Group {
  readonly durable = deferred<void>();
  lines = 0;
  linesCut = 0;
  bytesReceived = 0;
  readonly #journal: string;
  readonly #stamps: Stamps;
  #bytes: Buffer;
  #size = 0; // how many of #bytes are used
  #entry: { start: number; timeUs: number; lines: number } | undefined; // the last one, while it grows
  #section: { start: number; peer: string; frameSize: number } | undefined; // the last one, while lines can join it

  constructor(journal: string, stamps: Stamps, bytes: Buffer) {
    this.#journal = journal;
    this.#stamps = stamps;
    this.#bytes = bytes;
  }

  /** The memory that holds the entries; once they are written, another group can use it. */
  get buffer(): Buffer {
    return this.#bytes;
  }

  hasRoomFor(framed: Framed, maxSize: number): boolean {
    const size = framed.sections.reduce((total, { bytes }) => total + bytes.length, this.#size);
    return this.lines === 0 || size <= maxSize;
  }

  add(peer: string, framed: Framed): void {
    for (const section of framed.sections) this.#addSection(peer, section);
  }

  /** Completes the last entry; returns the bytes of all. */
  end(): Buffer {
    if (this.#entry) this.#endEntry(this.#entry);
    return this.#bytes.subarray(0, this.#size);
  }

  #addSection(peer: string, { bytes, frameSize, lines }: Section): void {
    this.#makeRoom(ENTRY_HEADER_SIZE + SECTION_HEADER_SIZE + peer.length + bytes.length);
    const entry = (this.#entry ??= this.#startEntry());
    const isOneFrame = frameSize > 0 && frameSize !== COUNTED;
    const isJoined = this.#section?.peer === peer && this.#section.frameSize === frameSize;
    const section = isJoined && this.#section ? this.#section : this.#startSection(peer, frameSize);
    this.#size += bytes.copy(this.#bytes, this.#size);
    this.#bytes.writeUInt32LE(this.#bytes.readUInt32LE(section.start) + bytes.length, section.start);
    this.#section = isOneFrame ? undefined : section;
    entry.lines += lines;
    this.lines += lines;
    this.bytesReceived += isOneFrame ? frameSize : bytes.length;
    if (isOneFrame) this.linesCut++;
    if (this.#size - entry.start >= ENTRY_MAX_SIZE || entry.lines >= ENTRY_MAX_LINES) this.#endEntry(entry);
  }

  #startEntry() {
    const entry = { start: this.#size, timeUs: this.#stamps.nextTimeUs(), lines: 0 };
    this.#size += ENTRY_HEADER_SIZE;
    return entry;
  }

  #startSection(peer: string, frameSize: number) {
    const start = this.#size;
    this.#size = encodeSectionHeader(this.#bytes, start, peer, frameSize);
    return { start, peer, frameSize };
  }

  #endEntry({ start, timeUs, lines }: { start: number; timeUs: number; lines: number }): void {
    this.#entry = undefined;
    this.#section = undefined;
    if (lines === 0) return void (this.#size = start); // only the line ending of a line that filled the entry before
    const header = { position: this.#stamps.position, timeUs, lines, size: this.#size - start };
    encodeEntryHeader(this.#bytes.subarray(start, this.#size), this.#journal, header);
    this.#stamps.advance(header);
  }

  #makeRoom(more: number): void {
    if (this.#size + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#size + more));
    this.#bytes.copy(larger, 0, 0, this.#size);
    this.#bytes = larger;
  }
}

/** Gives each entry its position and time; neither changes later. */
class Stamps {
  /** Size of the entries so far: the next one's position. */
  position = 0;
  /** Time of the last line. */
  lastTimeUs = 0;
  #clockUs = 0; // the clock's last reading
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Continues where an earlier start ended: after its last line, whose time may be ahead of that start's clock. */
  resume(lastTimeUs: number, clockUs: number): void {
    this.lastTimeUs = lastTimeUs;
    this.#clockUs = Math.min(lastTimeUs, clockUs);
  }

  /** The time for the next line: strictly increasing, unless the clock was set back by over a minute. */
  nextTimeUs(): number {
    const nowUs = Date.now() * 1000;
    const stepUs = this.#clockUs - nowUs;
    this.#clockUs = nowUs;
    if (stepUs <= CLOCK_STEP_US) return Math.max(nowUs, this.lastTimeUs + 1);
    this.#log(`clock was set back by ${Math.round(stepUs / 1e6)} s: created_at follows it`);
    return nowUs;
  }

  /** Counts an entry, so that the next one comes after it. */
  advance({ size, timeUs, lines }: EntryHeader): void {
    this.position += size;
    this.lastTimeUs = timeUs + lines - 1;
  }
}

function encodeSegmentHeader(journal: string, lastTimeUs: number): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_SIZE);
  SEGMENT_MAGIC.copy(header);
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.write(journal.replaceAll("-", ""), 16, "hex");
  header.writeBigUInt64LE(BigInt(lastTimeUs), 32);
  header.writeUInt32LE(segmentCrc(header), 12);
  return header;
}

/** Decodes a header. A damaged one loses no line: its last time is 0, for unknown; the file's name has the id, too. */
function decodeSegmentHeader(header: Buffer, journal: string): { version: number; lastTimeUs: number } {
  const unknown = { version: 0, lastTimeUs: 0 };
  if (header.length < SEGMENT_HEADER_SIZE || header.readUInt32LE(12) !== segmentCrc(header)) return unknown;
  if (header.toString("hex", 16, 32) !== journal.replaceAll("-", "")) return unknown;
  return { version: header.readUInt32LE(8), lastTimeUs: Number(header.readBigUInt64LE(32)) };
}

const segmentCrc = (header: Buffer) => crc32(header.subarray(16, SEGMENT_HEADER_SIZE), crc32(header.subarray(0, 12)));

type EntryHeader = Pick<Entry, "position" | "timeUs" | "lines" | "size">;

/** Writes the header of an entry whose body is in place already. */
function encodeEntryHeader(entry: Buffer, journal: string, { position, timeUs, lines, size }: EntryHeader): void {
  ENTRY_MAGIC.copy(entry);
  entry.writeUInt32LE(size - ENTRY_HEADER_SIZE, 8);
  entry.writeUInt32LE(lines, 12);
  entry.writeBigUInt64LE(BigInt(position), 16);
  entry.writeBigUInt64LE(BigInt(timeUs), 24);
  entry.writeUInt32LE(entryCrc(entry, journal), 4);
}

/** The header at an offset, its CRC not checked; `undefined` where there is none, or its entry is not all there. */
function decodeEntryHeader(bytes: Buffer, at: number): EntryHeader | undefined {
  const size = entrySize(bytes, at);
  if (size === 0 || at + size > bytes.length || ENTRY_MAGIC.compare(bytes, at, at + 4) !== 0) return undefined;
  const [position, timeUs] = [bytes.readBigUInt64LE(at + 16), bytes.readBigUInt64LE(at + 24)];
  return { position: Number(position), timeUs: Number(timeUs), lines: bytes.readUInt32LE(at + 12), size };
}

/** The entry at an offset, its body a view of `bytes`; `undefined` where there is none, or its CRC does not match. */
function decodeEntry(bytes: Buffer, at: number, journal: string): Entry | undefined {
  const header = decodeEntryHeader(bytes, at);
  const entry = bytes.subarray(at, at + (header?.size ?? 0));
  if (!header || entryCrc(entry, journal) !== entry.readUInt32LE(4)) return undefined;
  const { position, timeUs, lines, size } = header; // V8 would give each copy by `...` a hidden class of its own
  return { position, timeUs, lines, size, body: entry.subarray(ENTRY_HEADER_SIZE) };
}

/** The entry's size by its header alone; 0 where there are too few bytes for one. */
const entrySize = (bytes: Buffer, at = 0) =>
  bytes.length - at < ENTRY_HEADER_SIZE ? 0 : ENTRY_HEADER_SIZE + bytes.readUInt32LE(at + 8);

const entryCrc = (entry: Buffer, journal: string) => crc32(entry.subarray(8), crc32(journal));

/** Writes the header of a section whose size is not known yet; returns the offset at which its lines start. */
function encodeSectionHeader(bytes: Buffer, at: number, peer: string, frameSize: number): number {
  bytes.writeUInt32LE(0, at);
  bytes.writeUInt32LE(frameSize, at + 4);
  bytes.writeUInt8(peer.length, at + 8);
  return at + SECTION_HEADER_SIZE + bytes.write(peer, at + SECTION_HEADER_SIZE, "latin1");
}

/** A frame as text, and our notes on it. */
interface DecodedFrame {
  source: string;
  notes?: Notes | undefined;
}

/** Goes through the frames of an entry's body, empty lines left out. After each `next()` it stands at one of them. */
class FrameReader {
  readonly body: Buffer;
  /** Where the frame is in the body, and who sent it. */
  start = 0;
  end = 0;
  peer = "";
  /** Number of frames before it. */
  index = -1;
  #next = 0; // where the next frame begins, or its section's header
  #sectionEnd = 0;
  #frameSize = 0;
  #find = indexOfNewline;
  #isSound = false; // the section's frames are whole, UTF-8, and without NUL
  #mayBePlain = false;

  constructor(body: Buffer) {
    this.body = body;
  }

  /** Goes on to the next frame; returns false where there is none. */
  next(): boolean {
    do {
      if (this.#next === this.#sectionEnd && !this.#openSection()) return false;
      if (this.#frameSize === COUNTED) this.#toCounted();
      else if (this.#frameSize > 0) this.#toFrame(this.#next, this.#sectionEnd, this.#sectionEnd);
      else this.#toLine();
    } while (this.start === this.end);
    this.index++;
    return true;
  }

  /** Whether its record is its text alone, by its size or first bytes; where it is false, only the parser can tell. */
  isPlainText(): boolean {
    if (this.end - this.start > MAX_READ * UTF8_BYTES) return this.#isSound; // it has more characters than are read
    return this.#mayBePlain && isProseAt(this.body, this.start, this.end);
  }

  decode(): DecodedFrame {
    if (this.#isSound) return { source: this.body.toString("utf8", this.start, this.end) };
    return decodeFrame(this.body.subarray(this.start, this.end), this.#frameSize);
  }

  #openSection(): boolean {
    const [body, at] = [this.body, this.#next];
    if (at >= body.length) return false;
    const start = at + SECTION_HEADER_SIZE + body.readUInt8(at + 8);
    this.peer = body.toString("latin1", at + SECTION_HEADER_SIZE, start);
    this.#frameSize = body.readUInt32LE(at + 4);
    this.#next = start;
    this.#sectionEnd = start + body.readUInt32LE(at);
    const section = body.subarray(start, this.#sectionEnd);
    const hasNul = section.includes(NUL);
    this.#find = hasNul ? endOfLine : indexOfNewline; // NUL ends a line
    this.#isSound = isUtf8(section) && (this.#frameSize === 0 || (this.#frameSize === COUNTED && !hasNul));
    this.#mayBePlain = this.#isSound && !section.includes(ESCAPE_BYTE);
    return true;
  }

  #toLine(): void {
    const found = this.#find(this.body, this.#next);
    const end = found < 0 || found > this.#sectionEnd ? this.#sectionEnd : found;
    this.#toFrame(this.#next, this.#next + lineLength(this.body, this.#next, end), Math.min(end + 1, this.#sectionEnd));
  }

  /** The frame is without its count and, where it is syslog's, without its line endings. */
  #toCounted(): void {
    const start = this.#next + countDigits(this.body, this.#next) + 1;
    const end = start + numberAt(this.body, this.#next);
    let next = end;
    while (next < this.#sectionEnd && isEnding(this.body[next])) next++;
    this.#toFrame(start, isPriority(this.body, start) ? trimmedLength(this.body, end) : end, next);
  }

  #toFrame(start: number, end: number, next: number): void {
    this.start = start;
    this.end = end;
    this.#next = next;
  }
}

/** Decodes one frame. NUL and what is not UTF-8 become U+FFFD; then `raw` in its notes keeps the bytes as they came. */
function decodeFrame(bytes: Buffer, frameSize: number): DecodedFrame {
  const source = bytes.toString().replaceAll("\0", "\ufffd");
  const isSound = isUtf8(bytes) && !bytes.includes(NUL);
  const isCut = frameSize > bytes.length && frameSize !== COUNTED;
  const cut = isCut ? { cut_from: frameSize } : undefined;
  return { source, notes: isSound ? cut : { ...cut, raw: bytes.toString("base64") } };
}

// ---- Formats ----------------------------------------------------------------
// A line is an envelope around a body, and a body may be a line again. An envelope gives host, app, time and facility;
// what its body tells of level, time and message wins. A line that no reader takes is text, whole. A reader looks at
// the first characters and gives up as soon as it can; none costs more than its line's length.

const [TAB, BYTE_ORDER_MARK] = [9, 0xfeff];
const [QUOTE, COMMA, DASH, DOT, ZERO, COLON, EQUALS] = [34, 44, 45, 46, 48, 58, 61];
const [BANG, PERCENT, PARENTHESIS, STAR, PLUS, SLASH] = [33, 37, 40, 42, 43, 47];
const [UPPER_L, UPPER_T, UPPER_Z, UNDERSCORE, BAR] = [76, 84, 90, 95, 124];
const [LOWER_A, LOWER_F, LOWER_P, LOWER_T, LOWER_U, LOWER_Z] = [97, 102, 112, 116, 117, 122];
const [BRACKET, BACKSLASH, BRACKET_END, BRACE_END] = [91, 92, 93, 125];

/** What a reader found in a line, or in the body of one. */
interface Layer {
  level: number | undefined;
  /** `undefined` stands for the line itself. */
  message: string | undefined;
  time: FoundTime | undefined;
  host: string | undefined;
  app: string | undefined;
  /** Further attributes: members of a JSON object, divided by commas. */
  members: string;
  /** What an envelope holds, to be read as a line of its own. */
  body: string | undefined;
  isAltered: boolean;
}

interface Format {
  name: string;
  /** A line of this format, for docs/formats.md. */
  example: string;
  /** The first character of such a line. */
  starts: RegExp;
  /** `time` is the one that the line begins with, if it does. */
  read: (text: string, context: LineContext, time: FoundTime | undefined) => Layer | undefined;
}

/** What is around the readers of one line; its memory belongs to one {@link LineParser}. */
interface LineContext {
  readonly times: TimeReader;
  readonly keys: KeyMemory;
  readonly jsonShapes: ShapeMemory;
  readonly logfmtShapes: ShapeMemory;
  /** The envelope around the text that is read. */
  outer: Layer | undefined;
  /** Whether the line's end is missing. */
  isCut: boolean;
  /** Where the letters end that the text begins with: readers go on from there. */
  wordEnd: number;
}

/** What may stand around a body, in the order in which it is tried. */
export const ENVELOPES: readonly Format[] = [
  { name: "syslog, RFC 5424", starts: /</, read: readSyslog5424, example: "<14>1 2026-11-22T10:00:00Z h shop 7 - - x" },
  {
    name: "syslog, RFC 3164",
    starts: /</,
    read: readSyslog3164,
    example: "<14>Nov 22 10:00:00 h a[7]: x",
  },
  { name: "syslog in files", starts: /[A-Z\d]/, read: readSyslogOfFile, example: "Nov 22 10:00:00 h a[7]: x" },
  { name: "Kubernetes (CRI)", starts: /\d/, read: readCri, example: "2026-11-22T10:00:00.1Z stderr F x" },
  { name: "a time in front", starts: /[\d[A-Z]/, read: readTimed, example: "2026-11-22 10:00:00 level=info msg=x" },
  { name: "Docker Compose", starts: /[a-z]/i, read: readCompose, example: "web-1  | WARNING: x" },
  { name: "dmesg -x", starts: /[a-z]/, read: readCompose, example: "kern  :warn  : [    1.234567] x" },
  { name: "kubectl logs --prefix", starts: /\[/, read: readTimed, example: "[pod/web-1/shop] WARNING: x" },
  { name: "pm2 logs", starts: /\d/, read: readTimed, example: "0|shop  | WARNING: x" },
  { name: "multilog, svlogd", starts: /@/, read: readTai, example: "@400000006a16b82b0754d4c0 ERROR x" },
];

/** What a line or an envelope may hold, in the order in which it is tried. */
export const BODIES: readonly Format[] = [
  { name: "JSON, GELF, Docker's json-file", starts: /[{\s@]/, read: readJson, example: '{"level":30,"msg":"x","n":7}' },
  { name: "audit", starts: /[nt]/, read: readAudit, example: 'type=CWD msg=audit(1795341600.123:7): cwd="/"' },
  {
    name: "CEF, LEEF",
    starts: /[CL]/,
    read: readEvent,
    example: "CEF:0|Vendor|Product|1.0|7|Port scan|8|src=192.0.2.1",
  },
  { name: "logfmt", starts: /[a-z@_]/i, read: readLogfmt, example: 'level=info msg="x y" n=7' },
  {
    name: "text",
    starts: /[\w[(%/: <*#>!=.-]/,
    read: readText,
    example: "2026-11-22 10:00:00,123 [main] WARN shop.Cart - x",
  },
];

/** The readers by the code of a line's first character, and those of a line that begins with a symbol. */
const LINE_READERS = Array.from({ length: 128 }, (_, code) => {
  const formats = [...ENVELOPES, ...BODIES].filter(({ starts }) => starts.test(String.fromCharCode(code)));
  return [...new Set(formats.map(({ read }) => read))];
});
const SYMBOL_READERS = [readText];
const MAX_READ = KIB ** 2; // characters; a longer line is text, whole: it must not hold up the others
const MAX_LAYERS = 4; // envelopes in envelopes; what is deeper stays text

/** Turns lines into records. One serves one collector: it remembers the shapes and the time of lines before. */
export class LineParser {
  readonly #context: LineContext;

  /** `timezone`: the IANA name of the zone of times that name none; without it, the machine's. */
  constructor(timezone?: string) {
    const [keys, times] = [new KeyMemory(), new TimeReader(timezone)];
    const jsonShapes = new ShapeMemory(JSON_FORM, times);
    const logfmtShapes = new ShapeMemory(LOGFMT_FORM, times);
    this.#context = { times, keys, jsonShapes, logfmtShapes, outer: undefined, isCut: false, wordEnd: 0 };
  }

  /**
   * A line as a record; text, whole, where it is nothing else. Never throws. `nowMs` is when it was received, by which
   * a date without a year is told; `isCut`: its end is missing, and of an object's members those that came are read.
   */
  parse(line: string, nowMs: number, isCut = false): LogRecord {
    if (line.length > MAX_READ) return recordOfText(line, false);
    const sent = line.charCodeAt(0) === BYTE_ORDER_MARK ? line.slice(1) || line : line;
    const text = withoutAnsi(sent);
    const isClean = text === sent;
    this.#context.times.nowMs = nowMs;
    this.#context.isCut = isCut;
    const layer = this.#read(text, undefined, MAX_LAYERS);
    if (layer === undefined) return recordOfText(text, !isClean);
    const { level = DEFAULT_LEVEL, message = text, time, host, app, members, isAltered } = layer;
    const attributes = members === "" ? undefined : `{${members}}`;
    return { level, message, loggedAtUs: time?.timeUs, host, app, attributes, isAltered: isAltered || !isClean };
  }

  #read(text: string, outer: Layer | undefined, depth: number): Layer | undefined {
    const wordEnd = endOfLetters(text, 0);
    const time = this.#context.times.inFrontOf(text, wordEnd);
    if (time === undefined && isProse(text, wordEnd)) return layerOfText(levelOfAlarm(text, 0), undefined);
    const readers = LINE_READERS[text.charCodeAt(0)] ?? (SYMBOL.test(text) ? SYMBOL_READERS : undefined);
    if (readers === undefined) return undefined;
    this.#context.outer = outer;
    this.#context.wordEnd = wordEnd;
    for (let index = 0; index < readers.length; index++) {
      const layer = readers[index]!(text, this.#context, time);
      if (layer !== undefined) return layer.body === undefined || depth === 0 ? layer : this.#open(layer, depth);
    }
    return undefined;
  }

  /** Adds to an envelope what its body tells. */
  #open(envelope: Layer, depth: number): Layer {
    const inner = this.#read(envelope.body ?? "", envelope, depth - 1);
    if (inner === undefined) return envelope;
    envelope.level = inner.level ?? envelope.level;
    envelope.message = inner.message ?? envelope.message;
    envelope.time = laterTime(envelope.time, inner.time);
    envelope.host ??= inner.host;
    envelope.app ??= inner.app;
    envelope.members = joined(envelope.members, inner.members);
    envelope.isAltered ||= inner.isAltered;
    return envelope;
  }
}

/** Whether two words without capitals or marks begin a text: nearly all plain text needs no closer look. */
function isProse(text: string, wordEnd: number): boolean {
  if (wordEnd < 2 || text.charCodeAt(wordEnd) !== SPACE || isUpper(text.charCodeAt(1))) return false;
  const next = text.charCodeAt(wordEnd + 1);
  return isLetter(next) || isDigit(next);
}

/**
 * Whether a line is prose by its bytes, and neither an alarm nor one that begins with a time: then its record is its
 * text alone. Where it returns false, only the parser can tell.
 */
export function isProseAt(bytes: Buffer, start: number, end: number): boolean {
  const first = bytes[start]!;
  let wordEnd = start;
  while (isLetter(bytes[wordEnd]!)) wordEnd++;
  if (wordEnd < start + 2 || wordEnd + 1 >= end) return false;
  const next = bytes[wordEnd + 1]!;
  if (isUpper(first) && (wordEnd === start + 3 || (isDigit(next) && isNameAt(bytes, start)))) return false; // of a time
  if (bytes[wordEnd] !== SPACE || isUpper(bytes[start + 1]!) || !(isLetter(next) || isDigit(next))) return false;
  for (const [alarm] of ALARMS_BY_CODE[first]!) if (beginsWith(bytes, start, alarm)) return false;
  return true;
}

function beginsWith(bytes: Buffer, at: number, text: string): boolean {
  for (let index = 0; index < text.length; index++) if (bytes[at + index] !== text.charCodeAt(index)) return false;
  return true;
}

function newLayer(time?: FoundTime): Layer {
  const none = undefined;
  return { level: none, message: none, time, host: none, app: none, members: "", body: none, isAltered: false };
}

function recordOfText(message: string, isAltered: boolean): LogRecord {
  const none = undefined;
  return { level: DEFAULT_LEVEL, message, loggedAtUs: none, host: none, app: none, attributes: none, isAltered };
}

const ESCAPE_BYTE = 0x1b;
const ESCAPE_CODE = String.fromCharCode(ESCAPE_BYTE);
const CONTROL_SEQUENCE = new RegExp(`${ESCAPE_CODE}\\[[0-?]*[ -/]*[@-~]`, "g"); // ECMA-48, section 5.4

/** A text without colours and other control sequences; as it is where nothing else is in it. */
function withoutAnsi(text: string): string {
  return text.indexOf(ESCAPE_CODE) >= 0 ? text.replace(CONTROL_SEQUENCE, "") || text : text;
}

/** Members of a JSON object, divided by a comma. */
const joined = (members: string, more: string) =>
  members === "" ? more : more === "" ? members : `${members},${more}`;

/** A member of a JSON object, with the comma before it; none where there is no text. */
const memberOf = (name: string, text: string | undefined) => (text ? `,"${name}":${quote(text)}` : "");

// -- syslog

/** RFC 5424, section 6.2.1, under the names of syslog.h. */
const FACILITIES = (
  "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock " +
  "local0 local1 local2 local3 local4 local5 local6 local7"
).split(" ");

const MAX_PRIORITY = 191;

/** The number in `<14>` at a line's start, and where the line goes on; `undefined` where there is none up to 191. */
function priorityOf(text: string): { priority: number; end: number } | undefined {
  const end = endOfDigits(text, 1, 4);
  const priority = Number(text.slice(1, end));
  const isSound = end > 1 && text.charCodeAt(end) === GREATER_THAN && priority <= MAX_PRIORITY;
  return isSound ? { priority, end: end + 1 } : undefined;
}

/** The layer of a syslog message, whose text from `end` on is its body. `members` begins with a comma. */
function layerOfSyslog(
  text: string,
  sender: SyslogSender,
  members: string,
  time?: FoundTime,
  priority = sender.priority,
): Layer {
  const layer = newLayer(time);
  const facility = priority === undefined ? "" : `,"facility":"${FACILITIES[priority >> 3]}"`;
  layer.level = priority === undefined ? sender.level : SEVERITIES[priority & 7];
  layer.host = nameOfField(sender.host ?? sender.device);
  layer.app = nameOfField(sender.app);
  const device = sender.host === undefined ? "" : memberOf("device", sender.device);
  layer.members = (facility + memberOf("procid", sender.procid) + device + members).slice(1);
  const start = text.charCodeAt(sender.end) === BYTE_ORDER_MARK ? sender.end + 1 : sender.end;
  layer.message = layer.body = withoutNewline(text.slice(start)) || undefined;
  return layer;
}

const HEADER_5424 = /<(\d{1,3})>1 (?:-|(\d{4}-\S+)) (\S+) (\S+) (\S+) (\S+)(?: |$)/y;

/** RFC 5424, section 6. Where the structured data is missing (Heroku) or broken, the message begins there. */
function readSyslog5424(text: string, { times }: LineContext): Layer | undefined {
  const [header = "", priority, sentTime = "", host, app, procid, msgid] = matchAt(HEADER_5424, text, 0);
  const time = sentTime === "" ? undefined : times.of(sentTime);
  if (header === "" || Number(priority) > MAX_PRIORITY || (sentTime !== "" && time === undefined)) return undefined;
  const elements = structuredData(text, header.length);
  const members = memberOf("msgid", msgid === "-" ? undefined : msgid) + elements.members;
  return layerOfSyslog(
    text,
    { end: elements.end, host, app, procid: procid === "-" ? undefined : procid },
    members,
    time,
    Number(priority),
  );
}

const MAX_PARAMETERS = 1000; // of a line's structured data, and keys of logfmt; with more, the line is text

/** RFC 5424, section 6.3, as `{"id":{"name":"value"}}`, and where the message begins. */
function structuredData(text: string, start: number): { members: string; end: number } {
  const elements = new Members();
  let at = text.charCodeAt(start) === DASH ? start + 1 : start;
  for (let left = MAX_PARAMETERS; text.charCodeAt(at) === BRACKET; left--) {
    const idEnd = endOfKey(text, at + 1);
    const parameters = new Members();
    const end = addParameters(parameters, text, idEnd, left);
    left -= parameters.size;
    if (text.charCodeAt(end) !== BRACKET_END || left < 0) break;
    elements.add(text.slice(at + 1, idEnd), parameters.json());
    at = end + 1;
  }
  if (!isEndOfWord(text, at)) return { members: "", end: start };
  return { members: elements.size > 0 ? `,"structured_data":${elements.json()}` : "", end: at + 1 };
}

/** Adds an element's ` name="value"`s, where only `"`, `\` and `]` are escaped (section 6.3.3); returns their end. */
function addParameters(parameters: Members, text: string, start: number, max: number): number {
  let at = start;
  for (let count = 0; text.charCodeAt(at) === SPACE; count++) {
    const nameEnd = endOfKey(text, at + 1);
    const isQuoted = text.charCodeAt(nameEnd) === EQUALS && text.charCodeAt(nameEnd + 1) === QUOTE;
    if (!isQuoted || count > max) return -1;
    const end = endOfQuoted(text, nameEnd + 1);
    parameters.add(text.slice(at + 1, nameEnd), quote(unescape5424(text.slice(nameEnd + 2, end - 1))));
    at = end;
  }
  return at;
}

/** Members of a JSON object; a name that comes twice, as section 7.2.1 has it, gets an array. */
class Members {
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  #doubles: Set<string> | undefined;

  get size(): number {
    return this.#names.length;
  }

  add(name: string, json: string): void {
    const index = this.#names.indexOf(name);
    if (index >= 0) {
      this.#values[index] += `,${json}`;
      (this.#doubles ??= new Set()).add(name);
    } else {
      this.#names.push(name);
      this.#values.push(json);
    }
  }

  json(): string {
    let members = "";
    for (let index = 0; index < this.#names.length; index++) {
      const [name, value] = [this.#names[index]!, this.#values[index]!];
      members = joined(members, `${quote(name)}:${this.#doubles?.has(name) ? `[${value}]` : value}`);
    }
    return `{${members}}`;
  }
}

const unescape5424 = (value: string): string => (value.includes("\\") ? value.replace(/\\(["\\\]])/g, "$1") : value);

/** Cisco: message count, origin, sequence number, the task, IOS XR's node, a mark where the clock is not set. */
const CISCO = new RegExp(
  String.raw`(?:(\d{1,10})?: ?)?(?:([\w.-]{1,128})(?:: | (?=\w{1,9}/\d)))?(?:(\d{1,10}): )?` +
    String.raw`(?:\*([a-z]\w{0,64}): )?(?:(\w{1,9}/\d[\w/]{0,64}):)?[*.]?`,
  "iy",
);

/** RFC 3164 as it is really sent: date, host and tag may each be missing, and devices add their own. */
function readSyslog3164(text: string, { times }: LineContext): Layer | undefined {
  const found = priorityOf(text);
  if (found === undefined) return undefined;
  const { priority, end: prefix } = found;
  const isVersioned = text.startsWith("1 ", prefix);
  const start = isVersioned ? prefix + 2 : text.charCodeAt(prefix) === SPACE ? prefix + 1 : prefix;
  const plain = times.ofSyslogAt(text, start);
  const [mark = "", count, origin, sequence, task, node] = plain === undefined ? matchAt(CISCO, text, start) : [];
  const time = plain ?? times.ofSyslogAt(text, start + mark.length);
  if (time === undefined) {
    const end = isVersioned ? prefix : start;
    return layerOfSyslog(text, tagAt(text, end) ?? { end }, "", time, priority);
  }
  const timeEnd = endOfSpace(text, time.end);
  const hasColon = text.charCodeAt(timeEnd) === COLON;
  const end = hasColon ? endOfSpace(text, timeEnd + 1) : timeEnd;
  const sender = senderAt(text, end, hasColon || origin !== undefined, isVersioned);
  sender.host = origin ?? sender.host;
  sender.app ??= task;
  const members =
    sequence === undefined
      ? memberOf("sequence", count)
      : memberOf("message_count", count) + memberOf("sequence", sequence);
  return layerOfSyslog(text, sender, members + memberOf("node", node), time, priority);
}

/** The same without a priority. A time that is no date of syslog's needs rsyslog's exact form, or a process id. */
function readSyslogOfFile(text: string, _: LineContext, time: FoundTime | undefined): Layer | undefined {
  if (time?.timeUs === undefined || text.charCodeAt(time.end) !== SPACE) return undefined;
  const isBsd = isLetter(text.charCodeAt(0)) && text.charCodeAt(3) === SPACE;
  const mark = text.charCodeAt(10); // that of an epoch is a dot
  if (!isBsd && ((mark !== UPPER_T && mark !== DOT) || !hasTag(text, time.end))) return undefined;
  const start = endOfSpace(text, time.end);
  const [part = "", number] = text.charCodeAt(start + 2) === PARENTHESIS ? matchAt(ESXI_PRIORITY, text, start) : [];
  const sender = senderAt(text, start + part.length, number !== undefined, false);
  const { app, host = "" } = sender;
  const priority = number === undefined ? priorityNamed(host) : Number(number);
  if (priority !== undefined) [sender.host, sender.priority] = [undefined, priority];
  if (isBsd && isLetter(text.charCodeAt(4)) && priority === undefined) return undefined; // a date as of Apache
  if (app === undefined && !text.startsWith("CEF:", sender.end)) return undefined;
  const level = levelNamed(host);
  if (level !== undefined && endOfMatch(ESXI_TAG, text, time.end) < 0) return undefined;
  if (level !== undefined) [sender.host, sender.level] = [undefined, level];
  const isOfKernel = app === "kernel" && time.isZoned && isDigit(text.charCodeAt(time.end - 1)); // journalctl's
  const isCertain = isBsd || (sender.procid ?? number) !== undefined || isOfKernel || RSYSLOG_TIME.test(text);
  return isCertain ? layerOfSyslog(text, sender, "", time) : undefined;
}

/** Whether a tag may follow: with its colon, or as hostd of ESXi 7 and vpxd write it. */
const hasTag = (text: string, at: number) => text.indexOf(": ", at) >= 0 || endOfMatch(ESXI_TAG, text, at) > 0;

const ESXI_TAG = / (?:panic|error|warning|info|verbose) [\w-]+\[\d+\] \[Originator@/y;
/** `In(182)`: a word for the severity, and the priority. */
const ESXI_PRIORITY = /(?:Em|Al|Cr|Er|Wa|No|In|Db)\((\d{1,2}|1[0-8]\d|19[01])\) /y;
const RSYSLOG_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.,]\d{6}[+-]\d\d:\d\d /; // RSYSLOG_FileFormat, dmesg's iso

const DMESG = /([a-z]{3,8}) *:([a-z]{3,6}) *: (?=\[|\d{4}-)/y;

function readDmesg(text: string): Layer | undefined {
  const [part = "", facility, level] = matchAt(DMESG, text, 0);
  const priority = priorityNamed(`${facility}.${level}`);
  return priority === undefined ? undefined : layerOfSyslog(text, { end: part.length, priority }, "");
}

interface SyslogSender {
  /** Where the message begins. */
  end: number;
  host?: string | undefined;
  app?: string | undefined;
  procid?: string | undefined;
  /** UniFi's address and model, before the tag. */
  device?: string;
  level?: number | undefined;
  priority?: number | undefined;
}

const HOST = /(?:Message forwarded from )?(?:\[([\da-f.:]{2,45})\]|([^\s"'=<>{}()[\]]{1,255}?)):? +(?:: +)?/iy;
const BARE_APP = /([\w./-]{1,128}) +/y;
const SPACED_TAG = /([\w./-]{1,128}) : /y;

/** Host and tag. `isHostless`: no host follows; `isVersioned`: a word without a colon is a tag, too. */
function senderAt(text: string, at: number, isHostless: boolean, isVersioned: boolean): SyslogSender {
  const first = tagAt(text, at);
  if (first !== undefined || isHostless) return first ?? { end: at };
  const [part = "", address, host = address] = matchAt(HOST, text, at);
  if (host === undefined) return { end: at };
  const end = at + part.length;
  const sender = tagAt(text, end) ?? levelledTagAt(text, end) ?? { end };
  sender.host = host;
  if (sender.app !== undefined) return sender;
  const [appPart = "", app] = matchAt(isVersioned ? BARE_APP : SPACED_TAG, text, end);
  return { end: end + appPart.length, host, app };
}

/** F5's level, or facility and level of BusyBox, before a tag. */
function levelledTagAt(text: string, at: number): SyslogSender | undefined {
  const end = endOfWord(text, at);
  const word = text.slice(at, end);
  const [priority, level] = [priorityNamed(word), levelNamed(word)];
  const sender = priority === undefined && level === undefined ? undefined : tagAt(text, end + 1);
  if (sender === undefined || (priority === undefined && sender.procid === undefined)) return undefined;
  return { ...sender, level, priority };
}

/** The priority that `daemon.err` stands for, as BusyBox (Alpine, OpenWrt) writes it. */
function priorityNamed(word: string): number | undefined {
  const dot = word.indexOf(".");
  const level = dot > 0 ? levelNamed(word.slice(dot + 1)) : undefined;
  const facility = level === undefined ? -1 : FACILITIES.indexOf(word.slice(0, dot));
  return level === undefined || facility < 0 ? undefined : facility * 8 + SEVERITIES.indexOf(level);
}

const TAG_START = /[a-z/_(.-]/iy;
const PROCID = /\[([^\s\]]{0,64})\](?:: ?| )/y;
const MAX_TAG = 128;

/** A tag, and the space behind its colon; a level's word is none (`error: …` from Python's SysLogHandler). */
function tagAt(text: string, at: number): SyslogSender | undefined {
  let end = at;
  for (; end < at + MAX_TAG; end++) {
    const code = text.charCodeAt(end);
    if (!(code > SPACE) || code === COLON || code === BRACKET || code === BRACKET_END) break;
  }
  const code = text.charCodeAt(end);
  if (end === at || (code !== COLON && code !== BRACKET) || endOfMatch(TAG_START, text, at) < 0) return undefined;
  const app = text.slice(at, end);
  if (levelNamed(app) !== undefined) return undefined;
  if (code === COLON) {
    if (!isEndOfWord(text, end + 1)) return undefined;
    const inner = app.includes(",") ? tagAt(text, end + 2) : undefined;
    return inner ? { ...inner, device: app } : { end: end + 2, host: undefined, app, procid: undefined };
  }
  const [part, procid] = matchAt(PROCID, text, end);
  return part === undefined ? undefined : { end: end + part.length, host: undefined, app, procid };
}

// -- containers, audit, and a time in front

const CRI = / (stdout|stderr) ([FP])(?: |$)/y;

function readCri(text: string, _: LineContext, time: FoundTime | undefined): Layer | undefined {
  if (time?.timeUs === undefined || !text.startsWith(" std", time.end)) return undefined;
  const [part, stream, tag] = matchAt(CRI, text, time.end);
  if (part === undefined) return undefined;
  const layer = newLayer(time);
  layer.members = `"stream":"${stream}"${tag === "P" ? ',"logtag":"P"' : ""}`;
  layer.message = layer.body = text.slice(time.end + part.length) || undefined;
  return layer;
}

/** JSON or logfmt behind a time, and fluentd's tag; the message is the body's, or the whole line. Or a named line. */
function readTimed(text: string, context: LineContext, time: FoundTime | undefined): Layer | undefined {
  if (time === undefined) return readNamed(text);
  const mark = text.charCodeAt(time.end);
  const start = endOfSpace(text, mark === BRACKET_END || mark === COLON ? time.end + 1 : time.end);
  const isJson = text.charCodeAt(start) === BRACE;
  const keyEnd = isJson ? start : endOfKey(text, start);
  const isTagged = text.charCodeAt(keyEnd - 1) === COLON && text.charCodeAt(keyEnd + 1) === BRACE;
  if (!isJson && !isTagged && text.charCodeAt(keyEnd) !== EQUALS) return undefined;
  context.wordEnd = 0;
  const body = text.slice(isTagged ? keyEnd + 1 : start);
  const layer = isJson || isTagged ? readJson(body, context) : readLogfmt(body, context);
  if (layer === undefined) return undefined;
  layer.time = laterTime(time, layer.time);
  if (isTagged) layer.app ??= text.slice(start, keyEnd - 1);
  return layer;
}

const COMPOSE = /[\w.@-]{1,128} {0,64}\| +(?=\S)/y; // of Swarm, `web.1.x7f@node-1  | …`

/** A line behind its container's name. Such a line of dmesg begins with a word, too. */
function readCompose(text: string, { wordEnd }: LineContext): Layer | undefined {
  const colon = endOfSpace(text, wordEnd);
  if (text.charCodeAt(colon) === COLON && isLower(text.charCodeAt(colon + 1))) return readDmesg(text);
  const nameEnd = endOfKey(text, wordEnd);
  if (text.charCodeAt(endOfSpace(text, nameEnd)) !== BAR || levelNamed(text.slice(0, nameEnd)) !== undefined)
    return undefined;
  const end = endOfMatch(COMPOSE, text, 0);
  if (end < 0) return undefined;
  const layer = newLayer();
  layer.body = text.slice(end);
  return layer;
}

const APP_PREFIX = /(?:\[pod\/[\w.-]{1,253}\/([\w.-]{1,63})\]|\d{1,4}\|([\w.-]{1,64}) *\|) (?=\S)/y;

/** A line behind its program's name, as kubectl and pm2 print them. */
function readNamed(text: string): Layer | undefined {
  const [part, container, app = container] = isUpper(text.charCodeAt(0)) ? [] : matchAt(APP_PREFIX, text, 0);
  if (part === undefined) return undefined;
  const layer = newLayer();
  layer.app = app;
  layer.message = layer.body = text.slice(part.length);
  return layer;
}

const TAI64N = /@40000000([\da-f]{8})([0-3][\da-f]{7})(?: |$)/y;

/** A time as daemontools and runit write it, 10 s ahead of UTC; none if in the future, as s6 adds leap seconds. */
function readTai(text: string, { times }: LineContext): Layer | undefined {
  const [part, seconds = "", nanos = ""] = matchAt(TAI64N, text, 0);
  if (part === undefined) return undefined;
  const time = timeOfEpoch(Number.parseInt(seconds, 16) - 10 + Math.floor(Number.parseInt(nanos, 16) / 1000) / 1e6);
  const layer = newLayer(
    time?.timeUs !== undefined && time.timeUs > (times.nowMs + 5 * SECOND) * 1000 ? undefined : time,
  );
  layer.body = text.slice(part.length);
  return layer;
}

const AUDIT = /(?:node=(\S{1,255}) )?type=\S{1,64} msg=audit\((\d{9,10}\.\d{1,9}):\d{1,20}\):/y;

function readAudit(text: string): Layer | undefined {
  const [, host, epoch] = text.startsWith("type=") || text.startsWith("node=") ? matchAt(AUDIT, text, 0) : [];
  if (epoch === undefined) return undefined;
  const layer = newLayer(timeOfEpoch(Number(epoch)));
  layer.host = host;
  return layer;
}

const EVENT = /CEF:\d\|(?:(?:[^|\\]|\\.){0,512}\|){5}([\w-]{1,9})\||LEEF:\d[\d.]*\|.*?[|^\t]sev=(\d{1,2})(?!\d)/y;
const EVENT_LEVELS = [200, 200, 200, 200, 300, 300, 300, 400, 400, 500, 500]; // by CEF's severity
const EVENT_WORDS: Record<string, number> = { low: 200, medium: 300, high: 400, "very-high": 500 };

/** An event of a security device, whole. A syslog priority around it wins over its severity. */
function readEvent(text: string, { outer }: LineContext): Layer | undefined {
  const [, word, severity = word] = text.startsWith("EF:", text.charCodeAt(0) === UPPER_L ? 2 : 1)
    ? matchAt(EVENT, text, 0)
    : [];
  if (severity === undefined) return undefined;
  const layer = newLayer();
  if (outer?.level === undefined) layer.level = EVENT_LEVELS[Number(severity)] ?? EVENT_WORDS[severity.toLowerCase()];
  return layer;
}

// -- JSON

const MAX_MEMBERS = 20_000; // of a line's object; with more, the line is text: it must not hold up the others
const MAX_JSON_DEPTH = 1000; // objects in objects; PGlite's stack holds a few thousand
const MAX_SHORT_JSON = 64 * KIB;
/** Such numbers are written out when they are read: a line of many would take a thousand times its size. */
const LARGE_EXPONENT = /[:,[]\s*-?\d[\d.]*[eE][+-]?\d{3}/;

/** A JSON object (RFC 8259), or a GELF 1.1 message; also behind CEE's cookie. */
function readJson(text: string, context: LineContext): Layer | undefined {
  const at = endOfSpace(text, text.startsWith("@cee:") ? 5 : 0);
  if (text.charCodeAt(at) !== BRACE) return undefined;
  const sound = soundJson(text);
  if (text.length > MAX_SHORT_JSON && LARGE_EXPONENT.test(text)) return undefined;
  const whole = layerOfObject(sound, at, context);
  const layer = whole ?? (context.isCut ? layerOfObject(closedJson(sound, at), at, context) : undefined);
  if (layer !== undefined && sound !== text) layer.isAltered = true;
  return layer;
}

function layerOfObject(text: string, at: number, context: LineContext): Layer | undefined {
  const known = context.jsonShapes.layerOf(text, context);
  if (known !== undefined) return known;
  const fields: Field[] = [];
  const end = endOfMembers(text, at, context.keys, fields);
  if (end < 0 || endOfSpace(text, end) !== text.length) return undefined;
  context.jsonShapes.learn(text, fields);
  return layerOfFields(fields, JSON_FORM, context);
}

/** A cut object's text with an end: what came of a string's value is kept, a key without its value is not. */
function closedJson(text: string, start: number): string {
  const closers: string[] = [];
  let end = start; // what stands before it is whole, but for what `closers` close
  let isBehindColon = false;
  for (let at = start; at < text.length && closers.length < MAX_JSON_DEPTH;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const isKey = closers.at(-1) === "}" && !isBehindColon;
      const stringEnd = endOfString(text, at);
      if (stringEnd < 0 && !isKey) return `${text.slice(0, endOfEscapes(text, at))}"${closers.toReversed().join("")}`;
      if (stringEnd < 0) break;
      at = stringEnd;
      if (!isKey) end = at;
      continue;
    }
    if (code === BRACE || code === BRACKET) closers.push(code === BRACE ? "}" : "]");
    else if (code === BRACE_END || code === BRACKET_END) closers.pop();
    isBehindColon = code === COLON || (isBehindColon && code <= SPACE);
    at++;
    if (code === COMMA) end = at - 1;
    else if (code === BRACE || code === BRACKET || code === BRACE_END || code === BRACKET_END) end = at;
  }
  return text.slice(0, end) + closers.toReversed().join("");
}

/** Where the last escape of a string that has no end is whole. */
function endOfEscapes(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length) {
    const size = text.charCodeAt(at) !== BACKSLASH ? 1 : text.charCodeAt(at + 1) === LOWER_U ? 6 : 2;
    if (at + size > text.length) break;
    at += size;
  }
  return at;
}

const UNSOUND = /\\(?:u0000|x00|u[dD][89a-fA-F])/; // at first sight

/** jsonb holds neither NUL nor half a surrogate pair: their escapes become U+FFFD's. */
function soundJson(text: string): string {
  if (!text.includes("\\") || !text.includes("\\u") || !UNSOUND.test(text)) return text; // one character is found faster
  const units = Buffer.from(text, "utf16le");
  for (let at = text.indexOf("\\"); at >= 0; at = text.indexOf("\\", at + 2)) {
    const unit = escapedUnit(text, at);
    const isHigh = unit >= 0xd800 && unit < 0xdc00;
    const next = isHigh ? escapedUnit(text, at + 6) : 0;
    if (isHigh && next >= 0xdc00 && next < 0xe000) at += 6;
    else if (unit === 0 || (unit >= 0xd800 && unit < 0xe000))
      for (let digit = 0; digit < 4; digit++) units[2 * (at + 2 + digit)] = "fffd".charCodeAt(digit);
  }
  return units.toString("utf16le");
}

/** The UTF-16 unit that `\u` and four digits stand for; -1 for anything else. */
function escapedUnit(text: string, at: number): number {
  if (text.charCodeAt(at) !== BACKSLASH || text.charCodeAt(at + 1) !== LOWER_U) return -1;
  let unit = 0;
  for (let digit = at + 2; digit < at + 6; digit++) unit = unit * 16 + hexDigit(text.charCodeAt(digit));
  return Number.isNaN(unit) ? -1 : unit;
}

const hexDigit = (code: number) =>
  isDigit(code)
    ? code - ZERO
    : (code | SPACE) >= LOWER_A && (code | SPACE) <= LOWER_F
      ? (code | SPACE) - LOWER_A + 10
      : Number.NaN;

// Each of these finds where what starts at `at` ends, and is -1 where it is not JSON; each passes a -1 on.

/** A line's object; its members go to `fields`: one by one where a column may take them, those between together. */
function endOfMembers(text: string, at: number, keys: KeyMemory, fields: Field[]): number {
  let start = endOfSpace(text, at + 1);
  if (text.charCodeAt(start) === BRACE_END) return start + 1;
  let [othersStart, othersEnd] = [start, start];
  for (let count = 0; count <= MAX_MEMBERS; count++) {
    const keyEnd = endOfString(text, start);
    const valueStart = endOfColon(text, keyEnd);
    const end = endOfValue(text, valueStart, 1);
    if (end < 0) return -1;
    const key = keys.named(readString(text.slice(start, keyEnd)));
    const next = endOfSpace(text, end);
    const isLast = text.charCodeAt(next) !== COMMA;
    if (key.isRead && fields.length < MAX_FIELDS) {
      if (othersEnd > othersStart) fields.push(newField(OTHERS, text.slice(othersStart, othersEnd), othersStart));
      fields.push(newField(key, text.slice(valueStart, end), valueStart));
      othersStart = isLast ? end : endOfSpace(text, next + 1);
    }
    othersEnd = end;
    if (!isLast) {
      start = endOfSpace(text, next + 1);
      continue;
    }
    if (othersEnd > othersStart) fields.push(newField(OTHERS, text.slice(othersStart, othersEnd), othersStart));
    return text.charCodeAt(next) === BRACE_END ? next + 1 : -1;
  }
  return -1;
}

/** An object or an array in a value. */
function endOfContainer(text: string, at: number, depth: number): number {
  const isObject = text.charCodeAt(at) === BRACE;
  const close = isObject ? BRACE_END : BRACKET_END;
  let start = endOfSpace(text, at + 1);
  if (text.charCodeAt(start) === close) return start + 1;
  for (;;) {
    start = Math.max(start, endOfMatch(isObject ? MEMBERS : ELEMENTS, text, start));
    const value = isObject ? endOfColon(text, endOfString(text, start)) : start;
    const next = endOfSpace(text, endOfValue(text, value, depth));
    if (text.charCodeAt(next) === close) return next + 1;
    if (text.charCodeAt(next) !== COMMA) return -1;
    start = endOfSpace(text, next + 1);
  }
}

function endOfColon(text: string, at: number): number {
  const colon = endOfSpace(text, at);
  return text.charCodeAt(colon) === COLON ? endOfSpace(text, colon + 1) : -1;
}

/** Exponents of four digits are left: jsonb would write such a number out with all its zeros. */
const BARE_VALUE = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?0*\d{1,3}(?!\d))?|true|false|null/y;

function endOfValue(text: string, at: number, depth: number): number {
  const code = text.charCodeAt(at);
  if (code === QUOTE) return endOfString(text, at);
  if (code > ZERO && isDigit(code)) {
    const end = endOfDigits(text, at + 1, text.length);
    if (text.charCodeAt(end) === COMMA) return end; // as nearly all numbers
  }
  if (code !== BRACE && code !== BRACKET) return endOfMatch(BARE_VALUE, text, at);
  return depth < MAX_JSON_DEPTH ? endOfContainer(text, at, depth + 1) : -1;
}

function endOfString(text: string, at: number): number {
  if (text.charCodeAt(at) !== QUOTE) return -1;
  for (let end = at + 1; end < at + LONG_RUN; end++) {
    const code = text.charCodeAt(end);
    if (code === QUOTE) return end + 1;
    if (code === BACKSLASH || !(code >= SPACE)) break;
  }
  let [start, end] = [at, at + 1];
  while (end > start) {
    [start, end] = [end, endOfMatch(STRING_PART, text, end)];
    if (text.charCodeAt(end) === QUOTE) return end + 1;
  }
  return -1;
}

// Patterns are many times faster than a loop over characters; one must not repeat a group for ever, or its stack ends.
const PLAIN = String.raw`[^"\\\x00-\x1f]*`;
const ESCAPE = String.raw`\\(?:["\\/bfnrt]|u[\da-fA-F]{4})`;
const STRING_PART = new RegExp(`${PLAIN}(?:${ESCAPE}${PLAIN}){0,500}`, "y");
const STRING = `"${STRING_PART.source}"`;
const SCALAR = `(?:${STRING}|${BARE_VALUE.source})`;
const GAP = String.raw`[ \t\r\n]*`;
const ELEMENTS = new RegExp(`(?:${SCALAR}${GAP},${GAP}){1,500}`, "y");
const MEMBERS = new RegExp(`(?:${STRING}${GAP}:${GAP}${SCALAR}${GAP},${GAP}){1,500}`, "y");
const TOKEN = /"(?:[^"\\]|\\[^])*"(?=([ \t\r\n]*:)?)|[^\s",:{}[\]]+|[^]/g;

/** A pattern for values like one; it fails fast, and so takes no escapes where that one has none. */
function patternOfScalar(json: string): string {
  if (json.charCodeAt(0) === QUOTE) return json.includes("\\") ? STRING : `"${PLAIN}"`;
  return /^\d+$/.test(json) ? String.raw`0|[1-9]\d*` : BARE_VALUE.source;
}

/** The pattern is for all JSON that has other strings and numbers, but the same keys. */
const JSON_FORM: ValueForm = {
  patternOf: (json) =>
    json.replace(TOKEN, (token, colon?: string) =>
      colon === undefined && /^["\w-]/.test(token) ? `(?:${patternOfScalar(token)})` : token.replace(SPECIAL, "\\$&"),
    ),
  jsonOf: (json) => json,
  valueOf: readValue,
};

const LONG_RUN = 24; // characters: from here on, a pattern is faster than a loop
const SPACES = new RegExp(GAP, "y");

function endOfSpace(text: string, at: number): number {
  for (let end = at; end < at + LONG_RUN; end++) {
    const code = text.charCodeAt(end);
    if (code > SPACE || (code !== SPACE && code !== NEWLINE && code !== RETURN && code !== TAB)) return end;
  }
  return endOfMatch(SPACES, text, at);
}

/** Where a sticky pattern's match ends, or -1. */
function endOfMatch(expression: RegExp, text: string, at: number): number {
  expression.lastIndex = at;
  return at >= 0 && expression.test(text) ? expression.lastIndex : -1;
}

function readValue(json: string): unknown {
  if (json.charCodeAt(0) === QUOTE) return readString(json);
  return isDigit(json.charCodeAt(0)) ? readNumber(json) : JSON.parse(json);
}

const EXACT_DIGITS = 15; // so many are exact in a double

/** A number that is not negative. For a whole one of many digits, `Number` would leave compiled code. */
function readNumber(json: string): number {
  if (json.length > EXACT_DIGITS) return Number(json);
  let value = 0;
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (!isDigit(code)) return Number(json);
    value = value * 10 + code - ZERO;
  }
  return value;
}

const readString = (json: string) => (json.indexOf("\\") >= 0 ? (JSON.parse(json) as string) : json.slice(1, -1));

function quote(text: string): string {
  if (text.length > LONG_RUN) return NOT_PLAIN.test(text) ? JSON.stringify(text) : `"${text}"`;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < SPACE || code === QUOTE || code === BACKSLASH) return JSON.stringify(text);
  }
  return `"${text}"`;
}

const NOT_PLAIN = /["\\]|[^ -\uffff]/;

// -- logfmt

const GO_ESCAPE = /\\(?:x([\da-f]{2})|[^])/gi; // of Go's strconv.Quote, as slog prints it
const toJsonEscape = (escape: string, hex?: string) => (hex === undefined ? escape : `\\u00${hex}`);

const startsQuoted = (sent: string) => sent.charCodeAt(0) === QUOTE;

const LOGFMT_FORM: ValueForm = {
  patternOf: (sent) => (startsQuoted(sent) ? patternOfScalar(sent) : String.raw`[^\x00-\x20"\\]*`),
  jsonOf: (sent) => (startsQuoted(sent) ? sent : `"${sent}"`),
  valueOf: (sent) => (startsQuoted(sent) ? readString(sent) : sent),
};

/**
 * `level=info msg="…" key=value`, where the line consists of nothing else and has a level or a message. Bare words are
 * true, but two of them in a row, or one behind an unquoted message, are prose.
 */
function readLogfmt(text: string, context: LineContext): Layer | undefined {
  if (text.charCodeAt(endOfKey(text, context.wordEnd)) !== EQUALS) return undefined; // as nearly all plain text
  const known = text.indexOf("\\u") < 0 ? context.logfmtShapes.layerOf(text, context) : undefined;
  if (known !== undefined) return known;
  const fields: Field[] = [];
  let isLog = false;
  let hasBare = false;
  let mayBeProse = false; // the last word was bare, or followed an unquoted message
  for (let at = 0; at < text.length; at = endOfSpace(text, at)) {
    const keyEnd = endOfKey(text, at);
    const key = context.keys.named(text.slice(at, keyEnd));
    const isBare = text.charCodeAt(keyEnd) !== EQUALS;
    if (keyEnd === at || fields.length > MAX_PARAMETERS || (isBare && mayBeProse)) return undefined;
    const isQuoted = !isBare && text.charCodeAt(keyEnd + 1) === QUOTE;
    at = isBare ? keyEnd : isQuoted ? endOfQuoted(text, keyEnd + 1) : endOfWord(text, keyEnd + 1);
    const isCut = context.isCut && isQuoted && at > text.length;
    if (!isCut && !isEndOfWord(text, at)) return undefined;
    const sent = isCut ? `${text.slice(keyEnd + 1, endOfEscapes(text, keyEnd + 1))}"` : text.slice(keyEnd + 1, at);
    const value = isQuoted ? unquote(sent) : sent;
    if (value === undefined) return undefined;
    fields.push(newField(key, isBare ? "true" : quote(value), keyEnd + 1, sent));
    const column = key.own?.column;
    isLog ||= column !== undefined && column <= MESSAGE_COLUMN;
    hasBare ||= isBare;
    mayBeProse = isBare || (!isQuoted && column === MESSAGE_COLUMN);
  }
  if (!isLog) return undefined;
  if (!hasBare && !context.isCut) context.logfmtShapes.learn(text, fields);
  const layer = layerOfFields(fields, LOGFMT_FORM, context);
  layer.isAltered ||= text.includes("\\") && UNSOUND.test(text);
  return layer;
}

const MAX_KEY = 256; // characters

/** A key or name holds no space, `=`, `"` or `]` (RFC 5424, section 6.3.3). */
function endOfKey(text: string, at: number): number {
  for (let end = at; end < at + MAX_KEY; end++) {
    const code = text.charCodeAt(end);
    if (!(code > SPACE) || code === EQUALS || code === QUOTE || code === BRACKET_END) return end;
  }
  return at;
}

function endOfWord(text: string, at: number): number {
  while (text.charCodeAt(at) > SPACE) at++;
  return at;
}

function isEndOfWord(text: string, at: number): boolean {
  return at === text.length || text.charCodeAt(at) <= SPACE;
}

function endOfQuoted(text: string, at: number): number {
  let end = at + 1;
  while (end < text.length && text.charCodeAt(end) !== QUOTE) end += text.charCodeAt(end) === BACKSLASH ? 2 : 1;
  return end + 1;
}

function unquote(quoted: string): string | undefined {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    const json = quoted.includes("\\x") ? quoted.replace(GO_ESCAPE, toJsonEscape) : quoted;
    return JSON.parse(soundJson(json)) as string;
  } catch {
    return undefined; // the line is text, whole
  }
}

// -- keys to columns, for JSON and logfmt

/**
 * The keys of the loggers that people use, the best first; compared without case and, where they are not written so
 * here, without a leading `@` or `_`. One with a dot may come as an object in an object.
 */
export const KEYS = {
  level:
    "level log.level severity lvl levelname level_name loglevel log_level @l at severity_text severitytext " +
    "severity_label @fields.level level.name level.levelStr record.level.name levelno severity_number severitynumber priority s " +
    "error_severity syslogseverity sev l _meta.logLevelName",
  message:
    "msg message short_message @m event renderedmessage fields.message record.message body body.stringValue output " +
    "@mt messagetemplate log textPayload jsonPayload.message text content m 0",
  time:
    "time timestamp ts @t datetime asctime t eventtime event_time instant timemillis date source_realtime_timestamp " +
    "realtime_timestamp timeunixnano time_unix_nano observedtimeunixnano time_local time_iso8601 t.$date " +
    "record.time.timestamp timereported timestampseconds timestamp.seconds msec isodate _meta.date",
  host:
    "hostname host.hostname host.name host devname machinename computername host_name syslog_hostname sysloghost " +
    "kubernetes.host kubernetes.pod_node_name kubernetes.node.name Properties.MachineName resource.host.name " +
    "resource.attributes.host.name _meta.hostname",
  app:
    "app application service.name name service logger log.logger channel component app_name appname application_name " +
    "applicationname service_name servicename syslog_identifier programname program logger_name loggername " +
    "sourcecontext @module kubernetes.container_name c sourcename kubernetes.container.name app-name _comm " +
    "progname Properties.SourceContext resource.service.name resource.attributes.service.name _meta.name",
};
const COLUMNS = Object.entries(KEYS);
const [MESSAGE_COLUMN, TIME_COLUMN, HOST_COLUMN, APP_COLUMN] = [1, 2, 3, 4]; // numbers in COLUMNS

/** What the meaning of a value depends on, beside its key. */
interface FieldContext {
  times: TimeReader;
  /** All keys of the line. */
  keys: readonly Key[];
  /** Levels from 0 to 7 are syslog's: in GELF, and in journald's export. */
  isSyslogScale: boolean;
}

type FieldReader = (value: unknown, context: FieldContext) => string | number | FoundTime | undefined;

const COLUMN_READERS: readonly FieldReader[] = [
  levelOfField,
  messageOfField,
  (value, { times }) => times.of(value),
  nameOfField,
  (value) => (typeof value === "string" && !isDuration(value) ? nameOfField(value) : undefined),
];

const isDuration = (text: string) => isDigit(text.charCodeAt(0)) && DURATION.test(text);
const DURATION = /^(?:\d+(?:\.\d+)?%?|(?:\d+(?:\.\d+)?(?:[nuµm]?s|m|h))+)$/;
const PYTHON_LEVELS = [100, 100, 200, 300, 400, 500]; // by tens
const OPENTELEMETRY_LEVELS = [100, 100, 200, 300, 400, 600]; // by fours, from 1 on
const MONGO_LEVELS: Record<string, number> = { D: 100, I: 200, W: 300, E: 400, F: 600 };

function openTelemetryLevelOf(value: unknown): number | undefined {
  return typeof value === "number" ? OPENTELEMETRY_LEVELS[Math.floor((value - 1) / 4)] : undefined;
}

const NEXTCLOUD_LEVELS = [100, 200, 300, 400, 600];

const hasKey = (keys: readonly Key[], name: string) => keys.some((key) => key.name === name);

/** Keys with a scale, or a condition, of their own. */
const KEY_READERS: Record<string, FieldReader> = {
  levelno: (value) => (typeof value === "number" ? PYTHON_LEVELS[Math.floor(value / 10)] : undefined),
  severity_number: openTelemetryLevelOf,
  severitynumber: openTelemetryLevelOf,
  priority: (value, context) =>
    context.isSyslogScale ? levelOfField(value, context) : typeof value === "string" ? levelNamed(value) : undefined,
  s: (value) => (typeof value === "string" && value.length <= 2 ? MONGO_LEVELS[value.charAt(0)] : undefined),
  c: (value, { keys }) => (hasKey(keys, "s") && /^[A-Z]+$/.test(String(value)) ? nameOfField(value) : undefined),
  syslogseverity: (value) => SEVERITIES[Number(value)],
  level: (value, context) =>
    typeof value === "number" && value < 5 && hasKey(context.keys, "remoteAddr") && hasKey(context.keys, "app")
      ? NEXTCLOUD_LEVELS[value]
      : levelOfField(value, context),
  l: (value, context) => (hasKey(context.keys, "M") ? levelOfField(value, context) : undefined), // zap's L and M
  m: (value, context) => (hasKey(context.keys, "L") ? messageOfField(value, context) : undefined),
  0: (value, context) => (hasKey(context.keys, "_meta") ? messageOfField(value, context) : undefined), // of tslog
};

/** One of a column's keys. */
interface Place {
  /** The column's number in COLUMNS. */
  column: number;
  /** Lower is better. */
  rank: number;
  read: FieldReader;
  /** The way to the value within that of the first part of a key with dots. */
  path: readonly string[];
}

/** By a key's name, or its first part, in small letters. */
const PLACES = new Map<string, Place[]>();
for (const [column, [, keys]] of COLUMNS.entries())
  for (const [rank, name] of keys.split(" ").entries()) {
    const read = KEY_READERS[name] ?? COLUMN_READERS[column] ?? nameOfField;
    const [outer = "", ...path] = name.split(".");
    addPlace(name, { column, rank, read, path: [] });
    for (let at = 0; at < path.length; at++)
      addPlace(outer, { column, rank, read, path: [...path.slice(0, at), path.slice(at).join(".")] });
  }

function addPlace(name: string, place: Place): void {
  const key = name.toLowerCase();
  PLACES.set(key, [...(PLACES.get(key) ?? []), place]);
}

const NO_PLACES: readonly Place[] = [];

function placesOf(name: string): readonly Place[] {
  const key = name.toLowerCase();
  return PLACES.get(key) ?? PLACES.get(key.replace(/^[@_]+/, "")) ?? NO_PLACES;
}

/** A key, and what its name means. */
interface Key {
  name: string;
  /** The column that it may fill. */
  own: Place | undefined;
  /** Those that may be filled by what is within its value. */
  inner: readonly Place[];
  /** The name with a colon, as in JSON; `@collector` is our notes', and becomes `@@collector`. */
  member: string;
  /** Whether its value is needed; that of any other key is passed over. */
  isRead: boolean;
  isSyslogScale: boolean;
}

const OUR_KEY = /^@+collector$/;
const SYSLOG_SCALE_KEYS = new Set(["short_message", "PRIORITY", "__REALTIME_TIMESTAMP"]);
const SPLIT_TIME_KEYS = new Set(["date", "time", "tz", "timezone"]);
const SHIPPER_KEYS = new Set(["source_type", "agent"]); // of Vector and Filebeat, which put a file's line into `message`
const CONDITION_KEYS = new Set([...SPLIT_TIME_KEYS, ...SHIPPER_KEYS, "remoteAddr"]);

function keyNamed(name: string): Key {
  const places = placesOf(name);
  const isOurs = OUR_KEY.test(name);
  const member = `${quote(isOurs ? `@${name}` : name)}:`;
  const isRead = places.length > 0 || isOurs || CONDITION_KEYS.has(name);
  const own = places.find(({ path }) => path.length === 0);
  const inner = places.filter(({ path }) => path.length > 0);
  return { name, own, inner, member, isRead, isSyslogScale: SYSLOG_SCALE_KEYS.has(name) };
}

const MAX_REMEMBERED_NAMES = 1000;

/** Keys by their names. */
class KeyMemory {
  readonly #keys = new Map<string, Key>();

  named(name: string): Key {
    return this.#keys.get(name) ?? this.#learn(name);
  }

  #learn(name: string): Key {
    const key = keyNamed(detached(name));
    if (this.#keys.size >= MAX_REMEMBERED_NAMES) this.#keys.clear();
    if (name.length <= MAX_KEY) this.#keys.set(key.name, key);
    return key;
  }
}

/** V8's slices from 13 characters on would keep the whole text in memory. */
const detached = (text: string) => (text.length < 13 ? text : Buffer.from(text).toString());

/** A key and its value, or further members of an object. */
interface Field {
  key: Key;
  /** What the line has for it, and where. */
  sent: string;
  start: number;
  value: unknown;
  /** The value as JSON; `undefined` where the format's form makes it of `sent`. */
  json: string | undefined;
  /** Whether it fills a column, and is no attribute. */
  isTaken: boolean;
}

function newField(key: Key, json: string, start: number, sent = json): Field {
  return { key, sent, start, value: key.isRead ? readValue(json) : undefined, json, isTaken: false };
}

/** How a format writes a value that a pattern has found. */
interface ValueForm {
  readonly patternOf: (sent: string) => string;
  readonly jsonOf: (sent: string) => string;
  readonly valueOf: (sent: string) => unknown;
}

/** In the place of a key: members that no column takes. */
const OTHERS: Key = { ...keyNamed(""), member: "" };

const MAX_FIELDS = 128; // further ones are attributes

/** A line but for its values, as a pattern with a group for each field. */
interface Shape {
  pattern: RegExp;
  context: FieldContext;
  /** For each column the numbers of the keys that may fill it, the best first; `undefined` if more must be looked at. */
  places: readonly (readonly number[])[] | undefined;
}

const MAX_SHAPES = 4;
const MAX_SHAPE_FIELDS = 64;
const MAX_SHAPE_SIZE = 16 * KIB;
const MAX_CANDIDATES = 100;
const MAX_MISSED = 16;
const TRIED_EVERY = 16; // lines, where most before had no known shape
const LEARNED_FIRST = 16; // lines of no known shape before one is learned; each time twice as many, as it costs 0.1 ms
const LEARNED_LAST = 16_384;
const SPECIAL = /[\\^$.*+?()[\]{}|]/g; // in a pattern

/** The shapes of lines before: a logger's have the same keys in the same order, and a pattern reads them in one go. */
class ShapeMemory {
  readonly #form: ValueForm;
  readonly #times: TimeReader;
  readonly #shapes: Shape[] = []; // first the one of the line before
  readonly #candidates = new Set<string>(); // patterns of lines that came once
  #wait = 1; // lines of no known shape until one is learned
  #nextWait = LEARNED_FIRST;
  #missed = 0; // lines that had no known shape, less twice those that had
  #lines = 0; // while most have none

  constructor(form: ValueForm, times: TimeReader) {
    this.#form = form;
    this.#times = times;
  }

  /** The layer of a line that has a known shape. */
  layerOf(text: string, context: LineContext): Layer | undefined {
    const isTried = this.#missed < MAX_MISSED || this.#lines++ % TRIED_EVERY === 0;
    if (text.length > MAX_SHAPE_SIZE || !isTried) return undefined;
    for (let index = 0; index < this.#shapes.length; index++) {
      const shape = this.#shapes[index]!;
      const groups = shape.pattern.exec(text);
      if (groups === null) continue;
      this.#missed = Math.max(0, this.#missed - 2);
      if (index > 0) [this.#shapes[0], this.#shapes[index]] = [shape, this.#shapes[0]!];
      if (shape.places !== undefined) return layerOfShape(shape.context, shape.places, groups, this.#form, context);
      return layerOfFields(fieldsOfGroups(shape.context.keys, groups, this.#form), this.#form, context);
    }
    this.#missed = Math.min(MAX_MISSED, this.#missed + 1);
    return undefined;
  }

  /** Makes a shape of the second line that has it. Some loggers have ever new ones: it looks at ever fewer lines. */
  learn(text: string, fields: Field[]): void {
    if (text.length > MAX_SHAPE_SIZE || fields.length > MAX_SHAPE_FIELDS || --this.#wait > 0) return;
    this.#wait = this.#nextWait;
    this.#nextWait = Math.min(2 * this.#wait, LEARNED_LAST);
    let [pattern, end] = ["^", 0];
    for (const { start, sent } of fields) {
      pattern += `${text.slice(end, start).replace(SPECIAL, "\\$&")}(${this.#form.patternOf(sent)})`;
      end = start + sent.length;
    }
    pattern += `${text.slice(end).replace(SPECIAL, "\\$&")}$`;
    if (this.#candidates.delete(pattern)) {
      const context = fieldContext(fields, this.#times);
      this.#shapes.splice(MAX_SHAPES - 1);
      this.#shapes.unshift({ pattern: new RegExp(pattern), context, places: placesOfShape(fields) });
    } else {
      if (this.#candidates.size >= MAX_CANDIDATES) this.#candidates.clear();
      this.#candidates.add(pattern);
    }
  }
}

function nameOfField(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" && value !== "-" && value !== "?" ? value : undefined;
}

/** journald exports a text with control characters, or other bytes, as an array of its bytes. */
function messageOfField(value: unknown, { isSyslogScale }: FieldContext): string | undefined {
  const isBytes = isSyslogScale && Array.isArray(value) && value.every((byte) => byte >= 0 && byte < 256);
  const text = isBytes ? Buffer.from(value).toString() : value;
  return typeof text === "string" ? withoutNewline(text) || undefined : undefined;
}

function withoutNewline(text: string): string {
  let end = text.length;
  while (text.charCodeAt(end - 1) === NEWLINE || text.charCodeAt(end - 1) === RETURN) end--;
  return text.slice(0, end);
}

function levelOfField(value: unknown, { isSyslogScale }: FieldContext): number | undefined {
  if (!isSyslogScale) return levelOf(value);
  return levelOf(value) ?? SEVERITIES.find((_, severity) => value === severity || value === String(severity));
}

function fieldsOfGroups(keys: readonly Key[], groups: string[], { valueOf }: ValueForm): Field[] {
  return keys.map((key, at) => {
    const sent = groups[at + 1]!;
    return { key, sent, start: 0, value: key.isRead ? valueOf(sent) : undefined, json: undefined, isTaken: false };
  });
}

function fieldContext(fields: Field[], times: TimeReader): FieldContext {
  const keys = fields.map(({ key }) => key);
  return { times, keys, isSyslogScale: keys.some((key) => key.isSyslogScale) };
}

/** A shape's `places`: none if a date is in two fields, a column may be filled from within one, or by one key twice. */
function placesOfShape(fields: Field[]): number[][] | undefined {
  const places: number[][] = COLUMNS.map(() => []);
  const rankAt = (at: number) => fields[at]!.key.own!.rank;
  for (const [at, { key, sent }] of fields.entries()) {
    const isContainer = key.isRead && (sent.charCodeAt(0) === BRACE || sent.charCodeAt(0) === BRACKET);
    if (isContainer || key.name === "date") return undefined;
    if (key.own === undefined) continue;
    const rivals = places[key.own.column]!;
    if (rivals.some((rival) => rankAt(rival) === rankAt(at))) return undefined;
    rivals.push(at);
    rivals.sort((one, other) => rankAt(one) - rankAt(other));
  }
  return places;
}

/** Does for a known shape what `layerOfFields` does for any line, without an object for each field. */
function layerOfShape(
  context: FieldContext,
  places: readonly (readonly number[])[],
  groups: (string | undefined)[],
  { valueOf, jsonOf }: ValueForm,
  { outer }: LineContext,
): Layer {
  const { keys } = context;
  const values: unknown[] = [undefined, undefined, undefined, undefined, undefined];
  let messageKey = "";
  for (let column = 0; column < places.length; column++) {
    if (isGivenBy(outer, column)) continue;
    for (const at of places[column]!) {
      const value = keys[at]!.own!.read(valueOf(groups[at + 1]!), context);
      if (value === undefined) continue;
      values[column] = value;
      if (column === MESSAGE_COLUMN) messageKey = keys[at]!.name;
      groups[at + 1] = undefined; // it is no attribute
      break;
    }
  }
  let members = "";
  for (let at = 0; at < keys.length; at++) {
    const sent = groups[at + 1];
    if (sent !== undefined) members = joined(members, keys[at]!.member + jsonOf(sent));
  }
  return layerOfColumns(values, messageKey, members, context);
}

/** The layer of a line's fields; where an envelope gives host and app, such keys are attributes. */
function layerOfFields(fields: Field[], { jsonOf }: ValueForm, { times, outer }: LineContext): Layer {
  const context = fieldContext(fields, times);
  const columns = new FilledColumns();
  for (const { key, value } of fields) {
    const { own, inner, name } = key;
    if (own !== undefined && !isGivenBy(outer, own.column)) columns.offer(own, name, own.read(value, context));
    if (typeof value !== "object") continue;
    for (const place of inner)
      if (!isGivenBy(outer, place.column))
        columns.offer(place, name, place.read(valueWithin(value, place.path), context));
  }
  for (const field of fields) field.isTaken = columns.hasTaken(field.key);
  columns.values[TIME_COLUMN] ??= timeOfTwo(fields, times);
  let members = "";
  for (const { key, sent, json, isTaken } of fields)
    if (!isTaken) members = joined(members, key.member + (json ?? jsonOf(sent)));
  return layerOfColumns(columns.values, columns.names[MESSAGE_COLUMN]!, members, context);
}

function layerOfColumns(
  [level, sent, time, host, app]: unknown[],
  messageKey: string,
  members: string,
  { keys, isSyslogScale }: FieldContext,
): Layer {
  const layer = newLayer(time as FoundTime | undefined);
  layer.level = level as number | undefined;
  layer.message = typeof sent === "string" ? withoutAnsi(sent) : undefined;
  layer.host = host as string | undefined;
  layer.app = app as string | undefined;
  layer.members = members;
  layer.isAltered = layer.message !== sent || (isSyslogScale && layer.message?.includes("\ufffd") === true);
  const isEnvelope = messageKey === "log" || (messageKey === "MESSAGE" && isSyslogScale); // Docker's, journald's
  if (isEnvelope || (messageKey === "message" && level === undefined && isShipped(keys))) layer.body = layer.message;
  return layer;
}

const isShipped = (keys: readonly Key[]) => keys.some(({ name }) => SHIPPER_KEYS.has(name));

/** The columns' values, each with the key and the place that it came from. */
class FilledColumns {
  readonly values: unknown[] = [undefined, undefined, undefined, undefined, undefined];
  readonly names = ["", "", "", "", ""];
  readonly #places: (Place | undefined)[] = [undefined, undefined, undefined, undefined, undefined];

  /** Fills a column unless a better key has; of a key sent twice the last counts, as with JSON.parse. */
  offer(place: Place, name: string, value: unknown): void {
    const { column } = place;
    const rival = this.#places[column];
    if (rival !== undefined && rival.rank < place.rank) return;
    if (value === undefined && (rival !== place || this.names[column] !== name)) return;
    this.#places[column] = value === undefined ? undefined : place;
    this.names[column] = value === undefined ? "" : name;
    this.values[column] = value;
  }

  hasTaken({ name, own }: Key): boolean {
    return own !== undefined && this.#places[own.column] === own && this.names[own.column] === name;
  }
}

const isGivenBy = (outer: Layer | undefined, column: number) =>
  outer !== undefined &&
  ((column === HOST_COLUMN && outer.host !== undefined) || (column === APP_COLUMN && outer.app !== undefined));

function valueWithin(value: unknown, path: readonly string[]): unknown {
  let inner = value;
  for (const part of path) {
    if (typeof inner !== "object" || inner === null) return undefined;
    inner = (inner as Record<string, unknown>)[part];
  }
  return inner;
}

/** Fortinet's `date=2026-11-22 time=10:30:10 tz="+0100"`. */
function timeOfTwo(fields: Field[], times: TimeReader): FoundTime | undefined {
  const date = fields.find(({ key }) => key.name === "date");
  if (date === undefined) return undefined;
  const [time, tz, zone = tz] = ["time", "tz", "timezone"].map((name) => fields.find(({ key }) => key.name === name));
  if (typeof date.value !== "string" || typeof time?.value !== "string") return undefined;
  const found = times.of(`${date.value} ${time.value}${typeof zone?.value === "string" ? ` ${zone.value}` : ""}`);
  if (found !== undefined) date.isTaken = time.isTaken = true;
  return found;
}

// -- text

const LEVEL_REACH = 256; // characters; what stands behind them is no place for a time or a level

/** Text that begins with a time, or has a level where people put one; the message stays the whole line. */
function readText(
  whole: string,
  { times, outer, wordEnd }: LineContext,
  time: FoundTime | undefined,
): Layer | undefined {
  const text = whole.length > LEVEL_REACH ? whole.slice(0, LEVEL_REACH) : whole;
  if (time !== undefined) return layerOfText(levelBehind(text, time.end) ?? levelBehindTwo(text, time, times), time);
  const code = text.charCodeAt(0);
  if (code === PERCENT && outer?.level !== undefined) return undefined; // Cisco's severity is the priority's
  const level = wordEnd > 1 ? levelOfWord(text, wordEnd) : levelInFront(text);
  if (level !== undefined) return layerOfText(level, timeBehindLevel(text, times));
  return wordEnd > 1 && !isClientAt(text, endOfWord(text, wordEnd)) ? undefined : readLateTime(text, times);
}

/** The level behind a second time, as `docker logs -t` and `kubectl logs --timestamps` put theirs in front. */
function levelBehindTwo(text: string, { end, isZoned }: FoundTime, times: TimeReader): number | undefined {
  const at = text.charCodeAt(end + 1);
  if (!isZoned || text.charCodeAt(end) !== SPACE || !(isDigit(at) || isUpper(at) || at === BRACKET)) return undefined;
  const rest = text.slice(end + 1);
  const second = times.inFrontOf(rest, endOfLetters(rest, 0));
  return second === undefined ? readLateTime(rest, times)?.level : levelBehind(rest, second.end);
}

function layerOfText(level: number | undefined, time: FoundTime | undefined): Layer | undefined {
  if (level === undefined && time?.timeUs === undefined) return undefined;
  const layer = newLayer(time);
  layer.level = level;
  return layer;
}

const BETWEEN_LEVEL_AND_TIME =
  /(?:[[(<]? *[A-Za-z]+\d?[\s\])>:|,[(-]+(?:[\w.-]+\][\s|-]*)?|=[A-Z]+ REPORT=+ |[A-Z]+ *\|[^|]{1,64}\| )(?=\d|[A-Z][a-z]{2} )/y;

/** `INFO  [2026-11-22 10:00:00,123] …`, `[INFO] 2026-11-22 10:00:00 …`, `INFO[2026-11-22T10:00:00Z] …`. */
function timeBehindLevel(text: string, times: TimeReader): FoundTime | undefined {
  const at = endOfMatch(BETWEEN_LEVEL_AND_TIME, text, 0);
  return at < 0 ? undefined : times.at(text, at);
}

/** Whether a word that ends at `at` may be a client, or a host with a port and a client behind it. */
const isClientAt = (text: string, at: number) =>
  isDashAt(text, at) || (isDigit(text.charCodeAt(at - 1)) && isDigit(text.charCodeAt(at + 1)));

const KLOG = /([IWEF])(\d{4}|\d\d)?(\d\d)(\d\d) (?=\d\d:\d\d:\d\d(?:\.\d+)? +\d+ )/y;
const REDIS = /(?:\d{1,10}:[XCSM]|\[\d{1,10}\]) (?=\d\d [A-Z])/y;
const REDIS_LEVELS: Record<string, number> = { ".": 100, "-": 100, "*": 250, "#": 300 };
/** Spaces, Ruby's `W, [`, a name and a number (Nest), WebLogic's bracket, Cisco's number, or an access log's client. */
const BEFORE_LATE_TIME = new RegExp(
  [
    String.raw` *\d{1,7}:(?=\d{8}:)|L (?=\d\d\/)|\[#\|(?=\d{4}-)`, // Zabbix, game servers, GlassFish
    String.raw`\[pid: [^\]]{1,99}\] \S{1,64} \([^)]{0,64}\) \{[^}]{1,64}\} \[`, // uWSGI
    String.raw` +(?=\d)|[A-Z], \[|\[[\w.:/-]{1,64}\] (?:\d{1,10} +- )?(?=\d\d)|#*[<("](?=[A-Z][a-z]{2} |\d\d)`,
    String.raw`(?:\d{1,10}: [*.]?|[*.])(?=[A-Z][a-z]{2} )|(?:[^\s[\]]+ ){1,5}\[(?=\d\d?\/)`,
  ].join("|"),
  "y",
);

/** A time behind something: klog's `W1122 10:00:00.000000 7 a.go:7] …`, Redis's `1:M 22 Nov 2026 10:00:00.123 # …`. */
function readLateTime(text: string, times: TimeReader): Layer | undefined {
  const first = text.charCodeAt(0);
  const isPossible =
    first <= LESS_THAN || isDigit(text.charCodeAt(1)) || isDigit(text.charCodeAt(2)) || text.includes("[");
  if (!isPossible) return undefined; // as nearly all prose: the patterns below would walk its first words
  const [part, letter = "", year = "0", month, day] = matchAt(KLOG, text, 0);
  if (part !== undefined) {
    const time = times.clockAt(text, part.length, fullYear(Number(year)), Number(month), Number(day));
    return time?.timeUs === undefined ? undefined : layerOfText(LETTER_LEVELS[letter], time);
  }
  const redis = endOfMatch(REDIS, text, 0);
  const at = redis > 0 ? redis : endOfMatch(BEFORE_LATE_TIME, text, 0);
  const time = at < 0 ? undefined : times.at(text, at);
  if (time === undefined) return undefined;
  return layerOfText(redis > 0 ? REDIS_LEVELS[text.charAt(time.end + 1)] : levelBehind(text, time.end), time);
}

// ---- Levels and times -------------------------------------------------------
// Words and dates as loggers write them. A level is read where people put one, never from the middle of a sentence; a
// wrong time is worse than none, so a time in a zone, or of an order of day and month, that is not certain is none.

const DEFAULT_LEVEL = 200;

/** Monolog's scale, under the names that loggers use. */
export const LEVEL_WORDS: Record<number, string> = {
  100: "trace trce trac verbose verb vrb silly finest finer fine debug debu dbug debg dbg",
  200: "info inf information informational default",
  250: "notice success",
  300: "warn warning wrn",
  400: "error err erro eror fail severe",
  500: "critical crit dpanic",
  550: "alert",
  600: "emergency emerg fatal fata ftl panic pani",
};

/** What a level is called where it is shown. */
export const LEVEL_STEPS = [
  [100, "debug"],
  [200, "info"],
  [250, "notice"],
  [300, "warning"],
  [400, "error"],
  [500, "critical"],
  [550, "alert"],
  [600, "emergency"],
] as const;
/** By name, in small letters and in capitals. */
const LEVELS = new Map(
  Object.entries(LEVEL_WORDS).flatMap(([level, names]) =>
    `${names} ${names.toUpperCase()}`.split(" ").map((name) => [name, Number(level)]),
  ),
);
const MAX_LEVEL_WORD = "informational".length;
const SEVERITIES = [600, 550, 500, 400, 300, 250, 200, 100]; // RFC 5424, section 6.2.1, on Monolog's scale
/** "INFO+2" is slog's, "INFO2" OpenTelemetry's, "[info ]" or "INFO:" a template's. */
const LEVEL_TEXT = /^[ [(<]*(?:([a-z]+)(?:[+-]\d+|\d)?|(\d{1,3}))[ \])>:]*$/i;

/** A level's name in any case, or a number: 10 to 60 as pino and bunyan count, 100 to 600 as Monolog does. */
export function levelOf(value: unknown): number | undefined {
  if (typeof value === "number") return levelOfNumber(value);
  if (typeof value !== "string") return undefined;
  const level = levelNamed(value);
  if (value.length === 1 && isUpper(value.charCodeAt(0))) return LETTER_LEVELS[value];
  if (level !== undefined || value.length > LEVEL_REACH) return level;
  const [, name = "", number] = LEVEL_TEXT.exec(withoutAnsi(value)) ?? [];
  return number === undefined ? levelNamed(name) : levelOfNumber(Number(number));
}

const levelNamed = (name: string) =>
  name.length > MAX_LEVEL_WORD ? undefined : (LEVELS.get(name) ?? LEVELS.get(name.toLowerCase()));

function levelOfNumber(value: number): number | undefined {
  if (!(value >= 10 && value <= 600)) return undefined;
  if (value < 100) return [100, 100, 200, 300, 400, 600][Math.min(Math.floor(value / 10), 6) - 1];
  return SEVERITIES.find((level) => level <= value);
}

// -- where a level stands

/** A letter for a level, as in logcat (`E/Tag`), ESP-IDF (`E (12)`), Telegraf (`E!`), etcd (`E |`) and klog. */
const LETTER_LEVELS: Record<string, number> = {
  V: 100,
  T: 100,
  D: 100,
  I: 200,
  N: 250,
  W: 300,
  E: 400,
  C: 500,
  F: 600,
};

/** What programs write at a line's beginning when something broke; with a third text, that stands behind it. */
export const ALARMS: readonly [start: string, level: number, within?: string][] = [
  ["Fatal error:", 600],
  ["fatal error:", 600],
  ["PHP Fatal error:", 600],
  ["PHP Recoverable fatal error:", 400],
  ["PHP Parse error:", 400],
  ["Parse error:", 400],
  ["PHP Warning:", 300],
  ["PHP Notice:", 250],
  ["PHP Deprecated:", 250],
  ["Fatal Python error:", 600],
  ["Error response from daemon:", 400],
  ["Error from server", 400],
  ["(", 300, "-WARNING **: "],
  ["(", 500, "-CRITICAL **: "],
  ["(", 400, "-ERROR **: "],
  ["thread '", 600, "' panicked at "],
  ["thread '", 600, ") panicked at "],
  ["Exception in thread ", 400],
  ["Traceback (most recent call last)", 400],
  ["Caused by: ", 400],
  ["Uncaught ", 400, "rror"],
  ["Uncaught ", 400, "xception"],
  ["Unhandled exception", 400],
  ["Unhandled Exception", 400],
  ["Unhandled rejection", 400],
  ["Unhandled promise rejection:", 400],
  ["Deprecated: ", 250],
  ["** (", 400, "Error) "],
  ["(EE) ", 400],
  ["(WW) ", 300],
  ["error TS", 400, ": "],
  ["make: *** ", 400],
  ["make[", 400, "]: *** "],
  ["terminate called after throwing ", 600],
  ["npm ERR!", 400],
  ["npm error ", 400],
  ["npm WARN ", 300],
  ["npm warn ", 300],
];
const ALARMS_BY_CODE = Array.from({ length: 128 }, (_, code) =>
  ALARMS.filter(([start]) => start.charCodeAt(0) === code),
);

const SYMBOLS = String.raw`\u2100-\u2bff\ud800-\udfff\ufe0f`; // emoji, arrows, check marks
/** What may stand before a level: `*** ERROR ***`, log4j's ` WARN x`, `❌ Error: x`, `<warn>  [1795341600.1] x`. */
const DECORATION = new RegExp(
  String.raw`[-*>!#=.]{1,8} +|##(?=\[)| (?=[a-z]{4} )|[${SYMBOLS}]{1,8} +(?=[a-z]{3,13}:)|(?=<[a-z]+>(?:: | [ [<]))` +
    String.raw`| \d{1,3}\(\d{1,7}\) (?=[A-Z]{4,8}: )|=(?=[A-Z]+ REPORT=)`, // Kamailio, Erlang
  "iy",
);
const SYMBOL = new RegExp(`^[${SYMBOLS}]`);
const NODE_PREFIX = /\(node:\d+\) (?:\[\w+\] )?/y;

/** The level at the beginning of a text, where no time is. */
function levelInFront(text: string): number | undefined {
  const code = text.charCodeAt(0);
  if (code === BRACKET || code === PERCENT) return levelBehind(text, 0, false);
  const wordEnd = endOfLetters(text, 0);
  if (wordEnd === 1) return letterLevelAt(text, 0, LETTER_IN_FRONT) ?? levelOfWord(text, wordEnd);
  if (wordEnd > 0 || code === UNDERSCORE || code === SLASH) return levelOfWord(text, wordEnd);
  if (isDigit(code)) return undefined;
  if (code !== PARENTHESIS) return levelAt(text, endOfMatch(DECORATION, text, 0), false) ?? levelOfAlarm(text, 0);
  const end = endOfMatch(NODE_PREFIX, text, 0);
  return end < 0 ? (levelAt(text, 0, false) ?? levelOfAlarm(text, 0)) : levelInFront(text.slice(end));
}

/** The level of a text that begins with a word: of the word, of an alarm, or of the word behind a dash. */
function levelOfWord(text: string, lettersEnd: number): number | undefined {
  const level = levelOfLetters(text, 0, lettersEnd) ?? levelOfAlarm(text, 0);
  if (level !== undefined) return level;
  const end = endOfWord(text, lettersEnd);
  return isDashAt(text, end) ? levelAt(text, end + 3, false) : levelOfThrown(text, 0, end);
}

const isDashAt = (text: string, at: number) => text.charCodeAt(at + 1) === DASH && text.charCodeAt(at + 2) === SPACE;

/** The level of an {@link ALARMS alarm} at `at`. */
function levelOfAlarm(text: string, at: number): number | undefined {
  for (const [start, level, within = ""] of ALARMS_BY_CODE[text.charCodeAt(at)] ?? [])
    if (text.startsWith(start, at) && text.includes(within)) return level;
  return undefined;
}

/** `ValueError: x`, `KeyError (x):`, `DeprecationWarning: x`, or what stands behind a file's line or a name. */
function levelOfThrown(text: string, at: number, end: number): number | undefined {
  const hasColon = text.charCodeAt(end - 1) === COLON;
  const isOfRails = text.charCodeAt(end + 1) === PARENTHESIS && text.endsWith("):");
  if (!hasColon && !isOfRails && end < text.length) return text.endsWith("Error)") && RUBY.test(text) ? 400 : undefined;
  const name = text.slice(at, hasColon ? end - 1 : end);
  if (name.endsWith("Error") || name.endsWith("Exception")) return 400;
  if (name.endsWith("Warning")) return 300;
  if (!hasColon) return undefined;
  const level = isUpper(name.charCodeAt(name.length - 1))
    ? LEVELS.get(name.slice(name.lastIndexOf(".") + 1))
    : undefined;
  if (level !== undefined) return level; // behind Monolog's channel
  return POSITION.test(name) ? levelInFront(text.slice(end + 1)) : levelBehindName(text, end + 1);
}

/** The level of a word with a colon, or in brackets, behind a name with a colon: `gcc: error: x`, `nginx: [warn] x`. */
function levelBehindName(text: string, at: number): number | undefined {
  if (text.charCodeAt(at) === BRACKET) return levelAt(text, at, false);
  const end = endOfLetters(text, at);
  return text.charCodeAt(end) === COLON ? levelOfLetters(text, at, end) : undefined;
}

const POSITION = /:\d+$|\(\d+,\d+\)$/; // in a file
const RUBY = /^[^\s:]+:\d+:in /; // `a.rb:7:in 'x': y (NoMethodError)`

/** What people put between a time and a level; six of them at most. */
const SKIPPED = new RegExp(
  [
    String.raw`(?:(?:"[^"]*"|[^",]*),){1,12}(?=[A-Z]{3,7}\d?,[\dA-Z]{5},)`, // PostgreSQL's csvlog
    String.raw`\[(?:[\w.-]*[:#]|ID \d+ \w+\.)(?=[a-z]+\d?\])`, // a module, or a number and a facility, in brackets
    String.raw`\[[^\]]*[/:](?=[A-Z]{3,13}[\]:])`, // a module or a thread in the level's brackets
    String.raw`\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|<[^>]*>`,
    String.raw`#?\d+(?:\.\d+%)?(?=[\s\]|])|[\w.-]*\d[\w.-]*(?=[\s|])`, // a number, or a name with digits
    String.raw`[\w.-]+=\S+`,
    String.raw`[^\s[\]]+(?= +[-|] )|[^\s[\]|;]+(?=[|;])`, // a name before a dash or a bar
    String.raw`[\w:-]+[.)](?=[A-Z]+:)`, // Monolog's channel; ESXi's processor and world
    String.raw`[\w./-]+:\d+:[\w.]+\(\)(?= \[)|\w+\[[\da-f]{8,16}\] [a-z]{3}(?= \[)`, // Gitea's function; Fly's region
    String.raw`(?:[\w-]+ )?pid \d+:(?= [A-Z]+:)|\d+:(?= [a-z]+ : )`, // pgpool, libvirt
    String.raw`[\w./-]+(?=\[[A-Z]+\]: |\t[a-z]+\t)`, // cloud-init, Prosody
    String.raw`[\w.$]+(?= +[WEF] +[A-Z]{4,5}\d{4}[A-Z]:)`, // WebSphere
    String.raw`[^\s@[\]]+@[^\s@[\]]+(?= )|[\w.-]+\[[^\]]*\]:?(?= )`, // PostgreSQL's user@database
    String.raw`(?:main|MainThread|root|(?=[\w$-]+[./:_-][\w$-])[\w$-]+(?:[./:][\w$-]+)*):?(?= +[A-Z[])|[\w.-]+:(?= +\w+:)|[^\s[\]]+:(?=\[)`, // a logger
  ].join("|"),
  "y",
);
const MAX_SKIPPED = 6;
const BEFORE_LEVEL = new RegExp(String.raw`[\s\]|,:;)>}*#${SYMBOLS}-]*`, "y");

/** The level at `start`, or behind what may be skipped. */
function levelBehind(text: string, start: number, isBehindTime = true): number | undefined {
  let at = start;
  for (let step = 0; step <= MAX_SKIPPED && at >= 0; step++) {
    while (text.charCodeAt(at) === SPACE) at++;
    if (!isLetter(text.charCodeAt(at))) at = endOfMatch(BEFORE_LEVEL, text, at);
    const level = levelAt(text, at, isBehindTime && step === 0);
    if (level !== undefined) return level;
    if (text.charCodeAt(at) === PERCENT) return SEVERITIES[Number(matchAt(CISCO_LEVEL, text, at)[1])];
    const letter = step === 0 ? LETTER_BEHIND_TIME : LETTER_BEHIND_NUMBERS;
    const letterLevel = isBehindTime ? letterLevelAt(text, at, letter) : undefined;
    if (letterLevel !== undefined) return letterLevel;
    const alarm =
      step === 0 && isBehindTime ? (levelOfAlarm(text, at) ?? levelOfThrown(text, at, endOfWord(text, at))) : undefined;
    if (alarm !== undefined) return alarm;
    at = endOfMatch(SKIPPED, text, at);
  }
  return undefined;
}

const CISCO_LEVEL = /%[A-Z\d_-]+-([0-7])-[A-Z\d_]+:/y;
const LETTER_IN_FRONT = /[VDIWEF](?:\/[\w.$-]{1,64} *(?:\( *\d+\))?: |! | \(\d+\) | (?=\[\d\d\/))|[EW]: /y;
const LETTER_BEHIND_TIME =
  /[VDIWEF]\/[\w.$-]{1,64} *\( *\d+\): |[IWEF] (?=[\w./-]+:\d+\] )|[TDIWEFCN] (?:\| | *(?=[A-Z-]|\[\S+:))|[DIWE]! /y;
const LETTER_BEHIND_NUMBERS = /[VDIWEF] /y;

const letterLevelAt = (text: string, at: number, pattern: RegExp) =>
  isUpper(text.charCodeAt(at)) && endOfMatch(pattern, text, at) > 0 ? LETTER_LEVELS[text.charAt(at)] : undefined;

/** A level's word at `at`, within brackets or not. `isLoose`: right behind a time. */
function levelAt(text: string, at: number, isLoose: boolean): number | undefined {
  const isOpen = isOpening(text.charCodeAt(at));
  const start = isOpen ? endOfSpace(text, at + 1) : at;
  const end = endOfLetters(text, start);
  if (end === start + 1 && isOpen)
    return endOfMatch(LETTER_IN_BRACKETS, text, end) > 0 ? LETTER_LEVELS[text.charAt(start)] : undefined;
  const level = levelOfLetters(text, start, end, isOpen);
  if (level !== undefined || !isLoose) return level;
  return endOfMatch(LOOSE_LEVEL, text, at) > 0 ? levelNamed(text.slice(start, end)) : undefined;
}

/** The level of a word of letters: in capitals, or in any case where a mark follows. */
function levelOfLetters(text: string, start: number, lettersEnd: number, isOpen = false): number | undefined {
  const length = lettersEnd - start;
  if (length < 3 || length > MAX_LEVEL_WORD) return undefined;
  const end = length > 4 && isDigit(text.charCodeAt(lettersEnd)) ? lettersEnd + 1 : lettersEnd; // DEBUG2, trace3
  if (isMarkedAt(text, end, isOpen)) return levelNamed(text.slice(start, lettersEnd));
  const isCapital = isUpper(text.charCodeAt(start + 1)) && isEndOfCapitals(text, end);
  return isCapital ? LEVELS.get(text.slice(start, lettersEnd)) : levelBeforeCode(text, start, lettersEnd, end);
}

function levelBeforeCode(text: string, start: number, lettersEnd: number, end: number): number | undefined {
  const isBeforeWord = text.charCodeAt(end) === SPACE && isLower(text.charCodeAt(end + 1));
  if (isBeforeWord || endOfMatch(CODE_BEHIND_LEVEL, text, end) < 0) return undefined;
  return levelNamed(text.slice(start, lettersEnd));
}

const isOpening = (code: number) => code === BRACKET || code === PARENTHESIS || code === LESS_THAN || code === BRACE;
/** `[E][wifi:7]`, Tornado's `[E 261122 10:00:00 web:1]`, qBittorrent's `(W) 2026-11-22T10:00:00`. */
const LETTER_IN_BRACKETS = /\](?=[[\s])| (?=\d)|\) (?=\d{4}-)/y;
/** rustc's `error[E0308]:`, MSBuild's `error CS1002:`, Mattermost's `error [2026-11-22 …`. */
const CODE_BEHIND_LEVEL = /(?:\[\w{1,16}\]|\([\w.-]{2,64}\)| [A-Z]{2,6}\d{2,5}| (?=: )):| \[\d{4}-/y;
/** A word right behind a time is a level where it is padded, or where a name with a colon follows. */
const LOOSE_LEVEL = /[A-Za-z]{3,13}(?=\s{2}|[,;]|\/[A-Z][a-z]| [-|] | \[[a-z])|[a-z]{3,13}(?= [\w.[\]-]{1,64}: )/y;

function isMarkedAt(text: string, at: number, isOpen: boolean): boolean {
  const code = text.charCodeAt(at);
  if (code === COLON) return text.charCodeAt(at + 1) !== COLON;
  if (code === TAB || code === BAR || (isOpen && code === SLASH)) return true;
  const next = code <= SPACE ? text.charCodeAt(endOfSpace(text, at)) : code;
  return next === BRACKET_END || (isOpen && (next === PARENTHESIS + 1 || next === GREATER_THAN || next === BRACE_END));
}

/** Whether a level in capitals may end here: `ERRO[0012]`, `ERR!`, `*ERROR*`. */
const isEndOfCapitals = (text: string, at: number) =>
  isEndOfWord(text, at) || CAPITALS_END.has(text.charCodeAt(at)) || isSqlStateAt(text, at);
const CAPITALS_END = new Set([BRACKET, BANG, STAR]);

/** Whether a code follows a comma, as in PostgreSQL's csvlog. */
const isSqlStateAt = (text: string, at: number) => text.charCodeAt(at) === COMMA && endOfMatch(SQL_STATE, text, at) > 0;
const SQL_STATE = /,[\dA-Z]{5},/y;

// -- times

/** A time in a text. */
interface FoundTime {
  /** µs since 1970; `undefined` where there is no date, or where it or its zone is not certain. */
  timeUs: number | undefined;
  /** Where the text goes on. */
  end: number;
  /** Whether it is more than a time of day. */
  isDated: boolean;
  /** Whether the text names its zone. */
  isZoned: boolean;
}

/** What an envelope's body tells of the time wins, unless it alone leaves its zone open. */
function laterTime(outer: FoundTime | undefined, inner: FoundTime | undefined): FoundTime | undefined {
  if (inner?.timeUs === undefined) return outer;
  return outer?.timeUs === undefined || inner.isZoned || !outer.isZoned ? inner : outer;
}

/**
 * Dates as programs write them before a time of day, the best first: Y, M, D for the year, month and day in digits (one
 * D: one or two), Mon and Www for names, h, m, s for times of day without colons.
 */
export const DATES: readonly [form: string, example: string, writers: string][] = [
  ["YYYY-MM-DD", "2026-11-22T10:00:00.123Z", "RFC 3339, ISO 8601 and most loggers"],
  ["YYYY/MM/DD", "2026/11/22 10:00:00", "nginx, Go"],
  ["YYYY.MM.DD", "2026.11.22 10:00:00", "SonarQube"],
  ["Mon D", "Nov 22 10:00:00", "syslog; the most recent such day"],
  ["Mon D YYYY", "Nov 22 2026 10:00:00", "Cisco ASA"],
  ["Mon D, YYYY", "Nov 22, 2026 10:00:00 AM", "java.util.logging"],
  ["YYYY Mon D", "2026 Nov 22 10:00:00", "Cisco NX-OS"],
  ["Www Mon D", "Sun Nov 22 10:00:00 2026", "Apache's error log, OpenVPN, date"],
  ["Www D Mon", "Sun 22 Nov 10:00:00 UTC 2026", "date"],
  ["Www YYYY-MM-DD", "Sun 2026-11-22 10:00:00 UTC", "journalctl -o short-full"],
  ["Www Mon D YYYY", "Sun Nov 22 2026 10:00:00 GMT+0100", "JavaScript"],
  ["Www D Mon YYYY", "Sun 22 Nov 2026 10:00:00 AM UTC", "date"],
  ["Www, D Mon YYYY", "Sun, 22 Nov 2026 10:00:00 GMT", "RFC 5322, HTTP"],
  ["Www, Mon D, YYYY", "Sunday, November 22, 2026 10:00:00 AM", "PowerShell"],
  ["DD/Mon/YYYY", "22/Nov/2026:10:00:00 +0000", "access logs"],
  ["DD-Mon-YYYY", "22-Nov-2026 10:00:00.123", "Tomcat, PHP, BIND"],
  ["DD-Mon-YY", "22-Nov-26 10:00:00", "Python programs, Oracle"],
  ["D Mon YYYY", "22 Nov 2026 10:00:00.123", "Redis"],
  ["D Mon", "22 Nov 10:00:00.123", "Redis before 4"],
  ["DD.MM.YYYY", "22.11.2026 10:00:00", "German programs"],
  ["DD.MM.YY", "22.11.26 10:00:00", "German programs; none where the other order makes it a day of the last year"],
  ["DD-MM-YYYY", "22-11-2026 10:00:00", "European programs; none where it could be either order"],
  ["MM/DD/YYYY:", "11/22/2026:10:00:00", "NetScaler"],
  ["MM/DD/YYYY-", "11/22/2026-10:00:00.123456", "Suricata"],
  ["MM/DD-", "11/22-10:00:00.123456", "Snort"],
  ["MM/DD/YYYY", "11/22/2026 10:00:00 AM", "American programs, and with the day first; none where it could be either"],
  ["MM/DD/YY", "11/22/26 10:00:00:123", "WebSphere, before milliseconds behind a colon; none where it could be either"],
  ["YY/MM/DD", "26/11/22 10:00:00", "Spark, Hadoop; none where the other order makes it a day of the last year"],
  ["YYMMDD", "261122 10:00:00", "MySQL 5, Tornado, CockroachDB"],
  ["YYMMDD hhmmss", "261122 100000", "HDFS"],
  ["YYYYMMDD", "20261122 10:00:00", "glog and others"],
  ["YYYYMMDDThhmmss", "20261122T100000Z", "ISO 8601, basic"],
  ["YYYYMMDD hhmmss", "20261122 100000", "programs of many kinds"],
  ["YYYYMMDD-hhmmss", "20261122-100000", "programs of many kinds"],
  ["YYYYMMDD:hhmmss", "20261122:100000.123", "Zabbix"],
  ["YYYY-MM-DD-hh.mm.ss", "2026-11-22-10.00.00.123456", "DB2"],
  ["YYYY.MM.DD-hh.mm.ss", "2026.11.22-10.00.00:123", "Unreal Engine"],
  ["MM-DD", "11-22 10:00:00.123", "Android's logcat"],
];

/** Offsets from UTC in minutes, under the names that mean one zone to most of those who write them (RFC 5322, 4.3). */
export const ZONES: Record<string, number> = {
  ...{ UTC: 0, GMT: 0, UT: 0, Z: 0, WET: 0, WEST: 60, BST: 60, CET: 60, CEST: 120, MEZ: 60, MESZ: 120 },
  ...{ EET: 120, EEST: 180, MSK: 180, TRT: 180, SAST: 120, CAT: 120, EAT: 180, WAT: 60 },
  ...{ EST: -300, EDT: -240, CST: -360, CDT: -300, MST: -420, MDT: -360, PST: -480, PDT: -420 },
  ...{ AKST: -540, AKDT: -480, HST: -600, NST: -210, NDT: -150, BRT: -180 },
  ...{ JST: 540, KST: 540, HKT: 480, SGT: 480, WIB: 420, PKT: 300, AWST: 480 },
  ...{ ACST: 570, ACDT: 630, AEST: 600, AEDT: 660, NZST: 720, NZDT: 780 },
};
/** Names that mean several zones, or none that is certain: behind a time they make it none. */
const UNCERTAIN_ZONES = new Set(
  (
    "ADT ALMT AMST AMT AST BDT CHST CLST CLT COT GST ICT IDT IRDT IRKT IRST IST KRAT LMT MAGT MMT MYT NOVT NPT PHT " +
    "PYT SST TZ UYT UZT VET VLAT YAKT YEKT ET CT MT PT"
  ).split(" "),
);

const MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");
const DAYS = "sun mon tue wed thu fri sat".split(" ");
const DATE_PARTS: Record<string, string> = {
  YYYY: String.raw`((?:19|20)\d\d)`,
  YY: String.raw`(\d\d)`,
  MM: String.raw`(\d\d)`,
  DD: String.raw`(\d\d)`,
  D: String.raw` ?(\d\d?)`,
  Mon: `(${MONTHS.join("|")})(?:(?=[a-z])(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember))?`,
  Www: `(?:${DAYS.join("|")})(?:(?=[a-z])(?:day|sday|nesday|rsday|urday))?`,
  hh: String.raw`(\d\d)`,
  mm: String.raw`(\d\d)`,
  ss: String.raw`(\d\d)`,
};
const DATE_TOKEN = /YYYY|YY|MM|Mon|DD|D|Www|hh|mm|ss/g;
const BEFORE_CLOCK_ALONE = String.raw`(?=\d\d?:\d\d)`;
const BEFORE_CLOCK = `(?:[Tt]|,? +| - |[_-])${BEFORE_CLOCK_ALONE}`;
const BEFORE_CLOCK_OF_YEAR = `(?:[Tt\\t]|,? +(?:at )?| - |[_-]|:{1,2})${BEFORE_CLOCK_ALONE}`;
const BEFORE_CLOCK_OF_WEBSPHERE = String.raw`,? (?=\d\d?:\d\d:\d\d:\d)`;

/** A date's pattern, with a group for each of its parts but the day of the week; `parts` names them. */
const DATE_FORMS = DATES.map(([form]) => {
  const parts = (form.match(DATE_TOKEN) ?? []).filter((part) => part !== "Www");
  const date = form.replaceAll(".", "\\.").replace(DATE_TOKEN, (part) => DATE_PARTS[part] ?? part);
  const shortBefore = form === "MM/DD/YY" ? BEFORE_CLOCK_OF_WEBSPHERE : BEFORE_CLOCK;
  const before = form.includes("YYYY") ? BEFORE_CLOCK_OF_YEAR : shortBefore;
  const behind = form.includes("hh") ? String.raw`(?!\d)` : /[:-]$/.test(form) ? BEFORE_CLOCK_ALONE : before;
  return {
    form,
    parts,
    pattern: new RegExp(date + behind, "iy"),
    digits: /^[MW][a-z]/.test(form) ? [0] : digitsOf(form),
  };
});
/** The forms by the number of digits that they begin with. */
const FORMS_BY_DIGITS = Array.from({ length: 9 }, (_, count) =>
  DATE_FORMS.filter(({ digits }) => digits.includes(count)),
);

/** How many digits a date of a form may begin with. */
function digitsOf(form: string): number[] {
  const count = /^[YMD]+(?:(?<=DD)hhmmss)?/.exec(form)?.[0].length ?? 0;
  return count === 1 ? [1, 2] : [count];
}

/** Months and days of the week as numbers, as they are looked up for each line that begins with a capital. */
const MONTH_CODES = MONTHS.map((name) => nameCode(name, 0));
const NAME_CODES = new Set([...MONTH_CODES, ...DAYS.map((name) => nameCode(name, 0))]);

/** Three letters as a number, in any case. */
function nameCode(text: string, at: number): number {
  return codeOfLetters(text.charCodeAt(at), text.charCodeAt(at + 1), text.charCodeAt(at + 2));
}

const isNameAt = (bytes: Buffer, at: number) =>
  NAME_CODES.has(codeOfLetters(bytes[at]!, bytes[at + 1]!, bytes[at + 2]!));

function codeOfLetters(one: number, two: number, three: number): number {
  return (one << 16) | (two << 8) | three | 0x202020;
}

/** Numbers below 100,000,000 are durations or counters rather than times before 1973. */
function timeOfEpoch(value: number): FoundTime | undefined {
  if (!(value >= 1e8 && value < 1e20)) return undefined;
  const timeUs = Math.round(
    value < 1e11 ? value * 1e6 : value < 1e14 ? value * 1e3 : value < 1e17 ? value : value / 1e3,
  );
  return { timeUs, end: 0, isDated: true, isZoned: true };
}

const MAX_TIME = 80; // characters
const ISO_MINUTE = "2026-11-22T10:00:".length;
const EPOCH = /^\d{9,19}(?:\.\d+)?$/;
const EPOCH_IN_FRONT = /\d{10}(\.\d{1,9})?(?=([\]\s:]|$))/y;
const HALF_OF_DAY = /\s?[ap](?:m|\.\s?m\.)(?!\w)/iy; // also behind a narrow space, as Java 20 writes it
const YEAR_BEHIND = / ((?:19|20)\d\d)(?=[\s\]]|:(?!\w)|$)/y;
const ZONE_OFFSET = / ?([+-])(\d\d)(?::?([0-5]\d))?(?![\w.]|:\S)/y;
const UTC_OFFSET = /([+-])(\d\d?)(?::?(\d\d))?(?![\w:])/y;
const ZONE_PLACE = /([A-Z][A-Za-z]+(?:\/[A-Z][\w+-]+){1,2}|[A-Z]{3}\d[A-Z]{3})(?![\w/])/y;
/** Behind an offset: the zone's name, the offset again, the place, and Go's monotonic clock. */
const BEHIND_OFFSET =
  /(?: ([A-Z]{2,5}|[+-]\d{2,4})(?![\w/]))?(?:\[[A-Z]\w*(?:\/[\w+-]+)*\](?!\S)| \([A-Z][A-Za-z ]+\))?(?: m=[+-][\d.]+)?/y;

/** Offset from UTC in ms, NaN where it is not certain, and where the text goes on. */
interface FoundZone {
  offsetMs: number;
  end: number;
}

/** Reads times. It remembers the minute, the day, the year and the hour of the one before. */
export class TimeReader {
  /** When the line was received, by which a date without a year is told. */
  nowMs = 0;
  readonly #local: Zone;
  readonly #places = new Map<string, Zone | undefined>();
  #day = { key: 0, ms: Number.NaN };
  #latest = { day: 0, year: 0 };
  #minute = { text: "\n", year: 0, month: 0, day: 0, clock: 0, utcMs: 0 };

  constructor(timezone?: string) {
    this.#local = new Zone(timezone);
  }

  /** A field's time: an epoch (s, ms, µs or ns by its size), a date as text, or log4j2's or Monolog's object. */
  of(value: unknown): FoundTime | undefined {
    if (typeof value === "number") return timeOfEpoch(value);
    if (typeof value === "object" && value !== null) return this.#ofObject(value as Record<string, unknown>);
    if (typeof value !== "string" || value.length > MAX_TIME) return undefined;
    const found = this.at(value, 0);
    if (found?.end === value.length) return found.timeUs === undefined ? undefined : found;
    return EPOCH.test(value) ? timeOfEpoch(Number(value)) : undefined;
  }

  #ofObject({ epochSecond, nanoOfSecond, date, timezone }: Record<string, unknown>): FoundTime | undefined {
    if (typeof date === "string") return this.of(typeof timezone === "string" ? `${date} ${timezone}` : date);
    if (typeof epochSecond !== "number" || typeof nanoOfSecond !== "number") return undefined;
    return timeOfEpoch(epochSecond + Math.floor(nanoOfSecond / 1000) / 1e6);
  }

  /** The time that a line begins with, in a bracket or not; `wordEnd` is where the letters end that it begins with. */
  inFrontOf(text: string, wordEnd: number): FoundTime | undefined {
    const code = text.charCodeAt(0);
    if (isDigit(code)) return this.at(text, 0);
    if (code === BRACKET) return this.at(text, 1);
    if (wordEnd < 3 || !isUpper(code)) return undefined;
    const mark = text.charCodeAt(wordEnd);
    const mayBeName = mark === COMMA || (mark === SPACE && (wordEnd === 3 || !isLetter(text.charCodeAt(wordEnd + 1))));
    return mayBeName && NAME_CODES.has(nameCode(text, 0)) ? this.at(text, 0) : undefined;
  }

  /** The time at `at`; one of day alone has no `timeUs`. */
  at(text: string, at: number): FoundTime | undefined {
    const minute = this.#minute;
    if (text.startsWith(minute.text, at)) {
      const { year, month, day, clock, utcMs } = minute;
      const seconds = twoDigits(text, at + ISO_MINUTE) * SECOND;
      const end = at + ISO_MINUTE + 2;
      if (seconds < MINUTE)
        return utcTimeAt(text, end, utcMs + seconds) ?? this.#finish(text, end, year, month, day, clock + seconds);
    }
    const mark = text.charCodeAt(at + 4);
    const isIso = (mark === DASH || mark === SLASH) && text.charCodeAt(at + 7) === mark;
    if (isIso && text.charCodeAt(at + 13) === COLON && isDigit(text.charCodeAt(at + 11))) {
      const between = text.charCodeAt(at + 10);
      const year = twoDigits(text, at) * 100 + twoDigits(text, at + 2);
      if (year >= 100 && (between === SPACE || (between | SPACE) === LOWER_T)) {
        const [month, day] = [twoDigits(text, at + 5), twoDigits(text, at + 8)];
        const clock = clockMs(twoDigits(text, at + 11), twoDigits(text, at + 14), 0);
        const utcMs = this.#dayMs(year, month, day) + clock;
        if (text.charCodeAt(at + 16) === COLON && !Number.isNaN(utcMs))
          this.#minute = { text: detached(text.slice(at, at + ISO_MINUTE)), year, month, day, clock, utcMs };
        return this.clockAt(text, at + 11, year, month, day);
      }
    }
    const digits = endOfDigits(text, at, at + 11) - at;
    const bsd = digits === 0 ? this.#bsdAt(text, at) : undefined;
    if (bsd !== undefined) return bsd;
    if (digits > 0 && digits <= 2 && text.charCodeAt(at + digits) === COLON) return this.clockAt(text, at, 0, 0, 0);
    for (const { form, parts, pattern } of FORMS_BY_DIGITS[digits] ?? []) {
      const groups = matchAt(pattern, text, at);
      if (groups.length > 0) return this.#ofForm(form, parts, groups, text, at + (groups[0]?.length ?? 0));
    }
    return digits === 10 ? epochAt(text, at, false) : undefined;
  }

  /** A date with its time, or an epoch, behind a syslog priority. */
  ofSyslogAt(text: string, at: number): FoundTime | undefined {
    const found = this.at(text, at) ?? epochAt(text, at, true);
    if (found === undefined || !found.isDated) return undefined;
    return isEndOfWord(text, found.end) || text.charCodeAt(found.end) === COLON ? found : undefined;
  }

  /** `Nov 22 10:00:00`, as nearly all of syslog has it. */
  #bsdAt(text: string, at: number): FoundTime | undefined {
    const dayAt = text.charCodeAt(at + 4) === SPACE ? at + 5 : at + 4;
    const clockAt = text.charCodeAt(dayAt + 1) === SPACE ? dayAt + 2 : dayAt + 3;
    if (text.charCodeAt(at + 3) !== SPACE || text.charCodeAt(clockAt - 1) !== SPACE) return undefined;
    const month = MONTH_CODES.indexOf(nameCode(text, at)) + 1;
    const day = clockAt === dayAt + 3 ? twoDigits(text, dayAt) : text.charCodeAt(dayAt) - ZERO;
    return month > 0 && text.charCodeAt(clockAt + 2) === COLON ? this.clockAt(text, clockAt, 0, month, day) : undefined;
  }

  #ofForm(form: string, parts: string[], groups: (string | undefined)[], text: string, end: number) {
    const part = (name: string) => {
      const at = parts.indexOf(name);
      return at < 0 ? undefined : Number(groups[at + 1]);
    };
    const name = groups[parts.indexOf("Mon") + 1] ?? "";
    let year = part("YYYY") ?? fullYear(part("YY") ?? 0);
    let month = parts.includes("Mon") ? MONTHS.indexOf(name.toLowerCase()) + 1 : (part("MM") ?? 0);
    let day = part("DD") ?? part("D") ?? 0;
    if (form === "MM/DD/YYYY" || form === "MM/DD/YY" || form === "DD-MM-YYYY") {
      if (month > 12) [month, day] = [day, month];
      else if (day <= 12 && day !== month) day = Number.NaN;
    }
    const isEither = form === "YY/MM/DD" || form === "DD.MM.YY";
    if (isEither && !this.#isRecent(year, month, day) && this.#isRecent(2000 + day, month, year - 2000))
      year = Number.NaN;
    if (!parts.includes("hh")) return this.clockAt(text, end, year, month, day);
    return this.#finish(text, end, year, month, day, clockMs(part("hh") ?? 0, part("mm") ?? 0, part("ss") ?? 0));
  }

  /** Whether a day is within a year before the line's receipt. */
  #isRecent(year: number, month: number, day: number): boolean {
    const age = this.nowMs - this.#dayMs(year, month, day);
    return age > -2 * DAY && age < 366 * DAY;
  }

  /** The time of day at `at`, of a day that stands before it; a `year` of 0 is none, and a `month` of 0 no day. */
  clockAt(text: string, at: number, year: number, month: number, day: number): FoundTime | undefined {
    const hourEnd = isDigit(text.charCodeAt(at + 1)) ? at + 2 : at + 1;
    const hours = hourEnd === at + 2 ? twoDigits(text, at) : text.charCodeAt(at) - ZERO;
    const minutes = twoDigits(text, hourEnd + 1);
    const hasSeconds = text.charCodeAt(hourEnd + 3) === COLON;
    const seconds = hasSeconds ? twoDigits(text, hourEnd + 4) : 0;
    if (text.charCodeAt(hourEnd) !== COLON || Number.isNaN(minutes + seconds)) return undefined;
    const found = this.#finish(
      text,
      hourEnd + (hasSeconds ? 6 : 3),
      year,
      month,
      day,
      clockMs(hours, minutes, seconds),
    );
    return hasSeconds || found === undefined || endOfMatch(BEHIND_MINUTES, text, found.end) >= 0 ? found : undefined;
  }

  /** Reads what stands behind a time of day: fraction, half of the day, zone, and the year where it comes last. */
  #finish(text: string, at: number, year: number, month: number, day: number, clock: number): FoundTime | undefined {
    const isPointed = text.charCodeAt(at) === DOT || text.charCodeAt(at) === COMMA;
    const fractionEnd = isPointed ? endOfDigits(text, at + 1, at + MAX_FRACTION) : endOfMatch(COLON_MILLIS, text, at);
    const halfAt = fractionEnd > at + 1 ? fractionEnd : at;
    const half = halfOfDayAt(text, halfAt);
    const zone = this.#zoneAt(text, half?.end ?? halfAt, year, month, day);
    let end = zone?.end ?? half?.end ?? halfAt;
    const mayHaveYear = year === 0 && month > 0 && isDigit(text.charCodeAt(end + 1));
    const [yearPart = "", yearBehind = year] = mayHaveYear ? matchAt(YEAR_BEHIND, text, end) : [];
    end += yearPart.length;
    if (isWordCode(text.charCodeAt(end)) || (zone === undefined && endOfMatch(MORE_DIGITS, text, end) > 0))
      return undefined;
    if (month === 0) return { timeUs: undefined, end, isDated: false, isZoned: false };
    const inDay = half === undefined || clock >= 13 * HOUR ? clock : (clock % (12 * HOUR)) + half.startMs;
    const localMs = this.#dayMs(Number(yearBehind), month, day) + inDay;
    const offsetMs = zone?.offsetMs ?? (isSignedAt(text, end) ? Number.NaN : this.#local.offsetAt(localMs));
    const micros = fractionEnd > at + 1 ? microsOf(text, at + 1, fractionEnd) : 0;
    const timeUs = (localMs - offsetMs) * 1000 + micros;
    return { timeUs: Number.isNaN(timeUs) ? undefined : timeUs, end, isDated: true, isZoned: zone !== undefined };
  }

  #zoneAt(text: string, at: number, year: number, month: number, day: number): FoundZone | undefined {
    const code = text.charCodeAt(at);
    if ((code | SPACE) === LOWER_Z && !isWordCode(text.charCodeAt(at + 1))) return { offsetMs: 0, end: at + 1 };
    const first = code === SPACE ? text.charCodeAt(at + 1) : code;
    if (first === PLUS || first === DASH) return offsetZoneAt(text, at);
    if (!isUpper(first)) return undefined;
    const start = code === SPACE ? at + 1 : at;
    let end = start + 1;
    while (isUpper(text.charCodeAt(end))) end++;
    const next = text.charCodeAt(end);
    const place = isWordCode(next) || next === SLASH ? this.#placeAt(text, start, year, month, day) : undefined;
    if (place !== undefined || isWordCode(next)) return place;
    const name = end - start > MAX_ZONE_NAME ? "" : text.slice(start, end);
    const zone = NAMED_ZONES.get(name);
    if (zone === undefined && !UNCERTAIN_ZONES.has(name)) return undefined;
    const [part = "", sign, hours = "", minutes = ""] =
      next === PLUS || next === DASH ? matchAt(UTC_OFFSET, text, end) : [];
    const isCertain = zone !== undefined && (part === "" || zone === 0);
    const offsetMs = isCertain ? zone * MINUTE + offsetMsOf(sign, hours, minutes) : Number.NaN;
    return { offsetMs, end: end + part.length };
  }

  /** `Europe/Berlin`, as PHP writes it. */
  #placeAt(text: string, at: number, year: number, month: number, day: number): FoundZone | undefined {
    const [part = "", name] = matchAt(ZONE_PLACE, text, at);
    if (name === undefined) return undefined;
    if (this.#places.size > MAX_PLACES) this.#places.clear();
    if (!this.#places.has(name)) this.#places.set(name, zoneNamed(name));
    const zone = this.#places.get(name);
    const dayMs = this.#dayMs(year, month, day);
    return zone && { offsetMs: zone.offsetAt(dayMs), end: at + part.length };
  }

  /** A day's beginning as if it were UTC, in ms; without a year the most recent such day, with one of slack. */
  #dayMs(year: number, month: number, day: number): number {
    if (year === 0) return this.#latestDayMs(month, day);
    const key = (year * 100 + month) * 100 + day;
    if (key !== this.#day.key) this.#day = { key, ms: dayMsOf(year, month, day) };
    return this.#day.ms;
  }

  #latestDayMs(month: number, day: number): number {
    const latestMs = this.nowMs + DAY;
    const today = Math.floor(latestMs / DAY);
    if (today !== this.#latest.day) this.#latest = { day: today, year: new Date(latestMs).getUTCFullYear() };
    for (let year = this.#latest.year; year > this.#latest.year - MAX_YEARS_BACK; year--) {
      const ms = this.#dayMs(year, month, day);
      if (ms <= latestMs) return ms;
    }
    return Number.NaN;
  }
}

/** The time where a fraction and `Z` stand at `at`, behind a second that begins at `utcMs`: as most programs write it. */
function utcTimeAt(text: string, at: number, utcMs: number): FoundTime | undefined {
  if (text.charCodeAt(at) !== DOT) return undefined;
  const end = endOfDigits(text, at + 1, at + MAX_FRACTION);
  if (end === at + 1 || text.charCodeAt(end) !== UPPER_Z || isWordCode(text.charCodeAt(end + 1))) return undefined;
  const timeUs = utcMs * 1000 + microsOf(text, at + 1, end);
  return { timeUs, end: end + 1, isDated: true, isZoned: true };
}

const MAX_FRACTION = 20; // digits
const MAX_PLACES = 100;
const MAX_YEARS_BACK = 9; // a leap day may be eight years ago
const BEHIND_MINUTES = /(?![^\s\])|,;])/y; // a time without seconds must stand alone
const MORE_DIGITS = /[.:]\d/y;
const COLON_MILLIS = /:\d{3}(?:\d{3}(?= \d{4}\)))?(?![\d:])/y;
const MAX_ZONE_NAME = 5;
const NAMED_ZONES = new Map(Object.entries(ZONES));

function zoneNamed(name: string): Zone | undefined {
  try {
    return new Zone(name);
  } catch {
    return undefined; // no such place: it is a word
  }
}

/** `AM` or `PM`, and when that half of the day begins. */
function halfOfDayAt(text: string, at: number): { end: number; startMs: number } | undefined {
  const code = text.charCodeAt(at);
  const letter = (isLetter(code) ? code : text.charCodeAt(at + 1)) | SPACE;
  const end = letter === LOWER_A || letter === LOWER_P ? endOfMatch(HALF_OF_DAY, text, at) : -1;
  return end < 0 ? undefined : { end, startMs: letter === LOWER_P ? 12 * HOUR : 0 };
}

/** Whether there is what could be an offset, but is none that we know. */
const isSignedAt = (text: string, at: number) =>
  (text.charCodeAt(at) === PLUS || text.charCodeAt(at) === DASH) && isDigit(text.charCodeAt(at + 1));

function offsetZoneAt(text: string, at: number): FoundZone | undefined {
  const [part, sign, hours = "0", minutes = "0"] = matchAt(ZONE_OFFSET, text, at);
  if (part === undefined || Number(hours) > 14) return undefined;
  const end = at + part.length;
  const [behind = "", name = ""] = matchAt(BEHIND_OFFSET, text, end);
  const isZone = !isLetter(name.charCodeAt(0)) || NAMED_ZONES.has(name) || UNCERTAIN_ZONES.has(name);
  return { offsetMs: offsetMsOf(sign, hours, minutes), end: isZone ? end + behind.length : end };
}

const offsetMsOf = (sign: string | undefined, hours: string, minutes: string) =>
  (sign === "-" ? -MINUTE : MINUTE) * (sign === undefined ? 0 : Number(hours) * 60 + Number(minutes));

/** An epoch before other text: with a fraction, within brackets, or before a colon, as others could be any number. */
function epochAt(text: string, at: number, isSure: boolean): FoundTime | undefined {
  const [part, fraction, next] = matchAt(EPOCH_IN_FRONT, text, at);
  const isBracketed = next === "]" && text.charCodeAt(at - 1) === BRACKET;
  if (part === undefined || !(isSure || fraction !== undefined || isBracketed || next === ":")) return undefined;
  const time = timeOfEpoch(Number(part));
  return time && { ...time, end: at + part.length };
}

const fullYear = (year: number) => (year === 0 || year > 99 ? year : year < 70 ? 2000 + year : 1900 + year);

function clockMs(hours: number, minutes: number, seconds: number): number {
  const isReal = hours < 24 && minutes < 60 && seconds < 60;
  return isReal ? ((hours * 60 + minutes) * 60 + seconds) * SECOND : Number.NaN;
}

function dayMsOf(year: number, month: number, day: number): number {
  const ms = Date.UTC(year, month - 1, day);
  return month <= 12 && new Date(ms).getUTCDate() === day ? ms : Number.NaN;
}

/** A time zone, and how far ahead of UTC it was in the hour that was asked for last: finding that out is dear. */
class Zone {
  readonly #format: Intl.DateTimeFormat | undefined;
  #hour = Number.NaN;
  #offsetMs = 0;

  /** Throws a RangeError for a name that IANA has not; without a name, it is the machine's. */
  constructor(name?: string) {
    if (name) this.#format = new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "longOffset" });
  }

  /** How far ahead of UTC the zone is at a time of its own, in ms. */
  offsetAt(localMs: number): number {
    if (Number.isNaN(localMs)) return localMs;
    const hour = localMs - (localMs % HOUR);
    if (hour !== this.#hour) {
      this.#hour = hour;
      const machines = () => hour - Date.parse(new Date(hour).toISOString().slice(0, 19));
      this.#offsetMs = this.#format ? this.#offsetAtUtc(hour - this.#offsetAtUtc(hour)) : machines();
    }
    return this.#offsetMs;
  }

  #offsetAtUtc(ms: number): number {
    const name = this.#format?.formatToParts(ms).find(({ type }) => type === "timeZoneName")?.value ?? "";
    const [, sign, hours = "0", minutes = "0"] = /GMT([+-])(\d\d):(\d\d)/.exec(name) ?? [];
    return offsetMsOf(sign, hours, minutes);
  }
}

/** Where digits end, looking no further than `max`. */
function endOfDigits(text: string, at: number, max: number): number {
  let end = at;
  while (end < max && isDigit(text.charCodeAt(end))) end++;
  return end;
}

/** Where letters end, looking no further than a key may be long. */
function endOfLetters(text: string, at: number): number {
  let end = at;
  while (end < at + MAX_KEY && isLetter(text.charCodeAt(end))) end++;
  return end;
}

/** A fraction's microseconds; digits behind the sixth are cut off. */
function microsOf(text: string, at: number, end: number): number {
  let micros = 0;
  for (let digit = at; digit < at + 6; digit++)
    micros = micros * 10 + (digit < end ? text.charCodeAt(digit) - ZERO : 0);
  return micros;
}

function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - ZERO;
  const ones = text.charCodeAt(at + 1) - ZERO;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

// -- characters

const isDigit = (code: number) => code >= 48 && code <= 57;
const isUpper = (code: number) => code >= 65 && code <= 90;
const isLower = (code: number) => code >= 97 && code <= 122;
const isLetter = (code: number) => isUpper(code) || isLower(code);
const isWordCode = (code: number) => isLetter(code) || isDigit(code) || code === UNDERSCORE;

/** A sticky pattern's groups where it matches at `at`; none where it does not. */
function matchAt(expression: RegExp, text: string, at: number): (string | undefined)[] {
  expression.lastIndex = at;
  return expression.exec(text) ?? [];
}

// ---- PostgreSQL -------------------------------------------------------------
// The store on a server or embedded: its statements, its schema, and what the database refuses, line by line.

/** PostgreSQL 14 or newer, on a server or embedded. */
class PostgresStore implements Store {
  readonly name: string;
  readonly sessions: number;
  readonly reactionTo = reactionTo;
  readonly #pool: SessionPool;
  readonly #readers: SessionPool; // the log page's
  readonly #schema: string;
  readonly #embedded: EmbeddedPostgres | undefined;
  readonly #server: DatabaseServer;
  #hasBulkLoad = true; // false where `logs` has other types than ours

  constructor({ databaseUrl, dataDir, workers }: Options, schema: string, log: Log) {
    this.#schema = schema;
    this.#embedded = databaseUrl === "" ? new EmbeddedPostgres(dataDir, log) : undefined;
    this.#server = this.#embedded ?? new PostgresServer(databaseUrl, process.env);
    this.name = this.#server.name;
    this.sessions = this.#embedded ? 1 : workers; // PGlite has one session
    this.#pool = new SessionPool(this.#server, this.#embedded ? 1 : Infinity);
    this.#readers = this.#embedded ? this.#pool : new SessionPool(viewerServer(databaseUrl), READERS);
  }

  get isOpening(): boolean {
    return this.#embedded?.isOpening === true;
  }

  describe(error: unknown): string {
    return describeError(error, this.#server);
  }

  createRowWriter(size: number): RowWriter {
    return new CopyWriter(size);
  }

  async setUp(): Promise<void> {
    this.#pool.renew(); // another server may have taken over
    this.#hasBulkLoad = await this.#pool.use((session) => applySchema(session, this.#schema));
  }

  async storeBatch(batch: Batch): Promise<void> {
    if (!this.#hasBulkLoad) throw new NoBulkLoad();
    const isStored = this.#embedded
      ? await this.#pool.use((session) => storeEmbedded(session, this.#embedded!, batch))
      : await this.#pool.use((session) => storeByCopy(session, batch));
    if (!isStored) throw new StoredInPart();
  }

  storeLines(journal: string, entry: Entry, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number> {
    return storeInSlices(this.#pool, journal, entry, lines, suspects);
  }

  async makePartition(day: number): Promise<void> {
    const date = new Date(day * DAY).toISOString().slice(0, 10);
    await this.#pool.query(
      (sql) => sql`select note_logs_stored(${date}::date) from create_logs_partition(${date}::date)`,
    );
  }

  async dropPartition(ageMs: number): Promise<string | undefined> {
    const [row] = await this.#pool.query((sql) => sql`select drop_logs_partition(${agoSql(sql, ageMs)}) as dropped`);
    return (row?.["dropped"] as string | null) ?? undefined;
  }

  async deleteLevels({ from, to, ageMs, sinceUs }: LevelRange): Promise<{ nextUs: number; isDone: boolean }> {
    const [row] = await this.#pool.query(
      (sql) => sql`
      select (extract(epoch from coalesce(reached, before)) * 1000000)::bigint as next, reached is null as "isDone"
      from (select ${agoSql(sql, ageMs)} as before) as rule,
           delete_logs(${from}::int, ${to}::int, to_timestamp(${sinceUs / 1e6}::float8), before,
                       ${LINES_WALKED}::int) as reached`,
    );
    return { nextUs: Number(row?.["next"]), isDone: row?.["isDone"] === true };
  }

  async pruneKeys(journal: string, endPosition: number): Promise<void> {
    await this.#pool.query(
      (sql) => sql`delete from log_entries where journal = ${journal} and position < ${endPosition}`,
    );
  }

  async ping(): Promise<void> {
    await this.#pool.query((sql) => sql`select 1`);
  }

  async *query(statement: string, options: StatementOptions): AsyncGenerator<Table> {
    const embedded = this.#embedded;
    if (embedded) yield* readTables(await this.#pool.use(() => embedded.query(statement, options)));
    else yield* queryServer(this.#server, statement, options);
  }

  async *listDeadLetters(options: StatementOptions): AsyncGenerator<Table> {
    const columns = "id, created_at, peer, sqlstate, error, encode(line, 'hex') as line"; // whatever bytea_output is
    for await (const table of this.query(`select ${columns} from dead_letters order by id`, options)) {
      const rows = table.rows.map((row) => [...row.slice(0, -1), Buffer.from(row.at(-1) ?? "", "hex").toString()]);
      yield { ...table, rows };
    }
  }

  async deadLetterIds(): Promise<string[]> {
    const rows = await this.#pool.query((sql) => sql`select id from dead_letters order by id`);
    return rows.map((row) => String(row["id"]));
  }

  async dropDeadLetters(ids: string[]): Promise<number> {
    const { count } = await this.#pool.query(
      (sql) => sql`delete from dead_letters where id = any(${arrayOf(ids)}::bigint[])`,
    );
    return count;
  }

  retryDeadLetters(ids: string[], readLetter: ReadLetter): Promise<{ stored: number; refused: number }> {
    return this.#pool.use(async (session) => {
      await session.run(session.sql.unsafe(BEGIN));
      const lines = (await takeDeadLetters(session, ids)).flatMap(readLetter);
      const refused = await storeOrSetAside(session, lines, new Set());
      await session.commit();
      return { stored: lines.length - refused, refused };
    });
  }

  read(statement: string, values: string[], signal: AbortSignal): Promise<(string | null)[][]> {
    return this.#readers.use((session) => session.read(statement, values, signal));
  }

  disconnect(): void {
    this.#pool.disconnect();
    this.#readers.disconnect();
  }

  async close(): Promise<void> {
    this.#pool.close();
    this.#readers.close();
    await this.#embedded?.close();
  }
}

const COPY_HEADER = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const COPY_TRAILER = Buffer.of(0xff, 0xff);
const FEW_ENTRIES = 64; // up to so many are sent one by one; more are small, and are sent as one message

/** The entries' rows as COPY reads them. */
function copyInput(entries: Entry[]): Buffer[] {
  const rows = entries.map((entry) => entry.rows!);
  return [COPY_HEADER, ...(rows.length > FEW_ENTRIES ? [Buffer.concat(rows)] : rows), COPY_TRAILER];
}

/**
 * Does what {@link storeByCopy} does. As nobody else stores into PGlite, keys are copied without a claim, which takes
 * half as long; which entries were stored before, as a crash or a lost answer leaves them, is asked where that fails.
 */
async function storeEmbedded(session: Session, embedded: EmbeddedPostgres, batch: Batch): Promise<boolean> {
  try {
    await embedded.copy(batch);
    return true;
  } catch (error) {
    const stored = codeOf(error) === "23505" ? await session.positions(storedSql(batch)) : new Set();
    if (stored.size === 0) throw error;
    if ((await session.positions(storedInPartSql(batch))).size > 0) return false;
    const entries = batch.entries.filter(({ position }) => !stored.has(position));
    if (entries.length > 0) await embedded.copy({ ...batch, entries, lines: sumOf(entries, "lines") });
    return true;
  }
}

const storedSql = ({ journal, entries }: Batch) =>
  `select position from log_entries where journal = '${journal}' and position = any(${positionsOf(entries)})`;

const storedInPartSql = (batch: Batch) => `${storedSql(batch)} and stored_lines is not null`;

const positionsOf = (entries: Entry[]) => `'${arrayOf(entries.map(({ position }) => position))}'::bigint[]`;

const arrayOf = (numbers: (number | string)[]) => `{${numbers.join(",")}}`;

/** The time `ageMs` ago, by our clock or the server's, whichever is behind: one set years ahead drops no new line. */
const agoSql = (sql: postgres.Sql, ageMs: number) =>
  sql`least(now(), to_timestamp(${Date.now() / SECOND}::float8)) - make_interval(secs => ${ageMs / SECOND}::float8)`;

const LINES_WALKED = 10_000; // by one statement of --retention-level
const READERS = 2; // connections of the log page to a server

/** The same database under another application_name: its administrator can tell the log page from the collector. */
function viewerServer(databaseUrl: string): PostgresServer {
  const divider = databaseUrl.includes("?") ? "&" : "?";
  return new PostgresServer(`${databaseUrl}${divider}application_name=collector%20viewer`, process.env);
}

const SCHEMA_LOCK = 0x636f6c6c; // "coll"

/** Applies schema.sql, unless only the rights for it are missing; then resolves or rejects as `checkDatabase` does. */
async function applySchema(session: Session, schema: string): Promise<boolean> {
  const { sql } = session;
  await checkDatabase(session);
  try {
    const locked = `select pg_advisory_xact_lock(${SCHEMA_LOCK});\n${schema}`;
    await session.run(sql.unsafe(locked).simple()); // one query is one transaction
  } catch (error) {
    const both = sql`select from pg_class where oid in (to_regclass('logs'), to_regclass('log_entries'))`;
    const tables = await session.run(both).catch(() => []); // `run` rejects where the connection is lost
    if (codeOf(error) !== "42501" || tables.length < 2) throw error;
  }
  return checkDatabase(session);
}

/**
 * Resolves to whether `logs` is a table whose columns have our types, as COPY in binary casts to no others. Rejects
 * with {@link DatabaseRefused} where lines can't be stored at all.
 */
async function checkDatabase(session: Session): Promise<boolean> {
  const found = session.sql`
    select current_setting('server_encoding') as encoding, relkind, attname as name, atttypid::regtype::text as type
    from (select to_regclass('logs') as oid) as logs left join pg_class using (oid)
    left join pg_attribute on attrelid = logs.oid and attnum > 0`;
  const rows = await session.run(found);
  const { encoding, relkind } = rows[0] as unknown as { encoding: string; relkind: string | null };
  const types = new Map(rows.map((row) => [row["name"], row["type"]]));
  const missing = ["id", ...ROW_COLUMNS].filter((name) => !types.has(name)).join(", ");
  if (encoding !== "UTF8") {
    const remedy = "create database logs encoding 'UTF8' template template0";
    throw new DatabaseRefused(`Cannot store into this database: its encoding is ${encoding}, not UTF8; ${remedy}`);
  }
  if (relkind !== null && missing !== "") {
    const remedy = "so it is not ours; rename it, or use another database";
    throw new DatabaseRefused(`Cannot store into this database: its table logs lacks ${missing}, ${remedy}`);
  }
  const areOurs = Object.entries(ROW_TYPES).every(([name, type]) => types.get(name) === type);
  return areOurs && (relkind === "r" || relkind === "p");
}

const ROW_TYPES = {
  created_at: "timestamp with time zone",
  level: "smallint",
  message: "text",
  logged_at: "timestamp with time zone",
  host: "text",
  app: "text",
  peer: "text",
  attributes: "jsonb",
};
const ROW_COLUMNS = Object.keys(ROW_TYPES);
const JSONB_VERSION = "\x01";
const ROW_FIXED_BYTES = 64; // at most, for all of a row but its texts
const UTF8_BYTES = 3; // at most, for a UTF-16 code unit
const EPOCH_2000_US = Date.UTC(2000, 0) * 1000; // PostgreSQL's epoch, in µs since 1970
const TWO_TO_32 = 2 ** 32;
const SHORT_TEXT = 32; // up to here, writing ASCII is faster than a call of Node's,
const SHORT_BYTES = 400; // and so is copying bytes

/** Rows as COPY reads them (PostgreSQL's manual, COPY, "Binary Format"): a field is its length or -1, and bytes. */
class CopyWriter implements RowWriter {
  #bytes: Buffer;
  #view: DataView;
  #start = 0; // of the rows since the last call of `written()`
  #at = 0;
  #source = NO_BYTES; // from which bytes were copied last
  #sourceView: DataView = new DataView(NO_BYTES.buffer);

  constructor(size: number) {
    this.#bytes = Buffer.allocUnsafeSlow(size);
    this.#view = new DataView(this.#bytes.buffer);
  }

  add(record: LogRecord, timeUs: number, peer: string): void {
    const { level, message, loggedAtUs, host = "", app = "", attributes = "" } = record;
    const codeUnits = message.length + host.length + app.length + peer.length + attributes.length;
    this.#startRow(timeUs, level, UTF8_BYTES * codeUnits);
    this.#addText(message);
    this.#addTime(loggedAtUs);
    this.#addText(host);
    this.#addText(app);
    this.#addText(peer);
    this.#addText(attributes, JSONB_VERSION);
  }

  addText({ body, start, end, peer }: FrameReader, timeUs: number): void {
    this.#startRow(timeUs, DEFAULT_LEVEL, end - start + UTF8_BYTES * peer.length);
    this.#addBytes(body, start, end);
    for (let nulls = 0; nulls < 3; nulls++) this.#addNull(); // logged_at, host, app
    this.#addText(peer);
    this.#addNull(); // attributes
  }

  written(): Buffer {
    const rows = this.#bytes.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return rows;
  }

  clear(): void {
    this.#start = this.#at = 0;
  }

  #startRow(timeUs: number, level: number, textSize: number): void {
    if (this.#at + ROW_FIXED_BYTES + textSize > this.#bytes.length) this.#grow(ROW_FIXED_BYTES + textSize);
    this.#view.setInt16(this.#at, ROW_COLUMNS.length);
    this.#at += 2;
    this.#addTime(timeUs);
    this.#addInt16(level);
  }

  #addInt16(value: number): void {
    this.#view.setInt32(this.#at, 2);
    this.#view.setInt16(this.#at + 4, value);
    this.#at += 6;
  }

  #addTime(timeUs: number | undefined): void {
    if (timeUs === undefined) return this.#addNull();
    const high = Math.floor((timeUs - EPOCH_2000_US) / TWO_TO_32);
    this.#view.setInt32(this.#at, 8);
    this.#view.setInt32(this.#at + 4, high);
    this.#view.setUint32(this.#at + 8, timeUs - EPOCH_2000_US - high * TWO_TO_32);
    this.#at += 12;
  }

  #addText(text: string, prefix = ""): void {
    if (text === "") return this.#addNull();
    const start = this.#at;
    this.#at += 4;
    this.#write(prefix);
    this.#write(text);
    this.#view.setInt32(start, this.#at - start - 4);
  }

  #addBytes(source: Buffer, start: number, end: number): void {
    this.#view.setInt32(this.#at, end - start);
    this.#at += 4;
    if (end - start > SHORT_BYTES) this.#at += source.copy(this.#bytes, this.#at, start, end);
    else this.#copyShort(source, start, end);
  }

  #addNull(): void {
    this.#view.setInt32(this.#at, -1);
    this.#at += 4;
  }

  #write(text: string): void {
    const [bytes, at] = [this.#bytes, this.#at];
    const shortSize = text.length > SHORT_TEXT ? 0 : text.length;
    let index = 0;
    for (let code; index < shortSize && (code = text.charCodeAt(index)) < 128; index++) bytes[at + index] = code;
    this.#at = at + (index === text.length ? index : bytes.write(text, at));
  }

  #copyShort(source: Buffer, start: number, end: number): void {
    if (source !== this.#source) this.#sourceView = new DataView(source.buffer, source.byteOffset, source.length);
    this.#source = source;
    const [from, to, target] = [this.#sourceView, this.#view, this.#bytes];
    let [read, write] = [start, this.#at];
    for (; read + 8 <= end; read += 8, write += 8) {
      to.setInt32(write, from.getInt32(read));
      to.setInt32(write + 4, from.getInt32(read + 4));
    }
    while (read < end) target[write++] = source[read++]!;
    this.#at = write;
  }

  /** Goes on in larger memory; rows that were taken stay in that of before. */
  #grow(more: number): void {
    const size = this.#at - this.#start;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, size + more));
    this.#bytes.copy(larger, 0, this.#start, this.#at);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
    this.#start = 0;
    this.#at = size;
  }
}

// ---- Refused lines ----------------------------------------------------------
// The way of a line that PostgreSQL refuses for its content. Workers looks for it in halves of the batch, down to one
// entry, and has `storeLines` store that line by line. The function `store_or_set_aside` of schema.sql stores each
// line, or puts it into `dead_letters`. `dead retry` takes it out again, and sends it the same way.

/** A record and what it came from: all that a database needs to store this line alone, or to set it aside. */
export interface StoredLine extends LogRecord {
  timeUs: number;
  peer: string;
  /** The frame as text. */
  source: string;
  /** Our notes on it, as the text of a JSON object. */
  notes: string | undefined;
}

/** The lines of an entry one by one. */
function linesOf({ timeUs, body }: Entry, parser: LineParser): StoredLine[] {
  const lines: StoredLine[] = [];
  for (const frames = new FrameReader(body); frames.next();)
    lines.push(lineOfFrame(frames.decode(), frames.peer, timeUs + frames.index, parser));
  return lines;
}

/** A frame of its own as a line. */
const lineOfFrame = (
  { source, notes }: DecodedFrame,
  peer: string,
  timeUs: number,
  parser: LineParser,
): StoredLine => ({
  ...recordOfFrame(parser, source, timeUs / 1000, notes),
  ...{ timeUs, peer, source, notes: notes && JSON.stringify({ "@collector": notes }) },
});

/**
 * Stores an entry line by line, in slices of one transaction each; where a slice takes too long, it is tried again with
 * half as many lines. The entry's key counts the lines stored so far, so that the next start continues after them.
 */
async function storeInSlices(
  pool: SessionPool,
  journal: string,
  { position }: Entry,
  lines: StoredLine[],
  suspects: ReadonlySet<string>,
): Promise<number> {
  let deadLettered = 0;
  for (let size = lines.length; ;) {
    try {
      const slice = await pool.use((session) => storeSlice(session, journal, position, lines, size, suspects));
      deadLettered += slice.deadLettered;
      if (slice.isLast) return deadLettered;
    } catch (error) {
      if (reactionTo(error) !== "too long" || size <= 1) throw error;
      size = Math.ceil(size / 2);
    }
  }
}

async function storeSlice(
  session: Session,
  journal: string,
  position: number,
  lines: StoredLine[],
  size: number,
  suspects: ReadonlySet<string>,
): Promise<{ deadLettered: number; isLast: boolean }> {
  const { sql } = session;
  const isEntry = sql`journal = ${journal} and position = ${position}`;
  await session.run(sql.unsafe(BEGIN));
  const [claimed] = await session.run(sql`
    insert into log_entries (journal, position, stored_lines) values (${journal}, ${position}, 0)
    on conflict do nothing returning stored_lines`);
  const [found] = claimed
    ? [claimed]
    : await session.run(sql`select stored_lines from log_entries where ${isEntry} for update`);
  const start = (found?.["stored_lines"] as number | null | undefined) ?? lines.length;
  const slice = lines.slice(start, start + size);
  const isLast = start + size >= lines.length;
  const deadLettered = await storeOrSetAside(session, slice, suspects);
  await session.run(sql`update log_entries set stored_lines = ${isLast ? null : start + size} where ${isEntry}`);
  await session.commit();
  return { deadLettered, isLast };
}

/**
 * Stores lines, or sets them aside in `dead_letters`; resolves to how many of them it set aside. Rejects with a suspect
 * code where it set all aside and the table takes no line at all: then no line is at fault.
 */
async function storeOrSetAside(session: Session, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number> {
  if (lines.length === 0) return 0;
  const { sql } = session;
  const [row] = await session.run(sql`
    select count(*) filter (where not store_or_set_aside(line, ${arrayOf([...suspects])})) as "setAside"
    from json_array_elements(${JSON.stringify(lines.map(rowOfLine))}::text::json) as line`);
  const setAside = Number(row?.["setAside"]);
  if (suspects.size === 0 || setAside < lines.length) return setAside;
  const [probe] = await session.run(sql`select logs_take_lines() as "doTake"`);
  if (probe?.["doTake"] !== true) throw new ServerError({ code: [...suspects].at(-1) });
  return setAside;
}

/** A line as `store_or_set_aside` of schema.sql reads it. */
const rowOfLine = ({ timeUs, loggedAtUs, level, message, host, app, peer, attributes, source, notes }: StoredLine) => ({
  created_at: isoTimeUs(timeUs),
  logged_at: loggedAtUs === undefined ? undefined : isoTimeUs(loggedAtUs),
  ...{ level, message, host, app, peer: peer || undefined, attributes, source, notes },
});

/** RFC 3339, to the microsecond. */
const isoTimeUs = (us: number) =>
  new Date(Math.floor(us / 1000)).toISOString().replace("Z", `${String(us % 1000).padStart(3, "0")}Z`);

/** Deletes dead letters and returns them. Their bytes come as hexadecimal digits, whatever `bytea_output` is. */
async function takeDeadLetters(session: Session, ids: string[]): Promise<DeadLetter[]> {
  const { sql } = session;
  const rows = await session.run(sql`
    delete from dead_letters where id = any(${arrayOf(ids)}::bigint[])
    returning (extract(epoch from created_at) * 1000000)::bigint as time, coalesce(peer, '') as peer,
              encode(line, 'hex') as line,
              coalesce((to_jsonb(dead_letters) ->> 'cut_from')::int, length(line)) as size,
              create_logs_partition((created_at at time zone 'UTC')::date)`);
  return rows.map((row) => {
    const { time, peer, line, size } = row as unknown as { time: string; peer: string; line: string; size: number };
    return { timeUs: Number(time), peer, line: Buffer.from(line, "hex"), size };
  });
}

/** A line that the database refused, as it came. */
export interface DeadLetter {
  timeUs: number;
  peer: string;
  line: Buffer;
  /** Its size on the wire: more than there are bytes where it was cut. */
  size: number;
}

export type ReadLetter = (letter: DeadLetter) => StoredLine[];

// ---- PGlite -----------------------------------------------------------------
// The embedded database. It runs in a thread of its own, so that it holds up nobody's `ok`. It has one session, and
// speaks PostgreSQL's protocol on a Unix socket. COPY does not work there: its messages are handed to the thread.

const ENDED = "the embedded database has ended";
const ROWS_AT_ONCE = 256; // of a user's answer, kept in memory
const FULL_DISK_BYTES = 64 * MIB; // with less free, its disk is full: it needs a few files of write-ahead log to open

class EmbeddedPostgres implements DatabaseServer {
  readonly name: string;
  readonly user = "postgres";
  readonly database = "postgres";
  readonly password = "";
  readonly parameters = {};
  readonly isShared = false;
  readonly wantsPrimary = false;
  readonly timeoutMs = MINUTE;
  isOpening = false;
  readonly #dataDir: string;
  readonly #log: Log;
  #thread: Worker | undefined;
  #isClosed = false;
  #socket: SocketPath | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  constructor(dataDir: string, log: Log) {
    this.#dataDir = dataDir;
    this.#log = log;
    this.name = `PGlite in ${this.#directory()}`;
  }

  /** Connects to the database, which is started where it does not run. */
  async connect(): Promise<Socket> {
    await this.#ended;
    const { path } = (this.#socket ??= await socketPath(this.#dataDir, "postgres.sock"));
    this.isOpening = !this.#thread;
    if (!this.#thread) await this.#start(path).finally(() => (this.isOpening = false));
    const socket = new Socket();
    guardSocket(socket);
    await once(socket.connect(path), "connect");
    return socket;
  }

  noteFailure(): void {}

  noteSuccess(): void {}

  /**
   * Commits the rows of entries and their keys; rejects with 23505 where one is stored already. The caller holds the one
   * session, so no other statement comes between.
   */
  async copy({ journal, entries, lines }: Batch): Promise<void> {
    const keys = entries.map(({ position }) => `${journal}\t${position}\n`).join("");
    const copies = [
      {
        messages: copyMessages("copy log_entries (journal, position) from stdin", [Buffer.from(keys)]),
        rows: entries.length,
      },
      { messages: copyMessages(copySql(), copyInput(entries)), rows: lines },
    ];
    const memory = copies.map(({ messages }) => messages.buffer);
    await this.#ask({ name: "copy", copies }, memory);
  }

  /**
   * Runs a user's statement; the caller holds the one session. Resolves to a file with its answer, already unlinked: a
   * slow reader holds up nobody. A statement that takes too long is ended with the thread, as nothing else stops it;
   * the next use starts the thread again.
   */
  async query(statement: string, { isWrite, timeoutMs, maxRows, signal }: StatementOptions): Promise<FileHandle> {
    const path = join(this.#dataDir, `answer-${randomUUID()}`);
    const file = await open(path, "wx+", 0o600);
    let isLate = false;
    const end = () => void this.#terminate();
    const late = setTimeout(() => {
      isLate = true;
      end();
    }, timeoutMs);
    signal.addEventListener("abort", end);
    try {
      await this.#ask({
        name: "query",
        statement,
        isWrite,
        maxRows: Number.isFinite(maxRows) ? maxRows : 0,
        path,
      });
      return file;
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw isLate ? tookTooLong(timeoutMs) : error;
    } finally {
      clearTimeout(late);
      signal.removeEventListener("abort", end);
    }
  }

  /** Closes the database; a start that is under way ends, too. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const exited = this.#thread && once(this.#thread, "exit");
    this.#thread?.postMessage("close");
    if (exited) await deadline(exited, CANCEL_MS).catch(() => this.#terminate());
    await this.#socket?.release();
  }

  /** Ends the thread now; the next one starts when it is gone, as two on one folder would lose rows. */
  async #terminate(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#ended = thread?.terminate() ?? this.#ended;
    await this.#ended;
  }

  /**
   * Has the thread do something with memory that is its own then; rejects where the database refuses, or it ends. The
   * caller holds the one session, so the thread's next message is the answer: a channel for each would take 0.2 ms.
   */
  async #ask(task: { name: string } & Record<string, unknown>, memory: ArrayBuffer[] = []): Promise<void> {
    if (!this.#thread) throw new Error(ENDED);
    this.#thread.postMessage(task, memory);
    const error = (await nextMessage(this.#thread)) as ThreadAnswer;
    if (error) throw new ServerError(error);
  }

  #directory(): string {
    return join(this.#dataDir, "postgres");
  }

  async #start(path: string): Promise<void> {
    await rm(path, { force: true });
    const [pglite, socket] = locatePackages(...EMBEDDED);
    const prepared = (await this.#beginFirstOpen()) ? findPackage(PREPARED) : undefined;
    const workerData = { pglite, socket, prepared, path, directory: this.#directory() };
    if (this.#isClosed) throw new Error(ENDED);
    const thread = new Worker(EMBEDDED_THREAD, { eval: true, workerData }).on("error", () => {}); // `exit` follows
    this.#thread = thread.once("exit", () => (this.#thread = undefined)); // from now on, `close()` ends it
    const slow = setTimeout(() => this.#log("preparing the embedded database"), SECOND);
    const first = nextMessage(thread).catch(({ message }: Error) => message);
    const outcome = (await first.finally(() => clearTimeout(slow))) as string;
    if (outcome !== "ready") {
      this.#thread = undefined;
      if (freeBytes(this.#dataDir) < FULL_DISK_BYTES) throw new Error(`its disk is full (${outcome})`);
      const remedy = "if the folder is yours, move it away to start with an empty one";
      throw new DatabaseRefused(`Cannot open ${this.name}: ${outcome}; ${remedy}`);
    }
    await makePrivate(workerData.directory);
    await this.#endFirstOpen();
  }

  /**
   * Resolves to whether the database is still to be made, and marks that as begun. A first open that was interrupted
   * leaves part of a database, which has no lines and can't be opened: it is removed.
   */
  async #beginFirstOpen(): Promise<boolean> {
    const directory = this.#directory();
    if (existsSync(`${directory}.unfinished`)) await rm(directory, { recursive: true, force: true });
    if (existsSync(join(directory, "PG_VERSION"))) return false;
    await writeFile(`${directory}.unfinished`, "");
    return true;
  }

  /** Removes the mark. Lines are stored from here on, so its removal must survive a power cut. */
  async #endFirstOpen(): Promise<void> {
    if (!existsSync(`${this.#directory()}.unfinished`)) return;
    await rm(`${this.#directory()}.unfinished`);
    await withFolder(this.#dataDir, (opened) => opened.sync());
  }
}

/**
 * A COPY and all of its input as messages of PostgreSQL's protocol (its manual, "Message Formats"). PGlite takes the
 * input where it comes at once. They are in one piece of memory of their own, as handing over hundreds takes a millisecond.
 */
function copyMessages(sql: string, input: Buffer[]): Uint8Array<ArrayBuffer> {
  const [statement, size] = [Buffer.from(`${sql}\0`), sumOf(input, "length")];
  const parts = [messageHead("Q", statement.length), statement, messageHead("d", size), ...input, messageHead("c", 0)];
  const messages = new Uint8Array(sumOf(parts, "length"));
  let at = 0;
  for (const part of parts) {
    messages.set(part, at);
    at += part.length;
  }
  return messages;
}

function messageHead(type: string, bodySize: number): Buffer {
  const head = Buffer.from(`${type}\0\0\0\0`);
  head.writeUInt32BE(4 + bodySize, 1);
  return head;
}

/** The next message of a thread; rejects where it ends before. */
function nextMessage(thread: Worker): Promise<unknown> {
  return new Promise((answer, refuse) => {
    const onExit = () => refuse(new Error(ENDED));
    thread.once("exit", onExit).once("message", (message) => {
      thread.off("exit", onExit);
      answer(message);
    });
  });
}

/** What the thread answers: an error of the database's, or null. */
type ThreadAnswer = {
  message: string;
  code?: string;
  constraint_name?: string;
  table_name?: string;
  hint?: string;
} | null;

/** The thread's program, in plain JavaScript: Node 20's threads do not inherit tsx's loader. */
const EMBEDDED_THREAD = `
  const { appendFileSync, closeSync, openSync, unlinkSync } = require("node:fs");
  const { parentPort, workerData } = require("node:worker_threads");
  const run = async () => {
    const { PGlite, protocol } = await import(workerData.pglite);
    const { PGLiteSocketServer } = await import(workerData.socket);
    const prepared = workerData.prepared && (await import(workerData.prepared));
    const db = await PGlite.create(workerData.directory, prepared && { loadDataDir: await prepared.dataDir() });
    const server = new PGLiteSocketServer({ db, path: workerData.path });
    await server.start();
    parentPort.postMessage("ready");
    const { parse, bind, describe, execute, sync, query: ask } = protocol.serialize;
    const run = async (messages, expected) => {
      const answers = await db.execProtocolStream(messages, { syncToFs: false });
      const { text } = answers.find(({ name }) => name === "commandComplete") ?? {};
      if (text !== expected) throw new Error("PGlite answers " + text + ", not " + expected);
    };
    const copy = ({ copies }) => db.runExclusive(async () => {
      try {
        await run(ask("begin"), "BEGIN");
        for (const { messages, rows } of copies) await run(messages, "COPY " + rows);
        await run(ask("commit"), "COMMIT");
      } catch (error) {
        await run(ask("rollback"), "ROLLBACK");
        throw error;
      }
    });
    const query = async ({ statement, isWrite, maxRows, path }) => {
      const fd = openSync(path, "a"); // Deno's threads share no descriptors
      unlinkSync(path);
      const parser = new protocol.Parser();
      let [columns, rows, outcome, isBound, failure] = [[], [], "", false, undefined];
      const write = () => appendFileSync(fd, JSON.stringify({ columns, rows: rows.splice(0), outcome }) + "\\n");
      const take = (message) => {
        if (message.name === "rowDescription")
          columns = message.fields.map(({ name, dataTypeID }) => ({ name, type: dataTypeID }));
        else if (message.name === "dataRow" && rows.push(message.fields) === ${ROWS_AT_ONCE}) write();
        else if (message.name === "commandComplete") outcome = message.text;
        else if (message.name === "bindComplete") isBound = true;
        else if (message.name === "error") failure ??= message;
      };
      const onRawData = (data) => {
        try { parser.parse(data, take); } catch (error) { failure ??= error; }
      };
      const steps = [parse({ text: statement }), bind(), describe({ type: "P" }), execute({ rows: maxRows }), sync()];
      try {
        await db.exec(isWrite ? "begin" : "begin read only");
        for (const step of steps) await db.execProtocolRawStream(step, { onRawData });
        if (!isBound && !failure) process.exit(); // PGlite aborted: it tells nobody that its stack was too small
        if (isWrite && !failure) await db.exec("commit");
        if (!failure) write();
      } catch (error) {
        failure ??= error;
      }
      closeSync(fd);
      await db.exec("rollback"); // only a warning where no transaction is open
      await db.exec("discard all");
      if (failure) throw failure;
    };
    const asServer = ({ message, code, constraint, table, hint }) =>
      ({ message, code, constraint_name: constraint, table_name: table, hint });
    parentPort.on("message", (task) => {
      if (task === "close") return server.stop().then(() => db.close()).then(() => process.exit());
      const done = task.name === "copy" ? copy(task) : query(task);
      done.then(() => null, asServer).then((answer) => parentPort.postMessage(answer));
    });
  };
  run().catch((error) => parentPort.postMessage(String(error?.message ?? error?.code ?? JSON.stringify(error))));
`;

/** Reads an answer's tables from a file, and closes it. */
async function* readTables(file: FileHandle): AsyncGenerator<Table> {
  try {
    for await (const line of readLines(file.createReadStream({ start: 0, autoClose: false }))) {
      const { columns, rows, outcome } = JSON.parse(line) as { columns: Column[] } & Table;
      yield tableOf(columns, rows, outcome);
    }
  } finally {
    await file.close();
  }
}

/** Makes files readable for their owner alone: PGlite unpacks its first ones readable for all. */
async function makePrivate(directory: string): Promise<void> {
  for (const file of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (file.isFile()) await chmod(join(file.parentPath, file.name), 0o600).catch(() => {}); // or gone already
  }
}

// ---- The driver's internals -------------------------------------------------
// What we use of postgres.js beyond its documentation, and what guards us against its faults. A session is one
// connection for its whole life, so that no statement can run outside of its transaction; we open its socket.

const DRIVER_VERSION = "3.4.9";
const STATEMENT_MS = MINUTE;
const CANCEL_MS = 10 * SECOND;
const IDLE_MS = 5 * SECOND; // short: a server that is asked to stop may wait for its clients
const LIFE_MS = MINUTE;

type Driver = typeof postgres;

/** Opens connections to one database. */
interface DatabaseServer {
  readonly name: string;
  readonly user: string;
  readonly database: string;
  readonly password: string;
  /** Parameters of the start-up message, beside user and database. */
  readonly parameters: Record<string, string>;
  /** Whether others use it, too: then idle sessions are closed soon. */
  readonly isShared: boolean;
  /** Whether a server that takes no writes is left for the next one. */
  readonly wantsPrimary: boolean;
  /** Resolves to a connected socket, with TLS laid over it where that is asked for. */
  connect(): Promise<Socket>;
  /** How long a connection and its log-in may take. */
  readonly timeoutMs: number;
  noteFailure(error: unknown): void;
  noteSuccess(): void;
}

/** Sessions of one database, each used by one caller at a time, at most `max` of them. */
class SessionPool {
  readonly #server: DatabaseServer;
  readonly #max: number;
  readonly #open = new Set<Session>();
  readonly #idle: Session[] = [];
  readonly #freed = new Signal();
  #renewedAtMs = 0;
  #taken = 0;
  #isClosed = false;

  constructor(server: DatabaseServer, max: number) {
    this.#server = server;
    this.#max = max;
  }

  /** Runs something on a session of its own; where it rejects, what it began is rolled back. */
  async use<T>(run: (session: Session) => Promise<T>): Promise<T> {
    while (this.#taken >= this.#max) await this.#freed.wait();
    this.#taken++;
    try {
      const session = this.#takeIdle() ?? (await this.#connect());
      return await run(session)
        .catch((error: unknown) => session.recover(error))
        .finally(() => this.#putBack(session));
    } finally {
      this.#taken--;
      this.#freed.notify();
    }
  }

  /** Runs one statement. */
  query<T extends readonly postgres.MaybeRow[]>(start: (sql: postgres.Sql) => postgres.PendingQuery<T>) {
    return this.use((session) => session.run(start(session.sql)));
  }

  /** Closes the sessions opened so far, each as soon as it is idle. */
  renew(): void {
    this.#renewedAtMs = performance.now();
    for (const session of this.#idle.splice(0)) session.close();
  }

  /** Closes all connections: what runs fails. */
  disconnect(): void {
    for (const session of this.#open) session.close();
  }

  close(): void {
    this.#isClosed = true;
    this.disconnect();
  }

  #takeIdle(): Session | undefined {
    for (let session; (session = this.#idle.pop());) {
      session.setIdle(0);
      if (session.isOpen) return session;
    }
    return undefined;
  }

  async #connect(): Promise<Session> {
    if (this.#isClosed) throw new Error("the collector is stopping");
    const session = await Session.open(this.#server);
    this.#open.add(session);
    session.onClose(() => this.#open.delete(session));
    if (this.#isClosed) session.close();
    return session;
  }

  #putBack(session: Session): void {
    const isOld = this.#server.isShared && performance.now() - session.openedAtMs > LIFE_MS;
    if (isOld || session.openedAtMs < this.#renewedAtMs) session.close();
    if (!session.isOpen) return;
    if (this.#server.isShared) session.setIdle(IDLE_MS);
    this.#idle.push(session);
  }
}

/** One connection and its client; when it is lost, the session is over. */
class Session {
  readonly sql: postgres.Sql;
  readonly openedAtMs = performance.now();
  readonly #server: DatabaseServer;
  readonly #socket: Socket;
  readonly #running = new Set<(cause: Error) => void>(); // rejects what runs when either side closes the connection
  #backend: { pid: number; secret: number } | undefined;
  #isStandbyMissed = false; // whether the server gave up waiting for a synchronous standby
  #isClosing = false;
  #idleTimer: NodeJS.Timeout | undefined;

  private constructor(server: DatabaseServer, socket: Socket, driver: Driver) {
    this.#server = server;
    this.#socket = socket;
    socket.once("close", () => this.#fail(new Error("the connection was lost")));
    this.sql = makeClient(server, socket, driver, ({ routine }) => {
      if (routine === "SyncRepWaitForLSN") this.#isStandbyMissed = true;
    });
  }

  /** Resolves when the server has answered a first statement. */
  static async open(server: DatabaseServer): Promise<Session> {
    const { default: driver } = (await import(locatePackages(DRIVER)[0]!)) as { default: Driver };
    let session: Session | undefined;
    try {
      session = new Session(server, await server.connect(), driver);
      await deadline(session.#greet(), server.timeoutMs);
      server.noteSuccess();
      return session;
    } catch (error) {
      session?.close();
      server.noteFailure(error);
      throw error;
    }
  }

  get isOpen(): boolean {
    return !this.#isClosing && !this.#socket.destroyed;
  }

  /**
   * Runs a statement. After a minute it is cancelled, unless it only waits for a standby. Where the cancel does not end
   * it, the session is closed.
   */
  async run<T>(query: PromiseLike<T>): Promise<T> {
    let isOver = false;
    const giveUp = async () => {
      if (await this.#isWaitingForStandby()) return;
      await this.cancel();
      await sleep(CANCEL_MS);
      if (!isOver) this.close(new TimedOut(`no answer in ${(STATEMENT_MS + CANCEL_MS) / SECOND} s`));
    };
    const watch = setInterval(() => void giveUp().catch(() => isOver || this.close()), STATEMENT_MS);
    return this.settle(query).finally(() => {
      isOver = true;
      clearInterval(watch);
    });
  }

  /** Settles as a query does; rejects, too, when the connection is closed. */
  async settle<T>(query: PromiseLike<T>): Promise<T> {
    const outcome = deferred<T>();
    this.#running.add(outcome.reject);
    query.then(outcome.resolve, outcome.reject);
    return outcome.promise.finally(() => this.#running.delete(outcome.reject));
  }

  onClose(act: () => void): void {
    if (this.#socket.closed) act();
    else this.#socket.once("close", act);
  }

  /** Commits; rejects unless the server confirms that, and where a synchronous standby may lack it. */
  async commit(): Promise<void> {
    this.#isStandbyMissed = false;
    const { command } = await this.run(this.sql`commit`);
    if (command !== "COMMIT") throw new Error("the transaction was rolled back");
    if (this.#isStandbyMissed) throw new Error("a synchronous standby may lack it");
  }

  /** The positions that a query string returns. */
  async positions(statements: string): Promise<Set<number>> {
    const found = new Set<number>();
    await this.run(this.sql.unsafe(statements).forEach(({ position }) => void found.add(Number(position))));
    return found;
  }

  /** Sends a COPY's input; resolves when the server has taken all of it, as `lines` rows, and rejects otherwise. */
  async copy(statement: string, input: Buffer[], lines: number): Promise<void> {
    const { command, count } = await this.run(startCopy(this.sql, this.#socket, statement, input));
    if (command === "COPY" && count === lines) return;
    throw new Error(`the driver reports ${command} ${count}, not COPY ${lines}; postgres@${DRIVER_VERSION} is known`);
  }

  /**
   * Runs one statement that may only read, for up to 2 s; a session whose reader left is not used again. PGlite has one
   * session and can't stop a statement: there it runs to its end.
   */
  async read(statement: string, values: string[], signal: AbortSignal): Promise<(string | null)[][]> {
    signal.throwIfAborted();
    const leave = () => void (this.#server.isShared && this.cancel().catch(() => {}));
    signal.addEventListener("abort", leave);
    try {
      await this.run(this.sql.unsafe("begin read only; set local statement_timeout = '2s'; set local jit = off"));
      const rows = (await this.run(this.sql.unsafe(statement, values).raw())) as unknown as RawRows;
      await this.run(this.sql`commit`);
      return rows.map((row) => row.map((value) => value?.toString() ?? null));
    } finally {
      signal.removeEventListener("abort", leave);
      if (signal.aborted && this.#server.isShared) this.close();
    }
  }

  /** Rolls back what failed, or closes the session; rejects with the error that it was given. */
  async recover(error: unknown): Promise<never> {
    const isRolledBack = isFromServer(error) && (await this.run(this.sql`rollback`).then(isTrue, isFalse));
    if (!isRolledBack) this.close();
    throw error;
  }

  /** Closes the session after so long without use; 0 for never. */
  setIdle(ms: number): void {
    clearTimeout(this.#idleTimer);
    if (ms > 0) this.#idleTimer = setTimeout(() => this.close(), ms).unref();
  }

  /** Has the server cancel what it runs: CancelRequest (PostgreSQL's manual, section 55.7). */
  async cancel(): Promise<void> {
    if (!this.#backend) return;
    const { pid, secret } = this.#backend;
    const request = Buffer.alloc(16);
    for (const [index, word] of [16, 80_877_102, pid, secret].entries()) request.writeUInt32BE(word, 4 * index);
    (await this.#server.connect()).end(request);
  }

  /** Closes the session, and tells the server if that still reads. What runs fails, at once where a cause is given. */
  close(cause?: Error): void {
    if (cause) this.#fail(cause);
    this.#isClosing = true;
    this.setIdle(0);
    void this.sql.end({ timeout: 0 }).catch(() => {}); // it may never resolve
    setTimeout(() => this.#socket.destroy(), CLOSE_MS).unref();
  }

  #fail(cause: Error): void {
    for (const reject of this.#running) reject(cause);
  }

  async #greet(): Promise<void> {
    const first = this
      .sql`select pg_is_in_recovery() or current_setting('transaction_read_only')::bool as "isReadOnly"`;
    const [row] = await this.run(first);
    this.#backend = (first as unknown as { state: { pid: number; secret: number } }).state;
    const isReadOnly = row?.["isReadOnly"] === true;
    if (isReadOnly && this.#server.wantsPrimary) throw new Error("this server takes no writes; trying the next one");
  }

  /** Whether its commit only waits for a synchronous standby: a cancel would commit without that standby. */
  async #isWaitingForStandby(): Promise<boolean> {
    if (!this.#backend || !this.#server.isShared) return false;
    const other = await Session.open(this.#server);
    const [row] = await other.sql`select wait_event from pg_stat_activity where pid = ${this.#backend.pid}`.finally(
      () => other.close(),
    );
    return row?.["wait_event"] === "SyncRep";
  }
}

const CLOSE_MS = 500;

const isTrue = () => true;
const isFalse = () => false;

/** A client of postgres.js on a socket of ours. Where that is closed it asks for another, and gets none. */
function makeClient(
  server: DatabaseServer,
  socket: Socket,
  driver: Driver,
  onnotice: (notice: postgres.Notice) => void,
) {
  const { user, database, parameters } = server;
  let isGiven = false;
  const giveSocket = () => {
    if (isGiven) throw new Error("the connection was lost");
    isGiven = true;
    return socket;
  };
  const isSound = guardLogin(socket);
  return driver({
    ...({ socket: giveSocket } as object), // postgres.js documents it, its types don't
    host: "localhost", // given, as the port is, so that the driver reads no environment for it; not used
    port: 5432,
    user,
    database,
    password: () => (isSound() ? server.password : new Promise<never>(() => {})),
    connection: { application_name: "collector", ...parameters },
    max: 1,
    ssl: false, // the socket has TLS already, where it is asked for
    prepare: false, // PgBouncer in transaction mode
    fetch_types: false,
    max_lifetime: null,
    connect_timeout: 0,
    keep_alive: 10, // s
    onnotice,
  });
}

const LOGIN_MESSAGE_MAX_SIZE = 64 * KIB;
const ROUNDS_MAX = 1_000_000; // of PBKDF2, about half a second; PostgreSQL's default is 4,096
const AUTHENTICATION = 82; // "R"
const [AUTHENTICATED, SCRAM_CHALLENGE] = [0, 11];

/**
 * Closes a connection whose log-in the driver would not survive: a message that is too short throws where nobody can
 * catch it, and one can ask for endless rounds of PBKDF2 (RFC 5802, section 5.1). Returns a function that tells whether
 * all was sound so far; the driver asks for the password only after the server's challenge.
 */
function guardLogin(socket: Socket): () => boolean {
  let [pending, isSound] = [Buffer.alloc(0), true];
  const refuse = () => {
    isSound = false;
    socket.off("data", inspect).destroy(new Error("what answers there does not log in as PostgreSQL does"));
  };
  const inspect = (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 5) {
      const end = 1 + pending.readUInt32BE(1);
      if (end < 5 || end > LOGIN_MESSAGE_MAX_SIZE) return refuse();
      if (pending.length < end) return;
      const message = pending.subarray(0, end);
      pending = pending.subarray(end);
      if (message[0] !== AUTHENTICATION) continue;
      if (end < 9) return refuse();
      if (message.readUInt32BE(5) === SCRAM_CHALLENGE && !isScramChallenge(message.toString("latin1", 9)))
        return refuse();
      if (message.readUInt32BE(5) === AUTHENTICATED) return void socket.off("data", inspect);
    }
  };
  socket.on("data", inspect);
  return () => isSound;
}

function isScramChallenge(text: string): boolean {
  const [, rounds] = /^r=[^,]+,s=[\w+/]+=*,i=(\d{1,9})$/.exec(text) ?? [];
  return Number(rounds) >= 1 && Number(rounds) <= ROUNDS_MAX;
}

/**
 * Starts a COPY of `input`. postgres.js resolves the query when rows may be sent, and tells nobody how the COPY ends
 * (porsager/postgres#1173). So the function that it resolves with is replaced: the query settles when the COPY ends.
 */
function startCopy(
  sql: postgres.Sql,
  socket: Socket,
  statement: string,
  input: Buffer[],
): Promise<postgres.RowList<postgres.Row[]>> {
  const query = sql.unsafe(statement);
  const waiting = query as unknown as { resolve: (outcome: unknown) => void };
  const { resolve: settle } = waiting;
  waiting.resolve = (outcome) => {
    if (!(outcome instanceof Writable)) return settle(outcome);
    // The driver's own `_destroy` sends a CopyFail after a COPY that has ended.
    Object.assign(outcome, { _destroy: (error: Error, done: (error: Error) => void) => done(error) });
    outcome.on("error", () => {}); // the query rejects
    sendCopyData(socket, input);
    outcome.end();
  };
  return query;
}

/** Sends CopyData messages (PostgreSQL's manual, section 55.7). The driver would copy each into larger memory first. */
function sendCopyData(socket: Socket, input: Buffer[]): void {
  socket.cork(); // one write, however many messages
  for (const bytes of input) {
    const header = Buffer.from("d....");
    header.writeUInt32BE(4 + bytes.length, 1);
    socket.write(header);
    socket.write(bytes);
  }
  socket.uncork();
}

/**
 * Runs a user's statement on a session of its own; its rows are fetched as fast as they are taken. Only the time in
 * which the server works counts towards `timeoutMs`.
 */
async function* queryServer(
  server: DatabaseServer,
  statement: string,
  { isWrite, timeoutMs, signal }: StatementOptions,
): AsyncGenerator<Table> {
  const session = await Session.open(server);
  const tables = new AsyncQueue<Table>(1);
  let isOver = false;
  const cancel = () => {
    void session.cancel().catch(() => {});
    setTimeout(() => session.close(), CANCEL_MS).unref();
  };
  const stopwatch = new Stopwatch(timeoutMs, cancel);
  const run = async () => {
    if (!isWrite) await session.run(session.sql`begin read only`);
    stopwatch.start();
    const take = async (table: Table) => {
      stopwatch.stop();
      await tables.push(table);
      stopwatch.start();
    };
    await take(await session.settle(startCursor(session, statement, take)));
  };
  const running = run().finally(() => {
    isOver = true;
    stopwatch.stop();
    tables.close();
  });
  running.catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    yield* tables;
    await running;
  } catch (error) {
    throw stopwatch.isOver ? tookTooLong(timeoutMs) : error;
  } finally {
    signal.removeEventListener("abort", cancel);
    if (!isOver) await session.cancel().catch(() => {});
    session.close();
  }
}

type RawRows = postgres.RowList<(Buffer | null)[][]>;

/**
 * Runs one statement, and passes some rows at a time to `take`; resolves to the last ones. Where `simple` is false,
 * PostgreSQL refuses a text of several statements. When the connection was lost meanwhile, the driver must not go on: a
 * promise that never resolves stops it.
 */
async function startCursor(session: Session, statement: string, take: (table: Table) => Promise<void>) {
  const query = session.sql.unsafe(statement, [], { simple: false } as object).raw();
  let columns: Column[] = [];
  const tableFrom = (rows: RawRows) => {
    const { columns: found }: { columns?: Column[] } = rows; // the first rows have them
    columns = found ?? columns;
    const outcome = `${rows.command}${rows.command === "INSERT" ? " 0" : ""} ${rows.count ?? ""}`.trimEnd();
    return tableOf(
      columns,
      rows.map((row) => row.map((value) => value?.toString() ?? null)),
      outcome,
    );
  };
  const last = query.cursor(ROWS_AT_ONCE, async (rows) => {
    if ((rows as unknown as RawRows).command) return; // the last rows: the query resolves to them
    const isTaken = await take(tableFrom(rows as unknown as RawRows)).then(isTrue, isFalse);
    if (!isTaken || !session.isOpen) await new Promise<never>(() => {});
  });
  return tableFrom(await last);
}

interface Column {
  name: string;
  type: number; // its oid
}

const BOOLEAN_TYPE = 16;
const BARE_TYPES = new Set([BOOLEAN_TYPE, 20, 21, 23, 26, 114, 700, 701, 1700, 3802]); // numbers, json and jsonb

/** Makes a table of rows as a server sends them, in its text format. */
function tableOf(columns: Column[], rows: (string | null)[][], outcome: string): Table {
  const isBoolean = columns.map(({ type }) => type === BOOLEAN_TYPE);
  const cellOf = (value: string | null, at: number) =>
    value !== null && isBoolean[at] ? String(value === "t") : value;
  return {
    columns: columns.map(({ name, type }) => ({ name, isBare: BARE_TYPES.has(type) })),
    rows: isBoolean.includes(true) ? rows.map((row) => row.map(cellOf)) : rows,
    outcome: columns.length > 0 ? "" : outcome,
  };
}

const tookTooLong = (timeoutMs: number) =>
  new Error(`it took longer than ${timeoutMs / SECOND} s; --timeout TIME allows more`);

/** Calls a function when it has run for so long, pauses not counted. */
class Stopwatch {
  isOver = false;
  #leftMs: number;
  readonly #call: () => void;
  #startedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number, call: () => void) {
    this.#leftMs = ms;
    this.#call = () => {
      this.isOver = true;
      call();
    };
  }

  start(): void {
    this.#startedAtMs = performance.now();
    this.#timer = setTimeout(this.#call, this.#leftMs);
  }

  stop(): void {
    if (this.#timer) this.#leftMs -= performance.now() - this.#startedAtMs;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * Catches what the driver throws where nobody else can, such as a write to a connection that was just closed: then the
 * connections are closed, and storing goes on. Any other error ends the process, as it would without the watch. Returns
 * a function that ends the watch.
 */
function watchDriver(disconnect: () => void, log: Log): () => void {
  const handle = (error: unknown) => {
    if (isOfDriver(error)) {
      log(`the database driver failed: ${describeError(error)}; connecting anew`);
      return disconnect();
    }
    if (process.listenerCount("uncaughtException") > 1) return; // others decide
    console.error(error);
    process.exit(1);
  };
  process.on("uncaughtException", handle).on("unhandledRejection", handle);
  return () => void process.off("uncaughtException", handle).off("unhandledRejection", handle);
}

const isOfDriver = (error: unknown) =>
  error instanceof Error && /[\\/]node_modules[\\/](?:postgres|mysql2)[\\/]/.test(error.stack ?? "");

/** Logs a warning where the installed driver is not the version whose internals this section knows. */
function warnOfDriver(log: Log): void {
  const path = /^.*[\\/]postgres(?=[\\/])/.exec(fileURLToPath(locatePackages(DRIVER)[0]!))?.[0] ?? "";
  const { version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as { version: string };
  const remedy = `type npm i postgres@${DRIVER_VERSION}, the version that this collector is tested with`;
  if (version !== DRIVER_VERSION) log(`warning: the installed driver is postgres@${version}; ${remedy}`);
}

// ---- PostgreSQL's address ---------------------------------------------------
// Reads a URL and psql's environment variables (PostgreSQL's manual, sections 34.1.2, 34.15, 34.16): which server, as
// which user, and how TLS is verified. What concerns security is honoured or refused by name, never ignored.

const CONNECT_MS = 4 * SECOND; // doubled after each time-out, up to eight times as long

/** Environment variables that stand for a parameter that the URL lacks. */
const ENVIRONMENT: Record<string, string> = {
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  dbname: "PGDATABASE",
  passfile: "PGPASSFILE",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  target_session_attrs: "PGTARGETSESSIONATTRS",
  connect_timeout: "PGCONNECT_TIMEOUT",
  options: "PGOPTIONS",
  channel_binding: "PGCHANNELBINDING",
  gssencmode: "PGGSSENCMODE",
  require_auth: "PGREQUIREAUTH",
  requirepeer: "PGREQUIREPEER",
  sslcrl: "PGSSLCRL",
  sslcrldir: "PGSSLCRLDIR",
  ssl_min_protocol_version: "PGSSLMINPROTOCOLVERSION",
  service: "PGSERVICE",
};

/** Parameters that the collector can't honour, and those of their values that ask for what it does anyway. */
const ONLY_VALUES: Record<string, string[]> = {
  channel_binding: ["disable", "prefer"],
  gssencmode: ["disable", "prefer"],
  require_auth: [],
  requirepeer: [],
  sslcrl: [],
  sslcrldir: [],
  ssl_min_protocol_version: ["TLSv1", "TLSv1.1", "TLSv1.2"],
  sslnegotiation: ["postgres"],
  sslpassword: [],
  service: [],
  target_session_attrs: ["any", "read-write", "primary"],
  sslmode: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
};

/** A server, or several of which one takes writes. Throws {@link UsageError} for what it can't honour. */
class PostgresServer implements DatabaseServer {
  readonly name: string;
  readonly user: string;
  readonly database: string;
  readonly password: string;
  readonly parameters: Record<string, string>;
  readonly isShared = true;
  readonly wantsPrimary: boolean;
  readonly #hosts: { host: string; port: number }[];
  readonly #sslmode: string;
  readonly #certificates: SecureContextOptions;
  readonly #connectMs: number;
  #turn = 0;
  #timeouts = 0;

  constructor(databaseUrl: string, environment: NodeJS.ProcessEnv) {
    const given = readAddress(databaseUrl, environment);
    refuseUnhonoured(given);
    const { host, port, user, password, dbname, passfile, sslmode, sslrootcert, sslcert, sslkey } = given;
    const { target_session_attrs: target, connect_timeout: seconds, ...others } = given;
    this.#hosts = listHosts(host || "localhost", port || "5432");
    this.user = user || userInfo().username;
    this.database = dbname || this.user;
    const [first] = this.#hosts;
    const wanted = [isFolder(first!.host) ? "localhost" : first!.host, String(first!.port), this.database, this.user];
    this.password = password || readPasswordFile(passfile, wanted);
    this.parameters = Object.fromEntries(
      Object.entries(others).filter(([name]) => !(name in ENVIRONMENT) || name === "options"),
    );
    this.#sslmode =
      sslmode || (sslrootcert === "system" ? "verify-full" : this.#hosts.every(isNear) ? "disable" : "prefer");
    this.#certificates = readClientCertificates(sslrootcert, sslcert, sslkey);
    this.#connectMs = Number(seconds) > 0 ? Number(seconds) * SECOND : CONNECT_MS;
    this.wantsPrimary = target === undefined ? this.#hosts.length > 1 : target !== "any";
    this.name = `PostgreSQL at ${this.#hosts.map(formatHost).join(",")}/${this.database}`;
  }

  get timeoutMs(): number {
    return this.#connectMs * 2 ** Math.min(this.#timeouts, 3);
  }

  /** Makes the next try go to the next host and, after a time-out, wait longer. */
  noteFailure(error: unknown): void {
    this.#turn++;
    if (error instanceof TimedOut) this.#timeouts++;
  }

  noteSuccess(): void {
    this.#timeouts = 0;
  }

  async connect(): Promise<Socket> {
    const { host, port } = this.#hosts[this.#turn % this.#hosts.length]!;
    const socket = new Socket().setNoDelay().setKeepAlive(true, 10 * SECOND); // `connect` would not take them
    guardSocket(socket);
    if (isFolder(host)) socket.connect(`${host}/.s.PGSQL.${port}`);
    else socket.connect(port, host);
    const ready = once(socket, "connect").then(() => (isFolder(host) ? socket : this.#secure(socket, host)));
    return deadline(ready, this.timeoutMs).catch((error: unknown) => {
      socket.destroy();
      throw error;
    });
  }

  /** Lays TLS over a connection (PostgreSQL's manual, sections 55.2.10, 34.19), or none where sslmode allows that. */
  async #secure(socket: Socket, host: string): Promise<Socket> {
    if (this.#sslmode === "disable") return socket;
    socket.write(SSL_REQUEST);
    const answer = await firstByte(socket);
    if (answer === NO_TLS && (this.#sslmode === "prefer" || this.#sslmode === "allow")) return socket;
    if (answer !== YES_TLS)
      throw new Error(`the server offers no TLS, and sslmode=${this.#sslmode} asks for it; turn ssl on there`);
    const isVerified = this.#sslmode.startsWith("verify-") || this.#certificates.ca !== undefined;
    const secured = connectTls({
      socket,
      ...this.#certificates,
      ...(isIP(host) === 0 ? { servername: host } : { host }), // an address is no server name (RFC 6066, section 3)
      rejectUnauthorized: isVerified,
      ...(this.#sslmode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
    });
    guardSocket(secured);
    await Promise.race([once(secured, "secureConnect"), once(socket, "close").then(refuseLost)]);
    return secured;
  }
}

const SSL_REQUEST = Buffer.of(0, 0, 0, 8, 4, 210, 22, 47);
const [YES_TLS, NO_TLS] = [83, 78]; // "S", "N"

/** The first byte, if it came alone: unencrypted bytes after it would count as the server's own (CVE-2021-23222). */
async function firstByte(socket: Socket): Promise<number | undefined> {
  const [bytes] = (await Promise.race([once(socket, "data"), once(socket, "close").then(refuseLost)])) as [Buffer];
  socket.pause();
  return bytes.length === 1 ? bytes[0] : undefined;
}

const refuseLost = () => {
  throw new Error("the connection was lost");
};

/** Keeps an error listener on a socket for its whole life, even when the driver removes all; closes it at its end. */
function guardSocket(socket: Socket): void {
  socket.on("error", ignoreError).on("end", () => socket.destroy(new Error("the server closed the connection")));
  socket.once("close", () => process.nextTick(() => socket.on("error", ignoreError)));
}

const ignoreError = () => {};

const isFolder = (host: string) => host.startsWith("/");
const isNear = ({ host }: { host: string }) => isFolder(host) || LOOPBACK.test(host);
const formatHost = ({ host, port }: { host: string; port: number }) =>
  `${host.includes(":") ? `[${host}]` : host}:${port}`;

/** The URL's parts and parameters, and the environment's for those that it lacks; none is empty. */
function readAddress(databaseUrl: string, environment: NodeJS.ProcessEnv): Record<string, string> {
  const [, user = "", password = "", authority = "", path = "", query = ""] =
    /^\w+:\/\/(?:([^:@/?]*)(?::([^/?]*))?@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(databaseUrl) ?? [];
  const hosts = authority.split(",").map((text) => /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(text) ?? []);
  const address: Record<string, string> = {};
  for (const [name, variable] of Object.entries(ENVIRONMENT)) address[name] = environment[variable] ?? "";
  const parts = {
    host: hosts.map(([, host = ""]) => decodeURIComponent(host.replace(/^\[|\]$/g, ""))).join(","),
    port: hosts.some(([, , port]) => port) ? hosts.map(([, , port = ""]) => port).join(",") : "",
    user: decodeURIComponent(user),
    password: decodeURIComponent(password),
    dbname: decodeURIComponent(path),
    ...Object.fromEntries(new URLSearchParams(query)),
  };
  for (const [name, value] of Object.entries(parts)) if (value !== "") address[name] = value;
  return Object.fromEntries(Object.entries(address).filter(([, value]) => value !== ""));
}

function refuseUnhonoured(address: Record<string, string>): void {
  for (const [name, values] of Object.entries(ONLY_VALUES)) {
    const value = address[name];
    if (value === undefined || values.includes(value)) continue;
    const allowed = values.length > 0 ? values.join(", ") : "to leave it out";
    const variable = ENVIRONMENT[name];
    throw new UsageError(
      `Cannot honour ${name}=${value} of --database-url${variable ? ` or ${variable}` : ""}: allowed is ${allowed}`,
    );
  }
}

/** Pairs hosts and ports as psql does: one port for all hosts, or one for each. */
function listHosts(hosts: string, ports: string): { host: string; port: number }[] {
  const each = ports.split(",");
  return hosts.split(",").map((host, index) => ({ host, port: Number(each[index] || each[0] || 5432) }));
}

/**
 * Finds the password in ~/.pgpass or PGPASSFILE (PostgreSQL's manual, section 34.16); "" where it has none, or others
 * may read the file.
 */
function readPasswordFile(file: string | undefined, wanted: string[]): string {
  const path = file ?? join(homedir(), ".pgpass");
  if (!existsSync(path) || (statSync(path).mode & 0o077) !== 0) return "";
  for (const line of readFileSync(path, "utf8").split("\n")) {
    const fields = (line.match(/(?:\\.|[^:\\])+/g) ?? []).map((field) => field.replace(/\\(.)/g, "$1"));
    if (!line.startsWith("#") && wanted.every((value, at) => fields[at] === "*" || fields[at] === value))
      return fields[4] ?? "";
  }
  return "";
}

/** Reads the certificates and the key. `sslrootcert=system`, or none, means the CA certificates that come with Node. */
function readClientCertificates(ca = "", cert = "", key = ""): SecureContextOptions {
  return {
    ...(ca === "" || ca === "system" ? {} : { ca: readPem("sslrootcert", ca, (pem) => new X509Certificate(pem)) }),
    ...(cert === "" ? {} : { cert: readPem("sslcert", cert, (pem) => createSecureContext({ cert: pem })) }),
    ...(key === "" ? {} : { key: readPem("sslkey", key, createPrivateKey) }),
  };
}

// ---- Commands ---------------------------------------------------------------
// query, and dead list, retry and drop: what the command line asks of the database. An answer is printed as it comes.

/** What commands and the log page ask of a store. */
interface AskedStore {
  /** Runs one statement of a user's without holding up storing; yields its rows as they come. */
  query(statement: string, options: StatementOptions): AsyncIterable<Table>;
  /** The dead letters, the oldest first, with their bytes as text. */
  listDeadLetters(options: StatementOptions): AsyncIterable<Table>;
  deadLetterIds(): Promise<string[]>;
  /** Deletes dead letters; resolves to how many of them there were. */
  dropDeadLetters(ids: string[]): Promise<number>;
  /** Tries dead letters once more. One transaction deletes them, and stores their lines or sets them aside anew. */
  retryDeadLetters(ids: string[], readLetter: ReadLetter): Promise<{ stored: number; refused: number }>;
  /**
   * Runs one read-only statement for the log page; resolves to its rows as texts. It is cancelled after 2 s, and when
   * the signal aborts. A store without it has no log page.
   */
  read?(statement: string, values: string[], signal: AbortSignal): Promise<(string | null)[][]>;
}

/** A command line's words, and how its statement runs. */
export interface Command {
  words: string[];
  /** Whether `query` may write; without it, the statement runs in a read-only transaction. */
  isWrite?: boolean;
  /** How long a statement of `query` may run; a minute where it is not given. */
  timeoutMs?: number;
  /** No more rows than these are wanted. */
  maxRows?: number;
  /** The range of `search`: times, or ages such as 2h. */
  since?: string;
  until?: string;
  /** Whether `search` and `tail` give all columns, or lines to read. */
  isJson?: boolean;
}

/** Some rows of an answer as text; `isBare` tells columns whose text is JSON as it stands. */
export interface Table {
  columns: { name: string; isBare: boolean }[];
  rows: (string | null)[][];
  /** What a statement without rows did, such as "DELETE 3"; "" where it has rows. */
  outcome: string;
}

/** A part of a command's answer; `waitingFor` is the state of things until there is one. */
export interface Answer {
  table?: Table;
  waitingFor?: string;
  /** Lines that were acknowledged before the command, and are not stored yet: the answer may lack them. */
  missingLines?: number;
}

const STATEMENT_DEADLINE_MS = MINUTE;

/** How a user's statement runs; whoever aborts `signal` has it cancelled. */
export interface StatementOptions {
  isWrite: boolean;
  timeoutMs: number;
  maxRows: number;
  signal: AbortSignal;
}

function isCommand([subject, what = "", ...more]: string[]): boolean {
  if (subject === "page") return what === "";
  if (subject === "search" || subject === "tail") return more.length === 0;
  if (subject === "query") return what.trim() !== "" && more.length === 0;
  const areIds = more.every((id) => /^\d{1,18}$/.test(id));
  return subject === "dead" && (what === "list" ? more.length === 0 : /^(?:retry|drop)$/.test(what) && areIds);
}

function checkCommand({ words }: Command): void {
  const lists = "dead list, dead retry [ID …] or dead drop [ID …]";
  const allowed = `allowed is page, search ["…"], tail ["…"], query "select …", ${lists}`;
  if (!isCommand(words)) throw new UsageError(`Cannot run "${words.join(" ")}": ${allowed}`);
}

/** Runs a command; throws an error that names it, or {@link UsageError} for one that is none. */
async function* runCommand(
  store: Store,
  command: Command,
  parser: LineParser,
  signal: AbortSignal,
): AsyncGenerator<Table> {
  const { words, isWrite = false, timeoutMs = STATEMENT_DEADLINE_MS, maxRows = Infinity } = command;
  checkCommand(command);
  const [subject, what = "", ...ids] = words;
  const options = { isWrite, timeoutMs, maxRows, signal };
  try {
    if (subject === "search" || subject === "tail") yield* readLogs(store, command, maxRows, signal);
    else if (subject === "query") yield* store.query(refuseCopy(what), options);
    else if (what === "list") yield* store.listDeadLetters({ ...options, isWrite: false });
    else yield outcomeOf(await (what === "retry" ? retryLetters(store, ids, parser) : dropLetters(store, ids)));
  } catch (error) {
    if (error instanceof UsageError || error instanceof DatabaseRefused) throw error;
    const Failure = codeOf(error) === NO_DATABASE ? UsageError : Error;
    throw new Failure(`Cannot run ${subject === "dead" ? `dead ${what}` : subject}: ${explainError(error, store)}`, {
      cause: error,
    });
  }
}

const NO_DATABASE = "3D000"; // SQLSTATE

const LOG_COLUMNS = ["created_at", "id", "level", "message", "logged_at", "host", "app", "peer", "attributes"] as const;
const BARE_LOG_COLUMNS = new Set(["id", "level", "attributes"]);

/** The log page's search and live tail in the terminal. */
async function* readLogs(store: Store, command: Command, maxRows: number, signal: AbortSignal): AsyncGenerator<Table> {
  const { words, since, until, isJson = false } = command;
  const obstacle = viewerObstacle(store);
  if (obstacle !== "") throw new UsageError(`Cannot run ${words[0]}: ${obstacle}`);
  const { searchLogs, tailLogs, textOfRow, RequestError } = await loadViewer();
  const reader: LogReader = {
    read: (...statement) => store.read!(...statement),
    isEmbedded: store.sessions === 1,
    levels: { numberOf: levelOf, names: LEVEL_STEPS },
  };
  const [subject, query = ""] = words;
  const columns = isJson ? LOG_COLUMNS.map((name) => ({ name, isBare: BARE_LOG_COLUMNS.has(name) })) : [];
  const parts =
    subject === "tail" ? tailLogs(reader, query, signal) : searchLogs(reader, { query, since, until }, signal);
  let left = maxRows;
  try {
    for await (const part of parts) {
      const { rows: found, skipped } = Array.isArray(part) ? { rows: part, skipped: 0 } : part;
      const rows = found.slice(0, left);
      left -= rows.length;
      if (skipped > 0) writeLog(`${countOf(skipped, "line")} skipped: they came too fast`);
      const cells = rows.map((row) => LOG_COLUMNS.map((name) => (row[name] === null ? null : String(row[name]))));
      yield {
        columns,
        rows: isJson ? cells : [],
        outcome: rows.map((row) => textOfRow(row, reader.levels)).join("\n"),
      };
      if (left <= 0) return;
    }
  } catch (error) {
    throw error instanceof RequestError ? new UsageError(error.message) : error;
  }
}

const outcomeOf = (outcome: string): Table => ({ columns: [], rows: [], outcome });

/** COPY speaks of files and streams that a command does not have. Throws for a statement that is none, too. */
function refuseCopy(statement: string): string {
  const [word = ""] = /^\w*/.exec(withoutComments(statement)) ?? [];
  if (/^copy$/i.test(word)) throw new Error("COPY is refused; select the rows, or use psql");
  if (withoutComments(statement) === "") throw new Error("there is no statement");
  return statement;
}

/** A statement without the white space, comments and semicolons in front of it. */
function withoutComments(statement: string): string {
  const rest = statement.replace(/^(?:[\s;]+|--.*)+/, "");
  if (!rest.startsWith("/*")) return rest;
  let depth = 0;
  for (const { 0: mark, index } of rest.matchAll(/\/\*|\*\//g)) {
    depth += mark === "/*" ? 1 : -1; // they nest
    if (depth === 0) return withoutComments(rest.slice(index + 2));
  }
  return rest;
}

/** The ids that are asked for, or all. Throws for one that no dead letter has: nothing is done then. */
async function chooseDeadLetters(store: Store, asked: string[]): Promise<string[]> {
  const ids = new Set(await store.deadLetterIds());
  const missing = asked.filter((id) => !ids.has(id)).join(", ");
  if (missing !== "") throw new Error(`there is no dead letter ${missing}; nothing was done`);
  return asked.length > 0 ? asked : [...ids];
}

async function dropLetters(store: Store, asked: string[]): Promise<string> {
  const dropped = await store.dropDeadLetters(await chooseDeadLetters(store, asked));
  return `${dropped} dropped`;
}

const RETRIED_AT_ONCE = 1000;

async function retryLetters(store: Store, asked: string[], parser: LineParser): Promise<string> {
  const readLetter = ({ timeUs, peer, line, size }: DeadLetter) => [
    lineOfFrame(decodeFrame(line, size), peer, timeUs, parser),
  ];
  const ids = await chooseDeadLetters(store, asked);
  const sum = { stored: 0, refused: 0 };
  for (let at = 0; at < ids.length; at += RETRIED_AT_ONCE) {
    const { stored, refused } = await store.retryDeadLetters(ids.slice(at, at + RETRIED_AT_ONCE), readLetter);
    sum.stored += stored;
    sum.refused += refused;
  }
  return `${sum.stored} stored, ${sum.refused} refused again`;
}

const STALLED_MS = { opening: Infinity, up: 15 * SECOND, away: 5 * SECOND }; // a busy machine's is up, but slow
const SETTLE_MS = MINUTE;
const SETTLE_LOOK_MS = 250;

/** Runs a command beside a collector, when the lines that it acknowledged before are stored. */
async function* answerCommand(
  command: Command,
  journal: Journal,
  database: Database,
  signal: AbortSignal,
): AsyncGenerator<Answer> {
  if (command.words[0] !== "wait") checkCommand(command);
  yield* awaitStored(journal, database, signal);
  if (command.words[0] === "wait") return; // for a command that asks the database itself
  const store = await database
    .use((each) => Promise.resolve(each))
    .catch((error: unknown): never => {
      throw new Error(`Cannot ask ${database.target.name}: ${database.target.describe(error)}`, { cause: error });
    });
  for await (const table of runCommand(store, command, database.parser, signal)) yield { table };
}

/**
 * Waits until the lines that the journal has now are stored. Gives up a minute after the database was opened, or where
 * nothing was stored for 15 s, 5 s of a database that is away; how many lines are missing is then its last answer.
 */
async function* awaitStored(journal: Journal, database: Database, signal: AbortSignal): AsyncGenerator<Answer> {
  const wanted = journal.received;
  let [released, movedAtMs, openAtMs] = [journal.released, performance.now(), performance.now()];
  for (;;) {
    const missingLines = Math.min(wanted, journal.received) - journal.released;
    if (missingLines <= 0 || signal.aborted) return;
    const { state, cause } = database.availability.status;
    const nowMs = performance.now();
    if (isStoreOpening(database)) openAtMs = movedAtMs = nowMs;
    if (journal.released > released) [released, movedAtMs] = [journal.released, nowMs];
    if (nowMs - movedAtMs > STALLED_MS[state] || nowMs - openAtMs > SETTLE_MS) {
      yield { missingLines };
      return;
    }
    await deadline(journal.whenReleased(wanted), SETTLE_LOOK_MS).catch(() => {});
    const lines = `${countOf(missingLines, "line")} to be stored`;
    if (isStoreOpening(database)) yield { waitingFor: "the database to open" };
    else yield { waitingFor: state === "away" ? `${lines} (database away: ${cause})` : lines };
  }
}

const isStoreOpening = ({ availability, target }: Database) =>
  availability.status.state === "opening" || target.isOpening === true;

/** How a command's answer is printed. */
interface Printing {
  isJson: boolean;
  /** Rows printed; what is beyond them is neither printed nor waited for. */
  limit: number;
}

const ROWS_ON_A_TERMINAL = 10_000;

/** Runs a command from the command line and prints its answer; resolves to the exit code. */
async function runOnce(options: Options, command: Command, printing: Printing): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());
  // JSON has no Infinity.
  const asked = Number.isFinite(printing.limit) ? { ...command, maxRows: printing.limit + 1 } : command;
  const isPage = command.words[0] === "page";
  const ask = isPage ? askPage : options.databaseUrl === "" ? askDirectory : askServer;
  try {
    return await printAnswers(ask(options, asked, stop.signal), printing);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return 130; // as after an interrupt
  }
}

/** Asks the server; first, where a collector of this data directory stores there, waits for that. */
async function* askServer(options: Options, command: Command, signal: AbortSignal): AsyncGenerator<Answer> {
  const store = await openStore(options, writeLog);
  const holder = await meetHolder(options.dataDir).catch(() => undefined);
  if (holder && !holder.isBrief && holder.database === store.name) yield* holder.ask({ words: ["wait"] });
  else holder?.leave();
  try {
    for await (const table of runCommand(store, command, new LineParser(options.timezone), signal)) yield { table };
  } finally {
    await store.close();
  }
}

/** Asks the collector that runs here for its page's link; where none runs, the link that it would have. */
async function* askPage(options: Options, command: Command): AsyncGenerator<Answer> {
  const holder = await meetHolder(options.dataDir).catch(() => undefined);
  if (holder && !holder.isBrief) yield* holder.ask(command);
  else yield { table: outcomeOf(await findPageLink(options)) };
  holder?.leave();
}

/** Asks the collector that runs here or, where none does, opens its embedded database: never two on its files. */
async function* askDirectory(options: Options, command: Command, signal: AbortSignal): AsyncGenerator<Answer> {
  const { dataDir } = options;
  const owner = await ownerOf(dataDir);
  const holder = await meetHolder(dataDir);
  signal.addEventListener("abort", () => holder?.leave());
  if (holder && !holder.isBrief) {
    yield* holder.ask(command);
    return;
  }
  holder?.leave();
  await refuseElsewhere(dataDir);
  await becomeOwner(dataDir, owner);
  const store = new PostgresStore(options, readSchema(), () => {}); // what is printed is the answer alone
  const lock = await lockDirectory(dataDir, store.name, true);
  try {
    for await (const table of runCommand(store, command, new LineParser(options.timezone), signal)) yield { table };
  } finally {
    await store.close().finally(() => lock.unlock());
  }
}

interface Owner {
  uid: number;
  gid: number;
}

/** A directory's owner. Throws {@link UsageError} where we can't act for that user. */
async function ownerOf(directory: string): Promise<Owner> {
  const { uid, gid } = await stat(directory).catch((error: unknown): never => {
    const isMissing = codeOf(error) === "ENOENT";
    const cause = isMissing ? "there is no such folder; start the collector first, or choose another" : codeOf(error);
    throw new UsageError(`Cannot read --data-dir ${directory}: ${cause}`);
  });
  const own = process.getuid?.() ?? uid;
  if (own !== uid && own !== 0) refuseFolder(directory, `it is user ${uid}'s; run this as that user`);
  return { uid, gid };
}

/** What we make in a directory must be its owner's: another user's file would lock the collector out. */
async function becomeOwner(directory: string, { uid, gid }: Owner): Promise<void> {
  if ((process.getuid?.() ?? uid) === uid) return;
  process.setgroups?.([gid]);
  process.setgid?.(gid);
  process.setuid?.(uid);
  const why = `user ${uid}, whose it is, may not enter a folder above it; ask while its collector runs`;
  await access(directory).catch(() => refuseFolder(directory, why));
}

const DATABASE_FILE = "database"; // in the data directory: the server that its collector stores into

/** Leaves a note of the server that a collector stores into; on a full disk, an older one. */
async function noteDatabase({ dataDir, databaseUrl }: Options, name: string): Promise<void> {
  const path = join(dataDir, DATABASE_FILE);
  if (databaseUrl === "") return rm(path, { force: true });
  const known = await readFile(path, "utf8").catch(() => "");
  if (known !== `${name}\n`) await writeFile(path, `${name}\n`, { mode: 0o600 }).catch(() => {});
}

/** Throws {@link UsageError} where the collector of a data directory stores into a server, or has not stored yet. */
async function refuseElsewhere(dataDir: string): Promise<void> {
  const name = (await readFile(join(dataDir, DATABASE_FILE), "utf8").catch(() => "")).trim();
  if (name !== "")
    throw new UsageError(
      `Cannot ask --data-dir ${dataDir}: its collector stores into ${name}; set DATABASE_URL to that`,
    );
  if (!existsSync(join(dataDir, "postgres", "PG_VERSION")))
    throw new UsageError(`Cannot ask --data-dir ${dataDir}: there is no database in it yet; a collector makes it`);
}

/** Prints answers as they come; resolves to the exit code: 3 where lines are missing. */
async function printAnswers(answers: AsyncIterable<Answer>, { isJson, limit }: Printing): Promise<number> {
  const printer = isJson ? formatJson : tableFormat();
  let [exitCode, rows] = [0, 0];
  const notice = new Notice();
  for await (const { table, waitingFor, missingLines = 0 } of answers) {
    notice.show(waitingFor === undefined ? "" : `waiting for ${waitingFor}; Ctrl-C gives up`);
    if (missingLines > 0) {
      writeLog(`${countOf(missingLines, "line is", "lines are")} not stored yet: the answer may lack them`);
      exitCode = 3;
    }
    if (!table) continue;
    const kept = table.rows.slice(0, limit - rows);
    if (!(await writeOut(printer({ ...table, rows: kept })))) return exitCode; // who reads has left
    rows += kept.length;
    if (kept.length === table.rows.length) continue;
    writeLog(`${countOf(limit, "row")} printed, there are more: --limit N prints N`);
    return exitCode;
  }
  notice.show("");
  return exitCode;
}

/** What a terminal shows until there is something to print. */
class Notice {
  #isShown = false;

  show(text: string): void {
    if (!process.stderr.isTTY || (text === "" && !this.#isShown)) return;
    process.stderr.write(`${ERASE}${text.slice(0, (process.stderr.columns || 80) - 1)}`);
    this.#isShown = text !== "";
  }
}

/** Resolves when it is written: to whether there still is who reads it. */
function writeOut(text: string): Promise<boolean> {
  return new Promise((fulfil) => process.stdout.write(text, (error) => fulfil(!error)));
}

/** JSON objects, a line each, in which numbers keep their digits. */
function formatJson({ columns, rows }: Table): string {
  const field = (value: string | null, at: number) =>
    `${JSON.stringify(columns[at]?.name)}:${formatCell(value, columns[at]?.isBare === true)}`;
  return rows.map((row) => `${escapeJson(`{${row.map(field).join(",")}}`)}\n`).join("");
}

function formatCell(value: string | null, isBare: boolean): string {
  if (value === null) return "null";
  return isBare && !/^-?(?:NaN|Infinity)$/.test(value) ? value.replaceAll("\n", " ") : JSON.stringify(value);
}

/** Formats tables that follow each other as one: aligned, under the first one's head; columns widen as they have to. */
function tableFormat(): (table: Table) => string {
  let widths: number[] | undefined;
  return ({ columns, rows, outcome }) => {
    if (columns.length === 0) return outcome === "" ? "" : `${outcome}\n`;
    const head = columns.map(({ name }) => escapeText(name));
    const cells = rows.map((row) => row.map((value) => escapeText(value ?? "")));
    const before = widths;
    const wide = head.map((name, at) =>
      [name, ...cells.map((row) => row[at] ?? "")].reduce(
        (max, { length }) => Math.max(max, length),
        before?.[at] ?? 0,
      ),
    );
    widths = wide;
    const rule = wide.map((width) => "-".repeat(width));
    const all = before ? cells : [head, rule, ...cells];
    const pad = (text: string, at: number) => text.padEnd(wide[at] ?? 0);
    return all.map((row) => `${row.map(pad).join("  ").trimEnd()}\n`).join("");
  };
}

/** Control characters, and those that turn the direction of what follows: a sender's must not reach a terminal. */
const UNPRINTABLE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f" };

/** Escapes as psql does: \x1B, \u202E. */
function escapeText(text: string): string {
  return text.replace(UNPRINTABLE, (mark) => {
    const digits = mark.charCodeAt(0).toString(16).toUpperCase();
    return (
      ESCAPES[mark] ??
      (digits.length > 2 || digits >= "80" ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`)
    );
  });
}

const escapeJson = (text: string) =>
  text.replace(UNPRINTABLE, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);

// ---- Limits on senders ------------------------------------------------------
// How much of senders is taken at a time, and how many of them: places, memory that is read ahead, replies that are
// owed.

const READ_AHEAD_SIZE = 2 * MIB; // for all senders together, read while their last lines are being synced
const READ_AHEAD_MIN_SIZE = 16 * KIB; // for each sender, however many there are
const IN_FLIGHT_MAX_SIZE = 8 * MIB; // of all senders together, read and not durable yet; beyond it, they take turns
const CHUNK_SIZE = 64 * KIB; // the largest chunk: what Node reads from a socket at a time
const TURN_MS = 20; // approximate; work on what came, for one sender and for all, until the event loop has its turn
const SHORT_MS = 0.1; // work that does not count
const SMALL_SIZE = 4 * KIB; // smaller chunks are copied together, as each takes 200 bytes besides its own

/** Places for connections: a number in all, and one for each address but this machine's and the proxies'. */
class Places {
  readonly #max: number;
  readonly #maxOfPeer: number;
  readonly #isProxy: (address: string) => boolean;
  readonly #taken = new Map<string, number>();
  #size = 0;

  constructor({ maxConnections, maxConnectionsPerPeer }: Options, isProxy: (address: string) => boolean) {
    this.#max = maxConnections;
    this.#maxOfPeer = maxConnectionsPerPeer === "half" ? Math.ceil(maxConnections / 2) : maxConnectionsPerPeer;
    this.#isProxy = isProxy;
  }

  /** Has a place for a peer until the promise settles. Rejects with {@link Refused} where there is none. */
  async during<Value>(peer: string, use: () => Promise<Value>): Promise<Value> {
    const taken = this.#taken.get(peer) ?? 0;
    if (taken >= this.#maxOfPeer && !LOOPBACK.test(peer) && !this.#isProxy(peer))
      throw new Refused(`${taken} connections from there are open, --max-connections-per-peer allows no more`);
    if (this.#size >= this.#max)
      throw new Refused(`${this.#size} connections are open, --max-connections allows no more`);
    this.#change(peer, 1);
    return use().finally(() => this.#change(peer, -1));
  }

  #change(peer: string, by: number): void {
    const taken = (this.#taken.get(peer) ?? 0) + by;
    if (taken > 0) this.#taken.set(peer, taken);
    else this.#taken.delete(peer);
    this.#size += by;
  }
}

/** How much has been read from all senders that is not durable yet: that is what memory holds. */
export class InFlight {
  readonly turns = new Turns();
  #size = 0;
  #inboxes = 0;
  #isLettingIn = false;
  readonly #waiting: Deferred<void>[] = [];

  open(): void {
    this.#inboxes++;
  }

  close(): void {
    this.#inboxes--;
  }

  add(size: number): void {
    this.#size += size;
  }

  remove(size: number): void {
    this.#size -= size;
    if (!this.#isLettingIn) this.#letIn();
  }

  /** Whether a sender must not be read from for now, so much of it being read ahead. */
  mustPause(size: number): boolean {
    return size >= Math.max(READ_AHEAD_MIN_SIZE, READ_AHEAD_SIZE / this.#inboxes) || this.isFull;
  }

  get isFull(): boolean {
    return this.#size >= IN_FLIGHT_MAX_SIZE;
  }

  /** Resolves when it is a sender's turn to be read from. */
  async turn(): Promise<void> {
    const turn = deferred<void>();
    this.#waiting.push(turn);
    await turn.promise;
  }

  /** Has as many read from as there is room for, if each sends a whole chunk; then looks at what they did send. */
  #letIn(): void {
    const count = Math.ceil((IN_FLIGHT_MAX_SIZE - this.#size) / CHUNK_SIZE);
    for (const turn of this.#waiting.splice(0, Math.max(0, count))) turn.resolve();
    this.#isLettingIn = this.#waiting.length > 0 && !this.isFull;
    if (this.#isLettingIn) setImmediate(() => this.#letIn());
  }
}

/** Turns of the event loop, in which work on what senders sent must not take long. */
class Turns {
  #workedMs = 0; // in this turn
  #next: Promise<void> | undefined; // settles in the next turn

  get isOver(): boolean {
    return this.#workedMs > TURN_MS;
  }

  async next(): Promise<void> {
    await this.#next;
  }

  /** Notes how long some work took. */
  note(tookMs: number): void {
    if (tookMs < SHORT_MS) return;
    this.#workedMs += tookMs;
    this.#next ??= immediate().then(() => {
      this.#workedMs = 0;
      this.#next = undefined;
    });
  }
}

/**
 * What a sender has sent and nobody has taken yet: up to its end, a silence of `idleMs` (0: none is too long) or a cut.
 * While the taker is busy, little more is read; small chunks are copied together, as each costs more than it has.
 */
export class Inbox {
  readonly #stream: Socket;
  readonly #inFlight: InFlight;
  readonly #idleMs: number;
  readonly #cutOff: AbortSignal;
  readonly #changed = new Signal();
  #chunks: Buffer[] = [];
  #size = 0; // of the chunks
  #takenSize = 0; // of those that were taken last, and are in flight until the next are
  #maxSize = CHUNK_SIZE; // of what is taken next, unless it is one chunk
  #last = NO_BYTES; // the memory of the last chunk, where small ones are copied to it,
  #lastSize = 0; // and how much of that is in use
  #isAll: boolean;

  constructor(stream: Socket, inFlight: InFlight, idleMs: number, cutOff: AbortSignal) {
    this.#stream = stream;
    this.#inFlight = inFlight;
    this.#idleMs = idleMs;
    this.#cutOff = cutOff;
    this.#isAll = cutOff.aborted || stream.destroyed || stream.readableEnded;
    inFlight.open();
    readNothingWhilePaused(stream);
    stream.on("data", this.#add).on("end", this.#end).on("close", this.#end);
    cutOff.addEventListener("abort", this.#end);
  }

  /** Resolves to true once something has come, to false at the end. What was taken before must be durable. */
  async isFilled(): Promise<boolean> {
    this.#inFlight.remove(this.#takenSize);
    this.#takenSize = 0;
    while (this.#size === 0 && !this.#isAll) await this.#wait();
    while (this.#inFlight.turns.isOver && this.#size > SMALL_SIZE) await this.#inFlight.turns.next();
    return this.#size > 0;
  }

  /** Uses what has come, `undefined` at the end: only as much of it as takes about 20 ms, so that others have a turn. */
  take<Value>(use: (chunks: Buffer[] | undefined) => Value): Value {
    const startedMs = performance.now();
    const value = use(this.#take());
    const tookMs = performance.now() - startedMs;
    this.#inFlight.turns.note(tookMs);
    if (tookMs > TURN_MS) this.#maxSize = (TURN_MS / tookMs) * this.#takenSize;
    else if (tookMs < TURN_MS / 2 && this.#takenSize > this.#maxSize / 2) this.#maxSize *= 2;
    return value;
  }

  #take(): Buffer[] | undefined {
    if (this.#size === 0) return undefined;
    const maxSize = this.#cutOff.aborted ? Infinity : this.#maxSize; // a stop is in a hurry
    let count = 0;
    do this.#takenSize += this.#chunks[count++]!.length;
    while (count < this.#chunks.length && this.#takenSize + this.#chunks[count]!.length <= maxSize);
    const chunks = this.#chunks.splice(0, count);
    this.#size -= this.#takenSize;
    if (this.#size === 0) this.#last = NO_BYTES;
    if (!this.#inFlight.mustPause(this.#size)) this.#stream.resume();
    return chunks;
  }

  /** Keeps nothing of what comes from now on. */
  close(): void {
    this.#stream.off("data", this.#add);
    this.#cutOff.removeEventListener("abort", this.#end);
    this.#inFlight.remove(this.#size + this.#takenSize);
    this.#inFlight.close();
  }

  async #wait(): Promise<void> {
    if (this.#inFlight.isFull) {
      this.#stream.pause();
      await this.#inFlight.turn();
    }
    this.#stream.resume();
    if (this.#size > 0 || this.#isAll) return;
    const silence = this.#idleMs > 0 ? setTimeout(this.#end, this.#idleMs) : undefined;
    await this.#changed.wait();
    clearTimeout(silence);
  }

  readonly #end = (): void => {
    this.#isAll = true;
    this.#changed.notify();
  };

  readonly #add = (chunk: Buffer): void => {
    if (chunk.length >= SMALL_SIZE || this.#size === 0) this.#push(chunk);
    else this.#copy(chunk);
    this.#size += chunk.length;
    this.#inFlight.add(chunk.length);
    if (this.#inFlight.mustPause(this.#size)) this.#stream.pause();
    this.#changed.notify();
  };

  #push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#last = NO_BYTES;
  }

  #copy(chunk: Buffer): void {
    if (this.#last.length < this.#lastSize + chunk.length) {
      this.#push(NO_BYTES);
      this.#last = Buffer.allocUnsafeSlow(2 * SMALL_SIZE);
      this.#lastSize = 0;
    }
    this.#lastSize += chunk.copy(this.#last, this.#lastSize);
    this.#chunks[this.#chunks.length - 1] = this.#last.subarray(0, this.#lastSize);
  }
}

/**
 * Leaves in the kernel what a paused sender sends. By itself, Node reads on until a chunk waits in the stream: 64 KiB
 * for each sender, and more since Node 22.
 */
function readNothingWhilePaused(stream: Socket): void {
  /* oxlint-disable eslint/no-underscore-dangle -- the name that Node's documentation has for who makes a stream */
  const [push, read] = [stream.push.bind(stream), stream._read.bind(stream)];
  let isWanted = false; // the stream asked for more while it was paused
  stream.push = (chunk, encoding) => push(chunk, encoding) && !stream.isPaused();
  stream._read = (size) => {
    isWanted = stream.isPaused();
    if (!isWanted) read(size);
  };
  stream.on("resume", () => isWanted && stream._read(CHUNK_SIZE));
  /* oxlint-enable eslint/no-underscore-dangle */
}

// ---- Octet counts -----------------------------------------------------------
// RFC 6587, section 3.4.1, as it is really sent: counts of characters instead of bytes, or off by a few. A count is
// right if another one, or a line's ending, follows its frame. Text may hold what looks like a count, and its last
// digits may stand right before one: `…42` and `27 <1>` are `4227 <1>`. A false count's frame may end by chance where
// another begins, but then right ones lie within it. So, of several, the one whose frame ends first is taken.

const LOOK_AHEAD = 16; // how many counts are looked at for one that is right, behind one that is not
const ROW = 5; // right frames in a row within another frame show that its count is wrong,
const SHORT_ROW = 4; // and so do these, if the last one ends where the other does
const LONG_SIZE = 256; // of a frame within which it costs little to look for counts
const BEFORE_PRIORITY = Buffer.from(" <");
const COUNT_BEGUN = /[1-9]\d{0,6} ?$/;

/** The size of an octet count and its space. `<n>` must follow: a line that begins with a number is a line. */
function octetCountSize(bytes: Buffer, at: number): number {
  const space = at + countDigits(bytes, at);
  if (space === at || space > at + 7 || bytes[at] === ZERO) return NO_COUNT;
  if (space < bytes.length && bytes[space] !== SPACE) return NO_COUNT;
  if (space + 1 < bytes.length && bytes[space + 1] !== LESS_THAN) return NO_COUNT;
  const end = space + 2 + countDigits(bytes, space + 2);
  if (end >= bytes.length) return end > space + 5 ? NO_COUNT : UNDECIDED;
  return isPriority(bytes, space + 1) ? space + 1 - at : NO_COUNT;
}

/** The length of a counted frame without the line endings that its count included. */
function trimmedLength(bytes: Buffer, size: number): number {
  let length = size;
  while (isEnding(bytes[length - 1])) length--;
  return length;
}

/**
 * A search for the next right count, where one was wrong: from `from` on and before `to`. Its digits may be among those
 * of the wrong count itself, which stands before `bodyAt`.
 */
class CountSearch {
  /** Offset of a right count; `NONE` for none. */
  right = NONE;
  /** Offset up to which the bytes prove it right. */
  provenTo = Infinity;
  /** Offset of the first count behind the wrong one that is not proven right, where a frame may begin; `NONE` for none. */
  maybe = NONE;
  /** Whether the next bytes may prove another count right. */
  isOpen = false;

  /** Until it finds a count, it looks no further than a line's ending from `lineFrom` on: that comes first. */
  constructor(bytes: Buffer, from: number, bodyAt: number, to: number, isEnd: boolean, lineFrom = to) {
    for (let [at, counts] = [from, 0]; counts < LOOK_AHEAD; counts += this.#isEmpty ? 0 : 1) {
      const space = this.#isEmpty ? priorityInLine(bytes, at, lineFrom, to) : bytes.indexOf(BEFORE_PRIORITY, at);
      if (space < 0 || space >= Math.min(to, this.provenTo)) break;
      this.#look(bytes, from, bodyAt, space, isEnd);
      at = space + 1;
    }
    const tail = bytes.toString("latin1", Math.max(from, bytes.length - COUNT_MAX_SIZE));
    this.isOpen ||= to === bytes.length && COUNT_BEGUN.test(tail);
  }

  get #isEmpty(): boolean {
    return this.right === NONE && this.maybe === NONE;
  }

  /** Looks at the digits before a space. */
  #look(bytes: Buffer, from: number, bodyAt: number, space: number, isEnd: boolean): void {
    const first = firstDigit(bytes, from, space);
    const size = first === space ? NO_COUNT : octetCountSize(bytes, first);
    if (size === UNDECIDED) this.isOpen = true;
    const isWrong = size > 0 && !this.#proveOne(bytes, first, space, isEnd, from + HOLD_MAX_SIZE);
    if (isWrong && space >= bodyAt && this.maybe === NONE && mayBegin(bytes, first, isEnd)) this.maybe = first;
  }

  /** Whether a right count begins at one of the digits from `first` on that stand before a space. */
  #proveOne(bytes: Buffer, first: number, space: number, isEnd: boolean, holdTo: number): boolean {
    let isProven = false;
    for (let at = space - 1; at >= first; at--) {
      if (bytes[at] === ZERO) continue;
      const end = endOfFrames(bytes, at, bytes[at - 1] === SPACE ? 2 : 1, isEnd); // it may be of a text: "5 <1>"
      if (end === UNDECIDED && space + numberAt(bytes, at) <= holdTo) this.isOpen = true;
      if (end < 0 || end >= this.provenTo) continue;
      [this.right, this.provenTo, isProven] = [at, end, true];
    }
    return isProven;
  }
}

/** Offset of the next ` <` before `to`; `NONE` where there is none, or a line's ending from `lineFrom` on before it. */
function priorityInLine(bytes: Buffer, from: number, lineFrom: number, to: number): number {
  for (let at = from; at < to; at++) {
    if (bytes[at] === SPACE && bytes[at + 1] === LESS_THAN) return at;
    if (at >= lineFrom && (bytes[at] === NEWLINE || bytes[at] === NUL)) return NONE;
  }
  return NONE;
}

/** Whether a frame may begin at a count that is not proven. Few texts end with a space. */
function mayBegin(bytes: Buffer, at: number, isEnd: boolean): boolean {
  return bytes[at - 1] !== SPACE || endOfFrames(bytes, at, 1, isEnd) > 0;
}

/**
 * Where so many counted frames end, one behind the other, with another count, an ending or the end of all behind the
 * last one; `NONE` where something else follows one; `UNDECIDED` where the bytes end too early.
 */
function endOfFrames(bytes: Buffer, from: number, frames: number, isEnd: boolean): number {
  const end = from + octetCountSize(bytes, from) + numberAt(bytes, from);
  let next = end;
  while (next < end + 2 && isEnding(bytes[next])) next++;
  if (next >= bytes.length && isEnd) return next === bytes.length ? end : NONE;
  const size = next < bytes.length ? octetCountSize(bytes, next) : UNDECIDED;
  if (size > 0) return frames === 1 ? end : endOfFrames(bytes, next, frames - 1, isEnd);
  if (frames === 1 && next > end) return end;
  return size === UNDECIDED && !isEnd ? UNDECIDED : NONE;
}

/** Offset of the first of up to seven digits, from `from` on, that stand before a space; no count begins with 0. */
function firstDigit(bytes: Buffer, from: number, space: number): number {
  let first = space;
  while (first > from && first > space - 7 && isDigitByte(bytes[first - 1])) first--;
  while (bytes[first] === ZERO) first++;
  return first;
}

/** Whether a right frame lies within a counted one. One that is merely the end of its text is text: `<3 <3>`. */
function hasFrameWithin(bytes: Buffer, from: number, bodyAt: number, to: number): boolean {
  const { right, provenTo } = new CountSearch(bytes, from, bodyAt, to, false);
  return provenTo <= to && (right < bodyAt || endOfFrames(bytes, right, 1, false) < to);
}

/** Whether right frames, one behind the other, lie within a counted frame. */
function hasRowOfFrames(bytes: Buffer, from: number, bodyAt: number, to: number): boolean {
  for (let at = from; at < to;) {
    const { right, provenTo } = new CountSearch(bytes, at, bodyAt, to, false);
    if (provenTo > to) return false;
    for (let frames = SHORT_ROW; frames <= ROW; frames++) {
      const end = endOfFrames(bytes, right, frames, false);
      if (end === to || (frames === ROW && end >= 0 && end <= to)) return true;
    }
    at = provenTo;
  }
  return false;
}

/**
 * Whether another count may lie within a frame, at a glance, as most have none: its own last digits, by the byte behind
 * a frame that they would count; or any, within a long frame.
 */
function mayHoldCount(bytes: Buffer, bodyAt: number, end: number): boolean {
  const count = end - bodyAt;
  for (let power = 10; power < count; power *= 10) {
    const next = bytes[bodyAt + (count % power)];
    if (isDigitByte(next) || isEnding(next)) return true;
  }
  const space = count < LONG_SIZE ? -1 : bytes.indexOf(BEFORE_PRIORITY, bodyAt);
  return space >= 0 && space < end;
}

/** Whether `<n>`, with which a syslog message begins, is at this offset. */
function isPriority(bytes: Buffer, at: number): boolean {
  if (bytes[at] !== LESS_THAN) return false;
  const digits = countDigits(bytes, at + 1);
  return digits > 0 && digits <= 3 && bytes[at + 1 + digits] === GREATER_THAN;
}

/** The number of digits at an offset; no further than tells that they are too many for a count. */
function countDigits(bytes: Buffer, from: number): number {
  let at = from;
  while (at < from + COUNT_MAX_SIZE && isDigitByte(bytes[at])) at++;
  return at - from;
}

function numberAt(bytes: Buffer, from: number): number {
  let value = 0;
  for (let at = from; isDigitByte(bytes[at]); at++) value = 10 * value + bytes[at]! - ZERO;
  return value;
}

const isDigitByte = (byte: number | undefined) => ((byte ?? 0) ^ ZERO) < 10;

// ---- Foreign protocols ------------------------------------------------------
// What a connection's first bytes tell: PROXY, UTF-16, `#ack`, and protocols that are none of ours.

/** A pattern a byte: what a connection begins with, and the same where some of its last bytes have not come yet. */
function firstBytes(...patterns: string[]) {
  const begun = patterns.reduceRight((rest, pattern) => `(?:${pattern}${rest})?`, "");
  return { whole: new RegExp(`^${patterns.join("")}`), begun: new RegExp(`^${begun}$`) };
}

const MARKS = [
  { first: firstBytes("\\xef", "\\xbb", "\\xbf"), size: 3, encoding: undefined },
  { first: firstBytes("\\xff", "\\xfe"), size: 2, encoding: "utf-16le" },
  { first: firstBytes("\\xfe", "\\xff"), size: 2, encoding: "utf-16be" },
];

const PROXY_HEADER = "a PROXY header; --proxy-from does not name this address";

/** Protocols that are none of ours, by the bytes that a connection begins with. */
const FOREIGN_BYTES = [
  {
    first: firstBytes("\\x16", "\\x03"),
    reason: "a TLS handshake on a port for plain TCP; turn TLS off in the sender",
  }, // RFC 8446, 5.1
  { first: firstBytes(...Array.from("\r\n\r\n\0\r\nQUIT\n")), reason: PROXY_HEADER },
  {
    first: firstBytes("[12]", "W", "\\0"),
    reason: "the lumberjack protocol of Beats; have Logstash's tcp output send JSON lines",
  },
  {
    first: firstBytes("[\\x92-\\x94]", "[\\xa1-\\xbf\\xd9]"),
    reason: "the forward protocol of Fluentd; have its tcp output send JSON lines",
  },
  { first: firstBytes("\\x1f", "\\x8b"), reason: "gzipped data; turn compression off in the sender" },
  {
    first: firstBytes("x", "[\\x01\\x9c]"), // RFC 1950; its other levels may be text
    reason: "data compressed by zlib; turn compression off in the sender",
  },
  {
    first: firstBytes("\\0", "\\0", "[^\\n]", "[^\\n]", "[}\\x80]", "[q\\x02-\\x05]"),
    reason: "Python's SocketHandler, which pickles; use SysLogHandler over TCP",
  },
];

/** The same by its first line; a web page must not be able to post lines (RFC 9112, section 3). */
const FOREIGN_LINES = [
  { line: /^[A-Z]{3,10} \S+ HTTP\/\d/, reason: "an HTTP request on a port for log lines; send lines over plain TCP" },
  { line: /^PROXY (?:TCP[46] |UNKNOWN)/, reason: PROXY_HEADER },
  { line: /^\d{1,9} open \d{1,9} relp_version=/, reason: "RELP; have rsyslog send by omfwd instead of omrelp" },
];
const HTTP_BEGUN = /^(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT) \S+(?: \S*)?$/; // of a longer line

function foreignLine(line: string, isLonger: boolean): string | undefined {
  if (isLonger && HTTP_BEGUN.test(line)) return FOREIGN_LINES[0]!.reason;
  return FOREIGN_LINES.find(({ line: pattern }) => pattern.test(line))?.reason;
}

/**
 * Tells by a connection's first bytes what it speaks. Drops a byte order mark; decodes UTF-16 that begins with one (RFC
 * 2781). Waits for more bytes only where those that came may begin something known.
 */
class Opening {
  refusal: string | undefined;
  /** UTF-16 without its mark: NUL ends no line. */
  isWide = false;
  #held = NO_BYTES;
  #isOver = false;
  #decoder: TextDecoder | undefined;

  /** What a chunk adds to the text that is to be framed. */
  textOf(chunk: Buffer): Buffer {
    if (this.#decoder) return Buffer.from(this.#decoder.decode(chunk, { stream: true }));
    return this.#isOver ? chunk : this.#open(Buffer.concat([this.#held, chunk]), false);
  }

  /** What the sender's end adds to it. */
  lastText(): Buffer {
    if (this.#decoder) return Buffer.from(this.#decoder.decode());
    return this.#isOver ? NO_BYTES : this.#open(this.#held, true);
  }

  #open(bytes: Buffer, isEnd: boolean): Buffer {
    const text = bytes.toString("latin1", 0, 16);
    const mark = MARKS.find(({ first }) => first.whole.test(text));
    this.refusal = FOREIGN_BYTES.find(({ first }) => first.whole.test(text))?.reason;
    const isUndecided = [...MARKS, ...FOREIGN_BYTES].some(({ first }) => first.begun.test(text));
    this.#held = isUndecided && !isEnd ? bytes : NO_BYTES;
    if (this.#held.length > 0) return NO_BYTES;
    this.#isOver = true;
    this.isWide = /^(?:[\t\n\r -~]\0){4}|^(?:\0[\t\n\r -~]){4}/.test(text);
    if (mark?.encoding === undefined) return bytes.subarray(mark?.size ?? 0);
    this.#decoder = new TextDecoder(mark.encoding);
    return this.textOf(bytes);
  }
}

// ---- TLS and who may connect ------------------------------------------------
// Addresses to listen on, certificates, and --allow.

/** Thrown to refuse a connection. The message gives the reason; the sender gets it, too, if it can read by then. */
class Refused extends Error {
  /** Whether the sender refused the collector, as one does that rejects its certificate. */
  readonly isBySender: boolean;

  constructor(message: string, isBySender = false) {
    super(message);
    this.isBySender = isBySender;
  }
}

/** Thrown when the sender has left before it was served. */
class Gone extends Error {}

interface Listener {
  isTls: boolean;
  host: string;
  port: number;
}

/** With a certificate, and no tls:// that tells them apart, all that don't say tcp:// speak TLS. */
function listenersOf({ listen, tlsCert }: Options): Listener[] {
  const isTold = listen.some(({ scheme }) => scheme === "tls");
  const isTls = (scheme: string) => scheme === "tls" || (!isTold && tlsCert !== "" && scheme !== "tcp");
  return listen.map(({ scheme, host, port }) => ({ isTls: isTls(scheme), host, port }));
}

const urlOf = ({ isTls, ...address }: Listener) => `${isTls ? "tls" : "tcp"}://${formatAddress(address)}`;

const LOOPBACK = /^(?:localhost|127\.[\d.]+|::1)$/i; // no other name: who serves it could have it point anywhere

const isForAll = ({ isTls, host }: Listener, { allow, tlsCa }: Options) =>
  allow.length === 0 && !(isTls && tlsCa !== "") && !LOOPBACK.test(withoutMapping(host));

/** Tells whether an address is in one of the networks; a peer without an address has left already. */
function matcherOf(listed: Network[]): (address: string) => boolean {
  const block = new BlockList();
  for (const { base, prefix, family } of listed) block.addSubnet(base, prefix, family);
  return (address) => {
    const ip = parseNetwork(address.replace(/%.*/, ""));
    return ip !== undefined && block.check(ip.base, ip.family);
  };
}

const HANDSHAKE_MS = 10 * SECOND; // for a TLS handshake, and for a PROXY header

const TLS_FAILURES: Record<string, string> = {
  ERR_TLS_HANDSHAKE_TIMEOUT: `its TLS handshake did not end in ${HANDSHAKE_MS / SECOND} s`,
  ERR_SSL_WRONG_VERSION_NUMBER: "plain text on a port for TLS; turn TLS on in the sender",
  ERR_SSL_HTTP_REQUEST: "an HTTP request on a port for TLS",
};

/** Why a TLS handshake failed; `undefined` where the other side just left, as a probe of the port does. */
function handshakeFailure(error: unknown): Refused | undefined {
  const code = codeOf(error);
  if (code === "ECONNRESET") return undefined;
  const isBySender = code.includes("_ALERT_"); // an alert is what the other side sends (RFC 8446, section 6)
  return new Refused(TLS_FAILURES[code] ?? `its TLS handshake failed: ${code}`, isBySender);
}

/** The two ends of a connection, which its socket and the TLS over it have in common. */
const endsOf = ({ remoteAddress, remotePort, localAddress, localPort }: Socket) =>
  [remoteAddress, remotePort, localAddress, localPort].join(" ");

/** TLS over connections that were accepted as plain TCP. Without --tls-cert, no listener of ours asks for it. */
class TlsLayer {
  readonly #options: Options;
  readonly #server: TlsServer | undefined;
  readonly #handshakes = new Map<string, Deferred<TLSSocket>>(); // the key is the connection's two ends

  /** Throws {@link UsageError} for useless files. */
  constructor(options: Options) {
    this.#options = options;
    this.#server = makeTlsServer(options);
    this.#server?.on("secureConnection", (socket) => this.#handshakes.get(endsOf(socket))?.resolve(socket));
    this.#server?.on("tlsClientError", (error, socket) => this.#handshakes.get(endsOf(socket))?.reject(error));
  }

  /** Reads the files again, for handshakes to come; keeps the old ones if it can't. Returns which, as a line to log. */
  reloadCertificates(): string {
    try {
      if (this.#server) useCertificates(this.#server, readCertificates(this.#options));
      return this.#server ? "certificates are read again" : "there are no certificates to read again";
    } catch (error) {
      return `${(error as Error).message}; the certificates of before stay in use`;
    }
  }

  /** Makes the TLS handshake. Rejects with {@link Refused} if it fails, with {@link Gone} if the sender leaves. */
  async secure(socket: Socket): Promise<TLSSocket> {
    const [ends, handshake] = [endsOf(socket), deferred<TLSSocket>()];
    this.#handshakes.set(ends, handshake);
    socket.once("close", () => setImmediate(() => handshake.reject(new Gone()))); // after `tlsClientError`
    this.#server?.emit("connection", socket);
    try {
      return (await handshake.promise).on("error", () => {});
    } catch (error) {
      throw handshakeFailure(error) ?? new Gone();
    } finally {
      this.#handshakes.delete(ends);
    }
  }

  /** Replaces Node's `rejectUnauthorized`, so that the sender gets the reason, and the log the sender's address. */
  checkCertificate(stream: TLSSocket): void {
    if (this.#options.tlsCa === "" || stream.authorized) return;
    const isMissing = Object.keys(stream.getPeerCertificate() ?? {}).length === 0;
    if (isMissing) throw new Refused("it has no certificate, and --tls-ca requires one");
    throw new Refused(`--tls-ca does not accept its certificate: ${String(stream.authorizationError)}`);
  }
}

/** Lays TLS over accepted connections (`emit("connection", socket)`). Throws {@link UsageError} for useless files. */
function makeTlsServer(options: Options): TlsServer | undefined {
  const { tlsCert, tlsKey, tlsCa } = options;
  if (tlsCert === "") {
    const asking = listenersOf(options).find(({ isTls }) => isTls);
    if (asking) throw new UsageError(`Cannot use --listen "${urlOf(asking)}": tls:// needs --tls-cert FILE`);
    if (tlsKey !== "") throw new UsageError("Cannot use --tls-key without --tls-cert FILE");
    if (tlsCa !== "") throw new UsageError("Cannot use --tls-ca without --tls-cert FILE");
    return undefined;
  }
  if ("Deno" in globalThis)
    throw new UsageError(
      "Cannot listen with TLS: Deno loses the last lines of senders that never read; use Node or Bun",
    );
  const asking = { requestCert: tlsCa !== "", rejectUnauthorized: false, handshakeTimeout: HANDSHAKE_MS };
  return useCertificates(createTlsServer(asking), readCertificates(options));
}

/** Has the handshakes to come use these files. */
function useCertificates(server: TlsServer, certificates: SecureContextOptions): TlsServer {
  server.setSecureContext(certificates);
  turnTicketsOff(server);
  return server;
}

/**
 * Has a TLS server send no session tickets. TLS 1.3 sends them behind the handshake, where a sender that never reads
 * leaves them unread, and its close then resets the connection and loses its last lines. Node has no option for it.
 * What this uses of Node is not documented: OpenSSL is told by a callback that returns 0. Bun has none of it, and the
 * test that counts tickets fails where Node changes it.
 */
function turnTicketsOff(server: TlsServer): void {
  const { _sharedCreds: credentials } = server as { _sharedCreds?: { context?: TicketContext } };
  if (!credentials?.context?.enableTicketKeyCallback) return;
  const noKey = Buffer.alloc(16);
  credentials.context.onticketkeycallback = () => [0, noKey, noKey, noKey, noKey];
  credentials.context.enableTicketKeyCallback();
}

interface TicketContext {
  onticketkeycallback?: () => unknown[];
  enableTicketKeyCallback?: () => void;
}

/** Reads and checks --tls-cert, --tls-key and --tls-ca. Throws {@link UsageError}. */
function readCertificates({ tlsCert, tlsKey, tlsCa }: Options): SecureContextOptions {
  if (tlsKey === "") throw new UsageError(`Cannot use --tls-cert ${tlsCert} without --tls-key FILE`);
  const cert = readPem("--tls-cert", tlsCert, (pem) => createSecureContext({ cert: pem }));
  const key = readPem("--tls-key", tlsKey, createPrivateKey);
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
    throw new UsageError(`Cannot use --tls-key ${tlsKey}: it is not the key of --tls-cert ${tlsCert}`);
  const ca = tlsCa === "" ? {} : { ca: readPem("--tls-ca", tlsCa, (pem) => new X509Certificate(pem)) };
  return { cert, key, ...ca, minVersion: "TLSv1.2" };
}

function readPem(flag: string, file: string, check: (pem: Buffer) => unknown): Buffer {
  try {
    const pem = readFileSync(file);
    check(pem);
    return pem;
  } catch (error) {
    throw new UsageError(`Cannot use ${flag} ${file}: ${codeOf(error)}; allowed is a PEM file that this user may read`);
  }
}

// -- PROXY headers (HAProxy, doc/proxy-protocol.txt, versions 1 and 2)

const PROXY_V1 = firstBytes(...Array.from("PROXY "), "[TU]", "[CN]", "[PK]");
const PROXY_V2 = firstBytes(...Array.from("\r\n\r\n\0\r\nQUIT\n"));
const PROXY_V1_MAX_SIZE = 107; // the line's ending included
const PROXY_V2_MIN_SIZE = 16;

interface ProxyHeader {
  /** 0 where there is none. */
  size: number;
  /** The sender's address, where the header names one. */
  source?: string;
}

/**
 * Reads the PROXY header that a connection may begin with, and leaves what is behind it to be read. Resolves to the
 * sender's address; `undefined` where there is no header, or it names none (LOCAL, UNKNOWN, Unix sockets). Rejects with
 * {@link Refused} for a header that can't be read or does not end in 10 s.
 */
async function readProxyHeader(socket: Socket, idleMs: number): Promise<string | undefined> {
  const found = deferred<ProxyHeader>();
  const refuse = (reason: string) => found.reject(new Refused(reason));
  const silence = idleMs > 0 ? setTimeout(() => socket.destroy(), idleMs) : undefined;
  let late: NodeJS.Timeout | undefined;
  let bytes = NO_BYTES;
  const end = () => (bytes.length > 0 ? refuse("its PROXY header did not end") : found.resolve({ size: 0 }));
  const read = (chunk: Buffer) => {
    clearTimeout(silence);
    bytes = Buffer.concat([bytes, chunk]);
    const header = parseProxyHeader(bytes);
    if (header === "malformed") return refuse("its PROXY header can't be read");
    late ??= setTimeout(() => refuse(`its PROXY header did not end in ${HANDSHAKE_MS / SECOND} s`), HANDSHAKE_MS);
    if (header === "begun") return undefined;
    socket.pause();
    return found.resolve(header);
  };
  socket.on("data", read).on("end", end).on("close", end);
  try {
    const { size, source } = await found.promise;
    if (bytes.length > size) socket.unshift(bytes.subarray(size));
    return source;
  } finally {
    socket.off("data", read).off("end", end).off("close", end);
    clearTimeout(silence);
    clearTimeout(late);
  }
}

function parseProxyHeader(bytes: Buffer): ProxyHeader | "begun" | "malformed" {
  const text = bytes.toString("latin1", 0, PROXY_V1_MAX_SIZE);
  if (PROXY_V1.whole.test(text)) return parseProxyV1(text);
  if (PROXY_V2.whole.test(text)) return parseProxyV2(bytes);
  return PROXY_V1.begun.test(text) || PROXY_V2.begun.test(text) ? "begun" : { size: 0 };
}

/** Section 2.1: a line. */
function parseProxyV1(text: string): ProxyHeader | "begun" | "malformed" {
  const end = text.indexOf("\r\n");
  if (end < 0) return text.length < PROXY_V1_MAX_SIZE ? "begun" : "malformed";
  const size = end + 2;
  if (/^PROXY UNKNOWN(?: |$)/.test(text.slice(0, end))) return { size };
  const [, version, source = ""] = /^PROXY TCP([46]) (\S+) \S+ \d+ \d+$/.exec(text.slice(0, end)) ?? [];
  return isIP(source) === Number(version) ? { size, source: canonicalAddress(source) } : "malformed";
}

/** Section 2.2: a signature, version and command, family and transport, size, addresses, and extensions (TLV). */
function parseProxyV2(bytes: Buffer): ProxyHeader | "begun" | "malformed" {
  if (bytes.length < PROXY_V2_MIN_SIZE) return "begun";
  const [command, family] = [bytes.readUInt8(12), bytes.readUInt8(13) >> 4];
  const size = PROXY_V2_MIN_SIZE + bytes.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) return "malformed";
  if (bytes.length < size) return "begun";
  if (command === 0x20 || (family !== 1 && family !== 2)) return { size }; // the proxy itself, or no IP address
  if (size < PROXY_V2_MIN_SIZE + (family === 1 ? 12 : 36)) return "malformed";
  const address = bytes.subarray(PROXY_V2_MIN_SIZE);
  const groups = range(8).map((index) => address.toString("hex", 2 * index, 2 * index + 2));
  return { size, source: canonicalAddress(family === 1 ? address.subarray(0, 4).join(".") : groups.join(":")) };
}

/** An address as sockets have it. */
function canonicalAddress(text: string): string {
  return withoutMapping(new SocketAddress({ address: text, family: isIP(text) === 4 ? "ipv4" : "ipv6" }).address);
}

// ---- Availability -----------------------------------------------------------
// Whether the database takes what it is given, and whether the periodic tasks succeed; each change is logged once.

interface DatabaseStatus {
  state: "opening" | "up" | "away";
  sinceMs: number; // since 1970
  /** Why it is away, in words; "" while it is not. */
  cause: string;
}

/** Whether the database takes what it is given; logs each change once. */
class Availability {
  status: DatabaseStatus = { state: "opening", sinceMs: Date.now(), cause: "no connection yet" };
  readonly #name: string;
  readonly #condition: Condition;
  readonly #failing = new Set<Batch>();
  /** Notified when a batch that failed is stored, or a ping answered: others need not rest any longer. */
  readonly answered = new Signal();
  #awayAtMs = performance.now(); // of a clock that nobody sets

  constructor(name: string, log: Log) {
    this.#name = name;
    this.#condition = new Condition(log);
  }

  /** Notes that a batch is stored, or that the server answers; it is up when no other batch fails. */
  noteUp(batch?: Batch): void {
    const isNews = batch === undefined || this.#failing.delete(batch);
    if (this.status.state === "up") return;
    if (isNews) this.answered.notify();
    if (this.#failing.size > 0) return;
    const seconds = Math.round((performance.now() - this.#awayAtMs) / SECOND);
    this.#condition.report(undefined, `${this.#name} is back after ${seconds} s`);
    this.status = { state: "up", sinceMs: Date.now(), cause: "" };
  }

  noteAway(cause: string, batch?: Batch): void {
    if (batch) this.#failing.add(batch);
    this.#condition.report(cause, `cannot store into ${this.#name}: ${cause}; lines wait in the journal, trying again`);
    const { state, sinceMs } = this.status;
    if (state === "up") this.#awayAtMs = performance.now();
    this.status = { state: "away", sinceMs: state === "away" ? sinceMs : Date.now(), cause };
  }

  close(): void {
    this.#condition.cancelReport();
    this.answered.notify();
  }
}

/** A periodic task. Its failures are logged once per cause and retried; storing goes on. */
class PeriodicTask {
  readonly name: string;
  /** When it is due, in ms since the process's start, so that setting the clock changes nothing. */
  dueAtMs = 0;
  /** When it last succeeded, in ms since 1970; 0 for not yet. */
  succeededAtMs = 0;
  readonly #purpose: string;
  readonly #everyMs: number;
  readonly #database: Database;
  readonly #condition: Condition;
  readonly #run: () => Promise<void>;
  #failures = 0;

  constructor(name: string, purpose: string, everyMs: number, database: Database, log: Log, run: () => Promise<void>) {
    this.name = name;
    this.#purpose = purpose;
    this.#everyMs = everyMs;
    this.#database = database;
    this.#condition = new Condition(log);
    this.#run = run;
  }

  /** Runs the task if it is due; logs its failure. Rejects only where the database is away. */
  async runIfDue(): Promise<void> {
    if (performance.now() < this.dueAtMs) return;
    try {
      await this.#run();
      this.#condition.report(undefined, `can ${this.#purpose} again`);
      this.#failures = 0;
      this.succeededAtMs = Date.now();
      this.dueAtMs = performance.now() + this.#everyMs;
    } catch (error) {
      const reaction = this.#database.target.reactionTo(error);
      if (!isOfFile(error) && (reaction === "away" || reaction === "set up anew")) throw error;
      const cause = isOfFile(error) ? describeError(error) : this.#database.target.describe(error);
      this.#condition.report(cause, `cannot ${this.#purpose}: ${cause}; trying again`);
      this.dueAtMs = performance.now() + Math.min(SECOND * 2 ** ++this.#failures, MINUTE);
    }
  }
}

// ---- HTTP -------------------------------------------------------------------
// Health and metrics, and the door to the log page in viewer/. Numbers are counted where they arise, a sync or a batch
// at a time, and only read here.

/** What /healthz shows. */
export type Health = ReturnType<Vitals["health"]>;

/** Reads how the collector is, from the parts that count it. */
class Vitals {
  readonly #options: Options;
  readonly #journal: Journal;
  readonly #intake: Intake;
  readonly #database: Database;
  readonly #tasks: PeriodicTask[];
  readonly #sampler = setInterval(() => this.#sampleBacklog(), SECOND).unref();
  #backlog = { bytes: 0, growth: 0 }; // a second ago; in bytes/s over the last ten or so

  constructor(options: Options, journal: Journal, intake: Intake, database: Database, tasks: PeriodicTask[]) {
    this.#options = options;
    this.#journal = journal;
    this.#intake = intake;
    this.#database = database;
    this.#tasks = tasks;
  }

  close(): void {
    clearInterval(this.#sampler);
  }

  /** `accepting`: lines can be made durable now. Times are RFC 3339, or seconds (`_s`); counts are since the start. */
  health() {
    const { received, stored, deadLettered, inJournal } = this.#journal.ledger();
    const { state, sinceMs, cause } = this.#database.availability.status;
    const obstacle = this.#journal.obstacle();
    const bytes = this.#journal.backlogBytes();
    const room = Math.max(0, Math.min(this.#options.journalMax - bytes, freeBytes(this.#options.dataDir)));
    const { growth } = this.#backlog;
    const dates = this.#tasks.map(({ name, succeededAtMs: at }) => [name, at > 0 ? isoTime(at) : null] as const);
    return {
      accepting: obstacle === undefined,
      state: [
        obstacle ?? "accepting lines",
        ...troublesOf(this.#database.availability, this.#tasks, deadLettered),
      ].join("; "),
      database: { up: state === "up", state, since: isoTime(sinceMs), ...(state === "up" ? {} : { cause }) },
      backlog: { lines: inJournal, bytes, oldest_age_s: secondsSince(this.#journal.oldestTimeUs()) },
      room: { bytes: room, lasts_s: growth > 1 ? Math.round(room / growth) : null }, // null while it does not grow
      received: received + this.#journal.lost,
      stored,
      dead_letters: deadLettered,
      connections: this.#intake.servedCount,
      maintained: Object.fromEntries(dates),
      version: VERSION,
    };
  }

  /** Names follow Prometheus's conventions: what ends in _total is a counter, what is no histogram is a gauge. */
  metrics(): Metric[] {
    const [options, journal, intake, database] = [this.#options, this.#journal, this.#intake, this.#database];
    const { received, stored, deadLettered, inJournal } = journal.ledger();
    const maintained = Math.min(...this.#tasks.map(({ succeededAtMs }) => succeededAtMs)) / SECOND;
    const { user, system } = process.cpuUsage();
    return [
      ["collector_lines_received_total", received + journal.lost, "Lines made durable, or found at the start"],
      ["collector_lines_stored_total", stored, "Lines stored in the table"],
      ["collector_lines_dead_total", deadLettered, "Lines that the database refused for their content"],
      ["collector_lines_lost_total", journal.lost, "Lines that damage to the journal's files made unreadable"],
      ["collector_lines_cut_total", journal.linesCut, "Lines cut to --max-line"],
      ["collector_frames_miscounted_total", intake.miscounted, "Frames whose octet count was wrong"],
      ["collector_lines_altered_total", database.altered, "Lines stored with something replaced, and the original"],
      ["collector_backlog_lines", inJournal, "Lines in the journal that are not stored yet"],
      ["collector_backlog_bytes", journal.backlogBytes(), "Bytes in the journal that are not stored yet"],
      ["collector_backlog_limit_bytes", options.journalMax, "Backlog at which senders wait: --journal-max"],
      ["collector_backlog_age_seconds", secondsSince(journal.oldestTimeUs()), "Age of the oldest line not stored"],
      ["collector_received_bytes_total", journal.bytesReceived, "Bytes of the lines received, endings included"],
      ["collector_accepting", Number(journal.obstacle() === undefined), "Whether lines can be made durable now"],
      ["collector_connections", intake.servedCount, "Connections of senders open now"],
      ["collector_connections_total", intake.accepted, "Connections of senders, the refused ones included"],
      ["collector_connections_refused_total", intake.refused, "Connections refused with an error line"],
      ["collector_replies_total", intake.replied, "Replies to senders"],
      [
        "collector_database_up",
        Number(database.availability.status.state === "up"),
        "Whether the database answered what it was last asked",
      ],
      ["collector_store_retries_total", database.retries, "Tries to store a batch that failed"],
      ["collector_maintained_timestamp_seconds", maintained, "Unix time of the upkeep longest ago, 0 for none"],
      ["collector_sync_duration_seconds", journal.syncs, "Time that a synced write of the journal took"],
      ["collector_insert_duration_seconds", database.inserts, "Time that storing a batch took"],
      ["collector_batch_lines", database.batchLines, "Lines of a batch"],
      ["process_cpu_seconds_total", (user + system) / 1e6, "CPU time used"],
      ["process_resident_memory_bytes", process.memoryUsage.rss(), "Resident memory"],
      ["process_start_time_seconds", performance.timeOrigin / SECOND, "Unix time of the process's start"],
    ];
  }

  #sampleBacklog(): void {
    const bytes = this.#journal.backlogBytes();
    this.#backlog = { bytes, growth: 0.8 * this.#backlog.growth + 0.2 * (bytes - this.#backlog.bytes) };
  }
}

/** What is amiss beside the journal, in words. */
function troublesOf({ status }: Availability, tasks: PeriodicTask[], deadLettered: number): string[] {
  const { state, sinceMs, cause } = status;
  const troubles = state === "up" ? [] : [`database ${state} since ${isoTime(sinceMs)}: ${cause}`];
  for (const { name, succeededAtMs } of tasks) {
    const lastMs = Math.max(succeededAtMs, performance.timeOrigin);
    if (Date.now() - lastMs > DAY) troubles.push(`${name} not maintained since ${isoTime(lastMs)}, the log has why`);
  }
  if (deadLettered > 0) {
    const lines = countOf(deadLettered, "line");
    troubles.push(`${lines} refused by the database since the start: collector.ts dead list`);
  }
  return troubles;
}

const isoTime = (timeMs: number) => new Date(timeMs).toISOString();

/** Seconds since a time in µs since 1970; 0 for none. */
const secondsSince = (timeUs = Infinity) => Math.max(0, Date.now() * 1000 - timeUs) / 1e6;

/** What a folder's disk has free; no bound where it does not tell. */
function freeBytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}

const REQUEST_MS = 5 * SECOND;
const CONNECTION_MS = 10 * SECOND; // whatever it does
const MAX_CONNECTIONS = 64;
const TIME_LIMITS = { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: SECOND };

interface Page {
  status: number;
  text: string;
  type?: string;
  allow?: string;
}

/** /healthz and /metrics over HTTP (RFC 9110). */
class HealthPages {
  readonly #address: Options["http"];
  readonly #vitals: Vitals;
  readonly #door: ViewerDoor;
  readonly #server = createHttpServer(TIME_LIMITS, (request, response) => {
    this.#answer(request, response).catch(() => response.destroy()); // viewer/ is of another version, say
  });
  readonly #connections = new Map<Socket, NodeJS.Timeout>(); // oldest first, with what closes them
  readonly #answering = new Set<Socket>();

  constructor(address: Options["http"], vitals: Vitals, door: ViewerDoor) {
    this.#address = address;
    this.#vitals = vitals;
    this.#door = door;
    this.#server.maxHeadersCount = 64;
    this.#server.on("connection", (socket) => this.#admit(socket));
  }

  /** Resolves to their URL; to none where they are off, or a port that nobody asked for is taken: that is logged. */
  async listen(isAsked: boolean, log: Log): Promise<string | undefined> {
    if (this.#address === "off") return undefined;
    const { host, port } = this.#address;
    this.#server.listen({ host, port });
    try {
      await once(this.#server, "listening");
    } catch (error) {
      const text = `Cannot listen on ${formatAddress({ host, port })} for health and metrics: ${codeOf(error)}`;
      if (isAsked) throw new Error(`${text}; choose another --http HOST:PORT, or off`, { cause: error });
      log(`${text}; going on without (--http HOST:PORT chooses another)`);
      return undefined;
    }
    this.#server.on("error", () => {}); // too many open files, say: that one client has to come again
    return `http://${formatAddress({ host, port: (this.#server.address() as AddressInfo).port })}`;
  }

  close(): void {
    this.#vitals.close();
    this.#door.close();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Whoever comes is served: where too many connections are open, the oldest makes room, which is a slow one. */
  #admit(socket: Socket): void {
    const [[oldest] = []] = this.#connections;
    if (this.#connections.size >= MAX_CONNECTIONS) oldest?.destroy();
    this.#connections.set(socket, this.#closeLate(socket));
    socket.once("close", () => {
      clearTimeout(this.#connections.get(socket));
      this.#connections.delete(socket);
    });
  }

  #closeLate(socket: Socket): NodeJS.Timeout {
    return setTimeout(() => socket.destroy(), CONNECTION_MS).unref();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket, headers } = request;
    if (this.#answering.has(socket)) return void socket.destroy(); // no browser pipelines; its answers would wait here
    this.#answering.add(socket);
    response.once("close", () => this.#answering.delete(socket));
    if (this.#isOurs(headers.host, socket)) {
      clearTimeout(this.#connections.get(socket)); // the log page's answers take their time
      response.once("close", () => !socket.destroyed && this.#connections.set(socket, this.#closeLate(socket)));
      if (await this.#door.answer(request, response)) return;
    }
    const { status, text, type = "text/plain", allow } = this.#page(request);
    const common = { "content-type": `${type}; charset=utf-8`, "content-length": Buffer.byteLength(text) };
    response.writeHead(status, { ...common, connection: "close", ...(allow ? { allow } : {}) }).end(text);
  }

  #page({ method = "", url = "", headers, socket }: IncomingMessage): Page {
    const [path] = url.split("?");
    if (!this.#isOurs(headers.host, socket)) return { status: 403, text: "Host is not a name of this collector\n" };
    if (path !== "/healthz" && path !== "/metrics") return { status: 404, text: `${this.#door.absence}\n` };
    if (method !== "GET" && method !== "HEAD") return { status: 405, text: "GET or HEAD\n", allow: "GET, HEAD" };
    if (path === "/metrics")
      return { status: 200, text: formatMetrics(this.#vitals.metrics()), type: "text/plain; version=0.0.4" };
    const health = this.#vitals.health();
    const text = `${JSON.stringify(health, undefined, 2)}\n`;
    return { status: health.accepting ? 200 : 503, text, type: "application/json" };
  }

  /** A web page can have a name of its own point here (DNS rebinding), but that is then the name in its requests. */
  #isOurs(host: string | undefined, { localAddress = "" }: Socket): boolean {
    if (host === undefined) return true; // HTTP/1.0, which no browser speaks
    const [, name = ""] = /^\[?(.*?)\]?(?::\d*)?$/.exec(host.toLowerCase()) ?? [];
    const given = this.#address === "off" ? "" : this.#address.host.toLowerCase();
    return LOOPBACK.test(name) || [given, withoutMapping(localAddress)].includes(name);
  }
}

/** Loads the log page when it is first asked for, and hands it all that it may touch. */
class ViewerDoor {
  readonly isThere: boolean;
  /** What is answered where no page is. */
  readonly absence: string;
  readonly #host: ViewerHost;
  #viewer: Promise<Viewer> | undefined;
  readonly #wakes = new Set<() => void>();
  #oldestUs: number | undefined;

  constructor({ page, listen, databaseUrl }: Options, token: string, store: Store, journal: Journal, vitals: Vitals) {
    const obstacle = page === "off" ? "--page is off" : viewerObstacle(store);
    this.isThere = obstacle === "";
    this.absence = `${obstacle === "" ? "" : `no log page: ${obstacle}; `}there are /healthz and /metrics`;
    this.#host = {
      read: async (...statement) => store.read!(...statement),
      isEmbedded: databaseUrl === "",
      levels: { numberOf: levelOf, names: LEVEL_STEPS },
      oldestUnstoredUs: () => this.#oldestUnstoredUs(journal),
      onStored: (wake) => {
        this.#wakes.add(wake);
        return () => this.#wakes.delete(wake);
      },
      describe: (error) => store.describe(error),
      health: () => vitals.health(),
      page: page === "open" ? "open" : "token",
      token,
      tryCommand: `echo hello | nc ${listen[0]?.host} ${listen[0]?.port}`,
    };
    void this.#watch(journal);
  }

  /** Resolves to false, with nothing sent, where the path is none of the page's, or there is no page. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const [path] = (request.url ?? "").split("?");
    if (!this.isThere || path === "/healthz" || path === "/metrics") return false;
    this.#viewer ??= loadViewer().then(({ createViewer }) => createViewer(this.#host));
    return (await this.#viewer).answer(request, response);
  }

  close(): void {
    void this.#viewer?.then((viewer) => viewer.close());
  }

  async #watch(journal: Journal): Promise<void> {
    for (;;) {
      await journal.whenReleased(journal.released + 1);
      for (const wake of this.#wakes) wake();
    }
  }

  /** What the reader has not come to yet counts as old as what it read last. */
  #oldestUnstoredUs(journal: Journal): number | undefined {
    this.#oldestUs = journal.oldestTimeUs() ?? this.#oldestUs;
    return journal.ledger().inJournal > 0 ? this.#oldestUs : undefined;
  }
}

const VIEWER = new URL("viewer/viewer.ts", import.meta.url);

const loadViewer = (): Promise<typeof import("./viewer/viewer.ts")> => import(VIEWER.href);

/** What keeps the log page, and its commands, from being there; "" for nothing. */
function viewerObstacle(store: Store): string {
  if (store.read === undefined) return "it works on PostgreSQL and PGlite only";
  return existsSync(VIEWER) ? "" : "copy viewer/ beside collector.ts";
}

const PAGE_TOKEN = "page-token";

/** Loopback is not a user: every account of the machine reaches it, but not the data directory. */
async function openPageToken({ page, dataDir }: Options, log: Log): Promise<string> {
  if (page !== "token") return "";
  const path = join(dataDir, PAGE_TOKEN);
  const known = (await readFile(path, "utf8").catch(() => "")).trim();
  if (/^[\da-f]{32}$/.test(known)) return known; // else a full disk has left a part of it, or nothing
  const token = randomBytes(16).toString("hex");
  await writeFile(path, token, { mode: 0o600 }).catch((error: unknown) =>
    log(`cannot write ${path}: ${codeOf(error)}; the log page has no link until a start can write it`),
  );
  return token;
}

/** A fragment is not sent to the server, nor written into its logs. A browser can't open "every address". */
function pageLink(http: string, token: string): string {
  const reachable = http.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
  return token === "" ? `${reachable}/` : `${reachable}/#token=${token}`;
}

/** Answers `page` beside a running collector. */
async function* answerPage(page: string | undefined): AsyncGenerator<Answer> {
  const remedy = "start it with viewer/ beside collector.ts, and neither --page nor --http off";
  if (page === undefined)
    throw new UsageError(`Cannot print the log page's link: this collector has no page; ${remedy}`);
  yield { table: outcomeOf(page) };
}

function refuseOpenPage({ page, http }: Options): void {
  if (page !== "open" || http === "off" || LOOPBACK.test(http.host)) return;
  throw new UsageError(
    `Cannot open the log page to all who reach ${formatAddress(http)}: --page open needs a loopback --http; ` +
      "--page token asks for the link's token",
  );
}

/** The log page's link, from the options. */
async function findPageLink({ page, http, dataDir }: Options): Promise<string> {
  if (page === "off" || http === "off")
    throw new UsageError(`Cannot print the log page's link: ${page === "off" ? "--page" : "--http"} is off`);
  const token = page === "open" ? "" : await readFile(join(dataDir, PAGE_TOKEN), "utf8").catch(falseAt("ENOENT"));
  if (token === false)
    throw new UsageError(
      `Cannot print the log page's link: ${dataDir} has no ${PAGE_TOKEN}; start the collector first`,
    );
  return pageLink(`http://${formatAddress(http)}`, token.trim());
}

type Metric = [name: string, value: number | Histogram, help: string];

/** Prometheus's text format, version 0.0.4. */
function formatMetrics(metrics: Metric[]): string {
  const blocks = metrics.map(([name, value, help]) => {
    const isHistogram = value instanceof Histogram;
    const type = isHistogram ? "histogram" : name.endsWith("_total") ? "counter" : "gauge";
    const samples = isHistogram ? value.samples(name) : [`${name} ${formatSample(value)}`];
    return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples].join("\n");
  });
  return `${blocks.join("\n\n")}\n`;
}

const formatSample = (value: number) => (value === Infinity ? "+Inf" : String(value));

const DURATIONS = [1e-4, 3e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]; // s

/** Counts values by the bounds that they do not exceed. */
class Histogram {
  readonly #buckets: { bound: number; count: number }[];
  #sum = 0;

  constructor(bounds: number[]) {
    this.#buckets = [...bounds, Infinity].map((bound) => ({ bound, count: 0 }));
  }

  observe(value: number): void {
    this.#sum += value;
    for (const bucket of this.#buckets) if (value <= bucket.bound) bucket.count++;
  }

  /** Its lines in Prometheus's text format. */
  samples(name: string): string[] {
    const buckets = this.#buckets.map(
      ({ bound, count }) => `${name}_bucket{le="${formatSample(bound)}"} ${formatSample(count)}`,
    );
    return [...buckets, `${name}_sum ${formatSample(this.#sum)}`, `${name}_count ${this.#buckets.at(-1)!.count}`];
  }
}

// ---- Status line ------------------------------------------------------------
// The last line of a terminal: renewed each second, below what is logged.

const ERASE = "\r\x1b[K";

class StatusLine {
  readonly #terminal = process.stderr;
  #text = ""; // as it is drawn now, colours included
  #last = { atMs: 0, received: 0, stored: 0 };
  #timer: NodeJS.Timeout | undefined;

  /** Logs a line above it. */
  readonly log: Log = (line) =>
    void this.#terminal.write(isInForeground() ? `${ERASE}${line}\n${this.#text}` : `${line}\n`);

  show(collector: Pick<Collector, "health">): void {
    this.#describe(collector.health()); // so that what the start found does not count as arriving
    this.#timer = setInterval(() => this.#draw(collector.health()), SECOND).unref();
  }

  /** Leaves nothing of it behind; what is logged from now on stands alone. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#text !== "" && isInForeground()) this.#terminal.write(ERASE);
    this.#text = "";
  }

  /** The database's state comes first, so that no narrow terminal hides it. */
  #draw(health: Health): void {
    const text = this.#describe(health).slice(0, (this.#terminal.columns || 80) - 1);
    const isYellow = health.database.state === "away" && !process.env["NO_COLOR"];
    this.#text = isYellow ? `\x1b[33m${text}\x1b[0m` : text;
    if (isInForeground()) this.#terminal.write(ERASE + this.#text);
  }

  #describe({ received, stored, backlog, connections, database }: Health): string {
    const { atMs, ...last } = this.#last;
    this.#last = { atMs: performance.now(), received, stored };
    const perSecond = (lines: number) => (lines / (this.#last.atMs - atMs)) * SECOND;
    const [arriving, leaving] = [perSecond(received - last.received), perSecond(stored - last.stored)];
    const isDraining = leaving > arriving && backlog.lines > leaving; // and takes more than a second
    const left = isDraining ? ` (${formatCount(backlog.lines / (leaving - arriving))} s left)` : "";
    const state = database.state === "away" ? `away: ${database.cause}` : database.state;
    const lines = `${formatCount(arriving)} lines/s in · ${formatCount(leaving)} stored`;
    const senders = countOf(connections, "connection");
    return `database ${state} · backlog ${formatCount(backlog.lines)}${left} · ${lines} · ${senders}`;
  }
}

const formatCount = (value: number) => Math.round(value).toLocaleString("en-US");

/** "1 line", "1,234 lines". */
const countOf = (count: number, singular: string, plural = `${singular}s`) =>
  `${formatCount(count)} ${count === 1 ? singular : plural}`;

/** Whether the terminal is ours to draw on: with `&`, it is the shell's. Where there is no /proc, it is. */
function isInForeground(): boolean {
  if (!existsSync("/proc/self/stat")) return true;
  const afterName = readFileSync("/proc/self/stat", "utf8").replace(/^.*\) /s, "");
  const [, , group, , , ofTerminal] = afterName.split(" ");
  return group === ofTerminal;
}

// ---- Directory lock ---------------------------------------------------------
// Keeps a second collector off a data directory, and passes commands to the first: on its socket, each message is a
// line of JSON. The holder sends a Greeting, the other side a Command, the holder Answers and an Outcome.

interface DirectoryLock {
  /** From now on, commands of other processes are run. */
  answer(run: Collector["run"]): void;
  unlock: () => void;
}

/** Who holds a directory. */
interface Greeting {
  pid: number;
  /** Whether it is a command, which ends soon. */
  isBrief: boolean;
  /** Where it stores. */
  database: string;
}

/** How a command ended. */
interface Outcome {
  end: "done" | "usage" | "error";
  message: string;
}

/**
 * Keeps a second collector off a data directory: a listening Unix socket, which the kernel closes when its process
 * ends, in containers too. Who listens at the highest `lock.N` holds the directory. N only grows: who finds N dead
 * links N + 1, and of two who try, `link` lets one. A holder that is there for a command only is waited for. Throws
 * {@link UsageError} with the process id of another that stays.
 */
async function lockDirectory(directory: string, database: string, isBrief = false): Promise<DirectoryLock> {
  const answering = deferred<Collector["run"]>();
  const self: Greeting = { pid: process.pid, isBrief, database };
  const server = createServer((socket) => void serveCommand(socket, self, answering.promise));
  const own = `lock-${randomUUID()}`;
  const { path, release } = await socketPath(directory, own);
  const cause = await once(server.listen(path), "listening").then(() => "", codeOf);
  await release();
  if (cause) return refuseFolder(directory, `${cause}; choose a folder that this user may write`);
  try {
    while (!(await takeLock(directory, own)));
  } catch (error) {
    server.close();
    throw error;
  }
  return { answer: answering.resolve, unlock: () => void server.close() };
}

/** Runs a command for another process, as fast as that reads; one that leaves has it cancelled. */
async function serveCommand(socket: Socket, self: Greeting, answering: Promise<Collector["run"]>): Promise<void> {
  const stop = new AbortController();
  socket.on("error", () => {}).once("close", () => stop.abort());
  const send = async (message: Greeting | Answer | Outcome) => {
    if (!socket.write(`${JSON.stringify(message)}\n`)) await once(socket, "drain", { signal: stop.signal });
  };
  try {
    await send(self);
    const { value } = await readLines(socket).next();
    if (value === undefined) return;
    const run = await answering;
    for await (const answer of run(JSON.parse(value) as Command, stop.signal)) await send(answer);
    await send({ end: "done", message: "" });
  } catch (error) {
    const end = error instanceof UsageError ? "usage" : "error";
    if (!stop.signal.aborted) await send({ end, message: (error as Error).message }).catch(() => {});
  } finally {
    socket.end();
  }
}

async function takeLock(directory: string, own: string): Promise<boolean> {
  const newest = await newestLock(directory);
  const holder = await meetHolder(directory, newest);
  holder?.leave();
  if (holder?.isBrief) return sleep(LOOK_AGAIN_MS).then(() => false);
  const remedy = "stop it, or choose another";
  if (holder) return refuseFolder(directory, `collector.ts with process id ${holder.pid} does; ${remedy}`);
  const mine = join(directory, `lock.${newest + 1}`);
  if (!(await link(join(directory, own), mine).then(() => true, falseAt("EEXIST")))) return false;
  if ((await newestLock(directory)) > newest + 1) return rm(mine).then(() => false); // a number of long ago: look again
  for (const name of [own, ...range(newest + 1).map((old) => `lock.${old}`)])
    await rm(join(directory, name), { force: true });
  return true;
}

async function newestLock(directory: string): Promise<number> {
  const numbers = (await readdir(directory)).map((name) => Number(/^lock\.(\d+)$/.exec(name)?.[1] ?? 0));
  return Math.max(0, ...numbers);
}

const GREETING_MS = 30 * SECOND; // a busy machine may keep a holder from answering
const LOOK_AGAIN_MS = 100;

/** The holder of a directory, seen from another process. */
interface Holder extends Greeting {
  /** Has the holder run a command; whoever stops reading has it cancelled. */
  ask(command: Command): AsyncGenerator<Answer>;
  leave(): void;
}

/**
 * Connects to the holder of a directory; `undefined` where nobody listens. One that closes without a word, or ends
 * before it takes the connection (ECONNRESET), is about to end, or out of files: it counts as brief.
 */
async function meetHolder(directory: string, number?: number): Promise<Holder | undefined> {
  const { path, release } = await socketPath(directory, `lock.${number ?? (await newestLock(directory))}`);
  const socket = connect(path);
  const isThere = await once(socket, "connect")
    .then(() => true, falseAt("ECONNREFUSED", "ENOENT"))
    .finally(release);
  if (!isThere) return undefined;
  const leave = () => void socket.on("error", () => {}).destroy();
  const lines = readLines(socket);
  try {
    const first = await deadline(lines.next(), GREETING_MS).catch(falseAt("ECONNRESET"));
    const holder = JSON.parse((first && first.value) || '{"isBrief":true}') as Greeting;
    return { ...holder, leave, ask: (command) => askCommand(socket, lines, command) };
  } catch {
    leave();
    return refuseFolder(directory, "its holder is silent");
  }
}

async function* askCommand(socket: Socket, lines: AsyncGenerator<string>, command: Command): AsyncGenerator<Answer> {
  try {
    socket.write(`${JSON.stringify(command)}\n`);
    for await (const line of lines) {
      const message = JSON.parse(line) as Answer | Outcome;
      if (!("end" in message)) yield message;
      else if (message.end === "usage") throw new UsageError(message.message);
      else if (message.end === "error") throw new Error(message.message);
      else return;
    }
    throw new Error("Cannot run the command: the collector has ended");
  } finally {
    socket.destroy();
  }
}

function refuseFolder(directory: string, why: string): never {
  throw new UsageError(`Cannot use --data-dir ${directory}: ${why}`);
}

/** For what rejects: `false` in place of an error with one of the codes. */
function falseAt(...codes: string[]): (error: unknown) => false {
  return (error) => {
    if (codes.includes(codeOf(error))) return false;
    throw error;
  };
}

/** The lines of a text as it comes; reading on waits for who takes them. */
async function* readLines(stream: Readable): AsyncGenerator<string> {
  let pieces: string[] = [];
  for await (const chunk of stream.setEncoding("utf8").iterator({ destroyOnReturn: false })) {
    const [piece = "", ...more] = String(chunk).split("\n");
    pieces.push(piece);
    for (const next of more) {
      yield pieces.join("");
      pieces = [next];
    }
  }
}

interface SocketPath {
  path: string;
  release: () => Promise<void>;
}

/** A path to a socket in a folder within the 107 bytes that sockaddr_un holds; it is valid until `release`. */
async function socketPath(directory: string, name: string): Promise<SocketPath> {
  const paths = [resolve(directory, name), relative(process.cwd(), join(directory, name))];
  const short = paths.find((path) => Buffer.byteLength(path) < 104);
  if (short !== undefined) return { path: short, release: () => Promise.resolve() };
  const folder = await open(directory, "r");
  return { path: `/proc/self/fd/${folder.fd}/${name}`, release: () => folder.close() };
}

// ---- Option parsers ---------------------------------------------------------
// Texts to values, once; a value that a program gives is checked as a text is.

interface Parser<Value> {
  placeholder: string;
  allowed: string;
  /** Takes several, divided by commas; the flag may be given more than once. */
  isList?: true;
  /** The value of a text; `undefined` for a text that is not allowed. */
  parse: (text: string) => Value | undefined;
  /** Whether a value that is no text is one that `parse` could have returned. */
  accepts: (value: unknown) => boolean;
}

/** What the command line, the environment or the folder got wrong; ends the start with exit code 2. */
export class UsageError extends Error {}

/** Checks and completes options, given by camel-case names, and the environment. Throws {@link UsageError}. */
export function readOptions(given: GivenOptions, environment: NodeJS.ProcessEnv): Options {
  const values = optionNames().map((name) => [name, readOption(name, given[name], environment)]);
  const options = Object.fromEntries(values) as Options;
  const { http, listen } = options;
  if (http === "off" || http.port === 0) return options;
  const shared = listen.find(({ host, port }) => host === http.host && port === http.port);
  if (!shared) return options;
  const texts = `--http "${formatAddress(http)}" beside --listen "${formatAddress(shared)}"`;
  throw new UsageError(`Cannot use ${texts}: allowed is another port, or off`);
}

function readOption(name: OptionName, given: unknown, environment: NodeJS.ProcessEnv): unknown {
  const [fallback, parser] = OPTIONS[name];
  const { allowed, parse, accepts } = parser as Parser<unknown>;
  const source = given === undefined ? variableOf(name) : flagOf(name);
  const found = given ?? (environment[variableOf(name)] || fallback);
  if (typeof found !== "string") {
    if (accepts(found)) return found;
    throw new UsageError(`Cannot use ${source} ${JSON.stringify(found)}: allowed is ${allowed}`);
  }
  const value = parse(found);
  if (value !== undefined && (found !== "" || fallback === "")) return value;
  throw new UsageError(`Cannot use ${source} "${withoutPassword(found)}": allowed is ${allowed}`);
}

const withoutPassword = (text: string) =>
  text.replace(/(^\w*:?\/*).*@/s, "$1***@").replace(/password=[^&]*/gi, "password=***");

/** What --help and docs/options.md show of each option, or of some. */
export function optionRows(names: readonly string[] = optionNames()) {
  return optionNames().flatMap((name) => {
    const [fallback, { placeholder, allowed }, meaning] = OPTIONS[name];
    const flag = `${flagOf(name)} ${placeholder}`;
    return names.includes(name) ? [{ flag, variable: variableOf(name), fallback, meaning, allowed }] : [];
  });
}

/** The text of --help: lines of at most 100 columns. */
export function helpText(): string {
  const rows = optionRows().map(({ flag, variable, fallback, meaning, allowed }) => {
    const texts = [meaning, `${variable}, default ${fallback || "none"}: ${allowed}`];
    const lines = texts.flatMap((text) => text.match(/.{1,69}(?= |$)/g) ?? []);
    return `  ${flag.padEnd(28)} ${lines.map((line) => line.trim()).join(`\n${" ".repeat(31)}`)}`;
  });
  return `collector: a TCP log collector. It answers \`ok\` once a line is on disk, and stores it in PostgreSQL
exactly once.

  collector.ts [options]           collect
  collector.ts query "select …"    print the rows of one SQL statement
  collector.ts search "…"          print the lines that match, in the log page's language
  collector.ts tail "…"            print the lines that match as they come
  collector.ts page                print the log page's link
  collector.ts dead list           print the lines that the database refused
  collector.ts dead retry [ID …]   store them, all or some, now that the reason is mended
  collector.ts dead drop [ID …]    forget them, all or some

With query, search, tail and dead list:
  --json                       print JSON objects, a line each
  --limit N                    print N rows; without it, ${formatCount(ROWS_ON_A_TERMINAL)} on a terminal, else all
  --timeout TIME               with query and dead list: cancel what takes longer; else ${STATEMENT_DEADLINE_MS / SECOND}s
  --since TIME, --until TIME   with search: its range, as times or ages such as 2h
  --write                      with query: let the statement write

${rows.join("\n")}
  --help, --version

A flag wins over its environment variable.`;
}

const optionNames = () => Object.keys(OPTIONS) as OptionName[];
const snakeOf = (name: string, joint: string) => name.replace(/[A-Z]/g, (letter) => joint + letter.toLowerCase());
const wordOf = (name: string) => snakeOf(name, "-");
const flagOf = (name: string) => `--${wordOf(name)}`;
const variableOf = (name: string) => (name === "databaseUrl" ? "" : "COLLECTOR_") + snakeOf(name, "_").toUpperCase();

/** A host and a port; the host of an IPv6 address is without its brackets. */
export interface Address {
  host: string;
  port: number;
}

/** An address that senders connect to; without a scheme, TLS or not follows from the other options. */
export interface SenderAddress extends Address {
  scheme: "tcp" | "tls" | "";
}

function hostAndPort(): Parser<Address> {
  const allowed = "a host and a port from 0 to 65535, such as 127.0.0.1:8888 or [::1]:8888";
  const isAddress = ({ host, port }: Address) =>
    typeof host === "string" && parseAddress(formatAddress({ host, port })) !== undefined;
  const accepts = (value: unknown) => isObject(value) && isAddress(value as Address);
  return { placeholder: "HOST:PORT", allowed, parse: parseAddress, accepts };
}

function listenAddresses(): Parser<SenderAddress[]> {
  const parse = (text: string) => {
    const [, scheme = "", rest = ""] = /^(?:(tcp|tls):\/\/)?(.*)$/s.exec(text) ?? [];
    const parsed = parseAddress(rest);
    return parsed && { scheme: scheme as SenderAddress["scheme"], ...parsed };
  };
  const { placeholder, allowed, accepts } = hostAndPort();
  const isOne = (value: unknown) => accepts(value) && ["", "tcp", "tls"].includes((value as SenderAddress).scheme);
  return list({ placeholder, allowed: `${allowed}, or tls:// before it`, parse, accepts: isOne });
}

/** Addresses of one prefix; a single address is a network of its own. */
export interface Network {
  base: string;
  prefix: number;
  family: "ipv4" | "ipv6";
}

function networks(): Parser<Network[]> {
  const allowed = "an address or a network, such as 192.0.2.7, 10.0.0.0/8 or fd00::/8";
  const isNetwork = ({ base, prefix, family }: Network) => parseNetwork(`${base}/${prefix}`)?.family === family;
  const accepts = (value: unknown) => isObject(value) && isNetwork(value as Network);
  return orNone([], list({ placeholder: "CIDR", allowed, parse: parseNetwork, accepts }));
}

/** Lines of the levels `from` to `to` are kept for `ageMs`. */
export interface LevelRule {
  from: number;
  to: number;
  ageMs: number;
}

/** Each rule covers the levels from its own down to the next lower one that is named. */
function levelRules(): Parser<LevelRule[]> {
  const ages = quantity("TIME", "0s", "36500d");
  const parseOne = (text: string) => {
    const [, name = "", time = ""] = /^(\w+)=(\w+)$/.exec(text) ?? [];
    const [to, ageMs] = [levelNamed(name), ages.parse(time)];
    return to === undefined || ageMs === undefined ? undefined : { from: 0, to, ageMs };
  };
  const isRule = ({ from, to, ageMs }: LevelRule) => from <= to && to <= 600 && ages.accepts(ageMs);
  const accepts = (value: unknown) => isObject(value) && isRule(value as LevelRule);
  const allowed = "a level and a time, such as debug=2d, each level once";
  const all = list({ placeholder: "LEVEL=TIME", allowed, parse: parseOne, accepts });
  const parse = (text: string) => {
    const sorted = all.parse(text)?.toSorted((a, b) => a.to - b.to);
    const rules = sorted?.map((rule, index) => ({ ...rule, from: (sorted[index - 1]?.to ?? -1) + 1 }));
    return rules?.every(({ from, to }) => from <= to) ? rules : undefined;
  };
  return orNone([], { ...all, parse });
}

/** Several, divided by commas. */
function list<Part>({ placeholder, allowed, parse, accepts }: Parser<Part>): Parser<Part[]> {
  return {
    placeholder,
    allowed: `${allowed}; several are divided by commas`,
    isList: true,
    parse(text) {
      const parts = text.split(",").map(parse);
      return parts.includes(undefined) ? undefined : (parts as Part[]);
    },
    accepts: (value) => Array.isArray(value) && value.length > 0 && value.every(accepts),
  };
}

/** An option that may be left out: its value is then `none`. */
function orNone<Value>(none: Value, { parse, accepts, ...parser }: Parser<Value>): Parser<Value> {
  const isNone = (value: unknown) => JSON.stringify(value) === JSON.stringify(none);
  return {
    ...parser,
    parse: (text) => (text === "" ? none : parse(text)),
    accepts: (value) => isNone(value) || accepts(value),
  };
}

/** An option that may be a word instead, which stands for a value of its own. */
function orWord<Value, const Other>(word: string, other: Other, parser: Parser<Value>): Parser<Value | Other> {
  return {
    placeholder: parser.placeholder,
    allowed: `${word}, or ${parser.allowed}`,
    parse: (text) => (text === word ? other : parser.parse(text)),
    accepts: (value) => value === other || parser.accepts(value),
  };
}

function orOff<Value, const Off>(off: Off, parser: Parser<Value>): Parser<Value | Off> {
  return orWord("off", off, parser);
}

function filePath(placeholder: string): Parser<string> {
  return { placeholder, allowed: "a path", parse: (text) => text, accepts: () => false };
}

/** psql's variables (PGHOST and the like) or defaults give what a URL leaves out. Of several hosts, one is checked. */
function databaseAddress(): Parser<string> {
  const form = /^(?:postgres(?:ql)?|mysql|mariadb):\/\/([^%]|%[\da-f]{2})*$/i;
  const isUrl = (text: string) => form.test(text) && URL.canParse(text.replace(/,[^/?]*/, ""));
  const allowed = "postgres://user:password@host:port/database, or mysql:// or mariadb://";
  const parse = (text: string) => (isUrl(text) ? text : undefined);
  return orNone("", { placeholder: "URL", allowed, parse, accepts: () => false });
}

function oneOf<Word extends string>(...words: Word[]): Parser<Word> {
  const allowed = words.join(", ").replace(/, (\w+)$/, " or $1");
  const parse = (text: string) => words.find((word) => word === text);
  return { placeholder: words.join("|"), allowed, parse, accepts: () => false };
}

function timeZone(): Parser<string> {
  const allowed = "an IANA time zone such as Europe/Berlin";
  return { placeholder: "ZONE", allowed, parse: parseTimeZone, accepts: () => false };
}

function parseTimeZone(text: string): string | undefined {
  return text === "" || zoneNamed(text) !== undefined ? text : undefined;
}

/** A number of something from `min` to `max`, both included. */
function quantity(kind: keyof typeof QUANTITIES, min: string, max: string): Parser<number> {
  const { name, units } = QUANTITIES[kind];
  const valueOf = (text: string) => {
    const [, digits, unit = ""] = /^(\d{1,15})([a-z]*)$/i.exec(text) ?? [];
    return Number(digits) * ((units as Record<string, number>)[unit] ?? Number.NaN);
  };
  const isWithin = (value: number) => value >= valueOf(min) && value <= valueOf(max);
  const parse = (text: string) => (isWithin(valueOf(text)) ? valueOf(text) : undefined);
  const accepts = (value: unknown) => Number.isSafeInteger(value) && isWithin(value as number);
  return { placeholder: kind, allowed: `${name} from ${min} to ${max}`, parse, accepts };
}

function parseAddress(text: string): Address | undefined {
  const [, ipv6, name, digits] = /^(?:\[([\da-f:.%a-z]+)\]|([^\s:[\]]+)):(\d{1,5})$/i.exec(text) ?? [];
  const [host, port] = [ipv6 ?? name, Number(digits)];
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

const formatAddress = ({ host, port }: Address) => `${host.includes(":") ? `[${host}]` : host}:${port}`;

/** An IPv4-mapped IPv6 address is the IPv4 address. */
function parseNetwork(text: string): Network | undefined {
  const [, base = "", digits] = /^([\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(withoutMapping(text)) ?? [];
  const [bits, family] = isIP(base) === 4 ? ([32, "ipv4"] as const) : ([128, "ipv6"] as const);
  const prefix = Number(digits ?? bits);
  return isIP(base) > 0 && prefix <= bits ? { base, prefix, family } : undefined;
}

const withoutMapping = (ip: string) => ip.replace(/^::ffff:(?=\d+\.)/i, "");

// ---- Errors -----------------------------------------------------------------
// What a server's errors mean, and what is done about them; in words, without the server's message: that may quote
// lines.

/** By SQLSTATE, or by its first two or three characters (PostgreSQL's manual, appendix A). */
const SQLSTATES: Record<string, [reaction: Reaction, meaning?: string]> = {
  "08": ["away", "the connection failed"],
  "08P01": ["no bulk load", "the protocol was violated"],
  "0A000": ["no bulk load", "not supported there"],
  "22": ["content", "the data is refused"],
  "23": ["content", "a constraint refuses it"],
  "25006": ["set up anew", "the server is read-only"],
  "28": ["own", "this user may not connect"],
  "28P01": ["away", "wrong password"],
  "3D": ["away", "no such database"],
  "3F": ["own", "this role may use no schema"],
  "40": ["away", "another transaction was in the way"],
  "42501": ["own", "this role lacks rights"],
  "42703": ["set up anew", "a column is missing"],
  "42809": ["no bulk load", "not a table"],
  "42883": ["set up anew", "a function is missing"],
  "42P01": ["set up anew", "a table is missing"],
  "44": ["content", "a view refuses it"],
  "53": ["away", "the server lacks resources"],
  "53100": ["away", "the server's disk is full"],
  "53300": ["away", "too many connections"],
  "54": ["content", "a limit of the server refuses it"],
  "55P03": ["own", "others hold a lock"],
  "57014": ["too long", "the statement took too long"],
  "57P": ["away", "the server is starting or stopping"],
  "58": ["away", "a system error at the server"],
  P0001: ["content", "a trigger refuses it"],
  XX: ["own", "an internal error of the server"],
};

const PARTITION_MISSING = "23514"; // where it names no constraint

/** An error that a server sent, or that stands for one. */
class ServerError extends Error {
  override readonly name = "PostgresError";

  constructor(fields: object) {
    super("the server refused");
    Object.assign(this, fields);
  }
}

/** Rows can't go by COPY: `logs` is a view, or has columns of other types, to which COPY in binary does not cast. */
class NoBulkLoad extends Error {}

/** Some lines of an entry are stored, but not all: it was being stored line by line, in slices. */
class StoredInPart extends Error {}

/** A promise was not settled in time. */
class TimedOut extends Error {}

function reactionTo(error: unknown): Reaction {
  if (error instanceof NoBulkLoad) return "no bulk load";
  if (error instanceof StoredInPart) return "content";
  if (!isFromServer(error)) return "away";
  const { code, constraint_name: constraint } = error as postgres.PostgresError;
  if (code === PARTITION_MISSING && !constraint) return "partition";
  return lookUpSqlstate(code)?.[0] ?? "own";
}

const lookUpSqlstate = (code: string) => SQLSTATES[code] ?? SQLSTATES[code.slice(0, 3)] ?? SQLSTATES[code.slice(0, 2)];

type Account = Pick<DatabaseServer, "user" | "database" | "password">;

/** What helps against an error that the operator can mend; its message is the server's, which names objects only. */
const REMEDIES: Record<string, (account: Account, message: string) => string> = {
  "28P01": ({ user, password }) =>
    `of user ${user}${password === "" ? "; there is none in the URL, PGPASSWORD or ~/.pgpass" : ""}`,
  "3D000": (account) => `; ${createDatabase(account)} makes it`,
  "3F000": (account) => `; ${grantOr(account)}`,
  "42501": (account, message) => `: ${message}; ${grantOr(account)}`,
};

const grantOr = (account: Account) =>
  `grant that, or use a new database of its own: ${createDatabase({ ...account, database: `${account.database}_2` })}`;
const createDatabase = ({ user, database }: Account) =>
  `create database ${quoteName(database)} owner ${quoteName(user)}`;
const quoteName = (name: string) => (/^[a-z_][a-z\d_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

/** The causes of a connection that can't be made. */
const ERRNOS: Record<string, string> = {
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "it closes the connection",
  EAI_AGAIN: "no name server answers",
  EHOSTUNREACH: "no way leads to that host",
  ENETUNREACH: "no way leads to that network",
  ENOTFOUND: "there is no host of that name",
  ETIMEDOUT: "that host does not answer",
};

/** What an error tells, without the server's message: that may quote lines. */
export function describeError(error: unknown, account?: Account): string {
  const known = codeOf(error);
  if (isOfFile(error)) return `${known} at ${(error as NodeJS.ErrnoException).path}`;
  if (!isFromServer(error)) return ERRNOS[known] === undefined ? known : `${known}, ${ERRNOS[known]}`;
  const { code, table_name: table, constraint_name: name, message } = error as postgres.PostgresError;
  const meaning = lookUpSqlstate(code)?.[1];
  const parts = [`SQLSTATE ${code}`, meaning, table && `table ${table}`, name && `constraint ${name}`];
  const remedy = account && REMEDIES[code]?.(account, message);
  return `${parts.filter(Boolean).join(", ")}${remedy?.replace(/^(?![:;])/, " ") ?? ""}`;
}

/** An error of a user's own statement: that user may read the server's message. */
function explainError(error: unknown, store: Store): string {
  if (!isFromServer(error) || codeOf(error) in REMEDIES) return store.describe(error);
  const { message, hint } = error as postgres.PostgresError;
  if (codeOf(error) === "25006") return `${message}; --write lets it write`;
  return hint ? `${message} (${hint})` : message;
}

/** An error's SQLSTATE or errno, else its message. */
function codeOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}

const isOfFile = (error: unknown) => (error as NodeJS.ErrnoException).path !== undefined;

const isFromServer = (error: unknown) => error instanceof Error && error.name === "PostgresError";

// ---- Helpers ----------------------------------------------------------------
// Small things that are used above.

type Deferred<T> = PromiseWithResolvers<T>;

/** `Promise.withResolvers`, which Node 20 lacks. */
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

/**
 * Logs when something is amiss, and at once when it is over. What comes and goes, or changes its cause, is logged once
 * a minute, and then as it stands: an outage is one line, whatever the causes it goes through.
 */
class Condition {
  readonly #log: Log;
  #loggedAtMs = -MINUTE; // when trouble was last logged
  /** The trouble now, logged or not; undefined for none. */
  trouble: string | undefined;
  #logged: string | undefined;
  #waiting: NodeJS.Timeout | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** `trouble` tells one cause from another; `text` is for the operator. No trouble is logged only after some. */
  report(trouble: string | undefined, text: string): void {
    this.cancelReport();
    this.trouble = trouble;
    if (trouble === this.#logged) return;
    const waitMs = trouble === undefined ? 0 : this.#loggedAtMs + MINUTE - performance.now();
    if (waitMs > 0) return void (this.#waiting = setTimeout(() => this.report(trouble, text), waitMs).unref());
    this.#log(text);
    this.#logged = trouble;
    if (trouble !== undefined) this.#loggedAtMs = performance.now();
  }

  /** Drops the report that is waiting to be logged. */
  cancelReport(): void {
    clearTimeout(this.#waiting);
  }
}

const LOGGED_ONCE_MAX = 1000; // different lines that are logged once; further ones are not logged

/** Logs each line once, and 1,000 different lines in all, so that no sender can fill the log. */
function onceLog(log: Log): Log {
  const logged = new Set<string>();
  return (line) => {
    if (logged.has(line) || logged.size >= LOGGED_ONCE_MAX) return;
    logged.add(line);
    log(`${line} (logged once)`);
    if (logged.size === LOGGED_ONCE_MAX)
      log("1,000 different lines were logged once: no further ones are logged until the next start");
  };
}

/** Rejects after `ms`, whether or not the promise ever settles. */
async function deadline<T>(promise: PromiseLike<T>, ms: number): Promise<T> {
  const late = deferred<never>();
  const timer = setTimeout(() => late.reject(new TimedOut(`no answer in ${ms / SECOND} s`)), ms);
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

const isObject = (value: unknown) => typeof value === "object" && value !== null;

/** Sums a field over items; one that lacks it counts as 0. */
const sumOf = <Name extends string>(items: Partial<Record<Name, number>>[], name: Name) =>
  items.reduce((total, item) => total + (item[name] ?? 0), 0);

/** Closes one after the other. If one fails, closes the rest, too, then rejects with the first error. */
async function closeAll(closers: (() => unknown)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const close of closers)
    try {
      await close();
    } catch (error) {
      errors.push(error);
    }
  if (errors.length > 0) throw errors[0];
}

const writeLog: Log = (line) => void process.stderr.write(`${line}\n`);

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** Resolves to whether it was made just now. Level by level: Node's recursive mkdir does not end in /proc. */
async function makeFolder(path: string): Promise<boolean> {
  if (existsSync(path)) return false;
  const parent = dirname(resolve(path));
  await makeFolder(parent);
  const made = mkdir(path, { mode: 0o700 }).then(() => true, falseAt("EEXIST"));
  const kept = made.then(async (isMade) => {
    if (isMade) await withFolder(parent, (opened) => opened.sync()); // or a power cut may take it, and what is in it
    return isMade;
  });
  return kept.catch((error: unknown) => {
    throw new UsageError(`Cannot make the folder ${path}: ${codeOf(error)}; choose another --data-dir DIR`);
  });
}

async function withFolder(path: string, use: (folder: FileHandle) => Promise<void>): Promise<void> {
  const folder = await open(path, "r");
  await use(folder).finally(() => folder.close());
}

const DRIVER = "postgres";
const EMBEDDED = ["@electric-sql/pglite", "@electric-sql/pglite-socket"];
const PREPARED = "@electric-sql/pglite-prepopulatedfs"; // optional: PGlite's folder as its first open leaves it
const MYSQL_DRIVER = "mysql2";

/** The versions that are known to work, as in package.json. */
const VERSIONS: Record<string, string> = {
  [DRIVER]: DRIVER_VERSION,
  [MYSQL_DRIVER]: "3.24.6",
  "@electric-sql/pglite": "0.5.14",
  "@electric-sql/pglite-socket": "0.2.17",
};

/** The packages' entry points, as URLs. Throws {@link UsageError} with what installs those that are missing. */
function locatePackages(...names: string[]): string[] {
  const found = names.map(findPackage);
  const missing = names.filter((_, index) => found[index] === undefined);
  if (missing.length === 0) return found as string[];
  missing.flatMap(packagePaths).forEach(refuseUnreadable);
  const orElse = missing.some((name) => EMBEDDED.includes(name)) ? ", or set --database-url" : "";
  const exact = missing.map((name) => `${name}@${VERSIONS[name]}`).join(" ");
  throw new UsageError(`Cannot find ${missing.join(" and ")}: type npm i ${exact}${orElse}`);
}

/** Paths at which a package of that name is looked for. */
function packagePaths(name: string): string[] {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  return folders.filter((folder) => basename(folder) === "node_modules").map((folder) => join(folder, name));
}

/** Throws {@link UsageError} for a path that our user may not read: a command may run as its data directory's owner. */
function refuseUnreadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    if (codeOf(error) !== "EACCES") return;
    const remedy = "install the collector where that user can read it, such as /opt/collector";
    throw new UsageError(`Cannot read ${path} as user ${process.getuid?.()}: EACCES; ${remedy}`);
  }
}

function findPackage(name: string): string | undefined {
  try {
    return pathToFileURL(createRequire(import.meta.url).resolve(name)).href;
  } catch {
    return undefined;
  }
}

/** The store that `databaseUrl` names. Throws {@link UsageError} for what is missing on this machine. */
async function openStore(options: Options, log: Log): Promise<Store> {
  if (/^(?:mysql|mariadb):/i.test(options.databaseUrl)) return openMysql(options, log);
  const store = new PostgresStore(options, readSchema(), log);
  locatePackages(...(options.databaseUrl === "" ? [DRIVER, ...EMBEDDED] : [DRIVER]));
  warnOfDriver(log);
  return store;
}

/** The store in mysql/, which is copied only where it is used. */
async function openMysql({ databaseUrl: url, workers, maxLine }: Options, log: Log): Promise<Store> {
  const file = new URL("mysql/mysql.ts", import.meta.url);
  if (!existsSync(file))
    throw new UsageError(`Cannot find ${fileURLToPath(file)}: copy the folder mysql/ beside collector.ts`);
  const { default: driver } = (await import(locatePackages(MYSQL_DRIVER)[0]!)) as { default: MysqlHost["driver"] };
  const { openMysqlStore } = (await import(file.href)) as typeof import("./mysql/mysql.ts");
  return openMysqlStore({ driver, url, workers, maxLine, log, describe: describeError, UsageError, DatabaseRefused });
}

const SCHEMA_VERSION = "2"; // as schema.sql has it in its comment on the table

/** Throws {@link UsageError} where it is missing, or belongs to another version of this file. */
function readSchema(): string {
  const path = join(dirname(fileURLToPath(import.meta.url)), "schema.sql");
  refuseUnreadable(path);
  let schema: string;
  try {
    schema = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`Cannot read ${path}: ${codeOf(error)}; copy schema.sql beside collector.ts`);
  }
  const [, version = "1"] = /collector schema (\d+)/.exec(schema) ?? [];
  if (version === SCHEMA_VERSION) return schema;
  const remedy = `this collector.ts needs ${SCHEMA_VERSION}; copy the schema.sql that came with it`;
  throw new UsageError(`Cannot use ${path}: it is version ${version}, ${remedy}`);
}

// ---- Entry point ------------------------------------------------------------
// The command line and the signals. Importing this file starts nothing.

async function main(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {}); // who reads them may leave
  const { flags, command, printing, isHelp, isVersion } = readCommandLine(process.argv.slice(2));
  if (isHelp) return void process.stdout.write(`${helpText()}\n`);
  if (isVersion) return void process.stdout.write(`${VERSION}\n`);
  process.umask(0o077);
  const options = readOptions(flags, process.env);
  if (command.words.length > 0) process.exit(await runOnce(options, command, printing));
  await collect(options, Boolean(flags.http ?? process.env["COLLECTOR_HTTP"]));
  process.exit(0); // whatever a driver keeps open
}

/** Flags of commands, and which commands take them. */
const COMMAND_FLAGS: Record<string, { type: "boolean" | "string"; commands: string[] }> = {
  json: { type: "boolean", commands: ["query", "search", "tail", "dead list"] },
  limit: { type: "string", commands: ["query", "search", "tail", "dead list"] },
  since: { type: "string", commands: ["search"] },
  until: { type: "string", commands: ["search"] },
  timeout: { type: "string", commands: ["query", "dead list"] },
  write: { type: "boolean", commands: ["query"] },
};

function readCommandLine(args: string[]) {
  const options: ParseArgsConfig["options"] = { help: { type: "boolean" }, version: { type: "boolean" } };
  for (const [name, { type }] of Object.entries(COMMAND_FLAGS)) options[name] = { type };
  for (const name of optionNames())
    options[wordOf(name)] = { type: "string", multiple: OPTIONS[name][1].isList === true };
  const { values, words } = parseWords(args, options);
  if (words.length > 0) checkCommand({ words });
  const name = words[0] === "dead" ? words.slice(0, 2).join(" ") : (words[0] ?? "");
  for (const [flag, { commands }] of Object.entries(COMMAND_FLAGS))
    if (values[flag] !== undefined && !commands.includes(name))
      throw new UsageError(`Cannot use --${flag}: allowed is ${commands.join(" or ")} with it`);
  const limit = readCommandFlag("limit", values["limit"], quantity("N", "1", "1000000000"));
  const timeoutMs = readCommandFlag("timeout", values["timeout"], quantity("TIME", "1ms", "24d"));
  const command: Command = {
    words,
    isWrite: values["write"] === true,
    isJson: values["json"] === true,
    ...(typeof values["since"] === "string" ? { since: values["since"] } : {}),
    ...(typeof values["until"] === "string" ? { until: values["until"] } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  const printing = {
    isJson: values["json"] === true,
    limit: limit ?? (process.stdout.isTTY ? ROWS_ON_A_TERMINAL : Infinity),
  };
  const flags = Object.fromEntries(optionNames().map((option) => [option, values[wordOf(option)]?.toString()]));
  return { flags: flags as GivenOptions, command, printing, isHelp: values["help"], isVersion: values["version"] };
}

/** Flags and words. A statement may begin with a comment, which looks like a flag but has a space in it. */
function parseWords(args: string[], options: ParseArgsConfig["options"]) {
  const start = args.indexOf("query");
  const isStatement = (text: string, index: number) => start >= 0 && index > start && /^--[^=\s]*\s/.test(text);
  const shielded = args.map((text, index) => (isStatement(text, index) ? `\0${text}` : text));
  const { values, positionals } = parseArgs({ args: shielded, options: options ?? {}, allowPositionals: true });
  return { values, words: positionals.map((word) => word.replace(/^\0/, "")) };
}

function readCommandFlag(name: string, given: unknown, { allowed, parse }: Parser<number>): number | undefined {
  if (typeof given !== "string") return undefined;
  const value = parse(given);
  if (value === undefined) throw new UsageError(`Cannot use --${name} "${given}": allowed is ${allowed}`);
  return value;
}

/** Resolves once it has stopped. A default port of --http that is taken is gone without. */
async function collect({ http, ...options }: Options, isHttpAsked: boolean): Promise<void> {
  const statusLine = process.stderr.isTTY && process.env["TERM"] !== "dumb" ? new StatusLine() : undefined;
  process.once("exit", () => statusLine?.end()); // a second signal ends the process at once
  const log = statusLine?.log ?? writeLog;
  const starting = startCollector({ ...options, ...(isHttpAsked ? { http } : {}), log });
  obeySignals(starting, options, log);
  const collector = await starting;
  if (process.stderr.isTTY && collector.page) log(`look at the logs: ${collector.page}`); // never into a log file
  statusLine?.show(collector);
  if (process.env["NOTIFY_SOCKET"])
    execFile("systemd-notify", ["--ready"], (error) => {
      if (error) log(`cannot tell systemd that it is ready: ${codeOf(error)}`); // Node has no Unix datagrams
    });
  await collector.done.finally(() => statusLine?.end());
}

/**
 * The first signal stops in order, once the start is done; one that comes a second or more later, at once: npx passes
 * one on twice. SIGHUP has the TLS files read again; without TLS it ends the process, as a closed terminal should.
 */
function obeySignals(starting: Promise<Collector>, options: Pick<Options, "drainTimeout" | "tlsCert">, log: Log): void {
  // A start that failed is main's to report.
  const obey = (act: (collector: Collector) => unknown) => void starting.then(act).catch(() => {});
  const signals: number[] = [];
  const stop = () => {
    if (signals.push(Date.now()) === 1) {
      log(`stopping, for up to ${options.drainTimeout / SECOND} s; a second signal ends it at once`);
      obey((collector) => collector.close());
    } else if (Date.now() - (signals[0] ?? 0) >= SECOND) process.exit(1);
  };
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
  if (options.tlsCert !== "") process.on("SIGHUP", () => obey((collector) => collector.reloadCertificates()));
}

function fail(error: unknown): never {
  const { code = "", message } = error as Error & { code?: string };
  const isArgument = code.startsWith("ERR_PARSE_ARGS");
  const text = isArgument ? `Cannot start: ${message.split(/\.\s/)[0]}; --help lists what is allowed` : message;
  process.stderr.write(`${text}\n`);
  process.exit(isArgument || error instanceof UsageError ? 2 : 1);
}

/** Where it listens and who can reach that, where it stores and, the first time, a line to try and how to see it. */
function greeting(
  options: Options,
  databaseName: string,
  listeners: Listener[],
  http: string | undefined,
  isFirstStart: boolean,
): string[] {
  const exposed = listeners.filter((listener) => isForAll(listener, options)).map(urlOf);
  const warning = `warning: anyone who can reach ${exposed.join(" and ")} can send lines`;
  const plain = listeners.find(({ isTls }) => !isTls);
  return [
    ...listeners.map((listener) => `listening on ${urlOf(listener)}`),
    ...(exposed.length > 0 ? [`${warning}; --allow CIDR or, with TLS, --tls-ca FILE limits who may`] : []),
    ...memoryWarnings(options),
    `storing into ${databaseName}`,
    ...(http === undefined ? [] : [`health and metrics on ${http}`]),
    ...(isFirstStart && plain ? hints(plain, options.dataDir) : []),
  ];
}

const LINES_IN_MEMORY_SIZE = 512 * MIB;

/** Warns if long lines could fill memory. A sender's may be there twice: as it comes, and as the journal gets it. */
function memoryWarnings({ maxConnections, maxLine }: Options): string[] {
  if (maxConnections * maxLine <= LINES_IN_MEMORY_SIZE) return [];
  const gibibytes = ((2 * maxConnections * maxLine) / (1024 * MIB)).toFixed(1);
  const bound = `${maxConnections} senders with lines of ${maxLine} bytes may take ${gibibytes} GiB of memory`;
  return [`warning: ${bound}; lower --max-connections or --max-line`];
}

/** Commands to try a new collector with. Each ends by itself, with Debian's `nc`, too. */
function hints({ host, port }: Listener, dataDir: string): string[] {
  const folder = dataDir === "./collector-data" ? "" : ` --data-dir ${dataDir}`;
  return [
    `try: echo hello | nc -q1 ${host} ${port}`,
    `without nc: bash -c 'exec 3<>/dev/tcp/${host}/${port}; echo hello >&3; head -n1 <&3'`,
    `to look: ${ownCommand()} query "select created_at, message from logs"${folder}`,
  ];
}

/** What starts this program here, as in the README's table of runtimes. */
function ownCommand(): string {
  const { bun, deno } = process.versions;
  const isTsx = process.execArgv.some((flag) => flag.includes("tsx"));
  const runner = bun ? "bun" : deno ? "deno run -A" : isTsx ? "npx tsx" : "node";
  return `${runner} ${relative("", fileURLToPath(import.meta.url))}`;
}

function farewell({ inJournal }: Ledger): string {
  if (inJournal === 0) return "stopped: all lines are stored";
  return `stopped: ${countOf(inJournal, "line waits", "lines wait")} in the journal`;
}

const script = process.argv[1] ?? "";
const isMain = existsSync(script) && realpathSync(script) === fileURLToPath(import.meta.url);
if (isMain) main().catch(fail);
