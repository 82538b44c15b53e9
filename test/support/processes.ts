/** Programs that the tests start, none of which outlives them. */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { promisify } from "node:util";
import { KIB } from "./basics.ts";

const running = new Map<ChildProcess, NodeJS.Signals>();

// So that `exit` comes. Not `once`: tsx, npm and timeout each pass a signal on, and the second one would kill before it.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
process.on("exit", () => {
  for (const [child, signal] of running) endGroup(child, signal);
});

/** Starts a program in a process group of its own, which this process ends at its own end. */
export function launch(
  command: string,
  words: readonly string[],
  options: SpawnOptions,
  atExit: NodeJS.Signals = "SIGKILL",
): ChildProcess {
  const child = spawn(command, words, { ...options, detached: true }); // a Ctrl-C is for us
  running.set(child, atExit);
  child.once("error", () => running.delete(child));
  return child.once("close", () => running.delete(child));
}

/** Signals a launched program and what it started, if it still runs. */
export function endGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (!running.has(child) || child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it has ended, and its `close` is to come
  }
}

/** Options for programs that refuse to run as root, as PostgreSQL and PgBouncer do: then they run as nobody. */
export const unprivileged = () => (process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {});

/** A port that nothing listens on, below those that the kernel gives to connections: one to itself would succeed. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const listener = createServer().listen(port, "127.0.0.1");
    const isFree = await once(listener, "listening").then(
      () => true,
      () => false,
    );
    await new Promise((resolve) => listener.close(resolve));
    if (isFree) return port;
  }
}

export async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const isThere = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isThere;
}

export const isInstalled = (command: string, flag = "--version") =>
  promisify(execFile)(command, [flag]).then(
    () => true,
    () => false,
  );

/** A file of a process in /proc; empty where there is none. */
export function readProc(pid: number, name: string): string {
  const path = `/proc/${pid}/${name}`;
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** The CPU time that a process has taken. */
export const cpuMs = (pid: number) => cpuMsOf(readProc(pid, "stat"));

/** The CPU time that its first thread has taken. */
export const mainThreadMs = (pid: number) => cpuMsOf(readProc(pid, `task/${pid}/stat`));

function cpuMsOf(stat: string): number {
  const fields = stat.replace(/^.*\) /, "").split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10; // of 100 ticks a second
}

/** Resident memory in bytes, now or at its peak; NaN where the system has no /proc. */
export const rss = (pid: number) => statusBytes(pid, "VmRSS");
export const peakRss = (pid: number) => statusBytes(pid, "VmHWM");

const statusBytes = (pid: number, field: string) =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readProc(pid, "status"))?.[1]) * KIB;
