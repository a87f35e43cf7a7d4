// One connection, of a client or a server.

// Bytes after which the kernel's progress is asked for.
const MARK_BYTES = 256 * 1024;

// What is no run of bytes has no length to lay out, and would overwrite what others staged.
function checked(data) {
  if (ArrayBuffer.isView(data) && data.BYTES_PER_ELEMENT === 1) return data;
  throw new TypeError('a message is a string or bytes: Buffer or Uint8Array');
}

class Connection {
  // `slot` is the native number, negative once the connection is over.
  constructor(source, slot, id, options) {
    this.source = source;
    this.native = source.native;
    this.slot = slot;
    this.id = id;
    this.info = {};
    this.data = undefined;
    this.isOpen = false;
    this.isStream = options.isStream;
    this.headerBytes = options.isStream ? 0 : 4;
    this.markBytes = options.markBytes >= 1 ? options.markBytes : MARK_BYTES;
    this.received = 0;
    this.sent = 0;
    this.acknowledged = 0;
    this.finished = false;
    this.marks = [];
    // Native code knows the first one, too: `FIRST_MARK`.
    this.nextMark = 1;
    this.ownMark = false;
    this.referenced = true;
    this.holds = false;
  }

  send(data) {
    if (this.slot < 0 || this.finished) return false;
    return typeof data === 'string' ? stageText(this, data) : stageBytes(this, checked(data));
  }

  sendMany(list) {
    let accepted = 0;
    for (const data of list) {
      if (!this.send(data)) break;
      accepted += 1;
    }
    return accepted;
  }

  sendStaged(slab, messageEnds, count) {
    if (this.slot < 0 || this.finished) return false;
    if (!(count >= 0 && count <= messageEnds.length)) throw new RangeError('count: as many ends as there are, at most');
    flushStage();
    const accepted = this.native.send(this.slot, slab, 0, messageEnds, 0, count);
    this.sent += (count === 0 ? 0 : messageEnds[count - 1]) + count * this.headerBytes;
    this.noteSent();
    return accepted === count;
  }

  sendUrgent(data, priority) {
    if (this.slot < 0 || this.finished) return false;
    const bytes = typeof data === 'string' ? Buffer.from(data) : checked(data);
    flushStage();
    this.sent += bytes.length + this.headerBytes;
    const accepted = this.native.sendOne(this.slot, bytes, priority | 0);
    this.noteSent();
    return accepted;
  }

  flush() {
    flushStage();
  }

  mark() {
    const mark = this.nextMark++;
    if (this.slot < 0) return mark;
    flushStage();
    this.marks.push({ mark, sent: this.sent, own: false });
    this.native.mark(this.slot, mark);
    return mark;
  }

  get queuedBytes() {
    return this.sent - this.acknowledged;
  }

  // Wire bytes without those of TLS; `bytesOut` were accepted, `queuedBytes` of them may still wait.
  stats() {
    return { bytesIn: this.received, bytesOut: this.sent };
  }

  pause() {
    if (this.slot >= 0) this.native.pause(this.slot);
  }

  resume() {
    if (this.slot >= 0) this.native.resume(this.slot);
  }

  end() {
    if (this.slot < 0 || this.finished) return;
    flushStage();
    this.finished = true;
    this.native.finish(this.slot);
  }

  close() {
    if (this.slot < 0) return;
    flushStage();
    this.finished = true;
    const ends = this.native.close(this.slot);
    // An attempt with nothing to say is not waited for.
    if (!ends && this.source.isClient) this.source.giveUp();
  }

  abort() {
    if (this.slot < 0) return;
    flushStage();
    this.finished = true;
    this.native.abort(this.slot);
    if (!this.isOpen && this.source.isClient) this.source.giveUp();
  }

  exportKeyingMaterial(length, label, context) {
    if (this.slot < 0 || !this.isOpen || this.info.tls === undefined) return undefined;
    const bytes = context === undefined || context === null ? Buffer.alloc(0) : Buffer.from(context);
    return this.native.exportKeyingMaterial(this.slot, length, String(label), bytes) || undefined;
  }

  ref() {
    this.referenced = true;
    this.updateHold();
  }

  unref() {
    this.referenced = false;
    this.updateHold();
  }

  // Internal from here on.

  updateHold() {
    const holds = this.referenced && this.slot >= 0;
    if (holds === this.holds) return;
    this.holds = holds;
    hold(holds ? 1 : -1);
  }

  // Something was not accepted. An open connection tells of its end by itself; an attempt that may take for ever does not.
  refused() {
    if (this.isOpen || !this.source.isClient || this.slot < 0 || !this.native.isCut(this.slot)) return;
    this.source.giveUp({ hadError: true, code: 'E_BACKPRESSURE', message: 'Backpressure limit exceeded' });
  }

  // Something was handed over.
  noteSent() {
    if (this.ownMark || this.slot < 0 || this.sent - this.acknowledged < this.markBytes) return;
    this.ownMark = true;
    const mark = this.nextMark++;
    this.marks.push({ mark, sent: this.sent, own: true });
    this.native.mark(this.slot, mark);
  }

  // A mark was reached. Returns whether somebody asked for it.
  reached(mark) {
    const at = this.marks.findIndex((entry) => entry.mark === mark);
    if (at < 0) return false;
    const [entry] = this.marks.splice(at, 1);
    this.acknowledged = Math.max(this.acknowledged, entry.sent);
    if (entry.own) {
      this.ownMark = false;
      this.noteSent();
    }
    return !entry.own;
  }

  // The connection is over.
  ended() {
    this.slot = -1;
    this.isOpen = false;
    this.finished = true;
    this.marks = [];
    this.updateHold();
  }
}

