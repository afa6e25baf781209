// The generator of "etl".

interface Flight {
  readonly date: string;
  readonly delay: number | null;
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

export async function* delayed(batches: AsyncIterable<readonly Flight[]>) {
  for await (const batch of batches) {
    yield batch
      .filter(({ delay }) => delay !== null && delay >= 0)
      .map(({ date, delay, distance, origin, destination }) => ({
        date,
        route: `${origin}-${destination}`,
        delay,
        km: distance * 1.609,
      }));
  }
}
