/**
 * GBNF of JSON's own values. Whitespace is bounded, or a model could print it until its tokens are spent: nothing, a space, or a line break with at most 24 spaces or tabs of
 * indentation, after `{ [ , :` and before `} ]`. Numbers have at most 16 digits before the point, 17 after it and 2 in the exponent, so that no reader makes an infinity of them.
 */
export const JSON_PRIMITIVES: Readonly<Record<string, string>> = {
  ws: '| " " | "\\r"? "\\n" [ \\t]{0,24}',
  hex: '[0-9a-fA-F]',
  escape: '"\\\\" (["\\\\/bfnrt] | "u" hex hex hex hex)',
  char: '[^"\\\\\\x00-\\x1f] | escape',
  string: '"\\"" char* "\\""',
  digits: '[0-9]{0,15}',
  whole: '"0" | [1-9] digits',
  integer: '"-"? whole',
  fraction: '"." [0-9]{1,17}',
  number: '"-"? whole fraction? ([eE] [-+]? [0-9]{1,2})?',
  boolean: '"true" | "false"',
  null: '"null"',
  member: 'string ":" ws value',
  'more-members': '"," ws member',
  object: '"{" ws (member more-members* ws)? "}"',
  'more-values': '"," ws value',
  array: '"[" ws (value more-values* ws)? "]"',
  value: 'object | array | string | number | boolean | null',
};

/** Any JSON object. */
export const JSON_OBJECT_GRAMMAR: string = `root ::= object\n${Object.entries(JSON_PRIMITIVES)
  .map(([name, body]) => `${name} ::= ${body}\n`)
  .join('')}`;
