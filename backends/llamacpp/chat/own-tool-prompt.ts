import type { ChatMessage } from './read-messages.ts';
import type { ChatTool } from './read-tools.ts';

/** What a model is told of tools where its template cannot: a system message of our own, and calls and their answers as plain text. */
export function withOwnToolPrompt(messages: readonly ChatMessage[], tools: readonly ChatTool[]): ChatMessage[] {
  const out: ChatMessage[] = [];
  for (const message of messages) {
    const last = out[out.length - 1];
    if (message.role === 'tool') {
      const response = `<tool_response>\n${message.content}\n</tool_response>`;
      // Answers to several calls are one turn: templates want turns to alternate.
      if (last?.role === 'user' && last.content.endsWith('</tool_response>'))
        out[out.length - 1] = { role: 'user', content: `${last.content}\n${response}` };
      else out.push({ role: 'user', content: response });
    } else if (message.tool_calls !== undefined) {
      const calls = message.tool_calls.map((call) => `<tool_call>\n${JSON.stringify(call.function)}\n</tool_call>`);
      const content = [message.content, ...calls].filter((part) => part !== '').join('\n');
      out.push({ role: 'assistant', content });
    } else out.push(message);
  }
  if (tools.length === 0) return out;
  const lines = tools.map((tool) => JSON.stringify(tool));
  const described = [
    'You may call functions to help with what the user asks. Their signatures, as JSON, one a line:',
    '<tools>',
    ...lines,
    '</tools>',
    'To call one, answer with its name and arguments, as JSON between these tags:',
    '<tool_call>',
    '{"name": "function name", "arguments": {"argument": "value"}}',
    '</tool_call>',
  ].join('\n');
  const first = out[0];
  if (first?.role === 'system') out[0] = { ...first, content: `${first.content}\n\n${described}` };
  else out.unshift({ role: 'system', content: described });
  return out;
}

/** For templates that know no system role: what it says goes before the first user's words. */
export function withoutSystem(messages: readonly ChatMessage[]): ChatMessage[] {
  const system = messages.filter((message) => message.role === 'system').map((message) => message.content);
  const out = messages.filter((message) => message.role !== 'system');
  if (system.length === 0) return out;
  const text = system.join('\n\n');
  const user = out.findIndex((message) => message.role === 'user');
  if (user < 0) return [{ role: 'user', content: text }, ...out];
  out[user] = { ...out[user]!, content: `${text}\n\n${out[user]!.content}` };
  return out;
}
