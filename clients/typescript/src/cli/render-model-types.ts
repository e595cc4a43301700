import { findDatatype } from '../../../../proto/datatype.ts';
import type { ModelConfig, ModelMetadata, TensorMetadata } from '../server-facts.ts';

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;

/** `digits` -> `DigitsModel`; a name that begins with no letter gets `Model` in front. */
export function modelTypeName(model: string): string {
  const words = model.split(/[^\p{ID_Continue}$]+|_+/u).filter((word) => word !== '');
  const pascal = words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
  return `${IDENTIFIER.test(pascal) ? pascal : `Model${pascal}`}Model`;
}

/**
 * A TypeScript module with the type of a model, for `client.model<T>()`. `config`, or null where the server does not tell it, says which inputs are optional.
 */
export function renderModelTypes(metadata: ModelMetadata, config: ModelConfig | null): string {
  const optional = optionalInputs(config);
  const imported = [...(metadata.outputs.length > 0 ? ['InferOutput'] : []), ...(metadata.inputs.length > 0 ? ['ModelInput'] : [])];
  return [
    ...(imported.length > 0 ? [`import type { ${imported.join(', ')} } from '@nereid/client';`, ''] : []),
    `/** Model ${comment(JSON.stringify(metadata.name))}. Written by \`nereid client types\`: write it again when the model changes. */`,
    `export interface ${modelTypeName(metadata.name)} {`,
    '  readonly inputs: {',
    ...metadata.inputs.flatMap((input) => member(input, 'ModelInput', optional.has(input.name))),
    '  };',
    '  readonly outputs: {',
    ...metadata.outputs.flatMap((output) => member(output, 'InferOutput', false)),
    '  };',
    '}',
    '',
  ].join('\n');
}

function member(tensor: TensorMetadata, type: string, isOptional: boolean): string[] {
  const datatype = findDatatype(tensor.datatype);
  const name = IDENTIFIER.test(tensor.name) ? tensor.name : JSON.stringify(tensor.name);
  return [
    `    /** ${comment(tensor.datatype)} [${tensor.shape.map(Number).join(', ')}]${isOptional ? ', optional' : ''} */`,
    `    readonly ${name}${isOptional ? '?' : ''}: ${type}${datatype === undefined ? '' : `<'${datatype.name}'>`};`,
  ];
}

function optionalInputs(config: ModelConfig | null): Set<string> {
  const inputs = config?.['input'];
  if (!Array.isArray(inputs)) return new Set();
  const list = inputs as { name?: unknown; optional?: unknown }[];
  return new Set(list.filter((input) => input.optional === true).map((input) => String(input.name)));
}

function comment(text: string): string {
  return text.replaceAll('*/', '*\\/').replaceAll(/[\r\n\u2028\u2029]/g, ' ');
}
