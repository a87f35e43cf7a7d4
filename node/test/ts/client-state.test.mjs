// What a client does between two connections, whatever its listeners call.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mock } from "node:test";

import { QWormholeClient, defaultSerializer, textDeserializer } from "qwormhole";

import { next, record, take } from "./support/events.mjs";
import { makeClient, pair, startServer } from "./support/pair.mjs";
import { test } from "./support/timed.mjs";
import { settled, until } from "./support/streams.mjs";

const SOON = { enabled: true, initialDelayMs: 0, maxDelayMs: 1 };

async function refusedPort() {
  const server = createServer().listen(0, "127.0.0.1");
  await next(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A server that counts the connections it ever had and keeps those that are open. */
async function countingServer(t) {
  const seen = { count: 0, sockets: new Set(), bytes: Buffer.alloc(0) };
  const server = createServer((socket) => {
    seen.count += 1;
    seen.sockets.add(socket);
    socket.on("data", (chunk) => (seen.bytes = Buffer.concat([seen.bytes, chunk])));
    socket.on("error", () => {});
    socket.on("close", () => seen.sockets.delete(socket));
  }).listen(0, "127.0.0.1");
  await next(server, "listening");
  t.after(() => {
    for (const socket of seen.sockets) socket.destroy();
    server.close();
  });
  return { seen, port: server.address().port };
}

for (const name of ["error", "close", "reconnecting"]) {
  test(`disconnect in a listener of ${name} ends the attempts`, async (t) => {
    const port = await refusedPort();
    mock.timers.enable({ apis: ["setTimeout"] });
    t.after(() => mock.timers.reset());
    const client = makeClient(t, { port, reconnect: { initialDelayMs: 1_000 } });
    client.on("error", () => {});
    const events = record(client, ["close", "reconnecting"]);
    client.on(name, () => void client.disconnect());
    await assert.rejects(client.connect(), { code: "ECONNREFUSED" });
    assert.deepEqual(events, name === "reconnecting" ? ["close", "reconnecting"] : ["close"]);
    mock.timers.tick(60_000);
    // An attempt that is made later is over later.
    await assert.rejects(makeClient(t, { port }).connect());
    assert.equal(events.filter((each) => each === "close").length, 1);
  });
}

test("disconnect in a listener of error ends the attempts at an interface that is not there", async (t) => {
  const client = makeClient(t, { port: 1, interfaceName: "no-such-interface", reconnect: SOON });
  const events = record(client, ["error", "reconnecting"]);
  client.on("error", () => void client.disconnect());
  await assert.rejects(client.connect(), { code: "E_INTERFACE_NOT_FOUND" });
  assert.deepEqual(events, ["error"]);
});

test("connect in a listener of error, with an interface that is not there: one attempt after the other", async (t) => {
  const client = makeClient(t, { port: 1, interfaceName: "no-such-interface", reconnect: SOON });
  let depth = 0;
  let count = 0;
  client.on("error", () => {
    assert.equal(depth, 0, "told of an attempt inside of another");
    depth += 1;
    count += 1;
    if (count < 4) client.connect().catch(() => {});
    else void client.disconnect();
    depth -= 1;
  });
  await assert.rejects(client.connect(), { code: "E_INTERFACE_NOT_FOUND" });
  await until(() => count === 4);
});

test("connect in a listener of close: one connection at a time, none that nobody asked for", async (t) => {
  const { seen, port } = await countingServer(t);
  const client = makeClient(t, { port, reconnect: { ...SOON, maxDelayMs: 0 } });
  client.on("error", () => {});
  await client.connect();
  await until(() => seen.sockets.size === 1);
  let again;
  client.once("close", () => (again = client.connect()));
  for (const socket of seen.sockets) socket.destroy();
  await until(() => again !== undefined);
  await again;
  await until(() => seen.count >= 2);
  // What a stale timer would have begun is before this one at the server.
  const last = makeClient(t, { port });
  await last.connect();
  await until(() => seen.count >= 3);
  await settled(50);
  assert.deepEqual([seen.count, seen.sockets.size, client.isConnected()], [3, 2, true]);
});

test("closing: not connected, sends are dropped or refused, and connect makes another connection", async (t) => {
  const { server, client, connection } = await pair(t, {
    client: { requireConnectedForSend: true }, server: { deserializer: textDeserializer },
  });
  const disconnected = client.disconnect();
  assert.equal(client.isConnected(), false);
  assert.equal(client.sendMany(["lost"]), 0);
  await assert.rejects(client.send("lost"), { code: "E_NOT_CONNECTED" });
  const events = record(client, ["close", "connect"]);
  const accepted = next(server, "connection");
  const connected = client.connect();
  assert.equal(client.isConnected(), false);
  await Promise.all([disconnected, connected]);
  assert.deepEqual(events, ["close", "connect"]);
  assert.notEqual((await accepted).id, connection.id);
  const message = take(server, "message", 1);
  await client.send("second");
  assert.equal((await message)[0].data, "second");
});

test("closing: what is sent behind connect arrives over the next connection", async (t) => {
  const { server, client } = await pair(t, { server: { deserializer: textDeserializer } });
  const messages = take(server, "message", 1);
  void client.disconnect();
  await client.send("dropped");
  const connected = client.connect();
  await client.send("kept");
  await connected;
  assert.equal((await messages)[0].data, "kept");
});

test("disconnect while connecting, then connect: the first one rejects, the second one connects", async (t) => {
  const { port } = await startServer(t);
  const client = makeClient(t, { port });
  const first = assert.rejects(client.connect(), { code: "E_CLOSED" });
  void client.disconnect();
  const second = client.connect();
  await first;
  await second;
  assert.ok(client.isConnected());
});

test("sends that nobody waits for do not end the process in an outage", async (t) => {
  const unhandled = [];
  const seen = (reason) => unhandled.push(reason);
  process.on("unhandledRejection", seen);
  t.after(() => process.off("unhandledRejection", seen));
  const idle = new QWormholeClient({ port: 1, requireConnectedForSend: true });
  const refused = idle.send("x");
  idle.send("x", { signal: AbortSignal.abort() });
  const { client, server } = await pair(t);
  server.pause();
  const abort = new AbortController();
  let waiting;
  while (client.queuedBytes <= 1 << 20) waiting = client.send(Buffer.alloc(256 * 1024), { signal: abort.signal });
  abort.abort();
  await settled();
  server.resume();
  assert.deepEqual(unhandled, []);
  await assert.rejects(refused, { code: "E_NOT_CONNECTED" });
  await assert.rejects(waiting, { name: "AbortError" });
});

test("removeAllListeners keeps neither disconnect nor a waiting send from resolving", async (t) => {
  const { client, server } = await pair(t);
  server.pause();
  const sends = [];
  while (client.queuedBytes <= 1 << 20) sends.push(client.send(Buffer.alloc(256 * 1024)));
  client.removeAllListeners();
  server.resume();
  await Promise.all(sends);
  const disconnected = client.disconnect();
  client.removeAllListeners();
  await disconnected;
});

test("a waiting send resolves when the connection is lost", async (t) => {
  const { client, server } = await pair(t);
  server.pause();
  let waiting;
  while (client.queuedBytes <= 1 << 20) waiting = client.send(Buffer.alloc(256 * 1024));
  client.removeAllListeners();
  client.socket.destroy();
  await waiting;
});

test("sendMany gives bytes to a serializer of the caller's", async (t) => {
  const serializer = (value) => Buffer.concat([Buffer.from("<"), defaultSerializer(value), Buffer.from(">")]);
  const { server, client } = await pair(t, { client: { serializer }, server: { deserializer: textDeserializer } });
  const messages = take(server, "message", 2);
  assert.equal(client.sendMany([Buffer.from("bytes"), "text"]), 2);
  assert.deepEqual((await messages).map(({ data }) => data), ["<bytes>", "<text>"]);
});

test("no message that waited overtakes the handshake, however urgent", async (t) => {
  const { seen, port } = await countingServer(t);
  const client = makeClient(t, { port, protocolVersion: "1" });
  const connected = client.connect();
  await client.send("urgent", { priority: -Infinity });
  await client.send("sooner", { priority: -1 });
  await connected;
  const handshake = '{"type":"handshake","version":"1"}';
  await until(() => seen.bytes.length === 4 + handshake.length + 2 * (4 + 6));
  assert.equal(seen.bytes.subarray(4, 4 + handshake.length).toString(), handshake);
});
