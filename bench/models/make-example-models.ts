/** Writes the example model repository and its request bodies anew, training `digits` on the way (about half a minute). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { readDigits } from './digits-data.ts';
import { digitsModel } from './digits-model.ts';
import { digitsModelPath, exampleFiles } from './example-models.ts';
import { modelsFolder } from './models-folder.ts';
import { trainDigits } from './train-digits.ts';

const files = new Map(exampleFiles());
files.set(digitsModelPath, digitsModel(trainDigits(readDigits().training, { epochs: 20, seed: 1 })));
for (const [path, content] of files) {
  const file = new URL(`../../${path}`, modelsFolder);
  mkdirSync(new URL('.', file), { recursive: true });
  writeFileSync(file, content);
  console.log(`${path}: ${content.length} bytes`);
}
