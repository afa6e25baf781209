// Replies of memcached's meta protocol (doc/protocol.txt of memcached 1.6), out of chunks cut anywhere. What it cannot read is
// thrown: after it nothing on that connection can be trusted.

/** One reply. `code` is HD, VA, EN, NS, EX, NF, MN, or SERVER_ERROR. */
export interface MemcachedReply {
  readonly code: string;
  /** Flags in the order of the request, each a letter with its token: "c42", "W". For SERVER_ERROR the server's words. */
  readonly flags: readonly string[];
  /** The data block of VA. A view of what was received unless it came in several chunks. */
  readonly value: Buffer | undefined;
}

/** The longest line that a server has a reason to send: return code, size, and flags with an opaque token of 32 bytes at most. */
const longestLine = 2_048;

const codes: ReadonlySet<string> = new Set(["HD", "EN", "NS", "EX", "NF", "MN"]);

const nothing = Buffer.alloc(0);

/** Collects chunks and calls `onReply` for each whole reply. */
export class MemcachedParser {
  readonly #onReply: (reply: MemcachedReply) => void;
  readonly #largestValue: number;
  /** What is not consumed yet: at most a line, or a data block with its end. */
  #rest: Buffer = nothing;
  /** Chunks of a data block that is not whole. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  /** The reply that waits for its data block, and its size with the line break behind it. */
  #flags: readonly string[] | undefined;
  #missing = 0;

  /** `largestValue`: a longer data block is taken for nonsense, before anything of it is kept. */
  constructor(onReply: (reply: MemcachedReply) => void, largestValue: number) {
    this.#onReply = onReply;
    this.#largestValue = largestValue;
  }

  /** Takes what the socket read. @throws Error when it is not the protocol. */
  push(chunk: Buffer): void {
    let input = chunk;
    if (this.#flags !== undefined) {
      this.#parts.push(input);
      this.#partBytes += input.byteLength;
      if (this.#partBytes < this.#missing) return;
      input = this.#parts.length === 1 ? input : Buffer.concat(this.#parts, this.#partBytes);
      this.#parts = [];
      this.#partBytes = 0;
    } else if (this.#rest.byteLength > 0) {
      input = Buffer.concat([this.#rest, input]);
      this.#rest = nothing;
    }
    this.#read(input);
  }

  #read(input: Buffer): void {
    let at = 0;
    while (at < input.byteLength) {
      if (this.#flags !== undefined) {
        const end = at + this.#missing;
        if (end > input.byteLength) {
          this.#parts = [input.subarray(at)];
          this.#partBytes = input.byteLength - at;
          return;
        }
        if (input[end - 2] !== 13 || input[end - 1] !== 10) throw new Error("a data block does not end where it should");
        const flags = this.#flags;
        this.#flags = undefined;
        const value = input.subarray(at, end - 2);
        at = end;
        this.#onReply({ code: "VA", flags, value });
        continue;
      }
      const lineEnd = input.indexOf(10, at);
      if (lineEnd === -1 || lineEnd - at > longestLine) {
        if (input.byteLength - at > longestLine) throw new Error("a line is longer than any reply");
        this.#rest = Buffer.from(input.subarray(at)); // a copy: it must not keep a large chunk alive
        return;
      }
      if (lineEnd === at || input[lineEnd - 1] !== 13) throw new Error("a line does not end with CR LF");
      const line = input.toString("latin1", at, lineEnd - 1);
      at = lineEnd + 1;
      this.#line(line);
    }
  }

  #line(line: string): void {
    if (line.startsWith("SERVER_ERROR ")) {
      this.#onReply({ code: "SERVER_ERROR", flags: [line.slice(13)], value: undefined });
      return;
    }
    const [code, ...flags] = line.split(" ");
    if (codes.has(code!)) {
      this.#onReply({ code: code!, flags: flags.filter((flag) => flag !== ""), value: undefined });
      return;
    }
    const [size, ...rest] = flags;
    if (code !== "VA" || size === undefined || !/^\d{1,10}$/.test(size)) {
      // Among them ERROR and CLIENT_ERROR: a request was not understood, so its data block may have been read as requests.
      throw new Error(`the server sent ${JSON.stringify(line.slice(0, 100))}`);
    }
    if (Number(size) > this.#largestValue) throw new Error(`the server announced a value of ${size} bytes`);
    this.#flags = rest.filter((flag) => flag !== "");
    this.#missing = Number(size) + 2;
  }
}

/** The token of a flag: "42" of "c42"; "" for a flag without one; undefined when it is not there. */
export const flagOf = (reply: MemcachedReply, letter: string): string | undefined =>
  reply.flags.find((flag) => flag.startsWith(letter))?.slice(1);
