// Topics between processes: a hub, and event targets over its streams. createPubSub of @graphql-yoga/subscription
// takes such a target as its eventTarget, unchanged.
import { TopicEvent, connect, createEventHub, createEventTarget, serve } from "qwormhole";

const hub = createEventHub({ slowConsumer: "disconnect" });
const server = await serve({ onConnection: (stream, info) => hub.attach(stream, info) });

const [listener, publisher] = await Promise.all(
  [1, 2].map(async () => createEventTarget({ stream: await connect({ port: server.address.port }) })),
);

const heard = new Promise((resolve) => {
  listener.addEventListener("chat:7", (event) => resolve(event.detail), { once: true });
});
// Topics are subscribed to in the background: until the hub knows, nothing is delivered.
while (![...hub.peers].some((peer) => peer.topics.has("chat:7"))) await new Promise(setImmediate);
publisher.dispatchEvent(new TopicEvent("chat:7", { detail: { text: "hello" } }));
console.log(await heard);

await Promise.all([listener.close(), publisher.close()]);
await server.close();
