/** Senders: a process of its own, with all its bytes ready before the clock starts. */
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { digits, range } from "../test/support/basics.ts";
import { ROOT } from "../test/support/files.ts";
import { launch } from "../test/support/processes.ts";

// ---- Lines -----------------------------------------------------------------
// Every line is different and, unless its size is given, about 100 bytes long.

export const TEXT =
  "the quick brown fox jumps over the lazy dog and keeps running through the forest until the evening";

const timeOf = (n: number) => `2026-11-23T10:00:${digits(n % 60, 2)}.${digits(n % 1000, 3)}Z`;

export const LINES = {
  plain: (n: number) => `request ${digits(n, 7)} ${TEXT}`.slice(0, 99),
  time: (n: number) => `${timeOf(n)} INFO  request ${digits(n, 7)} ${TEXT}`.slice(0, 99),
  json: (n: number) =>
    `{"level":30,"time":${1_795_392_000_000 + n},"pid":4242,"hostname":"web-1","name":"api","reqId":"r${n}","status":200,"msg":"request ${n}"}`,
  rfc5424: (n: number) =>
    `<134>1 ${timeOf(n)} web-1 api 4242 ID47 [request@32473 status="200" bytes="512"] request ${n}`,
  /** Ends in its number, and in something that a cut line lacks. */
  numbered: (n: number) => `<134>1 ${timeOf(n)} web-1 api 4242 ID47 [request@32473 status="200"] request ${n}.`,
  logfmt: (n: number) => `time=${timeOf(n)} level=info msg="request ${n}" app=api host=web-1 status=200 duration=12ms`,
};

export interface Load {
  title: string;
  kind: keyof typeof LINES;
  connections: number;
  /** Of a line in bytes, its ending included; the text is repeated, or cut. */
  size?: number;
}

export const PLAIN: Load = { title: "plain text, 4 connections", kind: "plain", connections: 4 };

function linesOf({ kind, size = 0 }: Load, from: number, lines: number): Buffer {
  const filler = size > 0 ? ` ${TEXT}`.repeat(Math.ceil(size / TEXT.length)) : "";
  let text = "";
  for (let n = from; n < from + lines; n++)
    text += size > 0 ? `${`${digits(n, 7)}${filler}`.slice(0, size - 1)}\n` : `${LINES[kind](n)}\n`;
  return Buffer.from(text);
}

// ---- Sending ---------------------------------------------------------------

export interface Sent {
  lines: number;
  /** First byte sent, last reply read; in milliseconds since 1970. */
  startedAt: number;
  endedAt: number;
}

type Order = Load & { port: number; each: number; times: number };

interface Report {
  startedAt: number;
  endedAt: number;
  /** Number of lines of each connection that the system took, and of the replies to them. */
  sent: number[];
  replied: number[];
}

/** Sends `lines` lines, `times` times over, and reads every reply. */
export async function send(load: Load, port: number, lines: number, times = 1): Promise<Sent> {
  const { report } = await startSending(load, port, lines, times);
  const { startedAt, endedAt, replied } = await report;
  const replies = sum(replied);
  const expected = Math.floor(lines / load.connections) * load.connections * times;
  if (replies !== expected) throw new Error(`Cannot go on: ${expected} lines got ${replies} replies`);
  return { startedAt, endedAt, lines: replies };
}

export const sum = (numbers: number[]) => numbers.reduce((one, other) => one + other, 0);

/** Resolves once the senders begin; their report follows when their connections are closed, or at `stop()`. */
export async function startSending(load: Load, port: number, lines: number, times = 1) {
  const order: Order = { ...load, port, each: Math.floor(lines / load.connections), times };
  const words = ["--import", "tsx", fileURLToPath(import.meta.url), JSON.stringify(order)];
  const child = launch(process.execPath, words, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const failed = once(child, "exit").then(([code]: unknown[]) => {
    if (code !== 0) throw new Error(`Cannot go on: the sender ended with ${String(code)}`);
    return [];
  });
  await Promise.race([once(child, "message"), failed]); // ready
  child.send("go");
  const report = Promise.race([once(child, "message"), failed]).then(([message]) => message as Report);
  report.catch(() => {}); // whoever awaits it learns of it
  return { report, stop: () => void (child.connected && child.send("stop")) };
}

async function runSenders({ port, each, times, ...load }: Order): Promise<void> {
  const parts = range(load.connections).map((at) => linesOf(load, at * each, each));
  const sockets: Socket[] = [];
  while (sockets.length < parts.length) {
    const group = parts.slice(sockets.length, sockets.length + CONNECTING_MAX);
    const connecting = group.map(() => connect({ host: "127.0.0.1", port }));
    await Promise.all(connecting.map((socket) => once(socket, "connect")));
    sockets.push(...connecting);
    if (sockets.length < parts.length) await sleep(20);
  }
  process.send?.("ready");
  await once(process, "message");
  process.once("message", () => sockets.forEach((socket) => socket.destroy()));
  const startedAt = Date.now();
  const ends = await Promise.all(sockets.map((socket, at) => sendAndRead(socket, parts[at] ?? Buffer.alloc(0), times)));
  const endedAt = Date.now();
  const sent = ends.map(({ taken }, at) => linesIn(parts[at] ?? Buffer.alloc(0), taken, each));
  const replied = ends.map(({ replies }) => replies / "ok\n".length);
  process.send?.({ startedAt, endedAt, sent, replied } satisfies Report);
  process.disconnect();
}

const CONNECTING_MAX = 100; // at a time: more than a listener's backlog at once, and the kernel would reset some later
const CHUNK_SIZE = 128 * 1024;

/** Resolves, once the connection is closed, to the bytes that the system took and those of the replies. */
async function sendAndRead(socket: Socket, bytes: Buffer, times: number): Promise<{ taken: number; replies: number }> {
  const closed = new Promise((resolve) => socket.once("close", resolve));
  let [taken, replies] = [0, 0];
  socket.on("data", (chunk: Buffer) => (replies += chunk.length)).on("error", () => {}); // `close` follows
  for (let sent = 0; sent < bytes.length * times && !socket.destroyed;) {
    const at = sent % bytes.length;
    const chunk = bytes.subarray(at, at + CHUNK_SIZE);
    sent += chunk.length;
    const hasRoom = socket.write(chunk, (error) => void (error ?? (taken += chunk.length)));
    if (!hasRoom) await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
  }
  socket.end();
  await closed;
  return { taken, replies };
}

/** Number of whole lines in the first `size` bytes of `bytes`, which are `lines` lines and repeat. */
function linesIn(bytes: Buffer, size: number, lines: number): number {
  if (size % bytes.length === 0 || bytes.length === 0) return size > 0 ? (size / bytes.length) * lines : 0;
  const rest = bytes.subarray(0, size % bytes.length);
  let found = Math.floor(size / bytes.length) * lines;
  for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10, at + 1)) found++;
  return found;
}

/** A connection whose function sends a line and resolves with its `ok`. */
export async function stopAndWait(port: number, lineOf: (n: number) => string = LINES.plain) {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  await once(socket, "connect");
  return async (n: number) => {
    const replied = once(socket, "data");
    socket.write(`${lineOf(n)}\n`);
    const [reply]: Buffer[] = await replied;
    if (String(reply) !== "ok\n") throw new Error(`Cannot go on: the reply was ${JSON.stringify(String(reply))}`);
  };
}

// ---- Entry point -----------------------------------------------------------

const [, script, order] = process.argv;
if (script === fileURLToPath(import.meta.url)) await runSenders(JSON.parse(order ?? "") as Order);
