import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GeneratedToken } from '../engine/generation-job.ts';
import { TOKEN_ATTRIBUTES, VOCABULARY_TYPES } from '../engine/token-table.ts';
import { GeneratedText, type GeneratedTextOptions } from './generated-text.ts';
import { StopStrings } from './stop-strings.ts';
import { TokenText } from './token-text.ts';

const CONTROL = '<|control|>';
const spelled = ['a', 'b', 'st', 'op', 'stop it', 'x', '<0xE4>', '<0xB8>', '<0x96>', CONTROL];

function attributesOf(text: string): number {
  if (text === CONTROL) return TOKEN_ATTRIBUTES.control;
  return text.startsWith('<0x') ? TOKEN_ATTRIBUTES.byte : TOKEN_ATTRIBUTES.normal;
}

const tokens = new TokenText({
  tokens: {
    size: spelled.length,
    vocabularyType: VOCABULARY_TYPES.sentencePiece,
    bos: null,
    addsBos: false,
    text: (token) => spelled[token]!,
    attributes: (token) => attributesOf(spelled[token]!),
  },
  tokenize: () => new Uint32Array(0),
});

interface Piece {
  readonly text: string;
  readonly tokens: readonly string[];
}

/** Pushes tokens and takes what is ready after each, as a stream does. */
function stream(
  pieces: readonly string[],
  stops: readonly string[] = [],
  given: Partial<GeneratedTextOptions> = {},
): { taken: Piece[]; isStopped: boolean } {
  const text = new GeneratedText({
    tokens,
    stops: new StopStrings(stops),
    showsStop: false,
    shownTokens: new Set(),
    keepsTokens: true,
    minTokens: 0,
    lead: 4,
    ...given,
  });
  const taken: Piece[] = [];
  const take = (isLast: boolean): void => {
    const ready = text.text.bytes.toString('utf8', 4, 4 + text.ready);
    taken.push({ text: ready, tokens: text.takeTokens(isLast).map(({ token }) => spelled[token]!) });
    text.take();
  };
  for (const piece of pieces) {
    const generated: GeneratedToken = { token: spelled.indexOf(piece), logprob: -1, top: null };
    text.push(generated);
    if (text.isStopped) break;
    if (text.ready > 0) take(false);
  }
  text.finish();
  take(true);
  return { taken, isStopped: text.isStopped };
}

describe('GeneratedText', () => {
  it('gives each token with its text', () => {
    expect(stream(['a', 'b']).taken).toEqual([
      { text: 'a', tokens: ['a'] },
      { text: 'b', tokens: ['b'] },
      { text: '', tokens: [] },
    ]);
  });

  it('gives the tokens of one character together', () => {
    expect(stream(['a', '<0xE4>', '<0xB8>', '<0x96>', 'b']).taken).toEqual([
      { text: 'a', tokens: ['a'] },
      { text: '世', tokens: ['<0xE4>', '<0xB8>', '<0x96>'] },
      { text: 'b', tokens: ['b'] },
      { text: '', tokens: [] },
    ]);
    expect(stream(['a', '<0xE4>']).taken.at(-1)).toEqual({ text: '\ufffd', tokens: ['<0xE4>'] });
  });

  it('gives tokens without text with the text that follows, or at the end', () => {
    expect(stream([CONTROL, 'a', CONTROL, 'b', CONTROL]).taken).toEqual([
      { text: 'a', tokens: [CONTROL, 'a'] },
      { text: 'b', tokens: [CONTROL, 'b'] },
      { text: '', tokens: [CONTROL] },
    ]);
  });

  it('holds back what may be a stop string, and the tokens of it', () => {
    expect(stream(['a', 'st', 'b', 'st'], ['stop']).taken).toEqual([
      { text: 'a', tokens: ['a'] },
      { text: 'stb', tokens: ['st', 'b'] },
      { text: 'st', tokens: ['st'] },
    ]);
  });

  it('leaves out the tokens of a stop string, but not those that only end in it', () => {
    expect(stream(['a', 'st', 'op', 'x'], ['stop'])).toEqual({
      taken: [
        { text: 'a', tokens: ['a'] },
        { text: '', tokens: [] },
      ],
      isStopped: true,
    });
    expect(stream(['a', 'stop it'], ['p i']).taken.at(-1)).toEqual({ text: 'sto', tokens: ['stop it'] });
    expect(stream(['a', 'st', 'op'], ['stop'], { showsStop: true }).taken.at(-1)).toEqual({ text: 'stop', tokens: ['st', 'op'] });
    expect(stream(['a', CONTROL, 'st', 'op'], ['stop']).taken.at(-1)).toEqual({ text: '', tokens: [] });
  });

  it('looks for stop strings behind the text of so many tokens only', () => {
    expect(stream(['stop it', 'a', 'st', 'op'], ['stop', 'it'], { minTokens: 1 })).toMatchObject({ isStopped: true });
    const { taken } = stream(['st', 'op', 'a'], ['op'], { minTokens: 2 });
    expect(taken.map(({ text }) => text).join('')).toBe('stopa');
  });

  it('looks for none in the text that it begins with', () => {
    const text = new GeneratedText({
      tokens,
      stops: new StopStrings(['stop']),
      showsStop: false,
      shownTokens: new Set(),
      keepsTokens: true,
      minTokens: 0,
      lead: 4,
    });
    text.begin(Buffer.from('stop st'));
    text.push({ token: spelled.indexOf('op'), logprob: -1, top: null });
    expect([text.isStopped, text.ready]).toEqual([false, 'stop stop'.length]);
    expect(text.takeTokens(true)).toHaveLength(1);
  });

  it('gives all text in front of the first stop string, and each token once', () => {
    const piece = fc.constantFrom(...spelled.filter((text) => !text.startsWith('<0x')));
    const stop = fc.constantFrom('stop', 'ab', 'opst', 'it', 'xx', 'bst');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.uniqueArray(stop, { maxLength: 3 }), (pieces, stops) => {
        const { taken, isStopped } = stream(pieces, stops);
        const whole = pieces.filter((text) => text !== CONTROL).join('');
        // The first to be complete; the longest of those that end together.
        let end = whole.length;
        for (let at = 0; at <= whole.length; at++) {
          const found = stops.filter((text) => whole.slice(0, at).endsWith(text));
          if (found.length === 0) continue;
          end = at - Math.max(...found.map(({ length }) => length));
          break;
        }
        expect(taken.map(({ text }) => text).join('')).toBe(whole.slice(0, end));
        expect(isStopped).toBe(stops.some((text) => whole.includes(text)));
        const given = taken.flatMap((one) => one.tokens);
        expect(given).toEqual(pieces.slice(0, given.length));
        if (!isStopped) expect(given).toHaveLength(pieces.length);
      }),
      { numRuns: 500 },
    );
  });
});
