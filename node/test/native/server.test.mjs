// The drop-in server against `node:net`: events, methods and texts of the contract.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { QWormholeServerWrapper } from './support/module.mjs';
import { frame, freePort, netClient, pattern, recordingClient, recordingServer } from './support/peers.mjs';

const echo = (name, payload, server) => {
  if (name === 'message') server.sendTo(payload.client.id, payload.data);
};

test('a connection: announced, echoed inside of the message event, told of once when it ends', async () => {
  const { server, port, address, events, names, next, of } = await recordingServer({}, echo);
  assert.deepEqual(address, { address: '127.0.0.1', port, family: 'IPv4' });
  const peer = await netClient(port);
  peer.socket.write(frame('one'));
  peer.socket.write(Buffer.concat([frame('two'), frame('')]));
  assert.deepEqual((await peer.framed(3)).map(String), ['one', 'two', '']);
  const connection = await next('connection');
  assert.deepEqual(connection, { id: connection.id, remoteAddress: '127.0.0.1', remotePort: peer.socket.localPort });
  assert.equal(typeof connection.id, 'string');
  assert.deepEqual(server.getConnection(connection.id), connection);
  assert.equal(server.getConnectionCount(), 1);
  assert.deepEqual(of('message').map(({ client, data }) => [client.id, String(data)]), [
    [connection.id, 'one'], [connection.id, 'two'], [connection.id, ''],
  ]);
  assert.ok(of('message').every(({ data }) => Buffer.isBuffer(data)));
  peer.socket.end();
  assert.deepEqual(await next('clientClosed'), { client: { id: connection.id }, hadError: false });
  assert.equal(server.getConnectionCount(), 0);
  assert.equal(server.getConnection(connection.id), undefined);
  assert.equal(await server.close(), undefined);
  await next('close');
  assert.deepEqual(names(), [
    'listening', 'connection', 'message', 'message', 'message', 'clientClosed', 'close',
  ]);
  assert.deepEqual(events.items[0], ['listening', address]);
  assert.equal(events.items.at(-1)[1], undefined);
});

test('close resolves before its event, tells of open connections and is idempotent', async () => {
  const { server, port, next, names } = await recordingServer();
  const peer = await netClient(port);
  await next('connection');
  const first = server.close();
  assert.equal(await Promise.all([first, server.close(), server.shutdown(5)]).then(() => names().includes('close')), false);
  await next('close');
  await peer.ended();
  assert.deepEqual(names().slice(-2), ['clientClosed', 'close']);
  assert.equal((await next('clientClosed')).hadError, false);
  await server.close();
  assert.equal(names().filter((name) => name === 'close').length, 1);
});

test('a server that was never started closes, and one that was closed starts again', async () => {
  const server = new QWormholeServerWrapper();
  await server.close();
  const again = new QWormholeServerWrapper({ host: '127.0.0.1' });
  const { port } = await again.listen();
  await assert.rejects(again.listen(), { message: 'Server already listening' });
  await again.close();
  assert.ok(port > 0 && (await again.listen()).port > 0);
  await again.close();
});

test('the default host is every interface', async () => {
  const server = new QWormholeServerWrapper();
  const { address, port, family } = await server.listen();
  assert.deepEqual([address, family], ['0.0.0.0', 'IPv4']);
  const peer = await netClient(port);
  peer.socket.end();
  await peer.ended();
  await server.close();
});

test('a port that is taken and a host that is not ours reject', async () => {
  const { server, port } = await recordingServer();
  const taken = new QWormholeServerWrapper({ host: '127.0.0.1', port });
  await assert.rejects(taken.listen(), (error) => {
    assert.match(error.message, /^Failed to create server context/);
    assert.equal(error.code, 'EADDRINUSE');
    return true;
  });
  for (const host of ['does-not-exist.invalid', '192.0.2.1']) {
    await assert.rejects(new QWormholeServerWrapper({ host, port: 0 }).listen(), /^Error: Failed to create server context/);
  }
  await server.close();
});

