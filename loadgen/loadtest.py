"""Open-loop load over HTTP: requests leave on schedule, however slow the answers, so a slow server is seen as slow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson

from loadgen.answer import Answer, message
from loadgen.gaps import Gaps
from loadgen.result import Result
from loadgen.text import prompt
from loadgen.trace import Row
from loadgen.traffic import Traffic
from router.ledger import Outcome
from router.openai import DEFAULT_CLASS, TrafficClass

_ERROR_BYTES = 65_536
XARG = "tokenyard_output_tokens"
"""Tells a simulated worker the true output length, inside vLLM's extension field `vllm_xargs`."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and what they ask for.

    Attributes:
        url: the endpoint's root; a trailing `/v1` is accepted.
        simulated: engines are told the true length in `vllm_xargs`, which no policy reads; real ones get `max_tokens`
            and `ignore_eos` instead.
        timeout_s: a request not answered whole by then has failed.
        headers: sent with every request.
    """

    url: str
    model: str
    chat: bool = True
    simulated: bool = False
    timeout_s: float = 600.0
    seed: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The URL requests are posted to."""
        return f"{root(self.url)}/v1/{'chat/completions' if self.chat else 'completions'}"

    def body(self, row: Row) -> bytes:
        """The JSON of one request."""
        text = prompt(row, self.seed)
        fields: dict[str, object] = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        fields |= {"messages": [{"role": "user", "content": text}]} if self.chat else {"prompt": text}
        if self.simulated:
            fields["vllm_xargs"] = {XARG: row.output_tokens}
        else:
            fields |= {"max_tokens": row.output_tokens, "ignore_eos": True}
        return orjson.dumps(fields)


def root(url: str) -> str:
    """An endpoint's URL without `/v1`."""
    return url.rstrip("/").removesuffix("/v1")


class LoadTest:
    """One run against one target.

    Attributes:
        results, gaps: of requests that ended, as they end.
        sent: requests that left.
        tokens: content events received so far, by the worker that decoded them.
        late_s: the worst delay between a row's time and its sending; when it is large the sender was the bottleneck.
    """

    def __init__(self, target: Target, traffic: Traffic) -> None:
        self.results: list[Result] = []
        self.gaps = Gaps()
        self.sent = 0
        self.tokens: Counter[str] = Counter()
        self.late_s = 0.0
        self.duration_s = 0.0
        self._target = target
        self._traffic = traffic
        self._start_s = 0.0

    @property
    def in_flight(self) -> int:
        """Requests sent and not ended."""
        return self.sent - len(self.results)

    async def run(self, rows: Iterable[Row]) -> None:
        """Send every row at its time and wait for the last answer."""
        timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._target.headers) as session,
            asyncio.TaskGroup() as group,
        ):
            self._start_s = time.monotonic()
            for row in rows:
                body = self._target.body(row)
                # Also when late: a long burst must not keep the answers waiting to be read.
                await asyncio.sleep(max(row.arrival_s - self._now_s(), 0))
                self.late_s = max(self.late_s, self._now_s() - row.arrival_s)
                self.sent += 1
                group.create_task(self._one(session, row, body))
        self.duration_s = self._now_s()

    def _now_s(self) -> float:
        """Seconds since the start. Not the loop's clock: uvloop's has steps of a millisecond."""
        return time.monotonic() - self._start_s

    async def _one(self, session: aiohttp.ClientSession, row: Row, body: bytes) -> None:
        exchange = _Exchange(row, self._traffic.traffic_class(row), Answer(self.gaps))
        try:
            async with session.post(self._target.endpoint, data=body, headers=_headers(exchange)) as response:
                await self._read(response, exchange)
        except TimeoutError:
            exchange.failed(f"no whole answer within {self._target.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            exchange.failed(f"{type(error).__name__}: {error}")
        self.results.append(exchange.result(self._now_s()))

    async def _read(self, response: aiohttp.ClientResponse, exchange: _Exchange) -> None:
        exchange.prefill = response.headers.get("x-tokenyard-prefill", "")
        exchange.decode = response.headers.get("x-tokenyard-decode", "")
        if response.status != 200:
            exchange.refused(response.status, await response.content.read(_ERROR_BYTES))
            return
        answer = exchange.answer
        async for data in response.content.iter_any():
            self.tokens[exchange.decode] += answer.feed(data, self._now_s())
        if answer.error:
            exchange.failed(answer.error)
        elif not answer.complete:
            exchange.failed("the stream ended without a finish reason")


def _headers(exchange: _Exchange) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if exchange.traffic_class.name != DEFAULT_CLASS.name:
        headers["x-tokenyard-class"] = exchange.traffic_class.name
    if exchange.row.client:
        headers["x-tokenyard-session"] = exchange.row.client
    return headers


@dataclass(slots=True)
class _Exchange:
    row: Row
    traffic_class: TrafficClass
    answer: Answer
    outcome: Outcome = Outcome.COMPLETED
    prefill: str = ""
    decode: str = ""
    text: str = ""

    def failed(self, text: str) -> None:
        self.outcome, self.text = Outcome.FAILED, text

    def refused(self, status: int, body: bytes) -> None:
        """4xx and 503 are the server's refusals; other statuses are its failures."""
        self.outcome = Outcome.REJECTED if status < 500 or status == 503 else Outcome.FAILED
        try:
            text = message(orjson.loads(body))
        except orjson.JSONDecodeError:
            text = body[:200].decode("utf-8", "replace")
        self.text = f"{status}: {text}"

    def result(self, now: float) -> Result:
        """Seconds count from the row's time, not from when it was sent: a late sender flatters nobody."""
        answer, row = self.answer, self.row
        return Result(
            arrival_s=row.arrival_s,
            outcome=self.outcome,
            traffic_class=self.traffic_class.name,
            slo=self.traffic_class.slo,
            ttft_s=None if answer.first_s is None else answer.first_s - row.arrival_s,
            e2e_s=now - row.arrival_s,
            prompt_tokens=row.input_tokens if answer.prompt_tokens is None else answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            prefix_hit_tokens=answer.cached_tokens,
            prefill=self.prefill or self.decode,
            decode=self.decode,
            message=self.text,
        )
