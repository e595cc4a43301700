import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { answerHeaders, fingerprint } from './answer-headers.ts';
import { type Choice, GenerationCall } from './generation-call.ts';
import { respondError } from './status.ts';
import { asText, type TextResponse } from './text-response.ts';
import { chatLogprobs, completionLogprobs, readLogprobs, type TokenLogprob } from './token-logprobs.ts';
import { readToolCalls, ToolCallCollector } from './tool-calls.ts';
import { usageOf } from './usage.ts';

/** What the answers of one call may come to together, log probabilities and all, bytes. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const FIRST_BYTES = 1024;

/** Puts the whole answer together and sends it at the end. */
export class WholeCall extends GenerationCall {
  readonly #answers: readonly CollectedAnswer[] = this.choices.map(() => new CollectedAnswer());
  #bytes = 0;

  protected onText(choice: Choice, response: TextResponse): void {
    const answer = this.#answers[choice.index]!;
    const { text, logprobs, toolCalls } = response;
    this.#bytes += text.length + logprobs.length + toolCalls.length;
    if (this.#bytes > MAX_ANSWER_BYTES) {
      throw new InferenceError(
        'RESOURCE_EXHAUSTED',
        `the answer is more than ${MAX_ANSWER_BYTES} bytes: ask for fewer tokens or choices, or with "stream": true`,
      );
    }
    answer.addText(text);
    if (logprobs.length > 0 && this.spec.wantsLogprobs) for (const token of readLogprobs(logprobs)) answer.logprobs.push(token);
    if (toolCalls.length > 0) answer.toolCalls.add(readToolCalls(toolCalls));
  }

  protected onChoiceEnd(): void {}

  protected onEnd(): void {
    const { spec, choices } = this;
    const body: Record<string, unknown> = {
      id: this.id,
      object: spec.kind === 'chat' ? 'chat.completion' : 'text_completion',
      created: this.created,
      model: spec.model,
      system_fingerprint: fingerprint(this),
      choices: choices.map((choice) => this.#choice(choice)),
    };
    const usage = usageOf(choices, spec.n);
    if (usage !== null) body['usage'] = usage;
    this.exchange.respond(200, answerHeaders(JSON_CONTENT_TYPE, this.id, this.spec.ignored), JSON.stringify(body));
  }

  protected onFailure(error: InferenceError): void {
    respondError(this.exchange, error, this.spec.paramNames);
  }

  #choice({ index, finishReason }: Choice): object {
    const { spec } = this;
    const answer = this.#answers[index]!;
    const reason = finishReason === '' ? 'stop' : finishReason;
    const { wantsLogprobs } = spec;
    if (spec.kind === 'completion') {
      const prompt = spec.prompts[Math.floor(index / spec.n)]!;
      const echo = spec.echoes && prompt.kind === 'text' ? asText(prompt.text) : '';
      const logprobs = wantsLogprobs ? completionLogprobs(answer.logprobs, 0).json : null;
      return { index, text: echo + answer.text, logprobs, finish_reason: reason };
    }
    const { calls } = answer.toolCalls;
    const { text } = answer;
    const message = { role: 'assistant', content: text === '' && calls !== null ? null : text, refusal: null };
    return {
      index,
      message: calls === null ? message : { ...message, tool_calls: calls },
      logprobs: wantsLogprobs ? chatLogprobs(answer.logprobs) : null,
      finish_reason: reason,
    };
  }
}

class CollectedAnswer {
  readonly logprobs: TokenLogprob[] = [];
  readonly toolCalls: ToolCallCollector = new ToolCallCollector();
  #buffer: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  addText(text: Uint8Array): void {
    const end = this.#length + text.length;
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, 2 * this.#buffer.length));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#buffer.set(text, this.#length);
    this.#length = end;
  }

  get text(): string {
    return this.#buffer.toString('utf8', 0, this.#length);
  }
}
