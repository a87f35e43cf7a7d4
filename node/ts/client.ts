import { randomUUID } from "node:crypto";

import { abortError, orAborted } from "./abort.js";
import { QWormholeError, asError } from "./errors.js";
import { TypedEmitter } from "./emitter.js";
import type { ClientSocket, QWormholeClientEvents, SendOptions } from "./client-events.js";
import { defaultSerializer } from "./codec/codec.js";
import type { CloseReason, Sink } from "./native/engine.js";
import { engine } from "./native/load.js";
import { interfaceAddress, reconnectDelay, resolveClientOptions } from "./options/client.js";
import type { QWormholeClientOptions, ResolvedClientOptions } from "./options/client.js";
import { Attempt } from "./transport/attempt.js";
import { Deferred, quiet } from "./transport/deferred.js";
import { errorOf } from "./transport/errors.js";
import { GREETING_PRIORITY, greeting } from "./transport/greeting.js";
import { Incoming } from "./transport/incoming.js";
import { MessageBatch } from "./transport/batch.js";
import type { MessagesOptions } from "./transport/message-queue.js";
import { HIGH_WATER_MARK } from "./transport/outlet.js";
import { PendingSends } from "./transport/pending-sends.js";
import { trustSnapshot } from "./trust.js";

export type { ClientSocket, QWormholeClientEvents, SendOptions } from "./client-events.js";

/**
 * `closing` lasts from when the end was asked for, or came, until everybody was told of it: nothing is sent any more,
 * and the next attempt begins only after it.
 */
