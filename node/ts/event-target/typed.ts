/** An event with a known type and detail; compatible with `TypedEvent` of `@graphql-yoga/typed-event-target`. */
export type TypedEvent<Type extends string = string, Detail = unknown> = Omit<
  CustomEvent<Detail>,
  "detail" | "type"
> & {
  type: Type;
  detail: Detail;
};

/** How a listener is added; what `EventTarget` knows as `AddEventListenerOptions`. */
export interface ListenerOptions {
  readonly capture?: boolean;
  /** Removed when it is called. */
  readonly once?: boolean;
  readonly passive?: boolean;
  /** Removed when this is aborted. */
  readonly signal?: AbortSignal;
}

/** A function or an object with `handleEvent`, as `EventTarget` takes them. */
export type TypedListener<E extends TypedEvent> = ((event: E) => void) | { handleEvent(event: E): void };

/** An EventTarget of known events. */
export interface TypedEventTarget<E extends TypedEvent = TypedEvent> extends EventTarget {
  addEventListener<Current extends E>(
    type: Current["type"],
    callback: TypedListener<Current> | null,
    options?: ListenerOptions | boolean,
  ): void;
  dispatchEvent(event: E): boolean;
  removeEventListener<Current extends E>(
    type: Current["type"],
    callback: TypedListener<Current> | null,
    options?: ListenerOptions | boolean,
  ): void;
}
