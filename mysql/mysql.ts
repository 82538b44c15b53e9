/**
 * mysql — the collector's store on MySQL 8 or MariaDB, for a DATABASE_URL of mysql:// or mariadb://.
 *
 * One transaction stores a batch: the keys of its entries, then its rows, then commit. A key that is there already fails
 * it; what is left is sent again. A session on which anything failed is destroyed, so that the server rolls back.
 *
 * Rows go by LOAD DATA LOCAL from memory, or by INSERT where the server does not allow that: the same bytes serve both.
 * The REPLACE of the former replaces nothing, for no id of ours comes twice. Without it, LOCAL turns errors into warnings,
 * skips rows and changes values (MySQL's manual, LOAD DATA, "Error Handling"). Where it did replace a row, because of a
 * unique index of the user's, the number of affected rows tells, and the transaction is not committed.
 *
 * Limits: InnoDB only. Stored lines are forgotten by a server that forgets commits: innodb_flush_log_at_trx_commit other
 * than 1, or a failover to a replica that lags.
 */
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import type mysql from "mysql2";
import type { Batch, Entry, LevelRange, LogRecord, Reaction, RowWriter } from "../collector.ts";
import type { StatementOptions, Store, StoredLine, Table } from "../collector.ts";

/** What collector.ts hands in: of that file, only types are imported. */
export interface MysqlHost {
  driver: Pick<typeof mysql, "createConnection">;
  /** `mysql://user:password@host:port/database?options`, or `mariadb://…`. */
  url: string;
  /** Batches to store at the same time. */
  workers: number;
  /** Longest line in bytes. */
  maxLine: number;
  log: (line: string) => void;
  /** Tells in words why a connection can't be made. */
  describe: (error: unknown) => string;
  /** What a wrong URL is refused with, and a database that is not one to store into. */
  UsageError: new (message: string) => Error;
  DatabaseRefused: new (message: string) => Error;
}

/** Opens no connection yet. Throws the host's `UsageError` for a URL that is not one for us. */
export function openMysqlStore(host: MysqlHost): Store {
  return new MysqlStore(host);
}

const SECOND = 1000; // ms
const DAY = 86_400 * SECOND;
const MIB = 1024 * 1024;

// ---- Store ------------------------------------------------------------------
// Entries are stored by `#storeRows`, whose transaction makes it exactly once; or line by line, by `#storeSlice`.

const COLUMNS = ["created_at", "level", "message", "logged_at", "host", "app", "peer", "attributes"];
const INSERT = `insert into logs (${COLUMNS.join(", ")}) values `;
const LOAD = `load data local infile 'rows' replace into table logs character set utf8mb4
  fields terminated by ',' optionally enclosed by '''' lines starting by '(' terminated by '),'
  (${COLUMNS.join(", ")}) set id = uuid_short()`;

const LINES_WALKED = 10_000; // a statement of deleteLevels
const LOAD_AGAIN_MS = 60 * SECOND; // after which LOAD DATA is tried once more, where it was refused

/** How many bytes a line may become in a statement: a control character of logfmt becomes `\\u0001`, and more is kept. */
const GROWTH = 10;
const ENTRY_BYTES = 512 * 1024; // of the lines in one entry, unless one line is longer

class MysqlStore implements Store {
  readonly name: string;
  readonly sessions: number;
  readonly #host: MysqlHost;
  readonly #sessions: Sessions;
  readonly #times = { received: new DatetimeFormatter(), logged: new DatetimeFormatter() };
  /** Why rows go by INSERT, and until when (ms since the process's start); undefined where they go by LOAD DATA. */
  #refusal: { cause: number; untilMs: number } | undefined;

  constructor(host: MysqlHost) {
    const server = readUrl(host);
    this.name = server.name;
    this.sessions = host.workers;
    this.#host = host;
    this.#sessions = new Sessions(host.driver, server.config);
  }

