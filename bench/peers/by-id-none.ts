// node:http without a database: what the machine's HTTP can do at the most.

import { createServer } from "node:http";

const port = process.argv.at(-1);
const city = { id: 1, name: "Sant Julià de Lòria", country: "AD", latitude: 42.46372, longitude: 1.49129, population: 8022 };

const server = createServer((_, response) => {
  const body = JSON.stringify(city);
  response.writeHead(200, { "content-type": "application/json; charset=utf-8", "content-length": Buffer.byteLength(body) });
  response.end(body);
});
server.listen(Number(port), "127.0.0.1");
