/**
 * The README and docs/: their tables of options and formats, written by `npm run docs` and held to the code's own by the
 * tests, and their blocks of code, which the tests run as they stand.
 */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { format } from "prettier";
import { ALARMS, BODIES, DATES, ENVELOPES, KEYS, LEVEL_WORDS, ZONES, optionRows } from "../../collector.ts";
import { ROOT } from "./files.ts";

/** The README and all of docs/, by their paths from the repository's folder. */
export async function readDocs(): Promise<Map<string, string>> {
  const names = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md")).toSorted();
  const paths = ["README.md", ...names.map((name) => `docs/${name}`)];
  const texts = await Promise.all(paths.map((path) => readFile(join(ROOT, path), "utf8")));
  return new Map(paths.map((path, index) => [path, texts[index] ?? ""]));
}

/** The blocks of code of one language, in order. */
export const codeBlocks = (text: string, language: string) =>
  Array.from(text.matchAll(/^```(\w+)\n(.*?)^```$/gms)).flatMap(([, name, code = ""]) =>
    name === language ? code : [],
  );

/**
 * The text with its tables as they should be: `<!-- options -->` has all options, `<!-- options: … -->` those named,
 * `<!-- formats: dates -->` one of the code's tables of formats.
 */
export async function withTables(text: string): Promise<string> {
  const block = /^<!-- (options|formats)(?:: (.*?))? -->$.*?^<!-- \/\1 -->$/gms;
  const tables = text.replace(block, (found, kind: string, names?: string) => {
    const opening = found.slice(0, found.indexOf("\n"));
    const table = kind === "options" ? optionsTable(names?.split(" ")) : FORMAT_TABLES[names ?? ""];
    return `${opening}\n\n${table}\n\n<!-- /${kind} -->`;
  });
  return format(tables, { parser: "markdown", printWidth: 120 });
}

/** All have a column with what is allowed; a choice of them does without. */
function optionsTable(names?: string[]): string {
  const head = ["flag", "environment", "default", "meaning", ...(names ? [] : ["allowed"])];
  const rows = optionRows(names).map(({ flag, variable, fallback, meaning, allowed }) =>
    [`\`${flag}\``, `\`${variable}\``, fallback === "" ? "none" : `\`${fallback}\``, meaning, allowed].slice(
      0,
      head.length,
    ),
  );
  return tableOf(head, rows);
}

const tableOf = (head: string[], rows: string[][]) =>
  [head, head.map(() => "---"), ...rows.map((cells) => cells.map((cell) => cell.replaceAll("|", "\\|")))]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");

const code = (text: string) => `\`${text}\``;
const codes = (words: string) => words.split(" ").map(code).join(", ");
const formatsTable = (formats: typeof BODIES) =>
  tableOf(
    ["format", "a line of it"],
    formats.map(({ name, example }) => [name, code(example)]),
  );
const offsetOf = (minutes: number) =>
  `${minutes < 0 ? "−" : "+"}${Math.floor(Math.abs(minutes) / 60)}${minutes % 60 === 0 ? "" : ":30"}`;
const offsets = [...new Set(Object.values(ZONES))].toSorted((a, b) => a - b);
const zonesAt = (minutes: number) => Object.keys(ZONES).filter((name) => ZONES[name] === minutes);

const FORMAT_TABLES: Record<string, string> = {
  envelopes: formatsTable(ENVELOPES),
  bodies: formatsTable(BODIES),
  keys: tableOf(
    ["column", "keys, the best first"],
    Object.entries(KEYS).map(([column, keys]) => [code(column === "time" ? "logged_at" : column), codes(keys)]),
  ),
  dates: tableOf(
    ["date", "as in", "written by"],
    DATES.map(([form, example, writers]) => [code(form), code(example), writers]),
  ),
  levels: tableOf(
    ["level", "words"],
    Object.entries(LEVEL_WORDS).map(([level, words]) => [level, codes(words)]),
  ),
  alarms: tableOf(
    ["line begins with", "and has", "level"],
    ALARMS.map(([start, level, within]) => [code(start), within === undefined ? "" : code(within), String(level)]),
  ),
  zones: tableOf(
    ["hours ahead of UTC", "names"],
    offsets.map((minutes) => [offsetOf(minutes), codes(zonesAt(minutes).join(" "))]),
  ),
};

if (pathToFileURL(process.argv[1] ?? "").href === import.meta.url)
  for (const [path, text] of await readDocs()) await writeFile(join(ROOT, path), await withTables(text));
