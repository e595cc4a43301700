import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { DecoupledModelInstance } from '../../api/backend.ts';
import { type LlamaModel, refusal } from '../engine/llama-model.ts';
import { ATTENTION_ARCHITECTURES } from '../gguf/attention-architectures.ts';
import type { PoolingKind } from '../gguf/gguf-summary.ts';
import type { AddonContext } from '../native/llama-addon.ts';
import { type LlamaOptions, type Pooling, resolveContextSize } from '../options/llama-options.ts';
import { EmbeddingInstance } from './embedding-instance.ts';
import { RerankInstance } from './rerank-instance.ts';
import { VectorEngine } from './vector-engine.ts';

/** What the header of the model's file says. */
export interface VectorFacts {
  /** `general.architecture`. */
  readonly architecture: string;
  /** No token sees a later one. */
  readonly isCausal: boolean;
  /** Null: the file does not say. */
  readonly pooling: PoolingKind | null;
}

export interface RerankFacts extends VectorFacts {
  /** `tokenizer.chat_template.rerank`; null: none. */
  readonly template: string | null;
  /** It has the tensors that make a score of a vector: `cls.weight` or `cls.output.weight`. */
  readonly hasClassifier: boolean;
}

/** Architectures whose graph ends in a softmax (llama.cpp, `build_pooling`): their score is a probability. */
const PROBABILITY_ARCHITECTURES: ReadonlySet<string> = new Set(['qwen3', 'qwen3vl']);

/** An instance with a context of its own that makes a vector of each text. `path`: of the model's file. Throws INVALID_ARGUMENT: the model cannot, or the options do not fit it. */
export async function openEmbeddingInstance(
  model: LlamaModel,
  path: string,
  options: LlamaOptions,
  facts: VectorFacts,
): Promise<DecoupledModelInstance> {
  const width = model.addonModel.getEmbeddingVectorSize();
  return withEngine(model, path, options, { isRanking: false, inParts: isLastOfParts(facts, options.pooling) }, (engine, numbers) => {
    if (numbers !== width) {
      throw invalidArgument(
        `parameters['task']: expected rerank, got embed: the model gives ${numbers} numbers for a text, not a vector of ${width}`,
      );
    }
    return new EmbeddingInstance(model, engine, width);
  });
}

/** The same for a model that scores documents. */
export async function openRerankInstance(
  model: LlamaModel,
  path: string,
  options: LlamaOptions,
  facts: RerankFacts,
): Promise<DecoupledModelInstance> {
  if (!facts.hasClassifier) {
    throw invalidArgument(
      "parameters['task']: expected generate or embed, got rerank: the model's file has no classifier (cls.weight or cls.output.weight)",
    );
  }
  const settings = { template: facts.template, isProbability: PROBABILITY_ARCHITECTURES.has(facts.architecture) };
  const plan = { isRanking: true, inParts: PROBABILITY_ARCHITECTURES.has(facts.architecture) && facts.isCausal };
  return withEngine(model, path, options, plan, (engine) => new RerankInstance(model, engine, settings));
}

async function withEngine<T>(
  model: LlamaModel,
  path: string,
  options: LlamaOptions,
  plan: VectorPlan,
  make: (engine: VectorEngine, numbers: number) => T,
): Promise<T> {
  if (model.tokens.size === 0)
    throw invalidArgument("parameters['task']: expected generate, got embed or rerank: the model's file has no vocabulary");
  const contextSize = resolveContextSize(options.contextSize, model.trainContextSize);
  const maxTokens = Math.min(contextSize, options.maxInputTokens ?? contextSize);
  const batchSize = plan.inParts ? Math.min(options.batchSize, maxTokens) : maxTokens;
  const context = await openContext(model, path, options, maxTokens, batchSize, plan.isRanking);
  const engine = new VectorEngine(context, maxTokens, batchSize);
  try {
    // What a model cannot do shows with its first text: here, before it serves.
    const first = await engine.run(Uint32Array.of(model.tokens.bos ?? 0), new AbortController().signal);
    return make(engine, first?.length ?? 0);
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

interface VectorPlan {
  readonly isRanking: boolean;
  /** A text may go through in several batches. llama.cpp keeps the logits of a batch's every token, twice: with 32,000 tokens in the vocabulary and 4,096 in the batch 1 GB. */
  readonly inParts: boolean;
}

/** Attention that looks ahead, or a mean, needs the whole text at once; so it goes in parts only where the last token's vector is known to be the text's. */
function isLastOfParts({ architecture, isCausal, pooling }: VectorFacts, chosen: Pooling | null): boolean {
  if (!isCausal || !ATTENTION_ARCHITECTURES.has(architecture) || architecture.includes('bert')) return false;
  const kind = chosen ?? pooling ?? 'none';
  return kind === 'none' || kind === 'last';
}

async function openContext(
  model: LlamaModel,
  path: string,
  options: LlamaOptions,
  maxTokens: number,
  batchSize: number,
  isRanking: boolean,
): Promise<AddonContext> {
  const { native, addonModel, loras, loraScales } = model;
  const context = new native.addon.AddonContext(addonModel, {
    contextSize: maxTokens,
    batchSize,
    sequences: 1,
    flashAttention: model.flashAttention(options),
    threads: options.threads,
    kvCacheKeyType: options.kvKeyType,
    kvCacheValueType: options.kvValueType,
    embeddings: true,
    ...(isRanking ? { ranking: true } : {}),
  });
  let isOpen = false;
  let problem: unknown = null;
  try {
    isOpen = await context.init();
  } catch (error) {
    problem = error;
  }
  if (!isOpen) {
    await context.dispose();
    throw await refusal(native, path, 'opens no context for this model', problem);
  }
  try {
    if (loras.length > 0) context.setLoras(loras, loraScales);
    return context;
  } catch (error) {
    await context.dispose();
    throw InferenceError.from(error);
  }
}
