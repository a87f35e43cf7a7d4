// The interface that the package is built on: batches, marks, half-close, unix sockets. See docs/node-native.md.
import assert from 'node:assert/strict';
import net from 'node:net';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { engine } from './support/module.mjs';
import { Record, collect, frame, netClient, netServer, pattern } from './support/peers.mjs';

/** A sink that records everything: [name, ...]; messages one by one, copied. */
function recordingSink(more = {}) {
  const events = new Record();
  const bytes = [];
  const sink = {
    open: (conn, info) => events.push(['open', conn, info]),
    messages: (conn, slab, start, ends, first, last) => {
      for (let i = first; i < last; i += 1) {
        const message = Buffer.from(slab.subarray(start, ends[i]));
        bytes.push(message);
        events.push(['message', conn, message]);
        start = ends[i];
      }
    },
    peerEnd: (conn) => events.push(['peerEnd', conn]),
    flushed: (conn, mark) => events.push(['flushed', conn, mark]),
    close: (conn, why) => events.push(['close', conn, why]),
    listening: (address) => events.push(['listening', address]),
    failed: (message, code) => events.push(['failed', message, code]),
    stopped: () => events.push(['stopped']),
    rejected: (why) => events.push(['rejected', why]),
    ...more,
  };
  const of = (name) => events.items.filter((event) => event[0] === name);
  const next = (name, n = 1) => events.until(() => of(name).length >= n && of(name)[n - 1]);
  return { sink, events, of, next, names: () => events.items.map((event) => event[0]), bytes: () => Buffer.concat(bytes) };
}

async function listen(options, more) {
  const recorded = recordingSink(more);
  const listener = engine.listen({ host: '127.0.0.1', port: 0, ...options }, recorded.sink);
  const [, address] = await recorded.next('listening');
  const stop = async () => {
    listener.stop(2000);
    await recorded.next('stopped');
  };
  return { ...recorded, listener, address, stop };
}

test('it says which driver runs', () => {
  const { kind, detail } = engine.backend();
  assert.ok(['io_uring', 'tokio'].includes(kind) && detail.length > 0);
});

test('framed messages in batches, both ways, in order', async () => {
  const server = await listen({}, {
    messages: (conn, slab, start, ends, first, last) => {
      for (let i = first; i < last; i += 1) {
        conn.send(slab.subarray(start, ends[i]));
        start = ends[i];
      }
    },
  });
  const client = recordingSink();
  const conn = engine.connect({ host: '127.0.0.1', port: server.address.port }, client.sink);
  const sizes = Array.from({ length: 3000 }, (_, i) => (i * 37) % 1500).concat([100_000, 0, 16_384, 300_000, 1]);
  const bodies = sizes.map((size, i) => pattern(size, i + 1));
  assert.equal(conn.send('early'), true);
  assert.equal(conn.sendMany(bodies), bodies.length);
  await client.next('message', bodies.length + 1);
  assert.equal(client.names()[0], 'open');
  assert.equal(String(client.of('message')[0][2]), 'early');
  bodies.forEach((body, i) => assert.ok(client.of('message')[i + 1][2].equals(body), `message ${i}`));
  conn.close();
  const [, , why] = await client.next('close');
  assert.deepEqual([why.hadError, why.code], [false, 'local']);
  await server.next('close');
  await server.stop();
});

test('slabs are never written twice', async () => {
  const views = [];
  const server = await listen({}, {
    messages: (conn, slab, start, ends, first, last) => {
      for (let i = first; i < last; i += 1) {
        views.push(slab.subarray(start, ends[i]));
        start = ends[i];
      }
      server.events.push(['batch']);
    },
  });
  const peer = await netClient(server.address.port);
  const bodies = Array.from({ length: 5000 }, (_, i) => pattern(1 + ((i * 131) % 3000), i + 1));
  for (let i = 0; i < bodies.length; i += 50) {
    peer.socket.write(Buffer.concat(bodies.slice(i, i + 50).map(frame)));
    if (i % 500 === 0) await new Promise(setImmediate);
  }
  await server.events.until(() => views.length === bodies.length);
  views.forEach((view, i) => assert.ok(view.equals(bodies[i]), `message ${i}`));
  await server.stop();
});

test('arrays that overlap are refused', async () => {
  const server = await listen({});
  const conn = engine.connect({ host: '127.0.0.1', port: server.address.port }, {});
  const words = new Uint32Array(64);
  const apart = new Uint32Array(8);
  const overlapping = { message: 'slab, heads and ends must not overlap' };
  assert.throws(() => conn.native.pull(new Uint8Array(words.buffer), 0, words, apart), overlapping);
  assert.throws(() => conn.native.pull(new Uint8Array(words.buffer), 0, apart, words), overlapping);
  assert.throws(() => conn.native.pull(new Uint8Array(64), 0, words, words.subarray(8)), overlapping);
  conn.close();
  await server.stop();
});

