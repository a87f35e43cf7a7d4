import { QWormholeError } from "../errors.js";

/** Where variables come from: `process.env`, or something like it. */
export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads variables strictly: one that is empty counts as not set, one with a value that means nothing is an error that
 * names the variable and what it may be.
 */
export class Environment {
  constructor(private readonly variables: Variables = process.env) {}

  /** The value as it is. */
  text(name: string): string | undefined {
    const value = this.variables[name];
    return value === undefined || value === "" ? undefined : value;
  }

  /** The value, which must be there. */
  required(name: string, expected: string): string {
    const value = this.text(name);
    if (value === undefined) throw new QWormholeError("E_INVALID_ENVIRONMENT", `${name} is not set: ${expected}`);
    return value;
  }

  /** One of the words given. */
  choice<Word extends string>(name: string, words: readonly Word[]): Word | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const found = words.find((word) => word === value);
    if (found === undefined) throw this.error(name, value, `one of ${words.join(", ")}`);
    return found;
  }

  /** 1, true, yes, on or 0, false, no, off, in any case. */
  flag(name: string): boolean | undefined {
    const value = this.text(name)?.toLowerCase();
    if (value === undefined) return undefined;
    if (["1", "true", "yes", "on"].includes(value)) return true;
    if (["0", "false", "no", "off"].includes(value)) return false;
    throw this.error(name, value, "one of 1, true, yes, on, 0, false, no, off");
  }

  /** An integer between two bounds, both included. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = Number(value);
    if (Number.isInteger(number) && number >= min && number <= max) return number;
    throw this.error(name, value, `an integer between ${min} and ${max}`);
  }

  /** Words between commas, without the spaces around them; `undefined` if there is none. */
  list(name: string): string[] | undefined {
    const words = (this.text(name) ?? "").split(",").map((word) => word.trim());
    const some = words.filter((word) => word !== "");
    return some.length > 0 ? some : undefined;
  }

  /** An error about a variable whose value must not be shown. */
  secretError(name: string, expected: string): QWormholeError {
    return new QWormholeError("E_INVALID_ENVIRONMENT", `${name} has a value that means nothing: it takes ${expected}`);
  }

  private error(name: string, value: string, expected: string): QWormholeError {
    const shown = JSON.stringify(value.slice(0, 100));
    return new QWormholeError("E_INVALID_ENVIRONMENT", `${name}=${shown} means nothing: it takes ${expected}`);
  }
}
