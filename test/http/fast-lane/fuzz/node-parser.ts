// node's own HTTP parser, fed by hand: what it makes of bytes, message by message. It is the one that http.Server uses; nothing documents it.

import { createRequire } from "node:module";

interface RawParser {
  initialize(type: number, resource: object, maxHeaderSize: number, lenientFlags: number): void;
  execute(bytes: Buffer): number | Error;
  [callback: number]: (...args: never[]) => unknown;
}

interface RawParserClass {
  new (): RawParser;
  readonly REQUEST: number;
  readonly kOnMessageBegin: number;
  readonly kOnHeaders: number;
  readonly kOnHeadersComplete: number;
  readonly kOnBody: number;
  readonly kOnMessageComplete: number;
}

const { HTTPParser, methods } = createRequire(import.meta.url)("_http_common") as {
  readonly HTTPParser: RawParserClass;
  readonly methods: readonly string[];
};
/** As the parser numbers them; `methods` is sorted by name. */
const getMethod = 1;
if (!methods.includes("GET")) throw new Error("node's parser has changed");

/** What has been read since begin(). */
export class NodeParser {
  readonly #maxHeaderSize: number;
  #parser: RawParser;
  messagesBegun = 0;
  headsRead = 0;
  messagesRead = 0;
  bodyBytes = 0;
  /** Of the last head: names and values in turns, as they were spelled. */
  headers: readonly string[] = [];
  target = "";
  isGet = false;
  version = "";
  keepsAlive = false;
  upgrades = false;

  constructor(maxHeaderSize: number) {
    this.#maxHeaderSize = maxHeaderSize;
    this.#parser = this.#create();
  }

  /** Forgets what has been read. After an error, or in the middle of a message, the next message needs a parser that is as new. */
  begin(anew: boolean): void {
    this.messagesBegun = 0;
    this.headsRead = 0;
    this.messagesRead = 0;
    this.bodyBytes = 0;
    this.headers = [];
    this.target = "";
    if (anew) this.#parser = this.#create();
  }

  /** Reads on. Returns how many bytes it has taken, or the error. */
  feed(bytes: Buffer): number | Error {
    return this.#parser.execute(bytes);
  }

  #create(): RawParser {
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {}, this.#maxHeaderSize, 0);
    let fragments: string[] = [];
    let targetFragments = "";
    parser[HTTPParser.kOnMessageBegin] = () => void this.messagesBegun++;
    // Heads that come in pieces come by this one first.
    parser[HTTPParser.kOnHeaders] = (headers: string[], target: string) => {
      fragments.push(...headers);
      targetFragments += target;
    };
    parser[HTTPParser.kOnHeadersComplete] = (
      major: number,
      minor: number,
      headers: string[] | undefined,
      method: number,
      target: string | undefined,
      _status: unknown,
      _reason: unknown,
      upgrade: boolean,
      keepsAlive: boolean,
    ) => {
      this.headsRead++;
      this.headers = headers ?? fragments;
      this.target = target ?? targetFragments;
      fragments = [];
      targetFragments = "";
      this.isGet = method === getMethod;
      this.version = `${major}.${minor}`;
      this.upgrades = upgrade;
      this.keepsAlive = keepsAlive;
      return 0;
    };
    parser[HTTPParser.kOnBody] = (bytes: Buffer) => void (this.bodyBytes += bytes.length);
    parser[HTTPParser.kOnMessageComplete] = () => void this.messagesRead++;
    return parser;
  }
}
