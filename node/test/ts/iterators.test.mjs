import assert from "node:assert/strict";
import { test } from "./support/timed.mjs";

import { textDeserializer } from "qwormhole";

import { pair } from "./support/pair.mjs";
import { settled, until } from "./support/streams.mjs";

test("messages are read in a loop, which ends with disconnect", async (t) => {
  const { client, connection } = await pair(t, { deserializer: textDeserializer });
  const seen = [];
  const messages = client.messages();
  const loop = (async () => {
    for await (const message of messages) {
      seen.push(message);
      if (seen.length === 100) void client.disconnect();
    }
  })();
  for (let i = 0; i < 100; i += 1) void connection.send(String(i));
  await loop;
  assert.deepEqual(seen, Array.from({ length: 100 }, (_, i) => String(i)));
});

test("a loop that is slow slows down the peer, not the memory", async (t) => {
  const { server, client } = await pair(t, { client: { maxBackpressureBytes: 1 << 30 } });
  const messages = server.messages();
  let sent = 0;
  let sending = true;
  const writer = (async () => {
    for (; sending && sent < 100_000; sent += 1) await client.send(Buffer.alloc(10_000));
  })();
  let before = -1;
  // Nothing moves any more once every buffer on the way is full.
  while (before !== sent || sent === 0) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(sent < 20_000, `${sent} messages of 10 kB were taken`);
  for (let i = 0; i < 5_000; i += 1) assert.equal((await messages.next()).value.data.length, 10_000);
  await until(() => sent > before);
  sending = false;
  await messages.return();
  await writer;
});

test("leaving a loop early stops the counting of messages for it", async (t) => {
  const { server, client, connection } = await pair(t, { deserializer: textDeserializer });
  void connection.send("a");
  void connection.send("b");
  for await (const message of client.messages()) {
    assert.equal(message, "a");
    break;
  }
  const rest = client.messages();
  void connection.send("c");
  assert.equal((await rest.next()).value, "c");
  await server.close();
});

test("a signal ends the waiting with an AbortError", async (t) => {
  const { client } = await pair(t);
  const abort = new AbortController();
  const waiting = client.messages({ signal: abort.signal }).next();
  abort.abort();
  await assert.rejects(waiting, { name: "AbortError", code: "ABORT_ERR" });
  await assert.rejects(client.messages({ signal: AbortSignal.abort() }).next(), { name: "AbortError" });
});

test("batches come as views, as event and in a loop", async (t) => {
  const { client, connection } = await pair(t);
  const [fromEvents, fromLoop, firsts] = [[], [], []];
  client.on("batch", (batch) => {
    firsts.push(batch.at(0).toString(), batch.at(batch.length), batch.byteLength > 0);
    batch.forEach((view, i) => {
      assert.ok(Buffer.isBuffer(view) && view instanceof Uint8Array);
      assert.ok(batch.at(i).equals(view));
      fromEvents.push(view.toString());
    });
    assert.equal([...batch].length, batch.length);
  });
  const batches = client.batches();
  const expected = Array.from({ length: 1_000 }, (_, i) => `message ${i}`);
  assert.equal(connection.sendMany(expected), 1_000);
  while (fromLoop.length < 1_000) fromLoop.push(...(await batches.next()).value.map(String));
  assert.deepEqual(fromLoop, expected);
  assert.deepEqual(fromEvents, expected);
  assert.deepEqual(firsts.slice(0, 3), ["message 0", undefined, true]);
});

test("views behave as Buffers do", async (t) => {
  const { client, connection } = await pair(t);
  const views = [];
  client.on("batch", (batch) => views.push(...batch));
  await connection.send(Buffer.from("0123456789"));
  await until(() => views.length === 1);
  const [view] = views;
  assert.equal(view.subarray(2, 4).toString(), "23");
  assert.equal(view.slice(-1).toString("hex"), "39");
  assert.equal(view.readUInt16BE(0), 0x3031);
  assert.equal(Buffer.concat([view, view]).length, 20);
  assert.deepEqual([...view.map((byte) => byte + 1)], [...Buffer.from("123456789:")]);
  assert.equal(view.indexOf("5"), 5);
  assert.ok(view.equals(Buffer.from("0123456789")));
  await settled();
});
