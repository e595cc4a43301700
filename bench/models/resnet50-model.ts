import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel, type OnnxAttribute, type OnnxGraph, type OnnxNode, type OnnxTensor } from './onnx-model.ts';

export interface ResnetShape {
  /** Channels of the first convolution; each stage has twice those of the one before. */
  readonly width: number;
  /** Bottleneck blocks of each stage. */
  readonly blocks: readonly number[];
  readonly classes: number;
  /** Pixels of a side of the picture. */
  readonly side: number;
}

/** ResNet-50 (He et al., arXiv 1512.03385, table 1), with the stride of a stage in its 3 x 3 convolution, as everybody trains it. */
export const RESNET50: ResnetShape = { width: 64, blocks: [3, 4, 6, 3], classes: 1000, side: 224 };
/** A block's outputs to its inner channels. */
const EXPANSION = 4;

/**
 * A residual network of bottleneck blocks with random weights, INPUT0 FP32 ['batch', 3, side, side] to OUTPUT0 FP32 ['batch', classes]. Batch normalisation is folded into the convolutions, as every runtime
 * folds it: a channel has a bias where training has four numbers.
 */
export function resnetGraph(shape: ResnetShape = RESNET50, seed = 1): OnnxGraph {
  const random = new SeededRandom(seed);
  const initializers: OnnxTensor[] = [];
  const nodes: OnnxNode[] = [];

  const weight = (name: string, dims: readonly number[], limit: number): string => {
    const length = dims.reduce((product, dim) => product * dim, 1);
    initializers.push({ name, elementType: 'FLOAT', dims, data: random.symmetric(length, limit) });
    return name;
  };
  const convolve = (name: string, input: string, from: number, to: number, kernel: number, stride: number, gain = 1): string => {
    const inputs = [
      input,
      weight(`${name}_weights`, [to, from, kernel, kernel], gain * Math.sqrt(6 / (from * kernel * kernel))),
      weight(`${name}_bias`, [to], 0.01),
    ];
    nodes.push({ op: 'Conv', inputs, outputs: [name], attributes: window(kernel, stride) });
    return name;
  };
  const rectify = (input: string): string => {
    nodes.push({ op: 'Relu', inputs: [input], outputs: [`${input}_relu`] });
    return `${input}_relu`;
  };

  let value = rectify(convolve('stem', 'INPUT0', 3, shape.width, 7, 2));
  nodes.push({ op: 'MaxPool', inputs: [value], outputs: ['pooled'], attributes: window(3, 2) });
  value = 'pooled';
  let channels = shape.width;
  for (const [stage, blocks] of shape.blocks.entries()) {
    const inner = shape.width << stage;
    for (let block = 0; block < blocks; block++) {
      const name = `stage${stage}_block${block}`;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const kept = block > 0 ? value : convolve(`${name}_shortcut`, value, channels, inner * EXPANSION, 1, stride);
      const narrowed = rectify(convolve(`${name}_narrow`, value, channels, inner, 1, 1));
      const seen = rectify(convolve(`${name}_look`, narrowed, inner, inner, 3, stride));
      // Less than what it is added to, or the values would grow with every block.
      const widened = convolve(`${name}_widen`, seen, inner, inner * EXPANSION, 1, 1, 0.2);
      nodes.push({ op: 'Add', inputs: [widened, kept], outputs: [name] });
      value = rectify(name);
      channels = inner * EXPANSION;
    }
  }
  nodes.push(
    { op: 'GlobalAveragePool', inputs: [value], outputs: ['averages'] },
    { op: 'Flatten', inputs: ['averages'], outputs: ['features'] },
    {
      op: 'Gemm',
      inputs: [
        'features',
        weight('classes_weights', [channels, shape.classes], 1 / Math.sqrt(channels)),
        weight('classes_bias', [shape.classes], 0.01),
      ],
      outputs: ['OUTPUT0'],
    },
  );
  return {
    name: 'resnet',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', 3, shape.side, shape.side] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', shape.classes] }],
    initializers,
    nodes,
  };
}

export function resnet50Model(): Uint8Array {
  return encodeOnnxModel(resnetGraph());
}

/** Weights and biases; a batch norm's own two numbers a channel, which are folded here, are not among them. */
export function graphParameters(graph: OnnxGraph): number {
  let count = 0;
  for (const { elementType, dims } of graph.initializers ?? []) {
    if (elementType === 'FLOAT') count += dims.reduce((product, dim) => product * dim, 1);
  }
  return count;
}

function window(kernel: number, stride: number): Record<string, OnnxAttribute> {
  const border = (kernel - 1) / 2;
  return {
    kernel_shape: { ints: [kernel, kernel] },
    strides: { ints: [stride, stride] },
    pads: { ints: [border, border, border, border] },
  };
}
