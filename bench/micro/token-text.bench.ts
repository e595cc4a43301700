/** Tokens to text: bytes, whole characters, stop strings: `node dist/bench/micro/token-text.bench.js` */

import { TOKEN_ATTRIBUTES, VOCABULARY_TYPES } from '../../backends/llamacpp/engine/token-table.ts';
import { StopStrings } from '../../backends/llamacpp/text/stop-strings.ts';
import { TokenText } from '../../backends/llamacpp/text/token-text.ts';
import { Utf8Assembler } from '../../backends/llamacpp/text/utf8-assembler.ts';
import type { Vocabulary } from '../../backends/llamacpp/text/vocabulary.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 512;
/** Room that is taken back before it grows. */
const TAKEN_BYTES = 200;

const words = ['Ġthe', 'Ġquick', 'Ġbrown', 'Ġfox', ',', 'Ġjumps', 'Ġover', 'ing', '.', 'Ċ'];
/** 世界 in pieces of a byte or two. */
const parts = ['ä', '¸ĸ', 'ç', 'ķ', 'Į'];
const spelled = [...words, ...parts];
const vocabulary: Vocabulary = {
  tokens: {
    size: spelled.length,
    vocabularyType: VOCABULARY_TYPES.bytePair,
    bos: null,
    addsBos: false,
    text: (token) => spelled[token]!,
    attributes: () => TOKEN_ATTRIBUTES.normal,
  },
  tokenize: () => Uint32Array.of(0),
};
const tokens = new TokenText(vocabulary);
const ascii = Array.from({ length: COUNT }, (_, i) => (i * 7) % words.length);
const cut = Array.from({ length: COUNT }, (_, i) => words.length + (i % parts.length));

function assemble(ids: readonly number[], stops: StopStrings | null): number {
  const text = new Utf8Assembler(4, 256);
  let held = 0;
  for (let i = 0; i < ids.length; i++) {
    const { end } = text;
    text.push(tokens.bytes(ids[i]!));
    if (stops !== null) {
      stops.scan(text.bytes, end, text.end);
      held += stops.held;
    }
    if (text.end > TAKEN_BYTES) text.take(text.end - 4);
  }
  return text.total + held;
}

const many = Array.from({ length: 16 }, (_, i) => `\n\nStop ${i}`);
const bench = new CallBench('text of a token');
bench.add('bytes of the table', COUNT, () => ascii.reduce((sum, id) => sum + tokens.bytes(id).length, 0));
bench.add('ASCII', COUNT, () => assemble(ascii, null));
bench.add('parts of characters', COUNT, () => assemble(cut, null));
bench.add('ASCII, 1 stop string', COUNT, () => assemble(ascii, new StopStrings(['\n\n'])));
bench.add('ASCII, 16 stop strings', COUNT, () => assemble(ascii, new StopStrings(many)));
await bench.run();
