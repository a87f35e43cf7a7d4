// How what arrived reaches JavaScript: native code wakes this loop once, and the loop pulls batches into memory that is
// allocated here, because that is what costs least.

const { Crossing } = exports;
delete exports.Crossing;
delete exports.Source;

// Kinds of records, as in src/inlet.rs.
const DATA = 0, OPEN = 1, CLOSE = 2, PEER_END = 3, FLUSHED = 4, LISTENING = 5, FAILED = 6, STOPPED = 7, REJECTED = 8;

// A message that is kept pins its slab.
const SLAB_BYTES = 64 * 1024;
// A rest of a slab that is not worth pulling into.
const SLAB_REST = 2048;
// Records of one pull.
const RECORDS = 4096;
// What is left of a source after a pull: nothing, more, or more that others must be able to ask for first.
const NOTHING = 0, MORE = 1, LATER = 2;
// Pulls of one source before the others, and the event loop, get their turn.
const PULLS = 6;

const heads = new Uint32Array(RECORDS);
const ends = new Uint32Array(RECORDS);
const readyIds = new Uint32Array(1024);
// Everything that has not ended, by its number; this is also what keeps it alive.
const sources = new Map();
// Sources that had more than one turn's worth.
let backlog = [];
let backlogScheduled = false;
// Whether user code runs that this loop called.
let depth = 0;

const crossing = new Crossing(wake);

function wake() {
  const n = crossing.ready(readyIds);
  // Not now: a source that is named again has its turn after those who wait for what it told.
  if (n === readyIds.length) setImmediate(wake);
  // What the calls below change does not matter: numbers are looked up.
  const ids = Array.from(readyIds.subarray(0, n));
  for (const id of ids) {
    const source = sources.get(id);
    if (source !== undefined && !source.inBacklog) pullFrom(source);
  }
}

function runBacklog() {
  backlogScheduled = false;
  const turn = backlog;
  backlog = [];
  for (const source of turn) {
    source.inBacklog = false;
    if (!source.over) pullFrom(source);
  }
}

// A source: { native, slabBytes, slab, at, inBacklog, over, record(kind, slot, slab, start, end),
// data(slot, slab, start, ends, first, last) }.
function pullFrom(source) {
  let left = MORE;
  depth += 1;
  try {
    for (let pulls = 0; left === MORE && pulls < PULLS; pulls += 1) {
      // Numbers of connections may pass on to others below.
      flushStage();
      left = pull(source);
    }
  } catch (error) {
    // Not the user's code, which is called with care: no memory, for example. What waits is tried again.
    rethrow(error);
  } finally {
    depth -= 1;
  }
  flushStage();
  if (left === NOTHING || source.over) return;
  source.inBacklog = true;
  backlog.push(source);
  if (!backlogScheduled) {
    backlogScheduled = true;
    setImmediate(runBacklog);
  }
}

// Returns what is left.
function pull(source) {
  if (source.slab === null || source.slab.length - source.at < SLAB_REST) {
    source.slab = Buffer.allocUnsafeSlow(source.slabBytes);
    source.at = 0;
  }
  let slab = source.slab;
  let start = source.at;
  // Nobody pulls in the middle of a delivery, so one pair of lists is enough.
  let result = source.native.pull(slab, start, heads, ends);
  if (result < 0) {
    // The rest is too short. Slabs that begin to be used are never written again where something lies.
    if (-result <= source.slabBytes) {
      slab = source.slab = Buffer.allocUnsafeSlow(source.slabBytes);
    } else {
      slab = Buffer.allocUnsafeSlow(-result);
      source.slab = null;
    }
    start = source.at = 0;
    result = source.native.pull(slab, 0, heads, ends);
  }
  const count = result >>> 1;
  if (count === 0) return NOTHING;
  if (source.slab !== null) source.at = ends[count - 1];
  const kind = heads[count - 1] & 15;
  deliver(source, slab, start, count);
  if ((result & 1) === 0 || source.over) return NOTHING;
  // Code behind `await` runs before the rest comes: it may begin to listen.
  return kind === OPEN || kind === LISTENING || kind === FLUSHED ? LATER : MORE;
}

function deliver(source, slab, start, count) {
  let first = 0;
  while (first < count) {
    const head = heads[first];
    if ((head & 15) === DATA) {
      let last = first + 1;
      while (last < count && heads[last] === head) last += 1;
      source.data(head >>> 4, slab, start, ends, first, last);
      start = ends[last - 1];
      first = last;
    } else {
      const end = ends[first];
      source.record(head & 15, head >>> 4, slab, start, end);
      start = end;
      first += 1;
    }
  }
}

// The user's code threw: that is reported as it would be anywhere else, and what follows still arrives.
function rethrow(error) {
  process.nextTick(() => {
    throw error;
  });
}

// What is open keeps the process alive, as in `net`.
let anchor = null;
let anchored = 0;

function hold(by) {
  anchored += by;
  if (anchored > 0 && anchor === null) anchor = setInterval(() => {}, 2 ** 31 - 1);
  if (anchored === 0 && anchor !== null) {
    clearInterval(anchor);
    anchor = null;
  }
}

