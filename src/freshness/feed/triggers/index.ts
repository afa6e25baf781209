export { createTriggersSource } from "./triggers-source.ts";
