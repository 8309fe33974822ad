"""One answer of a worker, from its head to its proper end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from router.errors import BadUpstream, RouterError, UpstreamTimeout, UpstreamTruncated


class Source(Protocol):
    """What a response asks of the connection it arrives on."""

    @property
    def heard_s(self) -> float:
        """Loop time of the last byte received, or of the last time reading was resumed."""
        ...

    @property
    def reading_paused(self) -> bool: ...

    def resume(self) -> None: ...

    def fail(self, error: RouterError) -> None:
        """Close at once and end the response with `error`."""
        ...

    def hang_up(self) -> None:
        """Close our half."""
        ...


class UpstreamResponse:
    """Use as `async with`: leaving the block before the end aborts the connection, so that the worker stops working.

    Attributes:
        status: 0 until the head has arrived, which is never visible to a caller of `Upstream.request`.
        headers: names in lower case; repeated ones joined by a comma.
        framed: False where only the end of the connection ends the body: that end proves nothing.
        buffered_bytes: received and not yet taken.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_idle_s",
        "_loop",
        "_pieces",
        "_source",
        "_timer",
        "_waiter",
        "buffered_bytes",
        "framed",
        "headers",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Source, idle_timeout_s: float) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.framed = True
        self.buffered_bytes = 0
        self._loop = loop
        self._idle_s = idle_timeout_s
        self._source: Source | None = source  # None once the response is over: the connection may serve another by then
        self._pieces: list[bytes] = []
        self._ended = False
        self._error: RouterError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        """Whether the proper end was received; bytes may still wait to be taken."""
        return self._ended

    async def chunk(self) -> bytes:
        """All bytes there are, at least one; b"" only at the proper end.

        Cancelling it loses nothing: it may be called again. Raises `UpstreamTruncated`, `UpstreamTimeout` when the
        worker is silent for the idle timeout, `BadUpstream`; what came before is handed out first.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            if self._timer is None:
                self._timer = self._loop.call_later(self._idle_s, self._check_silence)
            await self._news()
        pieces, self._pieces, self.buffered_bytes = self._pieces, [], 0
        if self._source is not None and self._source.reading_paused:
            self._source.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def allow_silence(self, idle_timeout_s: float) -> None:
        """From now on the worker may be silent for so long inside the body."""
        self._idle_s = idle_timeout_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # the next wait sets it again

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body; a longer one is cut off and raises `BadUpstream`."""
        pieces, size = [], 0
        while piece := await self.chunk():
            pieces.append(piece)
            size += len(piece)
            if size > limit_bytes:
                self.abort()
                raise BadUpstream("the worker's answer is too long", detail=f"more than {limit_bytes} bytes")
        return b"".join(pieces)

    def abort(self) -> None:
        """Close the connection at once unless the end was received, and forget what was not taken."""
        self._pieces, self.buffered_bytes = [], 0
        if self._source is not None:
            self._source.fail(UpstreamTruncated(detail="aborted by the gateway"))

    def hang_up(self) -> None:
        """Tell the worker that nobody waits any more, and go on listening: an answer already under way still arrives.

        A server takes the end of its input for a client that left, and closes. Over TLS this is `abort`.
        """
        if self._source is not None:
            self._source.hang_up()

    async def __aenter__(self) -> UpstreamResponse:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._ended:
            self.abort()

    async def head(self, timeout_s: float | None) -> None:
        """Wait for status and headers; None is no limit."""
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._no_head)
        try:
            while not self.status:
                if self._error is not None:
                    raise self._error
                await self._news()
        finally:
            if timer is not None:
                timer.cancel()

    # What the connection reports.

    def began(self, status: int, headers: Mapping[str, str], framed: bool) -> None:
        """The head arrived."""
        self.status, self.headers, self.framed = status, headers, framed
        self._wake()

    def took(self, piece: bytes) -> None:
        """A piece of the body arrived."""
        self._pieces.append(piece)
        self.buffered_bytes += len(piece)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def finish(self) -> None:
        """The proper end arrived."""
        self._ended = True
        self._over()

    def failed(self, error: RouterError) -> None:
        """There will be no proper end."""
        self._error = error
        self._over()

    def _over(self) -> None:
        self._source = None
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    async def _news(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("two tasks wait for one response")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _no_head(self) -> None:
        if self._source is not None and not self.status:
            self._source.fail(UpstreamTimeout("the worker did not begin to answer in time", before_response=True))

    def _check_silence(self) -> None:
        """One timer for the whole response, set again for what is left: no timer is touched per piece."""
        if self._source is None:
            return
        left_s = self._source.heard_s + self._idle_s - self._loop.time()
        if self._pieces:
            left_s = self._idle_s  # the reader is slow, not the worker
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_silence)
        else:
            self._source.fail(UpstreamTimeout(detail=f"silent for {self._idle_s:g} s"))
