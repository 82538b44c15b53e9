/**
 * The network between the collector and its database:
 *
 *     collector ─► front ─► [ way, which speaks TLS or makes sessions read-only ] ─► server
 *
 * A front breaks connections whatever they carry; a way sees statements and answers in plain text. Without TLS and hosts
 * they are one.
 */
import { certificates } from "../support/certificates.ts";
import { Proxy } from "../support/proxies.ts";
import type { CutPoint } from "../support/proxies.ts";
import type { Settings } from "./run.ts";

export class Network {
  /** What the collector is given. */
  readonly url: string;
  readonly #fronts: Proxy[];
  readonly #ways: Proxy[];

  private constructor(url: string, fronts: Proxy[], ways: Proxy[]) {
    this.url = url;
    this.#fronts = fronts;
    this.#ways = ways;
  }

  static async before(target: string, { isTls, hasHosts }: Settings): Promise<Network> {
    const certificate = isTls ? (await certificates()).server : undefined;
    const ways = await Promise.all((hasHosts ? [0, 1] : [0]).map(() => Proxy.before(target, { certificate })));
    const fronts = isTls ? await Promise.all(ways.map(({ url }) => Proxy.before(url))) : ways;
    for (const [index, way] of ways.entries()) way.isReadOnly = index > 0;
    const hosts = fronts.map(({ url }) => new URL(url).host).join(",");
    const url = new URL(target);
    const flags = isTls ? "?sslmode=require" : "";
    return new Network(
      `${url.protocol}//${url.username}:${url.password}@${hosts}${url.pathname}${flags}`,
      fronts,
      ways,
    );
  }

  /** Ends all connections; new ones are refused, or accepted and closed at once. Until {@link mend}. */
  shut(how: "refuse" | "close"): void {
    for (const front of this.#fronts) {
      if (how === "refuse") front.refuse();
      else front.isClosing = true;
      front.cutAll();
    }
  }

  async mend(): Promise<void> {
    for (const front of this.#fronts) {
      front.isClosing = false;
      await front.mend();
    }
  }

  stall(isStalling: boolean): void {
    for (const front of this.#fronts) front.stall(isStalling);
  }

  delay(delayMs: number): void {
    for (const front of this.#fronts) front.delayMs = delayMs;
  }

  cutAll(how: "close" | "reset"): void {
    for (const front of this.#fronts) front.cutAll(how);
  }

  /** Lets handshakes of TLS begin and not end, until it is false. */
  hang(isHanging: boolean): void {
    for (const way of this.#ways) way.isHanging = isHanging;
  }

  /** Resets one connection of each host. */
  resetOldest(): void {
    for (const front of this.#fronts) front.resetOldest();
  }

  /** Resets all new connections before they are as old, until it is 0. */
  limitAge(maxAgeMs: number): void {
    for (const front of this.#fronts) front.maxAgeMs = maxAgeMs;
  }

  /** Resolves to whether a connection was cut at such a point within `holdMs`. */
  async cutNext(at: CutPoint, holdMs: number): Promise<boolean> {
    const proxies = at === "anywhere" ? this.#fronts : this.#ways;
    const hits = await Promise.all(proxies.map((proxy) => proxy.cutNext(at, holdMs)));
    return hits.some(Boolean);
  }

  /** The host that took writes takes none any more, and the other one does; as at a failover, all sessions end. */
  switchRoles(): void {
    for (const way of this.#ways) way.isReadOnly = !way.isReadOnly;
    for (const way of this.#ways) way.cutAll();
  }
}
