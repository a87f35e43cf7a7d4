// Many small messages: sent with one call per tick, received as views of shared buffers.
import { QWormholeClient, QWormholeServer } from "qwormhole";

const TOTAL = 100_000;
const PER_TICK = 256;

const server = new QWormholeServer({ host: "127.0.0.1", port: 0 });
let count = 0;
let sum = 0;
const done = new Promise((resolve) => {
  server.on("batch", ({ messages }) => {
    messages.forEach((message) => (sum += message[0]));
    count += messages.length;
    if (count === TOTAL) resolve();
  });
});
const { port } = await server.listen();

const client = new QWormholeClient({ host: "127.0.0.1", port });
await client.connect();
const payload = Buffer.alloc(64, 1);
for (let sent = 0; sent < TOTAL; sent += PER_TICK) {
  client.sendMany(new Array(Math.min(PER_TICK, TOTAL - sent)).fill(payload));
  // Waits only while the server is behind.
  await client.flush();
}
await done;
console.log(`${count} messages, sum ${sum}`);
await client.disconnect();
await server.close();
