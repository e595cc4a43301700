/** A line on the terminal that is written over again and again; nothing where nobody looks. */
export function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

export function clearProgress(): void {
  showProgress('');
}
