// One connection in the fast lane: its bytes come here first. Requests for which an answer stands are answered; from the first one on for which none
// does, the rest of what has arrived goes to node's parser, byte for byte. See docs/fast-lane.md.
//
// | state   | what arrives                                  | left by                                                          |
// | ------- | --------------------------------------------- | ---------------------------------------------------------------- |
// | open    | is read by the lane while the watch says that |                                                                  |
// |         | node stands between messages and owes nothing | an answer that the kernel does not take at once → waiting        |
// | waiting | stays in the kernel, but for what had come    | the last byte is taken → open, with what had come, in its order  |
// | left    | goes to node                                  | never: upgraded, closed, or the lane is off                      |

import type { Server } from "node:http";
import type { Socket } from "node:net";
import type { FastAnswer } from "./answers.ts";
import type { FastLane } from "./fast-lane.ts";
import type { MessageWatch } from "./message-watch.ts";

type Push = (chunk: Buffer | null, encoding?: BufferEncoding) => boolean;

export class LaneConnection {
  readonly #lane: FastLane;
  readonly #server: Server;
  readonly #socket: Socket;
  readonly #watch: MessageWatch;
  /** The socket's own way of passing on what it has read. */
  readonly #pushOn: Push;
  /** Waiting: what has arrived and has not been looked at; null is the end of what the client sends. */
  #held: (Buffer | null)[] = [];
  #waiting = false;
  /** Whether an answer of the lane's is not completely with the kernel. */
  #unsent: readonly FastAnswer[] | undefined;

  /** From now on the socket's bytes come by here. */
  static take(lane: FastLane, server: Server, socket: Socket, watch: MessageWatch): void {
    const connection = new LaneConnection(lane, server, socket, watch);
    // node's parser reads from the handle as long as nobody else listens to data. A listener makes it give the handle back for good.
    const nobody = (): void => {};
    socket.on("data", nobody);
    socket.removeListener("data", nobody);
    socket.push = (chunk: Buffer | null, encoding?: BufferEncoding) => connection.#receive(chunk, encoding);
  }

  private constructor(lane: FastLane, server: Server, socket: Socket, watch: MessageWatch) {
    this.#lane = lane;
    this.#server = server;
    this.#socket = socket;
    this.#watch = watch;
    this.#pushOn = socket.push.bind(socket);
  }

  /** As Readable.push(): false asks the socket to read no further. */
  #receive(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (this.#waiting) {
      this.#held.push(chunk);
      return false;
    }
    if (chunk === null || !this.#mayAnswer()) return this.#pushOn(chunk, encoding);
    const answered = this.#answer(chunk);
    if (this.#waiting) {
      if (answered < chunk.length) this.#held.push(chunk.subarray(answered));
      return false;
    }
    if (answered === chunk.length) return true;
    this.#lane.counts.passed++;
    return this.#pushOn(answered === 0 ? chunk : chunk.subarray(answered), encoding);
  }

  /** Whether the next byte begins a request that would be answered at once, and nothing stands before the answer. */
  #mayAnswer(): boolean {
    const socket = this.#socket;
    return (
      this.#lane.isOn &&
      this.#watch.isFree &&
      socket.writable &&
      socket.writableLength === 0 &&
      // What had arrived while somebody had paused the socket goes first, and to node.
      socket.readableFlowing === true &&
      socket.readableLength === 0
    );
  }

  /** Answers the requests at the beginning of `chunk`. Returns how many bytes they had. */
  #answer(chunk: Buffer): number {
    const { reader, answers, output, counts } = this.#lane;
    let at = 0;
    try {
      while (at < chunk.length) {
        const end = reader.read(chunk, at);
        if (end === 0) break;
        const answer = answers.find(reader);
        if (answer === undefined || !output.fits(answer)) break;
        if (!output.hasRoomFor(answer) && !this.#flush()) break;
        output.add(answer);
        counts.answered++;
        at = end;
        if (output.mustFlush(answer) && !this.#flush()) break;
      }
    } catch (error) {
      // What has been added is complete; from this request on node answers.
      this.#lane.turnOff("an answer could not be made", error);
    }
    try {
      this.#flush();
    } catch (error) {
      this.#lane.turnOff("an answer could not be reported", error);
    }
    return at;
  }

  /** Writes what has been added. False: the kernel does not take more for now. */
  #flush(): boolean {
    if (this.#waiting) return false;
    const unsent = this.#lane.output.flush(this.#socket, this.#written);
    if (unsent === undefined) return true;
    this.#unsent = unsent;
    this.#waiting = true;
    // As while node sends an answer: however long that takes, the client may read it.
    this.#socket.setTimeout(this.#server.timeout);
    return false;
  }

  readonly #written = (error?: Error | null): void => {
    if (!this.#waiting || (!error && this.#socket.writableLength > 0)) return;
    for (const answer of this.#unsent ?? []) answer.sent(!error);
    this.#unsent = undefined;
    this.#waiting = false;
    if (error || this.#socket.destroyed) {
      this.#held = [];
      return;
    }
    const { keepAliveTimeout, keepAliveTimeoutBuffer } = this.#server;
    if (keepAliveTimeout > 0) this.#socket.setTimeout(keepAliveTimeout + keepAliveTimeoutBuffer);
    this.#goOn();
  };

  /** Looks at what had arrived, in its order, and lets the socket read again. */
  #goOn(): void {
    let readsOn = true;
    while (this.#held.length > 0 && !this.#waiting) {
      const chunk = this.#held.shift()!;
      readsOn = this.#receive(chunk);
      if (chunk === null) this.#socket.read(0); // as net.Socket does at its end
    }
    // Else whoever has stopped it starts it again.
    if (readsOn && !this.#waiting && !this.#socket.destroyed) this.#socket._read(0);
  }
}
