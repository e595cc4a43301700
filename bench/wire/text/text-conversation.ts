/** @hotpath prompts that were encoded before, and their answers, whole or as events (measured by text-event.bench.ts) */

import type { LaneSink } from '../../load/lane.ts';
import type { Outcome } from '../../load/load-window.ts';
import type { LoadSocket } from '../../load/socket-loop.ts';
import type { Conversation } from '../http/conversation.ts';
import { errorText } from '../http/error-texts.ts';
import type { BodyListener, ResponseParser } from '../http/response-parser.ts';
import { type EventListener, EventScanner } from './event-scanner.ts';
import type { TextChecker } from './text-checker.ts';
import { TextEvent } from './text-event.ts';

/** A prompt as it goes over the wire. */
export interface EncodedPrompt {
  /** Head and body. */
  readonly bytes: Buffer;
  /** Whether the answer comes as events. */
  readonly isStream: boolean;
}

const DONE = Buffer.from('[DONE]');
/** Usage counts the token that ends an answer, which has no event. */
const TOKENS_WITHOUT_TEXT = 1;
/** Of events that are kept to be looked at as a whole. */
const MAX_DATA = 64 * 1024 * 1024;

/** Prompts and their answers over one connection: OpenAI's endpoints, or the generate extension. */
export class TextConversation implements Conversation, BodyListener, EventListener {
  readonly listener: BodyListener = this;
  status = '';
  message = '';
  readonly #prompts: readonly EncodedPrompt[];
  readonly #checker: TextChecker;
  readonly #sink: LaneSink;
  readonly #isOpenAi: boolean;
  readonly #event: TextEvent;
  readonly #scanner: EventScanner = new EventScanner(this);
  #slot = -1;
  #index = 0;
  #isStream = false;
  #validates = false;
  #events = 0;
  #tokens = 0;
  #isDone = false;
  /** Of an error that came as an event. */
  #error = '';
  /** Data of events that are to be looked at as a whole, and their bytes. */
  #data: string[] = [];
  #dataLength = 0;

  constructor(prompts: readonly EncodedPrompt[], protocol: 'openai' | 'generate', checker: TextChecker, sink: LaneSink) {
    this.#prompts = prompts;
    this.#checker = checker;
    this.#sink = sink;
    this.#isOpenAi = protocol === 'openai';
    this.#event = new TextEvent(protocol);
  }

  begin(slot: number, index: number, validate: boolean): boolean {
    this.#slot = slot;
    this.#index = index;
    this.#isStream = this.#prompts[index]!.isStream;
    this.#validates = validate;
    this.#events = 0;
    this.#tokens = 0;
    this.#isDone = false;
    this.#error = '';
    if (this.#data.length > 0) this.#data = [];
    this.#dataLength = 0;
    if (this.#isStream) this.#scanner.begin();
    // Of an answer in one piece the usage is wanted, or that there is no error in it.
    return !this.#isStream;
  }

  write(socket: LoadSocket, index: number): number {
    const { bytes } = this.#prompts[index]!;
    socket.write(bytes);
    return bytes.length;
  }

  onBody(bytes: Buffer, from: number, to: number): void {
    if (this.#isStream && this.#slot >= 0) this.#scanner.feed(bytes, from, to);
  }

  onEvent(bytes: Buffer, from: number, to: number): void {
    if (this.#slot < 0) return;
    this.#events++;
    if (this.#isOpenAi && to - from === DONE.length && bytes[from] === DONE[0] && bytes.compare(DONE, 0, DONE.length, from, to) === 0) {
      this.#isDone = true;
      return;
    }
    const event = this.#event;
    event.read(bytes, from, to);
    if (event.isError) {
      if (this.#error === '') this.#error = errorText(bytes.subarray(from, to));
      return;
    }
    if (this.#validates) this.#keep(bytes, from, to);
    const { completionTokens } = event;
    if (event.hasText || (!this.#isOpenAi && !event.hasTextOutput)) {
      // Usage in each event (`continuous_usage_stats`, of some servers) says how many tokens have come; without it an event is taken for one.
      this.#report(Math.max(1, completionTokens - this.#tokens));
    } else if (completionTokens > this.#tokens + TOKENS_WITHOUT_TEXT) {
      // Usage at the end: events had more tokens than one. Better late than not counted.
      this.#report(completionTokens - this.#tokens);
    }
  }

  judge(parser: ResponseParser): Outcome {
    const outcome = this.#isStream ? this.#judgeStream() : this.#judgeWhole(parser);
    this.#slot = -1;
    return outcome;
  }

  abort(): void {
    this.#slot = -1;
  }

  #keep(bytes: Buffer, from: number, to: number): void {
    this.#dataLength += to - from;
    if (this.#dataLength <= MAX_DATA) this.#data.push(bytes.toString('utf8', from, to));
  }

  #report(tokens: number): void {
    this.#tokens += tokens;
    this.#sink.part(this.#slot, tokens);
  }

  #judgeStream(): Outcome {
    this.#scanner.end();
    const { fault } = this.#scanner;
    if (this.#error !== '') return this.#not('failed', 'error in a stream', this.#error);
    if (fault !== '') return this.#not('failed', 'malformed answer', fault);
    if (this.#events === 0) return this.#not('failed', 'malformed answer', 'expected server-sent events, got an answer without one');
    if (this.#isOpenAi && !this.#isDone)
      return this.#not('failed', 'stream cut', `the stream ended after ${this.#events} events, without [DONE]`);
    if (!this.#validates) return 'ok';
    if (this.#dataLength > MAX_DATA)
      return this.#not('wrong', 'wrong answer', `the answer is larger than the ${MAX_DATA} bytes that can be looked at`);
    return this.#judged(this.#checker.check(this.#index, this.#data));
  }

  #judgeWhole({ body, isBodyCut }: ResponseParser): Outcome {
    if (isBodyCut) return this.#not('wrong', 'wrong answer', `the answer is larger than the ${body.length} bytes that can be looked at`);
    const event = this.#event;
    event.read(body, 0, body.length);
    if (event.isError) return this.#not('failed', 'error in an answer', errorText(body));
    const wrong = this.#validates ? this.#checker.check(this.#index, [body.toString('utf8')]) : '';
    // Without usage nobody knows how many tokens it has; embeddings have none.
    if (wrong === '' && event.completionTokens > 0) this.#sink.part(this.#slot, event.completionTokens);
    return this.#judged(wrong);
  }

  #judged(wrong: string): Outcome {
    return wrong === '' ? 'ok' : this.#not('wrong', 'wrong answer', wrong);
  }

  #not(outcome: Outcome, status: string, message: string): Outcome {
    this.status = status;
    this.message = message;
    return outcome;
  }
}
