// A server that goes away and comes back: the client connects again, and what was sent meanwhile arrives.
import { QWormholeClient, QWormholeServer, textDeserializer } from "qwormhole";

const first = new QWormholeServer({ host: "127.0.0.1", port: 0 });
const { port } = await first.listen();

const client = new QWormholeClient({ host: "127.0.0.1", port, reconnect: { initialDelayMs: 50 } });
const lost = new Promise((resolve) => client.once("reconnecting", resolve));
await client.connect();
await first.close();
const { attempt, delayMs } = await lost;
console.log(`attempt ${attempt} in ${delayMs} ms`);
await client.send("kept while nobody listened");

const second = new QWormholeServer({ host: "127.0.0.1", port, deserializer: textDeserializer });
const message = new Promise((resolve) => second.once("message", ({ data }) => resolve(data)));
await second.listen();
console.log(await message);
await client.disconnect();
await second.close();
