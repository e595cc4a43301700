import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { encodeModelConfig } from '../../model-config/encode-model-config.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpMethod, HttpRoute } from '../../transports/http-exchange.ts';
import { describeModel, describeServer, describeStatistics } from '../describe-model.ts';
import { type Missing, noSharedMemoryRegion, notYet } from '../not-yet.ts';
import type { ProtocolContext } from '../protocol.ts';
import { respondError } from './status.ts';

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
    route('GET', '/v2', (exchange) => respondJson(exchange, describeServer(context))),
    route('GET', '/v2/health/live', (exchange) => respondEmpty(exchange, context.isLive())),
    route('GET', '/v2/health/ready', (exchange) => respondEmpty(exchange, context.isReady())),
    route('GET', '/v2/models/stats', (exchange) => respondJson(exchange, describeStatistics(context, '', ''))),
    ...both('GET', '', (exchange) => respondJson(exchange, describeModel(context, exchange.params[0]!, exchange.params[1] ?? ''))),
    ...both('GET', '/ready', modelReady),
    ...both('GET', '/config', (exchange) => respondJson(exchange, encodeModelConfig(routed(exchange, context).config))),
    ...both('GET', '/stats', (exchange) =>
      respondJson(exchange, describeStatistics(context, exchange.params[0]!, exchange.params[1] ?? '')),
    ),
    route('POST', '/v2/repository/index', repositoryIndex),
    route('POST', '/v2/repository/{repository}/index', repositoryIndex),
    ...['/v2/repository', '/v2/repository/{repository}'].flatMap((prefix) => [
      route('POST', `${prefix}/models/{model}/load`, loadModel),
      route('POST', `${prefix}/models/{model}/unload`, unloadModel),
    ]),
    ...refusals(route),
  ];
}

/** What this server does not do. Lists of shared memory regions are answered, since that they are empty is true. */
function refusals(route: (method: HttpMethod, pattern: string, handler: Handler) => HttpRoute): HttpRoute[] {
  const refuse =
    (what: Missing): Handler =>
    () => {
      throw notYet(what);
    };
  const routes: HttpRoute[] = [];
  for (const version of ['', '/versions/{version:digits}']) {
    for (const name of ['generate', 'generate_stream'] as const) {
      routes.push(route('POST', `/v2/models/{model}${version}/${name}`, refuse(name)));
    }
  }
  for (const kind of ['systemsharedmemory', 'cudasharedmemory']) {
    routes.push(
      route('GET', `/v2/${kind}/status`, (exchange) => respondJson(exchange, [])),
      route('GET', `/v2/${kind}/region/{region}/status`, (exchange) => {
        throw noSharedMemoryRegion(exchange.params[0]!);
      }),
      route('POST', `/v2/${kind}/region/{region}/register`, refuse('shared memory')),
      route('POST', `/v2/${kind}/region/{region}/unregister`, refuse('shared memory')),
      route('POST', `/v2/${kind}/unregister`, refuse('shared memory')),
    );
  }
  for (const method of ['GET', 'POST'] as const) {
    routes.push(
      route(method, '/v2/trace/setting', refuse('trace')),
      route(method, '/v2/models/{model}/trace/setting', refuse('trace')),
      route(method, '/v2/logging', refuse('logging')),
    );
  }
  return routes;
}

function routed(exchange: HttpExchange, context: ProtocolContext): Model {
  return context.door.route(exchange.params[0]!, exchange.params[1] ?? '');
}

function modelReady(exchange: HttpExchange, context: ProtocolContext): void {
  routed(exchange, context);
  respondEmpty(exchange, true);
}

function loadModel(exchange: HttpExchange, context: ProtocolContext): void {
  const { parameters } = (exchange.body.length > 0 ? parseSmallJson(exchange.body) : {}) as { parameters?: unknown };
  if (parameters !== undefined && (typeof parameters !== 'object' || parameters === null))
    throw invalidArgument('parameters: expected an object');
  const hasParameters = parameters !== undefined && Object.keys(parameters).length > 0;
  respondWhenDone(exchange, context, context.repository.load(exchange.params.at(-1)!, hasParameters));
}

/** `unload_dependents` is about ensembles, of which there are none. */
function unloadModel(exchange: HttpExchange, context: ProtocolContext): void {
  respondWhenDone(exchange, context, context.repository.unload(exchange.params.at(-1)!));
}

function respondWhenDone(exchange: HttpExchange, context: ProtocolContext, done: Promise<void>): void {
  done
    .then(() => respondEmpty(exchange, true))
    .catch((error: unknown) => {
      context.reportFault(error);
      respondError(exchange, InferenceError.from(error));
    });
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
