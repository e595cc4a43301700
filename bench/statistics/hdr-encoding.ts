import { createRequire } from 'node:module';
import type { MergedHistogram } from './merged-histogram.ts';

let library: typeof import('hdr-histogram-js') | undefined;

/**
 * HdrHistogram's V2 compressed form, base64: what its plotter and the other languages' libraries read. Three significant digits, microseconds; its buckets are those of the load's
 * own histograms, so nothing is lost. The library is loaded at the first call: not every run has a result to write.
 */
export function encodeHdr({ values, cumulative }: MergedHistogram): string {
  library ??= createRequire(import.meta.url)('hdr-histogram-js') as typeof import('hdr-histogram-js');
  const histogram = library.build({ bitBucketSize: 'packed', numberOfSignificantValueDigits: 3, autoResize: true });
  for (let i = 0; i < values.length; i++) histogram.recordValueWithCount(Math.floor(values[i]!), cumulative[i]! - (cumulative[i - 1] ?? 0));
  return library.encodeIntoCompressedBase64(histogram);
}
