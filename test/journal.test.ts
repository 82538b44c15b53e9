/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, readdir, readlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import type { Batch, Entry } from "../collector.ts";
import { Journal, reread } from "../collector.ts";
import { KIB, eventually, seeded } from "./support/basics.ts";
import { NOWHERE, Program } from "./support/collectors.ts";
import { copyOf, folder } from "./support/files.ts";
import { drain, frames, readAll, segmentIn, writeJournal } from "./support/journals.ts";
import { isInstalled } from "./support/processes.ts";
import { Sender } from "./support/senders.ts";

describe("journal", () => {
  test("what is appended is there after reopening, in order, with its peer and strictly increasing times", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["one", "two"]);
    await writeJournal(directory, ["three"]);

    const { entries } = await drain(directory);

    assert.deepEqual(
      entries.flatMap(({ words }) => words),
      ["one", "two", "three"],
    );
    assert.ok(entries.every(({ body }) => body.includes("192.0.2.1")));
    assert.deepEqual(
      entries.map(({ time }) => time),
      [...new Set(entries.map(({ time }) => time))].toSorted((a, b) => a - b),
    );
  });

  test("append resolves when the lines can be read back, and many at once share few entries", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, KIB ** 2, () => {});

    await Promise.all(
      Array.from({ length: 500 }, (_, index) => journal.append("192.0.2.1", frames([`line-${index}`]))),
    );
    await journal.seal();
    const blocks = await readAll(journal);
    await journal.close();

    assert.deepEqual(
      blocks.flatMap(({ words }) => words),
      Array.from({ length: 500 }, (_, index) => `line-${index}`),
    );
    assert.ok(blocks.length < 50, `${blocks.length} entries`);
  });

  test("positions and times increase from line to line, also over groups that are laid out while one is written", async (t) => {
    const journal = await Journal.open(await folder(t), 16 * KIB, () => {});
    const many = frames(Array.from({ length: 500 }, () => "x"));

    const appended = Promise.all(Array.from({ length: 20 }, () => journal.append("192.0.2.1", many)));
    const entries: Omit<Entry, "body">[] = [];
    for await (const batch of journal.read()) {
      entries.push(...batch.entries.map(({ position, size, timeUs, lines }) => ({ position, size, timeUs, lines })));
      await journal.release(batch, 0);
      if (journal.released === 20 * 500) break;
    }
    await appended;
    await journal.seal();
    await journal.close();

    for (const [index, { position, size, timeUs, lines }] of entries.slice(0, -1).entries()) {
      const next = entries[index + 1];
      assert.equal(next?.position, position + size);
      assert.ok(next.timeUs >= timeUs + lines, `entry ${index + 1}`);
    }
  });

  test("lines that come while others are synced, again and again, take no new memory", async (t) => {
    const journal = await Journal.open(await folder(t), KIB ** 2, () => {});
    const append = (word: string) => journal.append("192.0.2.1", frames([word]));
    const appendTwice = async () => {
      const first = append("first");
      await new Promise<void>((resolve) => process.nextTick(resolve)); // by now, it is being written
      await Promise.all([first, append("second")]);
    };
    await append("opened");
    await appendTwice();
    const { mock } = t.mock.method(Buffer, "allocUnsafeSlow");

    for (let round = 0; round < 3; round++) await appendTwice();
    const allocated = mock.callCount();
    await journal.seal();
    await journal.close();

    assert.equal(allocated, 0);
  });

  test("reread gives a batch's entries once more, and rejects where one was damaged since", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, KIB ** 2, () => {});
    for (const word of ["first", "second"]) await journal.append("192.0.2.1", frames([word]));
    await journal.seal();
    const batch = (await journal.read().next()).value as Batch;

    const again = await reread(batch);
    const { path, ends } = await segmentIn(directory);
    await truncate(join(directory, path), ends[0]! + 1);

    assert.deepEqual(
      again.map(({ position, lines }) => [position, lines]),
      batch.entries.map(({ position, lines }) => [position, lines]),
    );
    await assert.rejects(reread(batch), /^Error: Cannot read .*segment: damaged since it was read first$/);
    await journal.close();
  });

  test("a torn tail at any byte loses the torn entry only, and the journal goes on", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second", "third"]);
    const { path, bytes, ends } = await segmentIn(original);

    for (let size = 0; size < bytes.length; size++) {
      const directory = await copyOf(t, original);
      await truncate(join(directory, path), size);
      await writeJournal(directory, ["later"]);
      const { entries, logged } = await drain(directory);

      const whole = ["first", "second", "third"].filter((_, index) => (ends[index] ?? 0) <= size);
      assert.deepEqual(
        entries.flatMap(({ words }) => words),
        [...whole, "later"],
        `cut to ${size} bytes`,
      );
      assert.deepEqual(logged, [], `cut to ${size} bytes`);
    }
  });

  test("a flipped bit anywhere loses at most its entry, is logged, and the file is kept as .bad", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second", "third"]);
    const { path, bytes, ends } = await segmentIn(original);
    const random = seeded(2);

    for (let at = 0; at < bytes.length; at++) {
      const directory = await copyOf(t, original);
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (random() * 8));
      await writeFile(join(directory, path), flipped);
      const { entries, logged } = await drain(directory);

      const hit = at < 40 ? undefined : ["first", "second", "third"].find((_, index) => at < (ends[index] ?? 0));
      const left = ["first", "second", "third"].filter((word) => word !== hit);
      assert.deepEqual(
        entries.flatMap(({ words }) => words),
        left,
        `a flip at ${at}`,
      );
      if (hit === undefined) continue;
      assert.match(logged.join("\n"), /damaged/, `a flip at ${at}`);
      assert.ok((await readdir(directory)).includes(path.replace("segment", "bad")), `a flip at ${at}`);
      assert.deepEqual(await readFile(join(directory, path.replace("segment", "bad"))), flipped);
    }
  });

  test("a flipped bit in the size of the last entry is damage, not a torn tail", async (t) => {
    const original = await folder(t);
    await writeJournal(original, ["first", "second"]);
    const { path, bytes, ends } = await segmentIn(original);
    const size = bytes.readUInt32LE((ends[0] ?? 0) + 8);

    for (let bit = 0; bit < 32; bit++) {
      const directory = await copyOf(t, original);
      bytes.writeUInt32LE((size ^ (1 << bit)) >>> 0, (ends[0] ?? 0) + 8);
      await writeFile(join(directory, path), bytes);
      const { logged } = await drain(directory);

      assert.match(logged.join("\n"), /damaged/, `bit ${bit}`);
    }
  });

  test("a format that a newer collector wrote is refused with words, and left as it is; no file stays open", async (t) => {
    const directory = await folder(t);
    await writeJournal(directory, ["precious"]);
    const { path, bytes } = await segmentIn(directory);
    await writeFile(join(directory, path.replace(/^\d+/, "0000000000")), bytes); // recovered before it
    bytes.writeUInt32LE(99, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(16, 40), crc32(bytes.subarray(0, 12))), 12);
    await writeFile(join(directory, path), bytes);

    await assert.rejects(
      Journal.open(directory, KIB ** 2, () => {}),
      /version 99.*newer/,
    );

    for (const fd of await readdir("/proc/self/fd"))
      assert.doesNotMatch(await readlink(`/proc/self/fd/${fd}`).catch(() => ""), new RegExp(directory));
    assert.deepEqual(await readFile(join(directory, path)), bytes);
  });

  test("release deletes a segment only when all before it is stored too", async (t) => {
    const directory = await folder(t);
    const journal = await Journal.open(directory, 16 * KIB, () => {});
    for (const letter of ["a", "b", "c"]) await journal.append("192.0.2.1", frames([letter.repeat(1900)]));
    await journal.seal();
    const segments = async () => (await readdir(directory)).filter((name) => name.endsWith(".segment")).length;
    const reader = journal.read();
    const [first, second] = [await reader.next(), await reader.next()];
    const atFirst = await segments();

    await journal.release(second.value, 0);
    const afterSecond = await segments();
    await journal.release(first.value, 0);

    assert.equal(afterSecond, atFirst);
    assert.ok((await segments()) <= atFirst - 2);
    assert.ok((await readdir(directory)).some((name) => name.endsWith(".released")));
    await journal.close();
  });

  test("a full journal makes append wait, is logged, and goes on after a release", async (t) => {
    const logged: string[] = [];
    const journal = await Journal.open(await folder(t), 16 * KIB, (line) => logged.push(line));
    let appended = 0;
    const appending = (async () => {
      for (; appended < 40; appended++) await journal.append("192.0.2.1", frames(["x".repeat(KIB)]));
    })();

    await eventually(() => assert.match(logged.join("\n"), /senders wait/));
    const appendedWhenFull = appended;
    let released = 0;
    for await (const batch of journal.read()) {
      released += batch.lines;
      await journal.release(batch, 0);
      if (released === 40) break;
    }
    await appending;

    assert.ok(appendedWhenFull <= 16, `${appendedWhenFull} KiB in a journal of 16`);
    assert.equal(released, 40);
    assert.match(logged.join("\n"), /senders go on/);
    await journal.seal();
    await journal.close();
  });

  test("times increase strictly over restarts and a clock stepped back a little; a step of over a minute is followed and logged", async (t) => {
    const directory = await folder(t);
    const noon = Date.UTC(2030, 0, 1, 12);
    t.mock.timers.enable({ apis: ["Date"], now: noon });
    await writeJournal(directory, ["one", "two"]);
    await touch(directory, noon);
    t.mock.timers.setTime(noon - 30_000);
    await writeJournal(directory, ["three"]);
    await touch(directory, noon);
    t.mock.timers.setTime(noon - 3_600_000);
    const logged = await writeJournal(directory, ["four"]);
    t.mock.timers.reset();

    const { entries } = await drain(directory);

    const [one = 0, two = 0, three = 0, four = 0] = entries.map(({ time }) => time);
    assert.equal(one, noon * 1000);
    assert.ok(one < two && two < three && three < (noon + 1000) * 1000);
    assert.equal(four, (noon - 3_600_000) * 1000);
    assert.match(logged.join("\n"), /clock.*back/);
  });

  test("times that are ahead of the clock, as after a minute of over a million lines a second, are no clock set back", async (t) => {
    const directory = await folder(t);
    const noon = Date.UTC(2030, 0, 1, 12);
    t.mock.timers.enable({ apis: ["Date"], now: noon + 120_000 });
    await writeJournal(directory, ["one"]);
    await touch(directory, noon);
    t.mock.timers.setTime(noon + 1000);
    const logged = await writeJournal(directory, ["two"]);
    t.mock.timers.reset();

    const { entries } = await drain(directory);

    assert.deepEqual(logged, []);
    assert.deepEqual(
      entries.map(({ time }) => time - noon * 1000),
      [120_000_000, 120_000_001],
    );
  });

  test("nothing is acknowledged while the disk takes no writes, and it goes on by itself when there is room", async (t) => {
    if (!(await isInstalled("prlimit")))
      return t.skip("prlimit (util-linux), which fills the disk here, is not installed");
    const directory = await folder(t);
    const program = await Program.start(t, ["--data-dir", directory, "--drain-timeout", "0s"], {
      DATABASE_URL: NOWHERE,
    });
    const sender = await Sender.connect(t, program.port);
    await sender.asks("before\n", "ok\n");
    const limit = (bytes: number | "unlimited") =>
      promisify(execFile)("prlimit", ["--pid", String(program.pid), `--fsize=${bytes}:unlimited`]);

    await limit(300); // in the middle of the next entry: a short write comes first
    await sender.send(`${"during ".repeat(100)}\n`);
    await eventually(() => assert.match(program.stderr, /cannot write the journal/));
    const repliesWhenFull = sender.replies;
    await limit("unlimited");

    await sender.hears("ok\nok\n");
    assert.equal(repliesWhenFull, "ok\n");
    await program.stop();
    assert.equal((await drain(join(directory, "journal"))).entries.length, 2);
  });
});

/** Makes its files as of a time of the mocked clock, which the kernel does not know. */
async function touch(directory: string, ms: number): Promise<void> {
  for (const name of await readdir(directory)) await utimes(join(directory, name), ms / 1000, ms / 1000);
}
