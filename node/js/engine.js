// Clients and servers as the package sees them; see docs/node-native.md.

// Options as native code reads them: known keys of the right type, key material as text.
const NUMBERS = ['maxFrameLength', 'keepAliveDelayMs', 'idleTimeoutMs', 'rateLimitBytesPerSec', 'rateLimitBurstBytes',
  'queueBytesMax', 'inboxBytes', 'connectTimeoutMs', 'maxClients'];
const INTEGERS = ['shards', 'localPort'];
const TEXTS = ['host', 'path', 'framing', 'backend', 'localAddress', 'interfaceName', 'protocolVersion'];
const FLAGS = ['keepAlive', 'allowHalfOpen', 'requireSigned', 'reusePort'];

function plainOptions(options) {
  const plain = {};
  for (const key of TEXTS) if (typeof options[key] === 'string') plain[key] = options[key];
  for (const key of FLAGS) if (typeof options[key] === 'boolean') plain[key] = options[key];
  for (const key of NUMBERS) if (Number.isFinite(options[key]) && options[key] >= 0) plain[key] = options[key];
  for (const key of INTEGERS) if (Number.isInteger(options[key]) && options[key] >= 0) plain[key] = options[key];
  if (plain.maxFrameLength !== undefined) plain.maxFrameLength = Math.min(Math.floor(plain.maxFrameLength), 0xffffffff);
  // As the reference: the port is what 16 bits of the number hold.
  plain.port = Number(options.port) & 0xffff;
  if (options.tls) plain.tls = plainTls(options.tls);
  if (options.handshake) plain.handshake = options.handshake;
  return plain;
}

function plainTls(tls) {
  const plain = {};
  for (const key of ['key', 'cert']) if (tls[key]) plain[key] = text(tls[key]);
  for (const key of ['passphrase', 'servername']) if (typeof tls[key] === 'string') plain[key] = tls[key];
  for (const key of ['requestCert', 'rejectUnauthorized']) if (typeof tls[key] === 'boolean') plain[key] = tls[key];
  if (tls.ca) plain.ca = (Array.isArray(tls.ca) ? tls.ca : [tls.ca]).map(text);
  if (Array.isArray(tls.alpnProtocols)) plain.alpnProtocols = tls.alpnProtocols.map(String);
  const exporter = tls.exportKeyingMaterial;
  if (exporter) {
    plain.exportKeyingMaterial = { context: [...Buffer.from(exporter.context || '')] };
    if (typeof exporter.label === 'string') plain.exportKeyingMaterial.label = exporter.label;
    if (Number.isInteger(exporter.length)) plain.exportKeyingMaterial.length = exporter.length;
  }
  return plain;
}

// PEM, or several of them, of a string or bytes.
function text(value) {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(text).join('\n');
  return Buffer.from(value.buffer || value, value.byteOffset, value.byteLength).toString();
}

function isStream(options) {
  return options.framing === 'none' || options.framing === 'kcp-arq' || options.framing === 'quic-stream';
}

// What both kinds of sources have in common.
class Source {
  constructor(native, options, sink) {
    this.native = native;
    this.sink = sink;
    this.slabBytes = options.slabBytes >= SLAB_REST && options.slabBytes <= 2 ** 30 ? Math.floor(options.slabBytes) : SLAB_BYTES;
    this.slab = null;
    this.at = 0;
    this.inBacklog = false;
    this.over = false;
    sources.set(native.id, this);
  }

  // Calls the user's code; what it throws concerns nobody else.
  call(name, ...args) {
    try {
      const method = this.sink[name];
      if (typeof method === 'function') method.apply(this.sink, args);
    } catch (error) {
      rethrow(error);
    }
  }

  data(slot, slab, start, messageEnds, first, last) {
    const connection = this.connection(slot);
    if (connection === undefined) return;
    connection.received += messageEnds[last - 1] - start + (last - first) * connection.headerBytes;
    try {
      if (typeof this.sink.messages === 'function') this.sink.messages(connection, slab, start, messageEnds, first, last);
    } catch (error) {
      rethrow(error);
    }
  }

