import { QWormholeClient } from "./client.js";
import type { SendOptions } from "./client.js";
import type { Deserializer, Serializer } from "./codec/codec.js";
import { TypedEmitter } from "./emitter.js";
import { QWormholeError } from "./errors.js";
import { createQWormholeClient, createQWormholeServer } from "./factory.js";
import type { HandshakeTags } from "./handshake/schema.js";
import type { ListenAddress } from "./native/engine.js";
import type { BackendOptions } from "./native/load.js";
import { Environment } from "./options/environment.js";
import { defined } from "./options/tls.js";
import type { QWormholeClientOptions } from "./options/client.js";
import type { QWormholeServerOptions } from "./options/server.js";
import type { QWormholeServer } from "./server.js";
import type { ServerConnection } from "./server-connection.js";
import { MessageQueue } from "./transport/message-queue.js";
import type { MessagesOptions, Valve } from "./transport/message-queue.js";
import { parseAddress } from "./transport/address.js";

/** Options that the clients and servers of a {@link QWormholeRuntime} share. */
export interface QWormholeRuntimeOptions<T = Buffer> extends BackendOptions {
  readonly protocolVersion?: string;
  readonly handshakeTags?: HandshakeTags;
  /** Tells connections, ends and errors on standard error. Default false. */
  readonly debug?: boolean;
  readonly interfaceName?: string;
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly rateLimitBytesPerSec?: number;
  readonly rateLimitBurstBytes?: number;
  readonly serializer?: Serializer;
  readonly deserializer?: Deserializer<T>;
}

/** Events of a {@link QWormholeRuntime}: those of its parts. */
export interface QWormholeRuntimeEvents<T> {
  connect: [];
  ready: [];
  /** The data of a message, of the client or of any client of the server. */
  message: [T];
  listening: [ListenAddress];
  connection: [ServerConnection];
  clientClosed: [{ client: { readonly id: string }; hadError: boolean }];
  reconnecting: [{ attempt: number; delayMs: number }];
  close: [];
  error: [Error];
}

/** One client or one server, or one of each, behind one object with common options. */
export class QWormholeRuntime<T = Buffer> extends TypedEmitter<QWormholeRuntimeEvents<T>> {
  private client: QWormholeClient<T> | undefined;
  private server: QWormholeServer<T> | undefined;
  private readonly queues = new Set<MessageQueue<T>>();

  constructor(private readonly options: QWormholeRuntimeOptions<T> = {}) {
    super();
  }

  /** A client with the options of the runtime, which do not win over `options`; it is not the runtime's own. */
  createClient(options: QWormholeClientOptions<T>): QWormholeClient<T> {
    const { debug: _debug, ...common } = this.options;
    return createQWormholeClient<T>({ ...common, ...options }).client;
  }

  /** A server with the options of the runtime, which do not win over `options`; it is not the runtime's own. */
  createServer(options: QWormholeServerOptions<T> = {}): QWormholeServer<T> {
    const { debug: _debug, interfaceName: _name, localAddress: _address, localPort: _port, ...common } = this.options;
    return createQWormholeServer<T>({ ...common, ...options }).server;
  }

  /**
   * Starts the runtime's server.
   *
   * @param port - default 0: the system chooses.
   * @param host - default `QWORMHOLE_BIND_HOST`, else `127.0.0.1`: nobody serves the network without having said so.
   */
  async listen(port = 0, host = new Environment().text("QWORMHOLE_BIND_HOST") ?? "127.0.0.1"): Promise<ListenAddress> {
    if (this.server !== undefined) throw new Error("Server already listening");
    const server = this.createServer({ host, port });
    this.server = server;
    server.on("connection", (connection) => this.tell("connection", connection));
    server.on("message", ({ data }) => this.receive(data));
    server.on("clientClosed", (closed) => this.tell("clientClosed", closed));
    server.on("error", (error) => this.fail(error));
    server.on("close", () => this.tell("close"));
    try {
      const address = await server.listen();
      this.log(`listening on ${address.address}:${address.port}`);
      this.tell("listening", address);
      return address;
    } catch (error) {
      this.server = undefined;
      throw error;
    }
  }

  /** Connects the runtime's client to `host:port`, `tcp://host:port`, `tls://host:port` or `unix:/path`. */
  async connect(address: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const { secure, ...target } = parseAddress(address);
    await this.client?.disconnect();
    const tls = secure ? { tls: { enabled: true } } : {};
    const client = this.createClient({ ...defined(target), ...tls });
    this.client = client;
    client.on("connect", () => this.tell("connect"));
    client.on("ready", () => this.tell("ready"));
    client.on("message", (data) => this.receive(data));
    client.on("reconnecting", (retry) => this.tell("reconnecting", retry));
    client.on("close", () => this.tell("close"));
    client.on("error", (error) => this.fail(error));
    await client.connect(options);
    this.log(`connected to ${address}`);
  }

  /** Sends to the server that the runtime is connected to, else to every client of its own server. */
  async send(payload: unknown, options: SendOptions = {}): Promise<void> {
    if (this.client !== undefined) return this.client.send(payload, options);
    if (this.server === undefined) {
      throw new QWormholeError("E_NOT_CONNECTED", "the runtime neither listens nor is connected");
    }
    this.server.broadcast(payload);
    return undefined;
  }

  /** Delivers what is queued and closes both parts. */
  async close(): Promise<void> {
    const { client, server } = this;
    this.client = undefined;
    this.server = undefined;
    await Promise.all([client?.disconnect(), server?.close()]);
    for (const queue of [...this.queues]) queue.finish();
  }

  /** Messages of both parts as they come; ends with `close()`. */
  messages(options: MessagesOptions = {}): AsyncIterableIterator<T> {
    const queue = new MessageQueue<T>(this.valve(), (over) => this.queues.delete(over), options.signal);
    this.queues.add(queue);
    return queue;
  }

  /** What is paused is resumed, also if the runtime has other parts by then. */
  private valve(): Valve {
    let shut: Valve[] = [];
    return {
      pause: () => {
        shut = [this.client, this.server].filter((part) => part !== undefined);
        for (const part of shut) part.pause();
      },
      resume: () => {
        for (const part of shut) part.resume();
        shut = [];
      },
    };
  }

  private receive(data: T): void {
    for (const queue of this.queues) queue.push(data, lengthOf(data));
    this.tell("message", data);
  }

  private fail(error: Error): void {
    this.log(error.message);
    if (this.listenerCount("error") > 0) this.tell("error", error);
  }

  private log(text: string): void {
    if (this.options.debug) process.stderr.write(`qwormhole: ${text}\n`);
  }
}

/** What is known of a message's length once it is a value; others are bounded by their number alone. */
function lengthOf(data: unknown): number {
  return typeof data === "string" || data instanceof Uint8Array ? data.length : 0;
}
