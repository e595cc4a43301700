import type { SampledLogits } from '../native/llama-addon.ts';
import type { GeneratedToken, TokenLogprob } from './generation-job.ts';

/** A chosen token with the log probabilities of the model's own distribution, from the logits of the chosen one, the likeliest one and the `topCount` highest. */
export function readLogprobs(token: number, [, , , pairs = [], weight = Number.NaN]: SampledLogits, topCount: number): GeneratedToken {
  let highest = Number.NEGATIVE_INFINITY;
  let chosen = Number.NaN;
  for (let i = 0; i < pairs.length; i += 2) {
    const logit = pairs[i + 1]!;
    if (logit > highest) highest = logit;
    if (pairs[i] === token) chosen = logit;
  }
  // The sum has every token's weight relative to the likeliest one's.
  const total = highest + Math.log(weight);
  const top: TokenLogprob[] = [];
  for (let i = 0; i < pairs.length && top.length < topCount; i += 2) top.push({ token: pairs[i]!, logprob: pairs[i + 1]! - total });
  return { token, logprob: chosen - total, top };
}
