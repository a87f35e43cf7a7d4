import { networkInterfaces } from "node:os";

import { defaultSerializer } from "../codec/codec.js";
import type { Deserializer, Serializer } from "../codec/codec.js";
import { QWormholeError } from "../errors.js";
import type { HandshakeSigner } from "../handshake/negentropic.js";
import type { EntropyMetrics, HandshakeTags } from "../handshake/schema.js";
import type { ConnectOptions } from "../native/engine.js";
import { chosenBackend } from "../native/load.js";
import type { BackendOptions } from "../native/load.js";
import type { TrustSnapshot } from "../trust.js";
import { Environment } from "./environment.js";
import { nativeTls, resolveTls } from "./tls.js";
import type { TlsOptions } from "./tls.js";

/** Whether messages are told apart. `kcp-arq` and `quic-stream` act like `none`. */
export type Framing = "length-prefixed" | "none" | "kcp-arq" | "quic-stream";

/** When and how often a lost connection is made again. */
export interface ReconnectOptions {
  /** Default true. */
  readonly enabled: boolean;
  /** Milliseconds before the first attempt. Default 300. */
  readonly initialDelayMs: number;
  /** Milliseconds before any attempt at most. Default 10,000. */
  readonly maxDelayMs: number;
  /** What each delay is multiplied by for the next. Default 2; there is no jitter. */
  readonly multiplier: number;
  /** Attempts in a row. Default: without end. */
  readonly maxAttempts: number;
}

/** Options of a client and a server that mean the same for both. */
export interface SharedOptions<T> extends BackendOptions {
  /** Default: none, or what the environment says. */
  readonly tls?: TlsOptions;
  /** Clients: sends a handshake with this version. Servers: asks for one. Default `QWORMHOLE_PROTOCOL_VERSION`. */
  readonly protocolVersion?: string;
  /** Default `length-prefixed`: what is sent as one message arrives as one. */
  readonly framing?: Framing;
  /** Bytes of a received message at most; a longer one ends the connection. Default, and for 0: 4 MiB. */
  readonly maxFrameLength?: number;
  /** TCP keepalive. Default true. */
  readonly keepAlive?: boolean;
  /** Milliseconds of silence before the first probe. Default 30,000. */
  readonly keepAliveDelayMs?: number;
  /** Milliseconds without a byte after which a connection ends. Default 0, never. */
  readonly idleTimeoutMs?: number;
  /** Default: strings as UTF-8, bytes as they are, everything else as JSON. */
  readonly serializer?: Serializer;
  /** Makes messages out of bytes, which are valid during the call. Default: a Buffer that may be kept. */
  readonly deserializer?: Deserializer<T>;
  /** Bytes per second that are sent at most, headers included. Default: no limit. */
  readonly rateLimitBytesPerSec?: number;
  /** Bytes that may leave at once. Default: `rateLimitBytesPerSec`. */
  readonly rateLimitBurstBytes?: number;
  /** Told once at the end of each connection. Default: nobody. */
  readonly onTrustSnapshot?: (snapshot: TrustSnapshot) => void;
  /** Accepted and without effect: there is no flow controller to switch off; batches follow what is queued. */
  readonly disableFlowController?: boolean;
  /** Accepted and without effect, as `disableFlowController`. */
  readonly flowFastPath?: boolean;
}

/** Options of a {@link QWormholeClient}. */
export interface QWormholeClientOptions<T = Buffer> extends SharedOptions<T> {
  /** Name or address. */
  readonly host?: string;
  readonly port?: number;
  /** Instead of `host` and `port`: a unix socket; `@name` is an abstract one. */
  readonly path?: string;
  /** Address to connect from. Wins over `interfaceName`. */
  readonly localAddress?: string;
  /** Port to connect from. */
  readonly localPort?: number;
  /** Connects from the first IPv4 address of this interface that is not a loopback's. */
  readonly interfaceName?: string;
  /** Milliseconds until `connect()` rejects with `E_CONNECT_TIMEOUT`. Default: what the system allows. */
  readonly connectTimeoutMs?: number;
  /** Sent with the handshake. */
  readonly handshakeTags?: HandshakeTags;
  /** Makes members of the handshake, which win over others; see `createHandshakeSigner`. */
  readonly handshakeSigner?: HandshakeSigner;
  readonly reconnect?: Partial<ReconnectOptions>;
  /** Whether `send` rejects while there is no connection. Default false: it is kept for the next, up to 1 MiB. */
  readonly requireConnectedForSend?: boolean;
  /** Milliseconds between heartbeats, ordinary messages of priority 100. Default: none. */
  readonly heartbeatIntervalMs?: number;
  /** Default `{type: "ping", ts: <now>}`. */
  readonly heartbeatPayload?: unknown;
  /** Bytes that may be queued before `send` waits. Default 1 MiB. */
  readonly socketHighWaterMark?: number;
  /** Told in trust snapshots; not sent. */
  readonly entropyMetrics?: EntropyMetrics;
  /** Accepted and without effect: peers are all alike. */
  readonly peerIsNative?: boolean;
  /** Bytes that may be queued before the connection is cut with `E_BACKPRESSURE`. Default 256 MiB. */
  readonly maxBackpressureBytes?: number;
}

