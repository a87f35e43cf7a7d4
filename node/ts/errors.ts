/**
 * What went wrong, as a word a program can compare.
 *
 * The `E_*` words are QWormhole's where QWormhole has one; the rest follow the same form.
 */
export type QWormholeErrorCode =
  /** A connection's outbox is full: the peer reads slower than this side sends. */
  | "E_BACKPRESSURE"
  /** `connectTimeoutMs` elapsed before the connection was there. */
  | "E_CONNECT_TIMEOUT"
  /** `maxClients` connections are open already. */
  | "E_MAX_CLIENTS"
  /** `interfaceName` names no interface with a usable address. */
  | "E_INTERFACE_NOT_FOUND"
  /** The signature or the hash of a handshake does not verify. */
  | "E_INVALID_HANDSHAKE_SIGNATURE"
  /** The first frame of a connection is no handshake. */
  | "E_INVALID_HANDSHAKE_PAYLOAD"
  /** `verifyHandshake` said no. */
  | "E_INVALID_HANDSHAKE"
  /** There is no connection to send on. */
  | "E_NOT_CONNECTED"
  /** The native module could not be loaded; the message says why. */
  | "E_NATIVE_UNAVAILABLE"
  /** An option has a value that means nothing. */
  | "E_INVALID_OPTION"
  /** An environment variable has a value that means nothing. */
  | "E_INVALID_ENVIRONMENT"
  /** A message is larger than what may be sent or received. */
  | "E_FRAME_TOO_LARGE"
  /** A peer sent what is no envelope. */
  | "E_INVALID_ENVELOPE"
  /** A topic is reserved, empty or too long. */
  | "E_INVALID_TOPIC"
  /** More topics at once than are allowed. */
  | "E_TOO_MANY_TOPICS"
  /** A value cannot be encoded, or bytes cannot be decoded. */
  | "E_CODEC"
  /** An ML adapter failed. */
  | "E_ML_ADAPTER"
  /** The connection or the server is closed. */
  | "E_CLOSED";

/**
 * Every error that this package makes itself. Errors of the system (`ECONNREFUSED`, `EADDRINUSE`, …) keep the codes
 * that Node gives them.
 */
export class QWormholeError extends Error {
  /** What went wrong; the message is for people. */
  readonly code: QWormholeErrorCode;

  constructor(code: QWormholeErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "QWormholeError";
    this.code = code;
  }
}

/** `value` as an error, whatever was thrown. */
export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
