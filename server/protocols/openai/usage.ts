import type { Choice } from './generation-call.ts';

/** `usage` of an answer: a prompt counts once, however many answers it has. Null where the model does not tell its tokens. */
export function usageOf(choices: readonly Choice[], n: number): object | null {
  let prompt = 0;
  let cached = 0;
  let completion = 0;
  for (const { index, inputTokens, outputTokens, cachedTokens } of choices) {
    if (inputTokens < 0 || outputTokens < 0) return null;
    completion += outputTokens;
    if (index % n !== 0) continue;
    prompt += inputTokens;
    cached += Math.max(cachedTokens, 0);
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}
