import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StreamingToolCallParser } from './streaming-tool-call-parser.ts';
import type { ParsedPiece } from './tool-call-parser.ts';
import { TOOL_SYNTAXES, type ToolCallFormat } from './tool-syntax.ts';

interface Whole {
  text: string;
  calls: { name: string; arguments: string }[];
}

const TOOLS = new Set(['weather', 'add']);

function parse(format: ToolCallFormat, pieces: readonly string[], single = false): Whole {
  const parser = new StreamingToolCallParser(TOOL_SYNTAXES[format], TOOLS, single);
  const out: Whole = { text: '', calls: [] };
  const ids = new Set<string>();
  const take = (piece: ParsedPiece): void => {
    out.text += piece.text;
    for (const delta of piece.toolCalls) {
      if (delta.name === undefined) {
        expect(delta.id).toBeUndefined();
        expect(delta.index).toBe(out.calls.length - 1);
        out.calls[delta.index]!.arguments += delta.arguments;
      } else {
        expect(delta.type).toBe('function');
        expect(delta.id).toMatch(format === 'mistral' ? /^[a-zA-Z0-9]{9}$/ : /^call_[a-zA-Z0-9]{24}$/);
        expect(delta.index).toBe(out.calls.length);
        ids.add(delta.id!);
        out.calls.push({ name: delta.name, arguments: delta.arguments });
      }
    }
  };
  for (const piece of pieces) take(parser.push(piece));
  take(parser.finish());
  expect(parser.callCount).toBe(out.calls.length);
  expect(ids.size).toBe(out.calls.length);
  return out;
}

const call = (name: string, args: string): { name: string; arguments: string } => ({ name, arguments: args });

const examples: readonly { name: string; format: ToolCallFormat; text: string; single?: boolean; is: Whole }[] = [
  { name: 'no call', format: 'hermes', text: ' Hello <b>there</b> <tool', is: { text: ' Hello <b>there</b> <tool', calls: [] } },
  {
    name: 'one call',
    format: 'hermes',
    text: '\n<tool_call>\n{"name": "add", "arguments": {"a": [1, "}"], "b": {"c": "\\"{"}}}\n</tool_call>\n',
    is: { text: '', calls: [call('add', '{"a": [1, "}"], "b": {"c": "\\"{"}}')] },
  },
  {
    name: 'text and two calls',
    format: 'hermes',
    text: 'Let me see.<tool_call>{"name":"add","arguments":{}}</tool_call>\n<tool_call>{"name":"weather","arguments":{"x":1}}</tool_call> done',
    is: { text: 'Let me see.done', calls: [call('add', '{}'), call('weather', '{"x":1}')] },
  },
  {
    name: 'one of two wanted',
    format: 'hermes',
    single: true,
    text: '<tool_call>{"name":"add","arguments":{}}</tool_call><tool_call>{"name":"add","arguments":{}}</tool_call> done',
    is: { text: '', calls: [call('add', '{}')] },
  },
  {
    name: 'arguments first',
    format: 'hermes',
    text: '<tool_call>{"arguments":{"a":1},"id":[{}],"name":"add"}</tool_call>',
    is: { text: '', calls: [call('add', '{"a":1}')] },
  },
  { name: 'no arguments', format: 'hermes', text: '<tool_call>{"name":"add"}</tool_call>', is: { text: '', calls: [call('add', '{}')] } },
  {
    name: 'arguments null',
    format: 'hermes',
    text: '<tool_call>{"name":"add","arguments":null}</tool_call>',
    is: { text: '', calls: [call('add', '{}')] },
  },
  {
    name: 'arguments as a string',
    format: 'hermes',
    text: '<tool_call>{"name":"add","arguments":"{\\"a\\":\\"\\u00e9\\\\n\\"}"}</tool_call>',
    is: { text: '', calls: [call('add', '{"a":"é\\n"}')] },
  },
  {
    name: 'cut short',
    format: 'hermes',
    text: '<tool_call>{"name":"add","arguments":{"a":',
    is: { text: '', calls: [call('add', '{"a":')] },
  },
  {
    name: 'cut before it was a call',
    format: 'hermes',
    text: ' <tool_call>{"name":"ad',
    is: { text: ' <tool_call>{"name":"ad', calls: [] },
  },
  {
    name: 'no JSON',
    format: 'hermes',
    text: 'a <tool_call> none </tool_call> b',
    is: { text: 'a <tool_call> none </tool_call> b', calls: [] },
  },
  { name: 'no name', format: 'hermes', text: '<tool_call>{"a":1}</tool_call>', is: { text: '<tool_call>{"a":1}</tool_call>', calls: [] } },
  {
    name: 'a mark in a mark',
    format: 'hermes',
    text: '<tool_<tool_call><tool_call>{"name":"add","arguments":{}}</tool_call>',
    is: { text: '<tool_<tool_call>', calls: [call('add', '{}')] },
  },
  {
    name: 'a brace too many',
    format: 'hermes',
    text: '<tool_call>{"name":"add","arguments":{}}}\n</tool_call>!',
    is: { text: '!', calls: [call('add', '{}')] },
  },
  {
    name: 'no closing mark',
    format: 'hermes',
    text: '<tool_call>{"name":"add","arguments":{}}\n<tool_call>{"name":"add","arguments":{}}',
    is: { text: '', calls: [call('add', '{}'), call('add', '{}')] },
  },
  {
    name: 'bare',
    format: 'llama3-json',
    text: '{"name": "weather", "parameters": {"x": "y"}}',
    is: { text: '', calls: [call('weather', '{"x": "y"}')] },
  },
  {
    name: 'bare, after a mark',
    format: 'llama3-json',
    text: '<|python_tag|>{"type": "function", "name": "add", "parameters": {}}; {"name": "add", "parameters": {"b":2}}',
    is: { text: '', calls: [call('add', '{}'), call('add', '{"b":2}')] },
  },
  {
    name: 'JSON that is an answer',
    format: 'llama3-json',
    text: '{"name": "Bob", "parameters": {}}',
    is: { text: '{"name": "Bob", "parameters": {}}', calls: [] },
  },
  {
    name: 'JSON later',
    format: 'llama3-json',
    text: 'So: {"name": "add", "parameters": {}}',
    is: { text: 'So: {"name": "add", "parameters": {}}', calls: [] },
  },
  {
    name: 'an array',
    format: 'mistral',
    text: '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}, {"name": "weather", "arguments": {}}]',
    is: { text: '', calls: [call('add', '{"a": 1}'), call('weather', '{}')] },
  },
  {
    name: 'an array cut short',
    format: 'mistral',
    text: '[TOOL_CALLS][{"name": "add", "arguments": {}},',
    is: { text: '', calls: [call('add', '{}')] },
  },
  { name: 'brackets', format: 'mistral', text: '[TOOL] [1, 2]', is: { text: '[TOOL] [1, 2]', calls: [] } },
];

