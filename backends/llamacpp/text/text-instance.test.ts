import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecoupledRequest, ModelRequest } from '../../api/backend.ts';
import type { LlamaEngine } from '../engine/llama-engine.ts';
import { TextInstance } from './text-instance.ts';
import { textMetadata } from './text-metadata.ts';
import {
  answer,
  answers,
  CONTEXT,
  closeEngines,
  engineOf,
  everything,
  instanceOf,
  type Logprob,
  limits,
  requestOf,
  textOf,
} from './text-requests.case.ts';
import { TokenText } from './token-text.ts';

describe('TextInstance', () => {
  let engine: LlamaEngine;
  let instance: TextInstance;
  let bytes: TextInstance;
  let spm: TextInstance;
  let ending: TextInstance;

  beforeAll(async () => {
    engine = await engineOf({});
    instance = instanceOf(engine);
    bytes = instanceOf(await engineOf({ output: 'bytes' }));
    spm = instanceOf(await engineOf({ vocabulary: 'spm' }));
    ending = instanceOf(await engineOf({ endBias: 9 }));
  });
  afterAll(closeEngines);

  it('answers once with the prompt and what follows, and nothing that was not asked for', async () => {
    const whole = await answer(instance, { text_input: 'the quick' });
    expect(Object.keys(whole)).toEqual(['text_output']);
    expect(whole['text_output']).toMatch(/^the quick./s);
    const rest = await answer(instance, { text_input: 'the quick', exclude_input_in_output: true });
    expect(`the quick${rest['text_output']}`).toBe(whole['text_output']);
  });

  it('streams the same text piece by piece, and never the prompt', async () => {
    for (const model of [instance, spm, bytes]) {
      const request = { text_input: 'the quick', return_finish_reason: true };
      const whole = await answer(model, { ...request, exclude_input_in_output: true }, { max_tokens: 60 });
      const responses = await answers(model, requestOf({ ...request, stream: true }, { temperature: 0, max_tokens: 60 }));
      expect(textOf(responses)).toBe(whole['text_output']);
      expect(responses.length).toBeGreaterThan(10);
      expect(responses.map(({ finish_reason: reason }) => reason)).toEqual([...responses.slice(1).map(() => ''), 'length']);
      expect(responses.slice(0, -1).every(({ text_output: text }) => text !== '')).toBe(true);
    }
  });

  it('gives every optional output that is asked for, by its input or by its name', async () => {
    const response = await answer(instance, { text_input: 'the quick', ...everything }, { max_tokens: 5, logprobs: 2 });
    expect(Object.keys(response)).toEqual(textMetadata.outputs.map(({ name }) => name).filter((name) => name !== 'tool_calls'));
    expect(response).toMatchObject({
      finish_reason: 'length',
      num_output_tokens: 5,
      num_input_tokens: engine.tokenize('the quick', false).length,
    });
    const entries = JSON.parse(String(response['logprobs'])) as Logprob[];
    expect(entries).toHaveLength(5);
    expect(response['text_output']).toBe(`the quick${entries.map(({ token }) => token).join('')}`);
    expect(response['cumulative_logprob']).toBeCloseTo(
      entries.reduce((sum, { logprob }) => sum + logprob, 0),
      3,
    );
    for (const { token, logprob, bytes: spelled, top_logprobs: top } of entries) {
      expect(Buffer.from(spelled).toString('utf8')).toBe(token);
      expect(top).toHaveLength(2);
      // Temperature 0: the likeliest was chosen.
      expect(top[0]).toMatchObject({ token, logprob });
      expect(top[1]!.logprob).toBeLessThanOrEqual(logprob);
    }
    const named: DecoupledRequest = {
      ...requestOf({ text_input: 'the' }),
      request: { outputs: ['text_output', 'num_output_tokens', 'finish_reason'] } as unknown as ModelRequest,
    };
    expect(Object.keys((await answers(instance, named))[0]!)).toEqual(['text_output', 'finish_reason', 'num_output_tokens']);
  });

  it('tells log probabilities of each token once, in the stream too', async () => {
    const values = { text_input: 'the quick', return_logprobs: true, return_num_output_tokens: true };
    const sampling = { temperature: 0, max_tokens: 30 };
    const whole = await answer(bytes, values, sampling);
    const responses = await answers(bytes, requestOf({ ...values, stream: true }, sampling));
    const streamed = responses.flatMap(({ logprobs }) => JSON.parse(String(logprobs)) as Logprob[]);
    expect(streamed).toHaveLength(30);
    // Runs differ in the last digits: other batches.
    const rounded = (entries: readonly Logprob[]): unknown[] =>
      entries.map((entry) => ({ ...entry, logprob: Math.round(entry.logprob * 100) }));
    expect(rounded(streamed)).toEqual(rounded(JSON.parse(String(whole['logprobs'])) as Logprob[]));
    expect(responses.at(-1)).toMatchObject({ num_output_tokens: 30 });
  });

  it('takes tokens as the prompt', async () => {
    const ids = [...engine.tokenize('the quick', false)];
    expect(await answer(instance, { input_ids: ids })).toEqual(await answer(instance, { text_input: 'the quick' }));
  });

  it('ends in front of a stop string that lies over the borders of tokens, or behind it', async () => {
    const { text_output: full } = await answer(instance, { text_input: 'the quick', exclude_input_in_output: true }, { max_tokens: 60 });
    const pieces = await answers(instance, requestOf({ text_input: 'the quick', stream: true }, { temperature: 0, max_tokens: 60 }));
    const text = String(full);
    // The end of one piece and the beginning of the next, so that it takes two tokens to have it.
    const border = pieces.slice(0, 20).reduce((sum, { text_output: piece }) => sum + String(piece).length, 0);
    const stop = text.slice(border - 1, border + 1);
    const at = text.indexOf(stop);
    for (const stream of [false, true]) {
      const values = { text_input: 'the quick', exclude_input_in_output: true, stream, ...everything };
      const sampling = { temperature: 0, max_tokens: 60, stop: JSON.stringify(['never there', stop]) };
      const cut = await answers(instance, requestOf(values, sampling));
      expect(textOf(cut)).toBe(text.slice(0, at));
      expect(cut.at(-1)).toMatchObject({ finish_reason: 'stop' });
      expect(cut.at(-1)!['num_output_tokens']).toBeLessThan(60);
      const entries = cut.flatMap(({ logprobs }) => JSON.parse(String(logprobs)) as Logprob[]);
      expect(
        entries
          .map(({ token }) => token)
          .join('')
          .slice(0, at),
      ).toBe(text.slice(0, at));
      expect(entries.length).toBeLessThanOrEqual(Number(cut.at(-1)!['num_output_tokens']));
      const shown = await answers(instance, requestOf(values, { ...sampling, include_stop_str_in_output: true }));
      expect(textOf(shown)).toBe(text.slice(0, at + stop.length));
    }
    // The sequence is free: as many requests as there are sequences, and then some.
    await Promise.all([1, 2, 3].map(() => answer(instance, { text_input: 'the quick' })));
  });

  it('gives what was held back for a stop string that did not come', async () => {
    const { text_output: full } = await answer(instance, { text_input: 'the', exclude_input_in_output: true }, { max_tokens: 12 });
    const stop = `${String(full).slice(-3)}XYZ`;
    const responses = await answers(instance, requestOf({ text_input: 'the', stream: true }, { temperature: 0, max_tokens: 12, stop }));
    expect(textOf(responses)).toBe(full);
    expect(responses.at(-1)!['text_output']).toMatch(
      new RegExp(
        `.*${String(full)
          .slice(-3)
          .replaceAll(/[^a-z]/g, '.')}$`,
        's',
      ),
    );
  });

  it('ends at the end of generation, at a stop token, and at the limit', async () => {
    const values = { text_input: 'the quick', return_finish_reason: true, return_num_output_tokens: true };
    const ended = await answer(ending, values, { max_tokens: 200, temperature: 1, seed: 3 });
    expect(ended).toMatchObject({ finish_reason: 'stop' });
    const going = await answer(ending, values, { max_tokens: 100, temperature: 1, seed: 3, ignore_eos: true });
    expect(going).toMatchObject({ finish_reason: 'length', num_output_tokens: 100 });
    const least = await answer(ending, values, { max_tokens: 100, min_tokens: 60, temperature: 1, seed: 3 });
    expect(least['num_output_tokens']).toBeGreaterThanOrEqual(60);
    const { logprobs } = await answer(instance, { text_input: 'the quick', return_logprobs: true }, { max_tokens: 10 });
    const spelled = (JSON.parse(String(logprobs)) as Logprob[])[4]!.bytes;
    const tokens = new TokenText(engine);
    const id = Array.from({ length: tokens.size }, (_, token) => token).find((token) =>
      Buffer.from(tokens.bytes(token)).equals(Buffer.from(spelled)),
    )!;
    const stopped = await answer(instance, values, { max_tokens: 10, stop_token_ids: `[${id}]` });
    expect(stopped).toMatchObject({ finish_reason: 'stop' });
    expect(stopped['num_output_tokens']).toBeLessThan(10);
  });

  it('looks for no stop string in the first min_tokens tokens', async () => {
    const values = { text_input: 'the quick', exclude_input_in_output: true, return_num_output_tokens: true };
    const { text_output: full } = await answer(instance, values, { max_tokens: 20 });
    const stop = String(full)[0]!;
    expect(await answer(instance, values, { max_tokens: 20, stop })).toMatchObject({ text_output: '', num_output_tokens: 1 });
    const { num_output_tokens: count } = await answer(instance, values, { max_tokens: 20, stop, min_tokens: 10 });
    expect(count).toBeGreaterThanOrEqual(10);
  });

  it('cuts max_tokens to what the context has left', async () => {
    const response = await answer(
      instance,
      { text_input: 'the quick', return_num_output_tokens: true, return_finish_reason: true },
      { max_tokens: 1_000_000 },
    );
    const promptLength = engine.tokenize('the quick', false).length;
    expect(response).toMatchObject({ finish_reason: 'length', num_output_tokens: CONTEXT - promptLength });
  });

  it('gives the same text for the same seed, and others for others', async () => {
    const sample = async (seed: number): Promise<unknown> =>
      (await answer(instance, { text_input: 'the' }, { temperature: 1, seed, max_tokens: 30 }))['text_output'];
    expect(await sample(5)).toBe(await sample(5));
    expect(new Set([await sample(1), await sample(2), await sample(3)]).size).toBe(3);
  });

  it('tells how much of the prompt was known', async () => {
    const values = { text_input: 'a prompt that nobody else sends, twice', return_num_cached_tokens: true };
    expect(await answer(instance, values)).toMatchObject({ num_cached_tokens: 0 });
    expect((await answer(instance, values))['num_cached_tokens']).toBeGreaterThan(10);
  });

  it('tells that it gets on where no response does, and what was used', async () => {
    for (const stream of [false, true]) {
      let steps = 0;
      const used: number[][] = [];
      const told = {
        progress: () => {
          steps++;
        },
        used: (inputTokens: number, outputTokens: number) => {
          used.push([inputTokens, outputTokens]);
        },
      };
      const values = { text_input: 'the quick', stream, exclude_input_in_output: true };
      const responses = await answers(instance, { ...requestOf(values, { temperature: 0, max_tokens: 12 }), ...told });
      const promptLength = engine.tokenize('the quick', false).length;
      expect(used).toEqual([
        [promptLength, 0],
        [promptLength, 12],
      ]);
      // Each token is a response, or a word that it gets on; reading the prompt may be one more.
      expect(steps + responses.length - 1).toBeGreaterThanOrEqual(12);
    }
    expect(instance.statistics()).toMatchObject({ runningSequences: 0, kvTokensTotal: 2 * CONTEXT });
    expect(instance.statistics().generatedTokens).toBeGreaterThan(24);
  });

  it('is free soon after it is cancelled', async () => {
    const controller = new AbortController();
    const iteration = instance.infer(
      requestOf({ text_input: 'the', stream: true }, { max_tokens: 200, ignore_eos: true }, controller.signal),
    );
    await iteration.next();
    controller.abort();
    await iteration.return(undefined);
    await Promise.all([1, 2, 3].map(() => answer(instance, { text_input: 'the quick' })));
  });

  it('keeps to a JSON schema, to JSON, and to a grammar', async () => {
    const values = { text_input: 'the', exclude_input_in_output: true, return_finish_reason: true };
    const schema = { type: 'object', properties: { is: { type: 'boolean' } }, required: ['is'], additionalProperties: false };
    const { text_output: shaped, finish_reason: reason } = await answer(instance, values, {
      max_tokens: 100,
      json_schema: JSON.stringify(schema),
    });
    expect(typeof (JSON.parse(String(shaped)) as { is: unknown }).is).toBe('boolean');
    expect(reason).toBe('stop');
    const { text_output: json } = await answer(instance, values, { max_tokens: 40, json_object: true });
    expect(json).toMatch(/^\s*\{/);
    const { text_output: word } = await answer(instance, values, { grammar: 'root ::= "yes" | "no"' });
    expect(word).toMatch(/^(yes|no)$/);
  });

  it('has no more after it is disposed of', async () => {
    let disposals = 0;
    const other = new TextInstance({
      engine,
      vocabulary: engine,
      chat: null,
      compileGrammar: () => {},
      limits,
      sequences: 2,
      dispose: async () => {
        disposals++;
      },
    });
    await other.dispose();
    await other.dispose();
    expect(disposals).toBe(1);
    await expect(answers(other, requestOf({ text_input: 'a' }))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
