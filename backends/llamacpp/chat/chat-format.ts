import { createHash } from 'node:crypto';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { ChatNative } from './chat-native.ts';
import { CHATML_TEMPLATE, ChatTemplate } from './chat-template.ts';
import { ControlTokenGuard } from './control-token-guard.ts';
import { withOwnToolPrompt, withoutSystem } from './own-tool-prompt.ts';
import { type ChatMessage, readMessages } from './read-messages.ts';
import { type ChatTool, readToolChoice, readTools, type ToolChoice } from './read-tools.ts';
import { StreamingToolCallParser } from './streaming-tool-call-parser.ts';
import type { ToolCallParser } from './tool-call-parser.ts';
import { toolGrammar } from './tool-grammar.ts';
import { syntaxOfTemplate, TOOL_CALL_FORMATS, TOOL_SYNTAXES, type ToolSyntax } from './tool-syntax.ts';

/** Texts as they stand in the GGUF file (tokenizer.chat_template...) and in the model's options. */
export interface ChatFormatSettings {
  /** `tokenizer.chat_template` of the file, or what `chat_template` of the config says instead. Null: ChatML. */
  readonly template: string | null;
  /** `tokenizer.chat_template.tool_use`, rendered when tools come. */
  readonly toolTemplate: string | null;
  /** hermes | llama3-json | mistral | none; null: told from the template. */
  readonly toolCallFormat: string | null;
}

export interface ChatPrompt {
  /** With BOS where the vocabulary wants it, once. */
  readonly tokens: Uint32Array;
  /** What the template printed. */
  readonly text: string;
  /** Tool calls that are required or named; null: any text. */
  readonly grammar: string | null;
  /** Control tokens whose text the parser must see: detokenize those as special ones. Empty without tools. */
  readonly shownTokens: ReadonlySet<number>;
  /** Null where no tools came or tool_choice is none. */
  newToolParser(): ToolCallParser | null;
  /** Strings that end the answer besides the caller's. */
  readonly stops: readonly string[];
}

export interface ChatPromptOptions {
  /** parallel_tool_calls; false: one call at most. */
  readonly parallelToolCalls: boolean;
}

/** How tools are told and called: in the template's own way, or in ours (hermes, in a system message). Null: tools are refused. */
interface ToolWay {
  readonly syntax: ToolSyntax;
  readonly isOwn: boolean;
}

/** The chat template and the tool-call syntax of one model. */
export class ChatFormat {
  readonly #native: ChatNative;
  readonly #template: ChatTemplate;
  readonly #toolTemplate: ChatTemplate;
  readonly #tools: ToolWay | null;
  readonly #shown: ReadonlySet<number>;
  readonly #guard: ControlTokenGuard;
  readonly #stops: readonly string[];

  private constructor(
    native: ChatNative,
    template: ChatTemplate,
    toolTemplate: ChatTemplate,
    tools: ToolWay | null,
    stops: readonly string[],
  ) {
    this.#native = native;
    this.#template = template;
    this.#toolTemplate = toolTemplate;
    this.#tools = tools;
    this.#stops = stops;
    this.#guard = new ControlTokenGuard(native.controlTokens);
    const shown = new Set<number>();
    for (const marker of tools?.syntax.markers ?? []) {
      const tokens = native.tokenize(marker, true);
      if (tokens.length === 1) shown.add(tokens[0]!);
    }
    this.#shown = shown;
  }

  /** Throws INVALID_ARGUMENT (`chat_template: ...`, `tool_call_format: ...`) where the model cannot be loaded so. */
  static create(settings: ChatFormatSettings, native: ChatNative): ChatFormat {
    const template = new ChatTemplate(settings.template ?? CHATML_TEMPLATE, native);
    const toolTemplate = settings.toolTemplate === null ? template : new ChatTemplate(settings.toolTemplate, native);
    // The mark may be no token of its own; where it is, it ends the answer anyway.
    const stops = settings.template === null ? ['<|im_end|>'] : [];
    return new ChatFormat(native, template, toolTemplate, toolWay(settings.toolCallFormat, toolTemplate.text), stops);
  }

