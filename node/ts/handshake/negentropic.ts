import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";

import { QWormholeError, asError } from "../errors.js";
import { parseHandshake } from "./schema.js";
import type { EntropyMetrics, HandshakePayload, HandshakeTags } from "./schema.js";

/** A handshake that says who sent it: `publicKey`, what follows from it, and a signature over everything else. */
export interface NegentropicHandshake extends HandshakePayload {
  readonly ts: number;
  /** Follows from the key; it is the same in every handshake of that key, and so no protection against replay. */
  readonly nonce: string;
  /** Base64 of the SubjectPublicKeyInfo of an Ed25519 key, 44 bytes. */
  readonly publicKey: string;
  readonly negHash: string;
  readonly nIndex: number;
  /** Base64 of the Ed25519 signature. */
  readonly signature: string;
}

/** An Ed25519 key pair, as it is written into configuration. */
export interface NegentropicKeyPair {
  /** Base64 of the SubjectPublicKeyInfo. */
  readonly publicKey: string;
  /** Base64 of the PKCS#8. Whoever has it can pretend to be you. */
  readonly secretKey: string;
}

/** What goes into a {@link NegentropicHandshake}. */
export interface NegentropicHandshakeOptions {
  /** Base64 of an Ed25519 key in PKCS#8; a `KeyObject` works, too. Default: a new key for every call. */
  readonly secretKey?: string | KeyObject;
  readonly version?: string;
  readonly tags?: HandshakeTags;
  /** Milliseconds since 1970. Default: now. */
  readonly ts?: number;
  readonly entropyMetrics?: EntropyMetrics;
  /** Further members, signed with the rest. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Makes a client's handshake; given to it as `handshakeSigner`. */
export type HandshakeSigner = () => Readonly<Record<string, unknown>> | undefined;

/** A new Ed25519 key pair. */
export function createNegentropicKeyPair(): NegentropicKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return {
    publicKey: publicKey.export({ format: "der", type: "spki" }).toString("base64"),
    secretKey: privateKey.export({ format: "der", type: "pkcs8" }).toString("base64"),
  };
}

/**
 * A signed handshake. A client that adds tags or a version to it signs it again, last.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for a key that is no Ed25519 key in PKCS#8.
 */
export function createNegentropicHandshake(options: NegentropicHandshakeOptions = {}): NegentropicHandshake {
  const key = secretKeyOf(options.secretKey ?? createNegentropicKeyPair().secretKey);
  const { version, tags, entropyMetrics, extra, ts = Date.now() } = options;
  return signHandshake({ ...extra, type: "handshake", version, tags, entropyMetrics, ts }, key);
}

/**
 * A `handshakeSigner` for clients: a new, signed handshake for every connection. Each has a random member `salt`, so
 * that a server with a replay guard tells two of the same millisecond apart.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for a key that is no Ed25519 key in PKCS#8.
 */
export function createHandshakeSigner(options: NegentropicHandshakeOptions = {}): HandshakeSigner {
  const secretKey = secretKeyOf(options.secretKey ?? createNegentropicKeyPair().secretKey);
  return () => {
    const salt = randomBytes(16).toString("base64");
    return createNegentropicHandshake({ ...options, secretKey, extra: { salt, ...options.extra } });
  };
}

/** Whether a payload has the shape of a {@link NegentropicHandshake}; its signature may still be wrong. */
export function isNegentropicHandshake(value: unknown): value is NegentropicHandshake {
  try {
    const payload = parseHandshake(value);
    const text = (member: unknown): boolean => typeof member === "string" && member !== "";
    const { ts, nonce, publicKey, negHash, nIndex, signature } = payload;
    return ts !== undefined && nIndex !== undefined && [nonce, publicKey, negHash, signature].every(text);
  } catch {
    return false;
  }
}

/** Whether a payload is a {@link NegentropicHandshake} whose hash and signature verify. Never throws. */
export function verifyNegentropicHandshake(value: unknown): boolean {
  if (!isNegentropicHandshake(value)) return false;
  const { signature, ...signed } = value;
  const bytes = Buffer.from(value.publicKey, "base64");
  if (negHash(bytes) !== value.negHash) return false;
  try {
    const key = createPublicKey({ key: bytes, format: "der", type: "spki" });
    if (key.asymmetricKeyType !== "ed25519") return false;
    return verify(null, Buffer.from(canonical(signed), "utf8"), key, Buffer.from(signature, "base64"));
  } catch {
    return false;
  }
}

