// Waiting for events, and what they said.

/** The arguments of the next event of that name; rejects on `error` unless that is what is waited for. */
export function next(emitter, name) {
  return new Promise((resolve, reject) => {
    const seen = (...args) => {
      emitter.off("error", failed);
      resolve(args.length > 1 ? args : args[0]);
    };
    const failed = (error) => {
      emitter.off(name, seen);
      reject(error);
    };
    emitter.once(name, seen);
    if (name !== "error") emitter.once("error", failed);
  });
}

/** Writes down the names, and what `shown` makes of the arguments, of all events of an emitter. */
export function record(emitter, names, shown = () => undefined) {
  const events = [];
  for (const name of names) {
    emitter.on(name, (...args) => {
      const extra = shown(name, ...args);
      events.push(extra === undefined ? name : [name, extra]);
    });
  }
  return events;
}

/** Resolves with the first `count` events of that name. */
export function take(emitter, name, count) {
  return new Promise((resolve) => {
    const seen = [];
    const each = (value) => {
      seen.push(value);
      if (seen.length < count) return;
      emitter.off(name, each);
      resolve(seen);
    };
    emitter.on(name, each);
  });
}
