import { execFile } from 'node:child_process';
import { createRequire, register } from 'node:module';
import { extname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { DecoupledModel, Model, ModelContext } from './model-api.ts';
import { shown } from './tensor-from.ts';

/** Methods of the model, called on the object that has them. */
export interface LoadedModule {
  /** What it says of itself, unchecked. */
  readonly config: unknown;
  readonly initialize: ((context: ModelContext) => unknown) | null;
  readonly execute: (requests: readonly object[], context: ModelContext) => unknown;
  readonly finalize: (() => unknown) | null;
}

/** Runs the file's top level. Throws INVALID_ARGUMENT, with what the file threw and where, when it is no model. */
export async function loadModule(path: string): Promise<LoadedModule> {
  const ending = extname(path);
  if (ending !== '.mjs' && ending !== '.ts' && ending !== '.mts' && ending !== '.js')
    throw invalidArgument(`default_model_filename: a model that is code is a file that ends in .mjs or .ts, got '${ending}'`);
  if (ending.endsWith('ts')) stripTypes();
  let exports: Readonly<Record<string, unknown>>;
  try {
    exports = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    throw codeFailure('the model could not be imported', error, await syntaxErrorPlace(path, error));
  }
  return readExports(exports);
}

/** The error itself does not say where it is; `node --check` does, of the file itself. */
function syntaxErrorPlace(path: string, error: unknown): Promise<string | undefined> {
  if (!(error instanceof SyntaxError) || !/\.m?js$/.test(path)) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    execFile(process.execPath, ['--check', path], { timeout: 5000, maxBuffer: 2 ** 20 }, (_failure, _output, text) =>
      resolve(/^(?:file:)?\/.*?\/(\d+\/[^/\n]+:\d+)$/m.exec(text)?.[1]),
    );
  });
}

let canStripTypes =
  (process.features as { readonly typescript?: unknown }).typescript !== undefined &&
  Boolean((process.features as { typescript?: unknown }).typescript);

/** Node.js does it by itself from 22.13 on; before, a package does. */
function stripTypes(): void {
  if (canStripTypes) return;
  try {
    createRequire(import.meta.url).resolve('amaro');
  } catch {
    throw invalidArgument(
      "a model in TypeScript needs Node.js 22.13 or later, or the package 'amaro' beside the server (npm install amaro); or compile it to model.mjs",
    );
  }
  register(new URL('./strip-types-hooks.js', import.meta.url));
  canStripTypes = true;
}

function readExports(exports: Readonly<Record<string, unknown>>): LoadedModule {
  const { default: main } = exports;
  let model: object = exports;
  let statics: object = exports;
  if (typeof main === 'function' && typeof main.prototype === 'object' && main.prototype !== null && 'execute' in main.prototype) {
    try {
      model = new (main as new () => object)();
    } catch (error) {
      throw codeFailure('the constructor of the default export failed', error);
    }
    statics = main;
  } else if (typeof main === 'object' && main !== null && 'execute' in main) {
    model = main;
    statics = main;
  }
  const { execute, initialize, finalize } = model as Partial<Record<keyof (Model & DecoupledModel), unknown>>;
  if (typeof execute !== 'function') {
    throw invalidArgument(
      `execute: expected a function among the file's exports, or in the class that is its default export, got ${shown(execute)}; write export function execute(requests) { ... }`,
    );
  }
  return {
    config: readConfig(exports, statics),
    initialize: optionalMethod(model, initialize, 'initialize'),
    execute: execute.bind(model) as LoadedModule['execute'],
    finalize: optionalMethod(model, finalize, 'finalize'),
  };
}

function readConfig(exports: object, statics: object): unknown {
  const { config, autoComplete } = { ...pickConfig(exports), ...pickConfig(statics) };
  if (autoComplete === undefined) return config;
  if (typeof autoComplete !== 'function')
    throw invalidArgument(`autoComplete: expected a function that returns the model's config, got ${shown(autoComplete)}`);
  try {
    return autoComplete.call(statics) as unknown;
  } catch (error) {
    throw codeFailure('autoComplete failed', error);
  }
}

function pickConfig(from: object): { config?: unknown; autoComplete?: unknown } {
  const { config, autoComplete } = from as { config?: unknown; autoComplete?: unknown };
  return { ...(config === undefined ? {} : { config }), ...(autoComplete === undefined ? {} : { autoComplete }) };
}

function optionalMethod(model: object, method: unknown, name: string): ((...args: unknown[]) => unknown) | null {
  if (method === undefined || method === null) return null;
  if (typeof method !== 'function') throw invalidArgument(`${name}: expected a function, got ${shown(method)}`);
  return method.bind(model) as (...args: unknown[]) => unknown;
}

/** An error of the model's code while it is loaded, with the line that threw it, without where that is on the machine. */
export function codeFailure(what: string, error: unknown, place?: string): InferenceError {
  if (error instanceof InferenceError) return error;
  const text = error instanceof Error ? `${error.name}: ${error.message}` : shown(error);
  const line = place ?? (error instanceof Error ? /\/(\d+\/[^/\s]+:\d+(?::\d+)?)\)?$/m.exec(error.stack ?? '')?.[1] : undefined);
  return new InferenceError('INVALID_ARGUMENT', `${what}: ${text.slice(0, 1000)}${line === undefined ? '' : ` (${line})`}`, {
    cause: error,
  });
}
