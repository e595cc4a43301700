/** @hotpath each response of a streamed call becomes an event (measured by encode-chunk.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { HttpDrainListener, HttpStream } from '../../transports/http-exchange.ts';
import { answerHeaders, fingerprint } from './answer-headers.ts';
import { ChunkForm } from './encode-chunk.ts';
import { type Choice, GenerationCall } from './generation-call.ts';
import { encodeError, respondError } from './status.ts';
import { asText, type TextResponse } from './text-response.ts';
import { chatLogprobs, completionLogprobs, readLogprobs } from './token-logprobs.ts';
import { readToolCalls, toolCallDelta } from './tool-calls.ts';
import { usageOf } from './usage.ts';

const EVENT_STREAM = 'text/event-stream; charset=utf-8';
const ROLE = '{"role":"assistant","content":""}';
const DONE = 'data: [DONE]\n\n';

/** Answers with server-sent events, from the first response on: what fails before is an answer with a status of its own. */
export class StreamCall extends GenerationCall implements HttpDrainListener {
  #stream: HttpStream | null = null;
  #envelope = '';
  /** By choice. */
  #forms: ChunkForm[] = [];
  #isPaused = false;

  onStreamDrained(): void {
    if (!this.#isPaused || this.isOver) return;
    this.#isPaused = false;
    this.resumeAll();
  }

  protected onText(choice: Choice, response: TextResponse): void {
    const form = this.#begin(choice);
    const { text, logprobs, toolCalls } = response;
    if (logprobs.length > 0 && this.spec.wantsLogprobs) this.#writeWithLogprobs(form, choice, text, logprobs);
    else if (text.length > 0) this.#write(form.text(text));
    if (toolCalls.length > 0 && this.spec.kind === 'chat') {
      this.#write(form.event(JSON.stringify(toolCallDelta(readToolCalls(toolCalls))), 'null', ''));
    }
  }

  protected onChoiceEnd(choice: Choice): void {
    const form = this.#begin(choice);
    const finishReason = choice.finishReason === '' ? 'stop' : choice.finishReason;
    this.#write(form.event(this.spec.kind === 'chat' ? '{}' : '""', 'null', finishReason));
  }

  protected onEnd(): void {
    const usage = this.spec.includesUsage ? usageOf(this.choices, this.spec.n) : null;
    if (usage !== null) this.#write(`data: {${this.#envelope},"choices":[],"usage":${JSON.stringify(usage)}}\n\n`);
    this.#write(DONE);
    this.#stream!.end();
  }

  protected onFailure(error: InferenceError): void {
    if (this.#stream === null) {
      respondError(this.exchange, error, this.spec.paramNames);
      return;
    }
    this.#write(`data: ${encodeError(error, this.spec.paramNames)}\n\n${DONE}`);
    this.#stream.end();
  }

  #begin(choice: Choice): ChunkForm {
    if (this.#stream === null) this.#open();
    const form = this.#forms[choice.index]!;
    if (!choice.hasBegun) {
      choice.hasBegun = true;
      const { kind, echoes, prompts, n } = this.spec;
      if (kind === 'chat') this.#write(form.event(ROLE, 'null', ''));
      const prompt = prompts[Math.floor(choice.index / n)]!;
      if (echoes && prompt.kind === 'text') this.#write(form.text(prompt.text));
    }
    return form;
  }

  #open(): void {
    const { spec } = this;
    const object = spec.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
    const head = { id: this.id, object, created: this.created, model: spec.model, system_fingerprint: fingerprint(this) };
    this.#envelope = JSON.stringify(head).slice(1, -1);
    this.#forms = this.choices.map(({ index }) => new ChunkForm(spec.kind, this.#envelope, index, spec.includesUsage));
    // Proxies such as nginx would keep events back.
    const headers = [...answerHeaders(EVENT_STREAM, this.id, this.spec.ignored), 'cache-control', 'no-cache', 'x-accel-buffering', 'no'];
    this.#stream = this.exchange.startStream(200, headers);
    this.#stream.drainListener = this;
  }

  #writeWithLogprobs(form: ChunkForm, choice: Choice, text: Uint8Array, json: Uint8Array): void {
    const tokens = readLogprobs(json);
    if (text.length === 0 && tokens.length === 0) return;
    const content = JSON.stringify(asText(text));
    if (this.spec.kind === 'chat') {
      // Tokens without text are those of a tool call.
      this.#write(form.event(text.length === 0 ? '{}' : `{"content":${content}}`, JSON.stringify(chatLogprobs(tokens)), ''));
      return;
    }
    const { json: logprobs, end } = completionLogprobs(tokens, choice.textOffset);
    choice.textOffset = end;
    this.#write(form.event(content, JSON.stringify(logprobs), ''));
  }

  #write(part: string | Uint8Array): void {
    if (this.#stream!.write(part) || this.#isPaused) return;
    this.#isPaused = true;
    this.pauseAll();
  }
}
