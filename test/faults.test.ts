/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, readdir, rename, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { Journal } from "../collector.ts";
import { DAY, KIB, eventually, range } from "./support/basics.ts";
import { ANY_PORT, NOWHERE, Program, runProgram, start, storedFrom, whenStored } from "./support/collectors.ts";
import {
  FAILING_SYNCS,
  FULL_FOR_BIG_LINES,
  MINUTES_AS_SECONDS,
  NO_MOUNT,
  REFUSING_TRIGGER,
  faultyFiles,
  fillUp,
  preloaded,
  settableClock,
  smallDisk,
  tablespaceOn,
} from "./support/faults.ts";
import { COLLECTOR, ROOT, copyOf, folder } from "./support/files.ts";
import { drain, frames, segmentIn, writeJournal } from "./support/journals.ts";
import { scrape, valueOf } from "./support/metrics.ts";
import {
  countOf,
  databaseWithTables,
  freshDatabase,
  lockWaits,
  messages,
  proxyBefore,
  rowsOf,
  server,
  terminateConnections,
} from "./support/postgres.ts";
import { isInstalled, peakRss } from "./support/processes.ts";
import { Sender, converse, touch } from "./support/senders.ts";

describe("faults: the journal's disk", () => {
  test("an empty segment, foreign files and one that only bears a segment's name cost no line of the others", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["first"]);
    await writeFile(join(directory, `0000000002-${randomUUID()}.segment`), "");
    const foreign = join(directory, `0000000003-${randomUUID()}.segment`);
    const bytes = randomBytes(5000);
    await writeFile(foreign, bytes);
    await writeFile(join(directory, "notes.txt"), "not ours");
    await writeJournal(directory, ["last"]);

    const { entries, logged } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "last"]);
    assert.match(logged.join("\n"), /cannot read 4960 bytes at 40 of .*0000000003-/);
    assert.deepEqual(await readFile(foreign.replace("segment", "bad")), bytes);
    assert.equal(await readFile(join(directory, "notes.txt"), "utf8"), "not ours");
  });

  test("a segment that is missing costs no line of those before and behind it", async (t) => {
    const directory = await folder(t);
    for (const word of ["first", "second", "third"]) await writeJournal(directory, [word]);
    const names = (await readdir(directory)).filter((name) => name.endsWith(".segment"));
    await rm(join(directory, names.toSorted()[1] ?? ""));

    const { entries, logged } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "third"]);
    assert.deepEqual(logged, []);
  });

  test("a segment that is cut off in the middle of a backlog costs only what was behind the cut", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["first", "second"]);
    const { path, ends } = await segmentIn(directory);
    await writeJournal(directory, ["third"]);
    await truncate(join(directory, path), (ends[0] ?? 0) + 20);

    const { entries } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "third"]);
  });

  test("any flipped bit of an entry's header leaves the times of later lines sound, and the ledger even", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second"]);
    const { path, bytes, ends } = await segmentIn(original);
    const header = bytes.lastIndexOf("LOG\x01", ends[1], "latin1");
    const startedAt = Date.now();

    for (let bit = 0; bit < 32 * 8; bit++) {
      const directory = await copyOf(t, original);
      const flipped = Buffer.from(bytes);
      flipped[header + (bit >> 3)] = (flipped[header + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      await writeFile(join(directory, path), flipped);
      const logged = await writeJournal(directory, ["later"]);
      const { entries, left } = await drain(directory);

      assert.deepEqual(wordsOf(entries), ["first", "later"], `bit ${bit}`);
      assert.ok(Math.abs((entries[1]?.time ?? 0) / 1000 - startedAt) < DAY, `bit ${bit}`);
      assert.equal(left, 0, `bit ${bit}`);
      assert.doesNotMatch(logged.join("\n"), /clock/, `bit ${bit}`);
    }
  });

  test("a format that a newer collector wrote ends the start in one line and exit code 2, and nothing is deleted", async (t) => {
    const dataDir = await folder(t);
    const directory = join(dataDir, "journal");
    await writeJournal(directory, ["precious"]);
    const { path, bytes } = await segmentIn(directory);
    bytes.writeUInt32LE(99, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(16, 40), crc32(bytes.subarray(0, 12))), 12);
    await writeFile(join(directory, path), bytes);

    const flags = ["--listen", "127.0.0.1:0", "--data-dir", dataDir];
    const { code, stderr } = await runProgram(flags, { environment: { DATABASE_URL: NOWHERE } });

    assert.equal(code, 2);
    assert.match(stderr, /^Cannot read [^\n]*version 99[^\n]*newer[^\n]*\n$/);
    assert.deepEqual(await readdir(directory), [path]);
    assert.deepEqual(await readFile(join(directory, path)), bytes);
  });

  test("a data directory without permission ends the start in one line that names it and the cause, exit code 2", async (t) => {
    const isRoot = process.getuid?.() === 0;
    if (isRoot && !(await isInstalled("setpriv")))
      return t.skip("setpriv (util-linux), which gives up root, is not installed");
    const program = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...COLLECTOR] : COLLECTOR;
    const open = { program, environment: { DATABASE_URL: NOWHERE } };
    if ((await runProgram(["--version"], open)).code !== 0) return t.skip("another user can't read this folder");
    const dataDir = await folder(t);
    await chmod(dataDir, 0o500);

    const { code, stderr } = await runProgram(["--listen", "127.0.0.1:0", "--data-dir", dataDir], open);

    assert.match(stderr, new RegExp(`^Cannot [^\n]*${dataDir}[^\n]*EACCES[^\n]*\n$`));
    assert.equal(code, 2);
  });

  test("a data directory copied and started beside the first: what both hold is stored once, what each receives, too", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const backlog = range(2000).map((n) => `old ${n}`);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, `${backlog.join("\n")}\n`);
    await earlier.close();
    const copy = await copyOf(t, dataDir);

    const both = await Promise.all([dataDir, copy].map((path) => start(t, { dataDir: path, databaseUrl: url })));
    await Promise.all(both.map(({ port }, index) => converse(port, `new ${index}\n`.repeat(1000))));
    for (const collector of both) await whenStored(collector);

    const rows = messages(await rowsOf(sql));
    assert.deepEqual(
      rows.filter((message) => message.startsWith("old")),
      backlog,
    );
    assert.deepEqual(
      [0, 1].map((index) => rows.filter((message) => message === `new ${index}`).length),
      [1000, 1000],
    );
  });
});

