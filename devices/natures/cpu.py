"""The nature of a server processor: the cores that fetch the weights are the cores that multiply."""

from __future__ import annotations

from dataclasses import dataclass

from devices.natures.bounds import Bounds, attention
from devices.natures.decode_line import decode_line
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import chunked_s, experts_read, overhead_s, read_s, sequence_s, token_s
from devices.worker import DecodeLine


@dataclass(frozen=True, slots=True)
class CpuPredictor:
    """Seconds of one iteration:

        fixed_s + weights_s(S) + token_s * S + kv_s * K + pair_s * sum(P * (context + P / 2)) + sequence_s * B

    Reading and computing add up where a GPU overlaps them: no copy engine runs beside the cores, and a matrix tile is
    multiplied by the core that has just unpacked it. So there is no knee, and every sequence costs from the first on.
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

    @classmethod
    def of(
        cls,
        device: DeviceProfile,
        model: ModelProfile,
        chips: int,
        precision: Precision,
        kv_precision: Precision,
        chunk_tokens: int,
    ) -> CpuPredictor:
        """One chip is one socket; a worker on two of them splits every layer over both."""
        dense, experts = experts_read(model)
        looks_back = attention(device, model, chips, kv_precision)
        return cls(
            fixed_s=overhead_s(device, model, chips),
            dense_s=read_s(device, chips, dense * precision.weight_bytes),
            experts_s=read_s(device, chips, experts * precision.weight_bytes),
            missed=1 - model.experts_per_token / model.experts if model.experts else 1.0,
            token_s=token_s(device, model, chips, precision),
            kv_s=looks_back.kv_s,
            pair_s=looks_back.pair_s,
            sequence_s=sequence_s(device, model, chips),
            chunk_tokens=chunk_tokens,
            bounds=looks_back.bounds,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return chunked_s(self, new_tokens, cached_tokens)

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds = self.decode_step_s(sequences, kv_tokens)
        return decode_line(seconds, self.kv_s, sequences, kv_tokens, self.bounds)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        tokens, attention_s = decodes, self.kv_s * kv_tokens
        if self.bounds is not None:
            attention_s += self.bounds.read_s(decodes, kv_tokens)
        for new, context in chunks:
            tokens += new
            attention_s += self.pair_s * new * (context + new / 2)
            if self.bounds is not None:
                attention_s += self.bounds.chunk_s(new, context)
        weights_s = self.dense_s + self.experts_s * (1.0 - self.missed**tokens)
        return self.fixed_s + weights_s + self.token_s * tokens + attention_s + self.sequence_s * decodes
