import assert from "node:assert/strict";
import { test } from "./support/timed.mjs";

// Not part of the package's surface: what fills memory is easier to see without a network in between.
import { Incoming } from "../../dist/esm/transport/incoming.js";

const MIB = 1 << 20;
const handlers = { message() {}, batch() {}, failed() {}, wantsMessages: () => false, wantsBatches: () => false };

/** An Incoming that writes down what it tells its source. */
function incoming() {
  const told = [];
  const valve = { pause: () => told.push("pause"), resume: () => told.push("resume") };
  return { told, incoming: new Incoming(undefined, valve, handlers) };
}

/** Hands over `count` messages of `bytes` bytes, one at a time. */
function deliver(to, count, bytes) {
  const slab = Buffer.alloc(bytes);
  for (let i = 0; i < count; i += 1) to.take(slab, 0, Uint32Array.of(bytes), 0, 1);
}

test("a resume too many counts neither against the next pause nor against a full queue", async () => {
  const { told, incoming: it } = incoming();
  it.valve.resume();
  it.valve.pause();
  assert.deepEqual(told, ["pause"]);
  assert.equal(it.isShut, true);
  it.valve.resume();
  it.valve.resume();
  assert.deepEqual(told, ["pause", "resume"]);
  const loop = it.messages({});
  deliver(it, 2_000, 1);
  assert.equal(it.isShut, true);
  it.valve.resume();
  assert.equal(it.isShut, true);
  assert.deepEqual(told, ["pause", "resume", "pause"]);
  await loop.return();
  assert.deepEqual(told, ["pause", "resume", "pause", "resume"]);
});

test("the user's pause outlasts a queue that has room again", async () => {
  const { told, incoming: it } = incoming();
  const loop = it.messages({});
  deliver(it, 2_000, 1);
  it.valve.pause();
  await loop.return();
  assert.deepEqual(told, ["pause"]);
  it.valve.resume();
  assert.deepEqual(told, ["pause", "resume"]);
});

for (const kind of ["messages", "batches"]) {
  test(`a slow loop over ${kind} holds back by bytes, too; one message always fits`, async () => {
    const { told, incoming: it } = incoming();
    const loop = it[kind]({});
    deliver(it, 1, 16 * MIB);
    assert.deepEqual(told, []);
    await loop.next();
    deliver(it, 4, MIB);
    assert.deepEqual(told, []);
    deliver(it, 1, MIB);
    assert.deepEqual(told, ["pause"]);
    await loop.next();
    await loop.next();
    assert.deepEqual(told, ["pause"]);
    await loop.next();
    assert.deepEqual(told, ["pause", "resume"]);
    await loop.return();
  });
}

test("a slow loop holds back by the number of messages, as ever, and gets each of them in order", async () => {
  const { told, incoming: it } = incoming();
  const loop = it.messages({});
  for (let i = 0; i <= 1_024; i += 1) it.push(i, 1);
  assert.deepEqual(told, ["pause"]);
  for (let i = 0; i <= 1_024; i += 1) assert.equal((await loop.next()).value, i);
  assert.deepEqual(told, ["pause", "resume"]);
});
