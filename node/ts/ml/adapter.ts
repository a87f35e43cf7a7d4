/** Turns metrics into a judgement. */
export interface MLAdapter {
  /** Names the adapter in answers and errors. */
  readonly name: string;
  /** Answers with any JSON value; rejects when there is no answer. */
  run(metrics: unknown): Promise<unknown>;
}

/** Answers every query with an empty object. */
export function createNoopAdapter(): MLAdapter {
  return { name: "noop", run: () => Promise.resolve({}) };
}

/**
 * Asks several adapters, one after the other: `{adapter: "composite", results: [{name, result} | {name, error}]}`. One
 * that fails does not stop the rest.
 */
export function createCompositeAdapter(adapters: readonly MLAdapter[]): MLAdapter {
  return {
    name: "composite",
    run: async (metrics) => {
      const results: unknown[] = [];
      for (const { name, run } of adapters.map((each) => ({ name: each.name, run: each.run.bind(each) }))) {
        try {
          results.push({ name, result: await run(metrics) });
        } catch (error) {
          results.push({ name, error: error instanceof Error ? error.message : String(error) });
        }
      }
      return { adapter: "composite", results };
    },
  };
}
