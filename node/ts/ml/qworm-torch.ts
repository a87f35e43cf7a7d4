import type { MLAdapter } from "./adapter.js";
import { binnedEntropy, moments, seriesIndex } from "./series.js";
import { QWormholeError } from "../errors.js";

/** Options of {@link createQwormTorchAdapter}. */
export interface QwormTorchOptions {
  /** Numbers taken at most, 1 to 1,048,576. Default 4,096. Time grows with the square of it. */
  readonly sampleLimit?: number;
  /** Deviations from the mean at which the anomaly score is 1. Default 3. */
  readonly anomalyZThreshold?: number;
  /** Index from which the mode is `high`. Default 0.9. */
  readonly upperThreshold?: number;
  /** Index up to which the mode is `low`. Default 0.4. */
  readonly lowerThreshold?: number;
}

/**
 * Statistics in process over the numbers among the metrics, depth first, in the order written:
 * `{adapter: "qworm_torch", stats: {count, min, max, mean, std, entropy, nIndex, anomalyScore, health, mode}, echo}`.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for an option out of its range.
 */
export function createQwormTorchAdapter(options: QwormTorchOptions = {}): MLAdapter {
  const { sampleLimit = 4_096, anomalyZThreshold = 3, upperThreshold = 0.9, lowerThreshold = 0.4 } = options;
  if (!(Number.isInteger(sampleLimit) && sampleLimit >= 1 && sampleLimit <= 1 << 20)) {
    throw new QWormholeError("E_INVALID_OPTION", "sampleLimit must be an integer between 1 and 1048576");
  }
  if (!(anomalyZThreshold > 0)) throw new QWormholeError("E_INVALID_OPTION", "anomalyZThreshold must be above 0");
  const stats = (metrics: unknown): Record<string, unknown> => {
    const samples = collect(metrics, sampleLimit);
    if (samples.length === 0) return { count: 0 };
    const { min, max, mean, std, zMax } = moments(samples);
    const nIndex = seriesIndex(samples, mean);
    const anomalyScore = Math.min(1, zMax / anomalyZThreshold);
    const health = anomalyScore > 0.8 ? "degraded" : nIndex > 1 ? "coherent" : "steady";
    const mode = nIndex >= upperThreshold ? "high" : nIndex <= lowerThreshold ? "low" : "medium";
    const entropy = binnedEntropy(samples, min, max);
    return { count: samples.length, min, max, mean, std, entropy, nIndex, anomalyScore, health, mode };
  };
  return {
    name: "qworm_torch",
    run: async (metrics) => ({ adapter: "qworm_torch", stats: stats(metrics), echo: metrics }),
  };
}

/** Finite numbers of a JSON value, depth first; without recursion, so that no depth is too deep. */
function collect(metrics: unknown, limit: number): number[] {
  const samples: number[] = [];
  const stack: unknown[] = [metrics];
  while (stack.length > 0 && samples.length < limit) {
    const value = stack.pop();
    if (typeof value === "number") {
      if (Number.isFinite(value)) samples.push(value);
    } else if (typeof value === "object" && value !== null) {
      const members = Object.values(value) as unknown[];
      for (let i = members.length - 1; i >= 0; i -= 1) stack.push(members[i]);
    }
  }
  return samples;
}
