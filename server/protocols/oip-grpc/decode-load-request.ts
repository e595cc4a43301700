import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { type MessageFields, ProtobufReader } from '../../../proto/protobuf-reader.ts';
import { MAX_CONFIG_BYTES } from '../../model-config/parse-model-config.ts';
import type { LoadParameters, OverrideFile } from '../../repository/load-parameters.ts';
import { type ContentPieces, writeOverrideFile } from '../../repository/override/override-file-writer.ts';
import { MAX_OVERRIDE_PATH_BYTES, parameterName } from '../../repository/override/override-path.ts';
import {
  CONFIG,
  configTooLarge,
  FILE_PREFIX,
  LoadRequest,
  noRepositoryName,
  UNLOAD_DEPENDENTS,
  unknownLoadParameter,
  unknownUnloadParameter,
} from '../load-request.ts';
import { MAX_NAME_BYTES } from '../oip-json/field-reader.ts';

const REPOSITORY_NAME = 1;
const MODEL_NAME = 2;
const PARAMETERS = 3;
const FIELDS = ['', 'repository_name', 'model_name', 'parameters'];
const LOAD: MessageFields = { name: 'RepositoryModelLoadRequest', fields: FIELDS };
const UNLOAD: MessageFields = { name: 'RepositoryModelUnloadRequest', fields: FIELDS };
const ENTRY: MessageFields = { name: 'parameters', fields: ['', 'key', 'value'] };
/** `ModelRepositoryParameter.parameter_choice`, by field number. */
const CHOICES = ['no value', 'bool_param', 'int64_param', 'string_param', 'bytes_param'] as const;
const PARAMETER: MessageFields = { name: 'ModelRepositoryParameter', fields: CHOICES };
const BOOL = 1;
const INT64 = 2;
const STRING = 3;
const BYTES = 4;
const MAX_KEY_BYTES = FILE_PREFIX.length + MAX_OVERRIDE_PATH_BYTES;

/** RepositoryModelLoadRequest (reference sections 3.3 and 6.6). Files are views of `message`. INVALID_ARGUMENT for everything that it does not take, UNIMPLEMENTED for a repository's name. */
export function decodeLoadRequest(message: Uint8Array): { modelName: string; parameters: LoadParameters | null } {
  const request = new LoadRequest();
  const modelName = readRequest(new ProtobufReader(message, LOAD), (entry, reader) => {
    const { key } = entry;
    if (key === CONFIG) {
      if (entry.choice !== STRING) throw entry.wrong(key, 'string_param');
      const bytes = entry.stop - entry.start;
      if (bytes > MAX_CONFIG_BYTES) throw configTooLarge(bytes);
      request.setConfig(entry.text(reader));
    } else if (key.startsWith(FILE_PREFIX)) {
      if (entry.choice !== BYTES) throw entry.wrong(key, 'bytes_param');
      request.addFile(key.slice(FILE_PREFIX.length), new BytesFile(message.subarray(entry.start, entry.stop)));
    } else {
      throw unknownLoadParameter(key);
    }
  });
  return { modelName, parameters: request.finish() };
}

/** RepositoryModelUnloadRequest (reference sections 3.3 and 6.6b). */
export function decodeUnloadRequest(message: Uint8Array): { modelName: string; unloadDependents: boolean } {
  let unloadDependents = false;
  const modelName = readRequest(new ProtobufReader(message, UNLOAD), (entry) => {
    if (entry.key !== UNLOAD_DEPENDENTS) throw unknownUnloadParameter(entry.key);
    if (entry.choice !== BOOL) throw entry.wrong(entry.key, 'bool_param');
    unloadDependents = entry.flag;
  });
  return { modelName, unloadDependents };
}

/** Returns the model's name, and hands over the parameters one by one. */
function readRequest(reader: ProtobufReader, onParameter: (entry: RepositoryParameter, reader: ProtobufReader) => void): string {
  let modelName = '';
  const { message } = reader;
  while (reader.next()) {
    if (reader.field === MODEL_NAME) {
      modelName = reader.takeText(MAX_NAME_BYTES);
    } else if (reader.field === REPOSITORY_NAME) {
      const name = reader.takeText(MAX_NAME_BYTES);
      if (name !== '') throw noRepositoryName(name);
    } else if (reader.field === PARAMETERS) {
      const outerEnd = reader.enter(ENTRY);
      const entry = new RepositoryParameter(reader);
      reader.leave(outerEnd, message);
      onParameter(entry, reader);
    } else {
      reader.skip();
    }
  }
  return modelName;
}

/** One entry of `map<string, ModelRepositoryParameter>`. */
class RepositoryParameter {
  key = '';
  choice = 0;
  flag = false;
  /** The text's or the bytes' place in the message. */
  start = 0;
  stop = 0;

  constructor(reader: ProtobufReader) {
    while (reader.next()) {
      if (reader.field === 1) this.key = reader.takeText(MAX_KEY_BYTES);
      else if (reader.field === 2) this.#readValue(reader);
      else reader.skip();
    }
  }

  #readValue(reader: ProtobufReader): void {
    const outerEnd = reader.enter(PARAMETER);
    while (reader.next()) {
      const { field } = reader;
      if (field === BOOL) {
        this.flag = reader.takeBool();
      } else if (field === INT64) {
        reader.takeVarint();
      } else if (field === STRING || field === BYTES) {
        reader.takeRange();
        this.start = reader.start;
        this.stop = reader.stop;
      } else {
        reader.skip();
        continue;
      }
      this.choice = field;
    }
    reader.leave(outerEnd, ENTRY);
  }

  /** Refuses what is no UTF-8. */
  text(reader: ProtobufReader): string {
    reader.start = this.start;
    reader.stop = this.stop;
    return reader.rangeText(MAX_CONFIG_BYTES);
  }

  wrong(key: string, expected: string): InferenceError {
    const where = key.startsWith(FILE_PREFIX) ? parameterName(key.slice(FILE_PREFIX.length)) : `parameters.${key}`;
    return invalidArgument(`${where}: invalid value type: expected ${expected}, got ${CHOICES[this.choice]}`);
  }
}

/** A file as it lies in the message. */
class BytesFile implements OverrideFile {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get byteLength(): number {
    return this.#bytes.length;
  }

  writeTo(path: string): Promise<void> {
    return writeOverrideFile(path, new OnePiece(this.#bytes));
  }
}

class OnePiece implements ContentPieces {
  #bytes: Uint8Array | null;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next(): Uint8Array | null {
    const bytes = this.#bytes;
    this.#bytes = null;
    return bytes;
  }
}
