import assert from "node:assert/strict";
import { Framer } from "../../collector.ts";
import type { Framed } from "../../collector.ts";
import type { Random } from "./basics.ts";

/** As a section's `frameSize`: counted frames as they came. */
export const COUNTED = 0xffff_ffff;

/** What a framer makes of chunks: each frame's bytes as latin1, without how they were grouped. */
export function framed(chunks: Buffer[], maxLine = 65_536, ack: "auto" | "always" = "always") {
  const framer = new Framer(maxLine, ack, Buffer.alloc(64)); // too little for some
  const pushed: (Framed & { frames: string[] })[] = [];
  for (const chunk of [...chunks, undefined]) {
    const each = framer.push(chunk && [chunk]);
    pushed.push({ ...each, frames: framesIn(each.sections) }); // before the next chunk's frames take the scratch memory
  }
  const frames = pushed.flatMap((each) => each.frames);
  const replies = pushed
    .flatMap((each) => each.replies)
    .flatMap((reply) => (typeof reply === "number" ? oks(reply) : reply));
  assert.equal(frames.length, sumOf(pushed, "lines"));
  return { frames, replies, miscounted: sumOf(pushed, "miscounted") };
}

const oks = (count: number) => Array.from({ length: count }, () => "ok");

const sumOf = (pushed: Framed[], key: "lines" | "miscounted") => pushed.reduce((sum, each) => sum + each[key], 0);

/** The frames of sections, read by the rules of the journal's format. */
export function framesIn(sections: Framed["sections"]): string[] {
  const frames: string[] = [];
  let lines = "";
  const endLines = () => {
    frames.push(...lines.split(/\r?\n|\0/).filter(Boolean));
    lines = "";
  };
  for (const { bytes, frameSize } of sections) {
    if (frameSize > 0) endLines();
    const text = bytes.toString("latin1");
    if (frameSize === 0) lines += text;
    else frames.push(...(frameSize === COUNTED ? countedIn(text) : [text]));
  }
  endLines();
  return frames;
}

function countedIn(text: string): string[] {
  const [, digits = ""] = /^(\d+) /.exec(text) ?? [];
  if (digits === "") return [];
  const end = digits.length + 1 + Number(digits);
  const frame = text.slice(digits.length + 1, end);
  const rest = text.slice(end).replace(/^[\r\n\0]+/, "");
  return [/^<\d{1,3}>/.test(frame) ? frame.replace(/[\r\n\0]+$/, "") : frame, ...countedIn(rest)];
}

export const latin1 = (text: string) => Buffer.from(text).toString("latin1");

export const countFrame = (frame: string) => `${Buffer.byteLength(frame)} ${frame}`;

export const expectedLines = (bytes: Buffer, maxLine: number) =>
  framesIn([{ bytes, frameSize: 0, lines: 0 }]).map((line) => line.slice(0, maxLine));

export function randomLines(random: Random): Buffer {
  const pieces = ["\n", "\r\n", "\0", "\r", "{", "a", "<1>", "bcdef", "x".repeat(15), "x".repeat(25)];
  const some = Array.from({ length: random() * 30 }, () => pieces[Math.floor(random() * pieces.length)]);
  return Buffer.from(some.join(""));
}

/** A frame as it is sent, and as at most 20 bytes of it are kept: a line, or a counted one that may hold newlines. */
export function randomFrame(random: Random): { text: string; kept: string } {
  const body = Array.from({ length: Math.floor(random() * 30) }, () => "ab <>\r"[Math.floor(random() * 6)]).join("");
  if (random() < 0.5) return { text: `x${body}y\n`, kept: `x${body}y`.slice(0, 20) };
  const frame = `<13>${body.slice(0, 12).replace("a", "\n")}y`;
  return { text: countFrame(frame), kept: frame };
}

interface Counted {
  count: number;
  body: string;
  isRight: boolean;
}

const WORDS = ["a", "über", "80", "<3", "{}", "x=1", "größe", "12 <x"];

/** Words that look like octet counts. */
export const COUNT_WORDS = ["5 <1>", "7 <13>one", "12 <3>lines", "44 <14>1"];

const HEADER = "1 2026-11-22T10:00:00Z h a - - - ";

