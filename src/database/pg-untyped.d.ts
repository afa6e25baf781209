// The parts of pg's packages that come without types, as far as database uses them.

declare module "pg/lib/utils.js" {
  const utils: { readonly prepareValue: (value: unknown) => string | Buffer | null };
  export default utils;
}

declare module "pg-cursor" {
  import type { Connection, CustomTypesConfig, Submittable } from "pg";

  export default class Cursor<Row = unknown> implements Submittable {
    constructor(
      text: string,
      values: unknown[],
      config?: { readonly rowMode?: "array" | undefined; readonly types?: CustomTypesConfig | undefined },
    );
    submit(connection: Connection): void;
    read(count: number): Promise<Row[]>;
    close(): Promise<void>;
  }
}

declare module "pg-copy-streams" {
  import type { Duplex, Readable } from "node:stream";
  import type { Submittable } from "pg";

  /** The target of COPY … FROM STDIN: what is written to it goes to the server. */
  export function from(text: string): Duplex & Submittable;
  /** The source of COPY … TO STDOUT. */
  export function to(text: string): Readable & Submittable;
}
