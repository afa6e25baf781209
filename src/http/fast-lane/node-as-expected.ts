// Whether this Node works inside as the fast lane expects: a few requests over a connection in memory, and a look at every step.

import { type RequestListener, type Server, createServer } from "node:http";
import { Duplex } from "node:stream";
import { MessageWatch } from "./message-watch.ts";

/** A step's answer comes within a few turns of the loop. So many it may take: a parser that does not answer at all is not as expected. */
const mostTurns = 100;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** `create`: node's createServer, or a planted one. Resolves with what is otherwise, in words; undefined: nothing. */
export async function differenceInNode(create: (listener: RequestListener) => Server = createServer): Promise<string | undefined> {
  let watch: MessageWatch | undefined;
  let answered = 0;
  let answer: (() => void) | undefined;
  const server = create((request, response) => {
    watch ??= MessageWatch.of(request);
    response.on("finish", () => void answered++);
    // What a handler may do although the client has said that it closes.
    if (request.url === "/last") response.setHeader("connection", "keep-alive");
    if (request.url === "/first") answer = () => response.end();
    else response.end();
  });
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  socket.on("error", () => {});

  const feed = async (text: string): Promise<void> => {
    socket.push(Buffer.from(text, "latin1"));
    await turn();
  };
  const untilAnswered = async (count: number): Promise<boolean> => {
    for (let i = 0; i < mostTurns && answered < count; i++) await turn();
    await turn();
    return answered === count;
  };
  const free = (): boolean => watch?.isFree === true;

  try {
    server.emit("connection", socket);
    await feed("GET /first HTTP/1.1\r\nhost: x\r\n\r\n");
    if (watch === undefined) return "a connection's parser cannot be watched";
    if (free()) return "it cannot be seen that an answer is owed";
    answer?.();
    if (!(await untilAnswered(1))) return "a request was not answered";
    if (!free()) return "it cannot be seen that everything is answered";

    await feed("PO");
    if (free()) return "it cannot be seen that a head has begun";
    await feed("ST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n");
    if (!(await untilAnswered(2))) return "a request with a body was not answered";
    if (free()) return "it cannot be seen that a body is on its way";
    await feed("ab");
    if (!free()) return "it cannot be seen that a body has arrived";
    await feed("\r\n");
    if (!free()) return "an empty line between requests begins a message";

    await feed("GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\nGET /3 HT");
    if (!(await untilAnswered(4))) return "pipelined requests were not answered";
    if (free()) return "it cannot be seen that the third of three heads has begun";
    await feed("TP/1.1\r\nhost: x\r\n\r\n");
    if (!(await untilAnswered(5)) || !free()) return "it cannot be seen that pipelined requests are answered";

    await feed("GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    if (!(await untilAnswered(6))) return "a last request was not answered";
    if (free()) return "it cannot be seen that a client has sent its last request";
    return undefined;
  } catch (error) {
    return `it failed: ${String(error)}`;
  } finally {
    socket.destroy();
  }
}
