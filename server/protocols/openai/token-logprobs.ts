import { InferenceError } from '../../../proto/inference-error.ts';
import { asText } from './text-response.ts';

/** One token of an answer, in the model's output `logprobs` and in chat answers alike. */
export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
  readonly top_logprobs: readonly Omit<TokenLogprob, 'top_logprobs'>[];
}

/** Of the model's JSON. Throws INTERNAL where it is something else: it goes into an answer whose other parts are ours. */
export function readLogprobs(json: Uint8Array): TokenLogprob[] {
  let list: unknown;
  try {
    list = JSON.parse(asText(json));
  } catch {
    list = null;
  }
  if (!Array.isArray(list)) throw wrongLogprobs();
  return list.map((entry: unknown): TokenLogprob => {
    const { top_logprobs: top } = (entry ?? {}) as { readonly top_logprobs?: unknown };
    return { ...readToken(entry), top_logprobs: Array.isArray(top) ? top.map(readToken) : [] };
  });
}

function readToken(entry: unknown): Omit<TokenLogprob, 'top_logprobs'> {
  const { token, logprob, bytes } = (entry ?? {}) as { readonly token?: unknown; readonly logprob?: unknown; readonly bytes?: unknown };
  if (typeof token !== 'string' || (typeof logprob !== 'number' && logprob !== null)) throw wrongLogprobs();
  // -Infinity is null in JSON; OpenAI's clients want a number, and -9999 is what OpenAI gives for a token that can't be.
  return { token, logprob: logprob ?? -9999, bytes: Array.isArray(bytes) ? bytes.map(Number) : null };
}

function wrongLogprobs(): InferenceError {
  return new InferenceError('INTERNAL', "the model's output 'logprobs' is not an array of tokens with their log probabilities", {
    failureReason: 'BACKEND',
  });
}

/** Form of chat answers. */
export function chatLogprobs(tokens: readonly TokenLogprob[]): object {
  return { content: tokens, refusal: null };
}

/** Form of completions. `offset`: where the first token's text begins within the answer, in characters (code points). */
export function completionLogprobs(tokens: readonly TokenLogprob[], offset: number): { readonly json: object; readonly end: number } {
  const offsets: number[] = [];
  let at = offset;
  for (const { token } of tokens) {
    offsets.push(at);
    at += countCharacters(token);
  }
  const json = {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ top_logprobs }) => Object.fromEntries(top_logprobs.map(({ token, logprob }) => [token, logprob]))),
    text_offset: offsets,
  };
  return { json, end: at };
}

function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
