// This module: its batches, a callback per message over them, and the drop-in classes as a framing layer uses them.
import { TcpClientWrapper, QWormholeServerWrapper, engine } from '../../test/native/support/module.mjs';

const QUEUE_BYTES = 1 << 20;

/** Calls `message` with a view of each message of a batch. */
const each = (message) => (conn, slab, start, ends, first, last) => {
  const { buffer, byteOffset } = slab;
  for (let i = first; i < last; i += 1) {
    message(Buffer.from(buffer, byteOffset + start, ends[i] - start), conn);
    start = ends[i];
  }
};

/** Calls `touch(slab, from, to)`: no object per message. */
const batch = (touch) => (conn, slab, start, ends, first, last) => {
  for (let i = first; i < last; i += 1) {
    touch(slab, start, ends[i]);
    start = ends[i];
  }
};

function system(batches) {
  return {
    async serve({ message, touch, echo }) {
      let messages = batches && !echo ? batch(touch) : each(message);
      if (echo) {
        messages = each((body, conn) => {
          message(body);
          conn.send(body);
        });
      }
      return new Promise((resolve, reject) => {
        const listener = engine.listen({ host: '127.0.0.1', port: 0 }, {
          messages,
          listening: ({ port }) => resolve({ port, close: () => listener.stop(0) }),
          failed: (text) => reject(new Error(text)),
        });
      });
    },

    async connect({ port, message }) {
      let drained = () => {};
      let mark = 0;
      const conn = await new Promise((resolve, reject) => {
        engine.connect({ host: '127.0.0.1', port }, {
          open: resolve,
          messages: each(message),
          flushed: (_, reached) => reached === mark && drained(),
          close: (_, why) => reject(new Error(why.message)),
        });
      });
      return {
        burst(body, n) {
          for (let i = 0; i < n; i += 1) conn.send(body);
          if (conn.queuedBytes < QUEUE_BYTES) return undefined;
          mark = conn.mark();
          return new Promise((resolve) => {
            drained = resolve;
          });
        },
        close: () => conn.abort(),
      };
    },
  };
}

export const batches = system(true);
export const events = system(false);

export const dropIn = {
  async serve({ message, echo }) {
    const server = new QWormholeServerWrapper({ host: '127.0.0.1', port: 0 });
    server.emit = (name, event) => {
      if (name !== 'message') return;
      message(event.data);
      if (echo) server.sendTo(event.client.id, event.data);
    };
    const { port } = await server.listen();
    return { port, close: () => server.close() };
  },

  async connect({ port, message }) {
    const client = new TcpClientWrapper();
    let rest = Buffer.alloc(0);
    await new Promise((resolve, reject) => {
      client.setEventHandler((event) => {
        if (event.type === 'connect') resolve();
        if (event.type === 'error') reject(new Error(event.error));
        if (event.type !== 'data') return;
        rest = rest.length === 0 ? event.data : Buffer.concat([rest, event.data]);
        while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE()) {
          const end = 4 + rest.readUInt32BE();
          message(rest.subarray(4, end));
          rest = rest.subarray(end);
        }
      });
      client.connect('127.0.0.1', port);
    });
    let framed = null;
    return {
      // The contract has no way to tell a sender to wait: the receiver's share of the thread does, or the queue's cap.
      burst(body, n) {
        if (framed === null) {
          framed = Buffer.allocUnsafe(4 + body.length);
          framed.writeUInt32BE(body.length);
          framed.set(body, 4);
        }
        for (let sent = 0; sent < n; sent += 64) client.sendMany(Array(Math.min(64, n - sent)).fill(framed));
        return undefined;
      },
      close: () => client.close(),
    };
  },
};
