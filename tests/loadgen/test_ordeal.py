"""What goes wrong in a simulation, one story a test, and what never happens whatever goes wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import DECODE, PREFILL, SteadyPredictor, pool, worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.natures.altered import Slowed
from devices.worker import ApiPrice, Billing, BillingKind, Link, Worker
from loadgen.fault_events import (
    Event,
    ForeignLoad,
    Found,
    LinkChanged,
    Lost,
    Paced,
    PriceChanged,
    Reporting,
)
from loadgen.faults import Timeline
from loadgen.ordeal import Ordeal
from loadgen.result import Result
from loadgen.simulate import Simulation
from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import mix
from policies.api import FleetView, Placement, Policy, Request, Slo
from policies.cost_slo import CostSlo
from policies.table import POLICIES, load
from router.fleet import Fleet
from router.ledger import Outcome
from router.load import WorkerReport
from router.openai import TrafficClass
from router.scheduler import Decision, Scheduler

STEADY = SteadyPredictor(prefill_s_per_token=0.001, step_seconds=0.01)
LINK = Link(bytes_per_s=1e9, latency_s=0.5)
TRAFFIC = Traffic("m", {"chat": TrafficClass("chat", Slo(), usd_per_miss=0.01)}, mix("chat:1"))


class Told(Scheduler):
    """Writes down what it heard of workers."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        super().__init__(fleet, policy)
        self.told: list[tuple[float, str, object]] = []

    def worker_lost(self, worker_name: str, now: float) -> list[Decision]:
        self.told.append((now, "lost", worker_name))
        return super().worker_lost(worker_name, now)

    def worker_found(self, worker_name: str, now: float) -> list[Decision]:
        self.told.append((now, "found", worker_name))
        return super().worker_found(worker_name, now)

    def report(self, worker_name: str, report: WorkerReport, now: float) -> list[Decision]:
        self.told.append((now, "report", (worker_name, report.running)))
        return super().report(worker_name, report, now)

    def rotation(self) -> list[tuple[float, str, object]]:
        return [told for told in self.told if told[1] != "report"]


