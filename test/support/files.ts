import { cp, lstat, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

/** The repository's folder. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export const MODULES = join(ROOT, "node_modules");

/** The command line that starts a collector from its source. */
export const COLLECTOR = [process.execPath, "--import", "tsx", join(ROOT, "collector.ts")];

/** A folder with copies of some of our files alone, and with links to our packages, all or some. */
export async function bareCopy(t: TestContext, files: string[], packages?: readonly string[]): Promise<string> {
  const directory = await folder(t);
  for (const file of files) await cp(join(ROOT, file), join(directory, file), { recursive: true });
  if (!packages) await symlink(MODULES, join(directory, "node_modules"));
  for (const name of packages ?? []) {
    await mkdir(dirname(join(directory, "node_modules", name)), { recursive: true });
    await symlink(join(MODULES, name), join(directory, "node_modules", name));
  }
  return directory;
}

const undos = new WeakMap<TestContext, (() => unknown)[]>();

/** Has a test undo something at its end; what was done last is undone first. */
export function undoAfter(t: TestContext, undo: () => unknown): void {
  const known = undos.get(t);
  if (known) return void known.push(undo);
  const list = [undo];
  undos.set(t, list);
  t.after(async () => {
    for (const next of list.toReversed()) await next();
  });
}

/** A folder for a test, removed at its end. */
export async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "collector-test-"));
  undoAfter(t, () => rm(path, { recursive: true, force: true }));
  return path;
}

/** A copy of a folder without its sockets. */
export async function copyOf(t: TestContext, directory: string): Promise<string> {
  const copy = await folder(t);
  await cp(directory, copy, { recursive: true, filter: async (path) => !(await lstat(path)).isSocket() });
  return copy;
}
