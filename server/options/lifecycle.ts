import type { OptionTable } from './option-declaration.ts';
import { bytesKind, expected, integerKind, type OptionKind, optionalTextKind, switchKind } from './option-kind.ts';
import { GIB, MAX_MS, milliseconds } from './option-units.ts';

/** How models are loaded, replaced and unloaded while the server runs. */
export interface LifecycleOptions {
  readonly repositoryPollSecs: number;
  readonly repositorySettleMs: number;
  readonly modelConfigName: string | null;
  readonly modelLoadThreadCount: number;
  readonly modelLoadRetryCount: number;
  readonly rollbackKeepSecs: number;
  readonly loadOnDemand: boolean;
  readonly loadOnDemandTimeoutMs: number;
  readonly loadOnDemandMaxWaiting: number;
  readonly modelMemoryBudget: number;
  readonly idleUnloadSecs: number;
  readonly allowOutsideLinks: boolean;
  readonly allowUploadedCode: boolean;
  readonly maxModelBytes: number;
  readonly recordRequests: number;
  readonly recordRequestsDir: string | null;
}

/** As many as setTimeout holds. */
const MAX_SECS = Math.floor(MAX_MS / 1000);

/** The name of a file in each model's configs directory, so no path. */
const configNameKind: OptionKind<string | null> = {
  ...optionalTextKind('NAME'),
  parse: (texts) => {
    const name = texts.at(-1) ?? '';
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/.test(name)) throw expected('a name of letters, digits, _ - and .', name);
    return name;
  },
};

export const lifecycleOptions: OptionTable<LifecycleOptions> = {
  repositoryPollSecs: {
    flag: 'repository-poll-secs',
    group: 'Model lifecycle',
    kind: integerKind('SECONDS', 0, MAX_SECS),
    default: 15,
    doc: 'How often the repository is read again with --model-control-mode poll, besides being watched; 0: it is watched only.',
  },
  repositorySettleMs: {
    flag: 'repository-settle-ms',
    group: 'Model lifecycle',
    kind: integerKind('MS', 0, MAX_MS),
    default: 300,
    doc: "How long a model's directory must be still before it is loaded, with --model-control-mode poll.",
  },
  modelConfigName: {
    flag: 'model-config-name',
    group: 'Model lifecycle',
    kind: configNameKind,
    default: null,
    doc: 'Configuration to take from configs/<NAME>.pbtxt (or .json, .yaml) of each model that has it, instead of config.pbtxt.',
  },
  modelLoadThreadCount: {
    flag: 'model-load-thread-count',
    group: 'Model lifecycle',
    kind: integerKind('COUNT', 1, 1024),
    default: 4,
    doc: 'Models loaded at one time.',
  },
  modelLoadRetryCount: {
    flag: 'model-load-retry-count',
    group: 'Model lifecycle',
    kind: integerKind('COUNT', 0, 1000),
    default: 0,
    doc: 'How many times a load that failed is tried again.',
  },
  rollbackKeepSecs: {
    flag: 'rollback-keep-secs',
    group: 'Model lifecycle',
    kind: integerKind('SECONDS', 0, MAX_SECS),
    default: 60,
    doc: 'How long a version that was replaced stays loaded for nereid rollback; 0: not at all.',
  },
  loadOnDemand: {
    flag: 'load-on-demand',
    group: 'Model lifecycle',
    kind: switchKind,
    default: false,
    doc: 'Load a model when the first request for it comes, not at start. Requests wait for it.',
  },
  loadOnDemandTimeoutMs: {
    flag: 'load-on-demand-timeout-ms',
    group: 'Model lifecycle',
    kind: milliseconds,
    default: 30_000,
    doc: 'How long a request waits for its model with --load-on-demand, where its own deadline is not earlier.',
  },
  loadOnDemandMaxWaiting: {
    flag: 'load-on-demand-max-waiting',
    group: 'Model lifecycle',
    kind: integerKind('COUNT', 1),
    default: 1_000,
    doc: 'Requests that may wait for models at one time with --load-on-demand. Those beyond it are answered 503.',
  },
  modelMemoryBudget: {
    flag: 'model-memory-budget',
    group: 'Model lifecycle',
    kind: bytesKind(0),
    default: 0,
    doc: 'Memory for loaded models: past it the idle model used longest ago is unloaded. 0: no limit. Needs --load-on-demand.',
  },
  idleUnloadSecs: {
    flag: 'idle-unload-secs',
    group: 'Model lifecycle',
    kind: integerKind('SECONDS', 0, MAX_SECS),
    default: 0,
    doc: 'A model without requests for this long is unloaded; 0: never. Needs --load-on-demand.',
  },
  allowOutsideLinks: {
    flag: 'allow-outside-links',
    group: 'Model lifecycle',
    kind: switchKind,
    default: false,
    doc: 'Serve files that links in the repository lead to outside of it.',
  },
  allowUploadedCode: {
    flag: 'allow-uploaded-code',
    group: 'Model lifecycle',
    kind: switchKind,
    default: false,
    doc: "Run models that are code (JavaScript) when a load request brings their files: whoever may load models then runs what they like as the server's user.",
  },
  maxModelBytes: {
    flag: 'max-model-bytes',
    group: 'Model lifecycle',
    kind: bytesKind(1),
    default: 64 * GIB,
    doc: 'Largest model version, all its files together.',
  },
  recordRequests: {
    flag: 'record-requests',
    group: 'Model lifecycle',
    kind: integerKind('COUNT', 0, 1_000),
    default: 0,
    doc: 'First requests of each model version to write down, to warm up later versions with; 0: none. Needs --record-requests-dir.',
  },
  recordRequestsDir: {
    flag: 'record-requests-dir',
    group: 'Model lifecycle',
    kind: optionalTextKind('DIR'),
    default: null,
    doc: 'Directory for recorded requests. Needs --record-requests.',
  },
};
