import { connect } from "node:net";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import { once } from "node:events";
import { undoAfter } from "./files.ts";

/** A PROXY header of version 1, as HAProxy's `send-proxy` writes it. */
export const proxyV1 = (address: string) =>
  Buffer.from(`PROXY TCP${address.includes(":") ? 6 : 4} ${address} ${address} 40000 8888\r\n`);

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n");

/** A PROXY header of version 2: command 0 for LOCAL, 1 for PROXY; family 0x11 for TCP over IPv4, 0x21 over IPv6. */
export function proxyV2(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from([0x20 + command, family, body.length >> 8, body.length & 255]);
  return Buffer.concat([SIGNATURE, head, body]);
}

/** A connection that a proxy on this machine made for a sender; over TLS, the header stands before the handshake. */
export async function connectFrom(t: TestContext, port: number, address: string, isTls = false): Promise<Socket> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  undoAfter(t, () => socket.destroy());
  await once(socket, "connect");
  socket.write(proxyV1(address));
  if (!isTls) return socket;
  const secured = connectTls({ socket, rejectUnauthorized: false }).on("error", () => {});
  await once(secured, "secureConnect");
  return secured;
}

/** Sends a line, and resolves to the first reply, or "" for a connection that is closed without one. */
export async function ask(socket: Socket, line: string): Promise<string> {
  socket.write(line);
  const [reply] = (await Promise.race([once(socket, "data"), once(socket, "close")])) as [unknown];
  return reply instanceof Buffer ? reply.toString() : "";
}
