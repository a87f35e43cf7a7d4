import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as netConnect } from "node:net";
import { test } from "./support/timed.mjs";

import { createPubSub } from "@graphql-yoga/subscription";
import { TopicEvent, connect, createEventHub, createEventTarget, serve } from "qwormhole";

import { until } from "./support/streams.mjs";

test("what cannot be connected rejects with the system's word", async () => {
  const server = await serve({ onConnection: () => {} });
  const { port } = server.address;
  await server.close();
  await assert.rejects(connect({ port }), { code: "ECONNREFUSED" });
  await assert.rejects(connect({ path: "/nonexistent/socket" }), { code: "ENOENT" });
  await assert.rejects(connect({ server: "http://x:1" }), { code: "E_INVALID_OPTION" });
  await assert.rejects(connect({}), { code: "E_INVALID_OPTION" });
});

test("connect can be aborted, before and meanwhile", async () => {
  await assert.rejects(connect({ port: 1, signal: AbortSignal.abort() }), { name: "AbortError" });
  const abort = new AbortController();
  const connecting = connect({ host: "192.0.2.1", port: 9, signal: abort.signal });
  abort.abort();
  await assert.rejects(connecting, { name: "AbortError" });
});

test("a port that is taken rejects", async (t) => {
  const server = await serve({ onConnection: () => {} });
  t.after(() => server.close(0));
  await assert.rejects(serve({ port: server.address.port, onConnection: () => {} }), { code: "EADDRINUSE" });
});

test("serve tells where a stream comes from, speaks to any peer, and close delivers what was written", async (t) => {
  const seen = [];
  const server = await serve({
    listen: "tcp://localhost:0",
    onConnection: (stream, info) => {
      seen.push(info, stream.remotePort);
      stream.end("x".repeat(1 << 20));
    },
  });
  const socket = netConnect(server.address.port, server.address.address);
  t.after(() => socket.destroy());
  await once(socket, "connect");
  await until(() => seen.length === 2);
  const { port, address } = socket.address();
  assert.deepEqual(seen, [{ transport: "tcp", remoteAddress: address, remotePort: port }, port]);
  assert.equal(server.connections, 1);
  const closed = server.close(10_000);
  let bytes = 0;
  socket.on("data", (data) => (bytes += data.length));
  await once(socket, "end");
  assert.equal(bytes, 1 << 20);
  await closed;
  assert.equal(server.connections, 0);
});

test("a callback that throws costs its stream only", async (t) => {
  const errors = [];
  let count = 0;
  const server = await serve({
    onConnection: (stream) => {
      count += 1;
      if (count === 1) throw new Error("mine");
      stream.end("fine");
    },
    onError: (error) => errors.push(error.message),
  });
  t.after(() => server.close(0));
  const first = await connect({ port: server.address.port });
  first.on("error", () => {});
  first.resume();
  await once(first, "close");
  const second = await connect({ port: server.address.port });
  assert.equal(String((await once(second, "data"))[0]), "fine");
  assert.deepEqual(errors, ["mine"]);
});

test("an event hub over served streams, with createPubSub at the other ends", async (t) => {
  const hub = createEventHub();
  const server = await serve({ onConnection: (stream, info) => hub.attach(stream, info) });
  t.after(() => server.close(0));
  const targets = await Promise.all(
    [1, 2].map(async () => createEventTarget({ stream: await connect({ port: server.address.port }) })),
  );
  const [one, two] = targets.map((eventTarget) => createPubSub({ eventTarget }));
  const subscription = one.subscribe("chat", "7");
  const next = subscription.next();
  await until(() => [...hub.peers].some((peer) => peer.topics.has("chat:7")));
  two.publish("chat", "7", { text: "hello" });
  assert.deepEqual((await next).value, { text: "hello" });
  const own = subscription.next();
  hub.dispatchEvent(new TopicEvent("chat:7", { detail: "from the server" }));
  assert.equal((await own).value, "from the server");
  await subscription.return();
  await Promise.all(targets.map((target) => target.close()));
  await until(() => hub.peers.size === 0);
});
