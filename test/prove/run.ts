/** What all parts of a proof share. */
import { setTimeout as sleep } from "node:timers/promises";
import { SECOND } from "../support/basics.ts";
import type { Collector } from "./collector.ts";
import type { Fault } from "./faults.ts";
import type { Injection } from "./injection.ts";
import type { Network } from "./network.ts";
import type { Flood, Sender } from "./senders.ts";
import type { Row } from "./stock.ts";

export const DRAIN_MS = 2 * SECOND;
export const MAX_WAIT_MS = 120 * SECOND; // for any one thing, once nothing is broken
export const LONG_RUN_MS = 150 * SECOND; // from here on a run shows whether the collector grows

export interface Settings {
  seed: number;
  forMs: number;
  /** Through a PgBouncer in transaction mode. */
  isPooled: boolean;
  /** TLS to the database. */
  isTls: boolean;
  /** A trigger that raises whatever a line tells it. */
  isPoisoned: boolean;
  /** Peers that flood with tiny counted frames. */
  isFlooded: boolean;
  /** A MariaDB in place of PostgreSQL. */
  isMariaDb: boolean;
  /** Two hosts, of which one takes writes. */
  hasHosts: boolean;
}

/** The database that the collector stores into. */
export interface Target {
  /** Its product and version. */
  readonly name: string;
  /** For the collector, as a user without rights but on its database. */
  readonly url: string;
  /** What can be broken of it. */
  faults(): Fault[];
  /** Ends the collector's sessions. */
  terminate(): Promise<void>;
  /** All rows and dead letters, by the stretches of the clock that begin at `starts`, the last one first. */
  rows(starts: string[]): AsyncIterable<Row>;
  close(): Promise<void>;
}

export interface Run extends Settings {
  startedAt: number;
  database: Target;
  network: Network;
  injection: Injection;
  collector: Collector;
  senders: Sender[];
  flood: Flood;
  /** How often each thing was done. */
  counts: Map<string, number>;
  complaints: Complaints;
}

/** What should not have happened: each is printed when it is seen, and fails the run. */
export class Complaints {
  readonly all: string[] = [];

  push(complaint: string): void {
    if (this.all.length < 50) print(`WRONG: ${complaint}`);
    this.all.push(complaint);
  }
}

/** Waits for what may be stuck, and complains if it is. */
export async function orComplain<T>(
  promise: Promise<T>,
  trouble: string,
  complaints: Complaints,
  maxMs = MAX_WAIT_MS,
): Promise<T | undefined> {
  const late = new AbortController();
  const timeout = sleep(maxMs, undefined, { signal: late.signal }).then(() => complaints.push(trouble));
  try {
    return (await Promise.race([promise, timeout.catch(() => {})])) ?? undefined;
  } finally {
    late.abort();
  }
}

export const countUp = (counts: Map<string, number>, name: string) =>
  void counts.set(name, (counts.get(name) ?? 0) + 1);

export const elapsed = ({ startedAt }: Run) => `${((Date.now() - startedAt) / SECOND).toFixed(1).padStart(6)} s`;

export const print = (line: string) => void process.stdout.write(`${line}\n`);
