/** Writes a trained digits network as an ONNX model. */
import type { Layer } from './layer.ts';
import { encodeOnnxModel, type OnnxTensor } from './onnx-model.ts';
import type { DigitsNetwork } from './train-digits.ts';

/**
 * `image` FP32 ['batch', 1, 8, 8], pixels 0 to 16, to `label` INT64 ['batch'], the digit, and `probabilities` FP32 ['batch', 10].
 */
export function digitsModel(network: DigitsNetwork): Uint8Array {
  const { strokes, shapes, pooled, hidden, scores } = network;
  const window = { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } };
  return encodeOnnxModel({
    name: 'digits',
    inputs: [{ name: 'image', elementType: 'FLOAT', dims: ['batch', 1, 8, 8] }],
    outputs: [
      { name: 'label', elementType: 'INT64', dims: ['batch'] },
      { name: 'probabilities', elementType: 'FLOAT', dims: ['batch', 10] },
    ],
    initializers: [
      { name: 'ink', elementType: 'FLOAT', dims: [], data: Float32Array.of(16) },
      windowWeights('strokes_weights', strokes),
      bias('strokes_bias', strokes),
      windowWeights('shapes_weights', shapes),
      bias('shapes_bias', shapes),
      {
        name: 'hidden_weights',
        elementType: 'FLOAT',
        dims: [pooled.outputs.length, hidden.channels],
        data: channelFirstRows(shapes.channels, hidden),
      },
      bias('hidden_bias', hidden),
      { name: 'scores_weights', elementType: 'FLOAT', dims: [hidden.channels, scores.channels], data: scores.weights },
      bias('scores_bias', scores),
    ],
    nodes: [
      { op: 'Div', inputs: ['image', 'ink'], outputs: ['scaled'] },
      { op: 'Conv', inputs: ['scaled', 'strokes_weights', 'strokes_bias'], outputs: ['strokes_sum'], attributes: window },
      { op: 'Relu', inputs: ['strokes_sum'], outputs: ['strokes'] },
      { op: 'Conv', inputs: ['strokes', 'shapes_weights', 'shapes_bias'], outputs: ['shapes_sum'], attributes: window },
      { op: 'Relu', inputs: ['shapes_sum'], outputs: ['shapes'] },
      {
        op: 'MaxPool',
        inputs: ['shapes'],
        outputs: ['pooled'],
        attributes: { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } },
      },
      { op: 'Flatten', inputs: ['pooled'], outputs: ['flat'] },
      { op: 'Gemm', inputs: ['flat', 'hidden_weights', 'hidden_bias'], outputs: ['hidden_sum'] },
      { op: 'Relu', inputs: ['hidden_sum'], outputs: ['hidden'] },
      { op: 'Gemm', inputs: ['hidden', 'scores_weights', 'scores_bias'], outputs: ['scores'] },
      { op: 'Softmax', inputs: ['scores'], outputs: ['probabilities'], attributes: { axis: { int: 1 } } },
      { op: 'ArgMax', inputs: ['scores'], outputs: ['label'], attributes: { axis: { int: 1 }, keepdims: { int: 0 } } },
    ],
  });
}

/** A convolution's weights in ONNX's order: [output channel, input channel, row, column] from [row and column, input channel, output channel]. */
function windowWeights(name: string, layer: Layer): OnnxTensor {
  const { weights, channels } = layer;
  const inputChannels = weights.length / 9 / channels;
  const data = new Float32Array(weights.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let input = 0; input < inputChannels; input++) {
      for (let near = 0; near < 9; near++) {
        data[(channel * inputChannels + input) * 9 + near] = weights[(near * inputChannels + input) * channels + channel]!;
      }
    }
  }
  return { name, elementType: 'FLOAT', dims: [channels, inputChannels, 3, 3], data };
}

/**
 * The weights of `layer`, which sees every place of a picture with `inputChannels`, with their rows in ONNX's order, channel then place,
 * instead of place then channel.
 */
function channelFirstRows(inputChannels: number, layer: Layer): Float32Array {
  const places = layer.weights.length / layer.channels / inputChannels;
  const data = new Float32Array(layer.weights.length);
  for (let place = 0; place < places; place++) {
    for (let channel = 0; channel < inputChannels; channel++) {
      const row = place * inputChannels + channel;
      data.set(layer.weights.subarray(row * layer.channels, (row + 1) * layer.channels), (channel * places + place) * layer.channels);
    }
  }
  return data;
}

function bias(name: string, layer: Layer): OnnxTensor {
  return { name, elementType: 'FLOAT', dims: [layer.channels], data: layer.bias };
}
