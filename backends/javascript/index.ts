export { createBackend } from './javascript-backend.ts';
