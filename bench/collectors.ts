/** The program as it is deployed: a process of its own, default options. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { COLLECTOR, ROOT } from "../test/support/files.ts";
import { launch } from "../test/support/processes.ts";
import type { Bench } from "./run.ts";
import { waitFor } from "./run.ts";

/** A database that is never there. */
export const NO_DATABASE = "postgres://nobody@127.0.0.1:1/none";

export interface RunningCollector {
  pid: number;
  port: number;
  dataDir: string;
  output(): string;
  /** Resolves when all is stored; removes the journal. */
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Resolves when it listens. With an empty URL it stores into its own PGlite. */
export async function startCollector(
  bench: Pick<Bench, "folder">,
  databaseUrl: string,
  more: { dataDir?: string; flags?: string[] } = {},
): Promise<RunningCollector> {
  const dataDir = more.dataDir ?? (await mkdtemp(join(bench.folder, "data-")));
  const where = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", dataDir];
  const flags = [...where, "--ack", "always", "--drain-timeout", "10m", ...(more.flags ?? [])];
  const env = { ...cleanEnvironment(), DATABASE_URL: databaseUrl };
  const [node = "", ...words] = COLLECTOR;
  const child = launch(node, [...words, ...flags], { cwd: ROOT, env, stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  let output = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const portOf = () => /^listening on tcp:\/\/127\.0\.0\.1:(\d+)$/m.exec(output)?.[1];
  const checkRunning = () => {
    if (child.exitCode !== null) throw new Error(`Cannot start the collector: ${output.trim()}`);
  };
  await waitFor("the collector", () => portOf() !== undefined, checkRunning);
  const stop = async () => {
    child.kill("SIGTERM");
    const [code]: unknown[] = await exited;
    if (code !== 0) throw new Error(`Cannot go on: the collector ended with ${String(code)}\n${output}`);
    await rm(join(dataDir, "journal"), { recursive: true, force: true });
  };
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return { pid: child.pid ?? 0, port: Number(portOf()), dataDir, output: () => output, stop, kill };
}

/** What `collector.ts query --json` prints for a stopped collector's data directory. */
export async function queryCollector(dataDir: string, text: string): Promise<string> {
  const [node = "", ...words] = COLLECTOR;
  const all = [...words, "query", text, "--json", "--data-dir", dataDir];
  const { stdout } = await promisify(execFile)(node, all, { cwd: ROOT, env: cleanEnvironment() });
  return stdout;
}

/** Without what would configure the collector. */
const cleanEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(COLLECTOR_|DATABASE_URL$)/.test(name)));
