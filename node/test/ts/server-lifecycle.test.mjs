import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { promisify } from "node:util";
import { test } from "./support/timed.mjs";

import { QWormholeServer } from "qwormhole";

import { makeClient, startServer } from "./support/pair.mjs";
import { record } from "./support/events.mjs";

const local = { host: "127.0.0.1", port: 0 };

test("a server that was closed listens and closes again", async (t) => {
  const { server } = await startServer(t);
  const events = record(server, ["listening", "close"]);
  await server.close();
  const again = await server.listen();
  assert.ok(again.port > 0);
  const client = makeClient(t, { port: again.port });
  const closed = new Promise((resolve) => client.once("close", resolve));
  await client.connect();
  await server.close();
  await closed;
  assert.deepEqual(events, ["close", "listening", "close"]);
});

test("a listener of close may listen again", async (t) => {
  const { server } = await startServer(t);
  const again = new Promise((resolve) => server.once("close", () => resolve(server.listen())));
  await server.close();
  assert.ok((await again).port > 0);
  await server.close();
});

test("the process ends after listen, close, listen, close", async () => {
  const program = `
    import { QWormholeServer } from "qwormhole";
    const server = new QWormholeServer(${JSON.stringify(local)});
    for (let i = 0; i < 2; i += 1) { await server.listen(); await server.close(); }
  `;
  const options = { cwd: new URL("../..", import.meta.url), timeout: 15_000 };
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], options);
});

test("close before listening rejects the listen; the server can be used afterwards", async () => {
  const server = new QWormholeServer(local);
  const listening = assert.rejects(server.listen(), { code: "E_CLOSED" });
  await Promise.all([server.close(), listening]);
  assert.ok((await server.listen()).port > 0);
  await server.close();
});

test("close settles although the bind fails", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await once(taken, "listening");
  const server = new QWormholeServer({ host: "127.0.0.1", port: taken.address().port });
  const [listened, closed] = await Promise.allSettled([server.listen(), server.close()]);
  assert.equal(listened.status, "rejected");
  // Which of the two comes first is the system's to say.
  assert.ok(["EADDRINUSE", "E_CLOSED"].includes(listened.reason.code), listened.reason.code);
  assert.equal(closed.status, "fulfilled");
  await assert.rejects(server.listen(), { code: "EADDRINUSE" });
  await server.close();
});
