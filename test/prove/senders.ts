/**
 * Each sender has its own manner. What a line holds follows from who sends it, over which connection, as which one:
 * nothing has to be remembered but counts.
 */
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { KIB, digits, range, seeded } from "../support/basics.ts";
import type { Random } from "../support/basics.ts";
import type { Place } from "./collector.ts";
import type { Complaints } from "./run.ts";

export const MAX_LINE = 64 * KIB;

export interface Style {
  name: string;
  /** Lines sent ahead of their replies. */
  window: number;
  /** Lines over one connection, at most. */
  lines: number;
  /** Bytes of a line, at most. */
  bytes: number;
  pauseMs: number;
  ends: "half-close" | "close" | "reset";
  isByteWise?: boolean;
  /** Reads no replies. */
  isDeaf?: boolean;
  isJson?: boolean;
}

export const STYLES: Style[] = [
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
  { name: "deaf", window: Infinity, lines: 20_000, bytes: 50, pauseMs: 100, ends: "reset", isDeaf: true },
  { name: "JSON", window: Infinity, lines: 500, bytes: 150, pauseMs: 100, ends: "half-close", isJson: true },
];

export const FILLER = "the quick brown fox jumps over the lazy dog; ".repeat(8 * KIB);
export const ID = /\bs(\d\d)-(\d{5})-(\d{6})\b/;
/** The second word of a line that our CHECK refuses. */
export const REFUSED = "REFUSE";

/** What our trigger raises for lines that tell it to: each class that is no trouble of the server, the connection or the table. */
export const POISONS = [
  "0A000",
  "21000",
  "22001",
  "22P02",
  "23505",
  "23514",
  "28000",
  "2F003",
  "38000",
  "39000",
  "42501",
  "42703",
  "42804",
  "44000",
  "45000",
  "54000",
  "55P03",
  "P0001",
  "P0002",
  "P0004",
  "XX000",
];

/** The text of line `n` of a connection; one in 3,000 is refused by our CHECK, and one in 3,000 by our trigger, if there is one. */
export function textOf(sender: number, connection: number, n: number): string {
  const random = seeded((sender * 100_003 + connection) * 1_000_003 + n);
  const { bytes } = STYLES[sender] as Style;
  return `s${keyOf(sender, connection)}-${digits(n, 6)} ${secondWord(random())} ${FILLER.slice(0, random() ** 2 * bytes)}.`;
}

function secondWord(chance: number): string {
  if (chance < 1 / 3000) return REFUSED;
  const poison = POISONS[Math.floor((chance * 3000 - 1) * POISONS.length)];
  return poison === undefined ? "accept" : `P${poison}`;
}

/** Whether the database may refuse a line of that text. */
export const mayBeRefused = (text: string, isPoisoned: boolean) =>
  text.startsWith(REFUSED, 17) || (isPoisoned && text[17] === "P");

export function lineOf(sender: number, connection: number, n: number): string {
  const text = textOf(sender, connection, n);
  return STYLES[sender]?.isJson ? JSON.stringify({ msg: text, level: 30, n }) : text;
}

export const keyOf = (sender: number, connection: number) => `${digits(sender, 2)}-${digits(connection, 5)}`;

/** The reply due to a line. */
const replyTo = (line: string) =>
  line.length > MAX_LINE ? `error: line of ${line.length} bytes cut to ${MAX_LINE}` : "ok";

/** What a collector tells whom it has no place for. */
const IS_FULL = /^error: \d+ connections are open, --max-connections allows no more/;

export class Connection {
  /** Lines of which all bytes were given to the kernel. */
  sent = 0;
  acknowledged = 0;
  isClosed = false;
  #unread = "";
  #wake = () => {};
  readonly #socket: Socket;
  readonly #lineOf: (n: number) => string;
  readonly #complaints: Complaints;
  readonly #mayBeFull: boolean;

  constructor({ port, complaints, mayBeFull }: Place, line: (n: number) => string) {
    this.#lineOf = line;
    this.#complaints = complaints;
    this.#mayBeFull = mayBeFull;
    this.#socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.#socket.setEncoding("latin1").on("error", () => {});
    this.#socket.once("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  readReplies(): void {
    this.#socket.on("data", (text: string) => this.#take(text)).on("end", () => this.#socket.destroy());
  }

