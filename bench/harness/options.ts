// What the command line says, for every scenario.

export interface BenchOptions {
  readonly rounds: number | undefined;
  readonly seconds: number;
  readonly rows: number | undefined;
  readonly only: readonly string[] | undefined;
  readonly profileDir: string | undefined;
}