describe("faults: writes and syncs, refused at the file calls", () => {
  test("a write that is refused or cut short is made again whole: nothing is acknowledged before, all is there after", async (t) => {
    for (const fault of ["ENOSPC", "EDQUOT", "EFBIG", "short"]) {
      const files = await faultyFiles(t);
      const collector = await start(t, { dataDir: files.dataDir });
      const sender = await Sender.connect(t, collector.port);
      await sender.asks("before\n", "ok\n");

      files.writes = fault;
      await sender.send("during\n");
      await eventually(() => assert.match(collector.logged.join("\n"), CANNOT_WRITE));
      const repliesMeanwhile = sender.replies;
      files.writes = "";
      await sender.hears("ok\nok\n");
      await collector.close();

      assert.equal(repliesMeanwhile, "ok\n", fault);
      assert.equal(collector.logged.filter((line) => CANNOT_WRITE.test(line)).length, 1, fault);
      assert.match(collector.logged.join("\n"), /journal can be written again: senders go on/);
      assert.deepEqual(wordsOf((await drain(join(files.dataDir, "journal"))).entries), ["before", "during"], fault);
    }
  });

  test("a sync that fails ends the collector: it names the file and the cause, and acknowledges nothing from then on", async (t) => {
    const files = await faultyFiles(t);
    const collector = await start(t, { dataDir: files.dataDir });
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("before\n", "ok\n");

    files.syncs = "EIO";
    await sender.send("during\n");

    await assert.rejects(
      collector.done,
      /^Error: Cannot sync \S+\.segment: EIO; no more lines can be promised, stopping$/,
    );
    files.syncs = "";
    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n");
    assert.equal(await converse(collector.port, "after\n").catch(() => ""), "");
  });

  test("a process whose sync fails ends with one line and exit code 1, and its sender without an ok", async (t) => {
    const program = await preloaded(t, FAILING_SYNCS);
    const flags = ["--data-dir", await folder(t)];
    const running = await Program.start(t, flags, { DATABASE_URL: NOWHERE }, { program });
    const sender = await Sender.connect(t, running.port);

    await sender.asks("before\n", "ok\n");
    await sender.send("during\n");

    assert.equal(await running.ended(), 1);
    assert.equal(sender.replies, "ok\n");
    assert.match(running.stderr, /^Cannot sync \S+\.segment: EIO; no more lines can be promised, stopping\n$/m);
    assert.doesNotMatch(running.stderr, /^ +at /m);
  });

  test("a sync of a new segment that fails ends the collector as well, at its start and later", async (t) => {
    const files = await faultyFiles(t);
    const later = await start(t, { dataDir: files.dataDir, journalMax: KIB ** 2 });
    await converse(later.port, "first\n");
    files.syncs = "EIO";
    const atStart = await start(t, { dataDir: (await faultyFiles(t)).dataDir });

    const sending = converse(later.port, `${"x".repeat(KIB)}\n`.repeat(200)).catch(() => "");

    await Promise.all([atStart, later].map(({ done }) => assert.rejects(done, /Cannot sync \S+: EIO; no more lines/)));
    assert.equal(await sending, "");
  });
});

