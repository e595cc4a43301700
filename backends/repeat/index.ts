export { createBackend } from './repeat-backend.ts';
