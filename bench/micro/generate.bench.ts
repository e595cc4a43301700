import { encodeBytes } from '../../proto/bytes.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest } from '../../server/inference/inference-request.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import type { InputSpec, ModelSignature, OutputSpec } from '../../server/inference/model-signature.ts';
import { decodeGenerateRequest } from '../../server/protocols/oip-rest/generate-request.ts';
import { GenerateEncoder } from '../../server/protocols/oip-rest/generate-response.ts';
import { OneResponse, UNARY_REFUSAL } from '../../server/protocols/one-response.ts';
import { CallBench } from './call-bench.ts';

/** The generate extension without sockets and model: a response for each token, against JSON.stringify of the same; and the request that asks for them. */
const COUNT = 256;

const input = (name: string, datatype: InputSpec['datatype']): InputSpec => ({
  name,
  datatype,
  byteSize: datatype === 'BYTES' ? 0 : 1,
  dims: [1],
  optional: true,
  reshape: null,
});
const output = (name: string): OutputSpec => ({ name, datatype: 'BYTES', byteSize: 0, dims: [1], reshape: null, labels: null });
const inputs = [input('text_input', 'BYTES'), input('stream', 'BOOL'), input('sampling_parameters', 'BYTES')];
const outputs = ['text_output', 'finish_reason', 'logprobs', 'tool_calls'].map(output);
const signature: ModelSignature = {
  modelName: 'tiny_llm',
  modelVersion: '1',
  maxBatchSize: 0,
  inputs,
  outputs,
  inputIndex: new Map(inputs.map(({ name }, index) => [name, index])),
  outputIndex: new Map(outputs.map(({ name }, index) => [name, index])),
  requiredInputs: 0,
};

const tensor = (name: string, text: string): Tensor => ({ name, datatype: 'BYTES', shape: [1], data: encodeBytes([text]) });
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const token = new InferenceResponse('tiny_llm', '1', [tensor('text_output', ' word')], null, timing);
const more = new InferenceResponse('tiny_llm', '1', [tensor('text_output', ' w"ord\n'), tensor('finish_reason', '')], null, timing);
const encoder = new GenerateEncoder(signature, '');

const bench = new CallBench('a response of generate_stream');
for (const [what, response] of [
  ['one output', token],
  ['two outputs, escapes', more],
] as const) {
  bench.add(`event, ${what}`, COUNT, () => {
    let bytes = 0;
    for (let i = 0; i < COUNT; i++) bytes += encoder.event(response).length;
    return bytes;
  });
  bench.add(`JSON.stringify, ${what}`, COUNT, () => {
    let bytes = 0;
    for (let i = 0; i < COUNT; i++) {
      const object: Record<string, string> = { model_name: response.modelName, model_version: response.modelVersion };
      for (const { name, data } of response.outputs)
        object[name] = Buffer.from(data.buffer, data.byteOffset + 4, data.length - 4).toString();
      bytes += Buffer.from(`data: ${JSON.stringify(object)}\n\n`).length;
    }
    return bytes;
  });
}

const caller: InferenceCaller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };
const body = Buffer.from(
  JSON.stringify({ text_input: 'Once upon a time there was', stream: true, parameters: { max_tokens: 64, temperature: 0.7, seed: 1 } }),
);
bench.add('decode a request', COUNT, () => {
  let bytes = 0;
  for (let i = 0; i < COUNT; i++) bytes += decodeGenerateRequest(body, signature, caller).inputs[0]!.data.length;
  return bytes;
});
bench.add('begin a call: its encoder', COUNT, () => {
  let bytes = 0;
  for (let i = 0; i < COUNT; i++) bytes += new GenerateEncoder(signature, 'id').json(token).length;
  return bytes;
});
const init = { modelName: 'm', modelVersion: '', id: '', inputs: [], outputs: [], parameters: {}, priority: 0, timeoutUs: 0 };
bench.add('the one response of a decoupled model', COUNT, () => {
  let ended = 0;
  for (let i = 0; i < COUNT; i++) {
    const request = new InferenceRequest({ ...init, caller: new OneResponse(caller, UNARY_REFUSAL) });
    request.stream(token);
    request.complete();
    if (request.isDone) ended++;
  }
  return ended;
});
await bench.run();
