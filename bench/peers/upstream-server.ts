// An API as upstreams see it: `fast` answers in 5 ms, `slow` in 200 ms, `failing` with 503 in 5 ms. GET /count says how many requests
// there were.

import { createServer } from "node:http";

const [kind, port] = process.argv.slice(2);
const delayMs = kind === "slow" ? 200 : 5;
let requests = 0;

createServer((request, response) => {
  if (request.url === "/count") {
    response.end(String(requests));
    return;
  }
  requests++;
  setTimeout(() => {
    response.statusCode = kind === "failing" ? 503 : 200;
    response.setHeader("content-type", "application/json");
    response.end('{"sky":"grey"}');
  }, delayMs);
}).listen(Number(port), "127.0.0.1");
