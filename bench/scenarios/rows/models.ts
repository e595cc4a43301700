/** Models that take their time: what batching gives, and what the way to them costs. Rows 3 to 7 of the scoreboard. */

import { IMAGE_SHAPE } from '../../models/image-model.ts';
import { bertRequests, bytesRequests, mlpRequests, pictureRequests } from '../requests.ts';
import type { Scenario } from '../scenario.ts';
import { bindingRun, echo, empty, HOSTED, INLINE, type Load, latency, nereid, processorTime, rawRun, throughput } from './contenders.ts';

const IMAGE_BYTES = 4 * IMAGE_SHAPE.reduce((product, dim) => product * dim, 1);
/** About an answer of the network for pictures. */
const IMAGE_ANSWER_BYTES = 300;

export const mlp: Scenario = {
  name: 'mlp',
  title: 'Network of 3.7 million parameters, one core',
  about:
    '512 values in, 32 requests in flight, server and model on one core. The controls are ONNX Runtime alone: by its C API at batch 1 and at the batch that is best for a row, and by its JavaScript binding.',
  cores: 'one',
  models: ['mlp'],
  seconds: 0,
  contenders: [
    rawRun('raw C API, batch 1', 'mlp', mlpRequests('binary')),
    nereid('HTTP binary, c=32', INLINE, { protocol: 'http-binary', requests: mlpRequests('binary'), concurrency: 32 }),
    nereid('HTTP JSON, c=32', INLINE, { protocol: 'http-json', requests: mlpRequests('json'), concurrency: 32 }),
    nereid('HTTP binary, c=32, process', HOSTED, { protocol: 'http-binary', requests: mlpRequests('binary'), concurrency: 32 }),
    rawRun('raw C API, best batch', 'mlp', mlpRequests('binary'), 'best'),
    bindingRun('raw binding, batch 1', 'mlp', mlpRequests('binary')),
  ],
  ratios: [
    throughput('HTTP JSON / raw batch 1', { of: 'HTTP JSON, c=32', to: 'raw C API, batch 1' }, 2.5),
    throughput('HTTP binary / raw batch 1', { of: 'HTTP binary, c=32', to: 'raw C API, batch 1', inGate: true }, 3.5),
    processorTime('HTTP binary / raw batch 1', { of: 'HTTP binary, c=32', to: 'raw C API, batch 1', inGate: true }),
    throughput('HTTP binary / raw best batch', { of: 'HTTP binary, c=32', to: 'raw C API, best batch' }, null),
    throughput('HTTP binary, process / raw batch 1', { of: 'HTTP binary, c=32, process', to: 'raw C API, batch 1' }, null),
  ],
};

const picture = (protocol: Load['protocol']): Load => ({
  protocol,
  requests: pictureRequests('image', protocol.endsWith('json') ? 'json' : 'binary'),
  concurrency: 1,
  connections: 1,
});

export const image: Scenario = {
  name: 'image',
  title: 'Picture of 600 KB, one request at a time',
  about:
    'A picture of 1x3x224x224 FP32 to a network of one convolution. The controls, added up: the run by the C API, and the same bytes to another process by blocking calls.',
  cores: 'one',
  models: ['image'],
  seconds: 0,
  contenders: [
    rawRun('raw C API', 'image', pictureRequests('image', 'binary')),
    echo('loopback copy', IMAGE_BYTES, IMAGE_ANSWER_BYTES),
    nereid('HTTP binary', INLINE, picture('http-binary')),
    nereid('gRPC', INLINE, picture('grpc')),
    nereid('WebSocket binary', INLINE, picture('websocket-binary')),
    nereid('HTTP JSON', INLINE, picture('http-json')),
    nereid('HTTP binary, process', HOSTED, picture('http-binary')),
  ],
  ratios: [
    latency('HTTP binary / (raw run + loopback copy), p50', { of: 'HTTP binary', to: ['raw C API', 'loopback copy'] }, 1.2),
    latency(
      'HTTP binary, process / (raw run + loopback copy), p50',
      { of: 'HTTP binary, process', to: ['raw C API', 'loopback copy'] },
      null,
    ),
    latency('gRPC / HTTP binary, p50', { of: 'gRPC', to: 'HTTP binary' }, 1.5),
    latency('WebSocket / HTTP binary, p50', { of: 'WebSocket binary', to: 'HTTP binary' }, null),
  ],
};

export const resnet50: Scenario = {
  name: 'resnet50',
  title: 'ResNet-50 with random weights, saturated, one core',
  about:
    '25.5 million parameters, pictures of 600 KB over HTTP, 4 in flight, the model in a process of its own with one thread. The control is the same run by the C API with one thread.',
  cores: 'one',
  models: ['resnet50'],
  // Some ten runs a second: fewer would make a run more or less count.
  seconds: 8,
  contenders: [
    rawRun('raw C API, batch 1', 'resnet50', pictureRequests('resnet50', 'binary')),
    nereid('HTTP binary, c=4', HOSTED, { protocol: 'http-binary', requests: pictureRequests('resnet50', 'binary'), concurrency: 4 }),
  ],
  ratios: [throughput('HTTP binary c=4 / raw batch 1', { of: 'HTTP binary, c=4', to: 'raw C API, batch 1' }, 0.97)],
};

export const bert: Scenario = {
  name: 'bert',
  title: 'Encoder of 4 layers, texts of 8 to 256 tokens, one core',
  about:
    'Token IDs and masks over HTTP, 32 texts in flight, lengths spread evenly over the doublings. The control is each text by itself, unpadded, by the C API.',
  cores: 'one',
  models: ['bert'],
  seconds: 3,
  contenders: [
    rawRun('raw C API, batch 1, unpadded', 'bert', bertRequests()),
    nereid('HTTP binary, c=32', HOSTED, { protocol: 'http-binary', requests: bertRequests(), concurrency: 32 }),
    nereid('HTTP binary, c=32, inline', INLINE, { protocol: 'http-binary', requests: bertRequests(), concurrency: 32 }),
  ],
  ratios: [throughput('HTTP binary c=32 / raw batch 1, unpadded', { of: 'HTTP binary, c=32', to: 'raw C API, batch 1, unpadded' }, null)],
};

const strings = (protocol: Load['protocol'], count: number): Load => ({
  protocol,
  requests: bytesRequests(count),
  concurrency: 1,
  connections: 1,
});

export const bytes: Scenario = {
  name: 'bytes',
  title: 'Strings, one request at a time',
  about:
    'Tensors of 1, 100 and 10,000 strings of 8 bytes, which the model gives back, over HTTP and gRPC. The controls, added up: the empty handler with the same bytes, and the run by the C API.',
  cores: 'one',
  models: ['bytes'],
  seconds: 0,
  contenders: [1, 100, 10_000].flatMap((count) => [
    empty(`empty uws, ${count}`, 'uws', INLINE, strings('http-binary', count)),
    rawRun(`raw C API, ${count}`, 'bytes', bytesRequests(count)),
    nereid(`HTTP binary, ${count}`, INLINE, strings('http-binary', count)),
    nereid(`gRPC, ${count}`, INLINE, strings('grpc', count)),
  ]),
  ratios: [1, 100, 10_000].map((count) =>
    latency(
      `HTTP binary / (empty uws + raw run), ${count}, p50`,
      { of: `HTTP binary, ${count}`, to: [`empty uws, ${count}`, `raw C API, ${count}`] },
      null,
    ),
  ),
};
