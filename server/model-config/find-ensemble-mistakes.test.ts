import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { findEnsembleMistakes } from './find-ensemble-mistakes.ts';
import { findStepMistakes, type StepModel } from './find-step-mistakes.ts';
import { parseModelConfig } from './parse-model-config.ts';

const tensor = (name: string): string => `{name: ${name}, data_type: TYPE_FP32, dims: [4]}`;

/** Each step as `model: from -> to`, and what else it has. */
function ensemble(outputs: readonly string[], steps: readonly string[]): ModelConfig {
  const lines = steps.map((text) => {
    const [, model, from, to, more] = /^(\w+): (\w+) -> (\w+)(?:, (.+))?$/.exec(text)!;
    return `    - {model_name: ${model}, model_version: -1, input_map: {X: ${from}}, output_map: {Y: ${to}}${more === undefined ? '' : `, ${more}`}}\n`;
  });
  return parseModelConfig(
    `name: e\nplatform: ensemble\ninput: [${tensor('IN')}]\noutput: [${outputs.map(tensor).join(', ')}]\nensemble_scheduling:\n  step:\n${lines.join('')}`,
    'yaml',
    'test',
  );
}

const mistakes = (config: ModelConfig): string[] => {
  const found: string[] = [];
  findEnsembleMistakes(config, (field, message) => found.push(`${field}: ${message}`));
  return found;
};

describe('the graph of an ensemble', () => {
  it.each<[string, string[], string[]]>([
    ['a chain', ['OUT'], ['a: IN -> x', 'b: x -> OUT']],
    ['steps in any order', ['OUT'], ['b: x -> OUT', 'a: IN -> x']],
    ['two that do not always run', ['OUT'], ['a: IN -> OUT, when: [{tensor: IN}]', 'b: IN -> OUT, when: [{tensor: IN, not: true}]']],
    ['a fallback with tensors of its own', ['OUT'], ['a: IN -> x', 'b: x -> OUT, fallback: {model_name: c, input_map: {X: IN}}']],
    ['a tensor that a condition alone needs', ['OUT'], ['a: IN -> flag', 'b: IN -> OUT, when: [{tensor: flag}]']],
  ])('%s has no mistakes', (_, outputs, steps) => {
    expect(mistakes(ensemble(outputs, steps))).toEqual([]);
  });

  it.each<[string[], string[], string[]]>([
    [
      ['OUT'],
      ['a: IN -> OUT', 'b: IN -> OUT, when: [{tensor: IN}]'],
      ['step[1].output_map["Y"]: the tensor \'OUT\' is made by ensemble_scheduling.step[0]'],
    ],
    [
      ['OUT'],
      ['a: IN -> IN', 'b: IN -> OUT'],
      ['step[0].output_map["Y"]: the tensor \'IN\' is made by input[0] too; give this one another name'],
    ],
    [['OUT'], ['a: IN -> OUT, when: [{tensor: flg}]'], ["step[0].when[0].tensor: nothing makes the tensor 'flg'"]],
    [['OUT'], ['a: IN -> x, when: [{tensor: y}]', 'b: x -> y', 'c: IN -> OUT'], ['the steps wait for each other: y -> x -> y']],
    [['OUT'], ['a: IN -> OUT, fallback: {model_name: c, input_map: {X: OUT}}'], ['the steps wait for each other: OUT -> OUT']],
    [['OUT'], ['a: IN -> OUT', 'b: IN -> x'], ["the tensor 'x' is used by no step"]],
    [['OUT', 'MORE'], ['a: IN -> OUT'], ["output[1].name: no step makes the output 'MORE'"]],
    [['OUT'], ['a: IN -> OUT, fallback: {model_name: ""}'], ['fallback.model_name: expected the name of a model']],
  ])('%j from %j', (outputs, steps, texts) => {
    const found = mistakes(ensemble(outputs, steps));
    for (const text of texts) expect(found).toContainEqual(expect.stringContaining(text));
    expect(found).toHaveLength(texts.length);
  });
});

