import { randomUUID } from "node:crypto";

import { abortError, orAborted } from "./abort.js";
import { QWormholeError, asError } from "./errors.js";
import { TypedEmitter } from "./emitter.js";
import { buildHandshake, tlsTags } from "./handshake/client-handshake.js";
import type { CloseReason, Connection, ConnectionInfo, Sink } from "./native/engine.js";
import { engine } from "./native/load.js";
import { interfaceAddress, reconnectDelay, resolveClientOptions } from "./options/client.js";
import type { QWormholeClientOptions, ResolvedClientOptions } from "./options/client.js";
import { errorOf } from "./transport/errors.js";
import { Incoming } from "./transport/incoming.js";
import { MessageBatch } from "./transport/batch.js";
import type { MessagesOptions } from "./transport/message-queue.js";
import { HIGH_WATER_MARK, Outlet } from "./transport/outlet.js";
import { PendingSends } from "./transport/pending-sends.js";
import { trustSnapshot } from "./trust.js";

/** How a message is sent. */
export interface SendOptions {
  /** Lower is sooner; equals keep their order. Default 0; the handshake has -100, heartbeats 100. */
  readonly priority?: number;
  /** Ends the waiting for room with an `AbortError`; the message itself is on its way. */
  readonly signal?: AbortSignal;
}

/** Events of a {@link QWormholeClient} and the arguments of their listeners. */
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

type State = "idle" | "connecting" | "open" | "waiting";

/** One attempt to connect and what comes of it. */
interface Attempt {
  readonly conn: Connection;
  readonly outlet: Outlet;
  opened: boolean;
  openedAt: number;
  useful: boolean;
  asked: boolean;
  failure: Error | undefined;
  /** With framing `none`: what was sent after the handshake must not share a chunk with it. */
  handshakeMark: number | undefined;
}

/**
 * Sends and receives messages over one connection at a time, and connects again when it is lost.
 *
 * @example
 * ```ts
 * const client = new QWormholeClient({ host: "127.0.0.1", port: 9000, deserializer: textDeserializer });
 * client.on("message", (text) => console.log(text));
 * await client.connect();
 * await client.send("hello");
 * ```
 */
export class QWormholeClient<T = Buffer> extends TypedEmitter<QWormholeClientEvents<T>> {
  private readonly options: ResolvedClientOptions<T>;
  private readonly incoming: Incoming<T>;
  private readonly pending = new PendingSends();
  private state: State = "idle";
  private attempt: Attempt | undefined;
  private connecting: { promise: Promise<void>; settle: (error?: Error) => void } | undefined;
  private roomAhead: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private failures = 0;
  private referenced = true;
  private readonly id = randomUUID();

  /** @throws {@link QWormholeError} `E_INVALID_OPTION` or `E_INVALID_ENVIRONMENT` that names what is wrong. */
  constructor(options: QWormholeClientOptions<T>) {
    super();
    this.options = resolveClientOptions(options);
    const valve = { pause: () => this.attempt?.conn.pause(), resume: () => this.attempt?.conn.resume() };
    this.incoming = new Incoming<T>(this.options.deserializer, valve, {
      message: (value) => this.tell("message", value),
      batch: (batch) => this.tell("batch", batch),
      failed: (error) => this.fail(error),
      wantsMessages: () => this.listenerCount("message") > 0,
      wantsBatches: () => this.listenerCount("batch") > 0,
    });
  }

  /** The connection that is open now. */
  get socket(): ClientSocket | undefined {
    const attempt = this.attempt;
    if (attempt === undefined || this.state !== "open") return undefined;
    const { conn } = attempt;
    return {
      remoteAddress: conn.info.remoteAddress,
      remotePort: conn.info.remotePort,
      get writableLength() {
        return conn.queuedBytes;
      },
      destroy: () => conn.abort(),
      ref: () => conn.ref(),
      unref: () => conn.unref(),
    };
  }

  /** Bytes that were sent and that the kernel does not have yet. */
  get queuedBytes(): number {
    return this.state === "open" ? (this.attempt?.conn.queuedBytes ?? 0) : this.pending.bytes;
  }

  /** Whether messages can be sent now. */
  isConnected(): boolean {
    return this.state === "open";
  }

