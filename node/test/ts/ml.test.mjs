import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, test } from "node:test";

import {
  createCompositeAdapter,
  createMLAdapter,
  createNoopAdapter,
  createQwormTorchAdapter,
  createRpcAdapter,
  createSpawnAdapter,
  queryMLLayer,
  setMLAdapter,
} from "qwormhole";

import { fixture } from "./support/fixtures.mjs";

afterEach(() => {
  setMLAdapter(undefined);
  for (const name of Object.keys(process.env)) if (name.startsWith("QWORMHOLE_ML_")) delete process.env[name];
});

/** Numbers that differ by rounding are equal. */
function close(actual, expected, path = "$") {
  if (typeof expected === "number" && typeof actual === "number") {
    assert.ok(Math.abs(actual - expected) <= 1e-12 * Math.max(1, Math.abs(expected)), `${path}: ${actual}, not ${expected}`);
  } else if (typeof expected === "object" && expected !== null) {
    assert.deepEqual(Object.keys(actual), Object.keys(expected), path);
    for (const key of Object.keys(expected)) close(actual[key], expected[key], `${path}.${key}`);
  } else {
    assert.equal(actual, expected, path);
  }
}

test("vectors: statistics of metrics", async () => {
  for (const { metrics, output_without_echo, options } of fixture("ml-qworm-torch").cases) {
    const { echo, ...rest } = await createQwormTorchAdapter(options ?? {}).run(metrics);
    assert.equal(echo, metrics);
    close(rest, output_without_echo);
  }
});

test("the sample limit and depth are bounded", async () => {
  const { stats } = await createQwormTorchAdapter({ sampleLimit: 2 }).run([1, [2, 3]]);
  assert.equal(stats.count, 2);
  let deep = 1;
  for (let i = 0; i < 100_000; i += 1) deep = [deep];
  assert.equal((await createQwormTorchAdapter().run(deep)).stats.count, 1);
  assert.throws(() => createQwormTorchAdapter({ sampleLimit: 0 }), { code: "E_INVALID_OPTION" });
});

test("the selection wins over the adapter that was set, and that over the environment", async () => {
  process.env.QWORMHOLE_ML_ADAPTER = "noop";
  assert.deepEqual(await queryMLLayer([1]), {});
  setMLAdapter({ name: "mine", run: async () => "mine" });
  assert.equal(await queryMLLayer([1]), "mine");
  assert.equal((await queryMLLayer([1], "qworm_torch")).adapter, "qworm_torch");
  setMLAdapter(undefined);
  delete process.env.QWORMHOLE_ML_ADAPTER;
  assert.equal((await queryMLLayer([1])).adapter, "qworm_torch");
});

test("variables that mean nothing are errors that name them and what they may be", async () => {
  for (const [variables, words] of [
    [{ ADAPTER: "torch" }, /QWORMHOLE_ML_ADAPTER="torch".*qworm_torch, noop, rpc, spawn/],
    [{ ADAPTER: "rpc" }, /QWORMHOLE_ML_RPC_URL is not set/],
    [{ ADAPTER: "rpc", RPC_URL: "ftp://secret@x" }, /^QWORMHOLE_ML_RPC_URL(?!.*secret)/],
    [{ ADAPTER: "rpc", RPC_URL: "http://x", RPC_TIMEOUT: "soon" }, /QWORMHOLE_ML_RPC_TIMEOUT="soon"/],
    [{ ADAPTER: "rpc", RPC_URL: "http://x", RPC_HEADERS: "secret" }, /^QWORMHOLE_ML_RPC_HEADERS(?!.*secret)/],
    [{ ADAPTER: "spawn" }, /QWORMHOLE_ML_SPAWN_CMD is not set/],
  ]) {
    for (const [name, value] of Object.entries(variables)) process.env[`QWORMHOLE_ML_${name}`] = value;
    await assert.rejects(queryMLLayer([1]), { code: "E_INVALID_ENVIRONMENT", message: words });
    for (const name of Object.keys(variables)) delete process.env[`QWORMHOLE_ML_${name}`];
  }
});

test("rpc posts metrics and reads the answer", async (t) => {
  const seen = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      seen.push([request.method, request.headers["x-key"], JSON.parse(Buffer.concat(chunks))]);
      const { status = 200, body = "", hang } = seen.at(-1)[2];
      if (!hang) response.writeHead(status, { location: "/elsewhere" }).end(body);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${server.address().port}/`;
  const rpc = createRpcAdapter({ url, headers: { "x-key": "k" } });
  assert.deepEqual(await rpc.run({ body: '{"a":1}' }), { a: 1 });
  assert.deepEqual(await rpc.run({}), {});
  assert.deepEqual(seen[1], ["POST", "k", {}]);
  await assert.rejects(rpc.run({ status: 503 }), { code: "E_ML_ADAPTER", message: "rpc adapter HTTP 503" });
  await assert.rejects(rpc.run({ status: 302 }), { message: "rpc adapter HTTP 302" });
  await assert.rejects(rpc.run({ body: "<html>" }), { code: "E_ML_ADAPTER" });
  await assert.rejects(createRpcAdapter({ url, timeoutMs: 20 }).run({ hang: true }), { code: "E_ML_ADAPTER" });
  const small = createRpcAdapter({ url, maxAnswerBytes: 3 });
  await assert.rejects(small.run({ body: "[1,2]" }), /longer than 3 bytes/);
  process.env.QWORMHOLE_ML_ADAPTER = "rpc";
  process.env.QWORMHOLE_ML_RPC_URL = url;
  process.env.QWORMHOLE_ML_RPC_HEADERS = "x-key: env";
  assert.deepEqual(await queryMLLayer({ body: "[2]" }), [2]);
  assert.equal(seen.at(-1)[1], "env");
  assert.throws(() => createRpcAdapter({ url: "file:///x" }), { code: "E_INVALID_OPTION" });
});

test("spawn asks a program", async () => {
  const program = (script) => createSpawnAdapter({ command: process.execPath, args: ["-e", script], timeoutMs: 10_000 });
  const echo = "process.stdin.pipe(process.stdout)";
  assert.deepEqual(await program(echo).run({ a: [1] }), { a: [1] });
  assert.deepEqual(await program("0").run({ big: "x".repeat(1 << 20) }), {});
  await assert.rejects(program("process.exit(3)").run(1), /status 3/);
  await assert.rejects(program("console.log('{')").run(1), /not JSON/);
  await assert.rejects(createSpawnAdapter({ command: "/nonexistent/program" }).run(1), { code: "E_ML_ADAPTER" });
  const idle = { command: process.execPath, args: ["-e", "setInterval(() => {}, 1000)"], timeoutMs: 50 };
  await assert.rejects(createSpawnAdapter(idle).run(1), /was killed/);
  const flood = { command: process.execPath, args: ["-e", "process.stdout.write('x'.repeat(1e6))"], maxOutputBytes: 10 };
  await assert.rejects(createSpawnAdapter(flood).run(1), /larger than 10 bytes/);
});

test("several adapters answer one after the other, whatever one of them does", async () => {
  const failing = { name: "failing", run: () => Promise.reject(new Error("no")) };
  const answer = await createCompositeAdapter([createNoopAdapter(), failing]).run(1);
  assert.deepEqual(answer, {
    adapter: "composite",
    results: [{ name: "noop", result: {} }, { name: "failing", error: "no" }],
  });
  assert.equal(createMLAdapter(["noop", failing]).name, "composite");
  assert.throws(() => createMLAdapter({ adapter: "other" }), { code: "E_INVALID_OPTION" });
});
