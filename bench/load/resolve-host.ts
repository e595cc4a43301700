import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { InferenceError } from '../../proto/inference-error.ts';

export interface HostAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** The address itself, when `host` is one; brackets around IPv6 may stay. */
export function literalAddress(host: string): HostAddress | null {
  const address = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  const family = isIP(address);
  return family === 0 ? null : { address, family: family as 4 | 6 };
}

const LOOPBACK: readonly HostAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

/** Names that were looked up. They are kept while they are good for something: a thousand connections to a server ask once. */
export class NameTable {
  readonly #found: Map<string, readonly HostAddress[]> = new Map();

  /** Addresses of a host in the order in which they are to be tried; null: `lookUp` must be asked. */
  known(host: string): readonly HostAddress[] | null {
    const literal = literalAddress(host);
    return literal === null ? (this.#found.get(host) ?? null) : [literal];
  }

  /** Rejects with UNAVAILABLE. */
  async lookUp(host: string): Promise<readonly HostAddress[]> {
    let found: readonly HostAddress[];
    try {
      found = (await lookup(host, { all: true, verbatim: true })) as HostAddress[];
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
      throw new InferenceError('UNAVAILABLE', `the name '${host}' has no address (${code}); give the server's address, or check the name`, {
        cause,
      });
    }
    // Both families whatever the machine's table of hosts has: a server that listens on ::1 alone is on localhost too.
    if (host === 'localhost') found = [...found, ...LOOPBACK.filter(({ address }) => found.every((one) => one.address !== address))];
    this.#found.set(host, found);
    return found;
  }

  /** Tries one of its addresses after the other; rejects with the first one's error when none answers. */
  async connect<T>(host: string, addresses: readonly HostAddress[], connect: (address: HostAddress) => Promise<T>): Promise<T> {
    let failure: unknown;
    for (const address of addresses) {
      try {
        return await connect(address);
      } catch (error) {
        failure ??= error;
      }
    }
    this.#found.delete(host);
    throw failure;
  }
}

/** `127.0.0.1:8000`, `[::1]:8000`. */
export function addressText(host: string, port: number): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Why nothing answers at `where`, and what to do about it. `reason` begins with a code such as ECONNREFUSED, or is a text. */
export function cannotConnect(where: string, reason: string, cause?: unknown): InferenceError {
  const advice = ADVICE.find(([code]) => reason.includes(code))?.[1] ?? 'is the address right?';
  const code = reason.includes('EMFILE') ? 'RESOURCE_EXHAUSTED' : 'UNAVAILABLE';
  return new InferenceError(code, `cannot connect to ${where}: ${reason}; ${advice}`, cause === undefined ? {} : { cause });
}

const ADVICE: readonly (readonly [code: string, advice: string])[] = [
  ['ECONNREFUSED', 'no server listens there: is it started, and is this its port?'],
  ['EMFILE', 'this process may open no more files: raise the limit (ulimit -n), or use fewer connections'],
  ['EADDRNOTAVAIL', 'no local port is free: use fewer connections, or wait a minute for closed ones to be forgotten'],
  ['no answer', 'a firewall may drop the packets'],
];
