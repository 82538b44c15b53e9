/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ALARMS, KEYS, LineParser, TimeReader, ZONES, isProseAt, levelOf } from "../collector.ts";
import type { LogRecord } from "../collector.ts";
import { KIB, eventually, seeded } from "./support/basics.ts";
import { start, storedFrom, whenStored } from "./support/collectors.ts";
import { splitAtRandom } from "./support/framing.ts";
import { framesIn } from "./support/framing.ts";
import { CORPUS, CUT, SENTENCES, assertSample } from "./support/corpus.ts";
import { HOSTILE, hostileLine } from "./support/hostile.ts";
import { CASES, NOW } from "./support/lines.ts";
import { anyLine, mutated, realLines } from "./support/mutants.ts";
import { freshDatabase, messages, rowsOf } from "./support/postgres.ts";
import { Sender } from "./support/senders.ts";

const parser = new LineParser();
const parseLine = (line: string, isCut = false) => parser.parse(line, NOW, isCut);
const timeOf = (value: unknown) => new TimeReader().of(value)?.timeUs;

/** The least of a few tries, in CPU time, from bytes to bytes; tries on while it is over a limit. */
function millisecondsFor(line: string, isCut: boolean, limit: number): number {
  const bytes = Buffer.from(line);
  let least = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 3 || (tries < 40 && least > limit); tries++) {
    const before = process.cpuUsage();
    const { message, attributes = "" } = parseLine(bytes.toString(), isCut);
    Buffer.from(message + attributes);
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

const minutesAhead = (timeZone: string, ms: number) => {
  const format = new Intl.DateTimeFormat("en-US", { timeZone, timeZoneName: "longOffset" });
  const [, sign, hours, minutes] = /GMT(?:([+-])(\d\d):(\d\d))?$/.exec(format.format(ms)) ?? [];
  return sign === undefined ? 0 : Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes));
};

/** A place for each name of a zone, where it is used. */
const ZONE_PLACES: Record<string, string> = {
  ...{
    UTC: "UTC",
    GMT: "Europe/London",
    UT: "UTC",
    Z: "UTC",
    WET: "Europe/Lisbon",
    WEST: "Europe/Lisbon",
    BST: "Europe/London",
  },
  ...{ CET: "Europe/Berlin", CEST: "Europe/Berlin", MEZ: "Europe/Berlin", MESZ: "Europe/Berlin" },
  ...{ EET: "Europe/Helsinki", EEST: "Europe/Helsinki", MSK: "Europe/Moscow", TRT: "Europe/Istanbul" },
  ...{ SAST: "Africa/Johannesburg", CAT: "Africa/Maputo", EAT: "Africa/Nairobi", WAT: "Africa/Lagos" },
  ...{ EST: "America/New_York", EDT: "America/New_York", CST: "America/Chicago", CDT: "America/Chicago" },
  ...{ MST: "America/Denver", MDT: "America/Denver", PST: "America/Los_Angeles", PDT: "America/Los_Angeles" },
  ...{ AKST: "America/Anchorage", AKDT: "America/Anchorage", HST: "Pacific/Honolulu", BRT: "America/Sao_Paulo" },
  ...{ NST: "America/St_Johns", NDT: "America/St_Johns" },
  ...{
    JST: "Asia/Tokyo",
    KST: "Asia/Seoul",
    HKT: "Asia/Hong_Kong",
    SGT: "Asia/Singapore",
    WIB: "Asia/Jakarta",
    PKT: "Asia/Karachi",
  },
  ...{ AWST: "Australia/Perth", ACST: "Australia/Adelaide", ACDT: "Australia/Adelaide" },
  ...{ AEST: "Australia/Sydney", AEDT: "Australia/Sydney", NZST: "Pacific/Auckland", NZDT: "Pacific/Auckland" },
};

