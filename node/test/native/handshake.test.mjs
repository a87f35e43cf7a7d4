// Handshakes as the drop-in server judges them.
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { frame, netClient, recordingServer } from './support/peers.mjs';

const VERSION = '1.0.0';
const plain = (more = {}) => JSON.stringify({ type: 'handshake', version: VERSION, ...more });

/** The canonical form: object keys sorted at every level, no white space. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${entries.join(',')}}`;
}

/** A signed handshake, made as the wire format says. */
function negentropic(more = {}) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const key = publicKey.export({ type: 'spki', format: 'der' });
  const counts = new Map();
  for (const byte of key) counts.set(byte, (counts.get(byte) ?? 0) + 1);
  let entropy = 0;
  for (const count of counts.values()) entropy -= (count / key.length) * Math.log2(count / key.length);
  const sum = key.reduce((total, byte) => total + byte, 0);
  const nIndex = Math.min(1, Math.max(0, key[0] / sum / Math.max(entropy, 1e-6)));
  const mask = Math.floor(nIndex * 255);
  const negHash = createHash('sha256').update(key).update(key.map((byte) => byte ^ mask)).update(nIndex.toFixed(6)).digest('hex');
  const payload = {
    type: 'handshake', version: VERSION, ts: Date.now(), nIndex, negHash, nonce: 'AAAA',
    publicKey: key.toString('base64'), ...more,
  };
  const signature = sign(null, Buffer.from(canonical(payload)), createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })));
  return { ...payload, signature: signature.toString('base64') };
}

async function attempt(options, first, ...rest) {
  const recorded = await recordingServer({ protocolVersion: VERSION, ...options });
  const peer = await netClient(recorded.port);
  peer.socket.write(Buffer.concat([frame(first), ...rest.map(frame)]));
  return { ...recorded, peer };
}

async function accepted(options, first, ...rest) {
  const result = await attempt(options, first, ...rest);
  const connection = await result.next('connection');
  if (rest.length > 0) await result.next('message', rest.length);
  await result.server.close();
  return { ...result, connection };
}

async function refused(options, first) {
  const { server, peer, next, of, names } = await attempt(options, first, 'never told');
  const closed = await next('clientClosed');
  await peer.ended();
  assert.equal(closed.hadError, true);
  assert.equal(typeof closed.client.id, 'string');
  assert.deepEqual(names(), ['listening', 'error', 'clientClosed']);
  await server.close();
  assert.equal(of('clientClosed').length, 1);
  return of('error')[0];
}

test('an accepted handshake: its facts, then the data behind it', async () => {
  const { connection, of } = await accepted({}, plain({ tags: { a: 'b', n: 1, x: 0.5 } }), 'data', 'more');
  assert.deepEqual(connection.handshake, { version: VERSION, tags: { a: 'b', n: 1, x: 0.5 } });
  assert.deepEqual(of('message').map(({ data }) => String(data)), ['data', 'more']);
});

test('a handshake without a version passes, and has nothing to report', async () => {
  const { connection } = await accepted({}, '{"type":"handshake"}');
  assert.equal('handshake' in connection, false);
});

test('a second handshake is a message, and without protocolVersion the first is', async () => {
  const { of } = await accepted({}, plain(), plain());
  assert.equal(String(of('message')[0].data), plain());
  const without = await accepted({ protocolVersion: '' }, plain(), 'x');
  assert.equal(String(without.of('message')[0].data), plain());
});

test('a signed handshake is accepted, a tampered one is not', async () => {
  const signed = negentropic({ tags: { role: 'worm' } });
  const { connection } = await accepted({}, JSON.stringify(signed));
  assert.deepEqual(connection.handshake, {
    version: VERSION, tags: { role: 'worm' }, nIndex: signed.nIndex, negHash: signed.negHash,
  });
  const error = await refused({}, JSON.stringify({ ...signed, tags: { role: 'snake' } }));
  assert.match(error.message, /^Invalid handshake signature: /);
  const hash = await refused({}, JSON.stringify(negentropic({ negHash: '00' })));
  assert.match(hash.message, /^Invalid handshake signature: /);
});

test('requireSigned refuses those without a signature', async () => {
  await accepted({ requireSigned: true }, JSON.stringify(negentropic()));
  assert.match((await refused({ requireSigned: true }, plain())).message, /not signed/);
});

test('a refused handshake: error and close with the contract\'s texts, and none of it reaches anybody', async () => {
  const cases = [
    ['not json', /^Failed to parse handshake: ./],
    ['{"type":"x"}', /^Invalid handshake payload: missing type$/],
    ['{}', /^Invalid handshake payload: missing type$/],
    ['[]', /^Invalid handshake payload: ./],
    [plain({ version: '2' }), /^Protocol version mismatch$/],
    [plain({ tags: { a: true } }), /^Invalid handshake payload: ./],
    [plain({ ts: -1 }), /^Invalid handshake payload: ./],
    ['{"type":"handshake","type":"x"}', /^Invalid handshake payload: missing type$/],
    [`{"type":"handshake","caps":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`, /./],
    [plain({ tags: { long: 'x'.repeat(70_000) } }), /./],
  ];
  for (const [first, text] of cases) {
    const error = await refused({}, first);
    assert.ok(error instanceof Error);
    assert.match(error.message, text, first.slice(0, 80));
  }
});

test('the last of two equal keys counts', async () => {
  const { connection } = await accepted({}, '{"type":"x","type":"handshake","version":"2","version":"1.0.0"}');
  assert.equal(connection.handshake.version, VERSION);
});

test('without framing the first value is the handshake, data may follow in the same chunk', async () => {
  const { server, port, next } = await recordingServer({ framing: 'none', protocolVersion: VERSION });
  const peer = await netClient(port);
  peer.socket.write(`${plain()}data behind it`);
  await next('connection');
  assert.equal(String((await next('message')).data), 'data behind it');
  await server.close();
});

test('broadcasts reach only those whose handshake was accepted', async () => {
  const { server, port, next } = await recordingServer({ protocolVersion: VERSION });
  const silent = await netClient(port);
  const shaken = await netClient(port);
  shaken.socket.write(frame(plain()));
  await next('connection');
  server.broadcast('secret');
  assert.deepEqual((await shaken.framed(1)).map(String), ['secret']);
  silent.socket.end(frame(plain()));
  await next('clientClosed');
  assert.equal(silent.bytes().length, 0);
  await server.close();
});
