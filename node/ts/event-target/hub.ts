import type { Duplex } from "node:stream";

import { QWormholeError } from "../errors.js";
import { Channel } from "./channel.js";
import type { ChannelLimits } from "./channel.js";
import { Control, DEFAULT_MAX_FRAME_LENGTH, encodeEnvelope, splitTopic, topicOf } from "./envelope.js";
import type { Envelope } from "./envelope.js";
import { DEFAULT_LIMITS, positive } from "./limits.js";
import { CountingEventTarget, TopicEvent, checkTopic } from "./listeners.js";
import type { TypedEvent, TypedEventTarget } from "./typed.js";

/** Options of {@link createEventHub}. */
export interface EventHubOptions<Info = unknown> {
  /** What listeners in this process find in `event.detail`. Default `payload`. */
  readonly detail?: "payload" | "envelope";
  /** Whether listeners of the hub hear what is dispatched on the hub itself. Default true. */
  readonly local?: boolean;
  /** Whether a peer that subscribed to a topic gets back what it publishes there. Default false. */
  readonly echo?: boolean;
  /** Bytes of an envelope at most; a peer that sends more is told and disconnected. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /** Bytes that may wait for one peer before `slowConsumer` applies. Default 5 MiB. */
  readonly maxBufferedBytes?: number;
  /**
   * What happens to a peer that does not read: `disconnect` it, or `drop-oldest` of what waits for it. Others never
   * wait for it. Default `disconnect`.
   */
  readonly slowConsumer?: "disconnect" | "drop-oldest";
  /** Topics that one peer may subscribe to. Default 10,000. */
  readonly maxTopics?: number;
  /** Says whether a peer may do something; it is told `FORBIDDEN` otherwise. Default: everybody may do everything. */
  readonly authorize?: (action: "publish" | "subscribe", topic: string, peer: HubPeer<Info>) => boolean;
  /** Called once for each peer that was attached; `error` if nobody asked for the end. */
  readonly onPeerClosed?: (peer: HubPeer<Info>, error: Error | undefined) => void;
}

/** One stream that is attached to a hub. */
export interface HubPeer<Info = unknown> {
  readonly stream: Duplex;
  /** What was given to {@link EventHub.attach}. */
  readonly info: Info;
  /** Topics that it subscribes to. */
  readonly topics: ReadonlySet<string>;
  /** Bytes that wait for it. */
  readonly bufferedBytes: number;
  /** Events that it was too slow for. */
  readonly dropped: number;
  /** Delivers what waits, then ends its stream. */
  close(): Promise<void>;
}

/** Fans events out by topic: to the listeners of this process and to the peers that subscribed. */
export interface EventHub<Event extends TypedEvent = TypedEvent, Info = unknown> extends TypedEventTarget<Event> {
  /** Peers that are attached. */
  readonly peers: ReadonlySet<HubPeer<Info>>;
  /** Makes the other end of `stream` a peer of this hub. It leaves when the stream closes. */
  attach(stream: Duplex, info?: Info): HubPeer<Info>;
  /** Delivers what waits for every peer and ends their streams. */
  close(): Promise<void>;
}

/**
 * The server's side of {@link createEventTarget}: what a peer publishes reaches the listeners of the hub and every
 * other peer that subscribed to its topic; what is dispatched on the hub reaches both, too.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for a bound that is not positive.
 * @example
 * ```ts
 * const hub = createEventHub();
 * const server = await serve({ port: 9736, onConnection: (stream, info) => hub.attach(stream, info) });
 * ```
 */
export function createEventHub<Event extends TypedEvent = TypedEvent, Info = unknown>(
  options: EventHubOptions<Info> = {},
): EventHub<Event, Info> {
  return new Hub<Info>(options) as unknown as EventHub<Event, Info>;
}

class Hub<Info> extends CountingEventTarget {
  readonly peers = new Set<Peer<Info>>();
  private readonly byTopic = new Map<string, Set<Peer<Info>>>();
  private readonly limits: ChannelLimits;
  private readonly maxTopics: number;

  constructor(private readonly options: EventHubOptions<Info>) {
    super();
    this.maxTopics = positive("maxTopics", options.maxTopics ?? DEFAULT_LIMITS.maxTopics);
    this.limits = {
      maxFrameLength: positive("maxFrameLength", options.maxFrameLength ?? DEFAULT_MAX_FRAME_LENGTH),
      maxBufferedBytes: positive("maxBufferedBytes", options.maxBufferedBytes ?? DEFAULT_LIMITS.maxBufferedBytes),
      policy: options.slowConsumer ?? "disconnect",
    };
  }

