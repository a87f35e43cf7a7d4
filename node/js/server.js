// The drop-in server: frames and handshakes are done natively, events go to the `emit` that the object has at the time.

const MAX_BACKPRESSURE_BYTES = 5 * 1024 * 1024;
// How long `close` lets what is queued leave, and `shutdown` by default.
const CLOSE_MS = 2000;
const SHUTDOWN_MS = 1000;

class QWormholeServerWrapper {
  #options;
  #listener = null;
  #pending = null;
  #closing = null;
  #threshold;

  constructor(options) {
    this.#options = options !== null && typeof options === 'object' ? options : {};
    const threshold = Number(this.#options.maxBackpressureBytes);
    this.#threshold = threshold > 0 ? threshold : MAX_BACKPRESSURE_BYTES;
  }

  listen() {
    if (this.#listener !== null || this.#closing !== null) {
      return Promise.reject(new Error('Server already listening'));
    }
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      try {
        this.#listener = engine.listen(serverOptions(this.#options, this.#threshold), this.#sink());
      } catch (error) {
        this.#pending = null;
        reject(error);
      }
    });
  }

  close() {
    return this.#stop(CLOSE_MS);
  }

  shutdown(gracefulMs) {
    return this.#stop(Number.isFinite(gracefulMs) && gracefulMs >= 0 ? gracefulMs : SHUTDOWN_MS);
  }

  broadcast(data) {
    if (arguments.length === 0) throw new TypeError('broadcast(data) required');
    if (this.#listener === null) return;
    this.#listener.broadcast(payloadOf(data));
    for (const connection of this.#listener.connections.values()) this.#watch(connection);
  }

  sendTo(id, data) {
    if (typeof id !== 'string') throw new TypeError('sendTo(id, data) requires connection id');
    const connection = this.#find(id);
    if (connection === undefined) return;
    connection.send(payloadOf(data));
    this.#watch(connection);
  }

  getConnection(id) {
    const connection = this.#find(id);
    return connection === undefined ? undefined : describe(connection);
  }

  getConnectionCount() {
    return this.#listener === null ? 0 : this.#listener.connections.size;
  }

  closeConnection(id) {
    if (typeof id !== 'string') throw new TypeError('closeConnection(id) requires connection id');
    const connection = this.#find(id);
    if (connection !== undefined) connection.close();
  }

  // Counters: bytesIn, bytesOut, connections, backpressureEvents, drainEvents.
  getStats() {
    return this.#listener === null ? {} : this.#listener.stats();
  }

  ref() {
    if (this.#listener !== null) this.#listener.ref();
    return this;
  }

  unref() {
    if (this.#listener !== null) this.#listener.unref();
    return this;
  }

  #find(id) {
    return this.#listener === null ? undefined : this.#listener.connections.get(id);
  }

  #stop(graceMs) {
    if (this.#closing !== null) return this.#closing.promise;
    if (this.#listener === null) return Promise.resolve();
    const closing = {};
    closing.promise = new Promise((resolve) => {
      closing.resolve = resolve;
    });
    this.#closing = closing;
    this.#listener.stop(graceMs);
    return closing.promise;
  }

  #emit(event, payload) {
    const { emit } = this;
    if (typeof emit !== 'function') return;
    try {
      emit.call(this, event, payload);
    } catch (error) {
      rethrow(error);
    }
  }

  #sink() {
    return {
      listening: (address) => this.#listening(address),
      failed: (message, code) => this.#failed(message, code),
      stopped: () => this.#stopped(),
      rejected: (why) => this.#rejected(why),
      open: (connection) => {
        connection.data = { client: undefined, backpressured: false };
        connection.data.client = describe(connection);
        this.#emit('connection', connection.data.client);
      },
      messages: (connection, slab, start, ownEnds, first, last) => {
        const { client } = connection.data;
        const { buffer, byteOffset } = slab;
        for (let i = first; i < last; i += 1) {
          const end = ownEnds[i];
          this.#emit('message', { client, data: Buffer.from(buffer, byteOffset + start, end - start) });
          start = end;
        }
      },
      flushed: (connection) => this.#drained(connection),
      progress: (connection) => this.#drained(connection),
      close: (connection, why) => {
        if (why.code === 'E_FRAME_TOO_LARGE' && why.hadError) {
          this.#emit('error', new Error('Frame length exceeded native limit'));
        }
        this.#emit('clientClosed', { client: { id: connection.id }, hadError: why.hadError });
      },
    };
  }

  #listening(address) {
    const host = this.#options.host;
    const shown = {
      address: typeof host === 'string' && host !== '' ? host : '0.0.0.0', port: address.port, family: address.family,
    };
    this.#emit('listening', shown);
    if (this.#pending !== null) this.#pending.resolve(shown);
    this.#pending = null;
  }

  #failed(message, code) {
    this.#listener = null;
    const error = Object.assign(new Error(`Failed to create server context: ${message}`), { code });
    if (this.#pending !== null) this.#pending.reject(error);
    this.#pending = null;
    if (this.#closing !== null) this.#stopped();
  }

  #stopped() {
    const { resolve } = this.#closing;
    if (this.#pending !== null) this.#pending.reject(new Error('Server closed'));
    this.#pending = null;
    this.#listener = null;
    this.#closing = null;
    resolve();
    // The promise's own reactions run first, as with the reference.
    setImmediate(() => this.#emit('close', undefined));
  }

  // A socket that was let in and never became a connection.
  #rejected(why) {
    if (!why.admitted) return;
    if (HANDSHAKE_CODES.has(why.code) || isHandshakeText(why.message)) {
      this.#emit('error', Object.assign(new Error(why.message), { code: why.code }));
    }
    const id = this.#listener === null ? 'conn-rejected' : this.#listener.newId();
    this.#emit('clientClosed', { client: { id }, hadError: why.hadError });
  }

  // After something was queued: the edge to backpressure.
  #watch(connection) {
    const state = connection.data;
    if (state.backpressured || connection.queuedBytes < this.#threshold) return;
    state.backpressured = true;
    this.#markAll(connection);
    const queuedBytes = connection.queuedBytes;
    this.#emit('backpressure', { client: state.client, queuedBytes, threshold: this.#threshold });
  }

  // The kernel took something: the edge back, when nothing is queued.
  #drained(connection) {
    const state = connection.data;
    if (!state.backpressured) return;
    if (connection.queuedBytes > 0) {
      this.#markAll(connection);
      return;
    }
    state.backpressured = false;
    this.#emit('drain', { client: state.client });
  }

  #markAll(connection) {
    if (connection.data.marked === connection.sent) return;
    connection.data.marked = connection.sent;
    connection.mark();
  }
}

