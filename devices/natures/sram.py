"""The nature of an SRAM machine: the whole model lies in on-chip memory across N chips, a pipeline of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from devices.natures.bounds import Bounds, attention
from devices.natures.decode_line import decode_line
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import chunked_s, overhead_s, read_s
from devices.worker import DecodeLine


@dataclass(frozen=True, slots=True)
class SramPredictor:
    """A pipeline with one stage per layer. A token takes `pass_s` through it, one token leaves each stage time.

    So an iteration of up to `depth` tokens, decodes and prompt tokens alike, takes one pass; more take their share of
    further passes. Decode is flat in the batch, and a prompt streams through at depth / pass_s tokens a second.

    Attributes:
        kv_s: added per token of KV held. Each sequence reads its own cache in its own stage, at the same time as the
            others, so a pass lengthens by the mean cache, taken here at a full pipeline: held tokens / depth.
    """

    pass_s: float
    depth: int
    kv_s: float
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
    ) -> SramPredictor:
        """A layer lies on chips / layers of the machine, so only that share of the bandwidth reads it."""
        looks_back = attention(device, model, chips, kv_precision)
        read_bytes = model.active_parameters * precision.weight_bytes + 2 * model.state_bytes_per_sequence
        return cls(
            pass_s=model.layers * read_s(device, chips, read_bytes) + overhead_s(device, model, 1),
            depth=model.layers,
            kv_s=looks_back.kv_s,  # layers * kv_s of a stage / depth
            chunk_tokens=chunk_tokens,
            bounds=looks_back.bounds,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """The sum over its chunks, each of which fills at least one pass and holds the KV of those before it."""
        if self.bounds is not None:
            return chunked_s(self, new_tokens, cached_tokens)
        full, rest = divmod(new_tokens, self.chunk_tokens)
        held = full * cached_tokens + self.chunk_tokens * full * (full - 1) / 2
        passes = full * max(1.0, self.chunk_tokens / self.depth)
        if rest:
            held += cached_tokens + full * self.chunk_tokens
            passes += max(1.0, rest / self.depth)
        return passes * self.pass_s + self.kv_s * held

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        seconds = self._passes_s(sequences) + self.kv_s * kv_tokens
        return seconds if self.bounds is None else seconds + self.bounds.read_s(sequences, kv_tokens)

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds = self.decode_step_s(sequences, kv_tokens)
        return decode_line(seconds, self.kv_s, sequences, kv_tokens, self.bounds)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        tokens, held = decodes, kv_tokens
        for new, context in chunks:
            tokens += new
            held += context
        seconds = self._passes_s(tokens) + self.kv_s * held
        if self.bounds is not None:
            seconds += self.bounds.read_s(decodes, kv_tokens)
            for _, context in chunks:
                seconds += self.bounds.read_s(1, context)
        return seconds

    def _passes_s(self, tokens: int) -> float:
        return self.pass_s if tokens <= self.depth else tokens / self.depth * self.pass_s
