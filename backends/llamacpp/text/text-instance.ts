/** @hotpath a request to a model that generates text: inputs to a job of the engine, its tokens to responses */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledModelInstance, DecoupledRequest, EngineStatistics } from '../../api/backend.ts';
import type { ChatFormat, ChatPrompt } from '../chat/chat-format.ts';
import type { ToolCallParser } from '../chat/tool-call-parser.ts';
import type { Generation, GenerationJob } from '../engine/generation-job.ts';
import { checkGrammar } from '../grammar/check-grammar.ts';
import { jsonSchemaToGbnf } from '../grammar/json-schema-to-gbnf.ts';
import { GeneratedText } from './generated-text.ts';
import { readSampling, type TextSampling } from './read-sampling.ts';
import { type PromptInput, readTextRequest, type TextRequest } from './read-text-request.ts';
import { StopStrings } from './stop-strings.ts';
import { TextAnswer } from './text-answer.ts';
import { TokenText } from './token-text.ts';
import { Tokenizer } from './tokenizer.ts';
import type { Vocabulary } from './vocabulary.ts';

/** The engine, as the text side sees it. */
export interface TextEngine {
  generate(job: GenerationJob): Generation;
  statistics(): EngineStatistics;
}

export interface TextLimits {
  /** Tokens of a sequence: the prompt and the answer. */
  readonly contextSize: number;
  /** Null: what the context holds. */
  readonly maxInputTokens: number | null;
  readonly maxOutputTokens: number | null;
  /** Where a request does not say. */
  readonly defaultMaxTokens: number;
  /** Whether GBNF of clients is taken. */
  readonly allowsGrammar: boolean;
}

export interface TextInstanceOptions {
  readonly engine: TextEngine;
  readonly vocabulary: Vocabulary;
  /** Null: the model takes no messages. */
  readonly chat: Pick<ChatFormat, 'prompt'> | null;
  /** Throws what llama.cpp throws at GBNF text that it does not take. */
  readonly compileGrammar: (text: string) => unknown;
  readonly limits: TextLimits;
  /** Of the engine: requests at once. */
  readonly sequences: number;
  /** Ends the engine. */
  readonly dispose: () => Promise<void>;
}

/** What is to be generated, and how it becomes an answer. */
interface PreparedRequest {
  readonly prompt: Uint32Array;
  /** The prompt's own text, in front of the answer; null: not asked for. */
  readonly shownPrompt: Uint8Array | null;
  readonly grammar: string | null;
  readonly stops: readonly string[];
  readonly shownTokens: ReadonlySet<number>;
  readonly parser: ToolCallParser | null;
}

/** Messages of more characters for each token that fits are too long whatever they say: they are not rendered, which takes time by their length. */
const MAX_LENGTH_PER_TOKEN = 64;
const MIN_MESSAGES_LENGTH = 65_536;

const GRAMMAR_REFUSAL = 'grammar: this model takes no grammars of clients; its owner allows them with parameters allow_grammar';

const noNames: readonly string[] = [];
const noTokens: ReadonlySet<number> = new Set();

/**
 * A loaded model that generates text (tensors: text-metadata.ts). Its errors begin with the name of the input or sampling parameter that is at
 * fault.
 */
export class TextInstance implements DecoupledModelInstance {
  readonly maxRequests: number;
  readonly #engine: TextEngine;
  readonly #tokens: TokenText;
  readonly #tokenizer: Tokenizer;
  readonly #vocabulary: Vocabulary;
  readonly #chat: Pick<ChatFormat, 'prompt'> | null;
  readonly #compileGrammar: (text: string) => unknown;
  readonly #limits: TextLimits;
  readonly #maxPrompt: number;
  readonly #dispose: () => Promise<void>;
  #isDisposed = false;

  constructor(options: TextInstanceOptions) {
    const { vocabulary, limits } = options;
    this.maxRequests = options.sequences;
    this.#engine = options.engine;
    this.#vocabulary = vocabulary;
    this.#tokens = new TokenText(vocabulary);
    this.#tokenizer = new Tokenizer(vocabulary);
    this.#chat = options.chat;
    this.#compileGrammar = options.compileGrammar;
    this.#limits = limits;
    this.#maxPrompt = Math.min(limits.maxInputTokens ?? limits.contextSize, limits.contextSize - 1);
    this.#dispose = options.dispose;
  }

