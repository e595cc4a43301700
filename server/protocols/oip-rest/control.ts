import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { type InputSpec, type OutputSpec, servedShape } from '../../inference/model-signature.ts';
import type { ModelReporter, StatisticDuration } from '../../metrics/model-reporter.ts';
import { encodeModelConfig } from '../../repository/encode-model-config.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpMethod, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { respondError } from './status.ts';

/**
 * Extensions of the protocol that this server really speaks over REST (reference section 1.3 has Triton's list).
 */
const EXTENSIONS = ['classification', 'model_repository', 'model_configuration', 'binary_tensor_data', 'parameters', 'statistics'];

const JSON_HEADERS: readonly string[] = ['content-type', JSON_CONTENT_TYPE];
const NO_HEADERS: readonly string[] = [];

type Handler = (exchange: HttpExchange, context: ProtocolContext) => void;

/** Health, metadata, configuration, statistics, repository: everything of the REST protocol that is not inference. */
export function controlRoutes(context: ProtocolContext): HttpRoute[] {
  const route = (method: HttpMethod, pattern: string, handler: Handler): HttpRoute => ({
    method,
    pattern,
    requestHeaders: [],
    allowContentCoding: false,
    handle: (exchange) => {
      try {
        handler(exchange, context);
      } catch (error) {
        context.reportFault(error);
        respondError(exchange, InferenceError.from(error));
      }
    },
  });
  const both = (method: HttpMethod, tail: string, handler: Handler): HttpRoute[] => [
    route(method, `/v2/models/{model}${tail}`, handler),
    route(method, `/v2/models/{model}/versions/{version:digits}${tail}`, handler),
  ];
  return [
    route('GET', '/v2', serverMetadata),
    route('GET', '/v2/health/live', (exchange) => respondEmpty(exchange, context.isLive())),
    route('GET', '/v2/health/ready', (exchange) => respondEmpty(exchange, context.isReady())),
    route('GET', '/v2/models/stats', (exchange) => respondStatistics(exchange, context.repository.readyModels())),
    ...both('GET', '', modelMetadata),
    ...both('GET', '/ready', modelReady),
    ...both('GET', '/config', (exchange) => respondJson(exchange, encodeModelConfig(routed(exchange, context).config))),
    ...both('GET', '/stats', modelStatistics),
    route('POST', '/v2/repository/index', repositoryIndex),
    route('POST', '/v2/repository/{repository}/index', repositoryIndex),
    ...notYet(route),
  ];
}

/**
 * What Triton's clients may ask for and this server does not do: a plain refusal rather than a 404, which would read like a typing mistake. Lists of shared
 * memory regions are answered, since that they are empty is true.
 */
function notYet(route: (method: HttpMethod, pattern: string, handler: Handler) => HttpRoute): HttpRoute[] {
  const refuse =
    (what: string): Handler =>
    () => {
      throw new InferenceError('UNIMPLEMENTED', `${what} not supported by this server yet`);
    };
  const noControl: Handler = () => {
    throw new InferenceError(
      'UNAVAILABLE',
      "explicit model load / unload is not allowed: model control mode is 'none', the models on disk at start are served until the end",
    );
  };
  const routes: HttpRoute[] = [];
  for (const prefix of ['/v2/repository', '/v2/repository/{repository}']) {
    routes.push(route('POST', `${prefix}/models/{model}/load`, noControl), route('POST', `${prefix}/models/{model}/unload`, noControl));
  }
  for (const version of ['', '/versions/{version:digits}']) {
    for (const name of ['generate', 'generate_stream']) {
      routes.push(route('POST', `/v2/models/{model}${version}/${name}`, refuse(`the generate extension (${name}) is`)));
    }
  }
  for (const kind of ['systemsharedmemory', 'cudasharedmemory']) {
    routes.push(
      route('GET', `/v2/${kind}/status`, (exchange) => respondJson(exchange, [])),
      route('GET', `/v2/${kind}/region/{region}/status`, (exchange) => {
        throw new InferenceError('NOT_FOUND', `Unable to find shared memory region '${exchange.params[0]}': none is registered`);
      }),
      route('POST', `/v2/${kind}/region/{region}/register`, refuse('Client shared memory is disabled: it is')),
      route('POST', `/v2/${kind}/region/{region}/unregister`, refuse('Client shared memory is disabled: it is')),
      route('POST', `/v2/${kind}/unregister`, refuse('Client shared memory is disabled: it is')),
    );
  }
  for (const method of ['GET', 'POST'] as const) {
    routes.push(
      route(method, '/v2/trace/setting', refuse('the trace extension is')),
      route(method, '/v2/models/{model}/trace/setting', refuse('the trace extension is')),
      route(method, '/v2/logging', refuse('changing the log over the network is')),
    );
  }
  return routes;
}

