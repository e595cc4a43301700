import type { Stats } from 'node:fs';

/** What stands where a file should, in words. */
export function describeEntry(entry: Pick<Stats, 'isDirectory' | 'isFIFO' | 'isSocket' | 'isFile'>): string {
  if (entry.isDirectory()) return 'a directory';
  if (entry.isFIFO()) return 'a pipe';
  if (entry.isSocket()) return 'a socket';
  return entry.isFile() ? 'another file' : 'a device';
}
