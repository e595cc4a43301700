import { afterEach, describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import { makeRepository } from '../e2e/serve.ts';
import type { Model } from './model.ts';
import { ModelLoader, type ModelLoaderOptions } from './model-loader.ts';
import { ModelRepository } from './model-repository.ts';
import type { ControlMode } from './model-repository-options.ts';

/** Loads when the test says so. */
class ManualLoader extends ModelLoader {
  readonly started: string[] = [];
  #settle: ((error: InferenceError) => void)[] = [];

  constructor() {
    super({} as ModelLoaderOptions);
  }

  override load(description: { readonly name: string }): Promise<Model> {
    this.started.push(description.name);
    return new Promise((_resolve, reject) => this.#settle.push(reject));
  }

  failNext(error: InferenceError): void {
    this.#settle.shift()!(error);
  }
}

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function open(
  files: Record<string, string>,
  controlMode: ControlMode = 'none',
): { repository: ModelRepository; loader: ManualLoader; loaded: Promise<void> } {
  const directory = makeRepository(files);
  cleanups.push(directory.remove);
  const loader = new ManualLoader();
  const repository = new ModelRepository({
    directories: [directory.path],
    modelFiles: [],
    controlMode,
    loadModels: [],
    loader,
    warn: () => {},
    unusable: () => {},
    onFault: (error) => {
      throw error;
    },
  });
  const loaded = repository.loadAll({ started: () => {}, loading: () => {}, loaded: () => {} });
  return { repository, loader, loaded };
}

function refusal(run: () => unknown): InferenceError {
  try {
    run();
  } catch (error) {
    if (error instanceof InferenceError) return error;
  }
  throw new Error('was not refused');
}

describe('ModelRepository', () => {
  it('asks to come back while a model loads, and says why it has none once that failed', async () => {
    const { repository, loader, loaded } = open({ 'm/1/model.onnx': 'x' });
    await expect.poll(() => loader.started).toEqual(['m']);
    expect(refusal(() => repository.route('m', ''))).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 1 });
    expect(refusal(() => repository.route('m', '1'))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(repository.index(false)).toEqual([{ name: 'm', version: '1', state: 'LOADING' }]);
    expect(repository.isReady).toBe(false);

    loader.failNext(new InferenceError('INVALID_ARGUMENT', 'no model in there'));
    await loaded;
    const why = 'Invalid argument: no model in there';
    expect(repository.index(false)).toEqual([{ name: 'm', version: '1', state: 'UNAVAILABLE', reason: why }]);
    expect(refusal(() => repository.route('m', ''))).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining(why) });
    expect(refusal(() => repository.route('m', '1'))).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(why) });
    expect(refusal(() => repository.route('m', '2'))).toMatchObject({ code: 'NOT_FOUND' });
    for (const version of ['x', '-1', '1.0', '9'.repeat(30)]) {
      expect(refusal(() => repository.route('m', version))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    expect(refusal(() => repository.route('n', ''))).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining("'n'") });
  });

  it('does not ask to try a load again that was overtaken', async () => {
    const { repository, loader, loaded } = open({ 'm/1/model.onnx': 'x' }, 'poll');
    const follows = async (act: () => void): Promise<boolean> => {
      const tried = loader.started.length;
      const followed = repository.follow('m', ['somewhere'], null);
      await expect.poll(() => loader.started.length).toBe(tried + 1);
      act();
      loader.failNext(new InferenceError('UNAVAILABLE', 'not now'));
      return followed;
    };
    await expect.poll(() => loader.started).toEqual(['m']);
    loader.failNext(new InferenceError('INVALID_ARGUMENT', 'no model in there'));
    await loaded;
    expect(await follows(() => {})).toBe(false);
    expect(await follows(() => repository.stopLoads())).toBe(true);
  });
});
