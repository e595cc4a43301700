import { invalidArgument } from '../../proto/inference-error.ts';
import { isObject, kindOf, linesOf, parseJson, readText, tryParseJson } from './read-json.ts';

export interface Prompt {
  /** null: it is messages. */
  readonly text: string | null;
  /** As OpenAI's chat takes them; null: it is text. */
  readonly messages: readonly unknown[] | null;
  /** null: nothing of its own. */
  readonly maxTokens: number | null;
  /** For errors. */
  readonly what: string;
}

const MAX_PROMPTS = 10_000;
const MAX_TOTAL_LENGTH = 64 * 1024 * 1024;

/** Prompts of a file: lines of text, or lines of JSON with `prompt` or `messages`, and perhaps `max_tokens`. Empty lines count for nothing. Throws INVALID_ARGUMENT. */
export async function readPrompts(path: string): Promise<Prompt[]> {
  const lines = linesOf(await readText(path));
  if (lines.length === 0) throw invalidArgument(`${path}: expected a prompt on each line, got none`);
  if (lines.length > MAX_PROMPTS) throw invalidArgument(`${path}: expected at most ${MAX_PROMPTS} prompts, got ${lines.length}`);
  const total = lines.reduce((sum, { line }) => sum + line.length, 0);
  if (total > MAX_TOTAL_LENGTH) throw invalidArgument(`${path}: expected at most ${MAX_TOTAL_LENGTH} characters of prompts, got ${total}`);
  const isJson = isObject(tryParseJson(lines[0]!.line));
  return lines.map(({ number, line }) => {
    const what = `${path}:${number}`;
    return isJson ? readPrompt(parseJson(line, what), what) : { text: line, messages: null, maxTokens: null, what };
  });
}

function readPrompt(json: unknown, what: string): Prompt {
  if (!isObject(json)) throw invalidArgument(`${what}: expected an object, as on the first line, got ${kindOf(json)}`);
  const { prompt, messages, max_tokens: maxTokens = null } = json;
  if ((prompt === undefined) === (messages === undefined)) throw invalidArgument(`${what}: expected either prompt or messages`);
  if (prompt !== undefined && typeof prompt !== 'string') throw invalidArgument(`${what}.prompt: expected a string, got ${kindOf(prompt)}`);
  if (messages !== undefined && (!Array.isArray(messages) || messages.length === 0)) {
    throw invalidArgument(`${what}.messages: expected a list of messages, got ${kindOf(messages)}`);
  }
  if (maxTokens !== null && (!Number.isSafeInteger(maxTokens) || (maxTokens as number) < 1)) {
    throw invalidArgument(`${what}.max_tokens: expected a whole number from 1 on, got ${kindOf(maxTokens)}`);
  }
  return {
    text: prompt ?? null,
    messages: messages === undefined ? null : (messages as unknown[]),
    maxTokens: maxTokens as number | null,
    what,
  };
}
