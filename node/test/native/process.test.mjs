// The process around the module: how it exits, what it costs while nothing happens, workers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const support = new URL('./support/', import.meta.url);

/** Runs a program of these lines to its end; resolves with what it printed. */
function run(lines, { timeout = 30_000, flags = [] } = {}) {
  const prelude = [
    `import { TcpClientWrapper, QWormholeServerWrapper, engine, path } from ${JSON.stringify(new URL('module.mjs', support).href)};`,
    `import * as peers from ${JSON.stringify(new URL('peers.mjs', support).href)};`,
  ];
  const code = [...prelude, ...lines].join('\n');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', code], { cwd: fileURLToPath(support) });
    let output = '';
    child.stdout.on('data', (data) => { output += data; });
    child.stderr.on('data', (data) => { output += data; });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    child.on('close', (code_, signal) => {
      clearTimeout(timer);
      resolve({ code: code_, signal, output });
    });
  });
}

async function exits(lines, expected = '', options = {}) {
  const { code, signal, output } = await run(lines, options);
  assert.equal(code, 0, `${signal ?? ''} ${output}`);
  assert.match(output, new RegExp(expected));
  return output;
}

const OPEN = [
  'const server = new QWormholeServerWrapper({ host: "127.0.0.1", port: 0 });',
  'const connected = new Promise((resolve) => { server.emit = (name) => name === "connection" && resolve(); });',
  'const { port } = await server.listen();',
  'const client = new TcpClientWrapper();',
  'const opened = new Promise((resolve) => client.setEventHandler((event) => event.type === "connect" && resolve()));',
  'client.connect("127.0.0.1", port);',
  'await Promise.all([connected, opened]);',
];

test('a process that loads the module and does nothing exits', () => exits(['console.log("loaded");'], 'loaded'));

test('it exits by itself once everything is closed', () =>
  exits([...OPEN, 'client.close();', 'await server.close();', 'console.log("closed");'], 'closed'));

test('it exits when the server alone closes', () => exits([...OPEN, 'await server.close();']));

test('an open server, or an open connection, keeps it alive', async () => {
  for (const closing of ['client.close();', 'server.unref();']) {
    const { signal } = await run([...OPEN, closing], { timeout: 1500 });
    assert.equal(signal, 'SIGKILL', closing);
  }
});

test('unref lets it exit, ref keeps it', async () => {
  await exits([...OPEN, 'server.unref(); client.unref();']);
  const { signal } = await run([...OPEN, 'server.unref(); client.unref(); server.ref();'], { timeout: 1500 });
  assert.equal(signal, 'SIGKILL');
});

test('process.exit inside of an event ends it', () =>
  exits([...OPEN, 'server.emit = () => process.exit(0);', 'client.send(Buffer.from([0, 0, 0, 0]));']));

test('close sends what was queued although the process has nothing else to do', async () => {
  const lines = [
    'import net from "node:net";',
    'const peer = net.createServer((socket) => { let n = 0; socket.on("data", (data) => { n += data.length; });',
    '  socket.on("end", () => { console.log("got", n); peer.close(); }); });',
    'peer.listen(0, "127.0.0.1", () => { peer.unref(); const client = new TcpClientWrapper();',
    '  client.connect("127.0.0.1", peer.address().port); client.send(Buffer.alloc(20_000_000)); client.close(); });',
  ];
  await exits(lines, 'got 20000000');
});

test('a close before the connection is made lets it exit', () =>
  exits(['const client = new TcpClientWrapper();', 'client.connect("192.0.2.1", 9);', 'client.close();'], '', { timeout: 5000 }));

test('an idle connection costs no CPU', async () => {
  const lines = [
    ...OPEN,
    'const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));',
    'await wait(500);',
    'const before = process.cpuUsage(); await wait(4000); const { user, system } = process.cpuUsage(before);',
    'console.log("percent", (user + system) / 40_000);',
    'client.close(); await server.close();',
  ];
  const output = await exits(lines, 'percent');
  const percent = Number(/percent ([\d.]+)/.exec(output)[1]);
  assert.ok(percent < 1, `${percent} % of a CPU`);
});

