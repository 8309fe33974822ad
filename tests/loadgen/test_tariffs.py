"""What a report says a run cost while prices changed under way."""

from __future__ import annotations

import pytest
from builders import pool, worker

from devices.worker import ApiPrice, Billing, BillingKind, Worker
from loadgen.fault_events import PriceChanged
from loadgen.gaps import Gaps
from loadgen.report import Json, Run, report
from loadgen.result import Result
from loadgen.tariffs import Tariffs
from router.ledger import Outcome


def rented(at_s: float, usd_per_hour: float, name: str = "gpu") -> PriceChanged:
    return PriceChanged(at_s, name, Billing(BillingKind.ON_DEMAND, usd_per_hour))


def told(workers: list[Worker], changes: list[PriceChanged], results: list[Result]) -> Json:
    return report(Run("p", results, Gaps(), 100.0, 100.0, workers, tariffs=Tariffs(changes)))


def test_rent_is_the_sum_over_the_spans_of_each_price() -> None:
    gpu = pool("gpu", usd_per_hour=36.0)
    workers = [worker("gpu-0", gpu), worker("gpu-1", gpu), worker("b-0", pool("b", usd_per_hour=36.0))]
    made = told(workers, [rented(20, 72.0), rented(50, 0.0), rented(500, 99.0)], [])
    assert made["usd"] == {"rent": pytest.approx(2 * (20 * 0.01 + 30 * 0.02) + 1.0), "api": 0.0, "total": 2.6}
    assert made["by_pool"]["gpu"]["usd"]["rent"] == pytest.approx(1.6)  # type: ignore[index]
    assert made["by_pool"]["b"]["usd"]["rent"] == pytest.approx(1.0)  # type: ignore[index]


def test_an_api_charges_by_the_price_when_the_request_arrived() -> None:
    cloud = worker("c-0", pool("c", price=ApiPrice(1.0, 1.0)))
    dearer = PriceChanged(50.0, "c", Billing(BillingKind.METERED, price=ApiPrice(10.0, 10.0)))
    results = [
        Result(at_s, Outcome.COMPLETED, "", ttft_s=1, e2e_s=9, prompt_tokens=500_000, output_tokens=500_000,
               prefill="c-0", decode="c-0")
        for at_s in (0.0, 49.9, 50.0, 99.0)
    ]  # fmt: skip
    assert told([cloud], [dearer], results)["usd"] == {"rent": 0.0, "api": 22.0, "total": 22.0}


def test_a_change_at_the_very_start_replaces_the_price_of_the_fleet_file() -> None:
    made = told([worker("gpu-0", pool("gpu", usd_per_hour=36.0))], [rented(0, 72.0)], [])
    assert made["usd"]["rent"] == pytest.approx(2.0)  # type: ignore[index]
