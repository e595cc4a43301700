import { serverOptions } from './index.ts';
import type { OptionDeclaration } from './option-declaration.ts';
import { environmentNameOf, isDerived } from './parse-options.ts';

const WIDTH = 100;
const DOC_COLUMN = 8;

const declarations: readonly OptionDeclaration<unknown>[] = Object.values(serverOptions) as never;

/** `--help` of `nereid serve`: at most 100 columns. */
export function serveHelp(): string {
  const lines = [
    'Usage: nereid serve --model-repository DIR [OPTION]...',
    '       nereid serve MODEL.onnx|MODEL.gguf... [OPTION]...',
    '       nereid check DIR               what is wrong with a repository, without serving it',
    '       nereid convert FILE            a configuration as pbtxt, JSON or YAML',
    '       nereid models | load MODEL | unload MODEL | rollback MODEL   of a running server',
    '       nereid bench MODEL             how fast a running server is, with plots',
    '       nereid tune MODEL              the configuration that serves a model best here',
    '       nereid client types MODEL      TypeScript types of a model',
    'Each command has a --help of its own.',
    '',
    ...wrap(
      'Serves the models over the Open Inference Protocol, and language models (GGUF files) over the API of OpenAI too: /v1/chat/completions and its like. Every option can be given as a flag, in the environment, or in a configuration file; ' +
        'the first of these that has it wins. In the environment, elements of a list are divided by semicolons.',
      0,
    ),
  ];
  for (const [group, members] of groups()) {
    lines.push('', `${group}:`);
    for (const declaration of members) {
      lines.push(
        `  --${declaration.flag} ${declaration.kind.placeholder}`,
        ...wrap(`${declaration.doc} ${notes(declaration)}`, DOC_COLUMN),
      );
    }
  }
  lines.push('', '  --help', ...wrap('This text.', DOC_COLUMN), '  --version', ...wrap('The version.', DOC_COLUMN));
  lines.push(
    '',
    'Signals: SIGTERM and SIGINT finish what was accepted, then end; a second one ends at once.',
    'Exit status: 0 ended as asked; 1 bad usage, failed start or requests cut off; 70 a fault.',
  );
  return `${lines.join('\n')}\n`;
}

/** The options as a Markdown table for each group, for docs/configuration.md. */
export function optionTables(): string {
  const parts: string[] = [];
  for (const [group, members] of groups()) {
    parts.push(`### ${group}\n`, '| flag | value | default | environment | what it does |', '|---|---|---|---|---|');
    for (const declaration of members) {
      const { flag, kind, doc, aliases = [] } = declaration;
      const spellings = [flag, ...aliases].map((spelling) => `\`--${spelling}\``).join(', ');
      const fallback = shownDefault(declaration);
      const cells = [spellings, `\`${kind.placeholder}\``, fallback, `\`${environmentNameOf(flag)}\``, doc];
      parts.push(`| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`);
    }
    parts.push('');
  }
  return parts.join('\n');
}

function groups(): Map<string, OptionDeclaration<unknown>[]> {
  const byGroup = new Map<string, OptionDeclaration<unknown>[]>();
  for (const declaration of declarations) {
    const members = byGroup.get(declaration.group);
    if (members === undefined) byGroup.set(declaration.group, [declaration]);
    else members.push(declaration);
  }
  return byGroup;
}

function shownDefault({ kind, default: value }: OptionDeclaration<unknown>): string {
  return isDerived(value) ? value.text : kind.show(value);
}

function notes(declaration: OptionDeclaration<unknown>): string {
  const fallback = shownDefault(declaration);
  const facts = [
    ...(fallback === '' ? [] : [`default ${fallback}`]),
    environmentNameOf(declaration.flag),
    ...(declaration.aliases ?? []).map((alias) => `also --${alias}`),
  ];
  return `[${facts.join('; ')}]`;
}

function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(' '.repeat(indent) + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(' '.repeat(indent) + line);
  return lines;
}
