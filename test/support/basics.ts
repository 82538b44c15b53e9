/** What needs nothing of ours. */
import { setTimeout as sleep } from "node:timers/promises";

export const KIB = 1024;
export const MIB = KIB * KIB;
export const SECOND = 1000; // ms
export const MINUTE = 60 * SECOND;
export const DAY = 86_400_000; // ms

const STUCK_MS = 60 * SECOND;

/**
 * Resolves to what `look` returns once it no longer throws. Rejects with what it throws when that has stayed the same
 * for `stuckMs`: a slow machine makes progress, and an assertion's message holds what it found.
 */
export async function eventually<T>(look: () => T | Promise<T>, stuckMs = STUCK_MS): Promise<T> {
  let seen = "";
  let seenAt = performance.now();
  for (;;) {
    try {
      return await look();
    } catch (error) {
      const now = performance.now();
      if (String(error) !== seen) [seen, seenAt] = [String(error), now];
      else if (now - seenAt > stuckMs) throw error;
    }
    await sleep(20);
  }
}

export function onceOnly<T>(make: () => Promise<T>): () => Promise<T> {
  const made: Promise<T>[] = [];
  return () => (made[0] ??= make());
}

export async function repeat<T>(times: number, run: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let time = 0; time < times; time++) results.push(await run());
  return results;
}

export type Random = () => number;

/** Numbers from 0 to 1, the same ones for a seed (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const range = (length: number) => Array.from({ length }, (_, index) => index);

export const median = (values: number[]) => values.toSorted((one, other) => one - other)[values.length >> 1] ?? NaN;

export const digits = (n: number, width: number) => String(n).padStart(width, "0");

export const jsonLines = (text: string): unknown[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
