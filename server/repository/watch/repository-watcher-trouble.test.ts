import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MAX_TREE_ENTRIES, readModelTree } from '../model-tree.ts';
import { WatcherCase } from './repository-watcher.case.ts';

let c: WatcherCase;
beforeEach(() => {
  c = new WatcherCase();
});
afterEach(() => c.end());

describe('restlessness', () => {
  it('reports a model that is touched a hundred times a second once, when that ends, and others meanwhile', async () => {
    const path = c.addModel('m');
    await c.start();
    const touching = setInterval(() => utimesSync(join(path, 'config.pbtxt'), Math.random() * 1e9, Math.random() * 1e9), 10);
    c.addModel('other');
    await c.reported('other');
    await c.untilQuiet();
    expect(c.of('m')).toEqual([]);
    clearInterval(touching);
    await c.reported('m');
    await c.untilQuiet();
    expect(c.of('m')).toHaveLength(1);
  });

  it('says once that a model has been changing for more than a minute', async () => {
    const path = c.addModel('m');
    // Minutes pass in a second.
    await c.start({ settleMs: 50, clock: () => performance.now() * 300 });
    const touching = setInterval(() => appendFileSync(join(path, '1', 'model.onnx'), 'x'), 5);
    await vi.waitFor(() => expect(c.problems).toHaveLength(1), { timeout: 10_000 });
    await c.untilQuiet();
    clearInterval(touching);
    await c.reported('m');
    expect(c.problems).toEqual([{ directory: path, text: expect.stringContaining("model 'm' has been changing for more than 60 s") }]);
    expect(c.of('m')).toHaveLength(1);
  });

  it('looks once into links that lead back up, however many there are', async () => {
    const path = c.addModel('m');
    for (let i = 0; i < 9; i++) symlinkSync('..', join(path, '1', `up-${i}`));
    for (let i = 0; i < 9; i++) symlinkSync('.', join(path, `here-${i}`));
    await c.start({ settleMs: 50 });
    writeFileSync(join(path, '1', 'model.onnx'), 'other weights');
    await c.reported('m');
    expect(c.problems).toEqual([]);
    expect((await readModelTree(path)).whole.split('\n').length).toBeLessThan(200);
  });

  it('takes an empty directory in the place of the repository for a disk that was unmounted, and believes it in the end', async () => {
    c.addModel('m');
    await c.start({ settleMs: 50, pollMs: 100, emptyGraceMs: 1500 });
    const away = `${c.root}-away`;
    for (const _ of ['once', 'again']) {
      renameSync(c.root, away);
      mkdirSync(c.root);
      await vi.waitFor(() => expect(c.problems.at(-1)?.text).toMatch(/as when a disk is unmounted; that counts after 1\.5 s/), {
        timeout: 5000,
      });
      expect(c.of('m')).toEqual([]);
      rmSync(c.root, { recursive: true });
      renameSync(away, c.root);
      await c.untilQuiet();
      expect(c.of('m')).toEqual([]);
      c.problems.length = 0;
    }
    renameSync(c.root, away);
    mkdirSync(c.root);
    expect(await c.reported('m')).toMatchObject({ homes: [], tree: null });
  }, 30_000);

  it('believes at once that the last model was taken out', async () => {
    const path = c.addModel('m');
    await c.start({ settleMs: 50 });
    rmSync(path, { recursive: true });
    expect(await c.reported('m')).toMatchObject({ homes: [] });
    expect(c.problems).toEqual([]);
  });

  it('says once that a model has too many files, and reports it when it has fewer', async () => {
    const path = c.addModel('m');
    await c.start({ settleMs: 50 });
    mkdirSync(join(path, 'many'));
    for (let i = 0; i <= MAX_TREE_ENTRIES; i++) writeFileSync(join(path, 'many', `${i}`), '');
    await vi.waitFor(() => expect(c.problems).toHaveLength(1), { timeout: 10_000 });
    expect(c.problems[0]).toEqual({ directory: path, text: expect.stringContaining('more than 10000 files') });
    writeFileSync(join(path, 'many', 'another'), '');
    await c.untilQuiet();
    expect(c.problems).toHaveLength(1);
    rmSync(join(path, 'many'), { recursive: true });
    writeFileSync(join(path, 'config.pbtxt'), 'max_batch_size: 8');
    await c.reported('m');
  }, 60_000);

  it.each([
    { watch: true, pollMs: 0 },
    { watch: false, pollMs: 30 },
  ])('has said in the end how everything is, whatever happened meanwhile: $watch', async (options) => {
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) c.addModel(name);
    await c.start({ ...options, settleMs: 30 });
    const initial = new Map<string, string>();
    for (const name of names) initial.set(name, (await readModelTree(join(c.root, name))).whole);
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    for (let i = 0; i < 150; i++) {
      const path = join(c.root, names[random(names.length)]!);
      const version = join(path, `${1 + random(3)}`);
      const actions = [
        () => rmSync(path, { recursive: true, force: true }),
        () => rmSync(version, { recursive: true, force: true }),
        () => mkdirSync(version, { recursive: true }),
        () => renameSync(version, join(path, '9')),
        () => renameSync(path, join(c.root, names[random(names.length)]!)),
        () => writeFileSync(join(version, 'model.onnx'), `${i}`),
        () => appendFileSync(join(version, 'model.onnx'), 'x'),
        () => symlinkSync('1', join(path, '3')),
      ];
      try {
        actions[random(actions.length)]!();
      } catch {
        // It cannot be done to what is there now.
      }
      await delay(random(10) === 0 ? 120 : random(5));
    }
    await c.untilQuiet();
    for (const name of names) {
      const last = c.of(name).at(-1);
      const actual = await readModelTree(join(c.root, name)).catch(() => null);
      expect(last === undefined ? initial.get(name) : last.tree?.whole).toBe(actual?.whole);
      const told = [initial.get(name), ...c.of(name).map((change) => change.tree?.whole)];
      expect(told.every((whole, i) => i === 0 || whole !== told[i - 1])).toBe(true);
    }
    expect(c.changes.length).toBeGreaterThan(10);
    expect(c.problems).toEqual([]);
  });

  it('misses nothing that happens while it looks', async () => {
    const path = c.addModel('m');
    for (let i = 0; i < 1500; i++) writeFileSync(join(path, '1', `part-${i}`), '');
    await c.start({ settleMs: 30 });
    // The file that a look comes to before the many.
    const first = join(path, '1', 'model.onnx');
    for (let round = 0; round < 8; round++) {
      // Calls for a look that finds nothing; some rounds write while it goes on.
      writeFileSync(join(path, '.busy'), 'x');
      await delay(50 + 20 * round);
      appendFileSync(first, 'x');
      const actual = await readModelTree(path);
      await vi.waitFor(() => expect(c.of('m').at(-1)?.tree?.whole).toBe(actual.whole), { timeout: 10_000, interval: 5 });
    }
  });

  it('reports a state again to a caller who could not use it', async () => {
    c.addModel('m');
    const watching = await c.start();
    watching.forget('m');
    expect((await c.reported('m')).homes).toEqual([c.root]);
    watching.forget('unheard of');
    await c.untilQuiet();
    expect(c.of('m')).toHaveLength(1);
    expect(c.of('unheard of')).toEqual([]);
  });
});

