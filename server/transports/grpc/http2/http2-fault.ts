/** What ends a connection: its client hears the code and the sentence in GOAWAY. */
export class Http2Fault extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}
