import { EventEmitter } from "node:events";

/** Listeners of an event whose arguments are `Args`. */
export type ListenerOf<Args> = (...args: Args extends unknown[] ? Args : never) => void;

type ArgsOf<Events, Name extends keyof Events> = Events[Name] extends unknown[] ? Events[Name] : never;

/** An EventEmitter of known events: `Events` maps their names to the arguments of their listeners. */
export interface TypedEmitter<Events> {
  on<Name extends keyof Events & string>(name: Name, listener: ListenerOf<Events[Name]>): this;
  once<Name extends keyof Events & string>(name: Name, listener: ListenerOf<Events[Name]>): this;
  off<Name extends keyof Events & string>(name: Name, listener: ListenerOf<Events[Name]>): this;
  addListener<Name extends keyof Events & string>(name: Name, listener: ListenerOf<Events[Name]>): this;
  removeListener<Name extends keyof Events & string>(name: Name, listener: ListenerOf<Events[Name]>): this;
}

// The interface gives the class its types; at run time it is an EventEmitter.
export class TypedEmitter<Events> extends EventEmitter {
  /**
   * Calls the listeners of an event. What one of them throws becomes an uncaught exception of its own and stops
   * neither the transport nor the messages after it.
   */
  protected tell<Name extends keyof Events & string>(name: Name, ...args: ArgsOf<Events, Name>): void {
    try {
      this.emit(name, ...(args as unknown[]));
    } catch (error) {
      uncaught(error);
    }
  }
}

/** Throws where nobody but the process catches it. */
export function uncaught(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
