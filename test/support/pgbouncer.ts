import { spawn } from "node:child_process";
import { chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { freePort } from "./basics.ts";
import { folder } from "./files.ts";
import { listening } from "./proxies.ts";

/** A PgBouncer in transaction mode before a database; as it refuses to be root, under nobody's name. */
export async function pgBouncer(t: TestContext, url: string): Promise<string> {
  const { hostname: host, port, username, password } = new URL(url);
  const own = await freePort();
  const target = `host=${host} port=${port || 5432} user=${username}${password && ` password=${password}`}`;
  const settings = `listen_addr=127.0.0.1\nlisten_port=${own}\nauth_type=any\npool_mode=transaction\nunix_socket_dir=\n`;
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const directory = await folder(t);
  const file = join(directory, "pgbouncer.ini");
  await writeFile(file, `[databases]\n* = ${target}\n[pgbouncer]\n${settings}`);
  if (nobody.uid) for (const path of [directory, file]) await chown(path, nobody.uid, nobody.gid);
  await listening(t, spawn("pgbouncer", [file], { stdio: "ignore", ...nobody }), own);
  return Object.assign(new URL(url), { host: `127.0.0.1:${own}` }).href;
}