/** What a client goes by: options over environment over defaults. */
export interface ResolvedClientOptions<T> {
  readonly given: QWormholeClientOptions<T>;
  readonly native: ConnectOptions;
  readonly tls: TlsOptions | undefined;
  readonly protocolVersion: string | undefined;
  readonly reconnect: ReconnectOptions;
  readonly serializer: Serializer;
  /** `undefined`: copies of the bytes. */
  readonly deserializer: Deserializer<T> | undefined;
  readonly framed: boolean;
}

/**
 * Checks and completes a client's options.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` or `E_INVALID_ENVIRONMENT` that names what is wrong.
 */
export function resolveClientOptions<T>(given: QWormholeClientOptions<T>): ResolvedClientOptions<T> {
  const env = new Environment();
  const { host, port, path, connectTimeoutMs, localAddress, localPort } = given;
  if ((given as { socketFactory?: unknown }).socketFactory !== undefined) {
    throw new QWormholeError("E_INVALID_OPTION", "socketFactory: the transport of a client is not replaceable");
  }
  if (path === undefined) checkPort(port, 1);
  const tls = resolveTls("client", given.tls, env);
  const native: ConnectOptions = {
    ...sharedNative(given, tls),
    ...(path === undefined ? { host: host ?? "127.0.0.1", port: port as number } : { path }),
    queueBytesMax: given.maxBackpressureBytes ?? QUEUE_BYTES_MAX,
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs: count("connectTimeoutMs", connectTimeoutMs) }),
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(localPort === undefined ? {} : { localPort }),
  };
  return {
    given,
    native,
    tls,
    protocolVersion: given.protocolVersion ?? env.text("QWORMHOLE_PROTOCOL_VERSION"),
    reconnect: resolveReconnect(given.reconnect),
    serializer: given.serializer ?? defaultSerializer,
    deserializer: given.deserializer,
    framed: isFramed(given.framing),
  };
}

/** What native connections and listeners have in common. */
export function sharedNative<T>(given: SharedOptions<T>, tls: TlsOptions | undefined): ConnectOptions {
  const { maxFrameLength, rateLimitBytesPerSec, rateLimitBurstBytes } = given;
  const backend = chosenBackend(given);
  return {
    framing: isFramed(given.framing) ? "length-prefixed" : "none",
    ...(backend === undefined ? {} : { backend }),
    maxFrameLength: count("maxFrameLength", maxFrameLength ?? 0),
    keepAlive: given.keepAlive ?? true,
    keepAliveDelayMs: count("keepAliveDelayMs", given.keepAliveDelayMs ?? 30_000),
    idleTimeoutMs: count("idleTimeoutMs", given.idleTimeoutMs ?? 0),
    ...(tls === undefined ? {} : { tls: nativeTls(tls) }),
    ...(rateLimitBytesPerSec === undefined
      ? {}
      : { rateLimitBytesPerSec: Math.max(1, count("rateLimitBytesPerSec", rateLimitBytesPerSec)) }),
    ...(rateLimitBurstBytes === undefined
      ? {}
      : { rateLimitBurstBytes: count("rateLimitBurstBytes", rateLimitBurstBytes) }),
  };
}

/** The first IPv4 address of an interface that is not internal, as QWormhole chooses it. */
export function interfaceAddress(name: string): string {
  const address = networkInterfaces()[name]?.find((each) => each.family === "IPv4" && !each.internal)?.address;
  if (address === undefined) throw new QWormholeError("E_INTERFACE_NOT_FOUND", `Interface ${name} not found`);
  return address;
}

/** Milliseconds before attempt `attempt`, counted from 1. */
export function reconnectDelay(options: ReconnectOptions, attempt: number): number {
  return Math.min(options.initialDelayMs * options.multiplier ** (attempt - 1), options.maxDelayMs);
}

/** A number of something: finite and not negative. */
export function count(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new QWormholeError("E_INVALID_OPTION", `${name} must be a number from 0, not ${String(value)}`);
}

/** A port, from `min`. */
export function checkPort(port: unknown, min: number): void {
  if (Number.isInteger(port) && (port as number) >= min && (port as number) <= 65_535) return;
  throw new QWormholeError("E_INVALID_OPTION", `port must be an integer from ${min} to 65535, not ${String(port)}`);
}

function resolveReconnect(given: Partial<ReconnectOptions> = {}): ReconnectOptions {
  const { enabled = true, initialDelayMs = 300, maxDelayMs = 10_000, multiplier = 2, maxAttempts = Infinity } = given;
  count("reconnect.initialDelayMs", initialDelayMs);
  count("reconnect.maxDelayMs", maxDelayMs);
  count("reconnect.multiplier", multiplier);
  return { enabled, initialDelayMs, maxDelayMs, multiplier, maxAttempts };
}

function isFramed(framing: Framing | undefined): boolean {
  const known: readonly unknown[] = [undefined, "length-prefixed", "none", "kcp-arq", "quic-stream"];
  if (known.includes(framing)) return framing === undefined || framing === "length-prefixed";
  const words = "one of length-prefixed, none, kcp-arq, quic-stream";
  throw new QWormholeError("E_INVALID_OPTION", `framing must be ${words}, not ${String(framing)}`);
}

/** Bytes that a client may have queued before it is cut off: what nobody sends by intention. */
export const QUEUE_BYTES_MAX = 256 * 1024 * 1024;
