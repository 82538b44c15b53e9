/** The way to a database, and all that can be wrong with it. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TLSSocket, createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";
import { KIB } from "./basics.ts";
import { freePort } from "./processes.ts";

/** The end of a batch's transaction: CommandComplete, then ReadyForQuery outside a transaction. It is committed by then. */
const COMMITTED = /(?:COPY \d+|COMMIT)\0Z\0\0\0\x05I/;
/** MySQL's commit, of which the next answer is the end. */
const MYSQL_COMMIT = /^[^]{4}\x03[^]{0,2}commit$/;
const SSL_REQUEST = 80_877_103;
const PROTOCOL_3 = 196_608;
const READ_ONLY = "default_transaction_read_only\0on\0";

/** Where one connection is cut: before its commit is answered, in a statement, in a TLS handshake, within any bytes. */
export type CutPoint = "answer" | "statement" | "handshake" | "anywhere";

type Direction = "to server" | "to client";

/** One connection's both directions. */
interface Link {
  isAnswerLost: boolean;
}

interface ProxyOptions {
  /** With it, the proxy speaks TLS, and plain text to the server. */
  certificate?: { cert: string; key: string } | undefined;
}

/** What is set holds for the connections that are open and for new ones. */
export class Proxy {
  readonly url: string;
  delayMs = 0;
  /** Whether new connections are accepted and closed at once, as by a proxy without a server. */
  isClosing = false;
  /** Whether handshakes of TLS begin and do not end. */
  isHanging = false;
  /** New connections are reset before they are as old, unless it is 0. */
  maxAgeMs = 0;
  /** Whether new sessions are read-only, as on a standby. */
  isReadOnly = false;
  readonly #target: URL;
  readonly #port: number;
  readonly #secure: SecureContext | undefined;
  readonly #sockets = new Set<Socket>();
  #listener: Server | undefined;
  #stalled = Promise.resolve();
  #goOn = () => {};
  #cut: { at: CutPoint; done: () => void } | undefined;

  private constructor(target: string, port: number, { certificate }: ProxyOptions) {
    this.#target = new URL(target);
    this.#port = port;
    this.#secure = certificate && createSecureContext(certificate);
    this.url = Object.assign(new URL(target), { host: `127.0.0.1:${port}` }).href;
  }

  static async before(target: string, options: ProxyOptions = {}): Promise<Proxy> {
    const proxy = new Proxy(target, await freePort(), options);
    await proxy.mend();
    return proxy;
  }

  /** Ends all connections, and refuses new ones until {@link mend}. */
  refuse(): void {
    this.#listener?.close();
    this.#listener = undefined;
    this.cutAll();
  }

  /** Resolves when it listens again. */
  async mend(): Promise<void> {
    if (this.#listener) return;
    this.#listener = createServer({ noDelay: true }, (near) => this.#accept(near)).listen(this.#port, "127.0.0.1");
    await once(this.#listener, "listening");
  }

  /** Passes nothing on, until it is called with `false`; then all that came. */
  stall(isStalling: boolean): void {
    this.#goOn();
    if (isStalling) this.#stalled = new Promise((resolve) => (this.#goOn = resolve));
  }

  /** What is connected now passes nothing on any more, and is not closed either. */
  freeze(): void {
    for (const socket of this.#sockets) socket.removeAllListeners("data").pause();
  }

  cutAll(how: "close" | "reset" = "close"): void {
    for (const socket of this.#sockets) cutOff(socket, how);
  }

  /** Resets the connection that is open for the longest time. */
  resetOldest(): void {
    for (const socket of this.#sockets) if (!socket.destroyed) return cutOff(socket, "reset");
  }

  /** Cuts one connection at such a point; resolves to whether there was one within `holdMs`. */
  async cutNext(at: CutPoint, holdMs: number): Promise<boolean> {
    const isCut = new Promise<boolean>((resolve) => (this.#cut = { at, done: () => resolve(true) }));
    const isHit = await Promise.race([isCut, sleep(holdMs, false)]);
    this.#cut = undefined;
    return isHit;
  }

  #accept(near: Socket): void {
    near.on("error", () => {});
    if (this.isClosing) return void near.destroy();
    this.#sockets.add(near.once("close", () => this.#sockets.delete(near)));
    if (this.maxAgeMs > 0) setTimeout(() => cutOff(near, "reset"), this.maxAgeMs * Math.random());
    if (!this.#secure) return this.#relay(near);
    near.once("data", (request: Buffer) => this.#secureOrEnd(near, request));
  }

  /** PostgreSQL's clients ask for TLS before anything else. */
  #secureOrEnd(near: Socket, request: Buffer): void {
    if (request.length !== 8 || request.readInt32BE(4) !== SSL_REQUEST) return void near.destroy();
    near.write("S");
    if (this.isHanging) return;
    if (this.#takeCut("handshake")) return void near.once("data", () => near.resetAndDestroy());
    const secure = new TLSSocket(near, { isServer: true, ...(this.#secure && { secureContext: this.#secure }) });
    this.#relay(secure);
  }

  #relay(near: Socket): void {
    const far = connect({ port: Number(this.#target.port || 5432), host: this.#target.hostname, noDelay: true });
    const link = { isAnswerLost: false };
    this.#pump(near, far, "to server", link);
    this.#pump(far, near, "to client", link);
  }

  /** Passes on what comes, in its order, when it is time; then the end. */
  #pump(from: Socket, to: Socket, direction: Direction, link: Link): void {
    let passed = Promise.resolve();
    let isFirst = true;
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
        const bytes = isFirst && direction === "to server" && this.isReadOnly ? asReadOnly(chunk) : chunk;
        isFirst = false;
        if (this.#isCutAt(direction, chunk, link)) pass(() => this.#cutBoth(from, to, bytes));
        else pass(() => void to.write(bytes));
      });
    from.once("close", () => {
      this.#sockets.delete(from);
      pass(() => void to.end());
    });
  }

  /** Ends both sides, in turns by a reset. */
  #cutBoth(from: Socket, to: Socket, bytes: Buffer): void {
    const how = bytes.length % 2 === 0 ? "close" : "reset";
    cutOff(from, how);
    cutOff(to, how);
  }

  #isCutAt(direction: Direction, chunk: Buffer, link: Link): boolean {
    if (direction === "to client" && link.isAnswerLost) return true;
    if (direction === "to server" && chunk.length < 20 && MYSQL_COMMIT.test(chunk.toString("latin1")))
      link.isAnswerLost = this.#takeCut("answer");
    if (direction === "to client" && COMMITTED.test(chunk.toString("latin1")) && this.#takeCut("answer")) return true;
    if (direction === "to server" && chunk.length >= 16 * KIB && this.#takeCut("statement")) return true;
    return this.#takeCut("anywhere");
  }

  #takeCut(at: CutPoint): boolean {
    if (this.#cut?.at !== at) return false;
    this.#cut.done();
    this.#cut = undefined;
    return true;
  }
}

function cutOff(socket: Socket, how: "close" | "reset"): void {
  if (how === "reset" && !(socket instanceof TLSSocket)) socket.resetAndDestroy();
  else socket.destroy();
}

/** The StartupMessage, with one more parameter. */
function asReadOnly(message: Buffer): Buffer {
  if (message.length < 9 || message.readInt32BE(4) !== PROTOCOL_3 || message.readInt32BE(0) !== message.length)
    return message;
  const changed = Buffer.concat([message.subarray(0, -1), Buffer.from(`${READ_ONLY}\0`)]);
  changed.writeInt32BE(changed.length, 0);
  return changed;
}
