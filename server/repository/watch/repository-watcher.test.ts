import { appendFileSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readModelTree } from '../model-tree.ts';
import { WatcherCase } from './repository-watcher.case.ts';

let c: WatcherCase;
beforeEach(() => {
  c = new WatcherCase();
});
afterEach(() => c.end());

describe('events', () => {
  it('says nothing of what is known, and tells of a new model without polling', async () => {
    c.addModel('old');
    await c.start({ settleMs: 300 });
    c.addModel('new');
    const change = await c.reported('new');
    expect(change).toMatchObject({ homes: [c.root] });
    expect(change.tree).toEqual(await readModelTree(join(c.root, 'new')));
    await c.untilQuiet();
    expect(c.of('old')).toEqual([]);
    expect(c.of('new')).toHaveLength(1);
  });

  it('tells at start of what differs from what the caller knows, and of what has gone', async () => {
    c.addModel('changed');
    const watcher = c.create({ settleMs: 50 });
    await watcher.start(
      new Map([
        ['changed', 'something else'],
        ['gone', 'x'],
      ]),
    );
    expect((await c.reported('changed')).homes).toEqual([c.root]);
    expect(await c.reported('gone')).toEqual({ name: 'gone', homes: [], tree: null });
  });

  it('sees a version that is renamed into place, once', async () => {
    const path = c.addModel('m');
    await c.start();
    mkdirSync(join(path, '.incoming'));
    writeFileSync(join(path, '.incoming', 'model.onnx'), 'new weights');
    renameSync(join(path, '.incoming'), join(path, '2'));
    expect(await c.versionsOf('m')).toEqual([1, 2]);
    await c.untilQuiet();
    expect(c.of('m')).toHaveLength(1);
  });

  it('waits for a slow copy to end', async () => {
    const path = c.addModel('m');
    await c.start({ settleMs: 300 });
    mkdirSync(join(path, '2'));
    const file = join(path, '2', 'model.onnx');
    for (let piece = 0; piece < 10; piece++) {
      appendFileSync(file, 'x'.repeat(1000));
      await delay(100);
    }
    const change = await c.reported('m');
    expect(change.tree!.versions.get(2)).toContain(' 10000 ');
    await c.untilQuiet();
    expect(c.of('m')).toHaveLength(1);
  });

  it('passes over what editors leave on their way, and sees what they save', async () => {
    const path = c.addModel('m');
    await c.start();
    writeFileSync(join(path, '.config.pbtxt.swp'), 'x');
    writeFileSync(join(path, '4913.tmp'), 'x');
    cpSync(join(path, 'config.pbtxt'), join(path, 'config.pbtxt~'));
    mkdirSync(join(c.root, 'm2.part', '1'), { recursive: true });
    writeFileSync(join(c.root, 'notes.txt'), 'x');
    await c.untilQuiet();
    expect(c.of('m')).toEqual([]);
    expect(c.of('m2.part')).toEqual([]);
    expect(c.of('notes.txt')).toEqual([]);
    writeFileSync(join(path, '.new'), 'name: "m" # saved');
    renameSync(join(path, '.new'), join(path, 'config.pbtxt'));
    await c.reported('m');
    renameSync(join(c.root, 'm2.part'), join(c.root, 'm2'));
    expect(await c.versionsOf('m2')).toEqual([1]);
  });

  it('sees a version that is written in place at an old time of change', async () => {
    const path = c.addModel('m');
    await c.start();
    const past = new Date('2001-01-01');
    utimesSync(join(path, '1', 'model.onnx'), past, past);
    await c.reported('m');
    expect(c.of('m')).toHaveLength(1);
  });

  it('says nothing of a version that is away for a moment, and tells of one that is gone, and of its return', async () => {
    const path = c.addModel('m');
    cpSync(join(path, '1'), join(path, '2'), { recursive: true });
    await c.start();
    renameSync(join(path, '2'), join(path, '.away'));
    renameSync(join(path, '.away'), join(path, '2'));
    await c.untilQuiet();
    expect(c.of('m')).toEqual([]);
    renameSync(join(path, '2'), join(path, '.away'));
    expect(await c.versionsOf('m')).toEqual([1]);
    renameSync(join(path, '.away'), join(path, '2'));
    expect(await c.versionsOf('m', 2)).toEqual([1, 2]);
    // Directories made anew get watches of their own, though the file system gives them the old one's number.
    for (let round = 0; round < 5; round++) {
      rmSync(join(path, '2'), { recursive: true });
      mkdirSync(join(path, '2'));
      writeFileSync(join(path, '2', 'model.onnx'), 'a');
      await c.reported('m', 3 + 2 * round);
      appendFileSync(join(path, '2', 'model.onnx'), 'b');
      await c.reported('m', 4 + 2 * round);
    }
  });

  it('watches a directory that was made anew and looks as before', async () => {
    const path = c.addModel('m');
    mkdirSync(join(path, '2'));
    await c.start();
    rmSync(join(path, '2'), { recursive: true });
    mkdirSync(join(path, '2'));
    await c.untilQuiet();
    expect(c.of('m')).toEqual([]);
    writeFileSync(join(path, '2', 'model.onnx'), 'x');
    await c.reported('m');
  });

  it('tells of a model that is removed, and of one that comes back', async () => {
    c.addModel('m');
    await c.start();
    rmSync(join(c.root, 'm'), { recursive: true });
    expect(await c.reported('m')).toEqual({ name: 'm', homes: [], tree: null });
    c.addModel('m');
    expect((await c.reported('m', 2)).homes).toEqual([c.root]);
  });

  it('names every home of a model that two repositories have', async () => {
    const second = join(c.base, 'second');
    mkdirSync(second);
    c.addModel('m');
    await c.start({ directories: [c.root, second] });
    c.addModel('m', second);
    expect((await c.reported('m')).homes).toEqual([c.root, second]);
    rmSync(join(c.root, 'm'), { recursive: true });
    expect(await c.reported('m', 2)).toMatchObject({ homes: [second], tree: await readModelTree(join(second, 'm')) });
  });
});

