import { CommandLineError } from '../../server/commands/run-command.ts';

/** Points of one run. */
const MAX_LEVELS = 100;

/**
 * Levels of load: `16`, `1,4,16`, `1:16` (each whole number), `10:100:10` (start, end, step), `1:64:x2` (start, end, factor). `flag` names it in errors. Throws CommandLineError.
 */
export function parseLoadLevels(flag: string, text: string, isWhole: boolean): number[] {
  const levels = text.split(',').flatMap((part) => expand(flag, part.trim(), isWhole));
  if (levels.length > MAX_LEVELS) throw new CommandLineError(`${flag}: expected at most ${MAX_LEVELS} levels, got ${levels.length}`);
  return levels;
}

function expand(flag: string, part: string, isWhole: boolean): number[] {
  const pieces = part.split(':');
  const start = level(flag, pieces[0]!, part, isWhole);
  if (pieces.length === 1) return [start];
  if (pieces.length > 3) throw new CommandLineError(`${flag}: expected START:END:STEP or START:END:xFACTOR, got '${part}'`);
  const end = level(flag, pieces[1]!, part, isWhole);
  if (end < start) throw new CommandLineError(`${flag}: expected an end of at least ${start}, got '${part}'`);
  const step = pieces[2] ?? '1';
  const isFactor = /^x/i.test(step);
  const by = Number(isFactor ? step.slice(1) : step);
  if (!Number.isFinite(by) || by <= (isFactor ? 1 : 0)) {
    throw new CommandLineError(`${flag}: expected a step above 0 or a factor above x1, got '${step}' in '${part}'`);
  }
  const levels: number[] = [];
  for (let value = start; value <= end * (1 + 1e-9) && levels.length <= MAX_LEVELS; value = isFactor ? value * by : value + by) {
    const rounded = isWhole ? Math.round(value) : value;
    if (levels.at(-1) !== rounded) levels.push(rounded);
  }
  return levels;
}

function level(flag: string, text: string, part: string, isWhole: boolean): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0 || (isWhole && !Number.isInteger(value))) {
    throw new CommandLineError(
      `${flag}: expected ${isWhole ? 'whole numbers' : 'numbers'} above 0, as in 16, 1,4,16 or 1:64:x2, got '${part}'`,
    );
  }
  return value;
}
