/* oxlint-disable typescript/no-floating-promises -- node:test waits for tests */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { eventually } from "./support/basics.ts";
import { runProgram, start } from "./support/collectors.ts";
import { codeBlocks, readDocs, withTables } from "./support/docs.ts";
import { ROOT, bareCopy, folder } from "./support/files.ts";
import { freshDatabase, rowsOf } from "./support/postgres.ts";
import { lacks } from "./support/programs.ts";

const openssl = { skip: lacks("openssl", "version", /^OpenSSL 3/, "openssl") };

const python = { skip: lacks("python3", "--version", /^Python 3/, "python3") };

const PHP_LIBRARY = `include "Monolog/autoload.php";`;
const PHP_PROGRAM = `${PHP_LIBRARY}
function stock() { throw new RuntimeException("no stock"); }
try { stock(); } catch (Exception $cause) { $exception = new RuntimeException("no order", 0, $cause); }
`;

/** The recipes for a stack trace as one line that take a program of this machine, and no compiler. */
const RECIPES = [
  {
    language: "python",
    app: "root",
    trace: /"stack":"Traceback .*ZeroDivisionError/,
    ...python,
    run: (code: string) => runProgram(["-c", code], { program: ["python3"] }),
  },
  {
    language: "php",
    app: "shop",
    trace: /"trace":\["Command line code:/,
    skip: lacks("php", `-r${PHP_LIBRARY} echo class_exists("Monolog\\\\Logger");`, /^1$/, "php-monolog"),
    run: (code: string) => runProgram(["-r", PHP_PROGRAM + code], { program: ["php"] }),
  },
];

describe("docs", () => {
  test("the tables of options and of formats are those of the code; `npm run docs` writes them", async () => {
    const docs = await readDocs();

    for (const [path, text] of docs) assert.equal(text, await withTables(text), path);
    assert.equal(docs.get("README.md")?.match(/^\| `--/gm)?.length, 10);
    assert.match(docs.get("docs/options.md") ?? "", /^<!-- options -->$/m);
    for (const name of "envelopes bodies keys dates levels alarms zones".split(" "))
      assert.match(docs.get("docs/formats.md") ?? "", new RegExp(`^<!-- formats: ${name} -->$`, "m"));
  });

  test("every link within the README and docs/ leads to a file, and to a heading of it", async () => {
    const docs = await readDocs();
    const headings = new Map(Array.from(docs, ([path, text]) => [path, anchorsOf(text)]));

    for (const [path, text] of docs)
      for (const [, target = ""] of text.matchAll(/\]\(([^)]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [file = "", anchor] = target.split("#");
        const linked = file === "" ? path : join(dirname(path), file);
        assert.ok(existsSync(join(ROOT, linked)), `${path} links to ${target}`);
        if (anchor !== undefined) assert.ok(headings.get(linked)?.includes(anchor), `${path} links to ${target}`);
      }
  });

  test("the table of faults has 40 kinds or more, each with a fault of prove or a test that is there", async () => {
    const guarantees = (await readDocs()).get("docs/guarantees.md") ?? "";

    const rows = [...guarantees.matchAll(/^\|.*\| (\w+): `([^`]+)` +\|$/gm)];

    assert.ok(rows.length >= 40);
    for (const [row, file = "", name = ""] of rows) {
      const path = join(ROOT, "test", file === "prove" ? "prove/faults.ts" : `${file}.test.ts`);
      assert.ok((await readFile(path, "utf8")).includes(name), row);
    }
  });

  test("every `npm i` names the versions of package.json, where these are exact", async () => {
    const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    const docs = [...(await readDocs()).values()].join("\n");

    const lists = Array.from(docs.matchAll(/npm i ([\w@][\w@/. -]+)/g), ([, list = ""]) => list.trim().split(" "));

    assert.ok(lists.length > 2);
    for (const [, name = "", version] of lists.flat().map((word) => /^(@?[^@]+)(?:@(.+))?$/.exec(word) ?? []))
      if (/^\d/.test(dependencies[name])) assert.equal(version, dependencies[name], name);
  });

  test("the clients for senders read an ok for each line, one at a time and to the end", python, async (t) => {
    const { port } = await start(t);
    const senders = (await readDocs()).get("docs/senders.md")?.replaceAll("8888", String(port)) ?? "";
    const [inNode = ""] = codeBlocks(senders, "js");
    const [inPython = "", inHurry = ""] = codeBlocks(senders, "python");

    const node = await runProgram(["--input-type=module", "-e", inNode], { program: [process.execPath] });
    const waiting = await runProgram(["-c", inPython], { program: ["python3"] });
    const hurried = await runProgram(["-c", inHurry], { program: ["python3"] });

    assert.equal(node.stdout, "first ok\nsecond ok\n", node.stderr);
    assert.equal(waiting.stdout, "first ok\nsecond ok\n", waiting.stderr);
    assert.equal(hurried.stdout, "100000 sent, 100000 on disk\n", hurried.stderr);
  });

  for (const { language, app, trace, skip, run } of RECIPES)
    test(
      `the recipe for stack traces of ${language} makes an event one row, with level and trace`,
      { skip },
      async (t) => {
        const { url, sql } = await freshDatabase(t);
        const { port } = await start(t, { databaseUrl: url });
        const blocks = codeBlocks((await readDocs()).get("docs/senders.md") ?? "", language);
        const recipe = blocks.find((code) => /stack/i.test(code))?.replaceAll("8888", String(port)) ?? "";

        const ended = await run(recipe);

        assert.equal(ended.code, 0, ended.stderr);
        const [row, ...others] = await eventually(async () => {
          const rows = await rowsOf(sql);
          assert.ok(rows.length > 0);
          return rows;
        });
        assert.deepEqual([row?.level, row?.message, row?.app, others.length], [400, "order 42 failed", app, 0]);
        assert.match(JSON.stringify(row?.attributes), trace);
      },
    );

  test("the program that embeds the collector runs in a folder that has its two files", async (t) => {
    const cwd = await bareCopy(t, ["collector.ts", "schema.sql"]);
    const [source = ""] = codeBlocks((await readDocs()).get("docs/options.md") ?? "", "ts");
    await writeFile(join(cwd, "embed.mts"), source);

    const ended = await runProgram(["embed.mts"], { program: [process.execPath, "--import", "tsx"], cwd });

    assert.match(ended.stdout, /^\d+ \{ received: 0, stored: 0, deadLettered: 0, inJournal: 0 \}\n/, ended.stderr);
    assert.equal(ended.code, 0);
  });

  test("the recipe for TLS makes certificates that clients which verify strictly take", openssl, async (t) => {
    const cwd = await folder(t);
    const recipe = codeBlocks((await readDocs()).get("docs/operating.md") ?? "", "sh").find((code) =>
      /Logs CA/.test(code),
    );
    const verify = "openssl verify -x509_strict -CAfile ca.crt";

    const script = [recipe, `${verify} -purpose sslserver server.crt`, `${verify} -purpose sslclient client.crt`].join(
      "\n",
    );
    const ended = await runProgram(["-ec", script], { program: ["bash"], cwd });

    assert.deepEqual([ended.stdout, ended.code], ["server.crt: OK\nclient.crt: OK\n", 0]);
  });
});

/** What GitHub makes of the headings. */
const anchorsOf = (text: string) =>
  Array.from(text.matchAll(/^#+ (.+)$/gm), ([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\d\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
