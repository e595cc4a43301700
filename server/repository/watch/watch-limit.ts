import { readFileSync } from 'node:fs';

/** What a system gives that says nothing. */
const CAUTIOUS_LIMIT = 8192;
/** The kernel keeps about a kilobyte for each, the process another one. */
const MAX_WATCHES = 32_768;

/** Directories that may be watched at once: a quarter of what the system gives this user, who has other programs. Read once, at boot. */
export function watchLimit(path: string = '/proc/sys/fs/inotify/max_user_watches'): number {
  let given: number;
  try {
    given = Number.parseInt(readFileSync(path, 'utf8'), 10);
  } catch {
    return CAUTIOUS_LIMIT;
  }
  return Number.isNaN(given) ? CAUTIOUS_LIMIT : Math.min(MAX_WATCHES, Math.max(CAUTIOUS_LIMIT, Math.floor(given / 4)));
}
