import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { optionTables } from './options-help.ts';
import { tritonserverFlags } from './tritonserver-flags.ts';

const begin = '<!-- options: begin; written by `node dist/server/options/options-doc.js docs/configuration.md` -->';
const end = '<!-- options: end -->';

/** `page` with everything between its two marks written anew from the declarations. */
export function updateOptionsPage(page: string): string {
  return replaceBetween(page, begin, end, `${optionTables()}\n${foreignTable()}`);
}

/** `page` with `text` between two marks. Throws when the marks are not there. */
export function replaceBetween(page: string, begin: string, end: string, text: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page lacks its marks: ${begin} and ${end}`);
  return `${page.slice(0, from + begin.length)}\n\n${text}\n${page.slice(to)}`;
}

/** `node dist/... PAGE.md`: rewrites the page in place. */
export function rewritePage(update: (page: string) => string): void {
  const path = process.argv[2];
  if (path === undefined) {
    process.stderr.write('usage: node dist/server/.../<name>-doc.js PAGE.md\n');
    process.exitCode = 1;
  } else {
    writeFileSync(path, update(readFileSync(path, 'utf8')));
  }
}

function foreignTable(): string {
  const rows = Object.entries(tritonserverFlags).map(([flag, { effect, reason, neutral = [] }]) => {
    const accepted = neutral.map((value) => `\`${value}\``).join(', ');
    return `| \`--${flag}\` | ${effect === 'refused' ? 'refused' : 'accepted with a warning'} | ${accepted} | ${reason} |`;
  });
  const head = [
    '### Flags of tritonserver that are not options here',
    '',
    '| flag | what happens | accepted quietly | why |',
    '|---|---|---|---|',
  ];
  return `${[...head, ...rows].join('\n')}\n`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) rewritePage(updateOptionsPage);
