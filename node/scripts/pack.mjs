// Makes the tarballs that are published: the package itself, and one for each native module that was built.
//
//   node scripts/pack.mjs DIRECTORY
//
// Platform packages become optional dependencies here and not in package.json, because nobody can install them before
// they are published. Prints the tarballs, the package itself first.
import { execSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { PLATFORMS } from "./platforms.mjs";

const LICENCES = ["LICENSE-APACHE", "LICENSE-MIT"];
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error("usage: node scripts/pack.mjs DIRECTORY");
const out = resolve(directory);
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

function pack(name, content, files) {
  const stage = join(out, "stage", name);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  const complete = { ...content, files: [...content.files, ...LICENCES] };
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(complete, null, 2)}\n`);
  for (const [from, to] of files) cpSync(from, join(stage, to), { recursive: true });
  for (const licence of LICENCES) copyFileSync(join(root, "..", licence), join(stage, licence));
  const listing = execSync(`npm pack --json --loglevel=error --pack-destination "${out}"`, { cwd: stage, encoding: "utf8" });
  const parsed = JSON.parse(listing);
  const [entry] = Array.isArray(parsed) ? parsed : Object.values(parsed);
  return join(out, entry.filename.replace("@", "").replace("/", "-"));
}

function platformPackage(platform) {
  const file = `qwormhole.${platform}.node`;
  if (!existsSync(join(root, file))) return [];
  const { version, license, engines } = manifest;
  const name = `@qwormhole/binding-${platform}`;
  const description = `The native module of qwormhole for ${platform}`;
  const content = { name, version, description, license, engines, main: file, files: [file], ...PLATFORMS[platform] };
  return [pack(platform, content, [[join(root, file), file]])];
}

mkdirSync(out, { recursive: true });
const { devDependencies: _dev, scripts: _scripts, ...published } = manifest;
const bindings = Object.keys(PLATFORMS).map((platform) => [`@qwormhole/binding-${platform}`, manifest.version]);
const files = ["dist", "README.md"].map((file) => [join(root, file), file]);
const main = pack("qwormhole", { ...published, optionalDependencies: Object.fromEntries(bindings) }, files);
for (const tarball of [main, ...Object.keys(PLATFORMS).flatMap(platformPackage)]) console.log(tarball);
rmSync(join(out, "stage"), { recursive: true, force: true });
