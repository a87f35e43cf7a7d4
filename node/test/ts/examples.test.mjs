// Every example runs to its end, and says what it is there to say.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const directory = new URL("../../examples/", import.meta.url);
const SAYS = {
  "batches.mjs": /^100000 messages, sum 100000\n$/,
  "codecs.mjs": /^(\{ x: 3, y: -4 \}\n){3}$/,
  "echo.mjs": /^echo: hello\n$/,
  "handshake.mjs": /accepted: \{ service: 'billing' \}\nrefused: E_INVALID_HANDSHAKE\n$/,
  "ml.mjs": /^6 numbers, mean 45\.7, steady\n$/,
  "priorities.mjs": /^urgent, usual, late\ntrue\n$/,
  "pub-sub.mjs": /^\{ text: 'hello' \}\n$/,
  "reconnect.mjs": /^attempt 1 in 50 ms\nkept while nobody listened\n$/,
  "runtime.mjs": /^hello\n$/,
  "streams.mjs": /^8890 characters came from port \d+\n$/,
  "tls.mjs": /^TLSv1\.3, example\/1\nnobody else reads this\n$/,
};

test("every example is known here", () => {
  assert.deepEqual(readdirSync(directory).sort(), Object.keys(SAYS));
});

for (const [name, words] of Object.entries(SAYS)) {
  test(`example ${name}`, async () => {
    const { stdout } = await run(process.execPath, [fileURLToPath(new URL(name, directory))], { timeout: 30_000 });
    assert.match(stdout, words);
  });
}

test("README shows the example echo", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const shown = /```js\n([^]*?)```/.exec(readme)[1];
  const echo = readFileSync(new URL("echo.mjs", directory), "utf8");
  assert.equal(shown, echo.replace(/^\/\/.*\n/, ""));
});