  /** JSON texts of the request's inputs; null: left out. Throws INVALID_ARGUMENT `messages...: `, `tools...: `, `tool_choice: `. */
  prompt(messagesJson: string, toolsJson: string | null, toolChoiceJson: string | null, options: ChatPromptOptions): ChatPrompt {
    const messages = readMessages(messagesJson);
    const tools = readTools(toolsJson);
    const choice = readToolChoice(toolChoiceJson, tools);
    if (tools.length > 0 && this.#tools === null)
      throw invalidArgument("tools: this model calls none (its parameter tool_call_format is 'none')");
    const way = choice.kind === 'none' ? null : this.#tools;
    const guarded = this.#guard.open();
    const rendered = this.#render(guarded.guard(messages), way === null ? [] : guarded.guard(tools), way !== null);
    const syntax = way?.syntax ?? null;
    return {
      tokens: this.#withBos(guarded.tokenize(rendered, this.#native)),
      text: guarded.restore(rendered),
      grammar: syntax === null ? null : grammarFor(choice, tools, syntax, options.parallelToolCalls),
      shownTokens: syntax === null ? NONE : this.#shown,
      newToolParser:
        syntax === null
          ? () => null
          : () => new StreamingToolCallParser(syntax, new Set(tools.map((tool) => tool.function.name)), !options.parallelToolCalls),
      stops: this.#stops,
    };
  }

  #render(messages: readonly ChatMessage[], tools: readonly ChatTool[], hasTools: boolean): string {
    const template = hasTools ? this.#toolTemplate : this.#template;
    const isOwn = this.#tools?.isOwn ?? true;
    let said = isOwn ? withOwnToolPrompt(messages, tools) : messages;
    if (!template.takesSystem) said = withoutSystem(said);
    if (!isOwn && this.#tools?.syntax.format === 'mistral') said = said.map(withShortIds);
    return template.render(said, isOwn ? [] : tools);
  }

  #withBos(tokens: Uint32Array): Uint32Array {
    const { addsBos, bosToken } = this.#native;
    if (!addsBos || bosToken === null || tokens[0] === bosToken) return tokens;
    const out = new Uint32Array(tokens.length + 1);
    out[0] = bosToken;
    out.set(tokens, 1);
    return out;
  }
}

const NONE: ReadonlySet<number> = new Set();

function toolWay(format: string | null, template: string): ToolWay | null {
  const found = syntaxOfTemplate(template);
  if (format === null) return found === null ? { syntax: TOOL_SYNTAXES.hermes, isOwn: true } : { syntax: found, isOwn: false };
  if (format === 'none') return null;
  const known = TOOL_CALL_FORMATS.find((name) => name === format);
  const all = [...TOOL_CALL_FORMATS, 'none'];
  if (known === undefined) throw invalidArgument(`tool_call_format: expected ${all.join(', ')}, got '${format}'${didYouMean(format, all)}`);
  // A template that speaks of tools is believed to speak of them in this format.
  const isOwn = !/\btools\b/.test(template);
  if (isOwn && known !== 'hermes')
    throw invalidArgument(`tool_call_format: the chat template speaks of no tools; only hermes or none fit, got '${format}'`);
  return { syntax: TOOL_SYNTAXES[known], isOwn };
}

function grammarFor(choice: ToolChoice, tools: readonly ChatTool[], syntax: ToolSyntax, parallel: boolean): string | null {
  if (choice.kind !== 'required' && choice.kind !== 'named') return null;
  const wanted = choice.kind === 'named' ? tools.filter((tool) => tool.function.name === choice.name) : tools;
  const paths = wanted.map((tool) => `tools[${tools.indexOf(tool)}]`);
  // A named tool is called once, as OpenAI's is.
  return toolGrammar(wanted, paths, syntax, parallel && choice.kind === 'required');
}

/** Mistral's templates refuse ids that are not nine letters or digits; another model's, or a caller's own, become such. */
function withShortIds(message: ChatMessage): ChatMessage {
  if (message.tool_calls === undefined && message.tool_call_id === undefined) return message;
  return {
    ...message,
    ...(message.tool_calls === undefined ? {} : { tool_calls: message.tool_calls.map((call) => ({ ...call, id: shortId(call.id) })) }),
    ...(message.tool_call_id === undefined ? {} : { tool_call_id: shortId(message.tool_call_id) }),
  };
}

function shortId(id: string): string {
  return /^[a-zA-Z0-9]{9}$/.test(id) ? id : createHash('sha256').update(id).digest('hex').slice(0, 9);
}
