// Answers on their way into one socket: heads and small bodies are copied one behind the other into a buffer that is used again, so that a hit costs
// one write and no allocation, and pipelined hits one write together. Large bodies are written as they are.

import type { Socket } from "node:net";
import type { FastAnswer } from "./answers.ts";

/** What one write carries at most. */
const bufferBytes = 64 * 1_024;
/** Copying up to here costs less than a second piece in the write. */
const copiedBodyBytes = 32 * 1_024;

export class Output {
  #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #used = 0;
  #answers: FastAnswer[] = [];

  /** Whether an answer's head fits at all. */
  fits(answer: FastAnswer): boolean {
    return answer.headBytes <= bufferBytes;
  }

  /** Whether the next answer can be added without a flush. */
  hasRoomFor({ headBytes, body }: FastAnswer): boolean {
    return this.#used + headBytes + (body.length <= copiedBodyBytes ? body.length : 0) <= bufferBytes;
  }

  /** Adds an answer. One whose body is not copied must be flushed before the next is added. Nothing is added when it throws. */
  add(answer: FastAnswer): void {
    let end = answer.copyHead(this.#buffer, this.#used);
    if (answer.body.length <= copiedBodyBytes) end += answer.body.copy(this.#buffer, end);
    this.#used = end;
    this.#answers.push(answer);
  }

  /** Whether the last answer's body has not been copied. */
  mustFlush({ body }: FastAnswer): boolean {
    return body.length > copiedBodyBytes;
  }

  /**
   * Writes what has been added. `written` is called later in any case, once. Returns the answers of which not every byte is with the kernel
   * yet, or undefined: then all of them are, and have been reported.
   */
  flush(socket: Socket, written: (error?: Error | null) => void): readonly FastAnswer[] | undefined {
    const answers = this.#answers;
    const last = answers.at(-1);
    if (last === undefined) return undefined;
    const bytes = this.#buffer.subarray(0, this.#used);
    if (this.mustFlush(last)) {
      socket.cork();
      socket.write(bytes);
      socket.write(last.body, written);
      socket.uncork();
    } else {
      socket.write(bytes, written);
    }
    this.#used = 0;
    if (socket.writableLength > 0) {
      // The kernel has not taken everything, and what it has not is read from the buffer later.
      this.#buffer = Buffer.allocUnsafeSlow(bufferBytes);
      this.#answers = [];
      return answers;
    }
    try {
      for (const answer of answers) answer.sent(true);
    } finally {
      answers.length = 0;
    }
    return undefined;
  }
}
