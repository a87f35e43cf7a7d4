import { Duplex } from "node:stream";

import type { CloseReason, Connection, TlsInfo } from "../native/engine.js";
import { errorOf } from "../transport/errors.js";
import { viewOf } from "../transport/batch.js";

/** Where the other end of a stream is. */
export interface StreamInfo {
  /** `unix` for a unix socket. */
  readonly transport: "tcp" | "tls" | "unix";
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  /** What is known about TLS. */
  readonly tls?: TlsInfo;
}

type Done = (error?: Error | null) => void;

/**
 * Bytes over one connection, with the semantics of a `net.Socket`: reading stops at the high-water mark and slows down
 * the peer, `write()` returns false while the peer does not read, `end()` closes the writing half.
 */
export class ByteStream extends Duplex {
  /** Where the other end is. */
  readonly info: StreamInfo;
  /** Bytes received so far. */
  bytesRead = 0;
  /** Bytes given to `write` that are on their way or arrived. */
  bytesWritten = 0;
  private waiting: Done | undefined;
  private finishing: { mark: number; done: Done } | undefined;
  private closing: ((error: Error | null) => void) | undefined;
  private isOver = false;
  private peerEnded = false;
  private paused = false;

  /** @internal */
  constructor(
    private readonly conn: Connection,
    info: StreamInfo,
    options: { readonly highWaterMark: number; readonly allowHalfOpen: boolean },
  ) {
    super({ ...options, emitClose: true, autoDestroy: true });
    this.info = info;
  }

  get remoteAddress(): string | undefined {
    return this.info.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.info.remotePort;
  }

  /** An open stream keeps the process alive, the default. */
  ref(): this {
    this.conn.ref();
    return this;
  }

  /** Lets the process end although the stream is open. */
  unref(): this {
    this.conn.unref();
    return this;
  }

  override _read(): void {
    if (!this.paused || this.isOver) return;
    this.paused = false;
    this.conn.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.enqueue([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this.enqueue(chunks.map(({ chunk }) => chunk), done);
  }

  override _final(done: Done): void {
    if (this.isOver) return done();
    this.finishing = { mark: this.conn.mark(), done };
    this.conn.end();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.(error ?? destroyedError());
    if (this.isOver) return done(error);
    this.closing = () => done(error);
    // A stream that ended both ways is only closed; anything else is cut off, as a destroyed socket is.
    if (error === null && this.writableFinished && this.readableEnded) this.conn.close();
    else this.conn.abort();
  }

  /** @internal Bytes came. */
  onBytes(slab: Buffer, start: number, end: number): void {
    if (this.destroyed) return;
    this.bytesRead += end - start;
    if (this.push(viewOf(slab, start, end)) || this.paused) return;
    this.paused = true;
    this.conn.pause();
  }

  /** @internal The peer sends no more. */
  onPeerEnd(): void {
    if (this.peerEnded) return;
    this.peerEnded = true;
    this.push(null);
    // Where nothing is left to read, the end is told without anybody reading, as sockets do.
    this.read(0);
  }

  /** @internal The kernel has everything up to a mark. */
  onFlushed(mark: number): void {
    const { finishing } = this;
    if (finishing !== undefined && mark >= finishing.mark) {
      this.finishing = undefined;
      finishing.done();
    }
    this.goOn();
  }

  /** @internal The connection is over. */
  onClose(why: CloseReason): void {
    this.isOver = true;
    if (this.closing !== undefined) return this.closing(null);
    const finishing = this.finishing;
    this.finishing = undefined;
    const error = why.hadError ? errorOf(why) : undefined;
    if (error !== undefined) {
      this.destroy(error);
      return;
    }
    finishing?.done();
    this.settle();
    this.onPeerEnd();
    if (!this.writableFinished && finishing === undefined) this.endWriting();
  }

  private enqueue(chunks: Buffer[], done: Done): void {
    if (this.isOver) return done(closedError());
    for (const chunk of chunks) {
      this.bytesWritten += chunk.length;
      if (!this.conn.send(chunk)) return done(closedError());
    }
    this.waiting = done;
    // What the kernel takes at once needs no word from it: only a queue that stays makes a writer wait.
    if (this.conn.queuedBytes < this.writableHighWaterMark) this.settle();
    else this.conn.mark();
  }

  private goOn(): void {
    if (this.waiting === undefined) return;
    if (this.conn.queuedBytes < this.writableHighWaterMark) this.settle();
    else this.conn.mark();
  }

  private settle(): void {
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.();
  }

  /** The peer is gone: what is written from now on fails, as on a socket. */
  private endWriting(): void {
    if (this.readableEnded) process.nextTick(() => this.destroy());
    else this.once("end", () => this.destroy());
  }
}

function closedError(): Error {
  return Object.assign(new Error("write EPIPE"), { code: "EPIPE", errno: -32, syscall: "write" });
}

function destroyedError(): Error {
  return Object.assign(new Error("the stream was destroyed"), { code: "ERR_STREAM_DESTROYED" });
}

/** Bytes that wait on either side before a stream says so. */
export const STREAM_HIGH_WATER_MARK = 64 * 1024;
