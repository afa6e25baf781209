// The fuzz: whatever the fast lane's reader takes for a request, node's parser must read as exactly this one, from the same bytes.

import { Inputs, Random } from "./inputs.ts";
import { NodeParser } from "./node-parser.ts";

/** The reader, or a planted one. */
export interface ReaderUnderTest {
  readonly target: string;
  header(name: string): string | undefined;
  read(bytes: Buffer, from: number): number;
}

export interface FuzzCounts {
  inputs: number;
  /** Requests that the reader took, several per input. */
  accepted: number;
  /** Inputs cut at every byte. */
  cutEverywhere: number;
  /** Inputs read by a new reader, too. */
  readAnew: number;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly inputs: number;
  readonly createReader: () => ReaderUnderTest;
  /** Names that the reader may know. */
  readonly knownHeaders: readonly string[];
  readonly log?: (counts: Readonly<FuzzCounts>) => void;
}

/** The two disagree. The message has the bytes. */
export class Disagreement extends Error {
  constructor(what: string, bytes: Buffer, seed: number, input: number) {
    super(`${what} (seed ${seed}, input ${input}): ${JSON.stringify(bytes.toString("latin1"))}`);
    this.name = "Disagreement";
  }
}

const maxHeaderSize = 16 * 1_024;
const logEvery = 250_000;
/** Cutting one input at every byte costs as much as a hundred others. */
const cutOneIn = 64;

/**
 * Compares `inputs` inputs. Returns what was counted.
 * @throws Disagreement at the first difference
 */
export function fuzz({ seed, inputs, createReader, knownHeaders, log }: FuzzOptions): FuzzCounts {
  const random = new Random(seed);
  const source = new Inputs(random);
  const reader = createReader();
  const node = new NodeParser(maxHeaderSize);
  const counts: FuzzCounts = { inputs: 0, accepted: 0, cutEverywhere: 0, readAnew: 0 };
  let anew = true;

  for (; counts.inputs < inputs; counts.inputs++) {
    const bytes = Buffer.from(source.next(), "latin1");
    const fail = (what: string): never => {
      throw new Disagreement(what, bytes, seed, counts.inputs);
    };
    // The reader remembers header sections; what it decides must not depend on that.
    if (random.oneIn(cutOneIn)) {
      counts.readAnew++;
      if (createReader().read(bytes, 0) !== reader.read(bytes, 0))
        fail("a reader that has read before decides otherwise than a new one");
    }
    for (let from = 0, end: number; (end = reader.read(bytes, from)) !== 0; from = end) {
      if (end <= from || end > bytes.length) fail(`it says that the request ends at ${end}`);
      counts.accepted++;
      anew = compare(reader, node, bytes.subarray(from, end), anew, knownHeaders, fail);
      if (random.oneIn(cutOneIn)) {
        counts.cutEverywhere++;
        for (let cut = from; cut < end; cut++) {
          if (reader.read(bytes.subarray(0, cut), from) !== 0) fail(`it takes the first ${cut - from} bytes for a request`);
          node.begin(anew);
          anew = false;
          if (node.feed(bytes.subarray(from, cut)) instanceof Error || node.messagesRead !== 0)
            fail(`cut at ${cut}, node ends early`);
          if (node.feed(bytes.subarray(cut, end)) instanceof Error || node.messagesRead !== 1)
            fail(`cut at ${cut}, node does not end`);
        }
        reader.read(bytes, from);
      }
    }
    if (log && (counts.inputs + 1) % logEvery === 0) log({ ...counts, inputs: counts.inputs + 1 });
  }
  return counts;
}

/** Holds what the reader has read against what node reads. Returns whether node's parser must be made anew. */
function compare(
  reader: ReaderUnderTest,
  node: NodeParser,
  request: Buffer,
  anew: boolean,
  knownHeaders: readonly string[],
  fail: (what: string) => never,
): boolean {
  node.begin(anew);
  // All but the last byte: nothing may be complete. Then the last.
  feed(node, request.subarray(0, -1), 0, fail);
  feed(node, request.subarray(-1), 1, fail);
  sameRequest(reader, node, knownHeaders, fail);
  // And all at once, as it comes from the socket.
  node.begin(false);
  feed(node, request, 1, fail);
  sameRequest(reader, node, knownHeaders, fail);
  return false;
}

function feed(node: NodeParser, bytes: Buffer, messages: 0 | 1, fail: (what: string) => never): void {
  const taken = node.feed(bytes);
  if (taken !== bytes.length) fail(`node stops in it: ${String(taken)}`);
  if (node.messagesRead !== messages)
    fail(`node has read ${node.messagesRead} messages, not ${messages}, after ${bytes.length} bytes`);
  if (node.messagesBegun !== 1) fail(`node begins ${node.messagesBegun} messages in it`);
}

function sameRequest(
  reader: ReaderUnderTest,
  node: NodeParser,
  knownHeaders: readonly string[],
  fail: (what: string) => never,
): void {
  if (!node.isGet || node.version !== "1.1" || node.upgrades || !node.keepsAlive || node.bodyBytes !== 0) {
    fail("node does not read a plain GET of HTTP/1.1 that keeps the connection");
  }
  if (node.target !== reader.target) fail(`the target is ${JSON.stringify(node.target)} for node`);
  for (let i = 0; i < node.headers.length; i += 2) {
    const name = node.headers[i]!.toLowerCase();
    if (reader.header(name) !== node.headers[i + 1]) fail(`${name} is ${JSON.stringify(node.headers[i + 1])} for node`);
  }
  const seen = knownHeaders.filter((name) => reader.header(name) !== undefined).length;
  if (seen !== node.headers.length / 2) fail(`node reads ${node.headers.length / 2} headers, not ${seen}`);
}
