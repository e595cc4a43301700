import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { builtRoot } from './built-root.ts';

/** Scenarios that have a measurement of their own, and are scripts: swaps, loads, overload, language models. They run as they are, in a process of their own, and print what they find. */
export const childScripts: readonly { readonly name: string; readonly script: string; readonly title: string }[] = [
  { name: 'swap', script: 'hot-swap.js', title: '200 versions one after the other, under load (rows 12 and 14)' },
  { name: 'load-time', script: 'load-time.js', title: 'A large model, beside onnxruntime-node (row 13)' },
  { name: 'many-models', script: 'many-models.js', title: '1,000 small models (row 13)' },
  { name: 'poll-delay', script: 'poll-delay.js', title: 'From the rename of a version to its first answer' },
  { name: 'ensemble-stages', script: 'ensemble-stages.js', title: 'What a stage of an ensemble costs (row 8)' },
  { name: 'overload', script: 'overload.js', title: 'Goodput at three times the peak, with deadlines (row 11)' },
  { name: 'priorities', script: 'priorities.js', title: 'An urgent model beside an overloaded one (row 11)' },
  { name: 'llm', script: 'llm.js', title: 'Language models, beside node-llama-cpp (row 10)' },
];

/** Runs one and gives its exit status. */
export function runScript(script: string): Promise<number> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`bench/scenarios/${script}`, builtRoot))], { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
