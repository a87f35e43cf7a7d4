// The same types by require.
import qwormhole = require("qwormhole");

const client = new qwormhole.QWormholeClient({ port: 9000 });
client.on("message", (message: Buffer) => message.length);
const target: Promise<qwormhole.StreamServer> = qwormhole.serve({ onConnection: (stream) => stream.end() });
export = { client, target };
