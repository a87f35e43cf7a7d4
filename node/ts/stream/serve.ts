import { uncaught } from "../emitter.js";
import { asError } from "../errors.js";
import type { Connection, ListenAddress, ListenOptions, Listener, ListenerSink } from "../native/engine.js";
import { engine } from "../native/load.js";
import { checkPort, count } from "../options/client.js";
import { parseAddress } from "../transport/address.js";
import { errorOf } from "../transport/errors.js";
import { bytesTo, streamInfo } from "./connect.js";
import { ByteStream } from "./duplex.js";
import type { StreamInfo } from "./duplex.js";
import { nativeStream } from "./options.js";
import type { StreamOptions } from "./options.js";

/** Options of {@link serve}. */
export interface ServeOptions extends StreamOptions {
  /** Instead of the members below: `tcp://host:port`, `tls://host:port`, `host:port` or `unix:/path`. */
  readonly listen?: string;
  /** Default `127.0.0.1`. */
  readonly host?: string;
  /** Default 0: the system chooses. */
  readonly port?: number;
  /** A unix socket; `@name` is an abstract one. */
  readonly path?: string;
  /** Connections at once; more are refused. Default 16,384. */
  readonly maxClients?: number;
  /** Called with every connection. What it throws destroys that stream and is told to `onError`. */
  readonly onConnection: (stream: ByteStream, info: StreamInfo) => void;
  /** Told why a connection was refused, such as by TLS. Default: nobody. */
  readonly onError?: (error: Error) => void;
}

/** What accepts streams; made by {@link serve}. */
export interface StreamServer {
  readonly address: ListenAddress;
  /** Streams that are open now. */
  readonly connections: number;
  /**
   * Accepts nobody any more, ends all streams after what was written to them, waits for their peers to end, too, for up
   * to `graceMs`, cuts the rest. Resolves when all of it is over.
   *
   * @param graceMs - milliseconds, default 2,000.
   */
  close(graceMs?: number): Promise<void>;
  ref(): void;
  unref(): void;
}

/**
 * Accepts streams of bytes over TCP, TLS or a unix socket. Rejects with the system's error, such as `EADDRINUSE`.
 *
 * @example
 * ```ts
 * const server = await serve({ port: 9736, onConnection: (stream) => stream.pipe(stream) });
 * ```
 */
export function serve(options: ServeOptions): Promise<StreamServer> {
  return new Promise((resolve, reject) => new Acceptor(options, resolve, reject));
}

class Acceptor implements StreamServer {
  address: ListenAddress = { address: "", port: 0, family: "" };
  private readonly streams = new Set<ByteStream>();
  private readonly listener: Listener;
  private readonly transport: StreamInfo["transport"];
  private readonly duplex: { highWaterMark: number; allowHalfOpen: boolean };
  private closing: Promise<void> | undefined;
  private stopped: (() => void) | undefined;
  private graceEnds = 0;
  private stopping = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly options: ServeOptions,
    listening: (server: StreamServer) => void,
    failed: (error: Error) => void,
  ) {
    const given = options.listen === undefined ? { ...options, secure: false } : parseAddress(options.listen);
    const { native, ...duplex } = nativeStream("server", options, given.secure);
    const { maxClients } = options;
    const rest: ListenOptions = {
      ...native,
      ...(maxClients === undefined ? {} : { maxClients: count("maxClients", maxClients) }),
    };
    checkPort(given.port ?? 0, 0);
    const { path, host = "127.0.0.1", port = 0 } = given;
    this.transport = path === undefined ? "tcp" : "unix";
    this.duplex = duplex;
    const target = path === undefined ? { ...rest, host, port } : { ...rest, path };
    this.listener = engine().listen(target, this.sink(listening, failed));
  }

  get connections(): number {
    return this.streams.size;
  }

  close(graceMs = 2_000): Promise<void> {
    this.closing ??= new Promise((resolve) => {
      this.stopped = resolve;
      this.graceEnds = Date.now() + graceMs;
      if (this.streams.size === 0 || graceMs <= 0) return this.stop();
      this.timer = setTimeout(() => this.stop(), graceMs);
      for (const stream of this.streams) stream.end();
    });
    return this.closing;
  }

  ref(): void {
    this.listener.ref();
  }

  unref(): void {
    this.listener.unref();
  }

  private sink(listening: (server: StreamServer) => void, failed: (error: Error) => void): ListenerSink {
    return {
      listening: (address) => {
        this.address = address;
        listening(this);
      },
      failed: (message, code) => failed(Object.assign(new Error(message), code === undefined ? {} : { code })),
      open: (conn) => this.accept(conn),
      ...bytesTo((conn) => conn.data as ByteStream | undefined),
      close: (conn, why) => {
        const stream = conn.data as ByteStream | undefined;
        if (stream === undefined) return;
        this.streams.delete(stream);
        stream.onClose(why);
        if (this.closing !== undefined && this.streams.size === 0) this.stop();
      },
      rejected: (why) => this.told(errorOf(why)),
      stopped: () => this.stopped?.(),
    };
  }

  private stop(): void {
    clearTimeout(this.timer);
    if (this.stopping) return;
    this.stopping = true;
    this.listener.stop(Math.max(0, this.graceEnds - Date.now()));
  }

  private accept(conn: Connection): void {
    if (this.closing !== undefined) return conn.abort();
    const stream = new ByteStream(conn, streamInfo(this.transport, conn.info), this.duplex);
    conn.data = stream;
    this.streams.add(stream);
    try {
      this.options.onConnection(stream, stream.info);
    } catch (thrown) {
      const error = asError(thrown);
      stream.on("error", () => undefined);
      stream.destroy(error);
      this.told(error);
    }
  }

  private told(error: Error): void {
    try {
      this.options.onError?.(error);
    } catch (thrown) {
      uncaught(thrown);
    }
  }
}
