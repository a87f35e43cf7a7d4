// What createPubSub takes, unchanged. Its own types need those of the DOM.
/// <reference lib="dom" />
import { createPubSub } from "@graphql-yoga/subscription";
import type { PubSubEvent } from "@graphql-yoga/subscription";
import { createEventTarget } from "qwormhole";
import type { ByteStream } from "qwormhole";

type Topics = { chat: [room: string, payload: { text: string }]; tick: [number] };

export function pubSub(stream: ByteStream) {
  const eventTarget = createEventTarget<PubSubEvent<Topics, keyof Topics>>({ stream });
  const bus = createPubSub<Topics>({ eventTarget });
  bus.publish("chat", "7", { text: "hello" });
  return bus.subscribe("tick");
}
