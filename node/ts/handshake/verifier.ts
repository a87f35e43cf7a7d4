import { isHandshake } from "./schema.js";
import type { HandshakePayload, HandshakeTags } from "./schema.js";

/** Decides about a client by its handshake, whose signature, where it has one, was checked before. */
export type HandshakeVerifier = (payload: HandshakePayload) => boolean | Promise<boolean>;

/** Options of {@link createHandshakeVerifier}. */
export interface HandshakeVerifierOptions {
  /** Versions that are let in; empty or absent: all, and those without one. */
  readonly allowedVersions?: readonly string[];
  /** Decides by the tags; empty where the client sent none. */
  readonly validateTags?: (tags: HandshakeTags) => boolean;
}

/** A `verifyHandshake` that asks for versions and tags, and refuses what is no handshake. */
export function createHandshakeVerifier(
  options: HandshakeVerifierOptions = {},
): (payload: HandshakePayload) => boolean {
  const { allowedVersions = [], validateTags } = options;
  return (payload) => {
    if (!isHandshake(payload)) return false;
    if (allowedVersions.length > 0) {
      if (payload.version === undefined || !allowedVersions.includes(payload.version)) return false;
    }
    return validateTags?.(payload.tags ?? {}) ?? true;
  };
}

/** A `validateTags` from words: `key` must be there, `key=value` must have that value. */
export function requiredTags(words: readonly string[]): (tags: HandshakeTags) => boolean {
  return (tags) =>
    words.every((word) => {
      const at = word.indexOf("=");
      if (at < 0) return tags[word] !== undefined;
      return String(tags[word.slice(0, at)]) === word.slice(at + 1);
    });
}
