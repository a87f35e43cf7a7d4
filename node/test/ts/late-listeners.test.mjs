// A listener that is attached behind `await connect()` or `await listen()` misses nothing.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "./support/timed.mjs";

import { QWormholeServer, textDeserializer } from "qwormhole";

import { peerAhead } from "../native/support/ahead.mjs";
import { record, take } from "./support/events.mjs";
import { BACKENDS, makeClient } from "./support/pair.mjs";
import { until } from "./support/streams.mjs";

const TWO = Buffer.from("\0\0\0\x01a\0\0\0\x01b");

for (const backend of BACKENDS) {
  test(`${backend}: messages that came with the connection`, async (t) => {
    const peer = await peerAhead(t, { bytes: TWO });
    const client = makeClient(t, { port: peer.port, backend, deserializer: textDeserializer });
    const connected = client.connect();
    peer.standStill();
    await connected;
    const messages = [];
    client.on("message", (text) => messages.push(text));
    const events = record(client, ["message", "close"]);
    await until(() => events.includes("close"));
    assert.deepEqual([messages, events], [["a", "b"], ["message", "message", "close"]]);
  });

  test(`${backend}: connections and messages that came as soon as somebody listened`, async (t) => {
    if (process.platform === "win32") return t.skip("no unix sockets");
    const directory = mkdtempSync(join(tmpdir(), "qwormhole-late-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "socket");
    const peer = await peerAhead(t, { path, bytes: TWO });
    const server = new QWormholeServer({ path, backend, deserializer: textDeserializer });
    t.after(() => server.close(0));
    const listening = server.listen();
    peer.standStill();
    await listening;
    const events = record(server, ["connection", "message", "clientClosed"], (_name, arg) => arg.data);
    await until(() => events.includes("clientClosed"));
    assert.deepEqual(events, ["connection", ["message", "a"], ["message", "b"], "clientClosed"]);
  });
}

test("bytes that answer a handshake, without framing", async (t) => {
  const peer = await peerAhead(t, { bytes: Buffer.from("hello"), afterData: true });
  const handshakeSigner = () => {
    // When it was handed over; nothing that comes of it was told by then.
    process.nextTick(peer.standStill);
    return {};
  };
  const client = makeClient(t, {
    port: peer.port, framing: "none", protocolVersion: "1", handshakeSigner, deserializer: textDeserializer,
  });
  await client.connect();
  assert.deepEqual(await take(client, "message", 1), ["hello"]);
});
