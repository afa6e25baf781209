export { canonicalParameter, canonicalValue, followableTypes } from "./canonical-value.ts";
export { type Catalogue, type CatalogueSource, type Column, type Relation, loadCatalogue } from "./catalogue.ts";
export * from "./plan.ts";
export type { StatementResult } from "./read-plan.ts";
export { type StatementPlan, type StatementPlans, createStatementPlans } from "./statement-plans.ts";
