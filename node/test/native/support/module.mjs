// The native module as users load it: by its path.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const libc = process.platform !== 'linux' ? ''
  : process.report.getReport().header.glibcVersionRuntime ? '-gnu' : '-musl';
const abi = process.platform === 'win32' ? '-msvc' : libc;
const name = `../../../qwormhole.${process.platform}-${process.arch}${abi}.node`;

export const path = process.env.QWORMHOLE_NATIVE_PATH ?? fileURLToPath(new URL(name, import.meta.url));
export const native = createRequire(import.meta.url)(path);
export const { TcpClientWrapper, QWormholeServerWrapper, engine } = native;
