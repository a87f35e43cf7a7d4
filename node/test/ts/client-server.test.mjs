import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer as createNetServer, connect as netConnect } from "node:net";
import { test } from "./support/timed.mjs";

import { QWormholeClient, QWormholeServer, createCborCodec, jsonCodec, textDeserializer } from "qwormhole";

import { next, record, take } from "./support/events.mjs";
import { BACKENDS, makeClient, pair, startServer } from "./support/pair.mjs";
import { until } from "./support/streams.mjs";

for (const backend of BACKENDS) {
  test(`${backend}: a message and its echo from inside the handler`, async (t) => {
    const { server, client } = await pair(t, { backend, deserializer: textDeserializer });
    server.on("message", ({ client: from, data }) => void from.send(`echo: ${data}`));
    const answers = take(client, "message", 3);
    for (const text of ["a", "", "ü"]) await client.send(text);
    assert.deepEqual(await answers, ["echo: a", "echo: ", "echo: ü"]);
  });

  test(`${backend}: every size arrives as it was sent, in order`, async (t) => {
    const { server, client } = await pair(t, { backend });
    const sizes = [0, 1, 3, 63, 64, 1_023, 16_383, 16_384, 65_535, 65_536, 65_537, 1 << 20, 4 << 20];
    const sent = sizes.map((size) => randomBytes(size));
    const received = take(server, "message", sizes.length);
    for (const each of sent) await client.send(each);
    const messages = await received;
    assert.deepEqual(messages.map(({ data }) => data.length), sizes);
    messages.forEach(({ data }, i) => assert.ok(data.equals(sent[i])));
  });
}

test("empty messages arrive, the first ones of a connection too", async (t) => {
  for (let round = 0; round < 20; round += 1) {
    const { server, client } = await pair(t, { deserializer: textDeserializer });
    const received = take(server, "message", 4);
    client.sendMany(["", "", "x", ""]);
    assert.deepEqual((await received).map(({ data }) => data), ["", "", "x", ""]);
  }
});

test("messages that are kept are not written over", async (t) => {
  const { server, client } = await pair(t);
  const received = take(server, "message", 20_000);
  const hash = createHash("sha256");
  for (let i = 0; i < 20_000; i += 1) {
    const data = Buffer.alloc(1 + (i % 700), i);
    hash.update(data);
    await client.send(data);
    data.fill(0);
  }
  const kept = createHash("sha256");
  for (const { data } of await received) kept.update(data);
  assert.equal(kept.digest("hex"), hash.digest("hex"));
});

test("codecs make values of messages, on both sides", async (t) => {
  for (const codec of [jsonCodec, createCborCodec()]) {
    const { server, client, connection } = await pair(t, codec);
    const up = take(server, "message", 1);
    const down = take(client, "message", 1);
    await client.send({ a: [1, null] });
    await connection.send({ b: "x" });
    assert.deepEqual((await up)[0].data, { a: [1, null] });
    assert.deepEqual(await down, [{ b: "x" }]);
  }
});

test("what cannot be decoded is an error; the messages after it go on", async (t) => {
  const { server, client } = await pair(t, { server: createCborCodec() });
  const error = next(server, "error");
  const message = take(server, "message", 1);
  await client.send(Buffer.of(0xff));
  await client.send(Buffer.of(0x01));
  assert.equal((await error).code, "E_CODEC");
  assert.equal((await message)[0].data, 1);
});

test("broadcast reaches everybody, three times, without anybody having sent anything", async (t) => {
  const { server, port } = await startServer(t);
  const clients = Array.from({ length: 5 }, () => makeClient(t, { port, deserializer: textDeserializer }));
  await Promise.all(clients.map((client) => client.connect()));
  await until(() => server.getConnectionCount() === 5);
  for (const text of ["one", "two", "three"]) {
    const all = clients.map((client) => take(client, "message", 1));
    server.broadcast(text);
    for (const each of await Promise.all(all)) assert.deepEqual(each, [text]);
  }
});

test("connections are known by id, and counted", async (t) => {
  const { server, client, connection, port } = await pair(t);
  assert.equal(server.getConnection(connection.id), connection);
  assert.equal(server.getConnection("other"), undefined);
  assert.equal(server.getConnectionCount(), 1);
  assert.equal(connection.remoteAddress, "127.0.0.1");
  assert.deepEqual([client.socket.remoteAddress, client.socket.remotePort], ["127.0.0.1", port]);
  const closed = next(server, "clientClosed");
  connection.end();
  assert.deepEqual(await closed, { client: connection, hadError: false });
  assert.equal(server.getConnectionCount(), 0);
});

