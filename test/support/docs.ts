/**
 * The README and docs/: their tables of options, written by `npm run docs` and held to --help by the tests, and their
 * blocks of code, which the tests run as they stand.
 */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { format } from "prettier";
import { optionRows } from "../../collector.ts";
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

/** The text with its tables of options as they should be: `<!-- options -->` has all, `<!-- options: … -->` those named. */
export async function withTables(text: string): Promise<string> {
  const block = /^<!-- options(?:: (.*?))? -->$.*?^<!-- \/options -->$/gms;
  const tables = text.replace(block, (found, names?: string) => {
    const opening = found.slice(0, found.indexOf("\n"));
    return `${opening}\n\n${optionsTable(names?.split(" "))}\n\n<!-- /options -->`;
  });
  return format(tables, { parser: "markdown", printWidth: 120 });
}

/** All have a column with what is allowed; a choice of them does without. */
function optionsTable(names?: string[]): string {
  const head = ["flag", "environment", "default", "meaning", ...(names ? [] : ["allowed"])];
  const rows = optionRows(names).map(({ flag, variable, fallback, meaning, allowed }) => {
    const cells = [`\`${flag}\``, `\`${variable}\``, fallback === "" ? "none" : `\`${fallback}\``, meaning, allowed];
    return cells.slice(0, head.length).map((cell) => cell.replaceAll("|", "\\|"));
  });
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

if (pathToFileURL(process.argv[1] ?? "").href === import.meta.url)
  for (const [path, text] of await readDocs()) await writeFile(join(ROOT, path), await withTables(text));
