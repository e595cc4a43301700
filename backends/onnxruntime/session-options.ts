import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { ModelConfig } from '../api/model-config.ts';
import { keepUntilHere, NativeString, NativeWords } from './native-words.ts';
import { check, type OrtLibrary } from './ort-library.ts';

/** How a session is made, decided from the model's configuration. */
export interface SessionSettings {
  /** GraphOptimizationLevel: 0 none, 1 basic, 2 extended, 99 all. */
  readonly graphLevel: number;
  readonly intraOpThreads: number;
  readonly interOpThreads: number;
  readonly isParallel: boolean;
  readonly usesMemoryArena: boolean;
  readonly usesMemoryPattern: boolean;
  /** Configuration entries as ONNX Runtime has them, key to value. */
  readonly entries: ReadonlyMap<string, string>;
}

/** `optimization.graph.level` of a model configuration to ONNX Runtime's level. */
const graphLevels: ReadonlyMap<number, number> = new Map([
  [0, 99],
  [-1, 1],
  [1, 2],
  [2, 0],
]);

/** More threads than any machine has cores: a number past it is a mistake. */
const MAX_THREADS = 1024;
/** OrtLoggingLevel. Every error also comes back as a status; logged as well, a client's bad values would write to stderr once per request. */
const LOG_FATAL = 4;

/** What goes to ONNX Runtime as it is; it knows its keys, and ignores those it does not. */
const entryKey = /^(?:session|optimization|ep)\.[\w.]+$/;
/** Entries whose value is a path, by how such keys are called: what is read, written or loaded as a library there, nobody has checked. */
const pathKey = /(?:^|[._])(?:file|files|filename|filepath|path|folder|dir|directory|library)(?:[._]|$)/i;
/** Entries that make the library write files, or read one, without saying so in the key. */
const fileKeys: ReadonlySet<string> = new Set([
  'ep.context_enable',
  'session.debug_layout_transformation',
  'session.enable_profiling',
  'session.resource_cuda_partitioning_settings',
]);
/** Entries that have a parameter with a bound. */
const boundedKeys: ReadonlyMap<string, string> = new Map([
  ['session.intra_op_num_threads', 'intra_op_thread_count'],
  ['session.inter_op_num_threads', 'inter_op_thread_count'],
]);

/**
 * Reads what the configuration says of the session: `optimization.graph.level` and the `parameters` that Triton's onnxruntime backend has
 * (intra_op_thread_count, inter_op_thread_count, execution_mode, enable_mem_arena, enable_mem_pattern, session.*). `settings` are the
 * backend's own, which a model's parameters override. Parameters nobody knows are left alone: models carry free-form ones.
 *
 * Throws INVALID_ARGUMENT for a value that its key cannot have, and for a model's entry that leads to files (the backend's settings are the operator's own, and may);
 * UNIMPLEMENTED for GPU instances.
 */
export function readSessionSettings(config: ModelConfig, settings: Readonly<Record<string, string>> = {}): SessionSettings {
  refuseGpu(config);
  const integer = (key: string, whenUnset: number, max: number): number => {
    const given = config.parameters[key]?.stringValue;
    if (given !== undefined) return readInteger(`parameters['${key}']`, given, max);
    const setting = settings[key];
    return setting === undefined ? whenUnset : readInteger(`--backend-config onnxruntime,${key}`, setting, max);
  };
  const entries = new Map([
    // A thread that spins for work takes the core that sockets, or another model, need: measured, a paced run costs 7.5 times the CPU.
    ['session.intra_op.allow_spinning', '0'],
    ['session.inter_op.allow_spinning', '0'],
  ]);
  for (const [key, text] of Object.entries(settings)) if (entryKey.test(key)) entries.set(key, text);
  for (const [key, parameter] of Object.entries(config.parameters)) {
    if (!entryKey.test(key)) continue;
    refuseEntry(key);
    entries.set(key, parameter.stringValue);
  }
  return {
    graphLevel: readGraphLevel(config),
    // One thread by default: a server has many requests to fill the cores with, and a second thread in each run mostly waits for the first.
    // No pool is made for it either, so a thousand small models are not a thousand threads.
    intraOpThreads: integer('intra_op_thread_count', 1, MAX_THREADS),
    interOpThreads: integer('inter_op_thread_count', 1, MAX_THREADS),
    isParallel: integer('execution_mode', 0, 1) === 1,
    usesMemoryArena: integer('enable_mem_arena', 1, 1) === 1,
    // Off, unlike the library's default: it keeps a plan for every combination of input shapes it ever saw, and a batching server sees many. (Measured,
    // runs are 2 to 7 % quicker without.)
    usesMemoryPattern: integer('enable_mem_pattern', 0, 1) === 1,
    entries,
  };
}

function refuseEntry(key: string): void {
  const bounded = boundedKeys.get(key);
  if (bounded !== undefined) throw invalidArgument(`parameters['${key}']: expected the parameter '${bounded}' in its place; rename it`);
  if (!pathKey.test(key) && !fileKeys.has(key)) return;
  throw invalidArgument(
    `parameters['${key}']: a model's configuration must not make ONNX Runtime read or write other files; remove it, or set it for all models with --backend-config onnxruntime,${key}=...`,
  );
}

function readGraphLevel(config: ModelConfig): number {
  const level = config.optimization?.graph?.level ?? 0;
  const found = graphLevels.get(level);
  if (found === undefined) {
    throw invalidArgument(`optimization.graph.level: expected 0 (all), -1 (basic), 1 (extended) or 2 (none), got ${level}`);
  }
  return found;
}

function readInteger(what: string, text: string, max: number): number {
  const value = /^\d{1,6}$/.test(text.trim()) ? Number(text) : -1;
  if (value < 0 || value > max) {
    throw invalidArgument(`${what}: expected ${max === 1 ? "'0' or '1'" : `a whole number from 0 to ${max}`}, got '${text}'`);
  }
  return value;
}

/** Accelerators are hints, and the configuration's reader has warned of them; a GPU is a place, and there is none. */
function refuseGpu(config: ModelConfig): void {
  if (config.instanceGroup.some((group) => group.kind === 'KIND_GPU')) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      'instance_group: KIND_GPU is not supported by the onnxruntime backend; use KIND_CPU or KIND_AUTO',
    );
  }
}

/** An OrtSessionOptions with these settings; the caller releases it. */
export function createSessionOptions(library: OrtLibrary, settings: SessionSettings): number {
  const { api } = library;
  const out = new NativeWords(1);
  check(api, api.CreateSessionOptions(out.address));
  const options = out.get(0);
  try {
    check(api, api.SetSessionLogSeverityLevel(options, LOG_FATAL));
    check(api, api.SetSessionGraphOptimizationLevel(options, settings.graphLevel));
    check(api, api.SetIntraOpNumThreads(options, settings.intraOpThreads));
    check(api, api.SetInterOpNumThreads(options, settings.interOpThreads));
    check(api, api.SetSessionExecutionMode(options, settings.isParallel ? 1 : 0));
    check(api, settings.usesMemoryArena ? api.EnableCpuMemArena(options) : api.DisableCpuMemArena(options));
    check(api, settings.usesMemoryPattern ? api.EnableMemPattern(options) : api.DisableMemPattern(options));
    for (const [key, value] of settings.entries) {
      const nativeKey = new NativeString(key);
      const nativeValue = new NativeString(value);
      const status = api.AddSessionConfigEntry(options, nativeKey.address, nativeValue.address);
      keepUntilHere([nativeKey, nativeValue]);
      check(api, status);
    }
  } catch (error) {
    api.ReleaseSessionOptions(options);
    throw error;
  }
  return options;
}
