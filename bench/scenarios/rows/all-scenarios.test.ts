import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { childScripts } from '../child-scripts.ts';
import { loopDelay } from '../loop-delay.ts';
import { memorySlope } from '../memory-slope.ts';
import { putTable } from '../put-tables.ts';
import { startUp } from '../start-up.ts';
import { allScenarios } from './all-scenarios.ts';

test('every scenario has a name of its own', () => {
  const names = [...allScenarios, startUp, loopDelay, memorySlope, ...childScripts].map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test.each([...allScenarios, startUp, loopDelay, memorySlope].map(({ name }) => name))('%s has a place in docs/performance.md', (name) => {
  const page = readFileSync(new URL('../../../docs/performance.md', import.meta.url), 'utf8');
  expect(putTable(page, name, ['a line'])).toContain(`<!-- bench: ${name} -->\n\`\`\`\na line\n\`\`\`\n<!-- /bench -->`);
});

describe.each(allScenarios)('$name', (scenario) => {
  const names = scenario.contenders.map(({ name }) => name);

  test('its ratios name its contenders, each of which has a name of its own', () => {
    expect(new Set(names).size).toBe(names.length);
    expect(scenario.ratios.length).toBeGreaterThan(0);
    for (const { of, to } of scenario.ratios) for (const name of [of, ...to]) expect(names).toContain(name);
    expect(new Set(scenario.ratios.map(({ what }) => what)).size).toBe(scenario.ratios.length);
  });

  test('its contenders ask for models that it serves', () => {
    for (const contender of scenario.contenders) {
      if (contender.kind === 'load') for (const { infer } of contender.requests) expect(scenario.models).toContain(infer!.modelName);
      else if (contender.loop.kind === 'onnxruntime') expect(scenario.models).toContain(contender.loop.model);
    }
  });
});

test('the short form has a row of each kind that it is meant to guard', () => {
  const guarded = allScenarios.filter(({ ratios }) => ratios.some(({ inGate }) => inGate)).map(({ name }) => name);
  expect(guarded).toEqual(['tiny-http', 'tiny-grpc', 'tiny-websocket', 'mlp', 'ensemble']);
});
