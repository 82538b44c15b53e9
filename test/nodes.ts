/**
 * The tests on other Node versions, whose binaries are npm packages in a temporary folder; all versions at once.
 *
 *     npm run test:nodes                                    all tests on Node 22, 24 and 26
 *     npm run test:nodes -- --node 24 test/wire.test.ts     some on one
 *
 * A version whose package can't be installed is skipped, with the reason. Tests that fail are run once more, alone: what
 * fails twice fails.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs, promisify } from "node:util";
import { ROOT } from "./support/files.ts";

const VERSIONS = ["22", "24", "26"];

async function main(): Promise<boolean> {
  const options = { node: { type: "string", multiple: true, default: VERSIONS } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const files = positionals.length > 0 ? positionals : ["collector.test.ts"];
  const folder = await mkdtemp(join(tmpdir(), "collector-nodes-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const nodes: Node[] = [];
  for (const version of values.node) nodes.push(...(await install(folder, version)));

  const outcomes = await Promise.all(nodes.map((node) => run(node, files)));

  let hasPassed = true;
  for (const [index, node] of nodes.entries()) {
    const hasNodePassed = await passAtLast(node, files, outcomes[index]!);
    print(`Node ${node.version}: ${hasNodePassed ? "passed" : "failed"}`);
    hasPassed &&= hasNodePassed;
  }
  return hasPassed;
}

interface Node {
  version: string;
  /** The path of its program. */
  program: string;
  /** The path of the report of its last run. */
  report: string;
}

/** A Node of that major version; none where it can't be had. */
async function install(folder: string, version: string): Promise<Node[]> {
  const name = `node-${process.platform}-${process.arch}`;
  const prefix = join(folder, version);
  const flags = ["--prefix", prefix, "--no-audit", "--no-fund", "--no-save"];
  const program = join(prefix, "node_modules", name, "bin/node");
  try {
    await promisify(execFile)("npm", ["install", ...flags, `${name}@${version}`], { cwd: folder });
    const { stdout } = await promisify(execFile)(program, ["--version"]);
    print(`Node ${version}: ${stdout.trim()}`);
    return [{ version, program, report: join(folder, `${version}.xml`) }];
  } catch (error) {
    const [reason] = String((error as { stderr?: string }).stderr || error).split("\n");
    print(`Node ${version}: skipped, as npm has no ${name}@${version} for us: ${reason}`);
    return [];
  }
}

/** What a run reported: the names of tests, written as in XML. */
interface Outcome {
  isWell: boolean;
  passed: string[];
  failed: string[];
}

/** Runs tests, all or those with one of the names. */
async function run({ version, program, report }: Node, files: string[], names: string[] = []): Promise<Outcome> {
  const reporters = ["spec", "junit"].map((name) => `--test-reporter=${name}`);
  const destinations = ["stdout", report].map((path) => `--test-reporter-destination=${path}`);
  const patterns = names.map((name) => `--test-name-pattern=${patternOf(name)}`);
  const words = ["--import", "tsx", "--test", ...reporters, ...destinations, ...patterns, ...files];
  const child = spawn(program, words, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close") as Promise<[number | null]>;
  for await (const line of createInterface(child.stdout)) print(`${version}: ${line}`);
  const [code] = await ended;
  const text = await readFile(report, "utf8");
  const namesOf = (cases: RegExp) => [...text.matchAll(cases)].map(([, name = ""]) => name);
  return {
    isWell: code === 0,
    passed: namesOf(/<testcase name="([^"]*)"[^>]*\/>/g),
    failed: namesOf(/<testcase name="([^"]*)"[^>]*>\s*<failure/g),
  };
}

/** Runs what failed once more; resolves to whether all passed at last. A run that names no test can't be mended. */
async function passAtLast(node: Node, files: string[], first: Outcome): Promise<boolean> {
  if (first.isWell || first.failed.length === 0) return first.isWell;
  const { isWell, passed } = await run(node, files, first.failed);
  for (const name of first.failed) {
    const outcome = passed.includes(name) ? "failed, then passed: flaky" : "failed twice";
    print(`Node ${node.version}: ${outcome}: ${name}`);
  }
  return isWell && first.failed.every((name) => passed.includes(name));
}

/** A pattern for a name as XML has it; Node 22 writes `&amp;quot;` there. */
function patternOf(name: string): string {
  const text = name.replaceAll("&amp;", "&").replace(/&(quot|lt|gt|apos);/g, (_, entity: string) => ENTITIES[entity]!);
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

const ENTITIES: Record<string, string> = { quot: '"', lt: "<", gt: ">", apos: "'" };

const print = (line: string) => void process.stdout.write(`${line}\n`);

process.exitCode = (await main()) ? 0 : 1;
