// @ts-nocheck -- a part of collector.test.ts, whose imports and helpers it uses; besides: chmod and utimes of node:fs/promises
/* oxlint-disable typescript/consistent-return -- without its types, `t.skip()` seems to return a value */

// ---- Faults ----------------------------------------------------------------

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

    const { entries, said } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "last"]);
    assert.match(said.join("\n"), /cannot read 4960 bytes at 40 of .*0000000003-/);
    assert.deepEqual(await readFile(foreign.replace("segment", "bad")), bytes);
    assert.equal(await readFile(join(directory, "notes.txt"), "utf8"), "not ours");
  });

  test("a segment that is missing costs no line of those before and behind it", async (t) => {
    const directory = await folder(t);
    for (const word of ["first", "second", "third"]) await writeJournal(directory, [word]);
    const names = (await readdir(directory)).filter((name) => name.endsWith(".segment"));
    await rm(join(directory, names.toSorted()[1] ?? ""));

    const { entries, said } = await drain(directory);

    assert.deepEqual(wordsOf(entries), ["first", "third"]);
    assert.deepEqual(said, []);
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

    for (let bit = 0; bit < 32 * 8; bit++) {
      const directory = await copyOf(t, original);
      const flipped = Buffer.from(bytes);
      flipped[header + (bit >> 3)] = (flipped[header + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      await writeFile(join(directory, path), flipped);
      const said = await writeJournal(directory, ["later"]);
      const { entries, left } = await drain(directory);

      assert.deepEqual(wordsOf(entries), ["first", "later"], `bit ${bit}`);
      assert.ok(Math.abs((entries[1]?.time ?? 0) / 1000 - Date.now()) < 120_000, `bit ${bit}`);
      assert.equal(left, 0, `bit ${bit}`);
      assert.doesNotMatch(said.join("\n"), /clock/, `bit ${bit}`);
    }
  });

  test("a format that a newer collector wrote ends the start in one line and exit code 2, and nothing is deleted", async (t) => {
    const dataDir = await folder(t);
    const directory = join(dataDir, "journal");
    await writeJournal(directory, ["precious"]);
    const { path, bytes } = await segmentIn(directory);
    bytes.writeUInt32LE(2, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(16, 40), crc32(bytes.subarray(0, 12))), 12);
    await writeFile(join(directory, path), bytes);

    const flags = ["--listen", "127.0.0.1:0", "--data-dir", dataDir];
    const { code, stderr } = await runProgram(flags, { environment: { DATABASE_URL: NOWHERE } });

    assert.equal(code, 2);
    assert.match(stderr, /^Cannot read [^\n]*version 2[^\n]*newer[^\n]*\n$/);
    assert.deepEqual(await readdir(directory), [path]);
    assert.deepEqual(await readFile(join(directory, path)), bytes);
  });

  test("a data directory without permission ends the start in one line that names it and the cause, exit code 2", async (t) => {
    const isRoot = process.getuid?.() === 0;
    if (isRoot && !(await isThere("setpriv")))
      return t.skip("setpriv (util-linux), which gives up root, is not installed");
    const program = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...TSX] : TSX;
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
    const before = await start(t, { dataDir, drainTimeout: 0 });
    await converse(before.port, `${backlog.join("\n")}\n`);
    await before.close();
    const copy = await copyOf(t, dataDir);

    const both = await Promise.all([dataDir, copy].map((path) => start(t, { dataDir: path, databaseUrl: url })));
    await Promise.all(both.map(({ port }, index) => converse(port, `new ${index}\n`.repeat(1000))));
    for (const collector of both) await stored(collector);

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
    test(`${what} of the user's: of 10,000 lines one is refused, then all; the good are stored, the bad buried, byte for byte`, async (t) => {
      const { url, sql } = await databaseWithTables(t);
      if (change) await sql.unsafe(`alter table logs ${change}`);
      if (sqlstate === "54000") await sql`create index on logs (message)`;
      if (sqlstate === "P0001") await sql.unsafe(REFUSING_TRIGGER);
      const collector = await start(t, { databaseUrl: url, ack: "always" });
      const good = range(9999).map((n) => `{"app":"a","msg":"good ${n}"}`);

      await converse(collector.port, `${good.toSpliced(5000, 0, bad).join("\n")}\n`);
      await stored(collector);
      const letters = await sql<{ line: Buffer; sqlstate: string }[]>`select line, sqlstate from dead_letters`;
      await converse(collector.port, `${bad}\n`.repeat(300));
      await stored(collector);

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

  test("a connection that is lost while a batch is taken apart ends nothing: its lines are stored and buried once", async (t) => {
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
    await stored(collector);

    await sql`alter table logs rename to logs_of_last_year`;
    await converse(collector.port, "new\n");
    await stored(collector);

    assert.deepEqual(messages(await rowsOf(sql)), ["new"]);
    assert.equal(await countOf(sql, "logs_of_last_year"), 1);
  });

  test("a server that is read-only for a while is written to again by itself, though sessions keep the setting", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    const { admin } = await server;
    const collector = await start(t, { databaseUrl: url });
    await converse(collector.port, "before\n");
    await stored(collector);
    await admin`alter database ${sql(name)} set default_transaction_read_only = on`;
    await terminateConnections(sql);
    await converse(collector.port, "during\n");
    await eventually(() => assert.match(collector.said.join("\n"), /25006/));

    await admin`alter database ${sql(name)} set default_transaction_read_only = off`;

    await eventually(async () => assert.deepEqual(messages(await rowsOf(sql)), ["before", "during"]));
  });

  test("a statement_timeout that only an eighth of a batch keeps within halves it as often as it takes", async (t) => {
    const { url, sql, name } = await databaseWithTables(t);
    await sql.unsafe(`create function slow() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.002); return new; end $$;
      create trigger slow before insert on logs for each row execute function slow();
      alter database ${name} set statement_timeout = '400ms'`);
    const dataDir = await folder(t);
    const before = await start(t, { dataDir, drainTimeout: 0 });
    for (const _ of range(100)) await converse(before.port, "line\n".repeat(10)); // an entry each
    await before.close();

    const collector = await start(t, { dataDir, databaseUrl: url });

    await stored(collector);
    assert.equal(await countOf(sql, "logs"), 1000);
  });
});

describe("faults: at random", () => {
  test("npm run prove for 10 s: what is acknowledged is stored, nothing twice, all in order", async (t) => {
    const program = [process.execPath, "--import", "tsx", join(HERE, "collector.prove.ts")];
    const environment = { PROVE_DATABASE_URL: (await server).url };

    const run = Program.spawn(t, ["--seed", "1", "--for", "10s"], { program, environment });
    const code = await run.ended();

    assert.equal(code, 0, run.stdout + run.stderr);
  });
});

describe("faults: senders", () => {
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

  test("900 senders that stay in the middle of a line hold up nobody", async (t) => {
    const collector = await start(t);
    const slow = await Promise.all(range(900).map(() => Sender.connect(t, collector.port)));
    for (const byte of ["h", "e", "l"]) await Promise.all(slow.map((sender) => sender.send(byte)));

    const replies = await converse(collector.port, "quick\n".repeat(1000));
    await Promise.all(slow.map((sender) => sender.send("lo\n")));

    assert.equal(replies, "ok\n".repeat(1000));
    await Promise.all(slow.map((sender) => sender.hears("ok\n")));
    assert.equal(collector.ledger().received, 1900);
  });

  test("10,000 connects and disconnects, orderly and not, leave no file descriptor behind", async (t) => {
    const flags = ["--data-dir", await folder(t), "--drain-timeout", "0s"];
    const program = await Program.start(t, flags, { DATABASE_URL: NOWHERE });
    const descriptors = async () => (await readdir(`/proc/${program.pid}/fd`).catch(() => [])).length;
    await converse(program.port, "first\n");
    const before = await descriptors();

    for (let round = 0; round < 100; round++)
      await Promise.all(
        range(100).map((n) => touch(program.port, n % 3 === 0 ? "end" : n % 3 === 1 ? "destroy" : "reset")),
      );

    await eventually(async () => assert.ok((await descriptors()) <= before + 2));
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

// ---- Helpers: faults -------------------------------------------------------

const REFUSING_TRIGGER = `create function refuse() returns trigger language plpgsql as $$
  begin if new.message like 'bad%' then raise exception 'refused'; end if; return new; end $$;
  create trigger refuse before insert on logs for each row execute function refuse()`;

const range = (length: number) => Array.from({ length }, (_, index) => index);

const wordsOf = (entries: { words: string[] }[]) => entries.flatMap(({ words }) => words);

/** Connects, sends a few bytes of a line, and leaves. */
async function touch(port: number, how: "end" | "destroy" | "reset"): Promise<void> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  socket.write("x");
  if (how === "end") socket.end().resume();
  else if (how === "destroy") socket.destroy();
  else socket.resetAndDestroy();
  await once(socket, "close");
}
