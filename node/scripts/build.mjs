// Compiles ts/ twice, as ES modules and as CommonJS, each with its types, into dist/. Run by npm, which puts tsc
// into the path.
import { execSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

rmSync(join(root, "dist"), { recursive: true, force: true });
for (const [directory, type] of [["esm", "module"], ["cjs", "commonjs"]]) {
  const out = join(root, "dist", directory);
  mkdirSync(out, { recursive: true });
  // Node decides by the package.json nearest to a file which of the two it is.
  writeFileSync(join(out, "package.json"), `${JSON.stringify({ type })}\n`);
  for (const file of ["loader.cjs", "loader.d.cts"]) copyFileSync(join(root, "ts", file), join(out, file));
  execSync(`tsc -p tsconfig.${directory}.json`, { cwd: root, stdio: "inherit" });
}
