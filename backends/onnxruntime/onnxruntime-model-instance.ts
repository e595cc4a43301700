/** @hotpath one native call per run: inputs and outputs are OrtValues over the caller's memory, kept from run to run */

import { byteSizeOf, elementCount } from '../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ModelInstance, OutputSink } from '../api/backend.ts';
import type { ModelSignature, TensorSignature } from './model-signature.ts';
import { addressOfBytes, NativeWords } from './native-words.ts';
import { check, type OrtLibrary, readableMessage, takeStatus } from './ort-library.ts';
import { StringTensors } from './string-tensors.ts';
import { TensorValueCache } from './tensor-value-cache.ts';

/** Power of two: how many combinations of input shapes an instance remembers. */
const PLANS = 64;

/** What a run with certain input shapes gave, so that the next one with the same shapes can write its outputs in place. */
interface RunPlan {
  /** Names and shapes of the inputs, as `#key` has them. */
  readonly key: readonly number[];
  /** Shapes and lengths of the first outputs, up to one whose shape the inputs do not decide: only these are written in place. */
  readonly shapes: readonly (readonly number[])[];
  readonly byteLengths: readonly number[];
}

export interface OnnxRuntimeModelInstanceOptions {
  readonly library: OrtLibrary;
  /** OrtSession, which must outlive the instance; instances of a model share it. */
  readonly session: number;
  readonly signature: ModelSignature;
  readonly onDispose: (instance: OnnxRuntimeModelInstance) => void;
}

/**
 * One executable copy of an ONNX model: the session's weights, and memory of its own for what a run needs.
 *
 * An output is written straight into the sink's memory when its shape is certain before the run: the file gives each of its dimensions as a
 * number or as a name that an input has too, and an earlier run with the very same input shapes kept to that. ONNX Runtime fails a run whose
 * output has another shape than the memory given for it, so all others are made by ONNX Runtime and copied.
 */
export class OnnxRuntimeModelInstance implements ModelInstance {
  readonly #library: OrtLibrary;
  readonly #session: number;
  readonly #inputs: readonly TensorSignature[];
  readonly #outputs: readonly TensorSignature[];
  readonly #inputIndexes: ReadonlyMap<string, number>;
  readonly #requiredInputs: number;
  readonly #inputCaches: readonly (TensorValueCache | null)[];
  readonly #outputCaches: readonly (TensorValueCache | null)[];
  readonly #strings: StringTensors;
  readonly #onDispose: (instance: OnnxRuntimeModelInstance) => void;

  readonly #inputNames: NativeWords;
  readonly #inputValues: NativeWords;
  readonly #outputNames: NativeWords;
  readonly #outputValues: NativeWords;
  readonly #out = new NativeWords(1);
  readonly #dims = new NativeWords(8);

  /** Input shapes of this run: for each input its index, its rank, its dimensions. Its length is `#keyLength`. */
  readonly #key: number[] = [];
  #keyLength = 0;
  readonly #plans: (RunPlan | undefined)[] = new Array(PLANS).fill(undefined);
  /** How many outputs, from the first on, may be written in place. Goes down for good when an output breaks what the file says of it. */
  #predictableOutputs: number;
  /** Which run saw an input last: finds those given twice and those missing without anything to clear. */
  readonly #seenInRun: Float64Array;
  #run = 0;
  /** String tensors of this run's inputs, which are not cached. */
  readonly #runValues: number[] = [];
  #isDisposed = false;