test('memory stays flat while 256 MiB arrive', async () => {
  const lines = [
    'import net from "node:net";',
    'const chunk = Buffer.alloc(1 << 20, 7); const total = 256 << 20; let sent = 0, got = 0;',
    'const peer = net.createServer((socket) => { const more = () => { while (sent < total) { sent += chunk.length;',
    '  if (!socket.write(chunk)) return; } socket.end(); }; socket.on("drain", more); more(); });',
    'await new Promise((resolve) => peer.listen(0, "127.0.0.1", resolve));',
    'const client = new TcpClientWrapper(); let base = 0, peak = 0;',
    'await new Promise((resolve) => { client.setEventHandler((event) => {',
    '  if (event.type === "close") return resolve(); if (event.type !== "data") return;',
    '  got += event.data.length; const { rss } = process.memoryUsage();',
    '  if (got > total / 8 && base === 0) { globalThis.gc(); base = rss; } peak = Math.max(peak, rss); });',
    '  client.connect("127.0.0.1", peer.address().port); });',
    'console.log("got", got, "grew", (peak - base) / (1 << 20)); peer.close();',
  ];
  const output = await exits(lines, `got ${256 << 20}`, { flags: ['--expose-gc'] });
  const grew = Number(/grew (-?[\d.]+)/.exec(output)[1]);
  assert.ok(grew < 96, `${grew} MiB`);
});

test('workers load it, end in the middle of traffic, and leave nothing behind', async () => {
  const worker = [
    'const { workerData, parentPort } = require("node:worker_threads");',
    'const { TcpClientWrapper, QWormholeServerWrapper } = require(workerData);',
    'const server = new QWormholeServerWrapper({ host: "127.0.0.1", port: 0 });',
    'server.emit = (name, event) => name === "message" && server.sendTo(event.client.id, event.data);',
    'server.listen().then(({ port }) => { const client = new TcpClientWrapper();',
    '  client.setEventHandler((event) => { if (event.type === "connect") client.send(Buffer.from([0, 0, 0, 1, 7]));',
    '    if (event.type === "data") { client.send(event.data); parentPort.postMessage("traffic"); } });',
    '  client.connect("127.0.0.1", port); });',
  ].join('\n');
  const lines = [
    'import { Worker } from "node:worker_threads"; import { readdirSync } from "node:fs"; import { once } from "node:events";',
    'const count = (what) => { try { return readdirSync(`/proc/self/${what}`).length; } catch { return 0; } };',
    `const code = ${JSON.stringify(worker)};`,
    'async function cycle() { const worker = new Worker(code, { eval: true, workerData: path, execArgv: [] });',
    '  worker.on("error", (error) => { throw error; }); await once(worker, "message"); await worker.terminate(); }',
    'const round = () => Promise.all([cycle(), cycle(), cycle(), cycle()]);',
    'for (let i = 0; i < 3; i += 1) await round();',
    'const settle = () => new Promise((resolve) => setTimeout(resolve, 300));',
    'await settle(); const before = [count("fd"), count("task")];',
    'for (let i = 0; i < 20; i += 1) await round();',
    'await settle(); const after = [count("fd"), count("task")];',
    'console.log("before", ...before, "after", ...after);',
    'if (after[0] > before[0] + 4 || after[1] > before[1] + 2) process.exit(1);',
  ];
  await exits(lines, 'after', { timeout: 60_000 });
});

test('the module loads twice in one environment, and works both times', () =>
  exits([
    'import { createRequire } from "node:module"; const require = createRequire(path);',
    'const first = require(path); delete require.cache[path]; const second = require(path);',
    'for (const { QWormholeServerWrapper: Server, TcpClientWrapper: Client } of [first, second]) {',
    '  const server = new Server({ host: "127.0.0.1", port: 0 }); const { port } = await server.listen();',
    '  const client = new Client(); await new Promise((resolve) => { client.setEventHandler(({ type }) => type === "connect" && resolve());',
    '    client.connect("127.0.0.1", port); }); client.close(); await server.close(); }',
    'console.log("both");',
  ], 'both'));
