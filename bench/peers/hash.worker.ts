// The work of the scenario "workers": some milliseconds of JavaScript that computes.

export function collatz(upTo: number): number {
  let longest = 0;
  for (let start = 1; start < upTo; start++) {
    let steps = 0;
    for (let n = start; n !== 1; steps++) n = n % 2 === 0 ? n / 2 : 3 * n + 1;
    if (steps > longest) longest = steps;
  }
  return longest;
}
