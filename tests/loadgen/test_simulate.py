"""Virtual time on devices whose times are round numbers, and the rule that no policy sees the future."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import DECODE, PREFILL, SteadyPredictor, pool, worker
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.worker import ApiPrice, Link, Worker
from loadgen.result import Result
from loadgen.simulate import Simulation
from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import mix
from policies.api import Placement, Policy, Request, Slo
from policies.least_load import LeastLoad
from policies.table import POLICIES, load
from router.fleet import Fleet
from router.ledger import Outcome
from router.openai import TrafficClass
from router.scheduler import Scheduler

STEADY = SteadyPredictor(prefill_s_per_token=0.001, step_seconds=0.01)
LINK = Link(bytes_per_s=1e9, latency_s=0.5)
CLASSES = {
    "chat": TrafficClass("chat", Slo(ttft_s=0.5, tpot_s=0.02), usd_per_miss=0.01),
    "batch": TrafficClass("batch", Slo(e2e_s=60.0)),
}
TRAFFIC = Traffic("m", CLASSES, mix("chat:0.7,batch:0.3"))


def simulated(
    workers: Sequence[Worker],
    rows: Sequence[Row],
    policy: Policy | None = None,
    links: dict[tuple[str, str], Link] | None = None,
    **options: float,
) -> tuple[Simulation, Scheduler]:
    scheduler = Scheduler(Fleet(workers, links or {}), policy or LeastLoad())
    simulation = Simulation(scheduler, rows, TRAFFIC.request, **options)
    simulation.run()
    return simulation, scheduler


def only(simulation: Simulation) -> Result:
    [result] = simulation.results
    return result


def test_one_request_alone_takes_prefill_and_one_step_per_token() -> None:
    simulation, scheduler = simulated([worker(of=pool(predictor=STEADY))], [Row(0, 2.0, 1000, 11)])
    result = only(simulation)
    assert result.ttft_s == pytest.approx(1.0)
    assert result.e2e_s == pytest.approx(1.1)
    assert result.tpot_s == pytest.approx(0.01)
    assert (result.outcome, result.output_tokens) == (Outcome.COMPLETED, 11)
    assert simulation.end_s == pytest.approx(3.1)
    assert scheduler.fleet.idle


def test_gaps_are_the_steps_that_gave_a_further_token() -> None:
    simulation, _ = simulated([worker(of=pool(predictor=STEADY))], [Row(0, 0.0, 1000, 11), Row(1, 0.0, 1000, 6)])
    assert simulation.gaps.total_tokens == 10 + 5
    assert simulation.gaps.spread()["p50"] == pytest.approx(0.01)


def split_fleet() -> list[Worker]:
    return [
        worker("p-0", pool("p", predictor=STEADY, phases=PREFILL)),
        worker("d-0", pool("d", predictor=STEADY, phases=DECODE)),
    ]


def test_a_split_request_waits_for_its_kv_and_then_decodes_elsewhere() -> None:
    simulation, scheduler = simulated(split_fleet(), [Row(0, 0.0, 1000, 11)], links={("p", "d"): LINK})
    result = only(simulation)
    assert (result.prefill, result.decode) == ("p-0", "d-0")
    assert result.ttft_s == pytest.approx(1.0 + 0.5 + 0.01)  # prefill, transfer, the step that gives the first token
    assert result.e2e_s == pytest.approx(1.0 + 0.5 + 0.11)
    assert scheduler.fleet.idle


def test_the_prefill_worker_keeps_kv_until_it_has_been_fetched() -> None:
    """With room for one prompt, the second prefill starts when the first one's KV has left, not when it is computed."""
    prefill = worker("p-0", pool("p", predictor=STEADY, phases=PREFILL, kv_tokens=1200))
    rows = [Row(0, 0.0, 1000, 2), Row(1, 0.0, 1000, 2)]
    simulation, _ = simulated([prefill, split_fleet()[1]], rows, links={("p", "d"): LINK})
    first, second = sorted(result.ttft_s or 0 for result in simulation.results)
    assert first == pytest.approx(1.51)
    assert second == pytest.approx(1.5 + 1.0 + 0.5 + 0.01)


