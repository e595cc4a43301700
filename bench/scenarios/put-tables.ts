/** A piece of documentation that a benchmark writes stands between `<!-- bench: NAME -->` and `<!-- /bench -->`. */

const END = '<!-- /bench -->';

/** `markdown` with `lines` as the block of code of scenario `name`. Throws when it has no place for it: prose belongs to people. */
export function putTable(markdown: string, name: string, lines: readonly string[]): string {
  const start = `<!-- bench: ${name} -->`;
  const from = markdown.indexOf(start);
  if (from < 0) throw new RangeError(`the page has no '${start}': write it, and '${END}' on a line behind it, where the table is to stand`);
  const to = markdown.indexOf(END, from);
  const next = markdown.indexOf('<!-- bench: ', from + start.length);
  if (to < 0 || (next >= 0 && next < to)) throw new RangeError(`the page has '${start}' and no '${END}' behind it`);
  return `${markdown.slice(0, from + start.length)}\n\`\`\`\n${lines.join('\n')}\n\`\`\`\n${markdown.slice(to)}`;
}
