import { TypedEmitter, uncaught } from "./emitter.js";
import { QWormholeError, asError } from "./errors.js";
import type { CloseReason, Connection, ListenAddress, Listener, ListenerSink, Rejection } from "./native/engine.js";
import { engine } from "./native/load.js";
import { resolveServerOptions } from "./options/server.js";
import type { QWormholeServerOptions, ResolvedServerOptions } from "./options/server.js";
import { defined } from "./options/tls.js";
import { ServerConnection, payloadOf } from "./server-connection.js";
import { Telemetry } from "./telemetry.js";
import type { TelemetrySnapshot } from "./telemetry.js";
import { MessageBatch } from "./transport/batch.js";
import { errorOf } from "./transport/errors.js";
import { Incoming } from "./transport/incoming.js";
import type { MessagesOptions } from "./transport/message-queue.js";
import { HIGH_WATER_MARK, Outlet } from "./transport/outlet.js";
import { trustSnapshot } from "./trust.js";

/** A client as far as it is known when it was refused. */
export interface RefusedClient {
  readonly id: string;
  readonly remoteAddress?: string;
  readonly remotePort?: number;
}

/** A message and who sent it. */
export interface ServerMessage<T> {
  readonly client: ServerConnection;
  readonly data: T;
}

/** Events of a {@link QWormholeServer} and the arguments of their listeners. */
export interface QWormholeServerEvents<T> {
  listening: [ListenAddress];
  /** A client was let in: its handshake, where there is one, was accepted. */
  connection: [ServerConnection];
  message: [ServerMessage<T>];
  /** Messages of one client that arrived together, as views: see {@link MessageBatch}. */
  batch: [{ client: ServerConnection; messages: MessageBatch }];
  /** A client reads slower than is sent to it. */
  backpressure: [{ client: ServerConnection; queuedBytes: number; threshold: number }];
  /** And now it has caught up. */
  drain: [{ client: ServerConnection }];
  /** Once for each client that was accepted by the system, also if it was refused. */
  clientClosed: [{ client: ServerConnection | RefusedClient; hadError: boolean }];
  /** Why a client was refused or cut off. Without a listener it goes to standard error. */
  error: [Error];
  close: [];
}

/** A client between its acceptance and its end. */
interface Client<T> {
  readonly connection: ServerConnection;
  readonly outlet: Outlet;
  readonly incoming: Incoming<T>;
  /** Waits for those who decide; messages wait with it. */
  held: Buffer[] | undefined;
  hadError: boolean | undefined;
}

/**
 * Accepts clients and exchanges messages with them.
 *
 * @example
 * ```ts
 * const server = new QWormholeServer({ host: "127.0.0.1", port: 9000, deserializer: textDeserializer });
 * server.on("message", ({ client, data }) => void client.send(`echo: ${data}`));
 * const { port } = await server.listen();
 * ```
 */
export class QWormholeServer<T = Buffer> extends TypedEmitter<QWormholeServerEvents<T>> {
  private readonly options: ResolvedServerOptions<T>;
  private readonly telemetry: Telemetry;
  private readonly admitted = new Map<string, Client<T>>();
  private readonly shared: Incoming<ServerMessage<T>>;
  private listener: Listener | undefined;
  private closing: Promise<void> | undefined;
  private stopped: (() => void) | undefined;
  /** Rejects the `listen` that is under way. */
  private refuse: ((error: Error) => void) | undefined;
  private refused = 0;

  /** @throws {@link QWormholeError} `E_INVALID_OPTION` or `E_INVALID_ENVIRONMENT` that names what is wrong. */
  constructor(options: QWormholeServerOptions<T> = {}) {
    super();
    this.options = resolveServerOptions(options);
    this.telemetry = new Telemetry(options.onTelemetry, uncaught);
    const valve = { pause: () => this.valve("pause"), resume: () => this.valve("resume") };
    this.shared = new Incoming<ServerMessage<T>>(undefined, valve, NOBODY);
  }

  /** Counters until now. */
  get stats(): Readonly<TelemetrySnapshot> {
    return { ...this.telemetry.counters };
  }

  /**
   * Starts to listen; again, too, after a `close`. Rejects with the system's error, such as `EADDRINUSE`, and with
   * `E_CLOSED` where `close` came first.
   */
  listen(): Promise<ListenAddress> {
    if (this.listener !== undefined) return Promise.reject(new Error("Server already listening"));
    return new Promise((resolve, reject) => {
      try {
        this.listener = engine().listen(this.options.native, this.sink(resolve));
        this.refuse = reject;
      } catch (error) {
        reject(asError(error));
      }
    });
  }

  /**
   * Stops accepting, delivers what is queued for up to `gracefulMs`, closes. Resolves when all of it is over.
   *
   * @param gracefulMs - milliseconds, default 250.
   */
  close(gracefulMs = 250): Promise<void> {
    const { listener } = this;
    if (listener === undefined) return Promise.resolve();
    this.closing ??= new Promise((resolve) => {
      this.stopped = resolve;
      listener.stop(gracefulMs);
    });
    return this.closing;
  }

