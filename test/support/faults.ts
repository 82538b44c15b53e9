import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import filePromises, { chown, mkdir, open as openFile, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { KIB } from "./basics.ts";
import { ROOT, folder, undoAfter } from "./files.ts";
import { server } from "./postgres.ts";

export const REFUSING_TRIGGER = `create function refuse() returns trigger language plpgsql as $$
  begin if new.message like 'bad%' then raise exception 'refused'; end if; return new; end $$;
  create trigger refuse before insert on logs for each row execute function refuse()`;

export const FULL_FOR_BIG_LINES = `create function full_disk() returns trigger language plpgsql as $$
  begin
    if new.message = 'big' and to_regclass('room') is null then raise exception using errcode = '53100'; end if;
    return new;
  end $$;
  create trigger full_disk before insert on logs for each row execute function full_disk()`;

/** A collector's command line, with a module that is loaded before it. */
export async function preloaded(t: TestContext, source: string) {
  const preload = join(await folder(t), "preload.mjs");
  await writeFile(preload, source);
  return [process.execPath, "--import", "tsx", "--import", preload, join(ROOT, "collector.ts")];
}

export const MINUTES_AS_SECONDS = `const { setTimeout: later } = globalThis;
  globalThis.setTimeout = (run, ms, ...words) => later(run, ms < 60_000 ? ms : ms / 60, ...words);
  const { setInterval: each } = globalThis;
  globalThis.setInterval = (run, ms, ...words) => each(run, ms < 60_000 ? ms : ms / 60, ...words);`;

/** After the first line, every sync fails. */
export const FAILING_SYNCS = `import { open } from "node:fs/promises";
  const handle = await open(process.execPath);
  const { prototype } = handle.constructor;
  await handle.close();
  const { write } = prototype;
  let left = 2; // the segment's header, and the first line
  prototype.write = function (...words) {
    return left-- > 0 ? write.apply(this, words) : Promise.reject(Object.assign(new Error("injected"), { code: "EIO" }));
  };`;

interface FaultyFiles {
  dataDir: string;
  /** The code that synced writes are refused with, as on a full disk, or "short". */
  writes: string;
  /** The code that their syncs fail with, or "held": until `goOn()` is called. */
  syncs: string;
  goOn?: () => void;
  reads: string;
  readFiles: string;
  /** What fails (EIO) in the journal's folder. */
  call: "" | "sync" | (typeof FOLDER_CALLS)[number];
}

const FOLDER_CALLS = ["readdir", "rename", "rm", "writeFile"] as const;

const failWith = (code: string, path?: string) => Promise.reject(Object.assign(new Error("injected"), { code, path }));

/** A data directory, and what this process's writes and syncs come to until the test's end, whatever the file. */
export async function faultyFiles(t: TestContext): Promise<FaultyFiles> {
  const files: FaultyFiles = { dataDir: await folder(t), writes: "", syncs: "", reads: "", readFiles: "", call: "" };
  failInFolder(t, files);
  const handle = await openFile(process.execPath);
  const prototype = Object.getPrototypeOf(handle) as Pick<typeof handle, "read" | "readFile" | "sync" | "write">;
  await handle.close();
  const { read, readFile: readWhole, sync, write } = prototype;
  prototype.sync = function (this: typeof handle) {
    return files.call === "sync" ? failWith("EIO") : sync.call(this);
  };
  const writeAt = write as (this: typeof handle, bytes: Buffer, start: number, size: number, at: number) => unknown;
  prototype.write = function (this: typeof handle, bytes: Buffer, start: number, size: number, at: number) {
    const { writes, syncs } = files;
    if (syncs === "held")
      return new Promise<void>((goOn) => (files.goOn = goOn)).then(() => writeAt.call(this, bytes, start, size, at));
    if (writes === "short") return writeAt.call(this, bytes, start, 20, at);
    return writes || syncs ? failWith(writes || syncs) : writeAt.call(this, bytes, start, size, at);
  } as typeof write;
  prototype.read = function (this: typeof handle, ...words: unknown[]) {
    return files.reads ? failWith(files.reads) : Reflect.apply(read, this, words);
  } as typeof read;
  prototype.readFile = function (this: typeof handle) {
    return files.readFiles ? failWith(files.readFiles) : readWhole.call(this);
  } as typeof readWhole;
  undoAfter(t, () => Object.assign(prototype, { read, readFile: readWhole, sync, write }));
  return files;
}

/** The calls by path: a module's imports of them change with `syncBuiltinESMExports()`. */
function failInFolder(t: TestContext, files: FaultyFiles): void {
  const calls: Record<string, unknown> = filePromises;
  for (const name of FOLDER_CALLS) {
    const call = calls[name] as (...words: unknown[]) => unknown;
    calls[name] = (path: string, ...words: unknown[]) =>
      files.call === name && path.startsWith(join(files.dataDir, "journal"))
        ? failWith("EIO", path)
        : call(path, ...words);
    undoAfter(t, () => {
      calls[name] = call;
      syncBuiltinESMExports();
    });
  }
  syncBuiltinESMExports();
}

export const NO_MOUNT = "a small file system can't be mounted here: that takes root, on Linux";

/** A file system in memory, of that size; `undefined` where mounting is not allowed. */
export async function smallDisk(t: TestContext, size: string): Promise<string | undefined> {
  const directory = await folder(t);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=755`, "tmpfs", directory]).status !== 0)
    return undefined;
  const unmount = () => spawnSync("umount", ["-l", directory]);
  process.once("exit", unmount);
  undoAfter(t, () => process.off("exit", unmount) && unmount());
  return directory;
}

/** Takes what room there is, in a file for every call. */
export async function fillUp(disk: string): Promise<void> {
  await mkdir(join(disk, "ballast"), { recursive: true });
  await writeFile(join(disk, "ballast", randomUUID()), Buffer.alloc(64 * KIB * KIB)).catch(
    (error: NodeJS.ErrnoException) => assert.equal(error.code, "ENOSPC"),
  );
}

/** What `create database` takes to put a database there. */
export async function tablespaceOn(t: TestContext, disk: string): Promise<string> {
  const { admin } = await server();
  const [location, name] = [join(disk, "tablespace"), `collector_${randomBytes(6).toString("hex")}`];
  await mkdir(location);
  await chown(location, 65_534, 65_534);
  await admin.unsafe(`create tablespace ${name} location '${location}'`);
  undoAfter(t, () => admin.unsafe(`drop tablespace ${name}`));
  return `tablespace ${name} encoding 'UTF8' template template0`;
}

/** A collector's command line, whose clock can be set off, by some seconds, while it runs. */
export async function settableClock(t: TestContext) {
  const file = join(await folder(t), "offset");
  await writeFile(file, "0");
  const program = await preloaded(
    t,
    `import { readFileSync } from "node:fs";
    const { now } = Date;
    Date.now = () => now() + 1000 * Number(readFileSync(${JSON.stringify(file)}, "utf8"));`,
  );
  return { program, set: (seconds: number) => writeFile(file, String(seconds)) };
}
