import { debuglog } from "node:util";

import { load } from "../loader.cjs";

import { QWormholeError, asError } from "../errors.js";
import { Environment } from "../options/environment.js";
import type { Engine } from "./engine.js";

/**
 * The native module's engine, loaded on first use.
 *
 * @throws {@link QWormholeError} `E_NATIVE_UNAVAILABLE` that says what was tried and what helps.
 */
export function engine(): Engine {
  try {
    return (load() as { engine: Engine }).engine;
  } catch (thrown) {
    const cause = asError(thrown);
    throw new QWormholeError("E_NATIVE_UNAVAILABLE", cause.message, { cause });
  }
}

/** Whether the native module can be loaded here. */
export function isNativeAvailable(): boolean {
  try {
    engine();
    return true;
  } catch {
    return false;
  }
}

/** Switches of QWormhole's that chose between JavaScript and native code, and ours between drivers. */
export interface BackendOptions {
  /** Default: `QWORMHOLE_BACKEND`, else `auto`, which tries io_uring first. */
  readonly backend?: Backend;
  /** True selects the portable driver, `tokio`: there is no implementation in JavaScript. */
  readonly forceTs?: boolean;
  /** False selects the portable driver. Default true. */
  readonly preferNative?: boolean;
  /** False selects the portable driver. Default true. */
  readonly detectNative?: boolean;
}

/** A driver by name, or whichever works. */
export type Backend = "auto" | "io_uring" | "tokio";

/** The driver that options and QWormhole's variables ask for, `undefined` if none of them does; says once, under `NODE_DEBUG=qwormhole`, if an old switch decided. */
export function chosenBackend(options: BackendOptions): Backend | undefined {
  if (options.backend !== undefined) return options.backend;
  const old = legacySwitch(options);
  if (old === undefined) return undefined;
  if (!told.has(old)) {
    told.add(old);
    const text = `${old} selects the portable backend, tokio; io_uring is not tried`;
    if (process.env.QWORMHOLE_DEBUG_NATIVE === "1") process.stderr.write(`qwormhole: ${text}\n`);
    else debug(text);
  }
  return "tokio";
}

/** The driver that a choice comes to. */
export function backendKind(chosen: Backend | undefined): "io_uring" | "tokio" {
  const { kind } = engine().backend();
  return chosen === undefined || chosen === "auto" ? kind : chosen;
}

function legacySwitch(options: BackendOptions): string | undefined {
  if (options.forceTs) return "forceTs";
  if (options.preferNative === false) return "preferNative: false";
  if (options.detectNative === false) return "detectNative: false";
  const env = new Environment();
  const wanted = env.choice("QWORMHOLE_NATIVE", ["0", "1"]);
  if (wanted === "1") return undefined;
  if (wanted === "0") return "QWORMHOLE_NATIVE=0";
  return env.flag("QWORMHOLE_DISABLE_NATIVE") ? "QWORMHOLE_DISABLE_NATIVE=1" : undefined;
}

const debug = debuglog("qwormhole");
const told = new Set<string>();
