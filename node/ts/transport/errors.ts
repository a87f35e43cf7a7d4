import { QWormholeError } from "../errors.js";
import type { QWormholeErrorCode } from "../errors.js";
import type { CloseReason } from "../native/engine.js";

/** The error that a native close or rejection stands for: ours where QWormhole has a code, else one with the code as it came. */
export function errorOf(why: Pick<CloseReason, "code" | "message">): Error {
  const known = CODES[why.code];
  if (known !== undefined) return new QWormholeError(known, TEXTS[known] ?? why.message);
  return Object.assign(new Error(why.message), { code: why.code });
}

/** Codes of the native module and what they are called here; others are the system's or short words, and stay. */
const CODES: Readonly<Record<string, QWormholeErrorCode>> = {
  E_BACKPRESSURE: "E_BACKPRESSURE",
  E_CONNECT_TIMEOUT: "E_CONNECT_TIMEOUT",
  E_FRAME_TOO_LARGE: "E_FRAME_TOO_LARGE",
  E_INTERFACE_NOT_FOUND: "E_INTERFACE_NOT_FOUND",
  E_INVALID_HANDSHAKE: "E_INVALID_HANDSHAKE",
  E_INVALID_HANDSHAKE_PAYLOAD: "E_INVALID_HANDSHAKE_PAYLOAD",
  E_INVALID_HANDSHAKE_SIGNATURE: "E_INVALID_HANDSHAKE_SIGNATURE",
  E_MAX_CLIENTS: "E_MAX_CLIENTS",
  E_OPTION: "E_INVALID_OPTION",
};

/** Texts that programs match. */
const TEXTS: Partial<Record<QWormholeErrorCode, string>> = {
  E_BACKPRESSURE: "Backpressure limit exceeded",
  E_CONNECT_TIMEOUT: "Connection timed out",
  E_MAX_CLIENTS: "Max clients reached",
};
