import { encodeOnnxModel, type OnnxNode, type OnnxTensor, onnxElementType } from './onnx-model.ts';

/**
 * Says which version computed an answer: OUTPUT0 is INPUT0 and OUTPUT1 is `version`, all INT64 ['batch', 1]. OUTPUT1 is computed from
 * INPUT0, so it comes from the run that had this input. `padding`: bytes that make the file large, a multiple of 4.
 */
export function versionedModel(version: number, padding = 0): Uint8Array {
  const int64 = (name: string) => ({ name, elementType: 'INT64' as const, dims: ['batch', 1] });
  const initializers: OnnxTensor[] = [{ name: 'version', elementType: 'INT64', dims: [1], data: BigInt64Array.of(BigInt(version)) }];
  const nodes: OnnxNode[] = [
    { op: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] },
    { op: 'Sub', inputs: ['INPUT0', 'INPUT0'], outputs: ['nothing'] },
  ];
  if (padding > 0) {
    // Zeros that count: what nothing depends on would not be read.
    initializers.push({ name: 'padding', elementType: 'FLOAT', dims: [padding / 4], data: new Float32Array(padding / 4) });
    nodes.push(
      { op: 'ReduceMax', inputs: ['padding'], outputs: ['largest'] },
      { op: 'Cast', inputs: ['largest'], outputs: ['zero'], attributes: { to: { int: onnxElementType.INT64 } } },
      { op: 'Add', inputs: ['nothing', 'zero'], outputs: ['still_nothing'] },
    );
  }
  nodes.push({ op: 'Add', inputs: [padding > 0 ? 'still_nothing' : 'nothing', 'version'], outputs: ['OUTPUT1'] });
  return encodeOnnxModel({
    name: 'versioned',
    inputs: [int64('INPUT0')],
    outputs: [int64('OUTPUT0'), int64('OUTPUT1')],
    initializers,
    nodes,
  });
}
