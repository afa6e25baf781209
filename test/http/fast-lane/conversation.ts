// A client that sends exactly these bytes and reads the answers one by one.

import { once } from "node:events";
import { type Socket, connect } from "node:net";

export interface ReadAnswer {
  readonly status: number;
  /** The head as it came, without the empty line. */
  readonly head: string;
  readonly body: string;
}

/** A GET as most clients send it. */
export const get = (target: string, ...headers: readonly string[]): string =>
  `GET ${target} HTTP/1.1\r\n${["Host: api.example", ...headers].join("\r\n")}\r\n\r\n`;

/** More is left to the kernel, as long as nobody asks for it. */
const mostUnread = 256 * 1_024;

export class Conversation {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #ended = false;
  #failed: Error | undefined;
  #wake: (() => void) | undefined;

  static async begin(port: number, options: { readonly allowHalfOpen?: boolean } = {}): Promise<Conversation> {
    const socket = connect({ port, host: "127.0.0.1", ...options });
    await once(socket, "connect");
    return new Conversation(socket);
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      if (this.#received.length > mostUnread) socket.pause();
      this.#wake?.();
    });
    socket.on("end", () => this.#end());
    socket.on("close", () => this.#end());
    socket.on("error", (error) => {
      this.#failed = error;
      this.#end();
    });
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Whether the server has ended, and nothing is left to read. */
  get isOver(): boolean {
    return this.#ended && this.#received.length === 0;
  }

  get error(): Error | undefined {
    return this.#failed;
  }

  send(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** Sends and reads one answer. */
  async ask(bytes: string): Promise<ReadAnswer> {
    this.send(bytes);
    return this.answer();
  }

  /** The next answer; one to a HEAD has no body. Fails when the connection ends before it is whole. */
  async answer(toHead = false): Promise<ReadAnswer> {
    const headEnd = await this.#until(() => {
      const at = this.#received.indexOf("\r\n\r\n");
      return at === -1 ? undefined : at;
    });
    const head = this.#received.subarray(0, headEnd).toString("latin1");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    if (Number.isNaN(status)) throw new Error(`no answer begins like this: ${JSON.stringify(head.slice(0, 200))}`);
    this.#received = this.#received.subarray(headEnd + 4);
    const body = toHead ? "" : await this.#body(head, status);
    return { status, head, body };
  }

  /** The next answer, or undefined when the server has ended before it began. */
  async answerOrEnd(): Promise<ReadAnswer | undefined> {
    await this.#until(() => (this.#received.length > 0 || this.#ended ? true : undefined));
    return this.isOver ? undefined : this.answer();
  }

  async #body(head: string, status: number): Promise<string> {
    if (status === 304 || status === 204) return "";
    if (/^transfer-encoding: chunked$/im.test(head)) {
      let all = "";
      for (;;) {
        const lineEnd = await this.#until(() => {
          const at = this.#received.indexOf("\r\n");
          return at === -1 ? undefined : at;
        });
        const size = Number.parseInt(this.#received.subarray(0, lineEnd).toString("latin1"), 16);
        await this.#until(() => (this.#received.length >= lineEnd + 2 + size + 2 ? true : undefined));
        all += this.#received.subarray(lineEnd + 2, lineEnd + 2 + size).toString("latin1");
        this.#received = this.#received.subarray(lineEnd + 2 + size + 2);
        if (size === 0) return all;
      }
    }
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    await this.#until(() => (this.#received.length >= length ? true : undefined));
    const body = this.#received.subarray(0, length).toString("latin1");
    this.#received = this.#received.subarray(length);
    return body;
  }

  /** So many bytes, whatever they are. */
  async bytes(count: number): Promise<string> {
    await this.#until(() => (this.#received.length >= count ? true : undefined));
    const bytes = this.#received.subarray(0, count).toString("latin1");
    this.#received = this.#received.subarray(count);
    return bytes;
  }

  /** Everything until the server ends. */
  async rest(): Promise<string> {
    await this.#until(() => (this.#ended ? true : undefined));
    const rest = this.#received.toString("latin1");
    this.#received = Buffer.alloc(0);
    return rest;
  }

  async #until<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#ended) {
        throw new Error(`the connection ended after ${JSON.stringify(this.#received.toString("latin1").slice(0, 200))}`, {
          cause: this.#failed,
        });
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.socket.resume();
      });
      this.#wake = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