  createRowWriter(size: number): RowWriter {
    return new TupleWriter(size, this.#times);
  }

  reactionTo(error: unknown): Reaction {
    return reactionTo(error);
  }

  describe(error: unknown): string {
    return describeOurs(error) ?? this.#host.describe(error);
  }

  async setUp(): Promise<void> {
    await this.#sessions.use(async (session) => {
      let tables = await readTables(session);
      if (tables.size < TABLES.length) {
        await session.query(readFileSync(new URL("schema.sql", import.meta.url), "utf8"));
        tables = await readTables(session);
      }
      for (const [name, table] of tables) this.#checkTable(name, table);
      if (!tables.get("dead_letters")?.columns.has("cut_from"))
        await session.query("alter table dead_letters add column cut_from bigint");
      await this.#checkPacket(session);
    });
  }

  async storeBatch(batch: Batch): Promise<void> {
    if (this.#refusal && performance.now() < this.#refusal.untilMs) return this.#storeRows(batch, insertRows);
    try {
      await this.#storeRows(batch, loadRows);
      this.#noteLoaded();
    } catch (error) {
      if (reactionTo(error) !== "no bulk load") throw error;
      await this.#storeRows(batch, insertRows);
      this.#noteRefusal(error);
    }
  }

  /** Slices commit: each takes half as many lines where the one before took too long. */
  async storeLines(journal: string, entry: Entry, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number> {
    let refused = 0;
    for (let size = lines.length; ;) {
      try {
        const slice = await this.#sessions.use((session) =>
          this.#storeSlice(session, keyOf(journal, entry), lines, size, suspects),
        );
        refused += slice.refused;
        if (slice.isLast) return refused;
      } catch (error) {
        if (reactionTo(error) !== "too long" || size <= 1) throw error;
        size = Math.ceil(size / 2);
      }
    }
  }

  async makePartition(day: number): Promise<void> {
    const change = await this.#sessions.use((session) => planPartition(session, day));
    if (change !== undefined) await this.#alter(change);
    await this.#sessions.use((session) => noteIfLate(session, day));
  }

  async dropPartition(ageMs: number): Promise<string | undefined> {
    const oldest = await this.#sessions.use(async (session) => {
      const before = formatDatetime(await timeBefore(session, ageMs));
      const partitions = await readStoredBefore(session, before);
      return partitions.find((partition) => isDayOfOurs(partition) && partition.end <= before);
    });
    if (oldest) await this.#alter(`alter table logs drop partition ${oldest.name}`);
    return oldest?.name;
  }

  async deleteLevels({ from, to, ageMs, sinceUs }: LevelRange): Promise<{ nextUs: number; isDone: boolean }> {
    return this.#sessions.use(async (session) => {
      const beforeUs = await timeBefore(session, ageMs);
      const within = (endUs: number) =>
        `created_at >= '${formatDatetime(sinceUs)}' and created_at < '${formatDatetime(endUs)}'`;
      const [next] = await session.rows<{ time: string }>(
        `select created_at as time from logs where ${within(beforeUs)}
         order by created_at limit 1 offset ${LINES_WALKED}`,
      );
      const nextUs = next ? Math.max(timeOfDatetime(next.time), sinceUs + 1) : beforeUs;
      const stored = (await readStoredBefore(session, formatDatetime(beforeUs))).map(({ name }) => `\`${name}\``);
      const partitions = stored.length > 0 ? `partition (${stored.join()})` : "";
      await session.query(`delete from logs ${partitions} where ${within(nextUs)} and level between ${from} and ${to}`);
      return { nextUs, isDone: next === undefined };
    });
  }

  async pruneKeys(journal: string, endPosition: number): Promise<void> {
    const old = `journal = ${binaryOf(journal)} and position < ${endPosition}`;
    await this.#sessions.use((session) => session.query(`delete from log_entries where ${old}`));
  }

  async ping(): Promise<void> {
    await this.#sessions.use((session) => session.query("select 1"));
  }

  query(statement: string, options: StatementOptions): AsyncGenerator<Table> {
    return runStatement(this.#sessions, statement, options);
  }

  listDeadLetters(options: StatementOptions): AsyncGenerator<Table> {
    const columns = "id, created_at, peer, `sqlstate`, error, line";
    return runStatement(this.#sessions, `select ${columns} from dead_letters order by id`, options, "as text");
  }

  async deadLetterIds(): Promise<string[]> {
    const found = await this.#sessions.use((session) =>
      session.rows<{ id: number | string }>("select id from dead_letters order by id"),
    );
    return found.map(({ id }) => String(id));
  }

  async dropDeadLetters(ids: string[]): Promise<number> {
    if (ids.length === 0) return 0;
    const statement = `delete from dead_letters where id in (${listIds(ids)})`;
    return this.#sessions.use(async (session) => (await session.query(statement)).affectedRows);
  }

  retryDeadLetters(ids: string[], readLetter: ReadLetter): Promise<{ stored: number; refused: number }> {
    return this.#sessions.use(async (session) => {
      const some = `from dead_letters where id in (${listIds(ids)})`;
      await session.query("begin");
      const letters = await session.rows<{ time: string; peer: string; line: Buffer; size: string }>(
        `select created_at as time, coalesce(peer, '') as peer, line, coalesce(cut_from, length(line)) as size
         ${some} order by id for update`,
      );
      const lines = letters.flatMap(({ time, size, ...letter }) =>
        readLetter({ timeUs: timeOfDatetime(time), size: Number(size), ...letter }),
      );
      const refused = await this.#storeOrSetAside(session, lines, new Set());
      await session.query(`delete ${some}`);
      await session.query("commit");
      return { stored: lines.length - refused, refused };
    });
  }

  async disconnect(): Promise<void> {
    this.#sessions.disconnect();
  }

  /** What is running fails, and every socket is closed. */
  async close(): Promise<void> {
    this.#sessions.close();
  }

  /**
   * Runs `store` in a transaction that holds the keys of those entries that are not stored yet, and waits for another
   * collector that is storing some of them. Resolves when all is committed.
   */
  async #storeRows({ journal, entries }: Batch, store: typeof loadRows): Promise<void> {
    let left = entries.toSorted((a, b) => a.position - b.position);
    while (left.length > 0) {
      try {
        await this.#sessions.use(async (session) => {
          await session.query(`begin; ${keysStatement(journal, left)}`).catch(throwIfStored);
          await store(session, left);
          await session.query("commit");
        });
        return;
      } catch (error) {
        if (!(error instanceof AlreadyStored)) throw error;
        const stored = await this.#sessions.use((session) => findStored(session, journal, left));
        if (stored.size === 0) throw error; // a unique index that is not ours
        left = left.filter(({ position }) => !stored.has(position));
      }
    }
  }

  /** The key tells how many of the entry's first lines are stored, so that a next start goes on behind them. */
  async #storeSlice(
    session: Session,
    key: string,
    lines: StoredLine[],
    size: number,
    suspects: ReadonlySet<string>,
  ): Promise<{ refused: number; isLast: boolean }> {
    await session.query(`begin; insert into log_entries (journal, position, stored_lines) values (${key}, 0)
      on duplicate key update position = position`);
    const isEntry = `(journal, position) = (${key})`;
    const [found] = await session.rows<{ count: number | null }>(
      `select stored_lines as count from log_entries where ${isEntry} for update`,
    );
    const start = found?.count ?? lines.length;
    const isLast = start + size >= lines.length;
    const refused = await this.#storeOrSetAside(session, lines.slice(start, start + size), suspects);
    await session.query(`update log_entries set stored_lines = ${isLast ? "null" : start + size} where ${isEntry}`);
    await session.query("commit");
    return { refused, isLast };
  }

  /** Inserts lines; those that are refused go into `dead_letters`. Resolves to how many. */
  async #storeOrSetAside(session: Session, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number> {
    let refused = 0;
    for (const group of groupLines(lines)) refused += await this.#halveOrSetAside(session, group, suspects);
    if (suspects.size > 0 && refused > 0 && refused === lines.length) await checkTakesLines(session);
    return refused;
  }

  /** The transaction goes on after a statement that failed: that is undone alone, or else its savepoint is gone, too. */
  async #halveOrSetAside(session: Session, lines: StoredLine[], suspects: ReadonlySet<string>): Promise<number> {
    const writer = this.createRowWriter(MIB);
    for (const line of lines) writer.add(line, line.timeUs, line.peer);
    try {
      await session.query(`savepoint before_lines; ${INSERT}${withoutComma(writer.written())}`);
      return 0;
    } catch (error) {
      if (reactionTo(error) !== "content" && !suspects.has((error as ServerError).code)) throw error;
      await session.query("rollback to before_lines");
      if (lines.length === 1) return setAside(session, lines[0]!, error as ServerError);
      const middle = lines.length >> 1;
      const refused = await this.#halveOrSetAside(session, lines.slice(0, middle), suspects);
      return refused + (await this.#halveOrSetAside(session, lines.slice(middle), suspects));
    }
  }

  /** It needs all of `logs` for an instant, and while it waits for a reader, inserts wait behind it: for 1 s at most. */
  async #alter(statement: string): Promise<void> {
    const bounded = `set lock_wait_timeout = 1; ${statement}; set lock_wait_timeout = default`;
    await this.#sessions
      .use((session) => session.query(bounded))
      .catch((error: unknown) => {
        if (!DONE_BY_ANOTHER.has(errnoOf(error))) throw error;
      });
  }

  #checkTable(name: string, { engine, columns }: MysqlTable): void {
    const cannot = "Cannot store into this database: ";
    const missing = ["id", ...COLUMNS].filter((column) => !columns.has(column)).join(", ");
    if (name === "logs" && missing !== "") {
      const remedy = "so it is not ours; rename it, or use another database";
      throw new this.#host.DatabaseRefused(`${cannot}its table logs lacks ${missing}, ${remedy}`);
    }
    if (engine === "InnoDB") return;
    const remedy = `type alter table ${name} engine = InnoDB`;
    throw new this.#host.DatabaseRefused(`${cannot}its table ${name} is of ${engine ?? "no engine"}; ${remedy}`);
  }

  async #checkPacket(session: Session): Promise<void> {
    const needed = GROWTH * Math.max(this.#host.maxLine, ENTRY_BYTES);
    const [row] = await session.rows<{ size: number }>("select @@global.max_allowed_packet as size");
    const size = Number(row?.size);
    if (size >= needed) return;
    const remedy = `type set global max_allowed_packet = ${Math.ceil(needed / MIB) * MIB}, or use a smaller --max-line`;
    throw new this.#host.DatabaseRefused(
      `Cannot store into this database: its max_allowed_packet is ${size}, less than ${GROWTH} times --max-line; ${remedy}`,
    );
  }

  #noteLoaded(): void {
    if (this.#refusal) this.#host.log(`rows go into ${this.name} by LOAD DATA again`);
    this.#refusal = undefined;
  }

  /** Logs a new cause; a batch in which LOAD DATA replaced rows is a matter of that batch alone. */
  #noteRefusal(error: unknown): void {
    if (error instanceof RowsDiffer) return;
    const cause = errnoOf(error);
    const isKnown = this.#refusal?.cause === cause;
    this.#refusal = { cause, untilMs: performance.now() + LOAD_AGAIN_MS };
    if (isKnown) return;
    const remedy = cause === LACKS_RIGHT ? "grant delete on logs to this user" : "type set global local_infile = 1";
    this.#host.log(
      `cannot load rows into ${this.name}: ${this.describe(error)}; they go by INSERT, at about half the rate; ${remedy}`,
    );
  }
}

