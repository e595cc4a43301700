/**
 * `npm run bench [-- NAME...]`: the rows of the scoreboard. Every figure stands beside controls that are measured in the same rotation; what counts is the median over the rounds of the ratio to a control of
 * the same round. docs/performance.md says how to read it.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { didYouMean } from '../../proto/nearest-name.ts';
import { CommandLineError } from '../../server/commands/run-command.ts';
import { numberFlag, wholeFlag } from '../command/flag-values.ts';
import { machineFacts } from '../command/machine-facts.ts';
import { builtRoot } from './built-root.ts';
import { childScripts, runScript } from './child-scripts.ts';
import { loopDelay } from './loop-delay.ts';
import { memorySlope } from './memory-slope.ts';
import { npmCommand } from './npm-command.ts';
import { clearProgress, showProgress } from './progress-line.ts';
import { putTable } from './put-tables.ts';
import { machineLine, renderResult } from './render-result.ts';
import { allScenarios } from './rows/all-scenarios.ts';
import { runScenario } from './run-scenario.ts';
import type { Scenario } from './scenario.ts';
import { startUp } from './start-up.ts';

const USAGE = `Usage: npm run bench [-- NAME... [OPTION]...]

Measures the scenarios named, or all that are rotations of contenders.

  --list          what there is
  --all           the scenarios that are scripts too; they take long
  --rounds N      rounds of each scenario [default 15]
  --seconds S     measured in each slice of a round [default: the scenario's own, mostly 1.5]
  --warm-up S     before each slice [default 0.5]
  --requests N    of memory-slope, for each transport [default 1000000]
  --write         puts the tables into docs/performance.md, where it has places for them
`;
const PAGE = join(fileURLToPath(builtRoot), '../docs/performance.md');
const DEFAULT_ROUNDS = 15;

/** Scenarios with tables of their own. */
const ownTables = [startUp, loopDelay, memorySlope];

interface Settings {
  readonly rounds: number;
  readonly seconds: number | null;
  readonly warmUpSeconds: number;
  readonly requests: number;
}

/** The lines of one scenario; null: it was a script, which has printed them. */
async function measure(name: string, settings: Settings): Promise<string[] | null> {
  const scenario = allScenarios.find((one) => one.name === name);
  if (scenario !== undefined) return renderResult(await runScenario(scenario, { ...settings, onProgress: progressOf(scenario) }));
  const own = ownTables.find((one) => one.name === name);
  if (own !== undefined) return own.run({ ...settings, onProgress: (text) => showProgress(`${name}: ${text}`) });
  const status = await runScript(childScripts.find((one) => one.name === name)!.script);
  if (status !== 0) throw new Error(`${name} ended with status ${status}`);
  return null;
}

const progressOf =
  ({ name }: Scenario) =>
  (text: string): void =>
    showProgress(`${name}: ${text}`);

await npmCommand(
  'bench',
  USAGE,
  {
    list: { type: 'boolean' },
    all: { type: 'boolean' },
    write: { type: 'boolean' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    'warm-up': { type: 'string' },
    requests: { type: 'string' },
  },
  async ({ values, positionals }) => {
    const titled = [...allScenarios, ...ownTables, ...childScripts];
    const names = titled.map(({ name }) => name);
    if (values.list) {
      for (const { name, title } of titled) console.log(`${name.padEnd(18)}${title}`);
      return 0;
    }
    const unknown = positionals.find((name) => !names.includes(name));
    if (unknown !== undefined) throw new CommandLineError(`no scenario '${unknown}'${didYouMean(unknown, names)}; --list shows them all`);
    const settings: Settings = {
      rounds: wholeFlag('--rounds', values.rounds, DEFAULT_ROUNDS, 1, 1000),
      seconds: values.seconds === undefined ? null : numberFlag('--seconds', values.seconds, 1, 0.05, 600),
      warmUpSeconds: numberFlag('--warm-up', values['warm-up'], 0.5, 0.05, 60),
      requests: wholeFlag('--requests', values.requests, 1_000_000, 1000, 1e9),
    };
    const usual = [...allScenarios, ...ownTables].map(({ name }) => name);
    const chosen = positionals.length > 0 ? positionals : values.all ? names : usual;
    for (const name of chosen) {
      const lines = await measure(name, settings).finally(clearProgress);
      if (lines === null) continue;
      const options = process.argv.slice(2).filter((one) => one !== '--write' && !names.includes(one));
      const whole = [`$ npm run bench -- ${[name, ...options].join(' ')}`, machineLine(machineFacts(true)), ...lines];
      console.log(`\n${titled.find((one) => one.name === name)!.title}\n${whole.join('\n')}`);
      if (values.write) writeFileSync(PAGE, putTable(readFileSync(PAGE, 'utf8'), name, whole));
    }
    return 0;
  },
);
