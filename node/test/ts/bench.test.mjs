// Every system of the bench measures something, and the result has the shape of the harness.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const bench = fileURLToPath(new URL("../../bench/bench.mjs", import.meta.url));
const schema = JSON.parse(readFileSync(new URL("../../../perf/schema.json", import.meta.url), "utf8"));
const SYSTEMS = ["qwormhole", "qwormhole-event", "qwormhole-drop-in", "net-tuned", "net-documented", "ws"];
const METRICS = schema.$defs.metric.anyOf[0].enum;

for (const [scenario, processes, metric] of [["stream", 1, "msgs_per_s"], ["stream", 2, "msgs_per_s"], ["pingpong", 2, "rtt_us_p50"]]) {
  test(`${scenario} in ${processes}: every system, in the harness's shape`, (t) => {
    const directory = mkdtempSync(join(tmpdir(), "qwormhole-bench-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const json = join(directory, "result.json");
    const fast = ["--rounds", "1", "--duration", "0.2", "--warmup", "0.1", "--size", "64"];
    const args = [bench, scenario, ...fast, "--processes", String(processes), "--systems", SYSTEMS.join(","), "--json", json];
    const table = execFileSync(process.execPath, args, { encoding: "utf8", timeout: 60_000 });
    assert.equal(table.trim().split("\n").length, SYSTEMS.length);
    const result = JSON.parse(readFileSync(json, "utf8"));
    assert.deepEqual(Object.keys(result).sort(), [...schema.required].sort());
    for (const key of schema.$defs.params.required) assert.ok(key in result.params, key);
    for (const key of schema.$defs.environment.required) assert.ok(key in result.environment, key);
    assert.deepEqual(result.summary.map(({ system }) => system), SYSTEMS);
    for (const { system, metrics } of result.summary) {
      assert.ok(metrics[metric].median > 0, system);
      for (const name of Object.keys(metrics)) assert.ok(METRICS.includes(name), name);
    }
    assert.ok(result.ratios.every(({ verdict, median }) => verdict === "unclear" && median > 0));
  });
}

test("what means nothing is refused in words", () => {
  for (const args of [["fly"], ["stream", "--size", "none"], ["stream", "--systems", "other"]]) {
    assert.throws(() => execFileSync(process.execPath, [bench, ...args], { stdio: "pipe" }), /no scenario|takes a number|no system/);
  }
});
