/** The program under proof, from outside: its command line, standard error, /proc. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { SECOND, eventually } from "../support/basics.ts";
import { COLLECTOR, ROOT } from "../support/files.ts";
import { cpuMs, launch } from "../support/processes.ts";
import { DRAIN_MS, MAX_WAIT_MS, countUp } from "./run.ts";
import type { Complaints } from "./run.ts";
import { FILLER, ID } from "./senders.ts";

export interface Place {
  dataDir: string;
  port: number;
  databaseUrl: string;
  preload: string;
  /** Whether peers may take all places: while the journal is full, those that went away keep theirs. */
  mayBeFull: boolean;
  complaints: Complaints;
}

const TROUBLE = /^cannot (?:store into|write the journal)|^journal is full/;
const TROUBLE_ENDS = / is back after N s$|^journal can be written again/;

export class Collector {
  readonly place: Place;
  /** How often it logged what, numbers left out. */
  readonly logged = new Map<string, number>();
  starts = 0;
  slowestStartMs = 0;
  longestStopMs = 0;
  pid = 0;
  #stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  #isWanted = false;

  constructor(place: Place) {
    this.place = place;
  }

  get lastLines(): string {
    return this.#stderr.trim().split("\n").slice(-3).join(" | ");
  }

  get cpuMs(): number {
    return cpuMs(this.pid);
  }

  /** How many file descriptors it has open. */
  get fds(): number {
    const folder = `/proc/${this.pid}/fd`;
    return existsSync(folder) ? readdirSync(folder).length : 0;
  }

  /** Resolves to its exit code, once it ends. */
  spawn(flags: string[] = []): Promise<number | null> {
    const { dataDir, port, databaseUrl, preload } = this.place;
    const where = ["--listen", `127.0.0.1:${port}`, "--data-dir", dataDir, "--database-url", databaseUrl];
    const bounds = ["--journal-max", "8MiB", "--drain-timeout", `${DRAIN_MS}ms`]; // outages fill it
    const [command = "", ...words] = COLLECTOR;
    const { PATH = "", HOME = "" } = process.env;
    const all = ["--import", preload, ...words, ...where, ...bounds, "--http", "127.0.0.1:0", ...flags];
    const child = launch(command, all, { cwd: ROOT, env: { PATH, HOME } });
    this.starts++;
    this.pid = child.pid ?? 0;
    this.#stderr = "";
    this.#child = child;
    const loggedAtUs = new Map<string, number>();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      for (const line of text.split("\n").filter(Boolean)) this.#complainOfRepetition(line, loggedAtUs);
    });
    this.#ended = once(child, "close").then(([code]: (number | null)[]) => this.#noteEnd(code ?? null));
    return this.#ended;
  }

  /** Resolves when it listens. */
  async start(flags: string[] = []): Promise<void> {
    const startedAt = Date.now();
    void this.spawn(flags);
    const child = this.#child;
    const isListening = () => this.#stderr.includes("listening on") || child?.exitCode !== null;
    await eventually(() => assert.ok(isListening(), "the collector does not listen"), MAX_WAIT_MS);
    if (child?.exitCode !== null) throw new Error(`Cannot start the collector: ${this.lastLines}`);
    this.#isWanted = true;
    this.slowestStartMs = Math.max(this.slowestStartMs, Date.now() - startedAt);
  }

  end(signal: NodeJS.Signals): Promise<number | null> {
    this.#child?.kill(signal);
    return this.ended();
  }

  /** Resolves to its exit code, once it ends, as it is meant to. */
  ended(): Promise<number | null> {
    this.#isWanted = false;
    return this.#ended;
  }

  async restart(): Promise<void> {
    await this.end("SIGKILL");
    await this.start();
  }

  /**
   * A line may come again after a minute, less what it takes from the collector's clock to ours; the end of a trouble,
   * with the next trouble that is logged.
   */
  #complainOfRepetition(line: string, loggedAtUs: Map<string, number>): void {
    const occasion = line.replace(/(?<=after )\d+(?= s$)/, "N");
    const sinceMs = Date.now() - (loggedAtUs.get(occasion) ?? -Infinity);
    if (sinceMs < 55 * SECOND) this.place.complaints.push(`logged again after ${sinceMs} ms: ${line}`);
    loggedAtUs.set(occasion, Date.now());
    if (TROUBLE.test(line)) for (const key of loggedAtUs.keys()) if (TROUBLE_ENDS.test(key)) loggedAtUs.delete(key);
  }

  #noteEnd(code: number | null): number | null {
    for (const line of this.#stderr.split("\n").filter(Boolean)) this.#readLogLine(line);
    if (!this.#isWanted) return code;
    this.place.complaints.push(`ended by itself with ${String(code)}: ${this.#stderr.slice(-700)}`);
    if (this.starts < 1000) void this.spawn(); // as a supervisor would
    return code;
  }

  #readLogLine(line: string): void {
    countUp(this.logged, line.replace(/\d+/g, "N"));
    const isOdd = /damaged|warning|unhandled|^\s+at |(Type|Reference|Range)Error/i.test(line);
    if (isOdd || ID.test(line) || line.includes(FILLER.slice(0, 20))) this.place.complaints.push(`logged: ${line}`);
  }
}
