import math

import pytest

from devices.prices.billing import Billing, BillingKind, marginal_charge_usd, marginal_usd, sunk_usd
from devices.prices.week_hours import WeekHours

HOUR_S = 3600.0
NIGHT = WeekHours.of(["00:00-12:00"])


def billing(kind: BillingKind, *, minimum_s: float = 0.0, usd_minimum_per_month: float = 0.0) -> Billing:
    return Billing(kind, 2.0, minimum_s=minimum_s, usd_minimum_per_month=usd_minimum_per_month)


def test_a_commitment_is_sunk_whole() -> None:
    committed = billing(BillingKind.COMMITTED)
    assert sunk_usd(committed, 8, 0.0, HOUR_S) == pytest.approx(16.0)
    assert marginal_usd(committed, 8, 0.0, HOUR_S) == 0


@pytest.mark.parametrize("kind", [BillingKind.ON_DEMAND, BillingKind.SPOT])
def test_chips_by_the_hour_can_be_given_back_once_their_minimum_is_over(kind: BillingKind) -> None:
    rented = billing(kind, minimum_s=HOUR_S)
    assert sunk_usd(rented, 8, held_s=0.75 * HOUR_S, ahead_s=HOUR_S) == pytest.approx(4.0)
    assert marginal_usd(rented, 8, held_s=0.75 * HOUR_S, ahead_s=HOUR_S) == pytest.approx(12.0)
    assert sunk_usd(rented, 8, held_s=2 * HOUR_S, ahead_s=HOUR_S) == 0


def test_of_an_api_the_minimum_is_sunk_and_charges_count_only_beyond_it() -> None:
    api = billing(BillingKind.METERED, usd_minimum_per_month=730.0)
    assert sunk_usd(api, 1, 0.0, HOUR_S) == pytest.approx(1.0)
    assert marginal_usd(api, 1, 0.0, HOUR_S) == 0
    assert marginal_charge_usd(api, 10.0, spent_usd=100.0) == 0
    assert marginal_charge_usd(api, 10.0, spent_usd=725.0) == pytest.approx(5.0)
    assert marginal_charge_usd(api, 10.0, spent_usd=800.0) == pytest.approx(10.0)


def test_without_a_minimum_every_charge_counts() -> None:
    assert marginal_charge_usd(billing(BillingKind.METERED), 10.0, spent_usd=0.0) == 10.0


def test_rent_follows_the_hour_of_the_week() -> None:
    cheap_nights = Billing(BillingKind.ON_DEMAND, 2.0, off_peak=NIGHT, off_peak_factor=0.5)
    assert cheap_nights.chip_hour_usd(3.0) == pytest.approx(1.0)
    assert cheap_nights.chip_hour_usd(15.0) == pytest.approx(2.0)
    assert cheap_nights.chip_hour_usd() == pytest.approx(1.5)
    assert Billing(BillingKind.ON_DEMAND, 2.0).chip_hour_usd(3.0) == 2.0


def test_interruptions_make_an_hour_of_lasting_work_dearer() -> None:
    spot = Billing(BillingKind.SPOT, 2.0, interruptions_per_hour=0.5, restart_s=720.0)
    assert spot.useful_chip_hour_usd == pytest.approx(2.0 / 0.9)


def test_work_that_never_outlives_an_interruption_has_no_price() -> None:
    assert Billing(BillingKind.SPOT, 2.0, interruptions_per_hour=10.0, restart_s=720.0).useful_chip_hour_usd == math.inf
