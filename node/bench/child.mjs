// One end of a measurement, or both, in a process of its own. Is told what to do by messages from bench.mjs.
import { SYSTEMS } from "./systems/index.mjs";

const counters = { messages: 0, touched: 0 };
let onAnswer;
let running = false;
let stopped = Promise.resolve();
let far;
let near;

/** What every system does with a message: reads its first and its last byte. */
function touch(message) {
  counters.messages += 1;
  counters.touched += message[0] + message[message.length - 1];
}

const actions = {
  async serve({ system, echo }) {
    far = await SYSTEMS.get(system).serve({ echo, onMessage: touch });
    return { port: far.port };
  },

  async connect({ system, port }) {
    near = await SYSTEMS.get(system).connect({ port, onMessage: () => onAnswer?.() });
  },

  /** One direction, `perTick` messages per turn of the event loop, as fast as the receiver takes them. */
  stream({ size, perTick }) {
    const payload = Buffer.alloc(size, 1);
    running = true;
    stopped = (async () => {
      while (running) {
        await near.send(payload, perTick);
        await new Promise(setImmediate);
      }
    })();
  },

  /** One request in flight, for so long; answers with the round trips in µs, sorted. */
  async pingpong({ size, durationMs }) {
    const payload = Buffer.alloc(size, 1);
    const times = [];
    const end = performance.now() + durationMs;
    while (performance.now() < end) {
      const begin = process.hrtime.bigint();
      await new Promise((resolve) => {
        onAnswer = resolve;
        near.send(payload, 1);
      });
      times.push(Number(process.hrtime.bigint() - begin) / 1_000);
    }
    return times.sort((a, b) => a - b);
  },

  read() {
    const { user, system } = process.cpuUsage();
    const at = Number(process.hrtime.bigint()) / 1e9;
    return { ...counters, cpuUs: user + system, at, rss: process.memoryUsage.rss() };
  },

  async stop() {
    running = false;
    await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, 1_000))]);
    await near?.close();
    await far?.close();
  },
};

process.on("message", async ({ id, action, ...options }) => {
  try {
    process.send({ id, value: await actions[action](options) });
  } catch (error) {
    process.send({ id, error: error.stack });
  }
});
