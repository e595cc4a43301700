/** Headers that carry no credential. */
const PLAIN_HEADERS = /^(accept|content-type|user-agent|x-request-id|inference-timeout-ms):/i;

/** The arguments as they may be written into a report: of a header that may be a credential only the name. */
export function withoutSecrets(argv: readonly string[]): string[] {
  return argv.map((text, i) => {
    const value = argv[i - 1] === '--header' ? text : text.startsWith('--header=') ? text.slice('--header='.length) : null;
    if (value === null || PLAIN_HEADERS.test(value)) return text;
    return `${text.slice(0, text.length - value.length)}${value.slice(0, value.indexOf(':') + 1)}***`;
  });
}
