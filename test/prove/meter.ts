/** Looks at the running collector once a second. */
import { setTimeout as sleep } from "node:timers/promises";
import { SECOND, median } from "../support/basics.ts";
import { peakRss, rss } from "../support/processes.ts";
import { elapsed, orComplain, print } from "./run.ts";
import type { Run } from "./run.ts";

const MAX_WAITING_SHARE = 0.02; // of a core
export const CALM_S = 24; // a calm and a wait

export interface Look {
  at: string;
  rss: number;
  fds: number;
  /** A share of a core: since the look before, or while it waits. */
  share: number;
}

export class Meter {
  readonly series: Look[] = [];
  /** Looks at one process while nothing is broken; their shares are those without database and disk. */
  readonly calms: Look[] = [];
  peakRss = 0;
  waitingShare = 0;
  #last = { pid: 0, at: 0, cpuMs: 0 };

  look(run: Run): void {
    const { pid, cpuMs, fds } = run.collector;
    const now = { pid, at: Date.now(), cpuMs };
    const share = pid === this.#last.pid ? (now.cpuMs - this.#last.cpuMs) / (now.at - this.#last.at) : NaN;
    this.#last = now;
    this.peakRss = Math.max(this.peakRss, peakRss(pid) || 0);
    if (fds > 0) this.series.push({ at: elapsed(run), rss: rss(pid) || 0, fds, share });
  }

  /** What the collector takes while the senders send and nothing is broken, and what it does while it waits. */
  async lookWhileCalm(run: Run): Promise<void> {
    print(`${elapsed(run)}  calm for ${CALM_S} s, then a wait`);
    await sleep((CALM_S / 2) * SECOND);
    const settled = this.series.slice(-CALM_S / 4);
    const share = await this.lookWhileWaiting(run, this.calms.length % 2 === 0 ? "refuse" : "close");
    this.calms.push({
      at: elapsed(run),
      rss: median(settled.map((look) => look.rss)),
      fds: median(settled.map(({ fds }) => fds)),
      share,
    });
  }

  /** The collector's share of a core over 5 s in which it has lines to store and to write, and neither database nor disk. */
  async lookWhileWaiting(run: Run, how: "refuse" | "close"): Promise<number> {
    const { network, injection, collector, senders, complaints } = run;
    for (const sender of senders) sender.pause(true);
    network.shut(how);
    const sendAndEnd = (lines: number) => {
      const connection = senders[0]?.connect();
      return Promise.resolve(connection?.send(lines)).then(() => connection?.end("half-close"));
    };
    const replied = sendAndEnd(100);
    await Promise.race([replied, sleep(5 * SECOND)]); // the journal may be full
    injection.set({ writes: "ENOSPC" });
    const repliedLater = sendAndEnd(1);
    await sleep(SECOND);
    const beforeMs = collector.cpuMs;
    await sleep(5 * SECOND);
    const share = (collector.cpuMs - beforeMs) / (5 * SECOND);
    injection.set({ writes: "" });
    await network.mend();
    for (const sender of senders) sender.pause(false);
    await orComplain(Promise.all([replied, repliedLater]), "a sender waits for its replies", complaints);
    if (share > MAX_WAITING_SHARE)
      complaints.push(
        `takes ${(100 * share).toFixed(1)} % of a core while it waits for the database (${how}) and the disk`,
      );
    this.waitingShare = Math.max(this.waitingShare, share);
    return share;
  }

  /** By what factors the last third of the calms exceeds the first: medians, as RSS goes up and down by a third under load. */
  growth(): { rss: number; fds: number } {
    const third = Math.ceil(this.calms.length / 3);
    const [first, last] = [this.calms.slice(0, third), this.calms.slice(-third)];
    const by = (read: (look: Look) => number) => median(last.map(read)) / median(first.map(read));
    return { rss: by((look) => look.rss), fds: by(({ fds }) => fds) };
  }
}
