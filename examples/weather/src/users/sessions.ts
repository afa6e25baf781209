// Sessions: a random token that the client keeps, and its hash that the database keeps.

import { type Database, bearer, createToken, hashToken, sql } from "millrace";
import type { User } from "./user.ts";

/** A user's older sessions end when there are more: signing in again and again must not fill the table. */
const sessionsPerUser = 20;

/** Whoever presents a valid token. Endpoints that say `auth: signedIn` have a User as `principal`. */
export const signedIn = bearer({
  identify: async (token, { db }) => {
    const user = await db.maybeOne(sql<User>`
      select users.id, users.email, users.name
      from sessions join users on users.id = sessions.user_id
      where token_hash = ${hashToken(token)} and expires_at > now()`);
    return user ?? null;
  },
  principalId: (user) => String(user.id),
});

/** Starts a session that lasts 30 days. */
export async function startSession(db: Database, userId: number): Promise<{ token: string; expiresAt: Date }> {
  const token = createToken();
  return db.transaction(async (tx) => {
    const { expiresAt } = await tx.one(sql<{ expiresAt: Date }>`
      insert into sessions (token_hash, user_id, expires_at)
      values (${hashToken(token)}, ${userId}, now() + interval '30 days')
      returning expires_at as "expiresAt"`);
    await tx.query(sql`
      delete from sessions where token_hash in (
        select token_hash from sessions where user_id = ${userId} order by created_at desc offset ${sessionsPerUser})`);
    return { token, expiresAt };
  });
}
