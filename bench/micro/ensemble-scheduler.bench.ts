/**
 * An ensemble's own work for a request: its steps' models answer at once, without a queue, a batch or a run. A chain and a diamond, conditions, a part of the outputs.
 * `node dist/bench/micro/ensemble-scheduler.bench.js`
 */

import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { systemClock } from '../../server/inference/clock.ts';
import { InferenceRequest, type RequestedOutput } from '../../server/inference/inference-request.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import type { ModelSignature } from '../../server/inference/model-signature.ts';
import type { CallableModel, NestedCalls } from '../../server/inference/nested-calls.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { parseModelConfig } from '../../server/model-config/parse-model-config.ts';
import { createSignature } from '../../server/repository/create-signature.ts';
import { compileEnsemble } from '../../server/scheduling/ensemble/ensemble-plan.ts';
import { EnsembleScheduler } from '../../server/scheduling/ensemble/ensemble-scheduler.ts';
import { CountingCaller } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const tensor = (name: string): string => `{name: ${name}, data_type: TYPE_FP32, dims: [16]}`;
const modelConfig = parseModelConfig(`name: m\ninput: [${tensor('X')}]\noutput: [${tensor('Y')}]\n`, 'yaml', 'bench');
const outputs: readonly Tensor[] = [{ name: 'Y', datatype: 'FP32', shape: [1, 16], data: new Uint8Array(64) }];
const timing = { queueNs: 1, computeInputNs: 1, computeInferNs: 1, computeOutputNs: 1 };
const response = new InferenceResponse('m', '1', outputs, null, timing);

/** Answers what was asked in the same order, when the bench says so. */
class AnsweringCalls implements NestedCalls {
  readonly #model: CallableModel = { name: 'm', version: '1', signature: createSignature(modelConfig, '1', new Map()), isDecoupled: false };
  readonly #asked: InferenceRequest[] = [];

  find(): CallableModel {
    return this.#model;
  }

  infer(request: InferenceRequest): void {
    this.#asked.push(request);
  }

  answerAll(): void {
    for (let i = 0; i < this.#asked.length; i++) this.#asked[i]!.respond(response);
    this.#asked.length = 0;
  }
}

const calls = new AnsweringCalls();
const caller = new CountingCaller();

class Lane {
  readonly #scheduler: EnsembleScheduler;
  readonly #signature: ModelSignature;
  readonly #wanted: readonly RequestedOutput[];

  /** `steps`: what each takes and gives, and its condition. */
  constructor(ensembleOutputs: readonly string[], steps: readonly (readonly [string, string, string?])[], wanted: readonly string[] = []) {
    const lines = steps.map(([from, to, when]) => {
      const condition = when === undefined ? '' : `, when: [{tensor: ${when}, not: true}]`;
      return `    - {model_name: m, model_version: -1, input_map: {X: ${from}}, output_map: {Y: ${to}}${condition}}\n`;
    });
    const text = `name: e\nplatform: ensemble\ninput: [${tensor('IN')}]\noutput: [${ensembleOutputs.map(tensor).join(', ')}]\nensemble_scheduling:\n  step:\n${lines.join('')}`;
    const config: ModelConfig = parseModelConfig(text, 'yaml', 'bench');
    this.#signature = createSignature(config, '1', new Map());
    this.#wanted = wanted.map((name) => ({ name, classification: 0, binaryData: true }));
    this.#scheduler = new EnsembleScheduler({
      plan: compileEnsemble(config, () => calls.find()),
      signature: this.#signature,
      nestedCalls: calls,
      reporter: new ModelReporter('e', '1', {}),
      clock: systemClock,
      onFault: (error) => {
        throw error;
      },
    });
  }

  run(): number {
    for (let i = 0; i < COUNT; i++) {
      const inputs: Tensor[] = [{ name: 'IN', datatype: 'FP32', shape: [1, 16], data: outputs[0]!.data }];
      const init = {
        modelName: 'e',
        modelVersion: '',
        id: '',
        inputs,
        outputs: this.#wanted,
        parameters: {},
        priority: 0,
        timeoutUs: 0,
        caller,
      };
      const request = new InferenceRequest(init);
      request.boundInputs = inputs;
      this.#scheduler.enqueue(request);
    }
    while (this.#scheduler.inflightCount > 0) calls.answerAll();
    return caller.count;
  }
}

const one = new Lane(['OUT'], [['IN', 'OUT']]);
const three = new Lane(
  ['OUT'],
  [
    ['IN', 'a'],
    ['a', 'b'],
    ['b', 'OUT'],
  ],
);
const diamond: readonly (readonly [string, string, string?])[] = [
  ['IN', 'a'],
  ['a', 'LEFT'],
  ['a', 'RIGHT'],
];
const whole = new Lane(['LEFT', 'RIGHT'], diamond);
const part = new Lane(['LEFT', 'RIGHT'], diamond, ['LEFT']);
const conditional = new Lane(
  ['OUT'],
  [
    ['IN', 'a'],
    ['a', 'b', 'a'],
    ['b', 'OUT', 'b'],
  ],
);
await new CallBench('a request to an ensemble, its steps answered at once, FP32 [1,16]')
  .add('one step', COUNT, () => one.run())
  .add('three steps behind one another', COUNT, () => three.run())
  .add('three, each but the first with a condition', COUNT, () => conditional.run())
  .add('three steps, two of them side by side', COUNT, () => whole.run())
  .add('the same, one of two outputs wanted', COUNT, () => part.run())
  .run();
