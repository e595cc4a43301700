/**
 * The files of the example model repository and of the request bodies that go with it, except for the weights of `digits`, which are
 * trained. The `simple` models are the ones that the clients' examples for V2 servers expect, by the same names.
 */

import { digitPng } from './digit-png.ts';
import { digitPixels, readDigits } from './digits-data.ts';
import { correlationAdder, startAdder } from './sequence-models.ts';
import { addSub, identity } from './test-models.ts';

/** Contents by path, relative to the repository root. The same on every call and every machine. */
export function exampleFiles(): ReadonlyMap<string, Uint8Array> {
  return new Map<string, Uint8Array>([
    ['model-repository/simple/1/model.onnx', addSub('INT32')],
    ['model-repository/simple/config.pbtxt', text(simpleConfig)],
    ['model-repository/simple_identity/1/model.onnx', identity('BYTES')],
    ['model-repository/simple_identity/config.pbtxt', text(simpleIdentityConfig)],
    ['model-repository/simple_string/1/model.onnx', addSub('BYTES')],
    ['model-repository/simple_string/config.pbtxt', text(simpleStringConfig)],
    ['model-repository/simple_sequence/1/model.onnx', startAdder()],
    ['model-repository/simple_sequence/config.pbtxt', text(simpleSequenceConfig)],
    ['model-repository/simple_dyna_sequence/1/model.onnx', correlationAdder()],
    ['model-repository/simple_dyna_sequence/config.pbtxt', text(simpleDynaSequenceConfig)],
    ['model-repository/repeat_int32/1/README.md', text(repeatReadme)],
    ['model-repository/repeat_int32/config.pbtxt', text(repeatConfig)],
    ['model-repository/digits/config.yaml', text(digitsConfig)],
    ['model-repository/digits/labels.txt', text(`${digitNames.join('\n')}\n`)],
    ['bench/models/requests/simple.json', text(simpleRequest())],
    ['bench/models/requests/digit.json', text(digitRequest())],
    ['bench/models/requests/digit.png', digitPng([...shownPixels()], 8)],
  ]);
}

/** Where the trained model goes. */
export const digitsModelPath: string = 'model-repository/digits/1/model.onnx';

const simpleConfig = `# Sum and difference of two vectors of 16 whole numbers.
name: "simple"
backend: "onnxruntime"
max_batch_size: 8
dynamic_batching { }
${tensors('input', 'TYPE_INT32', 'INPUT0', 'INPUT1')}
${tensors('output', 'TYPE_INT32', 'OUTPUT0', 'OUTPUT1')}
`;

const simpleIdentityConfig = `# Returns the 16 strings it is given.
name: "simple_identity"
backend: "onnxruntime"
max_batch_size: 8
${tensors('input', 'TYPE_STRING', 'INPUT0')}
${tensors('output', 'TYPE_STRING', 'OUTPUT0')}
`;

const simpleStringConfig = `# As "simple", with the numbers written as text: "12" and "5" give "17" and "7".
name: "simple_string"
backend: "onnxruntime"
max_batch_size: 8
${tensors('input', 'TYPE_STRING', 'INPUT0', 'INPUT1')}
${tensors('output', 'TYPE_STRING', 'OUTPUT0', 'OUTPUT1')}
`;

const simpleSequenceConfig = `# Returns each number of a sequence; the first one comes back 1 higher. Requests need a sequence_id, the first one sequence_start.
name: "simple_sequence"
backend: "onnxruntime"
max_batch_size: 8
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  control_input [
${control('START', 'CONTROL_SEQUENCE_START')},
${control('READY', 'CONTROL_SEQUENCE_READY')}
  ]
}
${tensor('input', 'INPUT')}
${tensor('output', 'OUTPUT')}
`;