  async *infer(asking: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
    const { signal } = asking;
    if (this.#isDisposed) throw new InferenceError('UNAVAILABLE', 'the model instance is disposed of');
    const { size } = this.#vocabulary.tokens;
    const request = readTextRequest(asking.inputs, asking.request?.outputs ?? noNames, size);
    const { contextSize, maxOutputTokens, defaultMaxTokens } = this.#limits;
    const sampling = readSampling(request.sampling, asking.parameters, {
      vocabularySize: size,
      defaultMaxTokens,
      maxOutputTokens: maxOutputTokens ?? Number.POSITIVE_INFINITY,
    });
    const prepared = await this.#prepare(request, sampling);
    if (signal.aborted) return;
    const { prompt } = prepared;
    const { isStream } = request;
    const asked = askedOutputs(request, sampling);
    const generation = this.#engine.generate({
      prompt,
      maxTokens: Math.min(sampling.maxTokens, contextSize - prompt.length),
      sampling: sampling.settings,
      grammar: prepared.grammar,
      topLogprobs: asked.logprobs || asked.cumulativeLogprob ? Math.max(sampling.logprobs, 0) : -1,
      ignoresEnd: sampling.ignoresEnd,
      minTokens: sampling.minTokens,
      stopTokens: sampling.stopTokens,
      signal,
      progress: () => asking.progress?.(),
    });
    asking.used?.(prompt.length, 0);
    const text = new GeneratedText({
      tokens: this.#tokens,
      stops: new StopStrings(prepared.stops),
      showsStop: sampling.showsStop,
      shownTokens: prepared.shownTokens,
      keepsTokens: asked.logprobs,
      minTokens: sampling.minTokens,
      lead: TextAnswer.LEAD,
    });
    if (prepared.shownPrompt !== null) text.begin(prepared.shownPrompt);
    const answer = new TextAnswer({ text, tokens: this.#tokens, asked, parser: prepared.parser, inputTokens: prompt.length });
    for await (const generated of generation) {
      // Leaving the loop frees the sequence.
      if (answer.push(generated)) break;
      if (isStream && answer.hasNews) {
        yield answer.response('', generation.cachedTokens);
        answer.release();
      } else {
        asking.progress?.();
      }
    }
    if (signal.aborted) return;
    asking.used?.(prompt.length, answer.outputTokens);
    yield answer.response(answer.finish(text.isStopped ? 'stop' : (generation.finish ?? 'stop')), generation.cachedTokens);
  }

  statistics(): EngineStatistics {
    return this.#engine.statistics();
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await this.#dispose();
  }

  async #prepare({ prompt: input, repeatsPrompt }: TextRequest, sampling: TextSampling): Promise<PreparedRequest> {
    const grammar = this.#grammarOf(sampling);
    if (input.kind === 'messages') return this.#prepareChat(this.#renderChat(input, sampling), sampling, grammar);
    const prompt = input.kind === 'tokens' ? input.tokens : await this.#tokenizer.prompt(input.text, this.#maxPrompt);
    const count = typeof prompt === 'number' ? prompt : prompt.length;
    if (typeof prompt === 'number' || count > this.#maxPrompt) {
      throw this.#tooMany(count, typeof prompt === 'number');
    }
    if (count === 0)
      throw invalidArgument('text_input: expected text that has tokens, got none: this model has no BOS token to begin with');
    let shownPrompt: Uint8Array | null = null;
    if (repeatsPrompt) shownPrompt = input.kind === 'text' ? Buffer.from(input.text, 'utf8') : this.#bytesOf(prompt);
    return { prompt, shownPrompt, grammar, stops: sampling.stops, shownTokens: noTokens, parser: null };
  }

  #renderChat({ messages, tools, toolChoice }: PromptInput & { kind: 'messages' }, { parallelToolCalls }: TextSampling): ChatPrompt {
    if (this.#chat === null) throw invalidArgument('messages: this model takes none; send text_input or input_ids');
    const length = messages.length + (tools?.length ?? 0);
    if (length > Math.max(MIN_MESSAGES_LENGTH, this.#maxPrompt * MAX_LENGTH_PER_TOKEN))
      throw this.#tooLong(`${length} characters of messages and tools`);
    return this.#chat.prompt(messages, tools, toolChoice, { parallelToolCalls });
  }

  #prepareChat(chat: ChatPrompt, sampling: TextSampling, grammar: string | null): PreparedRequest {
    const prompt = chat.tokens;
    if (prompt.length > this.#maxPrompt) throw this.#tooMany(prompt.length, false);
    if (prompt.length === 0) throw invalidArgument("messages: expected messages that have tokens, got none from the model's chat template");
    if (chat.grammar !== null && grammar !== null) {
      throw invalidArgument(
        'tool_choice: expected "auto" or "none" together with json_schema, json_object or grammar, got a required call',
      );
    }
    return {
      prompt,
      shownPrompt: null,
      grammar: chat.grammar ?? grammar,
      stops: chat.stops.length === 0 ? sampling.stops : [...sampling.stops, ...chat.stops],
      shownTokens: chat.shownTokens,
      parser: chat.newToolParser(),
    };
  }

  #grammarOf({ jsonSchema, isJsonObject, grammar }: TextSampling): string | null {
    if (grammar !== null) {
      if (!this.#limits.allowsGrammar) throw invalidArgument(GRAMMAR_REFUSAL);
      checkGrammar(grammar, this.#compileGrammar);
      return grammar;
    }
    if (isJsonObject) return jsonSchemaToGbnf({ type: 'object' }, 'json_object');
    return jsonSchema === undefined ? null : jsonSchemaToGbnf(jsonSchema, 'json_schema');
  }

  #bytesOf(tokens: Uint32Array): Uint8Array {
    return Buffer.concat(Array.from(tokens, (token) => this.#tokens.bytes(token)));
  }

  #tooMany(count: number, isLeast: boolean): InferenceError {
    const tokens = `${isLeast ? 'at least ' : ''}${count} tokens`;
    if (count >= this.#limits.contextSize) return this.#tooLong(tokens);
    return invalidArgument(`prompt: expected at most ${this.#limits.maxInputTokens} tokens, the model's max_input_tokens, got ${tokens}`);
  }

  #tooLong(what: string): InferenceError {
    return invalidArgument(
      `prompt: ${what} and 1 token to come do not fit the context of ${this.#limits.contextSize} tokens: send a shorter prompt, or load the model with a larger context_size`,
    );
  }
}

function askedOutputs({ asked }: TextRequest, { logprobs }: TextSampling): TextRequest['asked'] {
  return logprobs < 0 || asked.logprobs ? asked : { ...asked, logprobs: true };
}
