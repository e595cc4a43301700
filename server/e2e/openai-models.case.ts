/** Models of text that are code, for the tests of OpenAI's API: what they say is known beforehand. */

const input = (name: string, datatype: string, dims: number): string =>
  `{ name: '${name}', datatype: '${datatype}', dims: [${dims}], optional: true }`;
const output = (name: string, datatype: string): string => `{ name: '${name}', datatype: '${datatype}', dims: [1] }`;

/**
 * The tensors of a text model, and a made-up tokenizer: a token is a word with the spaces behind it. It says the prompt again (of messages, the last one), or, where the prompt is one of these words:
 * `parameters`, its sampling parameters; `inputs`, the names of its inputs; `forever`, 'on ' until it is cancelled; `flood`, the same in pieces of 60 kB; `fail`, two tokens and an error; `bytes`, what needs escapes;
 * `wrong logprobs`, log probabilities that are none; `late`, nothing for a second. With tools it calls them all.
 */
export const talker: Readonly<Record<string, string>> = {
  'config.yaml':
    'model_transaction_policy: { decoupled: true }\nparameters: { context_size: { string_value: "64" } }\ndynamic_batching: { default_queue_policy: { max_queue_size: 4 } }\n',
  '1/model.mjs': `
export const config = {
  maxConcurrency: 4,
  inputs: [
    ${[
      ...['text_input', 'messages', 'tools', 'tool_choice', 'sampling_parameters'].map((name) => input(name, 'BYTES', 1)),
      input('input_ids', 'INT32', -1),
      ...['stream', 'exclude_input_in_output', 'return_finish_reason', 'return_logprobs'].map((name) => input(name, 'BOOL', 1)),
      ...['return_num_input_tokens', 'return_num_output_tokens', 'return_num_cached_tokens'].map((name) => input(name, 'BOOL', 1)),
    ].join(',\n    ')},
  ],
  outputs: [
    { name: 'text_output', datatype: 'BYTES', dims: [1] },
    ${['finish_reason', 'logprobs', 'tool_calls'].map((name) => output(name, 'BYTES')).join(', ')},
    ${['num_input_tokens', 'num_output_tokens', 'num_cached_tokens'].map((name) => output(name, 'UINT32')).join(', ')},
  ],
};

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'];
const split = (text) => text.match(/\\S+\\s*|\\s+/gu) ?? [];

function promptOf(inputs, wrong) {
  if (inputs.input_ids) return Array.from(inputs.input_ids.data, (id) => 't' + id + ' ').join('');
  if (inputs.text_input) return inputs.text_input.strings()[0];
  let messages;
  try { messages = JSON.parse(inputs.messages.strings()[0]); } catch { throw wrong('messages: not JSON'); }
  for (const [i, { role, content }] of messages.entries()) {
    if (!ROLES.includes(role)) throw wrong('messages[' + i + '].role: expected one of ' + ROLES.join(', ') + ', got ' + JSON.stringify(role));
    for (const [j, part] of (Array.isArray(content) ? content : []).entries()) {
      if (part.type !== 'text') throw wrong('messages[' + i + '].content[' + j + ']: this model takes text, got ' + part.type);
    }
  }
  const { content } = messages.at(-1);
  return typeof content === 'string' ? content : content.map(({ text }) => text).join('');
}

function logprob(token) {
  const one = { token, logprob: -token.length / 4, bytes: [...Buffer.from(token)] };
  return one;
}

export async function execute([request], context) {
  const { inputs, signal } = request;
  const wrong = (text) => context.error('INVALID_ARGUMENT', text);
  if (!inputs.stream?.data[0]) throw wrong('stream: expected true');
  const sampling = JSON.parse(inputs.sampling_parameters?.strings()[0] ?? '{}');
  const { max_tokens: most = 16, temperature = 1, json_schema: schema, seed } = sampling;
  if (temperature < 0 || temperature > 2) throw wrong('temperature: expected a number from 0 to 2, got ' + temperature);
  if (schema && typeof schema.type !== 'string') throw wrong('json_schema: #/type: expected a string');
  const prompt = promptOf(inputs, wrong);
  const promptTokens = split(prompt).length;
  if (promptTokens > 64) throw wrong('prompt: ' + promptTokens + ' tokens and 1 to come do not fit the context of 64');
  const wants = (name) => inputs[name]?.data[0] === 1;
  let said = 0;
  const send = (text, more = {}) => {
    if (text !== '') said++;
    const outputs = { text_output: [text], finish_reason: [''], logprobs: [''], tool_calls: [''], num_input_tokens: [promptTokens], num_output_tokens: [said], num_cached_tokens: [1], ...more };
    if (wants('return_logprobs') && text !== '') {
      const { logprobs: count } = sampling;
      outputs.logprobs = [JSON.stringify([{ ...logprob(text), top_logprobs: Array.from({ length: count }, (_, i) => logprob(text.slice(i))) }])];
      if (prompt === 'wrong logprobs') outputs.logprobs = ['\\n\\ndata: [DONE]'];
    }
    if (!wants('return_finish_reason')) outputs.finish_reason = [''];
    return request.send(outputs);
  };
  if (inputs.tools) {
    const tools = JSON.parse(inputs.tools.strings()[0]);
    const choice = JSON.parse(inputs.tool_choice?.strings()[0] ?? '"auto"');
    if (choice !== 'none') {
      for (const [index, { function: { name } }] of tools.entries()) {
        await send('', { tool_calls: [JSON.stringify([{ index, id: 'call_' + index, type: 'function', name, arguments: '' }])] });
        for (const piece of ['{"city":', '"Pa\\\\nris"}']) await send('', { tool_calls: [JSON.stringify([{ index, arguments: piece }])] });
      }
      await send('', { finish_reason: ['tool_calls'] });
      return;
    }
  }
  if (prompt === 'forever' || prompt === 'flood') {
    signal.addEventListener('abort', () => context.logger.info('talker was cancelled'));
    context.logger.info('talker began');
    for (const piece = prompt === 'flood' ? 'on '.repeat(20_000) : 'on '; ; ) await send(piece);
  }
  if (prompt === 'late') {
    signal.addEventListener('abort', () => context.logger.info('talker was cancelled'));
    context.logger.info('talker began');
    // Its abort comes as early as the server's own deadline; what it would say then is not looked for here.
    const late = new Promise((resolve) => setTimeout(resolve, 1_000));
    await late;
    signal.throwIfAborted();
  }
  let text = prompt;
  if (prompt === 'parameters') text = JSON.stringify(sampling);
  if (prompt === 'inputs') text = Object.keys(inputs).sort().join(' ');
  if (prompt === 'bytes') text = 'a\\u0000b \\u2028 "q" \\\\ \\n\\n \\u{1F600} é ';
  if (schema || sampling.json_object) text = '{"a": 1}';
  if (seed !== undefined && prompt === 'seed') text = String(seed);
  const tokens = split(text);
  for (const [i, token] of tokens.slice(0, most).entries()) {
    if (prompt.startsWith('fail') && i === 2) throw context.error('INTERNAL', 'the model broke');
    await send(token);
  }
  await send('', { finish_reason: [tokens.length > most ? 'length' : 'stop'] });
}
`,
};

/** One answer, no options, no messages: what a model of code that knows nothing of language models may be. */
export const plain: Readonly<Record<string, string>> = {
  '1/model.mjs': `
export const config = {
  maxBatchSize: 8,
  inputs: [{ name: 'text_input', datatype: 'BYTES', dims: [1] }],
  outputs: [{ name: 'text_output', datatype: 'BYTES', dims: [1] }],
};
export const execute = (requests) => requests.map(({ inputs }) => ({ text_output: { data: [inputs.text_input.strings()[0].toUpperCase()], shape: [1, 1] } }));
`,
};

/** By path, as `makeRepository` takes them. */
export function openAiModels(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const [name, content] of Object.entries(talker)) files[`talker/${name}`] = content;
  for (const [name, content] of Object.entries(plain)) files[`plain/${name}`] = content;
  files['numbers/1/model.mjs'] =
    "export const config = { inputs: [{ name: 'IN', datatype: 'FP32', dims: [1] }], outputs: [{ name: 'OUT', datatype: 'FP32', dims: [1] }] };\nexport const execute = (requests) => requests.map(({ inputs: { IN } }) => ({ OUT: IN }));\n";
  return files;
}
