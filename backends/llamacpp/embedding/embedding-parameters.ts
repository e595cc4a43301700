import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';

/** What becomes of a text of more tokens than the model takes. */
export type Truncation = 'none' | 'start' | 'end';

type Parameters = Readonly<Record<string, string | number | boolean>>;

const TRUNCATIONS: readonly string[] = ['none', 'start', 'end'];

/** Throws INVALID_ARGUMENT when there is a parameter of another name. */
export function checkParameterNames(parameters: Parameters, known: readonly string[]): void {
  for (const name of Object.keys(parameters)) {
    if (!known.includes(name)) {
      throw invalidArgument(`${name}: no parameter of this model; it has ${known.join(', ')}${didYouMean(name, known)}`);
    }
  }
}

/** `truncate`: which side is cut; true is 'end'. Left out: none, a text that is too long is refused. */
export function readTruncation({ truncate }: Parameters): Truncation {
  if (truncate === undefined || truncate === false) return 'none';
  if (truncate === true) return 'end';
  const side = String(truncate).toLowerCase();
  if (!TRUNCATIONS.includes(side))
    throw invalidArgument(`truncate: expected none, start, end, true or false, got ${JSON.stringify(truncate)}`);
  return side as Truncation;
}

/** `dimensions`: how many of a vector's numbers are wanted; 0: all. */
export function readDimensions({ dimensions }: Parameters, width: number): number {
  if (dimensions === undefined) return 0;
  const isFitting = typeof dimensions === 'number' && Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= width;
  if (!isFitting)
    throw invalidArgument(
      `dimensions: expected an integer from 1 to ${width}, as many as the model gives, got ${JSON.stringify(dimensions)}`,
    );
  return dimensions;
}

/** `raw_scores`: what the model computed, before it was made a number from 0 to 1. */
export function readRawScores({ raw_scores: rawScores }: Parameters): boolean {
  if (rawScores === undefined) return false;
  if (typeof rawScores !== 'boolean') throw invalidArgument(`raw_scores: expected true or false, got ${JSON.stringify(rawScores)}`);
  return rawScores;
}
