/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/** Framing: what a connection's bytes are, however they are split, and whatever its octet counts claim. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deflateSync } from "node:zlib";
import { Framer } from "../collector.ts";
import { range, seeded } from "./support/basics.ts";
import {
  COUNTED,
  COUNT_WORDS,
  countFrame,
  expectedLines,
  framed,
  framesIn,
  judgeFrames,
  latin1,
  randomCounted,
  randomFrame,
  randomLines,
  randomStream,
  splitAtRandom,
  streamOf,
} from "./support/framing.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 500); // of a fuzz

describe("framing", () => {
  test("Framer gives the same lines and replies however the bytes are split", () => {
    const random = seeded(1);

    for (let round = 0; round < 2000; round++) {
      const bytes = randomLines(random);
      const whole = framed([bytes], 20);
      const pieces = framed(splitAtRandom(bytes, random), 20);
      assert.deepEqual(pieces, whole, `round ${round}: ${JSON.stringify(bytes.toString("latin1"))}`);
      assert.deepEqual(pieces.frames, expectedLines(bytes, 20), `round ${round}`);
    }
  });

  test("Framer counts only lines that are not empty, and replies to each of them", () => {
    const framer = new Framer(100, "auto");

    const frames = framer.push([Buffer.from("a\n\n\r\n"), Buffer.from("b\0\0c")]);
    const last = framer.push(undefined);

    assert.deepEqual([frames.lines, frames.replies], [2, [2]]);
    assert.deepEqual([last.lines, last.replies], [1, [1]]);
  });

  test("Framer keeps nothing of the chunks that it was given", () => {
    const framer = new Framer(100, "auto");
    const chunk = Buffer.from("begin");

    framer.push([chunk]);
    chunk.fill("#");
    const frames = framer.push([Buffer.from(" end\n")]);

    assert.deepEqual(framesIn(frames.sections), ["begin end"]);
  });

  test("Framer tears no UTF-8 sequence where it cuts", () => {
    const framer = new Framer(4, "auto");

    const { sections } = framer.push([Buffer.from("abcé and more\n")]);

    assert.deepEqual(framesIn(sections), ["abc"]);
    assert.equal(sections[0]?.frameSize, 14);
  });
});

describe("octet counts that are wrong", () => {
  test("Framer: 3,000 right frames behind one that counts characters instead of bytes give 3,001", () => {
    const wrong = "42 <14>1 2026-11-22T10:00:00Z h a - - - Größe"; // 44 bytes
    const right = Array.from({ length: 3000 }, (_, n) => `<14>1 2026-11-22T10:00:00Z h a - - - line ${n}`);

    const { frames, miscounted } = framed([Buffer.from(wrong + right.map(countFrame).join(""))]);

    assert.deepEqual(frames, [wrong.slice(3), ...right].map(latin1));
    assert.equal(miscounted, 1);
  });

  for (const behind of ["", "\n", "\r\n", "\0"])
    test(`Framer: every right frame that follows a wrong one by two is whole, split anywhere, ${JSON.stringify(behind)} behind`, () => {
      const random = seeded(3);

      for (let round = 0; round < ROUNDS; round++) {
        const sent = Array.from({ length: 12 }, () => randomCounted(random));
        const bytes = Buffer.from(streamOf(sent, behind));
        const { lost } = judgeFrames(sent, behind, framed(splitAtRandom(bytes, random)).frames);
        assert.equal(lost, 0, `round ${round}: ${JSON.stringify(bytes.toString())}`);
      }
    });

  for (const [behind, rightShare, allowed] of [
    ["\n", 0.6, 0],
    ["", 0.95, 1 / 50_000],
    ["", 0.6, 1 / 10_000],
  ] as const)
    test(`Framer: where texts end in digits, so it is but for bytes that a right sender would send, ${JSON.stringify(behind)} behind, ${rightShare} of the counts right`, () => {
      const random = seeded(9);
      let [wanted, lost] = [0, 0];

      for (let round = 0; round < 4 * ROUNDS; round++) {
        const sent = randomStream(random, round % 8 === 0 ? 100 : 12, rightShare);
        const { frames } = framed(splitAtRandom(Buffer.from(streamOf(sent, behind)), random));
        const judged = judgeFrames(sent, behind, frames);
        wanted += judged.wanted;
        lost += behind === "" ? judged.torn : judged.lost;
      }

      assert.ok(lost <= wanted * allowed, `${lost} of ${wanted}`);
    });

  test("Framer: digits at the end of a text that a count is too short for are a line, and the next frame is whole", () => {
    const right = Array.from({ length: 200 }, (_, n) => `<14>1 - h a - - - line ${n} took 42`);
    const wrong = `${right[0]!.length - 2} ${right[0]!}`; // then "42" and the next count are "4227 <14>"

    const { frames, miscounted } = framed([Buffer.from(wrong + right.map(countFrame).join(""))]);

    assert.deepEqual(frames, [right[0]!.slice(0, -2), "42", ...right]);
    assert.equal(miscounted, 1);
  });

  test("Framer: a text that ends in what a right frame would be stays whole, long after a wrong count", () => {
    const right = Array.from({ length: 20 }, (_, n) => `<14>1 - h a - - - line ${n} has <3 <3>`);
    const wrong = "9 <14>Größe"; // 11 bytes

    const { frames } = framed([Buffer.from(wrong + right.map(countFrame).join(""))]);

    assert.deepEqual(frames, [latin1(wrong.slice(2)), ...right]);
  });

  test("Framer replies to nothing that a wrong count leaves over, however the bytes are split: its sender expects no reply", () => {
    const random = seeded(7);

    for (let round = 0; round < 100; round++) {
      const sent = Array.from({ length: 30 }, () => randomCounted(random, { rightShare: 0.8, last: "42" }));
      const { replies } = framed(splitAtRandom(Buffer.from(streamOf(sent)), random), 65_536, "auto");
      assert.deepEqual(replies, [], `round ${round}`);
    }
  });

  test("Framer: texts that look like counts stay in right frames, and cost one right frame in 200 where two of five are wrong", () => {
    const random = seeded(5);
    const words = ["a", "größe", "80", ...COUNT_WORDS];

    for (const [rightShare, allowed] of [
      [1, 0],
      [0.6, 1 / 200],
    ] as const) {
      let [wanted, lost] = [0, 0];
      for (let round = 0; round < ROUNDS; round++) {
        const sent = Array.from({ length: 12 }, () => randomCounted(random, { rightShare, words }));
        const judged = judgeFrames(sent, "", framed(splitAtRandom(Buffer.from(streamOf(sent)), random)).frames);
        wanted += judged.wanted;
        lost += judged.lost;
      }
      assert.ok(lost <= wanted * allowed, `${lost} of ${wanted}, of which ${rightShare} are right`);
    }
  });

  test("Framer: a connection whose frames are all counted wrong gives them all, the bytes of each whole", () => {
    for (const error of [-3, -2, -1, 1, 2, 3, 4, 5]) {
      const bodies = Array.from({ length: 50 }, (_, n) => `<14>1 - h a - - - Ärger über ${n} größere Übel.`);
      const sent = bodies.map((body) => `${Buffer.byteLength(body) + error} ${body}`);

      const { frames, miscounted } = framed([Buffer.from(sent.join(""))]);

      const isWhole = (body: string, n: number) => (frames[n] ?? "").startsWith(latin1(body));
      assert.ok(frames.length === 50 && bodies.every(isWhole), `error ${error}: ${frames.join("\n")}`);
      assert.ok(miscounted > 20, `${miscounted} are known to be wrong`);
    }
  });

  test("Framer: a count that is far too large costs nothing, whether the sender ends or goes on for long", () => {
    const right = Array.from({ length: 100 }, (_, n) => `<14>line ${n}`);

    for (const count of [400, 2000, 9_999_999])
      for (const maxLine of [100, 65_536]) {
        const bytes = Buffer.from(`${count} <14>wrong${right.map(countFrame).join("")}`);
        const { frames } = framed([bytes.subarray(0, 700), bytes.subarray(700)], maxLine);
        assert.deepEqual(frames.slice(-99), right.slice(1), `count ${count}, at most ${maxLine}`);
      }
  });

  test("Framer: a right count of a frame that is cut is not reported as wrong, whatever comes in the same chunk", () => {
    const frames = ["<13>one", `<13>${"x".repeat(200)}`, "<13>two", "<13>three", "<13>four"];
    const bytes = Buffer.from(`line\n${frames.map(countFrame).join("")}`);

    for (let at = 1; at < bytes.length; at++) {
      const { frames: got, miscounted } = framed([bytes.subarray(0, at), bytes.subarray(at)], 100);
      assert.deepEqual(got, ["line", ...frames.map((frame) => frame.slice(0, 100))]);
      assert.equal(miscounted, 0, `split at ${at}`);
    }
  });

  test("Framer: text that looks like a count within a right frame stays there", () => {
    const bodies = ["<14>he wrote 5 <1>: 7 <13>one", "<14>two\n12 <3>lines", "<14>end"];

    const { frames, miscounted } = framed([Buffer.from(bodies.map(countFrame).join(""))]);

    assert.deepEqual(frames, bodies);
    assert.equal(miscounted, 0);
  });

  test("Framer: where lines come first, a counted frame is taken at its word, and a line ends where a count begins", () => {
    const { frames, miscounted } = framed([Buffer.from("first\n7 <13>onelast\ncut off 7 <13>two\n3 monkeys\n")]);

    assert.deepEqual(frames, ["first", "<13>one", "last", "cut off ", "<13>two", "3 monkeys"]);
    assert.equal(miscounted, 0);
  });

  test("Framer gives counted frames and lines between them however the bytes are split", () => {
    const random = seeded(2);

    for (let round = 0; round < ROUNDS; round++) {
      const sent = Array.from({ length: 8 }, () => randomFrame(random));
      const bytes = Buffer.from(`line\n${sent.map(({ text }) => text).join("")}`);
      const { frames } = framed(splitAtRandom(bytes, random), 20);
      const expected = ["line", ...sent.map(({ kept }) => kept)];
      assert.deepEqual(frames, expected, `round ${round}: ${JSON.stringify(bytes.toString())}`);
    }
  });

  test("Framer: a run of counted frames shares one section, and a view of its chunk", () => {
    const chunk = Buffer.from("3 <1>".repeat(10_000));

    const framer = new Framer(100, "auto");
    framer.push([Buffer.from("3 <1>")]);
    const { sections, lines, replies } = framer.push([chunk]);

    assert.deepEqual([sections.length, sections[0]?.frameSize, lines, replies], [1, COUNTED, 10_000, []]);
    assert.ok(sections[0]?.bytes.buffer === chunk.buffer, "a copy");
  });

  test("Framer takes time in proportion to bytes that look like counts, whatever they are", () => {
    const hostile = ["1 <1>", "9999999 <1>", "7 <13>x", "1", "<", "1 <", "3 <1> ", "44 <14>\n"];

    for (const piece of hostile) {
      const [little, much] = [costOf(piece, 2 ** 18), costOf(piece, 2 ** 20)];
      assert.ok(much < 10 * little + 100, `${piece}: ${little} ms for 256 KiB, ${much} ms for 1 MiB`);
    }
  });

  test("Framer takes as long for such bytes in large chunks as in small ones", () => {
    const digits = `${"31000 <1>\n".repeat(3100)}${"1".repeat(31_000)}\n`;
    const hostile = [
      "a\n",
      "a b c d e f g h\n",
      "a <\n",
      "a1 <\n",
      "a 9 <1>\n",
      "a0 <1>\n",
      "1 <1>",
      " 5 <1>xxx\n",
      digits,
    ];

    for (const piece of hostile) {
      const [small, large] = [2 ** 10, 2 ** 16].map((chunkSize) => costOf(piece, 2 ** 17, chunkSize)) as [
        number,
        number,
      ];
      assert.ok(large < 10 * small + 100, `${piece.slice(0, 20)}: ${small} ms in chunks of 1 KiB, ${large} in 64 KiB`);
    }
  });
});

describe("what a connection begins with", () => {
  const refused: [string, Buffer | string][] = [
    ["a TLS handshake", Buffer.from([22, 3, 1, 0, 5, 1])],
    ["an HTTP request", "GET / HTTP/1.1\r\n"],
    ["RELP", "1 open 85 relp_version=0\nrelp_software=librelp,1.2.14\n"],
    ["the lumberjack protocol", Buffer.from("2W\0\0\x07\xff2C\0\0", "latin1")],
    ["the forward protocol", Buffer.from("\x92\xa3tag\x92\x92\xce", "latin1")],
    ["the forward protocol", Buffer.from("\x94\xd9\x20", "latin1")],
    ["gzipped data", Buffer.from([0x1f, 0x8b, 8, 0])],
    ["data compressed by zlib", deflateSync('{"short_message":"x"}')],
    ["data compressed by zlib", deflateSync('{"short_message":"x"}', { level: 1 })],
    ["Python's SocketHandler", Buffer.from("\0\0\x01\x23}q\0(X\x04\0", "latin1")],
    ["a PROXY header", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nline\n"],
    ["a PROXY header", Buffer.from("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "latin1")],
  ];

  for (const [what, bytes] of refused)
    test(`Framer refuses ${what} (${JSON.stringify(bytes.toString("latin1").slice(0, 8))}), whole or byte by byte`, () => {
      for (const chunks of [[Buffer.from(bytes)], Array.from(Buffer.from(bytes), (byte) => Buffer.of(byte))]) {
        const framer = new Framer(100, "auto");
        const { lines } = framer.push(chunks);
        assert.match(framer.refusal ?? "", new RegExp(`^${what}[^\\n]*[;,]`));
        assert.equal(lines, 0);
      }
    });

  test("Framer takes at once what only begins like them", () => {
    for (const line of [
      "1\n",
      "2W\n",
      "1 open door\n",
      "PROXY is down\n",
      "GET / took 3 ms\n",
      "\x92 x\n",
      "\0x\n",
      "x = 7\n",
      "x\n",
      "\r\n\r\nx\n",
    ]) {
      const framer = new Framer(100, "auto");
      const { lines } = framer.push([Buffer.from(line, "latin1")]);
      assert.deepEqual([lines, framer.refusal], [1, undefined], JSON.stringify(line));
    }
  });

  test("Framer drops a UTF-8 byte order mark: JSON behind it gets no reply", () => {
    const { frames, replies } = framed([Buffer.from('\ufeff{"message":"json"}\n')], 100, "auto");

    assert.deepEqual([frames, replies], [['{"message":"json"}'], []]);
  });

  for (const [encoding, swap] of [
    ["UTF-16LE", false],
    ["UTF-16BE", true],
  ] as const)
    test(`Framer decodes ${encoding} that begins with its mark, split anywhere`, () => {
      const random = seeded(4);
      const text = 'Größe\nNUL \u0100\r\n{"a":"𝒳 ok"}\nlast';
      const bytes = Buffer.from(`\ufeff${text}`, "utf16le");
      if (swap) bytes.swap16();

      for (let round = 0; round < 200; round++) {
        const { frames } = framed(splitAtRandom(bytes, random));
        assert.deepEqual(frames, text.split(/\r?\n/).map(latin1));
      }
    });

  test("Framer keeps UTF-16 without its mark a frame a line, its bytes as they came", () => {
    const { frames } = framed([Buffer.from("first line\nsecond\n", "utf16le")]);

    assert.deepEqual(frames, ["f\0i\0r\0s\0t\0 \0l\0i\0n\0e\0", "\0s\0e\0c\0o\0n\0d\0", "\0"]);
  });
});

/** The processor time, in ms, that so many bytes of a repeated piece cost behind a counted frame. */
function costOf(piece: string, size: number, chunkSize = 16_384): number {
  const bytes = Buffer.from(`3 <1>${piece.repeat(size / piece.length)}`);
  const framer = new Framer(65_536, "auto");
  const { user } = process.cpuUsage();
  for (const n of range(size / chunkSize)) framer.push([bytes.subarray(n * chunkSize, (n + 1) * chunkSize)]);
  framer.push(undefined);
  return (process.cpuUsage().user - user) / 1000;
}
