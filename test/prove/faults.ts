/**
 * What can be broken: how likely it is chosen, its name, how it is done. Each resolves when it is mended, to `false` if
 * nothing came by that it could break.
 */
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { SECOND, eventually } from "../support/basics.ts";
import type { Random } from "../support/basics.ts";
import { freePort } from "../support/processes.ts";
import type { PostgresServer } from "../support/server.ts";
import { Collector } from "./collector.ts";
import { CHECK, NAME, READ_ONLY } from "./database.ts";
import type { Database } from "./database.ts";
import type { Injected } from "./injection.ts";
import { Complaints, DRAIN_MS, LONG_RUN_MS, MAX_WAIT_MS, orComplain } from "./run.ts";
import type { Run } from "./run.ts";
import { FLOOD_PEERS } from "./senders.ts";

export type Inflict = (run: Run, holdMs: number, random: Random) => Promise<unknown>;
export type Fault = [weight: number, name: string, inflict: Inflict];

/** These end the collector. */
const COLLECTOR_FAULTS: Fault[] = [
  [5, "collector: kill -9", ({ collector }) => collector.restart()],
  [3, "collector: kill -9 while it starts", killWhileStarting],
  [4, "collector: SIGTERM under load", (run) => stopInTime(run).then(() => run.collector.start())],
  [2, "journal: a sync fails (injected)", failSyncs],
  [1, "journal: a sync fails while it starts (injected)", failSyncsAtStart],
];

/** It goes on, whatever it is that these break. */
const JOURNAL_FAULTS: Fault[] = [
  [1, "collector: a second one on its data directory", startSecond],
  [2, "journal: its disk is full", fillDisk],
  [1, "journal: writes refused (EDQUOT, injected)", refuseWrites("EDQUOT")],
  [1, "journal: writes refused (ENOSPC, injected)", refuseWrites("ENOSPC")],
  [1, "journal: writes cut short (injected)", refuseWrites("short")],
  [2, "clock: set back by less than a minute, and right again (injected)", setBackForAWhile],
  [2, "clock: set back by more than a minute (injected)", ({ injection }) => injection.setBack()],
];

/** What can be broken of PostgreSQL. */
export function databaseFaults(database: Database): Fault[] {
  const { server } = database;
  const ofServer: Fault[] = server
    ? [
        [2, "server: pg_ctl stop -m fast", stopServer(server, "SIGINT")],
        [2, "server: pg_ctl stop -m immediate", stopServer(server, "SIGQUIT")],
      ]
    : [];
  return [
    ...ofServer,
    [3, "server: backends terminated", (_, holdMs) => database.terminate(holdMs % 3)],
    [1, "server: too many connections", alter(database, `role ${NAME} connection limit`, "0", "-1")],
    [1, "server: read-only", alter(database, `database ${NAME} set ${READ_ONLY}`, "= on", "= off")],
    [2, "server: logs renamed away and back", renameAway(database)],
    [2, "server: logs locked", lockTable(database)],
    [2, "server: disk full (53100, injected)", fillServer(database)],
  ];
}

const NETWORK_FAULTS: Fault[] = [
  [5, "network: cut between commit and answer", ({ network }, holdMs) => network.cutNext("answer", holdMs)],
  [2, "network: cut in a statement", ({ network }, holdMs) => network.cutNext("statement", holdMs)],
  [2, "network: cut anywhere", ({ network }, holdMs) => network.cutNext("anywhere", holdMs)],
  [1, "network: all connections reset", async ({ network }) => network.cutAll("reset")],
  [1, "network: stalls, then goes on", held(({ network }, isOn) => network.stall(isOn))],
  [1, "network: stalls, then is cut", stallAndCut],
  [1, "network: refuses", held(({ network }, isOn) => (isOn ? network.shut("refuse") : network.mend()))],
  [1, "network: accepts and closes", held(({ network }, isOn) => (isOn ? network.shut("close") : network.mend()))],
  [2, "network: 100 ms each way", held(({ network }, isOn) => network.delay(isOn ? 100 : 0))],
];

const TLS_FAULTS: Fault[] = [
  [8, "tls: reset in a handshake", ({ network }, holdMs) => network.cutNext("handshake", holdMs)],
  [8, "tls: connections reset in or soon after their handshakes", resetYoung],
  [8, "tls: handshakes hang, and others are reset", resetBesideHanging],
];

