import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { UseSample } from './target.ts';

/** USER_HZ: what Linux tells processes, whatever the kernel's own clock. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
const LISTEN = '0A';
/** Reading PSS walks all pages of a process and holds its memory lock: it is read again when this many times the last reading's time has passed. */
const MEMORY_REST = 50;
/** They hold the port, and the server is behind them: in a container, or on another machine. */
const FORWARDERS: ReadonlySet<string> = new Set([
  'conmon',
  'docker-proxy',
  'haproxy',
  'kube-proxy',
  'kubectl',
  'nginx',
  'pasta',
  'rootlessport',
  'slirp4netns',
  'socat',
  'ssh',
  'sshd',
]);

/**
 * The processes of this machine that listen on `port` of one of `addresses`, which are its own; of several that inherited the socket, those at the top. Empty where there are none, where
 * the operating system does not tell (other users' processes; systems other than Linux), and where only a forwarder of a container or of a tunnel is there.
 */
export function listeningPids(port: number, addresses: readonly string[]): readonly number[] {
  const inodes = listeningInodes(port, addresses);
  if (inodes.size === 0) return [];
  const holders = new Set<number>();
  for (const pid of namesIn('/proc').filter((name) => /^\d+$/.test(name))) {
    if (namesIn(`/proc/${pid}/fd`).some((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`)))) holders.add(Number(pid));
  }
  const roots = [...holders].filter((pid) => !ancestorsOf(pid).some((ancestor) => holders.has(ancestor)));
  return roots.filter((pid) => !FORWARDERS.has(textOf(`/proc/${pid}/comm`).trim()));
}

/** A process that is there, with its memory and processor time. */
export function isProcess(pid: number): boolean {
  return statOf(pid) !== null;
}

/** Reads what the trees of processes below `roots` take. Bounded to a small share of the machine's time, however large they are. */
export class ProcessUse {
  readonly #roots: readonly number[];
  #memoryMiB = 0;
  #memoryDueMs = 0;

  constructor(roots: readonly number[]) {
    this.#roots = roots;
  }

  /** null: they have ended. */
  read(nowMs: number = performance.now()): UseSample | null {
    const pids = this.#roots.flatMap(treeOf);
    const stats = pids.map(statOf).filter((stat) => stat !== null);
    if (stats.length === 0) return null;
    if (nowMs >= this.#memoryDueMs) {
      this.#memoryMiB = pids.reduce((sum, pid) => sum + memoryBytes(pid), 0) / 2 ** 20;
      this.#memoryDueMs = nowMs + MEMORY_REST * (performance.now() - nowMs);
    }
    return {
      cpuSeconds: stats.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND,
      memoryMiB: this.#memoryMiB,
      source: 'process',
    };
  }
}

/** `socket:[123]` of each listener. Source: proc(5), /proc/net/tcp. */
function listeningInodes(port: number, addresses: readonly string[]): ReadonlySet<string> {
  const wanted = new Set(['00000000', '0'.repeat(32), ...addresses.map(hexAddress)]);
  const inodes = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of textOf(table).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [address = '', hexPort = ''] = (fields[1] ?? '').split(':');
      if (fields[3] !== LISTEN || Number.parseInt(hexPort, 16) !== port) continue;
      // An IPv4 address may stand in the table of IPv6 ones.
      const plain = address.startsWith('0000000000000000FFFF0000') ? address.slice(24) : address;
      if (wanted.has(plain)) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  return inodes;
}

/** As the tables have it: words of 32 bits, each in the machine's byte order, which is little-endian wherever Node runs. */
function hexAddress(address: string): string {
  const bytes = address.includes(':') ? ipv6Bytes(address) : address.split('.').map(Number);
  let hex = '';
  for (let word = 0; word < bytes.length; word += 4) {
    for (let i = 3; i >= 0; i--) hex += (bytes[word + i] ?? 0).toString(16).padStart(2, '0');
  }
  return hex.toUpperCase();
}

function ipv6Bytes(address: string): number[] {
  const [head = '', tail] = address.replace(/%.*$/, '').split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right];
  return all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
}

interface ProcessStat {
  readonly parent: number;
  /** Its own, and those of children that have ended. */
  readonly ticks: number;
}

/** null: there is no such process, or it has ended and nobody has asked for its status yet. */
function statOf(pid: number): ProcessStat | null {
  const stat = textOf(`/proc/${pid}/stat`);
  // Behind the name, which may hold anything; fields 3 and on of proc(5).
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  if (stat === '' || fields[0] === 'Z' || fields[0] === 'X') return null;
  return { parent: Number(fields[1]), ticks: fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) };
}

function ancestorsOf(pid: number): number[] {
  const ancestors: number[] = [];
  for (let stat = statOf(pid); stat !== null && stat.parent > 0 && ancestors.length < 64; stat = statOf(stat.parent))
    ancestors.push(stat.parent);
  return ancestors;
}

/** A process and all below it. */
function treeOf(pid: number): number[] {
  const children = namesIn(`/proc/${pid}/task`).flatMap((task) =>
    textOf(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(treeOf)];
}

/** What processes share counts once in all of them together (PSS); where another user's process keeps it to itself, what is in memory of it. */
function memoryBytes(pid: number): number {
  const pss = /^Pss: +(\d+) kB/m.exec(textOf(`/proc/${pid}/smaps_rollup`))?.[1];
  if (pss !== undefined) return Number(pss) * 1024;
  return Number(textOf(`/proc/${pid}/statm`).split(' ')[1] ?? 0) * PAGE_BYTES;
}

/** '' for what is not there, or not for us to read. Processes end while they are looked at. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
