"""Which iteration model a worker gets: what was fitted to measurements of it, else the model of its nature."""

from __future__ import annotations

from collections.abc import Callable

from devices.natures.composite import (
    CompositePredictor,
    Decoder,
    LayerSplitPredictor,
    handover_token_s,
    part_for,
    splits_layers,
)
from devices.natures.cpu import CpuPredictor
from devices.natures.fitted import FittedPredictor, find
from devices.natures.hbm import HbmPredictor
from devices.natures.padded import PaddedPredictor
from devices.natures.sram import SramPredictor
from devices.profile import DeviceProfile, ModelProfile, Nature, Precision, Role
from devices.worker import Predictor


def predictor(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    max_batched_tokens: int | None = None,
    *,
    engine: str = "vllm",
) -> Predictor:
    """Seconds of work on one worker of `chips` chips. Ask `feasibility.limits` first whether it can exist.

    `max_batched_tokens` is the engine's token budget of one iteration where it differs from the device's default.
    A fit is used where this model was measured on this device with this engine and precision; devices without such a
    measurement are compared by their figures alone.
    """
    chunk_tokens = max_batched_tokens or device.max_batched_tokens
    fit = find(device.id, model.id, engine, precision) if device.nature is Nature.HBM else None
    if fit is not None and fit.rows:
        return FittedPredictor.of(device, model, chips, precision, kv_precision, chunk_tokens, fit.factors)
    return prior(device, model, chips, precision, kv_precision, chunk_tokens)


def prior(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    chunk_tokens: int,
) -> Predictor:
    """The model of the device's nature, from its published figures alone."""
    return _NATURES[device.nature](device, model, chips, precision, kv_precision, chunk_tokens)


def _composite(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    chunk_tokens: int,
) -> CompositePredictor:
    """One chip of a composite device is one unit of all its parts."""

    def part_prior(role: Role) -> Predictor:
        part = part_for(device, role)
        full_tokens = part.device.max_batched_tokens
        return prior(part.device, model, chips * part.chips, precision, kv_precision, full_tokens)

    decode: Decoder
    if splits_layers(device):
        decode = LayerSplitPredictor.of(device, model, chips, kv_precision, part_prior(Role.FFN))
    else:
        decode = part_prior(Role.DECODE)
    return CompositePredictor(
        prefill=part_prior(Role.PREFILL),
        decode=decode,
        full_tokens=part_for(device, Role.PREFILL).device.max_batched_tokens,
        handover_s=device.parts_latency_s,
        handover_token_s=handover_token_s(device, model, chips, kv_precision),
        chunk_tokens=chunk_tokens,
    )


_NATURES: dict[Nature, Callable[[DeviceProfile, ModelProfile, int, Precision, Precision, int], Predictor]] = {
    Nature.HBM: HbmPredictor.of,
    Nature.SRAM: SramPredictor.of,
    Nature.PADDED: PaddedPredictor.of,
    Nature.CPU: CpuPredictor.of,
    Nature.COMPOSITE: _composite,
}
