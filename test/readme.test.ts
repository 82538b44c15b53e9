/* oxlint-disable typescript/no-floating-promises -- node:test waits for tests */
import assert from "node:assert/strict";
import { once } from "node:events";
import { cp } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SECOND, eventually, range } from "./support/basics.ts";
import { Program } from "./support/collectors.ts";
import { codeBlocks, readDocs } from "./support/docs.ts";
import { ROOT, folder, undoAfter } from "./support/files.ts";
import { endGroup, freePort, launch } from "./support/processes.ts";
import { lacks } from "./support/programs.ts";

/** How often the first block is run; `README_RUNS=10` for a proof. */
const RUNS = Number(process.env["README_RUNS"] ?? 1);

const netcat = { skip: lacks("nc", "-h", /OpenBSD netcat/, "netcat-openbsd"), timeout: 300 * SECOND };

describe("readme", () => {
  for (const run of range(RUNS))
    test(
      `the first block shows ok and the row in a fresh copy, pasted while two loops keep the machine busy, run ${run + 1}`,
      netcat,
      async (t) => {
        const block = await firstBlock();
        for (const _ of range(2)) Program.spawn(t, ["-e", "for (;;);"], { program: [process.execPath] });

        const shell = await paste(t, block);

        assert.match(shell.stdout, /^ok$/m);
        assert.match(shell.stdout, /^created_at +message *\n[- ]+\n\d[^\n]* hello *$/m);
        assert.equal(shell.stderr, "");
      },
    );

  test("the first block's loop ends where the collector does", netcat, async (t) => {
    const [, , loop = ""] = (await firstBlock()).split("\n");
    const commands = `false &\n${loop.replaceAll("8888", String(await freePort()))}`;

    const child = launch("bash", ["-c", commands], {});
    undoAfter(t, () => endGroup(child, "SIGKILL"));
    const ended = once(child, "exit").then(() => true);

    assert.match(loop, /nc -N/);
    assert.equal(await Promise.race([ended, sleep(20 * SECOND, false)]), true);
  });
});

async function firstBlock(): Promise<string> {
  const [block = ""] = codeBlocks((await readDocs()).get("README.md") ?? "", "sh");
  return block;
}

/** Types the lines into a shell in a copy of the repository, all at once; 8888 becomes a port that is free here. */
async function paste(t: TestContext, lines: string): Promise<{ stdout: string; stderr: string }> {
  const cwd = await freshCopy(t);
  const port = String(await freePort());
  const { PATH = "", HOME = "" } = process.env;
  const env = { PATH, HOME, COLLECTOR_LISTEN: `127.0.0.1:${port}`, npm_config_prefer_offline: "true" };
  const child = launch("bash", [], { cwd, env });
  undoAfter(t, () => endGroup(child, "SIGKILL")); // the collector is in the shell's process group
  const shell = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (shell.stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (shell.stderr += chunk.toString()));
  child.stdin?.end(lines.replaceAll("8888", port));
  await once(child, "exit");
  await eventually(() => assert.match(shell.stdout, /-\n/)); // what is still in the pipe
  return shell;
}

async function freshCopy(t: TestContext): Promise<string> {
  const left = new Set([".git", "node_modules", "collector-data"]);
  const copy = join(await folder(t), "collector");
  await cp(ROOT, copy, { recursive: true, filter: (path) => !left.has(basename(path)) });
  return copy;
}