describe("faults: the data directory", () => {
  for (const [what, takeAway] of Object.entries({
    deleted: (dataDir: string) => rm(dataDir, { recursive: true }),
    "moved away": (dataDir: string) => rename(dataDir, `${dataDir}-moved`),
  }))
    test(`one that is ${what} under a collector ends it within seconds, with one line and exit code 1`, async (t) => {
      const dataDir = join(await folder(t), "data");
      const program = await Program.start(t, ["--data-dir", dataDir], { DATABASE_URL: NOWHERE });
      const sender = await Sender.connect(t, program.port);
      await sender.asks("before\n", "ok\n");

      await takeAway(dataDir);
      const takenAtMs = performance.now();
      const code = await program.ended();

      assert.equal(code, 1);
      assert.ok(performance.now() - takenAtMs < 20_000); // a second where the machine is not busy
      assert.match(program.stderr, /^Cannot keep lines in \S+\.segment: it was deleted or moved away; stopping, .*$/m);
      assert.equal(sender.replies, "ok\n");
    });

  test("a data directory that is deleted while lines are being synced leaves them without an ok", async (t) => {
    const files = await faultyFiles(t);
    const dataDir = join(files.dataDir, "data");
    const collector = await start(t, { dataDir });
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("before\n", "ok\n");
    files.syncs = "held";
    await sender.send("during\n");
    await eventually(() => assert.ok(files.goOn));

    await rm(dataDir, { recursive: true });
    await assert.rejects(collector.done, /^Error: Cannot keep lines in/);
    files.syncs = "";
    files.goOn?.();

    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n");
  });

  test("a data directory that a power cut may take, as its parent can't be synced, ends the start", async (t) => {
    const files = await faultyFiles(t);
    const dataDir = join(files.dataDir, "new");
    files.call = "sync";

    await assert.rejects(start(t, { dataDir }), new RegExp(`^Error: Cannot make the folder ${dataDir}: EIO`));
  });
});

describe("faults: reads, refused at the file calls", () => {
  test("a segment that can't be read ends the start, or the collector, in words that name it; its lines stay", async (t) => {
    const files = await faultyFiles(t);
    const directory = join(files.dataDir, "journal");
    await writeJournal(directory, ["precious"]);
    const { path } = await segmentIn(directory);
    const words = new RegExp(`^Error: Cannot read ${join(directory, path)}: EIO; stopping, as it may hold lines`);

    files.readFiles = "EIO";
    await assert.rejects(start(t, { dataDir: files.dataDir }), words);
    files.readFiles = "";
    files.reads = "EIO";
    const collector = await start(t, { dataDir: files.dataDir });
    await assert.rejects(collector.done, words);
    files.reads = "";
    await collector.close();

    assert.deepEqual(wordsOf((await drain(directory)).entries), ["precious"]);
  });
});

