import { type Colour, paint } from './terminal-text.ts';

export interface TextColumn {
  readonly title: string;
  /** Below the title; '' where there is none. */
  readonly unit: string;
  /** Numbers stand to the right. */
  readonly align: 'left' | 'right';
}

export interface TextCell {
  readonly text: string;
  readonly colour: Colour | null;
}

const GAP = '  ';

/** Lines of a table: titles, units where any column has one, and a line for each row. Cells are plain text: widths count characters. */
export function textTable(columns: readonly TextColumn[], rows: readonly (readonly TextCell[])[], hasColours: boolean): string[] {
  const widths = columns.map(({ title, unit }, i) =>
    rows.reduce((width, row) => Math.max(width, row[i]!.text.length), Math.max(title.length, unit.length)),
  );
  const line = (cells: readonly TextCell[]): string =>
    cells
      .map(({ text, colour }, i) => {
        const room = ' '.repeat(widths[i]! - text.length);
        const painted = paint(text, colour, hasColours);
        return columns[i]!.align === 'left' ? painted + room : room + painted;
      })
      .join(GAP)
      .trimEnd();
  const heads: string[] = [line(columns.map(({ title }) => ({ text: title, colour: 'bold' })))];
  if (columns.some(({ unit }) => unit !== '')) heads.push(line(columns.map(({ unit }) => ({ text: unit, colour: 'dim' }))));
  return [...heads, ...rows.map(line)];
}
