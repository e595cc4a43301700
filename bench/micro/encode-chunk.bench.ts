/** A token on its way to OpenAI's client: `node dist/bench/micro/encode-chunk.bench.js` */

import { encodeBytes } from '../../proto/bytes.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import type { ModelSignature } from '../../server/inference/model-signature.ts';
import { ChunkForm } from '../../server/protocols/openai/encode-chunk.ts';
import type { GenerationSpec } from '../../server/protocols/openai/generation-spec.ts';
import { StreamCall } from '../../server/protocols/openai/stream-call.ts';
import type { ProtocolContext } from '../../server/protocols/protocol.ts';
import type { Model } from '../../server/repository/model.ts';
import type { HttpExchange, HttpStream } from '../../server/transports/http-exchange.ts';
import { CallBench } from './call-bench.ts';

const CALLS = 1_000;
const head = {
  id: `chatcmpl-${'0'.repeat(32)}`,
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'tiny_llm',
  system_fingerprint: 'tiny_llm@1',
};
const form = new ChunkForm('chat', JSON.stringify(head).slice(1, -1), 0, false);
const texts = {
  'a token': ' world',
  'a token with escapes': '"\n',
  'a token beyond ASCII': ' wörld',
  '4 kB': 'all the words of a page '.repeat(170),
};

const bench = new CallBench('a chunk of a chat');
for (const [what, text] of Object.entries(texts)) {
  const bytes = Buffer.from(text);
  bench.add(what, CALLS, () => {
    let length = 0;
    for (let i = 0; i < CALLS; i++) length += form.text(bytes).length;
    return length;
  });
  bench.add(`${what}: JSON.stringify`, CALLS, () => {
    let length = 0;
    for (let i = 0; i < CALLS; i++) {
      const choices = [{ index: 0, delta: { content: bytes.toString('utf8') }, logprobs: null, finish_reason: null }];
      length += Buffer.from(`data: ${JSON.stringify({ ...head, choices })}\n\n`).length;
    }
    return length;
  });
}

// A whole response of the model: found tensors, chunk, stream. The door is left out: the call's requests stay where they are.
let written = 0;
const stream: HttpStream = {
  drainListener: null,
  write: (part) => {
    written += part.length;
    return true;
  },
  end: () => {},
  abort: () => {},
};
const signature: ModelSignature = {
  modelName: 'tiny_llm',
  modelVersion: '1',
  maxBatchSize: 0,
  inputs: [{ name: 'messages', datatype: 'BYTES', byteSize: 0, dims: [1], optional: true, reshape: null }],
  outputs: [{ name: 'text_output', datatype: 'BYTES', byteSize: 0, dims: [1], reshape: null, labels: null }],
  inputIndex: new Map([['messages', 0]]),
  outputIndex: new Map([['text_output', 0]]),
  requiredInputs: 0,
};
const model = { name: 'tiny_llm', version: '1', signature, sequencePlan: null, config: { parameters: {} } } as unknown as Model;
const spec: GenerationSpec = {
  kind: 'chat',
  model: 'tiny_llm',
  prompts: [{ kind: 'messages', json: Buffer.from('[{"role":"user","content":"hello"}]') }],
  n: 1,
  isStream: true,
  includesUsage: false,
  echoes: false,
  wantsLogprobs: false,
  wantsAllThatFits: false,
  sampling: [],
  seed: null,
  firstSamplingField: '',
  tools: null,
  toolChoice: null,
  paramNames: new Map(),
  ignored: [],
};
const context = { door: { infer: () => {} }, reportFault: () => {} } as unknown as ProtocolContext;
const exchange = { abortListener: null, isAborted: false, startStream: () => stream } as unknown as HttpExchange;
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const outputs = [
  { name: 'text_output', datatype: 'BYTES' as const, shape: [1], data: encodeBytes([' world']) },
  { name: 'finish_reason', datatype: 'BYTES' as const, shape: [1], data: encodeBytes(['']) },
];
const response = new InferenceResponse('tiny_llm', '1', outputs, null, timing);
const call = new StreamCall(exchange, context, spec, model);
call.start('', false, Number.POSITIVE_INFINITY);
bench.add('a response of the model, to the stream', CALLS, () => {
  for (let i = 0; i < CALLS; i++) call.choiceResponded(call.choices[0]!, response, false);
  return written;
});
bench.add('a call of three tokens', CALLS, () => {
  for (let i = 0; i < CALLS; i++) {
    const one = new StreamCall(exchange, context, spec, model);
    one.start('', false, Number.POSITIVE_INFINITY);
    const choice = one.choices[0]!;
    for (let token = 0; token < 3; token++) one.choiceResponded(choice, response, false);
    one.choiceEnded(choice);
  }
  return written;
});
await bench.run();
