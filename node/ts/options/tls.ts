import { readFileSync } from "node:fs";

import { QWormholeError, asError } from "../errors.js";
import type { NativeTls } from "../native/engine.js";
import { Environment } from "./environment.js";

/** How a connection is secured. Nothing falls back to plain text. */
export interface TlsOptions {
  /** Must be true for any of it to count. */
  readonly enabled?: boolean;
  /** Private key, PEM. */
  readonly key?: string | Buffer;
  /** Certificate chain, PEM. */
  readonly cert?: string | Buffer;
  /** Authorities that peers are checked against, PEM. Default: those of the system. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[];
  /** In the order of preference. */
  readonly alpnProtocols?: readonly string[];
  /** Servers: whether clients must show a certificate. Default false. */
  readonly requestCert?: boolean;
  /** Whether peers must have a trusted certificate. Default: true for clients, `requestCert` for servers. */
  readonly rejectUnauthorized?: boolean;
  /** Clients: the name that is asked for and that the certificate must have. Default: the host. */
  readonly servername?: string;
  /** Of the private key. */
  readonly passphrase?: string;
  /** Presence makes the handshake carry a value that both ends derive from the connection. */
  readonly exportKeyingMaterial?: {
    /** Default `qwormhole-negentropic`. */
    readonly label?: string;
    /** Bytes. Default 32. */
    readonly length?: number;
    /** Default: empty, and present. */
    readonly context?: string | Buffer;
  };
}

/**
 * The TLS that is in force: options win over the environment; `undefined` for plain text.
 *
 * @throws {@link QWormholeError} `E_INVALID_ENVIRONMENT` for a variable that means nothing or a file that cannot be read.
 */
export function resolveTls(
  role: "client" | "server",
  options: TlsOptions | undefined,
  env: Environment = new Environment(),
): TlsOptions | undefined {
  const enabled = options?.enabled ?? env.flag("QWORMHOLE_TLS_ENABLED") ?? false;
  if (!enabled) return undefined;
  const prefix = role === "client" ? "QWORMHOLE_TLS_CLIENT" : "QWORMHOLE_TLS";
  const fallback: TlsOptions = {
    key: pem(env, `${prefix}_KEY`),
    cert: pem(env, `${prefix}_CERT`),
    passphrase: env.text(`${prefix}_PASSPHRASE`),
    ca: authorities(env),
    alpnProtocols: env.list("QWORMHOLE_TLS_ALPN"),
    requestCert: role === "server" ? env.flag("QWORMHOLE_TLS_REQUEST_CERT") : undefined,
    rejectUnauthorized: env.flag("QWORMHOLE_TLS_REJECT_UNAUTHORIZED"),
    servername: role === "client" ? env.text("QWORMHOLE_TLS_SERVERNAME") : undefined,
  } as TlsOptions;
  return { ...defined(fallback), ...defined(options ?? {}), enabled: true };
}

/** What the native module takes. */
export function nativeTls(tls: TlsOptions): NativeTls {
  const { enabled: _enabled, ca, alpnProtocols, exportKeyingMaterial, ...rest } = tls;
  const native: NativeTls = { ...rest };
  if (ca !== undefined) native.ca = Array.isArray(ca) ? [...(ca as (string | Buffer)[])] : (ca as string | Buffer);
  if (alpnProtocols !== undefined) native.alpnProtocols = [...alpnProtocols];
  if (exportKeyingMaterial !== undefined) native.exportKeyingMaterial = { ...exportKeyingMaterial };
  return native;
}

function pem(env: Environment, name: string): string | undefined {
  const inline = env.text(name)?.replaceAll("\\n", "\n");
  if (inline !== undefined) return inline;
  const path = env.text(`${name}_PATH`);
  return path === undefined ? undefined : read(`${name}_PATH`, path);
}

function authorities(env: Environment): string | string[] | undefined {
  const inline = env.text("QWORMHOLE_TLS_CA")?.replaceAll("\\n", "\n");
  if (inline !== undefined) return inline;
  const paths = env.list("QWORMHOLE_TLS_CA_PATHS");
  if (paths !== undefined) return paths.map((path) => read("QWORMHOLE_TLS_CA_PATHS", path));
  const path = env.text("QWORMHOLE_TLS_CA_PATH");
  return path === undefined ? undefined : read("QWORMHOLE_TLS_CA_PATH", path);
}

function read(name: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    const cause = asError(thrown);
    throw new QWormholeError("E_INVALID_ENVIRONMENT", `${name} names a file that cannot be read: ${cause.message}`, { cause });
  }
}

/** Without the members that are undefined, so that they do not hide those of a fallback. */
export function defined<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Partial<T>;
}
