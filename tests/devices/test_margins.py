import pytest

from devices.economics.margins import (
    Layer,
    Markup,
    gross_margin,
    margin_of_multiple,
    margin_of_return,
    markups,
    price_usd,
    sales,
)


def test_a_neocloud_that_sells_at_1_90_what_costs_1_23_keeps_35_percent() -> None:
    assert gross_margin(1.23, 1.90) == pytest.approx(0.353, abs=5e-4)
    assert price_usd(1.23, 0.35) == pytest.approx(1.89, abs=5e-3)


def test_resale_of_rented_capacity_at_35_percent_turns_1_90_into_2_92() -> None:
    [sale] = sales(1.90, [Markup(Layer.RESALE, 0.35)])
    assert sale.price_usd == pytest.approx(2.92, abs=5e-3)
    assert sale.profit_usd == pytest.approx(1.02, abs=5e-3)
    assert sale.margin == pytest.approx(0.35)


def test_each_layer_pays_the_price_of_the_one_below_and_its_own_cost() -> None:
    stack = sales(
        1.0,
        [
            Markup(Layer.CHIP, 0.75),
            Markup(Layer.IAAS, 0.35),
            Markup(Layer.PAAS, 0.2, added_usd=0.5),
            Markup(Layer.MODEL, 0.5),
            Markup(Layer.APPLICATION, 0.55),
        ],
    )
    assert [sale.price_usd for sale in stack] == pytest.approx([4.0, 6.1538, 8.3173, 16.6346, 36.9658], rel=1e-4)
    assert stack[2].cost_usd == pytest.approx(stack[1].price_usd + 0.5)


def test_a_merchant_chip_at_four_times_its_cost_keeps_75_percent() -> None:
    assert margin_of_multiple(4) == pytest.approx(0.75)
    assert price_usd(1.0, margin_of_multiple(4)) == pytest.approx(4.0)


@pytest.mark.parametrize(("target_return", "margin"), [(0.20, 0.1667), (0.35, 0.2593), (0.40, 0.2857)])
def test_a_return_on_cost_is_a_smaller_margin_on_price(target_return: float, margin: float) -> None:
    assert margin_of_return(target_return) == pytest.approx(margin, abs=1e-4)
    assert price_usd(1.0, margin_of_return(target_return)) == pytest.approx(1 + target_return)


@pytest.mark.parametrize(("margin", "multiple"), [(0.50, 2.0), (0.60, 2.5)])
def test_an_application_on_bought_tokens_at_50_to_60_percent_sells_them_at_2_to_2_5_times_their_price(
    margin: float, multiple: float
) -> None:
    [sale] = sales(1.0, [Markup(Layer.APPLICATION, margin)])
    assert sale.price_usd == pytest.approx(multiple)


def test_margins_are_put_in_the_order_of_the_stack() -> None:
    assert [made.layer for made in markups({"model": 0.5, "iaas": 0.35, "resale": 0.35})] == [
        Layer.IAAS,
        Layer.RESALE,
        Layer.MODEL,
    ]


def test_an_unknown_layer_or_an_impossible_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown layer 'saas'; known: chip, iaas, resale"):
        markups({"saas": 0.1})
    with pytest.raises(ValueError, match="margin of iaas: 1 is not a fraction"):
        markups({"iaas": 1.0})
