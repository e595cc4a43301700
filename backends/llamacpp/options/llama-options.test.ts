import { describe, expect, it } from 'vitest';
import { modelConfig } from '../../api/backend.case.ts';
import { type LlamaOptions, readLlamaOptions, resolveContextSize } from './llama-options.ts';

function read(parameters: Record<string, string> = {}): LlamaOptions {
  const given = Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }]));
  return readLlamaOptions(modelConfig({ parameters: given }));
}

describe('readLlamaOptions', () => {
  it('has defaults', () => {
    const { threads, ...rest } = read();
    expect(threads).toBeGreaterThanOrEqual(1);
    expect(rest).toEqual({
      contextSize: null,
      sequences: 4,
      gpuLayers: 'auto',
      flashAttention: 'auto',
      kvKeyType: 1,
      kvValueType: 1,
      batchSize: 512,
      prefillChunk: 128,
      loras: [],
      chatTemplate: null,
      chatTemplateFile: null,
      toolCallFormat: null,
      task: null,
      pooling: null,
      maxInputTokens: null,
      maxOutputTokens: null,
      defaultMaxTokens: 16,
      allowsGrammar: false,
      usesMmap: true,
      usesMlock: false,
    });
  });

  it('reads what is given', () => {
    expect(
      read({
        context_size: '2048',
        sequences: '16',
        threads: '3',
        gpu_layers: '20',
        flash_attention: 'true',
        kv_cache_type: 'q8_0',
        kv_cache_type_v: 'f16',
        batch_size: '256',
        prefill_chunk: '64',
        lora: 'style.gguf, lora/tone.gguf=-0.5',
        chat_template: 'file:chat.jinja',
        tool_call_format: 'hermes',
        task: 'embed',
        pooling: 'mean',
        max_input_tokens: '1000',
        max_output_tokens: '500',
        default_max_tokens: '100',
        allow_grammar: 'true',
        use_mmap: 'false',
        use_mlock: '1',
      }),
    ).toEqual({
      contextSize: 2048,
      sequences: 16,
      threads: 3,
      gpuLayers: 20,
      flashAttention: true,
      kvKeyType: 8,
      kvValueType: 1,
      batchSize: 256,
      prefillChunk: 64,
      loras: [
        { file: 'style.gguf', scale: 1 },
        { file: 'lora/tone.gguf', scale: -0.5 },
      ],
      chatTemplate: null,
      chatTemplateFile: 'chat.jinja',
      toolCallFormat: 'hermes',
      task: 'embed',
      pooling: 'mean',
      maxInputTokens: 1000,
      maxOutputTokens: 500,
      defaultMaxTokens: 100,
      allowsGrammar: true,
      usesMmap: false,
      usesMlock: true,
    });
    expect(read({ chat_template: '{{ messages }}' }).chatTemplate).toBe('{{ messages }}');
    expect(read({ gpu_layers: 'AUTO', flash_attention: 'auto' })).toMatchObject({ gpuLayers: 'auto', flashAttention: 'auto' });
    expect(read({ batch_size: '64' }).prefillChunk).toBe(64);
    expect(read({ max_output_tokens: '8' }).defaultMaxTokens).toBe(8);
  });

  it.each([
    ['context_size', '0', /expected a whole number from 8 to \d+, got '0'/],
    ['context_size', '99999999999', /expected a whole number/],
    ['sequences', '257', /from 1 to 256, got '257'/],
    ['sequences', '-1', /from 1 to 256/],
    ['sequences', '', /expected a value, got ''/],
    ['threads', 'all', /from 1 to 1024, got 'all'/],
    ['gpu_layers', 'many', /expected 'auto' or a whole number from 0 to 100000, got 'many'/],
    ['flash_attention', 'maybe', /expected 'auto' or true or false, got 'maybe'/],
    ['kv_cache_type', 'q8', /expected f32, f16.*got 'q8'/],
    ['kv_cache_type', 'q8-0', /did you mean 'q8_0'/],
    ['batch_size', '3', /from 4 to 65536, one for each of the sequences at least, got '3'/],
    ['prefill_chunk', '1000', /from 1 to 512, no more than batch_size/],
    ['lora', 'a.gguf=x', /expected "file.gguf" or "file.gguf=0.5"/],
    ['lora', 'a.gguf,', /expected "file.gguf"/],
    ['lora', Array.from({ length: 17 }, () => 'a').join(), /at most 16 files, got 17/],
    ['task', 'chat', /expected generate, embed, rerank, got 'chat'/],
    ['pooling', 'max', /expected mean, cls/],
    ['tool_call_format', 'xml', /expected hermes/],
    ['max_input_tokens', '1.5', /whole number/],
    ['default_max_tokens', '0', /from 1 to/],
    ['allow_grammar', 'gbnf', /expected true or false, got 'gbnf'/],
    ['use_mmap', 'yes', /expected true or false, got 'yes'/],
    ['contextsize', '5', /no parameter of the llamacpp backend.*did you mean 'context_size'/],
    ['n'.repeat(5000), '5', /no parameter/],
  ])('refuses %s %s', (name, value, message) => {
    let error: unknown;
    try {
      read({ [name]: value });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) });
    expect((error as Error).message.startsWith(`parameters['${name.slice(0, 100)}']: `)).toBe(true);
    expect((error as Error).message.length).toBeLessThan(700);
  });

  it('refuses what does not go together', () => {
    expect(() => read({ kv_cache_type: 'q4_0', flash_attention: 'false' })).toThrow(
      /flash_attention'\]: expected 'true' or 'auto' with quantized values/,
    );
    expect(read({ kv_cache_type_k: 'q4_0', flash_attention: 'false' }).kvKeyType).toBe(2);
    expect(() => read({ context_size: '100', max_output_tokens: '101' })).toThrow(/from 1 to 100/);
    expect(() => read({ max_output_tokens: '50', default_max_tokens: '51' })).toThrow(/from 1 to 50, no more than max_output_tokens/);
  });
});

describe('resolveContextSize', () => {
  it('takes the trained one, within bounds', () => {
    expect(resolveContextSize(null, 2048)).toBe(2048);
    expect(resolveContextSize(null, 131_072)).toBe(4096);
    expect(resolveContextSize(null, 0)).toBe(4096);
    expect(resolveContextSize(8192, 0)).toBe(8192);
    expect(resolveContextSize(8192, 8192)).toBe(8192);
    expect(() => resolveContextSize(8193, 8192)).toThrow(/expected at most 8192, which the model was trained with, got 8193/);
  });
});
