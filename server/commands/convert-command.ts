import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { Lexer } from 'yaml';
import { invalidArgument } from '../../proto/inference-error.ts';
import { CONFIG_FILE_FORMATS, type ConfigFormat, MAX_CONFIG_BYTES, parseConfigDocument } from '../model-config/parse-model-config.ts';
import { scanTextFormat } from '../model-config/scan-text-format.ts';
import { writeConfigDocument } from '../model-config/write-config-document.ts';
import { CommandLineError, EXIT_OK, onlyArgument, runCommand } from './run-command.ts';

const formats: readonly ConfigFormat[] = ['pbtxt', 'json', 'yaml'];
const formatOfEnding: Readonly<Record<string, ConfigFormat>> = { '.pbtxt': 'pbtxt', '.json': 'json', '.yaml': 'yaml', '.yml': 'yaml' };

const usage = `nereid convert FILE|DIR [--to pbtxt|json|yaml] [--output FILE | --in-place]

Writes a model configuration in another of its three forms. What is written in it survives, and nothing is added; comments are lost.

  FILE             a configuration: *.pbtxt, *.json, *.yaml or *.yml
  DIR              a model's directory: its one config.* file
  --to FORMAT      pbtxt, json or yaml (default: what --output ends in, otherwise yaml, and pbtxt from yaml)
  --output FILE    a new file; one that exists is not overwritten (default: standard output)
  --in-place       config.FORMAT beside the old file, which is then removed
`;

/** `argv`: what follows `nereid convert`. Returns the exit status: 1 when a file is at fault, 2 for wrong arguments. */
export function convertCommand(argv: readonly string[]): Promise<number> {
  const options = { to: { type: 'string' }, output: { type: 'string' }, 'in-place': { type: 'boolean' } } as const;
  return runCommand({ name: 'convert', usage, options }, argv, async ({ values, positionals }) => {
    const { to, output, 'in-place': isInPlace } = values;
    if (isInPlace && output !== undefined) throw new CommandLineError('--output and --in-place exclude each other; keep one');
    const path = await configFile(onlyArgument(positionals, 'FILE or DIR'));
    const from = formatOfEnding[extname(path).toLowerCase()];
    if (from === undefined) throw new CommandLineError(`expected a file that ends in .pbtxt, .json, .yaml or .yml, got '${path}'`);
    const target = chooseFormat(to, output, from);
    if ((await stat(path)).size > MAX_CONFIG_BYTES)
      throw invalidArgument(`${path}: expected at most ${MAX_CONFIG_BYTES} bytes of configuration`);
    const text = await readFile(path, 'utf8');
    const converted = writeConfigDocument(parseConfigDocument(text, from, path), target);
    if (isInPlace) {
      await replace(path, join(dirname(path), `${basename(path, extname(path))}.${target}`), converted, from === target);
    } else if (output !== undefined) await writeNew(output, converted);
    else process.stdout.write(converted);
    if (hasComments(text, from)) process.stderr.write(`nereid convert: the comments of ${path} are not in the result\n`);
    return EXIT_OK;
  });
}

async function configFile(path: string): Promise<string> {
  if (!(await stat(path)).isDirectory()) return path;
  const found = (await readdir(path)).filter((name) => Object.hasOwn(CONFIG_FILE_FORMATS, name));
  if (found.length === 1) return join(path, found[0]!);
  const names = Object.keys(CONFIG_FILE_FORMATS).join(', ');
  throw invalidArgument(
    found.length === 0 ? `no configuration in ${path}: expected ${names}` : `${path} has ${found.join(' and ')}; say which, or remove one`,
  );
}

function chooseFormat(to: string | undefined, output: string | undefined, from: ConfigFormat): ConfigFormat {
  const format = formats.find((one) => one === to);
  if (to !== undefined && format === undefined) throw new CommandLineError(`--to: expected one of ${formats.join(', ')}, got '${to}'`);
  return format ?? formatOfEnding[extname(output ?? '').toLowerCase()] ?? (from === 'yaml' ? 'pbtxt' : 'yaml');
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw invalidArgument(`${path} exists; remove it, or give another name`);
  }
}

/** At no moment is there half a configuration; for an instant there are two, which a server refuses, and keeps what it has. */
async function replace(path: string, target: string, text: string, isSameFormat: boolean): Promise<void> {
  if (isSameFormat) {
    const temporary = join(dirname(path), `.${basename(path)}.tmp`);
    await writeNew(temporary, text);
    await rename(temporary, path);
    return;
  }
  await writeNew(target, text);
  await rm(path);
}

function hasComments(text: string, format: ConfigFormat): boolean {
  if (format === 'pbtxt') return scanTextFormat(text)?.hasComments ?? false;
  if (format === 'json') return false;
  let before = '';
  for (const token of new Lexer().lex(text)) {
    // A scalar follows a control character.
    if (token.startsWith('#') && before !== '\x1f') return true;
    before = token;
  }
  return false;
}
