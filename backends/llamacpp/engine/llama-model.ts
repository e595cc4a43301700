import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { WriteLog } from '../native/addon-log.ts';
import type { AddonModel, AddonModelLora } from '../native/llama-addon.ts';
import { type LoadedAddon, loadAddon } from '../native/load-addon.ts';
import { type LlamaOptions, PLAIN_TYPES, type Pooling } from '../options/llama-options.ts';
import { TokenTable } from './token-table.ts';

/** What the file's header says, and the addon does not tell. */
export interface ModelFacts {
  /** Tokens of the vocabulary; 0: it has none. */
  readonly vocabularySize: number;
  readonly layers: number;
  /** Numbers of one attention head's keys; 0: unknown. */
  readonly headSize?: number;
  /** `general.architecture`, for `pooling`: its metadata's names begin so. */
  readonly architecture?: string;
  /** Tokens that sliding-window attention looks back; 0: none, or unknown. */
  readonly slidingWindow: number;
}

export interface LoraFile {
  readonly path: string;
  readonly scale: number;
}

/** On the CPU, flash attention takes 2 to 3 times as long as the other kind where heads are smaller, and less where they are not (measured: 32 against 64 and 128). */
const SMALLEST_FLASH_HEAD = 64;
/** Of a GPU's memory, what weights may take where nobody says how many layers; the rest is for the KV cache and for computing. */
const WEIGHTS_SHARE = 0.75;
/** `llama_pooling_type`. */
const POOLING_TYPES: Readonly<Record<Pooling, number>> = { mean: 1, cls: 2, last: 3, rank: 4 };
const ALL_LAYERS = 1_000_000;
/** Characters of one to four bytes; some vocabularies have no token for one, and none for its bytes. */
const PROBE_TEXT = '"\n é☂😀';

/** An opened model without a context. Its file's header has been checked: llama.cpp ends the process on some that are bad. */
export class LlamaModel {
  readonly native: LoadedAddon;
  readonly addonModel: AddonModel;
  readonly tokens: TokenTable;
  readonly facts: ModelFacts;
  /** 0: the file does not say. */
  readonly trainContextSize: number;
  readonly loras: readonly AddonModelLora[];
  readonly loraScales: readonly number[];
  #isClosed = false;

  private constructor(
    native: LoadedAddon,
    addonModel: AddonModel,
    tokens: TokenTable,
    facts: ModelFacts,
    loras: readonly AddonModelLora[],
    scales: readonly number[],
  ) {
    this.native = native;
    this.addonModel = addonModel;
    this.tokens = tokens;
    this.facts = facts;
    this.trainContextSize = addonModel.getTrainContextSize();
    this.loras = loras;
    this.loraScales = scales;
  }

  /** Throws INVALID_ARGUMENT where llama.cpp does not take a file, UNAVAILABLE where the addon is missing. */
  static async open(
    path: string,
    options: LlamaOptions,
    log: WriteLog,
    facts: ModelFacts,
    loras: readonly LoraFile[] = [],
  ): Promise<LlamaModel> {
    const native = await loadAddon(log);
    const { addon } = native;
    await native.takeProblems();
    const gpuLayers = options.gpuLayers === 'auto' ? await layersThatFit(native, path, facts.layers) : options.gpuLayers;
    const model = new addon.AddonModel(path, {
      gpuLayers,
      useMmap: options.usesMmap,
      useMlock: options.usesMlock,
      ...(options.pooling === null
        ? {}
        : { overridesList: [[`${facts.architecture}.pooling_type`, POOLING_TYPES[options.pooling], 0] as const] }),
    });
    let isLoaded = false;
    let problem: unknown = null;
    try {
      isLoaded = await model.init();
    } catch (error) {
      problem = error;
    }
    if (!isLoaded) {
      await model.dispose();
      throw await refusal(native, path, 'does not load this file', problem);
    }
    try {
      const adapters: AddonModelLora[] = [];
      for (const lora of loras) {
        const adapter = new addon.AddonModelLora(model, lora.path);
        try {
          await model.loadLora(adapter);
        } catch (error) {
          throw await refusal(native, lora.path, `does not take the adapter ${basename(lora.path)} for this model`, error);
        }
        adapters.push(adapter);
      }
      const tokens = await TokenTable.read(model, facts.vocabularySize);
      // What ends the process at some text does so while it loads.
      if (tokens.size > 0) model.tokenize(PROBE_TEXT, false);
      return new LlamaModel(
        native,
        model,
        tokens,
        facts,
        adapters,
        loras.map(({ scale }) => scale),
      );
    } catch (error) {
      await model.dispose();
      throw error;
    }
  }

  /** What a context of this model is made with where the options leave it open. */
  flashAttention({ flashAttention, kvValueType }: Pick<LlamaOptions, 'flashAttention' | 'kvValueType'>): boolean | 'auto' {
    if (flashAttention !== 'auto') return flashAttention;
    const { headSize = 0 } = this.facts;
    const isSmall = headSize > 0 && headSize < SMALLEST_FLASH_HEAD;
    // Quantized values need it.
    const isFree = !this.native.addon.getGpuType() && PLAIN_TYPES.includes(kvValueType);
    return isSmall && isFree ? false : 'auto';
  }

  /** Special tokens in the text are text, unless `parseSpecial`. No BOS or EOS is added. Takes time by the text's length, about 0.3 ms for 1,000 characters. */
  tokenize(text: string, parseSpecial: boolean): Uint32Array {
    if (this.#isClosed) throw new InferenceError('UNAVAILABLE', 'the model is unloaded');
    return this.addonModel.tokenize(text, parseSpecial);
  }

  /** After every context of it is closed. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.addonModel.dispose();
  }
}

/** What llama.cpp says of it, in a sentence that holds no path. */
export async function refusal(native: LoadedAddon, path: string, what: string, cause: unknown): Promise<InferenceError> {
  const problems = await native.takeProblems();
  // Its last line is the least precise: "failed to load model".
  const said = problems.length > 0 ? problems.slice(0, 2).join('; ') : cause instanceof Error ? cause.message : 'it does not say why';
  const text = said.replaceAll(path, basename(path)).replaceAll(/\s+/g, ' ').slice(0, 500);
  const error = invalidArgument(`llama.cpp ${what}: ${text}`);
  error.cause = cause ?? problems.join('\n');
  return error;
}

async function layersThatFit(native: LoadedAddon, path: string, layers: number): Promise<number> {
  const type = native.addon.getGpuType();
  if (type === false || type === undefined) return 0;
  const { total, used } = native.addon.getGpuVramInfo();
  const { size } = await stat(path);
  const room = (total - used) * WEIGHTS_SHARE;
  if (size <= room) return ALL_LAYERS;
  return Math.max(0, Math.floor((layers * room) / size));
}
