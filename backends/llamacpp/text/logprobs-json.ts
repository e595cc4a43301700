/** @hotpath log probabilities as text, where a request asks for them (measured by text-instance.bench.ts) */

import type { GeneratedToken } from '../engine/generation-job.ts';
import type { TokenText } from './token-text.ts';

/** JSON has no infinities: OpenAI's word for "as good as never". */
const LEAST_LOGPROB = -9999;

/** The array `content` of OpenAI's log probabilities, for the tokens of one response. */
export function logprobsJson(generated: readonly GeneratedToken[], tokens: TokenText): string {
  let json = '[';
  for (let i = 0; i < generated.length; i++) {
    const { token, logprob, top } = generated[i]!;
    json += `${i === 0 ? '' : ','}{${tokens.json(token)},"logprob":${number(logprob)},"top_logprobs":[`;
    if (top !== null) {
      for (let k = 0; k < top.length; k++) {
        const other = top[k]!;
        json += `${k === 0 ? '' : ','}{${tokens.json(other.token)},"logprob":${number(other.logprob)}}`;
      }
    }
    json += ']}';
  }
  return `${json}]`;
}

function number(logprob: number): number {
  return logprob >= LEAST_LOGPROB ? logprob : LEAST_LOGPROB;
}
