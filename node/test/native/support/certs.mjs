// Certificates, made when tests run: an authority, a server, a client, and another authority's client.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = mkdtempSync(join(tmpdir(), 'qwormhole-certs-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const at = (name) => join(directory, name);
const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const read = (name) => readFileSync(at(name));

function authority(name) {
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', `/CN=${name}`, '-addext', 'basicConstraints=critical,CA:TRUE', '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`));
  return read(`${name}.pem`);
}

function signed(name, by, usage) {
  openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
    '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`));
  writeFileSync(at(`${name}.ext`), [
    'basicConstraints=CA:FALSE', `extendedKeyUsage=${usage}`, 'subjectAltName=DNS:localhost,DNS:worm.test,IP:127.0.0.1',
  ].join('\n'));
  openssl('x509', '-req', '-in', at(`${name}.csr`), '-CA', at(`${by}.pem`), '-CAkey', at(`${by}.key`), '-CAcreateserial',
    '-days', '2', '-extfile', at(`${name}.ext`), '-out', at(`${name}.pem`));
  return { key: read(`${name}.key`), cert: read(`${name}.pem`) };
}

export const ca = authority('authority');
export const otherCa = authority('stranger-authority');
export const server = signed('server', 'authority', 'serverAuth');
export const client = signed('client', 'authority', 'clientAuth');
export const stranger = signed('stranger', 'stranger-authority', 'clientAuth');

openssl('pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout', 'pass:open sesame', '-in', at('server.key'), '-out', at('locked.key'));
/** The server's key, encrypted with "open sesame". */
export const lockedKey = read('locked.key');
