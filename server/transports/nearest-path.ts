import { nearestName } from '../../proto/nearest-name.ts';
import type { HttpEndpoint } from './http-router.ts';

/**
 * The path that a wrong one most likely meant, or undefined: another one without the slash at its end, one that lacks its beginning (a client's base URL without `/v1`), or one that is
 * misspelt; for '/', where to look first. Parameters of a pattern are taken from `path`. For refusals; a path of more than 80 characters is not compared.
 */
export function nearestPath(path: string, endpoints: readonly HttpEndpoint[]): string | undefined {
  const wanted = path.replace(/\/+$/, '');
  if (wanted.length > 80) return undefined;
  if (wanted === '') return shortestPage(endpoints);
  const segments = wanted.split('/');
  const alike: string[] = [];
  for (const { pattern } of endpoints) {
    const parts = pattern.split('/');
    if (parts.length === segments.length + 1 && pattern.endsWith(wanted)) return pattern;
    if (parts.length !== segments.length) continue;
    const meant = parts.map((part, at) => filled(part, segments[at]!));
    if (meant.every((part, at) => part === segments[at] || nearestName(segments[at]!, [part]) !== undefined)) alike.push(meant.join('/'));
  }
  return alike.includes(wanted) ? wanted : nearestName(wanted, alike);
}

/** Of those that a browser can open. */
function shortestPage(endpoints: readonly HttpEndpoint[]): string | undefined {
  let shortest: string | undefined;
  for (const endpoint of endpoints) {
    const { pattern } = endpoint;
    if (endpoint.route('GET') !== undefined && (shortest === undefined || pattern.length < shortest.length)) shortest = pattern;
  }
  return shortest;
}

function filled(part: string, given: string): string {
  if (!part.startsWith('{') || given === '') return part;
  return part.endsWith(':digits}') && !/^[0-9]+$/.test(given) ? part : given;
}
