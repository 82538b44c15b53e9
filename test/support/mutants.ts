import fc from "fast-check";
import { CASES } from "./lines.ts";

export const realLines = () => Object.values(CASES).flatMap((cases) => cases.map(([, line]) => line));

/** Real lines with pieces cut, doubled, put elsewhere or replaced by what means something to a parser. */
export const mutated = (lines: string[]) =>
  fc
    .tuple(
      fc.constantFrom(...lines),
      fc.constantFrom(...lines),
      fc.array(
        fc.tuple(
          fc.nat(400),
          fc.nat(6),
          fc.oneof(
            fc.constantFrom(
              ...Array.from('{}[]",:\\<>=-. \t\n\x1b0129eE+/\u0001'),
              '""',
              "\\u",
              "\\u0000",
              "\\U0000",
              "\\uD83D",
              "\\ud800",
              "null",
              "NaN",
              "1e5",
              "-0",
              "é😀",
            ),
            fc.string(),
          ),
        ),
        { maxLength: 4 },
      ),
      fc.nat(400),
    )
    .map(([line, other, edits, cross]) => {
      let text = cross < 60 ? line.slice(0, cross) + other.slice(cross) : line;
      for (const [at, length, piece] of edits) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + piece + text.slice(from + length);
      }
      return text.toWellFormed();
    });

export const anyLine = () =>
  fc.oneof(
    mutated(realLines()),
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.json(),
  );
