// Whoever waits for a beginning hears what comes behind it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { peerAhead } from './support/ahead.mjs';
import { engine } from './support/module.mjs';
import { Record, frame } from './support/peers.mjs';

/** A sink that writes down what is told, and the turns that code behind an `await` gets in between. */
function sinkOf(events) {
  const told = (name) => {
    events.push(name);
    // As many steps as an async function or two put in between.
    Promise.resolve().then(() => {}).then(() => process.nextTick(() => events.push(`after ${name}`)));
  };
  return {
    listening: () => told('listening'),
    open: () => told('open'),
    messages: (_conn, _slab, _start, _ends, first, last) => events.push(`messages ${last - first}`),
    close: () => events.push('close'),
    stopped: () => events.push('stopped'),
  };
}

test('messages that came with the connection are told after code that waited for it', async (t) => {
  const peer = await peerAhead(t, { bytes: Buffer.concat([frame('a'), frame('b')]) });
  const events = new Record();
  engine.connect({ host: '127.0.0.1', port: peer.port }, sinkOf(events));
  peer.standStill();
  await events.until((all) => all.includes('close'));
  assert.deepEqual(events.items, ['open', 'after open', 'messages 2', 'close']);
});

test('connections that came before the server could say that it listens are told after code that waited for that', async (t) => {
  if (process.platform === 'win32') return t.skip('no unix sockets');
  const directory = mkdtempSync(join(tmpdir(), 'qwormhole-late-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'socket');
  const peer = await peerAhead(t, { path, bytes: Buffer.concat([frame('a'), frame('b')]) });
  const events = new Record();
  const listener = engine.listen({ path }, sinkOf(events));
  peer.standStill();
  await events.until((all) => all.includes('close'));
  assert.deepEqual(events.items, ['listening', 'after listening', 'open', 'after open', 'messages 2', 'close']);
  listener.stop(0);
  await events.until((all) => all.includes('stopped'));
});
