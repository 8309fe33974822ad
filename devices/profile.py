"""Published or measured figures of a chip and of a model. Loaded from the catalogue, never written in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Nature(Enum):
    """How a device spends an iteration; decides which iteration model is built for it (see `devices.nature`)."""

    HBM = "hbm"
    """A GPU: weights and KV cache in HBM, chunked prefill shares its steps with decode."""
    SRAM = "sram"
    """On-chip memory only: the whole model lies across N chips, a small hard KV budget, a flat and very fast step."""
    PADDED = "padded"
    """Static shapes: batch and prompt length are rounded up to compiled buckets."""


class Precision(Enum):
    """Number format of the weights; the value is the name used in configuration."""

    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"

    @property
    def weight_bytes(self) -> float:
        """Bytes per parameter; FP4 carries one FP8 scale per 16 values (0.5 + 1/16)."""
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
}
_BITS = {Precision.FP16: 16, Precision.BF16: 16, Precision.FP8: 8, Precision.INT8: 8, Precision.FP4: 4}


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """One accelerator chip.

    Attributes:
        flops_per_s: dense multiply-add throughput per precision the chip computes in, in FLOP/s (2 per multiply-add).
        memory_bytes: HBM; 0 where there is none.
        sram_bytes: on-chip memory that holds weights and KV (only `Nature.SRAM`).
        bandwidth_bytes_per_s: of the memory that weights and KV are read from.
        compute_efficiency, bandwidth_efficiency: attained share of the two peaks, 0 to 1.
        step_overhead_s: fixed seconds of one iteration of an 80-layer model on one chip; scaled by layers / 80.
        collective_s: seconds one all-reduce adds per doubling of tensor parallelism.
        sequence_overhead_s: seconds each decoding sequence adds to an iteration (sampling, scheduling).
        batch_buckets, length_buckets: compiled shapes of `Nature.PADDED`, ascending; empty elsewhere.
        max_seqs: sequences one worker runs at once; on SRAM chips, hard slots.
        scaleup_bytes_per_s: one-way bandwidth between the chips of one worker; 0 leaves it out of the model.
        max_batched_tokens: token budget of one iteration (chunked prefill).
        usd_per_chip_hour: default rent; None where the chip is not rented out.
        power_w: board power of one chip.
        sources: for every figure above, where it was published or how it was derived.
    """

    id: str
    vendor: str
    family: str
    nature: Nature
    status: str
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


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Shape of one model.

    Attributes:
        parameters, active_parameters: counts; equal for a dense model.
        kv_bytes_per_token: of all layers, in 16-bit; `kv_bytes` scales it by the cache's own width.
        experts, experts_per_token: routed experts of a mixture; 0 for a dense model.
        max_context_tokens: prompt plus output.
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

    def weight_bytes(self, precision: Precision) -> float:
        """Bytes of all weights in one copy."""
        return self.parameters * precision.weight_bytes

    def kv_bytes(self, tokens: int, kv_precision: Precision) -> float:
        """Bytes of the KV cache of `tokens` tokens; 16-bit caches use the catalogue's figure as it is."""
        return tokens * self.kv_bytes_per_token * kv_precision.bits / 16
