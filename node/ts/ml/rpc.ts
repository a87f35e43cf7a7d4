import { QWormholeError, asError } from "../errors.js";
import type { MLAdapter } from "./adapter.js";

/** Options of {@link createRpcAdapter}. */
export interface RpcAdapterOptions {
  /** An `http:` or `https:` address. */
  readonly url: string;
  /** Sent besides `content-type`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds for the whole query, 1 to 3,600,000. Default 5,000. */
  readonly timeoutMs?: number;
  /** Bytes of the answer at most. Default 16 MiB. */
  readonly maxAnswerBytes?: number;
}

/**
 * Asks an HTTP service: metrics are posted as JSON, the answer is JSON, an empty one `{}`. Rejects with `E_ML_ADAPTER`,
 * for a status outside of 2xx with the text `rpc adapter HTTP <status>`.
 *
 * @throws {@link QWormholeError} `E_INVALID_OPTION` for an address or a time that cannot work.
 */
export function createRpcAdapter(options: RpcAdapterOptions): MLAdapter {
  const { url, headers = {}, timeoutMs = 5_000, maxAnswerBytes = 16 * 1024 * 1024 } = options;
  if (!/^https?:\/\/[^/]/.test(url)) {
    throw new QWormholeError("E_INVALID_OPTION", "url must be an http:// or https:// address");
  }
  if (!(timeoutMs >= 1 && timeoutMs <= 3_600_000)) {
    throw new QWormholeError("E_INVALID_OPTION", "timeoutMs must be between 1 and 3600000");
  }
  const ask = async (metrics: unknown): Promise<unknown> => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(metrics),
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new QWormholeError("E_ML_ADAPTER", `rpc adapter HTTP ${response.status}`);
    }
    const text = await bounded(response, maxAnswerBytes);
    return text.trim() === "" ? {} : (JSON.parse(text) as unknown);
  };
  return {
    name: "rpc",
    run: async (metrics) => {
      try {
        return await ask(metrics);
      } catch (thrown) {
        if (thrown instanceof QWormholeError) throw thrown;
        const cause = asError(thrown);
        throw new QWormholeError("E_ML_ADAPTER", `rpc adapter: ${cause.message}`, { cause });
      }
    },
  };
}

/** The body as text, read no further than it may be long. */
async function bounded(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body = (response.body ?? []) as AsyncIterable<Uint8Array>;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new QWormholeError("E_ML_ADAPTER", `rpc adapter: the answer is longer than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
