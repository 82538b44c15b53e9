import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { generate } from "selfsigned";
import { startCollector } from "../../collector.ts";
import { onceOnly } from "./basics.ts";
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

export interface Certificate {
  cert: string;
  key: string;
  certFile: string;
  keyFile: string;
}

type Extensions = NonNullable<NonNullable<Parameters<typeof generate>[1]>["extensions"]>;

export const certificates = onceOnly(async () => {
  const directory = await mkdtemp(join(tmpdir(), "collector-certificates-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const make = async (name: string, signer?: Certificate): Promise<Certificate> => {
    const isCa = name === "ca";
    const extensions: Extensions = [
      { name: "basicConstraints", cA: isCa },
      { name: "keyUsage", digitalSignature: true, keyCertSign: isCa },
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: "localhost" },
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ];
    const signed = signer ? { ca: { key: signer.key, cert: signer.cert } } : {};
    const common = { keyType: "ec", algorithm: "sha256", extensions } as const;
    const { cert, private: key } = await generate([{ name: "commonName", value: name }], { ...common, ...signed });
    const [certFile, keyFile] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
    await writeFile(certFile, cert);
    await writeFile(keyFile, key);
    return { cert, key, certFile, keyFile };
  };
  const ca = await make("ca");
  return { ca, server: await make("server", ca), client: await make("client", ca), stranger: await make("stranger") };
});

/** A collector whose only address speaks TLS. */
export async function startTls(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const { certFile, keyFile } = (await certificates()).server;
  return start(t, { tlsCert: certFile, tlsKey: keyFile, ...options });
}
