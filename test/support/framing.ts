import { Framer } from "../../collector.ts";
import { linesIn } from "./journals.ts";

/** What a framer makes of chunks, without how they were grouped. */
export function framed(chunks: Buffer[], maxLine: number) {
  const framer = new Framer(maxLine, "always");
  const pushed = [...chunks.map((chunk) => framer.push([chunk])), framer.push(undefined)];
  const replies = pushed.flatMap((some) =>
    some.replies.flatMap((reply) => (typeof reply === "number" ? oks(reply) : reply)),
  );
  return { lines: pushed.flatMap(({ sections }) => linesIn(sections)), replies };
}

const oks = (count: number) => Array.from({ length: count }, () => "ok");

export const expectedLines = (bytes: Buffer, maxLine: number) =>
  linesIn([{ bytes, frameBytes: 0, lines: 0 }]).map((line) => line.slice(0, maxLine));

export function randomLines(random: () => number): Buffer {
  const pieces = ["\n", "\r\n", "\0", "\r", "{", "a", "<1>", "bcdef", "x".repeat(15), "x".repeat(25)];
  const some = Array.from({ length: random() * 30 }, () => pieces[Math.floor(random() * pieces.length)]);
  return Buffer.from(some.join(""));
}

/** A frame as it is sent, and as it is kept: a line, or a counted one that may hold what looks like other frames. */
export function randomFrame(random: () => number): { sent: string; kept: string } {
  const text = Array.from({ length: Math.floor(random() * 30) }, () => "ab1 <>\r"[Math.floor(random() * 7)]).join("");
  if (random() < 0.5) return { sent: `x${text}y\n`, kept: `x${text}y`.slice(0, 20) };
  const frame = `<13>${text.slice(0, 12)}y`;
  return { sent: `${frame.length} ${frame}`, kept: frame };
}

export function splitAtRandom(bytes: Buffer, random: () => number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, end = 0; at < bytes.length; at = end) {
    end = Math.min(bytes.length, at + 1 + Math.floor(random() * 12));
    chunks.push(bytes.subarray(at, end));
  }
  return chunks;
}
