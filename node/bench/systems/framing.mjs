// The length-prefix framing that users of node:net write by hand, as fast as JavaScript has it.

/** Cuts chunks into messages: views of the chunk, and one copy for a message that spans two. */
export function createParser(onMessage) {
  let rest;
  return (chunk) => {
    const data = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    const end = data.length;
    let at = 0;
    while (end - at >= 4) {
      const length = (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3];
      if (end - at - 4 < length) break;
      onMessage(data.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    rest = at < end ? data.subarray(at) : undefined;
  };
}

/** Lays `count` messages with their headers into one buffer. A pool of buffers is reused once they were written. */
export class FramePool {
  #free = [];

  fill(payload, count) {
    const frame = payload.length + 4;
    const bytes = frame * count;
    let buffer = this.#free.pop();
    if (buffer === undefined || buffer.length < bytes) buffer = Buffer.allocUnsafeSlow(Math.max(bytes, 65_536));
    for (let at = 0; at < bytes; at += frame) {
      buffer.writeUInt32BE(payload.length, at);
      buffer.set(payload, at + 4);
    }
    return { buffer, view: buffer.subarray(0, bytes) };
  }

  release(buffer) {
    if (this.#free.length < 16) this.#free.push(buffer);
  }
}
