import { setMaxListeners } from "node:events";

import { isReserved } from "./envelope.js";
import { QWormholeError } from "../errors.js";
import type { ListenerOptions } from "./typed.js";

/**
 * An event with a topic as its `type` and what was published as its `detail`: what `CustomEvent` is, also where Node
 * has no global of that name.
 */
export class TopicEvent<Type extends string = string, Detail = unknown> extends Event {
  declare readonly type: Type;
  /** What was published; `null` where nothing was. */
  readonly detail: Detail;

  constructor(type: Type, options: { detail: Detail }) {
    super(type);
    this.detail = options.detail;
  }
}

type Callback = ((event: Event) => void) | { handleEvent(event: Event): void };

/** One registration, as `EventTarget` tells them apart: by callback and `capture`. */
interface Registration {
  readonly callback: Callback;
  readonly capture: boolean;
  readonly run: (event: Event) => void;
  readonly release: () => void;
}

/**
 * An EventTarget that knows which topics have listeners, so that others can subscribe to them and to nothing else.
 * `once`, `signal`, `capture` and listener objects work as on any EventTarget.
 */
export abstract class CountingEventTarget extends EventTarget {
  private readonly registrations = new Map<string, Registration[]>();

  constructor() {
    super();
    // Many subscribers of one topic are what this is for, not a leak.
    setMaxListeners(0, this);
  }

  /** Called before the first listener of a topic is added; what it throws is thrown to whoever adds it. */
  protected abstract onFirstListener(topic: string): void;

  /** Called after the last listener of a topic was removed. */
  protected abstract onLastListener(topic: string): void;

  override addEventListener(
    type: string,
    callback: Callback | null,
    options?: ListenerOptions | boolean,
  ): void {
    if (callback === null || callback === undefined) return;
    checkTopic(type);
    const { capture = false, once = false, signal, passive } = normalise(options);
    const known = this.registrations.get(type) ?? [];
    if (signal?.aborted || known.some((each) => each.callback === callback && each.capture === capture)) return;
    if (known.length === 0) this.onFirstListener(type);
    const remove = (): void => this.removeEventListener(type, callback, { capture });
    const registration: Registration = {
      callback,
      capture,
      run: (event) => {
        if (once) remove();
        if (typeof callback === "function") callback.call(this, event);
        else callback.handleEvent(event);
      },
      release: () => signal?.removeEventListener("abort", remove),
    };
    signal?.addEventListener("abort", remove, { once: true });
    this.registrations.set(type, [...known, registration]);
    super.addEventListener(type, registration.run, { capture, passive: passive ?? false });
  }

  override removeEventListener(
    type: string,
    callback: Callback | null,
    options?: ListenerOptions | boolean,
  ): void {
    const capture = normalise(options).capture ?? false;
    const known = this.registrations.get(type);
    const gone = known?.find((each) => each.callback === callback && each.capture === capture);
    if (known === undefined || gone === undefined) return;
    gone.release();
    super.removeEventListener(type, gone.run, { capture });
    const rest = known.filter((each) => each !== gone);
    if (rest.length > 0) {
      this.registrations.set(type, rest);
    } else {
      this.registrations.delete(type);
      this.onLastListener(type);
    }
  }

  /** Calls the listeners of this process. */
  protected deliver(event: Event): boolean {
    return super.dispatchEvent(event);
  }

  /** Whether this process listens to a topic. */
  protected hasListeners(topic: string): boolean {
    return this.registrations.has(topic);
  }
}

/** @throws {@link QWormholeError} `E_INVALID_TOPIC` for a topic that cannot be published or subscribed to. */
export function checkTopic(topic: string): void {
  if (typeof topic !== "string" || topic === "" || isReserved(topic) || topic.length > MAX_TOPIC_LENGTH) {
    const shown = typeof topic === "string" ? JSON.stringify(topic.slice(0, 40)) : typeof topic;
    const rule = `1 to ${MAX_TOPIC_LENGTH} characters that do not begin with "__"`;
    throw new QWormholeError("E_INVALID_TOPIC", `${shown} is no topic: it takes ${rule}`);
  }
}

function normalise(options: ListenerOptions | boolean | undefined): ListenerOptions {
  return typeof options === "boolean" ? { capture: options } : (options ?? {});
}

/** Characters of a topic at most. */
export const MAX_TOPIC_LENGTH = 1_024;
