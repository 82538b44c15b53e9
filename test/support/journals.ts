import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { Journal } from "../../collector.ts";
import type { Framed } from "../../collector.ts";
import { KIB } from "./basics.ts";

export const frames = (lines: string[]): Framed => {
  const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  return {
    sections: [{ bytes, frameSize: 0, lines: lines.length }],
    lines: lines.length,
    replies: [lines.length],
    miscounted: 0,
  };
};

/** Appends each word as an entry of its own; returns what the journal logged. */
export async function writeJournal(directory: string, words: string[]): Promise<string[]> {
  const logged: string[] = [];
  const journal = await Journal.open(directory, KIB ** 2, (line) => logged.push(line));
  for (const word of words) await journal.append("192.0.2.1", frames([word]));
  await journal.seal();
  await journal.close();
  return logged;
}

/** Opens a journal and reads all of it, releasing as it goes. */
export async function drain(directory: string) {
  const logged: string[] = [];
  const journal = await Journal.open(directory, KIB ** 2, (line) => logged.push(line));
  await journal.seal();
  const entries = await readAll(journal);
  await journal.close();
  return { entries, logged, left: journal.received - journal.released };
}

export async function readAll(journal: Journal) {
  const entries: { time: number; body: string; words: string[] }[] = [];
  for await (const batch of journal.read()) {
    for (const { timeUs: time, body } of batch.entries)
      entries.push({
        time,
        body: body.toString("latin1"),
        words: body.toString("latin1").match(/[a-z]+-?[\w-]*(?=\n)/g) ?? [],
      });
    await journal.release(batch, 0);
  }
  return entries;
}

/** The one segment with entries in a journal of single words: its name, bytes, and where its entries end. */
export async function segmentIn(directory: string) {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".segment"));
  const path = names.toSorted().at(0) ?? "";
  const bytes = await readFile(join(directory, path));
  const magic = Buffer.from("LOG\x01", "latin1");
  const starts = [];
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1)) starts.push(at);
  return { path, bytes, ends: [...starts.slice(1), bytes.length] };
}
