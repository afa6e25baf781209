// The list of the scenarios cached-hit, mixed and miss: about 20 KB of JSON, the same in every peer.

export interface Place {
  readonly id: number;
  readonly name: string;
  readonly country: string;
  readonly latitude: number;
  readonly longitude: number;
  readonly population: number;
}

/** `seed` makes another list of the same size. */
export const places = (seed = 0): Place[] =>
  Array.from({ length: 170 }, (_, i) => {
    const n = ((i + 1) * 7_919 + seed * 104_729) % 999_983;
    return {
      id: n,
      name: `${["Bad", "Neu", "Alt", "Ober", "Unter"][n % 5]} ${["stadt", "burg", "heim", "dorf", "furt", "tal"][n % 6]} ${n.toString(36)}`,
      country: ["DE", "AT", "CH", "LI", "LU"][n % 5]!,
      latitude: (n % 18_000) / 100 - 90,
      longitude: (n % 36_000) / 100 - 180,
      population: (n * 37) % 1_000_000,
    };
  });
