import { encodeBytes } from '../../../proto/bytes.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { OPENAI_REQUEST_HEADERS } from './client-headers.ts';
import { hasOutput, inputOf, textList, textsTensor } from './embeddings-model.ts';
import { type Rows, RowsCall, type RowsJob, type RowsPlan, refuseCall } from './embeddings-rows.ts';
import { answerRerank } from './rerank-answer.ts';
import { decodeRerank, type RerankSpec } from './rerank-request.ts';

/** Reranking over every model that scores documents; one meaning behind the paths of several servers. */
export function rerankRoutes(context: ProtocolContext): HttpRoute[] {
  const handle = (exchange: HttpExchange): void => {
    let spec: RerankSpec | null = null;
    try {
      spec = decodeRerank(exchange.body);
      const model = spec.model === '' ? onlyRanker(context) : spec.model;
      new RowsCall(exchange, context, new RerankJob(spec, model)).start();
    } catch (error) {
      refuseCall(exchange, context, spec?.model ?? '', InferenceError.from(error), false);
    }
  };
  return ['/v1/rerank', '/v2/rerank', '/rerank'].map((pattern) => ({
    method: 'POST',
    pattern,
    requestHeaders: OPENAI_REQUEST_HEADERS,
    allowContentCoding: true,
    handle,
  }));
}

class RerankJob implements RowsJob {
  readonly modelName: string;
  readonly parameters: RerankSpec['parameters'];
  readonly output = 'relevance_score';
  readonly isScalar = true;
  readonly count: number;
  readonly listName: string;
  readonly inputName = 'documents';
  readonly #spec: RerankSpec;

  constructor(spec: RerankSpec, modelName: string) {
    this.#spec = spec;
    this.modelName = modelName;
    this.parameters = spec.parameters;
    this.count = spec.documents.length;
    this.listName = spec.form === 'tei' ? 'texts' : 'documents';
  }

  plan(model: Model): RowsPlan {
    const { query, documents } = this.#spec;
    const list = isRanker(model) ? textList(model, 'documents') : null;
    const question = inputOf(model.signature, 'query', 'BYTES');
    if (list === null || question === null) {
      throw invalidArgument(
        `model: '${model.name}' does not rank documents (it would have inputs 'query' and 'documents' of type BYTES and an output 'relevance_score' of type FP32); POST /v2/models/${model.name}/infer for any other`,
      );
    }
    const isBatched = model.signature.maxBatchSize > 0;
    const ones = question.dims.map(() => 1);
    return {
      perRequest: list.most,
      inputs: (from, to) => {
        const rows = isBatched ? to - from : 1;
        return [
          {
            name: 'query',
            datatype: 'BYTES',
            shape: isBatched ? [rows, ...ones] : ones,
            data: encodeBytes(new Array<string>(rows).fill(query)),
          },
          textsTensor(list, documents.slice(from, to)),
        ];
      },
    };
  }

  answer(exchange: HttpExchange, rows: Rows): void {
    answerRerank(exchange, this.#spec, rows);
  }
}

function isRanker({ signature, sequencePlan }: Model): boolean {
  return sequencePlan === null && hasOutput(signature, 'relevance_score');
}

/** The one model in service that ranks: servers of TEI's form have one model, and its clients name none. */
function onlyRanker({ repository }: ProtocolContext): string {
  const names = new Set<string>();
  for (const model of repository.readyModels()) if (isRanker(model)) names.add(model.name);
  const [first] = names;
  if (first !== undefined && names.size === 1) return first;
  throw invalidArgument(
    first === undefined
      ? 'model: missing, and no model in service ranks documents'
      : `model: missing, and there are several that rank documents: ${[...names].slice(0, 10).join(', ')}`,
  );
}
