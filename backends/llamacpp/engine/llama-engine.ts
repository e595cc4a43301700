import { invalidArgument } from '../../../proto/inference-error.ts';
import type { HostServices } from '../../api/backend.ts';
import type { AddonContext } from '../native/llama-addon.ts';
import { type LlamaOptions, resolveContextSize } from '../options/llama-options.ts';
import { ActiveGeneration, type GenerationOwner } from './active-generation.ts';
import { cancelled, unloaded } from './engine-errors.ts';
import type { EngineStatistics } from './engine-statistics.ts';
import type { Generation, GenerationJob } from './generation-job.ts';
import { GrammarCache } from './grammar-cache.ts';
import { JobSampler } from './job-sampler.ts';
import { LlamaModel, type LoraFile, type ModelFacts, refusal } from './llama-model.ts';
import { SamplerPool } from './sampler-pool.ts';
import { SlotTable } from './slot-table.ts';
import { StepLoop } from './step-loop.ts';
import { StepWidth } from './step-width.ts';
import type { TokenTable } from './token-table.ts';

/** Jobs that wait for a sequence, for each sequence: the queue proper is the server's. */
const WAITING_PER_SEQUENCE = 4;

/** A text-generating model with its context: jobs in, tokens out. */
export class LlamaEngine implements GenerationOwner {
  readonly model: LlamaModel;
  readonly tokens: TokenTable;
  /** Tokens of one sequence. */
  readonly contextSize: number;
  readonly sequences: number;
  readonly #context: AddonContext;
  readonly #table: SlotTable;
  readonly #loop: StepLoop;
  readonly #grammars: GrammarCache;
  readonly #samplers: SamplerPool;
  #isClosed = false;
  #ownsModel = false;

