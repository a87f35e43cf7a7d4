// Both ends know each other: TLS with an authority of one's own. Certificates are made here with openssl.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { QWormholeClient, QWormholeServer } from "qwormhole";

const directory = mkdtempSync(join(tmpdir(), "qwormhole-example-"));
const [keyFile, certFile] = ["key.pem", "cert.pem"].map((name) => join(directory, name));
const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", keyFile, "-out", certFile];
execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...subject], {
  stdio: "ignore",
});
const [key, cert] = [keyFile, certFile].map((file) => readFileSync(file));
rmSync(directory, { recursive: true });

const server = new QWormholeServer({ host: "127.0.0.1", port: 0, tls: { enabled: true, key, cert, alpnProtocols: ["example/1"] } });
server.on("connection", ({ socket }) => console.log(`${socket.tls.protocol}, ${socket.tls.alpnProtocol}`));
const message = new Promise((resolve) => server.once("message", ({ data }) => resolve(data)));
const { port } = await server.listen();

const tls = { enabled: true, ca: cert, servername: "localhost", alpnProtocols: ["example/1"] };
const client = new QWormholeClient({ host: "127.0.0.1", port, tls });
await client.connect();
await client.send("nobody else reads this");
console.log(String(await message));
await client.disconnect();
await server.close();
