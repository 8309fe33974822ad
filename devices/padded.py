"""The nature of a TPU: programs are compiled for fixed shapes, so batch and chunk are rounded up to a bucket."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import overhead_s, pair_s, read_s, token_s


@dataclass(frozen=True, slots=True)
class PaddedPredictor:
    """Steps in the batch and in the chunk length: rounding up pays for tokens nobody asked for.

        fixed_s + max(weights_s, token_s * (B' + sum P')) + kv_s * K
                + pair_s * sum(P' * (context + P' / 2)) + sequence_s * B'

    B' and P' are bucketed; K is not, since ragged paged attention reads only the cache that is there. A mixture reads
    all its experts: shapes are static, so is the layout of tokens over experts.
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
        return cls(
            fixed_s=overhead_s(device, model, chips),
            weights_s=read_s(device, chips, model.weight_bytes(precision)),
            token_s=token_s(device, model, chips, precision),
            kv_s=read_s(device, chips, model.kv_bytes(1, kv_precision)),
            pair_s=pair_s(device, model, chips),
            sequence_s=device.sequence_overhead_s,
            chunk_tokens=chunk_tokens,
            batches=device.batch_buckets,
            lengths=device.length_buckets,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """Chunk by chunk: the last one is padded, so there is no closed form over the whole prompt."""
        full, rest = divmod(new_tokens, self.chunk_tokens)
        context, seconds = cached_tokens, 0.0
        for _ in range(full):
            seconds += self.step_s(0, 0, [(self.chunk_tokens, context)])
            context += self.chunk_tokens
        return seconds + self.step_s(0, 0, [(rest, context)]) if rest else seconds

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        padded = bucket(sequences, self.batches)
        compute_s = self.token_s * padded
        matrices_s = compute_s if compute_s > self.weights_s else self.weights_s
        return self.fixed_s + matrices_s + self.kv_s * kv_tokens + self.sequence_s * padded

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        batch = bucket(decodes, self.batches)
        tokens, pairs = batch, 0.0
        for new, context in chunks:
            padded = bucket(new, self.lengths)
            tokens += padded
            pairs += padded * (context + padded / 2)
        compute_s = self.token_s * tokens
        matrices_s = compute_s if compute_s > self.weights_s else self.weights_s
        return self.fixed_s + matrices_s + self.kv_s * kv_tokens + self.pair_s * pairs + self.sequence_s * batch


def bucket(size: int, buckets: tuple[int, ...]) -> int:
    """The smallest bucket that holds `size`; beyond the largest, whole multiples of it; 0 stays 0."""
    if size == 0:
        return 0
    largest = buckets[-1]
    return buckets[bisect_left(buckets, size)] if size <= largest else -(-size // largest) * largest
