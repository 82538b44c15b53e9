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
 * @property {{ text: string, since: string, until: string }} [skipped] lines left out here, instead of a line
 *
 * @typedef {{ row: Row, extras: Row[], isTaken: boolean }} Item a line, and what continues it: a stack trace
 * @typedef {{ q: string, since: string, until: string, at: string, by: string }} View what the address bar holds
 * @typedef {[time: string, others: number, warnings: number, errors: number]} Bar
 * @typedef {{ rows: Row[], reached: string, read: number, end: string, next?: string, try?: string,
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
const DRAG_PX = 6;
const TRACE_MS = 2000; // between the lines of one stack trace
const RANGES = ["15m", "1h", "6h", "1d", "7d", "30d"];
const RANGE_MS = [900e3, 3600e3, 21_600e3, 86_400e3, 604_800e3, 2_592_000e3];
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
const count = (/** @type {number} */ value) => value.toLocaleString("en-US");
const plural = (/** @type {number} */ value, /** @type {string} */ noun) =>
  `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Control and bidi characters as escapes: a line can't hide or reorder what stands in it. @param {string} text */
const visible = (text) => text.replace(INVISIBLE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Newest first: times of one format compare as texts, ids as numbers. @param {Row} one @param {Row} other */
function newestFirst(one, other) {
  if (one.created_at !== other.created_at) return one.created_at < other.created_at ? 1 : -1;
  if (one.id.length !== other.id.length) return other.id.length - one.id.length;
  return one.id < other.id ? 1 : -1;
}

/** A time for people, such as `11-27 14:03:10.123456`. @param {string} time @param {boolean} isUtc @param {number} from @param {number} to */
function clock(time, isUtc, from = 11, to = 26) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const offsetMs = isUtc ? 0 : date.getTimezoneOffset() * 60_000;
  const shifted = new Date(date.getTime() - offsetMs).toISOString().slice(0, 23) + time.slice(23, 26);
  return shifted.slice(from, to).replace("T", " ");
}

/** @param {number} seconds */
function duration(seconds) {
  const units = /** @type {[number, string][]} */ ([
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ]);
  const [size, name] = units.find(([unit]) => seconds % unit === 0) ?? [1, "s"];
  return `${count(seconds / size)} ${name}`;
}

/** A distance between two times, such as `3.2 s before`. @param {string} time @param {string} other */
function distance(time, other) {
  const ms = Date.parse(time) - Date.parse(other);
  const [size = 1, unit = "ms"] =
    [
      [86_400_000, "d"],
      [3_600_000, "h"],
      [60_000, "min"],
      [1000, "s"],
    ].find(([least]) => Math.abs(ms) >= Number(least)) ?? [];
  return `${(Math.abs(ms) / Number(size)).toLocaleString("en-US", { maximumFractionDigits: 1 })} ${unit} ${ms > 0 ? "after" : "before"}`;
}

/** A value as the query language takes it. @param {string} value */
const quoted = (value) =>
  /^[^\s,"*\\]+$/.test(value) && !/^[:/]/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
const quotedKey = (/** @type {string} */ key) =>
  /^[\p{L}_@][\p{L}\p{N}_@./-]*$/u.test(key) ? key : `"${key.replace(/["\\]/g, "\\$&")}"`;
/** @param {string} key @param {string | null} value */
const termOf = (key, value) => (value === null ? `-${quotedKey(key)}:*` : `${quotedKey(key)}:${quoted(value)}`);

/** JSON text as values in which strings begin with `s` and numbers with `n`: JSON.parse alone would lose digits. @param {string} json */
const parseExactly = (json) =>
  JSON.parse(
    json.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (part) =>
      part[0] === '"' ? `"s${part.slice(1)}` : `"n${part}"`,
    ),
  );

