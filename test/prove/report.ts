import { KIB, SECOND } from "../support/basics.ts";
import type { Look, Meter } from "./meter.ts";
import { print } from "./run.ts";
import type { Run, Settings } from "./run.ts";
import type { Connection } from "./senders.ts";
import type { Tally } from "./stock.ts";

const MAX_GROWTH = 1.5; // of what one collector takes, from the first third of a soak to the last
const MAX_RSS = 300 * KIB * KIB;

/** Prints what was done and found; complains of growth. */
export function report(run: Run, tally: Tally, meter: Meter): void {
  complainOfMemory(run, meter);
  const { collector, complaints, counts } = run;
  const every = Math.ceil(meter.series.length / 20);
  const series = meter.series.filter((_, index) => index % every === 0);
  const verdict = complaints.all.length === 0 ? "every promise held" : `${complaints.all.length} promises broken`;
  print(`
faults
${listed(counts)}

logged by the collector
${listed(collector.logged)}

time, RSS, file descriptors, share of a core
${series.map(lookText).join("\n")}
${calmsText(meter)}
collector     ${collector.starts} starts in up to ${collector.slowestStartMs} ms, stops in up to ${collector.longestStopMs} ms
took          RSS up to ${mib(meter.peakRss)}, while it waited up to ${percent(meter.waitingShare)} of a core
${linesText(run, tally)}
${[...new Set(complaints.all)].map((complaint) => `WRONG: ${complaint.split("\n")[0]}\n`).join("")}
${verdict}: npm run prove -- ${flagsOf(run)}`);
}

function complainOfMemory({ complaints, isFlooded }: Run, meter: Meter): void {
  const { rss, fds } = meter.growth();
  if (Math.max(rss, fds) > MAX_GROWTH) complaints.push(`grew: ${growthText(meter)}`);
  if (isFlooded && meter.peakRss > MAX_RSS) complaints.push(`took ${mib(meter.peakRss)}, more than ${mib(MAX_RSS)}`);
}

function growthText(meter: Meter): string {
  const { rss, fds } = meter.growth();
  return `RSS times ${rss.toFixed(2)}, file descriptors times ${fds.toFixed(2)}, from the first third to the last`;
}

function calmsText(meter: Meter): string {
  if (meter.calms.length === 0) return "";
  return `
the same while nothing is broken, the last while it waits for database and disk
${meter.calms.map(lookText).join("\n")}
grew          ${growthText(meter)}
`;
}

function linesText({ senders, flood }: Run, tally: Tally): string {
  const connections = senders.flatMap((sender) => sender.connections);
  const sum = (read: (connection: Connection) => number) => connections.reduce((total, one) => total + read(one), 0);
  const frames = flood.sent > 0 ? `, and ${tally.flooded} of ${flood.sent} tiny frames` : "";
  const wrong = tally.wrong().map(([what, lines]) => `${what} ${lines}`);
  return `sent          ${sum(({ sent }) => sent)} lines over ${connections.length} connections
acknowledged  ${sum(({ acknowledged }) => acknowledged)}
stored        ${tally.stored}, dead letters ${tally.deadLettered}, beginnings of lines cut off ${tally.fragments}${frames}
wrong         ${wrong.join(", ")}`;
}

/** The flags that repeat a run. */
export function flagsOf(settings: Settings): string {
  const { seed, forMs, isMariaDb, isPooled, isTls, isPoisoned, isFlooded, hasHosts } = settings;
  const flags = {
    mariadb: isMariaDb,
    pgbouncer: isPooled,
    tls: isTls,
    poison: isPoisoned,
    flood: isFlooded,
    hosts: hasHosts,
  };
  const set = Object.entries(flags).filter(([, isSet]) => isSet);
  return [`--seed ${seed} --for ${forMs / SECOND}s`, ...set.map(([name]) => `--${name}`)].join(" ");
}

const lookText = ({ at, rss, fds, share }: Look) =>
  `${at}  ${mib(rss).padStart(9)}  ${String(fds).padStart(4)}  ${Number.isNaN(share) ? "" : percent(share).padStart(7)}`;

const listed = (counts: Map<string, number>) =>
  [...counts]
    .toSorted(([, one], [, other]) => other - one)
    .map(([name, count]) => `${String(count).padStart(6)}  ${name}`)
    .join("\n");

const mib = (bytes: number) => `${(bytes / KIB / KIB).toFixed(1)} MiB`;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
