import { describeDecoupledExecution } from './decoupled-execution.case.ts';
import { TEST_MEMORY_BYTES } from './execution-host.case.ts';
import { InlineHost } from './inline-host.ts';
import { ProcessHost } from './process-host.ts';

describeDecoupledExecution('decoupled models in a process host', () =>
  ProcessHost.start({ isDecoupled: true, memoryBytes: TEST_MEMORY_BYTES }),
);
describeDecoupledExecution(
  'decoupled models in an inline host',
  async () => new InlineHost({ memoryBytes: TEST_MEMORY_BYTES, backendSettings: {} }),
);
