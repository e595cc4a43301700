/**
 * ONNX models of sequences. Their inputs START, READY, END (INT32 ['batch', 1]) and CORRID are controls, which the server fills in.
 */
import { encodeOnnxModel, type OnnxNode, type OnnxValue } from './onnx-model.ts';

const dims = ['batch', 1];
const int32 = (name: string): OnnxValue => ({ name, elementType: 'INT32', dims });

/** OUTPUT is INPUT, 1 more for the first request of a sequence; 0 in a row that is not READY. Both INT32 ['batch', 1]. */
export function startAdder(): Uint8Array {
  return encodeOnnxModel({
    name: 'start_adder',
    inputs: ['INPUT', 'START', 'READY'].map(int32),
    outputs: [int32('OUTPUT')],
    nodes: [
      { op: 'Add', inputs: ['INPUT', 'START'], outputs: ['sum'] },
      { op: 'Mul', inputs: ['sum', 'READY'], outputs: ['OUTPUT'] },
    ],
  });
}

/** As `startAdder`, and the last request of a sequence gets the low 32 bits of its correlation id (CORRID, UINT64) added. */
export function correlationAdder(): Uint8Array {
  return encodeOnnxModel({
    name: 'correlation_adder',
    inputs: [...['INPUT', 'START', 'READY', 'END'].map(int32), { name: 'CORRID', elementType: 'UINT64', dims }],
    outputs: [int32('OUTPUT')],
    nodes: [
      { op: 'Cast', inputs: ['CORRID'], outputs: ['id'], attributes: { to: { int: 6 } } },
      { op: 'Mul', inputs: ['id', 'END'], outputs: ['id_at_end'] },
      { op: 'Add', inputs: ['INPUT', 'START'], outputs: ['started'] },
      { op: 'Add', inputs: ['started', 'id_at_end'], outputs: ['sum'] },
      { op: 'Mul', inputs: ['sum', 'READY'], outputs: ['OUTPUT'] },
    ],
  });
}

/**
 * Implicit state: OUTPUT and STATE_OUT are STATE_IN + INPUT, STATE_OUT in the width of INPUT. INT32 ['batch', 1]. It has no controls. With `canFail`, INPUT is 0 to 999, and anything above makes the run fail.
 */
export function runningSum(canFail = false): Uint8Array {
  const nodes: OnnxNode[] = [
    { op: 'Add', inputs: ['STATE_IN', 'INPUT'], outputs: ['OUTPUT'] },
    { op: 'Identity', inputs: ['OUTPUT'], outputs: ['STATE_OUT'] },
  ];
  if (canFail) {
    nodes[0] = { op: 'Add', inputs: ['STATE_IN', 'checked'], outputs: ['OUTPUT'] };
    nodes.unshift({ op: 'Gather', inputs: ['table', 'INPUT'], outputs: ['checked'] });
  }
  return encodeOnnxModel({
    name: 'running_sum',
    inputs: ['INPUT', 'STATE_IN'].map(int32),
    outputs: ['OUTPUT', 'STATE_OUT'].map(int32),
    initializers: canFail
      ? [{ name: 'table', elementType: 'INT32', dims: [1000], data: Int32Array.from({ length: 1000 }, (_, index) => index) }]
      : [],
    nodes,
  });
}
