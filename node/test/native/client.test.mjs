// The drop-in client against `node:net`: calls, texts and events of the contract, under both labels' call shapes.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { TcpClientWrapper } from './support/module.mjs';
import { SHAPES, freePort, netServer, pattern, recordingClient } from './support/peers.mjs';

for (const { label, connect } of SHAPES) {
  test(`${label}: connects, sends, receives and sees a clean end, in this order`, async () => {
    const peer = await netServer((socket) => socket.on('data', (data) => socket.end(data)));
    const { client, events, received, closed, types } = recordingClient();
    assert.equal(connect(client, peer.port), undefined);
    assert.equal(client.isConnected(), false);
    assert.equal(client.send('before'), undefined);
    assert.deepEqual(await received(6), Buffer.from('before'));
    assert.equal((await closed()).hadError, false);
    assert.equal(client.isConnected(), false);
    assert.equal(types()[0], 'connect');
    assert.equal(types().at(-1), 'close');
    assert.equal(events.items.filter((event) => event.type === 'close').length, 1);
    assert.ok(Buffer.isBuffer(events.items[1].data));
    await peer.close();
  });

  test(`${label}: a refused connection is one error and one close`, async () => {
    const { client, events, closed } = recordingClient();
    connect(client, await freePort());
    assert.equal((await closed()).hadError, true);
    assert.deepEqual(events.items.map((event) => event.type), ['error', 'close']);
    assert.match(events.items[0].error, /refused/i);
    assert.throws(() => client.send('x'), { message: 'Client is not connected' });
  });

  test(`${label}: a reset is an error, once`, async () => {
    const peer = await netServer();
    const { client, closed, opened, types } = recordingClient();
    connect(client, peer.port);
    await opened();
    (await peer.socket()).resetAndDestroy();
    assert.equal((await closed()).hadError, true);
    assert.equal(types().filter((type) => type === 'close').length, 1);
    await peer.close();
  });

  test(`${label}: sendMany keeps order, returns its length and copies`, async () => {
    const peer = await netServer((socket) => socket.pipe(socket));
    const { client, received } = recordingClient();
    connect(client, peer.port);
    const reused = Buffer.from('abc');
    assert.equal(client.sendMany([reused, 'de', Buffer.alloc(0), 'ü']), 4);
    reused.fill(0);
    client.send(Buffer.from('fg'));
    assert.equal(client.sendMany([]), 0);
    assert.equal((await received(9)).toString(), 'abcdeüfg');
    client.close();
    await peer.close();
  });

  test(`${label}: close sends what was queued, then a FIN`, async () => {
    const content = pattern(8 << 20);
    const chunks = [];
    const peer = await netServer((socket) => socket.on('data', (chunk) => chunks.push(chunk)));
    const { client } = recordingClient();
    connect(client, peer.port);
    client.sendMany([content.subarray(0, 1 << 20), content.subarray(1 << 20)]);
    assert.equal(client.close(), undefined);
    await once(await peer.socket(), 'end');
    assert.ok(Buffer.concat(chunks).equals(content));
    await peer.close();
  });

  test(`${label}: after close nothing is told, and the object connects again`, async () => {
    const peer = await netServer((socket) => socket.pipe(socket));
    const { client, events, opened } = recordingClient();
    connect(client, peer.port);
    await opened();
    client.send('lost in handling');
    client.close();
    client.close();
    assert.throws(() => client.send('x'), { message: 'Client is not connected' });
    const told = events.items.length;
    const answered = new Promise((resolve) => {
      client.setEventHandler((event) => event.type === 'data' && resolve(event.data.toString()));
    });
    connect(client, peer.port);
    client.send('again');
    assert.equal(await answered, 'again');
    client.close();
    assert.equal(events.items.length, told);
    await peer.close();
  });

  test(`${label}: polling without a handler`, async () => {
    const content = pattern(200_000);
    const peer = await netServer((socket) => socket.end(content));
    const client = new TcpClientWrapper();
    assert.equal(client.recv().length, 0);
    assert.equal(client.isConnected(), false);
    connect(client, peer.port);
    const chunks = [];
    let wasConnected = false;
    await new Promise((resolve) => {
      const timer = setInterval(() => {
        for (let chunk = client.recv(1000); chunk.length > 0; chunk = client.recv(1000)) {
          assert.ok(chunk.length <= 1000);
          chunks.push(chunk);
        }
        wasConnected ||= client.isConnected();
        if (wasConnected && !client.isConnected()) {
          clearInterval(timer);
          resolve();
        }
      }, 1);
    });
    for (let chunk = client.recv(); chunk.length > 0; chunk = client.recv()) chunks.push(chunk);
    assert.ok(Buffer.concat(chunks).equals(content));
    await peer.close();
  });
}

