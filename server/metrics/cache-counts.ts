/** The response cache as a whole, for the metrics page. What models make of it is in their own series. */
export interface CacheCounts {
  readonly usedBytes: number;
  readonly entryCount: number;
  readonly evictedCount: number;
  readonly tooLargeCount: number;
  readonly failedCount: number;
}

const families: readonly (readonly [string, string, string, (counts: CacheCounts) => number])[] = [
  ['nereid_response_cache_used_bytes', 'gauge', 'Memory of the response cache in this process.', (counts) => counts.usedBytes],
  ['nereid_response_cache_entries', 'gauge', 'Responses in the response cache of this process.', (counts) => counts.entryCount],
  ['nereid_response_cache_evictions_total', 'counter', 'Responses that made room for others.', (counts) => counts.evictedCount],
  [
    'nereid_response_cache_too_large_total',
    'counter',
    'Responses not kept, each larger than may be kept.',
    (counts) => counts.tooLargeCount,
  ],
  [
    'nereid_response_cache_failures_total',
    'counter',
    'Lookups and insertions that failed (no connection, no answer in time, an answer that is none): misses all.',
    (counts) => counts.failedCount,
  ],
];

export function writeCacheCounts(lines: string[], counts: CacheCounts): void {
  for (const [name, type, help, read] of families)
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name} ${read(counts)}`);
}
