import { readFile } from 'node:fs/promises';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { type BenchReport, REPORT_FORMAT } from './bench-report.ts';
import { reportShape } from './report-shape.ts';

/** Reads what `nereid bench --json` wrote. Rejects with an InferenceError that names the file and the field, or with the operating system's error. */
export async function readJson(file: string): Promise<BenchReport> {
  return parseReport(await readFile(file, 'utf8'), file);
}

/** `source` names the text in errors. Fields that are not known are left out. Throws InferenceError. */
export function parseReport(text: string, source: string): BenchReport {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`${source}: expected JSON as nereid bench --json writes it: ${(error as Error).message}`);
  }
  checkFormat(value, source);
  return reportShape(value, source, '');
}

function checkFormat(value: unknown, source: string): void {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const format = isObject ? (value as Record<string, unknown>)['format'] : undefined;
  if (format === REPORT_FORMAT) return;
  if (typeof format === 'string' && format.startsWith('nereid-bench/')) {
    throw invalidArgument(
      `${source}: format: expected '${REPORT_FORMAT}', got '${format}': another version of nereid wrote it; measure again with this one`,
    );
  }
  const near = isObject && format === undefined ? didYouMean('format', Object.keys(value as object)) : '';
  throw invalidArgument(
    `${source}: format: expected '${REPORT_FORMAT}', got ${format === undefined ? 'nothing' : JSON.stringify(format)}${near}; nereid bench MODEL --json FILE writes such a file`,
  );
}
