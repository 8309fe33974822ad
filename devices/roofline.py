"""What a chip would take at its attained share of the two peaks: the terms the natures share."""

from __future__ import annotations

from math import log2

from devices.profile import DeviceProfile, ModelProfile, Precision

REFERENCE_LAYERS = 80
"""`step_overhead_s` is stated for a model this deep."""
ACTIVATION_BYTES = 2
"""Activations cross the chips in 16 bits whatever the weights are kept in."""
MOE_COMPUTE_SHARE = 0.4
"""Attained compute of a mixture relative to a dense model on the same chip. Tokens spread thinly over experts: fits of
public InferenceX samples give mixtures 7-20 % of peak in prefill where dense models reach 15-40 %."""


def experts_read(model: ModelProfile) -> tuple[float, float]:
    """Parameters every token reads, and those of all routed experts together.

    From total = shared + experts and active = shared + experts * k / E.
    """
    if not model.experts:
        return model.parameters, 0.0
    share = model.experts_per_token / model.experts
    experts = (model.parameters - model.active_parameters) / (1 - share)
    return model.parameters - experts, experts


def token_s(device: DeviceProfile, model: ModelProfile, chips: int, precision: Precision) -> float:
    """Matrix arithmetic of one token, 2 FLOP per active parameter, and its all-reduces across the chips."""
    efficiency = device.compute_efficiency * (MOE_COMPUTE_SHARE if model.experts else 1.0)
    compute_s = 2 * model.active_parameters / (chips * device.flops_per_s[precision] * efficiency)
    if not device.scaleup_bytes_per_s:
        return compute_s
    # A ring all-reduce sends 2 (n - 1) / n of the vector over each chip's link, twice a layer.
    sent = 2 * model.layers * 2 * (chips - 1) / chips * model.hidden * ACTIVATION_BYTES
    return compute_s + sent / device.scaleup_bytes_per_s


def pair_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Attention of one token to one other: 2 FLOP each for score and value, in 16 bits."""
    peak = max(rate for precision, rate in device.flops_per_s.items() if precision.bits == 16)
    flops = 4 * model.layers * model.heads * model.head_dim
    return flops / (chips * peak * device.compute_efficiency)


def read_s(device: DeviceProfile, chips: int, held_bytes: float) -> float:
    """Seconds to read that many bytes spread evenly over the chips."""
    return held_bytes / (chips * device.bandwidth_bytes_per_s * device.bandwidth_efficiency)


def overhead_s(device: DeviceProfile, model: ModelProfile, chips: int) -> float:
    """Launches and synchronisation of one iteration: two all-reduces a layer, a tree of log2(chips) each."""
    collectives_s = 2 * model.layers * log2(chips) * device.collective_s
    return device.step_overhead_s * model.layers / REFERENCE_LAYERS + collectives_s
