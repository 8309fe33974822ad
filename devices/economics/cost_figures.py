"""The cost model's own figures in the catalogue: sites, chips bought, priors, exchange rates."""

from __future__ import annotations

from typing import Any

from devices.economics.chip_hour import OwnedChip, Site
from devices.packaged import read
from devices.prices.currency import Exchange
from devices.profile import DeviceProfile

FILE = "economics.yaml"


def figures() -> dict[str, Any]:
    """The whole file, each figure beside its source."""
    return read(FILE)


def site(name: str = "neocloud") -> Site:
    """A place for chips; raises `KeyError`."""
    entry = figures()["sites"][name]
    return Site(entry["colocation_usd_per_kw_month"], entry["usd_per_kwh"], entry["pue"])


def exchange() -> Exchange:
    """Every dated rate there is."""
    return Exchange.listed(figures()["currencies"])


def capex_usd(device: DeviceProfile) -> float | None:
    """One chip with its share of a server, at the exchange rate of the day it was said; None if nobody said."""
    bought = figures()["purchases"].get(device.id)
    if bought is None:
        return device.purchase_usd
    chips: int = bought["chips"]
    return exchange().usd(bought["amount"], bought["currency"], bought["date"]) / chips


def allin_kw(device: DeviceProfile) -> float | None:
    """Of one chip with its share of host, network and cooling; from its board power where only that is published."""
    if device.allin_kw is not None:
        return device.allin_kw
    ratio: float = figures()["ownership"]["allin_per_board_kw"]["value"]
    return device.power_w / 1000 * ratio if device.power_w else None


def owned_chip(device: DeviceProfile, levy: float = 0.0) -> OwnedChip | None:
    """The chip as its owner's books have it; None where its price or its power is not known."""
    capex, power_kw = capex_usd(device), allin_kw(device)
    if capex is None or power_kw is None:
        return None
    life_years: float = figures()["ownership"]["life_years"]["value"]
    return OwnedChip(capex, life_years, power_kw, levy)
