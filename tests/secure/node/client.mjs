// A client of the test: TLS, perhaps a handshake, then every payload that standard input asks for, one JSON string a
// line. When standard input ends, so does the connection.

import readline from 'node:readline';
import tls from 'node:tls';
import { agreed, frame, frames, tell, tellEnd } from './frames.mjs';

const options = JSON.parse(process.argv[2]);
const socket = tls.connect({ host: '127.0.0.1', ...options.tls }, () => {
  agreed(socket, options.exporter);
  if (options.handshake) {
    const tags = {
      ...options.handshake.tags,
      tlsFingerprint256: options.handshake.fingerprint ?? socket.getCertificate().fingerprint256,
      tlsFingerprint: options.handshake.fingerprint ? undefined : socket.getCertificate().fingerprint,
      tlsAlpn: socket.alpnProtocol || undefined,
    };
    const handshake = { type: 'handshake', version: '1.0.0', tags };
    const first = [JSON.stringify(handshake), ...(options.handshake.then ?? [])];
    socket.write(Buffer.concat(first.map((text) => frame(Buffer.from(text)))));
  }
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => socket.write(frame(Buffer.from(JSON.parse(line)))));
  lines.on('close', () => socket.end());
});
frames(socket, (payload) => tell('message', payload.toString()));
tellEnd(socket);
socket.on('close', () => process.stdin.destroy());
