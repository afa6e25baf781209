// How fresh a part of the page is: in words for people, with the headers that say so for those who want to know.

import { h } from "./dom.js";

/** 7 → "7 s", 90 → "1 min", 7200 → "2 h" */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** Where the answer came from, as the cache that is nearest to us and has been asked says. */
function origin(cacheStatus) {
  const member = cacheStatus
    ?.split(/,(?=\s*[\w.-]+;)/)
    .toReversed()
    .find((each) => !/fwd=bypass/.test(each));
  if (member === undefined) return "made for this page";
  if (/;\s*hit/.test(member)) return /detail=store/.test(member) ? "from the servers' shared memory" : "from the server's memory";
  return /collapsed/.test(member) ? "made for several at once" : "made for this page";
}

/** Whether an answer, or a part of it, says of itself that it is. */
const isStale = ({ body }) => [body, ...(body.data ?? []).map(({ forecast }) => forecast)].some((part) => part?.state === "stale");

/** What is shown, and why it is no fresher. */
function describe(answer, shown) {
  if (shown === undefined) {
    const { retryAfterMs } = answer;
    return ["missing", "Missing", retryAfterMs ? `asked again in ${duration(retryAfterMs / 1000)}` : "asked again soon"];
  }
  if (!answer.ok) return ["stale", "Stale", "this came earlier, there is no answer now"];
  if (isStale(shown) || /ttl=-/.test(shown.cacheStatus ?? "")) return ["stale", "Stale", "a newer one is not there yet"];
  return ["fresh", "Fresh", origin(shown.cacheStatus)];
}

/** Shows in `place` how fresh `answer` is, and keeps counting. `kept` is an answer of before that is still shown when this one has failed. */
export function showFreshness(place, answer, kept) {
  const shown = answer.ok ? answer : kept;
  const [kind, state, words] = describe(answer, shown);
  const age = h("span");
  const count = () => {
    if (shown) age.textContent = ` · ${duration(shown.age + (Date.now() - shown.receivedMs) / 1000)} old`;
  };
  count();
  const headers = [
    answer.status === 0 ? "no answer" : `HTTP ${answer.status}`,
    answer.cacheStatus && `Cache-Status: ${answer.cacheStatus}`,
    answer.ok && `Age: ${answer.age}`,
    answer.retryAfterMs && `Retry-After: ${answer.retryAfterMs / 1000}`,
  ];
  const open = place.querySelector("details")?.open ?? false;
  place.className = `freshness ${kind}`;
  place.replaceChildren(
    h(
      "details",
      { open },
      h("summary", null, h("span", { class: "state" }, state), ` · ${words}`, age),
      ...headers.filter(Boolean).map((header) => h("code", null, header)),
    ),
  );
  place.dataset.state = kind;
  place.count = count;
}

/** Ages go on while nothing is asked. */
export const countAges = (places) => {
  for (const place of places) place.count?.();
};
