"""The nature of a TPU: programs are compiled for fixed shapes, so batch and chunk are rounded up to a bucket."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from devices.natures.bounds import Bounds, attention
from devices.natures.decode_line import decode_line
from devices.natures.tier import Tier
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import cache_reads, chunked_s, kv_copies, overhead_s, read_s, sequence_s, token_s
from devices.worker import DecodeLine


@dataclass(frozen=True, slots=True)
class PaddedPredictor:
    """Steps in the batch and in the chunk length: rounding up pays for tokens nobody asked for.

        fixed_s + max(weights_s, token_s * (B' + sum P')) + kv_s * K
                + pair_s * sum(P' * (context + P' / 2)) + sequence_s * B'

    B' and P' are bucketed; K is not, since ragged paged attention reads only the cache that is there. A mixture reads
    all its experts: shapes are static, so is the layout of tokens over experts. These are the times of warm programs;
    `devices.natures.warmth` says what a cold one adds.
    """

    fixed_s: float
    weights_s: float
    token_s: float
    kv_s: float
    pair_s: float
    sequence_s: float
    chunk_tokens: int
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    bounds: Bounds | None = None
    tier: Tier | None = None

    @classmethod
    def of(
        cls,
        device: DeviceProfile,
        model: ModelProfile,
        chips: int,
        precision: Precision,
        kv_precision: Precision,
        chunk_tokens: int,
    ) -> PaddedPredictor:
        """Coefficients as for a GPU, without the experts' chance of being missed."""
        weight_bytes = model.weight_bytes(precision)
        looks_back = attention(device, model, chips, kv_precision)
        growing = cache_reads(model, kv_precision).growing * kv_copies(device, model, chips)
        tier = Tier.of(device, chips, weight_bytes, growing)
        return cls(
            fixed_s=overhead_s(device, model, chips),
            weights_s=read_s(device, chips, weight_bytes) - (tier.weights_s if tier else 0.0),
            token_s=token_s(device, model, chips, precision),
            kv_s=looks_back.kv_s,
            pair_s=looks_back.pair_s,
            sequence_s=sequence_s(device, model, chips),
            chunk_tokens=chunk_tokens,
            batches=device.batch_buckets,
            lengths=device.length_buckets,
            bounds=looks_back.bounds,
            tier=tier,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """Chunk by chunk: the last one is padded, so there is no closed form over the whole prompt."""
        return chunked_s(self, new_tokens, cached_tokens)

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        padded = bucket(sequences, self.batches)
        compute_s = self.token_s * padded
        matrices_s = compute_s if compute_s > self.weights_s else self.weights_s
        seconds = self.fixed_s + matrices_s + self.kv_s * kv_tokens + self.sequence_s * padded
        if self.bounds is not None:
            seconds += self.bounds.read_s(sequences, kv_tokens)
        if self.tier is not None:
            seconds -= self.tier.saved_s(kv_tokens)
        return seconds

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds = self.decode_step_s(sequences, kv_tokens)
        return decode_line(seconds, self.kv_s, sequences, kv_tokens, self.bounds, self.tier)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        batch = bucket(decodes, self.batches)
        tokens, attention_s = batch, 0.0
        for new, context in chunks:
            padded = bucket(new, self.lengths)
            tokens += padded
            attention_s += self.pair_s * padded * (context + padded / 2)
            if self.bounds is not None:
                attention_s += self.bounds.chunk_s(padded, context)
        compute_s = self.token_s * tokens
        matrices_s = compute_s if compute_s > self.weights_s else self.weights_s
        seconds = self.fixed_s + matrices_s + self.kv_s * kv_tokens + attention_s + self.sequence_s * batch
        if self.bounds is not None:
            seconds += self.bounds.read_s(decodes, kv_tokens)
        if self.tier is not None:
            seconds -= self.tier.saved_s(kv_tokens)
        return seconds


def bucket(size: int, buckets: tuple[int, ...]) -> int:
    """The smallest bucket that holds `size`; beyond the largest, whole multiples of it; 0 stays 0."""
    if size == 0:
        return 0
    largest = buckets[-1]
    return buckets[bisect_left(buckets, size)] if size <= largest else -(-size // largest) * largest
