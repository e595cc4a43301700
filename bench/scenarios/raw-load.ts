/** The control of load-time.ts: opens a model by ONNX Runtime's own JavaScript binding, nothing else in the process, and prints how long that took, ms. Argument: the file. */

import { InferenceSession } from 'onnxruntime-node';

const startedMs = performance.now();
const session = await InferenceSession.create(process.argv[2]!);
console.log(performance.now() - startedMs);
await session.release();
