import { open, readFile, stat } from 'node:fs/promises';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Backend, BackendOptions, DecoupledModelInstance, Model, ModelInstance, ModelMetadata, ModelSpec } from '../api/backend.ts';
import { ChatFormat } from './chat/chat-format.ts';
import { embeddingMetadata, rerankMetadata } from './embedding/embedding-metadata.ts';
import { openEmbeddingInstance, openRerankInstance } from './embedding/open-embedding.ts';
import { chatNativeOf } from './engine/chat-native-of.ts';
import { LlamaEngine } from './engine/llama-engine.ts';
import { LlamaModel } from './engine/llama-model.ts';
import type { GgufSummary } from './gguf/gguf-summary.ts';
import { readGguf } from './gguf/read-gguf.ts';
import type { WriteLog } from './native/addon-log.ts';
import { BackendDefaults } from './options/backend-defaults.ts';
import { fileBeside } from './options/file-beside.ts';
import { type LlamaOptions, type LlamaTask, readLlamaOptions } from './options/llama-options.ts';
import { TextInstance } from './text/text-instance.ts';
import { textMetadata } from './text/text-metadata.ts';

/** Of a chat template in a file. */
const MAX_TEMPLATE_BYTES = 1 << 20;

const metadataOf: Readonly<Record<LlamaTask, ModelMetadata>> = { generate: textMetadata, embed: embeddingMetadata, rerank: rerankMetadata };

/** GGUF models, run by llama.cpp: they generate text, embed texts, or score documents. The addon is loaded with the first model. */
export function createBackend({ services, settings }: BackendOptions): Backend {
  return new LlamaCppBackend(services === undefined ? () => {} : (level, text) => services.log(level, text), settings);
}

class LlamaCppBackend implements Backend {
  readonly name = 'llamacpp';
  readonly #log: WriteLog;
  readonly #defaults: BackendDefaults;

  constructor(log: WriteLog, settings: BackendOptions['settings']) {
    this.#log = log;
    this.#defaults = new BackendDefaults(settings);
  }

