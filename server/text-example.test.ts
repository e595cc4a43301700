import { describe, expect, it } from 'vitest';
import { embeddingMetadata, rerankMetadata } from '../backends/llamacpp/embedding/embedding-metadata.ts';
import { textMetadata } from '../backends/llamacpp/text/text-metadata.ts';
import type { ModelSignature } from './inference/model-signature.ts';
import { identitySignature } from './scheduling/scheduling-fixtures.ts';
import { textExampleOf } from './text-example.ts';

function signature(inputs: readonly string[], outputs: readonly string[]): ModelSignature {
  const indexed = (names: readonly string[]): Map<string, number> => new Map(names.map((name, i) => [name, i]));
  return { ...identitySignature(0, []), modelName: 'm', inputIndex: indexed(inputs), outputIndex: indexed(outputs) };
}

const names = (tensors: readonly { readonly name: string }[]): string[] => tensors.map(({ name }) => name);

describe('the example of a model of texts', () => {
  it.each([
    ['generates text', textMetadata, '/v1/chat/completions', ['messages', 'text_input']],
    ['embeds texts', embeddingMetadata, '/v1/embeddings', ['text_input']],
    ['ranks texts', rerankMetadata, '/v1/rerank', ['query', 'documents']],
  ])('calls one that %s by its own API', (_what, { inputs, outputs }, path, shown) => {
    const example = textExampleOf(signature(names(inputs), names(outputs)));
    expect(example).toMatchObject({ inputs: shown, call: { path, body: { model: 'm' } } });
  });

  it('asks one without messages to complete a text, and streams where it can', () => {
    const stream = textExampleOf(signature(['text_input', 'stream'], ['text_output']));
    expect(stream?.call).toMatchObject({ path: '/v1/completions', body: { prompt: expect.any(String), stream: true } });
    expect(textExampleOf(signature(['text_input'], ['text_output']))?.call.body).not.toHaveProperty('stream');
  });

  it('has none for any other model', () => {
    expect(textExampleOf(identitySignature(0, [[1]]))).toBeNull();
    expect(textExampleOf(signature(['x'], ['text_output']))).toBeNull();
    expect(textExampleOf(signature(['x'], ['embedding']))).toBeNull();
  });
});
