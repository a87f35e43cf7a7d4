import type { Connection } from "../native/engine.js";
import { Deferred } from "./deferred.js";
import { Outlet } from "./outlet.js";

/** One attempt of a client to connect and what comes of it. */
export class Attempt {
  readonly outlet: Outlet;
  /** The connection is there. */
  opened = false;
  openedAt = 0;
  /** The handshake, where there is one, was sent: messages may follow. */
  ready = false;
  /** Something was received. */
  useful = false;
  /** The end was asked for on this side. */
  asked = false;
  failure: Error | undefined;
  /** With framing `none`: what is sent after the handshake must not share a chunk with it. */
  handshakeMark: number | undefined;
  /** Resolves when the connection is closed and everybody was told. */
  readonly closed = new Deferred();
  private readonly waiters: Deferred[] = [];
  private roomAhead: Deferred | undefined;

  constructor(
    readonly conn: Connection,
    highWaterMark: number,
    onDrain: () => void,
  ) {
    this.outlet = new Outlet(conn, highWaterMark, (on) => {
      if (on) return;
      this.relieved();
      onDrain();
    });
  }

  /** `waiter` fails with this attempt, when it is over. */
  take(waiter: Deferred | undefined): void {
    if (waiter !== undefined) this.waiters.push(waiter);
  }

  /** Resolves when the queue is short again or the connection over. One promise for everybody: thousands may wait. */
  room(): Promise<void> {
    this.roomAhead ??= new Deferred();
    return this.roomAhead.promise;
  }

  /** To be called when the connection is closed and everybody was told. */
  over(error: Error): void {
    this.outlet.onClose();
    this.relieved();
    this.closed.resolve();
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }

  private relieved(): void {
    this.roomAhead?.resolve();
    this.roomAhead = undefined;
  }
}
