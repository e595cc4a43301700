import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { OPENAI_REQUEST_HEADERS } from './client-headers.ts';
import { answerEmbeddings } from './embeddings-answer.ts';
import { requireEmbeddingInputs, textsTensor } from './embeddings-model.ts';
import { decodeEmbeddings, type EmbeddingsSpec } from './embeddings-request.ts';
import { type Rows, RowsCall, type RowsJob, type RowsPlan, refuseCall } from './embeddings-rows.ts';

/** `POST /v1/embeddings`, over every model that makes vectors of texts. */
export function embeddingsRoutes(context: ProtocolContext): HttpRoute[] {
  return [
    {
      method: 'POST',
      pattern: '/v1/embeddings',
      requestHeaders: OPENAI_REQUEST_HEADERS,
      allowContentCoding: true,
      handle: (exchange) => {
        let spec: EmbeddingsSpec | null = null;
        try {
          spec = decodeEmbeddings(exchange.body);
          new RowsCall(exchange, context, new EmbeddingsJob(spec)).start();
        } catch (error) {
          refuseCall(exchange, context, spec?.model ?? '', InferenceError.from(error), false);
        }
      },
    },
  ];
}

class EmbeddingsJob implements RowsJob {
  readonly modelName: string;
  readonly parameters: EmbeddingsSpec['parameters'];
  readonly output = 'embedding';
  readonly isScalar = false;
  readonly count: number;
  readonly listName = 'input';
  readonly inputName = 'text_input';
  readonly #spec: EmbeddingsSpec;

  constructor(spec: EmbeddingsSpec) {
    this.#spec = spec;
    this.modelName = spec.model;
    this.parameters = spec.parameters;
    this.count = Math.max(spec.texts.length, spec.tokens.length);
  }

  plan(model: Model): RowsPlan {
    const { texts, tokens } = this.#spec;
    const inputs = requireEmbeddingInputs(model);
    if (tokens.length > 0) {
      const { tokens: input } = inputs;
      if (input === null) throw invalidArgument(`input: model '${model.name}' takes text, not token ids (it has no input 'input_ids')`);
      const isBatched = model.signature.maxBatchSize > 0;
      return { perRequest: 1, inputs: (from) => [tokensTensor(input.name, tokens[from]!, isBatched)] };
    }
    const { texts: list } = inputs;
    if (list === null) throw invalidArgument(`input: model '${model.name}' takes token ids, not text (it has no input 'text_input')`);
    return { perRequest: list.most, inputs: (from, to) => [textsTensor(list, texts.slice(from, to))] };
  }

  answer(exchange: HttpExchange, rows: Rows): Promise<void> {
    return answerEmbeddings(exchange, this.#spec, rows);
  }
}

function tokensTensor(name: string, tokens: Int32Array, isBatched: boolean): Tensor {
  const data = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  return { name, datatype: 'INT32', shape: isBatched ? [1, tokens.length] : [tokens.length], data };
}
