// nginx with one worker over a directory of files, as a server under test.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ServerUnderTest, freePort, startServer } from "./server.ts";

/** Where Debian puts it, which is not in everybody's PATH. */
export const nginxProgram = "/usr/sbin/nginx";

/** Serves `root`, preferring ready-made .gz files. `headers`: on every answer. */
export async function startNginx(
  directory: string,
  root: string,
  headers: readonly (readonly [string, string])[],
): Promise<ServerUnderTest> {
  const port = await freePort();
  await mkdir(directory, { recursive: true });
  const lines = headers.map(([name, value]) => `      add_header ${name} "${value}";`).join("\n");
  const path = join(directory, "nginx.conf");
  await writeFile(
    path,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/error.log crit;
events { worker_connections 16384; }
http {
  access_log off; server_tokens off; sendfile on; tcp_nopush on; open_file_cache max=1000; keepalive_requests 1000000000; keepalive_timeout 72s;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory}; uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  default_type "application/json; charset=utf-8"; gzip_static on; gzip_vary on;
  server { listen 127.0.0.1:${port}; root ${root};
    location / {
${lines}
    }
  }
}
`,
  );
  return startServer([nginxProgram, "-c", path], port);
}
