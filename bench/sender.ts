/** Senders: a process of its own, with all its bytes ready before the clock starts. */
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
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
type Report = Omit<Sent, "lines"> & { replies: number };

/** Sends `lines` lines, `times` times over, and reads every reply. */
export async function send(load: Load, port: number, lines: number, times = 1): Promise<Sent> {
  const order: Order = { ...load, port, each: Math.floor(lines / load.connections), times };
  const words = ["--import", "tsx", fileURLToPath(import.meta.url), JSON.stringify(order)];
  const child = launch(process.execPath, words, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const failed = once(child, "exit").then(([code]: unknown[]) => {
    if (code !== 0) throw new Error(`Cannot go on: the sender ended with ${String(code)}`);
    return [];
  });
  await Promise.race([once(child, "message"), failed]); // ready
  child.send("go");
  const [report]: Report[] = await Promise.race([once(child, "message"), failed]);
  if (report?.replies !== order.each * load.connections * times)
    throw new Error(`Cannot go on: ${lines} lines got ${report?.replies} replies`);
  return { startedAt: report.startedAt, endedAt: report.endedAt, lines: report.replies };
}

async function runSender({ port, each, times, ...load }: Order): Promise<void> {
  const parts = range(load.connections).map((at) => linesOf(load, at * each, each));
  const sockets = parts.map(() => connect({ host: "127.0.0.1", port }));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  process.send?.("ready");
  await once(process, "message");
  const startedAt = Date.now();
  const sending = sockets.map((socket, at) => sendAndRead(socket, parts[at] ?? Buffer.alloc(0), times));
  const replies = (await Promise.all(sending)).reduce((sum, bytes) => sum + bytes / "ok\n".length, 0);
  process.send?.({ startedAt, endedAt: Date.now(), replies });
  process.disconnect();
}

/** Resolves, once the collector has ended its side, with the bytes of its replies. */
async function sendAndRead(socket: Socket, bytes: Buffer, times: number): Promise<number> {
  const closed = once(socket, "close");
  let replied = 0;
  socket.on("data", (chunk: Buffer) => (replied += chunk.length));
  for (let sent = 0; sent < bytes.length * times;) {
    const at = sent % bytes.length;
    const chunk = bytes.subarray(at, at + 256 * 1024);
    sent += chunk.length;
    if (!socket.write(chunk)) await once(socket, "drain");
  }
  socket.end();
  await closed;
  return replied;
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
if (script === fileURLToPath(import.meta.url)) await runSender(JSON.parse(order ?? "") as Order);
