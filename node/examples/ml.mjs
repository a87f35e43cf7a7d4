// Metrics of a service, judged in process.
import { queryMLLayer } from "qwormhole";

const { stats } = await queryMLLayer({ latencyMs: [12, 11, 40, 200, 9], drops: 2 });
console.log(`${stats.count} numbers, mean ${stats.mean.toFixed(1)}, ${stats.health}`);
