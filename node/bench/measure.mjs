// One measurement: a receiver that looks at the first and the last byte of each message, and a sender.
import { setImmediate as turn } from 'node:timers/promises';
import { SYSTEMS } from './systems.mjs';

/** The receiving end in this process. */
export async function serving(name, scenario) {
  let count = 0;
  let sum = 0;
  const touch = (slab, from, to) => {
    count += 1;
    sum += slab[from] + slab[to - 1];
  };
  const message = (body) => touch(body, 0, body.length);
  const { port, close } = await SYSTEMS[name].serve({ message, touch, echo: scenario === 'round-trip' });
  return { port, close, count: async () => ({ count, sum }) };
}

/** Messages per second that arrive; the first fifth of the time does not count. */
export async function oneWay(name, server, { size, batch, durationMs }) {
  const client = await SYSTEMS[name].connect({ port: server.port, message: () => {} });
  const body = Buffer.alloc(size, 1);
  const begun = performance.now();
  let warm = null;
  let sent = 0;
  while (performance.now() - begun < durationMs) {
    if (warm === null && performance.now() - begun > durationMs / 5) {
      warm = { at: performance.now(), ...(await server.count()) };
    }
    const room = client.burst(body, batch);
    sent += batch;
    if (room !== undefined) await room;
    await turn();
    // A system that cannot say when to wait is asked what has arrived.
    if (sent % (batch * 64) === 0) {
      while (sent - (await server.count()).count > 64 * 1024) await turn();
    }
  }
  const end = await server.count();
  const seconds = (performance.now() - warm.at) / 1000;
  client.close();
  return { messages_per_s: Math.round((end.count - warm.count) / seconds) };
}

/** Round trips one after another, in microseconds. */
export async function roundTrip(name, server, { size, durationMs }) {
  let answered = () => {};
  const client = await SYSTEMS[name].connect({ port: server.port, message: () => answered() });
  const body = Buffer.alloc(size, 1);
  const times = [];
  const begun = performance.now();
  while (performance.now() - begun < durationMs) {
    const sent = performance.now();
    await new Promise((resolve) => {
      answered = resolve;
      client.burst(body, 1);
    });
    if (sent - begun > durationMs / 5) times.push((performance.now() - sent) * 1000);
  }
  client.close();
  times.sort((a, b) => a - b);
  const at = (share) => Number(times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(1));
  return { p50_us: at(0.5), p99_us: at(0.99), messages_per_s: Math.round(times.length / (durationMs * 0.8 / 1000)) };
}
