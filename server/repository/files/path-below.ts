import { isAbsolute } from 'node:path';

/** Names from a file are shown no longer than this. */
const MAX_SHOWN = 120;

/** Why a path that a file names is not one below a directory, as a phrase that follows it; null: it is one. Links are not looked at. */
export function whyNotBelow(path: string): string | null {
  if (path.trim() === '') return 'is empty';
  if (isAbsolute(path) || path.startsWith('/') || path.startsWith('\\') || /^[a-z]:/i.test(path)) return 'is absolute';
  if (path.includes('\0')) return 'holds a NUL byte';
  // A separator on one system, a letter on another.
  if (path.includes('\\')) return "holds a backslash; write '/'";
  if (path.split('/').includes('..')) return "holds '..'";
  return null;
}

/** A name out of a file as it may stand in a message or a log: one line, not long. */
export function shownName(name: string): string {
  const oneLine = name.replaceAll(/[\p{Cc}\u2028\u2029]/gu, '?');
  return oneLine.length > MAX_SHOWN ? `${oneLine.slice(0, MAX_SHOWN)}...` : oneLine;
}
