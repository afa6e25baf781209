// Signing up, signing in, and who am I.

import { type Endpoint, endpoint, hashPassword, problem, sql, verifyPassword } from "millrace";
import { Type } from "typebox";
import type { WelcomeTask } from "../mail/welcome.ts";
import { Timestamp } from "../schemas.ts";
import { signedIn, startSession } from "./sessions.ts";
import { Email, Name, Password, User, normalizeEmail } from "./user.ts";

/** Without `welcome` nobody gets a mail. */
const createUser = (welcome: WelcomeTask | undefined) =>
  endpoint(
    "POST /users",
    {
      summary: "Sign up",
      tags: ["users"],
      body: Type.Object({ email: Email, password: Password, name: Name }),
      response: { 201: User },
    },
    // #region sign-up
    async ({ body, db }) => {
      const passwordHash = await hashPassword(body.password);
      const user = await db.transaction(async (tx) => {
        const created = await tx.maybeOne(sql<User>`
          insert into users (email, name, password_hash) values (${normalizeEmail(body.email)}, ${body.name.trim()}, ${passwordHash})
          on conflict (email) do nothing
          returning id, email, name`);
        if (created) await welcome?.enqueue({ userId: created.id }, { in: tx });
        return created;
      });
      if (!user) throw problem(409, "EMAIL_TAKEN", "There is a user with this email address already.");
      return user;
    },
    // #endregion
  );

const createSession = endpoint(
  "POST /sessions",
  {
    summary: "Sign in",
    tags: ["users"],
    body: Type.Object({ email: Email, password: Password }),
    response: { 201: Type.Object({ token: Type.String(), expiresAt: Timestamp }) },
  },
  async ({ body, db, reply }) => {
    const user = await db.maybeOne(sql<{ id: number; passwordHash: string }>`
      select id, password_hash as "passwordHash" from users where email = ${normalizeEmail(body.email)}`);
    // Without a user it takes as long and is false: the time of the answer does not tell which addresses are known.
    const right = await verifyPassword(body.password, user?.passwordHash);
    if (!user || !right) throw problem(401, "CREDENTIALS_WRONG", "The email address or the password is wrong.");
    reply.header("cache-control", "no-store");
    return startSession(db, user.id);
  },
);

const getMe = endpoint(
  "GET /me",
  {
    summary: "The user whose token this is",
    tags: ["users"],
    auth: signedIn,
    cache: false, // finding out who asks has read all there is
    response: User,
  },
  ({ principal }) => principal,
);

export const userEndpoints = (welcome?: WelcomeTask): readonly Endpoint[] => [createUser(welcome), createSession, getMe];
