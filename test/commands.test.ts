/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, jsonLines } from "./support/basics.ts";
import { Program, query, runProgram } from "./support/collectors.ts";
import { folder } from "./support/files.ts";
import { freshDatabase } from "./support/postgres.ts";
import { converse } from "./support/senders.ts";

describe("query", () => {
  test("prints the rows of a statement as a table, or as a JSON object a line that keeps every digit", async (t) => {
    const { url } = await freshDatabase(t);
    const text = "select 1 as one, 'a\"b' as text, null as nothing, 12345678901234567890.50 as big, true as yes";
    const environment = { DATABASE_URL: url };

    const table = await runProgram(["query", `${text} union all select 22, 'c', null, 1, false`], { environment });
    const json = await runProgram(["query", text, "--json"], { environment });

    const [head = "", rule = "", first = "", second = ""] = table.stdout.split("\n");
    assert.match(head, /^one +text +nothing +big +yes$/);
    assert.match(rule, /^-+/);
    assert.match(first, /^1 +a"b +12345678901234567890\.50/);
    assert.match(second, /^22 +c +1/);
    assert.equal(json.stdout, '{"one":1,"text":"a\\"b","nothing":null,"big":12345678901234567890.50,"yes":true}\n');
    assert.deepEqual([table.code, json.code], [0, 0]);
  });

  test("prints of a statement without rows what psql does, and with --json nothing", async (t) => {
    const { url } = await freshDatabase(t);
    const run = async (...words: string[]) =>
      (await runProgram(["query", ...words], { environment: { DATABASE_URL: url } })).stdout;

    assert.equal(await run("create table numbers (n int)"), "CREATE TABLE\n");
    assert.equal(await run("insert into numbers values (1), (2)"), "INSERT 0 2\n");
    assert.equal(await run("insert into numbers values (3)", "--json"), "");
    assert.equal(await run("delete from numbers where n > 1"), "DELETE 2\n");
    assert.equal(await run("select n from numbers where n > 1"), "n\n-\n");
  });

  test("query reports what the server refuses and exits non-zero, also where the text is no query", async (t) => {
    const { url } = await freshDatabase(t);
    const environment = { DATABASE_URL: url };

    const ends = await Promise.all(
      [["query", "select * from nowhere_at_all"], ["query"], ["query", "select 1", "more"], ["frobnicate"]].map(
        (words) => runProgram(words, { environment }),
      ),
    );

    for (const { code, stdout, stderr } of ends) {
      assert.notEqual(code, 0);
      assert.equal(stdout, "");
      assert.match(stderr, /^[^\n]+\n$/);
    }
    assert.match(ends[0]?.stderr ?? "", /^Cannot run query: [^\n]*nowhere_at_all/);
  });

  test("asks a running embedded collector, opens the embedded database itself where none runs, and refuses errors in both", async (t) => {
    const flags = ["--data-dir", await folder(t)];
    const program = await Program.start(t, flags);
    await converse(program.port, "one\n");
    await eventually(async () => assert.deepEqual(jsonLines(await query(flags)), [{ message: "one" }]));
    const errorBeside = await runProgram(["query", "select nonsense", ...flags]);
    await program.stop();

    const table = await runProgram(["query", "select message, level from logs", ...flags]);
    const errorWithout = await runProgram(["query", "select nonsense", ...flags]);

    const atOnce = await Promise.all([1, 2, 3].map((n) => runProgram(["query", `select ${n} as n`, ...flags])));

    assert.match(table.stdout, /^message +level\n-+ +-+\none +200\n/);
    for (const [index, { code, stdout }] of atOnce.entries())
      assert.deepEqual([code, stdout], [0, `n\n-\n${index + 1}\n`]);
    for (const { code, stderr } of [errorBeside, errorWithout]) {
      assert.notEqual(code, 0);
      assert.match(stderr, /^Cannot run query: [^\n]*nonsense/);
    }
  });
});
