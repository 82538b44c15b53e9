/** A MariaDB server that a run starts, kills and starts again; of Debian's package mariadb-server-core. */
import { execFile } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import mysql from "mysql2/promise";
import type { Connection, RowDataPacket } from "mysql2/promise";
import { eventually } from "./basics.ts";
import { freePort, launch } from "./processes.ts";
import { senderEnvironment } from "./programs.ts";

export class MariaDbServer {
  /** For its superuser, without a password and a database. */
  readonly url: string;
  readonly port: number;
  readonly #words: string[];
  #child: ChildProcess | undefined;

  private constructor(port: number, words: string[]) {
    this.port = port;
    this.url = `mysql://root@127.0.0.1:${port}`;
    this.#words = words;
  }

  /** Makes a server's files in a folder, and starts it. */
  static async create(folder: string, settings: readonly string[] = []): Promise<MariaDbServer> {
    const home = join(folder, "mariadb");
    await mkdir(home);
    const user = process.getuid?.() === 0 ? ["--user=root"] : [];
    const own = [`--datadir=${join(home, "data")}`, `--tmpdir=${home}`]; // a server that starts empties its tmpdir
    const common = ["--no-defaults", ...own, ...user];
    const installing = [...common, "--auth-root-authentication-method=normal", "--skip-test-db"];
    await promisify(execFile)("mariadb-install-db", installing, { env: senderEnvironment() });
    const port = await freePort();
    const where = [`--socket=${join(home, "socket")}`, `--port=${port}`, "--bind-address=127.0.0.1"];
    const words = [...common, ...where, "--skip-name-resolve", "--max-connections=300", ...settings];
    const server = new MariaDbServer(port, words);
    await server.start();
    return server;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    this.#child = launch("mariadbd", this.#words, { stdio: "ignore", env: senderEnvironment() });
    await eventually(async () => (await connectTo(this.url)).end());
  }

  /** Stops it in order, which takes seconds, or kills it. */
  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#child?.kill(signal);
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }
}

/** A connection whose dates and big numbers are strings. */
export const connectTo = (url: string): Promise<Connection> =>
  mysql.createConnection({
    uri: url,
    multipleStatements: true,
    dateStrings: true,
    supportBigNumbers: true,
    bigNumberStrings: true,
  });

export async function rows<Row>(sql: Connection, statement: string): Promise<Row[]> {
  const [found] = await sql.query<RowDataPacket[]>(statement);
  return found as Row[];
}
