import { X509Certificate } from "node:crypto";

import type { HandshakeSigner } from "./negentropic.js";
import { signAgain } from "./negentropic.js";
import { parseHandshake } from "./schema.js";
import type { HandshakePayload, HandshakeTags } from "./schema.js";

/** Parts of a client's handshake. */
export interface ClientHandshakeParts {
  readonly protocolVersion: string;
  readonly handshakeTags?: HandshakeTags | undefined;
  readonly handshakeSigner?: HandshakeSigner | undefined;
  /** What is known once TLS is done: see {@link tlsTags}. */
  readonly tlsTags?: HandshakeTags | undefined;
}

/**
 * The handshake of a client: the signer's members over the plain ones, tags of all sources, those of TLS last. What
 * this package's signer signed is signed again, so that the signature covers all of it.
 *
 * @throws {@link QWormholeError} `E_INVALID_HANDSHAKE_PAYLOAD` where the parts make no handshake; what the signer throws.
 */
export function buildHandshake(parts: ClientHandshakeParts): HandshakePayload {
  const signed = parts.handshakeSigner?.();
  const tags = { ...parts.handshakeTags, ...(signed?.tags as HandshakeTags | undefined), ...parts.tlsTags };
  const merged = {
    type: "handshake",
    ...signed,
    version: signed?.version ?? parts.protocolVersion,
    tags: Object.keys(tags).length > 0 ? tags : undefined,
  };
  return signAgain(parseHandshake(merged), signed);
}

/** The tags that say how the connection is secured, in the order of the wire. */
export function tlsTags(facts: {
  readonly certificate?: string | Buffer | undefined;
  readonly alpnProtocol?: string | undefined;
  readonly sessionKey?: Buffer | undefined;
}): HandshakeTags {
  const tags: Record<string, string> = {};
  if (facts.certificate !== undefined) {
    const { fingerprint256, fingerprint } = new X509Certificate(facts.certificate);
    tags.tlsFingerprint256 = fingerprint256;
    tags.tlsFingerprint = fingerprint;
  }
  if (facts.alpnProtocol) tags.tlsAlpn = facts.alpnProtocol;
  if (facts.sessionKey !== undefined) tags.tlsSessionKey = facts.sessionKey.toString("base64");
  return tags;
}
