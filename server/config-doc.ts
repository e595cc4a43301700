import { pathToFileURL } from 'node:url';
import { configSupport, type SupportLevel } from './model-config/config-support.ts';
import { replaceBetween, rewritePage } from './options/options-doc.ts';

const begin = '<!-- fields: begin; written by `node dist/server/config-doc.js docs/model-configuration.md` -->';
const end = '<!-- fields: end -->';

const effects: Readonly<Record<SupportLevel, string>> = {
  supported: 'acted on',
  ignored: 'ignored, with a warning',
  refused: 'refused: the model is UNAVAILABLE',
};

/** `page` with its table of fields written anew from `config-support.ts`. */
export function updateModelConfigPage(page: string): string {
  const rows = Object.entries(configSupport).map(([field, { level, why, appliesTo }]) => {
    const when = appliesTo === undefined ? '' : ' (certain values)';
    return `| \`${field}\` | ${effects[level]}${when} | ${why ?? ''} |`;
  });
  return replaceBetween(page, begin, end, `${['| field | what happens | why, and what to do |', '|---|---|---|', ...rows].join('\n')}\n`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) rewritePage(updateModelConfigPage);
