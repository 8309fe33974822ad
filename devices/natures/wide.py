"""A mixture spread wide: every chip attends to sequences of its own, and the experts lie spread over all chips.

Nothing is reduced over the chips. Instead each token travels to the chips of its experts and back, twice a layer. So
the weights of the experts are read once for the sequences of all chips, and those of attention on every chip.
"""

from __future__ import annotations

from devices.natures.bounds import Bounds, attention
from devices.natures.hbm import HbmPredictor
from devices.profile import DeviceProfile, ModelProfile, Precision
from devices.roofline import experts_read, overhead_s, read_s, sequence_s, token_s

DISPATCH_BYTES, COMBINE_BYTES = 1, 2
"""Of each number of a token's vector: engines send it out in FP8 and gather it in BF16 (DeepEP)."""


def wide(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    chunk_tokens: int,
) -> HbmPredictor:
    """Iterations of all chips together, which wait for each other in every layer; work is taken to be spread evenly.

    A lone prompt is computed on one chip and takes longer than this says; where many come at once it holds.
    """
    dense, experts = experts_read(model)
    alone = attention(device, model, 1, kv_precision)
    bounds = alone.bounds
    return HbmPredictor(
        fixed_s=overhead_s(device, model, chips),
        dense_s=read_s(device, 1, dense * precision.weight_bytes),
        experts_s=read_s(device, chips, experts * precision.weight_bytes),
        missed=1 - model.experts_per_token / model.experts,
        token_s=token_s(device, model, 1, precision) / chips + exchange_s(device, model, chips),
        kv_s=alone.kv_s / chips,
        pair_s=alone.pair_s / chips,
        sequence_s=sequence_s(device, model, 1) / chips,
        chunk_tokens=chunk_tokens * chips,
        bounds=Bounds(bounds.tokens, bounds.kv_s / chips, bounds.pair_s / chips) if bounds else None,
    )


def exchange_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Seconds that one token's way to its experts and back adds, when all chips send at once."""
    link = device.scaleup_bytes_per_s if chips <= device.scaleup_domain else device.scaleout_bytes_per_s
    if chips == 1 or not link:
        return 0.0
    vectors = model.layers * model.experts_per_token * (chips - 1) / chips
    return vectors * model.hidden * (DISPATCH_BYTES + COMBINE_BYTES) / (chips * link)
