"""The program that the collector replaces: a queue in memory, two workers, an INSERT a line, `ok` once it is queued."""

import asyncio
import sys
from datetime import datetime, timezone

import asyncpg

WORKERS = 2
INSERT = "insert into peer_logs (level, message, created_at) values ($1, $2, $3)"


async def serve(queue, reader, writer):
    while line := await reader.readline():
        message = line.decode("utf-8", "replace").rstrip("\r\n")
        await queue.put((200, message, datetime.now(timezone.utc)))
        writer.write(b"ok\n")
        await writer.drain()
    writer.close()


async def work(queue, pool):
    while True:
        row = await queue.get()
        try:
            await pool.execute(INSERT, *row)
        except Exception as error:
            print(f"cannot store a line: {error!r}", file=sys.stderr)


async def main(port, database_url):
    queue = asyncio.Queue()
    pool = await asyncpg.create_pool(database_url, min_size=WORKERS, max_size=WORKERS)
    server = await asyncio.start_server(lambda *streams: serve(queue, *streams), "127.0.0.1", port)
    workers = [work(queue, pool) for _ in range(WORKERS)]
    await asyncio.gather(server.serve_forever(), *workers)


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
