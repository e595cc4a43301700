import type { InputTensor } from '../../clients/typescript/src/transport.ts';
import { shapeText } from './input-shapes.ts';

interface Described {
  readonly inputs: readonly (InputTensor & { readonly data: Uint8Array })[];
  readonly expected: readonly unknown[] | null;
}

const MAX_INPUTS = 3;

/** 'random, 16 requests of 1x3x224x224 FP32 (602,112 bytes)'. `found`: requests that there were, of which `requests` are sent. */
export function describeRequests(source: string, requests: readonly Described[], found: number): string {
  const count = requests.length;
  const of = found > count ? ` (the first of ${grouped(found)})` : '';
  const checked = requests.some(({ expected }) => expected !== null) ? ', answers compared' : '';
  return `${source}, ${grouped(count)} ${count === 1 ? 'request' : 'requests'}${of} of ${inputsOf(requests)} (${sizesOf(requests)} bytes)${checked}`;
}

/** Shapes of the first; those of others may be different. */
function inputsOf(requests: readonly Described[]): string {
  const { inputs } = requests[0]!;
  const isOne = inputs.length === 1;
  const shown = inputs.slice(0, MAX_INPUTS).map(({ name, shape, datatype }) => `${isOne ? '' : `${name} `}${shapeText(shape)} ${datatype}`);
  const more = inputs.length > MAX_INPUTS ? ` and ${inputs.length - MAX_INPUTS} more` : '';
  const shapes = new Set(requests.map((request) => request.inputs.map((input) => `${input.name}:${input.shape}`).join()));
  return `${shown.join(', ')}${more}${shapes.size > 1 ? ` and ${shapes.size - 1} other ${shapes.size === 2 ? 'shape' : 'shapes'}` : ''}`;
}

function sizesOf(requests: readonly Described[]): string {
  let min = Number.POSITIVE_INFINITY;
  let max = 0;
  for (const { inputs } of requests) {
    const bytes = inputs.reduce((sum, { data }) => sum + data.length, 0);
    min = Math.min(min, bytes);
    max = Math.max(max, bytes);
  }
  return min === max ? grouped(max) : `${grouped(min)} to ${grouped(max)}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}
