/** An event with a known type and detail; compatible with `TypedEvent` of `@graphql-yoga/typed-event-target`. */
export type TypedEvent<Type extends string = string, Detail = unknown> = Omit<
  CustomEvent<Detail>,
  "detail" | "type"
> & {
  type: Type;
  detail: Detail;
};

/** A function or an object with `handleEvent`, as `EventTarget` takes them. */
export type TypedListener<E extends TypedEvent> = ((event: E) => void) | { handleEvent(event: E): void };

/** An EventTarget of known events. */
export interface TypedEventTarget<E extends TypedEvent = TypedEvent> extends EventTarget {
  addEventListener<Current extends E>(
    type: Current["type"],
    callback: TypedListener<Current> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  dispatchEvent(event: E): boolean;
  removeEventListener<Current extends E>(
    type: Current["type"],
    callback: TypedListener<Current> | null,
    options?: EventListenerOptions | boolean,
  ): void;
}
