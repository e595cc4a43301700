import { InferenceError } from '../../../proto/inference-error.ts';

/** The first `width` numbers of `vector`, scaled to length 1 (L2), into `row`; a vector of zeros stays one. Throws INTERNAL where the model gave what is no number. */
export function normaliseInto(row: Float32Array, vector: Float64Array, width: number): void {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += vector[i]! * vector[i]!;
  if (!Number.isFinite(sum))
    throw new InferenceError('INTERNAL', 'the model gave a vector with NaN or infinity in it: its weights may be damaged');
  const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
  for (let i = 0; i < width; i++) row[i] = vector[i]! * scale;
}
