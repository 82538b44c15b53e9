/** Every row, in the order of created_at between two steps of the clock, held against what was sent. */
import type { Run } from "./run.ts";
import { Flood, ID, MAX_LINE, keyOf, lineOf, mayBeRefused, textOf } from "./senders.ts";
import type { Sender } from "./senders.ts";

const EXAMPLES_MAX = 5;

export class Tally {
  stored = 0;
  deadLettered = 0;
  fragments = 0; // of lines that a disconnect cut off
  doubled = 0;
  missing = 0; // acknowledged, and not there
  holes = 0; // not acknowledged, not there, though later ones of their connection are
  outOfOrder = 0;
  altered = 0;
  sameTime = 0;
  offTheClock = 0;
  wronglyRefused = 0; // dead letters that nothing of ours refuses
  flooded = 0;
  readonly examples: string[] = [];
  readonly #isPoisoned: boolean;
  readonly #next = new Map<string, number>();
  readonly #skipped = new Set<string>();
  readonly #stretches: { from: number; to: number }[];
  #lastStretch = 0;
  #lastTime = "";

  constructor({ injection, isPoisoned }: Run) {
    this.#isPoisoned = isPoisoned;
    this.#stretches = injection.stretches();
  }

  take({ time, message, cut, dead }: Row): void {
    if (time === this.#lastTime) this.sameTime++;
    this.#lastTime = time;
    const us = Number(time);
    const stretch = this.#stretches.findIndex(({ from, to }) => us > from * 1000 && us < to * 1000);
    if (stretch < 0) this.offTheClock++;
    this.#lastStretch = Math.max(this.#lastStretch, stretch);
    if (message === Flood.message) return void this.flooded++;
    const [, ...numbers] = ID.exec(message) ?? [];
    const [sender = 0, connection = 0, n = 0] = numbers.map(Number);
    const text = numbers.length > 0 ? textOf(sender, connection, n) : "";
    const kept = text.slice(0, MAX_LINE);
    const isFragment = text ? lineOf(sender, connection, n).startsWith(message) : message.length < 30; // no id yet
    const isWhole = message === kept && (cut === null) === (kept === text);
    if (isFragment && !isWhole && cut === null) return void this.fragments++;
    if (!isWhole) this.#alter(`s${keyOf(sender, connection)}-${n}`, message, cut, text);
    if (dead && !mayBeRefused(text, this.#isPoisoned)) this.wronglyRefused++;
    this[dead ? "deadLettered" : "stored"]++;
    this.#count(keyOf(sender, connection), n);
  }

  /** After the last row: what was acknowledged beyond what is there, or in between. */
  settle(senders: Sender[]): void {
    if (this.#lastStretch < this.#stretches.length - 1) this.offTheClock++; // the last lines came after all steps
    for (const [sender, { connections }] of senders.entries()) {
      for (const [number, { acknowledged }] of connections.entries()) {
        const next = this.#next.get(keyOf(sender, number)) ?? 0;
        this.missing += Math.max(0, acknowledged - next);
      }
    }
    for (const skipped of this.#skipped) {
      const [sender = 0, connection = 0, n = 0] = skipped.split("-").map(Number);
      const { acknowledged = 0 } = senders[sender]?.connections[connection] ?? {};
      this[n < acknowledged ? "missing" : "holes"]++;
    }
  }

  /** What is wrong, and how many lines of each. */
  wrong(): [string, number][] {
    const { doubled, missing, holes, outOfOrder, altered, sameTime, offTheClock, wronglyRefused } = this;
    return Object.entries({ doubled, missing, holes, outOfOrder, altered, sameTime, offTheClock, wronglyRefused });
  }

  complaints(): string[] {
    return this.wrong()
      .filter(([, lines]) => lines > 0)
      .map(([what, lines]) => `${lines} lines ${what}`);
  }

  #alter(name: string, message: string, cut: string | null, text: string): void {
    this.altered++;
    let same = 0;
    while (same < message.length && message[same] === text[same]) same++;
    const sizes = `${message.length} of ${text.length} characters, the first ${same} the same, cut: ${cut}`;
    if (this.altered <= EXAMPLES_MAX) this.examples.push(`altered: ${name}, ${sizes}`);
  }

  #count(key: string, n: number): void {
    const next = this.#next.get(key) ?? 0;
    if (n < next && this.#skipped.delete(`${key}-${n}`)) this.outOfOrder++;
    else if (n < next) this.doubled++;
    for (let skipped = next; skipped < n; skipped++) this.#skipped.add(`${key}-${skipped}`);
    this.#next.set(key, Math.max(next, n + 1));
  }
}

export interface Row {
  time: string;
  message: string;
  cut: string | null;
  dead: boolean;
}

/** What came after the clock was set back has earlier times, which the run made sure to be no others'. */
export async function takeStock(run: Run): Promise<Tally> {
  const { database, injection, senders, flood, complaints } = run;
  const tally = new Tally(run);
  const starts = injection.stretches().map(({ from }) => new Date(from).toISOString());
  for await (const row of database.rows(starts)) tally.take(row);
  tally.settle(senders);
  if (tally.flooded > flood.sent) complaints.push(`${tally.flooded} frames of ${flood.sent} are stored`);
  for (const complaint of [...tally.complaints(), ...tally.examples]) complaints.push(complaint);
  return tally;
}
