import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { field, isRecord, type JsonRecord, readJson, shown } from './read-json.ts';

const MAX_MESSAGES = 4_096;
const MAX_CALLS = 128;
const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const;

/** As templates know them: developer has become system, parts of text one text. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  /** '' where an assistant's message has calls alone. */
  readonly content: string;
  readonly name?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly ChatToolCall[];
  readonly tool_call_id?: string;
}

export interface ChatToolCall {
  readonly id: string;
  readonly type: 'function';
  /** Arguments: the object, or the text where it is no object in JSON. */
  readonly function: { readonly name: string; readonly arguments: unknown };
}

/** The `messages` input: OpenAI's chat messages, text alone. Keys that are not known are passed over. Throws INVALID_ARGUMENT `messages[2].role: ...`. */
export function readMessages(json: string): ChatMessage[] {
  const value = readJson(json, 'messages');
  if (!Array.isArray(value)) throw invalidArgument(`messages: expected an array of messages, got ${shown(value)}`);
  if (value.length === 0) throw invalidArgument('messages: expected at least one message, got an empty array');
  if (value.length > MAX_MESSAGES) throw invalidArgument(`messages: ${value.length} messages; at most ${MAX_MESSAGES} are read`);
  return value.map((message: unknown, i) => readMessage(message, `messages[${i}]`));
}

function readMessage(message: unknown, path: string): ChatMessage {
  if (!isRecord(message)) throw invalidArgument(`${path}: expected an object with role and content, got ${shown(message)}`);
  const said = field(message, 'role');
  const role = ROLES.find((known) => known === said);
  if (role === undefined) {
    if (said === 'function') throw invalidArgument(`${path}.role: 'function' is not supported: send role 'tool' with tool_call_id`);
    const hint = typeof said === 'string' ? didYouMean(said, ROLES) : '';
    throw invalidArgument(`${path}.role: expected ${ROLES.join(', ')}, got ${shown(said)}${hint}`);
  }
  const name = optionalText(message, 'name', path);
  const common = name === undefined ? {} : { name };
  switch (role) {
    case 'assistant':
      return readAssistant(message, path, common);
    case 'tool': {
      const id = field(message, 'tool_call_id');
      if (typeof id !== 'string' || id === '')
        throw invalidArgument(`${path}.tool_call_id: expected the id of the call that this answers, got ${shown(id)}`);
      return { role, content: readContent(field(message, 'content'), `${path}.content`), ...common, tool_call_id: id };
    }
    default:
      return {
        role: role === 'developer' ? 'system' : role,
        content: readContent(field(message, 'content'), `${path}.content`),
        ...common,
      };
  }
}

function readAssistant(message: JsonRecord, path: string, common: { name?: string }): ChatMessage {
  if (field(message, 'function_call') !== undefined) throw invalidArgument(`${path}.function_call: not supported: send tool_calls`);
  const calls = readCalls(field(message, 'tool_calls'), `${path}.tool_calls`);
  const content = field(message, 'content');
  const refusal = optionalText(message, 'refusal', path);
  if (content === undefined && calls.length === 0 && refusal === undefined) {
    throw invalidArgument(`${path}.content: expected a text, or tool_calls beside it, got ${shown(content)}`);
  }
  const reasoning = optionalText(message, 'reasoning_content', path);
  return {
    role: 'assistant',
    content: content === undefined ? (refusal ?? '') : readContent(content, `${path}.content`),
    ...common,
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

function optionalText(message: JsonRecord, key: string, path: string): string | undefined {
  const value = field(message, key);
  if (value !== undefined && typeof value !== 'string') throw invalidArgument(`${path}.${key}: expected a string, got ${shown(value)}`);
  return value;
}

/** A text, or parts of text, which are joined by line breaks. */
function readContent(content: unknown, path: string): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) throw invalidArgument(`${path}: expected a string or an array of text parts, got ${shown(content)}`);
  if (content.length === 0) throw invalidArgument(`${path}: expected at least one part, got an empty array`);
  const texts: string[] = [];
  for (const [i, part] of content.entries()) {
    const place = `${path}[${i}]`;
    if (!isRecord(part)) throw invalidArgument(`${place}: expected an object with type and text, got ${shown(part)}`);
    const type = field(part, 'type');
    if (type !== 'text' && type !== 'refusal') throw invalidArgument(`${place}.type: this model takes text only, got ${shown(type)}`);
    const text = field(part, type);
    if (typeof text !== 'string') throw invalidArgument(`${place}.${type}: expected a string, got ${shown(text)}`);
    texts.push(text);
  }
  return texts.join('\n');
}

function readCalls(calls: unknown, path: string): ChatToolCall[] {
  if (calls === undefined) return [];
  if (!Array.isArray(calls)) throw invalidArgument(`${path}: expected an array of calls, got ${shown(calls)}`);
  if (calls.length > MAX_CALLS) throw invalidArgument(`${path}: ${calls.length} calls; at most ${MAX_CALLS} are read`);
  return calls.map((call: unknown, i) => {
    const place = `${path}[${i}]`;
    if (!isRecord(call)) throw invalidArgument(`${place}: expected an object with id, type and function, got ${shown(call)}`);
    const type = field(call, 'type') ?? 'function';
    if (type !== 'function') throw invalidArgument(`${place}.type: expected "function", got ${shown(type)}`);
    const id = field(call, 'id');
    if (typeof id !== 'string') throw invalidArgument(`${place}.id: expected a string, got ${shown(id)}`);
    const called = field(call, 'function');
    if (!isRecord(called)) throw invalidArgument(`${place}.function: expected an object with name and arguments, got ${shown(called)}`);
    const name = field(called, 'name');
    if (typeof name !== 'string' || name === '')
      throw invalidArgument(`${place}.function.name: expected a function's name, got ${shown(name)}`);
    return {
      id,
      type: 'function',
      function: { name, arguments: readArguments(field(called, 'arguments'), `${place}.function.arguments`) },
    };
  });
}

/** Templates write arguments out as JSON: a text would be quoted once more. */
function readArguments(text: unknown, path: string): unknown {
  if (text === undefined || text === '') return {};
  if (typeof text !== 'string') throw invalidArgument(`${path}: expected JSON text, got ${shown(text)}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  return isRecord(value) ? readJson(text, path) : text;
}
