// The part of opossum that the scenario "upstream" uses: it brings no types, and those that others made for it bring Node's again.

declare module "opossum" {
  export default class CircuitBreaker<Arguments extends unknown[], Result> {
    constructor(
      action: (...args: Arguments) => Promise<Result>,
      options: { readonly timeout: number; readonly resetTimeout: number; readonly errorThresholdPercentage: number },
    );
    fire(...args: Arguments): Promise<Result>;
    shutdown(): void;
  }
}
