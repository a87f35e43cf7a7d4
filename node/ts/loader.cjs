"use strict";
// Finds the native module of this platform. Loading is left to the first use: what needs no native module, such as
// the event target, works where there is none.

const { existsSync } = require("node:fs");
const { join } = require("node:path");

// This file is copied to dist/esm and dist/cjs.
const root = join(__dirname, "..", "..");

let loaded;

/** `linux-x64-gnu` and the like: the name that the file and the platform package share. */
function triple() {
  const { platform, arch } = process;
  if (platform === "linux") return `linux-${arch}-${isMusl() ? "musl" : "gnu"}`;
  if (platform === "win32") return `win32-${arch}-msvc`;
  return `${platform}-${arch}`;
}

/** A process that runs on glibc says so in its report; musl has no such entry. */
function isMusl() {
  const report = process.report?.getReport?.();
  const header = (typeof report === "string" ? JSON.parse(report) : report)?.header;
  return header !== undefined && header.glibcVersionRuntime === undefined;
}

function candidates() {
  const named = process.env.QWORMHOLE_NATIVE_PATH;
  if (named) return [named];
  const name = triple();
  return [join(root, `qwormhole.${name}.node`), `@qwormhole/binding-${name}`];
}

function load() {
  if (loaded !== undefined) return loaded;
  const failures = [];
  for (const candidate of candidates()) {
    try {
      loaded = require(candidate);
      return loaded;
    } catch (error) {
      failures.push({ candidate, error });
    }
  }
  throw unavailable(advice(failures), failures);
}

function advice(failures) {
  const name = triple();
  const tried = failures.map(({ candidate, error }) => `  ${candidate}: ${error.message.split("\n")[0]}`).join("\n");
  const wrongLibc = failures.some(({ error }) => /GLIBC_|ld-musl|libc\.musl/.test(error.message));
  const missing = failures.every(({ candidate, error }) => !existsSync(candidate) && error.code === "MODULE_NOT_FOUND");
  let fix = `install @qwormhole/binding-${name}, or name a file in QWORMHOLE_NATIVE_PATH`;
  if (wrongLibc) fix = `the file was built for another C library than this system's (${name})`;
  else if (missing) fix += "; npm leaves optional dependencies out with --omit=optional or a lock file of another platform";
  return `for ${name}; ${fix}. Tried:\n${tried}`;
}

function unavailable(text, failures) {
  const cause = failures.at(-1)?.error;
  const error = new Error(`Native qwormhole binding not available ${text}`, { cause });
  return Object.assign(error, { code: "E_NATIVE_UNAVAILABLE" });
}

module.exports = { load, candidates };
