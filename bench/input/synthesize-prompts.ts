import { invalidArgument } from '../../proto/inference-error.ts';
import type { SeededRandom } from '../statistics/seeded-random.ts';
import type { Prompt } from './read-prompts.ts';

export interface PromptLengths {
  readonly promptTokens: number;
  readonly promptSpread: number;
  readonly sharedPrefix: number;
  readonly distinct: number;
}

/** Short and common: with the space before it, each is one token of almost any vocabulary of English. */
const WORDS = (
  'the of and to in a is that for it was on are as with his they at be this from have or by one had not but what all were when we there can an your which their said if do ' +
  'will each about how up out them then she many some so these would other into has more her two like him see time could no make than first been its who now people my made ' +
  'over did down only way find use may water long little very after words called just where most know get through back much go good new write our me man too any day same ' +
  'right look think also around another came come work three must because does part even place well such here take why help put years away again off went old number'
).split(' ');
/** Of all prompts together; some five characters each. */
const MAX_TOTAL_WORDS = 8 * 1024 * 1024;

/**
 * Prompts of random words, about one token each. Lengths are spread normally, and at least one token longer than what all share. Throws INVALID_ARGUMENT for a prefix that leaves no
 * room, and for more text than anybody sends.
 */
export function synthesizePrompts({ promptTokens, promptSpread, sharedPrefix, distinct }: PromptLengths, random: SeededRandom): Prompt[] {
  if (sharedPrefix >= promptTokens) {
    throw invalidArgument(
      `shared-prefix: expected less than the ${promptTokens} of --prompt-tokens, which it is part of, got ${sharedPrefix}`,
    );
  }
  const count = Math.max(1, Math.min(distinct, Math.floor(MAX_TOTAL_WORDS / promptTokens)));
  const prefix = words(sharedPrefix, random);
  return Array.from({ length: count }, (_, index) => {
    const length = Math.round(promptTokens + promptSpread * normal(random));
    const own = words(Math.min(Math.max(1, length - sharedPrefix), 2 * MAX_TOTAL_WORDS), random);
    return { text: [...prefix, ...own].join(' '), messages: null, maxTokens: null, what: `prompt ${index}` };
  });
}

function words(count: number, random: SeededRandom): string[] {
  return Array.from({ length: count }, () => WORDS[random.below(WORDS.length)]!);
}

/** Source: the Box-Muller transform. */
function normal(random: SeededRandom): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}
