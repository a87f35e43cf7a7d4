import { naive, tuned } from "./net.mjs";
import { batch, dropIn, event } from "./qwormhole.mjs";
import { ws } from "./ws.mjs";

/** What can be compared, by name; the first is divided by each other one. */
export const SYSTEMS = new Map([batch, event, dropIn, tuned, naive, ws].map((each) => [each.name, each]));