describe('trouble', () => {
  it('concludes nothing from a repository that cannot be read, and goes on when it can', async () => {
    const second = join(c.base, 'second');
    mkdirSync(second);
    c.addModel('m');
    c.addModel('n', second);
    await c.start({ directories: [c.root, second] });
    renameSync(c.root, join(c.base, 'elsewhere'));
    await vi.waitFor(() => expect(c.problems).toHaveLength(1), { timeout: 10_000 });
    expect(c.problems[0]).toEqual({ directory: c.root, text: expect.stringContaining('ENOENT') });
    rmSync(join(second, 'n'), { recursive: true });
    expect((await c.reported('n')).homes).toEqual([]);
    c.addModel('late', second);
    await c.reported('late');
    expect(c.of('m')).toEqual([]);
    renameSync(join(c.base, 'elsewhere'), c.root);
    await c.untilQuiet();
    expect(c.of('m')).toEqual([]);
    expect(c.problems).toHaveLength(1);
    rmSync(join(c.root, 'm'), { recursive: true });
    expect((await c.reported('m')).homes).toEqual([]);
  });

  it('starts without its repository, and takes it up when it comes', async () => {
    rmSync(c.root, { recursive: true });
    const watcher = c.create({ settleMs: 50 });
    await watcher.start(new Map([['m', 'x']]));
    expect(c.problems).toHaveLength(1);
    expect(c.changes).toEqual([]);
    c.addModel('m');
    expect((await c.reported('m')).homes).toEqual([c.root]);
  });

  it('concludes nothing from a repository that goes while it polls, and says so once', async () => {
    const second = join(c.base, 'second');
    mkdirSync(second);
    c.addModel('m');
    await c.start({ directories: [c.root, second], watch: false, pollMs: 30, settleMs: 30 });
    renameSync(c.root, join(c.base, 'elsewhere'));
    await vi.waitFor(() => expect(c.problems).toHaveLength(1), { timeout: 10_000 });
    for (let i = 0; i < 5; i++) {
      c.addModel(`n${i}`, second);
      await c.reported(`n${i}`);
    }
    expect(c.problems).toEqual([{ directory: c.root, text: expect.stringContaining('ENOENT') }]);
    expect(c.of('m')).toEqual([]);
  });

  it('tries again by itself at a repository that could not be read', async () => {
    c.addModel('m');
    const watching = await c.start({ watch: false, settleMs: 30 });
    renameSync(c.root, join(c.base, 'elsewhere'));
    watching.forget('m');
    await vi.waitFor(() => expect(c.problems).toHaveLength(1), { timeout: 10_000 });
    expect(c.problems[0]!.directory).toBe(c.root);
    renameSync(join(c.base, 'elsewhere'), c.root);
    expect((await c.reported('m')).homes).toEqual([c.root]);
  });

  it('polls where it may not watch, and removes what two looks miss', async () => {
    const path = c.addModel('m');
    const watching = await c.start({ watch: false, pollMs: 50, settleMs: 50 });
    expect(watching.size).toEqual({ watches: 0, names: 1 });
    writeFileSync(join(path, '1', 'model.onnx'), 'changed');
    await c.reported('m');
    c.addModel('new');
    await c.reported('new');
    rmSync(path, { recursive: true });
    expect((await c.reported('m', 2)).homes).toEqual([]);
  });

  it('says once that it watches no more, and polls the rest', async () => {
    for (let i = 0; i < 10; i++) c.addModel(`m${i}`);
    const watching = await c.start({ maxWatches: 7, pollMs: 100, settleMs: 50 });
    expect(watching.size.watches).toBe(7);
    for (let i = 0; i < 10; i++) writeFileSync(join(c.root, `m${i}`, '1', 'model.onnx'), 'changed');
    for (let i = 0; i < 10; i++) await c.reported(`m${i}`);
    expect(watching.size.watches).toBe(7);
    expect(c.notes).toEqual([expect.stringContaining('7 directories are watched')]);
  });

  it('keeps no watch and no name of what has gone, over hundreds of changes', async () => {
    const path = c.addModel('m');
    const watching = await c.start({ settleMs: 20 });
    const before = watching.size;
    const watchers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'FSEventWrap').length;
    const handles = watchers();
    expect(handles).toBe(before.watches);
    for (let round = 0; round < 200; round++) {
      mkdirSync(join(path, '2', 'deep'), { recursive: true });
      mkdirSync(join(c.root, `n${round}`, '1'), { recursive: true });
      writeFileSync(join(c.root, `file${round}`), '');
      if (round % 50 === 0) await c.reported(`n${round}`);
      rmSync(join(path, '2'), { recursive: true });
      rmSync(join(c.root, `n${round}`), { recursive: true });
      unlinkSync(join(c.root, `file${round}`));
    }
    await vi.waitFor(() => expect(watching.size).toEqual(before), { timeout: 10_000 });
    expect(watchers()).toBe(handles);
    await watching.stop();
    expect(watching.size).toEqual({ watches: 0, names: 0 });
    await vi.waitFor(() => expect(watchers()).toBe(0));
  });

  it('reports nothing once it is stopped, though a change was settling', async () => {
    const watching = await c.start();
    c.addModel('m');
    const starting = c.create({ pollMs: 10 });
    const started = starting.start();
    await Promise.all([starting.stop(), watching.stop(), started]);
    const other = await c.start();
    await c.untilQuiet();
    await other.stop();
    expect(c.of('m')).toEqual([]);
  });
});
