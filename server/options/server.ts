import type { OptionTable } from './option-declaration.ts';
import { integerKind, optionalTextKind, textKind } from './option-kind.ts';

export interface ProcessOptions {
  readonly id: string;
  readonly exitTimeoutSecs: number;
  readonly configFile: string | null;
}

export const processOptions: OptionTable<ProcessOptions> = {
  id: { flag: 'id', group: 'Server', kind: textKind('NAME'), default: 'nereid', doc: 'Name of this server in its metadata.' },
  exitTimeoutSecs: {
    flag: 'exit-timeout-secs',
    group: 'Server',
    kind: integerKind('SECONDS', 0, 86_400),
    default: 30,
    doc: 'How long requests may take to finish after SIGTERM or SIGINT.',
  },
  configFile: {
    flag: 'config-file',
    group: 'Server',
    kind: optionalTextKind('FILE'),
    default: null,
    doc: "Options as a YAML or JSON object whose keys are the flags' names. Flags and environment win over it.",
  },
};
