// A server and clients of it, closed when the test ends.
import { QWormholeClient, QWormholeServer } from "qwormhole";

/** Backends that tests run on. */
export const BACKENDS = ["auto", "tokio"];

/** A server that listens on a port of the system's choice. */
export async function startServer(t, options = {}) {
  const server = new QWormholeServer({ host: "127.0.0.1", port: 0, ...options });
  if (!options.loud) server.on("error", () => {});
  const address = await server.listen();
  t.after(() => server.close(0));
  return { server, port: address.port, address };
}

/** A client, not connected. */
export function makeClient(t, options) {
  const client = new QWormholeClient({ host: "127.0.0.1", reconnect: { enabled: false }, ...options });
  t.after(() => client.disconnect());
  return client;
}

/** A server, a connected client, and the server's side of the connection. */
export async function pair(t, { server: serverOptions, client: clientOptions, ...both } = {}) {
  const { server, port } = await startServer(t, { ...both, ...serverOptions });
  const client = makeClient(t, { port, ...both, ...clientOptions });
  const accepted = new Promise((resolve) => server.once("connection", resolve));
  await client.connect();
  return { server, client, connection: await accepted, port };
}
