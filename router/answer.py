"""What goes back to one client. Its head is held until there is something to say, so that failures stay honest."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus

from aiohttp import web
from aiohttp.http import HttpVersion11

from router.errors import RouterError, error_body, sse_error

KEEP_ALIVE = b": keep-alive\n\n"
"""An SSE comment; clients skip it (checked with the official openai package)."""


class ClientGone(ConnectionError):
    """The client closed the connection; its request has nobody left to answer."""


class WriteStalled(Exception):
    """The client keeps the connection open and takes nothing from it."""


class Answer(web.StreamResponse):
    """A response that frames its own bytes: one write for head and first event, and none of them needs a task.

    aiohttp takes it from a handler like any response and finds nothing left to do.

    Attributes:
        head: headers of our own to send, in lower case.
        begun: the head is on its way; the status can no longer change.
        status_sent: the status the client sees, 0 before.
        ended: all of it is on its way.
    """

    def __init__(self, http: web.BaseRequest, write_stall_s: float) -> None:
        super().__init__()
        self.head: dict[str, str] = {}
        self.begun = False
        self.status_sent = 0
        self.ended = False
        self._http = http
        self._write_stall_s = write_stall_s
        self._keep = http.keep_alive
        self._chunked = http.version >= HttpVersion11
        self._comments: asyncio.TimerHandle | None = None

    # what aiohttp calls once the handler returns

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing: the head is written by `send` or `whole`."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: `end` and `whole` have."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can carry another request."""
        return self._keep

    # what the gateway and the relay call

    def comment_every(self, seconds: float) -> None:
        """From now on, until `quiet`, commit 200 and send a comment whenever so many seconds have passed."""
        self._comments = asyncio.get_running_loop().call_later(seconds, self._comment, seconds)

    def quiet(self) -> None:
        """No more comments."""
        if self._comments is not None:
            self._comments.cancel()
            self._comments = None

    async def send(self, data: bytes) -> None:
        """Pass on events; returns when the client has taken enough to be sent more."""
        self._write(self._framed(data))
        if self._http.protocol.writing_paused:
            await self._taken()

    async def end(self) -> None:
        """End a stream that was begun."""
        self.quiet()
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self.ended = True

    async def whole(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        """Answer with one body."""
        self.quiet()
        head = self._head_bytes(status, content_type, f"content-length: {len(body)}")
        self._write(head if self._http.method == "HEAD" else head + body)
        if self._http.protocol.writing_paused:
            await self._taken()
        self.ended = True

    async def fail(self, error: RouterError) -> None:
        """Tell the client: with a status while there is none yet, else in band and without `[DONE]`."""
        if self.begun:
            await self.send(sse_error(error))
            await self.end()
        else:
            if error.retry_after_s is not None:
                self.head["retry-after"] = str(math.ceil(error.retry_after_s))
            await self.whole(error.status, error_body(error))

    def close_after(self) -> None:
        """Do not reuse the connection."""
        self._keep = False

    def _comment(self, seconds: float) -> None:
        transport = self._http.transport
        if transport is not None and not transport.is_closing():
            if not self._http.protocol.writing_paused:
                self._write(self._framed(KEEP_ALIVE))
            self.comment_every(seconds)

    def _write(self, data: bytes) -> None:
        transport = self._http.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        transport.write(data)

    async def _taken(self) -> None:
        try:
            async with asyncio.timeout(self._write_stall_s):
                await self._http.protocol._drain_helper()
        except TimeoutError:
            self._keep = False
            if self._http.transport is not None:
                self._http.transport.abort()
            raise WriteStalled(f"the client took no bytes for {self._write_stall_s:g} s") from None
        except ConnectionError:
            raise ClientGone from None

    def _framed(self, data: bytes) -> bytes:
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
        if self.begun:
            return chunk
        framing = "transfer-encoding: chunked" if self._chunked else ""
        self._keep = self._keep and self._chunked  # without chunks, only closing tells where the body ends
        return self._head_bytes(HTTPStatus.OK, "text/event-stream", framing) + chunk

    def _head_bytes(self, status: int, content_type: str, framing: str) -> bytes:
        self.begun, self.status_sent = True, int(status)
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"content-type: {content_type}",
            *(f"{name}: {value}" for name, value in self.head.items()),
        ]
        if content_type == "text/event-stream":
            lines.append("cache-control: no-cache")
        if framing:
            lines.append(framing)
        if not self._keep:
            lines.append("connection: close")
        elif not self._chunked:
            lines.append("connection: keep-alive")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
