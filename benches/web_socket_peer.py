#!/usr/bin/env python3
"""Echoes WebSocket messages with Python's `websockets` (Debian: python3-websockets), without compression.

A peer of `linerate serve --role ws`: prints the URL to give to `linerate run ws`.
"""

import asyncio
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    options = {"compression": None, "ping_interval": None, "max_size": None, "backlog": 4096}
    async with websockets.serve(echo, "127.0.0.1", port, **options) as server:
        print("ws://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