/** A syslog message of one line with a count that is right or, but for `rightShare`, off by -3 to +5, or of characters. */
export function randomCounted(
  random: Random,
  { rightShare = 0.6, words = WORDS, last = ".", header = HEADER } = {},
): Counted {
  const pick = (from: string[]) => from[Math.floor(random() * from.length)] ?? "";
  const text = Array.from({ length: Math.floor(random() * 8) }, () => pick(words)).join(" ");
  const body = `<${Math.floor(random() * 192)}>${header}${text}${last}`;
  const right = Buffer.byteLength(body);
  const count = random() < rightShare ? right : random() < 0.5 ? body.length : right - 3 + Math.floor(random() * 9);
  return { count, body, isRight: count === right };
}

/** What the texts of a stream end in; "number" stands for any. */
const LASTS = [".", " ", "took", "7", "10", "42", "x=1", "number"];

/** Frames of one sender: all with a header or none, their texts ending in one way. */
export function randomStream(random: Random, size: number, rightShare: number): Counted[] {
  const last = LASTS[Math.floor(random() * LASTS.length)] ?? "";
  const header = random() < 0.5 ? HEADER : "";
  const lastOf = () => (last === "number" ? `${Math.floor(10 ** (6 * random()))}` : last);
  return Array.from({ length: size }, () => randomCounted(random, { rightShare, last: lastOf(), header }));
}

/**
 * What a framer lost of the right frames behind a right one, and what of that it tore although the bytes tell. They
 * don't tell if it gave only frames as they were counted between two places where it and the sender begin a frame:
 * another sender, whose counts are right, would send just these bytes.
 */
export function judgeFrames(sent: Counted[], behind: string, frames: string[]) {
  const text = latin1(streamOf(sent, behind));
  const bodies = sent.map(({ body }) => latin1(body));
  const [places, taken] = [placesIn(text, bodies), placesIn(text, frames)];
  const isWhole = (place: Place) => taken.some(({ bodyAt, end }) => bodyAt === place.bodyAt && end === place.end);
  const shared = places.map(({ at }) => at).filter((at) => taken.some((each) => each.at === at && each.bodyAt > at));
  const isTorn = (place: Place) => {
    const from = shared.findLast((at) => at <= place.at) ?? 0;
    const to = shared.find((at) => at > place.at) ?? text.length;
    return taken.some((each) => each.at >= from && each.at < to && !isAsCounted(text, each));
  };

  const wanted = places.filter((_, n) => sent.slice(Math.max(0, n - 1), n + 1).every(({ isRight }) => isRight));
  const lost = wanted.filter((place) => !isWhole(place));
  return { wanted: wanted.length, lost: lost.length, torn: lost.filter(isTorn).length };
}

export const streamOf = (sent: Counted[], behind = "") =>
  sent.map(({ count, body }) => `${count} ${body}${behind}`).join("");

interface Place {
  at: number;
  bodyAt: number; // behind its count, if it has one
  end: number;
}

/** Where frames lie in a text that they were made of, or that was made of them. */
function placesIn(text: string, frames: string[]): Place[] {
  let end = 0;
  return frames.map((frame) => {
    const at = end + (/^[\r\n\0]*/.exec(text.slice(end))?.[0].length ?? 0);
    const [count = ""] = text.startsWith(frame, at) ? [] : (/^\d+ /.exec(text.slice(at)) ?? []);
    const bodyAt = at + count.length;
    assert.ok(text.startsWith(frame, bodyAt), `${JSON.stringify(frame)} is not at ${at} of ${JSON.stringify(text)}`);
    end = bodyAt + frame.length;
    return { at, bodyAt, end };
  });
}

/** Whether a frame ends where its count tells, and another count, a line's ending or the end of all follows. */
function isAsCounted(text: string, { at, bodyAt, end }: Place): boolean {
  const countedTo = bodyAt > at ? bodyAt + Number(text.slice(at, bodyAt)) : NaN;
  const isItsEnd = countedTo <= text.length && /^[\r\n\0]*$/.test(text.slice(end, countedTo)); // or an ending behind it
  return isItsEnd && /^(?:$|[\r\n\0]|[1-9]\d{0,6} <\d{1,3}>)/.test(text.slice(countedTo));
}

export function splitAtRandom(bytes: Buffer, random: Random): Buffer[] {
  const chunks: Buffer[] = [];
  const size = 1 + Math.floor(random() * 300);
  for (let at = 0, end = 0; at < bytes.length; at = end) {
    end = Math.min(bytes.length, at + 1 + Math.floor(random() * size));
    chunks.push(bytes.subarray(at, end));
  }
  return chunks;
}
