import type { Duplex } from "node:stream";

import { QWormholeError, asError } from "../errors.js";
import { Control, HEADER_BYTES, decodeEnvelope, encodeEnvelope, isReserved, topicsOf } from "./envelope.js";
import type { Envelope } from "./envelope.js";
import { FrameReader } from "./frame-reader.js";
import { Outbox } from "./outbox.js";
import type { Outcome, OutboxLimits } from "./outbox.js";

/** Bounds of one {@link Channel}. */
export interface ChannelLimits extends OutboxLimits {
  /** Bytes of an envelope at most, in both directions. */
  readonly maxFrameLength: number;
}

/** What a {@link Channel} tells its owner. */
export interface ChannelHandlers {
  /** An event of the application's; `frame` is the envelope as it came, header included. */
  onEvent(envelope: Envelope, frame: Buffer): void;
  onSubscribe(topic: string): void;
  onUnsubscribe(topic: string): void;
  /** The peer refused something; the connection may go on. */
  onPeerError(error: QWormholeError): void;
  /** The stream takes frames again. */
  onDrain(): void;
  /** Once, at the end; `error` if it was none that anybody asked for. */
  onClose(error: Error | undefined): void;
}

/**
 * Envelopes over one Duplex, with the control messages that both an event target and a hub understand. Keeps the
 * order of what is sent; ends exactly once.
 */
export class Channel {
  /** Bytes of an envelope that the peer said it accepts; ours until it says. */
  peerMaxFrameLength: number;
  readonly outbox: Outbox;
  private readonly reader: FrameReader;
  private error: Error | undefined;
  private ending = false;
  private over = false;
  private readonly whenOver: Promise<void>;
  private settle!: () => void;

  constructor(
    private readonly stream: Duplex,
    private readonly limits: ChannelLimits,
    private readonly handlers: ChannelHandlers,
  ) {
    this.peerMaxFrameLength = limits.maxFrameLength;
    this.reader = new FrameReader(limits.maxFrameLength);
    this.outbox = new Outbox(stream, limits, () => handlers.onDrain());
    this.whenOver = new Promise((resolve) => (this.settle = resolve));
    stream.once("close", () => this.finish());
    stream.on("error", (error: Error) => (this.error ??= error));
    stream.on("data", (chunk: Buffer) => this.receive(chunk));
    // A peer that ends and does not read must not keep what waits for it, nor the stream.
    stream.once("end", () => void this.close());
    if (stream.destroyed || stream.readableEnded) this.endAfterwards();
  }

  /** Whether nothing can be sent any more. */
  get isClosed(): boolean {
    return this.ending || this.over;
  }

  /** Sends a complete frame, header included. */
  sendFrame(frame: Buffer): Outcome {
    if (this.isClosed) return "refused";
    return this.outbox.push(frame);
  }

  /** Sends a control message. */
  sendControl(type: string, payload: unknown, id = ""): Outcome {
    return this.sendFrame(encodeEnvelope(type, id, payload));
  }

  /** Tells the peer what it did wrong, delivers what was sent before, and ends. */
  fail(word: string, error: Error): void {
    if (this.isClosed) return;
    this.error ??= error;
    this.outbox.surrender();
    this.stream.write(encodeEnvelope(Control.error, "", { code: word, message: error.message }));
    void this.close();
  }

  /** Ends without delivering what waits. */
  destroy(error: Error): void {
    this.error ??= error;
    this.outbox.clear();
    this.ending = true;
    this.stream.destroy();
  }

  /** Delivers what was sent, then ends; destroys a stream whose peer does not end within {@link CLOSE_TIMEOUT_MS}. */
  async close(): Promise<void> {
    this.end();
    const timer = setTimeout(() => this.stream.destroy(), CLOSE_TIMEOUT_MS);
    timer.unref();
    await this.whenOver;
    clearTimeout(timer);
  }

  /** The stream told of its end before anybody listened; the owner has its channel by the next microtask. */
  private endAfterwards(): void {
    const { destroyed, errored } = this.stream;
    this.error ??= errored ?? undefined;
    this.ending = destroyed;
    queueMicrotask(() => {
      if (destroyed) this.finish();
      else void this.close();
    });
  }

  private end(): void {
    if (this.isClosed) return;
    this.ending = true;
    this.outbox.surrender();
    this.stream.end();
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    this.outbox.clear();
    this.settle();
    this.handlers.onClose(this.error);
  }

  private receive(chunk: Buffer): void {
    if (this.isClosed) return;
    try {
      this.reader.push(chunk, (frame) => {
        this.dispatch(frame);
        return !this.isClosed;
      });
    } catch (thrown) {
      const error = asError(thrown);
      const code = error instanceof QWormholeError && error.code === "E_FRAME_TOO_LARGE";
      this.fail(code ? "FRAME_TOO_LARGE" : "BAD_ENVELOPE", error);
    }
  }

  private dispatch(frame: Buffer): void {
    const envelope = decodeEnvelope(frame.subarray(HEADER_BYTES));
    if (isReserved(envelope.type)) this.control(envelope);
    else this.handlers.onEvent(envelope, frame);
  }

  private control({ type, id, payload }: Envelope): void {
    switch (type) {
      case Control.subscribe:
        for (const topic of topicsOf(payload)) this.handlers.onSubscribe(topic);
        break;
      case Control.unsubscribe:
        for (const topic of topicsOf(payload)) this.handlers.onUnsubscribe(topic);
        break;
      case Control.hello:
        this.learnMaxFrame(payload);
        break;
      case Control.ping:
        this.sendControl(Control.pong, payload, id);
        break;
      case Control.error:
        this.handlers.onPeerError(peerError(payload));
        break;
      default: // A word of a later version: both sides ignore what they do not know.
    }
  }

  private learnMaxFrame(payload: unknown): void {
    const { maxFrame } = (payload ?? {}) as { maxFrame?: unknown };
    if (typeof maxFrame !== "number" || !(maxFrame > 0)) return;
    this.peerMaxFrameLength = Math.min(this.limits.maxFrameLength, maxFrame);
  }
}

function peerError(payload: unknown): QWormholeError {
  const { code, message } = (payload ?? {}) as { code?: unknown; message?: unknown };
  const text = typeof message === "string" ? message : "no message";
  const known = (typeof code === "string" ? PEER_CODES.get(code) : undefined) ?? "E_INVALID_ENVELOPE";
  return new QWormholeError(known, `the peer says ${String(code)}: ${text}`);
}

// A Map: the peer chooses the word, and an object would know "constructor", too.
const PEER_CODES: ReadonlyMap<string, QWormholeError["code"]> = new Map([
  ["FRAME_TOO_LARGE", "E_FRAME_TOO_LARGE"],
  ["BAD_ENVELOPE", "E_INVALID_ENVELOPE"],
  ["BAD_TOPIC", "E_INVALID_TOPIC"],
  ["FORBIDDEN", "E_INVALID_TOPIC"],
  ["TOO_MANY_TOPICS", "E_TOO_MANY_TOPICS"],
]);

/** Milliseconds that {@link Channel.close} waits for the peer to end, too. */
const CLOSE_TIMEOUT_MS = 2_000;
