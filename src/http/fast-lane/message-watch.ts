// Knows when node's parser stands between two messages of a connection and no answer is owed: only then may the fast lane answer. All that the lane
// takes from node's inside is here, and node-as-expected.ts looks at the start whether it is as expected. See docs/decisions/fast-lane.md.
//
// | what                               | of                  | says                                                                        |
// | ---------------------------------- | ------------------- | --------------------------------------------------------------------------- |
// | `parser[kOnMessageBegin]`          | the parser binding  | the first byte of a message has been read                                   |
// | `parser.onIncoming`                | _http_server        | the head has been read, and whether the connection outlives the message     |
// | `parser.incoming`                  | _http_common        | the message whose head was read last; null when it and its answer are done  |
// | `socket._httpMessage`              | _http_server        | the answer that is being sent; null when none is owed                       |
// | `socket.parser`                    | _http_server        | the parser; null when it is not HTTP any more                               |

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

type OnIncoming = (this: unknown, request: IncomingMessage, keepsAlive: boolean) => unknown;

interface Parser {
  onIncoming?: OnIncoming | null;
  incoming?: IncomingMessage | null;
  /** Callbacks by their number. */
  [callback: number]: unknown;
}

/** What node:http puts on a socket. */
interface HttpSocket {
  parser?: Parser | null;
  _httpMessage?: object | null;
}

export class MessageWatch {
  readonly #socket: HttpSocket;
  readonly #parser: Parser;
  /** A message has begun whose head is not complete. */
  #inHead = false;
  /** A message said that it is the last one. */
  #closed = false;

  /**
   * Watches from now on. To be called while `request` is being handled: node knows everything about the connection up to it.
   * Returns undefined when this is no connection for it.
   */
  static of(request: IncomingMessage): MessageWatch | undefined {
    const { parser } = request.socket as HttpSocket;
    if (!parser || parser.incoming !== request || typeof parser.onIncoming !== "function") return undefined;
    const { kOnMessageBegin } = parser.constructor as { kOnMessageBegin?: unknown };
    if (typeof kOnMessageBegin !== "number" || typeof parser[kOnMessageBegin] === "function") return undefined;
    // Nothing comes after it.
    if (request.httpVersion !== "1.1" || /close/i.test(request.headers.connection ?? "")) return undefined;
    return new MessageWatch(request.socket, parser, parser.onIncoming, kOnMessageBegin);
  }

  private constructor(socket: Socket, parser: Parser, onIncoming: OnIncoming, kOnMessageBegin: number) {
    this.#socket = socket as HttpSocket;
    this.#parser = parser;
    // node takes both off again before the parser serves another connection.
    parser[kOnMessageBegin] = () => {
      this.#inHead = true;
    };
    parser.onIncoming = (request, keepsAlive) => {
      this.#inHead = false;
      if (!keepsAlive) this.#closed = true;
      return onIncoming.call(parser, request, keepsAlive);
    };
  }

  /** Whether the next byte begins a message that node would answer at once. */
  get isFree(): boolean {
    if (this.#inHead || this.#closed || this.#socket._httpMessage) return false;
    if (this.#socket.parser !== this.#parser) return false;
    const { incoming } = this.#parser;
    // Its body may still be on its way when the answer has been sent.
    return !incoming || incoming.complete;
  }
}
