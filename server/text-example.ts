import type { ModelSignature } from './inference/model-signature.ts';
import type { ExampleCall } from './start-up-report.ts';

/** What shows in the start-up table of a model of texts, whose inputs would fill it, and a call to try; null: it is none. Known by its tensors, as the protocols know it. */
export interface TextExample {
  readonly inputs: readonly string[];
  readonly call: ExampleCall;
}

const PROMPT = 'Once upon a time';

export function textExampleOf({ modelName: model, inputIndex, outputIndex }: ModelSignature): TextExample | null {
  if (outputIndex.has('text_output')) {
    const common = { model, max_tokens: 64, ...(inputIndex.has('stream') ? { stream: true } : {}) };
    if (inputIndex.has('messages')) {
      const body = { ...common, messages: [{ role: 'user', content: PROMPT }] };
      return { inputs: ['messages', 'text_input'], call: { path: '/v1/chat/completions', body } };
    }
    if (!inputIndex.has('text_input')) return null;
    return { inputs: ['text_input'], call: { path: '/v1/completions', body: { ...common, prompt: PROMPT } } };
  }
  if (outputIndex.has('embedding') && inputIndex.has('text_input'))
    return { inputs: ['text_input'], call: { path: '/v1/embeddings', body: { model, input: PROMPT } } };
  if (outputIndex.has('relevance_score') && inputIndex.has('query')) {
    const body = { model, query: 'a fox', documents: ['the quick brown fox', 'a stone'] };
    return { inputs: ['query', 'documents'], call: { path: '/v1/rerank', body } };
  }
  return null;
}
