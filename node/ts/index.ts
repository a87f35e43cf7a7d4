export { QWormholeError } from "./errors.js";
export type { QWormholeErrorCode } from "./errors.js";
export { createEventTarget } from "./event-target/target.js";
export type { EventTargetOptions, StreamEventTarget } from "./event-target/target.js";
export { createEventHub } from "./event-target/hub.js";
export type { EventHub, EventHubOptions, HubPeer } from "./event-target/hub.js";
export { TopicEvent } from "./event-target/listeners.js";
export type { TypedEvent, TypedEventTarget, TypedListener } from "./event-target/typed.js";
export type { Envelope } from "./event-target/envelope.js";
