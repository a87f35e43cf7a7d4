import { QWormholeError } from "../errors.js";

/** What crosses the stream: one JSON object with exactly these members, behind its length in four bytes, big endian. */
export interface Envelope<Payload = unknown> {
  /** The kind of event. Types that begin with `__` are reserved. */
  readonly type: string;
  /** Tells apart what has the same type, such as a user or a request; empty for none. */
  readonly id: string;
  /** Any JSON value. Bytes travel as a base64 string. */
  readonly payload: Payload;
}

/** Types that this package gives a meaning to. Unknown ones that begin with `__` are ignored by both sides. */
export const Control = {
  subscribe: "__subscribe",
  unsubscribe: "__unsubscribe",
  hello: "__hello",
  error: "__error",
  ping: "__ping",
  pong: "__pong",
} as const;

/** Whether a type or topic is reserved. */
export function isReserved(type: string): boolean {
  return type.startsWith("__");
}

/** `type`, or `type:id` where there is an id: what listeners of an event target subscribe to. */
export function topicOf(type: string, id: string): string {
  return id === "" ? type : `${type}:${id}`;
}

/** The parts of a topic, split at its first colon, so that {@link topicOf} gives the same topic again. */
export function splitTopic(topic: string): { type: string; id: string } {
  const colon = topic.indexOf(":");
  if (colon <= 0 || colon === topic.length - 1) return { type: topic, id: "" };
  return { type: topic.slice(0, colon), id: topic.slice(colon + 1) };
}

/**
 * An envelope as it crosses the stream. A payload that JSON has no word for becomes `null`.
 *
 * @throws {@link QWormholeError} `E_CODEC` for a payload that JSON cannot express, such as a cycle or a bigint.
 */
export function encodeEnvelope(type: string, id: string, payload: unknown): Buffer {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (cause) {
    throw new QWormholeError("E_CODEC", `the payload of "${topicOf(type, id)}" cannot be written as JSON`, { cause });
  }
  const json = `{"type":${JSON.stringify(type)},"id":${JSON.stringify(id)},"payload":${text ?? "null"}}`;
  const length = Buffer.byteLength(json);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.writeUInt32BE(length, 0);
  frame.write(json, HEADER_BYTES, "utf8");
  return frame;
}

/**
 * The envelope that the bytes of one frame, without its header, stand for.
 *
 * @throws {@link QWormholeError} `E_INVALID_ENVELOPE` where they stand for none.
 */
export function decodeEnvelope(body: Buffer): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch (cause) {
    throw new QWormholeError("E_INVALID_ENVELOPE", "a frame is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null) throw invalid("a frame is no object");
  const { type, id, payload } = value as Partial<Envelope>;
  if (typeof type !== "string" || type === "") throw invalid("an envelope has no type");
  if (typeof id !== "string") throw invalid("an envelope has no id");
  if (!("payload" in value)) throw invalid("an envelope has no payload");
  return { type, id, payload };
}

/** The topics that the payload of a `__subscribe` or `__unsubscribe` names: `{topic}`, `{topics}` or a bare string. */
export function topicsOf(payload: unknown): string[] {
  if (typeof payload === "string") return [payload];
  if (typeof payload !== "object" || payload === null) return [];
  const { topic, topics } = payload as { topic?: unknown; topics?: unknown };
  const all = Array.isArray(topics) ? [topic, ...(topics as unknown[])] : [topic];
  return all.filter((each): each is string => typeof each === "string");
}

function invalid(message: string): QWormholeError {
  return new QWormholeError("E_INVALID_ENVELOPE", message);
}

/** Bytes before each envelope. */
export const HEADER_BYTES = 4;

/** Envelopes up to this many bytes by default. */
export const DEFAULT_MAX_FRAME_LENGTH = 16 * 1024 * 1024;