describe("faults: the journal's folder, refused at the file calls", () => {
  for (const call of ["rename", "writeFile", "sync"] as const) {
    test(`a stored segment that can't be removed (${call}) is logged once, ends nothing, and is removed with the next`, async (t) => {
      const files = await faultyFiles(t);
      const directory = join(files.dataDir, "journal");
      for (const word of ["first", "second"]) await writeJournal(directory, [word]);
      const logged: string[] = [];
      const journal = await Journal.open(directory, KIB ** 2, (line) => logged.push(line));
      await journal.append("192.0.2.1", frames(["third"]));
      const reader = journal.read();

      files.call = call;
      await journal.release((await reader.next()).value, 0);
      files.call = "";
      await journal.release((await reader.next()).value, 0);

      const names = (await readdir(directory)).toSorted();
      assert.deepEqual(
        names.map((name) => name.replace(/-.*\./, ".")),
        ["0000000001.released", "0000000002.released", "0000000003.segment"],
      );
      assert.match(
        logged[0] ?? "",
        /^cannot remove \S+0000000001-\S+: EIO; its lines are stored, trying again when more/,
      );
      assert.deepEqual(logged.slice(1), ["journal's stored segments can be removed again"]);
      await journal.seal();
      await journal.close();
    });
  }

  test("a stored segment that can't be removed until the end is read by the next start, which stores it no second time", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const files = await faultyFiles(t);
    await writeJournal(join(files.dataDir, "journal"), ["once"]);
    files.call = "rename";
    const first = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await converse(first.port, "and once\n");
    await whenStored(first);
    await first.close();
    files.call = "";

    const second = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await whenStored(second);

    assert.equal(second.ledger().received, 2);
    assert.deepEqual(messages(await rowsOf(sql)), ["once", "and once"]);
    assert.deepEqual(countsOf(first.logged, /cannot remove/), [1]);
  });

  test("keys whose file can't be removed fail the upkeep, logged with the file, and not the database", async (t) => {
    const { url } = await freshDatabase(t);
    const files = await faultyFiles(t);
    const released = join(files.dataDir, "journal", `0000000001-${randomUUID()}-99.released`);
    await mkdir(dirname(released));
    await writeFile(released, "");
    await utimes(released, 1, 1);

    files.call = "rm";
    const { logged } = await start(t, { dataDir: files.dataDir, databaseUrl: url });
    await eventually(() => assert.ok(logged.includes(`cannot prune keys: EIO at ${released}; trying again`)));
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() - DAY }); // which is no reason to wait for a day
    files.call = "";

    await eventually(() => assert.ok(logged.includes("can prune keys again")));
    assert.equal(existsSync(released), false);
    assert.deepEqual(countsOf(logged, /cannot store/), [0]);
  });

  test("a folder that can't be listed ends the start in words that name it and the cause", async (t) => {
    const files = await faultyFiles(t);
    files.call = "readdir";

    const opening = start(t, { dataDir: files.dataDir });

    await assert.rejects(opening, /^Error: Cannot read \S+\/journal: EIO; stopping, as it may hold lines/);
  });
});

describe("faults: a disk that is full", () => {
  test("a collector that was started on a full disk stops at a signal, though nobody is connected", async (t) => {
    const disk = await smallDisk(t, "4m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    await fillUp(disk);
    const program = await Program.start(t, ["--data-dir", join(disk, "data")], { DATABASE_URL: NOWHERE });
    await eventually(() => assert.match(program.stderr, CANNOT_WRITE));

    const code = await program.stop();

    assert.equal(code, 0, program.stderr);
  });

  test("the journal's: nothing is acknowledged until there is room; a start on the full disk listens, and drains it", async (t) => {
    const disk = await smallDisk(t, "4m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    const { url, sql } = await freshDatabase(t);
    const flags = ["--data-dir", join(disk, "data"), "--drain-timeout", "0s"];
    const first = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    await converse(first.port, "one\n");
    await fillUp(disk);
    const sender = await Sender.connect(t, first.port);
    await sender.send("refused\n".repeat(20_000)); // more than the journal's padding
    await eventually(() => assert.match(first.stderr, CANNOT_WRITE));
    await first.kill();
    await fillUp(disk);

    const second = await Program.start(t, flags, { DATABASE_URL: url });
    await eventually(async () => assert.equal(messages(await rowsOf(sql))[0], "one"));
    const next = await Sender.connect(t, second.port);
    await next.send("two\n");
    const logged = [first, second].map(
      ({ stderr }) => stderr.split("\n").filter((line) => CANNOT_WRITE.test(line)).length,
    );
    const replies = [sender.replies, next.replies];
    await rm(join(disk, "ballast"), { recursive: true });

    await next.hears("ok\n");
    assert.deepEqual(
      [logged, replies],
      [
        [1, 1],
        ["", ""],
      ],
    );
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["one", "two"]));
    await eventually(() => assert.match(second.stderr, /journal can be written again: senders go on/));
  });

  test("the database's (53100), a real one: senders are acknowledged, it is logged once, and all is stored when there is room", async (t) => {
    const disk = await smallDisk(t, "32m");
    if (disk === undefined) return t.skip(NO_MOUNT);
    const { url, sql } = await freshDatabase(t, await tablespaceOn(t, disk));
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await whenStored(collector);
    const lines = range(20_000).map((n) => `line ${n}`);

    await fillUp(disk);
    const replies = await converse(collector.port, `${lines.join("\n")}\n`);
    await eventually(() => assert.match(collector.logged.join("\n"), SERVER_IS_FULL));
    await rm(join(disk, "ballast"), { recursive: true });

    assert.equal(replies, "ok\n".repeat(lines.length));
    await whenStored(collector);
    assert.deepEqual(messages(await rowsOf(sql)), ["before", ...lines]);
    await eventually(() => assert.match(collector.logged.join("\n"), / is back/));
    assert.deepEqual(countsOf(collector.logged, SERVER_IS_FULL, / is back/), [1, 1]);
  });

  test("the database's (53100), which still takes small batches: it is back only when it takes all, each is logged once", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql.unsafe(FULL_FOR_BIG_LINES);
    const dataDir = await folder(t);
    const lines = ["big", ...range(40_000).map((n) => `small ${n} ${"x".repeat(90)}`)]; // some batches
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, `${lines.join("\n")}\n`);
    await earlier.close();

    const collector = await start(t, { dataDir, databaseUrl: url });
    await eventually(async () => assert.ok(Number(await countOf(sql, "logs")) > 10_000));
    await eventually(() => assert.match(collector.logged.join("\n"), SERVER_IS_FULL));
    const whileFull = [...countsOf(collector.logged, SERVER_IS_FULL, / is back/), collector.health().database.up];
    await sql`create table room ()`;
    await whenStored(collector);

    assert.deepEqual(whileFull, [1, 0, false]);
    assert.deepEqual(messages(await rowsOf(sql)), lines);
    await eventually(() => assert.deepEqual(countsOf(collector.logged, SERVER_IS_FULL, / is back/), [1, 1]));
  });
});

