// Bounds in both directions: slow readers on either side, and senders that do not care.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TcpClientWrapper } from './support/module.mjs';
import { frame, netClient, netServer, pattern, recordingClient, recordingServer } from './support/peers.mjs';

const MIB = 1 << 20;

test('sendMany returns its length under a backlog of 64 MiB, all of which arrives', async () => {
  const peer = await netServer((socket) => socket.pause());
  const { client, opened } = recordingClient();
  client.connect('127.0.0.1', peer.port);
  await opened();
  const chunk = pattern(MIB);
  const chunks = Array(16).fill(chunk);
  for (let i = 0; i < 4; i += 1) assert.equal(client.sendMany(chunks), 16);
  const socket = await peer.socket();
  let total = 0;
  socket.on('data', (data) => {
    assert.ok(data.equals(Buffer.concat([chunk, chunk]).subarray(total % MIB, (total % MIB) + data.length)), `at ${total}`);
    total += data.length;
  });
  socket.resume();
  client.close();
  await once(socket, 'end');
  assert.equal(total, 64 * MIB);
  await peer.close();
});

test('a client that queues 256 MiB gets an error and a close', async () => {
  for (const isOpen of [true, false]) {
    const peer = await netServer((socket) => socket.pause());
    const { client, opened, closed, events } = recordingClient();
    client.connect('127.0.0.1', peer.port);
    if (isOpen) await opened();
    const chunk = Buffer.alloc(8 * MIB);
    let queued = 0;
    // A client that is closed already throws.
    try {
      for (; queued < 256; queued += 8) assert.equal(client.sendMany([chunk]), 1);
    } catch (error) {
      assert.equal(error.message, 'Client is not connected');
    }
    assert.deepEqual(await closed(), { type: 'close', hadError: true });
    assert.match(events.items.at(-2).error, /Backpressure limit exceeded/);
    assert.throws(() => client.send('x'), { message: 'Client is not connected' });
    await peer.close();
  }
});

test('a client that queues too much while its attempt hangs is told at once', async () => {
  const { client, closed, events } = recordingClient();
  // Nobody answers there; a system without a route refuses, which is an error, too.
  client.connect('192.0.2.1', 9);
  const chunk = Buffer.alloc(16 * MIB);
  for (let queued = 0; queued < 256; queued += 16) client.send(chunk);
  assert.equal((await closed()).hadError, true);
  assert.equal(events.items.length, 2);
});

/** A peer on a thread of its own that sends `bytes` to whoever connects; `taken` tells how many the system took. */
async function flooder(bytes) {
  const code = `
    const net = require('node:net');
    const { parentPort, workerData } = require('node:worker_threads');
    const taken = new Int32Array(workerData.shared);
    const chunk = Buffer.alloc(1 << 16);
    for (let i = 0; i < chunk.length; i += 1) chunk[i] = i % 251;
    net.createServer((socket) => {
      socket.on('error', () => {});
      let left = workerData.bytes;
      const more = () => {
        for (; left > 0; left -= chunk.length) {
          Atomics.store(taken, 0, workerData.bytes - left);
          if (!socket.write(chunk)) { left -= chunk.length; return; }
        }
        socket.end();
      };
      socket.on('drain', more);
      more();
    }).listen(0, '127.0.0.1', function listening() { parentPort.postMessage(this.address().port); });`;
  const shared = new SharedArrayBuffer(4);
  const worker = new Worker(code, { eval: true, workerData: { shared, bytes } });
  const [port] = await once(worker, 'message');
  return { port, taken: () => Atomics.load(new Int32Array(shared), 0), close: () => worker.terminate() };
}

test('a thread that does not listen stops reading from the socket', async () => {
  const total = 128 * MIB;
  const peer = await flooder(total);
  const client = new TcpClientWrapper();
  let got = 0;
  let ended = null;
  const end = new Promise((resolve) => { ended = resolve; });
  await new Promise((resolve) => {
    client.setEventHandler((event) => {
      if (event.type === 'connect') resolve();
      if (event.type === 'close') ended(event);
      if (event.type !== 'data') return;
      for (let i = 0; i < event.data.length; i += 4099) assert.equal(event.data[i], ((got + i) % 65536) % 251);
      got += event.data.length;
    });
    client.connect('127.0.0.1', peer.port);
  });
  const before = got;
  // Without a turn of the event loop nobody pulls. The kernel and the module take what they may, no more.
  spin(1500);
  assert.equal(got, before);
  assert.ok(peer.taken() < before + 48 * MIB, `${peer.taken()} bytes were taken`);
  assert.deepEqual(await end, { type: 'close', hadError: false });
  assert.equal(got, total);
  await peer.close();
});