def test_kv_leaves_late_when_the_decode_worker_has_no_room() -> None:
    decode = worker("d-0", pool("d", predictor=STEADY, phases=DECODE, max_seqs=1))
    rows = [Row(0, 0.0, 100, 200), Row(1, 0.0, 100, 2)]
    simulation, scheduler = simulated([split_fleet()[0], decode], rows, links={("p", "d"): LINK})
    late = max(result.ttft_s or 0 for result in simulation.results)
    first_done_s = 0.2 + 0.5 + 2.0  # both prompts share the prefill's one iteration
    assert late == pytest.approx(first_done_s + 0.5 + 0.01, abs=0.02)
    assert scheduler.fleet.idle


def test_a_metered_api_answers_by_its_measured_times() -> None:
    cloud = worker("cloud-0", pool("cloud", price=ApiPrice(1, 2), predictor=STEADY))
    simulation, scheduler = simulated([cloud], [Row(0, 1.0, 1000, 101)])
    result = only(simulation)
    assert result.ttft_s == pytest.approx(1.0)
    assert result.e2e_s == pytest.approx(2.0)
    assert sum(simulation.gaps.tokens) == 100
    assert scheduler.fleet.idle


def test_the_overhead_is_added_once_per_call_and_moves_nothing_else() -> None:
    rows = [Row(0, 0.0, 1000, 11)]
    plain = only(simulated([worker(of=pool(predictor=STEADY))], rows)[0])
    slower = only(simulated([worker(of=pool(predictor=STEADY))], rows, overhead_s=0.002)[0])
    assert slower.ttft_s == pytest.approx((plain.ttft_s or 0) + 0.002)
    assert slower.tpot_s == pytest.approx(plain.tpot_s)
    split = only(simulated(split_fleet(), rows, links={("p", "d"): LINK}, overhead_s=0.002)[0])
    assert split.ttft_s == pytest.approx(1.516)


def test_a_request_nobody_can_take_is_rejected() -> None:
    small = worker(of=pool(predictor=STEADY, max_context_tokens=500))
    simulation, _ = simulated([small], [Row(0, 0.0, 1000, 1), Row(1, 0.0, 100, 1)])
    assert [result.outcome for result in simulation.results] == [Outcome.REJECTED, Outcome.COMPLETED]
    assert "can take 1000 tokens" in simulation.results[0].message


def test_a_sequence_longer_than_the_workers_context_fails_and_frees_everything() -> None:
    small = worker(of=pool(predictor=STEADY, max_context_tokens=500))
    simulation, scheduler = simulated([small], [Row(0, 0.0, 400, 200), Row(1, 0.0, 100, 2)])
    assert sorted(result.outcome.value for result in simulation.results) == ["completed", "failed"]
    assert scheduler.fleet.idle


def test_a_decode_leg_that_does_not_fit_frees_the_prefill_worker_too() -> None:
    prefill = worker("p-0", pool("p", predictor=STEADY, phases=PREFILL, kv_tokens=1200))
    decode = worker("d-0", pool("d", predictor=STEADY, phases=DECODE, max_context_tokens=1100))
    rows = [Row(0, 0.0, 1000, 500), Row(1, 0.0, 1000, 2)]
    simulation, scheduler = simulated([prefill, decode], rows, links={("p", "d"): LINK})
    assert [result.outcome for result in simulation.results] == [Outcome.FAILED, Outcome.COMPLETED]
    assert scheduler.fleet.idle


def test_requests_wait_in_the_scheduler_where_slots_are_hard_and_all_end() -> None:
    slots = worker(of=pool(predictor=STEADY, max_seqs=2, hard_slots=True))
    simulation, scheduler = simulated([slots], [Row(i, 0.0, 100, 20) for i in range(7)])
    assert [result.outcome for result in simulation.results] == [Outcome.COMPLETED] * 7
    assert scheduler.waiting == 0
    assert scheduler.fleet.idle


def test_a_request_that_waits_too_long_is_rejected() -> None:
    slots = worker(of=pool(predictor=STEADY, max_seqs=1, hard_slots=True))
    simulation, _ = simulated([slots], [Row(0, 0.0, 100, 9000), Row(1, 0.0, 100, 1)])
    assert [result.outcome for result in simulation.results] == [Outcome.REJECTED, Outcome.COMPLETED]
    assert simulation.results[0].e2e_s == pytest.approx(60.0)


