import type { OptionTable } from './option-declaration.ts';
import { choiceKind, expected, listKind } from './option-kind.ts';

/** So much of a resource there is: on each device, or, where `device` is given, on that one. */
export interface RateLimitResource {
  readonly name: string;
  readonly count: number;
  /** Null: each device, or the server where the resource is global. */
  readonly device: number | null;
}

export interface RateLimitOptions {
  readonly rateLimit: 'off' | 'execution_count';
  readonly rateLimitResource: readonly RateLimitResource[];
}

export const rateLimitOptions: OptionTable<RateLimitOptions> = {
  rateLimit: {
    flag: 'rate-limit',
    group: 'Execution',
    kind: choiceKind('off', 'execution_count'),
    default: 'off',
    doc: 'execution_count: an instance runs only while the resources that its rate_limiter names are free, and of those that wait the one with the fewest executions times its priority is next. off: rate_limiter has no effect.',
  },
  rateLimitResource: {
    flag: 'rate-limit-resource',
    group: 'Execution',
    kind: listKind<readonly RateLimitResource[]>('NAME:COUNT[:DEVICE]', (texts) => texts.map(parseResource)),
    default: [],
    doc: 'How much there is of a resource of the rate limiter. Without it: as much as the instance takes that takes most. Names are case-sensitive. May be given several times.',
  },
};

function parseResource(text: string): RateLimitResource {
  const match = /^([^:]+):(\d{1,9})(?::(\d{1,4}))?$/.exec(text);
  if (match === null) throw expected('NAME:COUNT or NAME:COUNT:DEVICE', text);
  return { name: match[1]!, count: Number(match[2]), device: match[3] === undefined ? null : Number(match[3]) };
}
