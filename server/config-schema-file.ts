import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import protobuf from 'protobufjs';
import { createConfigSchema } from './model-config/config-schema.ts';

/** The text of docs/model-config.schema.json. `protoText`: proto/model_config.proto, for its comments. */
export function configSchemaFile(protoText: string): string {
  const root = new protobuf.Root();
  protobuf.parse(protoText, root, { alternateCommentMode: true, preferTrailingComment: false });
  root.resolveAll();
  const schema = createConfigSchema((qualifiedName) => commentOf(root, qualifiedName));
  return `${JSON.stringify(schema, null, 2)}\n`;
}

function commentOf(root: protobuf.Root, qualifiedName: string): string | null {
  const dot = qualifiedName.lastIndexOf('.');
  const owner = dot < 0 ? null : root.lookup(`inference.${qualifiedName.slice(0, dot)}`);
  const name = qualifiedName.slice(dot + 1);
  if (owner instanceof protobuf.Enum) return owner.comments[name] ?? null;
  const field =
    owner instanceof protobuf.Type ? owner.fieldsArray.find((one) => (Reflect.get(one, 'protoName') ?? one.name) === name) : undefined;
  return (field ?? root.lookup(`inference.${qualifiedName}`))?.comment ?? null;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = process.argv[2];
  if (path === undefined) {
    process.stderr.write('usage: node dist/server/config-schema-file.js docs/model-config.schema.json\n');
    process.exitCode = 1;
  } else {
    writeFileSync(path, configSchemaFile(readFileSync(join(import.meta.dirname, '../../proto/model_config.proto'), 'utf8')));
  }
}
