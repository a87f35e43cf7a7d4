// node:net with hand-written framing: tuned, and as its documentation shows first.
import { once } from "node:events";
import { connect as netConnect, createServer } from "node:net";

import { FramePool, createParser } from "./framing.mjs";

async function listen(onSocket) {
  const server = createServer({ noDelay: true }, onSocket);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port, close: () => server.unref().close() };
}

async function dial(port) {
  const socket = netConnect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  socket.on("error", () => {});
  return socket;
}

/** One write per tick from pooled buffers, views of chunks, one write per chunk of answers. */
export const tuned = {
  name: "net-tuned",
  serve: ({ echo, onMessage }) =>
    listen((socket) => {
      socket.on("error", () => {});
      let answers = [];
      const parse = createParser((message) => {
        onMessage(message);
        if (!echo) return;
        const header = Buffer.allocUnsafe(4);
        header.writeUInt32BE(message.length, 0);
        answers.push(header, message);
      });
      socket.on("data", (chunk) => {
        parse(chunk);
        if (answers.length > 0) socket.write(Buffer.concat(answers));
        answers = [];
      });
    }),
  async connect({ port, onMessage }) {
    const socket = await dial(port);
    socket.on("data", createParser(onMessage));
    const pool = new FramePool();
    const send = (payload, count) => {
      const { buffer, view } = pool.fill(payload, count);
      return socket.write(view, () => pool.release(buffer)) ? undefined : once(socket, "drain");
    };
    return { send, close: () => socket.destroy() };
  },
};

/** Chunks are concatenated and cut with slice. */
function readDocumented(socket, onMessage) {
  let buffered = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4) {
      const length = buffered.readUInt32BE(0);
      if (buffered.length < 4 + length) break;
      onMessage(buffered.slice(4, 4 + length));
      buffered = buffered.slice(4 + length);
    }
  });
}

/** One write per message, header and payload in a new Buffer. */
function writeDocumented(socket, payload) {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length, 0);
  return socket.write(Buffer.concat([header, payload]));
}

export const naive = {
  name: "net-documented",
  serve: ({ echo, onMessage }) =>
    listen((socket) => {
      readDocumented(socket, (message) => {
        onMessage(message);
        if (echo) writeDocumented(socket, message);
      });
    }),
  async connect({ port, onMessage }) {
    const socket = await dial(port);
    readDocumented(socket, onMessage);
    return {
      send(payload, count) {
        let more = true;
        for (let i = 0; i < count; i += 1) more = writeDocumented(socket, payload);
        return more ? undefined : once(socket, "drain");
      },
      close: () => socket.destroy(),
    };
  },
};
