// ws, as its documentation shows, without compression.
import { once } from "node:events";

import { WebSocket, WebSocketServer } from "ws";

export const ws = {
  name: "ws",
  async serve({ echo, onMessage }) {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      socket.on("message", (message) => {
        onMessage(message);
        if (echo) socket.send(message);
      });
    });
    await once(server, "listening");
    const close = () => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    };
    return { port: server.address().port, close };
  },
  async connect({ port, onMessage }) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
    await once(socket, "open");
    socket.on("message", onMessage);
    return {
      send(payload, count) {
        const isBehind = socket.bufferedAmount > HIGH_WATER_MARK;
        for (let i = 1; i < count; i += 1) socket.send(payload);
        if (isBehind) return new Promise((resolve) => socket.send(payload, resolve));
        socket.send(payload);
        return undefined;
      },
      close: () => socket.terminate(),
    };
  },
};

const HIGH_WATER_MARK = 1 << 20;
