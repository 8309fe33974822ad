import pytest

from devices.catalog import api_price
from devices.packaged import read
from devices.prices.api_price import ApiPrice, Rates, ServiceTier

MONDAY_NOON, SUNDAY_NOON = 12.0, 156.0


def test_cached_input_at_groq_is_half_of_input() -> None:
    price = api_price("groq", "openai/gpt-oss-120b")
    assert price.usd(1_000_000, 1_000_000) == pytest.approx(0.15 + 0.60)
    assert price.usd(1_000_000, 0, cached_tokens=1_000_000) == pytest.approx(0.075)


def test_batch_and_flex_are_half_of_standard_and_priority_is_dearer() -> None:
    price = api_price("bedrock_converse", "openai.gpt-oss-120b-1:0")
    assert price.rates(tier=ServiceTier.STANDARD) is price
    batch = price.rates(tier=ServiceTier.BATCH)
    assert batch.charge_usd(1_000_000, 1_000_000) == pytest.approx(0.075 + 0.30)
    assert price.rates(tier=ServiceTier.FLEX) == batch
    assert price.rates(tier=ServiceTier.PRIORITY).usd_per_m_input > price.usd_per_m_input


def test_a_tier_that_is_not_offered_is_an_error() -> None:
    with pytest.raises(KeyError):
        ApiPrice(1.0, 2.0).rates(tier=ServiceTier.FLEX)


def test_a_prompt_beyond_a_step_is_billed_at_its_rates_from_the_first_token() -> None:
    price = api_price("dashscope", "qwen3-coder-plus")
    assert price.usd(32_000, 1000) == pytest.approx((32_000 * 1.0 + 1000 * 5.0) / 1e6)
    assert price.usd(32_001, 1000) == pytest.approx((32_001 * 1.8 + 1000 * 9.0) / 1e6)
    assert price.usd(300_000, 1000) == pytest.approx((300_000 * 6.0 + 1000 * 60.0) / 1e6)


def test_deepseek_costs_half_outside_its_peak_hours() -> None:
    price = api_price("deepseek", "deepseek-v4-pro")
    # 01:00-04:00 and 06:00-10:00 UTC on working days are peak
    assert price.rates(week_hour=2.0) == price.rates() == price
    assert price.rates(week_hour=MONDAY_NOON).usd_per_m_output == pytest.approx(1.98)
    assert price.rates(week_hour=SUNDAY_NOON).usd_per_m_output == pytest.approx(1.98)
    assert price.off_peak is not None
    assert price.off_peak.share == pytest.approx((5 * 17 + 48) / 168)


def test_what_a_provider_accepts_is_part_of_its_price() -> None:
    price = api_price("groq", "openai/gpt-oss-120b")
    assert price.max_input_tokens == 131072


def test_a_catalogue_id_finds_the_providers_own_name() -> None:
    assert api_price("groq", "gpt-oss-120b") == api_price("groq", "openai/gpt-oss-120b")
    assert api_price("nebius", "qwen3-32b") == api_price("nebius", "Qwen/Qwen3-32B")


def test_every_listed_price_is_a_price() -> None:
    listed = read("prices.yaml")
    rows = [entry for models in listed["providers"].values() for entry in models.values()]
    assert len(rows) == 395
    for entry in rows:
        price = ApiPrice.listed(entry)
        every: list[Rates] = [price, *price.tiers.values(), *(rates for _, rates in price.steps)]
        assert all(min(rates.usd_per_m_input, rates.usd_per_m_output) >= 0 for rates in every)
        assert [tokens for tokens, _ in price.steps] == sorted(tokens for tokens, _ in price.steps)


def test_every_alias_leads_to_a_price() -> None:
    listed = read("prices.yaml")
    for provider, aliases in listed["aliases"].items():
        for name in aliases:
            assert api_price(provider, name).usd(1000, 1000) > 0


def test_the_same_weights_cost_up_to_ten_times_as_much_elsewhere() -> None:
    sold = [
        api_price(provider, "gpt-oss-120b").usd_per_m_input
        for provider in ("groq", "cerebras", "together_ai", "deepinfra", "novita")
    ]
    assert max(sold) / min(sold) == pytest.approx(0.35 / 0.037, rel=0.01)
