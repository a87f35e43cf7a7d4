// Ours, three ways: the batch API, the event API, and the drop-in classes used as QWormhole uses them.
import { createRequire } from "node:module";

import { QWormholeClient, QWormholeServer } from "qwormhole";

import { createParser } from "./framing.mjs";

async function serve({ echo, onMessage, each }) {
  const server = new QWormholeServer({ host: "127.0.0.1", port: 0, maxBackpressureBytes: 256 << 20 });
  if (each === "batch") {
    server.on("batch", ({ client, messages }) => {
      messages.forEach(onMessage);
      if (echo) client.sendMany(messages.toArray());
    });
  } else {
    server.on("message", ({ client, data }) => {
      onMessage(data);
      if (echo) void client.send(data);
    });
  }
  const { port } = await server.listen();
  return { port, close: () => server.close(0) };
}

async function connect({ port, onMessage, each }) {
  const client = new QWormholeClient({ host: "127.0.0.1", port, reconnect: { enabled: false } });
  if (each === "batch") client.on("batch", (batch) => batch.forEach(onMessage));
  else client.on("message", onMessage);
  await client.connect();
  let list = [];
  return {
    send(payload, count) {
      if (list.length !== count || list[0] !== payload) list = new Array(count).fill(payload);
      client.sendMany(list);
      return client.queuedBytes > HIGH_WATER_MARK ? client.flush() : undefined;
    },
    close: () => client.disconnect(),
  };
}

export const batch = {
  name: "qwormhole",
  serve: (options) => serve({ ...options, each: "batch" }),
  connect: (options) => connect({ ...options, each: "batch" }),
};

export const event = {
  name: "qwormhole-event",
  serve: (options) => serve({ ...options, each: "message" }),
  connect: (options) => connect({ ...options, each: "message" }),
};

/** The raw pipe of the drop-in contract, framed in JavaScript: 64 buffers that carry their header, per call. */
export const dropIn = {
  name: "qwormhole-drop-in",
  async serve({ echo, onMessage }) {
    const { QWormholeServerWrapper } = nativeModule();
    const server = new QWormholeServerWrapper({ host: "127.0.0.1", port: 0 });
    server.emit = (name, payload) => {
      if (name !== "message") return;
      onMessage(payload.data);
      if (echo) server.sendTo(payload.client.id, payload.data);
    };
    const { port } = await server.listen();
    return { port, close: () => server.close() };
  },
  async connect({ port, onMessage }) {
    const { TcpClientWrapper } = nativeModule();
    const client = new TcpClientWrapper();
    const parse = createParser(onMessage);
    const connected = new Promise((resolve, reject) => {
      client.setEventHandler((told) => {
        if (told.type === "connect") resolve();
        if (told.type === "data") parse(told.data);
        if (told.type === "error") reject(new Error(told.error));
      });
    });
    client.connect({ host: "127.0.0.1", port, useTls: false });
    await connected;
    return {
      send(payload, count) {
        const framed = Buffer.allocUnsafe(payload.length + 4);
        framed.writeUInt32BE(payload.length, 0);
        payload.copy(framed, 4);
        for (let left = count; left > 0; left -= 64) client.sendMany(new Array(Math.min(64, left)).fill(framed));
        return undefined;
      },
      close: () => client.close(),
    };
  },
};

function nativeModule() {
  return createRequire(import.meta.url)("../../dist/cjs/loader.cjs").load();
}

const HIGH_WATER_MARK = 1 << 20;
