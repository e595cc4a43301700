import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { updateModelConfigPage } from './config-doc.ts';
import { findUnsupportedConfig } from './model-config/config-support.ts';
import { type ConfigFormat, parseModelConfig } from './model-config/parse-model-config.ts';
import { validateModelConfig } from './model-config/validate-model-config.ts';

const page = readFileSync(join(import.meta.dirname, '..', 'docs', 'model-configuration.md'), 'utf8');

test('docs/model-configuration.md is current: node dist/server/config-doc.js docs/model-configuration.md', () => {
  expect(updateModelConfigPage(page)).toBe(page);
});

test('its examples mean the same, and nothing in them is wrong', () => {
  const examples = [...page.matchAll(/```(pbtxt|json|yaml)\n([\s\S]*?)```/g)];
  expect(examples).toHaveLength(3);
  const configs = examples.map(([, format, text]) => parseModelConfig(text!, format as ConfigFormat, `example in ${format}`));
  for (const config of configs) {
    expect(config).toEqual(configs[0]);
    expect([...validateModelConfig(config), ...findUnsupportedConfig(config)]).toEqual([]);
  }
});
