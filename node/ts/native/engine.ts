/**
 * What the native module offers, as described in `docs/node-native.md`. Everything returns at once; outcomes arrive through
 * sinks, in order, on the JavaScript thread.
 *
 * @internal
 */
export interface Engine {
  connect(options: ConnectOptions, sink: Sink): Connection;
  listen(options: ListenOptions, sink: ListenerSink): Listener;
  backend(): BackendReport;
}

/** Which driver moves the bytes. */
export interface BackendReport {
  readonly kind: "io_uring" | "tokio";
  /** For people. */
  readonly detail: string;
  /** Why io_uring was refused, where it was. */
  readonly refusal?: string;
}

/** @internal */
export interface NativeTls {
  key?: string | Buffer;
  cert?: string | Buffer;
  passphrase?: string;
  ca?: string | Buffer | (string | Buffer)[];
  alpnProtocols?: string[];
  requestCert?: boolean;
  rejectUnauthorized?: boolean;
  servername?: string;
  exportKeyingMaterial?: { label?: string; length?: number; context?: string | Buffer };
}

/** @internal */
export interface CommonOptions {
  framing?: "length-prefixed" | "none";
  maxFrameLength?: number;
  backend?: "auto" | "io_uring" | "tokio";
  tls?: NativeTls;
  keepAlive?: boolean;
  keepAliveDelayMs?: number;
  idleTimeoutMs?: number;
  rateLimitBytesPerSec?: number;
  rateLimitBurstBytes?: number;
  queueBytesMax?: number;
  inboxBytes?: number;
  allowHalfOpen?: boolean;
}

/** @internal */
export interface ConnectOptions extends CommonOptions {
  host?: string;
  port?: number;
  path?: string;
  connectTimeoutMs?: number;
  localAddress?: string;
  localPort?: number;
  interfaceName?: string;
}

/** @internal */
export interface ListenOptions extends CommonOptions {
  host?: string;
  port?: number;
  path?: string;
  protocolVersion?: string;
  maxClients?: number;
  requireSigned?: boolean;
  reusePort?: boolean;
}

/** @internal */
export interface CloseReason {
  readonly hadError: boolean;
  readonly message: string;
  readonly code: string;
}

/** @internal */
export interface Sink {
  open?(conn: Connection, info: ConnectionInfo): void;
  messages?(conn: Connection, slab: Buffer, start: number, ends: Uint32Array, first: number, last: number): void;
  peerEnd?(conn: Connection): void;
  flushed?(conn: Connection, mark: number): void;
  progress?(conn: Connection): void;
  close?(conn: Connection, why: CloseReason): void;
}

/** @internal */
export interface Rejection {
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly code: string;
  readonly message: string;
  readonly admitted: boolean;
}

/** @internal */
export interface ListenerSink extends Sink {
  listening?(address: ListenAddress): void;
  failed?(message: string, code?: string): void;
  rejected?(why: Rejection): void;
  stopped?(report: object): void;
}

/** Where a server can be reached. */
export interface ListenAddress {
  /** An address, or the path of a unix socket. */
  readonly address: string;
  /** The actual port, also where 0 was asked for. */
  readonly port: number;
  readonly family: string;
}

/** What is known about a secured connection. */
export interface TlsInfo {
  readonly alpnProtocol?: string;
  /** Such as `TLSv1.3`. */
  readonly protocol?: string;
  /** Such as `TLS_AES_256_GCM_SHA384`. */
  readonly cipher?: string;
  /** Whether the peer's certificate has a trusted issuer. */
  readonly authorized: boolean;
  /** SHA-1 of the peer's certificate, upper-case pairs of hex with colons. */
  readonly peerFingerprint?: string;
  /** SHA-256 of the peer's certificate. */
  readonly peerFingerprint256?: string;
}

/** @internal */
export interface NativeHandshake {
  readonly version?: string;
  readonly tags?: Record<string, string | number>;
  readonly nIndex?: number;
  readonly negHash?: string;
  readonly entropyMetrics?: Record<string, unknown>;
  readonly tls?: TlsInfo & { readonly tlsSessionKey?: string };
  readonly payload?: string | Buffer;
}

/** @internal */
export interface ConnectionInfo {
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly tls?: TlsInfo;
  readonly handshake?: NativeHandshake;
}

/** @internal */
export interface Connection {
  readonly id: string;
  readonly info: ConnectionInfo;
  data: unknown;
  readonly isOpen: boolean;
  readonly queuedBytes: number;
  send(data: Uint8Array | string): boolean;
  sendMany(list: readonly (Uint8Array | string)[]): number;
  sendStaged(slab: Uint8Array, ends: Uint32Array, count: number): boolean;
  sendUrgent(data: Uint8Array | string, priority: number): boolean;
  flush(): void;
  mark(): number;
  pause(): void;
  resume(): void;
  end(): void;
  close(): void;
  abort(): void;
  exportKeyingMaterial(length: number, label: string, context?: Uint8Array): Buffer | undefined;
  ref(): void;
  unref(): void;
}

/** @internal */
export interface Listener {
  readonly connections: Map<string, Connection>;
  broadcast(data: Uint8Array | string): number;
  stop(graceMs: number): void;
  stats(): Record<string, number>;
  ref(): void;
  unref(): void;
}
