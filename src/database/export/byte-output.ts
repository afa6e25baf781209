// Where encoders write: one block of bytes that is handed on when it is full. See docs/streaming-export.md.

/**
 * 64 KB: what a socket takes in one write without splitting it, and the size from which larger blocks gained nothing when
 * measured (docs/decisions/export.md).
 */
export const blockBytes = 64 * 1024;

/** Spare blocks kept: as many as a reader that gives its blocks back has in its hands at once. */
const maxSpares = 8;

/** A growing sequence of blocks. Encoders write to `bytes` at `length` after they have reserved room, and set `length`. */
export class ByteOutput {
  bytes: Buffer = Buffer.allocUnsafeSlow(blockBytes);
  length = 0;
  readonly #push: (block: Buffer) => void;
  readonly #spares: ArrayBufferLike[] = [];

  constructor(push: (block: Buffer) => void) {
    this.#push = push;
  }

  /** Makes sure that `count` bytes fit behind `length`, handing on what is there if they do not. `bytes` may be another block after it. */
  reserve(count: number): void {
    if (this.length + count > this.bytes.length) this.flush(count);
  }

  /** Appends text, outside of any hot path. */
  writeText(text: string): void {
    const count = Buffer.byteLength(text);
    this.reserve(count);
    this.length += this.bytes.write(text, this.length);
  }

  /** Hands on what has been written, and provides a block of at least `count` bytes. */
  flush(count = 0): void {
    const { bytes, length } = this;
    this.length = 0;
    const small = length < blockBytes / 4;
    // A small piece is copied out, so that a trickle of rows does not keep a whole block alive for each.
    if (length > 0) this.#push(small ? Buffer.from(bytes.subarray(0, length)) : bytes.subarray(0, length));
    if (!small || count > bytes.length) this.bytes = this.#block(count);
  }

  /** Takes back a block that nobody will look at again. Whoever is not sure keeps it: the garbage collector takes it then. */
  recycle(block: Buffer): void {
    if (block.buffer.byteLength === blockBytes && this.#spares.length < maxSpares) this.#spares.push(block.buffer);
  }

  #block(count: number): Buffer {
    if (count > blockBytes) return Buffer.allocUnsafeSlow(count);
    const spare = this.#spares.pop();
    return spare ? Buffer.from(spare) : Buffer.allocUnsafeSlow(blockBytes);
  }
}
