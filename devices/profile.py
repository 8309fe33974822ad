"""Published or measured figures of a chip and of a model. Loaded from the catalogue, never written in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Nature(Enum):
    """How a device spends an iteration; decides its iteration model (`devices.natures.choice`)."""

    HBM = "hbm"
    """A GPU: weights and KV cache in HBM, chunked prefill shares its steps with decode."""
    SRAM = "sram"
    """On-chip memory only: the whole model lies across N chips, a small hard KV budget, a flat and very fast step."""
    PADDED = "padded"
    """Static shapes: batch and prompt length are rounded up to compiled buckets."""
    CPU = "cpu"
    """A server processor: much DRAM, little bandwidth, cores shared by every sequence."""
    COMPOSITE = "composite"
    """Two kinds of chips sold as one device; `parts` says which does what."""


class Status(Enum):
    """Whether the chip can be had at all; `status_note` says how and since when."""

    SHIPPING = "shipping"
    ANNOUNCED = "announced"
    INTERNAL = "internal"
    """Runs in its maker's own data centres and is sold to nobody."""
    CANCELLED = "cancelled"
    CLAIMED = "claimed"
    """Figures exist, silicon that anyone else has seen does not."""
    ROADMAP = "roadmap"


class Role(Enum):
    """What one part of a composite device does."""

    PREFILL = "prefill"
    DECODE = "decode"
    ATTENTION = "attention"
    """Of decode: reads the KV cache."""
    FFN = "ffn"
    """Of decode: reads the weights."""


class Precision(Enum):
    """Number format of the weights; the value is the name used in configuration."""

    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT4 = "int4"

    @property
    def weight_bytes(self) -> float:
        """Bytes per parameter; FP4 carries an FP8 scale per 16 values, INT4 a 16-bit one per 32 (0.5 + 1/16)."""
        return _WEIGHT_BYTES[self]

    @property
    def bits(self) -> int:
        """Nominal width; orders precisions for a class that sets `min_precision`."""
        return _BITS[self]


