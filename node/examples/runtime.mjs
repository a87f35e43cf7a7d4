// Common options for a listening and a connecting part.
import { QWormholeRuntime, textDeserializer } from "qwormhole";

const options = { deserializer: textDeserializer, protocolVersion: "1.0.0" };
const here = new QWormholeRuntime(options);
const there = new QWormholeRuntime(options);
const { port } = await here.listen();
const messages = here.messages();
await there.connect(`tcp://127.0.0.1:${port}`);
await there.send("hello");
console.log((await messages.next()).value);
await there.close();
await here.close();
