import { encodeModelConfig } from '../../model-config/encode-model-config.ts';
import type { Model } from '../../repository/model.ts';
import type { HttpExchange, HttpMethod, HttpRoute } from '../../transports/http-exchange.ts';
import { describeModel, describeServer, describeStatistics } from '../describe-model.ts';
import { type Missing, noSharedMemoryRegion, notYet } from '../not-yet.ts';
import type { ProtocolContext } from '../protocol.ts';
import { repositoryRoutes } from './repository-control.ts';
import { type ControlHandler, controlRouteMaker, type MakeControlRoute, respondEmpty, respondJson } from './respond-control.ts';

/** Health, metadata, configuration, statistics, repository: everything of the REST protocol that is not inference. */
export function controlRoutes(context: ProtocolContext): HttpRoute[] {
  const route = controlRouteMaker(context);
  const both = (method: HttpMethod, tail: string, handler: ControlHandler): HttpRoute[] => [
    route(method, `/v2/models/{model}${tail}`, handler),
    route(method, `/v2/models/{model}/versions/{version}${tail}`, handler),
  ];
  return [
    route('GET', '/v2', (exchange) => respondJson(exchange, describeServer(context))),
    route('GET', '/v2/health/live', (exchange) => respondEmpty(exchange, context.isLive())),
    route('GET', '/v2/health/ready', (exchange) => respondEmpty(exchange, context.isReady())),
    route('GET', '/v2/models/stats', (exchange) => respondJson(exchange, describeStatistics(context, '', ''))),
    ...both('GET', '', (exchange) => respondModel(exchange, context, (model) => describeModel(context, model, exchange.params[1] ?? ''))),
    ...both('GET', '/ready', modelReady),
    ...both('GET', '/config', (exchange) => respondModel(exchange, context, ({ config }) => encodeModelConfig(config))),
    ...both('GET', '/stats', (exchange) =>
      respondJson(exchange, describeStatistics(context, exchange.params[0]!, exchange.params[1] ?? '')),
    ),
    ...repositoryRoutes(route),
    ...refusals(route),
  ];
}

/** What this server does not do. Lists of shared memory regions are answered, since that they are empty is true. */
function refusals(route: MakeControlRoute): HttpRoute[] {
  const refuse =
    (what: Missing): ControlHandler =>
    () => {
      throw notYet(what);
    };
  const routes: HttpRoute[] = [];
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

/** Says something about a model, which is loaded first where models are loaded on demand. */
function respondModel(exchange: HttpExchange, context: ProtocolContext, describe: (model: Model) => object): void | Promise<void> {
  const routed = context.door.route(exchange.params[0]!, exchange.params[1] ?? '');
  if (!(routed instanceof Promise)) return respondJson(exchange, describe(routed));
  exchange.abortListener = { onExchangeAborted: () => routed.cancel() };
  return routed.then((model) => respondJson(exchange, describe(model)));
}

function modelReady(exchange: HttpExchange, context: ProtocolContext): void {
  context.repository.requireReady(exchange.params[0]!, exchange.params[1] ?? '');
  respondEmpty(exchange, true);
}
