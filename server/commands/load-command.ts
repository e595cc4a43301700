import { readFile, stat } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import type { InferenceClient } from '../../clients/typescript/src/index.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { CONFIG_FILE_FORMATS, parseConfigDocument } from '../model-config/parse-model-config.ts';
import { writeConfigDocument } from '../model-config/write-config-document.ts';
import { CommandLineError, EXIT_OK, onlyArgument, runCommand } from './run-command.ts';
import { urlOption, urlUsage, withServer } from './server-connection.ts';

/** Bytes of all files together; they travel as one JSON text. The server's own limit is lower unless it is told otherwise. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

const usage = `nereid load MODEL [--config FILE] [--file PATH=LOCALFILE]... [--url URL]

Loads a model of the repository in a running server, or loads it again with what changed on disk. The server must run with --model-control-mode explicit.

  --config FILE    a configuration (pbtxt, json or yaml) instead of the one on disk
  --file P=LOCAL   a file to send, such as 1/model.onnx=./new.onnx: with any, the model's directory on disk is left out; needs --config
${urlUsage}`;

/** `argv`: what follows `nereid load`. Returns the exit status. */
export function loadCommand(argv: readonly string[]): Promise<number> {
  const options = { config: { type: 'string' }, file: { type: 'string', multiple: true }, ...urlOption } as const;
  return runCommand({ name: 'load', usage, options }, argv, async ({ values, positionals }) => {
    const model = onlyArgument(positionals, 'MODEL');
    const paths = (values.file ?? []).map(splitFile);
    if (paths.length > 0 && values.config === undefined)
      throw new CommandLineError('--file needs --config: the directory on disk, with its configuration, is left out');
    const config = values.config === undefined ? '' : await readConfigAsJson(values.config);
    const files = await readFiles(paths);
    const ready = await withServer(values.url, async (client) => {
      await client.loadModel(model, { config, files });
      return readyVersions(client, model);
    });
    process.stdout.write(`loaded ${model}${ready}\n`);
    return EXIT_OK;
  });
}

/** `: version 3`, or '' when the server does not tell. */
async function readyVersions(client: InferenceClient, model: string): Promise<string> {
  const index = await client.repositoryIndex({ readyOnly: true });
  const versions = index.filter(({ name }) => name === model).map(({ version }) => version);
  return versions.length === 0 ? '' : `: version${versions.length > 1 ? 's' : ''} ${versions.join(', ')}`;
}

function splitFile(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at <= 0 || at === text.length - 1)
    throw new CommandLineError(`--file: expected PATH=LOCALFILE, such as 1/model.onnx=./model.onnx, got '${text}'`);
  return [text.slice(0, at), text.slice(at + 1)];
}

async function readConfigAsJson(path: string): Promise<string> {
  const format = CONFIG_FILE_FORMATS[`config${extname(basename(path)).toLowerCase()}`];
  if (format === undefined)
    throw new CommandLineError(`--config: expected a file that ends in .pbtxt, .json, .yaml or .yml, got '${path}'`);
  return writeConfigDocument(parseConfigDocument(await readFile(path, 'utf8'), format, path), 'json');
}

async function readFiles(paths: readonly (readonly [string, string])[]): Promise<Record<string, Uint8Array>> {
  const sizes = await Promise.all(paths.map(async ([, local]) => (await stat(local)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total > MAX_FILE_BYTES) {
    throw invalidArgument(
      `--file: expected at most ${MAX_FILE_BYTES} bytes in all, got ${total}; put the model into the repository instead`,
    );
  }
  const files: Record<string, Uint8Array> = {};
  for (const [path, local] of paths) files[path] = await readFile(local);
  return files;
}
