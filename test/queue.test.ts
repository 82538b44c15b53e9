/* oxlint-disable eslint/no-await-in-loop, typescript/no-floating-promises -- a test does one thing after the other; node:test waits for tests */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AsyncQueue } from "../collector.ts";

describe("queue", () => {
  test("AsyncQueue gives values in the order in which they were pushed, falsy ones too", async () => {
    const queue = new AsyncQueue<number | string | null>(10);
    for (const value of [1, 0, "", null, 2]) await queue.push(value);
    queue.close();

    const taken = [];
    for await (const value of queue) taken.push(value);

    assert.deepEqual(taken, [1, 0, "", null, 2]);
  });

  test("AsyncQueue.push waits while the queue is full", async () => {
    const queue = new AsyncQueue<number>(2);
    const pushed: number[] = [];
    const pushing = (async () => {
      for (const value of [1, 2, 3, 4]) pushed.push(await queue.push(value).then(() => value));
    })();
    const values = queue[Symbol.asyncIterator]();

    await new Promise(setImmediate);
    const pushedWhenFull = pushed.length;
    for (const value of [1, 2, 3, 4]) assert.equal((await values.next()).value, value);
    await pushing;

    assert.equal(pushedWhenFull, 2);
  });

  test("AsyncQueue gives each value to one of its consumers, and ends them all when closed and empty", async () => {
    const queue = new AsyncQueue<number>(3);
    const taken: number[] = [];
    const consume = async () => {
      for await (const value of queue) taken.push(value);
    };
    const consumers = [consume(), consume(), consume()];

    for (let value = 0; value < 100; value++) await queue.push(value);
    queue.close();
    await Promise.all(consumers);

    assert.deepEqual(
      taken.toSorted((a, b) => a - b),
      Array.from({ length: 100 }, (_, value) => value),
    );
  });

  test("AsyncQueue.push throws once the queue is closed, also where it was waiting", async () => {
    const queue = new AsyncQueue<number>(1);
    await queue.push(1);
    const waiting = assert.rejects(queue.push(2), /closed/);

    queue.close();

    await waiting;
    await assert.rejects(queue.push(3), /closed/);
  });
});
