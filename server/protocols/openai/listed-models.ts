import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { OPENAI_REQUEST_HEADERS } from './client-headers.ts';
import { respondError } from './status.ts';
import { textInputsOf } from './text-model.ts';

/** `GET /v1/models` and `GET /v1/models/{model}`; reference section 6.1. */
export function modelRoutes(context: ProtocolContext): HttpRoute[] {
  const list = new ModelList(context);
  const route = (pattern: string, answer: (exchange: HttpExchange) => object): HttpRoute => ({
    method: 'GET',
    pattern,
    requestHeaders: OPENAI_REQUEST_HEADERS,
    allowContentCoding: false,
    handle: (exchange) => {
      try {
        exchange.respond(200, ['content-type', JSON_CONTENT_TYPE], JSON.stringify(answer(exchange)));
      } catch (error) {
        context.reportFault(error);
        respondError(exchange, InferenceError.from(error));
      }
    },
  });
  return [
    route('/v1/models', () => ({ object: 'list', data: list.all() })),
    route('/v1/models/{model}', (exchange) => list.one(exchange.params[0]!)),
  ];
}

/** Models that some path of OpenAI's API serves: what makes text of text, embeds, or ranks. */
class ModelList {
  readonly #context: ProtocolContext;

  constructor(context: ProtocolContext) {
    this.#context = context;
  }

  all(): object[] {
    const { repository } = this.#context;
    const names = new Set(repository.readyModels().map(({ name }) => name));
    return [...names].flatMap((name) => {
      const model = repository.find(name, '');
      return model !== null && isListed(model) ? [this.#describe(model)] : [];
    });
  }

  /** Loads nothing: one that would have to be loaded first is not there yet. Throws as the repository does. */
  one(name: string): object {
    const { repository } = this.#context;
    const model = repository.find(name, '');
    if (model === null) {
      repository.requireReady(name, '');
      throw new InferenceError('NOT_FOUND', `model '${name}' is loaded when it is first asked, and nobody has yet`);
    }
    if (isListed(model)) return this.#describe(model);
    throw new InferenceError('NOT_FOUND', `model '${name}' is none of text, embeddings or ranking: GET /v2/models/${name} describes it`);
  }

  #describe(model: Model): object {
    const entry = { id: model.name, object: 'model', created: Math.floor(model.loadedAtMs / 1000), owned_by: 'nereid' };
    const contextSize = Number(model.config.parameters['context_size']?.stringValue);
    return Number.isInteger(contextSize) && contextSize > 0 ? { ...entry, max_model_len: contextSize } : entry;
  }
}

function isListed(model: Model): boolean {
  const { inputIndex, outputIndex } = model.signature;
  if (textInputsOf(model) !== null) return true;
  if (outputIndex.has('embedding')) return inputIndex.has('text_input') || inputIndex.has('input_ids');
  return outputIndex.has('relevance_score') && inputIndex.has('query') && inputIndex.has('documents');
}
