import { buildHandshake, tlsTags } from "../handshake/client-handshake.js";
import type { Connection } from "../native/engine.js";
import type { ResolvedClientOptions } from "../options/client.js";

/** The handshake of a client over a connection, as it is sent; `undefined` where the options ask for none. */
export function greeting<T>(options: ResolvedClientOptions<T>, conn: Connection): string | undefined {
  const { given, tls, protocolVersion } = options;
  if (protocolVersion === undefined) return undefined;
  const exporter = tls?.exportKeyingMaterial;
  const { label = "qwormhole-negentropic", length = 32, context = "" } = exporter ?? {};
  const tags = tlsTags({
    certificate: tls?.cert,
    alpnProtocol: conn.info.tls?.alpnProtocol,
    sessionKey: exporter === undefined ? undefined : conn.exportKeyingMaterial(length, label, Buffer.from(context)),
  });
  const { handshakeTags, handshakeSigner } = given;
  // JSON whatever codec messages have: servers parse nothing else.
  return JSON.stringify(buildHandshake({ protocolVersion, handshakeTags, handshakeSigner, tlsTags: tags }));
}

/** The most urgent there is, as the native module takes it: no message that waited may come before the handshake. */
export const GREETING_PRIORITY = -(2 ** 31);
