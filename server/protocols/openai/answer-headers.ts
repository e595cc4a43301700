import { CONTENT_TYPE } from '../../../proto/headers.ts';
import type { GenerationCall } from './generation-call.ts';

/** Names of members that nobody read; a client that wonders why one had no effect can look. */
const IGNORED_FIELDS = 'nereid-ignored-fields';
const PLAIN_NAME = /^[\w.-]{1,64}$/;

/** `ignored`: members of the body, as the client has them. */
export function answerHeaders(contentType: string, id: string, ignored: readonly string[]): string[] {
  const headers = [CONTENT_TYPE, contentType, 'x-request-id', id];
  const told = ignored.filter((name) => PLAIN_NAME.test(name));
  if (told.length > 0) headers.push(IGNORED_FIELDS, told.join(', '));
  return headers;
}

/** What identifies the model that answered: its version too. */
export function fingerprint({ model }: GenerationCall): string {
  return `${model.name}@${model.version}`;
}
