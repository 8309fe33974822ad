"""The contract of an engine: it builds calls and reads bytes; the relay owns the socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from router.body import Body
from router.load import WorkerReport

COMPLETION_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
"""The only paths any engine is ever sent a client's body on."""

INTERNAL_FIELDS = frozenset(
    {
        "api_base",
        "base_url",
        "bootstrap_host",
        "bootstrap_port",
        "bootstrap_room",
        "cache_salt",
        "custom_logit_processor",
        "data_parallel_rank",
        "disagg_prefill_dp_rank",
        "disaggregated_params",
        "do_local_prefill",
        "kv_transfer_params",
        "priority",
        "request_id",
        "rid",
        "routed_dp_rank",
    }
)
"""Body fields between a router and its engines. A client that could set them could reach the KV cache of other
requests, jump the queue or crash a worker (SGLang issue 40125: a repeated bootstrap room): no call carries them."""


class Legs(Enum):
    """How the two calls of a split request run."""

    IN_ORDER = "in_order"
    """Prefill first; the decode call carries what it answered."""
    TOGETHER = "together"
    """Both at once; the workers find each other."""


@dataclass(frozen=True, slots=True)
class Call:
    """One POST to a worker. The worker's credential is not in it; the relay adds that.

    Attributes:
        adds_usage: the call asks for a final usage event that the client did not ask for; take it out of the stream.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]
    adds_usage: bool = False


class NoHandover(TypeError):
    """A leg was asked of an engine whose `legs` is None: a placement that must never have been made."""


class Engine(Protocol):
    """One wire dialect. Pure: no state, no clock, no sockets.

    Attributes:
        legs: None where KV cache cannot be handed over.
        health_path: a GET that answers 200 on a worker that serves.
        metrics_path: Prometheus text for `read_load`; None where there is none.
    """

    @property
    def legs(self) -> Legs | None: ...

    @property
    def health_path(self) -> str: ...

    @property
    def metrics_path(self) -> str | None: ...

    def can_split(self, path: str, body: Body) -> bool:
        """Whether this body can be served in two legs; else a split placement is served whole by its decode worker."""
        ...

    def whole_call(self, path: str, body: Body, request_id: str) -> Call:
        """One worker does both phases."""
        ...

    def prefill_call(self, path: str, body: Body, request_id: str) -> Call:
        """Prefill only, never streamed; the worker keeps the KV cache for the decode leg."""
        ...

    def decode_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        """What the client asked for, from the KV cache that `read_prefilled` found."""
        ...

    def abandon_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        """The shortest decode leg: its only purpose is that the prefill worker lets go of the KV cache."""
        ...

    def read_prefilled(self, answer: bytes) -> Mapping[str, object] | None:
        """What the decode leg must carry, as the engine gave it; None when there is nothing to hand over."""
        ...

    def read_load(self, metrics: bytes, at_s: float) -> WorkerReport:
        """Load from the worker's own metrics. Never raises: what is missing or absurd is None."""
        ...
