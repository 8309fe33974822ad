"""The contract of a policy: what it is told, what it may read, what it may answer.

A policy is a pure function of (request, fleet, now). It keeps no copy of the fleet, starts nothing, reads no clock;
chance comes from `draw`, a hash, so that a run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from devices.worker import Link, Worker

if TYPE_CHECKING:
    from policies.offers import Offers


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits a request was promised; None where nothing was. `e2e_s` is the deadline, counted from arrival."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What the scheduler knows of one attempt at a request. Never its true output length.

    Attributes:
        id: unique; the same for all attempts.
        attempt: 1 for the first; reservations belong to (id, attempt).
        avoid: names of workers earlier attempts failed on.
        prompt_tokens: exact where a tokenizer is configured, else estimated from bytes.
        max_tokens: the client's own limit, None if it set none.
        traffic_class: name of the configured class.
        usd_per_miss: what a broken promise costs.
        min_bits: least weight precision accepted, in bits; 0 for any.
        arrival_s: when the request, not the attempt, arrived.
        prefix: chained hashes of the prompt's leading blocks, empty when unknown.
        splittable: False where prefill and decode must share a worker (several choices, prompt logprobs).
    """

    id: str
    model: str
    prompt_tokens: int
    arrival_s: float
    max_tokens: int | None = None
    slo: Slo = field(default_factory=Slo)
    traffic_class: str = "default"
    tenant: str = ""
    session: str = ""
    usd_per_miss: float = 0.0
    min_bits: int = 0
    attempt: int = 1
    avoid: frozenset[str] = frozenset()
    prefix: tuple[int, ...] = ()
    splittable: bool = True


class Quote(NamedTuple):
    """What one pair of workers is predicted to deliver. A tuple: one is made for every request.

    Attributes:
        ttft_s: from `now` to the first token at the client, waiting and KV transfer included.
        tpot_s: seconds per further output token.
        usd: charge of a metered API, or rent of the device seconds taken, for `output_tokens` tokens.
        usd_per_output_token: the part of `usd` that grows with the answer, per token of it.
        transfer_s, transfer_bytes: KV hand-over inside `ttft_s`; 0 when one worker serves both phases.
    """

    ttft_s: float
    tpot_s: float
    usd: float
    usd_per_output_token: float = 0.0
    output_tokens: float = 0.0
    transfer_s: float = 0.0
    transfer_bytes: float = 0.0

    def usd_of(self, output_tokens: int) -> float:
        """What an answer of that length costs at this quote: prefill once, decode by the token."""
        return self.usd + (output_tokens - self.output_tokens) * self.usd_per_output_token


class Placement(NamedTuple):
    """The chosen workers; the same one twice when it serves both phases."""

    prefill: Worker
    decode: Worker
    quote: Quote

    @property
    def split(self) -> bool:
        """Whether KV cache is handed over between two workers."""
        return self.prefill is not self.decode


@dataclass(frozen=True, slots=True)
class Reject:
    """The request will not be placed. `reason` is one the ledger knows: overloaded, deadline, no_worker, draining."""

    reason: str
    message: str
    retry_after_s: float | None = None


class Load(Protocol):
    """What a worker is doing now by our own count, corrected by its reports. Read-only to policies."""

    @property
    def requests(self) -> int:
        """Requests in flight, in either phase."""
        ...

    @property
    def decodes(self) -> int:
        """Sequences decoding here, and those reserved to."""
        ...

    @property
    def queued_prefill_tokens(self) -> int:
        """Prompt tokens sent here and not yet known to be prefilled."""
        ...

    @property
    def kv_tokens(self) -> int:
        """KV cache tokens held or reserved: prompts, and outputs so far expected."""
        ...

    def prefill_wait_s(self, now: float) -> float:
        """Seconds until prefill sent now would start."""
        ...

    def prefill_duty(self, now: float) -> float:
        """Share of recent seconds this worker spent on prefill, 0 to 1; decode gets the rest."""
        ...


class FleetView(Protocol):
    """What a policy may read. The lists are already masked: model, health, precision, context, slots, `avoid`."""

    def decoders(self, request: Request) -> Sequence[Worker]:
        """Workers that may decode this request now, in configuration order."""
        ...

    def reachable(self, request: Request) -> Sequence[Worker]:
        """Those of the decoders that some worker may prefill for now."""
        ...

    def prefillers(self, request: Request, decode: Worker) -> Sequence[Worker]:
        """Workers that may prefill for `decode` now: itself if it can, and those that can hand KV over to it."""
        ...

    def load(self, worker: Worker) -> Load:
        """What the worker is doing."""
        ...

    def requests(self, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Requests in flight on each of these workers: quickest for a sequence this view gave out."""
        ...

    def queued_tokens(self, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Prompt tokens waiting at each of these workers, as in their `Load`."""
        ...

    def cached(self, request: Request, workers: Sequence[Worker]) -> NDArray[np.int64]:
        """Leading tokens of the prompt that each of these workers is likely to hold."""
        ...

    def quote(self, request: Request, prefill: Worker, decode: Worker, now: float) -> Quote:
        """Predicted seconds and dollars of that pair."""
        ...

    def offers(self, request: Request, now: float) -> Offers | None:
        """All pairs that may take the request now, priced at once. None where this view can only quote pair by pair."""
        ...

    def link(self, prefill: Worker, decode: Worker) -> Link | None:
        """The path KV takes between two workers, None if there is none."""
        ...

    def output_tokens(self, request: Request) -> float:
        """Expected output length, learned from finished requests of the class; never the true one."""
        ...

    def turn(self) -> int:
        """How many placements were made before this one: the round of a round robin."""
        ...


class Policy(Protocol):
    """Chooses a placement. `place` answers None to leave the request waiting until something changes."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | Reject | None: ...


def draw(seed: int, request: Request, number: int, below: int) -> int:
    """A reproducible integer in [0, below): a hash of (seed, request id, attempt, draw number), without state."""
    return xxhash.xxh3_64_intdigest(f"{seed}:{request.id}:{request.attempt}:{number}".encode()) % below