  record(kind, slot, slab, start, end) {
    const content = slab.toString('utf8', start, end);
    const connection = this.connection(slot);
    switch (kind) {
      case OPEN:
        return this.opened(slot, JSON.parse(content));
      case CLOSE:
        return connection && this.closed(connection, JSON.parse(content));
      case PEER_END:
        return connection && this.call('peerEnd', connection);
      case FLUSHED:
        if (connection && connection.reached(Number(content))) this.call('flushed', connection, Number(content));
        else if (connection) this.call('progress', connection);
        return undefined;
      default:
        return this.other(kind, content);
    }
  }

  finished() {
    this.over = true;
    this.slab = null;
    sources.delete(this.native.id);
  }
}

class ClientSource extends Source {
  constructor(options, sink) {
    super(crossing.connect(JSON.stringify(plainOptions(options))), options, sink);
    this.isClient = true;
    this.only = new Connection(this, 0, 'client', { isStream: isStream(options), markBytes: options.markBytes });
    this.only.updateHold();
  }

  connection() {
    return this.only.slot < 0 ? undefined : this.only;
  }

  opened(slot, info) {
    const connection = this.connection();
    if (connection === undefined) return;
    connection.info = info;
    connection.isOpen = true;
    this.call('open', connection, info);
  }

  closed(connection, why) {
    connection.ended();
    this.finished();
    this.call('close', connection, why);
  }

  // Nobody wants the attempt any more.
  giveUp(why = { hadError: false, code: 'local', message: 'closed by this side' }) {
    const connection = this.only;
    connection.ended();
    this.finished();
    this.native.abort(0);
    process.nextTick(() => this.call('close', connection, why));
  }

  other() {}
}

class Listener extends Source {
  constructor(options, sink) {
    super(crossing.listen(JSON.stringify(plainOptions(options))), options, sink);
    this.isClient = false;
    this.options = { isStream: isStream(options), markBytes: options.markBytes };
    this.slots = [];
    this.connections = new Map();
    this.nextId = 0;
    this.prefix = `conn-${Date.now().toString(16)}-`;
    this.address = undefined;
    this.referenced = true;
    this.holds = false;
    this.updateHold();
  }

  connection(slot) {
    return this.slots[slot];
  }

  // An id that no other connection of this process has.
  newId() {
    this.nextId += 1;
    return `${this.prefix}${this.nextId}-${((this.native.id * 40503) & 0xffff).toString(16).padStart(4, '0')}`;
  }

  opened(slot, info) {
    const connection = new Connection(this, slot, this.newId(), this.options);
    connection.info = info;
    connection.isOpen = true;
    // The server is what keeps the process alive.
    connection.referenced = false;
    this.slots[slot] = connection;
    this.connections.set(connection.id, connection);
    this.call('open', connection, info);
  }

  closed(connection, why) {
    this.slots[connection.slot] = undefined;
    this.connections.delete(connection.id);
    connection.ended();
    this.call('close', connection, why);
  }

  other(kind, content) {
    switch (kind) {
      case LISTENING:
        this.address = JSON.parse(content);
        return this.call('listening', this.address);
      case FAILED: {
        const { message, code } = JSON.parse(content);
        this.finished();
        this.updateHold();
        return this.call('failed', message, code);
      }
      case STOPPED:
        this.finished();
        this.updateHold();
        return this.call('stopped', {});
      case REJECTED:
        return this.call('rejected', JSON.parse(content));
      default:
        return undefined;
    }
  }

  broadcast(data) {
    flushStage();
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    const accepted = this.native.broadcast(bytes);
    for (const connection of this.connections.values()) {
      connection.sent += bytes.length + connection.headerBytes;
      connection.noteSent();
    }
    return accepted;
  }

  stop(graceMs) {
    flushStage();
    this.native.stop(Number.isFinite(graceMs) && graceMs > 0 ? graceMs : 0);
  }

  stats() {
    return JSON.parse(this.native.stats());
  }

  ref() {
    this.referenced = true;
    this.updateHold();
  }

  unref() {
    this.referenced = false;
    this.updateHold();
  }

  updateHold() {
    const holds = this.referenced && !this.over;
    if (holds === this.holds) return;
    this.holds = holds;
    hold(holds ? 1 : -1);
  }
}

const engine = {
  connect: (options, sink) => new ClientSource(options, sink).only,
  listen: (options, sink) => new Listener(options, sink),
  backend: () => JSON.parse(crossing.backend()),
};

