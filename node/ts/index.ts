export { QWormholeError } from "./errors.js";
export type { QWormholeErrorCode } from "./errors.js";

export { createEventTarget } from "./event-target/target.js";
export type { EventTargetOptions, StreamEventTarget } from "./event-target/target.js";
export { createEventHub } from "./event-target/hub.js";
export type { EventHub, EventHubOptions, HubPeer } from "./event-target/hub.js";
export { TopicEvent } from "./event-target/listeners.js";
export type { ListenerOptions, TypedEvent, TypedEventTarget, TypedListener } from "./event-target/typed.js";
export type { Envelope } from "./event-target/envelope.js";

export {
  bufferCodec,
  bufferDeserializer,
  defaultSerializer,
  jsonCodec,
  jsonDeserializer,
  jsonSerializer,
  textCodec,
  textDeserializer,
} from "./codec/codec.js";
export type { Codec, Deserializer, Serializer } from "./codec/codec.js";
export { createCborCodec, createCborDeserializer, createCborSerializer } from "./codec/cbor.js";

export {
  computeNIndex,
  createHandshakeSigner,
  createNegentropicHandshake,
  createNegentropicKeyPair,
  isNegentropicHandshake,
  verifyNegentropicHandshake,
} from "./handshake/negentropic.js";
export type {
  HandshakeSigner,
  NegentropicHandshake,
  NegentropicHandshakeOptions,
  NegentropicKeyPair,
} from "./handshake/negentropic.js";
export type { EntropyMetrics, HandshakePayload, HandshakeTags } from "./handshake/schema.js";
export { createHandshakeVerifier } from "./handshake/verifier.js";
export type { HandshakeVerifier, HandshakeVerifierOptions } from "./handshake/verifier.js";
export {
  computeEntropyMetrics,
  deriveCoherenceLevel,
  deriveEntropyPolicy,
  deriveEntropyVelocity,
  mergeEntropyPolicies,
} from "./handshake/policy.js";
export type { EntropyPolicy } from "./handshake/policy.js";

export { createCompositeAdapter, createNoopAdapter } from "./ml/adapter.js";
export type { MLAdapter } from "./ml/adapter.js";
export { createQwormTorchAdapter } from "./ml/qworm-torch.js";
export type { QwormTorchOptions } from "./ml/qworm-torch.js";
export { createRpcAdapter } from "./ml/rpc.js";
export type { RpcAdapterOptions } from "./ml/rpc.js";
export { createSpawnAdapter } from "./ml/spawn.js";
export type { SpawnAdapterOptions } from "./ml/spawn.js";
export { createMLAdapter, queryMLLayer, setMLAdapter } from "./ml/selection.js";
export type { MLAdapterSelection } from "./ml/selection.js";

export type { TlsOptions } from "./options/tls.js";
export { isNativeAvailable } from "./native/load.js";

export { QWormholeClient } from "./client.js";
export type { ClientSocket, QWormholeClientEvents, SendOptions } from "./client.js";
export { QWormholeServer } from "./server.js";
export type { QWormholeServerEvents, RefusedClient, ServerMessage } from "./server.js";
export type { ConnectionHandshake, ServerConnection, ServerSocket } from "./server-connection.js";
export { QWormholeRuntime } from "./runtime.js";
export type { QWormholeRuntimeEvents, QWormholeRuntimeOptions } from "./runtime.js";
export { createQWormholeClient, createQWormholeServer } from "./factory.js";
export type { LegacyFactoryOptions, Mode } from "./factory.js";
export type { Framing, QWormholeClientOptions, ReconnectOptions, SharedOptions } from "./options/client.js";
export type { QWormholeServerOptions } from "./options/server.js";
export { createQWormholeContext } from "./telemetry.js";
export type { ContextCounters, QWormholeContext, TelemetrySnapshot } from "./telemetry.js";
export type { TrustSnapshot } from "./trust.js";
export type { MessageBatch } from "./transport/batch.js";
export type { MessagesOptions } from "./transport/message-queue.js";

export { connect } from "./stream/connect.js";
export type { ConnectOptions } from "./stream/connect.js";
export { serve } from "./stream/serve.js";
export type { ServeOptions, StreamServer } from "./stream/serve.js";
export type { ByteStream, StreamInfo } from "./stream/duplex.js";
export type { StreamOptions } from "./stream/options.js";
export type { ListenAddress, TlsInfo } from "./native/engine.js";
export type { Backend, BackendOptions } from "./native/load.js";
