import { invalidArgument } from '../../../proto/inference-error.ts';
import { readTextFile, type TextFileRules } from './read-text-file.ts';

/** Bytes of a label file. A million classes of ten letters fit. */
export const MAX_LABEL_FILE_BYTES: number = 16 * 1024 * 1024;
/** Each is an object in memory, however short. */
export const MAX_LABELS: number = 2 * 1024 * 1024;

/** The labels of a file, one a line. Rejects as {@link readTextFile}, and with INVALID_ARGUMENT when there are too many. */
export async function readLabels(path: string, rules: Omit<TextFileRules, 'maxBytes'>): Promise<string[]> {
  const labels: string[] = [];
  let rest = '';
  for await (const piece of readTextFile(path, { ...rules, maxBytes: MAX_LABEL_FILE_BYTES })) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop()!;
    for (const line of lines) labels.push(withoutReturn(line));
    if (labels.length > MAX_LABELS) throw invalidArgument(`${rules.what}: expected at most ${MAX_LABELS} lines, one for each class`);
  }
  if (rest !== '') labels.push(withoutReturn(rest));
  return labels;
}

/** A line as Windows ends it. */
function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
