import { afterAll, afterEach, expect, it } from 'vitest';
import { heavy, identity } from '../../bench/models/test-models.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { float32, ModelFiles } from './execution-host.case.ts';
import type { BatchRequest, ExecutionBatch, InstanceChannel } from './execution-host.ts';
import { ProcessHost } from './process-host.ts';

const files = new ModelFiles();
const hosts: ProcessHost[] = [];
const row = float32('INPUT0', [1, 16], Array(16).fill(1));

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.stop()));
});
afterAll(() => files.remove());

/** A batch of as many requests; what became of it is told by `ended`. */
class WatchedBatch implements ExecutionBatch {
  readonly inputs = [{ name: row.name, datatype: row.datatype, shape: row.shape, byteLength: row.data.length }];
  readonly requests: { -readonly [key in keyof BatchRequest]: BatchRequest[key] }[];
  readonly ended: Promise<'ran' | InferenceError>;
  mayDivide: boolean | undefined;
  #end!: (end: 'ran' | InferenceError) => void;

  constructor(requestCount: number) {
    this.requests = Array.from({ length: requestCount }, () => ({
      id: '',
      parameters: {},
      priority: 0,
      sequence: null,
      boundInputs: [],
      outputs: [],
      batchSize: 1,
      deadlineNs: Number.POSITIVE_INFINITY,
      isDone: false,
      depth: 0,
    }));
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  writeInput(_index: number, target: Uint8Array): void {
    target.set(row.data);
  }

  complete(): void {
    this.#end('ran');
  }

  fail(error: InferenceError, mayDivide?: boolean): void {
    this.mayDivide = mayDivide;
    this.#end(error);
  }

  /** As an InferenceRequest does it: the instance hears before the request has ended. */
  leave(channel: InstanceChannel, index: number): void {
    channel.abandon!(this, index);
    this.requests[index]!.isDone = true;
  }
}

async function start(): Promise<{ slow: InstanceChannel; quick: InstanceChannel; host: ProcessHost }> {
  const host = await ProcessHost.start({ memoryBytes: 16 * 1024 * 1024, transport: 'shared-memory' });
  hosts.push(host);
  const slow = await host.load(files.spec('slow', heavy(500)));
  const quick = await host.load(files.spec('quick', identity('FP32')));
  return { host, slow: await slow.createInstance(() => {}), quick: await quick.createInstance(() => {}) };
}

it('a batch that all its requests have left before its turn is not run, and says so', async () => {
  const { slow, quick } = await start();
  const running = new WatchedBatch(1);
  const abandoned = new WatchedBatch(3);
  const after = new WatchedBatch(1);
  slow.execute(running);
  slow.execute(abandoned);
  quick.execute(after);
  abandoned.leave(slow, 1);
  abandoned.leave(slow, 0);
  abandoned.leave(slow, 2);
  expect(await running.ended).toBe('ran');
  expect(await abandoned.ended).toMatchObject({ code: 'CANCELLED' });
  expect(abandoned.mayDivide ?? false).toBe(false);
  expect(await after.ended).toBe('ran');
  expect([slow.inflightCount, quick.inflightCount, slow.hasCapacity, slow.isAlive]).toEqual([0, 0, true, true]);
  // Its memory is used again, and the word in it is not what it was.
  const next = new WatchedBatch(3);
  quick.execute(next);
  expect(await next.ended).toBe('ran');
});

it('a batch that somebody still waits for runs, and so does one that had begun', async () => {
  const { slow } = await start();
  const running = new WatchedBatch(1);
  const shared = new WatchedBatch(2);
  slow.execute(running);
  slow.execute(shared);
  shared.leave(slow, 0);
  expect(await running.ended).toBe('ran');
  const begun = new WatchedBatch(1);
  slow.execute(begun);
  expect(await shared.ended).toBe('ran');
  // The host is at it by now or never was: either end is right, and there is one.
  begun.leave(slow, 0);
  const end = await begun.ended;
  expect(end === 'ran' || (end instanceof InferenceError && end.code === 'CANCELLED')).toBe(true);
});

it('a batch is told of its end once where its host dies', async () => {
  const { host, slow } = await start();
  const running = new WatchedBatch(1);
  const abandoned = new WatchedBatch(1);
  slow.execute(running);
  slow.execute(abandoned);
  abandoned.leave(slow, 0);
  process.kill(host.pid, 'SIGKILL');
  expect(await running.ended).toMatchObject({ code: 'UNAVAILABLE' });
  expect(await abandoned.ended).toMatchObject({ code: 'UNAVAILABLE' });
  abandoned.leave(slow, 0);
});
