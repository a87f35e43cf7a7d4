import { QWormholeError } from "../errors.js";
import { MAX_DEPTH, TAG_BIGNUM, TAG_EPOCH, TAG_NEGATIVE_BIGNUM, TAG_UINT8_ARRAY } from "./cbor-writer.js";

/** Reads one CBOR value. Allocates only for what is there, never for a length that is announced. */
export class CborReader {
  private at = 0;

  constructor(private readonly data: Buffer) {}

  /** @throws {@link QWormholeError} `E_CODEC` unless the bytes are exactly one well-formed value. */
  decode(): unknown {
    const value = this.value(0);
    if (value === BREAK) throw malformed("a break outside of what could end");
    if (this.at !== this.data.length) throw malformed(`${this.data.length - this.at} bytes follow the value`);
    return value;
  }

  private value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw malformed(`nested deeper than ${MAX_DEPTH}`);
    const first = this.take(1);
    const byte = this.data[first] as number;
    const major = byte >> 5;
    const low = byte & 31;
    if (major === 7) return this.simple(low);
    if (low === 31) return this.indefinite(major, depth);
    const argument = this.argument(low);
    switch (major) {
      case 0:
        return argument;
      case 1:
        return typeof argument === "bigint" ? -1n - argument : -1 - argument;
      case 2:
        return Buffer.from(this.slice(argument));
      case 3:
        return this.slice(argument).toString("utf8");
      case 4:
        return this.array(argument, depth);
      case 5:
        return this.map(argument, depth);
      default:
        return tagged(argument, this.item(depth + 1));
    }
  }

  private item(depth: number): unknown {
    const value = this.value(depth);
    if (value === BREAK) throw malformed("a break outside of what could end");
    return value;
  }

  private array(count: number | bigint, depth: number): unknown[] {
    const items: unknown[] = [];
    for (let left = this.atMost(count); left > 0; left -= 1) items.push(this.item(depth + 1));
    return items;
  }

  private map(count: number | bigint, depth: number): unknown {
    const entries: [unknown, unknown][] = [];
    for (let left = this.atMost(count); left > 0; left -= 1) {
      entries.push([this.item(depth + 1), this.item(depth + 1)]);
    }
    return mapOf(entries);
  }

  private indefinite(major: number, depth: number): unknown {
    const items: unknown[] = [];
    for (;;) {
      const item = this.value(depth + 1);
      if (item === BREAK) break;
      items.push(item);
    }
    switch (major) {
      case 2:
        if (!items.every((item) => Buffer.isBuffer(item))) throw malformed("pieces of bytes that are no bytes");
        return Buffer.concat(items as Buffer[]);
      case 3:
        if (!items.every((item) => typeof item === "string")) throw malformed("pieces of text that are no text");
        return items.join("");
      case 4:
        return items;
      case 5:
        if (items.length % 2 !== 0) throw malformed("a key without a value");
        return mapOf(items.flatMap((key, i) => (i % 2 === 0 ? [[key, items[i + 1]] as [unknown, unknown]] : [])));
      default:
        throw malformed("an indefinite length where none may be");
    }
  }

  private simple(low: number): unknown {
    switch (low) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 25:
        return half(this.data.readUInt16BE(this.take(2)));
      case 26:
        return this.data.readFloatBE(this.take(4));
      case 27:
        return this.data.readDoubleBE(this.take(8));
      case 31:
        return BREAK;
      default:
        throw malformed(`simple value ${low}`);
    }
  }

  private argument(low: number): number | bigint {
    if (low < 24) return low;
    if (low === 24) return this.data[this.take(1)] as number;
    if (low === 25) return this.data.readUInt16BE(this.take(2));
    if (low === 26) return this.data.readUInt32BE(this.take(4));
    if (low > 27) throw malformed(`additional information ${low}`);
    const large = this.data.readBigUInt64BE(this.take(8));
    return large <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(large) : large;
  }

  /** A count of things of at least a byte each cannot be larger than the bytes that are left. */
  private atMost(count: number | bigint): number {
    if (count > this.data.length - this.at) throw malformed("it ends early");
    return Number(count);
  }

  private slice(length: number | bigint): Buffer {
    const start = this.take(this.atMost(length));
    return this.data.subarray(start, this.at);
  }

  private take(count: number): number {
    const start = this.at;
    if (start + count > this.data.length) throw malformed("it ends early");
    this.at = start + count;
    return start;
  }
}

function mapOf(entries: [unknown, unknown][]): unknown {
  if (!entries.every(([key]) => typeof key === "string")) return new Map(entries);
  const object: Record<string, unknown> = {};
  for (const [key, value] of entries as [string, unknown][]) {
    // An assignment to __proto__ would not make a member.
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  }
  return object;
}

function tagged(tag: number | bigint, value: unknown): unknown {
  if (tag === TAG_UINT8_ARRAY && Buffer.isBuffer(value)) return new Uint8Array(value);
  if (tag === TAG_EPOCH && typeof value === "number") return new Date(value * 1_000);
  if (tag === 0 && typeof value === "string") return new Date(value);
  if ((tag === TAG_BIGNUM || tag === TAG_NEGATIVE_BIGNUM) && Buffer.isBuffer(value)) {
    const magnitude = value.length === 0 ? 0n : BigInt(`0x${value.toString("hex")}`);
    return tag === TAG_BIGNUM ? magnitude : -1n - magnitude;
  }
  // A tag only adds meaning; whoever does not know it may take the value as it is.
  return value;
}

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1_024) * 2 ** (exponent - 15);
}

function malformed(why: string): QWormholeError {
  return new QWormholeError("E_CODEC", `malformed CBOR: ${why}`);
}

const BREAK = Symbol("break");
