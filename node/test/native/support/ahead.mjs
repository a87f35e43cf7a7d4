// A peer on a thread of its own. It does its part while the test's thread stands still, so that everything that comes
// of it waits there at once.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

/**
 * Starts the peer: with `path` it calls there as soon as somebody listens, else it listens on the returned `port`. It
 * sends `bytes`, `afterData` when something arrived, and ends.
 */
export async function peerAhead(t, { path, bytes, afterData = false }) {
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { path, bytes, afterData, done } });
  t.after(() => worker.terminate());
  const [port] = await once(worker, 'message');
  // Its connection closes when the other side has taken everything, the end included.
  const standStill = () => assert.notEqual(Atomics.wait(done, 0, 0, 20_000), 'timed-out');
  return { port, standStill };
}

function run({ path, bytes, afterData, done }) {
  const serve = (socket) => {
    const say = () => socket.end(bytes);
    socket.on('error', () => {});
    socket.on('close', () => {
      Atomics.store(done, 0, 1);
      Atomics.notify(done, 0);
    });
    if (afterData) socket.once('data', say);
    else say();
    socket.resume();
  };
  const call = () => {
    const socket = net.connect(path);
    const again = () => setImmediate(call);
    socket.once('error', again);
    socket.once('connect', () => {
      socket.off('error', again);
      serve(socket);
    });
  };
  if (path !== undefined) {
    call();
    parentPort.postMessage(0);
    return;
  }
  const server = net.createServer(serve);
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
}

if (!isMainThread && workerData?.done !== undefined) run(workerData);
