"""Which iteration model a device gets: three natures, three classes, one table."""

from __future__ import annotations

from collections.abc import Callable

from devices.hbm import HbmPredictor
from devices.padded import PaddedPredictor
from devices.profile import DeviceProfile, ModelProfile, Nature, Precision
from devices.sram import SramPredictor
from devices.worker import Predictor

_NATURES: dict[Nature, Callable[[DeviceProfile, ModelProfile, int, Precision, Precision, int], Predictor]] = {
    Nature.HBM: HbmPredictor.of,
    Nature.SRAM: SramPredictor.of,
    Nature.PADDED: PaddedPredictor.of,
}


def predictor(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    max_batched_tokens: int | None = None,
) -> Predictor:
    """Seconds of work on one worker of `chips` chips. Ask `feasibility.limits` first whether it can exist.

    `max_batched_tokens` is the engine's token budget of one iteration where it differs from the device's default.
    """
    chunk_tokens = max_batched_tokens or device.max_batched_tokens
    return _NATURES[device.nature](device, model, chips, precision, kv_precision, chunk_tokens)
