import { InferenceError } from '../../../proto/inference-error.ts';
import { asText } from './text-response.ts';

/** A piece of a call that a model makes: `id` and `name` in its first one; '' in the next ones. */
export interface ToolCallPiece {
  readonly index: number;
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** Calls of one answer; more are a model's fault. */
const MAX_CALLS = 1_024;

/** Of the model's JSON. Throws INTERNAL where it is something else. */
export function readToolCalls(json: Uint8Array): ToolCallPiece[] {
  let list: unknown;
  try {
    list = JSON.parse(asText(json));
  } catch {
    list = null;
  }
  if (!Array.isArray(list)) throw wrongToolCalls();
  return list.map((entry: unknown): ToolCallPiece => {
    const { index, id = '', name = '', arguments: text = '' } = (entry ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= MAX_CALLS) throw wrongToolCalls();
    if (typeof id !== 'string' || typeof name !== 'string' || typeof text !== 'string') throw wrongToolCalls();
    return { index, id, name, arguments: text };
  });
}

function wrongToolCalls(): InferenceError {
  return new InferenceError('INTERNAL', "the model's output 'tool_calls' is not an array of pieces of tool calls", {
    failureReason: 'BACKEND',
  });
}

/** Delta of a chat chunk. */
export function toolCallDelta(pieces: readonly ToolCallPiece[]): object {
  return {
    tool_calls: pieces.map(({ index, id, name, arguments: text }) =>
      id === '' && name === ''
        ? { index, function: { arguments: text } }
        : { index, id, type: 'function', function: { name, arguments: text } },
    ),
  };
}

interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** The calls of one answer, put together from their pieces. */
export class ToolCallCollector {
  readonly #calls: Map<number, ToolCall> = new Map();

  /** Returns the letters that it now holds more. */
  add(pieces: readonly ToolCallPiece[]): number {
    let letters = 0;
    for (const piece of pieces) {
      let call = this.#calls.get(piece.index);
      if (call === undefined) {
        call = { id: '', name: '', arguments: '' };
        this.#calls.set(piece.index, call);
      }
      call.id += piece.id;
      call.name += piece.name;
      call.arguments += piece.arguments;
      letters += piece.id.length + piece.name.length + piece.arguments.length;
    }
    return letters;
  }

  /** Of a chat message; null: there was none. */
  get calls(): object[] | null {
    if (this.#calls.size === 0) return null;
    const ordered = [...this.#calls].sort(([a], [b]) => a - b);
    return ordered.map(([, { id, name, arguments: text }]) => ({ id, type: 'function', function: { name, arguments: text } }));
  }
}
