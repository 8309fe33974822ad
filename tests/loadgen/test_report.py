"""The report's arithmetic, by hand."""

import json
import math

import pytest

from devices.profile import DeviceProfile, Nature
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Phase, Pool, Worker
from loadgen.flows import pool_name
from loadgen.gaps import Gaps
from loadgen.report import Run, report
from loadgen.result import Result
from loadgen.spread import spread
from policies.api import Slo
from router.ledger import Outcome

BOTH = frozenset(Phase)


class Flat:
    """Every step takes a second."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return 1.0

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return 1.0

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 1.0


def device(power_w: float, vendor: str = "nvidia") -> DeviceProfile:
    return DeviceProfile(
        "d", vendor, "f", Nature.HBM, "ga", {}, 1, 0, 1, 1, 1, 0, 0, 0, (), (), 8, 8, 1.0, power_w, "published", {}
    )


def pool(name: str, billing: Billing, chip: DeviceProfile | None = None, chips: int = 1) -> Pool:
    return Pool(name, "m", BOTH, "vllm", billing, Flat(), Limits(100, 8, False, 8, 100), device=chip, chips=chips)


GPU = pool("gpu", Billing(BillingKind.ON_DEMAND, 3.60), device(500), chips=2)
CLOUD = pool("cloud", Billing(BillingKind.METERED, price=ApiPrice(1, 2)))
FLEET = (Worker("gpu-0", GPU, ""), Worker("gpu-1", GPU, ""), Worker("cloud-0", CLOUD, ""))


def done(**changes: object) -> Result:
    values: dict[str, object] = {
        "arrival_s": 0.0,
        "outcome": Outcome.COMPLETED,
        "traffic_class": "chat",
        "slo": Slo(ttft_s=1.0, tpot_s=0.1, e2e_s=10.0),
        "ttft_s": 0.5,
        "e2e_s": 1.4,
        "prompt_tokens": 100,
        "output_tokens": 10,
        "prefill": "gpu-0",
        "decode": "gpu-0",
    }
    return Result(**(values | changes))  # type: ignore[arg-type]


def reported(*results: Result, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {"offered_s": 50.0, "duration_s": 100.0, "workers": FLEET}
    return report(Run("p", results, Gaps(), **(values | changes)))  # type: ignore[arg-type]


def test_tpot_is_the_time_after_the_first_token_over_the_gaps() -> None:
    assert done().tpot_s == pytest.approx(0.1)
    assert done(output_tokens=1).tpot_s is None
    assert done(outcome=Outcome.FAILED).tpot_s is None


@pytest.mark.parametrize(
    ("changes", "attained"),
    [
        ({}, True),
        ({"ttft_s": 1.0, "e2e_s": 1.9}, True),
        ({"ttft_s": 1.01, "e2e_s": 1.9}, False),
        ({"e2e_s": 1.5}, False),  # TPOT 0.111
        ({"output_tokens": 1, "e2e_s": 9.0}, True),  # one token has no TPOT
        ({"output_tokens": 1, "e2e_s": 10.1}, False),
        ({"slo": Slo(), "ttft_s": 99.0, "e2e_s": 999.0}, True),
        ({"ttft_s": None}, False),
        ({"outcome": Outcome.COMPLETED_AFTER_RETRY}, True),
        ({"outcome": Outcome.FAILED}, False),
        ({"outcome": Outcome.REJECTED, "slo": Slo()}, False),
        ({"outcome": Outcome.DRAINED, "slo": Slo()}, False),
    ],
)
def test_a_request_attains_when_every_limit_set_for_it_is_met(changes: dict[str, object], attained: bool) -> None:
    assert done(**changes).attained is attained


def test_rejected_and_failed_are_misses_and_clients_that_left_do_not_count() -> None:
    made = reported(
        done(),
        done(outcome=Outcome.REJECTED),
        done(outcome=Outcome.FAILED),
        done(outcome=Outcome.CLIENT_CANCELLED),
        done(),
    )
    assert made["slo_attainment"] == 0.5
    assert [made[name] for name in ("requests", "completed", "rejected", "failed", "cancelled")] == [5, 2, 1, 1, 1]
    assert made["goodput_rps"] == 0.02
    assert made["offered_rps"] == 0.1


def test_usd_is_the_rent_of_the_whole_fleet_and_the_charges_of_apis() -> None:
    made = reported(done(), done(prefill="cloud-0", decode="cloud-0", prompt_tokens=230_000, ttft_s=2.0))
    # two workers of two chips at 3.60 USD/h for 100 s = 0.40 USD; 230,000 tokens in at 1 and 10 out at 2 USD per M;
    # 10 good tokens, for the other request missed its promise
    assert made["usd"] == {"rent": 0.4, "api": 0.23002, "total": 0.63002}
    assert made["usd_per_mtok_good"] == pytest.approx(63_002)
    assert made["joules"] == 2 * 2 * 500 * 100


def test_without_a_good_token_there_is_no_price_per_good_token() -> None:
    assert reported(done(ttft_s=5.0))["usd_per_mtok_good"] is None
    assert reported()["slo_attainment"] is None


def test_a_split_request_counts_in_both_pools() -> None:
    made = reported(done(decode="cloud-0"), done())
    pools = made["by_pool"]
    assert isinstance(pools, dict)
    gpu, cloud = pools["gpu"], pools["cloud"]
    assert (gpu["prefill_requests"], gpu["decode_requests"], gpu["handed_over"], gpu["taken_over"]) == (2, 1, 1, 0)
    assert (cloud["prefill_requests"], cloud["decode_requests"], cloud["taken_over"]) == (0, 1, 1)
    assert (gpu["prompt_tokens"], gpu["output_tokens"], cloud["output_tokens"]) == (200, 10, 10)


def test_vendor_share_is_of_tokens_where_they_were_worked_on() -> None:
    made = reported(done(decode="cloud-0", prompt_tokens=30, output_tokens=10))
    assert made["vendor_share"] == {"cloud": 0.25, "nvidia": 0.75}


def test_a_rejected_request_adds_no_tokens_and_no_pool() -> None:
    made = reported(done(outcome=Outcome.REJECTED, prefill="", decode=""))
    assert made["prompt_tokens"] == 0
    assert list(made["by_pool"]) == ["cloud", "gpu"]  # type: ignore[call-overload]


def test_classes_are_reported_apart_and_sorted() -> None:
    made = reported(done(traffic_class="b", ttft_s=3.0, e2e_s=3.1), done(traffic_class="a"))
    classes = made["by_class"]
    assert isinstance(classes, dict)
    assert list(classes) == ["a", "b"]
    assert [classes[name]["slo_attainment"] for name in "ab"] == [1.0, 0.0]
    assert classes["a"]["good_tokens"] == 10


def test_an_unknown_fleet_is_named_by_what_workers_call_themselves() -> None:
    made = reported(done(prefill="h200-3", decode="lpu"), done(prefill="", decode=""), workers=())
    assert list(made["by_pool"]) == ["h200", "lpu", "unknown"]  # type: ignore[call-overload]
    assert made["usd"] == {"rent": 0.0, "api": 0.0, "total": 0.0}
    assert pool_name("odd-name", {}) == "odd-name"


def test_the_keys_are_those_of_the_contract_in_order() -> None:
    expected = [
        *("policy", "requests", "completed", "rejected", "failed", "cancelled", "duration_s", "offered_rps"),
        *("goodput_rps", "slo_attainment", "ttft_s", "tpot_s", "itl_s", "e2e_s", "prompt_tokens", "output_tokens"),
        *("prefix_hit_tokens", "joules", "usd", "usd_per_mtok_good", "by_class", "by_pool", "vendor_share", "bound"),
    ]
    assert list(reported(done())) == expected
    assert list(reported(done(), cpu_s=0.5)) == [*expected, "timing"]
    assert reported(done(), cpu_s=0.5)["timing"] == {"cpu_s": 0.5, "requests_per_cpu_s": 2.0}


def test_the_report_is_plain_json() -> None:
    made = reported(done(), done(outcome=Outcome.FAILED, ttft_s=None))
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_quantiles_are_values_that_occurred() -> None:
    assert spread([3.0, 1.0, 2.0, 4.0]) == {"mean": 2.5, "p50": 2.0, "p90": 4.0, "p99": 4.0}
    assert spread([]) == {"mean": None, "p50": None, "p90": None, "p99": None}


def test_gaps_weigh_by_the_tokens_that_had_them() -> None:
    gaps = Gaps()
    gaps.add(0.010, 90)
    gaps.add(0.100, 9)
    gaps.add(1.000)
    assert gaps.spread() == {"mean": 0.028, "p50": 0.01, "p90": 0.01, "p99": 0.1}
