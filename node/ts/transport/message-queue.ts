import { abortError } from "../abort.js";

/** Options of the iterators over messages. */
export interface MessagesOptions {
  /** Ends the waiting, and the iterator, with an `AbortError`. */
  readonly signal?: AbortSignal;
}

/** Stops and starts what fills a queue. */
export interface Valve {
  pause(): void;
  resume(): void;
}

/**
 * What an async iterator reads from. Its owner pushes; while more than {@link QUEUE_MAX} items or
 * {@link QUEUE_BYTES_MAX} wait, the valve is shut, so that a slow loop slows down the peer instead of filling memory.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T> {
  private items: (T | undefined)[] = [];
  /** Bytes of each item. */
  private sizes: number[] = [];
  private head = 0;
  private bytes = 0;
  private readonly waiters: { resolve: (result: IteratorResult<T>) => void; reject: (error: Error) => void }[] = [];
  private failure: Error | undefined;
  private over = false;
  private shut = false;
  private readonly abort: (() => void) | undefined;

  constructor(
    private readonly valve: Valve,
    private readonly onReturn: (queue: MessageQueue<T>) => void,
    private readonly signal?: AbortSignal,
  ) {
    if (signal === undefined) return;
    this.abort = () => this.finish(abortError(signal));
    if (signal.aborted) queueMicrotask(this.abort);
    else signal.addEventListener("abort", this.abort, { once: true });
  }

  /** Adds an item of `bytes` bytes for the loop. */
  push(item: T, bytes: number): void {
    if (this.over) return;
    const waiter = this.waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ value: item, done: false });
      return;
    }
    this.items.push(item);
    this.sizes.push(bytes);
    this.bytes += bytes;
    if (this.shut || !this.isFull) return;
    this.shut = true;
    this.valve.pause();
  }

  /** Ends the loop after what waits; with `error` by throwing it. */
  finish(error?: Error): void {
    if (this.over) return;
    this.over = true;
    this.failure = error;
    if (this.abort !== undefined) this.signal?.removeEventListener("abort", this.abort);
    this.open();
    this.onReturn(this);
    for (const waiter of this.waiters.splice(0)) {
      if (error === undefined) waiter.resolve({ value: undefined, done: true });
      else waiter.reject(this.takeFailure() ?? error);
    }
  }

  next(): Promise<IteratorResult<T>> {
    if (this.head < this.items.length) return Promise.resolve({ value: this.shift(), done: false });
    const failure = this.takeFailure();
    if (failure !== undefined) return Promise.reject(failure);
    if (this.over) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T>> {
    this.items = [];
    this.sizes = [];
    this.head = 0;
    this.bytes = 0;
    this.finish();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One item always fits, however large it is. */
  private get isFull(): boolean {
    const waiting = this.items.length - this.head;
    return waiting > QUEUE_MAX || (waiting > 1 && this.bytes > QUEUE_BYTES_MAX);
  }

  private shift(): T {
    const item = this.items[this.head] as T;
    // The loop may be done with it long before the lists are cut.
    this.items[this.head] = undefined;
    this.bytes -= this.sizes[this.head] as number;
    this.head += 1;
    if (this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head);
      this.sizes = this.sizes.slice(this.head);
      this.head = 0;
    }
    if (this.items.length - this.head <= QUEUE_MAX / 2 && this.bytes <= QUEUE_BYTES_MAX / 2) this.open();
    return item;
  }

  private open(): void {
    if (!this.shut) return;
    this.shut = false;
    this.valve.resume();
  }

  private takeFailure(): Error | undefined {
    const failure = this.failure;
    this.failure = undefined;
    return failure;
  }
}

/** Items that wait before the peer is slowed down. What was on its way may come on top. */
const QUEUE_MAX = 1_024;

/** Bytes that wait before the peer is slowed down: one message of the largest default length. */
const QUEUE_BYTES_MAX = 4 * 1024 * 1024;
