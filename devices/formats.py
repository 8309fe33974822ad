"""Which number formats a chip takes, what it gains by them, and which published checkpoints its engines can load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from devices.profile import DeviceProfile, ModelProfile, Precision

SAME_RATE = 1.05
"""A rate within 5 % of that of a wider format is the same rate: published figures are rounded."""


class Gain(Enum):
    """What keeping weights in a format buys on a chip."""

    FULL = "full"
    """Less memory, fewer bytes to read and faster arithmetic; 16-bit formats are this by definition."""
    MEMORY = "memory"
    """Less memory and fewer bytes to read; arithmetic runs at the rate of a wider format."""
    NONE = "none"
    """Not usable: the chip cannot keep weights so, or computes on them more slowly than in 16 bits."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a chip makes of weights in one format.

    Attributes:
        flops_per_s: dense arithmetic on such weights; where `gain` is NONE, what it would be if one insisted.
        why: one clause for the gain, empty where it is FULL.
    """

    gain: Gain
    flops_per_s: float
    why: str = ""


def weight_format(device: DeviceProfile, precision: Precision) -> Format:
    """What `device` makes of weights in `precision`."""
    rate, wide = device.flops_per_s.get(precision), _widened(device, precision)
    if rate is None:
        return _stored(device, precision)
    if wide is not None and rate < wide[1] / SAME_RATE:
        slower = f"{wide[1] / rate:.0f} times slower than {wide[0].value}"
        return Format(Gain.NONE, rate, f"computes {precision.value} {slower} ({rate / 1e12:.0f} TFLOP/s)")
    if device.weight_formats and precision not in device.weight_formats:
        return Format(Gain.NONE, rate, f"keeps no weights in {precision.value}")
    if wide is not None and rate <= wide[1] * SAME_RATE:
        return Format(Gain.MEMORY, rate, f"computes {precision.value} at the rate of {wide[0].value}")
    return Format(Gain.FULL, rate)


def kept_formats(device: DeviceProfile) -> list[Precision]:
    """Formats in which weights may lie on the chip, widest first."""
    usable = (p for p in Precision if weight_format(device, p).gain is not Gain.NONE)
    return sorted(usable, key=lambda precision: -precision.bits)


def flops_per_s(device: DeviceProfile, precision: Precision) -> float:
    """Dense arithmetic on weights in `precision`, widened where the chip does not compute in it."""
    return weight_format(device, precision).flops_per_s


def attention_flops_per_s(device: DeviceProfile) -> float:
    """Arithmetic of attention, which engines run in the widest format the chip computes in."""
    widest = max(precision.bits for precision in device.flops_per_s)
    return max(rate for precision, rate in device.flops_per_s.items() if precision.bits == widest)


def checkpoint_problem(device: DeviceProfile, model: ModelProfile, precision: Precision) -> str | None:
    """Why the published checkpoint cannot be loaded as it is, None if it can.

    Only the model's own format is at stake: weights converted to another precision are plain tensors again. Scales in
    UE8M0 and the block formats MXFP4 and NVFP4 need engines (or hardware) that know them.
    """
    layout = model.checkpoint_format
    if not layout or precision is not model.native_precision or layout in device.checkpoint_formats:
        return None
    known = ", ".join(sorted(device.checkpoint_formats)) or "plain tensors only"
    return f"{model.id} is published as {layout}, which the engines of {device.id} do not load (they load: {known})"


def _stored(device: DeviceProfile, precision: Precision) -> Format:
    """Kernels that unpack weights on the way compute in 16 bits, whatever narrower formats the chip has."""
    plain = {known: rate for known, rate in device.flops_per_s.items() if known.bits == 16}
    wider, rate = _fastest((plain or device.flops_per_s).items())
    if precision not in device.weight_formats:
        return Format(Gain.NONE, rate, f"does not compute in {precision.value}")
    return Format(Gain.MEMORY, rate, f"keeps weights in {precision.value} and computes in {wider.value}")


def _widened(device: DeviceProfile, precision: Precision) -> tuple[Precision, float] | None:
    """The fastest of the wider formats the chip computes in, None if there is none."""
    wider = [(known, rate) for known, rate in device.flops_per_s.items() if known.bits > precision.bits]
    return _fastest(wider) if wider else None


def _fastest(rates: Iterable[tuple[Precision, float]]) -> tuple[Precision, float]:
    return max(rates, key=lambda known: known[1])