  private constructor(model: LlamaModel, context: AddonContext, contextSize: number, { sequences, batchSize, prefillChunk }: LlamaOptions) {
    this.model = model;
    this.tokens = model.tokens;
    this.contextSize = contextSize;
    this.sequences = sequences;
    this.#context = context;
    this.#table = new SlotTable(context, sequences, contextSize, model.facts.slidingWindow, sequences * WAITING_PER_SEQUENCE);
    this.#loop = new StepLoop(
      context,
      this.#table,
      { batchSize, prefillChunk, contextSize, width: new StepWidth(sequences) },
      model.tokens.isEnd,
    );
    this.#grammars = new GrammarCache(model.native.addon, model.addonModel);
    this.#samplers = new SamplerPool(model.native.addon, model.addonModel, sequences);
  }

  /** A context for an opened model, which stays the caller's. `modelPath`: of its file, for errors. Throws INVALID_ARGUMENT where the options do not fit the model. */
  static async create(model: LlamaModel, modelPath: string, options: LlamaOptions): Promise<LlamaEngine> {
    if (model.tokens.size === 0)
      throw invalidArgument('the file has no vocabulary (tokenizer.ggml.tokens), so nothing can be generated with it');
    const contextSize = resolveContextSize(options.contextSize, model.trainContextSize);
    const context = new model.native.addon.AddonContext(model.addonModel, {
      contextSize: contextSize * options.sequences,
      batchSize: options.batchSize,
      sequences: options.sequences,
      flashAttention: model.flashAttention(options),
      threads: options.threads,
      kvCacheKeyType: options.kvKeyType,
      kvCacheValueType: options.kvValueType,
    });
    let isMade = false;
    let problem: unknown = null;
    try {
      isMade = await context.init();
    } catch (error) {
      problem = error;
    }
    if (!isMade) {
      await context.dispose();
      const what = `does not make a context of ${options.sequences} sequences of ${contextSize} tokens (parameters sequences, context_size, kv_cache_type, flash_attention)`;
      throw await refusal(model.native, modelPath, what, problem);
    }
    try {
      if (model.loras.length > 0) context.setLoras(model.loras, model.loraScales);
      await probeStep(context, model.tokens.bos ?? 0);
      return new LlamaEngine(model, context, contextSize, options);
    } catch (error) {
      await context.dispose();
      throw await refusal(model.native, modelPath, 'makes no step with this model', error);
    }
  }

  /** An engine with a model of its own, which `close` closes too. The file's header has been checked, and `facts` are from it. */
  static async open(
    modelPath: string,
    options: LlamaOptions,
    services: Pick<HostServices, 'log'>,
    facts: ModelFacts,
    loras: readonly LoraFile[] = [],
  ): Promise<LlamaEngine> {
    const model = await LlamaModel.open(modelPath, options, (level, text) => services.log(level, text), facts, loras);
    try {
      const engine = await LlamaEngine.create(model, modelPath, options);
      engine.#ownsModel = true;
      return engine;
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /** 0: the file does not say. */
  get trainContextSize(): number {
    return this.model.trainContextSize;
  }

  /**
   * Runs a job. Throws INVALID_ARGUMENT for a grammar that does not parse or a prompt that does not fit, RESOURCE_EXHAUSTED where too many wait already, UNAVAILABLE after `close`. Its
   * iteration throws CANCELLED when the signal has aborted and its sequence is free.
   */
  generate(job: GenerationJob): Generation {
    if (this.#isClosed) throw unloaded();
    if (job.signal.aborted) throw cancelled();
    this.#check(job);
    this.#table.checkRoom();
    const grammar = job.grammar === null ? null : this.#grammars.start(job.grammar);
    const sampler = new JobSampler(this.#samplers, this.tokens, this.contextSize, job, grammar);
    const generation = new ActiveGeneration(job, sampler, this);
    this.#table.add(generation);
    this.#loop.wake();
    return generation;
  }

  /** Special tokens in the text are text, unless `parseSpecial`; no BOS or EOS is added. */
  tokenize(text: string, parseSpecial: boolean): Uint32Array {
    return this.model.tokenize(text, parseSpecial);
  }

  tokenText(token: number): string {
    return this.tokens.text(token);
  }

  isEog(token: number): boolean {
    return this.tokens.isEog(token);
  }

  /** Throws INVALID_ARGUMENT for GBNF text that does not parse; what does is kept for jobs to come. */
  compileGrammar(text: string): void {
    this.#grammars.compile(text);
  }

  statistics(): EngineStatistics {
    const table = this.#table;
    const loop = this.#loop;
    let runningSequences = 0;
    let prefillingSequences = 0;
    let parkedSequences = 0;
    let kvTokensUsed = 0;
    for (const { job, length, promptLength } of table.slots) {
      kvTokensUsed += length;
      if (job === null) continue;
      runningSequences++;
      if (length < promptLength) prefillingSequences++;
      else if (job.isParked) parkedSequences++;
    }
    return {
      promptTokens: loop.promptTokens,
      cachedPromptTokens: table.cachedPromptTokens,
      generatedTokens: loop.generatedTokens,
      steps: loop.steps,
      failedSteps: loop.failedSteps,
      jobs: table.jobs,
      jobsWithPrefix: table.jobsWithPrefix,
      runningSequences,
      prefillingSequences,
      parkedSequences,
      waitingJobs: table.waiting,
      sequences: this.sequences,
      kvTokensUsed,
      kvTokensTotal: this.sequences * this.contextSize,
    };
  }

  generationCancelled(generation: ActiveGeneration): void {
    if (!this.#table.removeWaiting(generation)) this.#loop.wake();
  }

  generationResumed(): void {
    this.#loop.wake();
  }

  /** After the step that runs; jobs that have not ended fail with UNAVAILABLE. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#loop.stop();
    this.#grammars.clear();
    this.#samplers.dispose();
    await this.#context.dispose();
    if (this.#ownsModel) await this.model.close();
  }

  /** What would end the process in native code, or never end. */
  #check({ prompt, maxTokens }: GenerationJob): void {
    if (prompt.length === 0) throw invalidArgument('prompt: expected at least one token, got none');
    if (prompt.length >= this.contextSize) {
      throw invalidArgument(
        `prompt: ${prompt.length} tokens and one to come do not fit the context of ${this.contextSize}; shorten it, or set context_size`,
      );
    }
    const { size } = this.tokens;
    for (let i = 0; i < prompt.length; i++) {
      if (prompt[i]! >= size) throw invalidArgument(`prompt: expected tokens from 0 to ${size - 1}, got ${prompt[i]} at ${i}`);
    }
    if (!(maxTokens >= 1)) throw invalidArgument(`max_tokens: expected 1 or more, got ${maxTokens}`);
  }
}

/** What this llama.cpp cannot compute fails at the first step, or ends the process there: while it loads, then. */
async function probeStep(context: AddonContext, token: number): Promise<void> {
  context.initBatch(1);
  context.addToBatch(0, 0, Uint32Array.of(token), Uint32Array.of(0));
  await context.decodeBatch();
  context.disposeSequence(0);
}
