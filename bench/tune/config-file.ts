import { execFile } from 'node:child_process';
import { lstat, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { editPbtxt } from './edit-pbtxt.ts';
import { editYaml } from './edit-yaml.ts';
import { type FieldEdit, withEdits } from './knob-edits.ts';
import type { ConfigDocument } from './knobs.ts';
import { serverEntry } from './server-entry.ts';

export type ConfigFormat = 'pbtxt' | 'json' | 'yaml';

/** What the author of a model wrote of its configuration. */
export interface ConfigFile {
  /** Where it is; where there is none, where it would be. */
  readonly path: string;
  readonly format: ConfigFormat;
  readonly exists: boolean;
  readonly text: string;
  readonly document: ConfigDocument;
}

const FORMATS: Readonly<Record<string, ConfigFormat>> = {
  'config.pbtxt': 'pbtxt',
  'config.json': 'json',
  'config.yaml': 'yaml',
  'config.yml': 'yaml',
};
const run = promisify(execFile);
const MAX_OUTPUT_BYTES = 16 * 2 ** 20;

/** `directory`: the model's. Throws InferenceError when there are several, or the one is no configuration. */
export async function readConfigFile(directory: string): Promise<ConfigFile> {
  const found = (await readdir(directory)).filter((name) => Object.hasOwn(FORMATS, name));
  const [name] = found;
  if (name === undefined) return { path: join(directory, 'config.yaml'), format: 'yaml', exists: false, text: '', document: {} };
  if (found.length > 1) throw invalidArgument(`${directory} has ${found.join(' and ')}; remove one`);
  const path = join(directory, name);
  const format = FORMATS[name]!;
  return { path, format, exists: true, text: await readFile(path, 'utf8'), document: await documentOf(path, format) };
}

/**
 * The file's text with the edits made. null: it is written in a way that cannot be edited without losing something. What comes back was read again by the server's own reader, and says what
 * was said before but for the edits.
 */
export async function editConfigText(file: ConfigFile, edits: readonly FieldEdit[]): Promise<string | null> {
  let text: string | null = file.text;
  for (const edit of edits) {
    if (text === null) return null;
    text = file.format === 'pbtxt' ? editPbtxt(text, edit) : editYaml(text, edit, file.format === 'json');
  }
  return text !== null && (await says(text, file.format, withEdits(file.document, edits))) ? text : null;
}

/** In one step: a server that looks meanwhile finds the old file or the new one. Throws InferenceError when the file is not the one that was read any more. */
export async function writeConfigFile(file: ConfigFile, text: string): Promise<void> {
  if (file.exists) {
    if ((await lstat(file.path)).isSymbolicLink()) {
      throw invalidArgument(`${file.path} is a link, which a new file would take the place of; make the change where it leads`);
    }
    if ((await readFile(file.path, 'utf8')) !== file.text) {
      throw new InferenceError('UNAVAILABLE', `${file.path} has changed since it was measured; it was not written`);
    }
  }
  const temporary = `${join(file.path, '..', '.config.nereid-tune.tmp')}`;
  try {
    await writeFile(temporary, text, { flag: 'wx' });
    await rename(temporary, file.path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(temporary, { force: true });
    throw error;
  }
}

async function says(text: string, format: ConfigFormat, expected: ConfigDocument): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'nereid-tune-'));
  try {
    const path = join(directory, `config.${format}`);
    await writeFile(path, text);
    return isDeepStrictEqual(asJson(await documentOf(path, format)), asJson(expected));
  } catch (error) {
    if (error instanceof InferenceError) return false;
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Names in the order of the alphabet, and numbers of 64 bits as proto JSON has them, as text. */
function asJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, asJson(member)]));
}

/** Read by `nereid convert`: what the server would read, whatever the form. */
async function documentOf(path: string, format: ConfigFormat): Promise<ConfigDocument> {
  try {
    const args = [serverEntry(), 'convert', path, '--to', 'json'];
    const { stdout } = await run(process.execPath, args, { maxBuffer: MAX_OUTPUT_BYTES });
    return JSON.parse(stdout) as ConfigDocument;
  } catch (error) {
    const text = (error as { stderr?: string }).stderr;
    if (text === undefined) throw error;
    throw invalidArgument(`${path} is no ${format} configuration: ${text.trim()}`);
  }
}
