// Measures the native module against `node:net` and `ws`, on loopback, one connection.
//
//   node node/bench/bench.mjs [--scenario one-way|round-trip] [--size 64] [--processes 1|2] [--batch 256]
//                             [--rounds 7] [--duration 1000] [--systems a,b,...] [--json FILE]
//
// Rounds are interleaved: every system once, then every system again. Numbers of a busy machine mean nothing.
import { execFileSync, fork } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SYSTEMS } from './systems.mjs';
import { oneWay, roundTrip, serving } from './measure.mjs';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'one-way' },
    size: { type: 'string', default: '64' },
    processes: { type: 'string', default: '2' },
    batch: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '7' },
    duration: { type: 'string', default: '1000' },
    systems: { type: 'string', default: Object.keys(SYSTEMS).join(',') },
    json: { type: 'string' },
  },
});
const params = {
  size: Number(values.size), batch: Number(values.batch), processes: Number(values.processes),
  durationMs: Number(values.duration), scenario: values.scenario,
};
const systems = values.systems.split(',');
for (const name of systems) if (!(name in SYSTEMS)) throw new Error(`no system ${name}: ${Object.keys(SYSTEMS).join(', ')}`);

/** The receiving end in a process of its own. */
async function remote(name, scenario) {
  const child = fork(fileURLToPath(new URL('./child.mjs', import.meta.url)), [name, scenario]);
  const answers = [];
  const waiting = [];
  child.on('message', (answer) => (waiting.length > 0 ? waiting.shift()(answer) : answers.push(answer)));
  const next = () => (answers.length > 0 ? Promise.resolve(answers.shift()) : new Promise((resolve) => waiting.push(resolve)));
  const { port } = await next();
  return {
    port,
    count: () => { child.send('count'); return next(); },
    close: () => child.kill(),
  };
}

async function measure(name) {
  const server = params.processes === 2 ? await remote(name, params.scenario) : await serving(name, params.scenario);
  try {
    return params.scenario === 'round-trip' ? await roundTrip(name, server, params) : await oneWay(name, server, params);
  } finally {
    server.close();
  }
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const leftOut = [];
const rounds = [];
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const name of systems.filter((system) => !leftOut.includes(system))) {
    try {
      const metrics = await measure(name);
      rounds.push({ round, system: name, metrics });
      console.error(`round ${round + 1} ${name.padEnd(20)} ${JSON.stringify(metrics)}`);
    } catch (error) {
      console.error(`left out: ${name}: ${error.message}`);
      leftOut.push(name);
    }
  }
}
const of = (system, metric) => rounds.filter((entry) => entry.system === system).map((entry) => entry.metrics[metric]);
const measured = systems.filter((system) => !leftOut.includes(system));
const metric = params.scenario === 'round-trip' ? 'p50_us' : 'messages_per_s';
const summary = measured.map((system) => ({
  system,
  metrics: Object.fromEntries(Object.keys(rounds.find((entry) => entry.system === system).metrics).map((key) => [key, median(of(system, key))])),
}));
const ratios = measured.slice(1).map((against) => {
  const [mine, theirs] = [of(measured[0], metric), of(against, metric)];
  const ratio = mine.map((value, i) => value / theirs[i]).filter(Number.isFinite);
  return { metric, system: measured[0], against, min: Math.min(...ratio), median: median(ratio), max: Math.max(...ratio) };
});
for (const { system, metrics } of summary) console.log(`${system.padEnd(20)} ${JSON.stringify(metrics)}`);
for (const { against, min, median: middle, max } of ratios) {
  console.log(`${measured[0]} / ${against}: ${middle.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`);
}

if (values.json) {
  const git = () => {
    try {
      return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    } catch {
      return 'unknown';
    }
  };
  writeFileSync(values.json, `${JSON.stringify({
    schema_version: 1,
    command: ['node', 'node/bench/bench.mjs', ...process.argv.slice(2)],
    git_revision: git(),
    environment: {
      kernel: release(), cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memory_bytes: totalmem(),
      versions: { node: process.version },
    },
    scenario: `node-${params.scenario}`,
    params: { size: params.size, connections: 1, batch: params.batch, processes: params.processes, duration_s: params.durationMs / 1000, left_out: leftOut },
    rounds, summary, ratios, histograms: [],
  }, null, 2)}\n`);
}
process.exit(0);
