import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { optionTables } from './options-help.ts';
import { tritonserverFlags } from './tritonserver-flags.ts';

const begin = '<!-- options: begin; written by `node dist/server/options-doc.js docs/configuration.md` -->';
const end = '<!-- options: end -->';

/** `page` with everything between its two marks written anew from the declarations. Throws when the marks are not there. */
export function updateOptionsPage(page: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page lacks its marks: ${begin} and ${end}`);
  return `${page.slice(0, from + begin.length)}\n\n${optionTables()}\n${foreignTable()}\n${page.slice(to)}`;
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

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = process.argv[2];
  if (path === undefined) {
    process.stderr.write('usage: node dist/server/options-doc.js PAGE.md\n');
    process.exitCode = 1;
  } else {
    writeFileSync(path, updateOptionsPage(readFileSync(path, 'utf8')));
  }
}