// What of the options is acted on. The object is the user's, with everything that TypeScript handles; a connection that
// is half open would never end, for example.
const SERVER_OPTIONS = ['host', 'port', 'framing', 'maxFrameLength', 'protocolVersion', 'maxClients', 'keepAlive',
  'keepAliveDelayMs', 'idleTimeoutMs', 'reusePort', 'rateLimitBytesPerSec', 'rateLimitBurstBytes', 'backend',
  'inboxBytes', 'requireSigned'];

const HANDSHAKE_CODES = new Set(['E_INVALID_HANDSHAKE', 'E_INVALID_HANDSHAKE_PAYLOAD', 'E_INVALID_HANDSHAKE_SIGNATURE']);

function isHandshakeText(message) {
  return message === 'Protocol version mismatch' || message === 'TLS fingerprint mismatch';
}

function describe(connection) {
  const { remoteAddress, remotePort, handshake, tls } = connection.info;
  const description = { id: connection.id, remoteAddress, remotePort };
  const shown = handshakeOf(handshake, tls);
  if (shown !== undefined) description.handshake = shown;
  return description;
}

// Only if there is something to report.
function handshakeOf(handshake, tls) {
  const shown = { ...handshake };
  delete shown.payload;
  if (shown.tls === undefined && tls !== undefined) shown.tls = tls;
  return Object.keys(shown).length === 0 ? undefined : shown;
}

function payloadOf(data) {
  if (typeof data === 'string' || data instanceof Uint8Array) return data;
  const json = JSON.stringify(data);
  return json === undefined ? String(data) : json;
}

function serverOptions(options, threshold) {
  const tls = options.tls;
  const wantsTls = tls && (tls.enabled || tls.key || tls.cert);
  const known = Object.fromEntries(SERVER_OPTIONS.map((key) => [key, options[key]]));
  return {
    ...known, tls: wantsTls ? tls : undefined, slabBytes: CHUNK_BYTES,
    // The kernel's progress is to be known well before the threshold.
    markBytes: Math.max(1, Math.min(MARK_BYTES, threshold / 4)),
    queueBytesMax: options.queueBytesMax || Math.max(256 * 1024 * 1024, 4 * threshold),
  };
}

