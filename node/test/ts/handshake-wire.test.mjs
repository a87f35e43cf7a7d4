import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "./support/timed.mjs";

import {
  QWormholeClient,
  createCborCodec,
  createHandshakeSigner,
  createHandshakeVerifier,
  createNegentropicHandshake,
  createNegentropicKeyPair,
  verifyNegentropicHandshake,
} from "qwormhole";

import { next, record, take } from "./support/events.mjs";
import { fixture } from "./support/fixtures.mjs";
import { makeClient, pair, startServer } from "./support/pair.mjs";
import { until } from "./support/streams.mjs";

/** The bytes that a client sends after it has connected and sent `after`. */
async function written(t, options, after) {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await next(server, "listening");
  const chunks = [];
  const ended = new Promise((resolve) => {
    server.on("connection", (socket) => {
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.on("error", () => {});
      socket.on("close", resolve);
    });
  });
  t.after(() => server.close());
  const client = makeClient(t, { port: server.address().port, ...options });
  client.on("error", () => {});
  const outcome = await client.connect().then(() => undefined, (error) => error);
  if (after !== undefined) await client.send(after);
  await client.disconnect();
  await ended;
  return { bytes: Buffer.concat(chunks), outcome };
}

for (const each of fixture("handshake-frames").cases) {
  test(`vector: ${each.name}`, async (t) => {
    const { handshakeSigner_returns: returned, ...options } = each.options;
    if (returned !== undefined) options.handshakeSigner = () => returned;
    // Deviates: a handshake is JSON whatever codec the messages have, because servers parse nothing else.
    const deviates = each.name.includes("cbor");
    if (deviates) Object.assign(options, createCborCodec());
    const after = each.name.includes("application message") ? "hi" : undefined;
    const { bytes, outcome } = await written(t, options, after);
    if (deviates) assert.equal(bytes.subarray(4).toString(), '{"type":"handshake","version":"1.0.0"}');
    else assert.equal(bytes.toString("hex"), each.wire_hex);
    assert.equal(outcome !== undefined, each.connect_error !== undefined);
    if (outcome !== undefined) assert.equal(outcome.code, "E_INVALID_HANDSHAKE_PAYLOAD");
  });
}

test("a handshake is described on the server, and what follows it is a message", async (t) => {
  const { connection, client, server } = await pair(t, {
    protocolVersion: "1.0.0",
    client: { handshakeTags: { service: "billing", shard: 3 } },
  });
  const { version, tags, entropyMetrics, policy } = connection.handshake;
  assert.deepEqual([version, tags], ["1.0.0", { service: "billing", shard: 3 }]);
  assert.deepEqual(entropyMetrics, { entropy: 4, entropyVelocity: "stable", coherence: "low", negIndex: 0.5 });
  assert.equal(policy.mode, "immune");
  const message = take(server, "message", 1);
  await client.send("x");
  assert.equal((await message)[0].data.toString(), "x");
});

test("a signed handshake is accepted; tags that are added are signed, too; a tampered one is rejected", async (t) => {
  const { secretKey } = createNegentropicKeyPair();
  const seen = [];
  const verifyHandshake = (payload) => seen.push(payload) > 0;
  const { server, port } = await startServer(t, { protocolVersion: "1", verifyHandshake });
  const signed = makeClient(t, {
    port,
    protocolVersion: "1",
    handshakeTags: { added: "later" },
    handshakeSigner: createHandshakeSigner({ secretKey }),
  });
  const accepted = next(server, "connection");
  await signed.connect();
  assert.ok((await accepted).handshake.negHash.length === 64);
  assert.equal(seen[0].tags.added, "later");
  const events = record(server, ["connection", "message", "error", "clientClosed"], (_name, arg) => arg.code ?? arg.hadError);
  const tampered = { ...createNegentropicHandshake({ secretKey, version: "1" }), ts: 1 };
  const liar = makeClient(t, { port, protocolVersion: "1", handshakeSigner: () => tampered });
  liar.on("error", () => {});
  await liar.connect();
  await until(() => events.length === 2);
  assert.deepEqual(events, [["error", "E_INVALID_HANDSHAKE_SIGNATURE"], ["clientClosed", true]]);
  assert.equal(seen.length, 1, "the verifier never saw it");
});

test("what is signed on the wire verifies", async (t) => {
  const { bytes } = await written(t, { protocolVersion: "2", handshakeTags: { a: 1 }, handshakeSigner: createHandshakeSigner() });
  const payload = JSON.parse(bytes.subarray(4));
  assert.ok(verifyNegentropicHandshake(payload));
  assert.deepEqual([payload.version, payload.tags], ["2", { a: 1 }]);
});

