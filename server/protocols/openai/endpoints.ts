import type { HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { embeddingsRoutes } from './embeddings.ts';
import { generationRoutes } from './generation-routes.ts';
import { modelRoutes } from './listed-models.ts';
import { rerankRoutes } from './rerank.ts';

/** OpenAI's API (docs/language-models.md): one file of routes each for what it lists, generates, embeds and ranks. */
export function openAiRoutes(context: ProtocolContext): HttpRoute[] {
  return [...modelRoutes(context), ...generationRoutes(context), ...embeddingsRoutes(context), ...rerankRoutes(context)];
}