  constructor(options: OnnxRuntimeModelInstanceOptions) {
    const { library, session, signature } = options;
    this.#library = library;
    this.#session = session;
    this.#onDispose = options.onDispose;
    this.#inputs = signature.inputs;
    this.#outputs = signature.outputs;
    this.#inputIndexes = new Map(signature.inputs.map((input, index) => [input.name, index]));
    this.#requiredInputs = signature.inputs.filter((input) => !input.optional).length;
    const cacheOf = (side: string, { name, datatype, elementType }: TensorSignature): TensorValueCache | null =>
      datatype === 'BYTES' ? null : new TensorValueCache(library, `${side} '${name}'`, datatype, elementType);
    this.#inputCaches = signature.inputs.map((input) => cacheOf('input', input));
    this.#outputCaches = signature.outputs.map((output) => cacheOf('output', output));
    this.#strings = new StringTensors(library);
    this.#inputNames = new NativeWords(signature.inputs.length);
    this.#inputValues = new NativeWords(signature.inputs.length);
    this.#outputNames = new NativeWords(signature.outputs.length);
    this.#outputValues = new NativeWords(signature.outputs.length);
    for (const [index, output] of signature.outputs.entries()) this.#outputNames.set(index, output.nativeName.address);
    this.#seenInRun = new Float64Array(signature.inputs.length);
    this.#predictableOutputs = countPredictable(signature);
  }

