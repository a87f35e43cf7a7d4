// The receiving end in a process of its own.
import { serving } from './measure.mjs';

const [name, scenario] = process.argv.slice(2);
const server = await serving(name, scenario);
process.send({ port: server.port });
process.on('message', async () => process.send(await server.count()));
process.on('disconnect', () => process.exit(0));
