// What is measured, the first against each other one.
import { documented, tuned } from './systems/net.mjs';
import { batches, dropIn, events } from './systems/qwormhole.mjs';
import { ws } from './systems/ws.mjs';

export const SYSTEMS = {
  'qwormhole': batches, 'qwormhole-events': events, 'qwormhole-drop-in': dropIn, 'net': tuned, 'net-documented': documented, ws,
};
