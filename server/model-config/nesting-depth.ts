import { Lexer } from 'yaml';

/** Messages and lists inside each other; the deepest field of a model configuration lies eight deep. */
export const MAX_NESTING_DEPTH = 64;
/** Where a line of YAML begins to say something: what is nested in blocks is indented. */
const MAX_COLUMN = 128;
const BLOCK_INDENT = /^(?:[ \t]|[-?:](?=[ \t\r]|$))*/;

/**
 * Whether a JSON or YAML text is nested deeper than {@link MAX_NESTING_DEPTH}, found without recursion. Readers recurse, and one that uses up the stack inside a regular expression ends
 * the whole process: so this is asked before. What is no document of its format gives either answer.
 */
export function isNestedTooDeep(text: string, format: 'json' | 'yaml'): boolean {
  if (format === 'json') return isJsonTooDeep(text);
  for (const line of text.split('\n')) if (BLOCK_INDENT.exec(line)![0].length > MAX_COLUMN) return true;
  return hasManyBrackets(text) && isFlowTooDeep(text);
}

function isJsonTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const letter = text.charCodeAt(at);
    if (letter === 0x22) {
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (letter === 0x5b || letter === 0x7b) {
      if (++depth > MAX_NESTING_DEPTH) return true;
    } else if (letter === 0x5d || letter === 0x7d) depth--;
  }
  return false;
}

function hasManyBrackets(text: string): boolean {
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const letter = text.charCodeAt(at);
    if ((letter === 0x5b || letter === 0x7b) && ++count > MAX_NESTING_DEPTH) return true;
  }
  return false;
}

/** Brackets as YAML has them: those in strings and comments come inside other tokens. */
function isFlowTooDeep(text: string): boolean {
  let depth = 0;
  let before = '';
  for (const token of new Lexer().lex(text)) {
    // A scalar follows a control character, and may be a single bracket itself.
    if (before !== '\x1f') {
      if (token === '[' || token === '{') {
        if (++depth > MAX_NESTING_DEPTH) return true;
      } else if (token === ']' || token === '}') depth--;
    }
    before = token;
  }
  return false;
}
