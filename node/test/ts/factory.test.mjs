import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { QWormholeRuntime, createQWormholeClient, createQWormholeContext, createQWormholeServer, textDeserializer } from "qwormhole";

import { next, take } from "./support/events.mjs";

const run = promisify(execFile);
const script = (code, env = {}) =>
  run(process.execPath, ["--input-type=module", "-e", code], { env: { ...process.env, ...env }, cwd: new URL("../..", import.meta.url), timeout: 30_000 });

test("the factory says what it runs on; old switches select the portable backend", () => {
  const { mode, nativeAvailable, nativeBackend } = createQWormholeClient({ port: 1 });
  assert.equal(nativeAvailable, true);
  assert.equal(mode, `native-${nativeBackend}`);
  for (const options of [{ forceTs: true }, { preferNative: false }, { detectNative: false }, { preferredNativeBackend: "lws" }]) {
    assert.equal(createQWormholeServer(options).mode, "native-tokio", JSON.stringify(options));
  }
  assert.throws(() => createQWormholeClient({ port: 1, nativeRaw: true }), { code: "E_INVALID_OPTION" });
});

test("old variables select it, too, and it is said once", async () => {
  const code = `import { createQWormholeServer } from "qwormhole";
    console.log(createQWormholeServer().mode); createQWormholeServer();`;
  for (const env of [{ QWORMHOLE_NATIVE: "0" }, { QWORMHOLE_DISABLE_NATIVE: "1" }]) {
    const { stdout, stderr } = await script(code, { ...env, QWORMHOLE_DEBUG_NATIVE: "1" });
    assert.equal(stdout.trim(), "native-tokio");
    assert.equal(stderr.match(/selects the portable backend/g).length, 1);
  }
  await assert.rejects(script(code, { QWORMHOLE_NATIVE: "maybe" }), /QWORMHOLE_NATIVE="maybe" means nothing: it takes one of 0, 1/);
});

test("a native module that cannot be loaded is explained; the event target works without it", async () => {
  const code = `import { PassThrough } from "node:stream";
    import { QWormholeServer, createEventTarget, isNativeAvailable } from "qwormhole";
    createEventTarget({ stream: new PassThrough() });
    console.log(isNativeAvailable());
    new QWormholeServer().listen().catch((error) => console.log(error.code, error.message));`;
  const { stdout } = await script(code, { QWORMHOLE_NATIVE_PATH: "/nonexistent.node" });
  assert.match(stdout, /^false\nE_NATIVE_UNAVAILABLE Native qwormhole binding not available.*\n.*nonexistent\.node/);
});

test("the process ends by itself when everything is closed, and not before", async () => {
  const code = `import { QWormholeServer, QWormholeClient } from "qwormhole";
    const server = new QWormholeServer({ host: "127.0.0.1" });
    const { port } = await server.listen();
    const client = new QWormholeClient({ port });
    server.on("message", async ({ data }) => { console.log(String(data)); await client.disconnect(); await server.close(); console.log("closed"); });
    await client.connect();
    await client.send("hello");`;
  assert.equal((await script(code)).stdout, "hello\nclosed\n");
});

test("a listener that throws is an uncaught exception and does not take the next messages with it", async () => {
  const code = `import { QWormholeServer, QWormholeClient } from "qwormhole";
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    const server = new QWormholeServer({ host: "127.0.0.1" });
    const { port } = await server.listen();
    const client = new QWormholeClient({ port });
    server.on("message", ({ data }) => {
      console.log(String(data));
      if (String(data) === "a") throw new Error("mine");
      if (String(data) === "c") { void client.disconnect(); void server.close(); }
    });
    await client.connect();
    client.sendMany(["a", "b", "c"]);`;
  const { stdout } = await script(code);
  assert.deepEqual(stdout.trim().split("\n").sort(), ["a", "b", "c", "uncaught mine"]);
});

test("unref lets the process end although everything is open", async () => {
  const code = `import { QWormholeServer, QWormholeClient } from "qwormhole";
    const server = new QWormholeServer({ host: "127.0.0.1" });
    const { port } = await server.listen();
    const client = new QWormholeClient({ port });
    await client.connect();
    server.unref(); client.unref(); console.log("left");`;
  assert.equal((await script(code)).stdout, "left\n");
});

test("a runtime listens, connects, sends both ways and is read in a loop", async () => {
  const options = { deserializer: textDeserializer };
  const [one, two] = [new QWormholeRuntime(options), new QWormholeRuntime(options)];
  const { port, address } = await one.listen();
  assert.equal(address, "127.0.0.1");
  const heard = one.messages();
  const connection = next(one, "connection");
  await two.connect(`tcp://127.0.0.1:${port}`);
  await connection;
  await two.send("up");
  assert.equal((await heard.next()).value, "up");
  const down = take(two, "message", 1);
  await one.send("down");
  assert.deepEqual(await down, ["down"]);
  const end = heard.next();
  await Promise.all([two.close(), one.close()]);
  assert.equal((await end).done, true);
  await assert.rejects(two.send("x"), { code: "E_NOT_CONNECTED" });
  await assert.rejects(two.connect("nowhere"), { code: "E_INVALID_OPTION" });
});

test("a context counts by name", () => {
  const context = createQWormholeContext();
  context.instance("a").bytesIn += 3;
  context.instance("b").bytesIn += 4;
  context.instance("a").flushes += 1;
  const { totals, byInstance } = context.metrics();
  assert.deepEqual(totals, { bytesIn: 7, bytesOut: 0, flushes: 1, backpressure: 0 });
  assert.deepEqual(Object.keys(byInstance), ["a", "b"]);
});
