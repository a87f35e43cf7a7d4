import assert from "node:assert/strict";
import { test } from "node:test";

import { TopicEvent, createEventHub, createEventTarget } from "qwormhole";

import { duplexPair, envelopes, settled, until } from "./support/streams.mjs";

const publish = (target, topic, detail) => target.dispatchEvent(new TopicEvent(topic, { detail }));
const KIB = 1_024;

function frame(text) {
  const body = Buffer.from(text);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

test("a dispatch that nobody reads is refused at the bound and goes on after a drain", async () => {
  const [stream, far] = duplexPair();
  createEventHub().attach(far);
  const target = createEventTarget({ stream, maxBufferedBytes: 64 * KIB });
  far.pauseReading();
  const body = "x".repeat(KIB);
  let sent = 0;
  assert.throws(
    () => {
      for (; sent < 1_000; sent += 1) publish(target, "t", body);
    },
    { code: "E_BACKPRESSURE" },
  );
  assert.ok(sent >= 60 && sent <= 64, `${sent} were accepted`);
  assert.ok(target.bufferedBytes <= 64 * KIB);
  far.resumeReading();
  await until(() => target.bufferedBytes === 0, "drained");
  publish(target, "t", body);
  await settled();
  assert.equal(envelopes(stream.written).length, sent + 1);
});

test("subscriptions made while the stream is blocked are told once, as they are then", async () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  far.pauseReading();
  publish(target, "big", "x".repeat(32 * KIB));
  const listener = () => {};
  for (let i = 0; i < 50; i += 1) {
    target.addEventListener("flapping", listener);
    target.addEventListener("kept", listener);
    target.removeEventListener("flapping", listener);
  }
  far.resumeReading();
  await until(() => envelopes(stream.written).length === 2, "subscription");
  await settled();
  assert.deepEqual(envelopes(stream.written).slice(1).map(({ payload }) => payload), [{ topic: "kept" }]);
});

test("a consumer that does not read is disconnected; the others never wait for it", async () => {
  const gone = [];
  const hub = createEventHub({ maxBufferedBytes: 64 * KIB, onPeerClosed: (peer, error) => gone.push([peer.info, error]) });
  const [slow, fast] = ["slow", "fast"].map((name) => {
    const [stream, far] = duplexPair();
    hub.attach(far, name);
    const heard = [];
    const target = createEventTarget({ stream });
    target.addEventListener("t", (event) => heard.push(event.detail));
    return { stream, heard, target };
  });
  await settled();
  slow.stream.pauseReading();
  for (let i = 0; i < 200; i += 1) {
    publish(hub, "t", "x".repeat(KIB));
    await settled(2);
  }
  assert.equal(gone.length, 1);
  assert.equal(gone[0][0], "slow");
  assert.equal(gone[0][1].code, "E_BACKPRESSURE");
  await until(() => fast.heard.length === 200);
  assert.equal(hub.peers.size, 1);
});

test("with drop-oldest a slow consumer loses the oldest and keeps the order of the rest", async () => {
  const hub = createEventHub({ maxBufferedBytes: 64 * KIB, slowConsumer: "drop-oldest" });
  const [stream, far] = duplexPair();
  const peer = hub.attach(far);
  const heard = [];
  createEventTarget({ stream }).addEventListener("t", (event) => heard.push(event.detail.i));
  await settled();
  stream.pauseReading();
  for (let i = 0; i < 500; i += 1) publish(hub, "t", { i, body: "x".repeat(KIB) });
  assert.ok(peer.bufferedBytes <= 64 * KIB, `${peer.bufferedBytes} bytes wait`);
  assert.ok(peer.dropped > 400);
  stream.resumeReading();
  await until(() => heard.at(-1) === 499, "the newest");
  assert.equal(heard.length + peer.dropped, 500);
  assert.deepEqual(heard, [...heard].sort((a, b) => a - b));
});

