import { QWormholeError } from "../errors.js";
import { HEADER_BYTES } from "./envelope.js";

/**
 * Cuts a stream of bytes into the frames of envelopes. Never allocates for a length that is only announced: bytes are
 * joined once a frame is complete. One per stream; {@link Channel} feeds it.
 */
export class FrameReader {
  private parts: Buffer[] = [];
  private bytes = 0;
  private wanted = HEADER_BYTES;

  /** @param maxFrameLength - bytes of an envelope at most, its header not counted. */
  constructor(private readonly maxFrameLength: number) {}

  /**
   * Takes a chunk and calls `onFrame` for each frame that is now complete, header included, until it returns false.
   *
   * @throws {@link QWormholeError} `E_FRAME_TOO_LARGE` as soon as a header announces too much.
   */
  push(chunk: Buffer, onFrame: (frame: Buffer) => boolean): void {
    this.parts.push(chunk);
    this.bytes += chunk.length;
    if (this.bytes < this.wanted) return;
    const all = this.parts.length === 1 ? chunk : Buffer.concat(this.parts, this.bytes);
    let at = 0;
    this.wanted = HEADER_BYTES;
    while (all.length - at >= HEADER_BYTES) {
      const length = all.readUInt32BE(at);
      if (length > this.maxFrameLength) throw tooLarge(length, this.maxFrameLength);
      const end = at + HEADER_BYTES + length;
      if (end > all.length) {
        this.wanted = HEADER_BYTES + length;
        break;
      }
      const goOn = onFrame(all.subarray(at, end));
      at = end;
      if (!goOn) break;
    }
    this.parts = at < all.length ? [all.subarray(at)] : [];
    this.bytes = all.length - at;
  }
}

function tooLarge(length: number, limit: number): QWormholeError {
  return new QWormholeError("E_FRAME_TOO_LARGE", `Frame length ${length} exceeds limit ${limit}`);
}
