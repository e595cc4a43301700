/** Models that are code, and requests to them, for the tests of such. */

/** The start of a model that takes IN and gives OUT, one dimension besides the batch's. */
export const vector = (maxBatchSize: number, datatype = 'FP32'): string =>
  `export const config = { maxBatchSize: ${maxBatchSize}, inputs: [{ name: 'IN', datatype: '${datatype}', dims: [-1] }], outputs: [{ name: 'OUT', datatype: '${datatype}', dims: [-1] }] };\n`;

export interface Sent {
  readonly shape?: readonly number[];
  readonly datatype?: string;
  readonly parameters?: object;
  readonly id?: string;
}

export function body(
  values: readonly unknown[],
  { shape = [values.length], datatype = 'FP32', parameters = {}, id = '' }: Sent = {},
): object {
  return { id, parameters, inputs: [{ name: 'IN', datatype, shape, data: values }] };
}
