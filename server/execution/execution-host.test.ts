import { describeExecutionHost, TEST_MEMORY_BYTES } from './execution-host.case.ts';
import { InlineHost } from './inline-host.ts';
import { ProcessHost } from './process-host.ts';

describeExecutionHost('process host over shared memory', () =>
  ProcessHost.start({ transport: 'shared-memory', memoryBytes: TEST_MEMORY_BYTES }),
);
describeExecutionHost('process host over a socket', () => ProcessHost.start({ transport: 'socket', memoryBytes: TEST_MEMORY_BYTES }));
describeExecutionHost('inline host', async () => new InlineHost({ memoryBytes: TEST_MEMORY_BYTES, backendSettings: {} }));