test('wrong calls throw the contract\'s texts, unknown ids are ignored', async () => {
  const { server } = await recordingServer();
  const throws = (call, message) => assert.throws(call, { name: 'TypeError', message });
  throws(() => server.broadcast(), 'broadcast(data) required');
  throws(() => server.sendTo(), 'sendTo(id, data) requires connection id');
  throws(() => server.sendTo(1, 'x'), 'sendTo(id, data) requires connection id');
  throws(() => server.closeConnection(), 'closeConnection(id) requires connection id');
  assert.equal(server.sendTo('nobody', 'x'), undefined);
  assert.equal(server.closeConnection('nobody'), undefined);
  assert.equal(server.getConnection('nobody'), undefined);
  assert.equal(server.broadcast('x'), undefined);
  await server.close();
});

test('payloads are bytes, text or anything as JSON', async () => {
  const { server, port, next } = await recordingServer();
  const peer = await netClient(port);
  const { id } = await next('connection');
  server.sendTo(id, Buffer.from('b'));
  server.sendTo(id, 'ü');
  server.sendTo(id, { a: 1 });
  server.sendTo(id, 7);
  server.broadcast(new Uint8Array([120]));
  server.broadcast(['y']);
  server.sendTo(id, '');
  const frames = await peer.framed(7);
  assert.deepEqual(frames.map(String), ['b', 'ü', '{"a":1}', '7', 'x', '["y"]', '']);
  await server.close();
});

test('pushes arrive without traffic of the client, one after another', async () => {
  const { server, port, next } = await recordingServer();
  const peer = await netClient(port);
  await next('connection');
  for (const text of ['one', 'two', 'three']) {
    server.broadcast(text);
    const frames = await peer.framed(['one', 'two', 'three'].indexOf(text) + 1);
    assert.equal(String(frames.at(-1)), text);
    // The pause is what is tested: the second push came only after traffic in the reference.
    await delay(100);
  }
  await server.close();
});

test('a broadcast reaches everybody in order with sendTo', async () => {
  const { server, port, next, of } = await recordingServer();
  const peers = await Promise.all([1, 2, 3].map(() => netClient(port)));
  await next('connection', 3);
  for (const { id } of of('connection')) server.sendTo(id, 'before');
  server.broadcast('all');
  for (const { id } of of('connection')) server.sendTo(id, 'after');
  for (const peer of peers) {
    assert.deepEqual((await peer.framed(3)).map(String), ['before', 'all', 'after']);
  }
  await server.close();
});

test('every method may be called inside of every event', async () => {
  const called = new Set();
  const { server, port, next } = await recordingServer({ maxBackpressureBytes: 1 }, (name, payload, self) => {
    called.add(name);
    const id = payload?.id ?? payload?.client?.id;
    self.getConnectionCount();
    self.broadcast(`broadcast in ${name}`);
    if (id !== undefined) {
      self.getConnection(id);
      self.sendTo(id, `send in ${name}`);
      if (name === 'drain' && called.has('message')) self.closeConnection(id);
    }
    if (name === 'clientClosed') void self.close();
  });
  const peer = await netClient(port);
  peer.socket.write(frame('x'));
  await next('close');
  await peer.ended();
  for (const name of ['listening', 'connection', 'message', 'backpressure', 'drain', 'clientClosed', 'close']) {
    assert.ok(called.has(name), name);
  }
  assert.equal(server.getConnectionCount(), 0);
});

test('emit is read at each event and may be missing', async () => {
  const server = new QWormholeServerWrapper({ host: '127.0.0.1', port: 0 });
  assert.equal(server.emit, undefined);
  const { port } = await server.listen();
  const peer = await netClient(port);
  peer.socket.write(frame('unheard'));
  const seen = [];
  await new Promise((resolve) => {
    server.emit = function first(name) {
      assert.equal(this, server);
      seen.push(`first ${name}`);
      server.emit = (next) => {
        seen.push(`second ${next}`);
        if (next === 'clientClosed') resolve();
      };
    };
    peer.socket.write(Buffer.concat([frame('a'), frame('b')]));
    peer.socket.end();
  });
  assert.ok(seen.some((line) => line.startsWith('first')) && seen.at(-1) === 'second clientClosed', seen.join());
  await server.close();
});

