import { defaultSerializer } from "../codec/codec.js";
import type { Deserializer, Serializer } from "../codec/codec.js";
import type { HandshakeTags } from "../handshake/schema.js";
import { createHandshakeVerifier, requiredTags } from "../handshake/verifier.js";
import type { HandshakeVerifier } from "../handshake/verifier.js";
import type { ListenOptions } from "../native/engine.js";
import type { ServerSocket } from "../server-connection.js";
import type { TelemetrySnapshot } from "../telemetry.js";
import { checkPort, count, sharedNative } from "./client.js";
import type { SharedOptions } from "./client.js";
import { Environment } from "./environment.js";
import { resolveTls } from "./tls.js";

/** Options of a {@link QWormholeServer}. */
export interface QWormholeServerOptions<T = Buffer> extends SharedOptions<T> {
  /** Address to listen on. Default `0.0.0.0`: everybody who reaches this machine. */
  readonly host?: string;
  /** 0 lets the system choose. */
  readonly port?: number;
  /** Instead of `host` and `port`: a unix socket; `@name` is an abstract one. */
  readonly path?: string;
  /** Accepted and without effect: servers send no handshake. */
  readonly handshakeTags?: HandshakeTags;
  /** Refuses handshakes without a signature. Default false: those that have one are checked. */
  readonly requireSigned?: boolean;
  /** Decides about each client, after signature and version were checked. Only with a `protocolVersion`. */
  readonly verifyHandshake?: HandshakeVerifier;
  /** Whether handshakes are told as `message`, too. Default false. */
  readonly emitHandshakeMessages?: boolean;
  /** Whether a client that stops sending may go on receiving. Default false. */
  readonly allowHalfOpen?: boolean;
  /** Lets several processes listen on the same port. Default false. */
  readonly reusePort?: boolean;
  /** Bytes that may be queued for one client; a `send` beyond rejects with `E_BACKPRESSURE` and cuts it off. Default 5 MiB. */
  readonly maxBackpressureBytes?: number;
  /** Clients at once; one more is refused and `error` tells `E_MAX_CLIENTS`. Default 16,384. */
  readonly maxClients?: number;
  /** Decides about each client by its address. */
  readonly allowConnection?: (remoteAddress: string) => boolean | Promise<boolean>;
  /** Decides about each client, after `allowConnection`. */
  readonly onAuthorizeConnection?: (socket: ServerSocket) => boolean | Promise<boolean>;
  /** Told after changes, once per turn of the event loop at most. */
  readonly onTelemetry?: (snapshot: TelemetrySnapshot) => void;
}

/** What a server goes by. */
export interface ResolvedServerOptions<T> {
  readonly given: QWormholeServerOptions<T>;
  readonly native: ListenOptions;
  readonly protocolVersion: string | undefined;
  readonly verifier: HandshakeVerifier | undefined;
  readonly maxBackpressureBytes: number;
  readonly serializer: Serializer;
  readonly deserializer: Deserializer<T> | undefined;
}

/**
 * Checks and completes a server's options.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` or `E_INVALID_ENVIRONMENT` that names what is wrong.
 */
export function resolveServerOptions<T>(given: QWormholeServerOptions<T>): ResolvedServerOptions<T> {
  const env = new Environment();
  const { host = "0.0.0.0", port = 0, path, allowHalfOpen, maxClients, requireSigned, reusePort } = given;
  checkPort(port, 0);
  const protocolVersion = given.protocolVersion ?? env.text("QWORMHOLE_PROTOCOL_VERSION");
  const maxBackpressureBytes = count("maxBackpressureBytes", given.maxBackpressureBytes ?? 5 * 1024 * 1024);
  const native: ListenOptions = {
    ...sharedNative(given, resolveTls("server", given.tls, env)),
    ...(path === undefined ? { host, port } : { path }),
    ...(protocolVersion === undefined ? {} : { protocolVersion }),
    ...(maxClients === undefined ? {} : { maxClients: count("maxClients", maxClients) }),
    ...(allowHalfOpen === undefined ? {} : { allowHalfOpen }),
    ...(requireSigned === undefined ? {} : { requireSigned }),
    ...(reusePort === undefined ? {} : { reusePort }),
  };
  return {
    given,
    native,
    protocolVersion,
    verifier: given.verifyHandshake ?? environmentVerifier(env, protocolVersion),
    maxBackpressureBytes,
    serializer: given.serializer ?? defaultSerializer,
    deserializer: given.deserializer,
  };
}

function environmentVerifier(env: Environment, protocolVersion: string | undefined): HandshakeVerifier | undefined {
  if (!env.flag("QWORMHOLE_REQUIRE_HANDSHAKE")) return undefined;
  const fallback = protocolVersion === undefined ? [] : [protocolVersion];
  return createHandshakeVerifier({
    allowedVersions: env.list("QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS") ?? fallback,
    validateTags: requiredTags(env.list("QWORMHOLE_HANDSHAKE_REQUIRED_TAGS") ?? []),
  });
}
