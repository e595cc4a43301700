/** The command line, the environment or a configuration file asks for what cannot be. The message is one line for a person; the process ends with 1. */
export class UsageError extends Error {
  readonly exitCode: number = 1;

  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}
