/** @hotpath looks for stop strings in the text as it comes (measured by token-text.bench.ts) */

/** One stop string: how far the end of the text has got into it. */
interface StopState {
  readonly bytes: Uint8Array;
  /** For each length that has matched, the longest shorter one that the same bytes end with. */
  readonly fallback: Uint16Array;
  matched: number;
}

/**
 * Finds the stop string that is complete first; of those that end at the same place, the longest. Each byte is looked at once, however the text is
 * cut, so a stop string may lie over the borders of tokens. For one text.
 */
export class StopStrings {
  /** Bytes of the stop string that {@link scan} found. */
  matchLength = 0;
  readonly #states: readonly StopState[];

  /** None of them empty, none over 65,535 bytes of UTF-8. */
  constructor(stops: readonly string[]) {
    this.#states = stops.map((stop) => {
      const bytes = Buffer.from(stop, 'utf8');
      return { bytes, fallback: fallbacks(bytes), matched: 0 };
    });
  }

  /** Goes on with `bytes[from, to)`. Offset behind the first whole stop string, or -1; after a match there is nothing to go on with. */
  scan(bytes: Uint8Array, from: number, to: number): number {
    const states = this.#states;
    const count = states.length;
    if (count === 0) return -1;
    let found = 0;
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      for (let i = 0; i < count; i++) {
        const state = states[i]!;
        let matched = state.matched;
        while (matched > 0 && state.bytes[matched] !== byte) matched = state.fallback[matched]!;
        if (state.bytes[matched] === byte) matched++;
        state.matched = matched;
        if (matched === state.bytes.length && matched > found) found = matched;
      }
      if (found > 0) {
        this.matchLength = found;
        return at + 1;
      }
    }
    return -1;
  }

  /** How many bytes at the end of what was scanned may be the beginning of a stop string. */
  get held(): number {
    let held = 0;
    const states = this.#states;
    for (let i = 0; i < states.length; i++) if (states[i]!.matched > held) held = states[i]!.matched;
    return held;
  }
}

function fallbacks(bytes: Uint8Array): Uint16Array {
  const fallback = new Uint16Array(bytes.length + 1);
  let matched = 0;
  for (let at = 1; at < bytes.length; at++) {
    while (matched > 0 && bytes[matched] !== bytes[at]) matched = fallback[matched]!;
    if (bytes[matched] === bytes[at]) matched++;
    fallback[at + 1] = matched;
  }
  return fallback;
}