  async load(spec: ModelSpec): Promise<Model> {
    const { config, modelPath, name } = spec;
    if (config.maxBatchSize > 0) {
      throw invalidArgument(
        `model '${name}': max_batch_size: expected 0 with the backend 'llamacpp', which batches by itself, got ${config.maxBatchSize}`,
      );
    }
    const options = readLlamaOptions(this.#defaults.complete(config));
    const summary = await readHeader(modelPath, "the model's file");
    if (summary.kind !== 'model') throw invalidArgument(`the model's file: expected general.type 'model', got '${summary.kind}'`);
    const loras = [];
    for (const { file, scale } of options.loras) {
      const path = await fileBeside(modelPath, file, 'lora');
      const { kind } = await readHeader(path, `parameters['lora']: ${file}`);
      if (kind !== 'adapter') throw invalidArgument(`parameters['lora']: ${file}: expected general.type 'adapter', got '${kind}'`);
      loras.push({ path, scale });
    }
    const template = await readTemplate(modelPath, options);
    const facts = {
      architecture: summary.architecture,
      vocabularySize: summary.vocabularyLength,
      layers: summary.blockCount,
      headSize: summary.headSize,
      slidingWindow: summary.slidingWindow,
    };
    const model = await LlamaModel.open(modelPath, options, this.#log, facts, loras);
    return new LlamaCppModel({ spec, options, summary, model, template: template ?? summary.chatTemplate });
  }

  async close(): Promise<void> {}
}

interface LoadedModel {
  readonly spec: ModelSpec;
  readonly options: LlamaOptions;
  readonly summary: GgufSummary;
  readonly model: LlamaModel;
  /** Jinja text; null: neither file nor configuration has one. */
  readonly template: string | null;
}

class LlamaCppModel implements Model {
  readonly metadata: ModelMetadata;
  readonly #loaded: LoadedModel;
  readonly #task: LlamaTask;
  /** They share the weights, which go after them. */
  readonly #instances: Set<DecoupledModelInstance> = new Set();
  #isUnloaded = false;

  constructor(loaded: LoadedModel) {
    this.#loaded = loaded;
    this.#task = loaded.options.task ?? taskOf({ ...loaded.summary, pooling: loaded.options.pooling ?? loaded.summary.pooling });
    this.metadata = metadataOf[this.#task];
  }

  async createInstance(): Promise<ModelInstance> {
    throw invalidArgument(
      `model '${this.#loaded.spec.name}': the backend 'llamacpp' answers a request any number of times; set model_transaction_policy { decoupled: true }`,
    );
  }

  async createDecoupledInstance(): Promise<DecoupledModelInstance> {
    if (this.#isUnloaded) throw new InferenceError('UNAVAILABLE', 'the model is unloaded');
    const instance = await this.#createInstance();
    this.#instances.add(instance);
    return instance;
  }

  async unload(): Promise<void> {
    if (this.#isUnloaded) return;
    this.#isUnloaded = true;
    for (const instance of this.#instances) await instance.dispose();
    this.#instances.clear();
    await this.#loaded.model.close();
  }

  #createInstance(): Promise<DecoupledModelInstance> {
    const { model, options, spec, summary } = this.#loaded;
    if (this.#task === 'generate') return this.#createTextInstance();
    if (this.#task === 'embed') return openEmbeddingInstance(model, spec.modelPath, options, summary);
    const { architecture, isCausal, pooling, hasClassifier } = summary;
    const template = summary.namedChatTemplates.get('rerank') ?? null;
    return openRerankInstance(model, spec.modelPath, options, { architecture, isCausal, pooling, hasClassifier, template });
  }

  async #createTextInstance(): Promise<DecoupledModelInstance> {
    const { model, options, spec, summary, template } = this.#loaded;
    const engine = await LlamaEngine.create(model, spec.modelPath, options);
    try {
      const chat = ChatFormat.create(
        { template, toolTemplate: summary.namedChatTemplates.get('tool_use') ?? null, toolCallFormat: options.toolCallFormat },
        chatNativeOf(model),
      );
      return new TextInstance({
        engine,
        vocabulary: model,
        chat,
        compileGrammar: (text) => engine.compileGrammar(text),
        limits: { ...options, contextSize: engine.contextSize },
        sequences: engine.sequences,
        dispose: () => engine.close(),
      });
    } catch (error) {
      await engine.close();
      throw error;
    }
  }
}

function taskOf({ pooling, isCausal, hasClassifier }: GgufSummary): LlamaTask {
  if (pooling === 'rank' || (hasClassifier && !isCausal)) return 'rerank';
  return pooling !== null || !isCausal ? 'embed' : 'generate';
}

/** Checked here again, though the gateway has done so: what llama.cpp reads ends its process where it is bad enough, and the file may be another one by now. */
async function readHeader(path: string, what: string): Promise<GgufSummary> {
  const file = await open(path, 'r');
  try {
    return await readGguf(file, (await file.stat()).size);
  } catch (error) {
    if (error instanceof InferenceError) throw new InferenceError(error.code, `${what}: ${error.message}`, { cause: error });
    throw error;
  } finally {
    await file.close();
  }
}

async function readTemplate(modelPath: string, { chatTemplate, chatTemplateFile }: LlamaOptions): Promise<string | null> {
  if (chatTemplateFile === null) return chatTemplate;
  const path = await fileBeside(modelPath, chatTemplateFile, 'chat_template');
  const { size } = await stat(path);
  if (size > MAX_TEMPLATE_BYTES)
    throw invalidArgument(`parameters['chat_template']: expected a file of at most ${MAX_TEMPLATE_BYTES} bytes, got ${size}`);
  return readFile(path, 'utf8');
}
