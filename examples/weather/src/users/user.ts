// Who uses the service.

import { type Static, Type } from "typebox";
import { Id, Text } from "../schemas.ts";

export const User = Type.Object({
  id: Id,
  email: Type.String(),
  name: Type.String(),
});
export type User = Static<typeof User>;

/** What the others see of a user. */
export const Author = Type.Object({ id: Id, name: Type.String() });

export const Name = Text(100);

/** 254 characters is all that fits into SMTP's path (RFC 5321, errata 1690). */
export const Email = Type.String({ format: "email", maxLength: 254 });

/** From NIST SP 800-63B: no rules but a length; the upper bound keeps hashing from being a way to waste our time. */
export const Password = Type.String({ minLength: 8, maxLength: 200 });

/** Addresses that differ only in case belong to the same person everywhere in practice. */
export const normalizeEmail = (email: string): string => email.toLowerCase();
