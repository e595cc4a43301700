/** @hotpath finds the route of each request: one map look-up for a path seen before, a walk over the segments for a new one. */

import type { HttpMethod, HttpRoute } from './http-exchange.ts';

/** A longer path is answered with 414; no route of any protocol comes near. */
export const MAX_PATH_CHARS = 2048;
/** Matches kept; paths hold model names, which are the caller's to choose, so there must be a bound. */
const MAX_CACHED_PATHS = 1024;
/** Longer paths are matched afresh each time rather than kept. */
const MAX_CACHED_PATH_CHARS = 256;

const NO_PARAMS: readonly string[] = Object.freeze([]);

/** What a path leads to, whatever the method: shared by all requests for it. */
export interface PathMatch {
  /** 0: there are routes. Otherwise the status to refuse with: 400 (percent sequences), 404, 414. */
  readonly refusal: 0 | 400 | 404 | 414;
  readonly endpoint: HttpEndpoint | null;
  readonly params: readonly string[];
}

/** The routes of one pattern. */
export class HttpEndpoint {
  readonly pattern: string;
  /** The methods served, for the Allow header; OPTIONS always, HEAD wherever GET is. */
  allow = '';
  /** The request headers that a page of another site may send: those that some route reads. */
  requestHeaders = '';
  readonly #routes = new Map<string, HttpRoute>();

  constructor(pattern: string) {
    this.pattern = pattern;
  }

  /** @throws Error when the method has a route already. */
  add(route: HttpRoute): void {
    if (this.#routes.has(route.method)) throw new Error(`two routes for ${route.method} ${route.pattern}`);
    this.#routes.set(route.method, route);
    const methods = new Set<string>(this.#routes.keys());
    if (methods.has('GET')) methods.add('HEAD');
    methods.add('OPTIONS');
    this.allow = [...methods].sort().join(', ');
    const routes = [...this.#routes.values()];
    const headers = new Set(['content-type', ...routes.flatMap(({ requestHeaders }) => requestHeaders)]);
    if (routes.some(({ allowContentCoding }) => allowContentCoding)) headers.add('content-encoding');
    this.requestHeaders = [...headers].sort().join(', ');
  }

  /** The route for a method, a GET route for HEAD when there is no other; undefined: 405, or for OPTIONS a 204. */
  route(method: string): HttpRoute | undefined {
    const route = this.#routes.get(method);
    return route === undefined && method === 'HEAD' ? this.#routes.get('GET') : route;
  }
}

/** Whether it is one of the methods a route can have. */
export function isHttpMethod(method: string): method is HttpMethod {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'POST':
    case 'PUT':
    case 'DELETE':
    case 'OPTIONS':
    case 'PATCH':
      return true;
    default:
      return false;
  }
}

class SegmentNode {
  readonly literals = new Map<string, SegmentNode>();
  digits: SegmentNode | null = null;
  any: SegmentNode | null = null;
  endpoint: HttpEndpoint | null = null;
}

/**
 * Where patterns overlap, a literal segment wins over digits and digits win over any, from the left: `/v2/models/stats` is never the model "stats",
 * whatever the order of the routes. The pattern is chosen by the path alone, then the method decides between a route and 405.
 */
export class HttpRouter {
  /** One for each pattern. */
  readonly endpoints: HttpEndpoint[] = [];
  readonly #root: SegmentNode = new SegmentNode();
  /** Two generations: when the young one is full it becomes the old one and the old one is dropped, so no entry needs a use count. */
  #young = new Map<string, PathMatch>();
  #old = new Map<string, PathMatch>();

  /** @throws Error for a pattern that is not one and for two routes of one method and shape. */
  constructor(routes: readonly HttpRoute[]) {
    for (const route of routes) this.#add(route);
  }

  /** `path` is as it was sent, without the query. */
  match(path: string): PathMatch {
    const young = this.#young.get(path);
    if (young !== undefined) return young;
    const old = this.#old.get(path);
    const match = old === undefined ? this.#walk(path) : old;
    if (path.length <= MAX_CACHED_PATH_CHARS) {
      if (this.#young.size >= MAX_CACHED_PATHS / 2) {
        this.#old = this.#young;
        this.#young = new Map();
      }
      this.#young.set(path, match);
    }
    return match;
  }

  /** Matches kept now. */
  get cachedPaths(): number {
    return this.#young.size + this.#old.size;
  }

  #add(route: HttpRoute): void {
    if (!route.pattern.startsWith('/')) throw new Error(`a route's pattern must start with '/': ${route.pattern}`);
    let node = this.#root;
    for (const segment of route.pattern.slice(1).split('/')) {
      if (/^\{\w+:digits\}$/.test(segment)) {
        node.digits ??= new SegmentNode();
        node = node.digits;
      } else if (/^\{\w+\}$/.test(segment)) {
        node.any ??= new SegmentNode();
        node = node.any;
      } else {
        if (/[{}]/.test(segment)) throw new Error(`not a pattern segment: '${segment}' of ${route.pattern}; use {name} or {name:digits}`);
        let next = node.literals.get(segment);
        if (next === undefined) {
          next = new SegmentNode();
          node.literals.set(segment, next);
        }
        node = next;
      }
    }
    if (node.endpoint === null) {
      node.endpoint = new HttpEndpoint(route.pattern);
      this.endpoints.push(node.endpoint);
    }
    node.endpoint.add(route);
  }

  #walk(path: string): PathMatch {
    if (path.length > MAX_PATH_CHARS) return { refusal: 414, endpoint: null, params: NO_PARAMS };
    // What is not visible ASCII has no place in a request target; it must be percent-encoded.
    if (path.charCodeAt(0) !== 47 || /[^\x21-\x7e]/.test(path)) return { refusal: 400, endpoint: null, params: NO_PARAMS };
    const raw: string[] = [];
    const endpoint = find(this.#root, path.slice(1).split('/'), 0, raw);
    if (endpoint === null) return { refusal: 404, endpoint: null, params: NO_PARAMS };
    const params: string[] = [];
    for (const segment of raw) {
      try {
        params.push(decodeURIComponent(segment));
      } catch {
        return { refusal: 400, endpoint: null, params: NO_PARAMS };
      }
    }
    return { refusal: 0, endpoint, params: params.length === 0 ? NO_PARAMS : Object.freeze(params) };
  }
}

/** Depth is the number of segments of the longest pattern, not of the path: a path that outgrows the patterns ends the walk. */
function find(node: SegmentNode, segments: readonly string[], index: number, params: string[]): HttpEndpoint | null {
  if (index === segments.length) return node.endpoint;
  const segment = segments[index]!;
  const literal = node.literals.get(segment);
  if (literal !== undefined) {
    const found = find(literal, segments, index + 1, params);
    if (found !== null) return found;
  }
  if (segment === '') return null;
  for (const next of [node.digits !== null && /^[0-9]+$/.test(segment) ? node.digits : null, node.any]) {
    if (next === null) continue;
    params.push(segment);
    const found = find(next, segments, index + 1, params);
    if (found !== null) return found;
    params.pop();
  }
  return null;
}
