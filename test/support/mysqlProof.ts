/**
 * The proof of the MySQL store: two stores get the same overlapping entries from three senders at once, through a proxy that
 * cuts connections, while others kill sessions and change partitions. At the end, every line must be there once: as a row,
 * or as a dead letter where the database refuses it.
 *
 *     node --import tsx test/support/mysqlProof.ts rounds=200 seed=1 how=insert
 *
 * Mutants of the store leave out one thing each that it needs; they must all end wrong, or the proof proves nothing.
 */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { copyFile, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import mysql from "mysql2";
import type { Connection } from "mysql2/promise";
import { DatabaseRefused, UsageError, describeError } from "../../collector.ts";
import type { Batch, Entry, Store, StoredLine } from "../../collector.ts";
import { openMysqlStore } from "../../mysql/mysql.ts";
import { DAY, KIB, range, seeded } from "./basics.ts";
import { ROOT } from "./files.ts";
import { MariaDbServer, connectTo, rows } from "./mariadbServer.ts";

export interface ProofOptions {
  rounds: number;
  seed: number;
  /** What sends the rows: LOAD DATA, or INSERT as where that is not allowed. */
  how: "load" | "insert";
  openStore?: typeof openMysqlStore;
}

/** Lines, and how many are there; `faults` tells how often each kind of fault came. */
export interface ProofResult {
  wanted: Counts;
  found: Counts;
  rounds: number;
  faults: Map<string, number>;
  errors: Map<string, number>;
}

interface Counts {
  rows: number;
  differentRows: number;
  letters: number;
  differentLetters: number;
  entries: number;
}

const FAULT_SHARE = 0.25; // of the commits; of the other commands a third of that
const TRIES = 200; // of one batch, before the proof gives up
const TODAY_US = Math.floor(Date.now() / DAY) * DAY * 1000;

/** Why a line is refused; the second kind would be cut short in silence, if the statement did not fail. */
const REFUSALS = `alter table logs add constraint no_poison check (message not like '%poison%'), modify app varchar(20)`;

const countIn = (counts: Map<string, number>, what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);

/** Runs rounds until one ends wrong; on a database that is empty, of a server whose sessions may be killed. */
export async function proveMysql(url: string, options: ProofOptions): Promise<ProofResult> {
  const proof = new Proof(url, await connectTo(url), options);
  try {
    return await proof.run();
  } finally {
    await proof.close();
  }
}

/** One mistake for each thing that makes the store store exactly once: what is replaced by what. */
export const MUTANTS: Record<string, [from: string, to: string]> = {
  "no REPLACE": ["infile 'rows' replace into", "infile 'rows' into"],
  "keys committed first": ["`begin; ${keysStatement(journal, left)}`", "keysStatement(journal, left)"],
  "no keys": ["`begin; ${keysStatement(journal, left)}`", '"begin"'],
  "1062 taken as all stored": [
    "if (!(error instanceof AlreadyStored)) throw error;",
    "if (!(error instanceof AlreadyStored)) throw error; else return;",
  ],
  "failed session used again": [
    "session.destroy();\n      throw isLate",
    "errnoOf(error) > 0 ? this.#keep(session) : session.destroy();\n      throw isLate",
  ],
};

/** The store with one of the {@link MUTANTS} in it. */
export async function openMutant(name: string): Promise<typeof openMysqlStore> {
  const [from, to] = MUTANTS[name]!;
  const source = await readFile(join(ROOT, "mysql/mysql.ts"), "utf8");
  if (source.split(from).length !== 2) throw new Error(`Cannot make the mutant "${name}": its place is not there once`);
  const directory = await mkdtemp(join(tmpdir(), "collector-mutant-"));
  const file = join(directory, "mysql.mts");
  await writeFile(file, source.replace(from, to));
  await copyFile(join(ROOT, "mysql/schema.sql"), join(directory, "schema.sql"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const mutant = (await import(pathToFileURL(file).href)) as { openMysqlStore: typeof openMysqlStore };
  return mutant.openMysqlStore;
}

interface MadeEntry {
  entry: Entry;
  lines: StoredLine[];
}

class Proof {
  readonly #url: string;
  readonly #admin: Connection;
  readonly #options: ProofOptions;
  readonly #random: () => number;
  readonly #open: typeof openMysqlStore;
  readonly #proxy: CuttingProxy;
  readonly #wanted: Counts = { rows: 0, differentRows: 0, letters: 0, differentLetters: 0, entries: 0 };
  readonly #faults = new Map<string, number>();
  readonly #errors = new Map<string, number>();
  #isOver = false;

  constructor(url: string, admin: Connection, options: ProofOptions) {
    this.#url = url;
    this.#admin = admin;
    this.#options = options;
    this.#random = seeded(options.seed);
    this.#open = options.openStore ?? openMysqlStore;
    const note = (fault: string) => countIn(this.#faults, fault);
    this.#proxy = new CuttingProxy(new URL(url), admin, this.#random, note);
  }

  async run(): Promise<ProofResult> {
    const store = this.#openOn(this.#url);
    await store.setUp();
    await store.close();
    await this.#admin.query(REFUSALS);
    const proxied = await this.#proxy.listen();
    const [housekeeping, killing] = [this.#keepHouse(), this.#killNowAndThen()];
    let [round, found] = [0, this.#wanted];
    while (round < this.#options.rounds && isSame(found, this.#wanted)) {
      await this.#runRound(round++, proxied);
      found = await this.#count();
    }
    this.#isOver = true;
    await Promise.all([housekeeping, killing]);
    return { wanted: this.#wanted, found, rounds: round, faults: this.#faults, errors: this.#errors };
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#proxy.close();
    await this.#admin.end();
  }

  #openOn(url: string): Store {
    return this.#open({
      driver: mysql,
      url,
      workers: 2,
      maxLine: 64 * KIB,
      log: () => {},
      describe: describeError,
      UsageError,
      DatabaseRefused,
    });
  }

  /** Three senders, in batches of their own making: two have a part each and overlap, the third has all. */
  async #runRound(round: number, url: string): Promise<void> {
    const stores = [this.#openOn(url), this.#openOn(url)] as const;
    const journal = randomUUID();
    const entries = range(this.#between(2, 9)).map((n) => this.#makeEntry(stores[0], round, n));
    const [from, to] = [this.#between(0, entries.length >> 1), this.#between(entries.length >> 1, entries.length)];
    const send = async (store: Store, some: MadeEntry[]) => {
      for (let at = 0, size = 0; at < some.length; at += size) {
        size = this.#between(1, 4);
        await this.#storeUntilDone(store, journal, some.slice(at, at + size));
      }
    };
    await Promise.all([
      send(stores[0], entries.slice(0, to)),
      send(stores[1], entries.slice(from)),
      sleep(this.#random() * 30).then(() => send(stores[1], entries)),
    ]);
    for (const store of stores) await store.close();
  }

  #makeEntry(store: Store, round: number, n: number): MadeEntry {
    const writer = store.createRowWriter(KIB);
    const [position, timeUs] = [10_000 * n, TODAY_US + round * 60e6 + n * 1e4];
    const count = this.#between(1, 200);
    const refused = this.#random() < 0.1 ? this.#between(0, count - 1) : -1;
    const lines = range(count).map((at) => {
      const poison = at === refused && this.#random() < 0.5;
      const line: StoredLine = {
        timeUs: timeUs + at,
        peer: "127.0.0.1",
        level: 200,
        message: `${round}:${n}:${at}${poison ? " poison" : ""} 'tab\t' \\ ${"é😀".repeat(at % 5)}`,
        app: at === refused && !poison ? "too long for its column" : "web",
        attributes: at % 4 === 0 ? `{"n":${at},"t":"a\\nb"}` : undefined,
        source: `${round}:${n}:${at}`,
        notes: undefined,
      };
      writer.add(line, line.timeUs, line.peer);
      return line;
    });
    this.#wanted.rows += refused < 0 ? count : count - 1;
    this.#wanted.letters += refused < 0 ? 0 : 1;
    this.#wanted.entries++;
    this.#wanted.differentRows = this.#wanted.rows;
    this.#wanted.differentLetters = this.#wanted.letters;
    const entry = { position, timeUs, lines: count, size: 100, rows: writer.written() } as unknown as Entry;
    return { entry, lines };
  }

  /** What the collector's workers do about an error. */
  async #storeUntilDone(store: Store, journal: string, made: MadeEntry[]): Promise<void> {
    const batch = { journal, entries: made.map(({ entry }) => entry) } as Batch;
    let isByLine = this.#options.how === "insert" && this.#random() < 0.2;
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        if (!isByLine) await store.storeBatch(batch);
        else for (const { entry, lines } of made) await store.storeLines(journal, entry, lines, new Set());
        return;
      } catch (error) {
        const reaction = store.reactionTo(error);
        countIn(this.#errors, `${reaction}: ${store.describe(error)}`);
        if (reaction === "content" && made.length > 1) return this.#storeHalves(store, journal, made);
        if (reaction === "content" || reaction === "no bulk load") isByLine = true;
        else await sleep(Math.min(5 * 2 ** tries, 300) * (0.5 + this.#random() / 2));
      }
    }
    throw new Error("a batch was not stored in 200 tries");
  }

  async #storeHalves(store: Store, journal: string, made: MadeEntry[]): Promise<void> {
    const middle = made.length >> 1;
    await this.#storeUntilDone(store, journal, made.slice(0, middle));
    await this.#storeUntilDone(store, journal, made.slice(middle));
  }

  /** The collector's periodic tasks, in the way of all. */
  async #keepHouse(): Promise<void> {
    const store = this.#openOn(this.#url);
    const levels = { from: 0, to: 100, sinceUs: TODAY_US, ageMs: 0 };
    for (let day = Math.floor(Date.now() / DAY); !this.#isOver; day++) {
      const tasks = [
        () => store.makePartition(day),
        () => store.deleteLevels(levels),
        () => store.pruneKeys(randomUUID(), 1e9),
        () => store.dropPartition(2 * DAY),
      ];
      for (const task of tasks)
        await task().catch((error: unknown) => countIn(this.#errors, `task: ${store.describe(error)}`));
      await sleep(150);
    }
    await store.close();
  }

  async #killNowAndThen(): Promise<void> {
    const running = `select id from information_schema.processlist
      where db = database() and command <> 'Sleep' and id <> connection_id() order by rand() limit 1`;
    for (; !this.#isOver; await sleep(25)) {
      const [one] = await rows<{ id: string }>(this.#admin, running);
      if (one === undefined || this.#random() > FAULT_SHARE) continue;
      countIn(this.#faults, "killed out of the blue");
      await this.#admin.query(`kill ${one.id}`).catch(() => {}); // it may be gone
    }
  }

  async #count(): Promise<Counts> {
    const [row] = await rows<Record<keyof Counts, string>>(
      this.#admin,
      `select (select count(*) from logs) as \`rows\`, (select count(distinct message, app) from logs) as differentRows,
         (select count(*) from dead_letters) as letters, (select count(distinct line) from dead_letters) as differentLetters,
         (select count(*) from log_entries) as entries`,
    );
    const entries = Object.entries(row ?? {}).map(([name, count]) => [name, Number(count)]);
    return Object.fromEntries(entries) as Counts;
  }

  #between(min: number, max: number): number {
    return min + Math.floor(this.#random() * (max - min + 1));
  }
}

const isSame = (a: Counts, b: Counts) => (Object.keys(a) as (keyof Counts)[]).every((name) => a[name] === b[name]);

export const isProven = ({ wanted, found }: ProofResult) => isSame(wanted, found);

/** Looks at the commands that pass, and cuts before one, within rows, or before its answer; or has the session killed. */
class CuttingProxy {
  readonly #target: URL;
  readonly #admin: Connection;
  readonly #random: () => number;
  readonly #note: (fault: string) => void;
  readonly #sockets = new Set<Socket>();
  readonly #listener = createServer((near) => this.#relay(near));

  constructor(target: URL, admin: Connection, random: () => number, note: (fault: string) => void) {
    this.#target = target;
    this.#admin = admin;
    this.#random = random;
    this.#note = note;
  }

  /** Resolves to the URL through it. */
  async listen(): Promise<string> {
    this.#listener.listen(0, "127.0.0.1");
    while (!this.#listener.listening) await sleep(1);
    const { port } = this.#listener.address() as AddressInfo;
    return Object.assign(new URL(this.#target), { host: `127.0.0.1:${port}` }).href;
  }

  close(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #relay(near: Socket): void {
    const far = connect(Number(this.#target.port), this.#target.hostname);
    const state = { id: 0, isAnswerLost: false, room: Infinity };
    const cut = () => {
      near.resetAndDestroy();
      far.destroy();
    };
    near.on("data", (data) => {
      state.room -= data.length;
      if (state.room < 0 || this.#choose(data, state) === "cut") return cut();
      return far.write(data);
    });
    far.on("data", (data) => {
      if (state.id === 0) state.id = data.readUInt32LE(data.indexOf(0, 5) + 1); // the greeting has a version, then the id
      if (state.isAnswerLost) return cut();
      return near.write(data);
    });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket
        .on("error", () => {})
        .on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
    }
  }

  /** Chooses a fault for a command (a packet number of 0, and 3 for a query), or none. */
  #choose(data: Buffer, state: { id: number; isAnswerLost: boolean; room: number }): "cut" | "pass" {
    const text = data[3] === 0 && data[4] === 3 ? data.toString("latin1", 5, 60) : "";
    const [command] = /^(?:begin|load data|insert into \w+|commit|select position)/.exec(text) ?? [];
    if (command === undefined || this.#random() > (command === "commit" ? FAULT_SHARE : FAULT_SHARE / 3)) return "pass";
    const kill = () => void this.#admin.query(`kill ${state.id}`).catch(() => {}); // it may be gone
    const kinds = [
      "cut before",
      "answer lost",
      "killed at",
      "killed soon after",
      ...(command === "load data" ? ["cut within"] : []),
    ];
    const kind = kinds[Math.floor(this.#random() * kinds.length)]!;
    this.#note(`${kind} ${command}`);
    if (kind === "cut before") return "cut";
    if (kind === "answer lost") state.isAnswerLost = true;
    if (kind === "killed at") kill();
    if (kind === "killed soon after") setTimeout(kill, 5 * this.#random());
    if (kind === "cut within") state.room = data.length + 200 + 20_000 * this.#random();
    return "pass";
  }
}

async function main(words: string[]): Promise<void> {
  const given = new Map(words.map((word) => word.split("=") as [string, string]));
  const folder = await mkdtemp(join(tmpdir(), "collector-proof-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const server = await MariaDbServer.create(folder);
  const admin = await connectTo(server.url);
  await admin.query("create database proof");
  await admin.end();
  const started = performance.now();
  const how = given.get("how") === "insert" ? "insert" : "load";
  if (how === "insert") await (await connectTo(server.url)).query("set global local_infile = 0");
  const openStore = given.has("mutant") ? await openMutant(given.get("mutant")!) : openMysqlStore;
  const options = {
    rounds: Number(given.get("rounds") ?? 200),
    seed: Number(given.get("seed") ?? 1),
    how,
    openStore,
  } as const;
  const result = await proveMysql(`${server.url}/proof`, options);
  console.log({ ...result, seconds: Math.round((performance.now() - started) / 1000) });
  console.log(isProven(result) ? "every line is there once" : "WRONG: lines are lost or doubled");
  await server.stop();
  process.exit(isProven(result) ? 0 : 1);
}

if (process.argv[1]?.endsWith("mysqlProof.ts")) await main(process.argv.slice(2));
