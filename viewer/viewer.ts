/**
 * The log page and its API: search, counts, live tail, context and export over the table `logs`.
 *
 *     query text ─► Term[] ─► a condition in SQL and its parameters ─► stretches of the table ─► rows
 *
 * Guarantees
 * - No statement reads an unbounded number of rows: a walk goes along the primary key in stretches, each of which takes
 *   about 200 ms, so no reader stands in the way of a partition that is to be dropped, and none holds PGlite for long.
 * - What a reader types reaches the database as parameters only; the identifiers come from fixed lists.
 * - Times keep their microseconds, ids and the numbers in `attributes` their digits: all of them travel as text.
 * - Nothing of a line or a query is ever logged.
 *
 * Everything that the page may touch is handed in as a {@link ViewerHost}. docs/viewer.md has the grammar and the API
 * with examples.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const SECOND_MS = 1000;
const SECOND_US = 1e6;

const BUDGET_MS = 2 * SECOND_MS; // of one request; the page asks on
const [STRETCH_ROWS, STRETCH_MIN_ROWS, STRETCH_MAX_ROWS] = [10_000, 100, 500_000];
const FEW_TERMS = 8; // with more, a first stretch has fewer rows
const NEAR_ROWS = 1000; // a first stretch around a line, whose neighbours are rarely far
const STRETCH_EMBEDDED_MAX_ROWS = 20_000; // PGlite has one session, and can't stop a statement
const STRETCH_MS = 150; // what the next one is to take, going by the last
const [PAGE_ROWS, PAGE_MAX_ROWS] = [200, 1000];
const [CONTEXT_ROWS, CONTEXT_MAX_ROWS] = [10, 200];
const EXPORT_ROWS = 1000; // read, formatted and sent at a time
const [TAIL_ROWS, TAIL_WAIT_S, TAIL_MAX_COUNT] = [500, 8, 16];
const TAIL_REST_MS = 250; // after each look, so that there are 4 a second at most
const TAIL_REST_FACTOR = 40; // times what a look took in a flood: it passes all that is not committed yet
const TAIL_POLL_MS = 2 * SECOND_MS; // other collectors' lines wake nobody
const TAIL_LATE_US = 3 * SECOND_US; // and may be stored a little later than ours
const [BARS, FACET_VALUES] = [60, 50];
const [READS_AT_ONCE, READ_WAIT_MS] = [2, 5 * SECOND_MS];
const QUERY_MAX_LENGTH = 2000;

// ---- Types ------------------------------------------------------------------

/** Everything that the page may touch. */
export interface ViewerHost extends LogReader {
  /** When the oldest line was received that is acknowledged but not stored, in µs since 1970; `undefined` for none. */
  oldestUnstoredUs(): number | undefined;
  /** Calls back at each commit of a batch, until the function that it returns is called. */
  onStored(wake: () => void): () => void;
  /** An error in words, without the server's message: that may quote lines. */
  describe(error: unknown): string;
  /** What /healthz answers. */
  health(): { state: string; database: { up: boolean } };
  /** Whether a request needs the token, or only the header that no other site's page can send. */
  page: "token" | "open";
  token: string;
  /** A command that sends a line to this collector, for a table without any. */
  tryCommand: string;
}

/** What a walk through the table needs, without a page: the terminal's commands hand it in, too. */
export interface LogReader {
  /**
   * Runs one read-only statement with the parameters `$1`, `$2`, …, all of them texts; resolves to its rows as texts.
   * It rejects when the database is away or the statement takes over 2 s (SQLSTATE 57014 in `code`); when the signal
   * aborts, the statement is cancelled at the server.
   */
  read(statement: string, values: string[], signal: AbortSignal): Promise<(string | null)[][]>;
  /** PGlite: one session, and a statement can't be stopped. */
  isEmbedded: boolean;
  levels: Levels;
}

/** The scale of `logs.level`. */
export interface Levels {
  /** A level's number by its name or by a number, as senders write them; `undefined` for no level. */
  numberOf(text: string): number | undefined;
  /** The steps with their names, lowest first, such as `[100, "debug"]`. */
  names: readonly (readonly [number, string])[];
}

/** A row of `logs`; `attributes` is the text of a JSON value, times are RFC 3339 in UTC with microseconds. */
export interface LogRow {
  created_at: string;
  id: string;
  level: number;
  message: string;
  logged_at: string | null;
  host: string | null;
  app: string | null;
  peer: string | null;
  attributes: string | null;
}

export interface Viewer {
  /** Answers a request for the page or its API; resolves to false, with nothing sent, where the path is another's. */
  answer(request: IncomingMessage, response: ServerResponse): Promise<boolean>;
  /** Ends what runs: answers are cut off, statements cancelled. */
  close(): void;
}

/** A row's place in the table's order. */
interface Key {
  timeUs: number;
  id: string;
}

/** Keys from `low` on and before `high`. */
interface KeyRange {
  low: Key;
  high: Key;
}

/** A request that can't be answered as it stands; the message is for its sender. */
export class RequestError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

// ---- Query language -----------------------------------------------------------
// Terms are ANDed. Whatever is no term of another kind is a word, so nothing that one can type is an error:
//
//     query   = { space | term }
//     term    = ["-"] ( key ":" values | key compare number | "level" compare level | word )
//     key     = quoted | letter { letter | digit | "_" | "." | "-" | "/" | "@" }
//     values  = value { "," value }         compare = ">=" | "<=" | ">" | "<"
//     value   = quoted | text without space, comma or quote, in which * stands for any text
//     word    = quoted | text without space, in which * stands for any text
//     quoted  = a text in double quotes; in it \" and \\ stand for " and \, and * for itself

/** A text to compare with: its parts stand in this order, with any text between them. */
type Pattern = string[];

/** A part of a query: what was typed, and what it asks for. */
export type Term = { text: string; isNegative: boolean } & (
  | { kind: "word"; pattern: Pattern }
  | { kind: "values"; key: string; patterns: Pattern[] }
  | { kind: "levels"; ranges: { from: number; to: number }[] }
  | { kind: "number"; key: string; operator: Operator; value: string }
);

type Operator = ">=" | "<=" | ">" | "<";

