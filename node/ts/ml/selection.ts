import { QWormholeError } from "../errors.js";
import { Environment } from "../options/environment.js";
import type { Variables } from "../options/environment.js";
import { createCompositeAdapter, createNoopAdapter } from "./adapter.js";
import type { MLAdapter } from "./adapter.js";
import { createQwormTorchAdapter } from "./qworm-torch.js";
import type { QwormTorchOptions } from "./qworm-torch.js";
import { createRpcAdapter } from "./rpc.js";
import type { RpcAdapterOptions } from "./rpc.js";
import { createSpawnAdapter } from "./spawn.js";
import type { SpawnAdapterOptions } from "./spawn.js";

/** Which adapter to use: a name, a name with options, several, or one of your own. */
export type MLAdapterSelection =
  | "qworm_torch"
  | "noop"
  | ({ readonly adapter: "qworm_torch" } & QwormTorchOptions)
  | { readonly adapter: "noop" }
  | ({ readonly adapter: "rpc" } & RpcAdapterOptions)
  | ({ readonly adapter: "spawn" } & SpawnAdapterOptions)
  | readonly MLAdapterSelection[]
  | MLAdapter;

/** Makes the adapter that a selection names. */
export function createMLAdapter(selection: MLAdapterSelection): MLAdapter {
  if (Array.isArray(selection)) {
    return createCompositeAdapter((selection as readonly MLAdapterSelection[]).map(createMLAdapter));
  }
  const one = (typeof selection === "string" ? { adapter: selection } : selection) as Exclude<
    MLAdapterSelection,
    string | readonly MLAdapterSelection[]
  >;
  if ("run" in one) return one;
  switch (one.adapter) {
    case "qworm_torch":
      return createQwormTorchAdapter(one);
    case "noop":
      return createNoopAdapter();
    case "rpc":
      return createRpcAdapter(one);
    case "spawn":
      return createSpawnAdapter(one);
    default: {
      const named = String((one as { adapter: unknown }).adapter);
      throw new QWormholeError("E_INVALID_OPTION", `no ML adapter "${named}": one of ${CHOICES.join(", ")}`);
    }
  }
}

/**
 * Asks the adapter in force: `selection`, else the one of {@link setMLAdapter}, else the one that the environment names
 * (`QWORMHOLE_ML_ADAPTER`, read at the first query), else `qworm_torch`.
 */
export async function queryMLLayer(metrics: unknown, selection?: MLAdapterSelection): Promise<unknown> {
  if (selection !== undefined) return createMLAdapter(selection).run(metrics);
  current ??= adapterFromEnvironment();
  return current.run(metrics);
}

/** The adapter from now on; `undefined` to go by the environment again. */
export function setMLAdapter(selection: MLAdapterSelection | undefined): void {
  current = selection === undefined ? undefined : createMLAdapter(selection);
}

/** @throws {@link QWormholeError} `E_INVALID_ENVIRONMENT` that names the variable and what it may be. */
export function adapterFromEnvironment(variables: Variables = process.env): MLAdapter {
  const env = new Environment(variables);
  switch (env.choice("QWORMHOLE_ML_ADAPTER", CHOICES) ?? "qworm_torch") {
    case "noop":
      return createNoopAdapter();
    case "rpc":
      return createRpcAdapter(rpcOptions(env));
    case "spawn":
      return createSpawnAdapter({
        command: env.required("QWORMHOLE_ML_SPAWN_CMD", "the name or the path of a program"),
        args: (env.text("QWORMHOLE_ML_SPAWN_ARGS") ?? "").split(/\s+/).filter((word) => word !== ""),
      });
    default:
      return createQwormTorchAdapter();
  }
}

function rpcOptions(env: Environment): RpcAdapterOptions {
  const address = "an http:// or https:// address";
  const url = env.required("QWORMHOLE_ML_RPC_URL", address);
  if (!/^https?:\/\/[^/]/.test(url)) throw env.secretError("QWORMHOLE_ML_RPC_URL", address);
  const timeoutMs = env.integer("QWORMHOLE_ML_RPC_TIMEOUT", 1, 3_600_000);
  return { url, headers: headersOf(env), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

function headersOf(env: Environment): Record<string, string> {
  const text = env.text("QWORMHOLE_ML_RPC_HEADERS") ?? "";
  const wrong = (): QWormholeError =>
    env.secretError("QWORMHOLE_ML_RPC_HEADERS", "a JSON object of strings or name:value,name:value");
  if (text.trimStart().startsWith("{")) {
    try {
      const parsed = JSON.parse(text) as Record<string, unknown>;
      if (!Object.values(parsed).every((value) => typeof value === "string")) throw wrong();
      return parsed as Record<string, string>;
    } catch {
      throw wrong();
    }
  }
  const pairs = text.split(",").filter((pair) => pair.trim() !== "");
  return Object.fromEntries(
    pairs.map((pair) => {
      const colon = pair.indexOf(":");
      if (colon <= 0) throw wrong();
      return [pair.slice(0, colon).trim(), pair.slice(colon + 1).trim()];
    }),
  );
}

const CHOICES = ["qworm_torch", "noop", "rpc", "spawn"] as const;

let current: MLAdapter | undefined;
