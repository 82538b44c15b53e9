import { existsSync } from "node:fs";
import { after } from "node:test";
import type { TestContext } from "node:test";
import { chromium } from "playwright-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { MINUTE } from "./basics.ts";
import { undoAfter } from "./files.ts";

const PROGRAM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);

/** Why tests in a browser are skipped; false where they run. */
export const NO_BROWSER = PROGRAM ? false : "Chromium is not installed (Debian's package chromium)";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const WAIT_MS = 2 * MINUTE; // for what a page shows within a second on an idle machine

const opened: Promise<Browser>[] = []; // one, once a test needs it

after(async () => {
  for (const browser of opened) await (await browser).close();
});

const browserOfAll = () => (opened[0] ??= chromium.launch({ executablePath: PROGRAM ?? "", args: FLAGS }));

/** What went wrong in a page: errors, reports of its content security policy, dialogs, requests to others. */
export interface Troubles {
  errors: string[];
  violations: string[];
  dialogs: string[];
  foreign: string[];
}

/** A page of a fresh browser profile at an address, and what goes wrong in it. */
export async function openPage(t: TestContext, url: string, options: BrowserContextOptions = {}) {
  const browser = await browserOfAll();
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  undoAfter(t, () => context.close());
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const troubles = await watch(page, new URL(url).origin);
  await page.goto(url);
  return { page, context, troubles };
}

async function watch(page: Page, origin: string): Promise<Troubles> {
  const troubles: Troubles = { errors: [], violations: [], dialogs: [], foreign: [] };
  page.on("pageerror", (error) => troubles.errors.push(error.message));
  page.on("dialog", (dialog) => {
    troubles.dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!/^(?:data|blob):/.test(request.url()) && new URL(request.url()).origin !== origin)
      troubles.foreign.push(request.url());
  });
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedHTML/i.test(message.text())) troubles.violations.push(message.text());
  });
  return troubles;
}
