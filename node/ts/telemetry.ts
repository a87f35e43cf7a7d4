/** Counters of a server. */
export interface TelemetrySnapshot {
  /** Bytes received, headers included; since the start. */
  bytesIn: number;
  /** Bytes sent, headers included; since the start. */
  bytesOut: number;
  /** Connections that are open now. */
  connections: number;
  /** How often a connection became backpressured. */
  backpressureEvents: number;
  /** How often one ceased to be. */
  drainEvents: number;
}

/** Counts, and tells at most once per turn of the event loop. The same object is told each time. */
export class Telemetry {
  readonly counters: TelemetrySnapshot = {
    bytesIn: 0,
    bytesOut: 0,
    connections: 0,
    backpressureEvents: 0,
    drainEvents: 0,
  };
  private scheduled = false;

  constructor(
    private readonly tell: ((snapshot: TelemetrySnapshot) => void) | undefined,
    private readonly failed: (error: unknown) => void,
  ) {}

  add(name: keyof TelemetrySnapshot, count: number): void {
    this.counters[name] += count;
    if (this.tell === undefined || this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      try {
        this.tell?.(this.counters);
      } catch (error) {
        this.failed(error);
      }
    });
  }
}

/** Counters of one named thing. */
export interface ContextCounters {
  bytesIn: number;
  bytesOut: number;
  flushes: number;
  backpressure: number;
}

/** Counters by name; see {@link createQWormholeContext}. */
export interface QWormholeContext {
  /** The counters of one name, made on first use; add to them. */
  instance(name: string): ContextCounters;
  /** Sums and copies of all counters. */
  metrics(): { totals: ContextCounters; byInstance: Record<string, ContextCounters> };
}

/** A registry of counters for programs that run several clients and servers. */
export function createQWormholeContext(): QWormholeContext {
  const instances = new Map<string, ContextCounters>();
  const zero = (): ContextCounters => ({ bytesIn: 0, bytesOut: 0, flushes: 0, backpressure: 0 });
  return {
    instance: (name) => {
      const counters = instances.get(name) ?? zero();
      instances.set(name, counters);
      return counters;
    },
    metrics: () => {
      const totals = zero();
      for (const counters of instances.values()) {
        for (const key of Object.keys(totals) as (keyof ContextCounters)[]) totals[key] += counters[key];
      }
      const copies = [...instances].map(([name, counters]) => [name, { ...counters }] as const);
      return { totals, byInstance: Object.fromEntries(copies) };
    },
  };
}
