"""FastAPI with Redis: the list is compressed once, kept in Redis, and sent as it is."""

import gzip
import sys

import redis.asyncio
import uvicorn
from fastapi import FastAPI, Response

store = redis.asyncio.Redis(unix_socket_path=sys.argv[1])
source = sys.argv[2]  # the file with the list
app = FastAPI()


@app.get("/list")
async def cities():
    body = await store.get("list")
    if body is None:
        with open(source, "rb") as file:
            body = gzip.compress(file.read(), 6)
        await store.set("list", body)
    return Response(body, media_type="application/json", headers={"content-encoding": "gzip", "vary": "accept-encoding"})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
