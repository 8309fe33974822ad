import pytest

from devices.catalog import device, model
from devices.feasibility import limits
from devices.natures.remote import RemotePredictor
from devices.profile import Precision
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Link, Phase, Pool, Worker

BOTH = frozenset(Phase)
LIMITS = Limits(kv_tokens=1000, max_seqs=4, hard_slots=False, max_batched_tokens=512, max_context_tokens=1000)


def pool(*, billing: Billing, on_device: bool = True, chips: int = 4) -> Pool:
    h200, shape = device("h200-sxm"), model("llama-3.1-70b")
    return Pool(
        name="p",
        model="m",
        phases=BOTH,
        engine="vllm",
        billing=billing,
        predictor=RemotePredictor(),
        limits=limits(h200, shape, 4, Precision.FP8, Precision.FP16),
        device=h200 if on_device else None,
        chips=chips,
    )


def test_kv_of_8192_tokens_takes_55_2_ms_over_50_gb_per_s() -> None:
    # 0.5 ms + 512 blocks * 2 us + 2,684,354,560 / 50e9
    link = Link(bytes_per_s=50e9, latency_s=0.0005, per_block_s=2e-6)
    assert link.transfer_s(8192, 2_684_354_560) == pytest.approx(0.0552, abs=5e-5)


def test_a_started_block_is_sent_whole() -> None:
    link = Link(bytes_per_s=1e9, per_block_s=1.0, block_size=16)
    assert link.transfer_s(17, 0) == 2.0


def test_two_apis_change_places_between_short_and_long_answers() -> None:
    a, b = ApiPrice(0.59, 0.79), ApiPrice(0.15, 1.00)
    assert (b.usd(1000, 500), a.usd(1000, 500)) == pytest.approx((0.000650, 0.000985))
    assert (a.usd(1000, 6000), b.usd(1000, 6000)) == pytest.approx((0.00533, 0.00615))


def test_cached_input_costs_its_own_price_where_one_is_listed() -> None:
    assert ApiPrice(1.0, 0.0, 0.1).usd(1_000_000, 0, 500_000) == pytest.approx(0.55)
    assert ApiPrice(1.0, 0.0).usd(1_000_000, 0, 500_000) == pytest.approx(1.0)


def test_rent_counts_every_chip_of_a_worker() -> None:
    assert pool(billing=Billing(BillingKind.ON_DEMAND, 1.60)).usd_per_s == pytest.approx(4 * 1.60 / 3600)


def test_a_metered_api_has_no_rent_and_is_its_own_vendor() -> None:
    api = pool(billing=Billing(BillingKind.METERED, price=ApiPrice(1, 1)), on_device=False, chips=1)
    assert api.usd_per_s == 0
    assert api.vendor == "p"
    assert pool(billing=Billing(BillingKind.SPOT)).vendor == "nvidia"


def test_a_worker_serves_the_phases_of_its_pool_unless_told_otherwise() -> None:
    home = pool(billing=Billing(BillingKind.SPOT))
    assert Worker("a", home, "").phases == BOTH
    decoder = Worker("b", home, "", frozenset({Phase.DECODE}))
    assert decoder.serves(Phase.DECODE)
    assert not decoder.serves(Phase.PREFILL)


def test_workers_and_pools_are_told_apart_by_identity() -> None:
    home = pool(billing=Billing(BillingKind.SPOT))
    assert len({Worker("a", home, ""), Worker("a", home, "")}) == 2
