// How what is sent leaves JavaScript: messages are laid into one slab, and a native call takes all of one connection
// at the end of the tick, or when the slab is full.

const STAGE_BYTES = 64 * 1024;
const STAGE_MESSAGES = 4096;
// Longer ones are handed over by themselves.
const STAGE_MESSAGE_BYTES = 16 * 1024;

const stage = Buffer.allocUnsafeSlow(STAGE_BYTES);
const stageEnds = new Uint32Array(STAGE_MESSAGES);
let stageAt = 0;
let stageCount = 0;
let stageScheduled = false;
// Runs of messages of one connection: where each begins.
let runs = [];

// Lays one message into the slab. The caller has made sure that the connection takes messages.
function stageBytes(connection, data) {
  const length = data.length;
  if (length > STAGE_MESSAGE_BYTES) return sendAlone(connection, data);
  if (stageAt + length > STAGE_BYTES || stageCount === STAGE_MESSAGES) flushStage();
  stage.set(data, stageAt);
  return noteStaged(connection, length);
}

function stageText(connection, text) {
  // No character takes more than three bytes for each of its units.
  if (text.length * 3 > STAGE_MESSAGE_BYTES) return sendAlone(connection, Buffer.from(text));
  if (stageAt + text.length * 3 > STAGE_BYTES || stageCount === STAGE_MESSAGES) flushStage();
  return noteStaged(connection, stage.write(text, stageAt));
}

function noteStaged(connection, length) {
  if (connection.isStream && length === 0) return true;
  const run = runs.length === 0 ? undefined : runs[runs.length - 1];
  if (run === undefined || run.connection !== connection) {
    runs.push({ connection, start: stageAt, first: stageCount });
    stageAt += length;
    stageEnds[stageCount++] = stageAt;
  } else {
    stageAt += length;
    if (connection.isStream) stageEnds[stageCount - 1] = stageAt;
    else stageEnds[stageCount++] = stageAt;
  }
  connection.sent += length + connection.headerBytes;
  if (!stageScheduled && depth === 0) {
    stageScheduled = true;
    queueMicrotask(flushScheduled);
  }
  return true;
}

function flushScheduled() {
  stageScheduled = false;
  flushStage();
}

// Hands everything over. Nothing of the user's runs meanwhile.
function flushStage() {
  if (stageCount === 0) return;
  const taken = runs;
  const count = stageCount;
  runs = [];
  stageCount = 0;
  stageAt = 0;
  for (let i = 0; i < taken.length; i += 1) {
    const { connection, start, first } = taken[i];
    const last = i + 1 < taken.length ? taken[i + 1].first : count;
    if (connection.slot < 0) continue;
    const accepted = connection.native.send(connection.slot, stage, start, stageEnds, first, last);
    if (accepted < last - first) connection.refused();
    connection.noteSent();
  }
}

function sendAlone(connection, data) {
  flushStage();
  const accepted = connection.native.sendOne(connection.slot, data, 0);
  if (!accepted) connection.refused();
  connection.sent += data.length + connection.headerBytes;
  connection.noteSent();
  return accepted;
}