test("events of a connection come in their order, each once", async (t) => {
  const { server, port } = await startServer(t, { deserializer: textDeserializer });
  const names = ["connect", "ready", "message", "timeout", "error", "close", "reconnecting"];
  const client = makeClient(t, { port });
  const mine = record(client, names, (name, arg) => (name === "close" ? arg.hadError : undefined));
  const theirs = record(server, ["connection", "message", "clientClosed", "close"]);
  await client.connect();
  await client.connect();
  await client.send("x");
  await until(() => theirs.includes("message"));
  const [connection] = [...Array(1)].map(() => server.getConnectionCount());
  assert.equal(connection, 1);
  await client.disconnect();
  await until(() => theirs.includes("clientClosed"));
  await server.close();
  assert.deepEqual(mine, ["connect", "ready", ["close", false]]);
  assert.deepEqual(theirs, ["connection", "message", "clientClosed", "close"]);
  assert.equal(client.isConnected(), false);
});

test("a refused connection: error, close, reconnecting, then connect rejects", async (t) => {
  const free = createNetServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => free.once("listening", resolve));
  const { port } = free.address();
  await new Promise((resolve) => free.close(resolve));
  const client = makeClient(t, { port, reconnect: { initialDelayMs: 60_000, maxDelayMs: 60_000 } });
  const events = record(client, ["error", "close", "reconnecting"], (_name, arg) => arg.code ?? arg.hadError ?? arg);
  await assert.rejects(client.connect(), (error) => {
    events.push("rejected");
    return error.code === "ECONNREFUSED";
  });
  assert.deepEqual(events, [
    ["error", "ECONNREFUSED"],
    ["close", true],
    ["reconnecting", { attempt: 1, delayMs: 60_000 }],
    "rejected",
  ]);
});

test("sends without a connection are dropped, or rejected where asked for", async (t) => {
  const client = new QWormholeClient({ port: 1 });
  await client.send("dropped");
  assert.equal(client.sendMany(["x"]), 0);
  const strict = new QWormholeClient({ port: 1, requireConnectedForSend: true });
  await assert.rejects(strict.send("x"), { code: "E_NOT_CONNECTED", message: "QWormholeClient is not connected" });
});

test("what is sent while connecting arrives, the most urgent first, up to a bound", async (t) => {
  const { server, port } = await startServer(t, { deserializer: textDeserializer });
  const client = makeClient(t, { port });
  const received = take(server, "message", 3);
  const connected = client.connect();
  await client.send("b");
  await client.send("c");
  await client.send("a", { priority: -1 });
  await assert.rejects(client.send(Buffer.alloc(1 << 20)), { code: "E_BACKPRESSURE" });
  await connected;
  assert.deepEqual((await received).map(({ data }) => data), ["a", "b", "c"]);
});

test("disconnect delivers what was queued, however much", async (t) => {
  const { server, client } = await pair(t);
  let bytes = 0;
  server.on("message", ({ data }) => (bytes += data.length));
  for (let i = 0; i < 2_000; i += 1) void client.send(Buffer.alloc(10_000));
  await client.disconnect();
  await until(() => bytes === 20_000_000, `${bytes} of 20000000 bytes`);
});

test("close of a server delivers what was queued", async (t) => {
  const { server, client, connection } = await pair(t, { server: { maxBackpressureBytes: 64 << 20 } });
  let count = 0;
  client.on("message", () => (count += 1));
  for (let i = 0; i < 1_000; i += 1) void connection.send(Buffer.alloc(1_000));
  await server.close(10_000);
  await until(() => count === 1_000);
});

