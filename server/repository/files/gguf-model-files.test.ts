import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { tinyLlama } from '../../../bench/models/gguf/small-models.ts';
import { check, config, outside, put, refusal, root, version } from './model-files.case.ts';
import { whyIncomplete } from './model-files.ts';

const gguf = tinyLlama();
const file = (): ReturnType<typeof version> => version(1, 'model.gguf');
const options = (parameters: Readonly<Record<string, string>> = {}): Partial<ModelConfig> => ({
  backend: 'llamacpp',
  defaultModelFilename: 'model.gguf',
  parameters: Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }])),
});

it('waits for a GGUF file that is not all there, and leaves a wrong one to the check', async () => {
  const waits = (): Promise<string | null> => whyIncomplete(file(), config(options()));
  put('m/1/model.gguf', gguf.subarray(0, gguf.length - 40_000));
  expect(await waits()).toMatch(/^'model.gguf' of version 1 ends at byte \d+; its tensors go on to byte \d+$/);
  put('m/1/model.gguf', gguf.subarray(0, 1000));
  expect(await waits()).toContain('ends at byte 1000 in metadata');
  put('m/1/model.gguf', gguf);
  expect(await waits()).toBeNull();
  put('m/1/model.gguf', 'GIF89a is no model, but all of a file');
  expect(await waits()).toBeNull();
  expect(await refusal(check({ config: options(), file: file() }))).toContain(
    "'m/1/model.gguf' is no GGUF file that can be served: magic bytes",
  );
});

it('takes the adapters and the template that a configuration names for files of the model', async () => {
  put('m/1/model.gguf', gguf);
  put('m/1/loras/style.gguf', 'a');
  put('m/1/chat.jinja', 'b');
  const given = { config: options({ lora: 'loras/style.gguf=0.5', chat_template: 'file:chat.jinja' }), file: file() };
  const found = await check(given);
  expect(found.modelPaths).toEqual(['model.gguf', 'loras/style.gguf', 'chat.jinja'].map((name) => join(root, 'm/1', name)));
  expect(found.byteLength).toBe(gguf.length + 2);

  put('m/1/chat.jinja', 'other');
  await expect(found.assertSameModel()).rejects.toMatchObject({ code: 'UNAVAILABLE' });

  symlinkSync(put('style.gguf', 'secret', outside), join(root, 'm/1/link.gguf'));
  expect(await refusal(check({ config: options({ lora: 'link.gguf' }), file: file() }))).toBe(
    "parameters['lora']: 'm/1/link.gguf' is a link that leads out of the repository; put a copy of the file there",
  );
  put('m/1/SHA256SUMS', '');
  expect(await refusal(check(given))).toContain('is not listed in');
});
