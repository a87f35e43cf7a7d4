// What is published installs into an empty project and runs README's example, by import and by require.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { PLATFORMS } from "../../scripts/platforms.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("the tarballs install into an empty project and run README's example in both module systems", (t) => {
  const project = mkdtempSync(join(tmpdir(), "qwormhole-pack-"));
  t.after(() => rmSync(project, { recursive: true, force: true }));
  const run = (command, args, cwd = project) => execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" });
  const tarballs = run(process.execPath, ["scripts/pack.mjs", join(project, "tarballs")], root).trim().split("\n");
  assert.ok(tarballs.length >= 2, tarballs.join(" "));
  writeFileSync(join(project, "package.json"), '{ "private": true }\n');
  // The other platforms' packages are optional; leaving them out keeps the test away from the network.
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--omit=optional", ...tarballs]);

  const example = /```js\n([^]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8"))[1];
  const required = example.replace(/import (\{.*\}) from (".*");/, "const $1 = require($2);");
  assert.notEqual(required, example);
  writeFileSync(join(project, "imported.mjs"), example);
  writeFileSync(join(project, "required.cjs"), `(async () => {\n${required}})();\n`);
  for (const program of ["imported.mjs", "required.cjs"]) {
    assert.equal(run(process.execPath, [program]), "echo: hello\n", program);
  }

  const installed = join(project, "node_modules", "qwormhole");
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  const bindings = Object.keys(PLATFORMS).map((each) => `@qwormhole/binding-${each}`);
  assert.deepEqual(Object.keys(manifest.optionalDependencies).sort(), bindings.sort());
  assert.equal(manifest.dependencies, undefined);
  assert.deepEqual(readdirSync(installed).sort(), ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist", "package.json"]);

  rmSync(join(project, "node_modules", "@qwormhole"), { recursive: true });
  assert.throws(() => run(process.execPath, ["imported.mjs"]), /E_NATIVE_UNAVAILABLE|install @qwormhole\/binding-/);
});
