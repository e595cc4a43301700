import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const source = import.meta.dirname;
const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Every module that `entry` reaches, lazily loaded ones too; types are gone by then. */
function reach(entry: string): Map<string, string> {
  const modules = new Map<string, string>();
  const open = [entry];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (modules.has(path)) continue;
    const text = readFileSync(path, 'utf8');
    modules.set(path, text);
    for (const specifier of importsOf(text)) {
      expect(specifier, `${relative(root, path)} imports`).toMatch(/^\.\.?\//);
      open.push(resolve(dirname(path), specifier));
    }
  }
  return modules;
}

function importsOf(text: string): string[] {
  const statements = text.matchAll(/^(?:import|export)\s(?!type\s)(?:[^;'"]*?\sfrom\s)?['"]([^'"]+)['"]/gm);
  const lazy = text.matchAll(/(?:=>|\bawait|\breturn)\s+import\(\s*['"]([^'"]+)['"]/g);
  return [...statements, ...lazy].map((match) => match[1]!);
}

/** Without comments and texts, so that only what runs is looked at. */
function codeOf(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').replaceAll(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''");
}

it('a browser loads nothing of Node', () => {
  const modules = reach(join(source, 'browser.ts'));
  const names = [...modules.keys()].map((path) => relative(root, path));
  expect(names).toContain('clients/typescript/src/http/http-transport.ts');
  expect(names).toContain('proto/bytes.ts');
  expect(names.filter((name) => !name.startsWith('proto/') && !name.startsWith('clients/typescript/src/'))).toEqual([]);
  expect(names.filter((name) => name.includes('/grpc/') || name.includes('/cli/'))).toEqual([]);
  for (const [path, text] of modules) {
    expect(codeOf(text), relative(root, path)).not.toMatch(/\bBuffer\b|\bprocess\b|\bsetImmediate\b|\brequire\b|\b__dirname\b|\bglobal\b/);
  }
});

it('finds what it looks for', () => {
  expect(
    importsOf(
      "import a from './a.ts';\nimport type { b } from './b.ts';\nexport * from './c.ts';\nconst d = () => import('./d.ts');\ntype F = import('./f.ts').F;\nimport {\n  e,\n} from './e.ts';",
    ),
  ).toEqual(['./a.ts', './c.ts', './e.ts', './d.ts']);
  expect(codeOf("const a = 'Buffer'; // process\nBuffer.from(a)")).toMatch(/\bBuffer\b/);
});

it('both entries export the same names, and the package leads to them', async () => {
  const [node, browser] = await Promise.all([import('./index.ts'), import('./browser.ts')]);
  expect(Object.keys(browser).sort()).toEqual(Object.keys(node).sort());
  const manifest = JSON.parse(readFileSync(join(source, '../package.json'), 'utf8')) as { exports: Record<string, unknown> };
  const targets = JSON.stringify(manifest.exports).matchAll(/"\.\/dist\/clients\/typescript\/(src\/[^"]+?)(?:\.d\.ts|\.js)"/g);
  for (const [, target] of targets) expect(existsSync(join(source, '..', `${target}.ts`)), target).toBe(true);
});
