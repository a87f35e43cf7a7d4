// Under a rate limit, what is urgent overtakes what waits; telemetry counts what went.
import { QWormholeClient, QWormholeServer, textDeserializer } from "qwormhole";

const server = new QWormholeServer({ host: "127.0.0.1", port: 0, deserializer: textDeserializer });
const received = [];
const done = new Promise((resolve) => {
  server.on("message", ({ data }) => received.push(data.trim()) === 4 && resolve());
});
const { port } = await server.listen();

const client = new QWormholeClient({ host: "127.0.0.1", port, rateLimitBytesPerSec: 20_000, rateLimitBurstBytes: 2_000 });
await client.connect();
client.send("the first takes all there is".padEnd(4_000));
client.send("late", { priority: 10 });
client.send("usual");
client.send("urgent", { priority: -10 });
await done;
console.log(received.slice(1).join(", "));
console.log(server.stats.bytesIn > 4_000);
await client.disconnect();
await server.close();
