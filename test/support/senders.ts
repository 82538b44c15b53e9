import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { eventually } from "./basics.ts";
import { undoAfter } from "./files.ts";

/** Connects, sends a few bytes of a line, and leaves. */
export async function touch(port: number, how: "end" | "destroy" | "reset"): Promise<void> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  socket.write("x");
  if (how === "end") socket.end().resume();
  else if (how === "destroy") socket.destroy();
  else socket.resetAndDestroy();
  await once(socket, "close");
}

/** A connection to a collector, and what it replied. */
export class Sender {
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
export async function converse(
  port: number,
  bytes: string | Buffer,
  how: { localAddress?: string } = {},
): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, ...how });
  const replies: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => replies.push(chunk));
  socket.on("error", () => {}).end(bytes);
  await once(socket, "end");
  socket.destroy();
  return Buffer.concat(replies).toString();
}

/** Sends numbered lines, at most 64 ahead of their replies, over as many connections as it takes; never a number twice. */
export class TirelessSender {
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
