import { spawn } from "node:child_process";

import { QWormholeError, asError } from "../errors.js";
import type { MLAdapter } from "./adapter.js";

/** Options of {@link createSpawnAdapter}. */
export interface SpawnAdapterOptions {
  /** The program; no shell is between. */
  readonly command: string;
  readonly args?: readonly string[];
  /** Milliseconds until the program is killed. Default 5,000. */
  readonly timeoutMs?: number;
  /** Bytes of its answer at most. Default 16 MiB. */
  readonly maxOutputBytes?: number;
}

/**
 * Asks a program, started for each query: metrics as JSON on its standard input, the answer as JSON on its standard
 * output, an empty one `{}`. Rejects with `E_ML_ADAPTER`.
 */
export function createSpawnAdapter(options: SpawnAdapterOptions): MLAdapter {
  return { name: "spawn", run: (metrics) => ask(options, metrics) };
}

function ask(options: SpawnAdapterOptions, metrics: unknown): Promise<unknown> {
  const { command, args = [], timeoutMs = 5_000, maxOutputBytes = 16 * 1024 * 1024 } = options;
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void =>
      reject(new QWormholeError("E_ML_ADAPTER", `spawn adapter: ${why}`, { cause }));
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"], timeout: timeoutMs, killSignal: "SIGKILL" });
    const output: Buffer[] = [];
    let bytes = 0;
    child.on("error", (error) => fail(error.message, error));
    // A program that answers without reading its input is none the worse for it.
    child.stdin.on("error", () => undefined);
    child.stdin.end(JSON.stringify(metrics));
    child.stdout.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxOutputBytes) output.push(chunk);
      else child.kill("SIGKILL");
    });
    child.on("close", (code, signal) => {
      if (bytes > maxOutputBytes) return fail(`its answer is larger than ${maxOutputBytes} bytes`);
      if (signal !== null) return fail(`the program was killed (${signal}), it has ${timeoutMs} ms`);
      if (code !== 0) return fail(`the program ended with status ${String(code)}`);
      const text = Buffer.concat(output).toString("utf8");
      try {
        resolve(text.trim() === "" ? {} : JSON.parse(text));
      } catch (error) {
        fail(`its answer is not JSON: ${asError(error).message}`, error);
      }
    });
  });
}
