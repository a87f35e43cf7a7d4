import type { CommonOptions } from "../native/engine.js";
import { chosenBackend } from "../native/load.js";
import type { BackendOptions } from "../native/load.js";
import { count } from "../options/client.js";
import { nativeTls, resolveTls } from "../options/tls.js";
import type { TlsOptions } from "../options/tls.js";
import { STREAM_HIGH_WATER_MARK } from "./duplex.js";

/** Options that streams have on both ends. */
export interface StreamOptions extends BackendOptions {
  /** Secures the connection. Default: none, or what the environment says. */
  readonly tls?: TlsOptions;
  /** Whether this end may go on writing when the peer has ended. Default false, as for sockets. */
  readonly allowHalfOpen?: boolean;
  /** Bytes that wait on either side before `write` returns false and reading stops. Default 64 KiB. */
  readonly highWaterMark?: number;
  /** TCP keepalive. Default true. */
  readonly keepAlive?: boolean;
  /** Milliseconds of silence before the first probe. Default 30,000. */
  readonly keepAliveDelayMs?: number;
}

/** What native connections and listeners take. */
export function nativeStream(
  role: "client" | "server",
  options: StreamOptions,
  secure: boolean,
): { native: CommonOptions; highWaterMark: number; allowHalfOpen: boolean } {
  const highWaterMark = count("highWaterMark", options.highWaterMark ?? STREAM_HIGH_WATER_MARK);
  const backend = chosenBackend(options);
  const tls = resolveTls(role, secure ? { ...options.tls, enabled: true } : options.tls);
  const native: CommonOptions = {
    framing: "none",
    ...(backend === undefined ? {} : { backend }),
    // The peer's end is told in any case; whether this end then ends, too, is the Duplex's decision.
    allowHalfOpen: true,
    keepAlive: options.keepAlive ?? true,
    keepAliveDelayMs: count("keepAliveDelayMs", options.keepAliveDelayMs ?? 30_000),
    inboxBytes: Math.max(highWaterMark, 16 * 1024),
    ...(tls === undefined ? {} : { tls: nativeTls(tls) }),
  };
  return { native, highWaterMark, allowHalfOpen: options.allowHalfOpen ?? false };
}
