/**
 * A priority as the native module takes it: lower is sooner, in steps of 1/1024, so that fractions keep their order.
 * What is no number counts as 0.
 */
export function nativePriority(priority: number): number {
  const scaled = Math.round(priority * 1_024);
  return Number.isNaN(scaled) ? 0 : Math.min(2 ** 31 - 1, Math.max(-(2 ** 31), scaled));
}
