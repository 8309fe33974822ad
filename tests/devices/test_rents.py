from dataclasses import replace

import pytest

from devices.catalog import device
from devices.economics.chip_hour import chip_hour_usd
from devices.economics.cost_figures import allin_kw, capex_usd, figures, owned_chip, site
from devices.economics.rents import RentKind, relative_performance, rent
from devices.profile import DeviceProfile

H200 = device("h200-sxm")


def priced(**figures: float | str | None) -> DeviceProfile:
    """A chip with only these prices, and no entry of its own among the cost figures."""
    bare: dict[str, float | str | None] = {
        "id": "some-chip",
        "usd_per_chip_hour": None,
        "usd_on_demand_low": None,
        "usd_on_demand_high": None,
        "usd_tco_neocloud": None,
        "usd_tco_hyperscaler": None,
        "purchase_usd": None,
    }
    return replace(H200, **(bare | figures))  # type: ignore[arg-type]


def paid(chip: DeviceProfile, kind: RentKind) -> tuple[float, str]:
    found = rent(chip, kind)
    assert found is not None
    return found.usd_per_chip_hour, found.basis


def test_each_kind_takes_its_own_published_price() -> None:
    assert paid(H200, RentKind.RENTAL) == (1.60, "rental")
    assert paid(H200, RentKind.TCO) == (1.74, "tco neocloud")
    assert paid(H200, RentKind.ON_DEMAND) == (pytest.approx((2.5 * 7.0) ** 0.5), "on-demand 2.5-7")


def test_a_price_by_the_hour_is_not_taken_for_a_contract_over_years() -> None:
    assert paid(device("tpu-v6e"), RentKind.RENTAL) == (pytest.approx(2.70), "on-demand")


def test_the_hyperscalers_total_stands_in_for_the_neoclouds() -> None:
    assert paid(priced(usd_tco_hyperscaler=1.41), RentKind.TCO) == (1.41, "tco hyperscaler")


def test_a_chip_with_a_purchase_price_only_is_costed_from_its_books_and_rented_at_a_margin() -> None:
    owned = owned_chip(priced(purchase_usd=30_799.0, allin_kw=1.47))
    assert owned is not None
    chip = priced(purchase_usd=30_799.0, allin_kw=1.47)
    assert paid(chip, RentKind.TCO) == (pytest.approx(1.228, abs=1e-3), "tco computed")
    assert paid(chip, RentKind.RENTAL) == (pytest.approx(1.89, abs=1e-2), "tco computed + 35% margin")


def test_an_owners_cost_is_a_rent_less_the_margin_where_nothing_else_is_known() -> None:
    assert paid(priced(usd_per_chip_hour=2.0), RentKind.TCO) == (pytest.approx(1.3), "rental - 35% margin")


def test_a_tpu_without_a_price_is_taken_at_40_percent_below_a_gpu_of_its_class() -> None:
    chip = priced(id="tpu-v7x")
    b200 = rent(device("b200-sxm"), RentKind.RENTAL)
    assert b200 is not None
    assert paid(chip, RentKind.RENTAL) == (pytest.approx(0.6 * b200.usd_per_chip_hour), "prior: 0.6 x b200-sxm")
    assert 0.5 <= 0.6 <= 0.7  # 30 to 50 % lower


def test_maia_200_is_priced_by_the_claim_of_1_3_times_the_work_for_a_dollar() -> None:
    maia, gb200 = device("maia-200"), device("gb200-nvl72")
    usd, basis = paid(maia, RentKind.RENTAL)
    like, _ = paid(gb200, RentKind.RENTAL)
    assert (relative_performance(maia, gb200) / usd) / (1 / like) == pytest.approx(1.3)
    assert basis == "claim: 1.3 x the work per USD of gb200-nvl72"


def test_nobody_names_a_price_of_some_chips() -> None:
    assert rent(priced(), RentKind.RENTAL) is None


def test_every_prior_leads_to_a_price() -> None:
    for name in figures()["priors"]:
        assert rent(priced(id=name), RentKind.RENTAL) is not None


def test_an_eighth_of_the_h200_server_is_30799_dollars() -> None:
    assert capex_usd(H200) == pytest.approx(246_391 / 8)
    owned = owned_chip(H200, levy=0.25)
    assert owned is not None
    assert owned.depreciation_usd_per_hour == pytest.approx(1.25 * 0.879, abs=1e-3)


def test_an_h20_at_100000_yuan_is_within_its_first_price_in_dollars() -> None:
    capex = capex_usd(device("h20"))
    assert capex is not None
    assert 12_000 <= capex <= 15_000
    assert capex == pytest.approx(100_000 / 7.1049)


def test_all_in_power_is_twice_board_power_where_only_that_is_known() -> None:
    assert allin_kw(H200) == 1.73
    assert allin_kw(priced(allin_kw=None)) == pytest.approx(0.7 * 2.1)
    assert allin_kw(priced(allin_kw=None, power_w=0.0)) is None
    assert owned_chip(priced(allin_kw=None, power_w=0.0, purchase_usd=1000.0)) is None


def test_at_the_published_all_in_power_an_h200_costs_more_than_at_the_power_its_seller_implies() -> None:
    owned = owned_chip(H200)
    assert owned is not None
    assert chip_hour_usd(owned, site()) == pytest.approx(0.879 + 1.73 * (110 / 730 + 0.087), abs=1e-3)
