"""Money in other currencies, at a rate with a date and a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """Units of a currency that one US dollar bought on a day."""

    currency: str
    per_usd: float
    on: date
    source: str


class NoRate(LookupError):
    """No rate for that currency at that time; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Dated rates. A sum is converted at the last rate that is not later than its own date."""

    rates: tuple[ExchangeRate, ...]

    @classmethod
    def listed(cls, entries: Mapping[str, Any]) -> Exchange:
        """From the `currencies` of the catalogue's economics."""
        return cls(
            tuple(
                ExchangeRate(currency, float(rate["per_usd"]), rate["date"], rate["source"])
                for currency, rates in entries.items()
                for rate in rates
            )
        )

    def rate(self, currency: str, on: date) -> ExchangeRate:
        """The one in force on a day; raises `NoRate`."""
        mine = [rate for rate in self.rates if rate.currency == currency]
        past = [rate for rate in mine if rate.on <= on]
        if not past:
            held = ", ".join(f"{rate.currency} {rate.on}" for rate in mine or self.rates)
            raise NoRate(f"no rate for {currency} on or before {on}; there are: {held}")
        return max(past, key=lambda rate: rate.on)

    def usd(self, amount: float, currency: str, on: date) -> float:
        """An amount in US dollars. USD needs no rate."""
        return amount if currency == "USD" else amount / self.rate(currency, on).per_usd
