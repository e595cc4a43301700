import type { OptionKind } from './option-kind.ts';

export type OptionGroup = 'Models' | 'Model lifecycle' | 'HTTP' | 'gRPC' | 'Metrics' | 'Execution' | 'Log' | 'Server';

/** `Earlier` are the options that a default may depend on. */
export interface OptionDeclaration<T, Earlier = unknown> {
  /** Without the dashes; also the key in a configuration file, and, in capitals behind NEREID_, the environment's name. */
  readonly flag: string;
  readonly group: OptionGroup;
  readonly kind: OptionKind<T>;
  /** A function where it depends on other options; those it reads come earlier in the table. */
  readonly default: T | DerivedDefault<T, Earlier>;
  /** A sentence, for the help and the documentation. */
  readonly doc: string;
  /** Other spellings: tritonserver's, where it differs. */
  readonly aliases?: readonly string[];
}

export interface DerivedDefault<T, Earlier = unknown> {
  /** As the help shows it. */
  readonly text: string;
  from(options: Earlier): T;
}

/** One declaration of each option of `Options`, in the order of the help. */
export type OptionTable<Options, Earlier = Options> = { readonly [Name in keyof Options]: OptionDeclaration<Options[Name], Earlier> };
