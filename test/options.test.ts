/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { UsageError, VERSION, helpText, readOptions, startCollector } from "../collector.ts";
import { DAY, KIB } from "./support/basics.ts";
import { runProgram } from "./support/collectors.ts";
import { MODULES, ROOT, bareCopy, folder } from "./support/files.ts";

describe("options", () => {
  test("a flag wins over its environment variable, and an empty variable is as none", () => {
    const options = readOptions({ workers: "3" }, { COLLECTOR_WORKERS: "5", COLLECTOR_ACK: "never", DATABASE_URL: "" });

    assert.equal(options.workers, 3);
    assert.equal(options.ack, "never");
    assert.equal(options.databaseUrl, "");
    assert.equal(readOptions({}, { COLLECTOR_WORKERS: "" }).workers, 2);
  });

  test("sizes take KiB, MiB and GiB, times take ms, s, m, h and d", () => {
    const options = readOptions({ maxLine: "2KiB", journalMax: "3GiB", idleTimeout: "5m", drainTimeout: "250ms" }, {});

    assert.deepEqual(
      [options.maxLine, options.journalMax, options.idleTimeout, options.drainTimeout],
      [2 * KIB, 3 * KIB ** 3, 300_000, 250],
    );
    assert.equal(readOptions({ idleTimeout: "1h" }, {}).idleTimeout, 3_600_000);
    assert.equal(readOptions({ maxLine: "1MiB" }, {}).maxLine, KIB ** 2);
    assert.equal(readOptions({ idleTimeout: "1d" }, {}).idleTimeout, 86_400_000);
  });

  test("the defaults are those of the documentation", () => {
    const options = readOptions({}, {});

    const { listen, databaseUrl, dataDir, ack, workers, http, page, ...others } = options;
    const { tlsCert, tlsKey, tlsCa, allow, retentionLevel, timezone, ...numbers } = others;
    assert.deepEqual(
      [listen, databaseUrl, dataDir, ack, workers, http, page],
      [
        [{ scheme: "", host: "127.0.0.1", port: 8888 }],
        "",
        "./collector-data",
        "auto",
        2,
        { host: "127.0.0.1", port: 8889 },
        "token",
      ],
    );
    assert.deepEqual(numbers, {
      maxLine: 64 * KIB,
      maxConnections: 1000,
      maxConnectionsPerPeer: "half",
      proxyFrom: [],
      idleTimeout: 0,
      journalMax: KIB ** 3,
      linger: 25,
      drainTimeout: 10_000,
      retention: 0,
    });
    assert.deepEqual([tlsCert, tlsKey, tlsCa, allow, retentionLevel, timezone], ["", "", "", [], [], ""]);
  });

  test("texts are parsed to values once, and the values are taken as they are", () => {
    const texts = {
      listen: "tcp://[::1]:1,tls://h:2",
      allow: "::ffff:10.1.2.3,fd00::/8",
      retentionLevel: "info=9d,debug=2d",
      http: "off",
    };

    const options = readOptions(texts, {});

    assert.deepEqual(options.listen, [
      { scheme: "tcp", host: "::1", port: 1 },
      { scheme: "tls", host: "h", port: 2 },
    ]);
    assert.deepEqual(options.allow, [
      { base: "10.1.2.3", prefix: 32, family: "ipv4" },
      { base: "fd00::", prefix: 8, family: "ipv6" },
    ]);
    assert.deepEqual(options.retentionLevel, [
      { from: 0, to: 100, ageMs: 2 * DAY },
      { from: 101, to: 200, ageMs: 9 * DAY },
    ]);
    assert.equal(options.http, "off");
    assert.deepEqual(readOptions(options, {}), options);
  });

  test("startCollector refuses a value that is not allowed, before it makes anything", async (t) => {
    const dataDir = join(await folder(t), "none");
    const given: [Parameters<typeof startCollector>[0], RegExp][] = [
      [{ workers: 0 }, /--workers 0: allowed is a whole number from 1 to 64/],
      [{ workers: 1.5 }, /--workers 1\.5/],
      [{ maxLine: Number.NaN }, /--max-line null/],
      [{ drainTimeout: -1 }, /--drain-timeout -1/],
      [{ listen: [] }, /--listen \[\]/],
      [{ listen: [{ scheme: "tcp", host: "h", port: 65_536 }] }, /--listen \[\{"scheme":"tcp"/],
      [{ allow: [{ base: "10.0.0.0", prefix: 33, family: "ipv4" }] }, /--allow \[/],
      [{ retentionLevel: [{ from: 0, to: 1000, ageMs: DAY }] }, /--retention-level \[/],
      [{ http: { host: "h", port: -1 } }, /--http \{/],
    ];

    for (const [options, reason] of given)
      await assert.rejects(startCollector({ ...options, dataDir }), (error) => {
        return error instanceof UsageError && reason.test(error.message);
      });
    assert.ok(!existsSync(dataDir));
  });

  test("a bad value is refused with the option, the value and what is allowed, from a flag or a variable", () => {
    const bad = [
      { flags: { workers: "0" }, says: /--workers "0": .*1 to 64/ },
      { flags: { journalMax: "10" }, says: /--journal-max "10": .*from 1MiB to 256GiB/ },
      { flags: { idleTimeout: "0s" }, says: /--idle-timeout "0s": .*off, or a time .*from 1ms to 24d/ },
      { flags: { retentionLevel: "debug=2d,info=9d,trace=3d" }, says: /trace=3d": .*each level once/ },
      {
        flags: { http: "[::1]:88", listen: "0.0.0.0:8,tls://[::1]:88" },
        says: /--http "\[::1\]:88" beside --listen "\[::1\]:88": /,
      },
      { flags: { listen: "8888" }, says: /--listen "8888": .*host and a port/ },
      { flags: { timezone: "Middle/Earth" }, says: /--timezone "Middle\/Earth": .*IANA time zone/ },
      { flags: { ack: "maybe" }, says: /--ack "maybe": .*auto, always/ },
      { flags: { maxLine: "64KB" }, says: /--max-line "64KB": .*size/ },
      { flags: { idleTimeout: "5" }, says: /--idle-timeout "5": .*time/ },
      { flags: { databaseUrl: "mysqlx://x" }, says: /--database-url "mysqlx:\/\/x": .*postgres:\/\// },
      { flags: { databaseUrl: "postgers://u:secret@h/db" }, says: /--database-url "postgers:\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres://u:se?cret@h/db" }, says: /--database-url "postgres:\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres//u:secret@h/db" }, says: /--database-url "postgres\/\/\*\*\*@h\/db": / },
      { flags: { databaseUrl: "postgres:h?password=secret" }, says: /--database-url "postgres:h\?password=\*\*\*": / },
      { flags: { databaseUrl: "postgres://h:99999/db" }, says: /--database-url "postgres:\/\/h:99999\/db": / },
      { environment: { COLLECTOR_JOURNAL_MAX: "lots" }, says: /COLLECTOR_JOURNAL_MAX "lots": .*size/ },
      { environment: { COLLECTOR_DRAIN_TIMEOUT: "-1s" }, says: /COLLECTOR_DRAIN_TIMEOUT "-1s": .*time/ },
    ];

    for (const { flags = {}, environment = {}, says } of bad) {
      assert.throws(
        () => readOptions(flags, environment),
        (error) => error instanceof UsageError && says.test(error.message),
      );
    }
  });

  test("--help lists every option with its variable, --version prints the version", async () => {
    const [help, version] = await Promise.all([runProgram(["--help"]), runProgram(["--version"])]);

    assert.equal(help.stdout, `${helpText()}\n`);
    for (const name of ["listen", "database-url", "data-dir", "workers", "ack", "max-line", "max-connections"])
      assert.match(help.stdout, new RegExp(`--${name} `));
    for (const name of ["COLLECTOR_IDLE_TIMEOUT", "COLLECTOR_JOURNAL_MAX", "COLLECTOR_DRAIN_TIMEOUT", "DATABASE_URL"])
      assert.match(help.stdout, new RegExp(name));
    assert.deepEqual([version.stdout, version.code], [`${VERSION}\n`, 0]);
  });

  test("--help fits 100 columns", () => {
    for (const line of helpText().split("\n")) assert.ok(line.length <= 100, line);
  });

  test("a start with a bad value, an unknown flag or a folder that can't be made ends in one line and exit code 2", async () => {
    const starts = [
      { words: ["--workers", "many"], says: /--workers "many"/ },
      { words: ["--no-such-flag"], says: /--no-such-flag/ },
      { words: ["--data-dir", "/dev/null/data"], says: /\/dev\/null\/data: ENOTDIR/ },
      { words: ["--data-dir", "/proc/none/data"], says: /\/proc\/none: ENOENT/ }, // for which Node's own mkdir never ends
      { words: ["collect", "more"], says: /"collect more": allowed is page, search/ },
    ];

    const ends = await Promise.all(starts.map(({ words }) => runProgram(["--listen", "127.0.0.1:0", ...words])));

    for (const [index, { stderr, code }] of ends.entries()) {
      assert.match(stderr, starts[index]?.says ?? /^$/);
      assert.match(stderr, /^Cannot [^\n]+\n$/);
      assert.equal(code, 2);
    }
  });

  test("a copy without schema.sql, with an old one or without a package names what to copy or to install, exit code 2", async (t) => {
    const bare = await bareCopy(t, ["collector.ts"], ["tsx"]);
    const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    const packages = ["postgres", "@electric-sql/pglite", "@electric-sql/pglite-socket"];
    const program = [process.execPath, join(MODULES, "tsx/dist/cli.mjs"), "collector.ts"];
    const flags = ["--listen", "127.0.0.1:0", "--data-dir", join(bare, "data")];

    const withoutSchema = await runProgram(flags, { program, cwd: bare });
    const schema = await readFile(join(ROOT, "schema.sql"), "utf8");
    await writeFile(join(bare, "schema.sql"), schema.replaceAll("collector schema 2", "collector schema 1"));
    const oldSchema = await runProgram(flags, { program, cwd: bare });
    await writeFile(join(bare, "schema.sql"), schema);
    const withoutPackage = await runProgram(flags, { program, cwd: bare });

    assert.match(withoutSchema.stderr, /^[^\n]*schema\.sql[^\n]*\n$/);
    const exact = packages.map((name) => `${name}@${dependencies[name]}`).join(" ");
    assert.equal(
      withoutPackage.stderr,
      `Cannot find ${packages.join(" and ")}: type npm i ${exact}, or set --database-url\n`,
    );
    assert.match(oldSchema.stderr, /^Cannot use [^\n]*schema\.sql: it is version 1, [^\n]*needs 2; copy [^\n]*\n$/);
    assert.deepEqual([withoutSchema.code, oldSchema.code, withoutPackage.code], [2, 2, 2]);
  });
});
