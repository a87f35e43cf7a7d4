// A server that goes away and comes back: the client connects again, and what was sent meanwhile arrives.
import { QWormholeClient, QWormholeServer, textDeserializer } from "qwormhole";

const start = async (port) => {
  const server = new QWormholeServer({ host: "127.0.0.1", port, deserializer: textDeserializer });
  return { server, address: await server.listen() };
};
const first = await start(0);
const { port } = first.address;

const client = new QWormholeClient({ host: "127.0.0.1", port, reconnect: { initialDelayMs: 50 } });
const lost = new Promise((resolve) => client.once("reconnecting", resolve));
await client.connect();
await first.server.close();
const { attempt, delayMs } = await lost;
console.log(`attempt ${attempt} in ${delayMs} ms`);
await client.send("kept while nobody listened");

const second = await start(port);
await new Promise((resolve) => second.server.once("message", ({ data }) => resolve(console.log(data))));
await client.disconnect();
await second.server.close();
