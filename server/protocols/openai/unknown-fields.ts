import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';

/** Change nothing that a client could miss in the answer. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['user', 'metadata', 'service_tier', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention', 'reasoning_effort'],
  ...['verbosity', 'request_id', 'skip_special_tokens', 'spaces_between_special_tokens', 'cache_prompt'],
]);
/** Unknown names that are compared with the known ones, and told; a client with more of them is no client of this API. */
const MAX_IGNORED = 16;

/** Names that the call does not know, those left out that change nothing. One that looks like a known one misspelt is INVALID_ARGUMENT; any other is let pass, as OpenAI's clients send new ones all the time. */
export function unknownFields(names: Iterable<string>, known: readonly string[]): string[] {
  const ignored: string[] = [];
  for (const name of names) {
    if (HARMLESS.has(name) || known.includes(name) || ignored.length === MAX_IGNORED) continue;
    const hint = didYouMean(name, known);
    if (hint !== '') throw invalidArgument(`${name.slice(0, 80)}: unknown parameter${hint}`);
    ignored.push(name);
  }
  return ignored;
}