type ReadLetter = Parameters<Store["retryDeadLetters"]>[1];

/** Some of a batch's entries are stored already. */
class AlreadyStored extends Error {}

/** Some lines of an entry are stored, not all: it was being stored line by line. */
class StoredInPart extends Error {}

/** LOAD DATA made another number of rows than there are lines. */
class RowsDiffer extends Error {}

function throwIfStored(error: unknown): never {
  throw errnoOf(error) === DUPLICATE ? new AlreadyStored("some entries are stored already") : error;
}

/** A journal's id as a literal. */
const binaryOf = (journal: string) => `x'${journal.replaceAll("-", "")}'`;

/** An entry's key as literals. */
const keyOf = (journal: string, { position }: { position: number }) => `${binaryOf(journal)}, ${position}`;

function keysStatement(journal: string, entries: Entry[]): string {
  const keys = entries.map((entry) => `(${keyOf(journal, entry)})`);
  return `insert into log_entries (journal, position) values ${keys.join()}`;
}

/** The positions whose keys are committed: a locking read sees nothing else, whatever the isolation level. */
async function findStored(session: Session, journal: string, entries: Entry[]): Promise<Set<number>> {
  const positions = entries.map(({ position }) => position).join();
  const rows = await session.rows<{ position: string; count: number | null }>(
    `select position, stored_lines as count from log_entries
     where journal = ${binaryOf(journal)} and position in (${positions}) lock in share mode`,
  );
  if (rows.some(({ count }) => count !== null)) throw new StoredInPart("an entry is stored in part");
  return new Set(rows.map(({ position }) => Number(position)));
}