const HOST_FAULTS: Fault[] = [[8, "hosts: the roles switch", async ({ network }) => network.switchRoles()]];

const FLOOD_FAULTS: Fault[] = [[8, "senders: 900 peers flood with tiny counted frames", floodAndWait]];

/** The faults of one lane: what ends the collector, if it may, and what breaks its disk, its clock and its peace. */
export function faultsBefore({ isFlooded }: Run, mayEnd: boolean): Fault[] {
  return [...(mayEnd ? COLLECTOR_FAULTS : []), ...JOURNAL_FAULTS, ...(isFlooded ? FLOOD_FAULTS : [])];
}

/** The faults of the other lane: what is behind the collector. */
export function faultsBehind({ database, isTls, hasHosts }: Run): Fault[] {
  return [...database.faults(), ...NETWORK_FAULTS, ...(isTls ? TLS_FAULTS : []), ...(hasHosts ? HOST_FAULTS : [])];
}

function held(turn: (run: Run, isOn: boolean) => unknown): Inflict {
  return async (run, holdMs) => {
    await turn(run, true);
    await sleep(holdMs);
    await turn(run, false);
  };
}

/** The collector has to connect anew, to notice. */
function alter(database: Database, what: string, on: string, off: string): Inflict {
  return async ({ isPooled }, holdMs) => {
    await database.admin((sql) => sql.unsafe(`alter ${what} ${on}`));
    await database.terminate();
    await sleep(holdMs);
    await database.admin((sql) => sql.unsafe(`alter ${what} ${off}`));
    if (isPooled) await database.terminate(); // PgBouncer keeps its sessions, with their settings
  };
}

async function killWhileStarting({ collector }: Run, holdMs: number): Promise<void> {
  await collector.end("SIGKILL");
  void collector.spawn();
  await sleep(holdMs / 4);
  await collector.restart();
}

export async function stopInTime({ collector, complaints }: Run): Promise<void> {
  const startedAt = Date.now();
  const code = await orComplain(collector.end("SIGTERM"), "a stop takes over a minute", complaints);
  const tookMs = Date.now() - startedAt;
  if (code !== 0) complaints.push(`SIGTERM ended it with ${String(code)}: ${collector.lastLines}`);
  collector.longestStopMs = Math.max(collector.longestStopMs, tookMs);
  if (tookMs > DRAIN_MS + 10 * SECOND) complaints.push(`a stop took ${tookMs} ms, --drain-timeout is ${DRAIN_MS} ms`);
}

async function startSecond({ collector, complaints }: Run): Promise<void> {
  const second = new Collector({ ...collector.place, port: await freePort(), complaints: new Complaints() });
  const code = await orComplain(second.spawn(), "a second collector does not end", complaints);
  const isNamed = second.lastLines.includes(`process id ${collector.pid} `);
  if (code !== 2 || !isNamed) complaints.push(`a second collector ended with ${String(code)}: ${second.lastLines}`);
}

/** No file of the collector's grows beyond a size that the next write exceeds: short writes, and then EFBIG. */
async function fillDisk({ collector }: Run, holdMs: number): Promise<void> {
  const limit = (bytes: string) =>
    promisify(execFile)("prlimit", ["--pid", String(collector.pid), `--fsize=${bytes}:unlimited`]).catch(() => {});
  await limit(String(10_000 + holdMs));
  await sleep(holdMs);
  await limit("unlimited");
}

/** Nothing can be promised then: it has to say so and end, as soon as there is something to sync. */
async function failSyncs({ collector, injection, complaints }: Run): Promise<void> {
  injection.set({ syncs: "EIO" });
  const code = await orComplain(collector.ended(), "goes on where syncs fail", complaints, 2 * MAX_WAIT_MS);
  injection.set({ syncs: "" });
  if (code !== 1 || !/Cannot sync \S+: EIO; no more lines can be promised/.test(collector.lastLines))
    complaints.push(`a failed sync ended it with ${String(code)}: ${collector.lastLines}`);
  await collector.restart();
}

