// node:http and a buffer that was compressed once: the least that can be done with it.

import { createServer } from "node:http";
import { gzipSync } from "node:zlib";
import { places } from "./cached-list.ts";

const body = gzipSync(JSON.stringify(places()));
createServer((_request, response) => {
  response.writeHead(200, {
    "content-type": "application/json; charset=utf-8",
    "content-encoding": "gzip",
    "content-length": body.length,
    vary: "accept-encoding",
  });
  response.end(body);
}).listen(Number(process.argv[2]), "127.0.0.1");
