import { QWormholeClient } from "./client.js";
import { QWormholeError } from "./errors.js";
import { backendKind, chosenBackend } from "./native/load.js";
import type { BackendOptions } from "./native/load.js";
import type { QWormholeClientOptions } from "./options/client.js";
import type { QWormholeServerOptions } from "./options/server.js";
import { QWormholeServer } from "./server.js";

/** Which driver moves the bytes of what a factory made. */
export interface Mode {
  /** `native-io_uring`, or `native-tokio` where io_uring is refused or was not asked for. */
  readonly mode: "native-io_uring" | "native-tokio";
  /** Always true: without the native module the factories throw. */
  readonly nativeAvailable: boolean;
  readonly nativeBackend: "io_uring" | "tokio";
}

/** Options of QWormhole's factories that have no meaning here, so that old calls compile and run. */
export interface LegacyFactoryOptions {
  /** Not supported: there is no second client behind the first. True is refused. */
  readonly nativeRaw?: boolean;
  /** Accepted and without effect: nothing polls. */
  readonly nativePollIntervalMs?: number;
  /** Accepted: `lws` and `libsocket` select the portable driver. */
  readonly preferredNativeBackend?: string;
}

/**
 * A client and what it runs on.
 *
 * @throws {@link QWormholeError} `E_NATIVE_UNAVAILABLE` that says what helps, `E_INVALID_OPTION`, `E_INVALID_ENVIRONMENT`.
 */
export function createQWormholeClient<T = Buffer>(
  options: QWormholeClientOptions<T> & LegacyFactoryOptions,
): Mode & { readonly client: QWormholeClient<T> } {
  const given = portable(options);
  return { client: new QWormholeClient<T>(given), ...modeOf(given) };
}

/**
 * A server and what it runs on.
 *
 * @throws {@link QWormholeError} `E_NATIVE_UNAVAILABLE` that says what helps, `E_INVALID_OPTION`, `E_INVALID_ENVIRONMENT`.
 */
export function createQWormholeServer<T = Buffer>(
  options: QWormholeServerOptions<T> & LegacyFactoryOptions = {},
): Mode & { readonly server: QWormholeServer<T> } {
  const given = portable(options);
  return { server: new QWormholeServer<T>(given), ...modeOf(given) };
}

function portable<Options extends BackendOptions & LegacyFactoryOptions>(options: Options): Options {
  const { nativeRaw, nativePollIntervalMs: _poll, preferredNativeBackend: label, ...rest } = options;
  if (nativeRaw) throw new QWormholeError("E_INVALID_OPTION", "nativeRaw: there is no raw client behind this one");
  if (label === undefined) return rest as Options;
  if (label === "lws" || label === "libsocket" || label === "tokio") return { ...rest, backend: "tokio" } as Options;
  if (label === "io_uring") return { ...rest, backend: "io_uring" } as Options;
  const words = "one of lws, libsocket, io_uring, tokio";
  throw new QWormholeError("E_INVALID_OPTION", `preferredNativeBackend must be ${words}, not ${label}`);
}

function modeOf(options: BackendOptions): Mode {
  const nativeBackend = backendKind(chosenBackend(options));
  return { mode: `native-${nativeBackend}`, nativeAvailable: true, nativeBackend };
}
