import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { bunPath } from "./collectors.ts";
import { MODULES } from "./files.ts";
import { server } from "./postgres.ts";

/** Names what the tests run on. */
export async function versions(): Promise<string> {
  const pglite: { version: string } = JSON.parse(
    await readFile(join(MODULES, "@electric-sql/pglite/package.json"), "utf8"),
  );
  const bun = await promisify(execFile)(bunPath(), ["--version"]);
  return `${(await server()).name}; PGlite ${pglite.version}; Bun ${bun.stdout.trim()}; Node ${process.versions.node}`;
}