def test_an_empty_workload_ends_at_once() -> None:
    assert len(simulated([worker()], [])[0].results) == 0


class Heard(Scheduler):
    """Writes down of which output it heard."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet, LeastLoad())
        self.heard: list[tuple[int, float]] = []

    def progress(self, request_id: str, attempt: int, output_tokens: int, now: float) -> list[object]:  # type: ignore[override]
        self.heard.append((output_tokens, now))
        return super().progress(request_id, attempt, output_tokens, now)  # type: ignore[return-value]


@pytest.mark.parametrize("price", [None, ApiPrice(1, 1)])
def test_the_scheduler_hears_of_output_in_steps_of_32_tokens_once_it_outgrows_what_is_reserved(
    price: ApiPrice | None,
) -> None:
    scheduler = Heard(Fleet([worker(of=pool(predictor=STEADY, price=price))], {}))
    Simulation(scheduler, [Row(0, 0.0, 1000, 300)], TRAFFIC.request).run()
    assert scheduler.heard[0] == (224, pytest.approx(1.0 + 223 * 0.01))  # 200 tokens are expected
    assert all(tokens % 32 == 0 and now == pytest.approx(0.99 + tokens * 0.01) for tokens, now in scheduler.heard)


class Placed:
    """A policy that writes down where the inner one put each request."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.placed: dict[str, tuple[Request, str, str]] = {}

    def place(self, request: Request, fleet: object, now: float) -> object:
        outcome = self.inner.place(request, fleet, now)  # type: ignore[arg-type]
        if isinstance(outcome, Placement):
            self.placed[request.id] = request, outcome.prefill.name, outcome.decode.name
        return outcome


def mixed_fleet() -> tuple[list[Worker], dict[tuple[str, str], Link]]:
    fast = SteadyPredictor(prefill_s_per_token=0.0004, step_seconds=0.001)
    gpu = pool("gpu", predictor=STEADY)
    workers = [
        worker("gpu-0", gpu),
        worker("gpu-1", gpu),
        worker("d-0", pool("d", predictor=STEADY, phases=DECODE, usd_per_hour=1.0)),
        worker("lpu-0", pool("lpu", predictor=fast, usd_per_hour=90, max_seqs=2, hard_slots=True, kv_tokens=4000)),
        worker("cloud-0", pool("cloud", price=ApiPrice(0.5, 0.8), predictor=fast)),
    ]
    return workers, {("gpu", "d"): LINK}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(POLICIES)),
    lengths=st.lists(st.tuples(st.integers(1, 800), st.integers(1, 60)), min_size=2, max_size=12),
    changed=st.integers(0, 11),
    output_tokens=st.integers(1, 300),
    gap_s=st.sampled_from([0.0, 0.05, 0.7]),
)
def test_the_true_output_length_of_a_request_never_changes_its_own_placement(
    name: str, lengths: list[tuple[int, int]], changed: int, output_tokens: int, gap_s: float
) -> None:
    rows = [Row(i, i * gap_s, inputs, outputs) for i, (inputs, outputs) in enumerate(lengths)]
    at = changed % len(rows)
    other = [*rows[:at], replace(rows[at], output_tokens=output_tokens), *rows[at + 1 :]]
    found = []
    for these in (rows, other):
        workers, links = mixed_fleet()
        policy = Placed(load(name))
        simulated(workers, these, policy, links)  # type: ignore[arg-type]
        found.append(policy.placed.get(f"row-{at}"))
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(POLICIES)),
    rows=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 1500), st.integers(1, 80)), min_size=1, max_size=25),
)
def test_every_request_ends_once_and_nothing_stays_held(name: str, rows: list[tuple[float, int, int]]) -> None:
    workers, links = mixed_fleet()
    made = [Row(i, at, inputs, outputs) for i, (at, inputs, outputs) in enumerate(sorted(rows))]
    simulation, scheduler = simulated(workers, made, load(name), links)
    assert len(simulation.results) == len(made)
    assert sorted(result.arrival_s for result in simulation.results) == [row.arrival_s for row in made]
    assert scheduler.fleet.idle
    assert scheduler.reserved == scheduler.waiting == 0
