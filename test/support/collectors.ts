import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { startCollector } from "../../collector.ts";
import type { Answer } from "../../collector.ts";
import { SECOND, eventually } from "./basics.ts";
import { COLLECTOR, MODULES, ROOT, folder, undoAfter } from "./files.ts";
import { freshDatabase, rowsOf } from "./postgres.ts";
import { cpuMs, endGroup, launch } from "./processes.ts";
import { converse } from "./senders.ts";

export const NOWHERE = "postgres://127.0.0.1:1/none"; // refuses every connection

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

interface Launch {
  environment?: Record<string, string>;
  program?: readonly string[];
  cwd?: string;
}

/** A collector in a process of its own. */
export class Program {
  stdout = "";
  stderr = "";
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  readonly #isHttpWanted: boolean;
  #progress = { seen: -1, at: 0 };

  constructor(words: string[], { environment = {}, program = COLLECTOR, cwd = ROOT }: Launch) {
    const [command = "", ...leading] = program;
    const { PATH = "", HOME = "" } = process.env;
    const env = { PATH, HOME, COLLECTOR_HTTP: "off", ...environment };
    this.#isHttpWanted = words.includes("--http");
    this.#child = launch(command, [...leading, ...words], { cwd, env });
    this.#ended = once(this.#child, "close").then(([code]: (number | null)[]) => code ?? null);
    this.#child.stdout?.on("data", (chunk: Buffer) => (this.stdout += chunk.toString()));
    this.#child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
  }

  /** Killed at the test's end, if it still runs, with what it started. */
  static spawn(t: TestContext, words: string[], how: Launch): Program {
    const program = new Program(words, how);
    undoAfter(t, () => program.kill());
    return program;
  }

  /** Resolves when it listens; on a free port, unless the flags say where. */
  static start(t: TestContext, flags: string[], environment: Record<string, string> = {}, how: Launch = {}) {
    const words = flags.includes("--listen") ? flags : ["--listen", "127.0.0.1:0", ...flags];
    return Program.spawn(t, words, { environment, ...how }).listening();
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
    const isThere = () => /storing into .*\n/.test(this.stderr) && (!this.#isHttpWanted || this.http !== "");
    await eventually(() => assert.ok(isThere() || !this.isRunning, `does not listen: ${this.stderr}`));
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

  /** Kills it when it has neither printed nor computed for a minute. */
  killIfStuck(): void {
    const progress = this.stdout.length + this.stderr.length + cpuMs(this.pid);
    if (progress !== this.#progress.seen) this.#progress = { seen: progress, at: performance.now() };
    else if (performance.now() - this.#progress.at > 60 * SECOND) void this.kill();
  }

  kill(): Promise<number | null> {
    endGroup(this.#child, "SIGKILL");
    return this.#ended;
  }
}

/** Runs a command of the collector's to its end; kills one that makes no progress. */
export async function runProgram(words: string[], how: Launch = {}) {
  const program = new Program(words, how);
  const watching = setInterval(() => program.killIfStuck(), SECOND);
  const code = await program.ended();
  clearInterval(watching);
  return { code, stdout: program.stdout, stderr: program.stderr };
}

/** What `collector.ts query --json` prints; throws what it says where it fails. */
export async function query(flags: string[], text = "select message from logs order by created_at", how: Launch = {}) {
  const { code, stdout, stderr } = await runProgram(["query", text, "--json", ...flags], how);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A collector in this process; without a database, unless the options name one. */
export async function start(t: TestContext, options: Parameters<typeof startCollector>[0] = {}) {
  const logged: string[] = [];
  const log = (line: string) => void logged.push(line);
  const dataDir = options.dataDir ?? (await folder(t));
  const common = { listen: "127.0.0.1:0", databaseUrl: NOWHERE, drainTimeout: options.databaseUrl ? 10_000 : 0, log };
  const collector = await startCollector({ ...common, http: "off", ...options, dataDir });
  undoAfter(t, () => collector.close());
  return { ...collector, logged };
}

/** The binary of the package `bun`, which is in a package of its own where install scripts did not run. */
export function bunPath(): string {
  const names = [`@oven/bun-${process.platform}-${process.arch}/bin/bun`, "bun/bin/bun.exe"];
  return names.map((name) => join(MODULES, name)).find((path) => existsSync(path)) ?? "bun";
}

/** The binary of the package `deno`; its launcher would look for it, and copy it. */
export function denoPath(): string {
  const suffix = process.platform === "linux" ? "-glibc" : "";
  const path = join(MODULES, `@deno/${process.platform}-${process.arch}${suffix}/deno`);
  return existsSync(path) ? path : "deno";
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

/** The rows of a command's answer. */
export async function rowsFrom(answers: AsyncIterable<Answer>): Promise<(string | null)[][]> {
  const rows: (string | null)[][] = [];
  for await (const { table } of answers) rows.push(...(table?.rows ?? []));
  return rows;
}
