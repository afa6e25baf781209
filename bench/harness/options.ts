// What the command line says, for every scenario.

export interface BenchOptions {
  readonly rounds: number | undefined;
  readonly seconds: number;
  readonly rows: number | undefined;
  readonly only: readonly string[] | undefined;
  readonly operations: number | undefined;
  readonly writes: number | undefined;
  readonly seed: number | undefined;
  readonly rule: string | undefined;
  readonly profileDir: string | undefined;
}
