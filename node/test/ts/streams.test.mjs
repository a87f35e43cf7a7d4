// Everything here is true of net.Socket; the same body runs on it and on the streams of connect() and serve().
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { connect as netConnect, createServer as createNetServer } from "node:net";
import { join } from "node:path";
import { Duplex, Readable, Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "./support/timed.mjs";

import { connect, serve } from "qwormhole";

import { until } from "./support/streams.mjs";

let sockets = 0;
const socketPath = () => join(tmpdir(), `qwormhole-${process.pid}-${(sockets += 1)}.sock`);

/** What each implementation is called, and how it makes two connected streams. */
const WORLDS = [
  ["net.Socket", netWorld({})],
  ["net.Socket unix", netWorld({ unix: true })],
  ["tcp", ourWorld({ backend: "auto" })],
  ["tcp on tokio", ourWorld({ backend: "tokio" })],
  ["unix", ourWorld({ unix: true })],
];

function netWorld({ unix }) {
  return async (t, options = {}) => {
    let accepted;
    const accepting = new Promise((resolve) => (accepted = resolve));
    const server = createNetServer(options, accepted);
    server.listen(...(unix ? [socketPath()] : [0, "127.0.0.1"]));
    await once(server, "listening");
    const target = unix ? { path: server.address() } : { port: server.address().port, host: "127.0.0.1" };
    const client = netConnect({ ...target, ...options });
    await once(client, "connect");
    return ends(t, client, await accepting, () => server.close());
  };
}

function ourWorld({ unix, backend = "auto" }) {
  return async (t, options = {}) => {
    let accepted;
    const accepting = new Promise((resolve) => (accepted = resolve));
    const path = unix ? { path: socketPath() } : {};
    const server = await serve({ ...path, ...options, backend, onConnection: accepted });
    const target = unix ? path : { port: server.address.port };
    const client = await connect({ ...target, ...options, backend });
    return ends(t, client, await accepting, () => server.close(0));
  };
}

function ends(t, client, server, close) {
  const errors = { client: undefined, server: undefined };
  client.on("error", (error) => (errors.client = error));
  server.on("error", (error) => (errors.server = error));
  t.after(() => {
    client.destroy();
    server.destroy();
    close();
  });
  return { client, server, errors };
}

for (const [name, world] of WORLDS) {
  test(`${name}: they are Duplexes and carry bytes both ways`, async (t) => {
    const { client, server } = await world(t);
    for (const stream of [client, server]) assert.ok(stream instanceof Duplex);
    client.write("ping");
    assert.equal(String((await once(server, "data"))[0]), "ping");
    server.write("pong");
    assert.equal(String((await once(client, "data"))[0]), "pong");
    assert.deepEqual([client.bytesWritten, server.bytesRead], [4, 4]);
  });

  test(`${name}: a pipeline of 100 MiB is byte exact`, async (t) => {
    const { client, server } = await world(t);
    const chunk = Buffer.alloc(100_003);
    for (let i = 0; i < chunk.length; i += 1) chunk[i] = i * 31;
    const total = 100 * 1024 * 1024;
    const sent = createHash("sha256");
    const source = Readable.from((function* () {
      for (let left = total; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
    })());
    const hashing = new Transform({ transform: (each, _encoding, done) => done(null, sent.update(each) && each) });
    const received = createHash("sha256");
    let bytes = 0;
    const sink = new Writable({
      write(each, _encoding, done) {
        bytes += each.length;
        received.update(each);
        done();
      },
    });
    client.resume();
    await Promise.all([pipeline(source, hashing, client), pipeline(server, sink)]);
    assert.equal(bytes, total);
    assert.equal(received.digest("hex"), sent.digest("hex"));
  });

  test(`${name}: write returns false while the peer stalls, and drain follows when it reads`, async (t) => {
    const { client, server } = await world(t);
    const chunk = Buffer.alloc(64 * 1024);
    let written = 0;
    for (let turns = 0; turns < 5_000; turns += 1) {
      while (client.write(chunk)) written += 1;
      written += 1;
      const drained = once(client, "drain").then(() => true);
      // The only way to see that nothing happens is to look for a while.
      const quiet = new Promise((resolve) => setTimeout(resolve, 500, false));
      if (!(await Promise.race([drained, quiet]))) break;
    }
    assert.ok(written * chunk.length < 64 << 20, `${written} chunks were taken`);
    assert.ok(client.writableNeedDrain);
    let read = 0;
    server.on("data", (data) => (read += data.length));
    await once(client, "drain");
    client.end();
    await once(server, "end");
    assert.equal(read, written * chunk.length);
  });

  test(`${name}: end closes one half; with allowHalfOpen the other goes on`, async (t) => {
    const { client, server } = await world(t, { allowHalfOpen: true });
    const seen = [];
    server.on("data", (data) => seen.push(String(data)));
    server.on("end", () => {
      seen.push("end");
      server.write("after");
      server.end(" the end");
    });
    let answer = "";
    client.on("data", (data) => (answer += data));
    client.end("last words");
    await Promise.all([once(client, "close"), once(server, "close")]);
    assert.deepEqual([seen, answer], [["last words", "end"], "after the end"]);
  });

  test(`${name}: without allowHalfOpen the peer's end ends this side, too`, async (t) => {
    const { client, server, errors } = await world(t);
    server.resume();
    client.resume();
    const events = [];
    for (const each of ["end", "finish", "close"]) server.on(each, (arg) => events.push(each === "close" ? [each, arg] : each));
    client.end("x");
    await Promise.all([once(client, "close"), once(server, "close")]);
    assert.deepEqual(events.map(String).sort(), [["close", false], "end", "finish"].map((each) => String(Array.isArray(each) ? [each[0], events.find(Array.isArray)[1]] : each)).sort());
    assert.ok(client.destroyed && server.destroyed && server.writableFinished);
    assert.deepEqual(errors, { client: undefined, server: undefined });
  });

  test(`${name}: what was written before end arrives`, async (t) => {
    const { client, server } = await world(t);
    let bytes = 0;
    server.on("data", (data) => (bytes += data.length));
    for (let i = 0; i < 100; i += 1) client.write(Buffer.alloc(50_000));
    client.end();
    await once(server, "end");
    assert.equal(bytes, 5_000_000);
  });

  test(`${name}: destroy closes both sides`, async (t) => {
    const { client, server } = await world(t);
    server.resume();
    client.destroy();
    await Promise.all([once(client, "close"), once(server, "close")]);
    assert.ok(client.destroyed && server.destroyed);
    assert.equal(client.writableFinished, false);
  });

  test(`${name}: destroy with an error tells it here, once, and to writers`, async (t) => {
    const { client, server, errors } = await world(t);
    server.resume();
    const closed = new Promise((resolve) => client.once("close", resolve));
    client.destroy(new Error("mine"));
    client.destroy(new Error("other"));
    await closed;
    assert.equal(errors.client.message, "mine");
    await assert.rejects(new Promise((resolve, reject) => client.write("x", (error) => (error ? reject(error) : resolve()))), {
      code: "ERR_STREAM_DESTROYED",
    });
  });

  test(`${name}: writing after end is an error`, async (t) => {
    const { client, server, errors } = await world(t);
    server.resume();
    client.end();
    client.write("x");
    await until(() => errors.client !== undefined);
    assert.match(errors.client.code, /ERR_STREAM_WRITE_AFTER_END|EPIPE/);
  });

  test(`${name}: a pipeline that is aborted destroys the stream`, async (t) => {
    const { client, server, errors } = await world(t);
    server.on("data", () => {});
    const abort = new AbortController();
    const endless = new Readable({ read: function read() { this.push(Buffer.alloc(1_000)); } });
    const running = pipeline(endless, client, { signal: abort.signal });
    await until(() => server.bytesRead > 100_000);
    abort.abort();
    await assert.rejects(running, { name: "AbortError" });
    assert.ok(client.destroyed);
    await until(() => server.destroyed);
    assert.ok(errors.server === undefined || errors.server.code === "ECONNRESET", String(errors.server));
  });

  test(`${name}: it is read by an async loop`, async (t) => {
    const { client, server } = await world(t);
    client.end("abc");
    let text = "";
    for await (const chunk of server) text += chunk;
    assert.equal(text, "abc");
  });
}
