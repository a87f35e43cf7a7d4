import { readFileSync } from "node:fs";

/** A file of recorded behaviour. */
export function fixture(name) {
  return JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), "utf8"));
}
