/** @hotpath one object per call, one Choice per answer in it (measured by encode-chunk.bench.ts) */

import { randomBytes } from 'node:crypto';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpAbortListener, HttpExchange } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import type { GenerationSpec } from './generation-spec.ts';
import { makeRequests } from './make-requests.ts';
import { TextResponse, type TokenCounts } from './text-response.ts';

/** Of the response being handled; it is done with within one call. */
const opened: TextResponse = new TextResponse();

/** A call of chat completions or completions whose model is known: its requests, until the last of them has ended. How it is answered is for those that extend it. */
export abstract class GenerationCall implements HttpAbortListener {
  readonly exchange: HttpExchange;
  readonly context: ProtocolContext;
  readonly spec: GenerationSpec;
  readonly model: Model;
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number = Math.floor(Date.now() / 1000);
  readonly choices: readonly Choice[];
  #requests: readonly InferenceRequest[] = [];
  #running = 0;
  /** It is answered, or nobody waits: whatever its requests still say is dropped. */
  #isOver = false;

  constructor(exchange: HttpExchange, context: ProtocolContext, spec: GenerationSpec, model: Model) {
    this.exchange = exchange;
    this.context = context;
    this.spec = spec;
    this.model = model;
    this.id = `${spec.kind === 'chat' ? 'chatcmpl' : 'cmpl'}-${randomBytes(16).toString('hex')}`;
    const choices: Choice[] = [];
    for (let index = 0; index < spec.n * spec.prompts.length; index++) choices.push(new Choice(this, index));
    this.choices = choices;
  }

  /** `version`: as the client asked for it, or ''. Throws what a refused request throws; then none of them runs. */
  start(version: string, wantsUsage: boolean, deadlineNs: number): void {
    const requests = makeRequests(this.spec, this.model, this.id, version, { usage: wantsUsage }, this.choices);
    this.#requests = requests;
    this.#running = requests.length;
    this.exchange.abortListener = this;
    for (const request of requests) {
      request.deadlineNs = deadlineNs;
      try {
        this.context.door.infer(request, this.model);
      } catch (error) {
        this.#cancelAll();
        this.exchange.abortListener = null;
        throw error;
      }
    }
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** One response to one of its requests; borrowed. */
  protected abstract onText(choice: Choice, response: TextResponse): void;
  protected abstract onChoiceEnd(choice: Choice): void;
  /** All choices have ended. */
  protected abstract onEnd(): void;
  /** One has failed; the others are cancelled. */
  protected abstract onFailure(error: InferenceError): void;

  choiceResponded(choice: Choice, response: InferenceResponse, isFinal: boolean): void {
    if (this.#isOver) return;
    try {
      opened.open(response, choice);
      if (opened.finishReason !== '') choice.finishReason = opened.finishReason;
      this.onText(choice, opened);
    } catch (error) {
      this.choiceFailed(InferenceError.from(error));
      return;
    } finally {
      opened.close();
    }
    if (isFinal) this.choiceEnded(choice);
  }

  choiceEnded(choice: Choice): void {
    if (this.#isOver) return;
    try {
      this.onChoiceEnd(choice);
      if (--this.#running > 0) return;
      this.#isOver = true;
      this.onEnd();
    } catch (error) {
      this.#isOver = false;
      this.choiceFailed(InferenceError.from(error));
    }
  }

  choiceFailed(error: InferenceError): void {
    if (this.#isOver) return;
    this.context.reportFault(error);
    this.#cancelAll();
    this.onFailure(error);
  }

  onExchangeAborted(): void {
    this.#cancelAll();
  }

  pauseAll(): void {
    for (const request of this.#requests) request.pauseResponses();
  }

  resumeAll(): void {
    for (const request of this.#requests) request.resumeResponses();
  }

  #cancelAll(): void {
    this.#isOver = true;
    // Those that were never sent through the door have nobody who would hear of it.
    for (const request of this.#requests) if (request.model !== null) request.cancel();
  }
}

/** One answer of a call, by its index in `choices`. */
export class Choice implements InferenceCaller, TokenCounts {
  readonly index: number;
  inputTokens = -1;
  outputTokens = -1;
  cachedTokens = -1;
  /** '' until the model has said it. */
  finishReason = '';
  hasBegun = false;
  /** Where the next token begins in the answer, characters; for log probabilities of completions. */
  textOffset = 0;
  readonly #call: GenerationCall;

  constructor(call: GenerationCall, index: number) {
    this.#call = call;
    this.index = index;
  }

  onResponse(_request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    this.#call.choiceResponded(this, response, isFinal);
  }

  onComplete(): void {
    this.#call.choiceEnded(this);
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.#call.choiceFailed(error);
  }
}
