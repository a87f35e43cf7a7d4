import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "./support/timed.mjs";

import { TopicEvent, createEventHub, createEventTarget } from "qwormhole";

import { duplexPair, until } from "./support/streams.mjs";

function frame(envelope) {
  const body = Buffer.from(JSON.stringify(envelope));
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

/** A stream of each kind that told of its end before anybody could attach it. */
const ENDED = {
  async closed() {
    const [stream] = duplexPair();
    stream.destroy();
    await once(stream, "close");
    return stream;
  },
  async "closed a moment ago"() {
    const [stream] = duplexPair();
    stream.destroy();
    return stream;
  },
  async ended() {
    const [stream, far] = duplexPair();
    far.resume();
    far.end();
    stream.resume();
    await once(stream, "end");
    return stream;
  },
};

for (const [kind, make] of Object.entries(ENDED)) {
  test(`a hub lets go of a stream that is ${kind} when it is attached`, async () => {
    const gone = [];
    const hub = createEventHub({ onPeerClosed: (peer, error) => gone.push([peer.info, error]) });
    const peer = hub.attach(await make(), "late");
    await hub.close();
    await peer.close();
    assert.deepEqual(gone, [["late", undefined]]);
    assert.equal(hub.peers.size, 0);
  });

  test(`an event target over a stream that is ${kind} closes`, async () => {
    const target = createEventTarget({ stream: await make() });
    assert.deepEqual(await target.closed, {});
    await target.close();
    assert.throws(() => target.dispatchEvent(new TopicEvent("t", { detail: 1 })), { code: "E_CLOSED" });
  });
}

test("an event target tells the error of a stream that failed before", async () => {
  const [stream] = duplexPair();
  const error = new Error("before");
  const failed = once(stream, "error");
  const closed = new Promise((resolve) => stream.once("close", resolve));
  stream.destroy(error);
  await Promise.all([failed, closed]);
  assert.deepEqual(await createEventTarget({ stream }).closed, { error });
});

test("a peer that ends and does not read keeps neither what waits for it nor its stream", async () => {
  const hub = createEventHub();
  const [stream, far] = duplexPair();
  hub.attach(far);
  stream.write(frame({ type: "__subscribe", id: "", payload: { topic: "t" } }));
  await until(() => [...hub.peers][0].topics.size === 1, "the subscription");
  stream.pauseReading();
  for (let i = 0; i < 100; i += 1) hub.dispatchEvent(new TopicEvent("t", { detail: "x".repeat(1_024) }));
  stream.end();
  await until(() => hub.peers.size === 0, "its end");
  assert.equal(far.destroyed, true);
});

test("words of the peer's that every object knows are words that nobody knows", async () => {
  const [stream, far] = duplexPair();
  const errors = [];
  createEventTarget({ stream, onError: (error) => errors.push(error) });
  for (const code of ["constructor", "__proto__", "toString", "FORBIDDEN"]) {
    far.write(frame({ type: "__error", id: "", payload: { code, message: "no" } }));
  }
  await until(() => errors.length === 4);
  const [unknown, known] = ["E_INVALID_ENVELOPE", "E_INVALID_TOPIC"];
  assert.deepEqual(errors.map(({ code }) => code), [unknown, unknown, unknown, known]);
});