test('frames of exactly the limit pass, one byte more is an error and a close', async () => {
  for (const maxFrameLength of [16, 0]) {
    const limit = maxFrameLength || 4 << 20;
    const { server, port, next, of, names } = await recordingServer({ maxFrameLength });
    const peer = await netClient(port);
    const body = pattern(limit);
    peer.socket.write(frame(body));
    assert.ok((await next('message')).data.equals(body));
    const header = Buffer.alloc(4);
    header.writeUInt32BE(limit + 1);
    peer.socket.write(Buffer.concat([frame('last'), header]));
    const closed = await next('clientClosed');
    assert.equal(closed.hadError, true);
    assert.equal(String(of('message')[1].data), 'last');
    assert.equal(of('error').length, 1);
    assert.ok(of('error')[0] instanceof Error);
    assert.equal(of('error')[0].message, 'Frame length exceeded native limit');
    assert.deepEqual(names().slice(-2), ['error', 'clientClosed']);
    await peer.ended();
    await server.close();
  }
});

test('without framing each chunk is a message, and what is sent is not framed', async () => {
  const { server, port, next } = await recordingServer({ framing: 'none' }, echo);
  const peer = await netClient(port);
  peer.socket.write('raw');
  assert.equal(String((await next('message')).data), 'raw');
  assert.equal(String(await peer.received(3)), 'raw');
  await server.close();
});

test('large and small messages keep their order and their bytes', async () => {
  const { server, port, next, of } = await recordingServer();
  const peer = await netClient(port);
  const sizes = [1, 70_000, 3, 0, 16_384, 16_383, 65_536, 1_000_000, 5, 200_000];
  const bodies = sizes.map((size, i) => pattern(size, i + 1));
  peer.socket.write(Buffer.concat(bodies.map(frame)));
  await next('message', sizes.length);
  of('message').forEach(({ data }, i) => assert.ok(data.equals(bodies[i]), `message ${i}`));
  await server.close();
});

test('a reset has an error, a FIN has none, closeConnection delivers what was queued', async () => {
  const { server, port, next, of } = await recordingServer();
  const reset = await netClient(port);
  await next('connection');
  reset.socket.resetAndDestroy();
  assert.equal((await next('clientClosed')).hadError, true);
  const kept = await netClient(port);
  const { id } = await next('connection', 2);
  const body = pattern(3 << 20);
  server.sendTo(id, body);
  server.closeConnection(id);
  assert.ok((await kept.framed(1))[0].equals(body));
  await kept.ended();
  assert.deepEqual(await next('clientClosed', 2), { client: { id }, hadError: false });
  const ids = of('connection').map((connection) => connection.id);
  assert.equal(new Set(ids).size, 2);
  await server.close();
});

test('shutdown delivers what was queued', async () => {
  const { server, port, next } = await recordingServer();
  const peer = await netClient(port);
  const { id } = await next('connection');
  const bodies = Array.from({ length: 64 }, (_, i) => pattern(16 << 10, i + 1));
  bodies.forEach((body) => server.sendTo(id, body));
  await Promise.all([server.shutdown(5000), peer.framed(64)]);
  peer.frames().forEach((body, i) => assert.ok(body.equals(bodies[i])));
  await peer.ended();
});

test('maxClients refuses the rest and lets the next in once one left', async () => {
  const { server, port, next, of } = await recordingServer({ maxClients: 1 });
  const first = await netClient(port);
  await next('connection');
  const second = await netClient(port);
  await second.ended();
  assert.equal(of('connection').length, 1);
  first.socket.end();
  await next('clientClosed');
  const third = await netClient(port);
  await next('connection', 2);
  third.socket.destroy();
  await server.close();
});

