import { QWormholeError } from "../errors.js";

/** What an application calls itself: strings and numbers by name. */
export type HandshakeTags = Readonly<Record<string, string | number>>;

/** How regular a peer says it is. All optional; unknown members are kept. */
export interface EntropyMetrics {
  /** 0 or more. */
  readonly entropy?: number;
  readonly entropyVelocity?: "low" | "stable" | "rising" | "spiking";
  readonly coherence?: "high" | "medium" | "low" | "chaos";
  /** 0 to 1. */
  readonly negIndex?: number;
}

/** The first message of a client that has a `protocolVersion`. Unknown members are kept. */
export interface HandshakePayload {
  readonly type: "handshake";
  readonly version?: string;
  readonly sid?: string;
  readonly caps?: Readonly<Record<string, unknown>>;
  readonly nv?: string | Readonly<Record<string, unknown>>;
  /** Milliseconds since 1970. */
  readonly ts?: number;
  readonly sig?: string;
  readonly tags?: HandshakeTags;
  readonly nIndex?: number;
  readonly negHash?: string;
  readonly entropyMetrics?: EntropyMetrics;
  readonly [extra: string]: unknown;
}

/**
 * `value` as a handshake with its members in the order of the wire.
 *
 * @throws {@link QWormholeError} `E_INVALID_HANDSHAKE_PAYLOAD` that names the member that is wrong.
 */
export function parseHandshake(value: unknown): HandshakePayload {
  if (!isObject(value)) throw wrong("it is no object");
  for (const [key, rule] of Object.entries(RULES)) {
    const member = value[key];
    if (member === undefined ? key === "type" : !rule.test(member)) throw wrong(`${key} must be ${rule.words}`);
  }
  return inOrder(value) as HandshakePayload;
}

/** Whether `value` is a handshake. */
export function isHandshake(value: unknown): value is HandshakePayload {
  try {
    parseHandshake(value);
    return true;
  } catch {
    return false;
  }
}

function inOrder(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {};
  for (const key of [...Object.keys(RULES), ...Object.keys(value)]) {
    if (value[key] !== undefined) ordered[key] = value[key];
  }
  const metrics = ordered.entropyMetrics;
  if (isObject(metrics)) {
    const known = ["entropy", "entropyVelocity", "coherence", "negIndex"];
    const entries = [...known, ...Object.keys(metrics)].map((key) => [key, metrics[key]] as const);
    ordered.entropyMetrics = Object.fromEntries(entries.filter(([, each]) => each !== undefined));
  }
  return ordered;
}

interface Rule {
  readonly words: string;
  test(value: unknown): boolean;
}

const text: Rule = { words: "a string that is not empty", test: (value) => typeof value === "string" && value !== "" };
const number: Rule = { words: "a number", test: (value) => typeof value === "number" && Number.isFinite(value) };

/** In the order of the wire. */
const RULES: Readonly<Record<string, Rule>> = {
  type: { words: '"handshake"', test: (value) => value === "handshake" },
  version: text,
  sid: text,
  caps: { words: "an object of JSON values", test: (value) => isObject(value) && Object.values(value).every(isCapability) },
  nv: { words: "a string or an object", test: isNegentropicVector },
  ts: { words: "an integer from 0", test: (value) => Number.isInteger(value) && (value as number) >= 0 },
  sig: text,
  tags: {
    words: "strings and numbers by name",
    test: (value) => isObject(value) && Object.values(value).every((each) => typeof each === "string" || number.test(each)),
  },
  nIndex: number,
  negHash: text,
  entropyMetrics: { words: "an object of known measures", test: isMetrics },
};

function isCapability(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isCapability);
  if (isObject(value)) return Object.values(value).every(isCapability);
  return typeof value === "boolean" || typeof value === "string" || number.test(value);
}

function isNegentropicVector(value: unknown): boolean {
  if (text.test(value)) return true;
  if (!isObject(value)) return false;
  const { hash, entropy, vector } = value;
  return (
    (hash === undefined || text.test(hash)) &&
    (entropy === undefined || (number.test(entropy) && (entropy as number) >= 0)) &&
    (vector === undefined || (Array.isArray(vector) && vector.every((each) => number.test(each))))
  );
}

function isMetrics(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { entropy, entropyVelocity, coherence, negIndex } = value;
  const within = (each: unknown, max: number): boolean =>
    each === undefined || (number.test(each) && (each as number) >= 0 && (each as number) <= max);
  const among = (each: unknown, words: string[]): boolean => each === undefined || words.includes(each as string);
  return (
    within(entropy, Infinity) &&
    within(negIndex, 1) &&
    among(entropyVelocity, ["low", "stable", "rising", "spiking"]) &&
    among(coherence, ["high", "medium", "low", "chaos"])
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(why: string): QWormholeError {
  return new QWormholeError("E_INVALID_HANDSHAKE_PAYLOAD", `Invalid handshake payload: ${why}`);
}