  /** Sends the next lines, at once or byte by byte; resolves when the kernel has them. */
  async send(count: number, isByteWise = false): Promise<void> {
    const lines = range(count).map((index) => `${this.#lineOf(this.sent + index)}\n`);
    if (!isByteWise) {
      this.sent += count;
      return this.#write(lines.join(""));
    }
    for (const byte of lines.join("")) {
      if (byte === "\n") this.sent++;
      await this.#write(byte);
      await sleep(1);
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

  #take(text: string): void {
    const replies = (this.#unread + text).split("\n");
    this.#unread = replies.pop() ?? "";
    for (const reply of replies) {
      if (this.#mayBeFull && IS_FULL.test(reply)) continue; // and what it sent is not answered
      const isDue = this.acknowledged < this.sent && reply === replyTo(this.#lineOf(this.acknowledged));
      const line = this.#lineOf(this.acknowledged).slice(0, 16);
      if (!isDue) this.#complaints.push(`replied "${reply}" to ${line}, the sender has sent ${this.sent} lines`);
      this.acknowledged++;
    }
    this.#wake();
  }
}

export class Sender {
  readonly connections: Connection[] = [];
  readonly style: Style;
  readonly #index: number;
  readonly #place: Place;
  readonly #random: Random;
  #isStopped = false;
  #paused = Promise.resolve();
  #goOn = () => {};

  constructor(style: Style, index: number, seed: number, place: Place) {
    this.style = style;
    this.#index = index;
    this.#place = place;
    this.#random = seeded(seed + 100 + index);
  }

  /** Resolves after `stop()`, when its last connection is closed. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#paused;
      await this.#converse(this.connect());
      await sleep(20 + this.#random() * 100);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  pause(isPausing: boolean): void {
    this.#goOn();
    if (isPausing) this.#paused = new Promise((resolve) => (this.#goOn = resolve));
  }

  connect(): Connection {
    const number = this.connections.length;
    const connection = new Connection(this.#place, (n) => lineOf(this.#index, number, n));
    if (!this.style.isDeaf) connection.readReplies();
    this.connections.push(connection);
    return connection;
  }

  async #converse(connection: Connection): Promise<void> {
    const { lines, window, pauseMs, ends, isByteWise } = this.style;
    const maxLines = Math.ceil(this.#random() * lines);
    while (!connection.isClosed && !this.#isStopped && connection.sent < maxLines) {
      const room = Math.min(window - (connection.sent - connection.acknowledged), maxLines - connection.sent, 200);
      if (room <= 0) await connection.changed();
      else await connection.send(Math.ceil(this.#random() * room), isByteWise);
      if (pauseMs > 0) await sleep(this.#random() * pauseMs);
      await this.#paused;
    }
    await connection.end(ends);
  }
}

export const FLOOD_PEERS = 900; // and the other senders have room within --max-connections
const FLOOD_FRAMES = 500; // a peer

/** Peers that send tiny octet-counted frames, as fast as they are taken. */
export class Flood {
  /** What each frame holds. */
  static readonly message = "~f";
  /** Frames that were given to the kernel, or may have been. */
  sent = 0;
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  /** Resolves when each peer's connection is closed, by the collector or `holdMs` later by a reset. */
  async run(holdMs: number): Promise<void> {
    await Promise.all(range(FLOOD_PEERS).map(() => this.#floodOnce(holdMs)));
  }

  async #floodOnce(holdMs: number): Promise<void> {
    const socket = connect({ port: this.#port, host: "127.0.0.1" }).on("error", () => {});
    const frame = `<9>${Flood.message}`;
    this.sent += FLOOD_FRAMES;
    socket.end(`${frame.length} ${frame}`.repeat(FLOOD_FRAMES)).resume();
    const late = setTimeout(() => socket.resetAndDestroy(), holdMs);
    await once(socket, "close");
    clearTimeout(late);
  }
}
