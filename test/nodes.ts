/**
 * The tests on other Node versions, whose binaries are npm packages in a temporary folder; all versions at once.
 *
 *     npm run test:nodes                                    all tests on Node 22, 24 and 26
 *     npm run test:nodes -- --node 24 test/wire.test.ts     some on one
 *     npm run test:nodes -- --node here --failed FILE       on this Node what failed in a run that printed FILE
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
  const options = { node: { type: "string", multiple: true, default: VERSIONS }, failed: { type: "string" } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const files = positionals.length > 0 ? positionals : ["collector.test.ts"];
  const folder = await mkdtemp(join(tmpdir(), "collector-nodes-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const nodes: Node[] = [];
  for (const version of values.node) nodes.push(...(await install(folder, version)));

  const printed = values.failed === undefined ? undefined : await readFile(values.failed, "utf8");
  const outcomes =
    printed === undefined
      ? await Promise.all(nodes.map((node) => run(node, files)))
      : nodes.map(() => outcomeIn(printed));

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
  const report = join(folder, `${version}.xml`);
  if (version === "here") return [{ version: process.versions.node, program: process.execPath, report }];
  const name = `node-${process.platform}-${process.arch}`;
  const prefix = join(folder, version);
  const flags = ["--prefix", prefix, "--no-audit", "--no-fund", "--no-save"];
  const program = join(prefix, "node_modules", name, "bin/node");
  try {
    await promisify(execFile)("npm", ["install", ...flags, `${name}@${version}`], { cwd: folder });
    const { stdout } = await promisify(execFile)(program, ["--version"]);
    print(`Node ${version}: ${stdout.trim()}`);
    return [{ version, program, report }];
  } catch (error) {
    const [reason] = String((error as { stderr?: string }).stderr || error).split("\n");
    print(`Node ${version}: skipped, as npm has no ${name}@${version} for us: ${reason}`);
    return [];
  }
}

/** What a run reported: the names of tests. */
interface Outcome {
  isWell: boolean;
  passed: string[];
  failed: string[];
}

/** Runs tests, all or those with one of the names. */
async function run({ version, program, report }: Node, files: string[], names: string[] = []): Promise<Outcome> {
  const reporters = ["spec", "junit"].map((name) => `--test-reporter=${name}`);
  const destinations = ["stdout", report].map((path) => `--test-reporter-destination=${path}`);
  const patterns = names.map((name) => `--test-name-pattern=${name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}`);
  const words = ["--import", "tsx", "--test", ...reporters, ...destinations, ...patterns, ...files];
  const child = spawn(program, words, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close") as Promise<[number | null]>;
  for await (const line of createInterface(child.stdout)) print(`${version}: ${line}`);
  const [code] = await ended;
  const text = await readFile(report, "utf8");
  const namesOf = (cases: RegExp) => [...text.matchAll(cases)].map(([, name = ""]) => textOf(name));
  return {
    isWell: code === 0,
    passed: namesOf(/<testcase name="([^"]*)"[^>]*\/>/g),
    failed: namesOf(/<testcase name="([^"]*)"[^>]*>\s*<failure/g),
  };
}

/** What the spec reporter printed at its end. */
function outcomeIn(printed: string): Outcome {
  const [, failures = ""] = printed.split("failing tests:");
  const names = [...failures.matchAll(/^✖ (.*) \([\d.]+ms\)$/gm)].map(([, name = ""]) => name);
  return { isWell: false, passed: [], failed: [...new Set(names)] };
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

/** An attribute of XML as text; Node 22 writes `&amp;quot;` for a quotation mark. */
const textOf = (attribute: string) =>
  attribute.replaceAll("&amp;", "&").replace(/&(quot|lt|gt|apos);/g, (_, entity: string) => ENTITIES[entity]!);

const ENTITIES: Record<string, string> = { quot: '"', lt: "<", gt: ">", apos: "'" };

const print = (line: string) => void process.stdout.write(`${line}\n`);

process.exitCode = (await main()) ? 0 : 1;