const simpleDynaSequenceConfig = `# As "simple_sequence", and the last number of a sequence comes back higher by the sequence_id. Batched by whichever sequence has a request.
name: "simple_dyna_sequence"
backend: "onnxruntime"
max_batch_size: 8
sequence_batching {
  oldest {
    max_candidate_sequences: 64
    preferred_batch_size: [ 4, 8 ]
    max_queue_delay_microseconds: 0
  }
  max_sequence_idle_microseconds: 5000000
  control_input [
${control('START', 'CONTROL_SEQUENCE_START')},
${control('READY', 'CONTROL_SEQUENCE_READY')},
${control('END', 'CONTROL_SEQUENCE_END')},
    {
      name: "CORRID"
      control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ]
    }
  ]
}
${tensor('input', 'INPUT')}
${tensor('output', 'OUTPUT')}
`;

const repeatReadme = `The backend \`repeat\` needs no model file. The directory says that there is a version 1.
`;

const repeatConfig = `# Answers a request with one response for each number in IN, DELAY milliseconds apart. Decoupled: gRPC ModelStreamInfer or the WebSocket only.
name: "repeat_int32"
backend: "repeat"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [
  { name: "IN", data_type: TYPE_INT32, dims: [ -1 ] },
  { name: "DELAY", data_type: TYPE_UINT32, dims: [ -1 ] },
  { name: "WAIT", data_type: TYPE_UINT32, dims: [ 1 ] }
]
output [
  { name: "OUT", data_type: TYPE_INT32, dims: [ 1 ] },
  { name: "IDX", data_type: TYPE_UINT32, dims: [ 1 ] }
]
`;

const digitsConfig = `# yaml-language-server: $schema=../../docs/model-config.schema.json
# Reads a handwritten digit: a picture of 8 x 8 pixels, from 0 (paper) to 16 (ink).
name: digits
backend: onnxruntime
max_batch_size: 64
dynamic_batching: {}
input:
  - name: image
    data_type: TYPE_FP32
    dims: [1, 8, 8]
output:
  # One number for each image: nothing is left of its shape once the batch dimension is taken off.
  - name: label
    data_type: TYPE_INT64
    dims: []
  - name: probabilities
    data_type: TYPE_FP32
    dims: [10]
    label_filename: labels.txt
`;

const digitNames = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];

function control(name: string, kind: string): string {
  return `    {\n      name: "${name}"\n      control [ { kind: ${kind} int32_false_true: [ 0, 1 ] } ]\n    }`;
}

function tensor(field: 'input' | 'output', name: string): string {
  return `${field} [ { name: "${name}" data_type: TYPE_INT32 dims: [ 1 ] } ]`;
}

function tensors(field: 'input' | 'output', dataType: string, ...names: string[]): string {
  const entries = names.map((name) => `  {\n    name: "${name}"\n    data_type: ${dataType}\n    dims: [ 16 ]\n  }`);
  return `${field} [\n${entries.join(',\n')}\n]`;
}

function simpleRequest(): string {
  const input = (name: string, data: readonly number[]): string =>
    `    { "name": "${name}", "shape": [1, 16], "datatype": "INT32", "data": [${data.join(', ')}] }`;
  const counting = Array.from({ length: 16 }, (_, index) => index);
  return `{\n  "inputs": [\n${input('INPUT0', counting)},\n${input('INPUT1', Array(16).fill(1))}\n  ]\n}\n`;
}

/** Which of the images kept for testing the request shows: one that a reader recognises in the numbers, too. */
const shownDigit = 4;

function shownPixels(): Float32Array {
  return readDigits().test.pixels.subarray(shownDigit * digitPixels, (shownDigit + 1) * digitPixels);
}

function digitRequest(): string {
  const image = shownPixels();
  const rows = Array.from({ length: 8 }, (_, row) => `            [${image.subarray(row * 8, row * 8 + 8).join(', ')}]`);
  return `{
  "inputs": [
    {
      "name": "image",
      "shape": [1, 1, 8, 8],
      "datatype": "FP32",
      "data": [
        [
          [
${rows.join(',\n')}
          ]
        ]
      ]
    }
  ]
}
`;
}

function text(content: string): Uint8Array {
  return Buffer.from(content);
}
