import { didYouMean } from '../../proto/nearest-name.ts';
import { CommandLineError } from '../../server/commands/run-command.ts';

/** A number given as text, in [min, max]; `fallback` when it was not given. Throws CommandLineError. */
export function numberFlag(flag: string, text: string | undefined, fallback: number, min: number, max: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max) {
    throw new CommandLineError(`${flag}: expected a number from ${min} to ${max}, got '${text}'`);
  }
  return value;
}

/** The same for whole numbers. */
export function wholeFlag(flag: string, text: string | undefined, fallback: number, min: number, max: number): number {
  const value = numberFlag(flag, text, fallback, min, max);
  if (!Number.isInteger(value)) throw new CommandLineError(`${flag}: expected a whole number, got '${text}'`);
  return value;
}

/** One of `choices`. */
export function choiceFlag<T extends string>(flag: string, text: string | undefined, fallback: T, choices: readonly T[]): T {
  if (text === undefined) return fallback;
  const found = choices.find((choice) => choice === text);
  if (found === undefined)
    throw new CommandLineError(`${flag}: expected one of ${choices.join(', ')}, got '${text}'${didYouMean(text, choices)}`);
  return found;
}

/** `NAME:VALUE` pairs, split at the first `separator`. */
export function pairFlags(flag: string, texts: readonly string[] | undefined, separator: string): [name: string, value: string][] {
  return (texts ?? []).map((text) => {
    const at = text.indexOf(separator);
    if (at < 1) throw new CommandLineError(`${flag}: expected NAME${separator}VALUE, got '${text}'`);
    return [text.slice(0, at).trim(), text.slice(at + separator.length).trim()];
  });
}
