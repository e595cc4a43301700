export { createBackend } from './onnxruntime-backend.ts';
