import type { Deserializer } from "../codec/codec.js";
import { asError } from "../errors.js";
import { MessageBatch, viewOf } from "./batch.js";
import { MessageQueue } from "./message-queue.js";
import type { MessagesOptions, Valve } from "./message-queue.js";

/** Where messages go. */
export interface IncomingHandlers<T> {
  /** `bytes`: the length of the message it was made of. */
  message(value: T, bytes: number): void;
  batch(batch: MessageBatch): void;
  /** A message could not be decoded; the others go on. */
  failed(error: Error): void;
  wantsMessages(): boolean;
  wantsBatches(): boolean;
}

/**
 * Turns what the native module delivers into events and into what iterators yield. Bytes are copied where somebody may
 * keep them, because a view keeps its whole buffer alive, and only there.
 */
export class Incoming<T> {
  private readonly messageQueues = new Set<MessageQueue<T>>();
  private readonly batchQueues = new Set<MessageQueue<Buffer[]>>();
  /** The user's: stops and starts what comes in; as often started as stopped, and once too often is harmless. */
  readonly valve: Valve;
  private readonly queueValve: Valve;
  private pauses = 0;
  private fullQueues = 0;

  constructor(
    private readonly deserializer: Deserializer<T> | undefined,
    private readonly source: Valve,
    private readonly handlers: IncomingHandlers<T>,
  ) {
    this.valve = {
      pause: () => this.turn(() => (this.pauses += 1)),
      // A `resume` without a `pause` must not count against the next one, nor against a queue that is full.
      resume: () => this.turn(() => (this.pauses = Math.max(0, this.pauses - 1))),
    };
    // Several loops may be slow: what the first of them shuts, the last one opens. Each pairs its calls.
    this.queueValve = {
      pause: () => this.turn(() => (this.fullQueues += 1)),
      resume: () => this.turn(() => (this.fullQueues -= 1)),
    };
  }

  /** Messages `first..last` of a buffer; message i ends at `ends[i]`, the first begins at `start`. */
  take(slab: Buffer, start: number, ends: Uint32Array, first: number, last: number): void {
    if (this.handlers.wantsBatches()) this.handlers.batch(new MessageBatch(slab, start, ends, first, last));
    if (this.batchQueues.size > 0) {
      const views = new MessageBatch(slab, start, ends, first, last).toArray();
      const bytes = (ends[last - 1] as number) - start;
      for (const queue of this.batchQueues) queue.push(views, bytes);
    }
    if (!this.handlers.wantsMessages() && this.messageQueues.size === 0) return;
    let from = start;
    for (let i = first; i < last; i += 1) {
      const end = ends[i] as number;
      this.one(slab, from, end);
      from = end;
    }
  }

  /** Adds a value for the loops; it was made of `bytes` bytes. */
  push(value: T, bytes: number): void {
    for (const queue of this.messageQueues) queue.push(value, bytes);
  }

  /** Whether somebody wants nothing to come in now: for connections that are new. */
  get isShut(): boolean {
    return this.pauses > 0 || this.fullQueues > 0;
  }

  /** Whether a loop reads messages. */
  get isRead(): boolean {
    return this.messageQueues.size > 0;
  }

  messages({ signal }: MessagesOptions): MessageQueue<T> {
    return this.queue(this.messageQueues, signal);
  }

  batches({ signal }: MessagesOptions): MessageQueue<Buffer[]> {
    return this.queue(this.batchQueues, signal);
  }

  /** Ends all loops after what waits for them. */
  finish(): void {
    for (const queue of [...this.messageQueues, ...this.batchQueues]) queue.finish();
  }

  /** A value of one message. */
  decode(slab: Buffer, from: number, end: number): T {
    if (this.deserializer !== undefined) return this.deserializer(viewOf(slab, from, end));
    if (end - from >= KEEP_VIEW_BYTES) return viewOf(slab, from, end) as T;
    return Buffer.from(viewOf(slab, from, end)) as T;
  }

  private one(slab: Buffer, from: number, end: number): void {
    let value: T;
    try {
      value = this.decode(slab, from, end);
    } catch (error) {
      this.handlers.failed(asError(error));
      return;
    }
    this.push(value, end - from);
    this.handlers.message(value, end - from);
  }

  /** Makes a change, and tells the source if it opened or shut it. */
  private turn(change: () => void): void {
    const before = this.isShut;
    change();
    if (this.isShut === before) return;
    if (before) this.source.resume();
    else this.source.pause();
  }

  private queue<U>(queues: Set<MessageQueue<U>>, signal: AbortSignal | undefined): MessageQueue<U> {
    const queue = new MessageQueue<U>(this.queueValve, (over) => queues.delete(over), signal);
    queues.add(queue);
    return queue;
  }
}

/** From this size on a message is worth the 64 KiB that a view of it keeps alive. */
const KEEP_VIEW_BYTES = 16 * 1024;
