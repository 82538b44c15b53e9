import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { eventually, freePort } from "./basics.ts";
import { folder, undoAfter } from "./files.ts";

/** An HAProxy that divides connections among some ports; resolves to its own. */
export async function haProxy(t: TestContext, ports: number[]): Promise<number> {
  const own = await freePort();
  const servers = ports.map((port, index) => `  server s${index} 127.0.0.1:${port} check inter 200ms fall 1 rise 1\n`);
  const times = "timeout connect 1s\n  timeout client 1h\n  timeout server 1h";
  const file = join(await folder(t), "haproxy.cfg");
  const front = `defaults\n  mode tcp\n  option redispatch\n  ${times}\nlisten logs\n  bind 127.0.0.1:${own}\n`;
  await writeFile(file, `${front}${servers.join("")}`);
  await listening(t, spawn("haproxy", ["-db", "-f", file], { stdio: "ignore" }), own);
  return own;
}

/** Resolves when a program listens; it is killed at the test's end. */
export async function listening(t: TestContext, child: ChildProcess, port: number): Promise<void> {
  undoAfter(t, () => child.kill("SIGKILL"));
  process.on("exit", () => child.kill("SIGKILL"));
  const look = async () => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    socket.destroy();
  };
  await eventually(look);
}

/** A way to a database that can be cut. */
export class Relay {
  readonly url: string;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  readonly #listener;

  private constructor(target: URL, port: number) {
    this.url = Object.assign(new URL(target), { host: `127.0.0.1:${port}` }).href;
    this.#port = port;
    this.#listener = createServer((near) => {
      const far = connect(Number(target.port || 5432), target.hostname);
      for (const socket of [near, far]) this.#sockets.add(socket.on("error", () => {}));
      near.pipe(far).pipe(near);
    });
  }

  static async before(t: TestContext, url: string): Promise<Relay> {
    const relay = new Relay(new URL(url), await freePort());
    await relay.mend();
    undoAfter(t, () => relay.cut());
    return relay;
  }

  /** What is connected now passes nothing on any more, and is not closed either. */
  stall(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  cut(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  async mend(): Promise<void> {
    this.#listener.listen(this.#port, "127.0.0.1");
    await once(this.#listener, "listening");
  }
}
