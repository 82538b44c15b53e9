import assert from "node:assert/strict";
import { ask } from "./collectors.ts";
import type { HasPages } from "./collectors.ts";

/** The samples of /metrics. Throws at what Prometheus's text format 0.0.4 or its conventions do not allow. */
export async function scrape(pages: HasPages): Promise<Map<string, number>> {
  const { status, type, text } = await ask(pages, "/metrics");
  assert.deepEqual([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assert.ok(text.endsWith("\n"));
  const samples = new Map<string, number>();
  for (const block of text.trimEnd().split("\n\n")) readMetric(block, samples);
  return samples;
}

const METRIC = /^# HELP ([a-z_]+) [A-Z][^\n]*[^.]\n# TYPE \1 (counter|gauge|histogram)\n([^]*)$/;

const SAMPLE = /^([a-z_]+)(\{le="(?:[\d.]+|\+Inf)"\})? (\d+(?:\.\d+)?(?:e-\d+)?)$/;

function readMetric(block: string, samples: Map<string, number>): void {
  const [, name = "", kind, lines = ""] = METRIC.exec(block) ?? assert.fail(block);
  const suffixes = kind === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  const buckets: number[] = [];
  for (const line of lines.split("\n")) {
    const [, of = "", labels = "", value] = SAMPLE.exec(line) ?? assert.fail(line);
    assert.ok(suffixes.includes(of.slice(name.length)) && !samples.has(of + labels), line);
    assert.equal(labels !== "", of === `${name}_bucket`, line);
    samples.set(of + labels, Number(value));
    if (labels !== "") buckets.push(Number(value));
  }
  assert.equal(kind === "counter", name.endsWith("_total"), name);
  assert.deepEqual([buckets, buckets.at(-1)], [buckets.toSorted((a, b) => a - b), samples.get(`${name}_count`)], name);
}

export function valueOf(samples: Map<string, number> | undefined, name: string): number {
  return samples?.get(name) ?? assert.fail(`no ${name}`);
}
