import { abortError } from "../abort.js";
import type { ConnectOptions as NativeConnectOptions, Connection, ConnectionInfo, Sink } from "../native/engine.js";
import { engine } from "../native/load.js";
import { checkPort, count } from "../options/client.js";
import { parseAddress } from "../transport/address.js";
import { errorOf } from "../transport/errors.js";
import { ByteStream } from "./duplex.js";
import type { StreamInfo } from "./duplex.js";
import { nativeStream } from "./options.js";
import type { StreamOptions } from "./options.js";

/** Options of {@link connect}. */
export interface ConnectOptions extends StreamOptions {
  /** Instead of the members below: `tcp://host:port`, `tls://host:port`, `host:port` or `unix:/path`. */
  readonly server?: string;
  /** Name or address. Default `127.0.0.1`. */
  readonly host?: string;
  readonly port?: number;
  /** A unix socket; `@name` is an abstract one. */
  readonly path?: string;
  readonly localAddress?: string;
  readonly localPort?: number;
  /** Milliseconds until it rejects with `E_CONNECT_TIMEOUT`. Default: what the system allows. */
  readonly connectTimeoutMs?: number;
  /** Gives up with an `AbortError`. Once connected, it has no effect. */
  readonly signal?: AbortSignal;
}

/**
 * Connects a stream of bytes over TCP, TLS or a unix socket. Rejects with the system's error, such as `ECONNREFUSED`,
 * with `E_CONNECT_TIMEOUT`, or with an `AbortError`.
 *
 * @example
 * ```ts
 * const stream = await connect({ server: "tcp://127.0.0.1:9736" });
 * await pipeline(createReadStream("file"), stream);
 * ```
 */
export function connect(options: ConnectOptions): Promise<ByteStream> {
  return new Promise((resolve, reject) => {
    const { signal } = options;
    if (signal?.aborted) throw abortError(signal);
    const { native, transport, ...duplex } = resolveTarget(options);
    let stream: ByteStream | undefined;
    const abort = (): void => {
      conn.abort();
      if (signal !== undefined) reject(abortError(signal));
    };
    const sink: Sink = {
      open: (opened, info) => {
        signal?.removeEventListener("abort", abort);
        stream = new ByteStream(opened, streamInfo(transport, info), duplex);
        resolve(stream);
      },
      ...bytesTo(() => stream),
      close: (_conn, why) => {
        signal?.removeEventListener("abort", abort);
        if (stream === undefined) reject(errorOf(why));
        else stream.onClose(why);
      },
    };
    const conn: Connection = engine().connect(native, sink);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** The part of a sink that both ends share. */
export function bytesTo(streamOf: (conn: Connection) => ByteStream | undefined): Sink {
  return {
    messages: (conn, slab, start, ends, _first, last) => {
      streamOf(conn)?.onBytes(slab, start, ends[last - 1] as number);
    },
    peerEnd: (conn) => streamOf(conn)?.onPeerEnd(),
    flushed: (conn, mark) => streamOf(conn)?.onFlushed(mark),
  };
}

/** What is told about a connection. */
export function streamInfo(transport: StreamInfo["transport"], info: ConnectionInfo): StreamInfo {
  const { remoteAddress, remotePort, tls } = info;
  return {
    transport: tls === undefined ? transport : "tls",
    ...(remoteAddress === undefined ? {} : { remoteAddress }),
    ...(remotePort === undefined ? {} : { remotePort }),
    ...(tls === undefined ? {} : { tls }),
  };
}

function resolveTarget(options: ConnectOptions): {
  native: NativeConnectOptions;
  transport: StreamInfo["transport"];
  highWaterMark: number;
  allowHalfOpen: boolean;
} {
  const given = options.server === undefined ? { ...options, secure: false } : parseAddress(options.server);
  const { native, ...duplex } = nativeStream("client", options, given.secure);
  const { localAddress, localPort, connectTimeoutMs } = options;
  const rest: NativeConnectOptions = {
    ...native,
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(localPort === undefined ? {} : { localPort }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs: count("connectTimeoutMs", connectTimeoutMs) }),
  };
  if (given.path !== undefined) return { native: { ...rest, path: given.path }, transport: "unix", ...duplex };
  checkPort(given.port, 1);
  const { host = "127.0.0.1", port = 0 } = given;
  return { native: { ...rest, host, port }, transport: "tcp", ...duplex };
}
