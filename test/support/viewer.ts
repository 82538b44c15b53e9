import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after } from "node:test";
import type { TestContext } from "node:test";
import { PGlite } from "@electric-sql/pglite";
import postgres from "postgres";
import { LEVEL_STEPS, levelOf } from "../../collector.ts";
import { createViewer } from "../../viewer/viewer.ts";
import type { LogReader, ViewerHost } from "../../viewer/viewer.ts";
import { onceOnly } from "./basics.ts";
import { ROOT, undoAfter } from "./files.ts";
import { databaseWithTables } from "./postgres.ts";

export const TOKEN = "0123456789abcdef0123456789abcdef";

export const LEVELS = {
  numberOf: levelOf,
  names: LEVEL_STEPS,
};

const describe = (error: unknown) => `SQLSTATE ${String((error as { code?: unknown }).code)}`;

/** Reads as the collector does: read-only, two seconds at most, cancelled when the signal aborts. */
export const readerOf = (sql: postgres.Sql): LogReader => ({
  isEmbedded: false,
  levels: LEVELS,
  async read(statement, values, signal) {
    signal.throwIfAborted();
    const rows = await sql.begin("read only", async (own) => {
      await own`set local statement_timeout = '2s'`;
      const running = own.unsafe<Record<string, Cell>[]>(statement, values).values();
      const cancel = () => running.cancel();
      signal.addEventListener("abort", cancel);
      return running.finally(() => signal.removeEventListener("abort", cancel));
    });
    return rows.map((row) => row.map(textOf));
  },
});

type Cell = string | number | bigint | null;

const textOf = (value: Cell) => (value === null ? null : String(value));

const embeddedReader = (db: PGlite): LogReader => ({
  isEmbedded: true,
  levels: LEVELS,
  async read(statement, values) {
    const { rows } = await db.query<Cell[]>(statement, values, { rowMode: "array" });
    return rows.map((row) => row.map(textOf));
  },
});

/** A table to look at, on a server or in PGlite. */
export interface Table {
  reader: LogReader;
  /** Runs statements without parameters. */
  run(text: string): Promise<unknown>;
}

export async function serverTable(t: TestContext): Promise<Table> {
  const { url } = await databaseWithTables(t);
  const sql = postgres(url, { max: 3, prepare: false, fetch_types: false, onnotice: () => {} });
  undoAfter(t, () => sql.end({ timeout: 1 }));
  return { reader: readerOf(sql), run: (text) => sql.unsafe(text) };
}

const opened: PGlite[] = []; // one, once a test needs it

after(async () => {
  for (const db of opened) await db.close();
});

const embedded = onceOnly(async () => {
  const db = await PGlite.create();
  await db.exec(await readFile(join(ROOT, "schema.sql"), "utf8"));
  await db.exec("select create_logs_partition(current_date + ahead) from generate_series(-1, 2) as ahead");
  opened.push(db);
  return db;
});

/** The same PGlite for all tests, as it takes seconds to open; its table is empty. */
export async function embeddedTable(_t: TestContext): Promise<Table> {
  const db = await embedded();
  await db.exec("truncate logs");
  return { reader: embeddedReader(db), run: (text) => db.exec(text) };
}

/** A viewer on a port of its own, and what its host can be told. */
export async function openViewer(
  t: TestContext,
  { reader }: Pick<Table, "reader">,
  page: ViewerHost["page"] = "token",
) {
  const commits = new Set<() => void>();
  const state = { oldestUnstoredUs: undefined as number | undefined, up: true };
  const host: ViewerHost = {
    ...reader,
    describe,
    page,
    token: TOKEN,
    tryCommand: "echo hello | nc 127.0.0.1 8888",
    oldestUnstoredUs: () => state.oldestUnstoredUs,
    onStored: (wake) => {
      commits.add(wake);
      return () => commits.delete(wake);
    },
    health: () => ({
      state: state.up ? "accepting lines" : "database away since then: ECONNREFUSED",
      database: { up: state.up },
    }),
  };
  const viewer = createViewer(host);
  const http = createServer((request, response) => {
    void viewer.answer(request, response).then((isAnswered) => isAnswered || response.writeHead(404).end());
  });
  undoAfter(t, () => close(http));
  undoAfter(t, () => viewer.close());
  await once(http.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const commit = () => {
    for (const wake of commits) wake();
  };
  return { url, state, commit, viewer };
}

async function close(http: Server): Promise<void> {
  http.closeAllConnections();
  http.close();
  await once(http, "close");
}

/** Asks an endpoint as a script would; resolves to its status and its JSON. */
export async function askApi(url: string, path: string, parameters: Record<string, string> = {}, headers = {}) {
  const response = await fetch(`${url}${path}?${new URLSearchParams(parameters).toString()}`, {
    headers: { authorization: `Bearer ${TOKEN}`, ...headers },
  });
  return { status: response.status, body: (await response.json()) as never };
}
