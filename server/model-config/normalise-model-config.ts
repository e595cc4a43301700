import type { ModelConfig } from '../../backends/api/model-config.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { fillDecoupled } from './fill-decoupled.ts';

/** What a model's directory tells without opening a model file. */
export interface ModelDirectory {
  /** The directory's name, which is the model's. */
  readonly name: string;
  /** Names of the files and directories in the first version directory, or none when there is no version. */
  readonly firstVersionEntries: readonly string[];
}

interface BackendFormat {
  readonly backend: string;
  readonly platform: string;
  /** The file (or directory) looked for when the configuration names none; the first is the default. */
  readonly filenames: readonly string[];
}

/**
 * Which files belong to which backend, in the order they are looked for. Backends that this server lacks are listed too: the error then
 * says which backend a repository needs, instead of that its file is unknown.
 */
const backendFormats: readonly BackendFormat[] = [
  { backend: 'tensorflow', platform: 'tensorflow_savedmodel', filenames: ['model.savedmodel'] },
  { backend: 'tensorflow', platform: 'tensorflow_graphdef', filenames: ['model.graphdef'] },
  { backend: 'tensorrt', platform: 'tensorrt_plan', filenames: ['model.plan'] },
  { backend: 'onnxruntime', platform: 'onnxruntime_onnx', filenames: ['model.onnx'] },
  { backend: 'openvino', platform: '', filenames: ['model.xml'] },
  { backend: 'pytorch', platform: 'pytorch_libtorch', filenames: ['model.pt', 'model.pt2'] },
  { backend: 'javascript', platform: '', filenames: ['model.mjs', 'model.ts'] },
  { backend: 'python', platform: '', filenames: ['model.py'] },
  { backend: 'llamacpp', platform: '', filenames: ['model.gguf'] },
];

/** Files of this ending keep the names that they came with; they hold a whole model each. */
const GGUF = '.gguf';

/**
 * Fills in everything that follows without opening the model's file: name, backend, platform, file name, version policy, scheduler and instance
 * group defaults. Throws INVALID_ARGUMENT when the name is not the directory's, or no backend can be told, or backend and platform
 * contradict each other. Source: reference 6.3 and 5.3.
 */
export function normaliseModelConfig(config: ModelConfig, directory: ModelDirectory): ModelConfig {
  if (config.name !== '' && config.name !== directory.name) {
    throw invalidArgument(
      `model '${directory.name}': name: expected the directory's name '${directory.name}', got '${config.name}'; remove it or rename one of the two`,
    );
  }
  const withBackend = fillDecoupled(fillBackend({ ...config, name: directory.name }, directory));
  return fillSchedulerDefaults({
    ...withBackend,
    versionPolicy: fillVersionPolicy(config.versionPolicy),
    instanceGroup: config.ensembleScheduling === null ? fillInstanceGroups(withBackend) : withBackend.instanceGroup,
  });
}

/** Defaults that depend on max_batch_size, so they are filled again once autoCompleteConfig has found that out. */
export function fillSchedulerDefaults(config: ModelConfig): ModelConfig {
  const { dynamicBatching, sequenceBatching, maxBatchSize } = config;
  const preferred = maxBatchSize > 0 ? [maxBatchSize] : [];
  if (dynamicBatching !== null && dynamicBatching.preferredBatchSize.length === 0) {
    return { ...config, dynamicBatching: { ...dynamicBatching, preferredBatchSize: preferred } };
  }
  if (sequenceBatching === null) return config;
  const { oldest } = sequenceBatching;
  return {
    ...config,
    sequenceBatching: {
      ...sequenceBatching,
      maxSequenceIdleMicroseconds: sequenceBatching.maxSequenceIdleMicroseconds || 1_000_000,
      oldest: oldest !== null && oldest.preferredBatchSize.length === 0 ? { ...oldest, preferredBatchSize: preferred } : oldest,
    },
  };
}

function fillVersionPolicy(policy: ModelConfig['versionPolicy']): ModelConfig['versionPolicy'] {
  if (policy === null || (policy.latest === null && policy.all === null && policy.specific === null)) {
    return { latest: { numVersions: 1 }, all: null, specific: null };
  }
  return policy.latest !== null ? { ...policy, latest: { numVersions: policy.latest.numVersions || 1 } } : policy;
}

/**
 * One instance a group unless the configuration says otherwise. (Triton takes two for ONNX Runtime on the CPU, so that one prepares its tensors
 * while the other computes; here tensors are prepared outside the instance, and the batcher keeps one busy.)
 */
