import { encodeBytes } from '../../../proto/bytes.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import { FirstAnswers } from '../first-answers.ts';

/** Of an answer that is not as it must be, in a sentence about it. */
const MAX_SHOWN = 80;

interface TextPart {
  readonly text?: unknown;
  readonly message?: TextDelta;
  readonly delta?: TextDelta;
}

interface TextDelta {
  readonly content?: unknown;
  readonly reasoning_content?: unknown;
}

/** Looks at whole answers of language models: that their JSON is what the protocol says, and, where the plan says so, that a prompt has the same text each time. One for all lanes of a load process. */
export class TextChecker {
  readonly #isOpenAi: boolean;
  readonly #firsts: FirstAnswers | null;

  constructor(plan: LoadPlan) {
    this.#isOpenAi = plan.protocol === 'openai';
    this.#firsts = plan.validation.isDeterministic ? new FirstAnswers(plan.requests.length) : null;
  }

  /** `data`: the answer to prompt `index`, or its events without [DONE]. '' when it is right; else what is wrong with it, in a sentence. */
  check(index: number, data: readonly string[]): string {
    const texts: string[] = [];
    for (const one of data) {
      let json: unknown;
      try {
        json = JSON.parse(one);
      } catch {
        return `expected JSON, got ${shown(one)}`;
      }
      if (typeof json !== 'object' || json === null || Array.isArray(json)) return `expected an object of JSON, got ${shown(one)}`;
      const text = this.#isOpenAi ? openAiText(json) : generatedText(json);
      if (text === null) return `expected ${this.#isOpenAi ? 'choices, data or results' : 'model_name or text_output'}, got ${shown(one)}`;
      texts.push(text);
    }
    if (this.#firsts === null) return '';
    const answer = encodeBytes([texts.join('')]);
    return this.#firsts.check(index, [{ name: 'text', datatype: 'BYTES', shape: [1], data: answer }], []);
  }
}

/** Null: it is no answer of OpenAI's API. Of several choices the texts stand in the order in which they came. */
function openAiText(json: object): string | null {
  const { choices, data, results } = json as { choices?: unknown; data?: unknown; results?: unknown };
  if (!Array.isArray(choices)) return Array.isArray(data) || Array.isArray(results) ? JSON.stringify(data ?? results) : null;
  let text = '';
  for (const { text: own, message, delta } of choices as readonly TextPart[]) {
    const { content, reasoning_content: reasoning } = message ?? delta ?? {};
    for (const piece of [reasoning, content, own]) if (typeof piece === 'string') text += piece;
  }
  return text;
}

/** Null: it is no answer of the generate extension. A model without `text_output` answers with whatever it has. */
function generatedText(json: object): string | null {
  const { text_output: text, model_name: name } = json as { text_output?: unknown; model_name?: unknown };
  if (typeof text === 'string') return text;
  return text !== undefined || name !== undefined ? JSON.stringify(json) : null;
}

function shown(text: string): string {
  return JSON.stringify(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text);
}
