// Servers and clients of `node:net` to talk to, and ways to wait for what happens.
import net from 'node:net';
import { once } from 'node:events';
import { QWormholeServerWrapper, TcpClientWrapper } from './module.mjs';

/** How the package calls `connect` under its two labels. */
export const SHAPES = [
  { label: 'lws', connect: (client, port, more) => client.connect({ host: '127.0.0.1', port, useTls: false, ...more }) },
  { label: 'libsocket', connect: (client, port) => client.connect('127.0.0.1', port) },
];

/** Collects what arrives and lets tests wait for a state of it. */
export class Record {
  items = [];
  #waiting = [];

  push(item) {
    this.items.push(item);
    this.changed();
  }

  changed() {
    this.#waiting = this.#waiting.filter(({ test, resolve }) => {
      const result = test(this.items);
      if (result) resolve(result);
      return !result;
    });
  }

  /** Resolves with what `test` returns once that is truthy. */
  until(test) {
    const now = test(this.items);
    if (now) return Promise.resolve(now);
    return new Promise((resolve) => this.#waiting.push({ test, resolve }));
  }
}

/** A client of the module that records its events: `events`, and `data` joined. */
export function recordingClient() {
  const client = new TcpClientWrapper();
  const events = new Record();
  client.setEventHandler((event) => events.push(event));
  const data = () => Buffer.concat(events.items.filter((event) => event.type === 'data').map((event) => event.data));
  return {
    client,
    events,
    data,
    types: () => events.items.map((event) => event.type),
    opened: () => events.until((all) => all.find((event) => event.type === 'connect')),
    closed: () => events.until((all) => all.find((event) => event.type === 'close')),
    received: (length) => events.until(() => data().length >= length && data()),
  };
}

/** A server of the module that records its events as [name, payload]. */
export async function recordingServer(options = {}, onEvent = () => {}) {
  const server = new QWormholeServerWrapper({ host: '127.0.0.1', port: 0, ...options });
  const events = new Record();
  server.emit = function emit(name, payload) {
    onEvent.call(this, name, payload, server);
    events.push([name, payload]);
  };
  const address = await server.listen();
  const of = (name) => events.items.filter((event) => event[0] === name).map((event) => event[1]);
  return {
    server,
    events,
    port: address.port,
    address,
    of,
    names: () => events.items.map((event) => event[0]),
    /** The `n`th event of this name. */
    next: (name, n = 1) => events.until(() => of(name).length >= n).then(() => of(name)[n - 1]),
  };
}

/** A `node:net` server; `sockets` resolves with accepted ones in order. */
export async function netServer(onSocket = () => {}, options = {}) {
  const sockets = new Record();
  const server = net.createServer(options, (socket) => {
    socket.on('error', () => {});
    onSocket(socket);
    sockets.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    port: server.address().port,
    socket: (n = 1) => sockets.until((all) => all.length >= n && all[n - 1]),
    close: () => {
      sockets.items.forEach((socket) => socket.destroy());
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A `node:net` client that collects frames. */
export async function netClient(port) {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return collect(socket);
}

/** Collects bytes and frames of a stream. */
export function collect(socket) {
  const chunks = new Record();
  let closed = false;
  socket.on('error', () => {});
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('end', () => { closed = true; chunks.changed(); });
  socket.on('close', () => { closed = true; chunks.changed(); });
  const bytes = () => Buffer.concat(chunks.items);
  const frames = () => split(bytes());
  return {
    socket,
    bytes,
    frames,
    received: (length) => chunks.until(() => bytes().length >= length && bytes()),
    framed: (count) => chunks.until(() => frames().length >= count && frames()),
    ended: () => chunks.until(() => closed && true),
  };
}

/** A payload behind its header. */
export function frame(payload) {
  const body = Buffer.from(payload);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

/** The complete frames in `bytes`. */
export function split(bytes) {
  const frames = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    frames.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return frames;
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Bytes that differ from place to place. */
export function pattern(length, seed = 1) {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
