from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from devices.worker import ApiPrice, Link
from policies.api import Placement, Quote, Slo
from router.fleet import Fleet
from router.ledger import REASONS, Books, Entry, Outcome
from router.metrics import RATIO_BOUNDS, Metrics, verdicts
from tests.support.builders import DECODE, PREFILL, fleet, pool, request, worker

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
GPU, LPU, API = worker("gpu-0", pool("gpu")), worker("lpu-0", pool("lpu", usd_per_hour=7.2)), "cloud"
CLOUD = worker("cloud-0", pool(API, price=ApiPrice(1.0, 2.0)))
SPLIT = Placement(GPU, LPU, Quote(ttft_s=0.4, tpot_s=0.001, usd=0.001, transfer_s=0.1, transfer_bytes=5e8))
CHAT = Slo(ttft_s=1.0, tpot_s=0.05)


class Yard:
    """Metrics over a small fleet, with a clock and a queue that tests set."""

    def __init__(self, of: Fleet | None = None) -> None:
        self.fleet = of or fleet(GPU, LPU, CLOUD, links={("gpu", "lpu"): Link(5e10)})
        self.now = 100.0
        self.waiting = 0
        self.registry = CollectorRegistry()
        self.metrics = Metrics(
            self.registry,
            fleet=self.fleet,
            models={"m": "m", "default": "m"},
            classes={"chat": CHAT, "batch": Slo(e2e_s=600.0)},
            waiting=lambda: self.waiting,
            clock=lambda: self.now,
        )

    def end(self, entry: Entry, outcome: Outcome = Outcome.COMPLETED, reason: str = "", after_s: float = 2.4) -> None:
        """Receive and end one request."""
        self.metrics.received(entry)
        entry.ended(outcome, reason, entry.arrival_s + after_s)
        self.metrics.ended(entry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def series(self, name: str) -> list[dict[str, str]]:
        return [sample.labels for family in self.registry.collect() for sample in family.samples if sample.name == name]


def entry(**fields: object) -> Entry:
    """A chat request of 1000 tokens in and 101 out: first token after 0.4 s, decided after 0.2 s."""
    made = Entry(
        "r1",
        10.0,
        model="m",
        traffic_class="chat",
        placement=SPLIT,
        queue_s=0.2,
        ttft_s=0.4,
        prompt_tokens=1000,
        cached_tokens=200,
        output_tokens=101,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_request_is_counted_once_under_its_outcome_and_reason() -> None:
    yard = Yard()
    yard.end(entry(), Outcome.FAILED, "stalled")
    by = {"model": "m", "traffic_class": "chat", "outcome": "failed", "reason": "stalled"}
    assert yard.value("tokenyard_requests_total", **by) == 1
    assert len(yard.series("tokenyard_requests_total")) == 1


def test_received_is_ended_plus_in_flight() -> None:
    yard = Yard()
    yard.metrics.received(entry())
    yard.end(entry())
    assert yard.value("tokenyard_requests_received_total") == 2
    assert yard.value("tokenyard_in_flight_requests") == 1


def test_an_entry_without_outcome_is_a_bug() -> None:
    with pytest.raises(Books, match="r1"):
        Yard().metrics.ended(entry())


def test_first_tokens_belong_to_the_prefill_pool_and_later_ones_to_the_decode_pool() -> None:
    yard = Yard()
    yard.end(entry())
    assert yard.value("tokenyard_ttft_seconds_sum", model="m", traffic_class="chat", pool="gpu") == 0.4
    assert yard.value("tokenyard_tpot_seconds_sum", model="m", traffic_class="chat", pool="lpu") == pytest.approx(0.02)
    assert yard.value("tokenyard_e2e_seconds_count", model="m", traffic_class="chat", pool="lpu") == 1
    assert yard.value("tokenyard_queue_seconds_sum", model="m", traffic_class="chat", pool="gpu") == 0.2


def test_a_value_on_a_bound_lies_in_that_bucket_and_buckets_accumulate() -> None:
    yard = Yard()
    for queue_s in (0.25, 0.3, 90.0):
        yard.end(entry(queue_s=queue_s))
    by = {"model": "m", "traffic_class": "chat", "pool": "gpu"}
    name = "tokenyard_queue_seconds_bucket"
    assert [yard.value(name, le=le, **by) for le in ("0.1", "0.25", "0.5", "60.0", "+Inf")] == [0, 1, 2, 2, 3]


def test_a_token_every_quarter_millisecond_has_a_bucket_of_its_own() -> None:
    yard = Yard()
    yard.end(entry(output_tokens=10_001))
    assert yard.value("tokenyard_tpot_seconds_bucket", le="0.00025", model="m", traffic_class="chat", pool="lpu") == 1


def test_prediction_is_compared_from_the_decision_on() -> None:
    yard = Yard()
    yard.end(entry())
    assert yard.value("tokenyard_ttft_prediction_ratio_sum", pool="gpu") == pytest.approx(0.4 / (0.4 - 0.2))
    assert yard.value("tokenyard_tpot_prediction_ratio_sum", pool="lpu") == pytest.approx(0.001 / 0.02)


def test_ratio_buckets_are_symmetric_on_a_log_scale() -> None:
    for low, high in zip(RATIO_BOUNDS, reversed(RATIO_BOUNDS), strict=True):
        assert low * high == pytest.approx(1.0, abs=0.006)


def test_tokens_are_counted_where_they_were_worked_on() -> None:
    yard = Yard()
    yard.end(entry())
    where = (("gpu", "prompt"), ("gpu", "cached"), ("gpu", "output"), ("lpu", "output"))
    tokens = [yard.value("tokenyard_tokens_total", pool=name, kind=kind) for name, kind in where]
    assert tokens == [1000, 200, 0, 101]


def test_kv_bytes_are_counted_for_each_hand_over_whether_or_not_a_first_token_was_seen() -> None:
    yard = Yard()
    yard.end(entry(handed_over=(SPLIT,)))
    yard.end(entry(handed_over=(SPLIT, SPLIT), ttft_s=None))
    yard.end(entry(), Outcome.FAILED, "upstream_error")
    assert yard.value("tokenyard_kv_transfer_bytes_total", from_pool="gpu", to_pool="lpu") == 15e8
    assert len(yard.series("tokenyard_kv_transfer_bytes_total")) == 1


def test_rent_is_paid_by_the_clock_and_apis_by_the_request() -> None:
    yard = Yard()
    yard.end(entry(placement=Placement(CLOUD, CLOUD, SPLIT.quote), usd=0.25))
    yard.end(entry(usd=0.5))
    yard.now += 3600.0
    where = (("gpu", "rent"), ("lpu", "rent"), (API, "rent"), ("gpu", "api"), (API, "api"))
    spent = [yard.value("tokenyard_usd_total", pool=name, kind=kind) for name, kind in where]
    assert spent == pytest.approx([3.6, 7.2, 0.0, 0.0, 0.25])
    assert yard.value("tokenyard_pool_rent_usd_per_second", pool="lpu") == pytest.approx(0.002)


def test_rent_of_a_pool_counts_all_its_workers() -> None:
    gpu = pool("gpu", usd_per_hour=3.6)
    yard = Yard(fleet(worker("gpu-0", gpu), worker("gpu-1", gpu)))
    assert yard.value("tokenyard_pool_rent_usd_per_second", pool="gpu") == pytest.approx(0.002)


def test_gauges_show_the_fleet_at_the_moment_of_the_scrape() -> None:
    yard = Yard()
    yard.waiting = 3
    held = yard.fleet.reserve(request(prompt_tokens=1000, max_tokens=50), SPLIT, now=0.0)
    yard.fleet.set_routable(LPU, False)
    gpu, lpu = {"pool": "gpu", "worker": "gpu-0"}, {"pool": "lpu", "worker": "lpu-0"}
    assert [yard.value("tokenyard_worker_up", **labels) for labels in (gpu, lpu)] == [1, 0]
    assert [yard.value("tokenyard_worker_in_flight_requests", **labels) for labels in (gpu, lpu)] == [1, 1]
    assert [yard.value("tokenyard_worker_decoding_requests", **labels) for labels in (gpu, lpu)] == [0, 1]
    assert [yard.value("tokenyard_worker_queued_prefill_tokens", **labels) for labels in (gpu, lpu)] == [1000, 0]
    assert [yard.value("tokenyard_worker_kv_reserved_tokens", **labels) for labels in (gpu, lpu)] == [1000, 1050]
    assert yard.value("tokenyard_worker_kv_limit_tokens", **lpu) == 1_000_000
    assert yard.value("tokenyard_queued_requests") == 3
    yard.fleet.release(held, now=1.0)
    assert yard.value("tokenyard_worker_in_flight_requests", **lpu) == 0


def test_a_request_never_placed_still_shows_how_long_it_waited() -> None:
    yard = Yard()
    yard.end(entry(placement=None, ttft_s=None, queue_s=60.0), Outcome.REJECTED, "deadline")
    assert yard.value("tokenyard_queue_seconds_sum", model="m", traffic_class="chat", pool="none") == 60.0


def test_an_alias_counts_as_its_model() -> None:
    yard = Yard()
    yard.end(entry(model="default"))
    assert yard.series("tokenyard_requests_total")[0]["model"] == "m"


def test_whatever_clients_write_the_number_of_series_is_bounded() -> None:
    yard = Yard()
    for number in range(300):
        for outcome in Outcome:
            for reason in REASONS.get(outcome, {""}):
                made = entry(model=f"model-{number}", traffic_class=f"class-{number}", tenant=f"tenant-{number}")
                yard.end(made, outcome, reason)
    labels = yard.series("tokenyard_requests_total")
    assert {(of["model"], of["traffic_class"]) for of in labels} == {("other", "other")}
    assert len(labels) == sum(len(REASONS.get(outcome, {""})) for outcome in Outcome)
    assert len(yard.series("tokenyard_ttft_seconds_count")) == 1


@pytest.mark.parametrize(
    ("fields", "outcome", "reason", "expected"),
    [
        ({}, Outcome.COMPLETED, "", {"ttft": True, "tpot": True, "all": True}),
        ({"ttft_s": 1.5}, Outcome.COMPLETED, "", {"ttft": False, "tpot": True, "all": False}),
        ({"output_tokens": 3}, Outcome.COMPLETED_AFTER_RETRY, "", {"ttft": True, "tpot": False, "all": False}),
        ({"output_tokens": 1}, Outcome.COMPLETED, "", {"ttft": True, "tpot": True, "all": True}),
        ({"ttft_s": None}, Outcome.COMPLETED, "", {"tpot": True, "all": True}),
        ({}, Outcome.FAILED, "truncated", {"ttft": False, "tpot": False, "all": False}),
        ({}, Outcome.DRAINED, "", {"ttft": False, "tpot": False, "all": False}),
        ({}, Outcome.REJECTED, "overloaded", {"ttft": False, "tpot": False, "all": False}),
        ({}, Outcome.REJECTED, "invalid", {}),
        ({}, Outcome.REJECTED, "rate_limited", {}),
        ({}, Outcome.CLIENT_CANCELLED, "", {}),
    ],
)
def test_promises_are_judged_on_what_the_client_was_owed(
    fields: dict[str, object], outcome: Outcome, reason: str, expected: dict[str, bool]
) -> None:
    made = entry(**fields)
    made.ended(outcome, reason, 12.4)
    assert dict(verdicts(made, CHAT)) == expected


def test_a_deadline_is_judged_from_arrival_to_end() -> None:
    made = entry()
    made.ended(Outcome.COMPLETED, "", 12.4)
    assert dict(verdicts(made, Slo(e2e_s=2.0))) == {"e2e": False, "all": False}


def test_promises_are_counted_by_class_and_are_there_before_the_first_request() -> None:
    yard = Yard()
    judged = {(of["traffic_class"], of["slo"]) for of in yard.series("tokenyard_slo_requests_total")}
    chat, batch = {("chat", "ttft"), ("chat", "tpot"), ("chat", "all")}, {("batch", "e2e"), ("batch", "all")}
    assert judged == chat | batch | {("default", "all")}
    yard.end(entry(ttft_s=1.5))
    assert yard.value("tokenyard_slo_requests_total", traffic_class="chat", slo="all", attained="false") == 1
    assert yard.value("tokenyard_slo_requests_total", traffic_class="chat", slo="all", attained="true") == 0


def busy_yard() -> Yard:
    """A yard in which every family has samples."""
    yard = Yard()
    yard.end(entry())
    return yard


def exposed(yard: Yard) -> str:
    return generate_latest(yard.registry).decode()


def test_the_exposition_parses_and_every_name_is_ours_and_used_once() -> None:
    names = [family.name for family in text_string_to_metric_families(exposed(busy_yard()))]
    assert len(names) == len(set(names))
    assert all(name.startswith("tokenyard_") for name in names)


def test_names_end_in_a_base_unit_and_every_family_says_what_it_is() -> None:
    units = ("_seconds", "_bytes", "_tokens", "_ratio", "_requests", "_usd_per_second", "_up", "_build_info")
    for family in text_string_to_metric_families(exposed(busy_yard())):
        assert family.documentation.endswith("."), family.name
        assert family.type == "counter" or family.name.endswith(units), family.name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_no_complaint_about_what_is_exposed() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposed(busy_yard()), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def rows(yard: Yard) -> Iterable[str]:
    """One row of docs/metrics.md for each family, as the code has it; an info is exposed as a gauge."""
    for family in yard.registry.collect():
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        yield f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def test_the_page_of_metrics_lists_each_one_as_it_is() -> None:
    page = PAGE.read_text().splitlines()
    expected = list(rows(busy_yard()))
    assert [row for row in expected if row not in page] == []
    assert [line for line in page if line.startswith("| `tokenyard_") and line not in expected] == []


def test_a_split_pair_needs_no_pool_that_serves_both_phases() -> None:
    prefill, decode = worker("p-0", pool("p", phases=PREFILL)), worker("d-0", pool("d", phases=DECODE))
    yard = Yard(fleet(prefill, decode, links={("p", "d"): Link(1e9)}))
    split = Placement(prefill, decode, SPLIT.quote)
    yard.end(entry(placement=split, handed_over=(split,)))
    assert yard.value("tokenyard_kv_transfer_bytes_total", from_pool="p", to_pool="d") == 5e8
