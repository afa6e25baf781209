"""FastAPI and asyncpg: a server-side cursor in batches of 1,000, and the fastest JSON library that is there."""

import sys

import asyncpg
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

try:
    import orjson

    library = "orjson"

    def encode(records):
        return b"\n".join([orjson.dumps(dict(record)) for record in records]) + b"\n"

except ImportError:
    import datetime
    import decimal

    def plain(value):
        return value.isoformat() if isinstance(value, datetime.datetime) else float(value) if isinstance(value, decimal.Decimal) else str(value)

    try:
        import rapidjson

        library = "rapidjson"

        def dumps(record):
            return rapidjson.dumps(record, default=plain, ensure_ascii=False)

    except ImportError:
        import json

        library = "json"

        def dumps(record):
            return json.dumps(record, default=plain, ensure_ascii=False)

    def encode(records):
        return "".join([dumps(dict(record)) + "\n" for record in records]).encode()


app = FastAPI()
pool = None


@app.on_event("startup")
async def open_pool():
    global pool
    pool = await asyncpg.create_pool(sys.argv[1], min_size=1, max_size=4)


@app.get("/library")
async def get_library():
    return library


@app.get("/export")
async def export():
    async def batches():
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            cursor = await connection.cursor("select * from observations")
            while records := await cursor.fetch(1000):
                yield encode(records)

    return StreamingResponse(batches(), media_type="application/x-ndjson")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
