import { chmod, chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import assert from "node:assert/strict";
import { eventually } from "./basics.ts";
import { freePort, isListening, launch, unprivileged } from "./processes.ts";

/** Starts a PgBouncer in transaction mode before a server, with its settings in a folder; resolves when it listens. */
export async function startPgBouncer(folder: string, target: string): Promise<{ url: string; child: ChildProcess }> {
  const { hostname: host, port, username, password } = new URL(target);
  const own = await freePort();
  const where = `host=${host} port=${port || 5432} user=${username}${password && ` password=${password}`}`;
  const settings = [
    `listen_addr=127.0.0.1`,
    `listen_port=${own}`,
    `auth_type=any`,
    `pool_mode=transaction`,
    `unix_socket_dir=`,
    `server_login_retry=1`,
  ];
  const file = join(folder, "pgbouncer.ini");
  await chmod(folder, 0o711);
  await writeFile(file, `[databases]\n* = ${where}\n[pgbouncer]\n${settings.join("\n")}\n`);
  const { uid, gid } = unprivileged();
  if (uid !== undefined) await chown(file, uid, gid);
  const child = launch("pgbouncer", [file], { cwd: "/", stdio: "ignore", ...unprivileged() });
  child.once("error", () => {}); // it does not listen, then
  await eventually(async () => assert.ok(await isListening(own), "PgBouncer does not listen; is pgbouncer installed?"));
  return { url: Object.assign(new URL(target), { host: `127.0.0.1:${own}` }).href, child };
}
