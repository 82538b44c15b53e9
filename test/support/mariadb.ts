/** The MySQL or MariaDB server of all tests, and databases of it for one test each. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { TestContext } from "node:test";
import type { Connection } from "mysql2/promise";
import { certificates } from "./certificates.ts";
import { undoAfter } from "./files.ts";
import { MariaDbServer, connectTo, rows } from "./mariadbServer.ts";
import { lacks } from "./programs.ts";

/** Why its tests are skipped, or false. */
export const noMariaDb = process.env["TEST_MYSQL_URL"]
  ? false
  : lacks("mariadbd", "--version", /MariaDB/, "mariadb-server-core, and TEST_MYSQL_URL names no other server");

const opened: Promise<TestServer>[] = []; // one, once a test needs it

export const mysqlServer = () => (opened[0] ??= openServer());

after(async () => {
  for (const one of opened) await (await one).close();
});

interface TestServer {
  name: string;
  /** For a user who may do everything, without a database. */
  url: string;
  admin: Connection;
  close(): Promise<void>;
}

/** The server that TEST_MYSQL_URL names, or one of our own in a temporary folder. */
async function openServer(): Promise<TestServer> {
  const given = process.env["TEST_MYSQL_URL"];
  const folder = await mkdtemp(join(tmpdir(), "collector-mariadb-"));
  const { ca, server } = await certificates();
  const tls = [`--ssl-ca=${ca.certFile}`, `--ssl-cert=${server.certFile}`, `--ssl-key=${server.keyFile}`];
  const own = given ? undefined : await MariaDbServer.create(folder, tls);
  const url = given ?? own?.url ?? "";
  const admin = await connectTo(url);
  const [row] = await rows<{ version: string }>(admin, "select version() as version");
  const name = `${row?.version} ${given ? "of TEST_MYSQL_URL" : "from mariadb-server-core"}`;
  const close = async () => {
    await admin.end();
    await own?.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { name, url, admin, close };
}

export interface MysqlDatabase {
  name: string;
  url: string;
  sql: Connection;
}

/** A database of this test's own, dropped after it, and a user of it whose password is "p@ss/w?rd". */
export async function freshMysql(t: TestContext): Promise<MysqlDatabase> {
  const { url: adminUrl, admin } = await mysqlServer();
  const name = `collector_${randomBytes(6).toString("hex")}`;
  await admin.query(`create database ${name}; create user ${name} identified by 'p@ss/w?rd';
    grant all on ${name}.* to ${name}`);
  undoAfter(t, () => admin.query(`drop database ${name}; drop user ${name}`));
  const target = new URL(adminUrl);
  const url = `mysql://${name}:${encodeURIComponent("p@ss/w?rd")}@${target.host}/${name}`;
  const sql = await connectTo(Object.assign(target, { pathname: `/${name}` }).href);
  undoAfter(t, () => sql.end());
  return { name, url, sql };
}

/** Sets a global variable until the test's end. */
export async function setGlobal(t: TestContext, name: string, value: string | number): Promise<void> {
  const { admin } = await mysqlServer();
  const [row] = await rows<{ value: string | number }>(admin, `select @@global.${name} as value`);
  const before = /^\d+$/.test(String(row?.value)) ? Number(row?.value) : row?.value; // big numbers come as strings
  await admin.query(`set global ${name} = ?`, [value]);
  undoAfter(t, () => admin.query(`set global ${name} = ?`, [before]));
}