/** @param {Row} row */
function jsonOf({ attributes, ...columns }) {
  return `${JSON.stringify({ ...columns, skipped: undefined }).slice(0, -1)},"attributes":${attributes ?? "null"}}`;
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

/** Puts children in their order, and moves none that stands right: a focus or a selection stays. @param {Element} parent @param {Element[]} wanted */
function arrange(parent, wanted) {
  let at = parent.firstElementChild;
  const kept = new Set(wanted);
  for (const child of wanted) {
    while (at && !kept.has(at)) {
      const next = at.nextElementSibling;
      at.remove();
      at = next;
    }
    if (at === child) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

/** @param {string} text @param {() => void} act @param {string} kind */
const button = (text, act, kind = "") => make("button", { type: "button", class: kind || undefined, click: act }, text);

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Says something for a moment. @param {string} text */
function toast(text) {
  const shown = byId("toast", HTMLParagraphElement);
  shown.textContent = text;
  shown.hidden = false;
  byId("status", HTMLParagraphElement).textContent = text;
  setTimeout(() => shown.textContent === text && (shown.hidden = true), 2500);
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

/** Puts the lines that continue one under it. @param {Row[]} rows newest first @returns {Item[]} */
function itemsOf(rows) {
  /** @type {Map<string, Item[]>} */
  const loose = new Map(); // by sender: what waits for its head, which is older
  const items = rows.map((row) => {
    const item = { row, extras: /** @type {Row[]} */ ([]), isTaken: false };
    const sender = `${row.peer}\n${row.app}`;
    const waiting = (loose.get(sender) ?? []).filter(({ row: { created_at: time } }, at, all) => {
      const before = all[at + 1]?.row ?? row;
      return Date.parse(time) - Date.parse(before.created_at) < TRACE_MS;
    });
    if (!row.skipped && CONTINUES.test(row.message)) loose.set(sender, [...waiting, item]);
    else {
      loose.delete(sender);
      for (const each of waiting) each.isTaken = true;
      item.extras = waiting.map((each) => each.row).toReversed();
    }
    return item;
  });
  return items.filter(({ isTaken }) => !isTaken);
}

/** @param {string} kind @param {(string | Node)[]} children */
const cellOf = (kind, ...children) => make("td", { role: "cell", class: kind }, ...children);

/** Cells of a line, as the table and the dialog show them. @param {Row} row @param {Node} time @param {string} text */
const cellsOf = (row, time, text) => [
  cellOf("time", time),
  cellOf("level", levelName(row.level)),
  cellOf("app", visible(row.app ?? "")),
  cellOf("host", visible(row.host ?? "")),
  cellOf("message", visible(text)),
];

/** The table: its rows, the open one, and what waits while nothing may move. */
class Lines {
  /** @type {Row[]} newest first */
  rows = [];
  /** @type {Row[]} new lines that wait */
  pending = [];
  /** @type {string | undefined} the key of the open line */
  open;
  /** @type {string[]} what is marked in messages */
  words = [];
  isHeadCut = false;
  #current = "";
  /** @type {Map<string, { line: HTMLTableRowElement, signature: string, ranges: Range[] }>} */
  #shown = new Map();
  /** @type {HTMLTableRowElement | undefined} */
  #detail;
  /** @type {Set<string>} keys that came lately */
  #seen = new Set();
  #table = byId("lines", HTMLTableElement);
  #body = this.#table.tBodies[0] ?? this.#table.createTBody();
  #marks = "Highlight" in window ? new Highlight() : undefined;
  #page;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    if (this.#marks) CSS.highlights.set("match", this.#marks);
    this.#body.addEventListener("click", (event) => this.#onClick(event));
    this.#body.addEventListener("focusin", ({ target }) => {
      const key = target instanceof Element ? target.closest("tr")?.dataset["key"] : undefined;
      if (key) this.#select(key);
    });
  }

  reset() {
    [this.rows, this.pending, this.open, this.isHeadCut] = [[], [], undefined, false];
    this.#seen.clear();
    this.render();
  }

  /** Whether a reader would lose the place if something moved. */
  get isHeld() {
    const selection = getSelection();
    const hasSelection = selection !== null && !selection.isCollapsed && this.#body.contains(selection.anchorNode);
    return (
      scrollY > SCROLLED_PX ||
      this.open !== undefined ||
      hasSelection ||
      document.querySelector("dialog[open]") !== null
    );
  }

  /** @param {Row[]} older */
  append(older) {
    for (const row of older) this.#seen.add(keyOf(row));
    this.rows.push(...older);
    if (this.rows.length > MAX_ROWS) this.isHeadCut = true;
    this.rows.splice(0, this.rows.length - MAX_ROWS);
    this.render();
  }

  /** Takes new lines; they wait while the reader is at something. @param {Row[]} newer */
  add(newer) {
    const fresh = newer.filter((row) => !this.#seen.has(keyOf(row)));
    for (const row of fresh) this.#seen.add(keyOf(row));
    if (this.#seen.size > 50_000) this.#seen = new Set([...this.#seen].slice(-20_000));
    this.pending.push(...fresh);
    if (!this.isHeld) this.flush();
  }

  flush() {
    if (this.pending.length === 0) return;
    if (this.isHeadCut) {
      void this.#page.run();
      return;
    }
    this.rows.push(...this.pending);
    this.rows.sort(newestFirst);
    this.rows.splice(MAX_ROWS);
    this.pending = [];
    this.render();
  }

  render() {
    const { settings } = this.#page;
    const today = clock(new Date().toISOString(), settings.isUtc, 0, 10);
    const hasDates = this.rows.some(({ created_at: time }) => clock(time, settings.isUtc, 0, 10) !== today);
    const hosts = new Set(this.rows.map(({ host }) => host));
    this.#table.classList.toggle("dated", hasDates);
    this.#table.classList.toggle("wrap", settings.get("wrap") === "on");
    this.#table.classList.toggle("with-app", settings.get("app") === "on" && this.rows.some(({ app }) => app !== null));
    this.#table.classList.toggle("with-host", settings.get("host") === "on" && hosts.size > 1);
    const items = itemsOf(this.rows);
    const [from, to] = hasDates ? [5, 23] : [11, 23];
    const wanted = items.flatMap((item) =>
      this.#elementsOf(item, clock(item.row.created_at, settings.isUtc, from, to)),
    );
    const kept = new Set(items.map(({ row }) => keyOf(row)));
    for (const [key, { ranges }] of this.#shown) {
      if (kept.has(key)) continue;
      for (const range of ranges) this.#marks?.delete(range);
      this.#shown.delete(key);
    }
    arrange(this.#body, wanted);
    if (!kept.has(this.#current) && items[0]) this.#select(keyOf(items[0].row));
    this.#table.hidden = this.rows.length === 0;
  }

  /** @param {Item} item @param {string} time */
  #elementsOf(item, time) {
    const key = keyOf(item.row);
    const signature = `${time} ${item.extras.length} ${this.words.join(" ")}`;
    const known = this.#shown.get(key);
    const line = known?.signature === signature ? known.line : this.#makeLine(item, time, key, signature);
    if (this.open !== key) return [line];
    if (this.#detail?.dataset["of"] !== `${key} ${signature}`)
      this.#detail = this.#page.detailOf(item, `${key} ${signature}`);
    return [line, this.#detail];
  }

  /** @param {Item} item @param {string} time @param {string} key @param {string} signature */
  #makeLine({ row, extras }, time, key, signature) {
    if (row.skipped) return this.#makeSkipped(row.skipped, key, signature);
    const lines = row.message.trimEnd().split("\n");
    const opener = make(
      "button",
      {
        type: "button",
        tabindex: key === this.#current ? "0" : "-1",
        "aria-expanded": String(this.open === key),
        title: row.created_at,
      },
      time,
    );
    const cells = cellsOf(row, opener, (lines[0] ?? "").slice(0, 2000));
    const message = cells[4];
    const more = lines.length - 1 + extras.length;
    const ranges = message ? this.#markWords(message.firstChild) : [];
    if (more > 0) message?.append(make("span", { class: "more" }, `+${plural(more, "line")}`));
    const line = make("tr", { role: "row", class: `line ${severityOf(row.level)}`, "data-key": key }, ...cells);
    line.classList.toggle("open", this.open === key);
    this.#shown.set(key, { line, signature, ranges });
    return line;
  }

  /** @param {{ text: string, since: string, until: string }} skipped @param {string} key @param {string} signature */
  #makeSkipped({ text, since, until }, key, signature) {
    const act = button("open as a search", () => this.#page.go({ since, until, at: "" }), "quiet");
    const line = make("tr", { role: "row", class: "skipped" }, make("td", { role: "cell" }, `${text} skipped · `, act));
    this.#shown.set(key, { line, signature, ranges: [] });
    return line;
  }

  /** @param {ChildNode | null} text */
  #markWords(text) {
    const lower = text?.textContent?.toLowerCase() ?? "";
    /** @type {Range[]} */
    const ranges = [];
    if (!this.#marks || !text) return ranges;
    for (const word of this.words)
      for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + word.length)) {
        const range = document.createRange();
        range.setStart(text, at);
        range.setEnd(text, Math.min(at + word.length, lower.length));
        ranges.push(range);
        this.#marks.add(range);
      }
    return ranges;
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
    if (this.open !== undefined) this.#detail?.scrollIntoView({ block: "nearest" });
    this.#shown.get(key)?.line.scrollIntoView({ block: "nearest" }); // also where the detail is higher than the screen
    this.#page.setAt(this.open ?? "");
    if (this.open === undefined && !this.isHeld) this.flush();
  }

  /** Opens a line and brings it into view; false where it is not in the table. @param {string} key */
  show(key) {
    if (!this.#shown.has(key)) return false;
    this.toggle(key, true);
    this.#shown.get(key)?.line.scrollIntoView({ block: "center" });
    return true;
  }

  /** Moves the focus by lines. @param {number} by */
  move(by) {
    const openers = [...this.#body.querySelectorAll("tr.line")];
    const at = openers.findIndex((line) => line instanceof HTMLElement && line.dataset["key"] === this.#current);
    const isFocused = openers[at]?.contains(document.activeElement) ?? false;
    const next = openers[Math.max(0, Math.min(openers.length - 1, isFocused ? at + by : Math.max(at, 0)))];
    next?.scrollIntoView({ block: "nearest" });
    next?.querySelector("button")?.focus();
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
      const answer = await navigator.locks.request(
        `logs-tail-${place}`,
        { ifAvailable: true },
        (lock) => lock && ask("8"),
      );
      if (answer) return answer;
    }
    await sleep(2000);
    return ask("0");
  }
}

/** Another collector's lines may be stored a little late. @param {string} place */
function lookBack(place) {
  const [seen = "", held = ""] = place.split(";");
  const late = new Date(Date.parse(seen.split(",")[0] ?? "") - 3000).toISOString();
  return `${seen};${late < held ? late : held}`;
}

async function whenSeen() {
  while (document.hidden)
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

// ---- Counts: histogram and filters --------------------------------------------------------

class Counts {
  #page;
  #bars = byId("bars", HTMLDivElement);
  #more = byId("count-on", HTMLButtonElement);
  /** @type {{ [name: string]: Map<string | null, number> }} */
  #facets = { level: new Map(), app: new Map(), host: new Map() };
  /** @type {Map<number, Bar>} */
  #counted = new Map();
  /** @type {{ start: number, stepMs: number, size: number }} */
  #scale = { start: 0, stepMs: 1000, size: 0 };
  /** @type {Set<string>} */
  #unfolded = new Set();
  #isBusy = false;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#listen();
  }

  /** Counts a range, newest first, and shows how far it came. @param {Record<string, string | undefined>} asked @param {AbortSignal} signal */
  async run(asked, signal) {
    /** @type {CountsAnswer} */
    let answer = await this.#page.api.ask("/api/counts", { ...asked, budget: ANSWER_MS }, signal);
    const started = performance.now();
    this.#counted = new Map();
    this.#facets = { level: new Map(), app: new Map(), host: new Map() };
    const start = Date.parse(answer.first_bar);
    const stepMs = answer.step_s * 1000;
    this.#scale = { start, stepMs, size: Math.max(1, Math.ceil((Date.parse(answer.until) - start) / stepMs)) };
    let read = answer.read;
    this.#merge(answer);
    while (answer.end !== "range") {
      if (performance.now() - started > SEARCH_MS || read > COUNT_MAX_ROWS) {
        this.#more.hidden = false;
        await new Promise((resolve) => this.#more.addEventListener("click", resolve, { once: true }));
        read = 0;
      }
      this.#more.hidden = true;
      const rest = { since: answer.since, until: answer.until, step: String(answer.step_s), before: answer.reached };
      answer = await this.#page.api.ask("/api/counts", { ...asked, ...rest, budget: ANSWER_MS }, signal);
      read += answer.read;
      this.#merge(answer);
    }
    this.#isBusy = false;
    return performance.now() - started;
  }

  /** Forgets an older search's offer. */
  reset() {
    this.#more.hidden = true;
    this.#isBusy = true;
  }

  get isBusy() {
    return this.#isBusy;
  }

  /** @param {CountsAnswer} answer */
  #merge(answer) {
    for (const [time, ...added] of answer.bars) {
      const at = Math.round((Date.parse(time) - this.#scale.start) / this.#scale.stepMs);
      const [, ...known] = this.#counted.get(at) ?? [time, 0, 0, 0];
      this.#counted.set(at, [time, (known[0] ?? 0) + added[0], (known[1] ?? 0) + added[1], (known[2] ?? 0) + added[2]]);
    }
    const merge = (/** @type {string} */ name, /** @type {[string | null, number][]} */ counts) => {
      const facet = this.#facets[name];
      for (const [value, added] of counts) facet?.set(value, (facet.get(value) ?? 0) + added);
    };
    merge(
      "level",
      answer.levels.map(([level, lines]) => [levelName(level), lines]),
    );
    merge("app", answer.apps);
    merge("host", answer.hosts);
    this.#showBars(answer.end === "range" ? 0 : Date.parse(answer.reached.split(",")[0] ?? ""), answer);
    this.showFacets();
  }

  /** @param {number} reachedMs @param {CountsAnswer} answer */
  #showBars(reachedMs, answer) {
    const { start, stepMs, size } = this.#scale;
    const { isUtc } = this.#page.settings;
    const totals = [...this.#counted.values()].map(([, others, warnings, errors]) => others + warnings + errors);
    const max = Math.max(1, ...totals);
    const label = (/** @type {number} */ ms) =>
      clock(new Date(ms).toISOString(), isUtc, stepMs >= 86_400_000 ? 5 : 11, stepMs >= 60_000 ? 16 : 19);
    while (this.#bars.children.length > size) this.#bars.lastElementChild?.remove();
    while (this.#bars.children.length < size)
      this.#bars.append(
        make(
          "button",
          { type: "button", tabindex: "-1" },
          make("i", { class: "errors" }),
          make("i", { class: "warnings" }),
          make("i", { class: "others" }),
        ),
      );
    for (const [at, bar] of [...this.#bars.children].entries()) {
      const from = start + at * stepMs;
      const [, others, warnings, errors] = this.#counted.get(at) ?? ["", 0, 0, 0];
      const name = `${label(from)} to ${label(from + stepMs)}, ${plural(others + warnings + errors, "line")}`;
      const notes = [errors ? `, ${plural(errors, "error")}` : "", warnings ? `, ${plural(warnings, "warning")}` : ""];
      const isUncounted = from < reachedMs;
      bar.setAttribute("aria-label", name + notes.join("") + (isUncounted ? ", not counted yet" : ""));
      bar.setAttribute("title", name + notes.join(""));
      bar.classList.toggle("uncounted", isUncounted);
      for (const [index, value] of [errors, warnings, others].entries()) {
        const part = bar.children[index];
        if (part instanceof HTMLElement)
          part.style.height = value === 0 ? "0" : `${Math.max(1.5, (value / max) * 62)}px`;
      }
    }
    if (!this.#bars.querySelector('[tabindex="0"]')) this.#bars.lastElementChild?.setAttribute("tabindex", "0");
    const total = totals.reduce((sum, lines) => sum + lines, 0);
    const errorTotal = [...this.#counted.values()].reduce((sum, [, , , errors]) => sum + errors, 0);
    const so = answer.end === "range" ? "" : " so far";
    byId("counted", HTMLSpanElement).textContent =
      `1 bar = ${duration(stepMs / 1000)} · ${plural(total, "line")}, ${plural(errorTotal, "error")}${so}`;
    const [left, right] = byId("axis", HTMLDivElement).children;
    const dated = (/** @type {string} */ time) => clock(time, isUtc, 5, 19);
    if (left && right)
      [left.textContent, right.textContent] = [dated(new Date(start).toISOString()), dated(answer.until)];
  }

  showFacets() {
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["term"] : undefined;
    for (const [name, counts] of Object.entries(this.#facets)) {
      const all = [...counts].filter(([, lines]) => lines > 0);
      const rank = (/** @type {[string | null, number]} */ [value, lines]) =>
        name === "level" ? -LEVELS.findIndex(([, known]) => known === value) : lines;
      all.sort((one, other) => rank(other) - rank(one));
      const shown = all
        .slice(0, this.#unfolded.has(name) ? 50 : 10)
        .map(([value, lines]) => this.#facetOf(name, value, lines));
      const unfold = () => {
        this.#unfolded.add(name);
        this.showFacets();
      };
      if (all.length > shown.length && shown.length === 10)
        shown.push(button(`${Math.min(50, all.length) - 10} more`, unfold, "quiet"));
      const isUseful = all.some(([value]) => value !== null);
      const section = document.querySelector(`[data-facet="${name}"]`);
      section?.replaceChildren(...(isUseful ? [make("h2", {}, name), ...shown] : []));
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
    let [from, to, startX, isDrag] = [-1, -1, 0, false];
    const barAt = (/** @type {MouseEvent} */ { clientX }) => {
      const { left, width } = this.#bars.getBoundingClientRect();
      return Math.max(0, Math.min(this.#scale.size - 1, Math.floor(((clientX - left) / width) * this.#scale.size)));
    };
    const paint = () => {
      const [low, high] = [Math.min(from, to), Math.max(from, to)];
      for (const [at, bar] of [...this.#bars.children].entries())
        bar.classList.toggle("chosen", isDrag && at >= low && at <= high);
    };
    this.#bars.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      [from, to, startX, isDrag] = [barAt(event), barAt(event), event.clientX, false];
    });
    addEventListener("pointermove", (event) => {
      if (from < 0) return;
      isDrag ||= Math.abs(event.clientX - startX) >= DRAG_PX;
      to = barAt(event);
      paint();
    });
    addEventListener("pointerup", () => {
      if (from >= 0 && isDrag) this.#zoom(Math.min(from, to), Math.max(from, to));
      [from, to] = [-1, -1];
      setTimeout(() => [(isDrag = false), paint()]); // after the click that follows
    });
    addEventListener("pointercancel", () => [([from, isDrag] = [-1, false]), paint()]);
    this.#bars.addEventListener("click", ({ target }) => {
      const at = [...this.#bars.children].findIndex((bar) => target instanceof Node && bar.contains(target));
      if (!isDrag && at >= 0) this.#zoom(at, at);
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
    const timeOf = (/** @type {number} */ at) => new Date(start + at * stepMs).toISOString();
    this.#page.go({ since: timeOf(first), until: timeOf(last + 1), at: "" });
  }
}

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
    this.#dialog.addEventListener("close", () => page.setAt(page.lines.open ?? "", ""));
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
      const isMore = ends[side] !== "range" && this.#sizes[side] < 200;
      const act = () => {
        this.#sizes[side] = Math.min(200, this.#sizes[side] + 10);
        void this.#load(at, by);
      };
      return isMore ? button(`10 more ${side}`, act, "quiet") : make("span");
    };
    const { settings } = this.#page;
    const rows = [...before, line, ...after].map((row) => {
      const time = document.createTextNode(clock(row.created_at, settings.isUtc, 5, 23));
      const current = row === line ? "true" : undefined;
      return make(
        "tr",
        { role: "row", class: severityOf(row.level), "aria-current": current },
        ...cellsOf(row, time, row.message),
      );
    });
    const body = make("tbody", { role: "rowgroup" }, ...rows);
    const table = make(
      "table",
      { role: "table", class: "wrap with-app", "aria-label": "Lines around, oldest first" },
      body,
    );
    this.#list.replaceChildren(grow("before"), table, grow("after"));
  }
}

// ---- Page ------------------------------------------------------------------------------------

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
  #place = ""; // where a tail begins
  #reached = "";
  #end = "";
  #read = 0;
  #query = byId("query", HTMLInputElement);
  #range = byId("range", HTMLSelectElement);
  #live = byId("live", HTMLButtonElement);
  #older = byId("older", HTMLButtonElement);
  #fresh = byId("fresh", HTMLButtonElement);

  start() {
    this.api.takeToken();
    this.#readAddress();
    this.#applySettings();
    this.#listen();
    listenToKeys(this);
    void this.#watchHealth();
    void this.run();
  }

  // -- where it is: the address bar

  #readAddress() {
    const address = new URLSearchParams(location.search);
    const [q, since, until, at, by] = ["q", "since", "until", "at", "context"].map((name) => address.get(name) ?? "");
    this.view = { q: q ?? "", since: since ?? "", until: until ?? "", at: at ?? "", by: by ?? "" };
    this.#query.value = this.view.q;
    this.#showRange();
  }

  #address(view = this.view) {
    const { by, ...rest } = view;
    const given = Object.entries({ ...rest, context: by }).filter(([, value]) => value !== "");
    const search = new URLSearchParams(given).toString();
    return location.pathname + (search ? `?${search}` : "");
  }

  /** Looks at something else, a step that Back undoes. @param {Partial<View>} change */
  go(change, isStep = true) {
    this.view = { ...this.view, by: "", ...change };
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
    const { since, until } = this.view;
    const isOffered =
      until === "" &&
      [...this.#range.options].some(({ value }) => value === since && !["chosen", "choose"].includes(value));
    const chosen = [...this.#range.options].find(({ value }) => value === "chosen");
    const text = (/** @type {string} */ time, /** @type {string} */ orElse) =>
      time === "" ? orElse : /^\d+[smhdw]$/.test(time) ? `${time} ago` : clock(time, this.settings.isUtc, 5, 19);
    if (chosen) chosen.textContent = `${text(since, "beginning")} – ${text(until, "now")}`;
    if (chosen) chosen.hidden = isOffered;
    this.#range.value = isOffered ? since : "chosen";
  }

  /** A link that opens the same lines elsewhere: its times are absolute. */
  link() {
    const { q, since, by } = this.view;
    const newest = this.lines.rows[0]?.created_at;
    const index = RANGES.indexOf(since);
    const start =
      index >= 0 ? new Date(Date.now() - Number(RANGE_MS[index])).toISOString() : since === "all" ? "" : since;
    const until = newest
      ? `${newest.slice(0, 19)}.${String(Number(newest.slice(20, 26)) + 1).padStart(6, "0")}Z`
      : this.view.until;
    const isWhole = newest?.slice(20, 26) === "999999";
    return (
      location.origin +
      this.#address({ q, since: start, until: isWhole ? this.view.until : until, at: this.view.at, by })
    );
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
    [this.#reached, this.#end, this.#read, this.#place] = ["", "", 0, ""];
    byId("nothing", HTMLDivElement).hidden = true;
    const { at, by } = this.view;
    try {
      await this.searchOn();
      if (signal.aborted) return;
      if (by && at) void this.#surroundings.open(at, by);
      else if (at && !this.lines.show(at)) void this.#surroundings.open(at, "app");
      await this.#count(signal);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Searches on from where it came to, until a page is full; after 10 s it asks first. */
  async searchOn() {
    const { signal } = this.#running;
    const started = performance.now();
    const { q, until } = this.view;
    let missing = PAGE_ROWS;
    this.#older.hidden = true;
    do {
      this.#showProgress(true);
      const since = this.view.since === "all" ? "" : this.view.since;
      const asked = { q, since, until, before: this.#reached, limit: String(missing), budget: ANSWER_MS };
      /** @type {LogsAnswer} */
      const answer = await this.api.ask("/api/logs", asked, signal);
      if (answer.next) this.#place = answer.next;
      if (this.#reached === "") this.#begin(answer);
      [this.#reached, this.#end] = [answer.reached, answer.end];
      this.#read += answer.read;
      missing -= answer.rows.length;
      this.lines.append(answer.rows);
    } while (this.#end === "budget" && missing > 0 && performance.now() - started < SEARCH_MS);
    this.#showProgress(false);
  }

  /** @param {LogsAnswer} answer the first one */
  #begin({ terms, words, try: tryLine }) {
    this.terms = terms.map(({ text }) => text);
    this.lines.words = words.filter((word) => word !== "").map((word) => word.toLowerCase());
    this.#showChips();
    const shell = byId("nothing", HTMLDivElement);
    shell.replaceChildren();
    if (tryLine) shell.append(make("p", {}, "No lines yet. Send one:"), make("pre", {}, tryLine));
    if (this.#isLive && this.view.until === "") this.#tail.start(this.#place, this.view.q);
    this.#showLive();
  }

  /** @param {AbortSignal} signal */
  async #count(signal) {
    if (!byId("histogram", HTMLDetailsElement).open && matchMedia("(max-width: 899px)").matches) return;
    const { q, since, until } = this.view;
    const newest = Date.now() - Date.parse(this.lines.rows[0]?.created_at ?? "");
    const holds = RANGE_MS.findIndex((ms) => newest < ms);
    const fitting = this.lines.rows.length === 0 ? "15m" : RANGES[holds];
    const from = since === "all" ? undefined : since || (until ? undefined : fitting);
    const zone = String(this.settings.isUtc ? 0 : -new Date().getTimezoneOffset());
    const tookMs = await this.#counts.run({ q, since: from, until, zone }, signal);
    if (tookMs > 500 || until !== "") return;
    await sleep(10_000); // cheap: kept up to date
    await whenSeen();
    while (!this.#isLive && !signal.aborted) await sleep(1000);
    if (!signal.aborted) await this.#count(signal);
  }

  /** @param {boolean} isSearching */
  #showProgress(isSearching) {
    const { rows } = this.lines;
    const to =
      this.#end === "range" || this.#reached === ""
        ? ""
        : `back to ${clock(this.#reached.split(",")[0] ?? "", this.settings.isUtc, 5, 19)} · `;
    const read = this.#read >= 1e6 ? `${(this.#read / 1e6).toFixed(1)} million lines` : plural(this.#read, "line");
    const did =
      this.#end === "range" && !isSearching
        ? "searched all of the range · "
        : `${isSearching ? "searching" : "searched"} ${to}`;
    byId("progress", HTMLSpanElement).textContent = `${did}${read} · ${this.#matches()}`;
    this.#older.textContent = isSearching ? "stop" : this.#end === "page" ? "older lines" : "search on";
    this.#older.hidden = !isSearching && this.#end === "range";
    if (isSearching) return;
    byId("status", HTMLParagraphElement).textContent = `${plural(rows.length, "line")} shown`;
    if (rows.length === 0) this.#showNothing();
  }

  #showNothing() {
    const shell = byId("nothing", HTMLDivElement);
    shell.hidden = false;
    if (shell.childElementCount > 0) return;
    const { q, since, until } = this.view;
    const withoutLevel = this.terms.filter((term) => !/^-?level\b/.test(term)).join(" ");
    const offers = [];
    if (q) offers.push(button("drop the filter", () => this.go({ q: "" })));
    if (this.terms.some((term) => /^-?level\b/.test(term)))
      offers.push(button("all levels", () => this.go({ q: withoutLevel })));
    if (since || until) offers.push(button("all times", () => this.go({ since: "all", until: "" })));
    shell.append(
      make("p", {}, this.#end === "budget" ? "No line matches so far." : "No line matches."),
      make("p", { class: "actions" }, ...offers),
    );
  }

  /** @param {unknown} error @param {AbortSignal} signal */
  #fail(error, signal) {
    if (signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) return this.askForLink();
    const text = error instanceof ApiError ? error.message : "the collector can't be reached";
    byId("progress", HTMLSpanElement).textContent = `${text} · `;
    this.#older.textContent = "try again";
    this.#older.hidden = false;
    this.#end = "failed";
    const isPassing = !(error instanceof ApiError) || error.status === 503 || error.status === 429;
    if (isPassing) setTimeout(() => signal.aborted || void this.run(), 3000);
  }

  askForLink() {
    const dialog = byId("key", HTMLDialogElement);
    if (!dialog.open) dialog.showModal();
  }

  // -- new lines

  /** Takes what a tail brings. @param {TailAnswer} answer @param {string} after */
  take({ rows, skipped, isSkippedMore }, after) {
    const first = rows[0];
    if (skipped > 0 && first) {
      const since = after.split(",")[0] ?? "";
      const text = `${isSkippedMore ? "more than " : ""}${plural(skipped, "line")}`;
      const gap = { text, since, until: first.created_at };
      rows.unshift({ ...first, id: "0", skipped: gap });
    }
    const isEmpty = this.lines.rows.length === 0;
    this.lines.add(rows);
    if (isEmpty && this.lines.rows.length > 0) byId("nothing", HTMLDivElement).hidden = true;
    this.#showLive();
    if (rows.length > 0 && !this.lines.isHeld) this.#showShown();
  }

  #matches() {
    return `${count(this.lines.rows.length)} ${this.view.q === "" ? "shown" : "match"}`;
  }

  #showShown() {
    const shown = byId("progress", HTMLSpanElement);
    shown.textContent = (shown.textContent ?? "").replace(/[\d,]+ (?:shown|match)$/, this.#matches());
  }

  #showLive() {
    const waiting = this.lines.pending.length;
    const isPossible = this.view.until === "";
    const state = !this.#isLive || !isPossible ? "off" : waiting > 0 ? "paused" : "live";
    this.#live.dataset["state"] = state;
    const text = state === "paused" ? `paused: ${count(waiting)} new` : state === "off" ? "live: off" : "live";
    const shown = this.#live.lastElementChild;
    if (shown && shown.textContent !== text) shown.textContent = text;
    this.#live.setAttribute("aria-pressed", String(state !== "off"));
    this.#fresh.hidden = waiting === 0;
    this.#fresh.textContent = `${plural(waiting, "new line")} ↑`;
  }

  toggleLive() {
    if (this.lines.pending.length > 0) return this.showFresh();
    this.#isLive = !this.#isLive || this.view.until !== "";
    if (!this.#isLive) this.#tail.stop();
    this.#showLive();
    if (this.#isLive) this.go({ until: "", since: this.view.until ? "" : this.view.since, at: "" });
  }

  showFresh() {
    if (this.lines.open) this.lines.toggle(this.lines.open, false);
    getSelection()?.removeAllRanges();
    scrollTo(0, 0);
    this.lines.flush();
    this.#showLive();
  }

  // -- filters

  /** @param {string} term */
  addTerm(term) {
    this.go({ q: `${this.view.q} ${term}`.trim(), at: "" });
  }

  /** @param {string} term */
  dropTerm(term) {
    this.go({
      q: this.view.q
        .replace(term, () => "")
        .replace(/ {2,}/g, " ")
        .trim(),
      at: "",
    });
  }

  #showChips() {
    const chips = this.terms.map((term) =>
      make(
        "button",
        { type: "button", class: "chip", "aria-label": `take away ${visible(term)}`, click: () => this.dropTerm(term) },
        make("span", {}, visible(term)),
        "×",
      ),
    );
    byId("chips", HTMLDivElement).replaceChildren(...chips);
    this.#counts.showFacets();
  }

  wider() {
    const { since, until } = this.view;
    const [from, to] = [Date.parse(since), Date.parse(until)];
    if (!Number.isNaN(from) && !Number.isNaN(to))
      return this.go({
        since: new Date(from - (to - from) / 2).toISOString(),
        until: new Date(to + (to - from) / 2).toISOString(),
      });
    this.go({ since: RANGES[RANGES.indexOf(since) + 1] ?? "all", until: "" });
  }

  // -- an open line

  /** @param {Item} item @param {string} of */
  detailOf({ row, extras }, of) {
    const text = [row, ...extras].map(({ message }) => message).join("\n");
    const key = keyOf(row);
    const actions = [
      button("Lines around", () => void this.#surroundings.open(key, "app")),
      button("Copy text", () => void copy(text, "text")),
      button("Copy JSON", () => void copy(jsonOf(row), "JSON")),
      button("Copy link", () => void copy(this.link(), "link")),
      button("Close", () => this.closeLine()),
    ];
    const cell = make(
      "td",
      { role: "cell", colspan: "5" },
      make("pre", { tabindex: "0" }, visible(text)),
      make("div", { class: "actions" }, ...actions),
      this.#fieldsOf(row),
    );
    return make("tr", { role: "row", class: "detail", "data-of": of }, cell);
  }

  closeLine() {
    const line = document.querySelector("tr.open button");
    if (this.lines.open) this.lines.toggle(this.lines.open, false);
    if (line instanceof HTMLElement) line.focus();
  }

  /** @param {Row} row */
  #fieldsOf(row) {
    const list = make("dl", { class: "fields" });
    const time = (/** @type {string} */ text) =>
      `${clock(text, this.settings.isUtc, 0, 26)} ${this.settings.isUtc ? "UTC" : ""}`.trim();
    const plain = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ raw, note = "") =>
      list.append(
        make("dt", {}, name),
        make(
          "dd",
          {},
          make("span", {}, value),
          make("span", { class: "by" }, note),
          make(
            "span",
            { class: "tools" },
            button("copy", () => void copy(raw, name), "quiet"),
          ),
        ),
      );
    plain("created_at", time(row.created_at), row.created_at);
    if (row.logged_at)
      plain("logged_at", time(row.logged_at), row.logged_at, `  ${distance(row.logged_at, row.created_at)} created_at`);
    this.#addField(list, "level", levelName(row.level), 0, `  ${row.level}`);
    for (const name of /** @type {const} */ (["host", "app", "peer", "id"]))
      if (row[name] !== null) this.#addField(list, name, row[name], 0);
    if (row.attributes !== null) this.#addTree(list, [], parseExactly(row.attributes), 0);
    return list;
  }

  /** The attributes as a tree. @param {HTMLElement} list @param {string[]} path @param {unknown} value @param {number} depth */
  #addTree(list, path, value, depth) {
    if (typeof value !== "object" || value === null) {
      const text = typeof value === "string" ? value.slice(1) : String(value);
      return this.#addField(
        list,
        path.join("."),
        text,
        depth,
        "",
        value !== null && (path.length === 1 || path.every((key) => !key.includes("."))),
      );
    }
    const isArray = Array.isArray(value);
    if (path.length > 0)
      list.append(
        this.#nameOf(
          path.at(-1) ?? "",
          depth,
          Object.keys(value).length === 0 ? (isArray ? " []" : " {}") : "",
          "branch",
        ),
      );
    for (const [key, inner] of Object.entries(value))
      this.#addTree(list, [...path, isArray ? key : key.slice(1)], inner, path.length > 0 ? depth + 1 : depth);
  }

  /** @param {string} name @param {number} depth @param {string} note */
  #nameOf(name, depth, note = "", kind = "") {
    const title = make("dt", { class: kind || undefined }, visible(name) + note);
    title.style.paddingLeft = `${depth * 16}px`;
    return title;
  }

  /** @param {HTMLElement} list @param {string} key @param {string} value @param {number} depth @param {string} note */
  #addField(list, key, value, depth, note = "", isFilter = true) {
    const term = termOf(key, value);
    const filters = isFilter
      ? [button("only", () => this.addTerm(term), "quiet"), button("not", () => this.addTerm(`-${term}`), "quiet")]
      : [];
    const tools = make(
      "span",
      { class: "tools" },
      ...filters,
      button("copy", () => void copy(value, visible(key)), "quiet"),
    );
    const name = depth > 0 ? (key.split(".").at(-1) ?? key) : key;
    list.append(
      this.#nameOf(name, depth),
      make("dd", {}, make("span", {}, visible(value)), make("span", { class: "by" }, note), tools),
    );
  }

  /** @param {string} key */
  around(key) {
    void this.#surroundings.open(key, "app");
  }

  // -- downloads

  /** Writes the answer into a blob, which the browser keeps on disk where it is large. @param {string} format */
  async download(format) {
    const { q, since, until } = this.view;
    const shown = byId("toast", HTMLParagraphElement);
    try {
      const response = await this.api.fetch("/api/export", { q, since: since === "all" ? "" : since, until, format });
      const reader = response.body?.getReader();
      /** @type {BlobPart[]} */
      let parts = [];
      let size = 0;
      for (let step = await reader?.read(); step && !step.done; step = await reader?.read()) {
        parts.push(step.value);
        size += step.value.length;
        if (parts.length > 500) parts = [new Blob(parts)];
        [shown.hidden, shown.textContent] = [false, `downloading: ${(size / 1e6).toFixed(1)} MB`];
      }
      const name =
        /filename="([^"]*)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? `logs.${format}`;
      const url = URL.createObjectURL(new Blob(parts));
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
      const text = healthText(health, this.settings.isUtc);
      if (bar.textContent !== text) bar.textContent = text;
      bar.hidden = text === "";
      await sleep(5000);
    }
  }

  /** @param {string} name @param {string} value */
  set(name, value) {
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
      typing = window.setTimeout(() => this.go({ q: this.#query.value.trim(), at: "" }, false), 500);
    });
    byId("search", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      this.go({ q: this.#query.value.trim(), at: "" });
    });
    this.#range.addEventListener("change", () => {
      const { value } = this.#range;
      this.#showRange();
      if (value === "choose") byId("times", HTMLDialogElement).showModal();
      else if (value !== "chosen") this.go({ since: value, until: "", at: "" });
    });
    this.#live.addEventListener("click", () => this.toggleLive());
    this.#fresh.addEventListener("click", () => this.showFresh());
    this.#older.addEventListener("click", () => this.#onOlder());
    addEventListener("popstate", () => [this.#readAddress(), void this.run()]);
    addEventListener("hashchange", () => this.api.takeToken() && void this.run());
    addEventListener("scroll", () => this.lines.pending.length > 0 && !this.lines.isHeld && this.showFresh(), {
      passive: true,
    });
    new IntersectionObserver(
      ([entry]) => entry?.isIntersecting && this.#end === "page" && scrollY > SCROLLED_PX && this.#onOlder(),
      { rootMargin: "300px" },
    ).observe(byId("foot", HTMLElement));
    byId("menu", HTMLElement).addEventListener("change", ({ target }) => {
      if (target instanceof HTMLInputElement)
        this.set(target.name, target.type === "radio" ? target.value : target.checked ? "on" : "");
    });
    byId("histogram", HTMLDetailsElement).addEventListener("toggle", ({ target }) => {
      if (target instanceof HTMLDetailsElement) this.settings.set("histogram", target.open ? "on" : "");
    });
    this.#listenToDialogs();
  }

  #onOlder() {
    if (this.#older.textContent === "stop") {
      this.#running.abort();
      this.#end = "budget";
      this.#running = new AbortController();
      return this.#showProgress(false);
    }
    if (this.#end === "failed") return void this.run();
    const { signal } = this.#running;
    this.#end = "";
    this.searchOn().catch((error) => this.#fail(error, signal));
  }

  #listenToDialogs() {
    const acts = {
      link: () => void copy(this.link(), "link"),
      ndjson: () => void this.download("ndjson"),
      csv: () => void this.download("csv"),
      help: () => byId("help", HTMLDialogElement).showModal(),
      "context-link": () => void copy(this.link(), "link"),
    };
    document.addEventListener("click", ({ target }) => {
      const asked = target instanceof Element ? target.closest("[data-do], .close") : null;
      if (!(asked instanceof HTMLElement)) return;
      if (asked.matches(".close")) return asked.closest("dialog")?.close();
      byId("menu", HTMLElement).hidePopover();
      for (const [name, act] of Object.entries(acts)) if (asked.dataset["do"] === name) act();
    });
    byId("times", HTMLDialogElement).addEventListener("close", ({ target }) => {
      if (!(target instanceof HTMLDialogElement) || target.returnValue !== "ok") return;
      const [since, until] = ["times-since", "times-until"].map((id) => byId(id, HTMLInputElement).value);
      const absolute = (/** @type {string | undefined} */ text) =>
        text ? new Date(this.settings.isUtc ? `${text}Z` : text).toISOString() : "";
      this.go({ since: absolute(since) || "all", until: absolute(until), at: "" });
    });
    byId("key", HTMLDialogElement).addEventListener("close", () => {
      if (this.api.takeToken(byId("key-link", HTMLInputElement).value)) void this.run();
      else this.askForLink();
    });
  }
}

/** @param {{ accepting: boolean, state: string, database: { up: boolean, since: string, cause?: string }, backlog: { lines: number, oldest_age_s: number } } | undefined} health @param {boolean} isUtc */
function healthText(health, isUtc) {
  if (!health) return "The collector can't be reached; the page goes on by itself when it is back.";
  const { accepting, state, database, backlog } = health;
  const parts = [];
  if (!accepting) parts.push(`Not accepting lines: ${state}`);
  else if (!database.up)
    parts.push(`Database away since ${clock(database.since, isUtc, 5, 19)}: ${database.cause ?? "no connection yet"}`);
  if (backlog.lines > 0 && (!database.up || backlog.oldest_age_s > 5))
    parts.push(`${plural(backlog.lines, "line")} wait on disk and are not in the search yet`);
  return parts.join(" · ");
}

// ---- Keys -----------------------------------------------------------------------------------------

/** None with Ctrl or Alt, none while typing; one switch in the menu turns all off but Escape. @param {Page} page */
function listenToKeys(page) {
  const about = (/** @type {(row: Row) => void} */ act) => () => {
    const row = page.lines.current;
    if (row) act(row);
  };
  /** @type {Record<string, () => void>} */
  const acts = {
    "/": () => byId("query", HTMLInputElement).select(),
    j: () => page.lines.move(1),
    k: () => page.lines.move(-1),
    c: about((row) => page.around(keyOf(row))),
    y: about((row) => void copy(row.message, "text")),
    Y: about((row) => void copy(jsonOf(row), "JSON")),
    l: () => page.toggleLive(),
    "-": () => page.wider(),
    t: () => page.set("zone", page.settings.isUtc ? "local" : "utc"),
    w: () => page.set("wrap", page.settings.get("wrap") === "on" ? "" : "on"),
    "?": () => byId("help", HTMLDialogElement).showModal(),
  };
  addEventListener("keydown", (event) => {
    const { target, key, ctrlKey, altKey, metaKey } = event;
    if (ctrlKey || altKey || metaKey || document.querySelector("dialog[open]")) return;
    if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return;
    if (key === "Escape" && page.lines.open !== undefined && !document.querySelector("#menu:popover-open"))
      return page.closeLine();
    const act = Object.hasOwn(acts, key) && page.settings.get("keys") === "on" ? acts[key] : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  });
}

new Page().start();
