"""What a worker is: one engine at one address, its pool, its price and the links that carry KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from devices.prices.api_price import ApiPrice
from devices.prices.billing import Billing, BillingKind
from devices.profile import DeviceProfile, ModelProfile, Precision

__all__ = ["ApiPrice", "Billing", "BillingKind", "DecodeLine", "Limits", "Link", "Phase", "Pool", "Predictor", "Worker"]


class Phase(Enum):
    """One of the two halves of serving a request."""

    PREFILL = "prefill"
    DECODE = "decode"


DecodeLine = tuple[float, float, float]
"""A decode iteration at some number of KV tokens: its seconds, the seconds each further KV token adds, and up to how
many KV tokens that holds (infinite without a knee ahead)."""


class Predictor(Protocol):
    """Estimates seconds for work on a worker. Pure; the same object paces the simulated worker."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """Seconds to prefill `new_tokens` on an otherwise idle worker, after `cached_tokens` already held."""
        ...

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        """Seconds of one decode iteration of `sequences` sequences that hold `kv_tokens` tokens together."""
        ...

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        """That iteration, and how it grows from there: what lets a simulation take many iterations in one step."""
        ...

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        """Seconds of one iteration: decodes beside prefill chunks of (new tokens, tokens of context before them)."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits on one worker.

    Attributes:
        kv_tokens: tokens of KV cache beside the weights; a hard limit.
        max_seqs: sequences at once.
        hard_slots: a sequence beyond `max_seqs` or `kv_tokens` must not be sent at all (SRAM chips do not preempt).
        max_batched_tokens: token budget of one iteration.
        max_context_tokens: prompt plus output of one sequence.
        block_size: tokens in one KV block.
    """

    kv_tokens: int
    max_seqs: int
    hard_slots: bool
    max_batched_tokens: int
    max_context_tokens: int
    block_size: int = 16


@dataclass(frozen=True, eq=False, slots=True)
class Pool:
    """A named set of like workers serving some phases. Compared by identity.

    Attributes:
        device, shape: None for a metered API, about whose hardware nothing is known.
        chips: chips of one worker (tensor parallel on GPUs and TPUs, pipeline on SRAM chips).
        model: the name clients ask for.
        handover: dialect in which KV can leave or enter this pool ("nixl"), or None: such a pool never splits.
    """

    name: str
    model: str
    phases: frozenset[Phase]
    engine: str
    billing: Billing
    predictor: Predictor
    limits: Limits
    device: DeviceProfile | None = None
    shape: ModelProfile | None = None
    chips: int = 1
    precision: Precision = Precision.FP16
    kv_precision: Precision = Precision.FP16
    site: str = ""
    handover: str | None = None

    @property
    def usd_per_s(self) -> float:
        """Rent of one worker of this pool, busy or not; 0 for a metered API."""
        return self.billing.usd_per_chip_hour * self.chips / 3600

    @property
    def metered(self) -> bool:
        """Whether this is an API billed by the token; its predictor answers for the whole service, queue included."""
        return self.billing.kind is BillingKind.METERED

    @property
    def vendor(self) -> str:
        """Who makes the chip, or runs the API."""
        return self.device.vendor if self.device else self.name


@dataclass(frozen=True, eq=False, slots=True)
class Worker:
    """One engine instance at one address. Compared by identity; `name` is unique in a fleet."""

    name: str
    pool: Pool
    url: str
    phases: frozenset[Phase] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if not self.phases:
            object.__setattr__(self, "phases", self.pool.phases)

    def serves(self, phase: Phase) -> bool:
        """Whether this worker takes that phase."""
        return phase in self.phases


@dataclass(frozen=True, slots=True)
class Link:
    """A one-way path for KV cache between two pools.

    A transfer takes `latency_s` + blocks * `per_block_s` + bytes / `bytes_per_s`: nominal bandwidth alone misleads,
    since engines send one descriptor per block and layer group (vLLM issue 55434 measured NVLink slower than RDMA
    for that reason). `usd_per_byte` is what others charge for the wire.
    """

    bytes_per_s: float
    latency_s: float = 0.0
    per_block_s: float = 0.0
    block_size: int = 16
    usd_per_byte: float = 0.0

    def transfer_s(self, tokens: int, kv_bytes: float) -> float:
        """Seconds to move `kv_bytes` bytes, the cache of `tokens` tokens, over an idle link."""
        blocks = -(-tokens // self.block_size)
        return self.latency_s + blocks * self.per_block_s + kv_bytes / self.bytes_per_s

    def transfer_usd(self, kv_bytes: float) -> float:
        """What the owner of the wire charges for `kv_bytes` bytes; 0 on a network of one's own."""
        return kv_bytes * self.usd_per_byte
