// The reference store passes the suite that it is the reference of.

import { memoryStore } from "../cache/index.ts";
import { createManualClock } from "../core/index.ts";
import { storeContract } from "./store-contract.ts";

const clock = createManualClock();
storeContract("memory", async () => memoryStore({ clock, maxValueBytes: 2 ** 24 }), {
  pass: async (ms) => clock.advance(ms),
  refusesFromBytes: 2 ** 24 + 1,
});