  execute(inputs: readonly Tensor[], sink: OutputSink): void {
    if (this.#isDisposed) throw new InferenceError('UNAVAILABLE', 'the model instance was disposed of', { failureReason: 'BACKEND' });
    try {
      const planIndex = this.#bindInputs(inputs);
      const plan = this.#plans[planIndex];
      const placed = plan !== undefined && this.#isPlanForKey(plan) ? this.#placeOutputs(plan, sink) : 0;
      const outputValues = this.#outputValues;
      const outputCount = this.#outputs.length;
      for (let i = placed; i < outputCount; i++) outputValues.set(i, 0);

      sink.inferStarted();
      const status = this.#library.api.Run(
        this.#session,
        0,
        this.#inputNames.address,
        this.#inputValues.address,
        inputs.length,
        this.#outputNames.address,
        outputCount,
        outputValues.address,
      );
      sink.inferEnded();
      if (status !== 0) throw this.#runError(status, placed);
      if (placed < outputCount) this.#collectOutputs(placed, inputs, sink, planIndex);
    } finally {
      if (this.#runValues.length > 0) this.#releaseRunValues();
    }
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    for (const cache of this.#inputCaches) cache?.dispose();
    for (const cache of this.#outputCaches) cache?.dispose();
    this.#onDispose(this);
  }

  /** Writes names and values of the inputs, and `#key`. Returns the place of a plan for these shapes. */
  #bindInputs(inputs: readonly Tensor[]): number {
    const run = ++this.#run;
    const key = this.#key;
    let at = 0;
    let hash = 0;
    let required = 0;
    for (let i = 0; i < inputs.length; i++) {
      const tensor = inputs[i]!;
      // In the metadata's order they need no look-up.
      const expected = this.#inputs[i];
      const index = expected !== undefined && expected.name === tensor.name ? i : this.#inputIndexes.get(tensor.name);
      if (index === undefined) throw this.#unknownInput(tensor.name);
      const signature = this.#inputs[index]!;
      if (signature.datatype !== tensor.datatype) {
        throw invalidArgument(`input '${tensor.name}': expected datatype ${signature.datatype}, got ${tensor.datatype}`);
      }
      if (this.#seenInRun[index] === run) throw invalidArgument(`input '${tensor.name}' is given more than once`);
      this.#seenInRun[index] = run;
      if (!signature.optional) required++;
      const cache = this.#inputCaches[index]!;
      const { shape } = tensor;
      let value: number;
      if (cache === null) {
        value = this.#strings.create(tensor.data, shape, tensor.name);
        this.#runValues.push(value);
      } else {
        value = cache.valueOver(tensor.data, shape);
      }
      this.#inputNames.set(i, signature.nativeName.address);
      this.#inputValues.set(i, value);
      const rank = shape.length;
      key[at++] = index;
      key[at++] = rank;
      for (let axis = 0; axis < rank; axis++) {
        const dim = shape[axis]!;
        key[at++] = dim;
        hash = (Math.imul(hash, 31) + dim) | 0;
      }
    }
    this.#keyLength = at;
    if (required < this.#requiredInputs) throw this.#missingInput(run);
    return hash & (PLANS - 1);
  }

  #isPlanForKey(plan: RunPlan): boolean {
    const planKey = plan.key;
    const length = this.#keyLength;
    if (planKey.length !== length) return false;
    const key = this.#key;
    for (let i = 0; i < length; i++) if (planKey[i] !== key[i]) return false;
    return true;
  }

  /** Binds outputs to the sink's memory; how many it did. */
  #placeOutputs(plan: RunPlan, sink: OutputSink): number {
    const count = Math.min(plan.shapes.length, this.#predictableOutputs);
    for (let i = 0; i < count; i++) {
      const { name, datatype } = this.#outputs[i]!;
      const shape = plan.shapes[i]!;
      const memory = sink.allocate(name, datatype, shape, plan.byteLengths[i]!);
      this.#outputValues.set(i, this.#outputCaches[i]!.valueOver(memory, shape));
    }
    return count;
  }

  /** Copies the outputs from `first` on, which ONNX Runtime made, into the sink; remembers the shapes for the next run. */
  #collectOutputs(first: number, inputs: readonly Tensor[], sink: OutputSink, planIndex: number): void {
    const { api } = this.#library;
    const count = this.#outputs.length;
    const shapes: number[][] = [];
    const byteLengths: number[] = [];
    let released = first;
    try {
      for (let i = first; i < count; i++) {
        const value = this.#outputValues.get(i);
        const shape = this.#shapeOf(value, i);
        shapes.push(shape);
        byteLengths.push(this.#collectOutput(i, value, shape, sink));
        released = i + 1;
        api.ReleaseValue(value);
      }
    } finally {
      for (; released < count; released++) api.ReleaseValue(this.#outputValues.get(released));
    }
    if (first === 0 && this.#predictableOutputs > 0) this.#remember(inputs, shapes, byteLengths, planIndex);
  }

  #collectOutput(index: number, value: number, shape: readonly number[], sink: OutputSink): number {
    const { api, memcpy } = this.#library;
    const { name, datatype } = this.#outputs[index]!;
    const elements = elementCount(shape);
    if (elements < 0)
      throw new InferenceError('INTERNAL', `output '${name}' is too large: shape [${shape.join(',')}]`, { failureReason: 'BACKEND' });
    if (datatype === 'BYTES') {
      const byteLength = this.#strings.byteLength(value, elements);
      this.#strings.read(value, elements, sink.allocate(name, datatype, shape, byteLength));
      return byteLength;
    }
    const byteLength = elements * byteSizeOf(datatype);
    const memory = sink.allocate(name, datatype, shape, byteLength);
    if (byteLength > 0) {
      check(api, api.GetTensorMutableData(value, this.#out.address));
      memcpy(addressOfBytes(memory), this.#out.get(0), byteLength);
    }
    return byteLength;
  }

  /** Shape of an OrtValue. Throws INTERNAL when the model gave no tensor, or one of another type than its file says. */
  #shapeOf(value: number, index: number): number[] {
    const { api } = this.#library;
    const out = this.#out;
    check(api, api.GetTensorTypeAndShape(value, out.address));
    const info = out.get(0);
    try {
      check(api, api.GetTensorElementType(info, out.address));
      const { name, elementType } = this.#outputs[index]!;
      if (out.halves[0] !== elementType) {
        throw new InferenceError('INTERNAL', `output '${name}' came with another element type than the model file says`, {
          failureReason: 'BACKEND',
        });
      }
      check(api, api.GetDimensionsCount(info, out.address));
      const rank = out.get(0);
      const shape: number[] = new Array(rank);
      if (rank === 0) return shape;
      const dims = rank <= this.#dims.halves.length / 2 ? this.#dims : new NativeWords(rank);
      check(api, api.GetDimensions(info, dims.address, rank));
      for (let axis = 0; axis < rank; axis++) shape[axis] = dims.getSigned(axis);
      return shape;
    } finally {
      api.ReleaseTensorTypeAndShapeInfo(info);
    }
  }

  #remember(inputs: readonly Tensor[], shapes: readonly number[][], byteLengths: readonly number[], planIndex: number): void {
    const symbols = bindSymbols(this.#inputs, this.#inputIndexes, inputs);
    // Inputs that give one name two sizes broadcast, or worse: the names promise nothing for this run.
    if (symbols === null) return;
    for (let i = 0; i < this.#predictableOutputs; i++) {
      if (!isAsDeclared(this.#outputs[i]!, shapes[i]!, symbols)) this.#predictableOutputs = i;
    }
    const count = this.#predictableOutputs;
    this.#plans[planIndex] = {
      key: this.#key.slice(0, this.#keyLength),
      shapes: shapes.slice(0, count),
      byteLengths: byteLengths.slice(0, count),
    };
  }

  #releaseRunValues(): void {
    for (const value of this.#runValues) this.#library.api.ReleaseValue(value);
    this.#runValues.length = 0;
  }

  #runError(status: number, placed: number): InferenceError {
    const { message } = takeStatus(this.#library.api, status);
    const text = readableMessage(message);
    const cause = new Error(message);
    if (/^(?:Got invalid dimensions|Invalid rank) for input/.test(text)) return new InferenceError('INVALID_ARGUMENT', text, { cause });
    if (placed > 0 && /output OrtValue provided for output/.test(text)) {
      // The sink has given the memory away for good, so this run is lost; from now on ONNX Runtime makes the outputs itself.
      this.#predictableOutputs = 0;
      const advice = 'later runs allow for that, so try again';
      return new InferenceError('INTERNAL', `the model does not keep to the output shapes in its file; ${advice}: ${text}`, {
        cause,
        failureReason: 'BACKEND',
      });
    }
    return new InferenceError('INTERNAL', `the model failed: ${text}`, { cause, failureReason: 'BACKEND' });
  }

  #unknownInput(name: string): InferenceError {
    const names = this.#inputs.map((input) => input.name);
    return invalidArgument(
      `unknown input '${name}'; the model has ${names.map((known) => `'${known}'`).join(', ')}${didYouMean(name, names)}`,
    );
  }

  #missingInput(run: number): InferenceError {
    const missing = this.#inputs.filter((input, index) => !input.optional && this.#seenInRun[index] !== run);
    return invalidArgument(
      `missing input ${missing.map((input) => `'${input.name}' (${input.datatype}, shape [${input.shape.join(',')}])`).join(', ')}`,
    );
  }
}

/** Outputs, from the first on, whose every dimension is a number or is named as an input's dimension is. */
function countPredictable({ inputs, outputs }: ModelSignature): number {
  const names = new Set(inputs.flatMap((input) => (input.optional ? [] : input.symbols)));
  names.delete('');
  const first = outputs.findIndex(
    ({ datatype, shape, symbols }) => datatype === 'BYTES' || !shape.every((dim, axis) => dim >= 0 || names.has(symbols[axis]!)),
  );
  return first < 0 ? outputs.length : first;
}

/** The size of each dimension name in these inputs; null when one has two sizes. */
function bindSymbols(
  signatures: readonly TensorSignature[],
  indexes: ReadonlyMap<string, number>,
  inputs: readonly Tensor[],
): Map<string, number> | null {
  const sizes = new Map<string, number>();
  for (const tensor of inputs) {
    const { symbols } = signatures[indexes.get(tensor.name)!]!;
    for (let axis = 0; axis < symbols.length; axis++) {
      const symbol = symbols[axis]!;
      const size = tensor.shape[axis] ?? -1;
      if (symbol === '') continue;
      const known = sizes.get(symbol);
      if (known !== undefined && known !== size) return null;
      sizes.set(symbol, size);
    }
  }
  return sizes;
}

function isAsDeclared(output: TensorSignature, shape: readonly number[], symbols: ReadonlyMap<string, number>): boolean {
  if (output.shape.length !== shape.length) return false;
  return output.shape.every((dim, axis) => (dim >= 0 ? dim : symbols.get(output.symbols[axis]!)) === shape[axis]);
}
