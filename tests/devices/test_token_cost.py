import pytest

from devices.economics.margins import Layer, Markup
from devices.economics.operating_point import Bound, OperatingPoint, Workload
from devices.economics.token_cost import TokenCost, layer_prices, profit_usd, token_energy, token_usd
from devices.prices.api_price import Rates

POINT = OperatingPoint(
    batch=10,
    requests_per_s=2.0,
    ttft_s=0.1,
    tpot_s=0.02,
    bound=Bound.TPOT,
    input_s=1e-4,
    cached_s=1e-5,
    output_s=4e-3,
)
REQUEST = Workload(prompt_tokens=2000, output_tokens=100, cached_tokens=1000)
COST = TokenCost(usd_per_m_input=1.0, usd_per_m_cached_input=0.1, usd_per_m_output=4.0)


def test_worker_seconds_at_3_60_dollars_an_hour_are_a_tenth_of_a_cent_each() -> None:
    cost = token_usd(POINT, usd_per_worker_hour=3.60)
    assert cost.usd_per_m_input == pytest.approx(1e-4 * 0.001 * 1e6)
    assert cost.usd_per_m_cached_input == pytest.approx(1e-5 * 0.001 * 1e6)
    assert cost.usd_per_m_output == pytest.approx(4e-3 * 0.001 * 1e6)


def test_half_the_utilisation_doubles_every_price() -> None:
    assert token_usd(POINT, 3.60, utilisation=0.5) == token_usd(POINT, 7.20)


def test_a_request_costs_its_fresh_cached_and_written_tokens() -> None:
    assert COST.request_usd(REQUEST) == pytest.approx((1000 * 1.0 + 1000 * 0.1 + 100 * 4.0) / 1e6)
    assert COST.usd_per_m_written(REQUEST) == pytest.approx(15.0)
    assert COST.usd_per_m_all(REQUEST) == pytest.approx(1500 / 2100)


def test_the_mean_price_of_a_token_moves_with_the_share_of_input() -> None:
    reader, writer = Workload(3000, 100), Workload(100, 3000)
    assert COST.usd_per_m_all(reader) == pytest.approx(3400 / 3100)
    assert COST.usd_per_m_all(writer) == pytest.approx(12_100 / 3100)


def test_a_margin_applies_to_every_kind_of_token() -> None:
    asked = COST.priced(0.5)
    assert (asked.usd_per_m_input, asked.usd_per_m_cached_input, asked.usd_per_m_output) == (2.0, 0.2, 8.0)


def test_token_prices_rise_with_each_layer_as_the_chip_hour_does() -> None:
    bottom, resold = layer_prices(COST, 1.23, [Markup(Layer.IAAS, 0.35), Markup(Layer.RESALE, 0.35)])
    assert bottom[0].price_usd == pytest.approx(1.23 / 0.65)
    assert bottom[1].usd_per_m_output == pytest.approx(4.0 / 0.65)
    assert resold[1].usd_per_m_output == pytest.approx(4.0 / 0.65**2)


def test_energy_is_all_in_power_times_the_seconds_of_a_token() -> None:
    energy = token_energy(POINT, chips=8, allin_kw=1.5, pue=1.2)
    assert energy.joules_per_output == pytest.approx(8 * 1500 * 1.2 * 4e-3)
    assert energy.request_joules(REQUEST) == pytest.approx(14_400 * (1000 * 1e-4 + 1000 * 1e-5 + 100 * 4e-3))


def test_what_a_request_leaves_is_its_charge_less_its_cost() -> None:
    sell = Rates(usd_per_m_input=0.5, usd_per_m_output=2.0, usd_per_m_cached_input=0.05)
    charge = (1000 * 0.5 + 1000 * 0.05 + 100 * 2.0) / 1e6
    assert profit_usd(0.0005, sell, REQUEST) == pytest.approx(charge - 0.0005)
    assert profit_usd(0.001, sell, REQUEST) < 0
