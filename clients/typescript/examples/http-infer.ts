/**
 * Reads a handwritten digit over HTTP, with the example model `digits`.
 *
 *     npm start &
 *     node dist/clients/typescript/examples/http-infer.js [http://127.0.0.1:8000]
 */

// In your own program: from '@nereid/client'.
import { connect, type InferOutput, type ModelInput } from '../src/index.ts';

/** What `nereid client types digits` writes. */
interface DigitsModel {
  readonly inputs: { readonly image: ModelInput<'FP32'> };
  readonly outputs: { readonly label: InferOutput<'INT64'>; readonly probabilities: InferOutput<'FP32'> };
}

/** 8 x 8 pixels; # is ink (16), everything else paper (0). */
const picture = `
  ..####..
  .##..##.
  .#....#.
  .#....#.
  .#....#.
  .#....#.
  .##..##.
  ..####..`;
const image = Float32Array.from(picture.replaceAll(/\s/g, ''), (pixel) => (pixel === '#' ? 16 : 0));

const client = await connect(process.argv[2] ?? 'http://127.0.0.1:8000', { timeoutMs: 10_000 });
try {
  const digits = await client.model<DigitsModel>('digits');
  // 64 values for [-1, 1, 8, 8]: a batch of one.
  const { outputs, modelVersion } = await digits.infer({ image });
  const digit = Number(outputs.label.data[0]);
  const percent = 100 * outputs.probabilities.data[digit]!;
  console.log(`version ${modelVersion} reads a ${digit} (${percent.toFixed(1)} %)`);
} finally {
  await client.close();
}