/** Rejects where the table takes no line at all: then no line is to blame. */
async function checkTakesLines(session: Session): Promise<void> {
  const fields = COLUMNS.join(", ");
  const [last] = [`select ${fields} from logs order by created_at desc limit 1`];
  const tries = [`(${fields}) ${last}`, "(created_at, message) values (utc_timestamp(6), 'taken back at once')"];
  let failure: unknown;
  for (const line of tries) {
    try {
      const { affectedRows } = await session.query(`savepoint before_try; insert into logs ${line}`);
      await session.query("rollback to before_try");
      if (affectedRows > 0) return;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function loadRows(session: Session, entries: Entry[]): Promise<void> {
  checkRows(entries, await session.query(LOAD, splitPackets(rowsOf(entries))));
}

async function insertRows(session: Session, entries: Entry[]): Promise<void> {
  for (const group of groupBySize(entries, ({ rows }) => rows?.length ?? 0))
    checkRows(group, await session.query(INSERT + withoutComma(rowsOf(group))));
}

function checkRows(entries: Entry[], { affectedRows }: { affectedRows: number }): void {
  const lines = entries.reduce((sum, entry) => sum + entry.lines, 0);
  if (affectedRows !== lines) throw new RowsDiffer(`${lines} lines became ${affectedRows} rows`);
}

const rowsOf = (entries: Entry[]) => Buffer.concat(entries.flatMap(({ rows }) => rows ?? []));

const withoutComma = (tuples: Buffer) => tuples.toString("utf8", 0, tuples.length - 1);

/** Pieces of 1 MiB, which every server takes. */
function splitPackets(rows: Buffer): Buffer[] {
  const count = Math.ceil(rows.length / MIB);
  return Array.from({ length: count }, (_, n) => rows.subarray(n * MIB, (n + 1) * MIB));
}

/** Consecutive parts in groups of about 1 MiB, or of one part that is larger. */
function groupBySize<T>(parts: T[], sizeOf: (part: T) => number): T[][] {
  const groups: T[][] = [];
  let room = 0;
  for (const part of parts) {
    room -= sizeOf(part);
    if (room >= 0) groups.at(-1)?.push(part);
    else {
      groups.push([part]);
      room = MIB - sizeOf(part);
    }
  }
  return groups;
}

const groupLines = (lines: StoredLine[]) => groupBySize(lines, ({ source }) => GROWTH * source.length);

const listIds = (ids: string[]) => ids.map(BigInt).join();

// ---- Rows -------------------------------------------------------------------
// A row is a tuple of SQL literals and a comma. INSERT takes such tuples behind VALUES; LOAD DATA is told to read the same.

const UTF8_BYTES = 3; // at most, for a UTF-16 code unit

class TupleWriter implements RowWriter {
  readonly #times: { received: DatetimeFormatter; logged: DatetimeFormatter };
  #bytes: Buffer;
  #start = 0; // of the rows since the last call of `written()`
  #at = 0;

  constructor(size: number, times: { received: DatetimeFormatter; logged: DatetimeFormatter }) {
    this.#bytes = Buffer.allocUnsafeSlow(size);
    this.#times = times;
  }

  add({ level, message, loggedAtUs, host, app, attributes }: LogRecord, timeUs: number, peer: string): void {
    const received = this.#times.received.format(timeUs);
    const logged = loggedAtUs === undefined ? "NULL" : this.#times.logged.format(loggedAtUs);
    const texts = `${literalOf(host)},${literalOf(app)},${literalOf(peer)},${literalOf(attributes)}`;
    const tuple = `(${received},${level},${literalOf(message)},${logged},${texts}),`;
    this.#makeRoom(UTF8_BYTES * tuple.length);
    this.#at += this.#bytes.write(tuple, this.#at);
  }

  written(): Buffer {
    const rows = this.#bytes.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return rows;
  }

  clear(): void {
    this.#start = this.#at = 0;
  }

  #makeRoom(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#at + more));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

/** NULL for nothing, as in PostgreSQL. */
function literalOf(text: string | undefined): string {
  if (text === undefined || text === "") return "NULL";
  if (!text.includes("'") && !text.includes("\\")) return `'${text}'`;
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** Formats times as literals. It remembers the second it formatted last: the date of the next line is the same mostly. */
class DatetimeFormatter {
  #second = Number.NaN;
  #text = "";

  /** NULL for a year that DATETIME can't hold. */
  format(timeUs: number): string {
    const second = Math.floor(timeUs / 1e6);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = formatDatetime(second * 1e6).slice(0, -6);
    }
    if (!IS_DATETIME.test(this.#text)) return "NULL";
    return `'${this.#text}${String(timeUs - second * 1e6 + 1e6).slice(1)}'`;
  }
}

const IS_DATETIME = /^\d{4}-/;

/** µs since 1970 as DATETIME(6), in UTC. */
function formatDatetime(timeUs: number): string {
  const micros = String((((timeUs % 1e6) + 1e6) % 1e6) + 1e6).slice(1);
  const date = new Date(Math.floor(timeUs / 1e6) * SECOND).toISOString();
  return `${date.replace("T", " ").slice(0, -4)}${micros}`;
}

/** DATETIME(6) as µs since 1970. */
function timeOfDatetime(text: string): number {
  return Date.parse(`${text.slice(0, 19).replace(" ", "T")}Z`) * 1000 + Number(text.slice(20));
}

// ---- Tables and days --------------------------------------------------------
// `logs` has a partition a day, and `future` behind them for what no day was made for yet.

const TABLES = ["logs", "log_entries", "late_days", "dead_letters"];

interface MysqlTable {
  engine: string | null;
  columns: Set<string>;
}

/** Those of our tables that are there. */
async function readTables(session: Session): Promise<Map<string, MysqlTable>> {
  const rows = await session.rows<{ name: string; engine: string | null; field: string }>(
    `select table_name as name, engine as engine, column_name as field
     from information_schema.tables join information_schema.columns using (table_schema, table_name)
     where table_schema = database() and table_name in (${TABLES.map((name) => `'${name}'`).join()})`,
  );
  const tables = new Map<string, MysqlTable>();
  for (const { name, engine, field } of rows) {
    const table = tables.get(name) ?? { engine, columns: new Set() };
    tables.set(name, table);
    table.columns.add(field);
  }
  return tables;
}

/** `end`: the first moment that is not in it, such as `2026-11-27`, or {@link NO_END}. */
interface Partition {
  name: string;
  end: string;
}

const FUTURE = "future";
const NO_END = "MAXVALUE"; // behind every date, as text too

const dateOf = (day: number) => new Date(day * DAY).toISOString().slice(0, 10);
const nameOfDay = (day: number) => `p${dateOf(day).replaceAll("-", "")}`;

/** One that makePartition made: what else the user may have is left alone. */
function isDayOfOurs({ name, end }: Partition): boolean {
  return /^p\d{8}$/.test(name) && name === nameOfDay(Date.parse(`${end.slice(0, 10)}T00:00Z`) / DAY - 1);
}

/** The partitions of `logs`, in order; none where the user has made it a plain table, or partitions it otherwise. */
async function readPartitions(session: Session): Promise<Partition[]> {
  const partitions = await session.rows<Partition>(
    `select partition_name as name, replace(partition_description, '''', '') as end
     from information_schema.partitions
     where table_schema = database() and table_name = 'logs' and partition_method = 'RANGE COLUMNS'
       and replace(partition_expression, '\`', '') = 'created_at'
     order by partition_ordinal_position`,
  );
  return partitions;
}

/**
 * The statement that makes a day's partition, if it takes one. It splits `future`; or, for a day before those that are
 * there, the next of ours while that is empty: later, such a day's lines go with the next one's.
 */
async function planPartition(session: Session, day: number): Promise<string | undefined> {
  const partitions = await readPartitions(session);
  const end = dateOf(day + 1);
  const next = partitions.find((partition) => partition.end >= end);
  const made = `partition ${nameOfDay(day)} values less than ('${end}')`;
  if (partitions.length === 0 || next?.end.startsWith(end)) return undefined;
  if (next === undefined) return `alter table logs add partition (${made})`;
  const isFuture = next.name === FUTURE && next.end === NO_END;
  if (!isFuture && !(isDayOfOurs(next) && (await isEmpty(session, next.name)))) return undefined;
  const bound = isFuture ? "maxvalue" : `'${next.end}'`;
  return `alter table logs reorganize partition ${next.name} into
    (${made}, partition ${next.name} values less than (${bound}))`;
}

/** Notes for a day that is over that lines of it are stored now: retention goes by the later of received and stored. */
async function noteIfLate(session: Session, day: number): Promise<void> {
  const note = `insert into late_days (day) select '${dateOf(day)}' from dual where utc_date() > '${dateOf(day)}'
    on duplicate key update stored_at = utc_timestamp(6)`;
  await session.query(note).catch((error: unknown) => {
    if (errnoOf(error) !== LACKS_RIGHT) throw error; // a user without the right keeps such lines for a shorter time
  });
}

/** The partitions without those that hold a day of which lines were stored since a time, long after they were received. */
async function readStoredBefore(session: Session, before: string): Promise<Partition[]> {
  const partitions = await readPartitions(session);
  const late = await session.rows<{ day: string }>(`select day from late_days where stored_at >= '${before}'`);
  const younger = new Set(late.map(({ day }) => partitions.find(({ end }) => end.slice(0, 10) > day)));
  return partitions.filter((partition) => !younger.has(partition));
}

async function isEmpty(session: Session, partition: string): Promise<boolean> {
  return (await session.rows(`select 1 from logs partition (${partition}) limit 1`)).length === 0;
}

/** The time, in µs since 1970, that is `ageMs` ago by our clock or the server's, whichever is behind. */
async function timeBefore(session: Session, ageMs: number): Promise<number> {
  const [row] = await session.rows<{ now: string }>("select utc_timestamp(6) as now");
  return Math.min(Date.now() * 1000, timeOfDatetime(String(row?.now))) - ageMs * 1000;
}

// ---- Dead letters -----------------------------------------------------------

type Notes = Partial<{ raw: string; cut_from: number }>;

const notesOf = (text = "{}") => (JSON.parse(text) as { "@collector"?: Notes })["@collector"] ?? {};

/** Puts a line into `dead_letters`, with its bytes as they came. Resolves to 1. */
async function setAside(session: Session, line: StoredLine, error: ServerError): Promise<1> {
  const { timeUs, peer, source, notes } = line;
  const { raw, cut_from: cutFrom = null } = notesOf(notes);
  const bytes = raw === undefined ? Buffer.from(source) : Buffer.from(raw, "base64");
  const reason = [`${error.sqlState} ${error.errno}`, error.sqlMessage];
  const values = [[formatDatetime(timeUs), peer || null, bytes, cutFrom, ...reason]];
  const columns = "created_at, peer, line, cut_from, `sqlstate`, error";
  await session.query({ sql: `insert into dead_letters (${columns}) values (?)`, values });
  return 1;
}

// ---- Statements of a user's -------------------------------------------------

/** Runs one statement on a session of its own, of which nothing stays behind; where it must end early, the server ends it. */
async function* runStatement(
  sessions: Sessions,
  statement: string,
  { isWrite, timeoutMs, maxRows, signal }: StatementOptions,
  binary: "as text" | "as 0x" = "as 0x",
): AsyncGenerator<Table> {
  const session = await sessions.open({ multipleStatements: false });
  const ends = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const cancel = () => void sessions.cancel(session);
  ends.addEventListener("abort", cancel);
  try {
    ends.throwIfAborted();
    if (!isWrite) await session.query("set session transaction read only"); // for what a procedure begins, too
    if (!isWrite) await session.query("start transaction read only");
    if (Number.isFinite(maxRows)) await session.query(`set sql_select_limit = ${maxRows}`);
    yield* session.stream(statement, binary === "as text");
  } catch (error) {
    signal.throwIfAborted();
    if (ends.aborted) throw new TookTooLong(`it took longer than ${timeoutMs / SECOND} s`);
    throw errnoOf(error) > 0 ? new Error((error as ServerError).sqlMessage, { cause: error }) : error; // who wrote it reads it
  } finally {
    ends.removeEventListener("abort", cancel);
    if (session.isBusy) await sessions.cancel(session); // whoever reads has left
    session.destroy();
  }
}

const TABLE_BYTES = 64 * 1024; // about, of the rows that are handed on together
const TABLES_AHEAD = 4; // read before the server is held up

type Cell = Buffer | null;

/** A result's rows in tables of some rows each. */
class TableBuilder {
  readonly #push: (table: Table) => void;
  readonly #isText: boolean;
  #fields: Field[] = [];
  #rows: Table["rows"] = [];
  #size = 0;
  #hasColumns = false;

  constructor(push: (table: Table) => void, isText: boolean) {
    this.#push = push;
    this.#isText = isText;
  }

  /** Begins a result; a procedure can have several. */
  begin(fields: Field[] | undefined): void {
    if (fields === undefined) return;
    this.flush();
    this.#fields = fields;
    this.#hasColumns = true;
  }

  addRow(cells: Cell[]): void {
    this.#rows.push(cells.map((cell, at) => cellText(cell, this.#fields[at]!, this.#isText)));
    this.#size += cells.reduce((sum, cell) => sum + (cell?.length ?? 0), 0);
    if (this.#size >= TABLE_BYTES) this.#pushRows();
  }

  /** A statement without rows. */
  addOutcome({ affectedRows }: mysql.ResultSetHeader): void {
    if (this.#hasColumns) return; // the end of a procedure
    const outcome = `Query OK, ${affectedRows} ${affectedRows === 1 ? "row" : "rows"} affected`;
    this.#push({ columns: [], rows: [], outcome });
  }

  /** Columns are handed on even where no row came. */
  flush(): void {
    if (this.#fields.length > 0) this.#pushRows();
    this.#fields = [];
  }

  #pushRows(): void {
    this.#push({ columns: this.#fields.map(columnOf), rows: this.#rows, outcome: "" });
    this.#rows = [];
    this.#size = 0;
  }
}

type Field = mysql.FieldPacket & { columnType?: number };

const NUMBER_TYPES = new Set([0, 1, 2, 3, 4, 5, 8, 9, 246]); // DECIMAL, the INTs, FLOAT and DOUBLE
const JSON_TYPE = 245;
const STRING_TYPES = new Set([16, 249, 250, 251, 252, 253, 254, 255]); // BIT, BLOBs and TEXTs, CHARs, GEOMETRY
const BINARY = 63; // the character set
const ZEROFILL = 64; // a number with zeros before it is no JSON

function columnOf({ name, columnType = 0, flags, orgTable, orgName }: Field): { name: string; isBare: boolean } {
  const isNumber = NUMBER_TYPES.has(columnType) && (Number(flags) & ZEROFILL) === 0;
  return { name, isBare: isNumber || columnType === JSON_TYPE || (orgTable === "logs" && orgName === "attributes") };
}

function cellText(cell: Cell, { columnType = 0, characterSet }: Field, isText: boolean): string | null {
  if (cell === null) return null;
  const isBinary = characterSet === BINARY && STRING_TYPES.has(columnType);
  return isBinary && !isText ? `0x${cell.toString("hex")}` : cell.toString();
}

// ---- Sessions ---------------------------------------------------------------
// mysql2 leaves a query unsettled after its own `destroy()`, and when the server hangs up while much is being sent.
// So the sockets are ours: when one closes, what runs on it rejects.

const STATEMENT_MS = 60 * SECOND;
const CANCEL_MS = 10 * SECOND;
const IDLE_MS = 5 * SECOND; // a server that is to stop need not wait for us long

/**
 * A session of which nothing is heard for 30 s (15 s amid rows) ends: one of a machine that lost its power would hold its
 * keys for hours. The rest is what a server may have set otherwise.
 */
const SESSION = `set names utf8mb4, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1,
  time_zone = '+00:00', wait_timeout = 30, net_read_timeout = 15`;

/** A statement was ended because it took too long. */
class TookTooLong extends Error {}

/** One connection. */
class Session {
  readonly #connection: mysql.Connection;
  readonly #socket: Socket;
  /** Whether a statement is running, or its rows are still coming. */
  isBusy = false;

  constructor(connection: mysql.Connection, socket: Socket) {
    this.#connection = connection;
    this.#socket = socket;
  }

  /** The server's number for it. */
  get id(): number {
    return this.#connection.threadId;
  }

  /** Runs a statement without rows, or several: then what the last one did counts. `load` is what LOAD DATA reads. */
  async query(statement: string | mysql.QueryOptions, load?: Buffer[]): Promise<{ affectedRows: number }> {
    const options = typeof statement === "string" ? { sql: statement } : statement;
    const infileStreamFactory = load && (() => Readable.from(load, { objectMode: false }));
    const result = await this.#run({ ...options, ...(infileStreamFactory && { infileStreamFactory }) });
    return (Array.isArray(result) ? result.at(-1) : result) as { affectedRows: number };
  }

  async rows<Row>(statement: string): Promise<Row[]> {
    return (await this.#run({ sql: statement })) as Row[];
  }

  /** The results of a statement as they come; while nobody takes them, the server waits. */
  async *stream(statement: string, isText: boolean): AsyncGenerator<Table> {
    const tables = new Readable({
      objectMode: true,
      highWaterMark: TABLES_AHEAD,
      read: () => this.#connection.resume(),
    });
    const builder = new TableBuilder((table) => {
      if (!tables.push(table)) this.#connection.pause();
    }, isText);
    const fail = (error: Error) => {
      this.isBusy = false;
      tables.destroy(error);
    };
    const lose = () => fail(new Error("the connection was lost")); // mysql2 tells only who waits for a whole answer
    this.isBusy = true;
    this.#socket.once("close", lose);
    const options = { sql: statement, rowsAsArray: true, typeCast: (field: { buffer(): Cell }) => field.buffer() };
    this.#connection
      .query(options as mysql.QueryOptions)
      .on("fields", (fields: unknown) => builder.begin(fields as Field[] | undefined))
      .on("result", (row: unknown) =>
        Array.isArray(row) ? builder.addRow(row as Cell[]) : builder.addOutcome(row as mysql.ResultSetHeader),
      )
      .on("error", fail)
      .on("end", () => {
        this.isBusy = false;
        builder.flush();
        tables.push(null);
      });
    try {
      yield* tables as AsyncIterable<Table>;
    } finally {
      this.#socket.off("close", lose);
    }
  }

  /** What runs on it rejects; the server rolls back. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #run(options: mysql.QueryOptions): Promise<unknown> {
    this.isBusy = true;
    return new Promise((resolve, reject) => {
      this.#connection.query(options, (error, result) => {
        this.isBusy = false;
        if (error) reject(error);
        else resolve(result);
      });
    });
  }
}

/** Opens sessions, keeps those that are idle for a while, and ends what takes too long. */
class Sessions {
  readonly #driver: MysqlHost["driver"];
  readonly #config: mysql.ConnectionOptions;
  readonly #sockets = new Set<Socket>();
  readonly #idle = new Map<Session, NodeJS.Timeout>();
  #isClosed = false;

  constructor(driver: MysqlHost["driver"], config: mysql.ConnectionOptions) {
    this.#driver = driver;
    this.#config = config;
  }

  /** Runs what may take a minute; a session on which it fails is not used again. Rejects with {@link TookTooLong}. */
  async use<T>(run: (session: Session) => Promise<T>): Promise<T> {
    const session = this.#takeIdle() ?? (await this.open());
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      void this.cancel(session);
    }, STATEMENT_MS);
    try {
      const result = await run(session);
      if (!isLate) this.#keep(session);
      return result;
    } catch (error) {
      session.destroy();
      throw isLate ? new TookTooLong(`it took longer than ${STATEMENT_MS / SECOND} s`) : error;
    } finally {
      clearTimeout(late);
    }
  }

  async open(config: mysql.ConnectionOptions = { multipleStatements: true }): Promise<Session> {
    if (this.#isClosed) throw new Error("the collector is stopping");
    const { host = "localhost", port = 3306, socketPath } = this.#config;
    const socket = new Socket().setNoDelay().setKeepAlive(true, 10 * SECOND);
    socket.on("end", () => socket.destroy()); // what is being sent would wait for a server that reads no more
    this.#sockets.add(socket.once("close", () => this.#sockets.delete(socket)));
    socket.connect(socketPath === undefined ? { host, port } : { path: socketPath });
    const connection = this.#driver.createConnection({ ...this.#config, ...config, ...DRIVER_OPTIONS, stream: socket });
    const session = new Session(connection, socket);
    try {
      await new Promise<void>((resolve, reject) => {
        connection.on("error", reject).once("connect", () => resolve()); // later errors reject what runs
      });
      await session.query(SESSION);
    } catch (error) {
      session.destroy();
      throw error;
    }
    socket.once("close", () => this.#forget(session));
    return session;
  }

  /** Has the server end what a session runs; destroys the session where that shows no effect for 10 s. */
  async cancel(session: Session): Promise<void> {
    setTimeout(() => session.destroy(), CANCEL_MS).unref();
    await this.open()
      .then((killer) => killer.query(`kill query ${session.id}`).finally(() => killer.destroy()))
      .catch(() => session.destroy());
  }

  /** What runs rejects. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#isClosed = true;
    this.disconnect();
  }

  #takeIdle(): Session | undefined {
    const [session] = this.#idle.keys();
    if (session) this.#forget(session);
    return session;
  }

  #keep(session: Session): void {
    if (this.#isClosed) return session.destroy();
    this.#idle.set(
      session,
      setTimeout(() => session.destroy(), IDLE_MS),
    );
  }

  #forget(session: Session): void {
    clearTimeout(this.#idle.get(session));
    this.#idle.delete(session);
  }
}

const DRIVER_OPTIONS = { dateStrings: true, supportBigNumbers: true, bigNumberStrings: true, trace: false };

// ---- The URL ----------------------------------------------------------------

/** How a TLS connection is checked, by MySQL's words and shorter ones. */
const SSL_MODES: Record<string, mysql.SslOptions | undefined> = {
  off: undefined,
  disabled: undefined,
  require: { rejectUnauthorized: false },
  required: { rejectUnauthorized: false },
  verify_ca: { rejectUnauthorized: true },
  verify: { rejectUnauthorized: true, verifyIdentity: true },
  verify_identity: { rejectUnauthorized: true, verifyIdentity: true },
};

const URL_OPTIONS = ["ssl", "ssl-mode", "ssl-ca", "socket"];

/** The driver is not given the URL itself: it would take any of its options from there, such as one that prints packets. */
function readUrl({ url, UsageError }: MysqlHost): { name: string; config: mysql.ConnectionOptions } {
  const refuse = (cause: string): never => {
    throw new UsageError(`Cannot use DATABASE_URL: ${cause}; docs/mysql.md has examples`);
  };
  const { protocol, host, hostname, port, searchParams, ...parts } = decodeUrl(url) ?? refuse("its % are not UTF-8");
  const unknown = [...searchParams.keys()].filter((key) => !URL_OPTIONS.includes(key));
  if (unknown.length > 0) refuse(`it has the option ${unknown.join()}; allowed are ${URL_OPTIONS.join(", ")}`);
  const mode = (searchParams.get("ssl") ?? searchParams.get("ssl-mode") ?? "off").toLowerCase();
  if (!(mode in SSL_MODES)) refuse(`its ssl is "${mode}"; allowed are ${Object.keys(SSL_MODES).join(", ")}`);
  if (parts.database === "") refuse("it names no database");
  const socketPath = searchParams.get("socket");
  const file = searchParams.get("ssl-ca");
  const ssl = SSL_MODES[mode] && { ...SSL_MODES[mode], ...(file && { ca: readCa(file, UsageError) }) };
  const place = socketPath ? { socketPath } : { host: hostname || "localhost", port: Number(port || 3306) };
  const kind = protocol === "mariadb:" ? "MariaDB" : "MySQL";
  return {
    name: `${kind} at ${socketPath ?? (host || "localhost")}/${parts.database}`,
    config: { ...place, ...parts, ...(ssl && { ssl }) },
  };
}

/** A URL's parts; undefined where what its percent signs encode is not UTF-8. */
function decodeUrl(url: string) {
  const { protocol, host, hostname, port, searchParams, pathname, username, password } = new URL(url);
  try {
    const [database, user] = [decodeURIComponent(pathname.slice(1)), decodeURIComponent(username)];
    const plainName = decodeURIComponent(hostname.replace(/^\[|\]$/g, ""));
    const parts = { user, password: decodeURIComponent(password), database };
    return { protocol, host, hostname: plainName, port, searchParams, ...parts };
  } catch {
    return undefined;
  }
}

function readCa(file: string, UsageError: MysqlHost["UsageError"]): Buffer[] {
  try {
    return [readFileSync(file)];
  } catch (error) {
    throw new UsageError(`Cannot read ${file}: ${(error as NodeJS.ErrnoException).code}; it is ssl-ca of DATABASE_URL`);
  }
}

// ---- Errors -----------------------------------------------------------------
// Error numbers and what they mean; those below 2000 and from 4000 on are the same for both servers or one's alone.

type ServerError = mysql.QueryError & { errno: number; sqlState: string; sqlMessage: string };

const DUPLICATE = 1062;
const LACKS_RIGHT = 1142;

/** For a partition: it is made, or dropped, already. */
const DONE_BY_ANOTHER = new Set([1493, 1507, 1508, 1517]);

/** What is not in here is a statement's own trouble; what no server sent is a matter of the connection. */
const REACTIONS: [Reaction, number[]][] = [
  ["content", [1118, 1265, 1300, 1364, 1366, 1644, 3819]], // 1644 is a trigger's `signal`, whatever its SQLSTATE
  ["no bulk load", [1142, 1148, 1261, 1262, 1288, 1347, 1471, 3948, 4166]], // local_infile is off, no right to delete
  ["partition", [1526]],
  ["too long", [1317, 1969, 3024]],
  ["set up anew", [1049, 1054, 1146, 1290, 1792, 1836]], // no such database, column or table; read-only
  ["own", [1205, 1213, 1412]], // others hold a lock, or changed the table
  // the server's disk, memory or connections are used up, it is stopping, or the network failed
  [
    "away",
    [1021, 1030, 1037, 1038, 1040, 1041, 1044, 1045, 1047, 1053, 1077, 1114, 1129, 1130, 1152, 1153, 1158, 1159],
  ],
  ["away", [1160, 1161, 1180, 1203, 1226, 1927, 3118, 3159, 3168, 4031, 4151]],
];
const REACTION_OF = new Map(REACTIONS.flatMap(([reaction, errnos]) => errnos.map((errno) => [errno, reaction])));
const CONTENT_CLASSES = /^(?:22|23|44|45)/; // data, constraints, a view's check option

const errnoOf = (error: unknown) => (error as { errno?: number }).errno ?? 0;

function reactionTo(error: unknown): Reaction {
  if (error instanceof RowsDiffer) return "no bulk load";
  if (error instanceof StoredInPart) return "content";
  if (error instanceof TookTooLong) return "too long";
  const { sqlState = "", errno = 0 } = error as Partial<ServerError>;
  if (sqlState === "") return "away";
  return REACTION_OF.get(errno) ?? (CONTENT_CLASSES.test(sqlState) ? "content" : "own");
}

const MEANINGS: Record<number, string> = {
  1021: "the server's disk is full",
  1040: "too many connections",
  1044: "this user lacks rights",
  1045: "wrong user or password",
  1049: "no such database",
  1053: "the server is stopping",
  1114: "the server's disk is full",
  1142: "this user lacks rights",
  1146: "a table is missing",
  1148: "local_infile is off",
  1205: "others hold a lock",
  1213: "others hold a lock",
  1290: "the server is read-only",
  1317: "the statement was ended",
  1526: "a partition is missing",
  3118: "this user is locked out",
  3948: "local_infile is off",
  4151: "this user is locked out",
  4166: "local_infile is off",
};

const CLIENT_MEANINGS: Record<string, string> = {
  PROTOCOL_CONNECTION_LOST: "the connection was lost",
  HANDSHAKE_NO_SSL_SUPPORT: "the server offers no TLS",
};

/** Errors of the server and of its driver; `undefined` for others. */
function describeOurs(error: unknown): string | undefined {
  const { sqlState, errno = 0, code = "", message } = error as Partial<ServerError>;
  if (sqlState) return [`error ${errno}`, `SQLSTATE ${sqlState}`, MEANINGS[errno]].filter(Boolean).join(", ");
  return code === "HANDSHAKE_SSL_ERROR" ? `TLS failed: ${message}` : CLIENT_MEANINGS[code];
}