type State = "idle" | "connecting" | "open" | "closing" | "waiting";

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
  /** Whether there should be a connection: what was asked for last, `connect` or `disconnect`. */
  private wanted = false;
  /** Who waits for the attempt that is under way, or, while one is closing, for the next. */
  private connecting: Deferred | undefined;
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
    if (attempt === undefined || !attempt.ready) return undefined;
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
    return (this.attempt?.ready ? this.attempt.conn.queuedBytes : 0) + this.pending.bytes;
  }

  /** Whether messages can be sent now. */
  isConnected(): boolean {
    return this.state === "open";
  }

  /**
   * Connects; resolves at once where it is connected, and with the attempt that is under way; after `disconnect()` a
   * new one begins as soon as the connection is closed. Rejects with the error of the first; further ones follow in
   * the background, as `reconnect` says.
   */
  connect(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.state === "open") return Promise.resolve();
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal));
    this.wanted = true;
    const fresh = this.connecting === undefined;
    const waiter = (this.connecting ??= new Deferred());
    if (fresh && (this.state === "idle" || this.state === "waiting")) this.open();
    return this.untilAborted(waiter, signal);
  }

  /**
   * Sends a message. Resolves at once, or, where more than `socketHighWaterMark` bytes are queued, when there is room
   * again: awaiting every send is enough to never queue without bound. Not connected, it is kept until there is a
   * connection, up to 1 MiB, if one is on its way; otherwise it is dropped, or rejected with `E_NOT_CONNECTED` where
   * `requireConnectedForSend` is set. A rejection that nobody waits for does not end the process.
   */
  send(payload: unknown, options: SendOptions = {}): Promise<void> {
    try {
      const { priority = 0, signal } = options;
      if (signal?.aborted) throw abortError(signal);
      const data = this.options.serializer(payload);
      const attempt = this.attempt;
      if (this.state !== "open" || attempt === undefined) return this.sendLater(data, priority);
      // The connection may be gone although nobody was told yet.
      if (!attempt.outlet.send(data, priority)) return this.sendLater(data, priority);
      if (!attempt.outlet.backpressured) return RESOLVED;
      return quiet(orAborted(attempt.room(), signal));
    } catch (error) {
      return quiet(Promise.reject<void>(asError(error)));
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
    // What a serializer of the caller's does to bytes is not known here; the default one leaves them as they are.
    const asIs = serializer === defaultSerializer;
    return attempt.outlet.sendMany(
      payloads.map((each) => (asIs && each instanceof Uint8Array ? each : serializer(each))),
    );
  }

  /** Resolves when everything sent before was handed to the kernel. */
  flush(): Promise<void> {
    return this.attempt?.ready ? this.attempt.outlet.flushed() : RESOLVED;
  }

  /** Sends what is queued, then closes, and does not connect again. Resolves when the connection is closed. */
  disconnect(): Promise<void> {
    const attempt = this.attempt;
    this.giveUp();
    if (attempt === undefined) {
      this.incoming.finish();
      return RESOLVED;
    }
    if (attempt.opened) attempt.conn.close();
    else attempt.conn.abort();
    return attempt.closed.promise;
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
    if (this.state !== "open" || attempt === undefined) return;
    const handshake = greeting(this.options, attempt.conn);
    if (handshake !== undefined) attempt.conn.send(handshake);
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

  /** From now on no connection is wanted: what waits for one is told, at the latest when this one is closed. */
  private giveUp(): void {
    this.wanted = false;
    clearTimeout(this.timer);
    clearInterval(this.heartbeat);
    this.pending.clear();
    const { attempt, connecting } = this;
    this.connecting = undefined;
    if (attempt === undefined) {
      connecting?.reject(disconnected());
      // A listener that is told of an end must not start anything before the others were told, too.
      if (this.state !== "closing") this.state = "idle";
      return;
    }
    attempt.asked = true;
    attempt.take(connecting);
    this.state = "closing";
  }

  private open(): void {
    clearTimeout(this.timer);
    this.state = "connecting";
    try {
      const native = { ...this.options.native };
      const { interfaceName, localAddress, socketHighWaterMark = 0 } = this.options.given;
      if (interfaceName !== undefined) native.localAddress = localAddress ?? interfaceAddress(interfaceName);
      let attempt: Attempt;
      const conn = engine().connect(native, this.sink(() => attempt));
      attempt = new Attempt(conn, Math.max(socketHighWaterMark, HIGH_WATER_MARK), () => this.tell("drain"));
      this.attempt = attempt;
      if (!this.referenced) conn.unref();
    } catch (thrown) {
      this.notOpened(asError(thrown));
    }
  }

  private notOpened(error: Error): void {
    const { connecting } = this;
    this.connecting = undefined;
    this.state = "closing";
    this.fail(error);
    // An interface may come back; a module that cannot be loaded stays away.
    this.proceed(error instanceof QWormholeError && error.code === "E_INTERFACE_NOT_FOUND");
    connecting?.reject(error);
  }

  /** What happens to one attempt, as long as it is the client's. */
  private sink(own: () => Attempt): Sink {
    const live = (): Attempt | undefined => (this.attempt === own() ? this.attempt : undefined);
    return {
      open: () => this.onOpen(live()),
      messages: (_conn, slab, start, ends, first, last) => {
        const attempt = live();
        if (attempt === undefined) return;
        attempt.useful = true;
        if (!this.options.framed && this.listenerCount("data") > 0) this.tellData(slab, start, ends, first, last);
        this.incoming.take(slab, start, ends, first, last);
      },
      flushed: (_conn, mark) => {
        const attempt = live();
        if (attempt?.handshakeMark === mark && !attempt.asked) this.ready(attempt);
        attempt?.outlet.onFlushed(mark);
      },
      progress: () => live()?.outlet.relieve(),
      close: (_conn, why) => this.onClose(live(), why),
    };
  }

  private onOpen(attempt: Attempt | undefined): void {
    if (attempt === undefined || attempt.asked) return;
    attempt.opened = true;
    attempt.openedAt = Date.now();
    if (this.incoming.isShut) attempt.conn.pause();
    let handshake: string | undefined;
    try {
      handshake = greeting(this.options, attempt.conn);
    } catch (error) {
      attempt.failure = asError(error);
      this.giveUp();
      attempt.conn.abort();
      return;
    }
    // A signer is the caller's code and may have disconnected.
    if (attempt.asked) return;
    if (handshake !== undefined) attempt.conn.sendUrgent(handshake, GREETING_PRIORITY);
    if (handshake === undefined || this.options.framed) this.ready(attempt);
    else attempt.handshakeMark = attempt.conn.mark();
  }

  private ready(attempt: Attempt): void {
    const { connecting } = this;
    this.connecting = undefined;
    attempt.handshakeMark = undefined;
    attempt.ready = true;
    this.state = "open";
    for (const { data, priority } of this.pending.take()) {
      if (!attempt.outlet.send(data, priority)) this.pending.push(data, priority);
    }
    this.startHeartbeat();
    this.tell("connect");
    this.tell("ready");
    connecting?.resolve();
  }

  private onClose(attempt: Attempt | undefined, why: CloseReason): void {
    if (attempt === undefined) return;
    this.attempt = undefined;
    this.state = "closing";
    clearInterval(this.heartbeat);
    // Before anybody is told: what listeners begin belongs to the next connection.
    if (attempt.asked) {
      this.incoming.finish();
    } else {
      attempt.take(this.connecting);
      this.connecting = undefined;
    }
    const error = attempt.failure ?? (why.hadError || !attempt.ready ? errorOf(why) : undefined);
    this.tellEnd(attempt, why, error);
    this.failures = this.wasUseful(attempt) ? 0 : this.failures;
    this.proceed(!attempt.asked);
    attempt.over((attempt.asked ? attempt.failure : error) ?? disconnected());
  }

  private tellEnd(attempt: Attempt, why: CloseReason, error: Error | undefined): void {
    const hadError = !attempt.asked && (error !== undefined || this.options.protocolVersion !== undefined);
    if (why.code === "idle") this.tell("timeout");
    if (error !== undefined && !attempt.asked) this.fail(error);
    this.tell("close", { hadError: hadError && why.code !== "idle" });
    this.snapshot(attempt, hadError);
  }

  /** A connection that taught nothing, such as one that is closed at once, must not reset the delays. */
  private wasUseful(attempt: Attempt): boolean {
    if (!attempt.opened) return false;
    return attempt.useful || Date.now() - attempt.openedAt >= this.options.reconnect.maxDelayMs;
  }

  /** What follows an attempt when everybody was told of its end; listeners may have asked for the next, or for none. */
  private proceed(retry: boolean): void {
    if (!this.wanted) this.stop();
    else if (this.connecting !== undefined) this.wait(0);
    else if (retry) this.reconnect();
    else this.stop();
  }

  private reconnect(): void {
    const { reconnect } = this.options;
    const attempt = this.failures + 1;
    if (!reconnect.enabled || attempt > reconnect.maxAttempts) return this.stop();
    this.failures = attempt;
    const delayMs = reconnectDelay(reconnect, attempt);
    this.tell("reconnecting", { attempt, delayMs });
    if (!this.wanted) return this.stop();
    this.wait(this.connecting === undefined ? delayMs : 0);
  }

  private wait(delayMs: number): void {
    this.state = "waiting";
    this.timer = setTimeout(() => this.open(), delayMs);
    if (!this.referenced) this.timer.unref();
  }

  /** No connection follows. */
  private stop(): void {
    this.state = "idle";
    this.pending.clear();
    this.incoming.finish();
  }

  /** An error that nobody listens for is told by what rejects or closes; it must not end the process, too. */
  private fail(error: Error): void {
    if (this.listenerCount("error") > 0) this.tell("error", error);
  }

  private sendLater(data: Buffer, priority: number): Promise<void> {
    if (this.options.given.requireConnectedForSend) {
      throw new QWormholeError("E_NOT_CONNECTED", "QWormholeClient is not connected");
    }
    if (this.wanted && this.state !== "idle") this.pending.push(data, priority);
    return RESOLVED;
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

  private async untilAborted(waiter: Deferred, signal: AbortSignal | undefined): Promise<void> {
    try {
      await orAborted(waiter.promise, signal);
    } catch (error) {
      // Only what it waited for: it may be over already and another attempt under way.
      if (signal?.aborted && this.connecting === waiter) void this.disconnect();
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
