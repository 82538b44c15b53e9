/** A MariaDB server of our own in place of PostgreSQL, and what can be broken of it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import mysql from "mysql2";
import type { Connection } from "mysql2/promise";
import { eventually } from "../support/basics.ts";
import { ROOT } from "../support/files.ts";
import { MariaDbServer, connectTo, rows } from "../support/mariadbServer.ts";
import type { Fault, Inflict } from "./faults.ts";
import type { Target } from "./run.ts";
import { REFUSED } from "./senders.ts";
import type { Row } from "./stock.ts";

/** The name and password of the user, and the name of its database. */
const NAME = `collector_prove_${process.pid}`;

const CHECK = `alter table logs add constraint refused check (left(message, 24) not like '%${REFUSED}%')`;

/** As on a disk with little room, of batches some pass; on `log_entries`, as `logs` may be renamed. */
const FULL_DISK = `create trigger full_disk before insert on log_entries for each row
  if rand() < 0.7 then signal sqlstate 'HY000' set mysql_errno = 1114, message_text = 'injected'; end if`;

export class MariaDatabase implements Target {
  readonly server: MariaDbServer;
  /** For the collector, as a user without rights but on its database. */
  readonly url: string;
  name = "";

  private constructor(server: MariaDbServer) {
    this.server = server;
    this.url = Object.assign(new URL(server.url), { username: NAME, password: NAME, pathname: `/${NAME}` }).href;
  }

  /** With the collector's tables, and a CHECK on `logs`. */
  static async open(folder: string): Promise<MariaDatabase> {
    const schema = await readFile(join(ROOT, "mysql/schema.sql"), "utf8");
    const database = new MariaDatabase(await MariaDbServer.create(folder));
    await database.admin(async (sql) => {
      const [row] = await rows<{ version: string }>(sql, "select version() as version");
      database.name = `${row?.version}, mariadb-server-core's`;
      await sql.query(`create database ${NAME}; create user ${NAME} identified by '${NAME}';
        grant all on ${NAME}.* to ${NAME}; use ${NAME}; ${schema} ${CHECK}`);
    });
    return database;
  }

  /** Runs `work` as the administrator, over a connection of its own. */
  async admin<T>(work: (sql: Connection) => Promise<T>): Promise<T> {
    const sql = await connectTo(this.server.url);
    try {
      await sql.query(`use ${NAME}`).catch(() => {}); // it may not be there yet
      return await work(sql);
    } finally {
      await sql.end();
    }
  }

  /** Ends the collector's sessions; but for a third of them, unless `spared` is 3. */
  async terminate(spared = 3): Promise<void> {
    await this.admin(async (sql) => {
      const which = `user = '${NAME}' and id % 3 <> ${spared}`;
      const found = await rows<{ id: string }>(sql, `select id from information_schema.processlist where ${which}`);
      for (const { id } of found) await sql.query(`kill ${id}`).catch(() => {}); // it may be gone
    });
  }

  faults(): Fault[] {
    return [
      [2, "server: SIGTERM", this.#stop("SIGTERM")],
      [2, "server: kill -9", this.#stop("SIGKILL")],
      [3, "server: sessions killed", (_, holdMs) => this.terminate(holdMs % 3)],
      [1, "server: the user locked out", this.#alter(`alter user ${NAME} account`, "lock", "unlock")],
      [1, "server: read-only", this.#alter("set global read_only =", "1", "0")],
      [1, "server: LOAD DATA not allowed", this.#alter("set global local_infile =", "0", "1")],
      [2, "server: logs renamed away and back", this.#renameAway()],
      [2, "server: logs locked", this.#held("lock tables logs write", "unlock tables")],
      [2, "server: disk full (1114, injected)", this.#alter("", FULL_DISK, "drop trigger if exists full_disk")],
      [2, "server: partitions changed", this.#changePartitions()],
    ];
  }

  /** All rows and dead letters, by the stretches of the clock that begin at `starts`, the last one first. */
  async *rows(starts: string[]): AsyncGenerator<Row> {
    const stretch = starts.map((start) => `(created_at >= '${start.replace(/[TZ]/g, " ").trim()}')`).join(" + ");
    const line = "convert(line using utf8mb4)";
    const connection = mysql.createConnection({ uri: this.server.url, database: NAME, dateStrings: true });
    const found = connection.query(`
      select concat(timestampdiff(microsecond, '1970-01-01', created_at)) as time, message, cut, dead from (
        select created_at, message, json_value(attributes, '$."@collector".cut_from') as cut, 0 as dead from logs
        union all
        select created_at, coalesce(nullif(regexp_substr(${line}, '(?<="msg":")[^"]*'), ''), ${line}), null, 1
        from dead_letters) as found
      order by ${stretch} desc, created_at`);
    for await (const row of found.stream()) yield { ...(row as Row), dead: (row as { dead: unknown }).dead === 1 };
    connection.destroy();
  }

  async close(): Promise<void> {
    await this.server.stop();
  }

  #stop(signal: NodeJS.Signals): Inflict {
    return async (_, holdMs) => {
      await this.server.stop(signal);
      await sleep(holdMs);
      await this.server.start();
    };
  }

  /** The collector has to connect anew, to notice. */
  #alter(what: string, on: string, off: string): Inflict {
    return async (_, holdMs) => {
      await this.admin((sql) => sql.query(`${what} ${on}`));
      await this.terminate();
      await sleep(holdMs);
      await this.admin((sql) => sql.query(`${what} ${off}`));
    };
  }

  #held(begin: string, end: string): Inflict {
    return (_, holdMs) =>
      this.admin(async (sql) => {
        await sql.query(begin);
        await sleep(holdMs);
        await sql.query(end);
      });
  }

  /** Where the collector makes a new table meanwhile, its rows move; those that the CHECK refuses as well. */
  #renameAway(): Inflict {
    return async (_, holdMs) => {
      await this.admin((sql) => sql.query("rename table logs to logs_away"));
      await sleep(holdMs);
      await this.admin(async (sql) => {
        const back = "rename table logs_away to logs";
        const swap = "rename table logs to logs_new, logs_away to logs";
        await eventually(() => sql.query(back).catch(() => sql.query(swap)));
        const found = await rows(sql, "show tables like 'logs_new'");
        if (found.length > 0)
          await sql.query(
            "set check_constraint_checks = 0; insert into logs select * from logs_new; drop table logs_new",
          );
      });
    };
  }

  /** A day far ahead is made and dropped, time and again. */
  #changePartitions(): Inflict {
    const far = "partition p20990101 values less than ('2099-01-02'), partition future values less than (maxvalue)";
    return (_, holdMs) =>
      this.admin(async (sql) => {
        for (const endsAt = Date.now() + holdMs; Date.now() < endsAt; await sleep(50)) {
          await sql.query(`alter table logs reorganize partition future into (${far})`);
          await sql.query("alter table logs drop partition p20990101");
        }
      });
  }
}
