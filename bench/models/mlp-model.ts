import { SeededRandom } from '../statistics/seeded-random.ts';
import { encodeOnnxModel, type OnnxNode, type OnnxTensor } from './onnx-model.ts';

/** Layer widths of the benchmarks' network, from its inputs to its outputs: 3,681,680 parameters. */
export const MLP_WIDTHS: readonly number[] = [512, 1536, 1408, 512, 16];

/** Weights and biases of fully connected layers of these widths. */
export function mlpParameters(widths: readonly number[]): number {
  let count = 0;
  for (let i = 1; i < widths.length; i++) count += (widths[i - 1]! + 1) * widths[i]!;
  return count;
}

/**
 * Fully connected layers, rectified but for the last, with random weights: INPUT0 FP32 ['batch', first width] to OUTPUT0 FP32 ['batch', last width]. Where each row needs every weight once, a batch
 * that shares the reading of them costs little more than a single row does.
 */
export function mlpModel(widths: readonly number[] = MLP_WIDTHS, seed = 1): Uint8Array {
  const random = new SeededRandom(seed);
  const initializers: OnnxTensor[] = [];
  const nodes: OnnxNode[] = [];
  const last = widths.length - 1;
  for (let i = 1; i <= last; i++) {
    const [rows, columns] = [widths[i - 1]!, widths[i]!];
    const [weights, bias, sum] = [`weights${i}`, `bias${i}`, i === last ? 'OUTPUT0' : `sum${i}`];
    initializers.push(
      // This spread keeps the size of the values from layer to layer, half of them rectified away.
      { name: weights, elementType: 'FLOAT', dims: [rows, columns], data: random.symmetric(rows * columns, Math.sqrt(6 / rows)) },
      { name: bias, elementType: 'FLOAT', dims: [columns], data: random.symmetric(columns, 0.1) },
    );
    nodes.push({ op: 'Gemm', inputs: [i === 1 ? 'INPUT0' : `hidden${i - 1}`, weights, bias], outputs: [sum] });
    if (i < last) nodes.push({ op: 'Relu', inputs: [sum], outputs: [`hidden${i}`] });
  }
  return encodeOnnxModel({
    name: 'mlp',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', widths[0]!] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', widths[last]!] }],
    initializers,
    nodes,
  });
}
