import { invalidArgument } from '../../../proto/inference-error.ts';
import type { HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import { noRepositoryName, UNLOAD_DEPENDENTS, unknownUnloadParameter } from '../load-request.ts';
import type { ProtocolContext } from '../protocol.ts';
import { decodeLoadRequest } from './decode-load-request.ts';
import { kindOf, type MakeControlRoute, parseSmallJson, respondEmpty, respondJson } from './respond-control.ts';

/**
 * Index, load and unload (model repository extension), and the way back to the version before, which is Nereid's own. A repository's name in the
 * path is passed over by the index, and refused elsewhere (reference section 1.2).
 */
export function repositoryRoutes(route: MakeControlRoute): HttpRoute[] {
  return ['/v2/repository', '/v2/repository/{repository}'].flatMap((prefix) => [
    route('POST', `${prefix}/index`, repositoryIndex),
    route('POST', `${prefix}/models/{model}/load`, loadModel),
    route('POST', `${prefix}/models/{model}/unload`, unloadModel),
    route('POST', `${prefix}/models/{model}/rollback`, rollbackModel),
  ]);
}

function repositoryIndex(exchange: HttpExchange, context: ProtocolContext): void | Promise<void> {
  const { ready } = parseSmallJson(exchange.body);
  if (ready !== undefined && typeof ready !== 'boolean') {
    throw invalidArgument(`Invalid value for 'ready': expected a boolean, got ${kindOf(ready)}`);
  }
  const respond = (): void => respondJson(exchange, context.repository.index(ready === true));
  return context.repository.refresh()?.then(respond) ?? respond();
}

async function loadModel(exchange: HttpExchange, context: ProtocolContext): Promise<void> {
  const parameters = await decodeLoadRequest(exchange.body);
  await context.repository.load(modelName(exchange), parameters);
  respondEmpty(exchange, true);
}

async function unloadModel(exchange: HttpExchange, context: ProtocolContext): Promise<void> {
  await context.repository.unload(modelName(exchange), { unloadDependents: readUnloadDependents(exchange.body) });
  respondEmpty(exchange, true);
}

/** Answers with the versions that serve then. */
async function rollbackModel(exchange: HttpExchange, context: ProtocolContext): Promise<void> {
  const name = modelName(exchange);
  const { versions } = await context.repository.rollback(name);
  respondJson(exchange, { name, versions });
}

function modelName({ params }: HttpExchange): string {
  if (params.length > 1) throw noRepositoryName(params[0]!);
  return params.at(-1)!;
}

/** `{"parameters":{"unload_dependents":bool}}`, of which every part may be missing. */
function readUnloadDependents(body: Uint8Array): boolean {
  const { parameters = {} } = parseSmallJson(body);
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters)) {
    throw invalidArgument(`parameters: expected an object, got ${kindOf(parameters)}`);
  }
  let unloadDependents = false;
  for (const [key, value] of Object.entries(parameters)) {
    if (key !== UNLOAD_DEPENDENTS) throw unknownUnloadParameter(key);
    if (typeof value !== 'boolean') throw invalidArgument(`parameters.${key}: expected a boolean, got ${kindOf(value)}`);
    unloadDependents = value;
  }
  return unloadDependents;
}
