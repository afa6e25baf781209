// Positions in PostgreSQL's log (LSNs) and the numbers made of them. A record of a commit takes more than 32 bytes, so the ends of
// two commits never fall into the same 32, and a double counts them without loss up to 2^58 bytes of log.

const bytesPerNumber = 32n;

/** Reads PostgreSQL's way of writing an LSN, such as "16/B374D848". */
export function parseLsn(text: string): bigint {
  const slash = text.indexOf("/");
  return (BigInt(`0x${text.slice(0, slash)}`) << 32n) | BigInt(`0x${text.slice(slash + 1)}`);
}

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

/** The number of a commit whose record ends at `lsn`, or of what lies at or before `lsn`. */
export const numberOfLsn = (lsn: bigint): number => Number(lsn / bytesPerNumber);

/** numberOfLsn() from the halves that the replication protocol sends. */
export const numberOfHalves = (high: number, low: number): number => high * 2 ** 27 + Math.floor(low / 32);
