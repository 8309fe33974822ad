"""Makes the calls of one attempt in the engine's dialect and passes the answer on. Keeps nothing between attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from devices.worker import Worker
from router.caller import Caller
from router.engines.api import Call, Engine
from router.errors import BadUpstream, RouterError, UpstreamError, UpstreamTimeout, UpstreamTruncated, worker_error
from router.exchange import Exchange
from router.handover import Handover
from router.reaper import Reaper
from router.scheduler import End
from router.sse import Scanner
from router.upstream import UpstreamResponse

MAX_HELD_BYTES = 16_384
"""Events before the first content are held back up to this much; the role of a chat takes 300 bytes."""
TAIL_S = 0.25
"""For the framing after `[DONE]`, so that the connection can be used again. The client does not wait for it."""


class Relay:
    """Serves one attempt after another; all it knows of one is in its exchange."""

    def __init__(self, caller: Caller, engines: Mapping[str, Engine], reaper: Reaper) -> None:
        self._caller = caller
        self._engines = engines
        self._reaper = reaper
        self._limits = caller.limits

    async def run(self, exchange: Exchange) -> None:
        """One attempt, from the first call to the last byte; raises `RouterError` with who failed in the exchange."""
        inbound, placement = exchange.inbound, exchange.placement
        engine = self._engines[placement.decode.pool.engine]
        path, body, request_id = inbound.path, inbound.body, exchange.attempt.call_id
        if not placement.split or not engine.can_split(path, body):
            await self._answered(placement.decode, engine.whole_call(path, body, request_id), exchange)
            return
        async with Handover(self._caller, self._reaper, engine, exchange) as handover:
            await self._answered(placement.decode, handover.decode_call(), exchange)

    async def _answered(self, worker: Worker, call: Call, exchange: Exchange) -> None:
        """The leg whose answer is the client's."""
        exchange.worker = worker
        stream = exchange.inbound.stream
        head_s = self._limits.first_s if stream else self._limits.whole_s
        async with await self._caller.call(worker, call, head_s) as response:
            if stream:
                await self._stream(response, call, exchange)
            else:
                await self._whole(response, exchange)

    async def _whole(self, response: UpstreamResponse, exchange: Exchange) -> None:
        raw = await response.read(self._limits.answer_bytes)
        exchange.decoding = True
        exchange.counted(_checked(raw, exchange.inbound.choices), 0)
        exchange.speaking = True
        exchange.attempt.end = End.FINISHED
        await exchange.answer.whole(HTTPStatus.OK, raw)

    async def _stream(self, response: UpstreamResponse, call: Call, exchange: Exchange) -> None:
        scanner = Scanner(choices=exchange.inbound.choices, drop_usage_event=call.adds_usage)
        try:
            await self._pass_on(response, scanner, exchange)
        finally:
            exchange.counted(scanner.usage, scanner.content_events)
        if not scanner.complete:
            raise _unfinished(scanner)
        exchange.attempt.end = End.FINISHED
        await exchange.answer.end()
        await _rest(response)

    async def _pass_on(self, response: UpstreamResponse, scanner: Scanner, exchange: Exchange) -> None:
        """Hold events until one says something; from then on pass on all, up to `[DONE]`, an error or the end."""
        held, silent_s = b"", 0.0
        while not scanner.done and scanner.error is None:
            asked_s, seen = exchange.clock(), scanner.content_events
            if not (data := await response.chunk()):
                return
            events = held + scanner.feed(data)
            silent_s = 0.0 if scanner.content_events > seen else silent_s + exchange.clock() - asked_s
            if silent_s > (self._limits.stall_s if exchange.speaking else self._limits.first_s):
                raise UpstreamTimeout(detail=f"no token for {silent_s:.3g} s, whatever else it sent")
            exchange.output(scanner.content_events)
            if not exchange.speaking:
                if not _speaks(scanner, events):
                    held = events
                    continue
                exchange.speaking, held = True, b""
                exchange.answer.quiet()
                response.allow_silence(self._limits.stall_s)
            if events:
                await exchange.answer.send(events)


def _speaks(scanner: Scanner, held: bytes) -> bool:
    return bool(scanner.content_events or scanner.finish_reasons) or len(held) > MAX_HELD_BYTES


def _unfinished(scanner: Scanner) -> RouterError:
    """Why a stream is not a success: the end of a connection never proves one."""
    if scanner.error is not None:
        return worker_error(_status(scanner.error), orjson.dumps({"error": scanner.error}))
    if scanner.done:
        return UpstreamTruncated(detail="[DONE] without a finish reason for every choice")
    return UpstreamTruncated(detail="the stream ended without [DONE]")


def _status(error: Mapping[str, object]) -> int:
    """Engines put the HTTP status they would have answered with into `code`."""
    code = error.get("code")
    return code if type(code) is int and code in HTTPStatus._value2member_map_ else HTTPStatus.BAD_GATEWAY


async def _rest(response: UpstreamResponse) -> None:
    try:
        async with asyncio.timeout(TAIL_S):
            await response.chunk()
    except (TimeoutError, UpstreamError):
        return  # leaving the block closes the connection; the client has its whole answer


def _checked(raw: bytes, choices: int) -> Mapping[str, object] | None:
    """The usage in a whole answer; raises unless every choice is there and says why it ended."""
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadUpstream(detail="the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise BadUpstream(detail="the answer is not an object")
    if isinstance(error := answer.get("error"), dict):
        raise worker_error(_status(error), raw)
    listed = answer.get("choices")
    if not isinstance(listed, list) or len(listed) < choices:
        raise BadUpstream(detail=f"the answer has not {choices} choices")
    if not all(isinstance(choice, dict) and choice.get("finish_reason") for choice in listed):
        raise UpstreamTruncated(detail="a choice has no finish reason")
    usage = answer.get("usage")
    return usage if isinstance(usage, dict) else None
