// The package `ws`, without compression.
import { once } from 'node:events';

async function load() {
  const module = await import('ws');
  return { WebSocket: module.WebSocket ?? module.default, WebSocketServer: module.WebSocketServer };
}

export const ws = {
  async serve({ message, echo }) {
    const { WebSocketServer } = await load();
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('message', (body) => {
        message(body);
        if (echo) socket.send(body);
      });
    });
    await once(server, 'listening');
    return { port: server.address().port, close: () => server.close() };
  },

  async connect({ port, message }) {
    const { WebSocket } = await load();
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
    await once(socket, 'open');
    socket.on('message', message);
    return {
      burst(body, n) {
        for (let i = 0; i < n; i += 1) socket.send(body);
        if (socket.bufferedAmount < 1 << 20) return undefined;
        return new Promise((resolve) => socket.send(body, resolve));
      },
      close: () => socket.terminate(),
    };
  },
};
