import { QWormholeError } from "../errors.js";

/** A message that waits for a connection. */
export interface PendingSend {
  readonly data: Uint8Array;
  readonly priority: number;
}

/** Messages that were sent while a connection was on its way; bounded. */
export class PendingSends {
  private sends: PendingSend[] = [];
  /** Bytes that wait. */
  bytes = 0;

  /** @throws {@link QWormholeError} `E_BACKPRESSURE` above {@link PENDING_BYTES_MAX}. */
  push(data: Uint8Array, priority: number): void {
    if (this.bytes + data.length > PENDING_BYTES_MAX) {
      const text = `Backpressure limit exceeded: ${this.bytes} bytes wait for a connection`;
      throw new QWormholeError("E_BACKPRESSURE", text);
    }
    // The caller may use its memory again before there is a connection.
    this.sends.push({ data: Buffer.from(data), priority });
    this.bytes += data.length;
  }

  /** Everything that waits, the most urgent first, in order among equals. */
  take(): PendingSend[] {
    const sends = this.sends.sort((one, two) => one.priority - two.priority);
    this.clear();
    return sends;
  }

  clear(): void {
    this.sends = [];
    this.bytes = 0;
  }
}

/** Bytes that wait for a connection at most. */
const PENDING_BYTES_MAX = 1024 * 1024;
