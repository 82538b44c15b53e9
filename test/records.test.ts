/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { levelOf, parseJson, parseLine, parseLogfmt, parseSyslog5424, timeOf } from "../collector.ts";
import { KIB, eventually, seeded } from "./support/basics.ts";
import { start, storedFrom, whenStored } from "./support/collectors.ts";
import { splitAtRandom } from "./support/framing.ts";
import { framesIn } from "./support/framing.ts";
import { CASES, NOW } from "./support/lines.ts";
import { anyLine, mutated, realLines } from "./support/mutants.ts";
import { freshDatabase, messages, rowsOf } from "./support/postgres.ts";
import { Sender } from "./support/senders.ts";

describe("records", () => {
  test("levelOf knows the loggers' names in any case, pino's numbers and Monolog's", () => {
    const names = ["trace", "verbose", "DEBUG", "info", "Notice", "warn", "WARNING", "error", "critical", "alert"];

    assert.deepEqual(names.map(levelOf), [100, 100, 100, 200, 250, 300, 300, 400, 500, 550]);
    assert.deepEqual(["emergency", "fatal", "panic"].map(levelOf), [600, 600, 600]);
    assert.deepEqual([10, 20, 30, 40, 50, 60].map(levelOf), [100, 100, 200, 300, 400, 600]);
    assert.deepEqual([100, 200, 250, 300, 400, 500, 550, 600].map(levelOf), [100, 200, 250, 300, 400, 500, 550, 600]);
    assert.deepEqual(
      ["loud", "constructor", -1, 7000, null, {}].map(levelOf),
      Array.from({ length: 6 }, () => undefined),
    );
  });

  test("timeOf reads RFC 3339 with fractions and zones, to the microsecond", () => {
    const noon = Date.UTC(2024, 1, 29, 12) * 1000;

    assert.equal(timeOf("2024-02-29T12:00:00Z"), noon);
    assert.equal(timeOf("2024-02-29T12:00:00.123456Z"), noon + 123_456);
    assert.equal(timeOf("2024-02-29t12:00:00.5z"), noon + 500_000);
    assert.equal(timeOf("2024-02-29 14:00:00,123456789+02:00"), noon + 123_456);
    assert.equal(timeOf("2024-02-29T06:30:00-0530"), noon);
  });

  test("timeOf tells epochs in seconds, milli-, micro- and nanoseconds by their size", () => {
    assert.equal(timeOf(1_700_000_000), 1_700_000_000_000_000);
    assert.equal(timeOf(1_700_000_000.25), 1_700_000_000_250_000);
    assert.equal(timeOf(1_700_000_000_123), 1_700_000_000_123_000);
    assert.equal(timeOf(1_700_000_000_123_456), 1_700_000_000_123_456);
    assert.equal(timeOf(1_700_000_000_123_456_768), 1_700_000_000_123_457);
    for (const value of ["yesterday", "2024-02-30T25:00:00Z", "", null, {}, 1e300])
      assert.equal(timeOf(value), undefined);
  });

  for (const format of [
    "JSON: loggers",
    "JSON: GELF 1.1",
    "JSON: values",
    "syslog: RFC 5424",
    "syslog: RFC 3164",
    "logfmt",
    "plain text: no level, no time",
    "plain text: levels",
    "plain text: times",
  ]) {
    test(`parseLine reads ${format} as programs print it`, () => {
      for (const [title, line, expected] of CASES[format] ?? []) {
        const record: Record<string, unknown> = { ...parseLine(line, NOW) };
        if (typeof record["attributes"] === "string") record["attributes"] = JSON.parse(record["attributes"]);
        const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, record[key]]));
        assert.deepEqual(actual, expected, `${title}: ${line}`);
      }
    });
  }

  test("parseLine takes a line that is no JSON object as plain text, whole", () => {
    const lines = ["hello", " {", "[1,2]", '"text"', "17", "{broken", '{"a":1} trailing', "{}}"];

    for (const line of lines) {
      const { level, message, isAltered, ...rest } = parseLine(line);
      assert.deepEqual([level, message, isAltered], [200, line, false]);
      assert.deepEqual(new Set(Object.values(rest)), new Set([undefined]));
    }
  });

  test("JSON objects go into the columns by their everyday keys, the rest into attributes", async (t) => {
    const pino = { level: 50, time: 1_700_000_000_123, hostname: "web1", name: "shop", msg: "sold", order: { id: 7 } };
    const other = { severity: "WARN", timestamp: "2024-02-29T12:00:00Z", host: "db1", app: "bank", message: "slow" };

    const { rows } = await storedFrom(t, `${JSON.stringify(pino)}\n${JSON.stringify(other)}\n`, { ack: "always" });

    const columns = rows.map((row) => [
      row.level,
      row.message,
      row.logged_at?.getTime(),
      row.host,
      row.app,
      row.attributes,
    ]);
    assert.deepEqual(columns[0], [400, "sold", 1_700_000_000_123, "web1", "shop", { order: { id: 7 } }]);
    assert.deepEqual(columns[1], [300, "slow", Date.UTC(2024, 1, 29, 12), "db1", "bank", null]);
  });

  test("a known key with a value that is not understood stays in attributes", async (t) => {
    const { rows } = await storedFrom(t, '{"msg":"m","level":"loud","time":"soon","hostname":5,"name":{"x":1}}\n');

    assert.deepEqual(rows[0]?.attributes, { level: "loud", time: "soon", hostname: 5, name: { x: 1 } });
    assert.deepEqual([rows[0]?.level, rows[0]?.logged_at, rows[0]?.host, rows[0]?.app], [200, null, null, null]);
  });

  test("numbers in JSON keep every digit", async (t) => {
    const { sql } = await storedFrom(
      t,
      '{"msg":"m","price":1.50,"big":12345678901234567890,"small":0.1000000000000000055}\n',
    );

    const [row] =
      await sql`select attributes->>'price' as price, attributes->>'big' as big, attributes->>'small' as small
      from logs`;

    assert.deepEqual({ ...row }, { price: "1.50", big: "12345678901234567890", small: "0.1000000000000000055" });
  });

  test("NUL and half surrogate pairs as JSON escapes become U+FFFD, whole pairs stay, and raw holds the line", async (t) => {
    const line = String.raw`{"msg":"a\u0000b\ud800c\udc00\ud83d\ude00\\u0000","k\u0000":"\udfff"}`;

    const { rows } = await storedFrom(t, `${line}\n`);

    assert.equal(rows[0]?.message, "a\uFFFDb\uFFFDc\uFFFD😀\\u0000");
    const raw = Buffer.from(line).toString("base64");
    assert.deepEqual(rows[0]?.attributes, { "k\uFFFD": "\uFFFD", "@collector": { raw } });
  });

  test("bytes that are not UTF-8 become U+FFFD, in plain text and in JSON, and raw holds the line", async (t) => {
    const plain = Buffer.from([0x61, 0xff, 0x62, 0xed, 0xa0, 0x80]);
    const json = Buffer.concat([Buffer.from('{"msg":"'), Buffer.from([0xc3]), Buffer.from('"}')]);
    const newline = Buffer.from("\n");

    const { rows } = await storedFrom(t, Buffer.concat([plain, newline, Buffer.from("sound\n"), json, newline]));

    assert.deepEqual(messages(rows), ["a\uFFFDb\uFFFD\uFFFD\uFFFD", "sound", "\uFFFD"]);
    assert.deepEqual(rows[0]?.attributes, { "@collector": { raw: plain.toString("base64") } });
    assert.equal(rows[1]?.attributes, null);
    assert.deepEqual(rows[2]?.attributes, { "@collector": { raw: json.toString("base64") } });
  });

  test("JSON that jsonb can't hold is stored as plain text: numbers beyond its range, nesting too deep", async (t) => {
    const lines = ['{"msg":"m","n":1e999999}', '{"msg":"m","n":1e-99999}', `{"n":${"9".repeat(140_000)}}`];
    lines.push(`{"a":${"[".repeat(60_000)}${"]".repeat(60_000)}}`, `${'{"a":'.repeat(8000)}1${"}".repeat(8000)}`);

    const { rows, collector } = await storedFrom(t, `${lines.join("\n")}\n`, { maxLine: KIB ** 2 });

    assert.deepEqual(messages(rows), lines);
    assert.ok(rows.every(({ level, attributes }) => level === 200 && attributes === null));
    assert.equal(collector.ledger().deadLettered, 0);
  });

  test("the message is never empty: where the sender gives none it is the line as it came", async (t) => {
    const lines = ['{"msg":""}', '{"level":30}', "{}", '{"message":null}', '{"msg":"","message":"second"}'];

    const { rows } = await storedFrom(t, `${lines.join("\n")}\n`);

    assert.deepEqual(messages(rows), [...lines.slice(0, 4), "second"]);
  });

  test("a message with newlines, quotes, backslashes and braces arrives as it was", async (t) => {
    const texts = ['a\nb\n"c"\\', "{}", "null", "\\N", ",", "\t", "\u2028", "'; drop table logs; --"];

    const { rows } = await storedFrom(t, texts.map((message) => `${JSON.stringify({ message })}\n`).join(""));

    assert.deepEqual(messages(rows), texts);
  });

  test("plain text of the same kinds arrives as it was", async (t) => {
    const texts = ['"c"\\', "{}x", "NULL", "\\N", ",", "\t", " ", "\u2028", "a\rb", "\uFEFFbom"];

    const { rows } = await storedFrom(t, `${texts.join("\n")}\n`);

    assert.deepEqual(messages(rows), texts);
  });

  test("any bytes, split anywhere, are a row a line, from which a plain line's bytes can be had back", async (t) => {
    const { url, sql } = await freshDatabase(t);
    const collector = await start(t, { databaseUrl: url, ack: "always" });
    const byte = fc.oneof(fc.constantFrom(...Buffer.from('\n\r\0{}[]":,\\ <>019=eu\x1b')), fc.nat(255));
    const bytes = Buffer.from(fc.sample(fc.array(byte, { maxLength: 40 }), { numRuns: 2000, seed: 3 }).flat());
    const sender = await Sender.connect(t, collector.port);

    for (const piece of splitAtRandom(bytes, seeded(3))) await sender.send(piece);
    sender.socket.end();
    await eventually(() => assert.ok(sender.isClosed));
    await whenStored(collector);

    const rows = await rowsOf(sql);
    const lines = framesIn([{ bytes, frameBytes: 0, lines: 0 }]).map((line) => Buffer.from(line, "latin1"));
    assert.equal(sender.replies, "ok\n".repeat(lines.length));
    assert.equal(rows.length, lines.length);
    for (const [index, { message, attributes }] of rows.entries()) {
      const raw = (attributes as { "@collector"?: { raw?: string } } | null)?.["@collector"]?.raw;
      const line = raw === undefined ? Buffer.from(message) : Buffer.from(raw, "base64");
      const sent = lines[index]!;
      if (raw !== undefined || parseLine(String(sent)).message === String(sent)) assert.deepEqual(line, sent);
    }
  });

  test("attributes come back from jsonb as they were sent, to the last digit", async (t) => {
    const values = fc.sample(fc.dictionary(fc.string(), fc.jsonValue()), { numRuns: 300, seed: 4 });
    const sent = values.map((value) => `{"x":${JSON.stringify(value)},"n":12345678901234567890.123456789}`);

    const { rows, sql } = await storedFrom(t, `${sent.join("\n")}\n`);

    const digits = await sql`select distinct attributes->>'n' as n from logs`;
    assert.deepEqual(
      rows.map(({ attributes }) => (attributes as { x: unknown }).x),
      sent.map((line) => sound(JSON.parse(line)["x"])),
    );
    assert.deepEqual([...digits], [{ n: "12345678901234567890.123456789" }]);
  });

  test("no string makes a parser throw, and a record is always whole", () => {
    fc.assert(
      fc.property(anyLine(), (line) => {
        for (const parse of [parseLine, parseJson, parseSyslog5424, parseLogfmt]) {
          const record = parse(line);
          if (!record) continue;
          assert.ok([100, 200, 250, 300, 400, 500, 550, 600].includes(record.level));
          if (line !== "") assert.notEqual(record.message, "");
          if (record.loggedAt !== undefined) assert.ok(Number.isInteger(record.loggedAt));
          for (const name of [record.host, record.app]) assert.ok(name === undefined || name !== "");
          if (record.attributes === undefined) continue;
          assert.ok(objectOf(record.attributes));
          assert.notEqual(record.attributes, "{}");
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("parseJson takes exactly what JSON.parse takes as an object, and loses only what fills a column", () => {
    const objects = realLines().filter((line) => line.trimStart().startsWith("{") && line.length < 1500);
    fc.assert(
      fc.property(
        fc.oneof(
          mutated(objects),
          fc.json(),
          fc.object().map((o) => JSON.stringify(o)),
        ),
        (line) => {
          const object = objectOf(line);
          const record = parseJson(line);

          assert.equal(record !== undefined, object !== undefined);
          if (!record || !object) return;
          const rest = record.attributes === undefined ? {} : objectOf(record.attributes)!;
          const whole = objectOf(soundText(line))!;
          for (const key of Object.keys(rest)) assert.deepEqual(rest[key], whole[key]);
          const taken = Object.keys(whole).filter((key) => !Object.hasOwn(rest, key));
          assert.ok(taken.length <= 5);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("parseJson reads an object whatever spaces the objects before it had", () => {
    const objects = [
      '{"level":40,"a":1,"msg":"x"}',
      '{"level": 40, "a": 1, "msg": "x"}',
      '{ "level" :40 ,"a" :1 ,"msg" :"x" }',
    ];

    for (const one of objects)
      for (const other of objects)
        assert.deepEqual(
          [one, other].map((line) => [
            parseLine(line).level,
            parseLine(line).message,
            objectOf(parseLine(line).attributes ?? ""),
          ]),
          [one, other].map(() => [300, "x", { a: 1 }]),
        );
  });

  test("parseJson keeps every digit", () => {
    const digits = fc
      .tuple(
        fc.constantFrom("", "-"),
        fc.stringMatching(/^[1-9]\d{0,60}$/),
        fc.stringMatching(/^(\.\d{1,40})?$/),
        fc.stringMatching(/^([eE][+-]?\d{1,3})?$/),
      )
      .map((p) => p.join(""));
    fc.assert(
      fc.property(digits, (number) =>
        assert.equal(parseJson(`{"msg":"x", "n" :\t${number} }`)?.attributes, `{"n" :\t${number}}`),
      ),
      { numRuns: 2000 },
    );
  });

  test("an object that JSON.stringify writes comes back", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
        const keys = Object.fromEntries(Object.entries(object).map(([key, value]) => [`x${key}`, value]));
        const attributes = parseJson(JSON.stringify(keys))?.attributes;
        assert.deepEqual(attributes === undefined ? {} : JSON.parse(attributes), JSON.parse(JSON.stringify(keys)));
      }),
      { numRuns: 2000 },
    );
  });

  test("structured data comes back", () => {
    const name = fc.stringMatching(/^[!#-<>-\\^-~]{1,32}$/);
    const params = fc.uniqueArray(
      fc.tuple(
        name,
        fc.string({ unit: "grapheme" }).filter((v) => v.isWellFormed()),
      ),
      { selector: ([n]) => n, maxLength: 4 },
    );
    const elements = fc.uniqueArray(fc.tuple(name, params), { selector: ([id]) => id, minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(elements, (list) => {
        const text = list
          .map(([id, ps]) => `[${id}${ps.map(([n, v]) => ` ${n}="${v.replace(/["\\\]]/g, "\\$&")}"`).join("")}]`)
          .join("");
        const record = parseSyslog5424(`<14>1 - - - - - ${text} x`);
        assert.equal(record?.message, "x");
        const sent = (JSON.parse(record.attributes!) as Record<string, unknown>)["structured_data"];
        assert.deepEqual(
          sent,
          JSON.parse(
            `{${list.map(([id, ps]) => `${JSON.stringify(id)}:{${ps.map(([n, v]) => `${JSON.stringify(n)}:${JSON.stringify(v)}`).join(",")}}`).join(",")}}`,
          ),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test("logfmt comes back", () => {
    const key = fc.stringMatching(/^x[!#-<>-\\^-~]{0,20}$/);
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.string({ unit: "grapheme" })), { selector: ([k]) => k }), (pairs) => {
        const record = parseLogfmt(`level=info ${pairs.map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(" ")}`.trim());
        assert.deepEqual(JSON.parse(record?.attributes ?? "{}"), sound(Object.fromEntries(pairs)));
      }),
      { numRuns: 1000 },
    );
  });
});

const objectOf = (line: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
};

const soundText = (text: string) =>
  text.replace(/\\(?:ud[89ab]..\\ud[c-f]..|(u0000|ud[89a-f]..)|[^])/gi, (e, u?: string) =>
    u === undefined ? e : "\\ufffd",
  );

const sound = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value).replace(/\\(?:(u0000|ud[89a-f]..)|[^])/g, (e, u?: string) =>
      u === undefined ? e : "\\ufffd",
    ),
  );
