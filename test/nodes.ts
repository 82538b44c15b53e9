/**
 * The tests on other Node versions, whose binaries are npm packages in a temporary folder.
 *
 *     npm run test:nodes                                    all tests on Node 22, 24 and 26
 *     npm run test:nodes -- --node 24 test/wire.test.ts     some on one
 *
 * A version whose package can't be installed is skipped, with the reason.
 */
import { execFile, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { ROOT } from "./support/files.ts";

const VERSIONS = ["22", "24", "26"];

async function main(): Promise<boolean> {
  const options = { node: { type: "string", multiple: true, default: VERSIONS } } as const;
  const { values, positionals: files } = parseArgs({ options, allowPositionals: true });
  const folder = await mkdtemp(join(tmpdir(), "collector-nodes-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  let hasPassed = true;
  for (const version of values.node) {
    const node = await install(folder, version);
    if (node === undefined) continue;
    const words = ["--import", "tsx", "--test", "--test-reporter=spec"];
    const { status } = spawnSync(node, [...words, ...(files.length > 0 ? files : ["collector.test.ts"])], {
      cwd: ROOT,
      stdio: "inherit",
    });
    print(`Node ${version}: ${status === 0 ? "passed" : "failed"}`);
    hasPassed &&= status === 0;
  }
  return hasPassed;
}

/** The path of a Node of that major version; `undefined` where it can't be had. */
async function install(folder: string, version: string): Promise<string | undefined> {
  const name = `node-${process.platform}-${process.arch}`;
  const prefix = join(folder, version);
  const flags = ["--prefix", prefix, "--no-audit", "--no-fund", "--no-save"];
  const node = join(prefix, "node_modules", name, "bin/node");
  try {
    await promisify(execFile)("npm", ["install", ...flags, `${name}@${version}`], { cwd: folder });
    const { stdout } = await promisify(execFile)(node, ["--version"]);
    print(`Node ${version}: ${stdout.trim()}`);
    return node;
  } catch (error) {
    const [reason] = String((error as { stderr?: string }).stderr || error).split("\n");
    print(`Node ${version}: skipped, as npm has no ${name}@${version} for us: ${reason}`);
    return undefined;
  }
}

const print = (line: string) => void process.stdout.write(`${line}\n`);

process.exitCode = (await main()) ? 0 : 1;
