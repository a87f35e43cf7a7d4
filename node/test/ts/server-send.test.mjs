import assert from "node:assert/strict";
import { test } from "./support/timed.mjs";

import { jsonSerializer, textDeserializer } from "qwormhole";

import { record } from "./support/events.mjs";
import { pair } from "./support/pair.mjs";
import { until } from "./support/streams.mjs";

const KIB = 1_024;

for (const [name, push] of [
  ["sendMany", (_server, connection, data) => connection.sendMany([data])],
  ["broadcast", (server, _connection, data) => server.broadcast(data)],
]) {
  test(`a client that reads everything is not cut off for what it read long ago: ${name}`, async (t) => {
    const { server, client, connection } = await pair(t, { server: { maxBackpressureBytes: 64 * KIB } });
    const faults = record(server, ["error", "clientClosed"]);
    const body = Buffer.alloc(10 * KIB);
    for (let i = 0; i < 20; i += 1) {
      const arrived = new Promise((resolve) => client.once("message", resolve));
      push(server, connection, body);
      await arrived;
      await until(() => connection.queuedBytes === 0 || faults.length > 0, "the kernel's word");
    }
    assert.deepEqual(faults, []);
  });
}

test("a client that is cut off is one error, however much is sent to it afterwards", async (t) => {
  const { server, connection } = await pair(t, { server: { maxBackpressureBytes: KIB } });
  const errors = record(server, ["error"], (_name, error) => error.code);
  const closed = new Promise((resolve) => server.once("clientClosed", resolve));
  await assert.rejects(connection.send(Buffer.alloc(2 * KIB)), { code: "E_BACKPRESSURE" });
  for (let i = 0; i < 3; i += 1) {
    await assert.rejects(connection.send(Buffer.alloc(2 * KIB)), { code: "E_CLOSED" });
    assert.equal(connection.sendMany([Buffer.alloc(2 * KIB)]), 0);
    server.broadcast(Buffer.alloc(2 * KIB));
  }
  await closed;
  await assert.rejects(connection.send(Buffer.alloc(2 * KIB)), { code: "E_CLOSED" });
  assert.deepEqual(errors, [["error", "E_BACKPRESSURE"]]);
});

test("a connection that this side ended takes nothing and is no error", async (t) => {
  for (const end of ["end", "destroy"]) {
    const { server, connection } = await pair(t, { server: { maxBackpressureBytes: KIB } });
    const errors = record(server, ["error"]);
    connection[end]();
    await assert.rejects(connection.send(Buffer.alloc(2 * KIB)), { code: "E_CLOSED" });
    assert.deepEqual(errors, []);
  }
});

test("a send with a signal that nobody waits for does not end the process", async (t) => {
  const { server, connection } = await pair(t);
  const unhandled = [];
  const note = (reason) => unhandled.push(reason);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  const closed = new Promise((resolve) => server.once("clientClosed", resolve));
  void connection.send("never waited for", { signal: AbortSignal.abort() });
  void connection.send("cut off", { signal: new AbortController().signal });
  connection.destroy();
  await closed;
  // Rejections are told after the microtasks of the turn that they come in.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(unhandled, []);
});

test("sendMany gives bytes to a serializer of the user's, as send does", async (t) => {
  const { client, connection } = await pair(t, {
    server: { serializer: jsonSerializer },
    client: { deserializer: textDeserializer },
  });
  const seen = [];
  client.on("message", (text) => seen.push(text));
  void connection.send(Uint8Array.of(1, 2));
  assert.equal(connection.sendMany([Uint8Array.of(1, 2)]), 1);
  await until(() => seen.length === 2);
  assert.deepEqual(seen, ['{"0":1,"1":2}', '{"0":1,"1":2}']);
});
