"""Attention that looks back only so far: sliding windows, and sparse attention with a budget of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import cache_reads, kv_copies, pair_s, read_s


@dataclass(frozen=True, slots=True)
class Bounds:
    """The part of attention that stops growing at `tokens` tokens a sequence.

    Attributes:
        kv_s: to read one token of that part of the cache.
        pair_s: arithmetic of one token to one other in those layers.
    """

    tokens: int
    kv_s: float
    pair_s: float

    def read_s(self, sequences: int, kv_tokens: float) -> float:
        """Exact where all sequences are within the bound or all beyond it, an upper bound in between."""
        most = sequences * self.tokens
        return self.kv_s * (kv_tokens if kv_tokens < most else most)

    def chunk_s(self, new_tokens: float, context_tokens: float) -> float:
        """Arithmetic of a prefill chunk after `context_tokens` tokens, by the mean look-back of its tokens."""
        back = context_tokens + new_tokens / 2
        return self.pair_s * new_tokens * (back if back < self.tokens else self.tokens)


@dataclass(frozen=True, slots=True)
class Attention:
    """Seconds of attention on a worker: what grows with the cache, and what is bounded (None for most models)."""

    kv_s: float
    pair_s: float
    bounds: Bounds | None


def attention(device: DeviceProfile, model: ModelProfile, chips: int, kv_precision: Precision) -> Attention:
    """The two parts, from the layers that are bounded and those that are not."""
    reads, copies = cache_reads(model, kv_precision), kv_copies(device, model, chips)
    whole_s = pair_s(device, model, chips)
    growing_s = read_s(device, chips, reads.growing * copies)
    if not reads.bound:
        return Attention(growing_s, whole_s, None)
    share = 1.0 if model.attended_tokens else model.layers_windowed / model.layers
    bounds = Bounds(reads.bound, read_s(device, chips, reads.bounded * copies), whole_s * share)
    return Attention(growing_s, whole_s * (1 - share), bounds)
