/** How a model writes calls; told from its template, or by `tool_call_format`. */
export interface ToolSyntax {
  readonly format: ToolCallFormat;
  /** What comes before a call, or before all of them. */
  readonly opening: string;
  /** What comes after a call; '' for none. */
  readonly closing: string;
  /** What must be shown of control tokens, for these to be seen. */
  readonly markers: readonly string[];
  /** A text that begins with an object may be a call. */
  readonly isBare: boolean;
  /** The calls are in an array. */
  readonly isArray: boolean;
  /** The key of the arguments. */
  readonly argumentsKey: string;
}

export const TOOL_CALL_FORMATS = ['hermes', 'llama3-json', 'mistral'] as const;
export type ToolCallFormat = (typeof TOOL_CALL_FORMATS)[number];

export const TOOL_SYNTAXES: Readonly<Record<ToolCallFormat, ToolSyntax>> = {
  hermes: {
    format: 'hermes',
    opening: '<tool_call>',
    closing: '</tool_call>',
    markers: ['<tool_call>', '</tool_call>'],
    isBare: false,
    isArray: false,
    argumentsKey: 'arguments',
  },
  'llama3-json': {
    format: 'llama3-json',
    opening: '<|python_tag|>',
    closing: '',
    markers: ['<|python_tag|>'],
    isBare: true,
    isArray: false,
    argumentsKey: 'parameters',
  },
  mistral: {
    format: 'mistral',
    opening: '[TOOL_CALLS]',
    closing: '',
    markers: ['[TOOL_CALLS]'],
    isBare: false,
    isArray: true,
    argumentsKey: 'arguments',
  },
};

/** The syntax that a template asks the model for; null where it does not speak of tools, or of calls in another syntax. */
export function syntaxOfTemplate(template: string): ToolSyntax | null {
  if (!/\btools\b/.test(template)) return null;
  if (template.includes('[TOOL_CALLS]')) return template.includes('[ARGS]') ? null : TOOL_SYNTAXES.mistral;
  if (template.includes('<tool_call>'))
    return template.includes('<function=') || template.includes('<arg_key>') ? null : TOOL_SYNTAXES.hermes;
  if (template.includes('<|python_tag|>') || /"name": function name|"parameters": dictionary/.test(template))
    return TOOL_SYNTAXES['llama3-json'];
  return null;
}
