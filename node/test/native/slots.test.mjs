// Numbers of connections are used again, and nobody notices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { engine } from './support/module.mjs';
import { Record, frame, recordingServer, netClient } from './support/peers.mjs';
import { peersInTurn } from './support/successor.mjs';

test('an answer to somebody who has gone reaches nobody else', async (t) => {
  const events = new Record();
  const answers = [];
  const listener = engine.listen({ host: '127.0.0.1', protocolVersion: '1' }, {
    listening: ({ port }) => events.push(['listening', port]),
    open: () => events.push(['open']),
    // Too long to be staged: it is handed over at once.
    messages: (conn) => answers.push(conn.send(Buffer.alloc(20_000, 7))),
    close: () => events.push(['close']),
    stopped: () => events.push(['stopped']),
  });
  const count = (name) => events.items.filter((event) => event[0] === name).length;
  await events.until(() => count('listening') === 1);
  const handshake = frame(JSON.stringify({ type: 'handshake', version: '1', caps: { ack: true } }));
  const peers = await peersInTurn(t, { port: events.items[0][1], handshake, question: frame('?') });
  await events.until(() => count('open') === 1);
  peers.standStill();
  await events.until(() => count('open') === 2);
  assert.equal(answers.length, 1);
  assert.equal((await peers.received()).length, 0);
  await events.until(() => count('close') === 2);
  listener.stop(0);
  await events.until(() => count('stopped') === 1);
});

test('a drop-in server that is asked to stay half open still tells of every end', async () => {
  const { server, port, next } = await recordingServer({ allowHalfOpen: true, path: '/ignored', handshake: true });
  const peer = await netClient(port);
  await next('connection');
  peer.socket.end();
  assert.equal((await next('clientClosed')).hadError, false);
  await server.close();
});

test('what is neither text nor bytes is refused before anything of it is laid out', async () => {
  const received = [];
  const { server, port, next } = await recordingServer({}, (name, payload) => {
    if (name === 'message') received.push(String(payload.data));
  });
  const conn = engine.connect({ host: '127.0.0.1', port }, {});
  conn.send('before');
  for (const wrong of [7, null, undefined, {}, [1], new ArrayBuffer(4), new DataView(new ArrayBuffer(4))]) {
    assert.throws(() => conn.send(wrong), TypeError);
    assert.throws(() => conn.sendUrgent(wrong, 0), TypeError);
  }
  assert.throws(() => conn.sendStaged(Buffer.alloc(4), Uint32Array.of(4), 2), RangeError);
  conn.send(Buffer.from('after'));
  await next('message', 2);
  assert.deepEqual(received, ['before', 'after']);
  conn.close();
  await server.close();
});