function routed(exchange: HttpExchange, context: ProtocolContext): Model {
  return context.door.route(exchange.params[0]!, exchange.params[1] ?? '');
}

function serverMetadata(exchange: HttpExchange, context: ProtocolContext): void {
  respondJson(exchange, { name: context.serverName, version: context.serverVersion, extensions: EXTENSIONS });
}

function modelMetadata(exchange: HttpExchange, context: ProtocolContext): void {
  const model = routed(exchange, context);
  const tensor = (spec: InputSpec | OutputSpec): object => ({
    name: spec.name,
    datatype: spec.datatype,
    shape: servedShape(model.signature, spec.dims),
  });
  respondJson(exchange, {
    name: model.name,
    versions: exchange.params[1] === undefined ? context.repository.readyVersions(model.name) : [model.version],
    platform: model.platform,
    inputs: model.signature.inputs.map(tensor),
    outputs: model.signature.outputs.map(tensor),
  });
}

function modelReady(exchange: HttpExchange, context: ProtocolContext): void {
  routed(exchange, context);
  respondEmpty(exchange, true);
}

function modelStatistics(exchange: HttpExchange, context: ProtocolContext): void {
  const [name, version] = exchange.params;
  // Unknown names are INVALID_ARGUMENT here, unlike everywhere else (reference section 11, rows 5 and 6).
  const models = context.repository
    .readyModels()
    .filter((model) => model.name === name && (version === undefined || model.version === version));
  if (models.length === 0) {
    throw invalidArgument(
      version === undefined
        ? `requested model '${name}' is not available`
        : `requested model version is not available for model '${name}': version ${version}`,
    );
  }
  respondStatistics(exchange, models);
}

function respondStatistics(exchange: HttpExchange, models: readonly Model[]): void {
  respondJson(exchange, { model_stats: models.map((model) => encodeStatistics(model.reporter)) });
}

/** Statistics extension, reference section 8.5. */
function encodeStatistics(reporter: ModelReporter): object {
  const duration = ({ count, ns }: StatisticDuration): object => ({ count, ns: Math.round(ns) });
  return {
    name: reporter.modelName,
    version: reporter.modelVersion,
    last_inference: reporter.lastInferenceMs,
    inference_count: reporter.inferenceCount,
    execution_count: reporter.executionCount,
    inference_stats: {
      success: duration(reporter.success),
      fail: duration(reporter.fail),
      queue: duration(reporter.queue),
      compute_input: duration(reporter.computeInput),
      compute_infer: duration(reporter.computeInfer),
      compute_output: duration(reporter.computeOutput),
      cache_hit: { count: 0, ns: 0 },
      cache_miss: { count: 0, ns: 0 },
    },
    response_stats: {},
    batch_stats: [...reporter.batches]
      .sort(([a], [b]) => a - b)
      .map(([batchSize, batch]) => ({
        batch_size: batchSize,
        compute_input: duration(batch.computeInput),
        compute_infer: duration(batch.computeInfer),
        compute_output: duration(batch.computeOutput),
      })),
    memory_usage: [],
  };
}

function repositoryIndex(exchange: HttpExchange, context: ProtocolContext): void {
  let readyOnly = false;
  if (exchange.body.length > 0) {
    const body = parseSmallJson(exchange.body);
    const ready = (body as { ready?: unknown }).ready;
    if (ready !== undefined && typeof ready !== 'boolean') {
      throw invalidArgument(
        `Invalid value for 'ready': expected a boolean, got ${ready === null ? 'null' : Array.isArray(ready) ? 'an array' : `a ${typeof ready}`}`,
      );
    }
    readyOnly = ready === true;
  }
  respondJson(exchange, context.repository.index(readyOnly));
}

/** Bodies of control requests are a few words; a large one is a mistake, or an attempt to hold up the loop. */
const MAX_CONTROL_BODY_BYTES = 64 * 1024;

function parseSmallJson(body: Uint8Array): object {
  if (body.length > MAX_CONTROL_BODY_BYTES) {
    throw invalidArgument(`request body: expected at most ${MAX_CONTROL_BODY_BYTES} bytes here, got ${body.length}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw invalidArgument(`failed to parse the request JSON buffer: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(
      `request body: expected a JSON object, got ${Array.isArray(value) ? 'an array' : `a ${value === null ? 'null' : typeof value}`}`,
    );
  }
  return value;
}

function respondJson(exchange: HttpExchange, value: unknown): void {
  exchange.respond(200, JSON_HEADERS, JSON.stringify(value));
}

/** Health answers are a status and nothing else: 200 for yes, 400 for no. */
function respondEmpty(exchange: HttpExchange, isSo: boolean): void {
  exchange.respond(isSo ? 200 : 400, NO_HEADERS, '');
}