/** The negentropic index of a key in base64: its first byte's share divided by its entropy, 0 to 1. */
export function computeNIndex(publicKey: string): number {
  return nIndexOf(Buffer.from(publicKey, "base64"));
}

/**
 * `payload`, merged from the parts of a client's handshake, signed with the key that `signed` was made with; as it is
 * if `signed` was not made here.
 */
export function signAgain(payload: HandshakePayload, signed: object | undefined): HandshakePayload {
  const key = signed === undefined ? undefined : keys.get(signed);
  return key === undefined ? payload : signHandshake(payload, key);
}

/** JSON without whitespace and with sorted keys at every level: what is signed. */
export function canonical(value: unknown): string {
  return JSON.stringify(sorted(value));
}

function signHandshake(payload: Readonly<Record<string, unknown>>, key: KeyObject): NegentropicHandshake {
  const bytes = createPublicKey(key).export({ format: "der", type: "spki" });
  const { nonce: _nonce, publicKey: _publicKey, signature: _signature, ...rest } = payload;
  const hash = negHash(bytes);
  const unsigned = parseHandshake({ ...rest, nIndex: nIndexOf(bytes), negHash: hash });
  const complete = { ...unsigned, nonce: nonceOf(hash), publicKey: bytes.toString("base64") };
  const signature = sign(null, Buffer.from(canonical(complete), "utf8"), key).toString("base64");
  const signed = { ...complete, signature } as unknown as NegentropicHandshake;
  keys.set(signed, key);
  return signed;
}

function secretKeyOf(key: string | KeyObject): KeyObject {
  try {
    const secret = typeof key === "string" ? importSecret(key) : key;
    if (secret.type === "private" && secret.asymmetricKeyType === "ed25519") return secret;
  } catch (cause) {
    // The cause of a failed import may quote the key.
    throw new QWormholeError("E_INVALID_OPTION", `secretKey must be ${KEY_WORDS}: ${asError(cause).name}`);
  }
  throw new QWormholeError("E_INVALID_OPTION", `secretKey must be ${KEY_WORDS}`);
}

function importSecret(key: string): KeyObject {
  return createPrivateKey({ key: Buffer.from(key, "base64"), format: "der", type: "pkcs8" });
}

function nIndexOf(bytes: Buffer): number {
  if (bytes.length === 0) return 0;
  const sum = bytes.reduce((total, byte) => total + byte, 0) || 1;
  const index = (bytes[0] as number) / sum / Math.max(entropyOf(bytes), 1e-6);
  return Number.isFinite(index) ? Math.min(1, Math.max(0, index)) : 0;
}

/** In the order in which byte values appear first, so that sums are the same to the last bit everywhere. */
function entropyOf(bytes: Buffer): number {
  const counts = new Map<number, number>();
  for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1);
  let entropy = 0;
  for (const count of counts.values()) {
    const share = count / bytes.length;
    entropy -= share * Math.log2(share);
  }
  return entropy;
}

function negHash(bytes: Buffer): string {
  const index = nIndexOf(bytes);
  const mask = Math.floor(index * 255);
  const masked = Buffer.from(bytes.map((byte) => byte ^ mask));
  return createHash("sha256").update(bytes).update(masked).update(index.toFixed(6), "ascii").digest("hex");
}

function nonceOf(hash: string): string {
  const seed = Buffer.from(hash, "hex");
  const byte = (i: number): number => createHash("sha256").update(seed).update(Buffer.from([i])).digest()[0] as number;
  return Buffer.from(Array.from({ length: 16 }, (_, i) => byte(i))).toString("base64");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const source = value as Record<string, unknown>;
  const target: Record<string, unknown> = {};
  for (const key of Object.keys(source).sort()) {
    const member = { value: sorted(source[key]), enumerable: true, writable: true, configurable: true };
    Object.defineProperty(target, key, member);
  }
  return target;
}

const KEY_WORDS = "the base64 of an Ed25519 key in PKCS#8, or such a KeyObject";

/** The keys of handshakes made here: a client that merges something into one signs it again. */
const keys = new WeakMap<object, KeyObject>();
