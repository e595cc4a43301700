import type { ModelMetadata } from '../../backends/api/backend.ts';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { CheckedModel } from './check-model-directory.ts';

/** Label files against the classes that there are: the output's last dimension, by the configuration or, where that leaves it open, by the model's file. */
export function checkLabelCounts(model: CheckedModel, config: ModelConfig, metadata: ModelMetadata | null): void {
  for (const [index, { name, dims, labelFilename }] of config.output.entries()) {
    const labels = model.labels.get(name);
    if (labels === undefined) continue;
    const configured = dims.at(-1) ?? -1;
    const classes = configured > 0 ? configured : (metadata?.outputs.find((output) => output.name === name)?.shape.at(-1) ?? -1);
    if (classes <= 0 || classes === labels.length) continue;
    const field = `output[${index}].label_filename`;
    const message = `'${labelFilename}' has ${labels.length} labels, expected ${classes}: one a line for each class of '${name}', whose last dimension is ${classes}`;
    model.findings.add('error', model.configFile, message, field, model.lineOf(field));
  }
}
