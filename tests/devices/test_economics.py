import pytest

from devices.economics.chip_hour import (
    OwnedChip,
    Site,
    chip_hour,
    chip_hour_usd,
    deal_usd_per_chip_hour,
    implied_allin_kw,
    tokens_per_s,
)
from devices.economics.cost_figures import figures, site
from devices.economics.margins import price_usd

SITE = Site(colocation_usd_per_kw_month=110, usd_per_kwh=0.087)
SERVER_USD = 246_391


def h200(*, allin_kw: float = 1.47, levy: float = 0.0) -> OwnedChip:
    return OwnedChip(SERVER_USD / 8, life_years=4, allin_kw=allin_kw, levy=levy)


def test_an_eighth_of_a_246391_dollar_server_over_4_years_is_0_879_an_hour() -> None:
    assert h200().capex_usd == pytest.approx(30_799, abs=1)
    assert h200().depreciation_usd_per_hour == pytest.approx(0.879, abs=5e-4)


def test_1_23_an_hour_all_in_implies_1_47_kw() -> None:
    # (1.23 - 0.88) / (110 / 730 + 0.087), with the depreciation as stated
    assert implied_allin_kw(1.23, 0.88, SITE) == pytest.approx(1.47, abs=5e-3)
    assert chip_hour_usd(h200(), SITE) == pytest.approx(1.23, abs=5e-3)


def test_the_parts_of_an_hour_add_up() -> None:
    hour = chip_hour(h200(), SITE)
    assert (hour.depreciation_usd, hour.hosting_usd, hour.power_usd) == pytest.approx((0.879, 0.2215, 0.1279), abs=5e-4)
    assert hour.usd == hour.standing_usd == pytest.approx(1.2284, abs=5e-4)


def test_a_levy_of_25_percent_on_the_capital_makes_1_45_and_2_23_at_35_percent_margin() -> None:
    # 1.25 x 0.879 + 0.351
    assert chip_hour_usd(h200(levy=0.25), SITE) == pytest.approx(1.45, abs=5e-3)
    assert price_usd(chip_hour_usd(h200(levy=0.25), SITE), 0.35) == pytest.approx(2.23, abs=5e-3)


def test_half_the_utilisation_is_twice_the_cost_of_an_hour_of_work() -> None:
    assert chip_hour(h200(), SITE, utilisation=0.5).usd == pytest.approx(2 * chip_hour_usd(h200(), SITE))


@pytest.mark.parametrize(("target_return", "usd"), [(0.20, 1.474), (0.35, 1.658), (0.40, 1.720)])
def test_a_target_return_is_earned_on_the_cost(target_return: float, usd: float) -> None:
    assert chip_hour_usd(h200(), SITE, target_return=target_return) == pytest.approx(usd, abs=1e-3)


def test_pue_multiplies_electricity_and_not_rack_space() -> None:
    warm = Site(colocation_usd_per_kw_month=110, usd_per_kwh=0.087, pue=1.3)
    assert chip_hour(h200(), warm).hosting_usd == chip_hour(h200(), SITE).hosting_usd
    assert chip_hour(h200(), warm).power_usd == pytest.approx(1.3 * chip_hour(h200(), SITE).power_usd)
    assert warm.usd_per_kw_hour == pytest.approx(110 / 730 + 0.087 * 1.3)


def test_contracts_imply_a_rent() -> None:
    assert deal_usd_per_chip_hour(1e6, chips=64, years=1) == pytest.approx(1.78, abs=5e-3)
    assert deal_usd_per_chip_hour(500e6, chips=8000, years=3) == pytest.approx(2.38, abs=5e-3)


@pytest.mark.parametrize(
    ("power_mw", "chips", "allin_kw"), [(19, 25_000, 0.76), (300, 150_000, 2.0), (300, 160_000, 1.875)]
)
def test_a_sites_power_bounds_its_chips(power_mw: float, chips: int, allin_kw: float) -> None:
    powered = Site(110, 0.087, power_kw=power_mw * 1000)
    assert powered.power_kw is not None
    assert powered.power_kw / chips == pytest.approx(allin_kw)
    assert powered.chips_powered(allin_kw) == chips


def test_a_site_without_a_limit_powers_any_number() -> None:
    assert SITE.chips_powered(2.0) is None


def test_a_trillion_tokens_a_year_is_31_7_thousand_a_second() -> None:
    assert tokens_per_s(1e12) == pytest.approx(31_700, abs=50)


def test_the_catalogues_site_is_the_neocloud_of_the_seeds() -> None:
    assert site() == SITE
    assert figures()["ownership"]["neocloud_margin"]["value"] == 0.35
