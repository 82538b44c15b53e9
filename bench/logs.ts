/** The collector's tables in the run's database: emptied, filled, counted. */
import type postgres from "postgres";
import { waitFor } from "./run.ts";

export const dropTables = (sql: postgres.Sql) => sql`drop table if exists logs, log_entries, dead_letters cascade`;

/** Resolves when the collector has made its tables. */
export const schemaIn = (sql: postgres.Sql) =>
  waitFor("the schema", () => hasPartitions(async (text) => Number((await sql.unsafe(text))[0]?.["n"])));

/** The collector makes today's partition and the coming week's. */
export async function hasPartitions(query: (text: string) => Promise<number>): Promise<boolean> {
  const partitions = query("select count(*)::int as n from pg_inherits where inhparent = to_regclass('logs')");
  return (await partitions.catch(() => 0)) >= 8;
}

const QUIET_MS = 200;

/**
 * When the last batch was committed, in milliseconds since 1970. Each batch leaves its keys in `log_entries`, which are
 * few: counting a million rows in a loop would take a core from what is measured, so that is done once, at the end.
 */
export async function lastCommit(sql: postgres.Sql, lines: number): Promise<number> {
  let entries = -1;
  let changedAt = 0;
  await waitFor("all rows", async () => {
    const found = await sql<{ n: number }[]>`select count(*)::int as n from log_entries`.catch(() => []); // not there yet
    const n = found[0]?.n ?? -1;
    if (n !== entries) changedAt = Date.now();
    entries = n;
    return Date.now() - changedAt > QUIET_MS && (await rowsIn(sql)) >= lines;
  });
  const rows = await rowsIn(sql);
  if (rows !== lines) throw new Error(`Cannot go on: ${lines} lines became ${rows} rows`);
  return changedAt;
}

export const rowsIn = async (sql: postgres.Sql) =>
  Number((await sql`select count(*) as n from logs`.catch(() => []))[0]?.["n"] ?? 0);
