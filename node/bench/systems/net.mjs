// `node:net` with length prefixes by hand: tuned (one write per tick, parser on views), and as its documentation shows
// first (one write per message).
import net from 'node:net';
import { once } from 'node:events';

/** Calls `message(chunk, from, to)` for each whole frame; what is cut waits for the next chunk. */
function parser(message) {
  let rest = null;
  return (data) => {
    const chunk = rest === null ? data : Buffer.concat([rest, data]);
    let at = 0;
    while (at + 4 <= chunk.length) {
      const end = at + 4 + chunk.readUInt32BE(at);
      if (end > chunk.length) break;
      message(chunk.subarray(at + 4, end));
      at = end;
    }
    rest = at === chunk.length ? null : chunk.subarray(at);
  };
}

function laidOut(body, n) {
  const wire = 4 + body.length;
  const bytes = Buffer.allocUnsafe(n * wire);
  for (let i = 0; i < n; i += 1) {
    bytes.writeUInt32BE(body.length, i * wire);
    bytes.set(body, i * wire + 4);
  }
  return bytes;
}

function alone(body) {
  const header = Buffer.allocUnsafe(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

function system(tuned) {
  return {
    async serve({ message, echo }) {
      const server = net.createServer({ noDelay: true }, (socket) => {
        socket.on('error', () => {});
        socket.on('data', parser((body) => {
          message(body);
          if (echo) socket.write(alone(body));
        }));
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return { port: server.address().port, close: () => server.close() };
    },

    async connect({ port, message }) {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
      await once(socket, 'connect');
      socket.on('data', parser(message));
      return {
        burst(body, n) {
          let room = true;
          if (tuned) room = socket.write(laidOut(body, n));
          else for (let i = 0; i < n; i += 1) room = socket.write(alone(body));
          return room ? undefined : once(socket, 'drain');
        },
        close: () => socket.destroy(),
      };
    },
  };
}

export const tuned = system(true);
export const documented = system(false);
