/** One element of `tool_calls` as OpenAI streams them: id, type and name come in the first piece of a call. */
export interface ToolCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly name?: string;
  /** A fragment of the arguments' JSON text. */
  readonly arguments: string;
}

export interface ParsedPiece {
  readonly text: string;
  readonly toolCalls: readonly ToolCallDelta[];
}

/** Splits generated text, piece by piece, in text and tool calls. Whatever way the text is cut, all pieces together say the same. */
export interface ToolCallParser {
  push(piece: string): ParsedPiece;
  /** The end of the text: what was held back. */
  finish(): ParsedPiece;
  /** Calls begun so far; above 0: finish_reason is tool_calls. */
  readonly callCount: number;
  /** Nothing more is wanted (one call was asked for, and it is whole): generation may end. */
  readonly isDone: boolean;
}
