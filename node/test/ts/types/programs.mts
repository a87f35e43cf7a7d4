// Programs as users write them; they are compiled, not run. Lines that must not compile say so.
import { createReadStream } from "node:fs";
import { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";

import {
  QWormholeClient,
  QWormholeError,
  QWormholeRuntime,
  QWormholeServer,
  connect,
  createCborCodec,
  createEventHub,
  createEventTarget,
  createHandshakeSigner,
  createHandshakeVerifier,
  createQWormholeClient,
  createQWormholeServer,
  jsonCodec,
  queryMLLayer,
  serve,
  setMLAdapter,
  textDeserializer,
} from "qwormhole";
import type { Codec, QWormholeErrorCode, ServerConnection, StreamServer, TypedEvent } from "qwormhole";

async function messages(): Promise<void> {
  const server = new QWormholeServer({ host: "127.0.0.1", port: 0, deserializer: textDeserializer });
  server.on("message", ({ client, data }) => {
    const text: string = data;
    void client.send(`echo: ${text}`, { priority: -1 });
  });
  server.on("clientClosed", ({ client, hadError }) => console.log(client.id.length, hadError === true));
  const { port } = await server.listen();
  const client = new QWormholeClient({ host: "127.0.0.1", port });
  client.on("message", (message) => console.log(message.readUInt8(0)));
  client.on("close", ({ hadError }) => console.log(hadError));
  client.on("reconnecting", ({ attempt, delayMs }) => console.log(attempt + delayMs));
  client.on("batch", (batch) => batch.forEach((view) => console.log(view.length)));
  // @ts-expect-error: there is no such event
  client.on("mesage", () => undefined);
  // @ts-expect-error: messages of this client are Buffers
  client.on("message", (message: string) => message);
  await client.connect({ signal: AbortSignal.timeout(1_000) });
  await client.send({ any: "value" });
  const accepted: number = client.sendMany([Buffer.of(1), "two"]);
  for await (const message of client.messages()) message.toString("hex");
  for await (const batch of client.batches()) console.log(batch[0]?.length, accepted);
  for await (const { client: from, data } of server.messages()) console.log(from.id, data.toUpperCase());
  // @ts-expect-error: a port is a number
  new QWormholeClient({ port: "9000" });
  // @ts-expect-error: there is no such framing
  new QWormholeClient({ port: 1, framing: "lines" });
}

interface Point {
  readonly x: number;
}
const points: Codec<unknown, Point> = {
  serializer: (point) => Buffer.from(JSON.stringify(point)),
  deserializer: (bytes) => JSON.parse(bytes.toString()) as Point,
};

async function codecs(): Promise<void> {
  const client = new QWormholeClient<Point>({ port: 9000, ...points });
  client.on("message", (point) => console.log(point.x + 1));
  new QWormholeClient({ port: 9000, ...jsonCodec }).on("message", (value: unknown) => console.log(value));
  new QWormholeServer({ ...createCborCodec() });
  await client.disconnect();
}

async function secured(): Promise<void> {
  const { client, mode } = createQWormholeClient({
    host: "example.org",
    port: 9443,
    tls: { enabled: true, ca: ["pem"], alpnProtocols: ["qw/1"] },
    protocolVersion: "1.0.0",
    handshakeTags: { service: "billing", shard: 3 },
    handshakeSigner: createHandshakeSigner({ tags: { origin: "a" } }),
    reconnect: { maxAttempts: 3 },
  });
  const known: "native-io_uring" | "native-tokio" = mode;
  const { server } = createQWormholeServer({
    verifyHandshake: createHandshakeVerifier({ allowedVersions: ["1.0.0"], validateTags: (tags) => tags.service === "billing" }),
    onTelemetry: ({ bytesIn }) => console.log(bytesIn, known),
  });
  server.on("connection", (connection: ServerConnection) => console.log(connection.handshake?.policy.mode));
  await client.connect().catch((error: unknown) => {
    if (!(error instanceof QWormholeError)) throw error;
    const code: QWormholeErrorCode = error.code;
    return code;
  });
}

async function streams(): Promise<void> {
  const server: StreamServer = await serve({
    port: 0,
    onConnection: (stream, info) => {
      const duplex: Duplex = stream;
      duplex.pipe(duplex);
      console.log(info.transport, info.tls?.authorized);
    },
  });
  const stream = await connect({ server: `tcp://127.0.0.1:${server.address.port}` });
  await pipeline(createReadStream("file"), stream);
  await server.close();
}

type Events = TypedEvent<"chat", { text: string }> | TypedEvent<"tick", number>;

async function events(): Promise<void> {
  const hub = createEventHub<Events, { remotePort?: number }>({ slowConsumer: "drop-oldest" });
  const server = await serve({ onConnection: (stream, info) => void hub.attach(stream, info) });
  const target = createEventTarget<Events>({ stream: await connect({ port: server.address.port }) });
  target.addEventListener("tick", (event) => console.log(event.detail));
  // @ts-expect-error: there is no such topic
  target.addEventListener("other", () => undefined);
  const { error } = await target.closed;
  console.log(error?.message);
}

async function others(): Promise<void> {
  const runtime = new QWormholeRuntime({ deserializer: textDeserializer });
  runtime.on("message", (text) => console.log(text.length));
  await runtime.connect("tls://example.org:1");
  setMLAdapter({ name: "mine", run: async (metrics) => metrics });
  const judgement: unknown = await queryMLLayer({ latencyMs: [1, 2] }, "qworm_torch");
  console.log(judgement);
}

export { codecs, events, messages, others, secured, streams };
