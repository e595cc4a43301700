/** @hotpath what a request's tokens become: the tensors of each response (measured by text-instance.bench.ts) */

import { encodeBytes, LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { ToolCallParser } from '../chat/tool-call-parser.ts';
import type { GeneratedToken } from '../engine/generation-job.ts';
import type { GeneratedText } from './generated-text.ts';
import { logprobsJson } from './logprobs-json.ts';
import type { AskedOutputs } from './read-text-request.ts';
import type { TokenText } from './token-text.ts';
import { ToolCallDeltas } from './tool-call-deltas.ts';

/** `''`: more responses come. */
export type FinishReason = '' | 'stop' | 'length' | 'tool_calls';

const ONE: readonly number[] = [1];
const NO_TEXT: Uint8Array = encodeBytes(['']);
const finishTensors: Readonly<Record<FinishReason, Tensor>> = {
  '': textTensor('finish_reason', ''),
  stop: textTensor('finish_reason', 'stop'),
  length: textTensor('finish_reason', 'length'),
  tool_calls: textTensor('finish_reason', 'tool_calls'),
};

/** Places in a request's memory for numbers, 4 bytes each. */
const INPUT_TOKENS = 0;
const OUTPUT_TOKENS = 4;
const CACHED_TOKENS = 8;
const CUMULATIVE_LOGPROB = 12;
const NUMBERS_BYTES = 16;

export interface TextAnswerOptions {
  /** With {@link TextAnswer.LEAD} bytes in front. */
  readonly text: GeneratedText;
  readonly tokens: TokenText;
  readonly asked: AskedOutputs;
  readonly parser: ToolCallParser | null;
  readonly inputTokens: number;
}

/** The answer to one request as it grows. The bytes of a response stay until {@link release}. */
export class TextAnswer {
  /** A BYTES element's length stands in front of its text, which is not copied. */
  static readonly LEAD: number = LENGTH_PREFIX_BYTES;

  readonly #text: GeneratedText;
  readonly #tokens: TokenText;
  readonly #parser: ToolCallParser | null;
  readonly #showsFinish: boolean;
  readonly #showsLogprobs: boolean;
  readonly #numbers: Buffer = Buffer.alloc(NUMBERS_BYTES);
  /** In the metadata's order; views of `#numbers`, the same ones in each response. Null: not asked for. */
  readonly #logprobTensor: Tensor | null;
  readonly #countTensors: readonly Tensor[];
  /** With a parser: what it has given, and no response has had. */
  #parsed = '';
  readonly #deltas: ToolCallDeltas = new ToolCallDeltas();
  #parsedTokens: GeneratedToken[] = [];
  /** So far, also those that no text shows. */
  outputTokens = 0;
  #logprob = 0;

  constructor(options: TextAnswerOptions) {
    const { asked } = options;
    this.#text = options.text;
    this.#tokens = options.tokens;
    this.#parser = options.parser;
    this.#showsFinish = asked.finishReason;
    this.#showsLogprobs = asked.logprobs;
    this.#numbers.writeUInt32LE(options.inputTokens, INPUT_TOKENS);
    this.#logprobTensor = asked.cumulativeLogprob ? this.#number('cumulative_logprob', 'FP32', CUMULATIVE_LOGPROB) : null;
    const counts: Tensor[] = [];
    if (asked.inputTokens) counts.push(this.#number('num_input_tokens', 'UINT32', INPUT_TOKENS));
    if (asked.outputTokens) counts.push(this.#number('num_output_tokens', 'UINT32', OUTPUT_TOKENS));
    if (asked.cachedTokens) counts.push(this.#number('num_cached_tokens', 'UINT32', CACHED_TOKENS));
    this.#countTensors = counts;
  }

  /** True: that ends the answer, by a stop string, or as the tool call that was wanted is whole. */
  push(generated: GeneratedToken): boolean {
    this.outputTokens++;
    this.#logprob += generated.logprob;
    this.#text.push(generated);
    if (this.#parser === null) return this.#text.isStopped;
    this.#parse(this.#parser, false);
    return this.#text.isStopped || this.#parser.isDone === true;
  }

  /** Something to give before the end. */
  get hasNews(): boolean {
    return this.#parser === null ? this.#text.ready > 0 : this.#parsed !== '' || !this.#deltas.isEmpty;
  }

  /** No more tokens come. `length`: there would have been more. */
  finish(reason: 'stop' | 'length'): FinishReason {
    this.#text.finish();
    const parser = this.#parser;
    if (parser === null) return reason;
    this.#parse(parser, true);
    const { text, toolCalls } = parser.finish();
    this.#parsed += text;
    this.#deltas.add(toolCalls);
    return reason === 'stop' && parser.callCount > 0 ? 'tool_calls' : reason;
  }

  response(finish: FinishReason, cachedTokens: number): readonly Tensor[] {
    const numbers = this.#numbers;
    numbers.writeUInt32LE(this.outputTokens, OUTPUT_TOKENS);
    numbers.writeUInt32LE(cachedTokens, CACHED_TOKENS);
    const outputs: Tensor[] = [{ name: 'text_output', datatype: 'BYTES', shape: ONE, data: this.#textBytes() }];
    if (this.#showsFinish) outputs.push(finishTensors[finish]);
    if (this.#logprobTensor !== null) {
      numbers.writeFloatLE(this.#logprob, CUMULATIVE_LOGPROB);
      outputs.push(this.#logprobTensor);
    }
    if (this.#showsLogprobs) outputs.push(textTensor('logprobs', logprobsJson(this.#takeTokens(finish !== ''), this.#tokens)));
    for (let i = 0; i < this.#countTensors.length; i++) outputs.push(this.#countTensors[i]!);
    if (!this.#deltas.isEmpty) outputs.push(textTensor('tool_calls', this.#deltas.takeJson()));
    return outputs;
  }

  /** The last response's bytes are no longer read. */
  release(): void {
    this.#text.take();
  }

  #textBytes(): Uint8Array {
    if (this.#parser === null) {
      const { bytes } = this.#text.text;
      bytes.writeUInt32LE(this.#text.ready, 0);
      return bytes.subarray(0, LENGTH_PREFIX_BYTES + this.#text.ready);
    }
    const text = this.#parsed;
    this.#parsed = '';
    return text === '' ? NO_TEXT : encodeBytes([text]);
  }

  #takeTokens(isLast: boolean): readonly GeneratedToken[] {
    if (this.#parser === null) return this.#text.takeTokens(isLast);
    const tokens = this.#parsedTokens;
    this.#parsedTokens = [];
    return tokens;
  }

  #parse(parser: ToolCallParser, isLast: boolean): void {
    const text = this.#text;
    if (this.#showsLogprobs) this.#parsedTokens.push(...text.takeTokens(isLast));
    if (text.ready === 0) return;
    const { text: parsed, toolCalls } = parser.push(
      text.text.bytes.toString('utf8', LENGTH_PREFIX_BYTES, LENGTH_PREFIX_BYTES + text.ready),
    );
    text.take();
    this.#parsed += parsed;
    this.#deltas.add(toolCalls);
  }

  #number(name: string, datatype: 'UINT32' | 'FP32', at: number): Tensor {
    return { name, datatype, shape: ONE, data: this.#numbers.subarray(at, at + 4) };
  }
}

function textTensor(name: string, text: string): Tensor {
  return { name, datatype: 'BYTES', shape: ONE, data: encodeBytes([text]) };
}