for (const [what, bytes, word, code] of [
  ["an announced length above the limit", Buffer.from([0, 1, 0, 0]), "FRAME_TOO_LARGE", "E_FRAME_TOO_LARGE"],
  ["what is not JSON", frame("{"), "BAD_ENVELOPE", "E_INVALID_ENVELOPE"],
  ["an envelope without an id", frame('{"type":"t","payload":1}'), "BAD_ENVELOPE", "E_INVALID_ENVELOPE"],
  ["an envelope without a payload", frame('{"type":"t","id":""}'), "BAD_ENVELOPE", "E_INVALID_ENVELOPE"],
  ["null", frame("null"), "BAD_ENVELOPE", "E_INVALID_ENVELOPE"],
]) {
  test(`${what} is answered with __error and an end`, async () => {
    const ends = [];
    const hub = createEventHub({ maxFrameLength: KIB, onPeerClosed: (_peer, error) => ends.push(error) });
    const [stream, far] = duplexPair();
    hub.attach(far);
    const heard = [];
    hub.addEventListener("before", (event) => heard.push(event.detail));
    stream.resume();
    stream.once("end", () => stream.end());
    stream.write(Buffer.concat([frame('{"type":"before","id":"","payload":1}'), bytes]));
    await until(() => ends.length === 1);
    assert.equal(ends[0].code, code);
    assert.deepEqual(heard, [1]);
    assert.deepEqual(envelopes(far.written).map(({ type, payload }) => [type, payload.code]), [["__error", word]]);
  });
}

test("too many topics and what authorize forbids are answered", async () => {
  const hub = createEventHub({ maxTopics: 2, authorize: (action, topic) => topic !== `no-${action}` });
  const [stream, far] = duplexPair();
  const peer = hub.attach(far);
  const told = [];
  const target = createEventTarget({ stream, onError: (error) => told.push(error.code) });
  const heard = [];
  hub.addEventListener("no-publish", (event) => heard.push(event));
  target.addEventListener("no-subscribe", () => {});
  publish(target, "no-publish", 1);
  await settled();
  assert.deepEqual(told, ["E_INVALID_TOPIC", "E_INVALID_TOPIC"]);
  assert.deepEqual([peer.topics.size, heard.length], [0, 0]);
  for (const topic of ["a", "b", "c"]) target.addEventListener(topic, () => {});
  await target.closed;
  assert.deepEqual(told.at(-1), "E_TOO_MANY_TOPICS");
});

test("a peer that said hello is not sent more than it takes", async () => {
  const hub = createEventHub();
  const [stream, far] = duplexPair();
  hub.attach(far);
  const heard = [];
  const target = createEventTarget({ stream, hello: true, maxFrameLength: KIB });
  target.addEventListener("t", (event) => heard.push(event.detail));
  await settled();
  publish(hub, "t", "x".repeat(2 * KIB));
  publish(hub, "t", "small");
  await until(() => heard.length === 1);
  assert.deepEqual(heard, ["small"]);
  assert.throws(() => publish(target, "t", "x".repeat(2 * KIB)), { code: "E_FRAME_TOO_LARGE" });
});

test("payloads that JSON cannot express are refused", () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  const cycle = {};
  cycle.self = cycle;
  assert.throws(() => publish(target, "t", cycle), { code: "E_CODEC" });
  assert.throws(() => publish(target, "t", 1n), { code: "E_CODEC" });
});

test("a stream that fails ends the target with its error", async () => {
  const [stream, far] = duplexPair();
  far.resume();
  const target = createEventTarget({ stream });
  stream.destroy(new Error("cable cut"));
  assert.equal((await target.closed).error.message, "cable cut");
});

test("an event that a closing hub cannot send any more is no error of the publisher", async () => {
  const hub = createEventHub();
  const [stream, far] = duplexPair();
  hub.attach(far);
  const target = createEventTarget({ stream });
  target.addEventListener("t", () => {});
  await settled();
  const closing = hub.close();
  assert.equal(publish(hub, "t", 1), true);
  await closing;
  assert.equal(hub.peers.size, 0);
});
