// @ts-check
/**
 * The log page. It asks the API of viewer.ts and shows the answers; the address bar holds what is looked at.
 *
 *     Page ─► Lines (the table)      Tail (new lines)      Counts (histogram, filters)      Surroundings (dialog)
 *
 * A text of a line only ever becomes a text node. Times stay the texts that came, with their microseconds; `attributes`
 * stays JSON text until it is shown, so that numbers keep their digits.
 */

/**
 * @typedef {object} Row
 * @property {string} created_at
 * @property {string} id
 * @property {number} level
 * @property {string} message
 * @property {string | null} logged_at
 * @property {string | null} host
 * @property {string | null} app
 * @property {string | null} peer
 * @property {string | null} attributes
 * @property {{ lines: number, text: string, since: string, until: string }} [skipped] lines left out, instead of a line
 *
 * @typedef {[head: Row, ...rest: Row[]]} Item a line, and what continues it: a stack trace
 * @typedef {{ name: string, depth: number, value?: string, shown?: string, note?: string, term?: string | undefined }} Field
 * @typedef {{ q: string, since: string, until: string, at: string, by: string }} View what the address bar holds
 * @typedef {[time: string, others: number, warnings: number, errors: number]} Bar
 * @typedef {{ rows: Row[], reached: string, read: number, end: "page" | "budget" | "range", next?: string, try?: string,
 *   terms: { text: string, kind: string }[], words: string[] }} LogsAnswer
 * @typedef {{ since: string, until: string, first_bar: string, step_s: number, bars: Bar[], levels: [number, number][],
 *   apps: [string | null, number][], hosts: [string | null, number][], reached: string, read: number, end: string }} CountsAnswer
 * @typedef {{ rows: Row[], next: string, skipped: number, isSkippedMore: boolean }} TailAnswer
 * @typedef {{ before: Row[], line: Row, after: Row[], ends: { before: string, after: string } }} ContextAnswer
 */

const PAGE_ROWS = 200;
const MAX_ROWS = 1000;
const SEARCH_MS = 10_000; // then it asks before it goes on
const COUNT_MAX_ROWS = 20_000_000;
const ANSWER_MS = "700"; // of searching or counting, until progress is seen
const SCROLLED_PX = 4;
const FOOT_PX = 300;
const DRAG_PX = 6;
const TRACE_MS = 2000; // between the lines of one stack trace
const DAY_MS = 86_400_000;
/** @type {Record<string, number>} */
const RANGES = { "15m": 900e3, "1h": 3600e3, "6h": 21_600e3, "1d": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS };
/** @type {[number, string][]} */
const LEVELS = [
  [600, "emergency"],
  [550, "alert"],
  [500, "critical"],
  [400, "error"],
  [300, "warning"],
  [250, "notice"],
  [200, "info"],
  [0, "debug"],
];
const CONTINUES = /^(?:\s+\S|Caused by:|\.\.\. \d+ more)/;
const INVISIBLE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// ---- Texts --------------------------------------------------------------------

const levelName = (/** @type {number} */ level) => LEVELS.find(([step]) => step <= level)?.[1] ?? "debug";
const severityOf = (/** @type {number} */ level) =>
  level >= 400 ? "error" : level >= 300 ? "warning" : level < 200 ? "debug" : "info";
const keyOf = (/** @type {Row} */ row) => `${row.created_at},${row.id}`;
const timeOf = (/** @type {string} */ key) => key.split(",")[0] ?? "";
const count = (/** @type {number} */ value) => value.toLocaleString("en-US");
const plural = (/** @type {number} */ value, /** @type {string} */ noun) =>
  `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
const sum = (/** @type {number[]} */ values) => values.reduce((one, other) => one + other, 0);
const isoOf = (/** @type {number} */ ms) => new Date(ms).toISOString();

/** Control and bidi characters as escapes: a line can't hide or reorder what stands in it. @param {string} text */
const visible = (text) => text.replace(INVISIBLE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Newest first: times of one format compare as texts, ids as numbers. @param {Row} one @param {Row} other */
function newestFirst(one, other) {
  if (one.created_at !== other.created_at) return one.created_at < other.created_at ? 1 : -1;
  if (one.id.length !== other.id.length) return other.id.length - one.id.length;
  return one.id < other.id ? 1 : -1;
}

/** A number of seconds in the largest unit that it fills, such as `30 s` or `3.2 d`. @param {number} seconds */
function duration(seconds) {
  const units = /** @type {[number, string][]} */ ([
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ]);
  const [size, name] = units.find(([unit]) => seconds >= unit) ?? [0.001, "ms"];
  return `${(seconds / size).toLocaleString("en-US", { maximumFractionDigits: 1 })} ${name}`;
}

/** A distance between two times, such as `3.2 s before`. @param {string} time @param {string} other */
function distance(time, other) {
  const seconds = (Date.parse(time) - Date.parse(other)) / 1000;
  return `${duration(Math.abs(seconds))} ${seconds > 0 ? "after" : "before"}`;
}

/** A text in quotes, unless the query language takes it bare. @param {string} text @param {RegExp} bare */
const quoted = (text, bare) => (bare.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`);

/** A term of the query language. @param {string} key @param {string | null} value */
function termOf(key, value) {
  const name = quoted(key, /^[\p{L}_@][\p{L}\p{N}_@./-]*$/u);
  return value === null ? `-${name}:*` : `${name}:${quoted(value, /^(?![:/])[^\s,"*\\]+$/)}`;
}

/** JSON text as values in which strings begin with `s` and numbers with `n`: JSON.parse alone would lose digits. @param {string} json */
const parseExactly = (json) =>
  JSON.parse(
    json.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (part) =>
      part[0] === '"' ? `"s${part.slice(1)}` : `"n${part}"`,
    ),
  );

/** @param {Row} row */
function jsonOf({ attributes, ...columns }) {
  return `${JSON.stringify(columns).slice(0, -1)},"attributes":${attributes ?? "null"}}`;
}

// ---- Elements -------------------------------------------------------------------

/** @template {HTMLElement} Kind @param {string} id @param {new () => Kind} kind @returns {Kind} */
function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page lacks #${id}`);
  return found;
}

/**
 * Makes an element. Attributes that are undefined are left out; a function is what a click does.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | undefined | (() => void)>} attributes
 * @param {(string | Node)[]} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener("click", value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** @param {string} text @param {() => void} act @param {string} [kind] */
const button = (text, act, kind) => make("button", { type: "button", class: kind, click: act }, text);

/** Puts children in their order, and moves none that stands right: a focus or a selection stays. @param {Element} parent @param {Element[]} wanted */
function arrange(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const child of wanted) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}

/** Sets a text where it is another: what is read aloud or selected is left alone. @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function whenSeen() {
  while (document.hidden)
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/** Says something for a moment. @param {string} text */
function toast(text) {
  const shown = byId("toast", HTMLParagraphElement);
  shown.textContent = text;
  shown.hidePopover();
  shown.showPopover(); // above a dialog that was opened since
  byId("status", HTMLParagraphElement).textContent = text;
  setTimeout(() => shown.textContent === text && shown.hidePopover(), 2500);
}

/** @param {string} text @param {string} what */
async function copy(text, what) {
  await navigator.clipboard.writeText(text).then(
    () => toast(`${what} copied`),
    () => toast("this browser does not let the page copy"),
  );
}

