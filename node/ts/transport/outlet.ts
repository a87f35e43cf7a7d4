import { QWormholeError } from "../errors.js";
import type { Connection } from "../native/engine.js";
import { nativePriority } from "../priority.js";
import { Deferred, quiet } from "./deferred.js";

/** One promise for everybody who waits for the same moment. A send that nobody waits for must not end the process. */
function quietMoment(): Deferred {
  const deferred = new Deferred();
  void quiet(deferred.promise);
  return deferred;
}

/**
 * The sending half of one connection: knows what is queued, tells when the queue is long and short again, and when
 * something was handed to the kernel. Marks are asked for once per turn of the event loop, however much is sent in it.
 */
export class Outlet {
  /** Between a queue above the high and one below the low watermark. */
  backpressured = false;
  private tick: Deferred | undefined;
  private readonly pending: { mark: number; moment: Deferred }[] = [];

  constructor(
    private readonly conn: Connection,
    private readonly highWaterMark: number,
    private readonly onPressure: (on: boolean, queuedBytes: number) => void,
  ) {}

  /** Bytes accepted that the kernel does not have yet. */
  get queuedBytes(): number {
    return this.conn.queuedBytes;
  }

  /** Accepts a message. `priority`: lower is sooner, 0 is the usual. False: the connection is closed. */
  send(data: Uint8Array | string, priority: number): boolean {
    const accepted = priority === 0 ? this.conn.send(data) : this.conn.sendUrgent(data, nativePriority(priority));
    if (!this.backpressured && this.conn.queuedBytes > this.highWaterMark) this.press();
    return accepted;
  }

  /** Accepts several messages with one call; returns how many. */
  sendMany(list: readonly (Uint8Array | string)[]): number {
    const accepted = this.conn.sendMany(list);
    if (!this.backpressured && this.conn.queuedBytes > this.highWaterMark) this.press();
    return accepted;
  }

  /** Resolves when all that was accepted until the end of this turn was handed to the kernel. */
  flushed(): Promise<void> {
    if (this.tick === undefined) {
      const moment = quietMoment();
      this.tick = moment;
      queueMicrotask(() => {
        this.tick = undefined;
        if (this.conn.isOpen) this.pending.push({ mark: this.conn.mark(), moment });
        else moment.reject(closed());
      });
    }
    return this.tick.promise;
  }

  /** To be called by the sink. */
  onFlushed(mark: number): void {
    let count = 0;
    while (count < this.pending.length && (this.pending[count]?.mark ?? Infinity) <= mark) count += 1;
    for (const { moment } of this.pending.splice(0, count)) moment.resolve();
    this.relieve();
  }

  /** To be called when the connection is over. */
  onClose(): void {
    for (const { moment } of this.pending.splice(0)) moment.reject(closed());
  }

  private press(): void {
    this.backpressured = true;
    this.onPressure(true, this.conn.queuedBytes);
    void this.flushed();
  }

  /** To be called by the sink when the kernel took something. */
  relieve(): void {
    if (!this.backpressured) return;
    if (this.conn.queuedBytes <= this.highWaterMark / 2) {
      this.backpressured = false;
      this.onPressure(false, this.conn.queuedBytes);
    } else if (this.pending.length === 0 && this.tick === undefined) {
      void this.flushed();
    }
  }
}

function closed(): QWormholeError {
  return new QWormholeError("E_CLOSED", "the connection closed before everything was sent");
}

/** Bytes from which a connection counts as backpressured, until half of it. */
export const HIGH_WATER_MARK = 1024 * 1024;