describe('links', () => {
  it("sees a ConfigMap's swap of ..data", async () => {
    const path = join(c.root, 'm');
    for (const [stamp, text] of [
      ['..1', 'old'],
      ['..2', 'new one'],
    ] as const) {
      mkdirSync(join(path, stamp), { recursive: true });
      writeFileSync(join(path, stamp, 'config.pbtxt'), text);
    }
    symlinkSync('..1', join(path, '..data'));
    symlinkSync('..data/config.pbtxt', join(path, 'config.pbtxt'));
    await c.start();
    symlinkSync('..2', join(path, '..data_tmp'));
    renameSync(join(path, '..data_tmp'), join(path, '..data'));
    expect((await c.reported('m')).tree!.whole).toContain('config.pbtxt');
    expect(readFileSync(join(path, 'config.pbtxt'), 'utf8')).toBe('new one');
  });

  it('sees the swap of a link on the way to the repository', async () => {
    for (const commit of ['one', 'two']) c.addModel('m', join(c.base, 'worktrees', commit, 'models'));
    c.addModel('extra', join(c.base, 'worktrees', 'two', 'models'));
    symlinkSync('worktrees/one', join(c.base, 'current'));
    await c.start({ directories: [join(c.base, 'current', 'models')] });
    symlinkSync('worktrees/two', join(c.base, 'next'));
    renameSync(join(c.base, 'next'), join(c.base, 'current'));
    await c.reported('m');
    expect((await c.reported('extra')).homes).toEqual([join(c.base, 'current', 'models')]);
    // What is watched now is the new one.
    writeFileSync(join(c.base, 'worktrees', 'two', 'models', 'm', '1', 'model.onnx'), 'newer');
    await c.reported('m', 2);
  });

  it('sees the swap of a link that a model, a version or a file is reached through, outside the repository', async () => {
    const store = join(c.base, 'store');
    for (const release of ['r1', 'r2']) c.addModel('m', join(store, release));
    symlinkSync('r1', join(store, 'live'));
    symlinkSync(join(store, 'live', 'm'), join(c.root, 'whole'));
    mkdirSync(join(c.root, 'version'));
    symlinkSync(join(store, 'live', 'm', '1'), join(c.root, 'version', '1'));
    mkdirSync(join(c.root, 'file', '1'), { recursive: true });
    symlinkSync(join(store, 'live', 'm', '1', 'model.onnx'), join(c.root, 'file', '1', 'model.onnx'));
    await c.start();
    symlinkSync('r2', join(store, 'next'));
    renameSync(join(store, 'next'), join(store, 'live'));
    for (const name of ['whole', 'version', 'file']) await c.reported(name);
    writeFileSync(join(store, 'r2', 'm', '1', 'model.onnx'), 'in place');
    for (const name of ['whole', 'version', 'file']) await c.reported(name, 2);
  });

  it('ends though links lead in a circle', async () => {
    const path = c.addModel('m');
    symlinkSync('.', join(path, 'loop'));
    symlinkSync('self', join(path, 'self'));
    await c.start();
    writeFileSync(join(path, '1', 'model.onnx'), 'changed');
    await c.reported('m');
    expect(c.problems).toEqual([]);
  });
});
