import type { Instance, Options, Result } from 'autocannon';
import { InferenceError } from '../../proto/inference-error.ts';

export type Autocannon = (options: Options, done: (error: unknown, result: Result | undefined) => void) => Instance;

/** An optional peer of the product, loaded when it is asked for. Throws UNIMPLEMENTED when it is not installed. `load`: as `import` does it. */
export async function loadAutocannon(load: () => Promise<{ readonly default: unknown }> = () => import('autocannon')): Promise<Autocannon> {
  try {
    return (await load()).default as Autocannon;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new InferenceError(
      'UNIMPLEMENTED',
      '--quick: expected the package autocannon, which is not installed: npm install autocannon, or leave --quick out',
      { cause: error },
    );
  }
}
