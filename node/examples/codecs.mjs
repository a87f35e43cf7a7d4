// Values instead of bytes: CBOR, JSON, and a codec of one's own.
import { QWormholeClient, QWormholeServer, createCborCodec, jsonCodec } from "qwormhole";

const point = {
  serializer: ({ x, y }) => {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(x, 0);
    bytes.writeInt32BE(y, 4);
    return bytes;
  },
  deserializer: (bytes) => ({ x: bytes.readInt32BE(0), y: bytes.readInt32BE(4) }),
};

for (const codec of [jsonCodec, createCborCodec(), point]) {
  const server = new QWormholeServer({ host: "127.0.0.1", port: 0, ...codec });
  const { port } = await server.listen();
  const client = new QWormholeClient({ host: "127.0.0.1", port, ...codec });
  const received = new Promise((resolve) => server.once("message", ({ data }) => resolve(data)));
  await client.connect();
  await client.send({ x: 3, y: -4 });
  console.log(await received);
  await client.disconnect();
  await server.close();
}
