/** A step of an ensemble, as a test writes it. */
export interface StepText {
  readonly model: string;
  /** -1, the latest, where it is left out. */
  readonly version?: number;
  readonly from: Readonly<Record<string, string>>;
  readonly to: Readonly<Record<string, string>>;
  /** Further fields, in YAML's flow form. */
  readonly more?: string;
}

export interface EnsembleText {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly steps: readonly StepText[];
  /** Of every tensor, and of the outputs where they have another; FP32 [4] where it is left out. */
  readonly dataType?: string;
  readonly outputType?: string;
  readonly dims?: string;
  readonly maxBatchSize?: number;
  /** Further lines of ensemble_scheduling. */
  readonly more?: string;
}

/** The `config.yaml` of an ensemble all of whose tensors are alike. */
export function ensembleConfig({
  inputs,
  outputs,
  steps,
  dataType = 'TYPE_FP32',
  outputType = dataType,
  dims = '[4]',
  maxBatchSize = 4,
  more = '',
}: EnsembleText): string {
  const tensors = (names: readonly string[], type: string): string =>
    `[${names.map((name) => `{name: ${name.replace('?', '')}, data_type: ${type}, dims: ${dims}${name.endsWith('?') ? ', optional: true' : ''}}`).join(', ')}]`;
  const map = (pairs: Readonly<Record<string, string>>): string =>
    `{${Object.entries(pairs)
      .map(([key, value]) => `${key}: ${value}`)
      .join(', ')}}`;
  const lines = steps.map(
    ({ model, version = -1, from, to, more: rest }) =>
      `    - {model_name: ${model}, model_version: ${version}, input_map: ${map(from)}, output_map: ${map(to)}${rest === undefined ? '' : `, ${rest}`}}\n`,
  );
  return `platform: ensemble\nmax_batch_size: ${maxBatchSize}\ninput: ${tensors(inputs, dataType)}\noutput: ${tensors(outputs, outputType)}\nensemble_scheduling:\n${more}  step:\n${lines.join('')}`;
}
