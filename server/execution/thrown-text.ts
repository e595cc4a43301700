/** A model may throw anything, and some things throw when they are made into text. */
export function thrownText(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.message) : String(thrown);
  } catch {
    return 'it threw a value that has no text';
  }
}
