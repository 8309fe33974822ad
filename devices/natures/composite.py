"""The nature of two kinds of chips sold as one device: each does what it is good at, at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from devices.natures.bounds import Bounds, attention
from devices.natures.decode_line import decode_line
from devices.profile import DeviceProfile, ModelProfile, Part, Precision, Role
from devices.roofline import ACTIVATION_BYTES, chunked_s
from devices.worker import DecodeLine, Predictor


class Decoder(Protocol):
    """The part of a composite device that decodes."""

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float: ...

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine: ...


@dataclass(frozen=True, slots=True)
class CompositePredictor:
    """One part prefills while the other decodes, so an iteration takes as long as the slower of the two.

    The prefill part gathers prompts into chunks of its own size; a chunk of ours pays its share of such a full one, and
    then its KV crosses to the other part.

    Attributes:
        full_tokens: the prefill part's own chunk.
        handover_s, handover_token_s: of the hand-over inside the device: each chunk, each token.
    """

    prefill: Predictor
    decode: Decoder
    full_tokens: int
    handover_s: float
    handover_token_s: float
    chunk_tokens: int

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return chunked_s(self, new_tokens, cached_tokens)

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.decode.decode_step_s(sequences, kv_tokens)

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        return self.decode.decode_line(sequences, kv_tokens)

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        prefill_s = 0.0
        for new, context in chunks:
            share = new / self.full_tokens
            prefill_s += share * self.prefill.step_s(0, 0, [(self.full_tokens, context)])
            prefill_s += self.handover_s + new * self.handover_token_s
        return max(self.decode.decode_step_s(decodes, kv_tokens), prefill_s)


@dataclass(frozen=True, slots=True)
class LayerSplitPredictor:
    """Decode cut through the middle of each layer: attention on the chip that holds the cache, the rest on the other.

    Twice a layer the activations of all sequences cross the link between the parts.

    Attributes:
        ffn: the part that holds the weights, asked without any cache.
        crossing_s, crossing_sequence_s: of all crossings of one step: their latency, and each sequence's bytes.
    """

    ffn: Decoder
    kv_s: float
    bounds: Bounds | None
    crossing_s: float
    crossing_sequence_s: float

    @classmethod
    def of(
        cls, device: DeviceProfile, model: ModelProfile, units: int, kv_precision: Precision, ffn: Decoder
    ) -> LayerSplitPredictor:
        """The cache is read by the part in the attention role."""
        part = part_for(device, Role.ATTENTION)
        looks_back = attention(part.device, model, units * part.chips, kv_precision)
        crossings, sent = 2 * model.layers, model.hidden * ACTIVATION_BYTES
        return cls(
            ffn=ffn,
            kv_s=looks_back.kv_s,
            bounds=looks_back.bounds,
            crossing_s=crossings * device.parts_latency_s,
            crossing_sequence_s=crossings * sent / link_bytes_per_s(device, units),
        )

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        seconds = self.ffn.decode_step_s(sequences, 0) + self.kv_s * kv_tokens
        if self.bounds is not None:
            seconds += self.bounds.read_s(sequences, kv_tokens)
        return seconds + self.crossing_s + self.crossing_sequence_s * sequences

    def decode_line(self, sequences: int, kv_tokens: float) -> DecodeLine:
        seconds = self.decode_step_s(sequences, kv_tokens)
        return decode_line(seconds, self.kv_s, sequences, kv_tokens, self.bounds)


def part_for(device: DeviceProfile, role: Role) -> Part:
    """The part of a composite device that plays a role; a LookupError names the device that has none."""
    for part in device.parts:
        if role in part.roles:
            return part
    raise LookupError(f"{device.id}: no part does {role.value}")


def splits_layers(device: DeviceProfile) -> bool:
    """Whether decode is cut within the layers (attention here, the rest there) rather than between the phases."""
    return any(Role.FFN in part.roles for part in device.parts)


def link_bytes_per_s(device: DeviceProfile, units: int) -> float:
    """Between the parts of a worker of `units` units; every unit brings its own link."""
    return units * device.parts_bytes_per_s


def handover_token_s(device: DeviceProfile, model: ModelProfile, units: int, kv_precision: Precision) -> float:
    """Seconds the KV of one prompt token takes from part to part; 0 where the cache stays where it was computed."""
    if splits_layers(device):
        return 0.0
    return model.kv_bytes(1, kv_precision) / link_bytes_per_s(device, units)
