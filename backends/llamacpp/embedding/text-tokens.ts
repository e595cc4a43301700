import { isUtf8 } from 'node:buffer';
import { decodeBytes } from '../../../proto/bytes.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import type { Truncation } from './embedding-parameters.ts';

/** Texts of one request. */
export const MAX_TEXTS = 4_096;
/** Tokens of one request: what it may keep in memory while it waits for its turns, 2 MiB. */
export const MAX_REQUEST_TOKENS = 524_288;
/** A text of more bytes for each token that fits is too long whatever they are: it is not tokenized, which takes time by its length. */
const MAX_BYTES_PER_TOKEN = 64;
const MIN_TEXT_BYTES = 65_536;
/** Tokenizing holds the event loop no longer than this at a time, but for one text. */
const SLICE_MS = 4;

/** Between texts: lets others have the event loop now and then. */
export class WorkSlices {
  #sinceMs = performance.now();

  pause(): Promise<void> | null {
    if (performance.now() - this.#sinceMs < SLICE_MS) return null;
    return new Promise((resolve) =>
      setImmediate(() => {
        this.#sinceMs = performance.now();
        resolve();
      }),
    );
  }
}

/** The elements of a BYTES input. INVALID_ARGUMENT names those that are no UTF-8, and says when there are none or too many. */
export function readTexts({ name, data }: Tensor): string[] {
  const elements = decodeBytes(data, `input '${name}'`);
  if (elements.length === 0) throw invalidArgument(`${name}: expected at least one text, got none`);
  if (elements.length > MAX_TEXTS) throw invalidArgument(`${name}: expected at most ${MAX_TEXTS} texts a request, got ${elements.length}`);
  return elements.map((element, index) => {
    if (!isUtf8(element)) throw invalidArgument(`${labelOf(name, index, elements.length)}: expected UTF-8 text`);
    return Buffer.from(element.buffer, element.byteOffset, element.length).toString('utf8');
  });
}

/** `text_input`, or `text_input[3]` where there are several. */
export function labelOf(name: string, index: number, count: number): string {
  return count === 1 ? name : `${name}[${index}]`;
}

/**
 * The tokens of a text, at most `room` of them; special tokens in it are text. `label` names it in errors. INVALID_ARGUMENT: it has more, and is not to be truncated.
 */
export function tokenizeText(tokenizer: Tokenizer, text: string, label: string, room: number, truncation: Truncation): Uint32Array {
  const maxLength = Math.max(MIN_TEXT_BYTES, room * MAX_BYTES_PER_TOKEN);
  let kept = text;
  if (text.length > maxLength) {
    if (truncation === 'none')
      throw invalidArgument(`${label}: a text of ${text.length} characters does not fit the model's ${room} tokens; ${HOW_TO_CUT}`);
    kept = truncation === 'end' ? text.slice(0, maxLength) : text.slice(-maxLength);
  }
  const tokens = tokenizer.tokenize(kept, false);
  if (tokens.length <= room) return tokens;
  if (truncation === 'none') throw tooLong(label, tokens.length, room);
  return truncation === 'end' ? tokens.slice(0, room) : tokens.slice(tokens.length - room);
}

const HOW_TO_CUT = "shorten it, or set the parameter truncate to 'end' or 'start'";

export function tooLong(label: string, tokens: number, room: number): InferenceError {
  return invalidArgument(`${label}: ${tokens} tokens do not fit the ${room} that the model takes of it; ${HOW_TO_CUT}`);
}

export function tooManyTokens(name: string): InferenceError {
  return invalidArgument(`${name}: expected at most ${MAX_REQUEST_TOKENS} tokens in all texts of a request; send several requests`);
}

export function noRoom(maxTokens: number): InferenceError {
  return invalidArgument(
    `parameters['context_size']: ${maxTokens} tokens have no room for a text beside the model's special tokens; raise it, or max_input_tokens`,
  );
}
