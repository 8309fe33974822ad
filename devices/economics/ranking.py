"""Which devices keep a promise, the cheapest first, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from devices.economics.cheapest import NoOffer, Offer, cheapest
from devices.economics.measured_points import corrected
from devices.economics.operating_point import Promise, Workload
from devices.economics.rents import RentKind, rent
from devices.profile import DeviceProfile, ModelProfile


@dataclass(frozen=True, slots=True)
class Ranking:
    """Offers by USD per request, ascending, and devices without one."""

    offers: tuple[Offer, ...]
    without: tuple[NoOffer, ...]


def ranking(
    devices: Iterable[DeviceProfile],
    model: ModelProfile,
    workload: Workload,
    promise: Promise,
    kind: RentKind = RentKind.RENTAL,
    min_bits: int = 4,
    utilisation: float = 1.0,
    measured: bool = True,
    projected: bool = False,
) -> Ranking:
    """Every device at its best; one that cannot be placed, or that nobody names a price of, makes no offer.

    With `measured`, predictions are scaled to what the same device and model reached in benchmarks, where they did.
    Without `projected`, neither does a device that nobody has published a measurement of.
    """
    found = [
        NoOffer(device, "no public measurement: its figures are projections")
        if device.placeable and device.projected and not projected
        else _offer(device, model, workload, promise, kind, min_bits, utilisation)
        for device in devices
    ]
    offers = [made for made in found if isinstance(made, Offer)]
    if measured:
        offers = [corrected(offer, model, promise) for offer in offers]
    return Ranking(
        tuple(sorted(offers, key=lambda offer: offer.cost.request_usd(workload))),
        tuple(made for made in found if isinstance(made, NoOffer)),
    )


def _offer(
    device: DeviceProfile,
    model: ModelProfile,
    workload: Workload,
    promise: Promise,
    kind: RentKind,
    min_bits: int,
    utilisation: float,
) -> Offer | NoOffer:
    if not device.placeable:
        return NoOffer(device, device.why_not)
    paid = rent(device, kind)
    if paid is None:
        return NoOffer(device, "nobody publishes what it costs")
    return cheapest(device, model, workload, promise, paid, min_bits, utilisation)
