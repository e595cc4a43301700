import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';

/** Addresses of `host` that are this machine's; empty for another machine's, and for a name that has none. */
export async function ownAddresses(host: string): Promise<readonly string[]> {
  let addresses: readonly string[];
  try {
    addresses = (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
  const own = new Set(Object.values(networkInterfaces()).flatMap((some) => (some ?? []).map(({ address }) => address)));
  // All of 127/8 is the loopback interface's, which lists one address.
  return addresses.filter((address) => own.has(address) || address.startsWith('127.') || address === '::1');
}