describe("faults: the operator's log", () => {
  test("a journal that is full and has room again, over and over, is logged once a minute, and then as it stands", async (t) => {
    const logged: string[] = [];
    const journal = await Journal.open(await folder(t), 16 * KIB, (line) => logged.push(line));
    const appending = Promise.all(range(100).map(() => journal.append("192.0.2.1", frames(["x".repeat(KIB)]))));

    let released = 0;
    for await (const batch of journal.read()) {
      await eventually(() => assert.ok(journal.obstacle() !== undefined || released + batch.lines > 80)); // full again
      released += batch.lines;
      await journal.release(batch, 0);
      if (released === 100) break;
    }
    await appending;

    assert.deepEqual(countsOf(logged, /journal is full/, /senders go on/), [1, 1]);
    await journal.seal();
    await journal.close();
  });

  test("--help describes dead list, dead retry and dead drop", async () => {
    const { stdout } = await runProgram(["--help"]);

    for (const words of [
      /dead list .*print the lines that the database refused/,
      /dead retry .*store them/,
      /dead drop .*forget them/,
    ])
      assert.match(stdout, words);
  });
});

describe("faults: the clock and the past", () => {
  test("a clock set back by an hour is logged once; created_at follows it, also over a restart, and no line is lost", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const clock = await settableClock(t);
    const flags = ["--data-dir", dataDir];
    const program = await Program.start(t, flags, { DATABASE_URL: url }, { program: clock.program });
    await converse(program.port, "now\n");

    await clock.set(-3600);
    await converse(program.port, "an hour ago\nand on\n");
    await program.stop();
    const next = await Program.start(t, flags, { DATABASE_URL: url }, { program: clock.program });
    await converse(next.port, "later\n");
    await next.stop();

    const rows = await rowsOf(sql);
    assert.deepEqual(messages(rows), ["an hour ago", "and on", "later", "now"]);
    const hour = Number(rows[3]?.created_at) - Number(rows[0]?.created_at);
    assert.ok(Math.abs(hour - 3_600_000) < 600_000, `${hour} ms`);
    assert.match(program.stderr, /^clock was set back by 3[56]\d\d s: created_at follows it$/m);
    assert.equal(countsOf([program.stderr, next.stderr], /clock/).join(), "1");
  });

  test("an outage is logged with the seconds that it took, though the clock was set back meanwhile", async (t) => {
    const { url } = await freshDatabase(t);
    const proxy = await proxyBefore(t, url);
    const collector = await start(t, { databaseUrl: proxy.url });
    await converse(collector.port, "before\n");
    await whenStored(collector);

    proxy.refuse();
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.logged.join("\n"), /cannot store/));
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() - DAY });
    await proxy.mend();

    await eventually(() => assert.match(collector.logged.join("\n"), / is back after \d+ s$/m));
  });

  test("a data directory put back to an older copy loses nothing, and doubles only what was pruned since", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const dataDir = await folder(t);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    await converse(earlier.port, "old 1\n");
    await converse(earlier.port, "old 2\n");
    await earlier.close();
    const older = await copyOf(t, dataDir);
    const later = await start(t, { dataDir, databaseUrl: url });
    await converse(later.port, "new\n");
    await whenStored(later);
    await later.close();
    const storedBefore = messages(await rowsOf(sql));

    for (const pruned of ["none", "some"]) {
      if (pruned === "some")
        await sql`delete from log_entries where position = 0 and journal in (select journal from log_entries group by journal having count(*) > 1)`;
      const copy = await start(t, { dataDir: await copyOf(t, older), databaseUrl: url });
      await converse(copy.port, `after, ${pruned} pruned\n`);
      await whenStored(copy);
      await copy.close();
    }

    assert.deepEqual(storedBefore, ["old 1", "old 2", "new"]);
    const rows = messages(await rowsOf(sql));
    assert.deepEqual(rows, ["old 1", "old 1", "old 2", "new", "after, none pruned", "after, some pruned"]);
  });
});

