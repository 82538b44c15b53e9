import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { startCollector } from "../../collector.ts";
import { certificates } from "./certificates.ts";
import { start } from "./collectors.ts";

/** The same over TLS: with what it found out, and the error's code where it came to that. */
export async function converseTls(port: number, bytes: string | Buffer, how: ConnectionOptions = {}) {
  const where = { port, host: "127.0.0.1", allowHalfOpen: true, ca: (await certificates()).ca.cert };
  const seen = { replies: "", tickets: 0, error: "", protocol: "", subject: "" };
  const socket: TLSSocket = connectTls({ ...where, ...how }, () => {
    Object.assign(seen, { protocol: socket.getProtocol(), subject: socket.getPeerCertificate().subject.CN });
    socket.end(bytes);
  });
  socket.on("data", (chunk: Buffer) => (seen.replies += chunk.toString())).on("session", () => seen.tickets++);
  socket.on("error", (error: NodeJS.ErrnoException) => (seen.error = error.code ?? error.message));
  await new Promise((resolve) => socket.once("close", resolve));
  return seen;
}

/** A collector whose only address speaks TLS. */
export async function startTls(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const { certFile, keyFile } = (await certificates()).server;
  return start(t, { tlsCert: certFile, tlsKey: keyFile, ...options });
}
