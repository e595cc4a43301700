import { createInterface } from 'node:readline/promises';
import { type ConfigFile, type ConfigFormat, editConfigText, writeConfigFile } from './config-file.ts';
import { editPbtxt } from './edit-pbtxt.ts';
import { editYaml } from './edit-yaml.ts';
import { type FieldEdit, withEdits } from './knob-edits.ts';
import { lineDifference } from './line-difference.ts';

export interface Terminal {
  write(text: string): unknown;
  /** Whether the answer to a question is yes. */
  ask(question: string): Promise<boolean>;
}

/** A question at the terminal; anything but yes is no. */
export async function askAtTerminal(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const controller = new AbortController();
  // Ctrl-C and the end of the input leave the question open otherwise.
  lines.once('SIGINT', () => controller.abort()).once('close', () => controller.abort());
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `, { signal: controller.signal })).trim());
  } catch (error) {
    if (controller.signal.aborted) return false;
    throw error;
  } finally {
    lines.close();
  }
}

/** Shows what has to be set, as a change of the model's configuration file where it can be made there; and makes it, when that is wanted. Returns whether all that was wanted was done. */
export async function writeChoice(
  file: ConfigFile,
  edits: readonly FieldEdit[],
  { isWriting, isAsking, terminal }: { readonly isWriting: boolean; readonly isAsking: boolean; readonly terminal: Terminal },
): Promise<boolean> {
  if (edits.length === 0) return true;
  const text = await editConfigText(file, edits);
  if (text === null) {
    terminal.write(`\nIn ${file.path}, to be set:\n\n${indented(fieldsText(edits, file.format))}\n`);
    if (isWriting)
      terminal.write('It is not written: the file has a form in which that could not be done without risk to the rest of it.\n');
    return !isWriting;
  }
  terminal.write(`\n${file.path}${file.exists ? '' : ' (new)'}:\n\n${indented(lineDifference(file.text, text))}\n`);
  if (!isWriting) {
    terminal.write('nereid tune --write puts it there.\n');
    return true;
  }
  if (isAsking && !(await terminal.ask(`Write ${file.path}?`))) {
    terminal.write('Not written.\n');
    return true;
  }
  await writeConfigFile(file, text);
  terminal.write(`Written: ${file.path}\n`);
  return true;
}

/** The fields alone, in the format of the file. */
function fieldsText(edits: readonly FieldEdit[], format: ConfigFormat): string {
  if (format === 'json') return JSON.stringify(withEdits({}, edits), null, 2);
  let text = '';
  for (const [name, value] of Object.entries(withEdits({}, edits))) {
    const edit: FieldEdit = { path: [name], value };
    const key = name === 'parameters' && format === 'pbtxt' ? Object.entries(value as Record<string, unknown>)[0] : undefined;
    const single: FieldEdit = key === undefined ? edit : { path: [name, key[0]], value: key[1] };
    text = (format === 'pbtxt' ? editPbtxt(text, single) : editYaml(text, single, false)) ?? text;
  }
  return text;
}

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, '  ').trimEnd();
}
