"""One connection to a worker: HTTP/1.1 on an asyncio protocol, one request at a time."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import httptools

from router.errors import BadUpstream, RouterError, UpstreamReset, UpstreamTimeout, UpstreamTruncated
from router.upstream_response import UpstreamResponse

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 128
HIGH_WATER_BYTES = 64 * 1024
"""Bytes nobody has taken yet at which reading stops."""
MAX_FRAMING_BYTES = 32 * 1024
"""Chunk extensions and trailers without one byte of body between them."""

# A peer that vanished without a FIN is noticed by the kernel after 30 + 3 * 10 s, also on an idle connection.
_KEEPALIVE = [("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)]


class Shelf:
    """The connections to one origin: all of them, and the idle ones in the order they became so.

    Attributes:
        keep_alive_s: an idle connection older than this is not used again; servers close theirs after a few seconds
            (uvicorn, and so vLLM, after 5), and a request sent into that moment is lost.
    """

    def __init__(self, keep_alive_s: float) -> None:
        self.all: set[Connection] = set()
        self.keep_alive_s = keep_alive_s
        self.open = True
        self._idle: dict[Connection, float] = {}

    def take(self, now: float) -> Connection | None:
        """The connection used last, which is the least likely to be closed by its server."""
        while self._idle:
            connection, since_s = self._idle.popitem()
            if now - since_s <= self.keep_alive_s and connection.usable:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection, now: float) -> None:
        """Keep a connection for the next request; drops the one idle for longest when it is too old."""
        oldest = next(iter(self._idle), None)
        if oldest is not None and now - self._idle[oldest] > self.keep_alive_s:
            del self._idle[oldest]
            oldest.close()
        self._idle[connection] = now

    def forget(self, connection: Connection) -> None:
        """The connection is lost."""
        self._idle.pop(connection, None)
        self.all.discard(connection)


class Connection(asyncio.Protocol):
    """Closed for good after anything that was not one clean answer: it then never goes back to the shelf.

    Attributes:
        heard_s: loop time of the last byte, or of the last `send` or `resume`.
        lost: set when the transport is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shelf: Shelf) -> None:
        self.heard_s = 0.0
        self.reading_paused = False
        self.lost = asyncio.Event()
        self._loop = loop
        self._shelf = shelf
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: UpstreamResponse | None = None
        self._writing_paused = False
        self._write_watch: asyncio.TimerHandle | None = None
        self._idle_s = 0.0
        self._head_only = False
        self._hung_up = False
        self._reset()

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self._response is not None

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self._transport is not None and self._response is None and not self._transport.is_closing()

    def send(self, request: bytes, *, head_only: bool, idle_timeout_s: float) -> UpstreamResponse:
        """Write a request; `head_only` says that the answer has no body whatever its headers say (HEAD)."""
        assert self._transport is not None
        self._reset()
        self._head_only = head_only
        self._idle_s = idle_timeout_s
        self.heard_s = self._loop.time()
        self._response = response = UpstreamResponse(self._loop, self, idle_timeout_s)
        self._transport.write(request)
        return response

    def _reset(self) -> None:
        """What is known of the answer on the wire: nothing yet."""
        self._headers: dict[str, str] = {}
        self._head_bytes = self._header_count = self._framing_bytes = 0
        self._heard = False  # a byte of it came
        self._interim = False  # inside a 1xx
        self._began = False  # its head is whole
        self._complete = False
        self._extra = False  # more came than it has
        self._keep = False  # the connection may carry another
        self._refused = ""

    def resume(self) -> None:
        """Read again; the time spent paused is not the worker's silence."""
        self.reading_paused = False
        self.heard_s = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def fail(self, error: RouterError) -> None:
        """Close at once and end the response with `error`."""
        response, self._response = self._response, None
        if self._transport is not None:
            self._transport.abort()
        if response is not None:
            response.failed(error)

    def hang_up(self) -> None:
        """Close our half; what the worker had sent before it noticed still arrives."""
        if self._transport is not None and self._transport.can_write_eof():
            self._hung_up = True
            self._transport.write_eof()
        else:
            self.fail(UpstreamTruncated(detail="aborted by the gateway"))

    def close(self) -> None:
        """Close a connection that has no request on it."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._shelf.all.add(self)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if option := getattr(socket, name, None):  # Linux names; elsewhere the system's own times apply
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # bytes nobody asked for
            self.fail(BadUpstream())
            return
        self.heard_s = self._loop.time()
        self._heard = True
        before = response.buffered_bytes
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refused = self._refused or str(error)
            self._extra = True
        if self._complete:
            self._release(response)
        elif self._refused:
            self.fail(BadUpstream(detail=self._refused))
        elif response.buffered_bytes == before:
            self._count_framing(len(data))
        else:
            self._framing_bytes = 0
            if response.buffered_bytes > HIGH_WATER_BYTES and not self.reading_paused and self._transport is not None:
                self.reading_paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        self._gone("connection closed by the worker", clean=True)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone(repr(error) if error else "connection closed by the worker", clean=error is None)
        self._shelf.forget(self)
        self.resume_writing()
        self._transport = None
        self.lost.set()

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._watch_writing(-1)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._write_watch is not None:
            self._write_watch.cancel()
            self._write_watch = None

    # httptools

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._began:  # a trailer, or the head of an answer too many
            return
        self._header_count += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._header_count > MAX_HEADERS or self._head_bytes > MAX_HEAD_BYTES:
            self._refused = "response head too large"
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._began or self._refused or self._response is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._interim, self._headers = True, {}
            return
        headers = self._headers
        self._refused = _objection(status, headers)
        if self._refused:
            return
        framed = self._head_only or status in (204, 304) or not headers.keys().isdisjoint(_FRAMING)
        self._keep = framed and not self._head_only and self._parser.should_keep_alive()
        self._began = True
        self._complete = self._head_only
        self._response.began(status, headers, framed)

    def on_body(self, piece: bytes) -> None:
        if not self._complete and self._response is not None and not self._refused:
            self._response.took(piece)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._began:
            self._complete = True

    # ends

    def _release(self, response: UpstreamResponse) -> None:
        """The answer is whole: back to the shelf if the connection is clean, closed if not."""
        self._response = None
        if self.reading_paused:
            self.resume()
        assert self._transport is not None
        flushed = not self._writing_paused and not self._transport.get_write_buffer_size()
        if self._keep and not self._hung_up and not self._extra and flushed and self.usable and self._shelf.open:
            self._shelf.put(self, self.heard_s)
        elif self._extra or not flushed:
            self._transport.abort()
        else:
            self._transport.close()
        response.finish()

    def _gone(self, detail: str, *, clean: bool) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        if not self._heard:
            response.failed(UpstreamReset(detail=detail))
        elif clean and self._began and not response.framed:
            response.finish()
        else:
            response.failed(UpstreamTruncated(detail=detail))

    def _count_framing(self, size: int) -> None:
        """Bytes that were no body: a head so far, chunk extensions, trailers."""
        self._framing_bytes += size
        if self._framing_bytes > (MAX_FRAMING_BYTES if self._began else MAX_HEAD_BYTES):
            self.fail(BadUpstream(detail="too many bytes of framing" if self._began else "response head too large"))

    def _watch_writing(self, unsent_before: int) -> None:
        """A worker that takes no byte of the request for the idle timeout has stopped."""
        if self._transport is None or self._response is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent == unsent_before:
            self.fail(UpstreamTimeout("the worker stopped taking the request", before_response=not self._heard))
            return
        self._write_watch = self._loop.call_later(self._idle_s, self._watch_writing, unsent)


_FRAMING = frozenset({"content-length", "transfer-encoding"})


def _objection(status: int, headers: dict[str, str]) -> str:
    """Why this head cannot be accepted, "" if it can. We ask for `identity`, so no coding needs to be undone."""
    if not 200 <= status <= 599:
        return f"status {status}"
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        return "transfer-encoding other than chunked"
    if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        return "an encoded body that was not asked for"
    return ""
