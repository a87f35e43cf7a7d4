import { QWormholeError, asError } from "./errors.js";
import { orAborted } from "./abort.js";
import type { EntropyPolicy } from "./handshake/policy.js";
import { computeEntropyMetrics, deriveEntropyPolicy } from "./handshake/policy.js";
import type { EntropyMetrics, HandshakePayload, HandshakeTags } from "./handshake/schema.js";
import type { Connection, NativeHandshake, TlsInfo } from "./native/engine.js";
import type { SendOptions } from "./client.js";
import type { Serializer } from "./codec/codec.js";
import type { Outlet } from "./transport/outlet.js";

/** What a client said of itself, and what follows from it. */
export interface ConnectionHandshake {
  readonly version?: string;
  readonly tags?: HandshakeTags;
  readonly nIndex?: number;
  readonly negHash?: string;
  readonly entropyMetrics: EntropyMetrics;
  readonly policy: EntropyPolicy;
  readonly tls?: TlsInfo & { readonly tlsSessionKey?: string };
}

/** The connection behind a client of a server. */
export interface ServerSocket {
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  /** Bytes that were sent and that the kernel does not have yet. */
  readonly writableLength: number;
  /** What is known about TLS; `undefined` for plain text. */
  readonly tls: TlsInfo | undefined;
  destroy(): void;
}

/** What a {@link ServerConnection} needs of its server. */
interface Owner {
  readonly serializer: Serializer;
  readonly maxBackpressureBytes: number;
  sent(bytes: number): void;
  overflowed(connection: ServerConnection, error: QWormholeError): void;
}

/** One client of a server. */
export class ServerConnection {
  /** Unlike that of any other connection of this process. */
  readonly id: string;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  /** What the client said of itself; with a `protocolVersion` only. */
  readonly handshake: ConnectionHandshake | undefined;

  /** @internal */
  constructor(
    private readonly conn: Connection,
    private readonly outlet: Outlet,
    private readonly owner: Owner,
  ) {
    this.id = conn.id;
    this.remoteAddress = conn.info.remoteAddress;
    this.remotePort = conn.info.remotePort;
    this.handshake = conn.info.handshake === undefined ? undefined : describe(conn.info.handshake);
  }

  /** Whether the client reads slower than the server sends, right now. */
  get backpressured(): boolean {
    return this.outlet.backpressured;
  }

  /** Bytes that were sent and that the kernel does not have yet. */
  get queuedBytes(): number {
    return this.conn.queuedBytes;
  }

  get socket(): ServerSocket {
    const { conn } = this;
    return {
      remoteAddress: this.remoteAddress,
      remotePort: this.remotePort,
      get writableLength() {
        return conn.queuedBytes;
      },
      tls: conn.info.tls,
      destroy: () => conn.abort(),
    };
  }

  /**
   * Sends a message. Resolves when it was handed to the kernel; rejects with `E_BACKPRESSURE`, and cuts the client off,
   * where it and what is queued exceed `maxBackpressureBytes`, and with `E_CLOSED` where the connection is closed.
   */
  send(payload: unknown, options: SendOptions = {}): Promise<void> {
    try {
      const { priority = 0, signal } = options;
      const accepted = this.accept(this.owner.serializer(payload), priority);
      if (!accepted) throw new QWormholeError("E_CLOSED", "the connection is closed");
      return orAborted(this.outlet.flushed(), signal);
    } catch (error) {
      const rejected = Promise.reject<void>(asError(error));
      // Who pushes without waiting learns it from the events; an unhandled rejection would end the server.
      rejected.catch(() => undefined);
      return rejected;
    }
  }

  /** Sends several messages in order; returns how many were accepted. */
  sendMany(payloads: readonly unknown[]): number {
    let accepted = 0;
    for (const payload of payloads) {
      const data = payload instanceof Uint8Array ? payload : this.owner.serializer(payload);
      if (!this.accept(data, 0)) break;
      accepted += 1;
    }
    return accepted;
  }

  /** Sends what is queued, then closes. */
  end(): void {
    this.conn.close();
  }

  /** Closes at once; what is queued is lost. */
  destroy(): void {
    this.conn.abort();
  }

  /** @internal Sends bytes that are serialized already. */
  accept(data: Uint8Array, priority: number): boolean {
    const frame = data.length + 4;
    if (this.conn.queuedBytes + frame > this.owner.maxBackpressureBytes) {
      const error = new QWormholeError("E_BACKPRESSURE", "Backpressure limit exceeded");
      this.owner.overflowed(this, error);
      throw error;
    }
    const accepted = this.outlet.send(data, priority);
    if (accepted) this.owner.sent(frame);
    return accepted;
  }
}

/** The handshake as a verifier sees it: as it was sent where that is known, else what is known of it. */
export function payloadOf(handshake: NativeHandshake): HandshakePayload {
  if (handshake.payload !== undefined) return JSON.parse(handshake.payload.toString()) as HandshakePayload;
  const { version, tags, nIndex, negHash, entropyMetrics } = handshake;
  const members = Object.entries({ version, tags, nIndex, negHash, entropyMetrics });
  return Object.fromEntries([["type", "handshake"], ...members.filter(([, value]) => value !== undefined)]) as HandshakePayload;
}

function describe(handshake: NativeHandshake): ConnectionHandshake {
  const { version, tags, nIndex, negHash, tls } = handshake;
  const entropyMetrics: EntropyMetrics = payloadOf(handshake).entropyMetrics ?? computeEntropyMetrics(nIndex ?? 0.5);
  return {
    ...(version === undefined ? {} : { version }),
    ...(tags === undefined ? {} : { tags }),
    ...(nIndex === undefined ? {} : { nIndex }),
    ...(negHash === undefined ? {} : { negHash }),
    entropyMetrics,
    policy: deriveEntropyPolicy(entropyMetrics),
    ...(tls === undefined ? {} : { tls }),
  };
}
