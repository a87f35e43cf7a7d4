import { QWormholeError } from "../errors.js";

/** Writes one value as CBOR into a buffer that grows by doubling. */
export class CborWriter {
  private bytes = Buffer.allocUnsafe(256);
  private at = 0;

  /** @throws {@link QWormholeError} `E_CODEC` for what CBOR has no word for. */
  encode(value: unknown): Buffer {
    this.value(value, 0);
    return this.bytes.subarray(0, this.at);
  }

  private value(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) throw new QWormholeError("E_CODEC", `a value is nested deeper than ${MAX_DEPTH}`);
    switch (typeof value) {
      case "string":
        return this.text(value);
      case "number":
        return this.number(value);
      case "bigint":
        return this.bigint(value);
      case "boolean":
        return this.byte(value ? 0xf5 : 0xf4);
      case "undefined":
        return this.byte(0xf7);
      case "object":
        return value === null ? this.byte(0xf6) : this.object(value, depth);
      default:
        throw new QWormholeError("E_CODEC", `a ${typeof value} cannot be written as CBOR`);
    }
  }

  private object(value: object, depth: number): void {
    if (Array.isArray(value)) {
      this.head(4, value.length);
      for (const item of value as unknown[]) this.value(item, depth + 1);
    } else if (value instanceof Uint8Array) {
      if (!Buffer.isBuffer(value)) this.head(6, TAG_UINT8_ARRAY);
      this.head(2, value.length);
      this.raw(value);
    } else if (value instanceof Date) {
      this.head(6, TAG_EPOCH);
      this.number(value.getTime() / 1_000);
    } else if (value instanceof Map) {
      this.entries([...(value as Map<unknown, unknown>)], depth);
    } else {
      const { toJSON } = value as { toJSON?: unknown };
      if (typeof toJSON === "function") this.value(toJSON.call(value), depth + 1);
      else this.entries(Object.entries(value), depth);
    }
  }

  private entries(entries: [unknown, unknown][], depth: number): void {
    this.head(5, entries.length);
    for (const [key, value] of entries) {
      this.value(key, depth + 1);
      this.value(value, depth + 1);
    }
  }

  private number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      if (value >= 0) this.head(0, value);
      else this.head(1, -1 - value);
      return;
    }
    this.room(9);
    this.bytes[this.at] = 0xfb;
    this.bytes.writeDoubleBE(value, this.at + 1);
    this.at += 9;
  }

  private bigint(value: bigint): void {
    const magnitude = value < 0n ? -1n - value : value;
    if (magnitude <= 0xffff_ffff_ffff_ffffn) {
      this.room(9);
      this.bytes[this.at] = value < 0n ? 0x3b : 0x1b;
      this.bytes.writeBigUInt64BE(magnitude, this.at + 1);
      this.at += 9;
      return;
    }
    const hex = magnitude.toString(16);
    const raw = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
    this.head(6, value < 0n ? TAG_NEGATIVE_BIGNUM : TAG_BIGNUM);
    this.head(2, raw.length);
    this.raw(raw);
  }

  private text(value: string): void {
    const length = Buffer.byteLength(value);
    this.head(3, length);
    this.room(length);
    this.at += this.bytes.write(value, this.at, "utf8");
  }

  private head(major: number, argument: number): void {
    this.room(9);
    const type = major << 5;
    if (argument < 24) {
      this.bytes[this.at] = type | argument;
      this.at += 1;
    } else if (argument < 0x100) {
      this.bytes[this.at] = type | 24;
      this.bytes[this.at + 1] = argument;
      this.at += 2;
    } else if (argument < 0x1_0000) {
      this.bytes[this.at] = type | 25;
      this.at = this.bytes.writeUInt16BE(argument, this.at + 1);
    } else if (argument < 0x1_0000_0000) {
      this.bytes[this.at] = type | 26;
      this.at = this.bytes.writeUInt32BE(argument, this.at + 1);
    } else {
      this.bytes[this.at] = type | 27;
      this.at = this.bytes.writeBigUInt64BE(BigInt(argument), this.at + 1);
    }
  }

  private byte(value: number): void {
    this.room(1);
    this.bytes[this.at] = value;
    this.at += 1;
  }

  private raw(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  private room(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.at + count));
    this.bytes.copy(larger, 0, 0, this.at);
    this.bytes = larger;
  }
}

/** Values inside values at most, both ways: more is no message but an attack on the stack. */
export const MAX_DEPTH = 64;
/** Seconds since 1970. */
export const TAG_EPOCH = 1;
export const TAG_BIGNUM = 2;
export const TAG_NEGATIVE_BIGNUM = 3;
/** Bytes that are a Uint8Array (RFC 8746). */
export const TAG_UINT8_ARRAY = 64;
