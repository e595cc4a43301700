import { invalidArgument } from '../../../proto/inference-error.ts';
import type { ChatNative, CompiledTemplate } from './chat-native.ts';
import type { ChatMessage } from './read-messages.ts';
import type { ChatTool } from './read-tools.ts';

const MAX_TEMPLATE = 512 * 1024;
/** Characters that a template may print. How long it takes to cannot be bounded: templates are the model's, not the caller's. */
const MAX_RENDERED = 16 * 1024 * 1024;

/** For models that bring none. */
export const CHATML_TEMPLATE: string = [
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
].join('');

/** A compiled chat template with the variables that Hugging Face's apply_chat_template gives. */
export class ChatTemplate {
  readonly text: string;
  /** False where the template refuses system messages. */
  readonly takesSystem: boolean;
  readonly #compiled: CompiledTemplate;
  readonly #native: ChatNative;

  /** Throws INVALID_ARGUMENT `chat_template: ...` for text that does not compile. */
  constructor(text: string, native: ChatNative) {
    if (text.length > MAX_TEMPLATE) throw invalidArgument(`chat_template: ${text.length} characters; at most ${MAX_TEMPLATE} are compiled`);
    this.text = text;
    this.#native = native;
    try {
      this.#compiled = native.compileTemplate(text);
    } catch (error) {
      throw invalidArgument(
        `chat_template: not a Jinja template that llama.cpp compiles: ${reasonOf(error)}; give another one in the parameter chat_template`,
      );
    }
    this.takesSystem = this.#prints([{ role: 'system', content: 'system text' }, ...USER]) || !this.#prints(USER);
  }

  /** `tools` empty: none, which templates see as null. Throws INVALID_ARGUMENT `messages: ...` with what the template says. */
  render(messages: readonly ChatMessage[], tools: readonly ChatTool[]): string {
    let rendered: string;
    try {
      rendered = this.#compiled.render(this.#variables(messages, tools));
    } catch (error) {
      throw invalidArgument(`messages: the model's chat template refuses them: ${reasonOf(error)}`);
    }
    if (rendered.length > MAX_RENDERED)
      throw invalidArgument(`messages: ${rendered.length} characters of prompt; at most ${MAX_RENDERED} are taken`);
    if (rendered === '') throw invalidArgument('messages: the chat template prints nothing for them');
    return rendered;
  }

  #variables(messages: readonly ChatMessage[], tools: readonly ChatTool[]): Record<string, unknown> {
    return {
      messages,
      tools: tools.length === 0 ? null : tools,
      documents: null,
      add_generation_prompt: true,
      bos_token: this.#native.bosText,
      eos_token: this.#native.eosText,
    };
  }

  #prints(messages: readonly ChatMessage[]): boolean {
    try {
      return this.#compiled.render(this.#variables(messages, [])).includes(messages[0]!.content);
    } catch {
      return false;
    }
  }
}

const USER: readonly ChatMessage[] = [{ role: 'user', content: 'user text' }];

/** The addon's words, without the stack of the template that follows them. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const said = /\nError: (?:Jinja Exception: )?([^\n]*)/.exec(text)?.[1];
  const plain =
    said ??
    text
      .replace(/^AddonJinjaRenderer: failed to (?:compile|render) template: /, '')
      .trim()
      .split('\n', 1)[0]!;
  return plain.trim().slice(0, 300) || 'it does not say why';
}
