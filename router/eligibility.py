"""Which workers a request may use, whatever they do now; remembered for each kind of request."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.worker import Link, Phase, Worker
from policies.api import Request
from policies.columns import Columns
from policies.offers import Mask

Kind = tuple[int, bool, int, int]
"""Requests that may use the same workers: places of `min_bits`, of prompt plus answer and of the prompt among the
limits there are, and whether the request may be split. So there are few, whatever clients ask for."""


class Workers(tuple[Worker, ...]):
    """Some workers of one model in configuration order, with their rows in its columns."""

    rows: NDArray[np.intp]
    columns: Columns

    @classmethod
    def of(cls, workers: Iterable[Worker], columns: Columns) -> Workers:
        """With the row of each."""
        found = cls(workers)
        found.columns = columns
        found.rows = np.array([columns.row[worker] for worker in found], np.intp)
        return found

    def with_room(self, tokens: float) -> Workers:
        """Those that can take `tokens` tokens now. Where slots are not hard, that is everybody."""
        full = self.columns.hard_room_tokens.take(self.rows) < tokens
        if not np.count_nonzero(full):
            return self
        rows = self.rows[~full]
        found = Workers(map(self.columns.workers.__getitem__, rows.tolist()))
        found.columns, found.rows = self.columns, rows
        return found


@dataclass(slots=True, eq=False)
class Eligible:
    """What one kind of request may use: in rotation, precise enough, with a context that is long enough.

    Attributes:
        decoders: hold the prompt and the longest answer asked for.
        reachable: those of them that some worker may prefill for.
        others: by pool of a decode worker, the workers whose KV can reach it; itself is not left out.
        whole: decode workers that prefill too.
        feeders: workers that may prefill for others.
        hard: whether slots of any of these are hard: then it is a question of the moment who has room.
    """

    decoders: Workers
    reachable: Workers
    others: Mapping[str, Workers]
    whole: frozenset[Worker]
    hard: bool
    feeders: tuple[Worker, ...]
    columns: Columns
    _mask: Mask | None = None

    def mask(self) -> Mask:
        """The same for those who read columns."""
        if self._mask is None:
            self._mask = Mask.of(self.columns, self.decoders, self.feeders)
        return self._mask


_EMPTY = Columns((), {}, 1.0)
NOBODY = Eligible(Workers.of((), _EMPTY), Workers.of((), _EMPTY), {}, frozenset(), False, (), _EMPTY)
"""What a request for an unknown model may use."""


class Eligibility:
    """The workers of one model, and what each kind of request may use of them."""

    def __init__(self, workers: Sequence[Worker], links: Mapping[tuple[str, str], Link], columns: Columns) -> None:
        self._decoders = [worker for worker in workers if worker.serves(Phase.DECODE)]
        self._prefillers = [worker for worker in workers if worker.serves(Phase.PREFILL)]
        self._whole = frozenset(self._decoders) & frozenset(self._prefillers)
        self._linked = links.keys()
        self._columns = columns
        self._bits = sorted({worker.pool.precision.bits for worker in workers})
        self._contexts = sorted({worker.pool.limits.max_context_tokens for worker in workers})
        self._known: dict[Kind, Eligible] = {}

    def forget(self) -> None:
        """The rotation changed."""
        self._known.clear()

    def of(self, request: Request, routable: Mapping[Worker, bool]) -> Eligible:
        """What the request may use; `routable` as it is since `forget` was called last."""
        if request.avoid:
            return self._found(request, routable)
        prompt = request.prompt_tokens
        kind = (
            bisect_left(self._bits, request.min_bits),
            request.splittable,
            bisect_left(self._contexts, prompt + (request.max_tokens or 1)),
            bisect_right(self._contexts, prompt),
        )
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = self._found(request, routable)
        return known

    def _found(self, request: Request, routable: Mapping[Worker, bool]) -> Eligible:
        tokens = request.prompt_tokens + (request.max_tokens or 1)

        def may_serve(worker: Worker) -> bool:
            pool = worker.pool
            return (
                routable[worker]
                and worker.name not in request.avoid
                and pool.precision.bits >= request.min_bits
                and request.prompt_tokens < pool.limits.max_context_tokens
            )

        # Engines refuse a request whose prompt and longest answer exceed their context.
        decoders = [
            worker for worker in self._decoders if tokens <= worker.pool.limits.max_context_tokens and may_serve(worker)
        ]
        feeders = [worker for worker in self._prefillers if may_serve(worker)] if request.splittable else []
        others = {pool: self._linked_to(pool, feeders) for pool in {worker.pool.name for worker in self._decoders}}
        reachable = [worker for worker in decoders if worker in self._whole or others[worker.pool.name]]
        return Eligible(
            decoders=Workers.of(decoders, self._columns),
            reachable=Workers.of(reachable, self._columns),
            others=others,
            whole=self._whole,
            hard=any(worker.pool.limits.hard_slots for worker in [*decoders, *feeders]),
            feeders=tuple(feeders),
            columns=self._columns,
        )

    def _linked_to(self, pool: str, feeders: Sequence[Worker]) -> Workers:
        return Workers.of((worker for worker in feeders if (worker.pool.name, pool) in self._linked), self._columns)
