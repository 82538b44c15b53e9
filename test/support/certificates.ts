import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";
import { onceOnly } from "./basics.ts";

export interface Certificate {
  cert: string;
  key: string;
  certFile: string;
  keyFile: string;
}

type Extensions = NonNullable<NonNullable<Parameters<typeof generate>[1]>["extensions"]>;

/** A CA, a server and a client that it signed, and a stranger; for localhost. */
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
