import type { Codec, Deserializer, Serializer } from "./codec.js";
import { CborReader } from "./cbor-reader.js";
import { CborWriter } from "./cbor-writer.js";

/**
 * Values as CBOR (RFC 8949): what JSON has, and `undefined`, bytes, bigints, dates and maps. A Buffer is taken as CBOR
 * that somebody else made, and goes out as it is; a Uint8Array inside or instead of a value is bytes with tag 64.
 *
 * The serializer throws `E_CODEC` for functions, symbols and what is nested deeper than 64.
 */
export function createCborSerializer(): Serializer {
  return (payload) => (Buffer.isBuffer(payload) ? payload : new CborWriter().encode(payload));
}

/**
 * One CBOR value per message. Maps become objects, or a `Map` where a key is no string; integers beyond 2^53 become
 * bigints. Throws `E_CODEC` for what is malformed, incomplete, followed by more, or nested deeper than 64.
 */
export function createCborDeserializer(): Deserializer {
  return (data) => new CborReader(data).decode();
}

/** {@link createCborSerializer} and {@link createCborDeserializer}. */
export function createCborCodec(): Codec {
  return { serializer: createCborSerializer(), deserializer: createCborDeserializer() };
}
