const CONTEXT = 2;
/** Beyond it, lines are compared in pairs no more: all of the old go, all of the new come. */
const MAX_CELLS = 4_000_000;

type Line = readonly [mark: ' ' | '-' | '+', text: string];

/** What to change in one text to get the other: `- old`, `+ new`, and two lines around each; '' when they are the same. */
export function lineDifference(before: string, after: string): string {
  const lines = compare(linesOf(before), linesOf(after));
  const isNear = (at: number): boolean => lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(([mark]) => mark !== ' ');
  let text = '';
  let hasGap = false;
  for (const [at, [mark, line]] of lines.entries()) {
    if (isNear(at)) {
      text += `${hasGap && text !== '' ? '  ...\n' : ''}${mark} ${line}\n`;
      hasGap = false;
    } else hasGap = true;
  }
  return text;
}

function linesOf(text: string): string[] {
  const lines = text.split('\n');
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
}

function compare(before: readonly string[], after: readonly string[]): Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < before.length - head && tail < after.length - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const same = (text: string): Line => [' ', text];
  return [
    ...before.slice(0, head).map(same),
    ...compareMiddle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...before.slice(before.length - tail).map(same),
  ];
}

/** By their longest common subsequence. */
function compareMiddle(before: readonly string[], after: readonly string[]): Line[] {
  const width = after.length + 1;
  if ((before.length + 1) * width > MAX_CELLS) {
    return [...before.map((text): Line => ['-', text]), ...after.map((text): Line => ['+', text])];
  }
  // common[i * width + j]: of the lines from i and from j on.
  const common = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i * width + j] =
        before[i] === after[j] ? common[(i + 1) * width + j + 1]! + 1 : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      lines.push([' ', before[i++]!]);
      j++;
    } else if (i < before.length && (j === after.length || common[(i + 1) * width + j]! >= common[i * width + j + 1]!)) {
      lines.push(['-', before[i++]!]);
    } else lines.push(['+', after[j++]!]);
  }
  return lines;
}
