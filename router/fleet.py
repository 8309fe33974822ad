"""All workers, what is booked on them, and what policies may read of it. Pure: time comes in, nothing goes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from devices.worker import Billing, Link, Phase, Pool, Worker
from policies.api import Placement, Quote, Request
from policies.columns import Columns
from policies.offers import Offers
from policies.prompts import PromptCosts
from policies.quote import quote
from router.eligibility import NOBODY, Eligibility, Eligible, Workers
from router.load import DUTY_WINDOW_S, WorkerLoad
from router.output_lengths import OutputLengths
from router.prefix_index import PrefixIndex

PREFIX_TOKENS = 512
"""Tokens behind one id of a prefix, as in the Mooncake traces."""
GROWTH_QUARTERS = 5
"""An answer that outgrows its forecast gets room for so many quarters of what it has written."""


@dataclass(slots=True)
class Reservation:
    """What one attempt holds: prefilling, then handing over (split only), then decoding, then over.

    Attributes:
        new_tokens: of the prompt, those not cached where it is prefilled.
        max_tokens: the client's own limit, None if it set none.
        prefill_s: seconds booked for its prefill.
        place_s: its place among the prefill work sent to the worker (`WorkerLoad.prefill_sent`).
    """

    placement: Placement
    prompt_tokens: int
    new_tokens: int
    decode_kv_tokens: int
    max_tokens: int | None
    prefill_s: float
    place_s: float
    prefilling: bool = True
    prefill_held: bool = True
    over: bool = False

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer that it covers."""
        return self.decode_kv_tokens - self.prompt_tokens


