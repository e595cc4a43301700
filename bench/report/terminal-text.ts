/** ANSI colours: foregrounds, and the two faces. */
export const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Colour = keyof typeof COLOURS;

/** Whether `stream` is a terminal that shows colours, and nobody asked for none (no-color.org). */
export function wantsColours(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

export function paint(text: string, colour: Colour | null, hasColours: boolean): string {
  return hasColours && colour !== null && text !== '' ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function escapeOf(unit: string): string {
  const code = unit.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

/** A server's words may hold what a terminal obeys, marks that turn the direction of the text among it; lines and tabs become spaces. */
export function printable(text: string): string {
  return text.replace(/\s+/g, ' ').replace(CONTROLS, escapeOf);
}
