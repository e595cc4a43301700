import { INFERENCE_TIMEOUT_MS } from '../../../proto/headers.ts';

/** Request headers of these paths: the deadline, which is read, and those that OpenAI's own clients send, so that their preflights from a browser pass. No key is needed; any is ignored. */
export const OPENAI_REQUEST_HEADERS: readonly string[] = [
  INFERENCE_TIMEOUT_MS,
  'authorization',
  ...['openai-organization', 'openai-project', 'openai-beta', 'x-client-request-id', 'idempotency-key'],
  ...['lang', 'package-version', 'os', 'arch', 'runtime', 'runtime-version', 'retry-count', 'timeout', 'helper-method', 'poll-helper'].map(
    (name) => `x-stainless-${name}`,
  ),
];
