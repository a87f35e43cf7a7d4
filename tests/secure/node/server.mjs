// A server of the test for one client: TLS, then an answer to every message. It ends with its client.

import tls from 'node:tls';
import { agreed, frame, frames, tell, tellEnd } from './frames.mjs';

const options = JSON.parse(process.argv[2]);
const server = tls.createServer(options.tls, (socket) => {
  server.close();
  agreed(socket, options.exporter);
  frames(socket, (payload) => {
    tell('message', payload.toString());
    socket.write(frame(payload));
  });
  tellEnd(socket);
});
server.on('tlsClientError', (error) => {
  tell('refused', error.code ?? error.message);
  server.close();
});
server.listen(0, '127.0.0.1', () => tell('port', server.address().port));
