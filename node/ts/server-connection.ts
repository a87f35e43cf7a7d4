import { QWormholeError, asError } from "./errors.js";
import { orAborted } from "./abort.js";
import type { EntropyPolicy } from "./handshake/policy.js";
import { computeEntropyMetrics, deriveEntropyPolicy } from "./handshake/policy.js";
import type { EntropyMetrics, HandshakePayload, HandshakeTags } from "./handshake/schema.js";
import type { Connection, NativeHandshake, TlsInfo } from "./native/engine.js";
import type { SendOptions } from "./client.js";
import { defaultSerializer } from "./codec/codec.js";
import type { Serializer } from "./codec/codec.js";
import { quiet } from "./transport/deferred.js";
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
  /** Whether this side ended it; the native module tells of the end a little later. */
  private ended = false;

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
      destroy: () => this.destroy(),
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
      const flushed = this.outlet.flushed();
      return signal === undefined ? flushed : quiet(orAborted(flushed, signal));
    } catch (error) {
      return quiet(Promise.reject<void>(asError(error)));
    }
  }

  /** Sends several messages in order; returns how many were accepted. */
  sendMany(payloads: readonly unknown[]): number {
    const { serializer } = this.owner;
    // The usual one would copy bytes; any other may mean something else by them.
    const asTheyAre = serializer === defaultSerializer;
    let accepted = 0;
    for (const payload of payloads) {
      const data = asTheyAre && payload instanceof Uint8Array ? payload : serializer(payload);
      if (!this.accept(data, 0)) break;
      accepted += 1;
    }
    return accepted;
  }

  /** Sends what is queued, then closes. */
  end(): void {
    this.ended = true;
    this.conn.close();
  }

  /** Closes at once; what is queued is lost. */
  destroy(): void {
    this.ended = true;
    this.conn.abort();
  }

  /** @internal Sends bytes that are serialized already. False: the connection is closed. */
  accept(data: Uint8Array, priority: number): boolean {
    if (this.ended || !this.conn.isOpen) return false;
    const frame = data.length + 4;
    if (this.conn.queuedBytes + frame > this.owner.maxBackpressureBytes) {
      this.ended = true;
      const error = new QWormholeError("E_BACKPRESSURE", "Backpressure limit exceeded");
      this.owner.overflowed(this, error);
      throw error;
    }
    if (!this.outlet.send(data, priority)) return false;
    // Without a mark the kernel's progress stays unknown, and what it took long ago would count against the client.
    void this.outlet.flushed();
    this.owner.sent(frame);
    return true;
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
