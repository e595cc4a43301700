import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { field, isRecord, type JsonRecord, readJson, shown } from './read-json.ts';

const MAX_TOOLS = 128;
const NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** As OpenAI sends it, and as templates take it. */
export interface ChatTool {
  readonly type: 'function';
  readonly function: { readonly name: string; readonly description?: string; readonly parameters: JsonRecord };
}

/** The `tools` input. Throws INVALID_ARGUMENT `tools[0].function.name: ...`. */
export function readTools(json: string | null): ChatTool[] {
  if (json === null) return [];
  const value = readJson(json, 'tools');
  if (value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument(`tools: expected an array of tools, got ${shown(value)}`);
  if (value.length > MAX_TOOLS) throw invalidArgument(`tools: ${value.length} tools; at most ${MAX_TOOLS} are read`);
  const names = new Set<string>();
  return value.map((tool: unknown, i) => {
    const path = `tools[${i}]`;
    if (!isRecord(tool)) throw invalidArgument(`${path}: expected an object with type and function, got ${shown(tool)}`);
    const type = field(tool, 'type');
    if (type !== 'function') throw invalidArgument(`${path}.type: expected "function", got ${shown(type)}`);
    const described = field(tool, 'function');
    if (!isRecord(described))
      throw invalidArgument(`${path}.function: expected an object with name and parameters, got ${shown(described)}`);
    const name = field(described, 'name');
    if (typeof name !== 'string' || !NAME.test(name)) {
      throw invalidArgument(`${path}.function.name: expected 1 to 64 letters, digits, _ or -, got ${shown(name)}`);
    }
    if (names.has(name)) throw invalidArgument(`${path}.function.name: '${name}' is there twice`);
    names.add(name);
    const description = field(described, 'description');
    if (description !== undefined && typeof description !== 'string') {
      throw invalidArgument(`${path}.function.description: expected a string, got ${shown(description)}`);
    }
    const parameters = field(described, 'parameters') ?? { type: 'object', properties: {} };
    if (!isRecord(parameters))
      throw invalidArgument(`${path}.function.parameters: expected a JSON schema of an object, got ${shown(parameters)}`);
    return { type, function: { name, ...(description === undefined ? {} : { description }), parameters } };
  });
}

/** `required`: at least one call; a name: that one. */
export type ToolChoice = { readonly kind: 'none' | 'auto' | 'required' } | { readonly kind: 'named'; readonly name: string };

/** The `tool_choice` input; where it is left out, auto with tools and none without. Throws INVALID_ARGUMENT `tool_choice: ...`. */
export function readToolChoice(json: string | null, tools: readonly ChatTool[]): ToolChoice {
  const value = json === null ? null : readJson(json, 'tool_choice');
  if (value === null) return { kind: tools.length > 0 ? 'auto' : 'none' };
  if (value === 'none' || value === 'auto' || value === 'required') {
    if (value === 'required' && tools.length === 0) throw invalidArgument('tool_choice: "required" without tools');
    return { kind: tools.length > 0 ? value : 'none' };
  }
  const forms = '"none", "auto", "required" or {"type":"function","function":{"name":...}}';
  if (!isRecord(value)) throw invalidArgument(`tool_choice: expected ${forms}, got ${shown(value)}`);
  const named = field(value, 'function');
  const name = isRecord(named) ? field(named, 'name') : undefined;
  if (field(value, 'type') !== 'function' || typeof name !== 'string')
    throw invalidArgument(`tool_choice: expected ${forms}, got ${shown(value)}`);
  const names = tools.map((tool) => tool.function.name);
  if (!names.includes(name)) throw invalidArgument(`tool_choice: no tool is named ${shown(name)}${didYouMean(name, names)}`);
  return { kind: 'named', name };
}
