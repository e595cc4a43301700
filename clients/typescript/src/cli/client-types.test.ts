import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { exampleRepository, ServerProcess } from '../../../../server/e2e/serve.ts';
import { clientTypesCommand } from './client-types.ts';
import { modelTypeName, renderModelTypes } from './render-model-types.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nereid-client-types-'));

/** Type-checks the files of the folder against the client's source; returns what the compiler says. */
function compile(files: readonly string[]): string {
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: true,
      incremental: false,
      declaration: false,
      rootDir: '/',
      typeRoots: [join(root, 'node_modules/@types')],
      paths: { '@nereid/client': [join(root, 'clients/typescript/src/index.ts')] },
    },
    include: [],
    files: files.map((file) => join(folder, file)),
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], {
    encoding: 'utf8',
  });
  return status === 0 ? '' : `${stdout}${stderr}`;
}

describe('nereid client types', () => {
  let server: ServerProcess;

  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`]);
  });

  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('writes a type that compiles with the client, and finds wrong uses of it', async () => {
    expect(await clientTypesCommand(['digits', '--url', server.http, '--out', join(folder, 'digits.ts')])).toBe(0);
    expect(readFileSync(join(folder, 'digits.ts'), 'utf8')).toContain(
      "    /** FP32 [-1, 1, 8, 8] */\n    readonly image: ModelInput<'FP32'>;",
    );
    const use = (body: string): string =>
      `import { connect } from '@nereid/client';\nimport type { DigitsModel } from './digits.ts';\nconst client = await connect('http://x');\nconst digits = await client.model<DigitsModel>('digits');\n${body}\nexport {};\n`;
    writeFileSync(
      join(folder, 'right.ts'),
      use(
        `const { outputs } = await digits.infer({ image: new Float32Array(64) });
export const p: Float32Array = outputs.probabilities.data;
export const label: BigInt64Array = outputs.label.data;
const one = await digits.infer({ image: [[[1, 2]]] }, { outputs: ['label'] });
export const only: BigInt64Array = one.outputs.label.data;
for await (const answer of digits.stream({ image: { data: [1], shape: [1] } })) console.log(answer.outputs.label.data);`,
      ),
    );
    expect(compile(['right.ts'])).toBe('');
    writeFileSync(
      join(folder, 'wrong.ts'),
      use(
        `await digits.infer({ image: ['a'] });
await digits.infer({ picture: [1] });
await digits.infer({ image: [1] }, { outputs: ['labels'] });
export const p: BigInt64Array = (await digits.infer({ image: [1] })).outputs.probabilities.data;
export const q = (await digits.infer({ image: [1] }, { outputs: ['label'] })).outputs.probabilities;`,
      ),
    );
    const found = compile(['wrong.ts']);
    for (const line of [5, 6, 7, 8, 9]) expect(found).toContain(`wrong.ts(${line},`);
  }, 60_000);

  it('writes names of every kind, and marks optional inputs', () => {
    const text = renderModelTypes(
      {
        name: '3d-model "x" */',
        versions: ['1'],
        platform: '',
        inputs: [
          { name: 'input:0', datatype: 'INT64', shape: [] },
          { name: 'größe', datatype: 'FP16', shape: [-1] },
          { name: "it's", datatype: 'FP99', shape: [1] },
          { name: 'class', datatype: 'BYTES', shape: [1] },
        ],
        outputs: [{ name: '__proto__', datatype: 'BOOL', shape: [2] }],
      },
      { input: [{ name: 'größe', optional: true }] },
    );
    writeFileSync(join(folder, 'names.ts'), text);
    expect(text).toContain('readonly "input:0": ModelInput<\'INT64\'>;');
    expect(text).toContain("readonly größe?: ModelInput<'FP16'>;");
    expect(text).toContain(`readonly "it's": ModelInput;`);
    expect(compile(['names.ts'])).toBe('');
    expect(['digits', 'my-model.v2', '3d', 'a_b', '...'].map(modelTypeName)).toEqual([
      'DigitsModel',
      'MyModelV2Model',
      'Model3dModel',
      'ABModel',
      'ModelModel',
    ]);
  }, 60_000);

  it('prints to standard output, and says what is wrong', async () => {
    const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      expect(await clientTypesCommand(['simple', '--url', server.http, '--version', '1'])).toBe(0);
      expect(out.mock.calls.join('')).toContain('export interface SimpleModel {');
      expect(await clientTypesCommand(['simpel', '--url', server.http])).toBe(1);
      expect(err.mock.calls.at(-1)![0]).toContain("did you mean 'simple'?");
      expect(await clientTypesCommand([])).toBe(2);
      expect(await clientTypesCommand(['a', 'b'])).toBe(2);
      expect(await clientTypesCommand(['a', '--nope'])).toBe(2);
      expect(err.mock.calls.at(-1)![0]).toContain('nereid client types MODEL');
      expect(await clientTypesCommand(['--help'])).toBe(0);
    } finally {
      out.mockRestore();
      err.mockRestore();
    }
  });
});
