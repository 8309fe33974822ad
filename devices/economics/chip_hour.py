"""What an hour of a chip costs whoever owns it: capital over its life, a place to stand, power."""

from __future__ import annotations

from dataclasses import dataclass, field

HOURS_PER_YEAR = 8760
HOURS_PER_MONTH = 730
SECONDS_PER_YEAR = HOURS_PER_YEAR * 3600


@dataclass(frozen=True, slots=True)
class Site:
    """Where chips stand.

    Attributes:
        pue: watts at the meter for each watt of equipment; 1 where the chips' kW already hold their share of cooling.
        power_kw: all the site can draw, None where that is no limit.
    """

    colocation_usd_per_kw_month: float
    usd_per_kwh: float
    pue: float = 1.0
    power_kw: float | None = None

    @property
    def usd_per_kw_hour(self) -> float:
        """One kW of equipment for an hour: its rack space and its electricity."""
        return self.colocation_usd_per_kw_month / HOURS_PER_MONTH + self.usd_per_kwh * self.pue

    def chips_powered(self, allin_kw: float) -> int | None:
        """Chips the site has power for; None where power is no limit."""
        return None if self.power_kw is None else int(self.power_kw / (allin_kw * self.pue) + 1e-9)


@dataclass(frozen=True, slots=True)
class OwnedChip:
    """One chip with its share of server, network and cooling.

    Attributes:
        levy: on the capital, as a fraction of it (an import duty, or a state's share of the sale passed on).
        allin_kw: drawn by the chip and its share of everything around it.
    """

    capex_usd: float
    life_years: float
    allin_kw: float
    levy: float = 0.0

    @property
    def depreciation_usd_per_hour(self) -> float:
        """Straight line over the life, levy included."""
        return self.capex_usd * (1 + self.levy) / (self.life_years * HOURS_PER_YEAR)


@dataclass(frozen=True, slots=True)
class ChipHour:
    """Cost of an hour of one chip, in its parts. `usd` is what an hour that does work has to bear."""

    depreciation_usd: float
    hosting_usd: float
    power_usd: float
    utilisation: float = field(default=1.0)

    @property
    def standing_usd(self) -> float:
        """Of an hour, busy or not."""
        return self.depreciation_usd + self.hosting_usd + self.power_usd

    @property
    def usd(self) -> float:
        return self.standing_usd / self.utilisation


def chip_hour(chip: OwnedChip, site: Site, utilisation: float = 1.0) -> ChipHour:
    """The cost of owning: capital, colocation, electricity. Idle hours draw power too, so all of it is divided."""
    return ChipHour(
        depreciation_usd=chip.depreciation_usd_per_hour,
        hosting_usd=chip.allin_kw * site.colocation_usd_per_kw_month / HOURS_PER_MONTH,
        power_usd=chip.allin_kw * site.usd_per_kwh * site.pue,
        utilisation=utilisation,
    )


def chip_hour_usd(chip: OwnedChip, site: Site, utilisation: float = 1.0, target_return: float = 0.0) -> float:
    """What an hour of work must fetch to earn `target_return` on its cost."""
    return chip_hour(chip, site, utilisation).usd * (1 + target_return)


def implied_allin_kw(usd_per_chip_hour: float, depreciation_usd_per_hour: float, site: Site) -> float:
    """The draw that explains a stated cost of an hour, its capital known."""
    return (usd_per_chip_hour - depreciation_usd_per_hour) / site.usd_per_kw_hour


def deal_usd_per_chip_hour(total_usd: float, chips: int, years: float) -> float:
    """The rent behind a contract for so many chips over so many years."""
    return total_usd / (chips * years * HOURS_PER_YEAR)


def tokens_per_s(tokens_per_year: float) -> float:
    """The steady rate behind a yearly volume."""
    return tokens_per_year / SECONDS_PER_YEAR
