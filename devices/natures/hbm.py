"""The nature of a GPU: weights and KV cache stream from HBM, prefill chunks share their steps with decode."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from devices.natures.bounds import Bounds, attention
from devices.natures.decode_line import decode_line
from devices.natures.tier import Tier
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import cache_reads, chunked_s, experts_read, kv_copies, overhead_s, read_s, sequence_s, token_s
from devices.worker import DecodeLine


@dataclass(frozen=True, slots=True)
class HbmPredictor:
    """Seconds of one iteration:

        fixed_s + max(weights_s(S), token_s * S) + kv_s * K + pair_s * sum(P * (context + P / 2)) + sequence_s * B

    S new tokens, K tokens of KV read by B decoding sequences, prefill chunks of P tokens. The maximum is the knee
    between reading the weights (few tokens) and computing on them (many). A mixture reads only the experts its tokens
    hit: of E experts with k per token, 1 - (1 - k/E)^S on average. Layers that look back only so far add their own
    terms, a large on-chip memory takes some of the reading away.

    Attributes:
        dense_s, experts_s: reading the weights every token needs, and all routed experts (0 for a dense model).
        missed: chance that one token does not hit an expert, 1 - k/E.
        chunk_tokens: tokens one iteration prefills at most.
    """

    fixed_s: float
    dense_s: float
    experts_s: float
    missed: float
    token_s: float
    kv_s: float
    pair_s: float
    sequence_s: float
    chunk_tokens: int
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
    ) -> HbmPredictor:
        """Coefficients from the device's peaks, its attained shares of them, and the model's shape."""
        dense, experts = experts_read(model)
        looks_back = attention(device, model, chips, kv_precision)
        growing = cache_reads(model, kv_precision).growing * kv_copies(device, model, chips)
        tier = Tier.of(device, chips, dense * precision.weight_bytes, growing)
        return cls(
            fixed_s=overhead_s(device, model, chips),
            dense_s=read_s(device, chips, dense * precision.weight_bytes) - (tier.weights_s if tier else 0.0),
            experts_s=read_s(device, chips, experts * precision.weight_bytes),
            missed=1 - model.experts_per_token / model.experts if model.experts else 1.0,
            token_s=token_s(device, model, chips, precision),
            kv_s=looks_back.kv_s,
            pair_s=looks_back.pair_s,
            sequence_s=sequence_s(device, model, chips),
            chunk_tokens=chunk_tokens,
            bounds=looks_back.bounds,
            tier=tier,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """The sum over its chunks, in closed form: their attention pairs add up to those of the undivided prompt."""
        if self.bounds is not None:
            return chunked_s(self, new_tokens, cached_tokens)
        full, rest = divmod(new_tokens, self.chunk_tokens)
        seconds = self.pair_s * new_tokens * (cached_tokens + new_tokens / 2)
        if full:
            seconds += full * (self.fixed_s + self._matrices_s(self.chunk_tokens))
        if rest:
            seconds += self.fixed_s + self._matrices_s(rest)
        return seconds

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        seconds = self.fixed_s + self._matrices_s(sequences) + self.kv_s * kv_tokens + self.sequence_s * sequences
        if self.bounds is not None:
            seconds += self.bounds.read_s(sequences, kv_tokens)
        if self.tier is not None:
            seconds -= self.tier.saved_s(kv_tokens)
        return seconds

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds = self.decode_step_s(sequences, kv_tokens)
        if self.bounds is None and self.tier is None:
            return seconds, self.kv_s, inf
        return decode_line(seconds, self.kv_s, sequences, kv_tokens, self.bounds, self.tier)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        tokens, pairs = decodes, 0.0
        for new, context in chunks:
            tokens += new
            pairs += new * (context + new / 2)
        seconds = (
            self.fixed_s
            + self._matrices_s(tokens)
            + self.kv_s * kv_tokens
            + self.pair_s * pairs
            + self.sequence_s * decodes
        )
        if self.bounds is not None:
            seconds += self.bounds.read_s(decodes, kv_tokens)
            for new, context in chunks:
                seconds += self.bounds.chunk_s(new, context)
        if self.tier is not None:
            seconds -= self.tier.saved_s(kv_tokens)
        return seconds

    def _matrices_s(self, tokens: int) -> float:
        read_s = self.dense_s
        if self.experts_s:
            read_s += self.experts_s * (1.0 - self.missed**tokens)
        compute_s = self.token_s * tokens
        return compute_s if compute_s > read_s else read_s
