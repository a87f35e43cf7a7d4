import { deriveEntropyPolicy } from "./handshake/policy.js";
import type { EntropyMetrics, HandshakeTags } from "./handshake/schema.js";
import { defined } from "./options/tls.js";

/** What is known about a peer at the end of a connection. */
export interface TrustSnapshot {
  /** Which side this process was. */
  readonly direction: "client" | "server";
  /** How it ended: as asked for, by an error, or by the peer. */
  readonly reason: "close" | "error" | "disconnect";
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  /** The tag `origin`, or the connection's id. */
  readonly peerId?: string;
  readonly handshakeTags?: HandshakeTags;
  readonly entropyMetrics?: EntropyMetrics;
  /** 0 to 1, from the handshake's policy. */
  readonly policyTrustLevel?: number;
}

/** A snapshot of now; members that are undefined are left out. */
export function trustSnapshot(facts: {
  readonly direction: "client" | "server";
  readonly reason: "close" | "error" | "disconnect";
  readonly id: string;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly handshakeTags: HandshakeTags | undefined;
  readonly entropyMetrics: EntropyMetrics | undefined;
}): TrustSnapshot {
  const { id, ...told } = facts;
  const { entropyMetrics, handshakeTags } = facts;
  return defined({
    ...told,
    timestamp: Date.now(),
    peerId: String(handshakeTags?.origin ?? id),
    policyTrustLevel: entropyMetrics === undefined ? undefined : deriveEntropyPolicy(entropyMetrics).trustLevel,
  }) as TrustSnapshot;
}
