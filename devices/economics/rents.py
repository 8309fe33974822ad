"""What an hour of a chip costs whoever uses it, by how they come to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import sqrt

from devices import catalog
from devices.economics.chip_hour import chip_hour_usd
from devices.economics.cost_figures import figures, owned_chip, site
from devices.economics.margins import price_usd
from devices.profile import DeviceProfile


class RentKind(Enum):
    """Which of a chip's published prices counts."""

    RENTAL = "rental"
    """A contract over years: the catalogue's default rent."""
    TCO = "tco"
    """What it costs its owner, without margin."""
    ON_DEMAND = "on-demand"
    """By the hour: the geometric mean of the range seen."""


@dataclass(frozen=True, slots=True)
class Rent:
    """USD of one chip for an hour, and where that comes from, since not every chip has every kind of price."""

    usd_per_chip_hour: float
    basis: str


def rent(device: DeviceProfile, kind: RentKind) -> Rent | None:
    """The rent of that kind; where there is none, the next best one, named in `basis`. None where nothing is known."""
    for known in _ORDER[kind]:
        found = _RENTS[known](device)
        if found is not None:
            return _converted(found, known, kind)
    return _prior(device, kind)


def _converted(found: Rent, known: RentKind, wanted: RentKind) -> Rent:
    """Between an owner's cost and a rent lies the owner's margin: the catalogue's figure for a neocloud."""
    margin: float = figures()["ownership"]["neocloud_margin"]["value"]
    if known is RentKind.TCO and wanted is not RentKind.TCO:
        return Rent(price_usd(found.usd_per_chip_hour, margin), f"{found.basis} + {margin:.0%} margin")
    if wanted is RentKind.TCO and known is not RentKind.TCO:
        return Rent(found.usd_per_chip_hour * (1 - margin), f"{found.basis} - {margin:.0%} margin")
    return found


def _rental(device: DeviceProfile) -> Rent | None:
    usd = device.usd_per_chip_hour
    if usd is None or usd in (device.usd_on_demand_low, device.usd_on_demand_high):
        return None
    return Rent(usd, "rental")


def _tco(device: DeviceProfile) -> Rent | None:
    """Published totals first, then our own books."""
    if device.usd_tco_neocloud is not None:
        return Rent(device.usd_tco_neocloud, "tco neocloud")
    if device.usd_tco_hyperscaler is not None:
        return Rent(device.usd_tco_hyperscaler, "tco hyperscaler")
    owned = owned_chip(device)
    return Rent(chip_hour_usd(owned, site()), "tco computed") if owned else None


def _on_demand(device: DeviceProfile) -> Rent | None:
    low, high = device.usd_on_demand_low, device.usd_on_demand_high
    if low is None or high is None:
        return None
    return Rent(sqrt(low * high), "on-demand" if low == high else f"on-demand {low:g}-{high:g}")


def _prior(device: DeviceProfile, kind: RentKind) -> Rent | None:
    """From the rent of a chip like it, where the catalogue names one."""
    prior = figures()["priors"].get(device.id)
    known = rent(catalog.device(prior["like"]), kind) if prior else None
    if known is None:
        return None
    like = catalog.device(prior["like"])
    if "price_ratio" in prior:
        return Rent(known.usd_per_chip_hour * prior["price_ratio"], f"prior: {prior['price_ratio']:g} x {like.id}")
    gain: float = prior["performance_per_usd"]
    usd = known.usd_per_chip_hour * relative_performance(device, like) / gain
    return Rent(usd, f"claim: {gain:g} x the work per USD of {like.id}")


def relative_performance(device: DeviceProfile, other: DeviceProfile) -> float:
    """Of unmeasured chips: the geometric mean of their ratios of peak (narrowest format) and bandwidth."""
    peaks = max(device.flops_per_s.values()) / max(other.flops_per_s.values())
    return sqrt(peaks * device.bandwidth_bytes_per_s / other.bandwidth_bytes_per_s)


_RENTS = {RentKind.RENTAL: _rental, RentKind.TCO: _tco, RentKind.ON_DEMAND: _on_demand}
_ORDER = {
    RentKind.RENTAL: (RentKind.RENTAL, RentKind.ON_DEMAND, RentKind.TCO),
    RentKind.TCO: (RentKind.TCO, RentKind.RENTAL, RentKind.ON_DEMAND),
    RentKind.ON_DEMAND: (RentKind.ON_DEMAND, RentKind.RENTAL, RentKind.TCO),
}
