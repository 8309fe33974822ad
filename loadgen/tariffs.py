"""What a pool costs while its price changes: every second and every request at the price that held then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from devices.prices.api_price import ApiPrice
from devices.worker import Pool
from loadgen.fault_events import PriceChanged


@dataclass(frozen=True, slots=True)
class Tariffs:
    """Changes in order of time; before the first of a pool, its own billing holds."""

    changes: Sequence[PriceChanged] = ()

    def rent_usd(self, pool: Pool, duration_s: float) -> float:
        """Rent of one worker from 0 to `duration_s`."""
        return sum(
            then.usd_per_s * (min(end_s, duration_s) - begin_s)
            for begin_s, end_s, then in self._spans(pool)
            if begin_s < duration_s
        )

    def api_prices(self, pool: Pool) -> Iterator[tuple[float, float, ApiPrice]]:
        """From when on, and up to when, each list price of a metered pool holds; none for a rented one."""
        for begin_s, end_s, then in self._spans(pool):
            if then.billing.price is not None:
                yield begin_s, end_s, then.billing.price

    def _spans(self, pool: Pool) -> Iterator[tuple[float, float, Pool]]:
        begin_s, then = 0.0, pool
        for change in self.changes:
            if change.pool == pool.name:
                yield begin_s, change.at_s, then
                begin_s, then = change.at_s, replace(pool, billing=change.billing)
        yield begin_s, math.inf, then
