/** Loads the native module on first use; throws an error with code `E_NATIVE_UNAVAILABLE` that says what was tried. */
export function load(): unknown;
/** File names and packages that are tried, in order. */
export function candidates(): string[];
