import { describe, expect, it } from 'vitest';
import { emptyModelConfig } from '../../../server/model-config/parse-model-config.ts';
import { BackendDefaults } from './backend-defaults.ts';
import { readLlamaOptions } from './llama-options.ts';

describe('settings of the backend', () => {
  it('are parameters of the models that have none of their own', () => {
    const defaults = new BackendDefaults({ threads: '3', sequences: '2' });
    const own = { ...emptyModelConfig(), parameters: { sequences: { stringValue: '7' } } };
    expect(readLlamaOptions(defaults.complete(own))).toMatchObject({ threads: 3, sequences: 7 });
    expect(readLlamaOptions(defaults.complete(emptyModelConfig()))).toMatchObject({ threads: 3, sequences: 2 });
    expect(readLlamaOptions(new BackendDefaults({}).complete(own))).toMatchObject({ sequences: 7 });
  });

  it.each([
    [{ thread: '3' }, /^--backend-config llamacpp: parameters\['thread'\]: .*did you mean 'threads'\?/],
    [{ context_size: 'large' }, /^--backend-config llamacpp: parameters\['context_size'\]: expected/],
  ])('%j are refused, even where the model has its own', (settings, message) => {
    const own = { ...emptyModelConfig(), parameters: { context_size: { stringValue: '64' } } };
    expect(() => new BackendDefaults(settings as unknown as Record<string, string>).complete(own)).toThrow(message);
  });
});
