"""The long way to the other site: relay.py LISTEN-ADDRESS PORT TO-PORT SETTINGS

Passes connections on to a port of this host, with a delay and at a rate that the file SETTINGS gives as
"MILLISECONDS BITS-PER-SECOND" (each way; 0 bits: as fast as it goes). It is read anew for every connection.
"""

import asyncio
import sys
import time
from collections import deque

PIECE = 64 * 1024


async def pump(reader, writer, delay, rate):
    """Passes bytes on, each as late and as slowly as the line is."""
    waiting, arrived, ended = deque(), asyncio.Event(), False
    # The line holds what is on its way: what a delay at full rate needs, and some for bursts.
    room = asyncio.Semaphore(256)

    async def take():
        nonlocal ended
        free = time.monotonic()
        while data := await reader.read(PIECE):
            await room.acquire()
            free = max(free, time.monotonic()) + (len(data) * 8 / rate if rate else 0)
            waiting.append((free + delay, data))
            arrived.set()
        ended = True
        arrived.set()

    taking = asyncio.create_task(take())
    try:
        while True:
            while not waiting:
                if ended:
                    return
                arrived.clear()
                await arrived.wait()
            due, data = waiting.popleft()
            await asyncio.sleep(max(0, due - time.monotonic()))
            writer.write(data)
            await writer.drain()
            room.release()
    except ConnectionError:
        pass
    finally:
        taking.cancel()
        writer.close()


async def main(address, port, target, settings):
    async def serve(reader, writer):
        with open(settings) as file:
            delay, rate = file.read().split()
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", int(target))
        except OSError:
            writer.close()
            return
        way = float(delay) / 1000, float(rate)
        await asyncio.gather(pump(reader, onward_writer, *way), pump(onward_reader, writer, *way), return_exceptions=True)

    server = await asyncio.start_server(serve, address, int(port))
    async with server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:5]))
