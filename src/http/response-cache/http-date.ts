// The Date header (RFC 9110 § 5.6.7), formatted once a second.

let formattedSecond = Number.NaN;
let formatted = "";

/** The second that it is, since 1970. */
export const currentSecond = (): number => Math.floor(Date.now() / 1_000);

/** "Tue, 15 Nov 1994 08:12:31 GMT" for a second of currentSecond(). Always 29 characters. */
export function httpDate(second: number): string {
  if (second !== formattedSecond) {
    formattedSecond = second;
    formatted = new Date(second * 1_000).toUTCString();
  }
  return formatted;
}