  /** As {@link close}, with a default of 1,000 ms. */
  shutdown(gracefulMs = 1_000): Promise<void> {
    return this.close(gracefulMs);
  }

  /** Sends a message to every client; one that is too slow for it is cut off. */
  broadcast(payload: unknown): void {
    const data = this.options.serializer(payload);
    for (const { connection, held } of this.admitted.values()) {
      if (held !== undefined) continue;
      try {
        connection.accept(data, 0);
      } catch {
        // It was cut off and told as an error; the others get the message.
      }
    }
  }

  /** A client by its id. */
  getConnection(id: string): ServerConnection | undefined {
    const client = this.admitted.get(id);
    return client?.held === undefined ? client?.connection : undefined;
  }

  /** Clients that are connected now. */
  getConnectionCount(): number {
    let count = 0;
    for (const { held } of this.admitted.values()) if (held === undefined) count += 1;
    return count;
  }

  /** Messages of all clients as they come; ends with `close()`. A loop that is slow slows down every client. */
  messages(options: MessagesOptions = {}): AsyncIterableIterator<ServerMessage<T>> {
    return this.shared.messages(options);
  }

  /** Stops reading from every client: they are slowed down. What was received already still comes. */
  pause(): void {
    this.shared.valve.pause();
  }

  /** Reads again; as often as {@link pause} was called. */
  resume(): void {
    this.shared.valve.resume();
  }

  /** An open server keeps the process alive, the default. */
  ref(): this {
    this.listener?.ref();
    return this;
  }

  /** Lets the process end although the server is open. */
  unref(): this {
    this.listener?.unref();
    return this;
  }

  private sink(listening: (address: ListenAddress) => void): ListenerSink {
    return {
      listening: (address) => {
        // It stops already: whoever waits is told so in the end.
        if (this.closing !== undefined) return;
        this.refuse = undefined;
        this.tell("listening", address);
        listening(address);
      },
      failed: (message, code) => {
        this.refuse?.(code === undefined ? new Error(message) : Object.assign(new Error(message), { code }));
        if (this.closing === undefined) this.reset();
        else this.onStopped();
      },
      open: (conn) => this.onOpen(conn),
      messages: (conn, slab, start, ends, first, last) => {
        const client = conn.data as Client<T>;
        this.telemetry.add("bytesIn", (ends[last - 1] as number) - start + (last - first) * this.headerBytes);
        if (client.held === undefined) client.incoming.take(slab, start, ends, first, last);
        else client.held.push(...new MessageBatch(slab, start, ends, first, last));
      },
      flushed: (conn, mark) => (conn.data as Client<T>).outlet.onFlushed(mark),
      progress: (conn) => (conn.data as Client<T>).outlet.relieve(),
      close: (conn, why) => this.onClose(conn.data as Client<T>, why),
      rejected: (why) => this.onRejected(why),
      stopped: () => this.onStopped(),
    };
  }

  private get headerBytes(): number {
    return this.options.native.framing === "none" ? 0 : 4;
  }

  private onOpen(conn: Connection): void {
    const client = this.clientOf(conn);
    conn.data = client;
    this.admitted.set(conn.id, client);
    this.telemetry.add("connections", 1);
    if (this.shared.isShut) conn.pause();
    const { allowConnection, onAuthorizeConnection } = this.options.given;
    const { verifier, protocolVersion } = this.options;
    const asked = allowConnection ?? onAuthorizeConnection ?? (protocolVersion === undefined ? undefined : verifier);
    if (asked === undefined) return this.admit(client, conn);
    client.held = [];
    conn.pause();
    this.decide(client, conn).then(
      (error) => this.settle(client, conn, error),
      (error: unknown) => this.settle(client, conn, asError(error)),
    );
  }

  private clientOf(conn: Connection): Client<T> {
    const { maxBackpressureBytes, serializer, deserializer } = this.options;
    const high = Math.min(HIGH_WATER_MARK, maxBackpressureBytes / 2);
    const outlet = new Outlet(conn, high, (on, queuedBytes) => this.onPressure(connection, on, queuedBytes));
    const connection = new ServerConnection(conn, outlet, {
      serializer,
      maxBackpressureBytes,
      sent: (bytes) => this.telemetry.add("bytesOut", bytes - 4 + this.headerBytes),
      overflowed: (_connection, error) => {
        client.hadError = true;
        conn.abort();
        this.fail(error);
      },
    });
    const valve = { pause: () => conn.pause(), resume: () => conn.resume() };
    const incoming = new Incoming<T>(deserializer, valve, {
      message: (data, bytes) => {
        this.shared.push({ client: connection, data }, bytes);
        this.tell("message", { client: connection, data });
      },
      batch: (messages) => this.tell("batch", { client: connection, messages }),
      failed: (error) => this.fail(error),
      wantsMessages: () => this.shared.isRead || this.listenerCount("message") > 0,
      wantsBatches: () => this.listenerCount("batch") > 0,
    });
    const client: Client<T> = { connection, outlet, incoming, held: undefined, hadError: undefined };
    return client;
  }

