// The mail that new users get. It is enqueued in the transaction that makes the user, and sent when the mail server has time.

import { sql, task } from "millrace";
import { Type } from "typebox";
import { Id } from "../schemas.ts";
import type { Mailer } from "./mailer.ts";

interface Recipient {
  readonly email: string;
  readonly name: string;
}

/** A server that answers 5xx will not change its mind (RFC 5321, 4.2.1); anything else may pass. */
const mayPass = (error: unknown): boolean => {
  const { responseCode } = error as { readonly responseCode?: number };
  return responseCode === undefined || responseCode < 500;
};

// #region welcome
export const welcomeTask = (mailer: Mailer) =>
  task(
    "send-welcome",
    { input: Type.Object({ userId: Id }), queue: "mail", timeout: "1m", retry: { max: "10m", attempts: 200, on: mayPass } },
    async ({ input, id, db, signal }) => {
      const user = await db.maybeOne(sql<Recipient>`select email, name from users where id = ${input.userId}`);
      if (!user) return "nobody"; // gone again
      await mailer.send(
        {
          id, // an attempt that was cut off after the server had the mail sends it with the same Message-ID
          to: { name: user.name, address: user.email },
          subject: "Welcome to the weather",
          text: `Hello ${user.name},\n\nyou can report the weather now.\n`,
        },
        signal,
      );
      return "sent";
    },
  );
// #endregion
export type WelcomeTask = ReturnType<typeof welcomeTask>;
