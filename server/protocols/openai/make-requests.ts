import { encodeBytes } from '../../../proto/bytes.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InputSpec } from '../../inference/model-signature.ts';
import type { Model } from '../../repository/model.ts';
import { MAX_COUNT } from './decode-chat.ts';
import type { GenerationSpec, PromptSpec } from './generation-spec.ts';
import { requireTextInputs, type TextInputs } from './text-model.ts';

const TRUE = Uint8Array.of(1);

/** What the model is to tell beside its text, in so far as it can. */
export interface Wanted {
  readonly usage: boolean;
}

/**
 * The inference requests of a call, `n` for each prompt in turn; `callers` in that order. Inputs that the model lacks are left out, unless the client asked for what needs them: then INVALID_ARGUMENT.
 * Always as a stream, so that the model is never silent for long. Tensors that are the same for several requests are shared.
 */
export function makeRequests(
  spec: GenerationSpec,
  model: Model,
  id: string,
  version: string,
  wanted: Wanted,
  callers: readonly InferenceCaller[],
): InferenceRequest[] {
  const inputs = requireTextInputs(model);
  const maker = new TensorMaker(model.signature.maxBatchSize > 0);
  requireWhatIsAsked(spec, inputs, model.name);
  const shared: Tensor[] = [];
  const flag = (spec: InputSpec | null, isWanted = true): void => {
    if (spec !== null && isWanted) shared.push(maker.make(spec, TRUE));
  };
  const json = (spec: InputSpec | null, text: Uint8Array | null): void => {
    if (spec !== null && text !== null) shared.push(maker.bytes(spec, text));
  };
  flag(inputs.stream);
  flag(inputs.excludesInput, spec.kind === 'completion');
  flag(inputs.returnsFinishReason);
  flag(inputs.returnsLogprobs, spec.wantsLogprobs);
  flag(inputs.returnsInputTokens, wanted.usage);
  flag(inputs.returnsOutputTokens, wanted.usage);
  flag(inputs.returnsCachedTokens, wanted.usage);
  json(inputs.tools, spec.tools);
  json(inputs.toolChoice, spec.toolChoice);
  const sampling = spec.wantsAllThatFits ? [...spec.sampling, ...allThatFits(model)] : spec.sampling;
  const unseeded = inputs.sampling === null || sampling.length === 0 ? null : maker.bytes(inputs.sampling, `{${sampling.join(',')}}`);

  const requests: InferenceRequest[] = [];
  for (let p = 0; p < spec.prompts.length; p++) {
    const prompt = promptTensor(spec.prompts[p]!, inputs, model.name, maker);
    for (let i = 0; i < spec.n; i++) {
      const tensors = [prompt, ...shared];
      if (inputs.sampling !== null && spec.seed !== null) {
        tensors.push(maker.bytes(inputs.sampling, `{${[...sampling, `"seed":${spec.seed + requests.length}`].join(',')}}`));
      } else if (unseeded !== null) {
        tensors.push(unseeded);
      }
      requests.push(
        new InferenceRequest({
          modelName: model.name,
          modelVersion: version,
          id,
          inputs: tensors,
          outputs: [],
          parameters: {},
          priority: 0,
          timeoutUs: 0,
          caller: callers[requests.length]!,
        }),
      );
    }
  }
  return requests;
}

/** The most that the model lets a request ask for: what does not fit its context it cuts. Nothing where its configuration has a default. */
function allThatFits({ config: { parameters } }: Model): string[] {
  if (parameters['default_max_tokens'] !== undefined) return [];
  const most = Number(parameters['max_output_tokens']?.stringValue);
  return [`"max_tokens":${Number.isInteger(most) && most > 0 ? most : MAX_COUNT}`];
}

function requireWhatIsAsked(spec: GenerationSpec, inputs: TextInputs, name: string): void {
  const lacks = (param: string, input: string): Error =>
    invalidArgument(`${param}: model '${name}' does not take it (it has no input '${input}'): leave it out, or ask another model`);
  if (spec.firstSamplingField !== '' && inputs.sampling === null) throw lacks(spec.firstSamplingField, 'sampling_parameters');
  if (spec.tools !== null && inputs.tools === null) throw lacks('tools', 'tools');
  if (spec.toolChoice !== null && inputs.toolChoice === null) throw lacks('tool_choice', 'tool_choice');
  if (spec.wantsLogprobs && inputs.returnsLogprobs === null) throw lacks('logprobs', 'return_logprobs');
}

function promptTensor(prompt: PromptSpec, inputs: TextInputs, name: string, maker: TensorMaker): Tensor {
  switch (prompt.kind) {
    case 'messages':
      if (inputs.messages === null) {
        throw invalidArgument(`messages: model '${name}' takes plain text, not messages (it has no input 'messages'): use /v1/completions`);
      }
      return maker.bytes(inputs.messages, prompt.json);
    case 'text':
      if (inputs.text === null) {
        throw invalidArgument(
          `prompt: model '${name}' takes messages, not plain text (it has no input 'text_input'): use /v1/chat/completions`,
        );
      }
      return maker.bytes(inputs.text, prompt.text);
    case 'tokens':
      if (inputs.tokens === null) {
        throw invalidArgument(`prompt: model '${name}' takes text, not token ids (it has no input 'input_ids')`);
      }
      return maker.tokens(inputs.tokens, prompt.tokens);
  }
}

class TensorMaker {
  readonly #isBatched: boolean;

  constructor(isBatched: boolean) {
    this.#isBatched = isBatched;
  }

  /** Of one element. */
  make({ name, datatype, dims }: InputSpec, data: Uint8Array): Tensor {
    const shape = dims.map(() => 1);
    return { name, datatype, shape: this.#isBatched ? [1, ...shape] : shape, data };
  }

  bytes(spec: InputSpec, content: string | Uint8Array): Tensor {
    return this.make(spec, encodeBytes([content]));
  }

  tokens({ name, datatype }: InputSpec, tokens: Int32Array): Tensor {
    const data = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
    return { name, datatype, shape: this.#isBatched ? [1, tokens.length] : [tokens.length], data };
  }
}
