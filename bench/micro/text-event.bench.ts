import type { LoadPlan } from '../load/load-plan.ts';
import { EventScanner } from '../wire/text/event-scanner.ts';
import { TextEvent } from '../wire/text/text-event.ts';
import { createTextLanes } from '../wire/text/text-lane.ts';
import { CallBench } from './call-bench.ts';
import { deafLoop, openLane, SilentSink } from './deaf-loop.ts';

/** Events of streamed answers, as several servers write them: found in what was read, and read. The control is JSON.parse. */
const CALLS = 1000;

const openAi = `{"id":"chatcmpl-8b1d","object":"chat.completion.chunk","created":1795000000,"model":"tiny_llm","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}`;
const spaced = JSON.stringify(JSON.parse(openAi), null, 1).replaceAll('\n', ' ');
const generate = '{"model_name":"tiny_llm","model_version":"1","text_output":" word"}';

let texts = 0;
function reader(text: string, protocol: 'openai' | 'generate'): () => number {
  const bytes = Buffer.from(text);
  const event = new TextEvent(protocol);
  return () => {
    for (let i = 0; i < CALLS; i++) {
      event.read(bytes, 0, bytes.length);
      if (event.hasText) texts++;
    }
    return texts;
  };
}

function scanner(text: string): () => number {
  const bytes = Buffer.from(`data: ${text}\n\n`);
  const one = new EventScanner({
    onEvent: (_bytes, from, to) => {
      texts += to - from;
    },
  });
  return () => {
    one.begin();
    for (let i = 0; i < CALLS; i++) one.feed(bytes, 0, bytes.length);
    return texts;
  };
}

const plan: LoadPlan = {
  protocol: 'openai',
  target: { host: '127.0.0.1', port: 8000, basePath: '', tls: null, headers: {} },
  requests: [{ infer: null, text: { path: '/v1/chat/completions', body: { stream: true }, stream: true }, expected: null }],
  connections: 1,
  timeoutMs: 1000,
  deadlineMs: 0,
  sendsDeadline: false,
  sequence: null,
  validation: { every: 0, outputs: [], isDeterministic: false },
  firstTokenMs: 0,
  perTokenMs: 0,
  seed: 1,
  sockets: 'node',
};
const chunk = (text: string): Buffer => Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`);
const head = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n');
const token = chunk(`data: ${openAi}\n\n`);
const end = Buffer.concat([chunk('data: [DONE]\n\n'), Buffer.from('0\r\n\r\n')]);
const sink = new SilentSink();
const { lane, handler } = await openLane(createTextLanes(plan), deafLoop(), sink);

await new CallBench('events of streamed answers')
  .add(`find an event of ${openAi.length} bytes`, CALLS, scanner(openAi))
  .add('read it', CALLS, reader(openAi, 'openai'))
  .add('the same with spaces', CALLS, reader(spaced, 'openai'))
  .add('generate_stream', CALLS, reader(generate, 'generate'))
  .add('a token of a stream over a lane', CALLS, () => {
    lane.send(0, 0, null, false, 0);
    handler.onBytes(head, head.length);
    for (let i = 0; i < CALLS; i++) handler.onBytes(token, token.length);
    handler.onBytes(end, end.length);
    return sink.tokens;
  })
  .add('JSON.parse', CALLS, () => {
    const bytes = Buffer.from(openAi);
    for (let i = 0; i < CALLS; i++) {
      const json = JSON.parse(bytes.toString('utf8')) as { choices: { delta: { content: string } }[] };
      if (json.choices[0]!.delta.content !== '') texts++;
    }
    return texts;
  })
  .run();
