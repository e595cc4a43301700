/** How errors name a tensor of a request: `inputs[0] (INPUT0)`. */
export function tensorLabel(list: 'inputs' | 'outputs', index: number, name: string): string {
  return name === '' ? `${list}[${index}]` : `${list}[${index}] (${name})`;
}
