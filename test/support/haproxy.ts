import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { eventually } from "./basics.ts";
import { folder, undoAfter } from "./files.ts";
import { freePort, isListening, launch } from "./processes.ts";

/** An HAProxy that divides connections among some ports; resolves to its own. */
export async function haProxy(t: TestContext, ports: number[]): Promise<number> {
  const own = await freePort();
  const servers = ports.map((port, index) => `  server s${index} 127.0.0.1:${port} check inter 200ms fall 1 rise 1\n`);
  const times = "timeout connect 1s\n  timeout client 1h\n  timeout server 1h";
  const file = join(await folder(t), "haproxy.cfg");
  const front = `defaults\n  mode tcp\n  option redispatch\n  ${times}\nlisten logs\n  bind 127.0.0.1:${own}\n`;
  await writeFile(file, `${front}${servers.join("")}`);
  const child = launch("haproxy", ["-db", "-f", file], { stdio: "ignore" });
  undoAfter(t, () => child.kill("SIGKILL"));
  await eventually(async () => assert.ok(await isListening(own), "HAProxy does not listen"));
  return own;
}
