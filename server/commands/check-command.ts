import type { CheckedModel } from './check-model-directory.ts';
import { type CheckOptions, checkRepository } from './check-repository.ts';
import { CommandLineError, EXIT_FAILED, EXIT_OK, runCommand } from './run-command.ts';

const usage = `nereid check DIR... [--model NAME]... [--json] [--no-load] [--model-config-name NAME] [--warnings-as-errors]

Says what is wrong with a model repository, without serving it: every finding with its file, line and field, and what to do.

  DIR                        a repository, one model's directory, or an .onnx or .gguf file
  --model NAME               only this model; may be given several times
  --json                     the findings as JSON
  --no-load                  do not load the models: what only their files tell is not checked
  --model-config-name NAME   as serve's: configs/NAME.pbtxt where a model has it
  --warnings-as-errors       a warning fails the check as an error does

Ends with 0 when there is no error, with 1 when there is one, with 2 for wrong arguments.
`;

const options = {
  model: { type: 'string', multiple: true },
  json: { type: 'boolean' },
  'no-load': { type: 'boolean' },
  'model-config-name': { type: 'string' },
  'warnings-as-errors': { type: 'boolean' },
} as const;

/** `argv`: what follows `nereid check`. Returns the exit status. */
export function checkCommand(argv: readonly string[]): Promise<number> {
  return runCommand({ name: 'check', usage, options }, argv, async ({ values, positionals }) => {
    if (positionals.length === 0) throw new CommandLineError('expected DIR, got none');
    const configName = values['model-config-name'] ?? '';
    if (/[/\\\0]/.test(configName)) throw new CommandLineError(`--model-config-name: expected a name, got '${configName}'`);
    const progress = process.stderr.isTTY === true;
    const checking: CheckOptions = {
      models: values.model ?? [],
      loads: values['no-load'] !== true,
      configName,
      onProgress: (name, index, count) => {
        if (progress) process.stderr.write(`\r\x1b[Kchecking ${index + 1}/${count} ${name}`);
      },
    };
    const models = await checkRepository(positionals, checking).finally(() => {
      if (progress) process.stderr.write('\r\x1b[K');
    });
    const errors = models.reduce((sum, { findings }) => sum + findings.count('error'), 0);
    const warnings = models.reduce((sum, { findings }) => sum + findings.count('warning'), 0);
    process.stdout.write(values.json ? asJson(models, errors, warnings) : asText(models, errors, warnings));
    return errors > 0 || (values['warnings-as-errors'] === true && warnings > 0) ? EXIT_FAILED : EXIT_OK;
  });
}

function asJson(models: readonly CheckedModel[], errors: number, warnings: number): string {
  const listed = models.map(({ name, source, findings }) => ({ name, path: source.path, findings: findings.all }));
  return `${JSON.stringify({ models: listed, errors, warnings }, null, 2)}\n`;
}

const RED = 31;
const GREEN = 32;
const YELLOW = 33;

function asText(models: readonly CheckedModel[], errors: number, warnings: number): string {
  const hasColours = process.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === '';
  const paint = (text: string, colour: number): string => (hasColours ? `\x1b[${colour}m${text}\x1b[0m` : text);
  const lines: string[] = [];
  for (const { name, findings } of models) {
    if (findings.all.length === 0) lines.push(`${printable(name)}  ${paint('ok', GREEN)}`);
    else lines.push(printable(name));
    for (const { severity, file, field, line, message } of findings.all) {
      const where = `${file}${line === null ? '' : `:${line}`}${field === '' ? '' : ` ${field}`}`;
      const label = severity === 'error' ? paint('error  ', RED) : paint('warning', YELLOW);
      lines.push(`  ${label}  ${printable(`${where}: ${message}`)}`);
    }
  }
  lines.push(`${count(models.length, 'model')}: ${count(errors, 'error')}, ${count(warnings, 'warning')}`);
  return `${lines.join('\n')}\n`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Names of files and words of a configuration may hold what a terminal obeys. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
