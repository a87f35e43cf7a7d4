import { QWormholeError } from "../errors.js";

/** Bounds where no option says otherwise. */
export const DEFAULT_LIMITS = {
  /** Bytes that may wait for one consumer: the engine's own bound of an outbox. */
  maxBufferedBytes: 5 * 1024 * 1024,
  /** Topics of one peer. */
  maxTopics: 10_000,
} as const;

/** `value`, if it is a positive number. */
export function positive(name: string, value: number): number {
  if (!(value > 0)) throw new QWormholeError("E_INVALID_OPTION", `${name} must be above 0, not ${String(value)}`);
  return value;
}