test("a reader that stalls: backpressure, E_BACKPRESSURE at the limit, one end", async (t) => {
  const { server, port } = await startServer(t, { maxBackpressureBytes: 4 << 20 });
  const accepted = next(server, "connection");
  const socket = netConnect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.pause();
  const connection = await accepted;
  const events = record(server, ["backpressure", "drain", "clientClosed"], (_name, arg) => arg.hadError ?? arg.threshold);
  let rejected;
  for (let i = 0; i < 10_000 && rejected === undefined; i += 1) {
    connection.send(Buffer.alloc(64 * 1024)).catch((error) => (rejected ??= error));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(rejected.code, "E_BACKPRESSURE");
  assert.equal(rejected.message, "Backpressure limit exceeded");
  await until(() => events.some(([name]) => name === "clientClosed"), "the end");
  // The kernel's buffers may take more when the first of it is there already: a drain, and backpressure again.
  const pressure = events.filter((event) => event !== "drain");
  assert.equal(events.length, 2 * pressure.length - 2);
  assert.deepEqual(pressure.pop(), ["clientClosed", true]);
  for (const event of pressure) assert.deepEqual(event, ["backpressure", 4 << 20]);
  assert.ok(server.stats.backpressureEvents >= 1);
});

test("backpressure ends with drain when the reader goes on; awaited sends never queue without bound", async (t) => {
  const { server, client, connection } = await pair(t, { server: { maxBackpressureBytes: 64 << 20 } });
  const events = record(server, ["backpressure", "drain"]);
  client.pause();
  for (let i = 0; i < 200; i += 1) void connection.send(Buffer.alloc(64 * 1024));
  await until(() => events.length === 1);
  assert.equal(connection.backpressured, true);
  client.resume();
  await until(() => events.length === 2);
  assert.deepEqual(events, ["backpressure", "drain"]);
  server.pause();
  let done = false;
  const writing = (async () => {
    for (let i = 0; i < 500; i += 1) await client.send(Buffer.alloc(64 * 1024));
    done = true;
  })();
  await until(() => client.queuedBytes > 1 << 20);
  for (let i = 0; i < 50; i += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(done, false);
  assert.ok(client.queuedBytes < 2 << 20, `${client.queuedBytes} bytes were queued`);
  server.resume();
  await writing;
});

test("send resolves when the bytes were handed over; afterwards the connection is closed", async (t) => {
  const { connection } = await pair(t);
  await connection.send("x");
  assert.equal(connection.queuedBytes, 0);
  connection.destroy();
  await until(() => true);
  await assert.rejects(connection.send("y"), { code: "E_CLOSED" });
});

test("a message above the limit ends the connection with its text, after those before it", async (t) => {
  const { server, client } = await pair(t, { server: { maxFrameLength: 16, deserializer: textDeserializer } });
  const [error, closed, message] = [next(server, "error"), next(client, "close"), take(server, "message", 1)];
  client.sendMany(["fits", "x".repeat(17), "lost"]);
  assert.equal((await message)[0].data, "fits");
  const { code, message: text } = await error;
  assert.equal(code, "E_FRAME_TOO_LARGE");
  assert.match(text, /17/);
  await closed;
});

test("maxClients refuses the next one", async (t) => {
  const { server, port } = await startServer(t, { maxClients: 1 });
  await makeClient(t, { port }).connect();
  const error = next(server, "error");
  const second = makeClient(t, { port });
  second.on("error", () => {});
  const closed = new Promise((resolve) => second.once("close", resolve));
  second.connect().catch(() => {});
  assert.equal((await error).code, "E_MAX_CLIENTS");
  await closed;
});

test("allowConnection and onAuthorizeConnection decide, in this order, and messages wait for them", async (t) => {
  const asked = [];
  let allowed = false;
  const { server, port } = await startServer(t, {
    deserializer: textDeserializer,
    allowConnection: async (address) => {
      asked.push(address);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return allowed;
    },
    onAuthorizeConnection: (socket) => asked.push(socket.remotePort) > 0,
  });
  const events = record(server, ["connection", "message", "error"]);
  const refused = makeClient(t, { port });
  const closed = new Promise((resolve) => refused.once("close", resolve));
  await refused.connect();
  await refused.send("never");
  await closed;
  assert.deepEqual([asked, events], [["127.0.0.1"], []]);
  allowed = true;
  const client = makeClient(t, { port });
  const message = take(server, "message", 2);
  await client.connect();
  client.sendMany(["one", "two"]);
  assert.deepEqual((await message).map(({ data }) => data), ["one", "two"]);
  assert.equal(asked.length, 3);
  assert.deepEqual(events, ["connection", "message", "message"]);
});

test("framing none: bytes as they come, as data and as message", async (t) => {
  const { server, client, connection } = await pair(t, { framing: "none" });
  let up = "";
  server.on("message", ({ data }) => (up += data));
  let [data, message] = ["", ""];
  client.on("data", (chunk) => (data += chunk));
  client.on("message", (chunk) => (message += chunk));
  await client.send("hello");
  await connection.send("there");
  await until(() => up === "hello" && data === "there" && message === "there");
});

test("idleTimeoutMs: timeout, then close without an error", async (t) => {
  const { client } = await pair(t, { client: { idleTimeoutMs: 100 } });
  const events = record(client, ["timeout", "close", "error"], (name, arg) => arg?.hadError);
  await until(() => events.length === 2);
  assert.deepEqual(events, ["timeout", ["close", false]]);
});

test("heartbeats are ordinary messages", async (t) => {
  const { server } = await pair(t, { server: jsonCodec, client: { heartbeatIntervalMs: 10 } });
  const [first] = await take(server, "message", 2);
  assert.equal(first.data.type, "ping");
  assert.ok(Math.abs(Date.now() - first.data.ts) < 60_000);
});

test("telemetry counts bytes, connections and pressure, once per turn", async (t) => {
  const seen = [];
  const { server, client, connection } = await pair(t, { server: { onTelemetry: (each) => seen.push({ ...each }) } });
  const received = take(server, "message", 3);
  client.sendMany(["aaa", "bbb", "ccc"]);
  await received;
  await connection.send("12345");
  await until(() => seen.at(-1)?.bytesOut === 9);
  assert.deepEqual(seen.at(-1), { bytesIn: 21, bytesOut: 9, connections: 1, backpressureEvents: 0, drainEvents: 0 });
  await client.disconnect();
  await until(() => seen.at(-1).connections === 0);
  assert.deepEqual(server.stats, seen.at(-1));
});

test("trust snapshots are told on both sides", async (t) => {
  const told = [];
  const onTrustSnapshot = (snapshot) => told.push(snapshot);
  const tags = { origin: "me", n: 1 };
  const { client } = await pair(t, { protocolVersion: "1", client: { handshakeTags: tags, onTrustSnapshot }, server: { onTrustSnapshot } });
  await client.disconnect();
  await until(() => told.length === 2);
  const [mine, theirs] = [told.find((each) => each.direction === "client"), told.find((each) => each.direction === "server")];
  assert.equal(mine.reason, "disconnect");
  assert.deepEqual([theirs.reason, theirs.peerId, theirs.handshakeTags, theirs.policyTrustLevel], ["close", "me", tags, 0.5]);
});

test("a rate limit slows down what is sent", async (t) => {
  const { server, client } = await pair(t, { client: { rateLimitBytesPerSec: 100_000, rateLimitBurstBytes: 10_000 } });
  const received = take(server, "message", 40);
  const begin = performance.now();
  client.sendMany(Array.from({ length: 40 }, () => Buffer.alloc(996)));
  await received;
  // 40,000 bytes, of which 10,000 may leave at once.
  const elapsed = performance.now() - begin;
  assert.ok(elapsed >= 280, `it took ${elapsed} ms`);
});

test("interfaces that do not exist are named", async (t) => {
  const client = makeClient(t, { port: 1, interfaceName: "wg77" });
  await assert.rejects(client.connect(), { code: "E_INTERFACE_NOT_FOUND", message: "Interface wg77 not found" });
});

test("options that mean nothing are refused by name", () => {
  for (const [options, words] of [
    [{ port: 0 }, /^port/], [{ port: 1, framing: "x" }, /^framing/], [{ port: 1, maxFrameLength: -1 }, /^maxFrameLength/],
    [{ port: 1, idleTimeoutMs: NaN }, /^idleTimeoutMs/], [{ port: 1, reconnect: { multiplier: -1 } }, /^reconnect.multiplier/],
  ]) {
    assert.throws(() => new QWormholeClient(options), { code: "E_INVALID_OPTION", message: words });
  }
  assert.throws(() => new QWormholeServer({ port: 70_000 }), { code: "E_INVALID_OPTION" });
});

test("a port that is taken is an error with the system's code", async (t) => {
  const { port } = await startServer(t);
  const second = new QWormholeServer({ host: "127.0.0.1", port });
  await assert.rejects(second.listen(), { code: "EADDRINUSE" });
});
