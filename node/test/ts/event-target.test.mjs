import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import { createPubSub } from "@graphql-yoga/subscription";
import { TopicEvent, createEventHub, createEventTarget } from "qwormhole";

import { duplexPair, envelopes, settled, until } from "./support/streams.mjs";

/** A hub with `count` targets attached to it. */
function world(count, { hub: hubOptions = {}, target: targetOptions = {}, ...pair } = {}) {
  const hub = createEventHub(hubOptions);
  const ends = Array.from({ length: count }, () => {
    const [stream, far] = duplexPair(pair);
    const peer = hub.attach(far);
    return { stream, far, peer, target: createEventTarget({ stream, ...targetOptions }) };
  });
  return { hub, ends, targets: ends.map((end) => end.target) };
}

function collect(target, topic) {
  const heard = [];
  target.addEventListener(topic, (event) => heard.push(event.detail));
  return heard;
}

const publish = (target, topic, detail) => target.dispatchEvent(new TopicEvent(topic, { detail }));

test("an event becomes a length and an envelope", async () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  publish(target, "chat:room:1", { text: "é" });
  publish(target, "tick", undefined);
  await settled();
  const json = Buffer.from('{"type":"chat","id":"room:1","payload":{"text":"é"}}');
  const header = Buffer.from([0, 0, 0, json.length]);
  const bytes = Buffer.concat(stream.written);
  assert.deepEqual(bytes.subarray(0, 4 + json.length), Buffer.concat([header, json]));
  assert.deepEqual(envelopes(stream.written)[1], { type: "tick", id: "", payload: null });
});

test("topics survive being split into type and id", async () => {
  const { targets } = world(2);
  for (const topic of ["a", "a:b", "a:b:c", "a:", ":a", "a::b", ":"]) {
    const heard = collect(targets[0], topic);
    await settled();
    publish(targets[1], topic, topic);
    await until(() => heard.length === 1, topic);
    assert.deepEqual(heard, [topic]);
  }
});

test("envelopes are found again in one-byte chunks", async () => {
  const { targets } = world(2, { chunkBytes: 1 });
  const heard = collect(targets[0], "t");
  await settled(400);
  for (let i = 0; i < 20; i += 1) publish(targets[1], "t", { i });
  await until(() => heard.length === 20);
  assert.deepEqual(heard, Array.from({ length: 20 }, (_, i) => ({ i })));
});

test("the first listener subscribes, the last removal unsubscribes", async () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  const [one, two, once] = [() => {}, { handleEvent() {} }, () => {}];
  const abort = new AbortController();
  target.addEventListener("t", one);
  target.addEventListener("t", one);
  target.addEventListener("t", one, { capture: true });
  target.addEventListener("t", two, { signal: abort.signal });
  target.addEventListener("t", null);
  target.removeEventListener("t", one);
  target.removeEventListener("t", one, true);
  abort.abort();
  target.removeEventListener("t", one);
  target.addEventListener("u", once, { once: true });
  publish(target, "u", 1);
  publish(target, "u", 2);
  await settled();
  const seen = envelopes(stream.written).map(({ type, payload }) => [type, payload?.topic ?? payload]);
  assert.deepEqual(seen, [
    ["__subscribe", "t"],
    ["__unsubscribe", "t"],
    ["__subscribe", "u"],
    ["u", 1],
    ["__unsubscribe", "u"],
    ["u", 2],
  ]);
});

test("who never subscribed receives nothing, and nothing more after unsubscribing", async () => {
  const { targets, ends } = world(3);
  const listener = () => {};
  targets[0].addEventListener("t", listener);
  await settled();
  publish(targets[2], "t", 1);
  await settled();
  assert.equal(envelopes(ends[0].far.written).length, 1);
  assert.equal(envelopes(ends[1].far.written).length, 0);
  targets[0].removeEventListener("t", listener);
  await settled();
  publish(targets[2], "t", 2);
  await settled();
  assert.equal(envelopes(ends[0].far.written).length, 1);
});

test("local listeners hear local events unless told otherwise; the hub does not echo unless told to", async () => {
  for (const [options, expected] of [
    [{}, 1],
    [{ target: { local: false } }, 0],
    [{ target: { local: false }, hub: { echo: true } }, 1],
    [{ hub: { echo: true } }, 2],
  ]) {
    const { targets } = world(1, options);
    const heard = collect(targets[0], "t");
    await settled();
    publish(targets[0], "t", "x");
    await settled();
    assert.equal(heard.length, expected, JSON.stringify(options));
  }
});