describe('an ensemble of many steps', () => {
  it('is refused past a number of them, and looked through fast up to it', () => {
    const chain = (count: number): string[] => Array.from({ length: count }, (_, at) => `a: t${at} -> t${at + 1}`).reverse();
    expect(mistakes(ensemble(['t1025'], chain(1025)))).toEqual([
      'ensemble_scheduling.step: expected at most 1024 steps, got 1025; put some of them into an ensemble of their own',
    ]);
    // Names that nothing makes, each near to all others: only the first few are compared.
    const found = mistakes(
      ensemble(
        ['OUT'],
        Array.from({ length: 1000 }, (_, at) => `a: tensor_${at}_in -> tensor_${at}_out`),
      ),
    );
    expect(found.filter((text) => text.includes('nothing makes'))).toHaveLength(1000);
    expect(found.filter((text) => text.includes('did you mean'))).toHaveLength(16);
  });
});

describe('an ensemble and its models', () => {
  const io = (name: string, dims: readonly number[], dataType = 'TYPE_FP32') => ({ name, dataType, dims, optional: false });
  const plain: StepModel = { maxBatchSize: 0, inputs: [io('X', [4])], outputs: [io('Y', [4])], isDecoupled: false };
  const models: Readonly<Record<string, StepModel>> = {
    a: plain,
    many: { ...plain, isDecoupled: true },
    batched: { ...plain, maxBatchSize: 8, inputs: [io('X', [])], outputs: [io('Y', [])] },
    open: { ...plain, inputs: [io('X', [-1])], outputs: [io('Y', [-1])] },
    whole: { ...plain, inputs: [io('X', [4], 'TYPE_INT32')] },
    join: { ...plain, inputs: [io('X', [4]), io('Z', [4])] },
  };
  const found = (outputs: readonly string[], steps: readonly string[]): string[] => {
    const all: string[] = [];
    const config = ensemble(outputs, steps);
    expect(mistakes(config)).toEqual([]);
    findStepMistakes(
      config,
      (name) => models[name] ?? null,
      (field, message) => all.push(`${field}: ${message}`),
    );
    return all;
  };

  it('fit with open dimensions, and where one lists the batch dimension among its own', () => {
    expect(found(['OUT'], ['open: IN -> x', 'a: x -> OUT'])).toEqual([]);
    expect(found(['OUT'], ['batched: IN -> x', 'a: x -> OUT'])).toEqual([]);
    expect(found(['OUT'], ['unknown: IN -> x', 'a: x -> OUT'])).toEqual([]);
    expect(found(['OUT'], ['a: IN -> x', 'whole: x -> OUT'])).toEqual([
      "ensemble_scheduling.step[1].input_map[\"X\"]: expected TYPE_FP32, which the output 'Y' of 'a' gives, got TYPE_INT32",
    ]);
  });

  it('meet at no step from different decoupled steps', () => {
    const split = ['many: IN -> x', 'many: IN -> y'];
    expect(found(['OUT', 'SIDE'], [...split, 'a: x -> OUT', 'a: y -> SIDE'])).toEqual([
      expect.stringMatching(/^output: one response has tensors that come from different/),
    ]);
    expect(found(['OUT'], [...split, 'a: x -> OUT, when: [{tensor: y}]'])).toEqual([
      expect.stringMatching(/^ensemble_scheduling.step\[2\].input_map: 'a' takes tensors/),
    ]);
    // One inside the other is no riddle.
    expect(found(['OUT'], ['many: IN -> x', 'many: x -> y', 'a: y -> OUT, when: [{tensor: x}]'])).toEqual([]);
    expect(found(['OUT'], ['a: IN -> OUT, fallback: {model_name: many}'])).toEqual([
      expect.stringContaining("'many' is decoupled and 'a', in whose place it runs, is not"),
    ]);
    expect(found(['OUT'], ['a: IN -> OUT, when: [{tensor: IN}]', 'many: IN -> OUT, when: [{tensor: IN, not: true}]'])).toContainEqual(
      expect.stringContaining('made once by one step, and once for each response'),
    );
  });
});
