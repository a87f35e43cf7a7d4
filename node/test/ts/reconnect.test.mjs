import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mock } from "node:test";

import { QWormholeClient, QWormholeServer, textDeserializer } from "qwormhole";

import { next, take } from "./support/events.mjs";
import { makeClient, startServer } from "./support/pair.mjs";
import { test } from "./support/timed.mjs";
import { settled, until } from "./support/streams.mjs";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await next(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("delays are exact: 300, 600, … 10,000, without jitter, until the attempts are used up", async (t) => {
  const port = await freePort();
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => mock.timers.reset());
  const client = new QWormholeClient({ host: "127.0.0.1", port, reconnect: { maxAttempts: 8 } });
  const [attempts, closes] = [[], []];
  client.on("reconnecting", (each) => attempts.push(each));
  client.on("close", (each) => closes.push(each));
  await assert.rejects(client.connect());
  for (let i = 1; i <= 8; i += 1) {
    assert.equal(attempts.length, i);
    mock.timers.tick(attempts.at(-1).delayMs - 1);
    await settled();
    assert.equal(closes.length, i, "no attempt before its time");
    mock.timers.tick(1);
    await until(() => closes.length === i + 1);
  }
  assert.deepEqual(attempts.map(({ delayMs }) => delayMs), [300, 600, 1_200, 2_400, 4_800, 9_600, 10_000, 10_000]);
  assert.deepEqual(attempts.map(({ attempt }) => attempt), [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.ok(closes.every(({ hadError }) => hadError));
});

test("a lost connection is made again, and what was sent meanwhile arrives", async (t) => {
  const { server, port } = await startServer(t);
  const client = makeClient(t, { port, reconnect: { enabled: true, initialDelayMs: 1 } });
  client.on("error", () => {});
  await client.connect();
  await until(() => server.getConnectionCount() === 1);
  const again = next(client, "reconnecting");
  await server.close();
  await again;
  await client.send("kept");
  const second = new QWormholeServer({ host: "127.0.0.1", port, deserializer: textDeserializer });
  t.after(() => second.close(0));
  // Before it listens: the client may be there at once.
  const received = take(second, "message", 1);
  await second.listen();
  const [{ data }] = await received;
  assert.equal(data, "kept");
  assert.ok(client.isConnected());
});

test("a server that closes at once does not reset the delays; a message does", async (t) => {
  const { server, port } = await startServer(t);
  server.on("connection", (connection) => connection.end());
  const client = makeClient(t, { port, reconnect: { enabled: true, initialDelayMs: 1, maxDelayMs: 16, multiplier: 2 } });
  const delays = (await Promise.all([take(client, "reconnecting", 6), client.connect()]))[0].map((each) => each.delayMs);
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 16]);
  server.removeAllListeners("connection");
  server.on("connection", async (connection) => {
    await connection.send("useful").catch(() => {});
    connection.end();
  });
  await next(client, "message");
  assert.equal((await next(client, "reconnecting")).delayMs, 1);
});

test("disconnect ends the attempts, also with many messages queued", async (t) => {
  const { server, port } = await startServer(t);
  const client = makeClient(t, { port, reconnect: { enabled: true, initialDelayMs: 1 } });
  await client.connect();
  await until(() => server.getConnectionCount() === 1);
  for (let i = 0; i < 1_000; i += 1) void client.send("x");
  client.on("reconnecting", () => assert.fail("it was asked to go"));
  await client.disconnect();
  await settled(20);
  assert.equal(client.isConnected(), false);
  await client.disconnect();
});

test("connect again after disconnect", async (t) => {
  const { server, port } = await startServer(t, { deserializer: textDeserializer });
  const client = makeClient(t, { port });
  for (const text of ["one", "two"]) {
    await client.connect();
    const message = take(server, "message", 1);
    await client.send(text);
    assert.equal((await message)[0].data, text);
    await client.disconnect();
  }
});

test("connect can be aborted, and times out", async (t) => {
  // An address that is reserved for documentation: nobody answers there, or the system says so at once.
  const slow = { host: "192.0.2.1", port: 9, connectTimeoutMs: 60_000 };
  const abort = new AbortController();
  const client = makeClient(t, slow);
  const connecting = client.connect({ signal: abort.signal });
  abort.abort(new Error("enough"));
  await assert.rejects(connecting, (error) => error.name === "AbortError" && error.cause.message === "enough");
  await assert.rejects(client.connect({ signal: abort.signal }), { name: "AbortError" });
});