test('staged slabs are sent with one call, and copied', async () => {
  const server = await listen({});
  const conn = engine.connect({ host: '127.0.0.1', port: server.address.port }, {});
  const slab = Buffer.from('onetwothree');
  assert.equal(conn.sendStaged(slab, Uint32Array.of(3, 6, 6, 11, 99), 4), true);
  slab.fill(0);
  await server.next('message', 4);
  assert.deepEqual(server.of('message').map(([, , body]) => String(body)), ['one', 'two', '', 'three']);
  conn.close();
  await server.stop();
});

test('urgent messages overtake what is queued', async () => {
  const peer = await netServer((socket) => socket.pause());
  const client = recordingSink();
  const conn = engine.connect({ host: '127.0.0.1', port: peer.port, rateLimitBytesPerSec: 5_000_000, rateLimitBurstBytes: 100_000 }, client.sink);
  await client.next('open');
  for (let i = 0; i < 40; i += 1) conn.send(Buffer.alloc(50_000, 'l'));
  conn.sendUrgent('first', -10);
  const peerSide = collect(await peer.socket());
  peerSide.socket.resume();
  const frames = await peerSide.framed(41);
  const at = frames.findIndex((body) => String(body) === 'first');
  assert.ok(at >= 0 && at < 30, `overtook nothing: ${at}`);
  conn.abort();
  await peer.close();
});

test('a mark is reached when all before it was given to the kernel', async () => {
  const peer = await netServer((socket) => socket.pause());
  const client = recordingSink();
  const conn = engine.connect({ host: '127.0.0.1', port: peer.port, framing: 'none' }, client.sink);
  conn.send('x');
  const early = conn.mark();
  assert.equal((await client.next('flushed'))[2], early);
  assert.equal(conn.queuedBytes, 0);
  conn.send(Buffer.alloc(32 << 20));
  const late = conn.mark();
  assert.equal(conn.queuedBytes, 32 << 20);
  await new Promise(setImmediate);
  assert.equal(client.of('flushed').length, 1);
  (await peer.socket()).resume();
  assert.equal((await client.next('flushed', 2))[2], late);
  assert.equal(conn.queuedBytes, 0);
  conn.close();
  await peer.close();
});

test('half-close: end sends a FIN behind the data, and the answer still arrives', async () => {
  const peer = await netServer((socket) => {
    const chunks = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => socket.end(`got ${Buffer.concat(chunks).length}`));
  }, { allowHalfOpen: true });
  const client = recordingSink();
  const conn = engine.connect({ host: '127.0.0.1', port: peer.port, framing: 'none', allowHalfOpen: true }, client.sink);
  conn.send(Buffer.alloc(5_000_000));
  conn.end();
  assert.equal(conn.send('late'), false);
  const [, , why] = await client.next('close');
  assert.equal(String(client.bytes()), 'got 5000000');
  assert.equal(why.hadError, false);
  await peer.close();
});

test('half-close of the peer is told, and this side goes on', async () => {
  const server = await listen({ framing: 'none', allowHalfOpen: true });
  const peer = collect(net.connect({ port: server.address.port, host: '127.0.0.1', allowHalfOpen: true }));
  peer.socket.end('question');
  const [, conn] = await server.next('peerEnd');
  assert.equal(String(server.bytes()), 'question');
  conn.send('answer');
  conn.end();
  await peer.ended();
  assert.equal(String(peer.bytes()), 'answer');
  assert.equal((await server.next('close'))[2].hadError, false);
  await server.stop();
});

