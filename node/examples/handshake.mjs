// A client that signs who it is, and a server that decides by it.
import { QWormholeClient, QWormholeServer, createHandshakeSigner, createNegentropicKeyPair } from "qwormhole";

const { publicKey, secretKey } = createNegentropicKeyPair();

const server = new QWormholeServer({
  host: "127.0.0.1",
  port: 0,
  protocolVersion: "1.0.0",
  // Signature and version were checked before.
  verifyHandshake: async ({ tags }) => tags?.service === "billing",
});
server.on("error", (error) => console.log(`refused: ${error.code}`));
server.on("connection", ({ handshake }) => console.log("accepted:", handshake.tags));
const { port } = await server.listen();
console.log(`clients of ${publicKey.slice(0, 16)}… connect to port ${port}`);

for (const service of ["billing", "unknown"]) {
  const client = new QWormholeClient({
    host: "127.0.0.1",
    port,
    protocolVersion: "1.0.0",
    handshakeTags: { service },
    handshakeSigner: createHandshakeSigner({ secretKey }),
    reconnect: { enabled: false },
  });
  const decided = new Promise((resolve) => ["connection", "error"].forEach((name) => server.once(name, resolve)));
  await client.connect();
  await decided;
  await client.disconnect();
}
await server.close();