  /**
   * Connects; resolves at once where it is connected, and with the attempt that is under way. Rejects with the error of
   * the first attempt; further ones follow in the background, as `reconnect` says.
   */
  connect(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.state === "open") return Promise.resolve();
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal));
    if (this.connecting === undefined) {
      clearTimeout(this.timer);
      let settle!: (error?: Error) => void;
      const promise = new Promise<void>((resolve, reject) => {
        settle = (error) => (error === undefined ? resolve() : reject(error));
      });
      this.connecting = { promise, settle };
      if (this.state !== "connecting") this.open();
      return this.untilAborted(promise, signal);
    }
    return this.untilAborted(this.connecting.promise, signal);
  }

  /**
   * Sends a message. Resolves at once, or, where more than `socketHighWaterMark` bytes are queued, when there is room
   * again: awaiting every send is enough to never queue without bound. Not connected, it is kept until there is a
   * connection, up to 1 MiB, if one is on its way; otherwise it is dropped, or rejected with `E_NOT_CONNECTED` where
   * `requireConnectedForSend` is set.
   */
  send(payload: unknown, options: SendOptions = {}): Promise<void> {
    try {
      const { priority = 0, signal } = options;
      if (signal?.aborted) throw abortError(signal);
      const data = this.options.serializer(payload);
      const attempt = this.attempt;
      if (this.state !== "open" || attempt === undefined) return this.sendLater(data, priority);
      attempt.outlet.send(data, priority);
      if (!attempt.outlet.backpressured) return RESOLVED;
      return orAborted(this.room(), signal);
    } catch (error) {
      return Promise.reject(asError(error));
    }
  }

  /**
   * Sends several messages with one call, in order: the fastest way to send many. Returns how many were accepted, which
   * is all of them while connected and none otherwise.
   */
  sendMany(payloads: readonly unknown[]): number {
    const attempt = this.attempt;
    if (this.state !== "open" || attempt === undefined) return 0;
    const { serializer } = this.options;
    return attempt.outlet.sendMany(payloads.map((each) => (each instanceof Uint8Array ? each : serializer(each))));
  }

  /** Resolves when everything sent before was handed to the kernel. */
  flush(): Promise<void> {
    return this.state === "open" && this.attempt !== undefined ? this.attempt.outlet.flushed() : RESOLVED;
  }

  /** Sends what is queued, then closes, and does not connect again. Resolves when the connection is closed. */
  disconnect(): Promise<void> {
    clearTimeout(this.timer);
    this.pending.clear();
    const attempt = this.attempt;
    if (attempt === undefined) {
      this.state = "idle";
      this.incoming.finish();
      return RESOLVED;
    }
    attempt.asked = true;
    const closed = new Promise<void>((resolve) => this.once("close", () => resolve()));
    if (attempt.opened) attempt.conn.close();
    else attempt.conn.abort();
    return closed;
  }

  /**
   * Messages as they come, one after the other; ends with `disconnect()`, lives on through reconnects. A loop that is
   * slow slows down the peer.
   */
  messages(options: MessagesOptions = {}): AsyncIterableIterator<T> {
    return this.incoming.messages(options);
  }

  /** As {@link messages}, but what arrived together comes together, as views of shared buffers. */
  batches(options: MessagesOptions = {}): AsyncIterableIterator<Buffer[]> {
    return this.incoming.batches(options);
  }

  /** Stops reading: the peer is slowed down. What was received already still comes. */
  pause(): void {
    this.incoming.valve.pause();
  }

  /** Reads again; as often as {@link pause} was called. */
  resume(): void {
    this.incoming.valve.resume();
  }

  /** Sends the handshake again, as an ordinary message for a server that accepted one. */
  enqueueHandshake(): void {
    const attempt = this.attempt;
    if (this.state === "open" && attempt !== undefined) this.sendHandshake(attempt);
  }

  /** An open connection keeps the process alive, the default. */
  ref(): this {
    this.referenced = true;
    this.attempt?.conn.ref();
    this.timer?.ref();
    return this;
  }

  /** Lets the process end although the connection is open. */
  unref(): this {
    this.referenced = false;
    this.attempt?.conn.unref();
    this.timer?.unref();
    return this;
  }

  private open(): void {
    this.state = "connecting";
    try {
      const native = { ...this.options.native };
      const { interfaceName, localAddress } = this.options.given;
      if (interfaceName !== undefined) {
        const address = localAddress ?? interfaceAddress(interfaceName);
        native.localAddress = address;
      }
      const conn = engine().connect(native, this.sink());
      this.attempt = this.attemptOf(conn);
      if (!this.referenced) conn.unref();
    } catch (thrown) {
      const error = asError(thrown);
      this.state = "idle";
      this.fail(error);
      // An interface may come back; a module that cannot be loaded stays away.
      if (error instanceof QWormholeError && error.code === "E_INTERFACE_NOT_FOUND") this.reconnect();
      this.settle(error);
    }
  }

  private attemptOf(conn: Connection): Attempt {
    const high = Math.max(this.options.given.socketHighWaterMark ?? 0, HIGH_WATER_MARK);
    const outlet = new Outlet(conn, high, (on) => {
      if (!on) this.tell("drain");
    });
    return {
      conn,
      outlet,
      opened: false,
      openedAt: 0,
      useful: false,
      asked: false,
      failure: undefined,
      handshakeMark: undefined,
    };
  }

  private sink(): Sink {
    return {
      open: (conn, info) => this.onOpen(conn, info),
      messages: (_conn, slab, start, ends, first, last) => {
        if (this.attempt !== undefined) this.attempt.useful = true;
        if (!this.options.framed && this.listenerCount("data") > 0) this.tellData(slab, start, ends, first, last);
        this.incoming.take(slab, start, ends, first, last);
      },
      flushed: (_conn, mark) => {
        const attempt = this.attempt;
        if (attempt === undefined) return;
        if (attempt.handshakeMark === mark) this.ready(attempt);
        attempt.outlet.onFlushed(mark);
      },
      progress: () => this.attempt?.outlet.relieve(),
      close: (_conn, why) => this.onClose(why),
    };
  }

  private onOpen(_conn: Connection, _info: ConnectionInfo): void {
    const attempt = this.attempt;
    if (attempt === undefined || attempt.asked) return;
    attempt.opened = true;
    attempt.openedAt = Date.now();
    if (this.incoming.isShut) attempt.conn.pause();
    if (this.options.protocolVersion === undefined) return this.ready(attempt);
    try {
      this.sendHandshake(attempt);
    } catch (error) {
      attempt.failure = asError(error);
      attempt.asked = true;
      attempt.conn.abort();
      return;
    }
    if (this.options.framed) this.ready(attempt);
    else attempt.handshakeMark = attempt.conn.mark();
  }

  private sendHandshake({ conn }: Attempt): void {
    const { given, tls, protocolVersion } = this.options;
    if (protocolVersion === undefined) return;
    const exporter = tls?.exportKeyingMaterial;
    const { label = "qwormhole-negentropic", length = 32, context = "" } = exporter ?? {};
    const certificate = tls?.cert;
    const tags = tlsTags({
      certificate,
      alpnProtocol: conn.info.tls?.alpnProtocol,
      sessionKey: exporter === undefined ? undefined : conn.exportKeyingMaterial(length, label, Buffer.from(context)),
    });
    const { handshakeTags, handshakeSigner } = given;
    const handshake = buildHandshake({ protocolVersion, handshakeTags, handshakeSigner, tlsTags: tags });
    // JSON whatever codec messages have: servers parse nothing else.
    conn.send(JSON.stringify(handshake));
  }

  private ready(attempt: Attempt): void {
    attempt.handshakeMark = undefined;
    this.state = "open";
    for (const { data, priority } of this.pending.take()) attempt.outlet.send(data, priority);
    this.startHeartbeat();
    this.tell("connect");
    this.tell("ready");
    this.settle();
  }

  private onClose(why: CloseReason): void {
    const attempt = this.attempt;
    if (attempt === undefined) return;
    this.attempt = undefined;
    clearInterval(this.heartbeat);
    const wasOpen = this.state === "open";
    this.state = "idle";
    const error = attempt.failure ?? (why.hadError || !wasOpen ? errorOf(why) : undefined);
    const hadError = !attempt.asked && (error !== undefined || this.options.protocolVersion !== undefined);
    if (why.code === "idle") this.tell("timeout");
    if (error !== undefined && !attempt.asked) this.fail(error);
    this.tell("close", { hadError: hadError && why.code !== "idle" });
    this.snapshot(attempt, hadError);
    attempt.outlet.onClose();
    this.failures = this.wasUseful(attempt) ? 0 : this.failures;
    if (attempt.asked) {
      this.pending.clear();
      this.incoming.finish();
    } else {
      this.reconnect();
    }
    if (!wasOpen) this.settle(attempt.asked ? (attempt.failure ?? disconnected()) : (error ?? disconnected()));
  }

  /** A connection that taught nothing, such as one that is closed at once, must not reset the delays. */
  private wasUseful(attempt: Attempt): boolean {
    if (!attempt.opened) return false;
    return attempt.useful || Date.now() - attempt.openedAt >= this.options.reconnect.maxDelayMs;
  }

  private reconnect(): void {
    const { reconnect } = this.options;
    const attempt = this.failures + 1;
    if (!reconnect.enabled || attempt > reconnect.maxAttempts) {
      this.pending.clear();
      this.incoming.finish();
      return;
    }
    this.failures = attempt;
    const delayMs = reconnectDelay(reconnect, attempt);
    this.state = "waiting";
    this.timer = setTimeout(() => this.open(), delayMs);
    if (!this.referenced) this.timer.unref();
    this.tell("reconnecting", { attempt, delayMs });
  }

  private settle(error?: Error): void {
    const connecting = this.connecting;
    this.connecting = undefined;
    connecting?.settle(error);
  }

  /** An error that nobody listens for is told by what rejects or closes; it must not end the process, too. */
  private fail(error: Error): void {
    if (this.listenerCount("error") > 0) this.tell("error", error);
  }

  private sendLater(data: Buffer, priority: number): Promise<void> {
    if (this.options.given.requireConnectedForSend) {
      throw new QWormholeError("E_NOT_CONNECTED", "QWormholeClient is not connected");
    }
    if (this.state !== "idle") this.pending.push(data, priority);
    return RESOLVED;
  }

  /** One promise for everybody who waits: thousands may. */
  private room(): Promise<void> {
    this.roomAhead ??= new Promise((resolve) => {
      const done = (): void => {
        this.off("drain", done);
        this.off("close", done);
        this.roomAhead = undefined;
        resolve();
      };
      this.on("drain", done);
      this.on("close", done);
    });
    return this.roomAhead;
  }

  private startHeartbeat(): void {
    const { heartbeatIntervalMs, heartbeatPayload } = this.options.given;
    if (!heartbeatIntervalMs) return;
    this.heartbeat = setInterval(() => {
      const payload = heartbeatPayload ?? { type: "ping", ts: Date.now() };
      this.send(payload, { priority: HEARTBEAT_PRIORITY }).catch((error: unknown) => this.fail(asError(error)));
    }, heartbeatIntervalMs);
    this.heartbeat.unref();
  }

  private async untilAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    if (signal === undefined) return promise;
    try {
      await orAborted(promise, signal);
    } catch (error) {
      if (signal.aborted) {
        promise.catch(() => undefined);
        void this.disconnect();
      }
      throw error;
    }
  }

  private tellData(slab: Buffer, start: number, ends: Uint32Array, first: number, last: number): void {
    const batch = new MessageBatch(slab, start, ends, first, last);
    batch.forEach((view) => this.tell("data", Buffer.from(view)));
  }

  private snapshot(attempt: Attempt, hadError: boolean): void {
    const { onTrustSnapshot, handshakeTags, entropyMetrics = { negIndex: 0.5 } } = this.options.given;
    if (onTrustSnapshot === undefined || !attempt.opened) return;
    const snapshot = trustSnapshot({
      direction: "client",
      reason: attempt.asked ? "disconnect" : hadError ? "error" : "close",
      id: this.id,
      remoteAddress: attempt.conn.info.remoteAddress,
      remotePort: attempt.conn.info.remotePort,
      handshakeTags,
      entropyMetrics,
    });
    try {
      onTrustSnapshot(snapshot);
    } catch (error) {
      this.fail(asError(error));
    }
  }
}

function disconnected(): QWormholeError {
  return new QWormholeError("E_CLOSED", "disconnected before the connection was there");
}

const RESOLVED = Promise.resolve();
const HEARTBEAT_PRIORITY = 100;