test('pause stops reading, resume goes on, nothing is lost', async () => {
  const server = await listen({ framing: 'none', inboxBytes: 65536 }, {
    open: (conn) => {
      conn.pause();
      server.events.push(['open', conn]);
    },
  });
  const peer = await netClient(server.address.port);
  const content = pattern(24 << 20);
  peer.socket.write(content);
  const [, conn] = await server.next('open');
  let still = 0;
  for (let last = -1; still < 5; still = peer.socket.writableLength === last ? still + 1 : 0) {
    last = peer.socket.writableLength;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(peer.socket.writableLength > 8 << 20, `${peer.socket.writableLength}`);
  assert.ok(server.bytes().length < 1 << 20);
  conn.resume();
  await server.events.until(() => server.bytes().length === content.length);
  assert.ok(server.bytes().equals(content));
  await server.stop();
});

test('empty messages arrive, the first ones of a connection too', async () => {
  const sent = ['', '', 'x', '', 'y', ''];
  for (let round = 0; round < 20; round += 1) {
    const server = await listen();
    const client = recordingSink();
    const conn = engine.connect({ host: '127.0.0.1', port: server.address.port }, client.sink);
    await client.next('open');
    assert.equal(conn.sendMany(sent), sent.length);
    await server.next('message', sent.length);
    assert.deepEqual(server.of('message').map(([, , message]) => message.toString()), sent);
    conn.close();
    await client.next('close');
    await server.stop();
  }
});

test('unix sockets, by path and abstract', async (t) => {
  if (process.platform === 'win32') return t.skip('no unix sockets');
  const folder = mkdtempSync(join(tmpdir(), 'qwormhole-unix-'));
  const paths = [join(folder, 'socket')];
  if (process.platform === 'linux') paths.push(`@qwormhole-${process.pid}`);
  for (const path of paths) {
    const server = await listen({ path, host: undefined });
    const client = recordingSink();
    const conn = engine.connect({ path }, client.sink);
    conn.send('over a file');
    assert.equal(String((await server.next('message'))[2]), 'over a file');
    conn.close();
    await server.stop();
  }
  rmSync(folder, { recursive: true });
  return undefined;
});

test('failures have codes', async () => {
  const server = await listen({});
  const taken = recordingSink();
  engine.listen({ host: '127.0.0.1', port: server.address.port }, taken.sink);
  assert.equal((await taken.next('failed'))[2], 'EADDRINUSE');
  await server.stop();
  const refused = recordingSink();
  engine.connect({ host: '127.0.0.1', port: server.address.port }, refused.sink);
  assert.equal((await refused.next('close'))[2].code, 'ECONNREFUSED');
  const unknown = recordingSink();
  engine.connect({ host: 'does-not-exist.invalid', port: 1 }, unknown.sink);
  assert.equal((await unknown.next('close'))[2].code, 'ENOTFOUND');
  const slow = recordingSink();
  engine.connect({ host: '192.0.2.1', port: 9, connectTimeoutMs: 100 }, slow.sink);
  assert.ok(['E_CONNECT_TIMEOUT', 'ENETUNREACH', 'EHOSTUNREACH', 'ECONNREFUSED', 'EACCES'].includes((await slow.next('close'))[2].code));
  const nowhere = recordingSink();
  engine.connect({ host: '127.0.0.1', port: 1, interfaceName: 'no-such-interface' }, nowhere.sink);
  assert.equal((await nowhere.next('close'))[2].code, 'E_INTERFACE_NOT_FOUND');
});

test('a client made natively shakes hands, signed too', async () => {
  const server = await listen({ protocolVersion: '3' });
  const client = recordingSink();
  const conn = engine.connect({
    host: '127.0.0.1', port: server.address.port, handshake: { protocolVersion: '3', tags: { role: 'worm', n: 2 } },
  }, client.sink);
  conn.send('behind it');
  const [, , info] = await server.next('open');
  const { payload, ...handshake } = info.handshake;
  assert.deepEqual(handshake, { version: '3', tags: { role: 'worm', n: 2 } });
  assert.equal(payload, '{"type":"handshake","version":"3","tags":{"role":"worm","n":2}}');
  assert.equal(String((await server.next('message'))[2]), 'behind it');
  conn.close();
  const wrong = engine.connect({ host: '127.0.0.1', port: server.address.port, handshake: { protocolVersion: '4' } }, {});
  const [, why] = await server.next('rejected');
  assert.deepEqual([why.message, why.admitted], ['Protocol version mismatch', true]);
  wrong.abort();
  await server.stop();
  const strict = await listen({ protocolVersion: '3', requireSigned: true });
  const secretKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64');
  const signed = engine.connect({
    host: '127.0.0.1', port: strict.address.port, handshake: { protocolVersion: '3', signer: { secretKey } },
  }, {});
  assert.match((await strict.next('open'))[2].handshake.negHash, /^[0-9a-f]{64}$/);
  signed.abort();
  await strict.stop();
});

test('a throw in one callback keeps nothing from the others', async () => {
  const thrown = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error.message));
  const server = await listen({}, {
    messages: (conn, slab, start, ends, first, last) => {
      server.events.push(['batch', last - first]);
      throw new Error('in messages');
    },
  });
  const peers = await Promise.all([1, 2].map(() => netClient(server.address.port)));
  peers.forEach((peer) => peer.socket.write(frame('x')));
  await server.next('batch', 2);
  await server.stop();
  process.removeAllListeners('uncaughtException');
  listeners.forEach((listener) => process.on('uncaughtException', listener));
  assert.deepEqual(thrown, ['in messages', 'in messages']);
});

test('ten thousand clients come and go, and nothing stays', async () => {
  const server = await listen({});
  for (let round = 0; round < 100; round += 1) {
    await Promise.all(Array.from({ length: 100 }, () => {
      const client = recordingSink({ open: (conn) => conn.abort() });
      engine.connect({ host: '127.0.0.1', port: server.address.port }, client.sink);
      return client.next('close');
    }));
  }
  // The server hears of the last ones later than their clients.
  await server.events.until(() => server.of('close').length === 10_000);
  assert.equal(server.listener.connections.size, 0);
  await server.stop();
});

test('stats count', async () => {
  const server = await listen({});
  const peer = await netClient(server.address.port);
  peer.socket.write(frame('12345'));
  await server.next('message');
  const stats = server.listener.stats();
  assert.equal(stats.connections, 1);
  assert.equal(typeof stats.bytesOut, 'number');
  assert.ok(stats.bytesIn >= 0);
  await server.stop();
  assert.deepEqual(server.listener.stats(), {});
  await peer.ended();
});