test("detail is the payload, or the envelope where asked for", async () => {
  const { targets, hub } = world(2, { target: { detail: "envelope" }, hub: { detail: "envelope" } });
  const heard = [collect(targets[0], "a:1"), collect(targets[1], "a:1"), collect(hub, "a:1")];
  await settled();
  publish(targets[1], "a:1", { x: 1 });
  await until(() => heard.every((each) => each.length === 1));
  for (const each of heard) assert.deepEqual(each, [{ type: "a", id: "1", payload: { x: 1 } }]);
});

test("dispatchEvent says whether a local listener cancelled, and targets are the target itself", () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  let seen;
  target.addEventListener("t", (event) => {
    seen = event.currentTarget;
    event.preventDefault();
  });
  class Cancelable extends Event {
    detail = 1;
  }
  assert.equal(target.dispatchEvent(new Cancelable("t", { cancelable: true })), false);
  assert.equal(seen, target);
  assert.ok(target instanceof EventTarget);
});

test("reserved, empty and overlong topics are refused", () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  for (const topic of ["__subscribe", "__x", "", "x".repeat(1_025)]) {
    assert.throws(() => publish(target, topic, 1), { code: "E_INVALID_TOPIC" });
    assert.throws(() => target.addEventListener(topic, () => {}), { code: "E_INVALID_TOPIC" });
  }
  assert.throws(() => createEventTarget({ stream, maxTopics: 0 }), { code: "E_INVALID_OPTION" });
});

test("createPubSub works over it unchanged", async () => {
  const { targets } = world(2);
  const [one, two] = targets.map((eventTarget) => createPubSub({ eventTarget }));
  const rooms = one.subscribe("room", "7");
  const all = one.subscribe("all");
  const room = rooms.next();
  const every = all.next();
  await settled();
  two.publish("room", "8", "not this");
  two.publish("room", "7", { hello: "there" });
  two.publish("all", [1, 2]);
  assert.deepEqual(await room, { value: { hello: "there" }, done: false });
  assert.deepEqual(await every, { value: [1, 2], done: false });
  const own = all.next();
  one.publish("all", "mine");
  assert.deepEqual(await own, { value: "mine", done: false });
  await rooms.return();
  await all.return();
});

test("a mebibyte of bytes survives as base64", async () => {
  const { targets } = world(2);
  const heard = collect(targets[0], "blob");
  await settled();
  const bytes = randomBytes(1 << 20);
  publish(targets[1], "blob", bytes.toString("base64"));
  await until(() => heard.length === 1);
  assert.ok(Buffer.from(heard[0], "base64").equals(bytes));
});

test("two targets face each other without a hub; with filter only what was subscribed to is sent", async () => {
  const [left, right] = duplexPair();
  const [one, two] = [createEventTarget({ stream: left, filter: true }), createEventTarget({ stream: right })];
  const heard = collect(two, "t");
  await settled();
  publish(one, "t", 1);
  publish(one, "other", 2);
  await until(() => heard.length === 1);
  assert.deepEqual(envelopes(left.written).map((each) => each.type), ["t"]);
});

test("the hub is a bus of its own process, too", async () => {
  const { hub, targets } = world(1);
  const [atHub, atTarget] = [collect(hub, "up"), collect(targets[0], "down")];
  await settled();
  publish(targets[0], "up", 1);
  publish(hub, "down", 2);
  await until(() => atHub.length === 1 && atTarget.length === 1);
  assert.deepEqual([atHub, atTarget], [[1], [2]]);
});

test("close delivers what was dispatched and ends both sides", async () => {
  const { targets, hub } = world(2);
  const heard = collect(targets[0], "t");
  await settled();
  for (let i = 0; i < 100; i += 1) publish(targets[1], "t", i);
  await targets[1].close();
  assert.deepEqual(await targets[1].closed, {});
  await until(() => heard.length === 100);
  assert.equal(hub.peers.size, 1);
  assert.throws(() => publish(targets[1], "t", 1), { code: "E_CLOSED" });
  await hub.close();
  assert.deepEqual(await targets[0].closed, {});
});

test("unknown control messages are ignored and pings answered", async () => {
  const [stream, far] = duplexPair();
  const hub = createEventHub();
  hub.attach(far);
  const send = (value) => {
    const json = Buffer.from(JSON.stringify(value));
    stream.write(Buffer.concat([Buffer.from([0, 0, 0, json.length]), json]));
  };
  stream.resume();
  send({ type: "__later", id: "", payload: null });
  send({ type: "__ping", id: "7", payload: { at: 1 } });
  send({ type: "__subscribe", id: "", payload: "bare" });
  send({ type: "__subscribe", id: "", payload: { topics: ["b", "c"] } });
  await settled();
  assert.deepEqual(envelopes(far.written), [{ type: "__pong", id: "7", payload: { at: 1 } }]);
  assert.deepEqual([...[...hub.peers][0].topics], ["bare", "b", "c"]);
});
