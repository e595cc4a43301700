/**
 * `npm run bench:gate`: a short form of `npm run bench` that fails when a ratio is worse than that of bench/scenarios/baseline.json by more than a fifth. A row that fails is measured again with more rounds
 * first: a machine that others use has bad minutes. Where it is not quiet all the same, ratios of processor time alone are compared. `-- --update` writes the baseline anew.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CommandLineError } from '../../server/commands/run-command.ts';
import { wholeFlag } from '../command/flag-values.ts';
import { machineFacts } from '../command/machine-facts.ts';
import { builtRoot } from './built-root.ts';
import { ALLOWED_LOSS, type Baseline, baselineOf, findRegressions, type Regression } from './find-regressions.ts';
import { npmCommand } from './npm-command.ts';
import { clearProgress, showProgress } from './progress-line.ts';
import { machineLine, renderResult } from './render-result.ts';
import { allScenarios } from './rows/all-scenarios.ts';
import { gatePart, runScenario, type ScenarioResult } from './run-scenario.ts';
import type { Scenario } from './scenario.ts';

const USAGE = `Usage: npm run bench:gate [-- OPTION...]

  --update     takes what is measured as the baseline
  --rounds N   rounds of each row [default 9; three times as many where it fails, and for --update]
`;
const BASELINE = fileURLToPath(new URL('../bench/scenarios/baseline.json', builtRoot));
const DEFAULT_ROUNDS = 9;
const MORE_ROUNDS = 3;
const SECONDS = 0.6;
const WARM_UP_SECONDS = 0.2;

async function measure(scenario: Scenario, rounds: number): Promise<ScenarioResult> {
  const onProgress = (text: string): void => showProgress(`${scenario.name}: ${text}`);
  const result = await runScenario(scenario, { rounds, seconds: SECONDS, warmUpSeconds: WARM_UP_SECONDS, onProgress }).finally(
    clearProgress,
  );
  console.log(`\n${scenario.title}\n${renderResult(result).join('\n')}`);
  return result;
}

function readBaseline(): Baseline {
  try {
    return JSON.parse(readFileSync(BASELINE, 'utf8')) as Baseline;
  } catch (error) {
    throw new CommandLineError(`there is no baseline to compare with (${(error as Error).message}); --update writes one`);
  }
}

await npmCommand('bench:gate', USAGE, { update: { type: 'boolean' }, rounds: { type: 'string' } }, async ({ values }) => {
  const rounds = wholeFlag('--rounds', values.rounds, DEFAULT_ROUNDS, 1, 1000);
  const scenarios = allScenarios.flatMap((scenario) => gatePart(scenario) ?? []);
  if (values.update) {
    const results: ScenarioResult[] = [];
    for (const scenario of scenarios) results.push(await measure(scenario, rounds * MORE_ROUNDS));
    const noisy = results.find(({ keptRounds }) => keptRounds === 0);
    if (noisy !== undefined) {
      console.log(
        `\nnothing is written: the machine was not quiet during ${noisy.scenario.name}, and a baseline of then would let anything pass`,
      );
      return 1;
    }
    writeFileSync(BASELINE, `${JSON.stringify(baselineOf(machineLine(machineFacts(true)), results), null, 2)}\n`);
    return 0;
  }
  const baseline = readBaseline();
  const regressions: Regression[] = [];
  for (const scenario of scenarios) {
    if (findRegressions(await measure(scenario, rounds), baseline).length === 0) continue;
    console.log(`\n${scenario.name} is worse than the baseline; once more, with ${rounds * MORE_ROUNDS} rounds`);
    regressions.push(...findRegressions(await measure(scenario, rounds * MORE_ROUNDS), baseline));
  }
  for (const { scenario, what, baseline: before, measured } of regressions) {
    console.log(
      `\nREGRESSION ${scenario}: ${what} is ${measured.toFixed(2)}, the baseline ${before.toFixed(2)}: worse by more than ${ALLOWED_LOSS * 100} %`,
    );
  }
  if (regressions.length === 0)
    console.log(`\nno ratio is worse than the baseline's by more than ${ALLOWED_LOSS * 100} % (baseline of ${baseline.machine})`);
  return regressions.length === 0 ? 0 : 1;
});
