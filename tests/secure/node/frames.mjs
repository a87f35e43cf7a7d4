// The framing of docs/wire-format.md: a length in four bytes, big-endian, then the payload.

export function frame(payload) {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length);
  return Buffer.concat([header, payload]);
}

/** Calls `found` with each payload that arrives on `socket`. */
export function frames(socket, found) {
  let held = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    held = Buffer.concat([held, bytes]);
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
      const end = 4 + held.readUInt32BE(0);
      found(held.subarray(4, end));
      held = held.subarray(end);
    }
  });
}

/** Tells the test something: one line `name: JSON`. */
export function tell(name, value) {
  process.stdout.write(`${name}: ${JSON.stringify(value)}\n`);
}

/** What a socket knows once TLS is agreed on. */
export function agreed(socket, exporter) {
  const context = Buffer.from(exporter.context, 'hex');
  const material = socket.exportKeyingMaterial(exporter.length, exporter.label, context);
  tell('material', material.toString('base64'));
  tell('protocol', socket.getProtocol());
  tell('alpn', socket.alpnProtocol);
  tell('cipher', socket.getCipher().name);
  tell('own', socket.getCertificate()?.fingerprint256 ?? null);
  tell('peer', socket.getPeerCertificate()?.fingerprint256 ?? null);
}

/** Tells how the socket ended: cleanly, or with which error. */
export function tellEnd(socket) {
  let error = null;
  socket.on('error', (cause) => { error = cause.code ?? cause.message; });
  socket.on('end', () => tell('end', 'clean'));
  socket.on('close', () => tell('closed', error));
}
