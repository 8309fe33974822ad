"""A worker that does exactly what a test tells it to, on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it stood on the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """The worker's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> Received:
        """Read one request whole."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head[:-4].split("\r\n")
        headers = dict(item.split(": ", 1) for item in rest)
        return Received(line, headers, await self.reader.readexactly(int(headers.get("content-length", "0"))))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def send_bytewise(self, data: bytes) -> None:
        """One byte at a time, each pushed out before the next."""
        for at in range(len(data)):
            self.writer.write(data[at : at + 1])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def until_closed(self) -> bytes:
        """Wait until the other side has closed or reset; what it still sent."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Its nth connection plays the nth script and is then closed; one connection too many fails the test."""

    url: str
    accepted: int = 0
    received: list[Received] = field(default_factory=list)


def answer(raw: bytes, times: int = 1) -> Script:
    """Read a request, send `raw`, and so on; then close."""

    async def script(peer: Peer) -> None:
        for _ in range(times):
            await peer.request()
            peer.send(raw)

    return script


@asynccontextmanager
async def serving(
    *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", name: str = ""
) -> AsyncIterator[ScriptedServer]:
    """Play `scripts`, one per connection, in the order of the connections."""
    server = ScriptedServer("")
    tasks: list[asyncio.Task[None]] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await scripts[server.accepted - 1](Peer(reader, writer))
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.accepted += 1
        tasks.append(asyncio.ensure_future(play(reader, writer)))

    listener = await asyncio.start_server(accept, host, 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else name or host
    server.url = f"{'https' if tls else 'http'}://{shown}:{port}"
    try:
        yield server
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listener.close()
