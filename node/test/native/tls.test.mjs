// TLS of both classes, against `node:tls` and against each other.
import assert from 'node:assert/strict';
import tls from 'node:tls';
import { once } from 'node:events';
import { test } from 'node:test';
import * as certs from './support/certs.mjs';
import { collect, frame, recordingClient, recordingServer } from './support/peers.mjs';

const identity = { enabled: true, key: certs.server.key, cert: certs.server.cert };
const trusting = { useTls: true, tlsCa: certs.ca };

async function tlsServer(options, onSocket = (socket) => socket.pipe(socket)) {
  const sockets = [];
  const server = tls.createServer({ ...certs.server, ...options }, (socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    onSocket(socket);
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    sockets,
    close: () => {
      sockets.forEach((socket) => socket.destroy());
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function connect(client, port, options) {
  client.connect({ host: '127.0.0.1', port, ...options });
}

async function tlsPeer(port, options) {
  const socket = tls.connect({ port, host: '127.0.0.1', ca: certs.ca, servername: 'localhost', ...options });
  const collected = collect(socket);
  await Promise.race([once(socket, 'secureConnect'), once(socket, 'close')]);
  return collected;
}

test('a client trusts the private authority it is given, and knows the session when it is told of it', async () => {
  const peer = await tlsServer({ ALPNProtocols: ['h2', 'q/1'] });
  const { client, received, events } = recordingClient();
  let info;
  events.until((all) => all.some((event) => event.type === 'connect') && (info = client.getTlsInfo(), true));
  connect(client, peer.port, { ...trusting, tlsAlpn: 'q/1,h2', tlsServername: 'worm.test' });
  client.send('secret');
  assert.equal(String(await received(6)), 'secret');
  const socket = peer.sockets[0];
  assert.equal(socket.servername, 'worm.test');
  const certificate = new (await import('node:crypto')).X509Certificate(certs.server.cert);
  assert.deepEqual(info, {
    alpnProtocol: socket.alpnProtocol, protocol: 'TLSv1.3', cipher: socket.getCipher().name, authorized: true,
    peerFingerprint: certificate.fingerprint, peerFingerprint256: certificate.fingerprint256,
  });
  assert.ok(['h2', 'q/1'].includes(info.alpnProtocol));
  client.close();
  assert.equal(client.getTlsInfo(), undefined);
  await peer.close();
});

test('without that authority the connection is an error, unless anybody will do', async () => {
  const peer = await tlsServer({});
  const strict = recordingClient();
  connect(strict.client, peer.port, { useTls: true, tlsCa: certs.otherCa });
  assert.equal((await strict.closed()).hadError, true);
  assert.deepEqual(strict.types(), ['error', 'close']);
  const lax = recordingClient();
  connect(lax.client, peer.port, { useTls: true, tlsCa: certs.otherCa, tlsRejectUnauthorized: false });
  await lax.opened();
  assert.equal(lax.client.getTlsInfo().authorized, false);
  lax.client.close();
  await peer.close();
});

test('a certificate for another name is an error', async () => {
  const peer = await tlsServer({});
  const { client, closed, types } = recordingClient();
  connect(client, peer.port, { ...trusting, tlsServername: 'elsewhere.test' });
  assert.equal((await closed()).hadError, true);
  assert.deepEqual(types(), ['error', 'close']);
  await peer.close();
});

test('a client presents its certificate, with keys as text too and without useTls', async () => {
  const peer = await tlsServer({ requestCert: true, rejectUnauthorized: true, ca: certs.ca });
  const { client, received } = recordingClient();
  connect(client, peer.port, {
    tlsCa: String(certs.ca), tlsCert: String(certs.client.cert), tlsKey: String(certs.client.key),
  });
  client.send('me');
  assert.equal(String(await received(2)), 'me');
  assert.equal(peer.sockets[0].authorized, true);
  client.close();
  await peer.close();
  const without = await tlsServer({ requestCert: true, rejectUnauthorized: true, ca: certs.ca, maxVersion: 'TLSv1.2' });
  const anonymous = recordingClient();
  connect(anonymous.client, without.port, trusting);
  assert.equal((await anonymous.closed()).hadError, true);
  await without.close();
});

test('both sides export the same keying material', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2']) {
    const peer = await tlsServer({ maxVersion });
    const { client, received } = recordingClient();
    connect(client, peer.port, trusting);
    client.send('x');
    await received(1);
    const [socket] = peer.sockets;
    const empty = Buffer.alloc(0);
    const named = Buffer.from('context');
    assert.deepEqual(
      client.exportKeyingMaterial(32, 'qwormhole-negentropic', empty),
      socket.exportKeyingMaterial(32, 'qwormhole-negentropic', empty), maxVersion,
    );
    assert.deepEqual(
      client.exportKeyingMaterial(48, 'EXPERIMENTAL-x', named), socket.exportKeyingMaterial(48, 'EXPERIMENTAL-x', named),
    );
    assert.equal(client.exportKeyingMaterial(0, 'x'), undefined);
    client.close();
    assert.equal(client.exportKeyingMaterial(32, 'x'), undefined);
    await peer.close();
  }
});

test('a server with a certificate: ALPN by its own preference, the session in the connection event', async () => {
  const { server, port, next } = await recordingServer({ tls: { ...identity, alpnProtocols: ['q/2', 'q/1'] } });
  const peer = await tlsPeer(port, { ALPNProtocols: ['q/1', 'q/2'] });
  assert.equal(peer.socket.authorized, true);
  assert.equal(peer.socket.alpnProtocol, 'q/2');
  const { handshake } = await next('connection');
  assert.deepEqual(handshake, {
    tls: { alpnProtocol: 'q/2', authorized: false, cipher: peer.socket.getCipher().name, protocol: 'TLSv1.3' },
  });
  peer.socket.write(frame('x'));
  assert.equal(String((await next('message')).data), 'x');
  peer.socket.end();
  assert.equal((await next('clientClosed')).hadError, false);
  await server.close();
});

test('a server with an encrypted key needs its passphrase', async () => {
  const locked = { key: certs.lockedKey, cert: certs.server.cert };
  await assert.rejects(recordingServer({ tls: locked }), /^Error: Failed to create server context: .*passphrase/);
  const { server, port, next } = await recordingServer({ tls: { ...locked, passphrase: 'open sesame' } });
  const peer = await tlsPeer(port, {});
  await next('connection');
  peer.socket.destroy();
  await server.close();
});

test('mutual TLS: a client of the authority is authorized, others are refused or merely known', async () => {
  const asking = { ...identity, ca: certs.ca, requestCert: true };
  const { server, port, next, of } = await recordingServer({ tls: asking });
  const good = await tlsPeer(port, certs.client);
  const { handshake } = await next('connection');
  assert.equal(handshake.tls.authorized, true);
  assert.match(handshake.tls.peerFingerprint256, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  for (const bad of [{}, certs.stranger]) {
    const peer = await tlsPeer(port, bad);
    await peer.ended();
  }
  await next('clientClosed', 2);
  assert.equal(of('connection').length, 1);
  assert.ok(of('clientClosed').every(({ hadError }) => hadError));
  good.socket.destroy();
  await server.close();
  const lax = await recordingServer({ tls: { ...asking, rejectUnauthorized: false } });
  const known = await tlsPeer(lax.port, certs.stranger);
  assert.equal((await lax.next('connection')).handshake.tls.authorized, false);
  known.socket.destroy();
  await lax.server.close();
});

test('both classes with mutual TLS, and a session key that both derive', async () => {
  const context = Buffer.from('ctx');
  const exporter = { label: 'qwormhole-negentropic', length: 32, context };
  const { server, port, next } = await recordingServer(
    { tls: { ...identity, ca: [certs.ca], requestCert: true, exportKeyingMaterial: exporter }, protocolVersion: '1' },
  );
  const { client, opened, received } = recordingClient();
  connect(client, port, { ...trusting, tlsCert: certs.client.cert, tlsKey: certs.client.key });
  await opened();
  const fingerprint = new (await import('node:crypto')).X509Certificate(certs.client.cert).fingerprint256;
  client.send(frame(JSON.stringify({ type: 'handshake', version: '1', tags: { tlsFingerprint256: fingerprint } })));
  const { id, handshake } = await next('connection');
  assert.equal(handshake.tls.peerFingerprint256, fingerprint);
  assert.equal(handshake.tls.tlsSessionKey, client.exportKeyingMaterial(32, exporter.label, context).toString('base64'));
  server.sendTo(id, 'hello');
  assert.deepEqual(await received(9), frame('hello'));
  client.close();
  await server.close();
});

test('a handshake that pins another certificate is refused', async () => {
  const { server, port, next, of } = await recordingServer({ tls: { ...identity, ca: certs.ca, requestCert: true }, protocolVersion: '1' });
  const peer = await tlsPeer(port, certs.client);
  peer.socket.write(frame(JSON.stringify({ type: 'handshake', version: '1', tags: { tlsFingerprint256: '00:11' } })));
  assert.equal((await next('clientClosed')).hadError, true);
  assert.equal(of('error')[0].message, 'TLS fingerprint mismatch');
  assert.equal(of('connection').length, 0);
  await server.close();
});

test('plain text at a TLS server ends that connection only', async () => {
  const { server, port, next } = await recordingServer({ tls: identity });
  const { client, closed } = recordingClient();
  client.connect('127.0.0.1', port);
  client.send('GET / HTTP/1.1\r\n\r\n');
  await closed();
  assert.equal((await next('clientClosed')).hadError, true);
  const peer = await tlsPeer(port, {});
  await next('connection');
  peer.socket.destroy();
  await server.close();
});
