import { GrammarRules, literal } from '../grammar/grammar-rules.ts';
import { jsonSchemaRules } from '../grammar/json-schema-to-gbnf.ts';
import type { ChatTool } from './read-tools.ts';
import type { ToolSyntax } from './tool-syntax.ts';

/** Calls of one answer, where they are required. */
const MAX_CALLS = 32;

/** GBNF for one call of any of `tools` or more, as the model writes them. `paths`: where each tool stands in the request, for errors. */
export function toolGrammar(tools: readonly ChatTool[], paths: readonly string[], syntax: ToolSyntax, parallel: boolean): string {
  const rules = new GrammarRules();
  const calls: string[] = [];
  for (const [i, { function: tool }] of tools.entries()) {
    const schema = { type: 'object', ...tool.parameters };
    const value = jsonSchemaRules(schema, `${paths[i]}.function.parameters`, rules);
    const head = `"{" ws ${literal('"name"')} ":" ws ${literal(JSON.stringify(tool.name))} "," ws`;
    calls.push(rules.add(`${head} ${literal(`"${syntax.argumentsKey}"`)} ":" ws ${value} ws "}"`));
  }
  const call = rules.add(calls.join(' | '));
  switch (syntax.format) {
    case 'hermes': {
      const whole = rules.add(`${literal('<tool_call>\n')} ${call} ${literal('\n</tool_call>')}`);
      const more = rules.add(`"\\n" ${whole}`);
      return rules.text(parallel ? `${whole} ${rules.repeat(more, 0, MAX_CALLS - 1)}` : whole);
    }
    case 'mistral': {
      const more = rules.add(`"," ws ${call}`);
      return rules.text(`${literal('[TOOL_CALLS]')} "["  ${call}${parallel ? ` ${rules.repeat(more, 0, MAX_CALLS - 1)}` : ''} "]"`);
    }
    default:
      // Such models call once in an answer.
      return rules.text(call);
  }
}
