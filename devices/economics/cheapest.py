"""The configuration of each device that keeps a promise at the least cost, and what stops it from being cheaper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from math import ceil

from devices.economics.operating_point import OperatingPoint, Promise, Unkept, Workload, operating_point
from devices.economics.rents import Rent
from devices.economics.token_cost import TokenCost, token_usd
from devices.feasibility import Infeasible, limits, usable_bytes, wide_limits
from devices.formats import kept_formats
from devices.natures.choice import predictor
from devices.natures.wide import wide
from devices.profile import DeviceProfile, ModelProfile, Nature, Precision
from devices.worker import Limits, Predictor

SRAM_STEPS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Multiples of the fewest SRAM chips that are tried: chips beyond those the weights need hold KV cache."""


BOX_CHIPS = 8
"""Chips of a server whose links end at its lid; racks connect more."""


class Basis(Enum):
    """What a throughput rests on, the firmest first."""

    MEASURED = "measured"
    """A benchmark of this device and model at this promise, or at one tighter and one looser."""
    SCALED = "scaled"
    """The prediction, times what a benchmark at another promise reached of the prediction there."""
    PREDICTED = "predicted"
    """The device was measured, but not with this model in a benchmark with promises."""
    PROJECTED = "projected"
    """Nobody has published a measurement of the device."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run a model on a device; `wide` is `devices.natures.wide`, else tensors are cut over the chips."""

    chips: int
    precision: Precision
    wide: bool = False

    def worker(
        self, device: DeviceProfile, model: ModelProfile, kv_precision: Precision, engine: str
    ) -> tuple[Predictor, Limits]:
        """Raises `Infeasible`."""
        if self.wide:
            fits = wide_limits(device, model, self.chips, self.precision, kv_precision)
            budget = device.max_batched_tokens
            return wide(device, model, self.chips, self.precision, kv_precision, budget), fits
        fits = limits(device, model, self.chips, self.precision, kv_precision)
        return predictor(device, model, self.chips, self.precision, kv_precision, engine=engine), fits


@dataclass(frozen=True, slots=True)
class Offer:
    """A configuration that keeps the promise, at its operating point.

    Attributes:
        basis: what its throughput rests on.
        factor: what the predicted throughput was multiplied by; 1 where nothing was measured.
    """

    device: DeviceProfile
    configuration: Configuration
    point: OperatingPoint
    rent: Rent
    cost: TokenCost
    basis: Basis = Basis.PREDICTED
    factor: float = 1.0

    def faster(self, factor: float, basis: Basis) -> Offer:
        """The same promise kept at so many times the throughput, and each token as much cheaper."""
        point, cost = self.point.faster(factor), self.cost.times(1 / factor)
        return replace(self, point=point, cost=cost, basis=basis, factor=factor)

    @property
    def requests_per_chip_s(self) -> float:
        """Requests a second and chip; times output tokens, it is what benchmarks report."""
        return self.point.requests_per_s / self.configuration.chips


@dataclass(frozen=True, slots=True)
class NoOffer:
    """A device that cannot serve the model at this promise, and why."""

    device: DeviceProfile
    why: str


def cheapest(
    device: DeviceProfile,
    model: ModelProfile,
    workload: Workload,
    promise: Promise,
    rent: Rent,
    min_bits: int = 4,
    utilisation: float = 1.0,
    kv_precision: Precision = Precision.FP16,
    engine: str = "vllm",
) -> Offer | NoOffer:
    """Of all configurations, the one with the least USD per request."""
    best: Offer | None = None
    refusals: list[str] = []
    nearest: tuple[Configuration, Unkept] | None = None
    for made in configurations(device, model, min_bits):
        try:
            paced, fits = made.worker(device, model, kv_precision, engine)
        except Infeasible as error:
            if not made.wide:
                refusals.append(str(error))
            continue
        point = operating_point(paced, fits, workload, promise)
        if isinstance(point, Unkept):
            if nearest is None or _miss(point, promise) < _miss(nearest[1], promise):
                nearest = made, point
            continue
        cost = token_usd(point, rent.usd_per_chip_hour * made.chips, utilisation)
        if best is None or cost.request_usd(workload) < best.cost.request_usd(workload):
            best = Offer(device, made, point, rent, cost, Basis.PROJECTED if device.projected else Basis.PREDICTED)
    if best:
        return best
    return NoOffer(device, _unkept(*nearest) if nearest else refusals[-1])  # of the largest configuration tried


def configurations(device: DeviceProfile, model: ModelProfile, min_bits: int) -> Iterator[Configuration]:
    """Every number of chips worth trying, in every format worth trying."""
    for precision in formats(device, model, min_bits):
        for chips in chip_counts(device, model, precision):
            yield Configuration(chips, precision)
        for chips in wide_counts(device, model):
            yield Configuration(chips, precision, wide=True)


def formats(device: DeviceProfile, model: ModelProfile, min_bits: int) -> list[Precision]:
    """The model's own format and narrower ones the chip computes in; if it computes in none of them, the next wider.

    Of bf16 and fp16, which are the same work, one is enough.
    """
    native = model.native_precision
    computed = {known for known in kept_formats(device) if known in device.flops_per_s or known is native}
    if {Precision.FP16, Precision.BF16} <= computed:
        computed.remove(Precision.BF16 if native is Precision.FP16 else Precision.FP16)
    enough = [known for known in Precision if known in computed and known.bits >= min_bits]
    widest = max(native.bits, min_bits, min(known.bits for known in enough))
    return [known for known in enough if known.bits <= widest]


def chip_counts(device: DeviceProfile, model: ModelProfile, precision: Precision) -> list[int]:
    """Slices where the device has them; multiples of what the weights need in SRAM; else powers of two in a domain."""
    if device.slice_chips:
        return list(device.slice_chips)
    if device.nature is Nature.SRAM:
        fewest = ceil((model.weight_bytes(precision) + model.kv_bytes(16, precision)) / usable_bytes(device))
        return sorted({ceil(fewest * step) for step in SRAM_STEPS})
    return [1 << power for power in range(max(1, device.scaleup_domain).bit_length())]


def wide_counts(device: DeviceProfile, model: ModelProfile) -> list[int]:
    """Chips of one scale-up domain that the experts may be spread over: powers of two, and the whole domain.

    In a box only models with latent attention are spread, whose cache cannot be cut by heads. Of others nobody has
    published a spread box, and what boxes reach at tight promises is far below what one would give.
    """
    if device.nature is not Nature.HBM or (model.kv_heads and device.scaleup_domain <= BOX_CHIPS):
        return []
    most = min(device.scaleup_domain, model.experts)
    return sorted({*(1 << power for power in range(1, most.bit_length())), *([most] if most > 1 else [])})


def _miss(unkept: Unkept, promise: Promise) -> float:
    """How far beyond its limits the best single sequence is."""
    return max(
        unkept.ttft_s / promise.ttft_s if promise.ttft_s else 0.0,
        unkept.tpot_s / promise.tpot_s if promise.tpot_s else 0.0,
    )


def _unkept(made: Configuration, unkept: Unkept) -> str:
    return (
        f"{unkept.bound.value}: alone on {made.chips} chips in {made.precision.value}, a request has "
        f"ttft {unkept.ttft_s:.3g} s, tpot {unkept.tpot_s:.3g} s"
    )
