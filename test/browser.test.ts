/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
/* The log page in a real Chromium, on a real collector and PostgreSQL. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import type { Page } from "playwright-core";
import type postgres from "postgres";
import { eventually, jsonLines, range } from "./support/basics.ts";
import { NO_BROWSER, openPage } from "./support/browser.ts";
import { ANY_PORT, Program, start } from "./support/collectors.ts";
import { folder } from "./support/files.ts";
import { databaseWithTables, freshDatabase } from "./support/postgres.ts";
import { converse } from "./support/senders.ts";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

interface Line {
  created_at?: string;
  id?: string;
  level?: number;
  message: string;
  logged_at?: string;
  host?: string;
  app?: string;
  peer?: string;
  attributes?: unknown;
}

/** Stores lines, a second apart and the last one now, unless they bring their times. */
async function insert(sql: postgres.Sql, lines: Line[]): Promise<void> {
  const rows = lines.map((line, at) => ({
    created_at: new Date(Date.now() - (lines.length - at) * 1000).toISOString(),
    level: 200,
    ...line,
    attributes: line.attributes === undefined ? null : JSON.stringify(line.attributes),
  }));
  await sql`insert into logs (created_at, level, message, app, host, peer, attributes)
    select created_at, level, message, app, host, peer, attributes::jsonb
    from json_to_recordset(${JSON.stringify(rows)}::text::json) as
      line(created_at timestamptz, level int, message text, app text, host text, peer text, attributes text)`;
}

/** A collector on a database of its own that has its tables. */
async function collectorWithPage(t: TestContext) {
  const { url, sql } = await databaseWithTables(t);
  const collector = await start(t, { databaseUrl: url, http: ANY_PORT });
  return { collector, sql, link: collector.page ?? "" };
}

const rowsShown = (page: Page) => page.locator("#lines tr.line");
const messagesShown = (page: Page) => page.locator("#lines tr.line td.message").allTextContents();
/** Resolves when an expression is true there; `waitForFunction` would need eval, which the page forbids. */
const holds = (page: Page, expression: string) => eventually(async () => assert.ok(await page.evaluate(expression)));

const finished = (page: Page) => holds(page, `/shown/.test(document.querySelector("#status")?.textContent ?? "")`);

const REAL_LINES: Line[] = range(200).map((n) => ({
  message: n % 40 === 7 ? "java.lang.IllegalStateException: cart is empty" : `GET /api/orders/${n} 200 in ${n % 90} ms`,
  level: [100, 200, 250, 300, 400, 600][n % 6] ?? 200,
  app: ["shop", "cart"][n % 2] ?? "",
  host: `web-${n % 3}`,
  peer: "10.0.0.1",
  attributes: { status: 200 + n, http: { method: "GET", path: "/api" }, tags: ["a", "b"] },
}));

interface Violation {
  id: string;
  nodes: { html: string; failureSummary: string }[];
}

