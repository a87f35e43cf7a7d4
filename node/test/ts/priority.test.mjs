import assert from "node:assert/strict";
import { test } from "./support/timed.mjs";

import { textDeserializer } from "qwormhole";

import { nativePriority } from "../../dist/esm/priority.js";
import { fixture } from "./support/fixtures.mjs";
import { take } from "./support/events.mjs";
import { BACKENDS, pair } from "./support/pair.mjs";

test("vector: priorities keep their order when they are mapped", () => {
  for (const { enqueue, dequeue_order } of fixture("priority-queue").cases) {
    const sorted = [...enqueue].sort((one, two) => nativePriority(one.priority) - nativePriority(two.priority));
    assert.deepEqual(sorted.map(({ data }) => data), dequeue_order);
  }
});

test("priorities are clamped, rounded, and never NaN", () => {
  for (const [given, expected] of [
    [0, 0], [1, 1_024], [-100, -102_400], [2.5, 2_560], [0.0001, 0], [Infinity, 2 ** 31 - 1], [-1e300, -(2 ** 31)], [NaN, 0],
  ]) {
    assert.equal(nativePriority(given), expected);
  }
});

for (const backend of BACKENDS) {
  test(`${backend}: what is urgent overtakes what waits for the rate limit`, async (t) => {
    const rate = { rateLimitBytesPerSec: 20_000, rateLimitBurstBytes: 2_000 };
    const { server, client } = await pair(t, { backend, client: rate, server: { deserializer: textDeserializer } });
    const received = take(server, "message", 5);
    // Takes the whole burst and more, so that the rest waits; it must have left before anything can overtake it.
    void client.send("first".padEnd(4_000));
    await client.flush();
    void client.send("late", { priority: 10 });
    void client.send("usual one");
    void client.send("usual two");
    void client.send("urgent", { priority: -1 });
    const order = (await received).map(({ data }) => data.trim());
    assert.deepEqual(order, ["first", "urgent", "usual one", "usual two", "late"]);
  });
}
