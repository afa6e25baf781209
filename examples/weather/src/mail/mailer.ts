// Sending mail: to an SMTP server, or as files that any mail program opens.

import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createTransport } from "nodemailer";

export interface Mail {
  /** Tells the same mail, sent again, from another one: it becomes the Message-ID, and the file's name. */
  readonly id: string;
  readonly to: { readonly name: string; readonly address: string };
  readonly subject: string;
  readonly text: string;
}

export interface Mailer {
  /** Where mails go, for people. */
  readonly to: string;
  /** Resolves when the server has taken it, or the file is written. `signal` ends the wait. */
  send(mail: Mail, signal: AbortSignal): Promise<void>;
}

const from = { name: "The weather service", address: "weather@localhost" };

const messageOf = ({ id, to, subject, text }: Mail) => ({ from, to, subject, text, messageId: `<${id}@weather>` });

/** Sends over SMTP, as `smtp://user:password@host:587` says. A connection for each mail: they are few. */
export function smtpMailer(url: string): Mailer {
  const { host } = new URL(url);
  return {
    to: `an SMTP server at ${host}`,
    async send(mail, signal) {
      signal.throwIfAborted();
      const transport = createTransport({ url, connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 30_000 });
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const onAbort = (): void => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort);
      try {
        await Promise.race([transport.sendMail(messageOf(mail)), aborted]);
      } finally {
        signal.removeEventListener("abort", onAbort);
        transport.close();
      }
    },
  };
}

/** Writes each mail into `directory`, whole or not at all. The same mail again is the same file. */
export function fileMailer(directory: string): Mailer {
  const transport = createTransport({ streamTransport: true, buffer: true });
  return {
    to: directory,
    async send(mail, signal) {
      const { message } = await transport.sendMail(messageOf(mail));
      await mkdir(directory, { recursive: true });
      const path = join(directory, `${mail.id}.eml`);
      await writeFile(`${path}.part`, message as Buffer, { signal });
      await rename(`${path}.part`, path);
    },
  };
}
