import { QWormholeError } from "../errors.js";

/** Where to connect to or to listen. */
export interface Address {
  readonly host?: string;
  readonly port?: number;
  /** A unix socket; `@name` is an abstract one. */
  readonly path?: string;
  /** Whether the address itself asks for TLS. */
  readonly secure: boolean;
}

/**
 * An address from text: `host:port`, `tcp://host:port`, `tls://host:port`, `[::1]:port`, `unix:/path` or `unix:@name`.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for anything else.
 */
export function parseAddress(text: string): Address {
  const unix = /^unix:(?:\/\/)?(.+)$/.exec(text);
  if (unix !== null) return { path: unix[1] as string, secure: false };
  const tcp = /^(?:(tcp|tls):\/\/)?(\[[^\]]+\]|[^:/[\]]+):(\d{1,5})$/.exec(text);
  const port = Number(tcp?.[3]);
  if (tcp === null || port > 65_535) {
    const expected = "host:port, tcp://host:port, tls://host:port or unix:/path";
    throw new QWormholeError("E_INVALID_OPTION", `${JSON.stringify(text)} is no address: it takes ${expected}`);
  }
  const host = (tcp[2] as string).replace(/^\[|\]$/g, "");
  return { host, port, secure: tcp[1] === "tls" };
}