_WEIGHT_BYTES = {
    Precision.FP16: 2.0,
    Precision.BF16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.FP4: 0.5625,
    Precision.INT4: 0.5625,
}
_BITS = {
    Precision.FP16: 16,
    Precision.BF16: 16,
    Precision.FP8: 8,
    Precision.INT8: 8,
    Precision.FP4: 4,
    Precision.INT4: 4,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of chip inside one unit of a composite device."""

    device: DeviceProfile
    chips: int
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """One accelerator chip.

    Figures nobody published are None where None is allowed; what an iteration model cannot do without comes from the
    prior of the chip's family (`prior`), and then its source begins with "family prior".

    Attributes:
        status, status_note, api_only: whether the chip can be had, in which words, and whether only as an API.
        flops_per_s: dense multiply-add throughput per precision the chip computes in, in FLOP/s (2 per multiply-add).
        memory_bytes: HBM or DRAM; 0 where there is none.
        sram_bytes: on-chip memory that software places data in: all weights and KV of `Nature.SRAM`, a fast tier
            beside HBM elsewhere; 0 where it is only a cache (`cache_bytes`).
        sram_bytes_per_s: bandwidth of that tier where it stands beside HBM.
        bandwidth_bytes_per_s: of the memory that weights and KV are read from.
        compute_efficiency, bandwidth_efficiency: attained share of the two peaks, 0 to 1.
        step_overhead_s: fixed seconds of one iteration of an 80-layer model on one chip; scaled by layers / 80.
        collective_s: seconds one all-reduce adds per doubling of tensor parallelism.
        sequence_overhead_s: seconds each decoding sequence adds to an iteration (sampling, scheduling).
        batch_buckets, length_buckets: compiled shapes of `Nature.PADDED`, ascending; empty elsewhere.
        compile_s: seconds to compile one bucket that is not warm yet.
        slice_chips: numbers of chips a worker may have, ascending; empty where any number is allowed.
        reroute_s: seconds until a slice that lost a chip is back on a spare; None where it is gone until repaired.
        max_seqs: sequences one worker runs at once; on SRAM chips, hard slots.
        max_batched_tokens: token budget of one iteration (chunked prefill).
        scaleup_bytes_per_s, scaleup_domain: one-way bandwidth of a chip to its neighbours, and chips so connected; 0
            leaves the bandwidth out of the model.
        peer_bytes_per_s: one-way, to a single neighbour, where that is less (a mesh without switches).
        scaleout_bytes_per_s: one-way, of the network card each chip has.
        usd_per_chip_hour: default rent; None where the chip is not rented out.
        usd_on_demand_low, usd_on_demand_high: rents seen per chip and hour.
        usd_tco_hyperscaler, usd_tco_neocloud: what an hour of a chip costs those who own it.
        power_w, allin_kw: board power of one chip; with its share of host, network and cooling.
        weight_formats: formats weights may be kept in; those not in `flops_per_s` are widened to compute.
        checkpoint_formats: checkpoint layouts its engines load beyond plain tensors (see `ModelProfile`).
        measured: someone published how fast it serves language models. If not, all its timings are `projected`.
        uncertainty: standard deviation of the logarithm of a predicted time; 0.1 means some 10 %.
        placeable, why_not: False where figures are missing, and which.
        prior: family whose prior fills in what is missing.
        parts, parts_bytes_per_s, parts_latency_s: of `Nature.COMPOSITE`: its chips and the link between them.
        devices_per_chip: how many devices an engine counts in one chip (dies).
        availability: share of the time a worker's hardware is up; None if nobody says.
        sources, dates, confidences: of every figure above: where it was published or how it was derived; when; and
            vendor-spec, measured, press, estimate, claim or assumed.
        conflicts: what published figures disagree on, and which one is used.
    """

    id: str
    vendor: str
    family: str
    nature: Nature
    status: Status
    flops_per_s: Mapping[Precision, float]
    memory_bytes: float
    sram_bytes: float
    bandwidth_bytes_per_s: float
    compute_efficiency: float
    bandwidth_efficiency: float
    step_overhead_s: float
    collective_s: float
    sequence_overhead_s: float
    batch_buckets: tuple[int, ...]
    length_buckets: tuple[int, ...]
    max_seqs: int
    max_batched_tokens: int
    usd_per_chip_hour: float | None
    power_w: float
    confidence: str
    sources: Mapping[str, str]
    notes: str = ""
    scaleup_bytes_per_s: float = 0.0
    name: str = ""
    prior: str = ""
    year: int | None = None
    aliases: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    status_note: str = ""
    api_only: bool = False
    measured: bool = True
    uncertainty: float = 0.1
    placeable: bool = True
    why_not: str = ""
    weight_formats: frozenset[Precision] = frozenset()
    checkpoint_formats: frozenset[str] = frozenset()
    memory_type: str = ""
    sram_bytes_per_s: float = 0.0
    cache_bytes: float = 0.0
    scaleup_domain: int = 1
    peer_bytes_per_s: float | None = None
    scaleout_bytes_per_s: float | None = None
    usd_on_demand_low: float | None = None
    usd_on_demand_high: float | None = None
    usd_tco_hyperscaler: float | None = None
    usd_tco_neocloud: float | None = None
    purchase_usd: float | None = None
    allin_kw: float | None = None
    compile_s: float = 0.0
    slice_chips: tuple[int, ...] = ()
    reroute_s: float | None = None
    devices_per_chip: int = 1
    availability: float | None = None
    parts: tuple[Part, ...] = ()
    parts_bytes_per_s: float = 0.0
    parts_latency_s: float = 0.0
    dates: Mapping[str, str] = field(default_factory=dict)
    confidences: Mapping[str, str] = field(default_factory=dict)

    @property
    def projected(self) -> bool:
        """Nobody has published a measurement: usable in simulation, in `serve` only where the pool allows it."""
        return not self.measured


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Shape of one model.

    Attributes:
        parameters, active_parameters: counts; equal for a dense model.
        kv_heads: 0 for latent attention (`mla`), whose cache every head shares.
        kv_bytes_per_token: of all layers, in 16-bit; `kv_bytes` scales it by the cache's own width.
        window_tokens, layers_windowed: layers that keep only their last tokens, and how many of them.
        state_bytes_per_sequence: fixed state of layers without a KV cache (linear attention), whatever the length.
        indexer_bytes_per_token: of sparse attention's own index, all layers, in its own width.
        attended_tokens: tokens each query reads at most (sparse attention); 0 reads all.
        experts, experts_per_token: routed experts of a mixture; 0 for a dense model.
        max_context_tokens: prompt plus output.
        checkpoint_format: layout of the published weights where engines must know it ("mxfp4", "nvfp4", "ue8m0-fp8",
            "fp8-block"); "" for plain tensors.
        vendors_unavailable: makers on whose chips no engine serves this model, with the reason.
        placeable, why_not: False where figures are missing, and which.
        sources, dates, confidences, conflicts: as of a device.
    """

    id: str
    parameters: float
    active_parameters: float
    layers: int
    hidden: int
    heads: int
    head_dim: int
    kv_bytes_per_token: int
    experts: int
    experts_per_token: int
    max_context_tokens: int
    native_precision: Precision
    sources: Mapping[str, str]
    notes: str = ""
    name: str = ""
    aliases: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    kv_heads: int = 0
    mla: bool = False
    window_tokens: int = 0
    layers_windowed: int = 0
    state_bytes_per_sequence: float = 0.0
    indexer_bytes_per_token: float = 0.0
    attended_tokens: int = 0
    ffn_intermediate: int = 0
    moe_intermediate: int = 0
    experts_shared: int = 0
    vocabulary: int = 0
    checkpoint_format: str = ""
    vendors_unavailable: Mapping[str, str] = field(default_factory=dict)
    confidence: str = "vendor-spec"
    placeable: bool = True
    why_not: str = ""
    dates: Mapping[str, str] = field(default_factory=dict)
    confidences: Mapping[str, str] = field(default_factory=dict)

    def weight_bytes(self, precision: Precision) -> float:
        """Bytes of all weights in one copy."""
        return self.parameters * precision.weight_bytes

    def kv_bytes(self, tokens: int, kv_precision: Precision) -> float:
        """Bytes of the KV cache of one sequence of `tokens` tokens, its index included, its fixed state not.

        Windowed layers stop growing at their window. 16-bit caches use the catalogue's figure as it is.
        """
        share = kv_precision.bits / 16
        held = tokens * (self.kv_bytes_per_token * share + self.indexer_bytes_per_token)
        beyond = tokens - self.window_tokens
        if self.layers_windowed and beyond > 0:
            held -= beyond * self.kv_bytes_per_token * share * self.layers_windowed / self.layers
        return held

    def sequence_bytes(self, tokens: int, kv_precision: Precision) -> float:
        """Everything one sequence holds: its KV cache and its fixed state."""
        return self.kv_bytes(tokens, kv_precision) + self.state_bytes_per_sequence
