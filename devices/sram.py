"""The nature of an SRAM machine: the whole model lies in on-chip memory across N chips, a pipeline of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import overhead_s, read_s


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
        stage_read_s = read_s(device, chips, model.active_parameters * precision.weight_bytes)
        stage_kv_s = read_s(device, chips, model.kv_bytes(1, kv_precision))
        return cls(
            pass_s=model.layers * stage_read_s + overhead_s(device, model, 1),
            depth=model.layers,
            kv_s=stage_kv_s,  # layers * stage_kv_s / depth
            chunk_tokens=chunk_tokens,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        """The sum over its chunks, each of which fills at least one pass and holds the KV of those before it."""
        full, rest = divmod(new_tokens, self.chunk_tokens)
        held = full * cached_tokens + self.chunk_tokens * full * (full - 1) / 2
        passes = full * max(1.0, self.chunk_tokens / self.depth)
        if rest:
            held += cached_tokens + full * self.chunk_tokens
            passes += max(1.0, rest / self.depth)
        return passes * self.pass_s + self.kv_s * held

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        seconds = self.pass_s + self.kv_s * kv_tokens
        return seconds if sequences <= self.depth else seconds + (sequences / self.depth - 1) * self.pass_s

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        tokens, held = decodes, kv_tokens
        for new, context in chunks:
            tokens += new
            held += context
        return self.decode_step_s(tokens, held)
