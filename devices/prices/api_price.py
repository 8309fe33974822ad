"""What a metered API charges: per million tokens, by service tier, prompt length and hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from devices.prices.week_hours import WeekHours


class ServiceTier(Enum):
    """How soon an API promises to answer, and what it takes for that."""

    STANDARD = "standard"
    BATCH = "batch"
    """Within a day, at about half the price."""
    FLEX = "flex"
    """When there is room: cheap, and refused (HTTP 498 at Groq) where there is none."""
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens.

    Attributes:
        usd_per_m_cached_input: None where none is listed; such input is billed as input.
        usd_per_m_cache_write: added to input by APIs that charge for keeping a prefix; None where keeping is free.
    """

    usd_per_m_input: float
    usd_per_m_output: float
    usd_per_m_cached_input: float | None = None
    usd_per_m_cache_write: float | None = None

    def charge_usd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """Of one request; `cached_tokens` are part of `input_tokens`."""
        cached = self.usd_per_m_input if self.usd_per_m_cached_input is None else self.usd_per_m_cached_input
        fresh = input_tokens - cached_tokens
        return (fresh * self.usd_per_m_input + cached_tokens * cached + output_tokens * self.usd_per_m_output) / 1e6


@dataclass(frozen=True, slots=True)
class ApiPrice(Rates):
    """List price of one model at one provider. Its own rates are those of the standard tier at peak hours.

    Attributes:
        tiers: rates of the other tiers offered.
        steps: (tokens, rates), ascending: a prompt longer than that is billed at these rates, all of it.
        off_peak, off_peak_rates: hours at which the standard tier is cheaper, and how much it is then.
        max_input_tokens, max_output_tokens: what the provider accepts; None where it does not say.
    """

    tiers: Mapping[ServiceTier, Rates] = field(default_factory=dict)
    steps: tuple[tuple[int, Rates], ...] = ()
    off_peak: WeekHours | None = None
    off_peak_rates: Rates | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None

    @classmethod
    def listed(cls, entry: Mapping[str, Any]) -> ApiPrice:
        """From an entry of the price list."""
        off_peak = entry.get("off_peak")
        return cls(
            *_figures(entry),
            tiers={tier: Rates(*_figures(entry[tier.value])) for tier in ServiceTier if tier.value in entry},
            steps=tuple((step["above_tokens"], Rates(*_figures(step))) for step in entry.get("steps", ())),
            off_peak=_hours(off_peak["windows"]) if off_peak else None,
            off_peak_rates=Rates(*_figures(off_peak)) if off_peak else None,
            max_input_tokens=entry.get("max_input_tokens"),
            max_output_tokens=entry.get("max_output_tokens"),
        )

    def usd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """Charge of one request at the standard tier, at peak hours."""
        if self.steps:
            return self.rates(input_tokens).charge_usd(input_tokens, output_tokens, cached_tokens)
        return self.charge_usd(input_tokens, output_tokens, cached_tokens)

    def rates(
        self, input_tokens: float = 0, tier: ServiceTier = ServiceTier.STANDARD, week_hour: float | None = None
    ) -> Rates:
        """What a prompt of that length pays per token. Raises `KeyError` for a tier that is not offered.

        `week_hour` counts from Monday 00:00 UTC; None is a peak hour. Steps come before tiers and hours: no list
        combines them.
        """
        for above_tokens, rates in reversed(self.steps):
            if input_tokens > above_tokens:
                return rates
        if tier is not ServiceTier.STANDARD:
            return self.tiers[tier]
        if self.off_peak and self.off_peak_rates and week_hour is not None and week_hour in self.off_peak:
            return self.off_peak_rates
        return self


def _figures(entry: Mapping[str, Any]) -> tuple[float, float, float | None, float | None]:
    return entry["input"], entry["output"], entry.get("cached_input"), entry.get("cache_write")


def _hours(windows: list[Mapping[str, Any]]) -> WeekHours:
    hours = WeekHours(())
    for window in windows:
        hours |= WeekHours.of(window["hours_utc"], window["weekdays"])
    return hours
