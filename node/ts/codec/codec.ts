/** Makes the bytes of a message out of a value. What it throws rejects the `send` that called it. */
export type Serializer<T = unknown> = (payload: T) => Buffer;

/** Makes a value out of the bytes of a message. The bytes may be read during the call only; copy to keep them. */
export type Deserializer<T = unknown> = (data: Buffer) => T;

/** Both directions of one representation. */
export interface Codec<Out = unknown, In = Out> {
  readonly serializer: Serializer<Out>;
  readonly deserializer: Deserializer<In>;
}

/** Strings as UTF-8, bytes as they are, everything else as JSON. What clients and servers use unless told otherwise. */
export const defaultSerializer: Serializer = (payload) => {
  if (Buffer.isBuffer(payload)) return payload;
  if (payload instanceof Uint8Array) return Buffer.from(payload);
  return jsonSerializer(payload);
};

/** Strings as UTF-8 without quotes, everything else as JSON; a bigint becomes a string, what JSON has no word for `null`. */
export const jsonSerializer: Serializer = (payload) => {
  if (typeof payload === "string") return Buffer.from(payload, "utf8");
  return Buffer.from(JSON.stringify(payload, bigintAsString) ?? "null", "utf8");
};

/** The bytes as they came, in a Buffer that the receiver may keep. */
export const bufferDeserializer: Deserializer<Buffer> = (data) => Buffer.from(data);

/** The bytes as UTF-8; what is none becomes U+FFFD. */
export const textDeserializer: Deserializer<string> = (data) => data.toString("utf8");

/** The bytes as JSON; `null` for what is none. */
export const jsonDeserializer: Deserializer = (data) => {
  try {
    return JSON.parse(data.toString("utf8")) as unknown;
  } catch {
    return null;
  }
};

/** Bytes, unchanged. */
export const bufferCodec: Codec<unknown, Buffer> = {
  serializer: defaultSerializer,
  deserializer: bufferDeserializer,
};

/** Strings. */
export const textCodec: Codec<unknown, string> = { serializer: defaultSerializer, deserializer: textDeserializer };

/** JSON values. */
export const jsonCodec: Codec = { serializer: jsonSerializer, deserializer: jsonDeserializer };

function bigintAsString(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