describe("faults: content", () => {
  const long = randomBytes(6000).toString("base64"); // an index row holds a third of a page, compressed
  for (const { what, change, bad, sqlstate } of [
    {
      what: "a check",
      change: "add check (message not like 'bad%')",
      bad: '{"app":"a","msg":"bad"}',
      sqlstate: "23514",
    },
    { what: "not null", change: "alter app set not null", bad: "bad", sqlstate: "23502" },
    { what: "varchar(20)", change: "alter message type varchar(20)", bad: `bad ${"x".repeat(20)}`, sqlstate: "22001" },
    { what: "an index", change: "", bad: `bad ${long}`, sqlstate: "54000" },
    { what: "a trigger", change: "", bad: "bad", sqlstate: "P0001" },
  ]) {
    test(`${what} of the user's: of 10,000 lines one is refused, then all; the good are stored, the bad become dead letters, byte for byte`, async (t) => {
      const { url, sql } = await databaseWithTables(t);
      if (change) await sql.unsafe(`alter table logs ${change}`);
      if (sqlstate === "54000") await sql`create index on logs (message)`;
      if (sqlstate === "P0001") await sql.unsafe(REFUSING_TRIGGER);
      const collector = await start(t, { databaseUrl: url, ack: "always" });
      const good = range(9999).map((n) => `{"app":"a","msg":"good ${n}"}`);

      await converse(collector.port, `${good.toSpliced(5000, 0, bad).join("\n")}\n`);
      await whenStored(collector);
      const letters = await sql<{ line: Buffer; sqlstate: string }[]>`select line, sqlstate from dead_letters`;
      await converse(collector.port, `${bad}\n`.repeat(300));
      await whenStored(collector);

      assert.deepEqual([letters.length, letters[0]?.line.toString(), letters[0]?.sqlstate], [1, bad, sqlstate]);
      assert.deepEqual(
        messages(await rowsOf(sql)),
        range(9999).map((n) => `good ${n}`),
      );
      const [{ same } = { same: 0 }] =
        await sql`select count(*)::int as same from dead_letters where line = ${Buffer.from(bad)}`;
      assert.deepEqual([same, collector.ledger().deadLettered], [301, 301]);
    });
  }

  test("once the refused lines are dead letters, batches are as large as before: 20,000 good lines take a few statements", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add check (message <> 'bad')`;
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT });
    await converse(collector.port, "bad\n".repeat(500));
    await whenStored(collector);
    const statements = async () => valueOf(await scrape(collector), "collector_batch_lines_count");
    const earlier = await statements();

    const buried = collector.ledger().deadLettered;
    await converse(collector.port, "good\n".repeat(20_000));
    await whenStored(collector);

    assert.equal(buried, 500);
    assert.equal(await countOf(sql, "logs"), 20_000);
    assert.ok((await statements()) - earlier <= 20, `${(await statements()) - earlier} statements`);
  });

  test("a connection that is lost while a batch is taken apart ends nothing: its lines are stored, or dead letters, once", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    await sql`alter table logs add constraint no_spam check (message <> 'spam')`;
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const lock = await sql.reserve();
    await lock`begin`;
    await lock`lock table dead_letters in exclusive mode`;
    await converse(program.port, "good\nspam\ngood\n");
    await eventually(async () => assert.ok((await lockWaits(sql)) > 0));

    await terminateConnections(sql);
    await lock`commit`;
    lock.release();

    await eventually(async () => assert.equal(await countOf(sql, "dead_letters"), 1));
    assert.deepEqual(messages(await rowsOf(sql)), ["good", "good"]);
    assert.equal(await program.stop(), 0);
    assert.doesNotMatch(program.stderr, /Error|^ +at /m);
  });
});

describe("faults: the database", () => {
  test("a table logs that was renamed to keep it is followed by a new one, which takes what comes", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "old\n");
    await whenStored(collector);

    await sql`alter table logs rename to logs_of_last_year`;
    await converse(collector.port, "new\n");
    await whenStored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["new"]);
    assert.equal(await countOf(sql, "logs_of_last_year"), 1);
  });

  test("a server that is read-only for a while is written to again by itself, though sessions keep the setting", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    const { admin } = await server();
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await whenStored(collector);
    await admin`alter database ${sql(name)} set default_transaction_read_only = on`;
    await terminateConnections(sql);
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.logged.join("\n"), /25006/));

    await admin`alter database ${sql(name)} set default_transaction_read_only = off`;

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]));
  });

  test("a connection that stalls for ever is given up after a minute (here a second), and its batch stored by another", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const proxy = await proxyBefore(t, url);
    const program = await preloaded(t, MINUTES_AS_SECONDS);
    const running = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: proxy.url }, { program });
    await converse(running.port, "before\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before"]));

    proxy.freeze();
    const replies = await converse(running.port, "during\n");

    assert.equal(replies, "ok\n");
    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]));
    await eventually(() => assert.match(running.stderr, /cannot store .*: no answer in 70 s.*\n(.*\n)*.* is back/));
  });

  test("a statement_timeout that only an eighth of a batch keeps within halves it as often as it takes", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`create function slow() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.002); return new; end $$;
      create trigger slow before insert on logs for each row execute function slow();
      alter database ${name} set statement_timeout = '400ms'`);
    const dataDir = await folder(t);
    const earlier = await start(t, { dataDir, drainTimeout: 0 });
    for (const _ of range(100)) await converse(earlier.port, "line\n".repeat(10)); // an entry each
    await earlier.close();

    const collector = await start(t, { dataDir, databaseUrl: url });

    await whenStored(collector);
    assert.equal(await countOf(sql, "logs"), 1000);
  });
});

describe("faults: at random", () => {
  test("npm run prove for 10 s: what is acknowledged is stored, nothing twice, all in order", async (t) => {
    const program = [process.execPath, "--import", "tsx", join(ROOT, "test/prove.ts")];
    const environment = { PROVE_DATABASE_URL: (await server()).url };

    const run = Program.spawn(t, ["--seed", "1", "--for", "10s"], { program, environment });
    const code = await run.ended();

    assert.equal(code, 0, run.stdout + run.stderr);
  });
});

describe("faults: senders", () => {
  test("a peer that vanishes without a word is looked for by the kernel (keepalive) after a minute, not after hours", async (t) => {
    if (!(await isInstalled("ss"))) return t.skip("ss (iproute2), which shows a connection's timers, is not installed");
    const collector = await start(t);
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("one\n", "ok\n");

    const { stdout } = await promisify(execFile)("ss", ["-Hton", `sport = :${collector.port}`]);

    assert.match(stdout, /timer:\(keepalive,(?:[1-5]?\d(?:\.\d+)?sec|1min),/);
  });

  test("--idle-timeout frees the places of frozen peers, stopped or reading nothing, at once, and keeps their lines", async (t) => {
    const collector = await start(t, { idleTimeout: 3000, maxConnections: 2 });
    const deaf = await Sender.connect(t, collector.port, { reads: false });
    await deaf.send("x\n".repeat(500_000));
    const code = `const socket = net.connect(${collector.port}, "127.0.0.1", () => socket.write("whole\\nbegun"))`;
    const stopped = Program.spawn(t, ["-e", code], { program: [process.execPath] });
    await eventually(() => assert.ok(collector.ledger().received >= 500_001, "both have sent"));
    stopped.signal("SIGSTOP");
    const frozenAt = performance.now();

    await eventually(async () => assert.equal(await converse(collector.port, "next\n"), "ok\n"));
    await eventually(() => assert.equal(collector.ledger().received, 500_003));

    assert.ok(performance.now() - frozenAt < 29_000); // and not the 30 s of one that half-closed
    assert.equal(stopped.isRunning, true);
  });

  test("a stop does not acknowledge the beginning of a line whose end it did not wait for", async (t) => {
    const { url } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const sender = await Sender.connect(t, program.port);
    await sender.asks("whole\n", "ok\n");

    await sender.send("only the begin");
    const code = await program.stop();
    await eventually(() => assert.ok(sender.isClosed));

    assert.equal(sender.replies, "ok\n");
    assert.equal(code, 0);
  });

  test("a stop does not acknowledge it either where that end, and the sender's, arrive while the beginning is synced", async (t) => {
    const files = await faultyFiles(t);
    const collector = await start(t, { dataDir: files.dataDir });
    const sender = await Sender.connect(t, collector.port);
    await sender.asks("whole\n", "ok\n");
    await sender.send("only the begin");

    files.syncs = "held";
    const closing = collector.close();
    await eventually(() => assert.ok(files.goOn));
    sender.socket.end("ning\n");
    await once(sender.socket, "finish");
    for (const _ of range(20)) await immediate(); // it is read, if anybody reads
    files.syncs = "";
    files.goOn?.();
    await closing;

    await eventually(() => assert.ok(sender.isClosed));
    assert.equal(sender.replies, "ok\n");
  });

  test("a stop tells senders that expect no replies first, and stores all that they sent until they heard of it", async (t) => {
    const stopUnderLines = async () => {
      const { url, sql } = await freshDatabase(t);
      const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
      const socket = connect(program.port, "127.0.0.1").resume();
      const ended = once(socket, "end").then(() => true);
      let lines = 0;

      const stopped = eventually(() => assert.ok(lines > 20)).then(() => program.stop());
      while (!(await Promise.race([ended, sleep(1, false)]))) socket.write(`{"n":${lines++}}\n`);
      socket.end();

      assert.equal(await stopped, 0);
      assert.ok((await countOf(sql, "logs")) === lines, "a line is missing");
    };

    await eventually(stopUnderLines); // again where the machine kept one of them from hearing for the 500 ms of a stop
  });

  test("a stop does not wait for a half-closed sender that reads nothing", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const sender = await Sender.connect(t, program.port, { reads: false });
    await sender.send("x\n".repeat(2_000_000));
    sender.socket.end();
    await eventually(async () => assert.equal(await countOf(sql, "logs"), 2_000_000));

    const startedAt = performance.now();
    const code = await program.stop();

    assert.equal(code, 0);
    assert.ok(performance.now() - startedAt < 29_000); // and not the 30 s that such a sender has otherwise
  });

  test("900 senders of a byte a second hold up nobody and take no memory; their lines are stored when they end", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const program = await Program.start(t, ["--data-dir", await folder(t)], { DATABASE_URL: url });
    const slow = await Promise.all(range(900).map(() => Sender.connect(t, program.port)));
    const quick = await Sender.connect(t, program.port);
    const took: number[] = [];

    for (const byte of "slow\n") {
      const nextAt = performance.now() + 1000; // the pace
      await Promise.all(slow.map((sender) => sender.send(byte)));
      do {
        const startedAt = performance.now();
        await quick.asks("quick\n", "ok\n".repeat(took.length + 1));
        took.push(performance.now() - startedAt);
      } while (performance.now() < nextAt);
    }
    await Promise.all(slow.map((sender) => sender.hears("ok\n")));

    const slowest = Math.max(...took);
    assert.ok(slowest < 30_000, `the slowest of ${took.length} replies came after ${slowest} ms`);
    assert.ok(peakRss(program.pid) < 256 * KIB ** 2);
    assert.equal(await program.stop(), 0);
    assert.deepEqual(countsOf(messages(await rowsOf(sql)), /^slow$/, /^quick$/), [900, took.length]);
  });

  test("10,000 connects and disconnects, orderly and not, leave no file descriptor behind", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const descriptors = async () => (await readdir(`/proc/${program.pid}/fd`).catch(() => [])).length;
    await converse(program.port, "first\n");
    const earlier = await descriptors();

    for (let round = 0; round < 100; round++)
      await Promise.all(
        range(100).map((n) => touch(program.port, n % 3 === 0 ? "end" : n % 3 === 1 ? "destroy" : "reset")),
      );

    await eventually(async () => assert.ok((await descriptors()) <= earlier + 2));
    assert.equal(await converse(program.port, "last\n"), "ok\n");
    assert.equal(program.stderr.match(/error|warning/gi), null);
  });

  test("random bytes are lines as they come: each is stored, its bytes whole in the message or in raw", async (t) => {
    const bytes = Buffer.concat([Buffer.from("a"), randomBytes(200_000)]);
    const lines = bytes
      .toString("latin1")
      .split(/\r?\n|\0/)
      .filter(Boolean);

    const { replies, rows } = await storedFrom(t, bytes, { ack: "always" });

    const kept = rows.map(({ message, attributes }) => {
      const raw = (attributes as { "@collector"?: { raw?: string } } | null)?.["@collector"]?.raw;
      return (raw === undefined ? Buffer.from(message) : Buffer.from(raw, "base64")).toString("latin1");
    });
    assert.equal(replies, "ok\n".repeat(lines.length));
    assert.deepEqual(kept, lines);
  });
});

const CANNOT_WRITE =
  /cannot write the journal in \S+: (?:[A-Z]+|a short write, as on a full disk); senders wait, trying again/;

const SERVER_IS_FULL =
  /cannot store into .*SQLSTATE 53100, the server's disk is full.*; lines wait in the journal, trying again/;

/** How many of the texts match, for each expression. */
const countsOf = (texts: string[], ...expressions: RegExp[]) =>
  expressions.map((expression) => texts.filter((text) => expression.test(text)).length);

const wordsOf = (entries: { words: string[] }[]) => entries.flatMap(({ words }) => words);
