import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel } from './onnx-model.ts';

/** One picture as classifiers take it: 602,112 bytes of FP32. */
export const IMAGE_SHAPE: readonly number[] = [1, 3, 224, 224];
const CHANNELS = 8;
const CLASSES = 10;

/**
 * A network of one convolution, a fraction of a millisecond: what there is to measure is the way of the picture to it. INPUT0 FP32 ['batch', 3, 224, 224] to OUTPUT0 FP32 ['batch', 10]: a 7 x 7 convolution
 * in steps of 8 pixels, rectified, averaged, and a fully connected layer.
 */
export function imageModel(seed = 1): Uint8Array {
  const random = new SeededRandom(seed);
  const [, planes, height, width] = IMAGE_SHAPE as [number, number, number, number];
  return encodeOnnxModel({
    name: 'image',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', planes, height, width] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', CLASSES] }],
    initializers: [
      { name: 'kernels', elementType: 'FLOAT', dims: [CHANNELS, planes, 7, 7], data: random.symmetric(CHANNELS * planes * 49, 0.2) },
      { name: 'classes', elementType: 'FLOAT', dims: [CHANNELS, CLASSES], data: random.symmetric(CHANNELS * CLASSES, 1) },
      { name: 'bias', elementType: 'FLOAT', dims: [CLASSES], data: random.symmetric(CLASSES, 0.1) },
    ],
    nodes: [
      {
        op: 'Conv',
        inputs: ['INPUT0', 'kernels'],
        outputs: ['seen'],
        attributes: { kernel_shape: { ints: [7, 7] }, strides: { ints: [8, 8] }, pads: { ints: [3, 3, 3, 3] } },
      },
      { op: 'Relu', inputs: ['seen'], outputs: ['rectified'] },
      { op: 'GlobalAveragePool', inputs: ['rectified'], outputs: ['averages'] },
      { op: 'Flatten', inputs: ['averages'], outputs: ['features'] },
      { op: 'Gemm', inputs: ['features', 'classes', 'bias'], outputs: ['OUTPUT0'] },
    ],
  });
}
