import type { Duplex } from "node:stream";

/** What happens when a consumer has not read {@link OutboxLimits.maxBufferedBytes} of what was sent to it. */
export type SlowConsumerPolicy =
  /** The newest is refused; whoever sends is told. */
  | "refuse"
  /** The consumer's stream is destroyed; the rest of the world goes on. */
  | "disconnect"
  /** What waits longest is dropped until the newest fits. */
  | "drop-oldest";

/** Bounds of an {@link Outbox}. */
export interface OutboxLimits {
  /** Bytes that may wait, in the stream's own buffer and before it. */
  readonly maxBufferedBytes: number;
  readonly policy: SlowConsumerPolicy;
}

/** What became of a frame. */
export type Outcome = "sent" | "queued" | "refused" | "overflow";

/**
 * Frames on their way into one stream, in order and bounded. What the stream does not take waits here, where it can
 * still be dropped. Frames of one turn of the event loop leave together.
 */
export class Outbox {
  /** Frames that were dropped so far. */
  dropped = 0;
  private waiting: Buffer[] = [];
  private waitingBytes = 0;
  private blocked = false;
  private corked = false;

  constructor(
    private readonly stream: Duplex,
    private readonly limits: OutboxLimits,
    private readonly onDrain: () => void,
  ) {
    stream.on("drain", () => {
      this.blocked = false;
      this.flush();
    });
  }

  /** Bytes that the peer has not been sent yet. */
  get bufferedBytes(): number {
    return this.waitingBytes + this.stream.writableLength;
  }

  /** Whether frames wait for the stream. */
  get isBlocked(): boolean {
    return this.blocked;
  }

  /** Sends a frame or lets it wait; `overflow` means that the consumer must be disconnected. */
  push(frame: Buffer): Outcome {
    if (!this.blocked) {
      this.write(frame);
      return "sent";
    }
    if (this.bufferedBytes + frame.length > this.limits.maxBufferedBytes && !this.makeRoom(frame.length)) {
      return this.limits.policy === "disconnect" ? "overflow" : "refused";
    }
    this.waiting.push(frame);
    this.waitingBytes += frame.length;
    return "queued";
  }

  /** Drops everything that waits. */
  clear(): void {
    this.waiting = [];
    this.waitingBytes = 0;
  }

  /** Hands everything that waits to the stream, for an orderly end. */
  surrender(): void {
    for (const frame of this.waiting) this.stream.write(frame);
    this.clear();
  }

  private makeRoom(bytes: number): boolean {
    if (this.limits.policy !== "drop-oldest") return false;
    const room = this.limits.maxBufferedBytes - this.stream.writableLength - bytes;
    let count = 0;
    while (this.waitingBytes > room && count < this.waiting.length) {
      this.waitingBytes -= this.waiting[count]?.length ?? 0;
      count += 1;
    }
    this.waiting.splice(0, count);
    this.dropped += count;
    const fits = this.waitingBytes <= room;
    if (!fits) this.dropped += 1;
    return fits;
  }

  private flush(): void {
    let at = 0;
    while (at < this.waiting.length && !this.blocked) {
      const frame = this.waiting[at] as Buffer;
      at += 1;
      this.waitingBytes -= frame.length;
      this.write(frame);
    }
    this.waiting.splice(0, at);
    if (!this.blocked) this.onDrain();
  }

  private write(frame: Buffer): void {
    if (!this.corked) {
      this.corked = true;
      this.stream.cork();
      process.nextTick(() => {
        this.corked = false;
        this.stream.uncork();
      });
    }
    this.blocked = !this.stream.write(frame);
  }
}