describe('StreamingToolCallParser', () => {
  for (const { name, format, text, single, is } of examples) {
    it(`${format}: ${name}`, () => {
      expect(parse(format, [text], single)).toEqual(is);
      expect(parse(format, [...text], single)).toEqual(is);
    });
  }

  it('says the same however the text is cut', () => {
    const parts = [
      '<tool_call>',
      '</tool_call>',
      '[TOOL_CALLS]',
      '<|python_tag|>',
      '{"name": "add", ',
      '"arguments": {"a": "b}"}',
      '"parameters":{}',
      '}',
      '[',
      ']',
      ',',
      ';',
      '\n',
      ' ',
      '"',
      '\\',
      'text',
      '<',
      'é😀',
      '{',
    ];
    const text = fc
      .array(fc.oneof(fc.constantFrom(...parts), fc.constantFrom(...examples.map((example) => example.text))), { maxLength: 12 })
      .map((pieces) => pieces.join(''));
    let withCalls = 0;
    fc.assert(
      fc.property(
        text,
        fc.array(fc.nat(300), { maxLength: 20 }),
        fc.constantFrom<ToolCallFormat>('hermes', 'llama3-json', 'mistral'),
        fc.boolean(),
        (all, cuts, format, single) => {
          const places = [...new Set(cuts)].filter((cut) => cut < all.length).sort((a, b) => a - b);
          const pieces = [0, ...places].map((from, i) => all.slice(from, places[i] ?? all.length));
          const whole = parse(format, [all], single);
          if (whole.calls.length > 0) withCalls++;
          expect(parse(format, pieces, single)).toEqual(whole);
          if (whole.calls.length === 0) expect(whole.text).toBe(all);
        },
      ),
      { numRuns: 2000 },
    );
    expect(withCalls).toBeGreaterThan(200);
  });

  it('tells arguments as they come, and when no more is wanted', () => {
    const parser = new StreamingToolCallParser(TOOL_SYNTAXES.hermes, TOOLS, true);
    expect(parser.push('<tool_call>{"name":"add","arg').toolCalls).toEqual([]);
    expect(parser.push('uments":{"a').toolCalls).toMatchObject([{ index: 0, name: 'add', arguments: '{"a' }]);
    expect(parser.push('":1').toolCalls).toEqual([{ index: 0, arguments: '":1' }]);
    expect(parser.isDone).toBe(false);
    expect(parser.push('}}').toolCalls).toEqual([{ index: 0, arguments: '}' }]);
    expect(parser.isDone).toBe(true);
  });

  it('holds back no more than its bound, in time that grows with the text', () => {
    const long = `{"${'k'.repeat(100)}": "${'x'.repeat(2_000_000)}`;
    const parser = new StreamingToolCallParser(TOOL_SYNTAXES['llama3-json'], TOOLS, false);
    const started = performance.now();
    let given = 0;
    for (let i = 0; i < long.length; i += 1000) {
      given += parser.push(long.slice(i, i + 1000)).text.length;
      expect(i - given).toBeLessThan(20_000);
    }
    const marks = parse('hermes', ['<tool_call>{"'.repeat(100_000)]);
    expect(marks.text.length).toBe(1_300_000);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});
