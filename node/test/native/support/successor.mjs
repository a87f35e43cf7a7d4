// Two peers on a thread of their own: while the test's thread stands still, the first asks and ends, and the second is
// accepted after it.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

/** Starts the first peer, which waits. `standStill` returns when the second was accepted; `received` gives its bytes. */
export async function peersInTurn(t, { port, handshake, question }) {
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { port, handshake, question, done } });
  t.after(() => worker.terminate());
  await once(worker, 'message');
  return {
    standStill: () => {
      worker.postMessage('go');
      assert.notEqual(Atomics.wait(done, 0, 0, 20_000), 'timed-out');
    },
    received: async () => {
      worker.postMessage('tell');
      const [bytes] = await once(worker, 'message');
      return Buffer.from(bytes);
    },
  };
}

async function run({ port, handshake, question, done }) {
  const join = async () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(handshake);
    // The acknowledgement: it is accepted.
    await once(socket, 'data');
    return socket;
  };
  const first = await join();
  parentPort.postMessage('ready');
  await once(parentPort, 'message');
  first.end(question);
  first.resume();
  await once(first, 'close');
  const second = await join();
  const received = [];
  second.on('data', (bytes) => received.push(bytes));
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
  await once(parentPort, 'message');
  second.end();
  await once(second, 'close');
  parentPort.postMessage(Buffer.concat(received));
}

if (!isMainThread && workerData?.question !== undefined) run(workerData);