function fillInstanceGroups(config: ModelConfig): ModelConfig['instanceGroup'] {
  if (config.instanceGroup.length === 0) {
    return [
      {
        name: config.name,
        count: 1,
        gpus: [],
        kind: 'KIND_CPU',
        profile: [],
        rateLimiter: null,
        passive: false,
        secondaryDevices: [],
        hostPolicy: '',
      },
    ];
  }
  return config.instanceGroup.map((group, index) => ({
    ...group,
    name: group.name || `${config.name}_${index}`,
    count: group.count || 1,
    kind: group.kind === 'KIND_AUTO' ? 'KIND_CPU' : group.kind,
  }));
}

function fillBackend(config: ModelConfig, directory: ModelDirectory): ModelConfig {
  if (config.ensembleScheduling !== null) return { ...config, platform: 'ensemble' };
  const format = findFormat(config, directory.firstVersionEntries);
  if (format !== undefined) {
    if (
      config.platform !== '' &&
      format.platform !== '' &&
      config.platform !== format.platform &&
      !isPlatformOf(config.backend, config.platform)
    ) {
      throw invalidArgument(
        `model '${config.name}': platform: expected '${format.platform}' for the backend '${format.backend}', got '${config.platform}'; remove platform`,
      );
    }
    const found = format.filenames.find((name) => directory.firstVersionEntries.includes(name)) ?? findLoneFile(config, format, directory);
    return {
      ...config,
      backend: format.backend,
      platform: config.platform || format.platform,
      defaultModelFilename: config.defaultModelFilename || found || format.filenames[0]!,
    };
  }
  if (config.backend !== '') return config;
  if (config.platform !== '') {
    const known = backendFormats.map((entry) => entry.platform).filter((platform) => platform !== '');
    throw invalidArgument(
      `model '${config.name}': platform: expected one of ${known.join(', ')}, got '${config.platform}'; give backend instead of platform`,
    );
  }
  const dot = config.name.lastIndexOf('.');
  if (dot > 0 && dot < config.name.length - 1 && config.defaultModelFilename === '') {
    const backend = config.name.slice(dot + 1);
    return { ...config, backend, defaultModelFilename: `model.${backend}` };
  }
  const entries = directory.firstVersionEntries;
  throw invalidArgument(
    `model '${config.name}': backend: expected one that can be told from the configuration or the files, got ` +
      `${entries.length === 0 ? 'an empty or missing first version directory' : `the files ${entries.slice(0, 8).join(', ')}`}; ` +
      `give backend, or name the file ${backendFormats.flatMap((entry) => entry.filenames).join(', ')}`,
  );
}

function findFormat(config: ModelConfig, entries: readonly string[]): BackendFormat | undefined {
  if (config.backend !== '') {
    const ofBackend = backendFormats.filter((format) => format.backend === config.backend);
    return ofBackend.find((format) => format.platform === config.platform) ?? ofBackend[0];
  }
  if (config.platform !== '') return backendFormats.find((format) => format.platform === config.platform);
  if (config.defaultModelFilename !== '') {
    // Any other name than the usual one is told by its ending: resnet.onnx is ONNX as model.onnx is.
    return backendFormats.find((format) =>
      format.filenames.some((name) => config.defaultModelFilename.endsWith(name.slice('model'.length))),
    );
  }
  const named = backendFormats.find((format) => format.filenames.some((name) => entries.includes(name)));
  return named ?? (entries.some(isGguf) ? backendFormats.find(({ filenames }) => filenames[0]!.endsWith(GGUF)) : undefined);
}

/** The one GGUF file of whatever name. Throws when there are several, and nothing says which. */
function findLoneFile(config: ModelConfig, { filenames }: BackendFormat, directory: ModelDirectory): string | undefined {
  if (!filenames[0]!.endsWith(GGUF) || config.defaultModelFilename !== '') return undefined;
  const files = directory.firstVersionEntries.filter(isGguf).sort();
  if (files.length <= 1) return files[0];
  const pieces = files.some((name) => /-\d{5}-of-\d{5}\.gguf$/.test(name));
  throw invalidArgument(
    `model '${config.name}': default_model_filename: expected the model's file among ${files.slice(0, 8).join(', ')}, got none; ` +
      (pieces ? 'join the pieces of a model with llama-gguf-split --merge, into model.gguf' : 'name it there, or name the file model.gguf'),
  );
}

function isGguf(name: string): boolean {
  return name.endsWith(GGUF) && !name.startsWith('.');
}

function isPlatformOf(backend: string, platform: string): boolean {
  return backendFormats.some((format) => format.backend === backend && format.platform === platform);
}
