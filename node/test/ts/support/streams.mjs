// Streams for tests: pairs of Duplexes in memory, with a switch that makes one end stop reading.
import { Duplex } from "node:stream";

/** Two Duplexes, each of which reads what the other writes. `pauseReading` of one stops its reads from the other. */
export function duplexPair({ chunkBytes = Infinity, highWaterMark = 16_384 } = {}) {
  const left = new Half(highWaterMark, chunkBytes);
  const right = new Half(highWaterMark, chunkBytes);
  left.other = right;
  right.other = left;
  return [left, right];
}

class Half extends Duplex {
  constructor(highWaterMark, chunkBytes) {
    super({ highWaterMark, allowHalfOpen: true });
    this.chunkBytes = chunkBytes;
    this.written = [];
    this.stalled = undefined;
    this.paused = false;
  }

  /** From now on nothing of what the other end writes is taken. */
  pauseReading() {
    this.paused = true;
  }

  resumeReading() {
    this.paused = false;
    const stalled = this.stalled;
    this.stalled = undefined;
    stalled?.();
  }

  _write(chunk, _encoding, done) {
    this.written.push(chunk);
    const deliver = () => {
      for (let at = 0; at < chunk.length; at += this.other.chunkBytes) {
        this.other.push(chunk.subarray(at, Math.min(chunk.length, at + this.other.chunkBytes)));
      }
      setImmediate(done);
    };
    if (this.other.paused) this.other.stalled = deliver;
    else deliver();
  }

  _read() {}

  _final(done) {
    this.other.push(null);
    done();
  }

  _destroy(error, done) {
    if (!this.other.destroyed && !this.other.readableEnded) this.other.push(null);
    done(error);
  }
}

/** The envelopes among what a stream was given to write. */
export function envelopes(chunks) {
  const all = Buffer.concat(chunks);
  const found = [];
  for (let at = 0; at < all.length; ) {
    const length = all.readUInt32BE(at);
    found.push(JSON.parse(all.subarray(at + 4, at + 4 + length).toString("utf8")));
    at += 4 + length;
  }
  return found;
}

/** Resolves when `condition()` holds, looked at once per turn of the event loop. */
export async function until(condition, what = "condition") {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves after several turns of the event loop: whatever was on its way in memory has arrived. */
export async function settled(turns = 8) {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