test('an idle connection ends, one that talks does not', async () => {
  const { server, port, next, of } = await recordingServer({ idleTimeoutMs: 150 }, echo);
  const quiet = await netClient(port);
  await next('connection');
  const begun = Date.now();
  const talker = await netClient(port);
  const timer = setInterval(() => talker.socket.write(frame('.')), 20);
  await quiet.ended();
  await next('clientClosed');
  assert.ok(Date.now() - begun >= 100, 'not before its time');
  assert.deepEqual(of('clientClosed')[0].client, { id: of('connection')[0].id });
  clearInterval(timer);
  talker.socket.destroy();
  await server.close();
});

test('a rate limit is kept', async () => {
  const { server, port, next } = await recordingServer({ rateLimitBytesPerSec: 200_000, rateLimitBurstBytes: 20_000 });
  const peer = await netClient(port);
  const { id } = await next('connection');
  const begun = performance.now();
  for (let i = 0; i < 20; i += 1) server.sendTo(id, Buffer.alloc(5_000 - 4));
  await peer.framed(20);
  const took = performance.now() - begun;
  // 100,000 bytes, 20,000 of them at once, and at most one frame ahead.
  assert.ok(took >= 1000 * (75_000 / 200_000) - 20, `${took} ms`);
  await server.close();
});

test('options of the wrong kind, unknown ones and none at all are tolerated', async () => {
  const odd = {
    host: '127.0.0.1', port: 0, framing: 'quick', maxFrameLength: 'x', maxBackpressureBytes: null, tls: null,
    protocolVersion: 7, idleTimeoutMs: NaN, keepAlive: 'yes', maxClients: Infinity, serializer: () => {},
    rateLimitBytesPerSec: -1, nobodyKnows: { at: 'all' }, reusePort: true, shards: 1.5,
  };
  const { server, port, next } = await recordingServer(odd);
  const peer = await netClient(port);
  peer.socket.write(frame('x'));
  await next('message');
  await server.close();
  for (const options of [null, undefined, 3]) await new QWormholeServerWrapper(options).close();
});

test('client and server of the module talk to each other', async () => {
  const { server, port } = await recordingServer({}, echo);
  const { client, received } = recordingClient();
  client.connect('127.0.0.1', port);
  client.sendMany([frame('a'), frame('bc')]);
  assert.deepEqual(await received(11), Buffer.concat([frame('a'), frame('bc')]));
  client.close();
  await server.close();
});

test('a port that was free is listened on', async () => {
  const port = await freePort();
  const server = new QWormholeServerWrapper({ host: 'localhost', port });
  const address = await server.listen();
  assert.deepEqual([address.address, address.port], ['localhost', port]);
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  await server.close();
});

test('an IPv4 client of a dual-stack listener has its plain address', async (t) => {
  const { server, port, next } = await recordingServer({ host: '::' }).catch(() => ({}));
  if (server === undefined) return t.skip('no IPv6 here');
  const peer = await netClient(port);
  assert.equal((await next('connection')).remoteAddress, '127.0.0.1');
  peer.socket.destroy();
  await server.close();
  return undefined;
});

test('a server lives until it is closed, whoever forgets it', async (t) => {
  if (globalThis.gc === undefined) return t.skip('needs --expose-gc');
  const heard = [];
  const forget = async () => {
    const server = new QWormholeServerWrapper({ host: '127.0.0.1', port: 0 });
    server.emit = (name, event) => {
      heard.push(name);
      if (name === 'message') server.sendTo(event.client.id, event.data);
      if (name === 'clientClosed') void server.close();
    };
    return (await server.listen()).port;
  };
  const port = await forget();
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc();
    await new Promise(setImmediate);
  }
  const peer = await netClient(port);
  peer.socket.write(frame('still there'));
  assert.equal(String((await peer.framed(1))[0]), 'still there');
  peer.socket.end();
  await peer.ended();
  assert.deepEqual(heard.slice(0, 3), ['listening', 'connection', 'message']);
  return undefined;
});

test('servers that say so share a port', { skip: process.platform !== 'linux' }, async () => {
  const first = await recordingServer({ reusePort: true });
  const second = await recordingServer({ reusePort: true, port: first.port });
  assert.equal(second.port, first.port);
  await assert.rejects(recordingServer({ port: first.port }), { code: 'EADDRINUSE' });
  await Promise.all([first.server.close(), second.server.close()]);
});