test('wrong calls throw the contract\'s texts', async () => {
  const peer = await netServer();
  const client = new TcpClientWrapper();
  const throws = (call, name, message) => assert.throws(call, { name, message });
  throws(() => client.connect(), 'TypeError', 'connect(host, port) or connect(options) required');
  throws(() => client.connect({}), 'TypeError', 'options.host and options.port required');
  throws(() => client.connect({ host: 'x' }), 'TypeError', 'options.host and options.port required');
  throws(() => client.connect('x'), 'TypeError', 'connect(host: string, port: number) required');
  throws(() => client.connect(1, 2), 'TypeError', 'connect(host: string, port: number) required');
  throws(() => client.send('x'), 'Error', 'Client is not connected');
  throws(() => client.sendMany(['x']), 'Error', 'Client is not connected');
  throws(() => client.send(), 'TypeError', 'send(data: Buffer|string) required');
  throws(() => client.sendMany('x'), 'TypeError', 'sendMany(data: Array<Buffer|string>) required');
  throws(() => client.setEventHandler(1), 'TypeError', 'setEventHandler(fn) requires a function');
  assert.equal(client.getTlsInfo(), undefined);
  assert.equal(client.exportKeyingMaterial(), undefined);
  client.connect('127.0.0.1', peer.port);
  throws(() => client.connect('127.0.0.1', peer.port), 'Error', 'Client already connected');
  throws(() => client.sendMany(['a', 1]), 'TypeError', 'sendMany only accepts Buffer or string entries');
  client.send(12);
  const socket = await peer.socket();
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  client.close();
  await once(socket, 'end');
  assert.equal(Buffer.concat(chunks).toString(), 'a12', 'the entries before the bad one are sent, others are String()-ed');
  await peer.close();
});

test('exportKeyingMaterial complains about its arguments only once connected', async () => {
  const peer = await netServer();
  const { client, opened } = recordingClient();
  client.connect('127.0.0.1', peer.port);
  await opened();
  assert.throws(() => client.exportKeyingMaterial('x'), {
    name: 'TypeError', message: 'exportKeyingMaterial(length, label, context?) required',
  });
  assert.equal(client.exportKeyingMaterial(32, 'label'), undefined);
  assert.equal(client.getTlsInfo(), undefined);
  client.close();
  await peer.close();
});

test('names are resolved, unknown ones are an error', async () => {
  const peer = await netServer((socket) => socket.end('x'));
  const good = recordingClient();
  good.client.connect('localhost', peer.port + 65536);
  await good.received(1);
  const bad = recordingClient();
  bad.client.connect({ host: 'does-not-exist.invalid', port: 1, useTls: false });
  assert.equal((await bad.closed()).hadError, true);
  assert.deepEqual(bad.types(), ['error', 'close']);
  await peer.close();
});

test('a handler may call everything, and close inside of events', async () => {
  const peer = await netServer((socket) => socket.pipe(socket));
  const client = new TcpClientWrapper();
  const types = [];
  await new Promise((resolve) => {
    client.setEventHandler((event) => {
      types.push(event.type);
      assert.equal(client.isConnected(), event.type !== 'close');
      client.getTlsInfo();
      if (event.type === 'connect') client.send('ping');
      if (event.type === 'data') {
        client.close();
        client.close();
        resolve();
      }
    });
    client.connect('127.0.0.1', peer.port);
  });
  assert.deepEqual(types, ['connect', 'data']);
  await peer.close();
});

test('data before the end arrives before the close', async () => {
  const content = pattern(3 << 20);
  const peer = await netServer((socket) => socket.end(content));
  const { client, closed, data, types } = recordingClient();
  client.connect({ host: '127.0.0.1', port: peer.port, useTls: false });
  assert.equal((await closed()).hadError, false);
  assert.ok(data().equals(content));
  assert.equal(types().at(-1), 'close');
  await peer.close();
});

test('what a handler throws is an uncaught exception, and what follows still arrives', async () => {
  const peer = await netServer((socket) => socket.end('x'));
  const client = new TcpClientWrapper();
  const seen = [];
  const thrown = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error.message));
  await new Promise((resolve) => {
    client.setEventHandler((event) => {
      seen.push(event.type);
      if (event.type === 'close') resolve();
      throw new Error(`in ${event.type}`);
    });
    client.connect('127.0.0.1', peer.port);
  });
  await new Promise(setImmediate);
  process.removeAllListeners('uncaughtException');
  listeners.forEach((listener) => process.on('uncaughtException', listener));
  assert.deepEqual(seen, ['connect', 'data', 'close']);
  assert.deepEqual(thrown, ['in connect', 'in data', 'in close']);
  await peer.close();
});

test('IPv6 peers are reached', async (t) => {
  const server = net.createServer((socket) => socket.end('six'));
  server.on('error', () => {});
  server.listen(0, '::1');
  await Promise.race([once(server, 'listening'), once(server, 'error').catch(() => {})]);
  if (!server.listening) return t.skip('no IPv6 here');
  const { client, received } = recordingClient();
  client.connect('::1', server.address().port);
  assert.equal((await received(3)).toString(), 'six');
  await new Promise((resolve) => server.close(resolve));
  return undefined;
});