function spin(ms) {
  const end = performance.now() + ms;
  let turns = 0;
  while (performance.now() < end) turns += 1;
  return turns;
}

test('polling mode reads no more than somebody asks for', async () => {
  const peer = await netServer();
  const client = new TcpClientWrapper();
  client.connect('127.0.0.1', peer.port);
  const socket = await peer.socket();
  const content = pattern(48 * MIB);
  socket.write(content);
  let still = 0;
  for (let last = -1; still < 5; still = socket.writableLength === last ? still + 1 : 0) {
    last = socket.writableLength;
    await delay(20);
  }
  assert.ok(socket.writableLength > 24 * MIB, `${socket.writableLength} bytes were not taken`);
  let total = 0;
  while (total < content.length) {
    const chunk = client.recv();
    assert.ok(chunk.equals(content.subarray(total, total + chunk.length)), `at ${total}`);
    total += chunk.length;
    if (chunk.length === 0) await delay(1);
  }
  client.close();
  await peer.close();
});

test('backpressure is told at its threshold, drain when the queue is empty, each at its edge', async () => {
  const threshold = 4 * MIB;
  const { server, port, next, of, names } = await recordingServer({ maxBackpressureBytes: threshold });
  const peer = await netClient(port);
  peer.socket.pause();
  const { id } = await next('connection');
  const body = pattern(MIB);
  for (let i = 0; i < 16; i += 1) server.sendTo(id, body);
  const told = await next('backpressure');
  assert.equal(told.client.id, id);
  assert.equal(told.threshold, threshold);
  assert.ok(told.queuedBytes >= threshold && told.queuedBytes <= threshold + MIB + 4, `${told.queuedBytes}`);
  for (let i = 0; i < 4; i += 1) server.sendTo(id, body);
  assert.equal(of('backpressure').length, 1);
  assert.equal(of('drain').length, 0);
  peer.socket.resume();
  assert.equal((await next('drain')).client.id, id);
  const frames = await peer.framed(20);
  assert.ok(frames.every((received) => received.equals(body)));
  peer.socket.pause();
  for (let i = 0; i < 16; i += 1) server.sendTo(id, body);
  await next('backpressure', 2);
  peer.socket.resume();
  await next('drain', 2);
  assert.deepEqual(names().slice(2), ['backpressure', 'drain', 'backpressure', 'drain']);
  await server.close();
});

test('small messages that the peer takes are no backpressure, however many', async () => {
  const { server, port, next, of } = await recordingServer({ maxBackpressureBytes: 256 << 10 });
  const peer = await netClient(port);
  const { id } = await next('connection');
  const body = pattern(1000);
  for (let i = 1; i <= 40; i += 1) {
    for (let k = 0; k < 50; k += 1) server.sendTo(id, body);
    await peer.framed(i * 50);
  }
  assert.equal(of('backpressure').length, 0);
  await server.close();
});

test('a server cuts a peer for which too much waits', async () => {
  const { server, port, next } = await recordingServer({ queueBytesMax: 8 * MIB });
  const peer = await netClient(port);
  peer.socket.pause();
  const { id } = await next('connection');
  const body = Buffer.alloc(MIB);
  for (let i = 0; i < 64; i += 1) server.sendTo(id, body);
  assert.deepEqual(await next('clientClosed'), { client: { id }, hadError: true });
  peer.socket.destroy();
  await server.close();
});

test('a slow reader never sees a corrupted frame', async () => {
  const { server, port, next } = await recordingServer();
  const peer = await netClient(port);
  const { id } = await next('connection');
  const count = 100_000;
  const body = (i) => Buffer.alloc(200, `${i}:`.padEnd(10, '.'));
  for (let i = 0; i < count; i += 1) server.sendTo(id, body(i));
  for (let pauses = 0; pauses < 20; pauses += 1) {
    peer.socket.pause();
    await delay(5);
    peer.socket.resume();
    await new Promise(setImmediate);
  }
  await peer.received(count * 204);
  const frames = peer.frames();
  assert.equal(frames.length, count);
  frames.forEach((received, i) => assert.ok(received.equals(body(i)), `frame ${i}`));
  await server.close();
});

test('a server whose thread is slow holds up a fast sender, and loses nothing', async () => {
  const { server, port, of, next } = await recordingServer({}, (name) => {
    if (name === 'message') spin(0.02);
  });
  const peer = await netClient(port);
  const body = pattern(4096);
  const count = 8_000;
  const all = Buffer.concat(Array.from({ length: 500 }, () => frame(body)));
  for (let i = 0; i < count / 500; i += 1) peer.socket.write(all);
  await next('message', count);
  assert.ok(of('message').every(({ data }) => data.equals(body)));
  await server.close();
});
