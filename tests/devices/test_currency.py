from datetime import date

import pytest

from devices.economics.cost_figures import exchange
from devices.prices.currency import NoRate


def test_an_amount_is_converted_at_the_last_rate_of_its_day_or_before() -> None:
    rates = exchange()
    assert rates.usd(100_000, "CNY", date(2024, 5, 24)) == pytest.approx(14_075, abs=1)  # 7.1049 on 2023-12-29
    assert rates.usd(100_000, "CNY", date(2025, 2, 1)) == pytest.approx(13_700, abs=1)  # 7.2994 on 2024-12-31
    assert rates.rate("CNY", date(2024, 12, 31)).per_usd == 7.2994


def test_dollars_need_no_rate() -> None:
    assert exchange().usd(5.0, "USD", date(1900, 1, 1)) == 5.0


def test_a_sum_older_than_every_rate_is_refused_with_the_rates_there_are() -> None:
    with pytest.raises(NoRate, match=r"no rate for CNY on or before 2020-01-01; there are: CNY 2023-12-29, CNY 2024"):
        exchange().usd(1.0, "CNY", date(2020, 1, 1))


def test_an_unknown_currency_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NoRate, match=r"no rate for XYZ .*EUR"):
        exchange().rate("XYZ", date(2026, 1, 1))


def test_every_rate_has_a_date_and_a_source() -> None:
    assert all(rate.source and rate.on.year >= 2023 for rate in exchange().rates)
