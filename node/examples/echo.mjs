// A server that answers, and a client that asks. Run: node examples/echo.mjs
import { QWormholeClient, QWormholeServer, textDeserializer } from "qwormhole";

const server = new QWormholeServer({ host: "127.0.0.1", port: 0, deserializer: textDeserializer });
server.on("message", ({ client, data }) => client.send(`echo: ${data}`));
const { port } = await server.listen();

const client = new QWormholeClient({ host: "127.0.0.1", port, deserializer: textDeserializer });
await client.connect();
await client.send("hello");
for await (const message of client.messages()) {
  console.log(message);
  break;
}

await client.disconnect();
await server.close();
