import { resolve } from 'node:path';
import type { OptionTable } from './option-declaration.ts';
import { choiceKind, expected, integerKind, listKind, switchKind, textKind } from './option-kind.ts';

/** One `--backend-config [<backend>,]<setting>=<value>`. */
export interface BackendSetting {
  /** '' for every backend. */
  readonly backend: string;
  readonly setting: string;
  readonly value: string;
}

export interface ModelOptions {
  readonly modelRepository: readonly string[];
  readonly modelFiles: readonly string[];
  readonly modelControlMode: 'none' | 'poll' | 'explicit';
  readonly loadModel: readonly string[];
  readonly exitOnError: boolean;
  readonly strictReadiness: boolean;
  readonly disableAutoCompleteConfig: boolean;
  readonly defaultMaxBatchSize: number;
  readonly backendConfig: readonly BackendSetting[];
}

export const modelOptions: OptionTable<ModelOptions> = {
  modelRepository: {
    flag: 'model-repository',
    aliases: ['model-store'],
    group: 'Models',
    kind: listKind<readonly string[]>('DIR', (texts) => distinctPaths(texts.map((text) => textKind('DIR').parse([text])))),
    default: [],
    doc: 'Directory of models: <name>/config.pbtxt and <name>/<version>/model.onnx, or model.gguf. May be given several times.',
  },
  modelFiles: {
    flag: 'model-file',
    group: 'Models',
    kind: listKind<readonly string[]>('FILE', (texts) => distinctPaths(texts.map((text) => textKind('FILE').parse([text])))),
    default: [],
    doc: 'An ONNX or GGUF file to serve, no repository needed. The same as naming it without a flag. May be given several times; each is a model of its name.',
  },
  modelControlMode: {
    flag: 'model-control-mode',
    group: 'Models',
    kind: choiceKind('none', 'poll', 'explicit'),
    default: 'none',
    doc: 'none: the models found at start are served until the end. poll: models and versions are loaded and unloaded as the repository changes. explicit: those of --load-model at start, and then what clients load and unload.',
  },
  loadModel: {
    flag: 'load-model',
    group: 'Models',
    kind: listKind<readonly string[]>('MODEL', (texts) => [...new Set(texts.map((text) => textKind('MODEL').parse([text])))]),
    default: [],
    doc: 'Model to load at start, with --model-control-mode explicit; * for all. May be given several times.',
  },
  exitOnError: {
    flag: 'exit-on-error',
    group: 'Models',
    kind: switchKind,
    default: false,
    doc: 'End with an error when a model fails to load at start. Otherwise it is UNAVAILABLE and the others are served.',
  },
  strictReadiness: {
    flag: 'strict-readiness',
    group: 'Models',
    kind: switchKind,
    default: true,
    doc: 'The server is ready only when every model is; false: as soon as it can answer.',
  },
  disableAutoCompleteConfig: {
    flag: 'disable-auto-complete-config',
    aliases: ['strict-model-config'],
    group: 'Models',
    kind: switchKind,
    default: false,
    doc: 'Take nothing from the model file that its configuration leaves out.',
  },
  defaultMaxBatchSize: {
    flag: 'default-max-batch-size',
    group: 'Models',
    kind: integerKind('COUNT', 0, 2 ** 31 - 1),
    default: 4,
    doc: 'Batch size of a model that can batch and whose configuration does not say; 0: none is batched.',
  },
  backendConfig: {
    flag: 'backend-config',
    group: 'Models',
    kind: listKind<readonly BackendSetting[]>('[BACKEND,]SETTING=VALUE', (texts) => texts.map(parseBackendSetting)),
    default: [],
    doc: "A backend's own setting; without the backend, one for all. May be given several times. Of llamacpp: the default of a parameter of its models, such as llamacpp,threads=8.",
  },
};

/** A repository that is named twice is one, as in Triton: its models would else be there twice, and none of them served. Files as well. */
function distinctPaths(paths: readonly string[]): string[] {
  return paths.filter((one, index) => paths.findIndex((other) => resolve(other) === resolve(one)) === index);
}

function parseBackendSetting(text: string): BackendSetting {
  const match = /^(?:([^,=]*),)?([^,=]+)=(.*)$/s.exec(text);
  if (match === null || match[1] === '') throw expected('[<backend>,]<setting>=<value>', text);
  return Object.freeze({ backend: match[1] ?? '', setting: match[2]!, value: match[3]! });
}
