import { integerKind, type OptionKind } from './option-kind.ts';

export const KIB: number = 1024;
export const MIB: number = 1024 * KIB;
export const GIB: number = 1024 * MIB;

/** setTimeout holds no more. */
export const MAX_MS: number = 2 ** 31 - 1;

export const milliseconds: OptionKind<number> = integerKind('MS', 1, MAX_MS);
export const port: OptionKind<number> = integerKind('PORT', 0, 65_535);
