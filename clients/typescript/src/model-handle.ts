import { invalidArgument } from '../../../proto/inference-error.ts';
import type { CallOptions } from './call-scope.ts';
import type { InferenceClient } from './client.ts';
import { encodeInput, type ModelInput } from './infer-input.ts';
import { type InferOptions, inferOutputs, inferParameters, unknownName } from './infer-options.ts';
import type { InferOutput, InferResult } from './infer-result.ts';
import type { ModelMetadata } from './server-facts.ts';
import type { InferRequest } from './transport.ts';

/** What a type written by `nereid client types` says of a model. */
export interface ModelTypes {
  readonly inputs: object;
  readonly outputs: object;
}

/** Of a model of which nothing is said: names and datatypes are checked when it runs. */
export interface UntypedModel {
  readonly inputs: Readonly<Record<string, ModelInput>>;
  readonly outputs: Readonly<Record<string, InferOutput>>;
}

type OutputName<T extends ModelTypes> = keyof T['outputs'] & string;

/** A model whose inputs and outputs are known: values need no datatype, and mostly no shape. */
export class ModelHandle<T extends ModelTypes = UntypedModel> {
  /** As it was when the handle was made. */
  readonly metadata: ModelMetadata;
  readonly #client: InferenceClient;
  readonly #version: string;

  constructor(client: InferenceClient, metadata: ModelMetadata, version: string) {
    this.#client = client;
    this.metadata = metadata;
    this.#version = version;
  }

  get name(): string {
    return this.metadata.name;
  }

  /** The version that was asked for; '': whatever the server's policy says. */
  get version(): string {
    return this.#version;
  }

  /** One request, one answer. Data of the inputs must stay as it is until then. */
  async infer<N extends OutputName<T> = OutputName<T>>(
    inputs: T['inputs'],
    options: InferOptions<N> = {},
  ): Promise<InferResult<Pick<T['outputs'], N>>> {
    return this.#client.inferRequest(this.#encode(inputs, options), options);
  }

  /** For a decoupled model: its answers one by one. The request goes out with the first step of the iteration; leaving the loop cancels it. */
  stream<N extends OutputName<T> = OutputName<T>>(
    inputs: T['inputs'],
    options: InferOptions<N> = {},
  ): AsyncIterableIterator<InferResult<Pick<T['outputs'], N>>> {
    return this.#client.streamRequest(this.#encode(inputs, options), options);
  }

  isReady(options: CallOptions = {}): Promise<boolean> {
    return this.#client.isModelReady(this.name, { ...options, version: this.#version });
  }

  #encode(inputs: T['inputs'], options: InferOptions): InferRequest {
    const metadata = this.metadata;
    const json = options.json === true;
    if (typeof inputs !== 'object' || inputs === null) {
      const names = metadata.inputs.map(({ name }) => name).join(', ');
      throw invalidArgument(
        `inputs: expected an object that has values by the names of '${metadata.name}': ${names}; got ${String(inputs)}`,
      );
    }
    // An input that is undefined was left out: models may have optional ones.
    const given = Object.entries(inputs).filter(([, values]) => values !== undefined);
    return {
      modelName: metadata.name,
      modelVersion: this.#version,
      id: options.id ?? '',
      parameters: inferParameters(options),
      inputs: given.map(([name, values]) => {
        const known = metadata.inputs.find((input) => input.name === name);
        if (known === undefined) throw unknownName('input', name, metadata.inputs, metadata);
        return encodeInput(name, values, known);
      }),
      outputs: inferOutputs(options.outputs, json, metadata),
      json,
    };
  }
}
