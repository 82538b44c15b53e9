/** What can't be broken from outside: a preload of the collector reads from a file, at each call, what its clock, writes and syncs come to. */
import { renameSync, writeFileSync } from "node:fs";
import { SECOND } from "../support/basics.ts";
import { MAX_WAIT_MS } from "./run.ts";

export interface Injected {
  clockMs: number;
  writes: "" | "EDQUOT" | "ENOSPC" | "short";
  syncs: "" | "EIO";
}

export class Injection {
  /** What `--import` takes. */
  readonly preload: string;
  now: Injected = { clockMs: 0, writes: "", syncs: "" };
  readonly #file: string;
  readonly #minStepMs: number;
  readonly #steps = [{ at: Date.now(), clockMs: 0 }];

  constructor(file: string, forMs: number) {
    this.#file = file;
    this.#minStepMs = forMs + 12 * MAX_WAIT_MS; // longer than the run: no time comes twice
    this.preload = `data:text/javascript,${encodeURIComponent(preloadOf(file))}`;
    this.set({});
  }

  set(change: Partial<Injected>): void {
    this.now = { ...this.now, ...change };
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.now));
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** Sets the clock back, never twice by the same time, so that to log it is no flood. */
  async setBack(): Promise<void> {
    this.set({ clockMs: this.now.clockMs - this.#minStepMs - this.#steps.length * 5 * SECOND });
    this.#steps.push({ at: Date.now(), clockMs: this.now.clockMs });
  }

  /** What the clock read, from one step to the next, in ms since 1970; a minute more, by which it may be off or followed late. */
  stretches(): { from: number; to: number }[] {
    const slackMs = 60 * SECOND;
    const endOf = (index: number) => this.#steps[index]?.at ?? Date.now();
    return this.#steps.map(({ at, clockMs }, index) => ({
      from: at + clockMs - slackMs,
      to: endOf(index + 1) + clockMs + slackMs,
    }));
  }
}

const preloadOf = (file: string) => `
  import { readFileSync } from "node:fs";
  import { open } from "node:fs/promises";
  const now = () => JSON.parse(readFileSync(${JSON.stringify(file)}, "utf8"));
  const fail = (code) => Promise.reject(Object.assign(new Error("injected"), { code }));
  const { now: clock } = Date;
  Date.now = () => Math.round(clock() + now().clockMs);
  const handle = await open(process.execPath);
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  const { write } = prototype;
  prototype.write = function (bytes, start, size, at) {
    const { syncs, writes } = now();
    if (writes === "short") return write.call(this, bytes, start, Math.floor(size / 2), at);
    return writes || syncs ? fail(writes || syncs) : write.call(this, bytes, start, size, at);
  };`;
