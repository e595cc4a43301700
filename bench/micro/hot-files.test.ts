import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SUFFIX = '.bench.ts';
const TAG = '@hotpath';
const FIRST_LINE = /^\/\*\* @hotpath \S.* \*\/$/;
const MEASURED_BY = / \(measured by ([a-z0-9-]+\.bench\.ts)\) \*\/$/;

interface HotFile {
  readonly path: string;
  readonly firstLine: string;
  /** The benchmark that its tag names; null: its own. */
  readonly measuredBy: string | null;
}

const benchmarks = new Set(readdirSync(join(ROOT, 'bench/micro')).filter((name) => name.endsWith(SUFFIX)));
const hotFiles: readonly HotFile[] = ['proto', 'backends', 'server', 'bench/load', 'bench/wire']
  .flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)))
  .filter((path) => path.endsWith('.ts'))
  .flatMap((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    if (!text.includes(TAG)) return [];
    const firstLine = text.slice(0, text.indexOf('\n'));
    return [{ path, firstLine, measuredBy: MEASURED_BY.exec(firstLine)?.[1] ?? null }];
  });

function ownBenchmark({ path }: HotFile): string {
  return basename(path).replace(/\.ts$/, SUFFIX);
}

describe('benchmarks of the hot files', () => {
  it('finds both', () => {
    expect(hotFiles.length).toBeGreaterThan(50);
    expect(benchmarks.size).toBeGreaterThan(20);
  });

  it.each(hotFiles)('$path is measured', (file) => {
    expect(file.firstLine, 'the tag is the first line and says what happens per request').toMatch(FIRST_LINE);
    const own = ownBenchmark(file);
    if (file.measuredBy === null) {
      expect(benchmarks, `bench/micro/${own}, or '(measured by <name>${SUFFIX})' at the end of the tag`).toContain(own);
    } else {
      expect(benchmarks, 'the benchmark that the tag names').toContain(file.measuredBy);
      expect(benchmarks, 'a file with a benchmark of its own names no other').not.toContain(own);
    }
  });

  it('every benchmark has its hot file', () => {
    const owned = new Set(hotFiles.map(ownBenchmark));
    expect([...benchmarks].filter((name) => !owned.has(name))).toEqual([]);
  });

  it('no two hot files share a base name', () => {
    const names = hotFiles.filter(({ measuredBy }) => measuredBy === null).map(ownBenchmark);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });
});