/** Envelopes around a JSON object. */
const WRAPPERS: ((body: string) => string)[] = [
  (body) => `<14>1 2026-11-22T10:00:00Z web-1 shop 7 - [a@1 b="c"] ${body}`,
  (body) => `<14>Nov 22 10:00:00 web-1 shop[7]: ${body}`,
  (body) => `<14>${body}`,
  (body) => `Nov 22 10:00:00 web-1 shop[7]: ${body}`,
  (body) => `2026-11-22T10:00:00.123456789Z stderr F ${body}`,
  (body) => `2026-11-22T10:00:00Z ${body}`,
  (body) => `web-1  | ${body}`,
  (body) => JSON.stringify({ log: `${body}\n`, stream: "stdout", time: "2026-11-22T10:00:00Z" }),
  (body) => JSON.stringify({ MESSAGE: body, PRIORITY: "6", _HOSTNAME: "web-1" }),
  (body) => `<14>Nov 22 10:00:00 web-1 relay: <14>Nov 22 10:00:00 web-2 shop[7]: ${body}`,
];

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

  test("TimeReader.of reads RFC 3339 with fractions and zones, to the microsecond", () => {
    const noon = Date.UTC(2024, 1, 29, 12) * 1000;

    assert.equal(timeOf("2024-02-29T12:00:00Z"), noon);
    assert.equal(timeOf("2024-02-29T12:00:00.123456Z"), noon + 123_456);
    assert.equal(timeOf("2024-02-29t12:00:00.5z"), noon + 500_000);
    assert.equal(timeOf("2024-02-29 14:00:00,123456789+02:00"), noon + 123_456);
    assert.equal(timeOf("2024-02-29T06:30:00-0530"), noon);
  });

  test("TimeReader.of tells epochs in seconds, milli-, micro- and nanoseconds by their size", () => {
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
    test(`LineParser.parse reads ${format} as programs print it`, () => {
      for (const [title, line, expected] of CASES[format] ?? []) {
        const record: Record<string, unknown> = { ...parseLine(line) };
        if (typeof record["attributes"] === "string") record["attributes"] = JSON.parse(record["attributes"]);
        const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, record[key]]));
        assert.deepEqual(actual, expected, `${title}: ${line}`);
      }
    });
  }

  for (const [kind, samples] of Object.entries(CORPUS))
    test(`LineParser.parse reads ${kind}`, () => {
      const inUtc = new LineParser("UTC");
      for (const sample of samples) assertSample(inUtc, sample, false);
    });

  test("LineParser.parse reads a line by the shape of those before it as it reads it without", () => {
    const lines = [...realLines(), ...Object.values(CORPUS).flatMap((samples) => samples.map(([line]) => line))];
    for (const line of lines) {
      const practised = new LineParser("UTC");
      for (let times = 0; times < 40; times++) practised.parse(line, NOW);
      for (const value of ["null", '"x\\u0000"', '"\\"y"', "1e5", "7s"]) {
        const other = line.replace(/(?<=[:=])("[^"]*"|[\w.-]+)(?=[,} ])/g, value);
        for (const each of [line, other, `${line} `, line.slice(0, -1)])
          assert.deepEqual(
            asObjects(practised.parse(each, NOW)),
            asObjects(new LineParser("UTC").parse(each, NOW)),
            each,
          );
      }
    }
  });

  test("LineParser.parse reads of a cut line what came of it", () => {
    for (const sample of CUT) assertSample(parser, sample, true);
  });

  test("LineParser.parse takes no level from words within a sentence, or from what only looks like a level", () => {
    assert.ok(SENTENCES.length >= 100);
    for (const sentence of SENTENCES)
      for (const line of [
        sentence,
        `2026-11-22 10:00:00 ${sentence}`,
        `<14>Nov 22 10:00:00 web-1 shop[7]: ${sentence}`,
      ])
        assert.equal(parseLine(line).level, 200, line);
  });

  test("LineParser.parse takes names of zones for what IANA has under them", () => {
    const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2026, month, 15));
    for (const [name, minutes] of Object.entries(ZONES)) {
      const place = ZONE_PLACES[name];
      assert.ok(place, `a place for ${name}`);
      const offsets = months.map((ms) => minutesAhead(place, ms));
      assert.ok(
        offsets.includes(minutes),
        `${name} is ${minutes} minutes ahead of UTC in ${place}: ${offsets.join(" ")}`,
      );
      const line = `2026-11-22 10:00:00 ${name} x`;
      assert.equal(parseLine(line).loggedAtUs, Date.UTC(2026, 10, 22, 10, -minutes) * 1000, line);
    }
  });

  test("LineParser.parse takes a time without a zone for one of its own zone, over the changes of its clock", () => {
    const inBerlin = new LineParser("Europe/Berlin");
    for (const [local, utc] of [
      ["2026-07-01 10:00:00", "2026-07-01T08:00:00Z"],
      ["2026-11-22 10:00:00", "2026-11-22T09:00:00Z"],
      ["2026-03-29 01:59:59", "2026-03-29T00:59:59Z"],
      ["2026-03-29 03:00:00", "2026-03-29T01:00:00Z"],
      ["2026-10-25 03:00:00", "2026-10-25T02:00:00Z"],
    ] as const)
      for (const line of [`${local} x`, `{"msg":"x","time":"${local}"}`])
        assert.equal(inBerlin.parse(line, NOW).loggedAtUs, Date.parse(utc) * 1000, line);
  });

  test("LineParser.parse reads a time as it does alone where it has read one of the same minute before", () => {
    const tails = [
      ".1Z x",
      ".123456789Z x",
      ".123Zx",
      ".123z x",
      ",123Z x",
      ".Z x",
      ".123 x",
      "Z x",
      ".12345678901234567890Z x",
    ];
    const dates = ["2026-11-22T10:00:0", "2026-02-30T10:00:0", "2026-11-22 10:00:6"];
    const lines = dates.flatMap((date) => ["7", "9"].flatMap((second) => tails.map((tail) => date + second + tail)));
    const practised = new LineParser("Europe/Berlin");

    for (const line of lines) {
      practised.parse(line.replace(/:\d\d[^:]*$/, ":01Z x"), NOW);
      assert.deepEqual(practised.parse(line, NOW), new LineParser("Europe/Berlin").parse(line, NOW), line);
    }
  });

  test("LineParser.parse tells a date without a year by the time of receipt", () => {
    const inUtc = new LineParser("UTC");
    const yearOf = (line: string, now: string) =>
      new Date((inUtc.parse(line, Date.parse(now)).loggedAtUs ?? 0) / 1000).getUTCFullYear();

    assert.equal(yearOf("<13>Dec 31 23:59:59 h a: x", "2027-01-01T00:00:01Z"), 2026);
    assert.equal(yearOf("<13>Jan  1 00:00:01 h a: x", "2026-12-31T23:59:59Z"), 2027); // a clock that is ahead
    assert.equal(yearOf("<13>Feb 29 10:00:00 h a: x", "2027-03-01T00:00:00Z"), 2024);
    assert.equal(yearOf("I1231 23:59:59.000000 7 a.go:7] x", "2027-01-01T00:00:01Z"), 2026);
  });

  for (const size of [64 * KIB, KIB ** 2])
    test(`LineParser.parse takes for any ${size} bytes at most 20 times as long as for plain ones, 60 for JSON of ever so many members`, () => {
      const floor = Math.max(0.1, (2 * size) / KIB ** 2); // 2 ms a MiB: plain ones take a short cut, and caches help short ones
      const plain = Math.max(floor, millisecondsFor("the quick brown fox ".repeat(size / 20), false, 0));

      for (const [name, pieces] of Object.entries(HOSTILE))
        for (const isCut of [false, true]) {
          const limit = (name.startsWith("whole JSON") ? 60 : 20) * plain;
          const hostile = millisecondsFor(hostileLine(pieces, size), isCut, limit);
          assert.ok(hostile <= limit, `${name}${isCut ? ", cut" : ""}: ${hostile} ms, plain ones ${plain} ms`);
        }
    });

  test("LineParser.parse takes no longer for a line that goes on with the same few characters, the longer it is", () => {
    const random = seeded(1);
    const pick = <T>(from: ArrayLike<T>) => from[Math.floor(random() * from.length)]!;
    const starts = [...realLines(), ...Object.values(CORPUS).flatMap((samples) => samples.map(([line]) => line))];
    for (let round = 0; round < 3000; round++) {
      const beginning = pick(starts).slice(0, random() * 120);
      const piece = Array.from({ length: 1 + random() * 3 }, () => pick('aA1-_.:/ [(=,|"\\')).join("");

      for (let length = 20; length < 250; length += 10) {
        const line = beginning + piece.repeat(length / piece.length);
        const { user } = process.cpuUsage();
        parseLine(line);
        assert.ok(process.cpuUsage().user - user < 200_000, line); // the next one would take several times as long
      }
    }
  });

  test("LineParser.parse keeps a line of more than 1 MiB as text, at once, and reads one of 1 MiB", () => {
    const line = `{"level":"error","msg":"x","a":"${"a".repeat(KIB ** 2 - 34)}"}`;
    assert.ok(line.length === KIB ** 2 && parseLine(line).message === "x");

    for (const pieces of [...Object.values(HOSTILE), ["<11>{", '"a":[{}],', '"b":1}'] as [string, string, string]]) {
      const long = hostileLine(pieces, 16 * KIB ** 2);
      const { user } = process.cpuUsage();
      const record = parseLine(long);
      const took = (process.cpuUsage().user - user) / 1000;
      assert.ok(record.message === long && record.level === 200 && took < 50, `${pieces[0]}: ${took} ms`);
    }
  });

  test("a line of more than 1 Mi characters is stored as text, whole, and one of fewer is read, however many bytes", async (t) => {
    const [object, shortObject] = [KIB ** 2, KIB ** 2 / 2].map((count) => `{"msg":"x","a":"${"€".repeat(count)}"}`);
    const long = [object, `\x1b[0m${"a".repeat(4 * KIB ** 2)}`, "€".repeat(KIB ** 2 + 1)];
    const bytes = [...long, shortObject, ""].join("\n");

    const { rows } = await storedFrom(t, bytes, { maxLine: "16MiB" });

    const expected = [...long, "x"];
    for (const [index, message] of messages(rows).entries()) assert.ok(message === expected[index], `line ${index}`);
    assert.deepEqual(
      rows.map(({ attributes }) => Object.keys(attributes ?? {})),
      [[], [], [], ["a"]],
    );
  });

  test("LineParser.parse takes a line that is no JSON object as plain text, whole", () => {
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

  test("LineParser.parse reads a JSON line's number of any length or form as JSON.parse does", () => {
    const whole = ["170000000", "1700000000", "1700000000123", "170000000012345", "1700000000123456"];
    const others = ["1700000000123456789", "12345678901234567890", "1700000000.25", "17e8", "1.7E+9", "0.5", "0"];

    for (const json of [...whole, ...others, ...whole.map((digits) => `-${digits}`)])
      for (const line of [`{"msg":"m","time":${json}}`, `{"msg":"m","time":${json},"n":1}`])
        assert.equal(parseLine(line).loggedAtUs, timeOf(JSON.parse(json)), line);
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
    const empty = ['{"msg":""}', '{"level":30}', "{}", '{"message":null}', '{"0":"","_meta":{"logLevelId":3}}'];

    const { rows } = await storedFrom(t, `${empty.join("\n")}\n{"msg":"","message":"second"}\n`);

    assert.deepEqual(messages(rows), [...empty, "second"]);
  });

  test("LineParser.parse takes an empty text under any key for no message", () => {
    for (const name of Object.values(KEYS).join(" ").split(" "))
      for (const text of ["", "\n", "\x1b[0m"]) {
        const others = { _meta: {}, L: "x", M: "", PRIORITY: "6", agent: "", level: "" };
        assert.notEqual(parseLine(JSON.stringify({ ...others, [name]: text })).message, "", name);
      }
  });

  test("a message with newlines, quotes, backslashes and braces arrives as it was", async (t) => {
    const texts = ['a\nb\n"c"\\', "{}", "null", "\\N", ",", "\t", "\u2028", "'; drop table logs; --"];

    const { rows } = await storedFrom(t, texts.map((message) => `${JSON.stringify({ message })}\n`).join(""));

    assert.deepEqual(messages(rows), texts);
  });

  test("plain text of the same kinds arrives as it was", async (t) => {
    const texts = ['"c"\\', "{}x", "NULL", "\\N", ",", "\t", " ", "\u2028", "a\rb"];

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
    const lines = framesIn([{ bytes, frameSize: 0, lines: 0 }]).map((line) => Buffer.from(line, "latin1"));
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
        for (const isCut of [false, true]) {
          const record = parseLine(line, isCut);
          assert.ok([100, 200, 250, 300, 400, 500, 550, 600].includes(record.level));
          if (line !== "") assert.notEqual(record.message, "");
          if (record.loggedAtUs !== undefined) assert.ok(Number.isInteger(record.loggedAtUs));
          for (const name of [record.host, record.app]) assert.ok(name === undefined || name !== "");
          if (record.attributes === undefined) continue;
          assert.ok(objectOf(record.attributes));
          assert.notEqual(record.attributes, "{}");
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("isProseAt is true only for lines that LineParser.parse takes as text, whole", () => {
    const words = "a The 7 22 10:00:00 err error: ERROR é Nov nov Sun x=1 {} [main] thread in web-1 |".split(" ");
    const alarms = ALARMS.flatMap(([text, , within = ""]) => [text, text.toLowerCase(), `${text} x ${within}`]);
    const starts = [...alarms, "Nov 22 10:00:00", "Sun 22 Nov 10:00:00 UTC 2026", "Nov 22 2026 10:00:00 PM", ...words];
    const prose = fc.tuple(fc.constantFrom(...starts), fc.constantFrom(...words), fc.constantFrom(...words));
    let taken = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          anyLine(),
          prose.map((some) => some.join(" ")),
        ),
        fc.nat(9),
        (line, before) => {
          const bytes = Buffer.from(`${"7".repeat(before)}${line}7 b`);
          fc.pre(!line.includes("\x1b") && isProseAt(bytes, before, before + Buffer.byteLength(line)));
          taken++;
          const { level, message, ...others } = parseLine(line);
          assert.deepEqual([level, message], [200, line]);
          assert.ok(
            Object.values(others).every((value) => value === undefined || value === false),
            line,
          );
        },
      ),
      { numRuns: 1000, maxSkipsPerRun: 100 },
    );
    assert.ok(taken >= 1000);
  });

  test("LineParser.parse takes exactly what JSON.parse takes as an object, and loses only what fills a column", () => {
    const objects = realLines().filter((line) => line.trimStart().startsWith("{") && line.length < 1500);
    fc.assert(
      fc.property(
        fc.oneof(
          mutated(objects),
          fc.json(),
          fc.object().map((o) => JSON.stringify(o)),
        ),
        (line) => {
          const { message, attributes } = parseLine(line);
          if (!/^[ \t\r\n]*\{/.test(line) || /\d[eE][+-]?\d{4}|\x1b/.test(line)) return; // colours are taken out first
          const object = objectOf(line);
          if (object === undefined) return assert.deepEqual([message, attributes], [line, undefined]);
          if ("log" in object || "MESSAGE" in object) return; // may hold another format
          const rest = attributes === undefined ? {} : objectOf(attributes)!;
          const whole = objectOf(soundText(line))!;
          for (const key of Object.keys(rest)) assert.deepEqual(rest[key], whole[key]);
          const taken = Object.keys(whole).filter((key) => !Object.hasOwn(rest, key));
          assert.ok(taken.length <= 6); // a time may be in two
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("LineParser.parse reads an object whatever spaces the objects before it had", () => {
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

  test("LineParser.parse keeps every digit", () => {
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
        assert.equal(parseLine(`{"msg":"x", "n" :\t${number} }`)?.attributes, `{"n" :\t${number}}`),
      ),
      { numRuns: 2000 },
    );
  });

  test("an object that JSON.stringify writes comes back", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
        const keys = Object.fromEntries(Object.entries(object).map(([key, value]) => [`x${key}`, value]));
        const attributes = parseLine(JSON.stringify(keys))?.attributes;
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
        const record = parseLine(`<14>1 - - - - - ${text} x`);
        assert.equal(record.message, "x");
        const sent = (JSON.parse(record.attributes ?? "") as Record<string, unknown>)["structured_data"];
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

  test("what a body has comes back out of every envelope: level, message, and attributes with every digit", () => {
    const number = fc.stringMatching(/^-?[1-9]\d{0,30}(\.\d{1,30})?$/);
    const object = fc.tuple(fc.dictionary(fc.stringMatching(/^x[^"\\]*$/), fc.jsonValue(), { maxKeys: 4 }), number);
    fc.assert(
      fc.property(object, fc.constantFrom(...WRAPPERS), ([others, digits], wrap) => {
        const rest = Object.entries(others).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
        const body = `{${[...rest, `"n":${digits}`, '"level":"error"', '"msg":"x y"'].join(",")}}`;
        const bare = parseLine(body);
        const { level, message, attributes = "" } = parseLine(wrap(body));

        assert.deepEqual([level, message], [400, "x y"], wrap(body));
        assert.ok(attributes.includes(bare.attributes!.slice(1, -1)), wrap(body));
      }),
      { numRuns: 1000 },
    );
  });

  test("logfmt comes back", () => {
    const key = fc.stringMatching(/^x[!#-<>-\\^-~]{0,20}$/);
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.string({ unit: "grapheme" })), { selector: ([k]) => k }), (pairs) => {
        const record = parseLine(`level=info ${pairs.map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(" ")}`.trim());
        assert.deepEqual(JSON.parse(record?.attributes ?? "{}"), sound(Object.fromEntries(pairs)));
      }),
      { numRuns: 1000 },
    );
  });
});

const asObjects = (record: LogRecord) => ({ ...record, attributes: objectOf(record.attributes ?? "") });

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
