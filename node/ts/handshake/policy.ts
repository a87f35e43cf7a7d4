import type { EntropyMetrics } from "./schema.js";

/** How a peer wishes to be treated: advice that follows from its `negIndex`. Nothing of it changes the wire. */
export interface EntropyPolicy {
  readonly mode: "trust-zero" | "trust-light" | "immune" | "paranoia";
  readonly framing: "zero-copy-writev" | "length-prefix" | "length-ack" | "length-ack-checksum";
  readonly batchSize: number;
  readonly codec: "flatbuffers" | "cbor" | "messagepack" | "json-compressed";
  readonly requireAck: boolean;
  readonly requireChecksum: boolean;
  /** 0 to 1. */
  readonly trustLevel: number;
}

/** The policy of a `negIndex`; 0.5 where there is none. */
export function deriveEntropyPolicy(metrics: EntropyMetrics = {}): EntropyPolicy {
  const index = metrics.negIndex ?? DEFAULT_INDEX;
  return POLICIES.find(([floor]) => index >= floor)?.[1] ?? PARANOIA;
}

/** The policy of the more careful of two peers. */
export function mergeEntropyPolicies(local?: EntropyMetrics, peer?: EntropyMetrics): EntropyPolicy {
  const negIndex = Math.min(local?.negIndex ?? DEFAULT_INDEX, peer?.negIndex ?? DEFAULT_INDEX);
  return deriveEntropyPolicy({ negIndex });
}

/** What a `negIndex` says about its peer. With the previous one and the time since, in ms, also how fast it moves. */
export function computeEntropyMetrics(
  negIndex: number,
  previous?: number,
  deltaMs?: number,
): Required<EntropyMetrics> {
  const moving = previous !== undefined && deltaMs !== undefined;
  return {
    entropy: 8 * (1 - Math.min(1, Math.max(0, negIndex))),
    entropyVelocity: moving ? deriveEntropyVelocity(previous, negIndex, deltaMs) : "stable",
    coherence: deriveCoherenceLevel(negIndex),
    negIndex,
  };
}

/** How fast an index moves; `stable` where no time has passed. */
export function deriveEntropyVelocity(
  previous: number,
  current: number,
  deltaMs: number,
): NonNullable<EntropyMetrics["entropyVelocity"]> {
  if (!(deltaMs > 0)) return "stable";
  const perSecond = Math.abs((current - previous) / (deltaMs / 1_000));
  if (perSecond < 0.01) return "low";
  if (perSecond < 0.05) return "stable";
  return perSecond < 0.2 ? "rising" : "spiking";
}

/** The word for an index. */
export function deriveCoherenceLevel(negIndex: number): NonNullable<EntropyMetrics["coherence"]> {
  if (negIndex >= 0.85) return "high";
  if (negIndex >= 0.65) return "medium";
  return negIndex >= 0.4 ? "low" : "chaos";
}

const PARANOIA: EntropyPolicy = {
  mode: "paranoia",
  framing: "length-ack-checksum",
  batchSize: 1,
  codec: "json-compressed",
  requireAck: true,
  requireChecksum: true,
  trustLevel: 0.25,
};

/** From which index on which policy holds. */
const POLICIES: readonly (readonly [number, EntropyPolicy])[] = [
  [0.85, policy("trust-zero", "zero-copy-writev", 64, "flatbuffers", 1)],
  [0.65, policy("trust-light", "length-prefix", 32, "cbor", 0.75)],
  [0.4, { ...policy("immune", "length-ack", 8, "messagepack", 0.5), requireAck: true }],
];

function policy(
  mode: EntropyPolicy["mode"],
  framing: EntropyPolicy["framing"],
  batchSize: number,
  codec: EntropyPolicy["codec"],
  trustLevel: number,
): EntropyPolicy {
  return { mode, framing, batchSize, codec, requireAck: false, requireChecksum: false, trustLevel };
}

const DEFAULT_INDEX = 0.5;
