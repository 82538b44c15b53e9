import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { startCollector } from "../../collector.ts";
import { eventually } from "./basics.ts";
import { KIB, MODULES, ROOT, folder, undoAfter } from "./files.ts";
import { freshDatabase, rowsOf } from "./postgres.ts";
import { converse } from "./senders.ts";

export const TSX = [process.execPath, "--import", "tsx", join(ROOT, "collector.ts")];

export const NOWHERE = "postgres://127.0.0.1:1/none"; // refuses every connection

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1)); // so that `exit` ends what we started

export const ANY_PORT = "127.0.0.1:0";

export interface HasPages {
  http: string | undefined;
}

/** A request that can say any Host, which fetch can't. */
export async function ask({ http = "" }: HasPages, path: string, { method = "GET", headers = {}, body = "" } = {}) {
  const length = body ? { "content-length": String(body.length) } : {};
  const asking = request(`${http}${path}`, { method, headers: { ...headers, ...length }, agent: false });
  asking.on("error", () => {}).end(body);
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const { "content-type": type, allow } = response.headers;
  return { status: response.statusCode, type, allow, text: Buffer.concat(chunks).toString() };
}

/** In bytes, since the process's start. */
export async function peakRss(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB;
}

interface Launch {
  environment?: Record<string, string>;
  program?: readonly string[];
  cwd?: string;
}

/** A collector in a process of its own. */
export class Program {
  static readonly #all = new Set<Program>();
  stdout = "";
  stderr = "";
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;

  constructor(words: string[], { environment = {}, program = TSX, cwd = ROOT }: Launch) {
    const [command = "", ...leading] = program;
    const { PATH = "", HOME = "" } = process.env;
    const env = { PATH, HOME, COLLECTOR_HTTP: "off", ...environment };
    this.#child = spawn(command, [...leading, ...words], { cwd, detached: true, env });
    Program.#all.add(this);
    this.#ended = once(this.#child, "close").then(([code]: (number | null)[]) => code ?? null);
    void this.#ended.then(() => Program.#all.delete(this));
    this.#child.stdout?.on("data", (chunk: Buffer) => (this.stdout += chunk.toString()));
    this.#child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
  }

  /** Killed at the test's end, if it still runs, with what it started. */
  static spawn(t: TestContext, words: string[], launch: Launch): Program {
    const program = new Program(words, launch);
    undoAfter(t, () => program.kill());
    return program;
  }

  /** Resolves when it listens; on a free port, unless the flags say where. */
  static start(t: TestContext, flags: string[], environment: Record<string, string> = {}, launch: Launch = {}) {
    const words = flags.includes("--listen") ? flags : ["--listen", "127.0.0.1:0", ...flags];
    return Program.spawn(t, words, { environment, ...launch }).listening();
  }

  static killAll(): void {
    for (const program of Program.#all) void program.kill();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get port(): number {
    return Number(/listening on t(?:cp|ls):\/\/\S+:(\d+)\n/.exec(this.stderr)?.[1]);
  }

  get http(): string {
    return /health and metrics on (\S+)\n/.exec(this.stderr)?.[1] ?? "";
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async listening(): Promise<this> {
    await eventually(() => assert.ok(this.port > 0 || !this.isRunning, `does not listen: ${this.stderr}`));
    assert.ok(this.isRunning, `has ended: ${this.stderr}`);
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves to its exit code once it has ended. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.signal(signal);
    return this.#ended;
  }

  kill(): Promise<number | null> {
    if (Program.#all.has(this)) process.kill(-this.pid, "SIGKILL"); // its process group
    return this.#ended;
  }
}

process.on("exit", () => Program.killAll());

export async function runProgram(words: string[], launch: Launch = {}) {
  const program = new Program(words, launch);
  const late = setTimeout(() => program.kill(), 20_000);
  const code = await program.ended();
  clearTimeout(late);
  return { code, stdout: program.stdout, stderr: program.stderr };
}

/** What `collector.ts query --json` prints; throws what it says where it fails. */
export async function query(
  flags: string[],
  text = "select message from logs order by created_at",
  launch: Launch = {},
) {
  const { code, stdout, stderr } = await runProgram(["query", text, "--json", ...flags], launch);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A collector in this process; without a database, unless the options name one. */
export async function start(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const said: string[] = [];
  const log = (line: string) => void said.push(line);
  const dataDir = options.dataDir ?? (await folder(t));
  const common = { listen: "127.0.0.1:0", databaseUrl: NOWHERE, drainTimeout: options.databaseUrl ? 10_000 : 0, log };
  const collector = await startCollector({ ...common, http: "off", ...options, dataDir });
  undoAfter(t, () => collector.close());
  return { ...collector, said };
}

/** The binary of the package `bun`, which is in a package of its own where install scripts did not run. */
export function bunPath(): string {
  const names = [`@oven/bun-${process.platform}-${process.arch}/bin/bun`, "bun/bin/bun.exe"];
  return names.map((name) => join(MODULES, name)).find((path) => existsSync(path)) ?? "bun";
}

/** Sends to a collector of its own, and waits until all is stored. */
export async function storedFrom(
  t: TestContext,
  bytes: string | Buffer,
  options: Parameters<typeof startCollector>[0] = {},
) {
  const { url, sql } = await freshDatabase(t);
  const collector = await start(t, { databaseUrl: url, ...options });
  const replies = await converse(collector.port, bytes);
  await whenStored(collector);
  return { replies, rows: await rowsOf(sql), collector, sql };
}

export const whenStored = (collector: { ledger(): { inJournal: number } }) =>
  eventually(() => assert.equal(collector.ledger().inJournal, 0));
