import type { Duplex } from "node:stream";

import { QWormholeError } from "../errors.js";
import { Channel } from "./channel.js";
import { Control, DEFAULT_MAX_FRAME_LENGTH, encodeEnvelope, splitTopic, topicOf } from "./envelope.js";
import type { Envelope } from "./envelope.js";
import { CountingEventTarget, TopicEvent, checkTopic } from "./listeners.js";
import { DEFAULT_LIMITS, positive } from "./limits.js";
import type { TypedEvent, TypedEventTarget } from "./typed.js";

/** Options of {@link createEventTarget}. */
export interface EventTargetOptions {
  /** What carries the envelopes: any Duplex, such as one of `connect()`, a `net.Socket` or a child's pipe. */
  readonly stream: Duplex;
  /**
   * What listeners find in `event.detail`: `payload` is what was published, `envelope` is `{type, id, payload}`.
   * Default `payload`, as `@graphql-yoga/subscription` expects.
   */
  readonly detail?: "payload" | "envelope";
  /** Whether listeners of this target hear what is dispatched on it, as on any EventTarget. Default true. */
  readonly local?: boolean;
  /**
   * Sends only what the peer subscribed to. Default false: a hub decides who gets what, so it gets everything. True
   * is for two targets that face each other without a hub.
   */
  readonly filter?: boolean;
  /** Bytes of an envelope at most, both ways; one that is larger ends the connection. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /** Bytes that may wait for the peer to read; `dispatchEvent` throws beyond. Default 5 MiB. */
  readonly maxBufferedBytes?: number;
  /** Topics with listeners, and topics that the peer subscribes to, at most. Default 10,000 each. */
  readonly maxTopics?: number;
  /** Sends `__hello` with `maxFrameLength`, which peers may ignore. Default false. */
  readonly hello?: boolean;
  /** Called when the peer refuses something. */
  readonly onError?: (error: QWormholeError) => void;
}

/** An event target whose other half is at the other end of a stream. */
export interface StreamEventTarget<Event extends TypedEvent = TypedEvent> extends TypedEventTarget<Event> {
  /** Resolves when the stream is closed; `error` if nobody asked for it. Never rejects. */
  readonly closed: Promise<{ error?: Error }>;
  /** Bytes that were dispatched and that the stream has not taken. */
  readonly bufferedBytes: number;
  /** Delivers what was dispatched, then ends the stream. Resolves when it is closed. */
  close(): Promise<void>;
}

/**
 * An event target over a stream: what is dispatched here is heard at the other end, and what has a listener here is
 * subscribed to there. Works unchanged as the `eventTarget` of `createPubSub` of `@graphql-yoga/subscription`.
 *
 * Delivery is at most once and in order. The first listener of a topic sends `__subscribe`, the removal of its last
 * one `__unsubscribe`.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for a bound that is not positive.
 * @example
 * ```ts
 * const pubSub = createPubSub({ eventTarget: createEventTarget({ stream: await connect({ port: 9736 }) }) });
 * ```
 */
export function createEventTarget<Event extends TypedEvent = TypedEvent>(
  options: EventTargetOptions,
): StreamEventTarget<Event> {
  return new StreamTarget(options) as unknown as StreamEventTarget<Event>;
}

class StreamTarget extends CountingEventTarget {
  readonly closed: Promise<{ error?: Error }>;
  private readonly channel: Channel;
  private readonly maxTopics: number;
  /** Topics that the peer was told we listen to. */
  private readonly announced = new Set<string>();
  private readonly listenedTo = new Set<string>();
  /** Topics whose last word to the peer may be out of date; sent when the stream takes frames. */
  private readonly stale = new Set<string>();
  private readonly peerTopics = new Set<string>();