async function violationsOf(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(AXE, "utf8"));
  const violations = await page.evaluate<Violation[]>("axe.run().then(({ violations }) => violations)");
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 200)} ${nodes[0]?.failureSummary}`);
}

describe("The page in a browser", { skip: NO_BROWSER }, () => {
  for (const colorScheme of ["light", "dark"] as const)
    test(`breaks no rule of axe in ${colorScheme}: empty, with lines, open, around, help, menu, 320 px`, async (t) => {
      const { sql, link } = await collectorWithPage(t);
      const { page, troubles } = await openPage(t, link, { colorScheme });
      await page.getByText("No lines yet").waitFor();
      const found: Record<string, string[]> = { empty: await violationsOf(page) };

      await insert(sql, REAL_LINES);
      await page.reload();
      await rowsShown(page).first().waitFor();
      await page.locator("#bars button").first().waitFor();
      found["lines"] = await violationsOf(page);
      await page.locator("#query").fill("orders level:debug");
      await holds(page, `document.querySelectorAll("#lines tr.line").length < 50`);
      await rowsShown(page).nth(3).click();
      await page.locator("tr.detail").waitFor();
      found["open"] = await violationsOf(page);
      await page.keyboard.press("c");
      await page.locator("#context-lines tr").first().waitFor();
      found["around"] = await violationsOf(page);
      await page.keyboard.press("Escape");
      await page.keyboard.press("?");
      found["help"] = await violationsOf(page);
      await page.keyboard.press("Escape");
      await page.locator("#menu-button").click();
      found["menu"] = await violationsOf(page);
      await page.keyboard.press("Escape");
      await page.setViewportSize({ width: 320, height: 640 });
      found["narrow"] = await violationsOf(page);
      const overflow = await page.evaluate(`document.documentElement.scrollWidth > innerWidth`);

      assert.deepEqual(found, Object.fromEntries(Object.keys(found).map((name) => [name, []])));
      assert.equal(overflow, false);
      assert.deepEqual(troubles, { errors: [], violations: [], dialogs: [], foreign: [] });
    });

  test("does all by keyboard: search, lines, bars, around; the focus is given back", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await insert(sql, REAL_LINES);
    const { page } = await openPage(t, link);
    await rowsShown(page).first().waitFor();
    const focused = () => page.evaluate<string>("document.activeElement.textContent");

    await page.keyboard.press("/");
    await page.keyboard.type("level>=error app:shop");
    await page.keyboard.press("Enter");
    await page.locator(".chip").nth(1).waitFor();
    assert.equal(new URL(page.url()).searchParams.get("q"), "level>=error app:shop");
    await page.evaluate(`document.activeElement.blur()`);
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    const line = await focused();
    await page.keyboard.press("Enter");
    await page.locator("tr.detail").waitFor();
    await page.keyboard.press("c");
    await page.locator("#context-lines tr[aria-current]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#context").waitFor({ state: "hidden" });
    assert.equal(await focused(), line);
    await page.keyboard.press("Escape");
    await page.locator("tr.detail").waitFor({ state: "detached" });
    assert.equal(await focused(), line);

    await page.locator('#bars button[tabindex="0"]').focus();
    const bar = () => page.evaluate<string>("document.activeElement.ariaLabel");
    const first = await bar();
    assert.match(first, /^\d\d:\d\d(:\d\d)? to \d\d:\d\d(:\d\d)?, \d+ lines?/);
    await page.keyboard.press("ArrowLeft");
    assert.notEqual(await bar(), first);
    await page.keyboard.press("Enter");
    await page.waitForURL(/since=.*until=/);
    await page.goBack();
    await page.waitForURL((address) => !address.searchParams.has("until"));
    await rowsShown(page).nth(10).waitFor();
    assert.equal(await page.locator("#bars [tabindex='0']").count(), 1);
    assert.equal(await page.locator("#lines tbody [tabindex='0']").count(), 1);
  });

  test("shows markup of a line as text, wherever it stands", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    const attacks = [
      "<script>alert(1)</script>",
      '<img src="http://evil.example/x" onerror="alert(2)">',
      '"><svg onload=alert(3)>',
      "</script><b>",
      "javascript:alert(4)",
    ];
    await insert(
      sql,
      attacks.map((text) => ({
        message: `${text} \u202eabc\u0007`,
        app: text,
        host: text,
        peer: text,
        attributes: { [text]: text, nested: { [text]: [text] } },
      })),
    );
    const { page, troubles } = await openPage(t, link);
    await rowsShown(page).first().waitFor();

    const [shown = ""] = await messagesShown(page);
    for (const at of range(attacks.length)) {
      await rowsShown(page).nth(at).locator("td.message").click();
      await page.locator("tr.detail").waitFor();
      await page.keyboard.press("Escape");
    }
    await page.goto(
      `${new URL(link).origin}/?q=${encodeURIComponent(attacks.join(" "))}&since=${encodeURIComponent(attacks[0]!)}&at=${encodeURIComponent(attacks[1]!)}`,
    );
    await page.getByText("Cannot read since").waitFor();

    assert.equal(shown, "javascript:alert(4) \\u202eabc\\u0007");
    assert.deepEqual(troubles, { errors: [], violations: [], dialogs: [], foreign: [] });
    assert.equal(await page.locator("#lines script, #lines img, #lines svg, #lines b").count(), 0);
  });

  test("moves nothing while one has scrolled, selected or opened, and shows what came at a click", async (t) => {
    const { collector, sql, link } = await collectorWithPage(t);
    await insert(sql, REAL_LINES);
    const { page } = await openPage(t, link);
    await rowsShown(page).nth(50).waitFor();
    const send = (from: number, count: number) =>
      converse(
        collector.port,
        range(count)
          .map((n) => `new ${from + n}\n`)
          .join(""),
      );
    const top = () => page.evaluate(`document.querySelectorAll("#lines tr.line")[30]?.getBoundingClientRect().top`);
    const waiting = (count: number) => page.getByText(`${count} new lines ↑`).waitFor();

    await page.mouse.wheel(0, 400);
    await holds(page, `scrollY > 300`);
    const scrolled = await top();
    await send(0, 40);
    await waiting(40);
    assert.equal(await top(), scrolled);
    assert.match((await page.locator("#live").textContent()) ?? "", /paused: 40 new/);

    await page.locator("#fresh").click();
    await page.getByText("new 39").waitFor();
    await rowsShown(page).nth(2).locator("td.message").click();
    const opened = await top();
    await send(40, 30);
    await waiting(30);
    assert.equal(await top(), opened);
    await page.keyboard.press("Escape");
    await page.getByText("new 69").waitFor();

    await page.evaluate(`getSelection()?.selectAllChildren(document.querySelectorAll("#lines td.message")[3])`);
    const selected = await top();
    await send(70, 20);
    await waiting(20);
    assert.equal(await top(), selected);
    await page.evaluate(`getSelection()?.removeAllRanges()`);
    await page.locator("#fresh").click();
    assert.deepEqual(
      (await messagesShown(page)).slice(0, 90),
      range(90).map((n) => `new ${89 - n}`),
    );
  });

  test("brings older lines where one scrolls to the end, and keeps 1,000 of all", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await sql`insert into logs (created_at, message) select now() - n * interval '1 ms', 'line ' || n from generate_series(1, 1500) n`;
    const { page } = await openPage(t, link);
    await rowsShown(page).nth(100).waitFor();

    await eventually(async () => {
      await page.evaluate("scrollTo(0, document.body.scrollHeight)");
      assert.equal((await messagesShown(page)).at(-1), "line 1500");
    });

    assert.equal(await rowsShown(page).count(), 1000);
  });

  test("goes on by itself when the collector was killed and is started again", async (t) => {
    const [{ url }, dataDir] = [await freshDatabase(t), await folder(t)];
    const flags = ["--data-dir", dataDir, "--database-url", url];
    const first = await Program.start(t, [...flags, "--http", ANY_PORT], {}, {});
    const address = first.http.replace("http://", "");
    const token = await readFile(`${dataDir}/page-token`, "utf8");
    await converse(first.port, "one\n");
    const { page } = await openPage(t, `http://${address}/#token=${token}`);
    await page.getByText("one", { exact: true }).waitFor();

    await first.kill();
    await page.getByText("can't be reached").first().waitFor();
    const second = await Program.start(t, [...flags, "--http", address], {}, {});
    await converse(second.port, "two\n");

    await page.getByText("two", { exact: true }).waitFor();
    await page.locator("#health").waitFor({ state: "hidden" });
    assert.deepEqual(await messagesShown(page), ["two", "one"]);
  });

  test("answers in 8 tabs at a time", async (t) => {
    const { collector, sql, link } = await collectorWithPage(t);
    await insert(sql, [{ message: "first" }]);
    const { page, context } = await openPage(t, link);
    const others = await Promise.all(range(7).map(() => context.newPage()));
    const tabs = [page, ...others];
    await Promise.all(others.map((tab) => tab.goto(new URL(link).origin)));
    await Promise.all(tabs.map((tab) => tab.getByText("first", { exact: true }).waitFor()));

    await converse(collector.port, "second\n");

    await Promise.all(tabs.map((tab) => tab.getByText("second", { exact: true }).waitFor()));
    for (const tab of tabs) await tab.locator("#query").fill("level:error");
    await Promise.all(tabs.map((tab) => tab.getByText("No line matches").waitFor()));
  });

  test("keeps microseconds, 20-digit numbers and 19-digit ids on the screen, in copies and in links", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    const second = new Date(Date.now() - 60_000).toISOString().slice(0, 19);
    await sql.unsafe(`insert into logs (created_at, id, message, attributes)
      values ('${second}.123456Z', 9223372036854775806, 'exact', '{"n": 12345678901234567890, "s": "1e400"}')`);
    const { page, context } = await openPage(t, link, { timezoneId: "Asia/Kathmandu" });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const copied = () => page.evaluate<string>("navigator.clipboard.readText()");

    await page.getByText("exact", { exact: true }).click();
    const detail = (await page.locator("tr.detail").textContent()) ?? "";
    await page.getByRole("button", { name: "Copy JSON" }).click();
    await eventually(async () => assert.match(await copied(), /^\{"created_at"/));
    const json = await copied();
    await page.getByRole("button", { name: "Copy link" }).first().click();
    await eventually(async () => assert.match(await copied(), /^http/));
    const shared = await copied();
    const other = await openPage(t, `${shared}${new URL(link).hash}`, { timezoneId: "America/New_York" });
    await other.page.locator("tr.detail").waitFor();

    assert.match(detail, /:\d\d\.123456/);
    assert.match(detail, /12345678901234567890/);
    assert.match(detail, /9223372036854775806/);
    assert.match(
      json,
      new RegExp(`"created_at":"${second}\\.123456Z","id":"9223372036854775806".*"n": 12345678901234567890`),
    );
    assert.deepEqual(await messagesShown(other.page), ["exact"]);
  });

  test("downloads all that matches, and tells so a few times only", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await sql`insert into logs (created_at, message) select now() - n * interval '1 ms', 'line ' || n from generate_series(1, 20000) n`;
    const { page } = await openPage(t, `${new URL(link).origin}/?q=line${new URL(link).hash}`);
    await rowsShown(page).first().waitFor();

    await page.evaluate(`window.notices = [];
      new MutationObserver(() => notices.push(document.querySelector("#status").textContent))
        .observe(document.querySelector("#status"), { childList: true, characterData: true, subtree: true })`);
    const downloading = page.waitForEvent("download");
    await page.locator("#menu-button").click();
    await page.getByRole("button", { name: "Download NDJSON" }).click();
    const text = await readFile(await (await downloading).path(), "utf8");
    const notices = await page.evaluate<string[]>("window.notices");

    assert.deepEqual(
      (jsonLines(text) as Line[]).map(({ message }) => message),
      range(20_000).map((n) => `line ${20_000 - n}`),
    );
    const told = notices.filter((notice) => notice.startsWith("downloading"));
    assert.ok(told.length <= text.length / 1e6, told.join()); // at each MB at most
  });

  test("puts the lines of a stack trace under their head", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    const at = new Date(Date.now() - 5000).toISOString().slice(0, 19);
    const lines = ["Exception: x", "\tat a.b(C.java:1)", "Caused by: y", "\t... 3 more"];
    await insert(sql, [
      { message: "before", created_at: `${at}.000Z`, peer: "10.0.0.1" },
      ...lines.flatMap((message, index) => [
        { message, created_at: `${at}.10${index}Z`, peer: "10.0.0.1" },
        { message: `other ${index}`, created_at: `${at}.20${index}Z`, peer: "10.0.0.2" },
      ]),
    ]);
    const { page } = await openPage(t, link);
    await rowsShown(page).first().waitFor();

    const shown = await messagesShown(page);
    await page.locator("td.message", { hasText: "Exception: x" }).click();

    assert.deepEqual(shown, [...range(4).map((n) => `other ${3 - n}`), "Exception: x+3 lines", "before"]);
    assert.equal(await page.locator("tr.detail pre").textContent(), lines.join("\n"));
  });

  test("asks for its link where it has no token, tells what is wrong with another, and takes it", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await insert(sql, [{ message: "secret" }]);
    const { page } = await openPage(t, new URL(link).origin);
    await page.getByText("This page needs its link").waitFor();
    assert.equal(await rowsShown(page).count(), 0);
    assert.equal(await page.locator("#key-trouble").textContent(), "");

    await page.locator("#key-link").fill("no link");
    await page.keyboard.press("Enter");
    await page.getByText("That is no link of this page").waitFor();
    await page.locator("#key-link").fill(`${new URL(link).origin}/#token=0123456789abcdef`);
    await page.keyboard.press("Enter");
    await page.getByText("is not this collector's").waitFor();
    await page.locator("#key-link").fill(link);
    await page.keyboard.press("Enter");

    await page.getByText("secret", { exact: true }).waitFor();
    assert.ok(!page.url().includes("token"));
  });

  test("goes from a facet, a value and a bar to a filter, and back; a filter without a match offers a way out", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await insert(sql, REAL_LINES);
    const { page } = await openPage(t, link);
    await page.locator('[data-facet="app"] .facet', { hasText: "cart" }).click();
    await page.locator(".chip", { hasText: "app:cart" }).waitFor();
    await eventually(async () =>
      assert.deepEqual(new Set(await page.locator("#lines td.app").allTextContents()), new Set(["cart"])),
    );

    await rowsShown(page).first().locator("td.message").click();
    await page
      .locator(".fields dt", { hasText: "method" })
      .locator("+ dd")
      .getByRole("button", { name: "not" })
      .click();
    await page.getByText("No line matches").waitFor();
    await page.getByRole("button", { name: "drop the filter" }).click();
    await rowsShown(page).first().waitFor();
    await finished(page);

    const box = (await page.locator("#bars").boundingBox())!;
    await page.mouse.move(box.x + box.width * 0.75, box.y + 30);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 2, box.y + 30, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/since=.*until=/);
    await page.locator("#live[data-state=off]").waitFor();
    await page.goBack();
    await page.locator("#live[data-state=live]").waitFor();
  });

  test("asks for times where those of the histogram stand, and changes nothing at Escape", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    const day = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10); // which has a partition for sure
    await insert(sql, [
      { message: "within", created_at: `${day}T03:04:00Z` },
      { message: "after", created_at: `${day}T05:00:00Z` },
    ]);
    const { page } = await openPage(t, link, { timezoneId: "Asia/Kathmandu" });
    await page.locator("#bars button").first().waitFor();
    const [since, until] = [page.locator("#times-since"), page.locator("#times-until")];

    await page.locator("#range").selectOption("choose");
    const histogramStart = await since.inputValue();
    await since.fill(`${day}T08:00:00`);
    await until.fill(`${day}T09:00:00`);
    await page.keyboard.press("Enter");
    await page.getByText("after", { exact: true }).waitFor({ state: "detached" });
    const chosen = page.url();
    await page.locator("#range").selectOption("choose");
    const shown = [await since.inputValue(), await until.inputValue()];
    await since.fill(`${day}T07:00:00`);
    await page.keyboard.press("Escape");
    await page.locator("#times").waitFor({ state: "hidden" });

    assert.match(histogramStart, /^20\d\d-\d\d-\d\dT\d\d:\d\d/);
    assert.equal(new URL(chosen).search, `?since=${day}T02%3A15%3A00.000Z&until=${day}T03%3A15%3A00.000Z`);
    assert.deepEqual(shown, [`${day}T08:00`, `${day}T09:00`]);
    assert.equal(page.url(), chosen);
    assert.deepEqual(await messagesShown(page), ["within"]);
  });

  test("says what it copied above a dialog, and what it looks for in its title", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await insert(sql, REAL_LINES);
    const { page, context } = await openPage(t, link);
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.locator("#query").fill("orders");
    await page.waitForURL(/q=orders/);
    const title = await page.title();

    await rowsShown(page).first().locator("td.message").click();
    await page.keyboard.press("y");
    await page.getByText("text copied", { exact: true }).last().waitFor();
    await page.getByRole("button", { name: "Lines around" }).click();
    await page.locator("#context-lines tr").first().waitFor();
    await page.locator("#context").getByRole("button", { name: "Copy link" }).click();
    await holds(page, `document.querySelector("#toast").textContent === "link copied"`);
    await page.evaluate(`document.querySelector("#context").style.minHeight = "95vh"`); // it reaches down to there
    const clip = (await page.locator("#toast").boundingBox())!;
    const said = await page.screenshot({ clip });
    await page.locator("#toast").waitFor({ state: "hidden" });
    const after = await page.screenshot({ clip });

    assert.equal(title, "orders · Logs");
    assert.notDeepEqual(said, after);
  });

  test("draws nothing while no line comes", async (t) => {
    const { sql, link } = await collectorWithPage(t);
    await insert(sql, REAL_LINES);
    const { page } = await openPage(t, link);
    await finished(page);
    await page.locator("#live[data-state=live]").waitFor();

    const animations = await page.evaluate<number>("document.getAnimations().length");

    assert.equal(animations, 0);
  });

  test("says in words that the database is away, and how many lines wait", async (t) => {
    const { url, sql } = await databaseWithTables(t);
    const collector = await start(t, { databaseUrl: url, http: ANY_PORT });
    await insert(sql, [{ message: "stored" }]);
    const { page } = await openPage(t, collector.page ?? "");
    await page.getByText("stored", { exact: true }).waitFor();

    await sql`alter table logs rename to moved`;
    await sql`create view logs as select 1 as x`;
    await converse(collector.port, "waiting\n");

    await page.getByText(/Database (?:away|refused).*1 line waits? on disk/).waitFor();
    await sql`drop view logs`;
    await sql`alter table moved rename to logs`;
    await page.getByText("waiting", { exact: true }).waitFor();
  });
});
