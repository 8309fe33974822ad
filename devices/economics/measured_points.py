"""What systems reached in published benchmarks at a promise, and how far a prediction is from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log

from devices.economics.cheapest import Basis, NoOffer, Offer, cheapest
from devices.economics.operating_point import Promise, Workload
from devices.economics.rents import Rent
from devices.packaged import read
from devices.profile import DeviceProfile, ModelProfile


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """The most a system was seen to write under a benchmark's promise."""

    benchmark: str
    workload: Workload
    promise: Promise
    tokens_per_chip_s: float

    @property
    def tpot_s(self) -> float:
        """The limit, not what was reached: a submission is as busy as the limit lets it."""
        assert self.promise.tpot_s is not None  # every benchmark here sets one
        return self.promise.tpot_s


def measured_points(device: DeviceProfile, model: ModelProfile) -> tuple[MeasuredPoint, ...]:
    """Of a device and a model, the tightest promise first; mostly none."""
    found = [
        MeasuredPoint(
            name,
            Workload(benchmark["input_tokens"], benchmark["output_tokens"]),
            Promise(promise["ttft_s"], promise["tpot_s"]),
            float(promise["chips"][device.id]),
        )
        for name, benchmark in read("measured_points.yaml")["benchmarks"].items()
        if model.id in benchmark["models"]
        for promise in benchmark["promises"]
        if device.id in promise["chips"]
    ]
    return tuple(sorted(found, key=lambda point: point.tpot_s))


def correction(device: DeviceProfile, model: ModelProfile, promise: Promise) -> tuple[float, Basis] | None:
    """Measured over predicted throughput at a promise; None without a measurement or a prediction of one.

    Between two measured promises the factor is interpolated on logarithmic scales of TPOT and factor; beyond them the
    nearest one's is taken, and the result is only scaled.
    """
    factors = [
        (point.tpot_s, factor)
        for point in measured_points(device, model)
        if (factor := _factor(device, model, point)) is not None
    ]
    if not factors:
        return None
    (tightest_s, tightest), (loosest_s, loosest) = factors[0], factors[-1]
    tpot_s = promise.tpot_s or inf
    if tpot_s <= tightest_s:
        return tightest, Basis.MEASURED if tpot_s == tightest_s else Basis.SCALED
    if tpot_s >= loosest_s:
        return loosest, Basis.MEASURED if tpot_s == loosest_s else Basis.SCALED
    return exp(_interpolated(log(tpot_s), [(log(at_s), log(factor)) for at_s, factor in factors])), Basis.MEASURED


def _interpolated(x: float, known: list[tuple[float, float]]) -> float:
    """Linear between the two of the ascending points that `x` lies between."""
    (left, low), (right, high) = next(pair for pair in pairwise(known) if pair[0][0] <= x <= pair[1][0])
    return low + (high - low) * (x - left) / (right - left)


def _factor(device: DeviceProfile, model: ModelProfile, point: MeasuredPoint) -> float | None:
    """Rent cancels out: all configurations of one device pay the same for a chip."""
    predicted = cheapest(device, model, point.workload, point.promise, Rent(1.0, "any"))
    if isinstance(predicted, NoOffer):
        return None
    return point.tokens_per_chip_s / (predicted.requests_per_chip_s * point.workload.output_tokens)


def corrected(offer: Offer, model: ModelProfile, promise: Promise) -> Offer:
    """An offer at the throughput that measurements of its device and model suggest; unchanged where there are none."""
    found = correction(offer.device, model, promise)
    return offer if found is None else offer.faster(*found)
