// Tests that end: one that hangs fails by itself and the others still run.
import { test as untimed } from "node:test";

/** As `test` of node:test, with a deadline that only a hanging test reaches. */
export function test(name, body) {
  return untimed(name, { timeout: 25_000 }, body);
}
