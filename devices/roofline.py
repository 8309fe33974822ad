"""What a chip would take at its attained share of the peaks: the terms the natures share."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Protocol

from devices.formats import attention_flops_per_s, flops_per_s
from devices.profile import DeviceProfile, ModelProfile, Nature, Precision

REFERENCE_LAYERS = 80
"""`step_overhead_s` is stated for a model this deep."""
ACTIVATION_BYTES = 2
"""Activations cross the chips in 16 bits whatever the weights are kept in."""
MOE_COMPUTE_SHARE = 0.4
"""Attained compute of a mixture relative to a dense model on the same chip. Tokens spread thinly over experts: fits of
public InferenceX samples give mixtures 7-20 % of peak in prefill where dense models reach 15-40 %."""


@dataclass(frozen=True, slots=True)
class CacheReads:
    """Bytes of cache one decode step reads: `growing` for every token held, `bounded` for at most `bound` a sequence.

    Layers with a sliding window and sparse attention read a bounded part of what is held; a sparse index is read whole.
    """

    growing: float
    bounded: float = 0.0
    bound: int = 0

    def bytes_per_step(self, sequences: int, kv_tokens: float) -> float:
        """Exact where all sequences are within the bound or all beyond it, an upper bound in between."""
        return self.growing * kv_tokens + self.bounded * min(kv_tokens, self.bound * sequences)


def cache_reads(model: ModelProfile, kv_precision: Precision) -> CacheReads:
    """What one decode step reads of the KV cache."""
    cache = model.kv_bytes_per_token * kv_precision.bits / 16
    if model.attended_tokens:
        return CacheReads(model.indexer_bytes_per_token, cache, model.attended_tokens)
    windowed = cache * model.layers_windowed / model.layers
    return CacheReads(cache - windowed + model.indexer_bytes_per_token, windowed, model.window_tokens)


def split(device: DeviceProfile, chips: int) -> int:
    """Ways the tensors of a layer are cut: engines count the dies of a chip, not the chip."""
    return chips * device.devices_per_chip


def kv_copies(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Times the cache is kept across the chips of a worker.

    Grouped-query attention has fewer KV heads than query heads; cut further than that, each die keeps a whole KV head,
    so heads repeat. Latent attention has one cache for all heads; its engines run it data-parallel, which spreads it.
    """
    if device.nature is Nature.SRAM or not model.kv_heads:
        return 1.0
    ways = split(device, chips)
    return ways * ceil(model.kv_heads / ways) / model.kv_heads


def experts_read(model: ModelProfile) -> tuple[float, float]:
    """Parameters every token reads, and those of all routed experts together.

    From total = shared + experts and active = shared + experts * k / E.
    """
    if not model.experts:
        return model.parameters, 0.0
    share = model.experts_per_token / model.experts
    experts = (model.parameters - model.active_parameters) / (1 - share)
    return model.parameters - experts, experts


def token_s(device: DeviceProfile, model: ModelProfile, chips: int, precision: Precision) -> float:
    """Matrix arithmetic of one token, 2 FLOP per active parameter, and its all-reduces across the chips."""
    efficiency = device.compute_efficiency * (MOE_COMPUTE_SHARE if model.experts else 1.0)
    compute_s = 2 * model.active_parameters / (chips * flops_per_s(device, precision) * efficiency)
    if not device.scaleup_bytes_per_s:
        return compute_s
    # A ring all-reduce sends 2 (n - 1) / n of the vector over each chip's link, twice a layer.
    sent = 2 * model.layers * 2 * (chips - 1) / chips * model.hidden * ACTIVATION_BYTES
    return compute_s + sent / device.scaleup_bytes_per_s


def pair_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Attention of one token to one other: 2 FLOP each for score and value."""
    flops = 4 * model.layers * model.heads * model.head_dim
    return flops / (chips * attention_flops_per_s(device) * device.compute_efficiency)


def read_s(device: DeviceProfile, chips: int, held_bytes: float) -> float:
    """Seconds to read that many bytes spread evenly over the chips."""
    return held_bytes / (chips * device.bandwidth_bytes_per_s * device.bandwidth_efficiency)


def sequence_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """What each decoding sequence adds: sampling and scheduling, and its fixed state, read and written back."""
    return device.sequence_overhead_s + read_s(device, chips, 2 * model.state_bytes_per_sequence)


def overhead_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Launches and synchronisation of one iteration: two all-reduces a layer, a tree of log2(dies) each."""
    collectives_s = 2 * model.layers * log2(split(device, chips)) * device.collective_s
    return device.step_overhead_s * model.layers / REFERENCE_LAYERS + collectives_s


class Steps(Protocol):
    """An iteration model whose prefill has no closed form."""

    @property
    def chunk_tokens(self) -> int: ...

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float: ...


def chunked_s(under: Steps, new_tokens: int, cached_tokens: int) -> float:
    """Prefill as the sum of its chunks, each of which sees those before it as context."""
    full, rest = divmod(new_tokens, under.chunk_tokens)
    context, seconds = cached_tokens, 0.0
    for _ in range(full):
        seconds += under.step_s(0, 0, [(under.chunk_tokens, context)])
        context += under.chunk_tokens
    return seconds + under.step_s(0, 0, [(rest, context)]) if rest else seconds
