import type { MessageBatch } from "./transport/batch.js";

/** How a message is sent. */
export interface SendOptions {
  /** Lower is sooner; equals keep their order. Default 0; heartbeats have 100. The handshake is always first. */
  readonly priority?: number;
  /** Ends the waiting for room with an `AbortError`; the message itself is on its way. */
  readonly signal?: AbortSignal;
}

/** Events of a `QWormholeClient` and the arguments of their listeners. */
export interface QWormholeClientEvents<T> {
  /** The connection is there and the handshake, where there is one, was sent. */
  connect: [];
  /** Right after `connect`. */
  ready: [];
  /** With framing `none`: bytes as they came, before `message`. */
  data: [Buffer];
  message: [T];
  /** Messages that arrived together, as views: see {@link MessageBatch}. */
  batch: [MessageBatch];
  /** Once for each connection, also for one that could not be made. */
  close: [{ hadError: boolean }];
  error: [Error];
  /** `idleTimeoutMs` elapsed; the connection ends. */
  timeout: [];
  /** Another attempt begins in `delayMs`. */
  reconnecting: [{ attempt: number; delayMs: number }];
  /** `send` does not wait any more. */
  drain: [];
}

/** The connection behind a client, as far as QWormhole's `socket` property was of use. */
export interface ClientSocket {
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  /** Bytes that were sent and that the kernel does not have yet. */
  readonly writableLength: number;
  destroy(): void;
  ref(): void;
  unref(): void;
}
