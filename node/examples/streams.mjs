// Bytes instead of messages: real Duplexes, for pipelines and whatever else takes a stream.
import { createGzip, createGunzip } from "node:zlib";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect, serve } from "qwormhole";

const server = await serve({
  onConnection: async (stream, { remotePort }) => {
    let text = "";
    await pipeline(stream, createGunzip(), async (source) => {
      for await (const chunk of source) text += chunk;
    });
    console.log(`${text.length} characters came from port ${remotePort}`);
    await server.close();
  },
});

const stream = await connect({ port: server.address.port });
await pipeline(Readable.from(Array.from({ length: 1_000 }, (_, i) => `line ${i}\n`)), createGzip(), stream);
