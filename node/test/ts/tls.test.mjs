import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "./support/timed.mjs";
import { connect as tlsConnect } from "node:tls";

import { connect, createHandshakeSigner, serve } from "qwormhole";

import { ca, client as own, lockedKey, otherCa, server as served, stranger } from "../native/support/certs.mjs";
import { next, take } from "./support/events.mjs";
import { BACKENDS, makeClient, pair, startServer } from "./support/pair.mjs";

const serverTls = { enabled: true, ...served };
const clientTls = { enabled: true, ca, servername: "worm.test" };

for (const backend of BACKENDS) {
  test(`${backend}: mutual TLS with a private authority, ALPN, and what the handshake tells`, async (t) => {
    const exportKeyingMaterial = { length: 32 };
    const { server, client, connection } = await pair(t, {
      backend,
      protocolVersion: "1",
      server: { tls: { ...serverTls, ca, requestCert: true, alpnProtocols: ["qw/2", "qw/1"], exportKeyingMaterial } },
      client: {
        tls: { ...clientTls, ...own, alpnProtocols: ["qw/1"], exportKeyingMaterial },
        handshakeTags: { tlsAlpn: "a lie", service: "x" },
        handshakeSigner: createHandshakeSigner(),
      },
    });
    const { tags, tls } = connection.handshake;
    const { fingerprint256, fingerprint } = new X509Certificate(own.cert);
    assert.deepEqual([tags.tlsFingerprint256, tags.tlsFingerprint], [fingerprint256, fingerprint]);
    assert.deepEqual([tags.tlsAlpn, tags.service], ["qw/1", "x"]);
    assert.equal(Buffer.from(tags.tlsSessionKey, "base64").length, 32);
    assert.deepEqual([tls.authorized, tls.alpnProtocol, tls.peerFingerprint256], [true, "qw/1", fingerprint256]);
    const message = take(server, "message", 1);
    await client.send("secret");
    assert.equal((await message)[0].data.toString(), "secret");
  });
}

for (const [what, tls, words] of [
  ["another authority", { ...clientTls, ca: otherCa }, /certificate|issuer|authority/i],
  ["another name", { ...clientTls, servername: "other.test" }, /not for `other\.test`/],
]) {
  test(`a server of ${what} is refused`, async (t) => {
    const { port } = await startServer(t, { tls: serverTls });
    const client = makeClient(t, { port, tls });
    await assert.rejects(client.connect(), words);
  });
}

test("rejectUnauthorized: false accepts any server", async (t) => {
  const { client } = await pair(t, { server: { tls: serverTls }, client: { tls: { enabled: true, rejectUnauthorized: false } } });
  assert.ok(client.isConnected());
});

test("a client of another authority never becomes a connection", async (t) => {
  const { server, port } = await startServer(t, { tls: { ...serverTls, ca, requestCert: true } });
  server.on("connection", () => assert.fail("it was let in"));
  const error = next(server, "error");
  const client = makeClient(t, { port, tls: { ...clientTls, ...stranger } });
  client.on("error", () => {});
  client.connect().catch(() => {});
  assert.ok((await error) instanceof Error);
});

test("a fingerprint that is not the client's is refused", async (t) => {
  const { server, port } = await startServer(t, { protocolVersion: "1", tls: { ...serverTls, ca, requestCert: true } });
  const socket = tlsConnect({ port, host: "127.0.0.1", ca, servername: "worm.test", ...own });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  const error = next(server, "error");
  await once(socket, "secureConnect");
  const json = Buffer.from(JSON.stringify({ type: "handshake", version: "1", tags: { tlsFingerprint256: "00:11" } }));
  socket.write(Buffer.concat([Buffer.from([0, 0, 0, json.length]), json]));
  assert.match((await error).message, /TLS fingerprint mismatch/);
});

test("keys and authorities come from the environment, and a locked key from its passphrase", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "qwormhole-tls-"));
  const file = (name, content) => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  t.after(() => {
    rmSync(directory, { recursive: true });
    for (const name of Object.keys(process.env)) if (name.startsWith("QWORMHOLE_")) delete process.env[name];
  });
  Object.assign(process.env, {
    QWORMHOLE_TLS_ENABLED: "true",
    QWORMHOLE_TLS_KEY_PATH: file("key.pem", lockedKey),
    QWORMHOLE_TLS_PASSPHRASE: "open sesame",
    QWORMHOLE_TLS_CERT: served.cert.toString().replaceAll("\n", "\\n"),
    QWORMHOLE_TLS_CA_PATHS: `${file("ca.pem", ca)}, ${file("other.pem", otherCa)}`,
    QWORMHOLE_TLS_SERVERNAME: "worm.test",
  });
  const { client } = await pair(t);
  assert.ok(client.isConnected());
  process.env.QWORMHOLE_TLS_CERT = "";
  process.env.QWORMHOLE_TLS_CERT_PATH = "/nonexistent.pem";
  await assert.rejects(startServer(t), { code: "E_INVALID_ENVIRONMENT", message: /QWORMHOLE_TLS_CERT_PATH/ });
});

test("streams are secured as messages are", async (t) => {
  const infos = [];
  const server = await serve({
    tls: serverTls,
    onConnection: (stream, info) => {
      infos.push(info);
      stream.pipe(stream);
    },
  });
  t.after(() => server.close(0));
  const stream = await connect({ server: `tls://127.0.0.1:${server.address.port}`, tls: { ca, servername: "worm.test" } });
  t.after(() => stream.destroy());
  stream.write("hello");
  assert.equal(String((await once(stream, "data"))[0]), "hello");
  assert.deepEqual([stream.info.transport, stream.info.tls.authorized, infos[0].transport], ["tls", true, "tls"]);
  await assert.rejects(connect({ server: `tls://127.0.0.1:${server.address.port}`, tls: { ca: otherCa } }));
});