  constructor(private readonly options: EventTargetOptions) {
    super();
    this.maxTopics = positive("maxTopics", options.maxTopics ?? DEFAULT_LIMITS.maxTopics);
    let onClose: (value: { error?: Error }) => void;
    this.closed = new Promise((resolve) => (onClose = resolve));
    const limits = {
      maxFrameLength: positive("maxFrameLength", options.maxFrameLength ?? DEFAULT_MAX_FRAME_LENGTH),
      maxBufferedBytes: positive("maxBufferedBytes", options.maxBufferedBytes ?? DEFAULT_LIMITS.maxBufferedBytes),
      policy: "refuse" as const,
    };
    this.channel = new Channel(options.stream, limits, {
      onEvent: (envelope) => this.receive(envelope),
      onSubscribe: (topic) => this.learn(topic),
      onUnsubscribe: (topic) => this.peerTopics.delete(topic),
      onPeerError: (error) => options.onError?.(error),
      onDrain: () => this.announce(),
      onClose: (error) => onClose(error === undefined ? {} : { error }),
    });
    if (options.hello) {
      this.channel.sendControl(Control.hello, { protocol: 1, maxFrame: limits.maxFrameLength });
    }
  }

  get bufferedBytes(): number {
    return this.channel.outbox.bufferedBytes;
  }

  override dispatchEvent(event: Event): boolean {
    checkTopic(event.type);
    const payload: unknown = (event as Event & { detail?: unknown }).detail;
    const { type, id } = splitTopic(event.type);
    if (!this.options.filter || this.peerTopics.has(event.type)) this.send(type, id, payload);
    if (this.options.local === false) return true;
    if (this.options.detail !== "envelope") return this.deliver(event);
    return this.deliver(new TopicEvent(event.type, { detail: { type, id, payload: payload ?? null } }));
  }

  close(): Promise<void> {
    return this.channel.close();
  }

  protected override onFirstListener(topic: string): void {
    if (this.listenedTo.size >= this.maxTopics) {
      throw new QWormholeError("E_TOO_MANY_TOPICS", `more than ${this.maxTopics} topics have listeners`);
    }
    this.listenedTo.add(topic);
    this.stale.add(topic);
    this.announce();
  }

  protected override onLastListener(topic: string): void {
    this.listenedTo.delete(topic);
    this.stale.add(topic);
    this.announce();
  }

  private announce(): void {
    for (const topic of this.stale) {
      if (this.channel.outbox.isBlocked) return;
      this.stale.delete(topic);
      const wanted = this.listenedTo.has(topic);
      if (wanted === this.announced.has(topic)) continue;
      if (wanted) this.announced.add(topic);
      else this.announced.delete(topic);
      this.channel.sendControl(wanted ? Control.subscribe : Control.unsubscribe, { topic });
    }
  }

  private send(type: string, id: string, payload: unknown): void {
    if (this.channel.isClosed) throw new QWormholeError("E_CLOSED", "the event target's stream is closed");
    const frame = encodeEnvelope(type, id, payload);
    const limit = this.channel.peerMaxFrameLength;
    if (frame.length - 4 > limit) {
      throw new QWormholeError("E_FRAME_TOO_LARGE", `Frame length ${frame.length - 4} exceeds limit ${limit}`);
    }
    if (this.channel.sendFrame(frame) === "refused") {
      const waiting = `${this.channel.outbox.bufferedBytes} bytes wait for the peer`;
      throw new QWormholeError("E_BACKPRESSURE", `Backpressure limit exceeded: ${waiting}`);
    }
  }

  private receive(envelope: Envelope): void {
    const topic = topicOf(envelope.type, envelope.id);
    if (!this.hasListeners(topic)) return;
    const detail = this.options.detail === "envelope" ? envelope : envelope.payload;
    this.deliver(new TopicEvent(topic, { detail }));
  }

  private learn(topic: string): void {
    if (!this.options.filter) return;
    if (this.peerTopics.size >= this.maxTopics && !this.peerTopics.has(topic)) {
      const error = new QWormholeError("E_TOO_MANY_TOPICS", `the peer subscribes to over ${this.maxTopics} topics`);
      this.channel.fail("TOO_MANY_TOPICS", error);
      return;
    }
    this.peerTopics.add(topic);
  }
}

