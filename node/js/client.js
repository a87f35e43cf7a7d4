// The drop-in client: a raw byte pipe with the shape that QWormhole's transport expects of a native module.

// A chunk that is kept pins at most this much.
const CHUNK_BYTES = 16 * 1024;
// What waits in polling mode before reading stops.
const POLL_BYTES = 1024 * 1024;

class TcpClientWrapper {
  #connection = null;
  #handler = null;
  #connected = false;
  // Polling mode: chunks that nobody has asked for, and their bytes.
  #chunks = [];
  #waiting = 0;
  #paused = false;

  connect(...args) {
    const options = connectOptions(args);
    if (this.#connection !== null) throw new Error('Client already connected');
    this.#chunks = [];
    this.#waiting = 0;
    this.#paused = false;
    // Events of an earlier connection are not for this one.
    let current = null;
    const mine = () => this.#connection !== null && this.#connection === current;
    current = engine.connect(options, {
      open: () => mine() && this.#opened(),
      messages: (_, slab, start, ownEnds, first, last) => mine() && this.#received(slab, start, ownEnds, first, last),
      close: (_, why) => mine() && this.#closed(why),
    });
    this.#connection = current;
  }

  send(data) {
    if (arguments.length === 0 || data === undefined || data === null) {
      throw new TypeError('send(data: Buffer|string) required');
    }
    this.#open().send(sendable(data));
  }

  sendMany(chunks) {
    if (!Array.isArray(chunks)) throw new TypeError('sendMany(data: Array<Buffer|string>) required');
    const connection = this.#open();
    for (const chunk of chunks) {
      if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) {
        throw new TypeError('sendMany only accepts Buffer or string entries');
      }
      connection.send(chunk);
    }
    return chunks.length;
  }

  recv(maxBytes) {
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return Buffer.alloc(0);
    const limit = maxBytes > 0 ? Math.floor(maxBytes) : chunk.length;
    if (limit < chunk.length) this.#chunks.unshift(chunk.subarray(limit));
    const taken = chunk.length <= limit ? chunk : chunk.subarray(0, limit);
    this.#waiting -= taken.length;
    if (this.#paused && this.#waiting <= POLL_BYTES / 2) {
      this.#paused = false;
      if (this.#connection !== null) this.#connection.resume();
    }
    return taken;
  }

  isConnected() {
    return this.#connected;
  }

  setEventHandler(fn) {
    if (typeof fn !== 'function') throw new TypeError('setEventHandler(fn) requires a function');
    this.#handler = fn;
  }

  getTlsInfo() {
    if (!this.#connected || this.#connection.info.tls === undefined) return undefined;
    return { ...this.#connection.info.tls };
  }

  exportKeyingMaterial(length, label, context) {
    if (!this.#connected) return undefined;
    if (typeof length !== 'number' || typeof label !== 'string') {
      throw new TypeError('exportKeyingMaterial(length, label, context?) required');
    }
    return this.#connection.exportKeyingMaterial(length, label, context);
  }

  close() {
    const connection = this.#connection;
    if (connection === null) return;
    this.#connection = null;
    this.#connected = false;
    this.#handler = null;
    connection.close();
  }

  ref() {
    if (this.#connection !== null) this.#connection.ref();
    return this;
  }

  unref() {
    if (this.#connection !== null) this.#connection.unref();
    return this;
  }

  #open() {
    if (this.#connection === null) throw new Error('Client is not connected');
    return this.#connection;
  }

  #opened() {
    this.#connected = true;
    this.#emit({ type: 'connect' });
  }

  #received(slab, start, ownEnds, first, last) {
    for (let i = first; i < last; i += 1) {
      const data = Buffer.from(slab.buffer, slab.byteOffset + start, ownEnds[i] - start);
      start = ownEnds[i];
      if (this.#handler !== null) this.#emit({ type: 'data', data });
      else if (this.#connection !== null) this.#keep(data);
    }
  }

  #keep(data) {
    this.#chunks.push(data);
    this.#waiting += data.length;
    if (this.#waiting > POLL_BYTES && !this.#paused) {
      this.#paused = true;
      this.#connection.pause();
    }
  }

  #closed(why) {
    this.#connected = false;
    this.#connection = null;
    const handler = this.#handler;
    if (why.hadError) this.#emit({ type: 'error', error: why.message });
    // The error's handler may have closed this client: the close is still told, once.
    this.#emit({ type: 'close', hadError: why.hadError }, handler);
  }

  #emit(event, handler = this.#handler) {
    if (handler === null) return;
    try {
      handler(event);
    } catch (error) {
      rethrow(error);
    }
  }
}

function sendable(data) {
  return typeof data === 'string' || data instanceof Uint8Array ? data : String(data);
}

// The options of both forms of `connect`.
function connectOptions(args) {
  if (args.length === 0) throw new TypeError('connect(host, port) or connect(options) required');
  const [first, port] = args;
  const base = { framing: 'none', slabBytes: CHUNK_BYTES };
  if (first !== null && typeof first === 'object') {
    if (typeof first.host !== 'string' || typeof first.port !== 'number') {
      throw new TypeError('options.host and options.port required');
    }
    return { ...base, host: first.host, port: first.port, tls: tlsOf(first) };
  }
  if (typeof first !== 'string' || typeof port !== 'number') {
    throw new TypeError('connect(host: string, port: number) required');
  }
  return { ...base, host: first, port };
}

function tlsOf(options) {
  const { tlsCa, tlsCert, tlsKey } = options;
  if (!options.useTls && !tlsCa && !tlsCert && !tlsKey) return undefined;
  const alpn = typeof options.tlsAlpn === 'string' ? options.tlsAlpn.split(',').map((name) => name.trim()) : [];
  return {
    ca: tlsCa, cert: tlsCert, key: tlsKey, passphrase: options.tlsPassphrase, servername: options.tlsServername,
    rejectUnauthorized: options.tlsRejectUnauthorized, alpnProtocols: alpn.filter((name) => name !== ''),
  };
}

