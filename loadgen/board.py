"""The live table of the demo: what each pool is doing now, and what it has done so far."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from statistics import median

from devices.worker import Worker
from loadgen.flows import pool_name
from loadgen.loadtest import LoadTest
from loadgen.result import Result
from router.fleet import Fleet

COLUMNS = ("pool", "workers", "in flight", "tokens/s", "TTFT p50 ms", "TPOT p50 ms", "prefills", "decodes", "USD/h")
RATE_S = 5.0
"""Tokens per second are those of this many seconds."""

Line = tuple[str, int, int, float, float | None, float | None, int, int, float]


class Board:
    """Reads the gateway's own fleet and the load test's results; changes neither."""

    def __init__(self, fleet: Fleet, test: LoadTest) -> None:
        self._fleet = fleet
        self._test = test
        self._pools: dict[str, list[Worker]] = {}
        for worker in fleet.workers:
            self._pools.setdefault(worker.pool.name, []).append(worker)
        self._names = {worker.name: worker.pool.name for worker in fleet.workers}
        self._counts: deque[tuple[float, Counter[str]]] = deque()

    def lines(self, now: float) -> list[Line]:
        """One line per pool, as `COLUMNS`."""
        tokens = self._tokens()
        self._counts.append((now, tokens))
        while len(self._counts) > 2 and now - self._counts[1][0] > RATE_S:
            self._counts.popleft()
        then, before = self._counts[0]
        results = [result for result in self._test.results if result.completed]
        return [
            self._line(name, workers, (tokens[name] - before[name]) / max(now - then, 1e-9), results)
            for name, workers in self._pools.items()
        ]

    def total(self) -> str:
        """The whole run in one line."""
        test, results = self._test, self._test.results
        completed = sum(result.completed for result in results)
        attained = sum(result.attained for result in results)
        split = sum(result.split for result in results)
        rent = sum(worker.pool.usd_per_s for worker in self._fleet.workers) * 3600
        return (
            f"{test.sent} sent, {test.in_flight} in flight, {completed} completed, {attained} kept their promise, "
            f"{split} prefilled on one worker and decoded on another, {len(results) - completed} not completed; "
            f"fleet {rent:.2f} USD/h"
        )

    def _tokens(self) -> Counter[str]:
        tokens: Counter[str] = Counter()
        for worker, count in self._test.tokens.items():
            tokens[pool_name(worker, self._names)] += count
        return tokens

    def _line(self, name: str, workers: list[Worker], tokens_per_s: float, results: Sequence[Result]) -> Line:
        names = {worker.name for worker in workers}
        decoded = [result for result in results if result.decode in names]
        return (
            name,
            len(workers),
            sum(self._fleet.load(worker).own_requests for worker in workers),
            tokens_per_s,
            _p50_ms([result.ttft_s for result in decoded]),
            _p50_ms([result.tpot_s for result in decoded]),
            sum(result.prefill in names for result in results),
            len(decoded),
            sum(worker.pool.usd_per_s for worker in workers) * 3600,
        )


def _p50_ms(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return median(known) * 1000 if known else None
