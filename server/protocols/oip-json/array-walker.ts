/** @hotpath finds the leaves of a `data` array; runs once per bracket, not per number, where the array is written without odd spacing (measured by number-scanner.bench.ts) */

import type { Datatype } from '../../../proto/datatype.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import {
  BACKSLASH,
  CLOSE_BRACKET,
  COMMA,
  describeJson,
  MAX_JSON_DEPTH,
  malformedJson,
  nestedTooDeep,
  OPEN_BRACKET,
  QUOTE,
  skipWhitespace,
} from './json-reader.ts';

/**
 * The brackets and commas of one `data` array, flat or nested, and the refusals that name its tensor. Nested lists must be regular: all leaves at one depth,
 * lists of one depth equally long. Which depth, and how the lists relate to the shape, is free, as in Triton: only the order of the leaves counts.
 */
export class ArrayWalker {
  readonly bytes: Uint8Array;
  readonly inputIndex: number;
  readonly inputName: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Elements that the shape asks for. */
  readonly count: number;
  /** Behind the array, once it has ended. */
  end = 0;
  private depth = 0;
  private leafDepth = 0;
  /** By depth: the leaf number at which the open list began, and how many leaves the first closed list had (-1: none closed yet). */
  private readonly starts: number[] = [];
  private readonly sizes: number[] = [];

  constructor(bytes: Uint8Array, inputIndex: number, inputName: string, datatype: Datatype, shape: readonly number[], count: number) {
    this.bytes = bytes;
    this.inputIndex = inputIndex;
    this.inputName = inputName;
    this.datatype = datatype;
    this.shape = shape;
    this.count = count;
  }

  /** From the array's opening bracket to its first leaf, or -1 when it has none. */
  first(at: number): number {
    return this.toLeaf(at, 0);
  }

  /** From behind a leaf to the next one, or -1 when the array has ended (then `end` is set). `leaves` counts those before. */
  next(at: number, leaves: number): number {
    const bytes = this.bytes;
    for (;;) {
      at = skipWhitespace(bytes, at);
      const c = bytes[at];
      if (c === COMMA) return this.toLeaf(at + 1, leaves);
      if (c !== CLOSE_BRACKET) {
        throw malformedJson(
          `${this.label()}.data[${Math.max(0, leaves - 1)}]: expected ',' or ']' behind the element, got ${describeJson(bytes, at)}`,
          at,
        );
      }
      this.close(leaves);
      at++;
      if (this.depth === 0) {
        this.end = at;
        return -1;
      }
    }
  }

  private toLeaf(at: number, leaves: number): number {
    const bytes = this.bytes;
    for (;;) {
      at = skipWhitespace(bytes, at);
      if (bytes[at] !== OPEN_BRACKET) break;
      if (++this.depth > MAX_JSON_DEPTH) throw nestedTooDeep(at);
      if (this.depth > this.sizes.length) {
        this.sizes.push(-1);
        this.starts.push(0);
      }
      this.starts[this.depth - 1] = leaves;
      at = skipWhitespace(bytes, at + 1);
      if (bytes[at] === CLOSE_BRACKET) return this.next(at, leaves);
    }
    if (this.leafDepth !== this.depth) {
      if (this.leafDepth !== 0)
        throw this.ragged(leaves, `found at depth ${this.depth} where the elements before it are at depth ${this.leafDepth}`);
      this.leafDepth = this.depth;
    }
    return at;
  }

  private close(leaves: number): void {
    const level = --this.depth;
    const got = leaves - this.starts[level]!;
    const expected = this.sizes[level]!;
    if (expected < 0) this.sizes[level] = got;
    else if (expected !== got)
      throw this.ragged(leaves, `ends a nested list of ${got} elements where the first of that depth has ${expected}`);
  }

  private ragged(leaves: number, how: string): InferenceError {
    return invalidArgument(
      `Unable to parse 'data': ${this.label()}.data[${leaves}]: nested lists must be equally long: ${how}; expected ${this.count} elements for shape [${this.shape.join(',')}]`,
    );
  }

  label(): string {
    return `inputs[${this.inputIndex}] (${this.inputName})`;
  }

  /** A leaf that the datatype does not take. `expected` says what it does take. */
  wrongLeaf(at: number, index: number, expected: string): InferenceError {
    const got = describeJson(this.bytes, at);
    return invalidArgument(`Unable to parse 'data': ${this.label()}.data[${index}]: expected ${expected} for ${this.datatype}, got ${got}`);
  }

  tooFew(got: number): InferenceError {
    return invalidArgument(
      `Failed to parse 'data' field: shape does not match true shape of 'data' field: ${this.label()}.data: ${this.expectedCount()}, got ${got}`,
    );
  }

  /** `at` is the first leaf that is too many; the rest of the array is counted, not checked. */
  tooMany(at: number): InferenceError {
    let got = this.count;
    while (at >= 0) {
      got++;
      at = this.next(this.behindAnyLeaf(at), got);
    }
    return invalidArgument(
      `Unable to parse 'data': Shape does not match true shape of 'data' field: ${this.label()}.data: ${this.expectedCount()}, got ${got}`,
    );
  }

  private expectedCount(): string {
    return `expected ${this.count} elements for shape [${this.shape.join(',')}]`;
  }

  private behindAnyLeaf(at: number): number {
    const bytes = this.bytes;
    const start = at;
    if (bytes[at] === QUOTE) {
      at++;
      while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
      return at + 1;
    }
    while (at < bytes.length && bytes[at]! > 0x20 && bytes[at] !== COMMA && bytes[at] !== CLOSE_BRACKET && bytes[at] !== OPEN_BRACKET) at++;
    if (at === start) throw malformedJson(`${this.label()}.data: expected an element, got ${describeJson(bytes, at)}`, at);
    return at;
  }
}

/**
 * Offset behind the array whose '[' stands at `at`, by brackets and strings alone: for a `data` that comes before the datatype and the shape. The scanner
 * checks the contents later.
 */
export function skipArray(bytes: Uint8Array, at: number): number {
  const start = at;
  let depth = 0;
  for (; at < bytes.length; at++) {
    const c = bytes[at]!;
    if (c === QUOTE) {
      at++;
      while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
    } else if (c === OPEN_BRACKET) {
      if (++depth > MAX_JSON_DEPTH) throw nestedTooDeep(at);
    } else if (c === CLOSE_BRACKET && --depth === 0) {
      return at + 1;
    }
  }
  throw malformedJson('unterminated array', start);
}

/** Behind a leaf at `at` to the next one: `1,2` and `1, 2` here, all other spacing and brackets by the walker. */
export function nextLeaf(walker: ArrayWalker, bytes: Uint8Array, at: number, leaves: number): number {
  if (bytes[at] === 0x2c) {
    const c = bytes[at + 1]!;
    if (c > 0x20 && c < 0x5b) return at + 1;
    if (c === 0x20) {
      const second = bytes[at + 2]!;
      if (second > 0x20 && second < 0x5b) return at + 2;
    }
  }
  return walker.next(at, leaves);
}
