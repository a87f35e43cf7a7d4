// How many messages per second, and how long a round trip takes, from JavaScript to JavaScript.
//
//   node bench/bench.mjs stream|pingpong [--size 64] [--processes 2] [--systems a,b] [--rounds 7] [--duration 2]
//     [--warmup 1] [--per-tick 256] [--json FILE]
//
// Rounds are interleaved and go there and back; every round has processes of its own. With two processes the server is
// pinned to CPU 0 and the client to CPU 1, where taskset is there. The result goes to standard output as a table.
import { execFileSync, fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { resultOf } from "./result.mjs";
import { SYSTEMS } from "./systems/index.mjs";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "64" },
    processes: { type: "string", default: "2" },
    systems: { type: "string", default: "qwormhole,qwormhole-event,net-tuned,net-documented,ws" },
    rounds: { type: "string", default: "7" },
    duration: { type: "string", default: "2" },
    warmup: { type: "string", default: "1" },
    "per-tick": { type: "string", default: "256" },
    json: { type: "string" },
  },
});
const [scenario = "stream"] = positionals;
const systems = given.systems.split(",");
const number = (name) => {
  const value = Number(given[name]);
  if (!(value > 0)) throw new Error(`--${name} takes a number above 0, not ${given[name]}`);
  return value;
};
const numbers = ["size", "processes", "rounds", "duration", "warmup", "per-tick"].map(number);
const [size, processes, rounds, duration, warmup, perTick] = numbers;
if (!["stream", "pingpong"].includes(scenario)) throw new Error(`no scenario ${scenario}: stream or pingpong`);
for (const name of systems) {
  if (!SYSTEMS.has(name)) throw new Error(`no system ${name}: ${[...SYSTEMS.keys()].join(", ")}`);
}

/** A child and a way to ask it. */
function start(cpu) {
  const child = fork(fileURLToPath(new URL("child.mjs", import.meta.url)));
  if (cpu !== undefined) pin(child.pid, cpu);
  const waiting = new Map();
  let nextId = 0;
  child.on("message", ({ id, value, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  });
  child.on("exit", (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`a child ended with ${code}`));
  });
  const ask = (action, options = {}) =>
    new Promise((resolve, reject) => {
      nextId += 1;
      waiting.set(nextId, { resolve, reject });
      child.send({ id: nextId, action, ...options });
    });
  return { ask, kill: () => child.kill("SIGKILL") };
}

function pin(pid, cpu) {
  try {
    execFileSync("taskset", ["-a", "-p", "-c", String(cpu), String(pid)], { stdio: "ignore" });
  } catch {
    // Then the system decides, as for everybody else in the same run.
  }
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000));

async function measure(system) {
  const server = start(processes === 2 ? 0 : undefined);
  const client = processes === 1 ? server : start(1);
  try {
    const { port } = await server.ask("serve", { system, echo: scenario === "pingpong" });
    await client.ask("connect", { system, port });
    return await (scenario === "stream" ? stream(server, client) : pingpong(client));
  } finally {
    await Promise.race([Promise.allSettled([client.ask("stop")]), sleep(2)]);
    client.kill();
    server.kill();
  }
}

async function stream(server, client) {
  await client.ask("stream", { size, perTick });
  await sleep(warmup);
  const [before, clientBefore] = await Promise.all([server.ask("read"), client.ask("read")]);
  await sleep(duration);
  const [after, clientAfter] = await Promise.all([server.ask("read"), client.ask("read")]);
  const messages = after.messages - before.messages;
  if (after.touched - before.touched !== 2 * messages) throw new Error("messages arrived damaged");
  const perSecond = messages / (after.at - before.at);
  const cpuOf = (from, to) => ((to.cpuUs - from.cpuUs) * 1_000) / messages;
  return {
    msgs_per_s: perSecond,
    bytes_per_s: perSecond * (size + 4),
    server_cpu_ns_per_msg: cpuOf(before, after),
    ...(processes === 1 ? {} : { client_cpu_ns_per_msg: cpuOf(clientBefore, clientAfter) }),
    server_rss_bytes: after.rss,
  };
}

async function pingpong(client) {
  await client.ask("pingpong", { size, durationMs: warmup * 1_000 });
  const times = await client.ask("pingpong", { size, durationMs: duration * 1_000 });
  const at = (percent) => times[Math.min(times.length - 1, Math.floor((times.length * percent) / 100))];
  return {
    msgs_per_s: times.length / duration,
    rtt_us_p50: at(50),
    rtt_us_p90: at(90),
    rtt_us_p99: at(99),
    rtt_us_p999: at(99.9),
    rtt_us_max: times.at(-1),
  };
}

const measured = [];
for (let round = 0; round < rounds; round += 1) {
  for (const system of round % 2 === 0 ? systems : [...systems].reverse()) {
    measured.push({ round, system, metrics: await measure(system) });
    if (process.stderr.isTTY) process.stderr.write(`round ${round + 1}/${rounds}: ${system}\n`);
  }
}

const cpus = processes === 2 ? { server_cpus: [0], client_cpus: [1] } : {};
const depth = scenario === "stream" ? perTick : 1;
const params = { size, depth, duration_s: duration, warmup_s: warmup, ...cpus };
const result = resultOf({ scenario, params, rounds: measured, systems });
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(result, null, 2)}\n`);
const main = scenario === "stream" ? "msgs_per_s" : "rtt_us_p50";
for (const { system, metrics } of result.summary) {
  const ratio = result.ratios.find((each) => each.against === system && each.metric === main);
  const times = ratio === undefined ? "" : `  × ${ratio.median.toFixed(2)} (${ratio.verdict})`;
  const { min, median, max } = metrics[main];
  const range = `${min.toPrecision(4)} to ${max.toPrecision(4)}`;
  console.log(`${system.padEnd(20)} ${main} ${median.toPrecision(4)} (${range})${times}`);
}
