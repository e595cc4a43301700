import type { ChatNative } from '../chat/chat-native.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import type { LlamaModel } from './llama-model.ts';
import { TOKEN_ATTRIBUTES } from './token-table.ts';

/** The model, as its chat template sees it. */
export function chatNativeOf(model: LlamaModel): ChatNative {
  const { tokens, native } = model;
  const { bos, eos } = tokens;
  const tokenizer = new Tokenizer(model);
  const controlTokens: string[] = [];
  for (let token = 0; token < tokens.size; token++) {
    if ((tokens.attributes(token) & (TOKEN_ATTRIBUTES.control | TOKEN_ATTRIBUTES.unknown)) === 0) continue;
    const text = tokens.text(token);
    if (text !== '') controlTokens.push(text);
  }
  return {
    compileTemplate: (text) => new native.addon.AddonJinjaRenderer(text),
    tokenize: (text, parseSpecial) => tokenizer.tokenize(text, parseSpecial),
    bosToken: bos,
    bosText: bos === null ? '' : tokens.text(bos),
    eosText: eos === null ? '' : tokens.text(eos),
    addsBos: tokens.addsBos,
    controlTokens,
  };
}
