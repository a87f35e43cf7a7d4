/**
 * Messages that arrived together, without a copy: each is a view of a shared buffer. Valid during the call that it was
 * given to; a view may be kept, but keeps the whole buffer alive, 64 KiB as a rule. Copy what is kept for long.
 */
export class MessageBatch implements Iterable<Buffer> {
  /** @internal */
  constructor(
    private readonly slab: Buffer,
    private readonly start: number,
    private readonly ends: Uint32Array,
    private readonly first: number,
    private readonly last: number,
  ) {}

  /** Messages in it, at least one. */
  get length(): number {
    return this.last - this.first;
  }

  /** Bytes of all messages. */
  get byteLength(): number {
    return (this.ends[this.last - 1] as number) - this.start;
  }

  /** A view of one message, from 0; `undefined` beyond the last. */
  at(index: number): Buffer | undefined {
    const i = this.first + index;
    if (index < 0 || i >= this.last) return undefined;
    const from = i === this.first ? this.start : (this.ends[i - 1] as number);
    return viewOf(this.slab, from, this.ends[i] as number);
  }

  /** Calls `each` with a view of every message, in order: the fastest way through a batch. */
  forEach(each: (message: Buffer, index: number) => void): void {
    const { slab, ends, first, last } = this;
    let from = this.start;
    for (let i = first; i < last; i += 1) {
      const end = ends[i] as number;
      each(viewOf(slab, from, end), i - first);
      from = end;
    }
  }

  /** Views of all messages. */
  toArray(): Buffer[] {
    const views: Buffer[] = [];
    this.forEach((view) => views.push(view));
    return views;
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    for (let i = 0; i < this.length; i += 1) yield this.at(i) as Buffer;
  }
}

/** A Buffer over part of another: half the price of `subarray`, which goes through the species of its constructor. */
export function viewOf(slab: Buffer, from: number, to: number): Buffer {
  return new View(slab.buffer as ArrayBuffer, slab.byteOffset + from, to - from) as unknown as Buffer;
}

class View extends Uint8Array {}
// What a view can do, and what it is an instance of, is what a Buffer does and is.
Object.setPrototypeOf(View.prototype, Buffer.prototype);