async function failSyncsAtStart({ collector, injection, complaints }: Run): Promise<void> {
  await collector.end("SIGKILL");
  injection.set({ syncs: "EIO" });
  const code = await orComplain(collector.spawn(), "goes on where syncs fail at its start", complaints);
  injection.set({ syncs: "" });
  if (code !== 1 || !/Cannot (?:sync|read) \S+: EIO; /.test(collector.lastLines))
    complaints.push(`a failed sync at the start ended it with ${String(code)}: ${collector.lastLines}`);
  await collector.restart();
}

function refuseWrites(how: Injected["writes"]): Inflict {
  return held(({ injection }, isOn) => injection.set({ writes: isOn ? how : "" }));
}

async function setBackForAWhile({ injection }: Run, holdMs: number, random: Random): Promise<void> {
  const { clockMs } = injection.now;
  injection.set({ clockMs: clockMs - random() * 55 * SECOND });
  await sleep(holdMs);
  injection.set({ clockMs });
}

function stopServer(server: PostgresServer, signal: NodeJS.Signals): Inflict {
  return async (_, holdMs) => {
    await server.stop(signal);
    await sleep(holdMs);
    await server.start();
  };
}

/** Where the collector makes a new table meanwhile, its rows move, with the days that they need. */
function renameAway(database: Database): Inflict {
  return async (_, holdMs) => {
    await database.admin((sql) => sql`alter table logs rename to logs_away`);
    await sleep(holdMs);
    await eventually(() => database.admin((sql) => sql.unsafe(renameBack()))); // the collector may make one just now
  };
}

const renameBack = () => `do $$ begin
  if to_regclass('logs') is not null then
    lock table logs in access exclusive mode;
    alter table logs rename to logs_meanwhile;
    alter table logs_away rename to logs;
    alter table logs drop constraint refused;
    set local prove.moves = 'on';
    perform create_logs_partition(day) from (
      select distinct (created_at at time zone 'UTC')::date as day from logs_meanwhile) as days;
    insert into logs select * from logs_meanwhile;
    drop table logs_meanwhile;
    alter table logs add ${CHECK};
  else
    alter table logs_away rename to logs;
  end if;
end $$`;

/** As on a disk with little room, of batches some pass; on `log_entries`, as `logs` may be renamed. */
function fillServer(database: Database): Inflict {
  return async (_, holdMs) => {
    await database.admin((sql) => sql.unsafe(FULL_DISK));
    await sleep(holdMs);
    await database.admin((sql) => sql`drop trigger if exists full_disk on log_entries`);
  };
}

const FULL_DISK = `create or replace function full_disk() returns trigger language plpgsql as $$
  begin if random() < 0.7 then raise exception using errcode = '53100'; end if; return null; end $$;
  create or replace trigger full_disk before insert on log_entries for each statement execute function full_disk()`;

function lockTable(database: Database): Inflict {
  return (_, holdMs) =>
    database.admin(async (sql) => {
      await sql`begin`;
      await sql`lock table logs in access exclusive mode`;
      await sleep(holdMs);
      await sql`commit`;
    });
}

/** Until the collector, too, has let go of the flood, as far as the run allows. */
async function floodAndWait({ flood, collector, startedAt, forMs }: Run, holdMs: number): Promise<void> {
  await flood.run(10 * holdMs);
  while (collector.fds > FLOOD_PEERS / 10 && Date.now() < startedAt + forMs) await sleep(SECOND);
}

/** In a soak, now and then for longer than the collector waits for any statement. */
async function stallAndCut({ network, forMs }: Run, holdMs: number, random: Random): Promise<void> {
  const isEndless = random() < 0.3 && forMs >= LONG_RUN_MS;
  network.stall(true);
  await sleep(isEndless ? 80 * SECOND : holdMs);
  network.cutAll("close");
  network.stall(false);
}

/** Many connections end in their handshakes, or soon after. */
async function resetYoung({ network }: Run, holdMs: number, random: Random): Promise<void> {
  network.limitAge(20 + random() * 200);
  network.cutAll("reset");
  await sleep(2 * holdMs);
  network.limitAge(0);
}

/** Those that are open go on until each is reset; what replaces it hangs. */
async function resetBesideHanging({ network }: Run, holdMs: number, random: Random): Promise<void> {
  network.hang(true);
  for (const endsAt = Date.now() + 2 * holdMs; Date.now() < endsAt; await sleep(random() * holdMs))
    network.resetOldest();
  network.hang(false);
  network.cutAll("close");
}