// ---- Settings and API --------------------------------------------------------------

/** What a reader has chosen, kept in this browser. */
class Settings {
  /** @type {Record<string, string>} */
  #values = { zone: "local", theme: "auto", wrap: "", app: "on", host: "on", keys: "on", histogram: "on" };

  constructor() {
    try {
      Object.assign(this.#values, JSON.parse(localStorage.getItem("logs-settings") ?? "{}"));
    } catch {
      localStorage.removeItem("logs-settings");
    }
  }

  get isUtc() {
    return this.#values["zone"] === "utc";
  }

  /** @param {string} name */
  get(name) {
    return this.#values[name] ?? "";
  }

  /** @param {string} name @param {string} value */
  set(name, value) {
    this.#values[name] = value;
    localStorage.setItem("logs-settings", JSON.stringify(this.#values));
  }

  /** A part of a time in the reader's zone, all of which is `2026-11-27 14:03:10.123456`. @param {string} time @param {number} from @param {number} to */
  clock(time, from, to = 26) {
    const date = new Date(time);
    if (Number.isNaN(date.getTime())) return time;
    const offsetMs = this.isUtc ? 0 : date.getTimezoneOffset() * 60_000;
    const shifted = isoOf(date.getTime() - offsetMs).slice(0, 23) + time.slice(23, 26);
    return shifted.slice(from, to).replace("T", " ");
  }
}

class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

class Api {
  /** Takes the token out of the link's fragment, which no server ever sees. */
  takeToken(text = location.hash) {
    const [, token] = /token=([\w-]+)/.exec(text) ?? [];
    if (token) localStorage.setItem("logs-token", token);
    if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
    return token !== undefined;
  }

  /** @param {string} path @param {Record<string, string | undefined>} parameters @param {AbortSignal} [signal] */
  async fetch(path, parameters, signal) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
    const headers = { authorization: `Bearer ${localStorage.getItem("logs-token") ?? ""}`, "x-collector": "1" };
    const search = new URLSearchParams(/** @type {[string, string][]} */ (given));
    const response = await fetch(`${path}?${search}`, { headers, signal: signal ?? null, cache: "no-store" });
    if (response.ok) return response;
    const { error = `the collector answers ${response.status}` } = await response.json().catch(() => ({}));
    throw new ApiError(response.status, error);
  }

  /** @template Answer @param {string} path @param {Record<string, string | undefined>} parameters @param {AbortSignal} [signal] @returns {Promise<Answer>} */
  async ask(path, parameters, signal) {
    return (await this.fetch(path, parameters, signal)).json();
  }
}

// ---- Lines --------------------------------------------------------------------------

/** Puts the lines that continue one under it. @param {Row[]} rows newest first @returns {Item[]} the same */
function itemsOf(rows) {
  /** @type {Map<string, Item>} */
  const latest = new Map(); // of each sender
  /** @type {Item[]} */
  const items = [];
  for (const row of rows.toReversed()) {
    const sender = `${row.peer}\n${row.app}`;
    const item = latest.get(sender);
    const waitedMs = Date.parse(row.created_at) - Date.parse(item?.at(-1)?.created_at ?? "");
    if (item && !row.skipped && CONTINUES.test(row.message) && waitedMs < TRACE_MS) item.push(row);
    else {
      items.push([row]);
      latest.set(sender, items.at(-1) ?? [row]);
    }
  }
  return items.toReversed();
}

/** @param {string} kind @param {(string | Node)[]} children */
const cellOf = (kind, ...children) => make("td", { role: "cell", class: kind }, ...children);

/** Cells of a line, as the table and the dialog show them. @param {Row} row @param {Node} time @param {(string | Node)[]} message */
const cellsOf = (row, time, message) => [
  cellOf("time", time),
  cellOf("level", levelName(row.level)),
  cellOf("app", visible(row.app ?? "")),
  cellOf("host", visible(row.host ?? "")),
  cellOf("message", ...message),
];

/** The table: its rows, the open one, and what waits while nothing may move. */
class Lines {
  /** @type {Row[]} newest first */
  rows = [];
  /** Number of new lines that wait. */
  waiting = 0;
  /** @type {string | undefined} the key of the open line */
  open;
  /** @type {Row[]} the newest of the lines that wait */
  #pending = [];
  /** @type {RegExp | undefined} what is marked in messages */
  #words;
  #isHeadCut = false; // newer lines than the first one were left out, as many older ones were asked for
  #current = "";
  /** @type {Map<string, { line: HTMLTableRowElement, signature: string }>} by key */
  #shown = new Map();
  /** @type {HTMLTableRowElement | undefined} */
  #detail;
  /** @type {Set<string>} keys that came lately */
  #seen = new Set();
  #table = byId("lines", HTMLTableElement);
  #body = this.#table.tBodies[0] ?? this.#table.createTBody();
  #page;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#body.addEventListener("click", (event) => this.#onClick(event));
    this.#body.addEventListener("focusin", ({ target }) => {
      const key = target instanceof Element ? target.closest("tr")?.dataset["key"] : undefined;
      if (key) this.#select(key);
    });
  }

  /** Begins a search of some words. @param {string[]} words */
  reset(words = []) {
    const escaped = words.filter((word) => word !== "").map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    this.#words = escaped.length > 0 ? new RegExp(`(${escaped.join("|")})`, "iu") : undefined;
    [this.rows, this.#pending, this.waiting, this.open, this.#isHeadCut] = [[], [], 0, undefined, false];
    this.#seen.clear();
    this.#shown.clear();
    this.render();
  }

  /** Whether a reader would lose the place if something moved. */
  get isHeld() {
    const selection = getSelection();
    const hasSelection = selection !== null && !selection.isCollapsed && this.#body.contains(selection.anchorNode);
    const hasDialog = document.querySelector("dialog[open]") !== null;
    return scrollY > SCROLLED_PX || this.open !== undefined || hasSelection || hasDialog;
  }

  /** @param {Row[]} older */
  append(older) {
    for (const row of older) this.#seen.add(keyOf(row));
    this.rows.push(...older);
    this.#isHeadCut ||= this.rows.length > MAX_ROWS;
    this.rows.splice(0, this.rows.length - MAX_ROWS);
    const last = this.#body.lastElementChild;
    const topOf = () => last?.getBoundingClientRect().top ?? 0;
    const top = topOf();
    this.render();
    scrollBy(0, topOf() - top); // what is read stays where it is, also where lines above it were cut
  }

  /** Takes new lines; they wait while the reader is at something. @param {Row[]} newer */
  add(newer) {
    const fresh = newer.filter((row) => !this.#seen.has(keyOf(row)));
    for (const row of fresh) this.#seen.add(keyOf(row));
    if (this.#seen.size > 50_000) this.#seen = new Set([...this.#seen].slice(-20_000));
    for (const { skipped } of fresh) this.waiting += skipped?.lines ?? 1;
    this.#pending = [...this.#pending, ...fresh].slice(-MAX_ROWS);
    if (!this.isHeld) this.flush();
  }

  /** Shows what waits. */
  flush() {
    if (this.waiting === 0) return;
    if (this.#isHeadCut) {
      void this.#page.run();
      return;
    }
    this.rows = [...this.rows, ...this.#pending].toSorted(newestFirst).slice(0, MAX_ROWS);
    [this.#pending, this.waiting] = [[], 0];
    this.render();
  }

  render() {
    const { settings } = this.#page;
    const dayOf = (/** @type {string} */ time) => settings.clock(time, 0, 10);
    const today = dayOf(isoOf(Date.now()));
    const hasDates = [...this.rows.slice(0, 1), ...this.rows.slice(-1)].some((row) => dayOf(row.created_at) !== today);
    const hasApps = this.rows.some(({ app }) => app !== null);
    const hasHosts = this.rows.some(({ host }) => host !== this.rows[0]?.host);
    this.#table.classList.toggle("dated", hasDates);
    this.#table.classList.toggle("wrap", settings.get("wrap") === "on");
    this.#table.classList.toggle("with-app", settings.get("app") === "on" && hasApps);
    this.#table.classList.toggle("with-host", settings.get("host") === "on" && hasHosts);
    const known = this.#shown;
    this.#shown = new Map();
    const wanted = itemsOf(this.rows).flatMap((item) => {
      const key = keyOf(item[0]);
      const time = settings.clock(item[0].created_at, hasDates ? 5 : 11, 23);
      const signature = `${time} ${item.length}`;
      const old = known.get(key);
      const shown = old?.signature === signature ? old : { line: this.#makeLine(item, time), signature };
      this.#shown.set(key, shown);
      return this.open === key ? [shown.line, this.#detailOf(item, `${key} ${signature}`)] : [shown.line];
    });
    arrange(this.#body, wanted);
    const [first] = this.#shown.keys();
    if (first && !this.#shown.has(this.#current)) this.#select(first);
    this.#table.hidden = this.rows.length === 0;
  }

  /** @param {Item} item @param {string} of */
  #detailOf(item, of) {
    if (this.#detail?.dataset["of"] !== of) {
      this.#detail = this.#page.makeDetail(item);
      this.#detail.dataset["of"] = of;
    }
    return this.#detail;
  }

  /** @param {Item} item @param {string} time */
  #makeLine([row, ...extras], time) {
    if (row.skipped) return this.#makeSkipped(row.skipped);
    const [key, lines] = [keyOf(row), row.message.trimEnd().split("\n")];
    const [tabindex, expanded] = [key === this.#current ? "0" : "-1", String(key === this.open)];
    const title = row.created_at;
    const opener = make("button", { type: "button", tabindex, "aria-expanded": expanded, title }, time);
    const text = visible((lines[0] ?? "").slice(0, 2000));
    const parts = this.#words ? text.split(this.#words) : [text]; // every other one is a word
    const message = parts.map((part, at) => (at % 2 === 1 ? make("mark", {}, part) : part));
    const more = lines.length - 1 + extras.length;
    const note = more > 0 ? [make("span", { class: "more" }, `+${plural(more, "line")}`)] : [];
    const kind = `line ${severityOf(row.level)}${key === this.open ? " open" : ""}`;
    return make("tr", { role: "row", class: kind, "data-key": key }, ...cellsOf(row, opener, [...message, ...note]));
  }

  /** @param {{ text: string, since: string, until: string }} skipped */
  #makeSkipped({ text, since, until }) {
    const act = button("open as a search", () => this.#page.go({ since, until }), "quiet");
    return make("tr", { role: "row", class: "skipped" }, make("td", { role: "cell" }, `${text} skipped · `, act));
  }

  /** A click opens a line, unless it selected text. @param {MouseEvent} event */
  #onClick({ target }) {
    const line = target instanceof Element ? target.closest("tr.line") : null;
    if (!(line instanceof HTMLElement) || (getSelection()?.toString() ?? "") !== "") return;
    this.toggle(line.dataset["key"] ?? "");
  }

  /** @param {string} key */
  toggle(key, isOpen = this.open !== key) {
    const before = this.open;
    this.open = isOpen ? key : undefined;
    this.#select(key);
    for (const each of [before, key]) {
      const line = this.#shown.get(each ?? "")?.line;
      line?.classList.toggle("open", each === this.open);
      line?.querySelector("button")?.setAttribute("aria-expanded", String(each === this.open));
    }
    this.render();
    if (isOpen) this.#detail?.scrollIntoView({ block: "nearest" });
    this.#shown.get(key)?.line.scrollIntoView({ block: "nearest" }); // also where the detail is higher than the screen
    this.#page.setAt(this.open ?? "");
    if (!this.isHeld) this.flush();
  }

  /** Opens a line and brings it into view; false where it is not in the table. @param {string} key */
  show(key) {
    if (!this.#shown.has(key)) return false;
    this.toggle(key, true);
    this.#shown.get(key)?.line.scrollIntoView({ block: "center" });
    return true;
  }

  /** Closes the open line, and gives its line the focus. */
  close() {
    const line = this.#shown.get(this.open ?? "")?.line;
    if (this.open !== undefined) this.toggle(this.open, false);
    line?.querySelector("button")?.focus();
  }

  /** Moves the focus by lines. @param {number} by */
  move(by) {
    const openers = [...this.#body.querySelectorAll("tr.line button")];
    const at = openers.findIndex((opener) => opener.getAttribute("tabindex") === "0");
    const next = openers[at] === document.activeElement ? Math.max(0, Math.min(openers.length - 1, at + by)) : at;
    const opener = openers[next];
    opener?.closest("tr")?.scrollIntoView({ block: "nearest" });
    if (opener instanceof HTMLElement) opener.focus();
  }

  /** The line that keys are about: the open one, or where the focus was last. */
  get current() {
    return this.rows.find((row) => keyOf(row) === (this.open ?? this.#current));
  }

  /** One line is in the tab order. @param {string} key */
  #select(key) {
    this.#shown.get(this.#current)?.line.querySelector("button")?.setAttribute("tabindex", "-1");
    this.#current = key;
    this.#shown.get(key)?.line.querySelector("button")?.setAttribute("tabindex", "0");
  }
}

// ---- Tail -----------------------------------------------------------------------------

/** Follows the table while the tab is seen. */
class Tail {
  #page;
  #running = new AbortController();

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
  }

  stop() {
    this.#running.abort();
  }

  /** @param {string} place @param {string} query */
  start(place, query) {
    this.stop();
    this.#running = new AbortController();
    void this.#follow(place, query, this.#running.signal);
  }

  /** @param {string} place @param {string} query @param {AbortSignal} signal */
  async #follow(place, query, signal) {
    let [next, lookedBackMs] = [place, performance.now()];
    while (!signal.aborted) {
      await whenSeen();
      const isLookingBack = performance.now() - lookedBackMs > 2000;
      if (isLookingBack) lookedBackMs = performance.now();
      try {
        const after = isLookingBack ? lookBack(next) : next;
        const answer = await this.#poll({ q: query, after }, signal);
        if (signal.aborted) return;
        next = answer.next;
        this.#page.take(answer, after);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status === 401) return this.#page.askForLink();
        await sleep(2000); // the collector or its database is away: it goes on by itself
      }
    }
  }

  /**
   * A browser has 6 connections to a server: 3 tabs wait for lines, the others look every 2 s.
   * @param {Record<string, string>} parameters @param {AbortSignal} signal @returns {Promise<TailAnswer>}
   */
  async #poll(parameters, signal) {
    /** @param {string} wait @returns {Promise<TailAnswer>} */
    const ask = (wait) => this.#page.api.ask("/api/tail", { ...parameters, wait }, signal);
    if (!navigator.locks) return ask("8");
    for (const place of [1, 2, 3]) {
      const options = { ifAvailable: true };
      const answer = await navigator.locks.request(`logs-tail-${place}`, options, (lock) => lock && ask("8"));
      if (answer) return answer;
    }
    await sleep(2000);
    return ask("0");
  }
}

/** Another collector's lines may be stored a little late. @param {string} place */
function lookBack(place) {
  const [seen = "", held = ""] = place.split(";");
  const late = isoOf(Date.parse(timeOf(seen)) - 3000);
  return `${seen};${late < held ? late : held}`;
}

// ---- Counts: histogram and filters --------------------------------------------------------

class Counts {
  #page;
  #bars = byId("bars", HTMLDivElement);
  #more = byId("count-on", HTMLButtonElement);
  /** @type {{ [name: string]: Map<string | null, number> }} */
  #facets = {};
  /** @type {[others: number, warnings: number, errors: number][]} by bar */
  #counted = [];
  /** When the first bar begins, and how wide each is. */
  #scale = { start: 0, stepMs: 1000 };
  /** @type {Set<string>} */
  #unfolded = new Set();

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#listen();
  }

  /** Counts a range, newest first, and shows how far it came; resolves to the time in ms. @param {Record<string, string | undefined>} asked @param {AbortSignal} signal */
  async run(asked, signal) {
    /** @param {Record<string, string>} rest @returns {Promise<CountsAnswer>} */
    const ask = (rest) => this.#page.api.ask("/api/counts", { ...asked, ...rest, budget: ANSWER_MS }, signal);
    const started = performance.now();
    let answer = await ask({});
    const { since, until, first_bar: first, step_s: step } = answer;
    this.#scale = { start: Date.parse(first), stepMs: step * 1000 };
    const size = Math.max(1, Math.ceil((Date.parse(until) - this.#scale.start) / this.#scale.stepMs));
    this.#counted = Array.from({ length: size }, () => [0, 0, 0]);
    this.#facets = { level: new Map(), app: new Map(), host: new Map() };
    for (let read = 0; ;) {
      this.#merge(answer);
      if (answer.end === "range") return performance.now() - started;
      read += answer.read;
      if (performance.now() - started > SEARCH_MS || read > COUNT_MAX_ROWS) {
        this.#more.hidden = false;
        await new Promise((resolve) => this.#more.addEventListener("click", resolve, { once: true }));
        read = 0;
      }
      this.#more.hidden = true;
      answer = await ask({ since, until, step: String(step), before: answer.reached });
    }
  }

  get startMs() {
    return this.#scale.start;
  }

  /** Forgets an older search's offer. */
  reset() {
    this.#more.hidden = true;
  }

  /** @param {CountsAnswer} answer */
  #merge(answer) {
    for (const [time, ...added] of answer.bars) {
      const bar = this.#counted[Math.round((Date.parse(time) - this.#scale.start) / this.#scale.stepMs)];
      for (const at of /** @type {const} */ ([0, 1, 2])) if (bar) bar[at] += added[at];
    }
    /** @type {Record<string, [string | null, number][]>} */
    const added = { level: answer.levels.map(([level, lines]) => [levelName(level), lines]), app: answer.apps };
    added["host"] = answer.hosts;
    for (const [name, facet] of Object.entries(this.#facets))
      for (const [value, lines] of added[name] ?? []) facet.set(value, (facet.get(value) ?? 0) + lines);
    this.#showBars(answer);
    this.showFacets();
  }

  /** @param {CountsAnswer} answer */
  #showBars({ end, reached, until }) {
    const { start, stepMs } = this.#scale;
    const { settings } = this.#page;
    const reachedMs = end === "range" ? 0 : Date.parse(timeOf(reached));
    const label = (/** @type {number} */ ms) =>
      settings.clock(isoOf(ms), stepMs >= DAY_MS ? 5 : 11, stepMs >= 60_000 ? 16 : 19);
    const highest = Math.max(1, ...this.#counted.map(sum));
    arrange(
      this.#bars,
      this.#counted.map((_, at) => this.#bars.children[at] ?? barOf()),
    );
    for (const [at, [others, warnings, errors]] of this.#counted.entries()) {
      const [bar, from] = [this.#bars.children[at], start + at * stepMs];
      const notes = [errors ? `, ${plural(errors, "error")}` : "", warnings ? `, ${plural(warnings, "warning")}` : ""];
      const lines = plural(others + warnings + errors, "line");
      const name = `${label(from)} to ${label(from + stepMs)}, ${lines}${notes.join("")}`;
      const isUncounted = from < reachedMs;
      bar?.setAttribute("aria-label", name + (isUncounted ? ", not counted yet" : ""));
      bar?.setAttribute("title", name);
      bar?.classList.toggle("uncounted", isUncounted);
      for (const [index, value] of [errors, warnings, others].entries()) {
        const part = bar?.children[index];
        if (part instanceof HTMLElement)
          part.style.height = value === 0 ? "0" : `${Math.max(1.5, (value / highest) * 62)}px`;
      }
    }
    if (!this.#bars.querySelector('[tabindex="0"]')) this.#bars.lastElementChild?.setAttribute("tabindex", "0");
    const total = plural(sum(this.#counted.map(sum)), "line");
    const errors = plural(sum(this.#counted.map((bar) => bar[2])), "error");
    const text = `1 bar = ${duration(stepMs / 1000)} · ${total}, ${errors}${end === "range" ? "" : " so far"}`;
    byId("counted", HTMLSpanElement).textContent = text;
    const [left, right] = byId("axis", HTMLDivElement).children;
    if (left) left.textContent = settings.clock(isoOf(start), 5, 19);
    if (right) right.textContent = settings.clock(until, 5, 19);
  }

  showFacets() {
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["term"] : undefined;
    for (const [name, counts] of Object.entries(this.#facets)) {
      const rank = (/** @type {[string | null, number]} */ [value, lines]) =>
        name === "level" ? -LEVELS.findIndex(([, known]) => known === value) : lines;
      const all = [...counts].toSorted((one, other) => rank(other) - rank(one)).slice(0, 50);
      const shown = this.#unfolded.has(name) ? all : all.slice(0, 10);
      const children = shown.map(([value, lines]) => this.#facetOf(name, value, lines));
      const unfold = () => [this.#unfolded.add(name), this.showFacets()];
      if (all.length > shown.length) children.push(button(`${all.length - shown.length} more`, unfold, "quiet"));
      const isUseful = all.some(([value]) => value !== null);
      const section = document.querySelector(`[data-facet="${name}"]`);
      section?.replaceChildren(...(isUseful ? [make("h2", {}, name), ...children] : []));
    }
    for (const facet of document.querySelectorAll("#facets [data-term]"))
      if (facet instanceof HTMLElement && facet.dataset["term"] === focused) facet.focus();
  }

  /** @param {string} name @param {string | null} value @param {number} lines */
  #facetOf(name, value, lines) {
    const term = termOf(name, value);
    const isOn = this.#page.terms.includes(term);
    const title = isOn ? "take this filter away" : `only ${term}`;
    const pressed = { type: "button", class: "facet", "aria-pressed": String(isOn), title, "data-term": term };
    const act = () => (isOn ? this.#page.dropTerm(term) : this.#page.addTerm(term));
    const text = value === null ? "(none)" : visible(value);
    return make("button", { ...pressed, click: act }, make("span", {}, text), make("span", {}, count(lines)));
  }

  /** A click on a bar, or a drag over several, zooms; arrow keys go from bar to bar. */
  #listen() {
    let [from, to, startX] = [-1, -1, 0]; // of a drag: its bars, and where it began
    const barAt = (/** @type {MouseEvent} */ { clientX }) => {
      const [{ left, width }, size] = [this.#bars.getBoundingClientRect(), this.#counted.length];
      return Math.max(0, Math.min(size - 1, Math.floor(((clientX - left) / width) * size)));
    };
    const drag = (/** @type {number} */ first, /** @type {number} */ last) => {
      [from, to] = [first, last];
      for (const [at, bar] of [...this.#bars.children].entries())
        bar.classList.toggle("chosen", from >= 0 && at >= Math.min(from, to) && at <= Math.max(from, to));
    };
    this.#bars.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.#counted.length === 0) return;
      startX = event.clientX;
      drag(barAt(event), barAt(event));
    });
    addEventListener("pointermove", (event) => {
      if (from >= 0 && Math.abs(event.clientX - startX) >= DRAG_PX) drag(from, barAt(event));
    });
    addEventListener("pointerup", () => {
      if (from >= 0) this.#zoom(Math.min(from, to), Math.max(from, to));
      drag(-1, -1);
    });
    addEventListener("pointercancel", () => drag(-1, -1));
    this.#bars.addEventListener("click", ({ target, detail }) => {
      const at = [...this.#bars.children].findIndex((bar) => bar === target);
      if (detail === 0 && at >= 0) this.#zoom(at, at); // by keyboard: a pointer's has happened above
    });
    this.#bars.addEventListener("keydown", (event) => {
      const bars = [...this.#bars.children];
      const at = bars.findIndex((bar) => bar === document.activeElement);
      /** @type {Record<string, number>} */
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 };
      const next = bars[moves[event.key] ?? -1];
      if (!(next instanceof HTMLElement)) return;
      event.preventDefault();
      bars[at]?.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  /** @param {number} first @param {number} last */
  #zoom(first, last) {
    const { start, stepMs } = this.#scale;
    this.#page.go({ since: isoOf(start + first * stepMs), until: isoOf(start + (last + 1) * stepMs) });
  }
}

/** A bar's parts stand one on the other. */
const barOf = () =>
  make(
    "button",
    { type: "button", tabindex: "-1" },
    ...["errors", "warnings", "others"].map((part) => make("i", { class: part })),
  );

// ---- The lines around one ----------------------------------------------------------------------

class Surroundings {
  #page;
  #dialog = byId("context", HTMLDialogElement);
  #by = byId("context-by", HTMLSelectElement);
  #list = byId("context-lines", HTMLDivElement);
  #sizes = { before: 10, after: 10 };

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#by.addEventListener("change", () => void this.open(page.view.at, this.#by.value));
    this.#dialog.addEventListener("close", () => page.setAt(page.lines.open ?? ""));
  }

  /** @param {string} key @param {string} by */
  async open(key, by) {
    this.#sizes = { before: 10, after: 10 };
    this.#by.value = by;
    this.#page.setAt(key, by);
    this.#list.replaceChildren("…");
    if (!this.#dialog.open) this.#dialog.showModal();
    await this.#load(key, by);
    this.#list.querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
  }

  /** @param {string} at @param {string} by */
  async #load(at, by) {
    try {
      const sizes = { before: String(this.#sizes.before), after: String(this.#sizes.after) };
      /** @type {ContextAnswer} */
      const answer = await this.#page.api.ask("/api/context", { at, by, ...sizes });
      this.#show(answer, at, by);
    } catch (error) {
      this.#list.replaceChildren(make("p", {}, String(error instanceof Error ? error.message : error)));
    }
  }

  /** @param {ContextAnswer} answer @param {string} at @param {string} by */
  #show({ before, line, after, ends }, at, by) {
    const grow = (/** @type {"before" | "after"} */ side) => {
      if (ends[side] === "range" || this.#sizes[side] >= 200) return make("span");
      const act = () => {
        this.#sizes[side] += 10;
        void this.#load(at, by);
      };
      return button(`10 more ${side}`, act, "quiet");
    };
    const rows = [...before, line, ...after].map((row) => {
      const time = document.createTextNode(this.#page.settings.clock(row.created_at, 5, 23));
      const attributes = {
        role: "row",
        class: severityOf(row.level),
        "aria-current": row === line ? "true" : undefined,
      };
      return make("tr", attributes, ...cellsOf(row, time, [visible(row.message)]));
    });
    const kind = line.app === null && by === "app" ? "wrap" : "wrap with-app";
    const attributes = { role: "table", class: kind, "aria-label": "Lines around, oldest first" };
    const table = make("table", attributes, make("tbody", { role: "rowgroup" }, ...rows));
    this.#list.replaceChildren(grow("before"), table, grow("after"));
  }
}

// ---- An open line ------------------------------------------------------------------------------

/** What an open line shows: names, values, and the term that filters by each. @param {Row} row @param {Settings} settings @returns {Field[]} */
function fieldsOf(row, settings) {
  const { created_at: created, logged_at: logged, attributes } = row;
  const [depth, zone] = [0, settings.isUtc ? " UTC" : ""];
  const named = /** @type {const} */ (["host", "app", "peer", "id"]).map((name) => ({ name, value: row[name] }));
  /** @type {Field[]} */
  const fields = [{ name: "created_at", value: created, shown: settings.clock(created, 0) + zone, depth }];
  if (logged) {
    const shown = settings.clock(logged, 0) + zone;
    fields.push({ name: "logged_at", value: logged, shown, note: `${distance(logged, created)} created_at`, depth });
  }
  const level = levelName(row.level);
  fields.push({ name: "level", value: level, note: String(row.level), term: termOf("level", level), depth });
  for (const { name, value } of named)
    if (value !== null) fields.push({ name, value, term: termOf(name, value), depth });
  if (attributes !== null) fields.push(...branchesOf(parseExactly(attributes), []));
  return fields;
}

/** The attributes as a tree. @param {unknown} value as parseExactly() gives it @param {string[]} path @returns {Field[]} */
function branchesOf(value, path) {
  const [name, depth] = [path.at(-1) ?? "", Math.max(0, path.length - 1)];
  if (typeof value !== "object" || value === null) {
    const text = typeof value === "string" ? value.slice(1) : String(value);
    const isTerm = value !== null && (path.length === 1 || path.every((key) => !key.includes(".")));
    return [{ name, depth, value: text, term: isTerm ? termOf(path.join("."), text) : undefined }];
  }
  const isArray = Array.isArray(value);
  const inner = Object.entries(value).flatMap(([key, each]) =>
    branchesOf(each, [...path, isArray ? key : key.slice(1)]),
  );
  if (path.length === 0) return inner;
  return [{ name: inner.length > 0 ? name : `${name} ${isArray ? "[]" : "{}"}`, depth }, ...inner];
}

// ---- Page ------------------------------------------------------------------------------------

const isLevel = (/** @type {string} */ term) => /^-?level\b/.test(term);

/** What the button at the foot does, by how a search ended: not yet, or as its answer tells. */
const OFFERS = { "": "stop", page: "older lines", budget: "search on", range: "", failed: "try again" };

class Page {
  settings = new Settings();
  api = new Api();
  /** @type {View} */
  view = { q: "", since: "", until: "", at: "", by: "" };
  /** @type {string[]} the filters in force, as typed */
  terms = [];
  lines = new Lines(this);
  #tail = new Tail(this);
  #counts = new Counts(this);
  #surroundings = new Surroundings(this);
  #running = new AbortController();
  #isLive = true;
  /** How far the search came, and how it ended. */
  #reached = "";
  #read = 0;
  /** @type {keyof typeof OFFERS} */
  #end = "";
  #trouble = "";
  #query = byId("query", HTMLInputElement);
  #range = byId("range", HTMLSelectElement);
  #live = byId("live", HTMLButtonElement);
  #older = byId("older", HTMLButtonElement);
  #fresh = byId("fresh", HTMLButtonElement);
  #nothing = byId("nothing", HTMLDivElement);

  start() {
    this.api.takeToken();
    this.#readAddress();
    this.#applySettings();
    this.#listen();
    this.#listenToActs();
    void this.#watchHealth();
    void this.run();
  }

  // -- where it is: the address bar

  #readAddress() {
    const address = new URLSearchParams(location.search);
    const [q = "", since = "", until = "", at = "", by = ""] = ["q", "since", "until", "at", "context"].map(
      (name) => address.get(name) ?? "",
    );
    this.view = { q, since, until, at, by };
    this.#query.value = q;
    this.#showRange();
  }

  #address({ by, ...rest } = this.view) {
    const given = Object.entries({ ...rest, context: by }).filter(([, value]) => value !== "");
    const search = new URLSearchParams(given).toString();
    return location.pathname + (search ? `?${search}` : "");
  }

  /** Looks at something else, a step that Back undoes. @param {Partial<View>} change */
  go(change, isStep = true) {
    this.view = { ...this.view, at: "", by: "", ...change };
    if (isStep && this.#address() !== location.pathname + location.search) history.pushState(null, "", this.#address());
    else history.replaceState(null, "", this.#address());
    this.#query.value = this.view.q;
    this.#showRange();
    void this.run();
  }

  /** @param {string} at @param {string} by */
  setAt(at, by = "") {
    this.view = { ...this.view, at, by };
    history.replaceState(null, "", this.#address());
  }

  #showRange() {
    const { q, since, until } = this.view;
    document.title = q === "" ? "Logs" : `${visible(q)} · Logs`;
    const chosen = this.#range.querySelector('[value="chosen"]');
    const isOffered = until === "" && (since === "" || since === "all" || since in RANGES);
    const isSameDay = this.settings.clock(since, 0, 10) === this.settings.clock(until, 0, 10);
    const text = (/** @type {string} */ time, /** @type {string} */ orElse, from = 5) =>
      time === "" ? orElse : /^\d+[smhdw]$/.test(time) ? `${time} ago` : this.settings.clock(time, from, 19);
    if (chosen instanceof HTMLOptionElement) {
      chosen.textContent = `${text(since, "beginning")} – ${text(until, "now", isSameDay ? 11 : 5)}`;
      chosen.hidden = isOffered;
    }
    this.#range.value = isOffered ? since : "chosen";
  }

  /** Asks for times; those that are shown stand there. Without an end, it is now. */
  #chooseTimes() {
    const dialog = byId("times", HTMLDialogElement);
    const startMs = Date.parse(this.view.since) || this.#counts.startMs;
    byId("times-since", HTMLInputElement).value = startMs > 0 ? this.settings.clock(isoOf(startMs), 0, 19) : "";
    byId("times-until", HTMLInputElement).value = this.settings.clock(this.view.until, 0, 19);
    dialog.returnValue = ""; // what Escape leaves
    dialog.showModal();
  }

  /** A link that opens the same lines elsewhere: its times are absolute. */
  #link() {
    const { since, until } = this.view;
    const rangeMs = RANGES[since];
    const newest = this.lines.rows[0]?.created_at;
    const start = rangeMs ? isoOf(Date.now() - rangeMs) : since === "all" ? "" : since;
    const end = newest ? isoOf(Date.parse(newest) + 1) : until; // the newest line is in it
    return location.origin + this.#address({ ...this.view, since: start, until: end });
  }

  // -- searching

  /** Runs what the address bar holds. */
  async run() {
    this.#running.abort();
    this.#running = new AbortController();
    const { signal } = this.#running;
    this.#tail.stop();
    this.#counts.reset();
    scrollTo(0, 0);
    this.lines.reset();
    [this.#reached, this.#read] = ["", 0];
    this.#nothing.replaceChildren();
    try {
      await this.#searchOn();
      if (signal.aborted) return;
      const { at, by } = this.view;
      if (at && (by || !this.lines.show(at))) void this.#surroundings.open(at, by || "app");
      await this.#count(signal);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Searches on from where it came to, until a page is full; after 10 s it asks first. */
  async #searchOn() {
    const { signal } = this.#running;
    const started = performance.now();
    const { q, until } = this.view;
    const since = this.view.since === "all" ? "" : this.view.since;
    let missing = PAGE_ROWS;
    do {
      this.#end = "";
      this.#show();
      const asked = { q, since, until, before: this.#reached, limit: String(missing), budget: ANSWER_MS };
      /** @type {LogsAnswer} */
      const answer = await this.api.ask("/api/logs", asked, signal);
      if (this.#reached === "") this.#begin(answer);
      [this.#reached, this.#end] = [answer.reached, answer.end];
      this.#read += answer.read;
      missing -= answer.rows.length;
      this.lines.append(answer.rows);
    } while (this.#end === "budget" && missing > 0 && performance.now() - started < SEARCH_MS);
    this.#finish();
  }

  /** @param {LogsAnswer} answer the first one */
  #begin({ terms, words, next, try: tryLine }) {
    this.terms = terms.map(({ text }) => text);
    this.lines.reset(words);
    this.#showChips();
    if (tryLine) this.#nothing.append(make("p", {}, "No lines yet. Send one:"), make("pre", {}, tryLine));
    if (this.#isLive && this.view.until === "") this.#tail.start(next ?? "", this.view.q);
  }

  #finish() {
    const { length } = this.lines.rows;
    byId("status", HTMLParagraphElement).textContent = `${plural(length, "line")} shown`;
    if (length === 0 && this.#nothing.childElementCount === 0) this.#offer();
    this.#show();
  }

  /** What one may do where no line matches. */
  #offer() {
    const { q, since, until } = this.view;
    const withoutLevel = this.terms.filter((term) => !isLevel(term)).join(" ");
    const offers = [];
    if (q) offers.push(button("drop the filter", () => this.go({ q: "" })));
    if (this.terms.some(isLevel)) offers.push(button("all levels", () => this.go({ q: withoutLevel })));
    if (since || until) offers.push(button("all times", () => this.go({ since: "all", until: "" })));
    const text = this.#end === "budget" ? "No line matches so far." : "No line matches.";
    this.#nothing.replaceChildren(make("p", {}, text), make("p", { class: "actions" }, ...offers));
  }

  /** Counts the range, or the shortest one that holds a line. @param {AbortSignal} signal */
  async #count(signal) {
    if (!byId("histogram", HTMLDetailsElement).open && matchMedia("(max-width: 899px)").matches) return;
    const { q, since, until } = this.view;
    const age = Date.now() - Date.parse(this.lines.rows[0]?.created_at ?? isoOf(Date.now()));
    const fitting = until ? undefined : Object.keys(RANGES).find((range) => age < Number(RANGES[range]));
    const from = since === "all" ? undefined : since || fitting;
    const zone = String(this.settings.isUtc ? 0 : -new Date().getTimezoneOffset());
    const tookMs = await this.#counts.run({ q, since: from, until, zone }, signal);
    if (tookMs > 500 || until !== "") return;
    await sleep(10_000); // cheap: kept up to date
    await whenSeen();
    while (!this.#isLive && !signal.aborted) await sleep(1000);
    if (!signal.aborted) await this.#count(signal);
  }

  /** Shows how far the search came, what can be done next, and what waits. */
  #show() {
    const { rows, waiting } = this.lines;
    const state = !this.#isLive || this.view.until !== "" ? "off" : waiting > 0 ? "paused" : "live";
    const text = { off: "live: off", live: "live", paused: `paused: ${count(waiting)} new` }[state];
    this.#live.dataset["state"] = state;
    this.#live.setAttribute("aria-pressed", String(state !== "off"));
    if (this.#live.lastElementChild) setText(this.#live.lastElementChild, text);
    this.#fresh.hidden = waiting === 0;
    setText(this.#fresh, `${plural(waiting, "new line")} ↑`);
    setText(byId("progress", HTMLSpanElement), this.#progress());
    setText(this.#older, OFFERS[this.#end]);
    this.#older.hidden = this.#end === "range";
    this.#nothing.hidden = rows.length > 0 || this.#nothing.childElementCount === 0;
  }

  #progress() {
    if (this.#end === "failed") return `${this.#trouble} · `;
    const reached = this.#reached ? ` back to ${this.settings.clock(timeOf(this.#reached), 5, 19)}` : "";
    const did =
      this.#end === "" ? `searching${reached}` : `searched${this.#end === "range" ? " all of the range" : reached}`;
    const read = this.#read >= 1e6 ? `${(this.#read / 1e6).toFixed(1)} million lines` : plural(this.#read, "line");
    return `${did} · ${read} · ${count(this.lines.rows.length)} ${this.view.q === "" ? "shown" : "match"}`;
  }

  /** @param {unknown} error @param {AbortSignal} signal */
  #fail(error, signal) {
    if (signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) return this.askForLink();
    this.#trouble = error instanceof ApiError ? error.message : "the collector can't be reached";
    this.#end = "failed";
    this.#show();
    const isPassing = !(error instanceof ApiError) || error.status === 503 || error.status === 429;
    if (isPassing) setTimeout(() => signal.aborted || void this.run(), 3000);
  }

  /** At the top, shows what waits; near the foot, older lines. */
  #onScroll() {
    if (this.lines.waiting > 0 && !this.lines.isHeld) this.#showFresh();
    const left = document.documentElement.scrollHeight - scrollY - innerHeight;
    if (this.#end === "page" && scrollY > SCROLLED_PX && left < FOOT_PX) this.#onOlder();
  }

  /** Does what the button at the foot offers. */
  #onOlder() {
    const { signal } = this.#running;
    if (this.#end === "failed") return void this.run();
    if (this.#end === "") return this.#stop();
    return void this.#searchOn().catch((error) => this.#fail(error, signal));
  }

  #stop() {
    this.#running.abort();
    this.#running = new AbortController();
    this.#end = "budget";
    this.#finish();
  }

  askForLink(
    trouble = localStorage.getItem("logs-token") ? "The link that was opened last is not this collector's." : "",
  ) {
    const dialog = byId("key", HTMLDialogElement);
    setText(byId("key-trouble", HTMLParagraphElement), trouble);
    if (!dialog.open) dialog.showModal();
  }

  // -- new lines

  /** Takes what a tail brings. @param {TailAnswer} answer @param {string} after */
  take({ rows, skipped, isSkippedMore }, after) {
    const [first] = rows;
    if (skipped > 0 && first) {
      const text = `${isSkippedMore ? "more than " : ""}${plural(skipped, "line")}`;
      const gap = { lines: skipped, text, since: timeOf(after), until: first.created_at };
      rows.unshift({ ...first, id: "0", skipped: gap });
    }
    this.lines.add(rows);
    this.#show();
  }

  #toggleLive() {
    if (this.lines.waiting > 0) return this.#showFresh();
    const { since, until } = this.view;
    this.#isLive = !this.#isLive || until !== "";
    this.#tail.stop();
    this.#show();
    if (this.#isLive) this.go({ until: "", since: until ? "" : since });
  }

  #showFresh() {
    if (this.lines.open) this.lines.toggle(this.lines.open, false);
    getSelection()?.removeAllRanges();
    scrollTo(0, 0);
    this.lines.flush();
    this.#show();
  }

  // -- filters

  /** @param {string} term */
  addTerm(term) {
    this.go({ q: `${this.view.q} ${term}`.trim() });
  }

  /** @param {string} term */
  dropTerm(term) {
    const rest = this.view.q.replace(term, () => "");
    this.go({ q: rest.replace(/ {2,}/g, " ").trim() });
  }

  #showChips() {
    const chips = this.terms.map((term) => {
      const chip = button("×", () => this.dropTerm(term), "chip");
      chip.setAttribute("aria-label", `take away ${visible(term)}`);
      chip.prepend(make("span", {}, visible(term)));
      return chip;
    });
    byId("chips", HTMLDivElement).replaceChildren(...chips);
    this.#counts.showFacets();
  }

  #wider() {
    const { since, until } = this.view;
    const [from, to] = [Date.parse(since), Date.parse(until)];
    const names = Object.keys(RANGES);
    if (Number.isNaN(to - from)) return this.go({ since: names[names.indexOf(since) + 1] ?? "all", until: "" });
    this.go({ since: isoOf(from - (to - from) / 2), until: isoOf(to + (to - from) / 2) });
  }

  // -- an open line

  /** @param {Item} item */
  makeDetail(item) {
    const [row] = item;
    const text = item.map(({ message }) => message).join("\n");
    const actions = [
      button("Lines around", () => void this.#surroundings.open(keyOf(row), "app")),
      button("Copy text", () => void copy(text, "text")),
      button("Copy JSON", () => void copy(jsonOf(row), "JSON")),
      button("Copy link", () => void copy(this.#link(), "link")),
      button("Close", () => this.lines.close()),
    ];
    const fields = fieldsOf(row, this.settings).flatMap((field) => this.#makeField(field));
    const children = [
      make("pre", { tabindex: "0" }, visible(text)),
      make("div", { class: "actions" }, ...actions),
      make("dl", { class: "fields" }, ...fields),
    ];
    return make("tr", { role: "row", class: "detail" }, make("td", { role: "cell", colspan: "5" }, ...children));
  }

  /** A name with its value, or the name alone where a tree branches. @param {Field} field */
  #makeField({ name, depth, value, shown = value, note = "", term }) {
    const title = make("dt", { class: value === undefined ? "branch" : undefined }, visible(name));
    title.style.paddingLeft = `${depth * 16}px`;
    if (value === undefined) return [title];
    const tools = [button("copy", () => void copy(value, visible(name)), "quiet")];
    if (term !== undefined)
      tools.unshift(
        button("only", () => this.addTerm(term), "quiet"),
        button("not", () => this.addTerm(`-${term}`), "quiet"),
      );
    const parts = [make("span", {}, visible(shown ?? "")), make("span", { class: "by" }, note && `  ${note}`)];
    return [title, make("dd", {}, ...parts, make("span", { class: "tools" }, ...tools))];
  }

  // -- downloads

  /** The browser keeps the answer on disk where it is large. @param {string} format */
  async #download(format) {
    const { q, since, until } = this.view;
    try {
      const response = await this.api.fetch("/api/export", { q, since: since === "all" ? "" : since, until, format });
      let size = 0;
      const counted = new TransformStream({
        transform(/** @type {Uint8Array} */ bytes, out) {
          const shown = Math.floor(size / 1e6);
          size += bytes.length;
          if (Math.floor(size / 1e6) > shown) toast(`downloading: ${Math.floor(size / 1e6)} MB`);
          out.enqueue(bytes);
        },
      });
      const blob = await new Response(response.body?.pipeThrough(counted) ?? null).blob();
      const [, name = `logs.${format}`] =
        /filename="([^"]*)"/.exec(response.headers.get("content-disposition") ?? "") ?? [];
      const url = URL.createObjectURL(blob);
      make("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      toast(`${name}: ${(size / 1e6).toFixed(1)} MB`);
    } catch {
      toast("the download broke off: it is not complete, and was not kept");
    }
  }

  // -- health and settings

  async #watchHealth() {
    const bar = byId("health", HTMLParagraphElement);
    for (;;) {
      await whenSeen();
      const health = await fetch("/healthz", { cache: "no-store" })
        .then((response) => response.json())
        .catch(() => undefined);
      const text = healthText(health, this.settings);
      setText(bar, text);
      bar.hidden = text === "";
      await sleep(5000);
    }
  }

  /** @param {string} name @param {string} value */
  #set(name, value) {
    this.settings.set(name, value);
    this.#applySettings();
    this.#showRange();
    this.lines.render();
  }

  #applySettings() {
    const theme = this.settings.get("theme");
    document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
    for (const input of document.querySelectorAll("#menu input")) {
      if (!(input instanceof HTMLInputElement)) continue;
      const value = this.settings.get(input.name);
      input.checked = input.type === "radio" ? input.value === value : value === "on";
    }
    byId("histogram", HTMLDetailsElement).open = this.settings.get("histogram") === "on";
    byId("facets", HTMLDetailsElement).open = !matchMedia("(max-width: 899px)").matches;
  }

  #listen() {
    let typing = 0;
    this.#query.addEventListener("input", () => {
      clearTimeout(typing);
      typing = window.setTimeout(() => this.go({ q: this.#query.value.trim() }, false), 500);
    });
    byId("search", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      this.go({ q: this.#query.value.trim() });
    });
    this.#range.addEventListener("change", () => {
      const { value } = this.#range;
      this.#showRange();
      if (value === "choose") this.#chooseTimes();
      else if (value !== "chosen") this.go({ since: value, until: "" });
    });
    this.#live.addEventListener("click", () => this.#toggleLive());
    this.#fresh.addEventListener("click", () => this.#showFresh());
    this.#older.addEventListener("click", () => this.#onOlder());
    addEventListener("popstate", () => [this.#readAddress(), void this.run()]);
    addEventListener("hashchange", () => this.api.takeToken() && void this.run());
    addEventListener("scroll", () => this.#onScroll(), { passive: true });
    byId("menu", HTMLElement).addEventListener("change", ({ target }) => {
      if (target instanceof HTMLInputElement)
        this.#set(target.name, target.type === "radio" ? target.value : target.checked ? "on" : "");
    });
    byId("histogram", HTMLDetailsElement).addEventListener("toggle", ({ target }) => {
      if (target instanceof HTMLDetailsElement) this.settings.set("histogram", target.open ? "on" : "");
    });
    byId("times", HTMLDialogElement).addEventListener("close", ({ target }) => {
      if (!(target instanceof HTMLDialogElement) || target.returnValue !== "ok") return;
      const timeIn = (/** @type {string} */ id) => {
        const { value } = byId(id, HTMLInputElement);
        return value && new Date(this.settings.isUtc ? `${value}Z` : value).toISOString();
      };
      this.go({ since: timeIn("times-since") || "all", until: timeIn("times-until") });
    });
    byId("key", HTMLDialogElement).addEventListener("close", () => {
      const { value } = byId("key-link", HTMLInputElement);
      if (this.api.takeToken(value)) void this.run();
      else this.askForLink(value && "That is no link of this page: such a link ends with #token=…");
    });
  }

  /** What keys and the menu's buttons do: no key with Ctrl or Alt, none while typing; one switch turns all off but Escape. */
  #listenToActs() {
    const aboutLine = (/** @type {(row: Row) => void} */ act) => () => this.lines.current && act(this.lines.current);
    /** @type {Record<string, () => void>} */
    const acts = {
      "/": () => this.#query.select(),
      j: () => this.lines.move(1),
      k: () => this.lines.move(-1),
      c: aboutLine((row) => void this.#surroundings.open(keyOf(row), "app")),
      y: aboutLine((row) => void copy(row.message, "text")),
      Y: aboutLine((row) => void copy(jsonOf(row), "JSON")),
      l: () => this.#toggleLive(),
      "-": () => this.#wider(),
      t: () => this.#set("zone", this.settings.isUtc ? "local" : "utc"),
      w: () => this.#set("wrap", this.settings.get("wrap") === "on" ? "" : "on"),
      "?": () => byId("help", HTMLDialogElement).showModal(),
      link: () => void copy(this.#link(), "link"),
      ndjson: () => void this.#download("ndjson"),
      csv: () => void this.#download("csv"),
    };
    addEventListener("keydown", (event) => {
      const { target, key, ctrlKey, altKey, metaKey } = event;
      if (ctrlKey || altKey || metaKey || document.querySelector("dialog[open]")) return;
      if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return;
      if (key === "Escape" && !document.querySelector("#menu:popover-open")) return this.lines.close();
      const act = Object.hasOwn(acts, key) && this.settings.get("keys") === "on" ? acts[key] : undefined;
      if (act) event.preventDefault();
      act?.();
    });
    document.addEventListener("click", ({ target }) => {
      const asked = target instanceof Element ? target.closest("[data-do], .close") : null;
      if (!(asked instanceof HTMLElement)) return;
      if (asked.matches(".close")) return asked.closest("dialog")?.close();
      byId("menu", HTMLElement).hidePopover();
      acts[asked.dataset["do"] ?? ""]?.();
    });
  }
}

/** @param {{ accepting: boolean, state: string, database: { up: boolean, since: string, cause?: string }, backlog: { lines: number, oldest_age_s: number } } | undefined} health @param {Settings} settings */
function healthText(health, settings) {
  if (!health) return "The collector can't be reached; the page goes on by itself when it is back.";
  const { accepting, state, database, backlog } = health;
  const since = settings.clock(database.since, 5, 19);
  const parts = [];
  if (!accepting) parts.push(`Not accepting lines: ${state}`);
  else if (!database.up) parts.push(`Database away since ${since}: ${database.cause ?? "no connection yet"}`);
  if (backlog.lines > 0 && (!database.up || backlog.oldest_age_s > 5))
    parts.push(`${plural(backlog.lines, "line")} wait on disk and are not in the search yet`);
  return parts.join(" · ");
}

new Page().start();