for (const [what, options, expected] of [
  ["another version", { protocolVersion: "2" }, { message: /Protocol version mismatch/ }],
  ["no handshake", {}, { code: "E_INVALID_HANDSHAKE_PAYLOAD" }],
]) {
  test(`${what} is rejected: an error, one clientClosed, no connection, no message`, async (t) => {
    const { server, port } = await startServer(t, { protocolVersion: "1" });
    const events = record(server, ["connection", "message", "clientClosed"], (_name, arg) => arg.hadError);
    const error = next(server, "error");
    const client = makeClient(t, { port, ...options });
    client.on("error", () => {});
    const closed = new Promise((resolve) => client.once("close", resolve));
    await client.connect();
    await client.send('{"type":"other"}');
    const { code, message } = await error;
    if (expected.code) assert.equal(code, expected.code);
    else assert.match(message, expected.message);
    await closed;
    await until(() => events.length === 1);
    assert.deepEqual(events, [["clientClosed", true]]);
  });
}

test("a verifier says no, late: error, one clientClosed, no message although they were sent at once", async (t) => {
  const { server, port } = await startServer(t, {
    protocolVersion: "1",
    verifyHandshake: async (payload) => {
      await new Promise((resolve) => setImmediate(resolve));
      return payload.tags?.ok === 1;
    },
  });
  const events = record(server, ["connection", "message", "error", "clientClosed"], (_name, arg) => arg.code ?? arg.hadError);
  const bad = makeClient(t, { port, protocolVersion: "1" });
  await bad.connect();
  bad.sendMany(["a", "b"]);
  await until(() => events.length === 2);
  assert.deepEqual(events, [["error", "E_INVALID_HANDSHAKE"], ["clientClosed", true]]);
  events.length = 0;
  const good = makeClient(t, { port, protocolVersion: "1", handshakeTags: { ok: 1 } });
  await good.connect();
  good.sendMany(["a", "b"]);
  await until(() => events.length === 3);
  assert.deepEqual(events, ["connection", "message", "message"]);
});

test("the environment asks for handshakes", async (t) => {
  Object.assign(process.env, {
    QWORMHOLE_PROTOCOL_VERSION: "7",
    QWORMHOLE_REQUIRE_HANDSHAKE: "yes",
    QWORMHOLE_HANDSHAKE_REQUIRED_TAGS: "role=worker, zone",
  });
  t.after(() => {
    for (const name of Object.keys(process.env)) if (name.startsWith("QWORMHOLE_")) delete process.env[name];
  });
  const { server, port } = await startServer(t);
  const errors = [];
  server.on("error", (error) => errors.push(error.code));
  const good = makeClient(t, { port, handshakeTags: { role: "worker", zone: 1 } });
  const connection = next(server, "connection");
  await good.connect();
  assert.equal((await connection).handshake.version, "7");
  await makeClient(t, { port, handshakeTags: { role: "other", zone: 1 } }).connect();
  await until(() => errors.length === 1);
  assert.deepEqual(errors, ["E_INVALID_HANDSHAKE"]);
  process.env.QWORMHOLE_TLS_ENABLED = "maybe";
  assert.throws(() => new QWormholeClient({ port }), { code: "E_INVALID_ENVIRONMENT", message: /QWORMHOLE_TLS_ENABLED="maybe".*true/ });
});

test("emitHandshakeMessages tells the handshake as a message, too", async (t) => {
  const { server, port } = await startServer(t, { protocolVersion: "1", emitHandshakeMessages: true });
  const message = take(server, "message", 1);
  await makeClient(t, { port, protocolVersion: "1" }).connect();
  assert.equal(JSON.parse((await message)[0].data).type, "handshake");
});

test("a verifier of versions works as a server's", async (t) => {
  const verifyHandshake = createHandshakeVerifier({ allowedVersions: ["1"] });
  const { connection } = await pair(t, { protocolVersion: "1", server: { verifyHandshake } });
  assert.equal(connection.handshake.version, "1");
});

test("requireSigned refuses a handshake without a signature, and accepts one with", async (t) => {
  const { server, port } = await startServer(t, { protocolVersion: "1", requireSigned: true });
  const error = next(server, "error");
  await makeClient(t, { port, protocolVersion: "1" }).connect();
  assert.equal((await error).code, "E_INVALID_HANDSHAKE_SIGNATURE");
  const accepted = next(server, "connection");
  await makeClient(t, { port, protocolVersion: "1", handshakeSigner: createHandshakeSigner() }).connect();
  assert.equal((await accepted).handshake.version, "1");
});

test("what a client says of its entropy is told, with the policy that follows", async (t) => {
  const handshakeSigner = () => ({ entropyMetrics: { negIndex: 0.9 }, nIndex: 0.2 });
  const { connection } = await pair(t, { protocolVersion: "1", client: { handshakeSigner } });
  assert.deepEqual(connection.handshake.entropyMetrics, { negIndex: 0.9 });
  assert.equal(connection.handshake.policy.mode, "trust-zero");
});
