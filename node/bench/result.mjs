// Rounds into the result file of the harness; see perf/schema.json.
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";

/** The whole file. `backends`: by system, what it ran on. */
export function resultOf({ scenario, params, rounds, systems }) {
  return {
    schema_version: 1,
    command: process.argv,
    git_revision: revision(),
    environment: environment(),
    scenario,
    params: { ...DEFAULT_PARAMS, ...params },
    rounds,
    summary: systems.map((system) => ({ system, metrics: summaryOf(rounds, system) })),
    ratios: systems.slice(1).flatMap((against) => ratiosOf(rounds, systems[0], against)),
    histograms: [],
  };
}

function summaryOf(rounds, system) {
  const own = rounds.filter((round) => round.system === system);
  const names = Object.keys(own[0]?.metrics ?? {});
  return Object.fromEntries(names.map((name) => [name, spread(own.map((round) => round.metrics[name]))]));
}

function ratiosOf(rounds, system, against) {
  const of = (name) => new Map(rounds.filter((each) => each.system === name).map((each) => [each.round, each.metrics]));
  const [ours, theirs] = [of(system), of(against)];
  const metrics = Object.keys([...ours.values()][0] ?? {});
  return metrics.map((metric) => {
    const values = [...ours].map(([round, each]) => each[metric] / theirs.get(round)[metric]).sort((a, b) => a - b);
    const interval = intervalOf(values);
    const verdict = verdictOf(metric, spread(values).median, interval);
    return { metric, system, against, ...spread(values), ...(interval === undefined ? {} : { interval }), verdict };
  });
}

/** Where the median lies with at least 93 % confidence, by the sign test. */
function intervalOf(sorted) {
  const count = sorted.length;
  if (count < 5) return undefined;
  let [cut, tail, term] = [0, 0, 0.5 ** count];
  for (let k = 0; k < count / 2; k += 1) {
    tail += term;
    if (2 * tail > (count === 5 ? 0.0626 : 0.05)) break;
    cut = k;
    term *= (count - k) / (k + 1);
  }
  let outside = 0;
  for (let k = 0, each = 0.5 ** count; k <= cut; k += 1, each *= (count - k + 1) / k) outside += each;
  return { low: sorted[cut], high: sorted[count - 1 - cut], confidence: 1 - 2 * outside };
}

function verdictOf(metric, median, interval) {
  if (interval === undefined) return "unclear";
  if (interval.low > 0.97 && interval.high < 1.03) return "no difference";
  const onOneSide = interval.low > 1 || interval.high < 1;
  if (!onOneSide || Math.abs(median - 1) <= 0.03) return "unclear";
  if (metric.startsWith("msgs") || metric.startsWith("bytes")) return median > 1 ? "faster" : "slower";
  if (metric.startsWith("rtt")) return median < 1 ? "faster" : "slower";
  return median < 1 ? "less" : "more";
}

function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { min: sorted[0], median, max: sorted.at(-1) };
}

function environment() {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return {
    kernel: `Linux ${release()}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory_bytes: totalmem(),
    limits: { memlock_bytes: limit("Max locked memory"), open_files: limit("Max open files") },
    mitigations: mitigations(),
    versions: { qwormhole: `${version}, node ${process.version}`, rustc: "unknown", build: "release" },
  };
}

function limit(name) {
  const line = readFileSync("/proc/self/limits", "utf8").split("\n").find((each) => each.startsWith(name));
  const value = line?.slice(26).trim().split(/\s+/)[0];
  return value === undefined || value === "unlimited" ? null : Number(value);
}

function mitigations() {
  const directory = "/sys/devices/system/cpu/vulnerabilities";
  const read = (name) => readFileSync(`${directory}/${name}`, "utf8").trim();
  return Object.fromEntries(readdirSync(directory).map((name) => [name, read(name)]));
}

function revision() {
  try {
    const here = new URL(".", import.meta.url).pathname;
    return execFileSync("git", ["rev-parse", "--short=12", "HEAD"], { cwd: here, encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

const DEFAULT_PARAMS = {
  connections: 1,
  depth: 1,
  from_thread: false,
  tls: false,
  rate: 0,
  think_s: 0,
  mixed: false,
  attackers: 0,
  slicing: null,
  cooldown_s: 0,
  server_cpus: null,
  client_cpus: null,
  backends: {},
  syscalls_counted_by: null,
  partial: false,
};
