"""How a pool is paid for, and so which part of its price a decision can still change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from devices.prices.api_price import ApiPrice
from devices.prices.week_hours import WeekHours

HOURS_PER_MONTH = 730


class BillingKind(Enum):
    """Decides what is sunk: committed and on-demand chips are paid while they stand, metered APIs per token."""

    COMMITTED = "committed"
    ON_DEMAND = "on_demand"
    SPOT = "spot"
    METERED = "metered"


@dataclass(frozen=True, slots=True)
class Billing:
    """How a pool is paid for. `price` is set exactly when `kind` is METERED.

    Attributes:
        usd_minimum_per_month: of a metered API: owed even if less is used.
        minimum_s: of on-demand and spot chips: least time paid for once started.
        interruptions_per_hour, restart_s: of spot chips: how often they are taken away, and the work lost each time.
        off_peak, off_peak_factor: hours at which the rent is multiplied by the factor.
    """

    kind: BillingKind
    usd_per_chip_hour: float = 0.0
    price: ApiPrice | None = None
    usd_minimum_per_month: float = 0.0
    minimum_s: float = 0.0
    interruptions_per_hour: float = 0.0
    restart_s: float = 0.0
    off_peak: WeekHours | None = None
    off_peak_factor: float = 1.0

    def chip_hour_usd(self, week_hour: float | None = None) -> float:
        """Rent of one chip at an hour counted from Monday 00:00 UTC; the mean of the week for None."""
        if self.off_peak is None:
            return self.usd_per_chip_hour
        off_share = self.off_peak.share if week_hour is None else float(week_hour in self.off_peak)
        return self.usd_per_chip_hour * (1 - off_share * (1 - self.off_peak_factor))

    @property
    def useful_chip_hour_usd(self) -> float:
        """Rent of an hour of work that lasts: interruptions waste `restart_s` each. Infinite if nothing ever lasts."""
        lost = self.interruptions_per_hour * self.restart_s / 3600
        return self.chip_hour_usd() / (1 - lost) if lost < 1 else float("inf")


def sunk_usd(billing: Billing, chips: int, held_s: float, ahead_s: float) -> float:
    """What the next `ahead_s` seconds cost whatever is decided now, of chips held for `held_s` seconds so far.

    A commitment is sunk whole. On-demand and spot chips are sunk until their minimum is over. Of an API its minimum is.
    """
    if billing.kind is BillingKind.METERED:
        return billing.usd_minimum_per_month / HOURS_PER_MONTH * ahead_s / 3600
    bound_s = ahead_s
    if billing.kind is not BillingKind.COMMITTED:
        bound_s = min(ahead_s, max(0.0, billing.minimum_s - held_s))
    return billing.chip_hour_usd() * chips * bound_s / 3600


def marginal_usd(billing: Billing, chips: int, held_s: float, ahead_s: float) -> float:
    """What is saved by giving the chips back now instead of in `ahead_s` seconds; 0 for an API, which is never held."""
    if billing.kind is BillingKind.METERED:
        return 0.0
    return billing.chip_hour_usd() * chips * ahead_s / 3600 - sunk_usd(billing, chips, held_s, ahead_s)


def marginal_charge_usd(billing: Billing, charge_usd: float, spent_usd: float) -> float:
    """What one more charge of an API adds to the month's bill, `spent_usd` so far: nothing up to its minimum."""
    minimum = billing.usd_minimum_per_month
    return max(minimum, spent_usd + charge_usd) - max(minimum, spent_usd)
