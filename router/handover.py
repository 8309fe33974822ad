"""KV cache between two workers: prefilled on one, owed to the other, and never forgotten on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType

import orjson

from router.caller import Caller
from router.engines.api import Call, Engine
from router.errors import BadUpstream, RouterError, UpstreamConnectFailed, UpstreamError
from router.exchange import Exchange, cached_tokens
from router.reaper import Reaper
from router.scheduler import End
from router.upstream import UpstreamResponse

LEASE_SHARE = 0.9
"""Share of the lease after which KV counts as gone: decoding from freed blocks gives wrong tokens and a clean 200."""
HANG_UP_S = 1.0
"""For a worker to notice that we hung up: it then closes, or its answer was already under way."""


class LeaseExpired(UpstreamError):
    """The prefill worker may have freed the KV before a decode leg could fetch it; prefill again."""

    message = "the KV cache expired before it was handed over"


class Handover:
    """Runs the prefill leg on entering. If the block ends before the decode worker has the KV, because the client left
    or a leg failed, the reaper makes the decode worker fetch it, for only that frees the prefill worker at once; the
    attempt's reservations last until then.
    """

    def __init__(self, caller: Caller, reaper: Reaper, engine: Engine, exchange: Exchange) -> None:
        self._caller = caller
        self._reaper = reaper
        self._engine = engine
        self._exchange = exchange
        self._answer: UpstreamResponse | None = None
        self._raw = bytearray()
        self._prefilled: Mapping[str, object] | None = None
        self._prefilled_s = 0.0

    async def __aenter__(self) -> Handover:
        """Cancelled before the worker answers, we hang up and the engine drops the request.

        Only the reaper knows whether it did, or had just finished: then the KV is pinned, and its answer says where.
        """
        exchange, limits = self._exchange, self._caller.limits
        exchange.worker = exchange.placement.prefill
        call = self._engine.prefill_call(exchange.inbound.path, exchange.inbound.body, exchange.attempt.call_id)
        try:
            self._answered(await self._caller.call(exchange.worker, call, limits.first_s, self._hung_up))
            await self._read()
        except asyncio.CancelledError:
            if self._answer is not None:
                self._leave(End.CANCELLED)
            raise
        except BaseException:
            if self._answer is not None:
                self._answer.abort()
            raise
        exchange.attempt.prefilled()
        return self

    def decode_call(self) -> Call:
        """The decode leg; the whole request where the prefill worker had nothing to hand over."""
        inbound, call_id = self._exchange.inbound, self._exchange.attempt.call_id
        if self._prefilled is None:
            return self._engine.whole_call(inbound.path, inbound.body, call_id)
        if self._expired:
            raise LeaseExpired
        return self._engine.decode_call(inbound.path, inbound.body, self._prefilled, call_id)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exchange = self._exchange
        if self._prefilled is not None and exchange.decoding:
            exchange.entry.handed_over += (exchange.placement,)
        owed = self._prefilled is not None and not exchange.decoding and not self._expired
        if error is not None and owed and not isinstance(error, UpstreamConnectFailed):
            self._leave(End.FAILED if isinstance(error, RouterError) else End.CANCELLED)

    @property
    def _expired(self) -> bool:
        return self._exchange.clock() - self._prefilled_s > LEASE_SHARE * self._caller.limits.kv_lease_s

    def _answered(self, answer: UpstreamResponse) -> None:
        """The lease runs from here at the latest: the worker had finished before it answered."""
        self._answer, self._prefilled_s = answer, self._exchange.clock()

    def _hung_up(self, answer: UpstreamResponse) -> None:
        self._answered(answer)
        answer.hang_up()

    async def _read(self) -> None:
        """Cancelling loses nothing, so that the reaper can go on where the request stopped."""
        assert self._answer is not None
        while data := await self._answer.chunk():
            self._raw += data
            if len(self._raw) > self._caller.limits.answer_bytes:
                raise BadUpstream(detail="the prefill answer is too long")
        self._prefilled = self._engine.read_prefilled(bytes(self._raw))
        if self._prefilled is not None:
            usage = orjson.loads(self._raw).get("usage")
            self._exchange.entry.cached_tokens = cached_tokens(usage) if isinstance(usage, dict) else 0

    # in the reaper

    def _leave(self, end: End) -> None:
        self._exchange.attempt.keep()
        self._reaper.take(f"hand-over of {self._exchange.attempt.call_id}", self._abandon(end))

    async def _abandon(self, end: End) -> None:
        """Have the decode worker fetch the KV, if there is any, and drop it."""
        try:
            if await self._pinned() and not self._expired:
                await self._drop()
        finally:
            if self._answer is not None:
                self._answer.abort()
            self._exchange.attempt.release(end)

    async def _pinned(self) -> bool:
        """Whether the prefill worker finished, and so holds KV for us."""
        if self._prefilled is None and self._answer is not None:
            try:
                await self._answer.head(HANG_UP_S)
                if self._answer.status == HTTPStatus.OK:
                    await self._read()
            except UpstreamError:
                return False  # it dropped the request, as it should
        return self._prefilled is not None

    async def _drop(self) -> None:
        exchange, limits = self._exchange, self._caller.limits
        assert self._prefilled is not None
        inbound, call_id = exchange.inbound, f"{exchange.attempt.call_id}-abandon"
        call = self._engine.abandon_call(inbound.path, inbound.body, self._prefilled, call_id)
        async with await self._caller.call(exchange.placement.decode, call, limits.first_s) as response:
            await response.read(limits.answer_bytes)