const QUOTED = /"((?:[^"\\]|\\[^])*)(?:"|\\?$)/y; // an open quote ends with the text: it is still being typed
const BARE_KEY = /[\p{L}_@][\p{L}\p{N}_@./-]*/uy;
const OPERATOR = /:(?!\/\/|[:\\])|[<>]=?/y; // no URL, no Perl or C++ name, no Windows path
const BARE_VALUE = /[^\s,"]+/y;
const BARE_WORD = /\S+/y;
const NUMBER = /^-?\d{1,30}(?:\.\d{1,30})?(?:e[+-]?\d{1,2})?$/i;

/** Reads a query. Any text is one; it throws nothing. */
export function parseQuery(query: string, levels: Levels): Term[] {
  const text = query.replaceAll("\0", "\ufffd"); // as the collector stores it
  const terms: Term[] = [];
  let at = 0;
  while ((at = text.length - text.slice(at).trimStart().length) < text.length) {
    const isNegative = /^-[^\s-]/.test(text.slice(at, at + 2));
    const start = isNegative ? at + 1 : at;
    const { end, meaning } = readField(text, start, levels) ?? readWord(text, start);
    terms.push({ text: text.slice(at, end), isNegative, ...meaning });
    at = end;
  }
  return terms;
}

type Meaning = Term extends infer Each ? (Each extends Term ? Omit<Each, "text" | "isNegative"> : never) : never;

function readWord(text: string, at: number): { end: number; meaning: Meaning } {
  const quoted = matchAt(QUOTED, text, at);
  const typed = quoted ?? matchAt(BARE_WORD, text, at);
  const [all = "", inside = ""] = typed ?? [];
  const pattern = quoted && inside !== "" ? [unquote(inside)] : all.split("*");
  return { end: at + all.length, meaning: { kind: "word", pattern } };
}

/** A key, what stands between, and values; `undefined` where there is no such thing, or it has no meaning. */
function readField(text: string, at: number, levels: Levels): { end: number; meaning: Meaning } | undefined {
  const quoted = matchAt(QUOTED, text, at);
  const [typedKey = ""] = quoted ?? matchAt(BARE_KEY, text, at) ?? [];
  const key = quoted ? unquote(quoted[1] ?? "") : typedKey;
  const [operator] = matchAt(OPERATOR, text, at + typedKey.length) ?? [];
  if (key === "" || operator === undefined) return undefined;
  const { end, patterns } = readValues(text, at + typedKey.length + operator.length);
  const meaning = meaningOf(key, operator, patterns, levels);
  return meaning && { end, meaning };
}

function readValues(text: string, at: number): { end: number; patterns: Pattern[] } {
  const patterns: Pattern[] = [];
  let end = at;
  for (;;) {
    const quoted = matchAt(QUOTED, text, end);
    const bare = quoted ? undefined : matchAt(BARE_VALUE, text, end);
    if (quoted) patterns.push([unquote(quoted[1] ?? "")]);
    if (bare) patterns.push(bare[0].split("*"));
    end += (quoted ?? bare)?.[0]?.length ?? 0;
    if (text[end] !== ",") return { end, patterns };
    end++;
  }
}

function meaningOf(key: string, operator: string, patterns: Pattern[], levels: Levels): Meaning | undefined {
  const [first] = patterns;
  if (first === undefined) return undefined;
  if (key === "level") return levelsMeaning(operator, patterns, levels);
  if (operator === ":") return { kind: "values", key, patterns };
  const value = first.join("*");
  if (patterns.length > 1 || key in TEXT_COLUMNS || !NUMBER.test(value)) return undefined;
  return { kind: "number", key, operator: operator as Operator, value };
}

/** A level is a step of the scale: 450, which another program may have stored, is an error, too. */
function levelsMeaning(operator: string, patterns: Pattern[], levels: Levels): Meaning | undefined {
  const numbers = patterns.map((pattern) => levels.numberOf(pattern.join("*")));
  const steps = numbers.map((number) => levels.names.findIndex(([step]) => step === number));
  if (steps.includes(-1) || (operator !== ":" && steps.length > 1)) return undefined;
  const ranges = steps.map((step) => {
    const [from, to] = [levels.names[step]?.[0] ?? 0, levels.names[step + 1]?.[0] ?? Infinity];
    if (operator === ">=") return { from, to: Infinity };
    if (operator === ">") return { from: to, to: Infinity };
    if (operator === "<=") return { from: -Infinity, to };
    return operator === "<" ? { from: -Infinity, to: from } : { from, to };
  });
  return { kind: "levels", ranges };
}

const unquote = (inside: string) => inside.replace(/\\(["\\])/g, "$1");

function matchAt(expression: RegExp, text: string, at: number): RegExpExecArray | undefined {
  expression.lastIndex = at;
  return expression.exec(text) ?? undefined;
}

// ---- SQL ----------------------------------------------------------------------
// A statement is made of fixed words and of parameters. Each parameter is declared as a text and cast from there: the
// driver would otherwise turn a time into a Date, which loses microseconds. All casts are immutable, so that the planner
// can drop the partitions that a statement does not need.

/** The columns that a key names, as texts; every other key is a path in `attributes`. */
const TEXT_COLUMNS: Record<string, string> = {
  message: "message",
  host: "host",
  app: "app",
  peer: "peer",
  id: "id::text",
};

const ROW_COLUMNS = `extract(epoch from created_at) * 1000000, id, level, message, extract(epoch from logged_at) * 1000000,
  host, app, peer, attributes::text`;

/** A statement's parameters, in the order of their numbers. */
class ParameterList {
  readonly values: string[] = [];

  text(value: string): string {
    this.values.push(value);
    return `$${this.values.length}::text`;
  }

  number(value: number | string): string {
    return `${this.text(String(value))}::float8`;
  }

  time(timeUs: number): string {
    return `to_timestamp(${this.number(timeUs)} / 1000000)`; // exact: a double tells microseconds apart until 2255
  }
}

/** The condition that holds for the rows that a query asks for; null counts as not. */
export function conditionSql(terms: Term[], parameters: ParameterList): string {
  const conditions = terms.map((term) => {
    const condition = termSql(term, parameters);
    return term.isNegative ? `(${condition}) is not true` : `(${condition})`;
  });
  return conditions.join(" and ") || "true";
}

function termSql(term: Term, parameters: ParameterList): string {
  if (term.kind === "word") return wordSql(term.pattern, parameters);
  if (term.kind === "levels") return term.ranges.map((range) => levelSql(range, parameters)).join(" or ");
  if (term.kind === "number") return numberSql(term, parameters);
  const value = TEXT_COLUMNS[term.key] ?? attributeSql(term.key, parameters);
  return term.patterns.map((pattern) => matchSql(value, pattern, parameters)).join(" or ");
}

/**
 * A word in any case, in the message or in the text of `attributes`, where it stands as JSON escapes it. In the collation
 * "C", which is fast, only ASCII letters have two cases: a word with others is looked for as it is, in small letters and
 * in capitals.
 */
function wordSql(pattern: Pattern, parameters: ParameterList): string {
  const isAscii = pattern.every((part) => /^[\0-\x7f]*$/.test(part));
  const find = isAscii ? asciiWordSql : anyWordSql;
  const escaped = pattern.map((part) => JSON.stringify(part).slice(1, -1));
  return `${find("message", pattern, parameters)} or ${find("attributes::text", escaped, parameters)}`;
}

/** strpos() takes half the time of LIKE, as it need not look at every letter. */
function asciiWordSql(column: string, pattern: Pattern, parameters: ParameterList): string {
  const [text, word] = [`lower(${column} collate "C")`, pattern.map(toLower)];
  if (word.length === 1) return `strpos(${text}, ${parameters.text(word[0]!)}) > 0`;
  return `${text} like ${parameters.text(likeOf(["", ...word, ""]))}`;
}

function anyWordSql(column: string, pattern: Pattern, parameters: ParameterList): string {
  const spellings = [pattern, pattern.map(toLower), pattern.map(toUpper)].map((each) => likeOf(["", ...each, ""]));
  return [...new Set(spellings)].map((each) => `${column} ilike ${parameters.text(each)}`).join(" or ");
}

const toLower = (text: string) => text.toLowerCase();
const toUpper = (text: string) => text.toUpperCase();

/** The pattern of LIKE: empty parts at the ends stand for any text there. */
const likeOf = (pattern: Pattern) => pattern.map((part) => part.replace(/[\\%_]/g, "\\$&")).join("%");

function matchSql(value: string, pattern: Pattern, parameters: ParameterList): string {
  if (pattern.length === 1) return `${value} = ${parameters.text(pattern[0]!)}`;
  if (pattern.every((part) => part === "")) return `${value} is not null`;
  return `${value} like ${parameters.text(likeOf(pattern))}`;
}

function levelSql({ from, to }: { from: number; to: number }, parameters: ParameterList): string {
  return `level >= ${parameters.number(from)} and level < ${parameters.number(to)}`;
}

/** A value in `attributes` as text; of a dotted key the path, or else the key as it stands. */
function attributeSql(key: string, parameters: ParameterList): string {
  const path = key.split(".");
  const byPath = `attributes #>> array[${path.map((part) => parameters.text(part)).join(", ")}]`;
  return path.length === 1 ? `(${byPath})` : `coalesce(${byPath}, attributes ->> ${parameters.text(key)})`;
}

/** A comparison with a number: logfmt and syslog bring theirs as text, so a text that is a number counts. */
function numberSql({ key, operator, value }: Term & { kind: "number" }, parameters: ParameterList): string {
  const text = attributeSql(key, parameters);
  const isNumber = `${text} ~ '^-?[0-9]{1,30}([.][0-9]{1,30})?([eE][-+]?[0-9]{1,2})?$'`;
  return `case when ${isNumber} then (${text})::numeric ${operator} ${parameters.text(value)}::numeric end`;
}

/** Both a comparison of keys and plain bounds of the time: the planner drops partitions by the latter only. */
function rangeSql({ low, high }: KeyRange, parameters: ParameterList): string {
  const [lowTime, highTime] = [parameters.time(low.timeUs), parameters.time(high.timeUs)];
  return `created_at >= ${lowTime} and created_at <= ${highTime}
    and (created_at, id) >= (${lowTime}, ${parameters.text(low.id)}::bigint)
    and (created_at, id) < (${highTime}, ${parameters.text(high.id)}::bigint)`;
}

const orderSql = (direction: Direction) => `order by created_at ${direction}, id ${direction}`;

/** Through the table: `desc` from the newest line, `asc` from the oldest. */
type Direction = "asc" | "desc";

// ---- Walking through the table --------------------------------------------------

const MIN_ID = String(-(2n ** 63n));
const EVERYTHING: KeyRange = { low: { timeUs: -Infinity, id: MIN_ID }, high: { timeUs: Infinity, id: MIN_ID } };

const keyOf = (row: LogRow): Key => ({ timeUs: microsOf(row.created_at), id: row.id });
const keyAfter = ({ timeUs, id }: Key): Key => ({ timeUs, id: String(BigInt(id) + 1n) });
const isBefore = (one: Key, other: Key) =>
  one.timeUs === other.timeUs ? BigInt(one.id) < BigInt(other.id) : one.timeUs < other.timeUs;

/**
 * Goes through a range of the table in stretches, and tells how far it came. The size of a stretch follows the time
 * that the last one took.
 */
class Walk {
  /** What is left of the range. */
  range: KeyRange;
  /** Number of rows passed, whether they match or not. */
  read = 0;
  isDone = false;
  readonly #reader: LogReader;
  readonly #terms: Term[];
  readonly #direction: Direction;
  readonly #signal: AbortSignal;
  readonly #maxRows: number;
  #stretchRows: number;

  constructor(
    reader: LogReader,
    terms: Term[],
    range: KeyRange,
    direction: Direction,
    signal: AbortSignal,
    stretchRows = STRETCH_ROWS,
  ) {
    this.#stretchRows = Math.max(STRETCH_MIN_ROWS, stretchRows / Math.max(1, terms.length / FEW_TERMS));
    this.#reader = reader;
    this.#terms = terms;
    this.range = range;
    this.#direction = direction;
    this.#signal = signal;
    this.#maxRows = reader.isEmbedded ? STRETCH_EMBEDDED_MAX_ROWS : STRETCH_MAX_ROWS;
  }

  /** Resolves to the next matching rows, `limit` at most; to fewer, or none, where the stretch has no more. */
  async nextRows(limit: number): Promise<LogRow[]> {
    if (this.#terms.length === 0) return this.#nextUnfiltered(limit);
    return this.#pass(async (stretch) => {
      const rows = await this.#rowsIn(stretch.range, limit);
      if (rows.length < limit) return { found: rows, ...stretch };
      const passed = this.#split(this.range, keyOf(rows.at(-1)!));
      return { found: rows, ...passed, count: await this.#countIn(passed.range) };
    });
  }

  /** Resolves to the numbers of matching rows in the next stretch: by bar and severity, by level, by app and by host. */
  async nextCounts(bars: Bars): Promise<(string | null)[][]> {
    return this.#pass(async (stretch) => {
      const parameters = new ParameterList();
      const step = `make_interval(secs => ${parameters.number(bars.stepUs / SECOND_US)})`;
      const statement = `
        select grouping(bar, level, app, host), bar, severity, level, app, host, count(*)
        from (select extract(epoch from date_bin(${step}, created_at, ${parameters.time(bars.sinceUs)})) * 1000000 as bar,
                     case when level >= 400 then 2 when level >= 300 then 1 else 0 end as severity, level, app, host
              from logs where ${rangeSql(stretch.range, parameters)} and ${conditionSql(this.#terms, parameters)}) as line
        group by grouping sets ((bar, severity), (level), (app), (host))`;
      const found = await this.#reader.read(statement, parameters.values, this.#signal);
      return { found, ...stretch };
    });
  }

  /** Resolves to the number of matching rows in the next stretch. */
  async nextTotal(): Promise<number> {
    return this.#pass(async (stretch) => ({ found: await this.#countIn(stretch.range, this.#terms), ...stretch }));
  }

  async #nextUnfiltered(limit: number): Promise<LogRow[]> {
    const rows = await this.#rowsIn(this.range, limit);
    this.read += rows.length;
    this.isDone = rows.length < limit;
    if (!this.isDone) this.range = this.#split(this.range, keyOf(rows.at(-1)!)).rest;
    return rows;
  }

  /** Looks at one stretch; one that the server gave up on is tried again with half as many rows. */
  async #pass<Found>(look: (stretch: Stretch) => Promise<{ found: Found } & Stretch>): Promise<Found> {
    for (;;) {
      const started = performance.now();
      try {
        const { found, rest, count } = await look(await this.#nextStretch());
        this.read += count;
        this.isDone = rest === undefined;
        if (rest) this.range = rest;
        this.#adapt(performance.now() - started);
        return found;
      } catch (error) {
        if (!isTimeout(error) || this.#stretchRows <= STRETCH_MIN_ROWS) throw error;
        this.#stretchRows = Math.max(STRETCH_MIN_ROWS, this.#stretchRows / 8);
      }
    }
  }

  #adapt(tookMs: number): void {
    const rows = this.#stretchRows * Math.min(2, STRETCH_MS / tookMs);
    this.#stretchRows = Math.min(this.#maxRows, Math.max(STRETCH_MIN_ROWS, rows));
  }

  /** The range's next rows up to the stretch's size, found in the index alone. */
  async #nextStretch(): Promise<Stretch> {
    const count = Math.floor(this.#stretchRows);
    const parameters = new ParameterList();
    const statement = `select extract(epoch from created_at) * 1000000, id
      from (select created_at, id from logs where ${rangeSql(this.range, parameters)} ${orderSql(this.#direction)}
            offset ${parameters.text(String(count - 1))}::bigint limit 1) as edge`; // extract() for one row alone
    const [edge] = await this.#reader.read(statement, parameters.values, this.#signal);
    if (!edge) return { range: this.range, rest: undefined, count: await this.#countIn(this.range) };
    return { ...this.#split(this.range, { timeUs: Number(edge[0]), id: edge[1]! }), count };
  }

  /** What is passed once the row of a key is, and what is left then. */
  #split({ low, high }: KeyRange, key: Key): { range: KeyRange; rest: KeyRange } {
    if (this.#direction === "desc") return { range: { low: key, high }, rest: { low, high: key } };
    return { range: { low, high: keyAfter(key) }, rest: { low: keyAfter(key), high } };
  }

  async #countIn(range: KeyRange, terms: Term[] = []): Promise<number> {
    const parameters = new ParameterList();
    const statement = `select count(*) from logs
      where ${rangeSql(range, parameters)} and ${conditionSql(terms, parameters)}`;
    const [row] = await this.#reader.read(statement, parameters.values, this.#signal);
    return Number(row?.[0]);
  }

  #rowsIn(range: KeyRange, limit: number): Promise<LogRow[]> {
    return readRows(this.#reader, this.#terms, range, this.#direction, limit, this.#signal);
  }
}

/** A part of the range: what is left behind it, and the number of its rows. */
interface Stretch {
  range: KeyRange;
  rest: KeyRange | undefined;
  count: number;
}

const isTimeout = (error: unknown) => (error as { code?: unknown }).code === "57014";

async function readRows(
  reader: LogReader,
  terms: Term[],
  range: KeyRange,
  direction: Direction,
  limit: number,
  signal: AbortSignal,
): Promise<LogRow[]> {
  const parameters = new ParameterList();
  const statement = `select ${ROW_COLUMNS} from logs
    where ${rangeSql(range, parameters)} and ${conditionSql(terms, parameters)}
    ${orderSql(direction)} limit ${parameters.text(String(limit))}::bigint`;
  const rows = await reader.read(statement, parameters.values, signal);
  return rows.map(
    ([time, id, level, message, loggedAt = null, host = null, app = null, peer = null, attributes = null]) => ({
      created_at: timeText(Number(time)),
      id: id ?? "",
      level: Number(level),
      message: message ?? "",
      logged_at: loggedAt === null ? null : timeText(Number(loggedAt)),
      host,
      app,
      peer,
      attributes,
    }),
  );
}

/** The key of the table's first row in a direction; `undefined` for an empty table. */
async function firstKey(reader: LogReader, direction: Direction, signal: AbortSignal): Promise<Key | undefined> {
  const statement = `select extract(epoch from created_at) * 1000000, id from logs ${orderSql(direction)} limit 1`;
  const [row] = await reader.read(statement, [], signal);
  return row && { timeUs: Number(row[0]), id: row[1]! };
}

// ---- Search, tail, export ---------------------------------------------------------
// What the API and the terminal's commands share.

/** A query with its range, as it was typed: times as RFC 3339 or, before now, as `15m`, `2h` or `7d`. */
export interface LogQuery {
  query: string;
  since?: string | undefined;
  until?: string | undefined;
}

/** Yields all lines that match, oldest first, some at a time; those that come meanwhile are not among them. */
export async function* searchLogs(reader: LogReader, asked: LogQuery, signal: AbortSignal): AsyncGenerator<LogRow[]> {
  const terms = parseQuery(asked.query, reader.levels);
  const range = rangeOf(asked);
  const newest = await firstKey(reader, "desc", signal);
  if (!newest) return;
  if (isBefore(newest, range.high)) range.high = keyAfter(newest);
  const walk = new Walk(reader, terms, range, "asc", signal);
  while (!walk.isDone) yield await walk.nextRows(EXPORT_ROWS);
}

/** A tail's place: the newest line seen, and a time after which lines may still come that are older than that one. */
interface TailPlace {
  seen: Key;
  heldUs: number;
}

/** New lines, oldest first. `skipped` more matched, but were too many; `isSkippedMore`: at least so many. */
interface TailStep {
  rows: LogRow[];
  place: TailPlace;
  skipped: number;
  isSkippedMore: boolean;
  /** How long to rest before the next step, so that a tail takes little from what it follows. */
  restMs: number;
}

/**
 * Follows the table by key. Two workers commit out of order, so a place is held before the oldest line that is not
 * stored yet, and at the present, as another collector's clock may be ahead. Who tails drops by key what it has already.
 */
class LogTail {
  readonly #reader: LogReader;
  readonly #terms: Term[];
  readonly #oldestUnstoredUs: () => number | undefined;
  readonly #signal: AbortSignal;

  constructor(reader: LogReader, terms: Term[], oldestUnstoredUs: () => number | undefined, signal: AbortSignal) {
    this.#reader = reader;
    this.#terms = terms;
    this.#oldestUnstoredUs = oldestUnstoredUs;
    this.#signal = signal;
  }

  /** Resolves to the place of a tail that has seen what is stored now. */
  async start(): Promise<TailPlace> {
    const heldUs = this.#holdUs();
    const seen = (await firstKey(this.#reader, "desc", this.#signal)) ?? { timeUs: 0, id: MIN_ID };
    return { seen, heldUs: Math.min(heldUs, seen.timeUs) };
  }

  /** Reads what came since a place: the newest rows, and how many more there are. */
  async read(place: TailPlace): Promise<TailStep> {
    const started = performance.now();
    const heldUs = this.#holdUs(); // before the table is looked at: what is stored after that is newer, or held
    const newest = (await firstKey(this.#reader, "desc", this.#signal)) ?? place.seen;
    const seen = isBefore(place.seen, newest) ? newest : place.seen;
    const next = { seen, heldUs: Math.min(heldUs, seen.timeUs) };
    const held = { timeUs: place.heldUs + 1, id: MIN_ID };
    const low = isBefore(held, place.seen) ? held : keyAfter(place.seen);
    const walk = new Walk(this.#reader, this.#terms, { low, high: keyAfter(seen) }, "desc", this.#signal);
    const rows: LogRow[] = [];
    while (!walk.isDone && rows.length < TAIL_ROWS && performance.now() - started < BUDGET_MS)
      rows.push(...(await walk.nextRows(TAIL_ROWS - rows.length)));
    const range = { low: keyAfter(place.seen), high: walk.range.high };
    const skipped = walk.isDone ? { skipped: 0, isSkippedMore: false } : await this.#countSkipped(range);
    const floodMs = skipped.isSkippedMore ? performance.now() - started : 0;
    const restMs = Math.min(TAIL_WAIT_S * SECOND_MS, Math.max(TAIL_REST_MS, floodMs * TAIL_REST_FACTOR));
    return { rows: rows.toReversed(), place: next, ...skipped, restMs };
  }

  #holdUs(): number {
    return Math.min(Date.now() * 1000, (this.#oldestUnstoredUs() ?? Infinity) - 1);
  }

  /** Counts matching lines that are passed over, in one stretch: a busy tail must not make work for itself. */
  async #countSkipped(range: KeyRange) {
    if (!isBefore(range.low, range.high)) return { skipped: 0, isSkippedMore: false };
    const walk = new Walk(this.#reader, this.#terms, range, "desc", this.#signal);
    return { skipped: await walk.nextTotal(), isSkippedMore: !walk.isDone };
  }
}

/** Yields new lines that match as they come, each once; ends when the signal aborts. */
export async function* tailLogs(
  reader: LogReader & Partial<Pick<ViewerHost, "oldestUnstoredUs" | "onStored">>,
  query: string,
  signal: AbortSignal,
): AsyncGenerator<{ rows: LogRow[]; skipped: number }> {
  const tail = new LogTail(reader, parseQuery(query, reader.levels), () => reader.oldestUnstoredUs?.(), signal);
  const commits = new Commits(reader.onStored);
  const sent = new Map<string, number>(); // keys of the lines that can come again, with their times
  try {
    let place = await tail.start();
    for (let isFirst = true; ; isFirst = false) {
      const lateUs = place.seen.timeUs - TAIL_LATE_US;
      const held = { ...place, heldUs: Math.min(place.heldUs, lateUs) };
      const { rows, skipped, restMs, place: next } = await tail.read(held);
      const fresh = rows.filter((row) => !sent.has(rowKey(row)));
      for (const row of fresh) sent.set(rowKey(row), microsOf(row.created_at));
      for (const [key, timeUs] of sent) if (timeUs < Math.min(next.heldUs, lateUs) - SECOND_US) sent.delete(key);
      if (!isFirst && fresh.length + skipped > 0) yield { rows: fresh, skipped };
      place = next;
      await sleep(restMs, undefined, { signal });
      if (fresh.length === 0) await commits.wait(TAIL_POLL_MS, signal);
    }
  } finally {
    commits.close();
  }
}

/** The commits of batches since it was last waited for. */
class Commits {
  #isStirred = false;
  #wake = () => {};
  readonly close: () => void;

  constructor(onStored: ViewerHost["onStored"] = () => () => {}) {
    this.close = onStored(() => {
      this.#isStirred = true;
      this.#wake();
    });
  }

  /** Resolves when there was a commit, and after `maxMs` at the latest; rejects when the signal aborts. */
  async wait(maxMs: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    this.#wake = () => over.abort();
    const either = AbortSignal.any([signal, over.signal]);
    if (!this.#isStirred) await sleep(maxMs, undefined, { signal: either }).catch(() => {});
    this.#isStirred = false;
    signal.throwIfAborted();
  }
}

// ---- Formats of lines -------------------------------------------------------------

/** A JSON object with the columns of `logs`, in which `attributes` keeps the digits of its numbers. */
export function jsonOfRow(row: LogRow): string {
  const { attributes, ...columns } = row;
  return `${JSON.stringify(columns).slice(0, -1)},"attributes":${attributes ?? "null"}}`;
}

const CSV_COLUMNS = ["created_at", "id", "level", "message", "logged_at", "host", "app", "peer", "attributes"] as const;

/** RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front. */
function csvOfRow(row: LogRow): string {
  return CSV_COLUMNS.map((column) => csvCell(row[column])).join(",");
}

function csvCell(value: string | number | null): string {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A line for a terminal: its control characters are escaped, so that it can't do anything there. */
export function textOfRow(row: LogRow, levels: Levels): string {
  const from = [row.app, row.host].filter((name) => name !== null).join("@");
  const attributes = row.attributes === null || row.attributes === "{}" ? "" : row.attributes;
  const parts = [row.created_at, levelName(row.level, levels).padEnd(9), from, row.message, attributes];
  return escapeControls(parts.filter((part) => part !== "").join(" "));
}

const levelName = (level: number, { names }: Levels) => names.findLast(([step]) => step <= level)?.[1] ?? String(level);

const CONTROLS = /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g; // and bidi

function escapeControls(text: string): string {
  const names: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  return text.replace(CONTROLS, (one) => names[one] ?? `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// ---- Times, keys, ranges ------------------------------------------------------------
// As texts: a time is `2026-11-27T09:30:00.123456Z`, a key such a time, a comma and an id.

/** RFC 3339 in UTC with microseconds, of a time in µs since 1970. */
function timeText(timeUs: number): string {
  if (!(Math.abs(timeUs) < 8.64e21)) return timeUs > 0 ? "infinity" : "-infinity";
  const seconds = Math.floor(timeUs / SECOND_US);
  const micros = String(timeUs - seconds * SECOND_US).padStart(6, "0");
  return `${new Date(seconds * 1000).toISOString().slice(0, -5)}.${micros}Z`;
}

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:?\d\d)?$/i;

/** µs since 1970, of what {@link timeText} gives or another RFC 3339 time; UTC without a zone; NaN for none. */
function microsOf(text: string): number {
  if (/^-?infinity$/.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  const [, day, clock = "00:00", fraction = "", zone = "Z"] = TIME.exec(text) ?? [];
  return Date.parse(`${day}T${clock}${zone}`) * 1000 + Number(fraction.padEnd(6, "0"));
}

const keyText = ({ timeUs, id }: Key) => `${timeText(timeUs)},${id}`;
const rowKey = ({ created_at: time, id }: LogRow) => `${time},${id}`;

function readKey(name: string, text: string): Key {
  const [time = "", id = "", ...more] = text.split(",");
  const timeUs = microsOf(time);
  const isId = /^-?\d{1,19}$/.test(id) && BigInt.asIntN(64, BigInt(id)) === BigInt(id);
  if (Number.isNaN(timeUs) || !isId || more.length > 0)
    throw new RequestError(400, cannotRead(name, text, "a line's created_at, a comma and its id"));
  return { timeUs, id };
}

const AGES: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** A time, or an age such as `15m`, in µs since 1970. */
function readTime(name: string, text: string): number {
  const [, count, unit = ""] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const timeUs = count ? Date.now() * 1000 - Number(count) * (AGES[unit] ?? 0) * SECOND_US : microsOf(text);
  if (Number.isNaN(timeUs))
    throw new RequestError(
      400,
      cannotRead(name, text, "an age such as 15m, 2h or 7d, or a time such as 2026-11-27T09:30:00Z"),
    );
  return timeUs;
}

/** From `since` on and before `until`; throws {@link RequestError} for what is no time. */
function rangeOf({ since = "", until = "" }: Pick<LogQuery, "since" | "until">): KeyRange {
  const low = since === "" ? EVERYTHING.low : { timeUs: readTime("since", since), id: MIN_ID };
  const high = until === "" ? EVERYTHING.high : { timeUs: readTime("until", until), id: MIN_ID };
  return { low, high };
}

const cannotRead = (name: string, text: string, allowed: string) =>
  `Cannot read ${name}: ${JSON.stringify(text.slice(0, 100))} is not ${allowed}`;

// ---- Counts ---------------------------------------------------------------------------

/** The bars of a histogram: where the first one begins, and how wide each is. */
interface Bars {
  sinceUs: number;
  stepUs: number;
}

/** What `grouping(bar, level, app, host)` is for each set of the counting statement: a bit for each column left out. */
const [BAR_SET, LEVEL_SET, APP_SET, HOST_SET] = ["7", "11", "13", "14"];
const STEPS_S = [
  1, 2, 5, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000,
];

/** The narrowest bars that are 60 at most; days begin at midnight of a zone that is so many minutes east of UTC. */
function barsOf(sinceUs: number, untilUs: number, zoneMinutes: number, askedStepS: number | undefined): Bars {
  const zoneUs = zoneMinutes * 60 * SECOND_US;
  const align = (stepUs: number) => Math.floor((sinceUs + zoneUs) / stepUs) * stepUs - zoneUs;
  const fits = (stepS: number) => untilUs - align(stepS * SECOND_US) <= BARS * stepS * SECOND_US;
  const stepUs =
    (askedStepS ?? STEPS_S.find(fits) ?? Math.ceil((untilUs - sinceUs) / SECOND_US / (BARS - 1))) * SECOND_US;
  return { sinceUs: align(stepUs), stepUs };
}

/** Sums the counts of several stretches. */
class Tally {
  readonly bars = new Map<number, [others: number, warnings: number, errors: number]>();
  readonly levels = new Map<number, number>();
  readonly apps = new Map<string | null, number>();
  readonly hosts = new Map<string | null, number>();
  matched = 0;

  add(rows: (string | null)[][]): void {
    for (const [set, bar, severity, level, app = null, host = null, text] of rows) {
      const count = Number(text);
      if (set === BAR_SET) this.#addToBar(Number(bar), Number(severity), count);
      if (set === LEVEL_SET) addTo(this.levels, Number(level), count);
      if (set === APP_SET) addTo(this.apps, app, count);
      if (set === HOST_SET) addTo(this.hosts, host, count);
    }
  }

  #addToBar(timeUs: number, severity: number, count: number): void {
    const bar = this.bars.get(timeUs) ?? [0, 0, 0];
    bar[severity]! += count;
    this.bars.set(timeUs, bar);
    this.matched += count;
  }
}

function addTo<Value>(counts: Map<Value, number>, value: Value, count: number): void {
  counts.set(value, (counts.get(value) ?? 0) + count);
}

const topOf = <Value>(counts: Map<Value, number>) =>
  [...counts].toSorted(([, one], [, other]) => other - one).slice(0, FACET_VALUES);

// ---- HTTP -------------------------------------------------------------------------------

const FILES: Record<string, { file: string; type: string }> = {
  "/": { file: "index.html", type: "text/html; charset=utf-8" },
  "/viewer.css": { file: "viewer.css", type: "text/css; charset=utf-8" },
  "/viewer.js": { file: "viewer.js", type: "text/javascript; charset=utf-8" },
};

/** The page runs its own script only, talks to its own origin only, and can't turn a text into markup. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

/** What an endpoint gets: the parameters of its URL, a reader that waits for its turn, and when to stop. */
interface Asked {
  parameters: URLSearchParams;
  reader: LogReader;
  signal: AbortSignal;
  response: ServerResponse;
}

/** Makes the page and its API. The caller has checked the Host header. */
export function createViewer(host: ViewerHost): Viewer {
  return new LogViewer(host);
}

class LogViewer implements Viewer {
  readonly #host: ViewerHost;
  readonly #gate: Gate;
  readonly #running = new Set<AbortController>(); // of each request
  #tails = 0;
  /** Each resolves to the value that is answered as JSON, or to nothing where it has answered. */
  readonly #endpoints: Record<string, (asked: Asked) => Promise<object | void>> = {
    "/api/logs": (asked) => this.#logs(asked),
    "/api/counts": (asked) => this.#counts(asked),
    "/api/tail": (asked) => this.#tail(asked),
    "/api/context": (asked) => this.#context(asked),
    "/api/export": (asked) => this.#export(asked),
  };

  constructor(host: ViewerHost) {
    this.#host = host;
    this.#gate = new Gate(host.isEmbedded ? 1 : READS_AT_ONCE);
  }

  close(): void {
    for (const running of this.#running) running.abort();
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const [path = "", search] = (request.url ?? "").split("?", 2);
    const isApi = path.startsWith("/api/");
    if (!isApi && !(path in FILES)) return false;
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    try {
      if (request.method !== "GET") throw new RequestError(405, "Cannot answer: only GET is allowed");
      if (isApi) await this.#answerApi(path, new URLSearchParams(search), request, response);
      else await sendFile(FILES[path]!, response);
    } catch (error) {
      if (response.headersSent || response.destroyed)
        response.destroy(); // cut off, so that nobody takes it for whole
      else this.#refuse(error, response);
    }
    return true;
  }

  async #answerApi(path: string, parameters: URLSearchParams, request: IncomingMessage, response: ServerResponse) {
    this.#admit(request);
    const endpoint = this.#endpoints[path];
    if (!endpoint) throw new RequestError(404, `Cannot answer: there is no ${path}`);
    const running = new AbortController();
    this.#running.add(running);
    response.once("close", () => {
      running.abort();
      this.#running.delete(running);
    });
    const { signal } = running;
    const host = this.#host;
    const read: LogReader["read"] = (statement, values, until) =>
      this.#gate.pass(() => host.read(statement, values, until), until, response.headersSent ? Infinity : READ_WAIT_MS);
    const { isEmbedded, levels } = host;
    const answer = await endpoint({ parameters, reader: { read, isEmbedded, levels }, signal, response });
    if (answer) sendJson(response, 200, answer);
  }

  /** Before the database is asked: the request comes from our own page or from a script, and has the token. */
  #admit({ headers }: IncomingMessage): void {
    const site = headers["sec-fetch-site"];
    if (site !== undefined && site !== "same-origin" && site !== "none")
      throw new RequestError(403, "Cannot answer: another site's page asks");
    if (this.#host.page === "open" && headers["x-collector"] === "1") return;
    const [, given] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "") ?? [];
    if (this.#host.token !== "" && given !== undefined && isSameText(given, this.#host.token)) return;
    const how =
      this.#host.page === "open" ? "the header x-collector: 1" : "Authorization: Bearer with the token of the link";
    throw new RequestError(401, `Cannot answer: the request lacks ${how}; collector.ts page prints the link`);
  }

  #refuse(error: unknown, response: ServerResponse): void {
    const { state, database } = this.#host.health();
    const isOurs = error instanceof RequestError;
    const status = isOurs ? error.status : 503;
    const cause = database.up ? `Cannot read the logs: ${this.#host.describe(error)}` : state;
    if (status === 401) response.setHeader("www-authenticate", "Bearer");
    if (status === 405) response.setHeader("allow", "GET");
    sendJson(response, status, { error: isOurs ? error.message : cause });
  }

  async #logs({ parameters, reader, signal }: Asked) {
    const terms = this.#terms(parameters);
    const range = rangeOf(rangeParameters(parameters));
    const limit = readNumber(parameters, "limit", PAGE_ROWS, { min: 1, max: PAGE_MAX_ROWS });
    const before = parameters.get("before");
    if (before !== null) range.high = readKey("before", before);
    const place = before === null ? await this.#tailOf(terms, reader, signal).start() : undefined;
    const walk = new Walk(reader, terms, range, "desc", signal);
    const { rows, end } = await collectRows(walk, limit, readBudgetMs(parameters));
    const next = place && { next: placeText(placeBehind(place, rows)) };
    const isEmpty = rows.length + terms.length === 0 && end === "range" && range.low === EVERYTHING.low;
    const hint = isEmpty && before === null ? { try: this.#host.tryCommand } : {};
    const typed = terms.map(({ text, kind }) => ({ text, kind }));
    const words = terms.flatMap((term) => (term.kind === "word" && !term.isNegative ? term.pattern : []));
    return { rows, reached: keyText(walk.range.high), read: walk.read, end, ...next, ...hint, terms: typed, words };
  }

  async #counts({ parameters, reader, signal }: Asked) {
    const terms = this.#terms(parameters);
    const range = rangeOf(rangeParameters(parameters));
    if (range.low.timeUs === -Infinity) range.low = (await firstKey(reader, "asc", signal)) ?? range.low;
    const nowUs = Date.now() * 1000;
    const untilUs = Number.isFinite(range.high.timeUs) ? range.high.timeUs : nowUs;
    const sinceUs = Number.isFinite(range.low.timeUs) ? range.low.timeUs : untilUs - 900 * SECOND_US;
    const zone = readNumber(parameters, "zone", 0, { min: -1440, max: 1440 });
    const stepS = parameters.has("step") ? readNumber(parameters, "step", 1, { min: 1, max: 1e9 }) : undefined;
    const bars = barsOf(sinceUs, untilUs, zone, stepS);
    const before = parameters.get("before");
    if (before !== null) range.high = readKey("before", before);
    const walk = new Walk(reader, terms, range, "desc", signal);
    const tally = new Tally();
    const budgetMs = readBudgetMs(parameters);
    const started = performance.now();
    do tally.add(await walk.nextCounts(bars));
    while (!walk.isDone && performance.now() - started < budgetMs);
    return {
      since: timeText(sinceUs),
      until: timeText(untilUs),
      first_bar: timeText(bars.sinceUs),
      step_s: bars.stepUs / SECOND_US,
      bars: [...tally.bars]
        .toSorted(([one], [other]) => one - other)
        .map(([timeUs, counts]) => [timeText(timeUs), ...counts]),
      levels: topOf(tally.levels),
      apps: topOf(tally.apps),
      hosts: topOf(tally.hosts),
      matched: tally.matched,
      reached: keyText(walk.range.high),
      read: walk.read,
      end: walk.isDone ? "range" : "budget",
    };
  }

  async #tail({ parameters, reader, signal }: Asked) {
    if (this.#tails >= TAIL_MAX_COUNT)
      throw new RequestError(429, `Cannot follow: ${TAIL_MAX_COUNT} tails run already`);
    this.#tails++;
    try {
      return await this.#follow(parameters, reader, signal);
    } finally {
      this.#tails--;
    }
  }

  async #follow(parameters: URLSearchParams, reader: LogReader, signal: AbortSignal) {
    const started = performance.now();
    const waitMs = readNumber(parameters, "wait", TAIL_WAIT_S, { min: 0, max: TAIL_WAIT_S }) * SECOND_MS;
    const tail = this.#tailOf(this.#terms(parameters), reader, signal);
    const after = parameters.get("after");
    if (after === null) return { rows: [], next: placeText(await tail.start()), skipped: 0 };
    const commits = new Commits((wake) => this.#host.onStored(wake)); // from before the table is looked at
    try {
      for (let place = readPlace(after); ;) {
        const { rows, skipped, isSkippedMore, restMs, place: next } = await tail.read(place);
        const leftMs = waitMs - (performance.now() - started);
        await sleep(Math.min(restMs, waitMs), undefined, { signal });
        if (rows.length + skipped > 0 || leftMs <= 0) return { rows, next: placeText(next), skipped, isSkippedMore };
        place = next;
        await commits.wait(Math.min(leftMs, TAIL_POLL_MS), signal);
      }
    } finally {
      commits.close();
    }
  }

  async #context({ parameters, reader, signal }: Asked) {
    const key = readKey("at", parameters.get("at") ?? "");
    const by = parameters.get("by") ?? "app";
    if (!["app", "host", "all"].includes(by)) throw new RequestError(400, cannotRead("by", by, "app, host or all"));
    const [older, newer] = ["before", "after"].map((name) =>
      readNumber(parameters, name, CONTEXT_ROWS, { min: 0, max: CONTEXT_MAX_ROWS }),
    );
    const [line] = await readRows(reader, [], { low: key, high: keyAfter(key) }, "asc", 1, signal);
    if (!line)
      throw new RequestError(404, `Cannot find the line ${keyText(key)}: it is not in the table, or no longer`);
    const terms = neighbourTerms(line, by);
    const [past, future] = [
      { low: EVERYTHING.low, high: key },
      { low: keyAfter(key), high: EVERYTHING.high },
    ];
    const [before, after] = await Promise.all([
      collectRows(new Walk(reader, terms, past, "desc", signal, NEAR_ROWS), older!),
      collectRows(new Walk(reader, terms, future, "asc", signal, NEAR_ROWS), newer!),
    ]);
    return {
      before: before.rows.toReversed(),
      line,
      after: after.rows,
      ends: { before: before.end, after: after.end },
    };
  }

  async #export({ parameters, reader, signal, response }: Asked) {
    const format = parameters.get("format") ?? "ndjson";
    if (format !== "ndjson" && format !== "csv")
      throw new RequestError(400, cannotRead("format", format, "ndjson or csv"));
    const toText = format === "csv" ? csvOfRow : jsonOfRow;
    const lineEnd = format === "csv" ? "\r\n" : "\n";
    this.#terms(parameters);
    rangeOf(rangeParameters(parameters)); // refused before anything is sent
    const lines = searchLogs(reader, { query: parameters.get("q") ?? "", ...rangeParameters(parameters) }, signal);
    let isBegun = false;
    for await (const rows of lines) {
      if (!isBegun) beginDownload(response, format);
      isBegun = true;
      const isRoomy = response.write(rows.map((row) => toText(row) + lineEnd).join(""));
      if (!isRoomy) await once(response, "drain", { signal });
    }
    if (!isBegun) beginDownload(response, format);
    response.end();
  }

  #terms(parameters: URLSearchParams): Term[] {
    const query = parameters.get("q") ?? "";
    if (query.length > QUERY_MAX_LENGTH)
      throw new RequestError(400, `Cannot read q: it has ${query.length} characters; allowed are ${QUERY_MAX_LENGTH}`);
    return parseQuery(query, this.#host.levels);
  }

  #tailOf(terms: Term[], reader: LogReader, signal: AbortSignal): LogTail {
    return new LogTail(reader, terms, () => this.#host.oldestUnstoredUs(), signal);
  }
}

/** Takes rows from a walk until there are enough, its range ends, or the request's time is over. */
async function collectRows(
  walk: Walk,
  limit: number,
  budgetMs = BUDGET_MS,
): Promise<{ rows: LogRow[]; end: "page" | "budget" | "range" }> {
  const started = performance.now();
  const rows: LogRow[] = [];
  while (rows.length < limit) {
    rows.push(...(await walk.nextRows(limit - rows.length)));
    if (walk.isDone) return { rows, end: "range" };
    if (performance.now() - started > budgetMs && rows.length < limit) return { rows, end: "budget" };
  }
  return { rows, end: "page" };
}

/** What the lines around one have in common with it. */
function neighbourTerms(line: LogRow, by: string): Term[] {
  if (by === "all") return [];
  if (by === "host" && line.host !== null) return [sameTerm("host", line.host)];
  return by === "host" ? [sameTerm("peer", line.peer)] : [sameTerm("peer", line.peer), sameTerm("app", line.app)];
}

const sameTerm = (key: string, value: string | null): Term =>
  value === null
    ? { kind: "values", text: "", isNegative: true, key, patterns: [["", ""]] }
    : { kind: "values", text: "", isNegative: false, key, patterns: [[value]] };

/** The place of a tail that has some rows already, which may have been stored after it was made. */
function placeBehind(place: TailPlace, [newest]: LogRow[]): TailPlace {
  return newest && isBefore(place.seen, keyOf(newest)) ? { ...place, seen: keyOf(newest) } : place;
}

const placeText = ({ seen, heldUs }: TailPlace) => `${keyText(seen)};${timeText(heldUs)}`;

function readPlace(text: string): TailPlace {
  const [key = "", held = ""] = text.split(";", 2);
  const seen = readKey("after", key);
  return { seen, heldUs: held === "" ? seen.timeUs : readTime("after", held) };
}

const rangeParameters = (parameters: URLSearchParams) => ({
  since: parameters.get("since") ?? "",
  until: parameters.get("until") ?? "",
});

function readNumber(
  parameters: URLSearchParams,
  name: string,
  orElse: number,
  { min, max }: { min: number; max: number },
) {
  const text = parameters.get(name);
  if (text === null) return orElse;
  const value = /^-?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new RequestError(400, cannotRead(name, text, `a number from ${min} to ${max}`));
}

/** A page that shows how far a search came asks for short answers. */
const readBudgetMs = (parameters: URLSearchParams) =>
  readNumber(parameters, "budget", BUDGET_MS, { min: 100, max: BUDGET_MS });

const digestOf = (text: string) => createHash("sha256").update(text).digest();

/** In a time that does not depend on where they differ. */
const isSameText = (one: string, other: string) => timingSafeEqual(digestOf(one), digestOf(other));

async function sendFile({ file, type }: { file: string; type: string }, response: ServerResponse): Promise<void> {
  const bytes = await readFile(new URL(file, import.meta.url));
  response.writeHead(200, { "content-type": type, "content-length": bytes.length }).end(bytes);
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "content-length": bytes.length });
  response.end(bytes);
}

function beginDownload(response: ServerResponse, format: "ndjson" | "csv"): void {
  const name = `logs-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${format}`;
  const type = format === "csv" ? "text/csv; charset=utf-8; header=present" : "application/x-ndjson; charset=utf-8";
  response.writeHead(200, { "content-type": type, "content-disposition": `attachment; filename="${name}"` });
  if (format === "csv") response.write(`${CSV_COLUMNS.join(",")}\r\n`);
}

/** Lets a few statements run at a time; the others wait in their order. */
class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(size: number) {
    this.#free = size;
  }

  /** Runs when there is room. Throws {@link RequestError} after `maxMs`, and when the signal aborts. */
  async pass<T>(run: () => Promise<T>, signal: AbortSignal, maxMs: number): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal, maxMs);
    try {
      signal.throwIfAborted();
      return await run();
    } finally {
      const next = this.#waiting.shift(); // takes over the place
      if (next) next();
      else this.#free++;
    }
  }

  async #wait(signal: AbortSignal, maxMs: number): Promise<void> {
    const { promise, resolve } = deferred<"entered">();
    this.#waiting.push(() => resolve("entered"));
    const admit = this.#waiting.at(-1)!;
    const over = new AbortController();
    const patience = Number.isFinite(maxMs) ? maxMs : 2 ** 31 - 1;
    const left = sleep(patience, "left" as const, { signal: AbortSignal.any([signal, over.signal]) }).catch(
      () => "left" as const,
    );
    const outcome = await Promise.race([promise, left]);
    over.abort();
    const place = this.#waiting.indexOf(admit);
    if (outcome === "entered" || place < 0) return; // or let in while it was leaving
    this.#waiting.splice(place, 1);
    throw new RequestError(429, "Cannot read the logs: too many searches run; try again in a moment");
  }
}

function deferred<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}