class First:
    """Takes the first pair there is."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        for decode in fleet.reachable(request):
            prefill = fleet.prefillers(request, decode)[0]
            return Placement(prefill, decode, fleet.quote(request, prefill, decode, now))
        return None


def ordeal(
    workers: Sequence[Worker],
    rows: Sequence[Row],
    events: Sequence[Event],
    policy: Policy | None = None,
    links: dict[tuple[str, str], Link] | None = None,
    *,
    attempts: int = 2,
) -> tuple[Ordeal, Told]:
    scheduler = Told(Fleet(workers, links or {}), policy or First())
    timeline = Timeline(tuple(sorted(events, key=lambda event: event.at_s)))
    simulation = Ordeal(scheduler, rows, TRAFFIC.request, timeline, attempts=attempts)
    simulation.run()
    return simulation, scheduler


def rows(count: int, tokens: int = 100, output: int = 101, at_s: float = 0.0) -> list[Row]:
    return [Row(i, at_s, tokens, output) for i in range(count)]


def one() -> Worker:
    return worker(of=pool(predictor=STEADY))


def two() -> list[Worker]:
    gpu = pool("gpu", predictor=STEADY)
    return [worker("gpu-0", gpu), worker("gpu-1", gpu)]


def split_fleet(decoders: int = 1) -> list[Worker]:
    decode = pool("d", predictor=STEADY, phases=DECODE)
    return [
        worker("p-0", pool("p", predictor=STEADY, phases=PREFILL)),
        *(worker(f"d-{k}", decode) for k in range(decoders)),
    ]


def only(simulation: Simulation) -> Result:
    [result] = simulation.results
    return result


def assert_clean(simulation: Ordeal, scheduler: Scheduler) -> None:
    assert scheduler.fleet.idle
    assert scheduler.reserved == scheduler.waiting == 0
    for name, call_id in simulation.abandoned:
        site = simulation._sites[name]
        site.engine.release(call_id, max(simulation.end_s, site.engine._now))
    assert [site.engine.pinned_tokens for site in simulation._sites.values()] == [0] * len(simulation._sites)


# death and return


def test_a_worker_dies_with_three_answers_on_their_way_and_they_fail_as_far_as_they_came() -> None:
    simulation, scheduler = ordeal([one()], rows(3), [Lost(0.805, "gpu-0")])
    assert [result.outcome for result in simulation.results] == [Outcome.FAILED] * 3
    assert {result.e2e_s for result in simulation.results} == {0.805}
    # 300 prompt tokens share one iteration of 0.3 s, then a token each 10 ms.
    assert [result.output_tokens for result in simulation.results] == [1 + 50] * 3
    assert simulation.gaps.total_tokens == 3 * 50
    assert {result.message for result in simulation.results} == {"gpu-0 was lost"}
    assert_clean(simulation, scheduler)


def test_an_attempt_without_a_token_is_tried_once_more_elsewhere() -> None:
    simulation, scheduler = ordeal(two(), rows(1, tokens=1000), [Lost(0.5, "gpu-0")])
    result = only(simulation)
    assert (result.outcome, result.decode) == (Outcome.COMPLETED_AFTER_RETRY, "gpu-1")
    assert result.ttft_s == pytest.approx(1.5)
    assert result.e2e_s == pytest.approx(2.5)
    assert_clean(simulation, scheduler)


def test_a_retry_that_finds_no_worker_fails_for_what_the_attempt_before_failed_of() -> None:
    simulation, _ = ordeal([one()], rows(1, tokens=1000), [Lost(0.5, "gpu-0")])
    result = only(simulation)
    assert (result.outcome, result.decode, result.message) == (Outcome.FAILED, "gpu-0", "gpu-0 was lost")


def test_with_one_attempt_nothing_is_tried_again() -> None:
    simulation, _ = ordeal(two(), rows(1, tokens=1000), [Lost(0.5, "gpu-0")], attempts=1)
    assert only(simulation).outcome is Outcome.FAILED


def test_a_dead_worker_is_known_at_the_next_probe_and_so_is_its_return() -> None:
    simulation, scheduler = ordeal(two(), rows(1, output=900), [Lost(1.5, "gpu-1"), Found(3.5, "gpu-1")])
    assert only(simulation).outcome is Outcome.COMPLETED
    assert scheduler.rotation() == [(2.0, "lost", "gpu-1"), (4.0, "found", "gpu-1")]


def test_a_refused_connection_tells_at_once_and_the_request_goes_elsewhere() -> None:
    simulation, scheduler = ordeal(two(), [Row(0, 0.3, 100, 11)], [Lost(0.2, "gpu-0")])
    result = only(simulation)
    assert (result.outcome, result.decode) == (Outcome.COMPLETED_AFTER_RETRY, "gpu-1")
    assert scheduler.rotation() == [(0.3, "lost", "gpu-0")]
    assert result.ttft_s == pytest.approx(0.1)


def test_a_worker_comes_back_empty_and_serves_again() -> None:
    asked = [Row(0, 0.0, 100, 500), Row(1, 4.2, 100, 11)]
    simulation, scheduler = ordeal([one()], asked, [Lost(1.5, "gpu-0"), Found(3.0, "gpu-0")])
    assert [result.outcome for result in simulation.results] == [Outcome.FAILED, Outcome.COMPLETED]
    assert simulation.results[1].ttft_s == pytest.approx(0.1)
    assert_clean(simulation, scheduler)


def test_while_everybody_is_down_requests_are_rejected_once_it_is_known() -> None:
    simulation, _ = ordeal(two(), [Row(0, 5.0, 100, 11)], [Lost(1.0, "gpu-0"), Lost(1.0, "gpu-1")])
    assert only(simulation).outcome is Outcome.REJECTED


def test_a_long_queue_that_meets_a_dead_worker_is_no_endless_recursion() -> None:
    slots = worker(of=pool(predictor=STEADY, max_seqs=1, hard_slots=True))
    simulation, scheduler = ordeal([slots], rows(900), [Lost(0.05, "gpu-0")])
    assert len(simulation.results) == 900
    assert_clean(simulation, scheduler)


def test_an_api_that_is_out_fails_what_it_was_saying_and_stays_in_rotation() -> None:
    cloud = worker("cloud-0", pool("cloud", price=ApiPrice(1, 2), predictor=STEADY))
    asked = [Row(0, 0.0, 100, 101), Row(1, 0.7, 100, 11), Row(2, 2.0, 100, 11)]
    simulation, scheduler = ordeal([cloud], asked, [Lost(0.505, "cloud-0"), Found(1.0, "cloud-0")])
    assert [result.outcome for result in simulation.results] == [Outcome.FAILED, Outcome.FAILED, Outcome.COMPLETED]
    assert simulation.results[0].output_tokens == 1 + 40
    assert simulation.gaps.total_tokens == 40 + 10
    assert simulation.results[1].message == "cloud-0 cannot be reached"
    assert scheduler.rotation() == []
    assert_clean(simulation, scheduler)


# hand-overs


def test_a_prefill_worker_that_dies_before_its_kv_is_fetched_takes_the_request_with_it() -> None:
    simulation, scheduler = ordeal(split_fleet(2), rows(1, tokens=1000), [Lost(1.2, "p-0")], links={("p", "d"): LINK})
    assert only(simulation).outcome is Outcome.FAILED
    assert_clean(simulation, scheduler)


def test_a_prefill_worker_that_dies_after_its_kv_is_fetched_is_not_missed() -> None:
    simulation, scheduler = ordeal(split_fleet(), rows(1, tokens=1000), [Lost(1.6, "p-0")], links={("p", "d"): LINK})
    assert only(simulation).outcome is Outcome.COMPLETED
    assert_clean(simulation, scheduler)


def test_kv_for_a_decode_worker_that_died_stays_pinned_until_its_lease_ends() -> None:
    events = [Lost(1.2, "d-0")]
    asked = [Row(0, 0.0, 1000, 11), Row(1, 20.0, 100, 11), Row(2, 40.0, 100, 11)]
    simulation, scheduler = ordeal(split_fleet(2), asked, events, links={("p", "d"): LINK})
    first = simulation.results[0]
    assert (first.outcome, first.decode) == (Outcome.COMPLETED_AFTER_RETRY, "d-1")
    assert not simulation.abandoned
    assert_clean(simulation, scheduler)
    early, _ = ordeal(split_fleet(2), asked[:2], events, links={("p", "d"): LINK})
    assert early.abandoned == {("p-0", "row-0")}
    assert early._sites["p-0"].engine.pinned_tokens == 1008  # whole blocks of 16


def test_a_decode_worker_that_died_during_the_prefill_is_noticed_at_the_hand_over() -> None:
    simulation, _ = ordeal(split_fleet(2), rows(1, tokens=1000), [Lost(0.2, "d-0")], links={("p", "d"): LINK})
    result = only(simulation)
    assert (result.outcome, result.decode) == (Outcome.COMPLETED_AFTER_RETRY, "d-1")
    assert result.ttft_s == pytest.approx(1.0 + 1.0 + 0.5 + 0.01)


def test_over_a_cut_link_the_decode_worker_computes_the_prompt_itself() -> None:
    cut = LinkChanged(0.5, "p", "d", None)
    simulation, scheduler = ordeal(split_fleet(), rows(1, tokens=1000), [cut], links={("p", "d"): LINK})
    result = only(simulation)
    assert (result.outcome, result.prefill, result.decode) == (Outcome.COMPLETED, "p-0", "d-0")
    assert result.ttft_s == pytest.approx(1.0 + 1.0)
    assert_clean(simulation, scheduler)


def test_over_a_slow_link_kv_arrives_late() -> None:
    slow = LinkChanged(0.5, "p", "d", replace(LINK, latency_s=5.0))
    simulation, _ = ordeal(split_fleet(), rows(1, tokens=1000), [slow], links={("p", "d"): LINK})
    assert only(simulation).ttft_s == pytest.approx(1.0 + 5.0 + 0.01)


# pace, telemetry, others, prices


def test_a_worker_is_slow_from_its_next_iteration_on() -> None:
    simulation, _ = ordeal([one()], rows(1), [Paced(0.605, "gpu-0", Slowed(STEADY, 3.0))])
    assert only(simulation).e2e_s == pytest.approx(0.1 + 0.51 + 49 * 0.03)


def test_an_api_is_slow_from_its_next_call_on() -> None:
    cloud = worker("cloud-0", pool("cloud", price=ApiPrice(1, 2), predictor=STEADY))
    asked = [Row(0, 0.0, 100, 101), Row(1, 0.6, 100, 101)]
    simulation, _ = ordeal([cloud], asked, [Paced(0.5, "cloud-0", Slowed(STEADY, 3.0))])
    assert [result.e2e_s for result in simulation.results] == [pytest.approx(1.1), pytest.approx(3.3)]


def test_stale_telemetry_tells_of_the_past() -> None:
    simulation, scheduler = ordeal([one()], rows(1, output=250), [Reporting(0.0, "gpu-0", 1.5, 0.0, 1)])
    assert only(simulation).outcome is Outcome.COMPLETED
    assert scheduler.told == [(2.5, "report", ("gpu-0", 1))]  # what was so at 1 s; what was so at 2 s comes too late


def test_missing_telemetry_tells_nothing_and_the_worker_stays_in_rotation() -> None:
    simulation, scheduler = ordeal([one()], rows(1, output=500), [Reporting(0.0, "gpu-0", 0.0, 1.0, 1)])
    assert only(simulation).outcome is Outcome.COMPLETED
    assert scheduler.told == []


def others(at_s: float = 0.0, until_s: float = math.inf, name: str = "gpu-0") -> ForeignLoad:
    return ForeignLoad(at_s, name, until_s, 20.0, "poisson", "1000", "50", 4096, 7)


def test_foreign_load_slows_ours_is_heard_of_by_reports_and_appears_in_no_result() -> None:
    alone, _ = ordeal([one()], rows(2, output=200), [])
    beside, scheduler = ordeal([one()], rows(2, output=200), [others()])
    assert len(beside.results) == 2
    assert min(result.e2e_s or 0 for result in beside.results) > 2 * max(r.e2e_s or 0 for r in alone.results)
    assert beside.gaps.total_tokens == alone.gaps.total_tokens == 2 * 199
    assert scheduler.fleet.load(scheduler.fleet.workers[0]).foreign_requests > 1
    assert_clean(beside, scheduler)


def test_a_worker_that_is_down_takes_no_requests_of_others() -> None:
    simulation, _ = ordeal([one()], [Row(0, 3.2, 100, 11)], [Lost(0.0, "gpu-0"), others(0.1, 2.9), Found(3.0, "gpu-0")])
    assert simulation._sites["gpu-0"].engine.submitted == 1  # ours


def test_a_price_moves_what_cost_slo_chooses() -> None:
    cheap, dear = pool("a", predictor=STEADY, usd_per_hour=1.0), pool("b", predictor=STEADY, usd_per_hour=2.0)
    fleet = [worker("a-0", cheap), worker("b-0", dear)]
    asked = [Row(0, 0.0, 100, 11), Row(1, 10.0, 100, 11), Row(2, 20.0, 100, 11)]
    events = [
        PriceChanged(5.0, "a", Billing(BillingKind.ON_DEMAND, 4.0)),
        PriceChanged(15.0, "a", Billing(BillingKind.ON_DEMAND, 1.0)),
    ]
    simulation, _ = ordeal(fleet, asked, events, CostSlo())
    assert [result.decode for result in simulation.results] == ["a-0", "b-0", "a-0"]
    assert cheap.usd_per_s == pytest.approx(1.0 / 3600)


# whatever happens

NAMES = ["gpu-0", "gpu-1", "p-0", "d-0", "d-1", "cloud-0"]
ENGINES = NAMES[:5]
moments = st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0, 1.2, 2.0, 3.0, 7.0])


def mixed_fleet() -> list[Worker]:
    gpu = pool("gpu", predictor=STEADY, kv_tokens=4000, max_context_tokens=3000)
    cloud = worker("cloud-0", pool("cloud", price=ApiPrice(0.5, 0.8), predictor=STEADY, max_seqs=2, hard_slots=True))
    return [worker("gpu-0", gpu), worker("gpu-1", gpu), *split_fleet(2), cloud]


events = st.lists(
    st.one_of(
        st.builds(Lost, moments, st.sampled_from(NAMES)),
        st.builds(Found, moments, st.sampled_from(NAMES)),
        st.builds(
            Paced, moments, st.sampled_from(NAMES), st.builds(Slowed, st.just(STEADY), st.sampled_from([0.5, 5]))
        ),
        st.builds(
            Reporting,
            moments,
            st.sampled_from(ENGINES),
            st.sampled_from([0.0, 1.7]),
            st.sampled_from([0, 0.5]),
            st.just(1),
        ),
        st.builds(others, moments, st.just(6.0), st.sampled_from(ENGINES)),
        st.builds(LinkChanged, moments, st.just("p"), st.just("d"), st.sampled_from([None, LINK])),
        st.builds(PriceChanged, moments, st.just("gpu"), st.just(Billing(BillingKind.ON_DEMAND, 9.0))),
    ),
    max_size=8,
)
asked_of = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 1500), st.integers(1, 80)), min_size=1, max_size=25)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(POLICIES)), asked=asked_of, events=events, attempts=st.integers(1, 3))
def test_whatever_happens_every_request_ends_once_and_nothing_stays_held(
    name: str, asked: list[tuple[float, int, int]], events: list[Event], attempts: int
) -> None:
    made = [Row(i, at, inputs, outputs) for i, (at, inputs, outputs) in enumerate(sorted(asked))]
    told = []
    for _ in range(2):
        simulation, scheduler = ordeal(mixed_fleet(), made, events, load(name), {("p", "d"): LINK}, attempts=attempts)
        assert sorted(result.arrival_s for result in simulation.results) == [row.arrival_s for row in made]
        for result in simulation.results:
            assert result.ttft_s is None or (result.e2e_s is not None and result.ttft_s <= result.e2e_s)
            assert (result.output_tokens > 0) == (result.ttft_s is not None)
        further = sum(max(result.output_tokens - 1, 0) for result in simulation.results)
        assert simulation.gaps.total_tokens == further
        told.append((list(simulation.results), simulation.gaps.spread(), scheduler.told))
        assert_clean(simulation, scheduler)
    assert told[0] == told[1]


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(POLICIES)), asked=asked_of)
def test_without_faults_an_ordeal_is_a_simulation(name: str, asked: list[tuple[float, int, int]]) -> None:
    made = [Row(i, at, inputs, outputs) for i, (at, inputs, outputs) in enumerate(sorted(asked))]
    plain = Simulation(Scheduler(Fleet(mixed_fleet(), {("p", "d"): LINK}), load(name)), made, TRAFFIC.request)
    plain.run()
    simulation, _ = ordeal(mixed_fleet(), made, [], load(name), {("p", "d"): LINK})
    assert list(simulation.results) == list(plain.results)
    assert simulation.gaps.spread() == plain.gaps.spread()