  /** The error that a client is refused with, silent where it is `null`; `undefined` lets it in. */
  private async decide({ connection }: Client<T>, conn: Connection): Promise<Error | null | undefined> {
    const { allowConnection, onAuthorizeConnection } = this.options.given;
    if (allowConnection && !(await allowConnection(connection.remoteAddress ?? ""))) return null;
    if (onAuthorizeConnection && !(await onAuthorizeConnection(connection.socket))) return null;
    const { handshake } = conn.info;
    const { verifier } = this.options;
    if (handshake === undefined || verifier === undefined) return undefined;
    if (await verifier(payloadOf(handshake))) return undefined;
    return new QWormholeError("E_INVALID_HANDSHAKE", "Handshake rejected");
  }

  private settle(client: Client<T>, conn: Connection, error: Error | null | undefined): void {
    if (!this.admitted.has(client.connection.id)) return;
    if (error === undefined) {
      this.admit(client, conn);
      return;
    }
    client.hadError = true;
    if (error !== null) this.fail(error);
    conn.abort();
  }

  private admit(client: Client<T>, conn: Connection): void {
    const held = client.held ?? [];
    const waited = client.held !== undefined;
    client.held = undefined;
    this.tell("connection", client.connection);
    if (this.options.given.emitHandshakeMessages && conn.info.handshake !== undefined) this.tellHandshake(client, conn);
    for (const message of held) client.incoming.take(message, 0, Uint32Array.of(message.length), 0, 1);
    if (waited && !this.shared.isShut) conn.resume();
  }

  private tellHandshake(client: Client<T>, conn: Connection): void {
    if (conn.info.handshake === undefined) return;
    const bytes = Buffer.from(JSON.stringify(payloadOf(conn.info.handshake)));
    client.incoming.take(bytes, 0, Uint32Array.of(bytes.length), 0, 1);
  }

  private onPressure(client: ServerConnection, on: boolean, queuedBytes: number): void {
    this.telemetry.add(on ? "backpressureEvents" : "drainEvents", 1);
    if (on) this.tell("backpressure", { client, queuedBytes, threshold: this.options.maxBackpressureBytes });
    else this.tell("drain", { client });
  }

  private onClose(client: Client<T>, why: CloseReason): void {
    const { connection, outlet } = client;
    this.admitted.delete(connection.id);
    this.telemetry.add("connections", -1);
    outlet.onClose();
    const hadError = client.hadError ?? why.hadError;
    if (why.hadError && FAULTS.has(why.code)) this.fail(errorOf(why));
    this.tell("clientClosed", { client: connection, hadError });
    this.snapshot(connection, hadError, why);
  }

  private onRejected(why: Rejection): void {
    this.fail(errorOf(why));
    if (!why.admitted) return;
    this.refused += 1;
    const { remoteAddress, remotePort } = why;
    const client = defined({ id: `refused-${this.refused}`, remoteAddress, remotePort }) as RefusedClient;
    this.tell("clientClosed", { client, hadError: true });
  }

  private onStopped(): void {
    const { stopped } = this;
    this.refuse?.(new QWormholeError("E_CLOSED", "the server was closed before it listened"));
    // First: a listener of `close` may listen again.
    this.reset();
    this.shared.finish();
    this.tell("close");
    stopped?.();
  }

  private reset(): void {
    this.listener = undefined;
    this.closing = undefined;
    this.stopped = undefined;
    this.refuse = undefined;
  }

  private fail(error: Error): void {
    if (this.listenerCount("error") > 0) this.tell("error", error);
    else process.stderr.write(`qwormhole: server: ${error.message}\n`);
  }

  private valve(what: "pause" | "resume"): void {
    for (const conn of this.listener?.connections.values() ?? []) {
      // Nobody reads from a client that is not let in yet.
      if (what === "pause" || (conn.data as Client<T>).held === undefined) conn[what]();
    }
  }

  private snapshot(connection: ServerConnection, hadError: boolean, why: CloseReason): void {
    const { onTrustSnapshot } = this.options.given;
    if (onTrustSnapshot === undefined) return;
    const { remoteAddress, remotePort, handshake, id } = connection;
    const snapshot = trustSnapshot({
      direction: "server",
      reason: hadError ? "error" : why.code === "local" ? "disconnect" : "close",
      id,
      remoteAddress,
      remotePort,
      handshakeTags: handshake?.tags,
      entropyMetrics: handshake?.entropyMetrics,
    });
    try {
      onTrustSnapshot(snapshot);
    } catch (error) {
      this.fail(asError(error));
    }
  }
}

/** Closes that are the peer's or the system's fault and worth an `error`; a reset or a silent peer is not. */
const FAULTS: ReadonlySet<string> = new Set(["E_FRAME_TOO_LARGE", "E_BACKPRESSURE", "frame-timeout", "stalled", "tls"]);

const NOBODY = {
  message: () => undefined,
  batch: () => undefined,
  failed: () => undefined,
  wantsMessages: () => false,
  wantsBatches: () => false,
};
