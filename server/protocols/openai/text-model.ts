import { invalidArgument } from '../../../proto/inference-error.ts';
import type { InputSpec, ModelSignature } from '../../inference/model-signature.ts';
import type { Model } from '../../repository/model.ts';

/** Inputs that this front-end can give to a model, each of one element but `input_ids`; see docs/language-models.md. Null: the model has none of that name and type. */
export interface TextInputs {
  readonly text: InputSpec | null;
  readonly tokens: InputSpec | null;
  readonly messages: InputSpec | null;
  readonly tools: InputSpec | null;
  readonly toolChoice: InputSpec | null;
  readonly stream: InputSpec | null;
  readonly sampling: InputSpec | null;
  readonly excludesInput: InputSpec | null;
  readonly returnsFinishReason: InputSpec | null;
  readonly returnsLogprobs: InputSpec | null;
  readonly returnsInputTokens: InputSpec | null;
  readonly returnsOutputTokens: InputSpec | null;
  readonly returnsCachedTokens: InputSpec | null;
}

const known: WeakMap<ModelSignature, TextInputs | null> = new WeakMap();

/** Null: the model does not make text of text. Looked at once for each model version. */
export function textInputsOf(model: Model): TextInputs | null {
  const { signature } = model;
  let inputs = known.get(signature);
  if (inputs === undefined) {
    inputs = model.sequencePlan === null ? read(signature) : null;
    known.set(signature, inputs);
  }
  return inputs;
}

/** Throws INVALID_ARGUMENT where it does not. */
export function requireTextInputs(model: Model): TextInputs {
  const inputs = textInputsOf(model);
  if (inputs !== null) return inputs;
  throw invalidArgument(
    `model: '${model.name}' does not generate text (it would have an input 'text_input' or 'messages' and an output 'text_output'); see GET /v1/models, and POST /v2/models/${model.name}/infer for any other`,
  );
}

function read(signature: ModelSignature): TextInputs | null {
  const output = signature.outputs[signature.outputIndex.get('text_output') ?? -1];
  if (output === undefined || output.datatype !== 'BYTES') return null;
  const find = (name: string, datatype: string): InputSpec | null => {
    const spec = signature.inputs[signature.inputIndex.get(name) ?? -1];
    const isOne = spec?.dims.every((dim) => dim === 1 || dim === -1) ?? false;
    return spec?.datatype === datatype && isOne ? spec : null;
  };
  const inputs: TextInputs = {
    text: find('text_input', 'BYTES'),
    tokens: find('input_ids', 'INT32'),
    messages: find('messages', 'BYTES'),
    tools: find('tools', 'BYTES'),
    toolChoice: find('tool_choice', 'BYTES'),
    stream: find('stream', 'BOOL'),
    sampling: find('sampling_parameters', 'BYTES'),
    excludesInput: find('exclude_input_in_output', 'BOOL'),
    returnsFinishReason: find('return_finish_reason', 'BOOL'),
    returnsLogprobs: find('return_logprobs', 'BOOL'),
    returnsInputTokens: find('return_num_input_tokens', 'BOOL'),
    returnsOutputTokens: find('return_num_output_tokens', 'BOOL'),
    returnsCachedTokens: find('return_num_cached_tokens', 'BOOL'),
  };
  return inputs.text === null && inputs.messages === null ? null : inputs;
}