class _Model:
    """The workers that serve one model, row by row."""

    __slots__ = ("columns", "eligibility", "loads", "prefixes")

    def __init__(self, workers: Sequence[Worker], links: Mapping[tuple[str, str], Link], prefix_tokens: int) -> None:
        columns = self.columns = Columns(workers, links, DUTY_WINDOW_S)
        cells = columns.in_flight_cells, columns.queued_cells, columns.changed
        self.loads = [WorkerLoad(row, *cells) for row in range(len(workers))]
        # What an API keeps is not known, and its times were measured as they are.
        self.prefixes = PrefixIndex(
            [0 if one.pool.metered else one.pool.limits.kv_tokens // prefix_tokens for one in columns.workers]
        )
        self.eligibility = Eligibility(workers, links, columns)


class Fleet:
    """All workers, their loads and links; implements `policies.api.FleetView` for the policies.

    Reserving and releasing are the scheduler's; `set_routable` is for probes and operators.
    """

    def __init__(
        self, workers: Sequence[Worker], links: Mapping[tuple[str, str], Link], *, prefix_tokens: int = PREFIX_TOKENS
    ) -> None:
        """`prefix_tokens` is how much of a prompt one id of `Request.prefix` stands for."""
        self.workers = tuple(workers)
        self.links = dict(links)
        self.by_name = {worker.name: worker for worker in self.workers}
        if len(self.by_name) != len(self.workers):
            raise ValueError("worker names are not unique")
        self.lengths = OutputLengths()
        self.placed = 0
        self._prefix_tokens = prefix_tokens
        by_model: dict[str, list[Worker]] = {}
        for worker in self.workers:
            by_model.setdefault(worker.pool.model, []).append(worker)
        self._models = {model: _Model(those, self.links, prefix_tokens) for model, those in by_model.items()}
        self._loads = {
            worker: self._models[worker.pool.model].loads[self._models[worker.pool.model].columns.row[worker]]
            for worker in self.workers
        }
        self._costs = PromptCosts(NOBODY.columns.prompts, 0)
        self._asked: Request | None = None
        self._answer = NOBODY
        self._metered = frozenset(worker for worker in self.workers if worker.pool.metered)
        self._routable = dict.fromkeys(self.workers, True)
        self._repriced: dict[Pool, Pool] = {}

    # what policies read

    def decoders(self, request: Request) -> Sequence[Worker]:
        """Workers that may decode the request now."""
        eligible = self._eligible(request)
        return self._with_room(eligible.decoders, self._tokens(request)) if eligible.hard else eligible.decoders

    def reachable(self, request: Request) -> Sequence[Worker]:
        """Those of them that some worker may prefill for now."""
        eligible = self._eligible(request)
        if not eligible.hard:
            return eligible.reachable
        free, prompt = self._with_room(eligible.reachable, self._tokens(request)), request.prompt_tokens
        starved = {pool for pool, others in eligible.others.items() if others and not others.with_room(prompt)}
        if not starved:
            return free
        return tuple(worker for worker in free if worker in eligible.whole or worker.pool.name not in starved)

    def prefillers(self, request: Request, decode: Worker) -> Sequence[Worker]:
        """Workers that may prefill for `decode` now: itself first if it can."""
        eligible = self._eligible(request)
        others = eligible.others.get(decode.pool.name, NOBODY.decoders)
        if eligible.hard:
            others = self._with_room(others, request.prompt_tokens)
        if not decode.serves(Phase.PREFILL):
            return others
        return (decode, *(worker for worker in others if worker is not decode))

    def _tokens(self, request: Request) -> float:
        return request.prompt_tokens + self.lengths.expected(request)

    def _with_room(self, workers: Workers, tokens: float) -> Workers:
        if workers:
            workers.columns.update(self._models[workers[0].pool.model].loads)
        return workers.with_room(tokens)

    def requests(self, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Requests in flight on each of these workers."""
        if isinstance(workers, Workers):
            return workers.columns.in_flight.take(workers.rows)
        return np.array([self._loads[worker].requests for worker in workers], np.int64)

    def queued_tokens(self, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Prompt tokens waiting at each of these workers."""
        if isinstance(workers, Workers):
            return workers.columns.queued_tokens.take(workers.rows)
        return np.array([self._loads[worker].queued_prefill_tokens for worker in workers], np.int64)

    def cached(self, request: Request, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Leading tokens of the prompt that each of these workers is likely to hold."""
        if isinstance(workers, Workers):
            return self._cached_by_row(request, self._models[request.model]).take(workers.rows)
        return np.array([self.cached_tokens(request, worker) for worker in workers], np.int64)

    def cached_tokens(self, request: Request, worker: Worker) -> int:
        """Leading tokens of the prompt that a worker is likely to hold: at most all but the last, which is computed."""
        model = self._models[worker.pool.model]
        held = model.prefixes.held(model.columns.row[worker], request.prefix)
        return min(held * self._prefix_tokens, max(request.prompt_tokens - 1, 0))

    def _cached_by_row(self, request: Request, model: _Model) -> NDArray[np.int64]:
        tokens = model.prefixes.held_by_all(request.prefix) * self._prefix_tokens
        return np.minimum(tokens, max(request.prompt_tokens - 1, 0))

    def load(self, worker: Worker) -> WorkerLoad:
        """What the worker is doing."""
        return self._loads[worker]

    def link(self, prefill: Worker, decode: Worker) -> Link | None:
        """The path KV takes between two workers."""
        return self.links.get((prefill.pool.name, decode.pool.name))

    def quote(self, request: Request, prefill: Worker, decode: Worker, now: float) -> Quote:
        """Predicted seconds and dollars of that pair."""
        cached = self.cached_tokens(request, prefill) if request.prefix else 0
        return quote(
            request,
            prefill,
            decode,
            None if prefill is decode else self.link(prefill, decode),
            self._loads[prefill],
            self._loads[decode],
            self.lengths.expected(request),
            now,
            cached,
            self._alone_s(prefill.pool, request.prompt_tokens, cached),
            self._repriced,
        )

    def _alone_s(self, pool: Pool, prompt_tokens: int, cached_tokens: int) -> float:
        """Seconds of a prefill on an idle worker that holds the head of the prompt."""
        if cached_tokens:
            return pool.predictor.prefill_s(prompt_tokens - cached_tokens, cached_tokens)
        if prompt_tokens != self._costs.tokens:
            self._costs = self._models[pool.model].columns.prompts.of(prompt_tokens)
        return self._costs.alone_s(pool)

    def offers(self, request: Request, now: float) -> Offers | None:
        """All pairs priced at once; None where a pair is not the sum of its sides, so that pairs are quoted singly."""
        model = self._models.get(request.model)
        if model is None or not model.columns.separable:
            return None
        columns = model.columns
        columns.update(model.loads)
        mask = self._eligible(request).mask()
        cached = self._cached_by_row(request, model)[columns.prefills] if request.prefix else None
        return Offers(columns, request, mask, self.lengths.expected(request), cached, now)

    def output_tokens(self, request: Request) -> float:
        """Expected output length."""
        return self.lengths.expected(request)

    def turn(self) -> int:
        """Placements made so far."""
        return self.placed

    # what the scheduler asks and does

    def can_ever_serve(self, request: Request) -> bool:
        """Whether some pair now in rotation could take the request if it were idle."""
        return bool(self._eligible(request).reachable)

    def reserve(self, request: Request, placement: Placement, now: float) -> Reservation:
        """Book both phases of an attempt."""
        prompt, sender = request.prompt_tokens, placement.prefill
        cached = self.cached_tokens(request, sender) if request.prefix else 0
        # An API takes calls side by side: one does not wait for the other's prefill.
        prefill_s = 0.0 if sender in self._metered else self._alone_s(sender.pool, prompt, cached)
        prefill = self._loads[sender]
        place_s = prefill.prefill_sent(prompt - cached, prefill_s, now)
        if request.prefix:
            model = self._models[sender.pool.model]
            model.prefixes.sent(model.columns.row[sender], request.prefix)
        kv_tokens = prompt + math.ceil(self.lengths.expected(request))
        held = Reservation(placement, prompt, prompt - cached, kv_tokens, request.max_tokens, prefill_s, place_s)
        decode = self._loads[placement.decode]
        decode.decode_booked(held.decode_kv_tokens)
        if placement.prefill is not placement.decode:
            prefill.leg_booked(prompt)
        self.placed += 1
        return held

    def prefilled(self, held: Reservation, now: float) -> None:
        """The prefill work of an attempt is over; in a split its KV stays held until the first token."""
        if held.prefilling:
            held.prefilling = False
            self._loads[held.placement.prefill].prefill_done(held.new_tokens, held.prefill_s, held.place_s, now)

    def first_token(self, held: Reservation, now: float) -> None:
        """Decode has begun: in a split the prefill worker is free of this attempt."""
        self.prefilled(held, now)
        self._free_prefill(held)

    def _free_prefill(self, held: Reservation) -> None:
        if held.prefill_held:
            held.prefill_held = False
            if held.placement.split:
                self._loads[held.placement.prefill].leg_freed(held.prompt_tokens)

    def grown(self, held: Reservation, output_tokens: int) -> None:
        """A request wrote more than is reserved: its KV reservation grows by a quarter beyond, so this is rare."""
        if output_tokens <= held.output_tokens or held.over:
            return
        ahead = -(-output_tokens * GROWTH_QUARTERS // 4)
        if held.max_tokens is not None:
            ahead = max(min(ahead, held.max_tokens), output_tokens)
        self._loads[held.placement.decode].kv_grown(ahead - held.output_tokens)
        held.decode_kv_tokens += ahead - held.output_tokens

    def release(self, held: Reservation, now: float) -> None:
        """Give back all an attempt still holds; a second call changes nothing."""
        if held.over:
            return
        if held.prefilling:
            held.prefilling = False
            self._loads[held.placement.prefill].prefill_taken_back(held.new_tokens, held.prefill_s, now)
        self._free_prefill(held)
        held.over = True
        self._loads[held.placement.decode].decode_freed(held.decode_kv_tokens)

    def set_routable(self, worker: Worker, routable: bool) -> None:
        """Take a worker out of rotation or put it back; what runs on it stays booked until it ends. Who is out may come
        back with an empty cache.
        """
        self._routable[worker] = routable
        model = self._models[worker.pool.model]
        model.eligibility.forget()
        self._asked = None
        if not routable:
            model.prefixes.forget(model.columns.row[worker])

    def is_routable(self, worker: Worker) -> bool:
        """Whether new requests may be placed on the worker."""
        return self._routable[worker]

    def reprice(self, pool_name: str, billing: Billing) -> None:
        """The pool is paid for like this from now on: what is quoted next is quoted at that price."""
        for pool in {worker.pool for worker in self.workers if worker.pool.name == pool_name}:
            self._repriced[pool] = replace(pool, billing=billing)
            self._models[pool.model].columns.reprice(pool, billing)

    @property
    def idle(self) -> bool:
        """Whether nothing is reserved anywhere."""
        return all(load.idle for load in self._loads.values())

    # masks

    def _eligible(self, request: Request) -> Eligible:
        if request is self._asked:
            return self._answer
        model = self._models.get(request.model)
        self._asked = request
        self._answer = NOBODY if model is None else model.eligibility.of(request, self._routable)
        return self._answer
