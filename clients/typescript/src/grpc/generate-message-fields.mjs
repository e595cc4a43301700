/**
 * Writes message-fields.ts: the messages of every RPC but inference, as a table that decode-message.ts and encode-message.ts interpret, so that the client carries no
 * protobuf library. Run `node clients/typescript/src/grpc/generate-message-fields.mjs` after a .proto file changed; message-fields.test.ts fails when the table is stale.
 * Plain JavaScript because it runs before anything is compiled. `--out FILE` writes elsewhere.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';

const here = import.meta.dirname;
const protoFolder = join(here, '../../../../proto');
const MAX_LINE = 140;

/** 64-bit fields of the model configuration that REST writes as numbers; the others are text there (reference 5.12). */
const numberFields = new Set([
  'ModelInput.dims',
  'ModelOutput.dims',
  'ModelTensorReshape.shape',
  'ModelVersionPolicy.Specific.versions',
  'ModelDynamicBatching.max_queue_delay_microseconds',
  'ModelDynamicBatching.priority_levels',
  'ModelDynamicBatching.default_priority_level',
  'ModelQueuePolicy.default_timeout_microseconds',
  'ModelSequenceBatching.max_sequence_idle_microseconds',
  'ModelSequenceBatching.StrategyDirect.max_queue_delay_microseconds',
  'ModelSequenceBatching.StrategyOldest.max_queue_delay_microseconds',
  'ModelSequenceBatching.State.dims',
  'ModelEnsembling.Step.model_version',
  'ModelWarmup.Input.dims',
  'ModelConfig.version_labels',
]);

const root = new protobuf.Root();
protobuf.parse(readFileSync(join(protoFolder, 'model_config.proto'), 'utf8'), root, { keepCase: true });
const configTypes = new Set(typesIn(root));
protobuf.parse(readFileSync(join(protoFolder, 'inference_service.proto'), 'utf8'), root, { keepCase: true });
root.resolveAll();

function typesIn(namespace) {
  return namespace.nestedArray.flatMap((nested) => {
    const own = nested instanceof protobuf.Type ? [nested] : [];
    return nested instanceof protobuf.Namespace ? [...own, ...typesIn(nested)] : own;
  });
}

/** Without the package. */
const nameOf = (object) => object.fullName.replace(/^\.inference\./, '');
const camelCase = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const names = (values) => Object.entries(values).map(([name, number]) => `${name}=${number}`);

function fieldText(field) {
  const isConfig = configTypes.has(field.parent);
  let type = field.resolvedType === null ? field.type : nameOf(field.resolvedType);
  if (isConfig && (type === 'int64' || type === 'uint64') && !numberFields.has(`${nameOf(field.parent)}.${field.name}`)) type += '-text';
  if (field.map) type = `map<${field.keyType},${type}>`;
  else if (field.repeated) type += '[]';
  else if (field.partOf !== null || (isConfig && field.resolvedType instanceof protobuf.Type)) type += '?';
  return `${isConfig ? field.name : camelCase(field.name)}:${field.id}:${type}`;
}

const messages = new Map();
const enums = new Map();
function add(type) {
  if (type instanceof protobuf.Enum) {
    enums.set(nameOf(type), names(type.values).join(' '));
    return;
  }
  if (messages.has(nameOf(type))) return;
  messages.set(nameOf(type), type.fieldsArray.map(fieldText).join(' '));
  for (const field of type.fieldsArray) if (field.resolvedType !== null) add(field.resolvedType);
}
for (const method of root.lookupService('inference.GRPCInferenceService').methodsArray) {
  if (method.name === 'ModelInfer' || method.name === 'ModelStreamInfer') continue;
  add(method.resolvedRequestType);
  add(method.resolvedResponseType);
}

function record(entries) {
  return [...entries]
    .map(([name, text]) => {
      const key = /^\w+$/.test(name) ? name : `'${name}'`;
      const line = `  ${key}: '${text}',`;
      return line.length <= MAX_LINE ? `${line}\n` : `  ${key}:\n    '${text}',\n`;
    })
    .join('');
}

const text = `/** Written by generate-message-fields.mjs from proto/*.proto: change those, and run it again. */

/**
 * Fields of each message, as \`name:number:type\`. A type is a scalar, the name of a message or an enum; \`[]\` behind it: a list; \`?\`: missing when it is not set, where
 * all else has its default; \`-text\`: a 64-bit number as text. Messages of the model configuration have the names that its JSON has, the others JavaScript's.
 */
export const MESSAGE_FIELDS: Readonly<Record<string, string>> = {
${record(messages)}};

export const ENUM_VALUES: Readonly<Record<string, string>> = {
${record(enums)}};
`;
const outFlag = process.argv.indexOf('--out');
writeFileSync(outFlag >= 0 ? process.argv[outFlag + 1] : join(here, 'message-fields.ts'), text);
