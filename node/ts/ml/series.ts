/** What describes a series; `zMax` is its largest distance from the mean in deviations, 0 where there is no deviation. */
export interface Moments {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly std: number;
  readonly zMax: number;
}

/** Moments of a series that is not empty. */
export function moments(samples: readonly number[]): Moments {
  let [min, max, sum] = [Infinity, -Infinity, 0];
  for (const each of samples) {
    min = Math.min(min, each);
    max = Math.max(max, each);
    sum += each;
  }
  const mean = sum / samples.length;
  let squares = 0;
  for (const each of samples) squares += (each - mean) ** 2;
  const std = Math.sqrt(squares / samples.length);
  const zMax = std === 0 ? 0 : Math.max(max - mean, mean - min) / std;
  return { min, max, mean, std, zMax };
}

/** Shannon entropy over equal bins, 0 to 1. */
export function binnedEntropy(samples: readonly number[], min: number, max: number): number {
  if (min === max) return 0;
  const bins = Math.min(64, Math.max(8, Math.ceil(Math.sqrt(samples.length))));
  const counts = new Array<number>(bins).fill(0);
  for (const each of samples) {
    const bin = Math.min(bins - 1, Math.floor(((each - min) / (max - min)) * bins));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return entropyOf(counts, samples.length) / Math.log2(bins);
}

/** The negentropic index of a series: how much of its spectrum is at frequency 0, over the entropy of its bytes. */
export function seriesIndex(samples: readonly number[], mean: number): number {
  const centred = samples.map((each) => each - mean);
  const counts = new Array<number>(256).fill(0);
  for (const each of samples) {
    const byte = ((Math.trunc(each) % 256) + 256) % 256;
    counts[byte] = (counts[byte] ?? 0) + 1;
  }
  return coherence(centred) / Math.max(entropyOf(counts, samples.length), 1e-6);
}

function coherence(centred: readonly number[]): number {
  const count = centred.length;
  // Angles repeat after `count` steps: a table instead of a sine per term.
  const angles = Array.from({ length: count }, (_, i) => (2 * Math.PI * i) / count);
  const cosines = angles.map(Math.cos);
  const sines = angles.map(Math.sin);
  let [first, total] = [0, 0];
  for (let k = 0; k < count; k += 1) {
    let [real, imaginary] = [0, 0];
    for (let n = 0, angle = 0; n < count; n += 1, angle = (angle + k) % count) {
      real += (centred[n] as number) * (cosines[angle] as number);
      imaginary -= (centred[n] as number) * (sines[angle] as number);
    }
    const magnitude = Math.hypot(real, imaginary);
    if (k === 0) first = magnitude;
    total += magnitude;
  }
  return total > 0 && Number.isFinite(total) ? first / total : 0;
}

function entropyOf(counts: readonly number[], total: number): number {
  let entropy = 0;
  for (const count of counts) {
    if (count === 0) continue;
    entropy -= (count / total) * Math.log2(count / total);
  }
  return entropy;
}