  attach(stream: Duplex, info?: Info): HubPeer<Info> {
    const channel = new Channel(stream, this.limits, {
      onEvent: (envelope, frame) => this.relay(peer, envelope, frame),
      onSubscribe: (topic) => this.subscribe(peer, topic),
      onUnsubscribe: (topic) => this.unsubscribe(peer, topic),
      onPeerError: () => undefined,
      onDrain: () => undefined,
      onClose: (error) => this.detach(peer, error),
    });
    const peer = new Peer<Info>(stream, info as Info, channel);
    this.peers.add(peer);
    return peer;
  }

  async close(): Promise<void> {
    await Promise.all([...this.peers].map((peer) => peer.close()));
  }

  override dispatchEvent(event: Event): boolean {
    checkTopic(event.type);
    const payload: unknown = (event as Event & { detail?: unknown }).detail;
    const { type, id } = splitTopic(event.type);
    if (this.byTopic.has(event.type)) this.fanOut(event.type, this.encode(type, id, payload), undefined);
    if (this.options.local === false) return true;
    if (this.options.detail !== "envelope") return this.deliver(event);
    return this.deliver(new TopicEvent(event.type, { detail: { type, id, payload: payload ?? null } }));
  }

  // Listeners of this process hear every peer already: there is nobody to subscribe to.
  protected override onFirstListener(): void {}
  protected override onLastListener(): void {}

  private encode(type: string, id: string, payload: unknown): Buffer {
    const frame = encodeEnvelope(type, id, payload);
    if (frame.length - 4 > this.limits.maxFrameLength) {
      const text = `Frame length ${frame.length - 4} exceeds limit ${this.limits.maxFrameLength}`;
      throw new QWormholeError("E_FRAME_TOO_LARGE", text);
    }
    return frame;
  }

  private relay(from: Peer<Info>, envelope: Envelope, frame: Buffer): void {
    const topic = topicOf(envelope.type, envelope.id);
    if (!this.mayUse("publish", topic, from)) return;
    // A frame that waits must not keep the whole chunk alive that it came in.
    if (this.byTopic.has(topic)) this.fanOut(topic, Buffer.from(frame), from);
    if (!this.hasListeners(topic)) return;
    const detail = this.options.detail === "envelope" ? envelope : envelope.payload;
    this.deliver(new TopicEvent(topic, { detail }));
  }

  private fanOut(topic: string, frame: Buffer, from: Peer<Info> | undefined): void {
    for (const peer of this.byTopic.get(topic) ?? []) {
      if (peer === from && !this.options.echo) continue;
      if (frame.length - 4 > peer.channel.peerMaxFrameLength) continue;
      if (peer.channel.sendFrame(frame) === "overflow") {
        const waiting = `${peer.bufferedBytes} bytes wait for it`;
        peer.channel.destroy(new QWormholeError("E_BACKPRESSURE", `a consumer was too slow: ${waiting}`));
      }
    }
  }

  private subscribe(peer: Peer<Info>, topic: string): void {
    if (peer.topics.has(topic)) return;
    if (peer.topics.size >= this.maxTopics) {
      const error = new QWormholeError("E_TOO_MANY_TOPICS", `at most ${this.maxTopics} topics for one peer`);
      peer.channel.fail("TOO_MANY_TOPICS", error);
      return;
    }
    if (!this.mayUse("subscribe", topic, peer)) return;
    peer.topics.add(topic);
    const peers = this.byTopic.get(topic);
    if (peers === undefined) this.byTopic.set(topic, new Set([peer]));
    else peers.add(peer);
  }

  private unsubscribe(peer: Peer<Info>, topic: string): void {
    if (!peer.topics.delete(topic)) return;
    const peers = this.byTopic.get(topic);
    peers?.delete(peer);
    if (peers?.size === 0) this.byTopic.delete(topic);
  }

  private mayUse(action: "publish" | "subscribe", topic: string, peer: Peer<Info>): boolean {
    try {
      checkTopic(topic);
    } catch (error) {
      peer.channel.sendControl(Control.error, { code: "BAD_TOPIC", message: (error as Error).message });
      return false;
    }
    if (this.options.authorize?.(action, topic, peer) ?? true) return true;
    peer.channel.sendControl(Control.error, { code: "FORBIDDEN", message: `may not ${action} "${topic}"` });
    return false;
  }

  private detach(peer: Peer<Info>, error: Error | undefined): void {
    for (const topic of [...peer.topics]) this.unsubscribe(peer, topic);
    this.peers.delete(peer);
    this.options.onPeerClosed?.(peer, error);
  }
}

class Peer<Info> implements HubPeer<Info> {
  readonly topics = new Set<string>();

  constructor(
    readonly stream: Duplex,
    readonly info: Info,
    readonly channel: Channel,
  ) {}

  get bufferedBytes(): number {
    return this.channel.outbox.bufferedBytes;
  }

  get dropped(): number {
    return this.channel.outbox.dropped;
  }

  close(): Promise<void> {
    return this.channel.close();
  }
}
