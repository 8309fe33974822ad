from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from builders import DECODE, PREFILL, fleet, pool, request, worker
from hypothesis import given
from hypothesis import strategies as st
from stories import STORIES, Story, mixed_fleet, play

from devices.worker import Link
from policies.api import FleetView, Placement, Reject, Request
from policies.cost_slo import CostSlo
from policies.least_load import LeastLoad
from policies.round_robin import RoundRobin
from policies.table import POLICIES, load
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler


def one_slot(**options: float) -> Scheduler:
    """A scheduler whose only worker runs one request at a time."""
    return Scheduler(fleet(worker("w", pool(hard_slots=True, max_seqs=1))), RoundRobin(), **options)  # type: ignore[arg-type]


def reason(decision: Decision) -> str:
    assert isinstance(decision.outcome, Reject)
    return decision.outcome.reason


def test_a_request_is_placed_at_once_when_a_worker_is_free() -> None:
    scheduler = one_slot()
    [decision] = scheduler.submit(request("a"), 0.0)
    assert isinstance(decision.outcome, Placement)
    assert scheduler.next_wake_s == math.inf
    assert (scheduler.reserved, scheduler.waiting) == (1, 0)


def test_a_request_waits_and_is_placed_when_another_ends() -> None:
    scheduler = one_slot()
    scheduler.submit(request("a"), 0.0)
    assert scheduler.submit(request("b"), 0.0) == []
    assert scheduler.next_wake_s <= 0.1
    [decision] = scheduler.attempt_ended("a", 1, End.FINISHED, 10, 1.0)
    assert decision.request.id == "b"
    assert isinstance(decision.outcome, Placement)
    assert scheduler.attempt_ended("b", 1, End.FINISHED, 10, 2.0) == []
    assert scheduler.fleet.idle
    assert scheduler.next_wake_s == math.inf


def test_the_queue_is_served_in_order_of_arrival() -> None:
    scheduler = one_slot()
    for name in "abcd":
        scheduler.submit(request(name), 0.0)
    order = []
    for name in "abc":
        [decision] = scheduler.attempt_ended(name, 1, End.FINISHED, 1, 1.0)
        order.append(decision.request.id)
    assert order == ["b", "c", "d"]


def test_a_request_of_another_kind_overtakes_one_that_is_stuck() -> None:
    view = fleet(
        worker("a", pool("a", model_name="a", hard_slots=True, max_seqs=1)), worker("b", pool("b", model_name="b"))
    )
    scheduler = Scheduler(view, RoundRobin())
    scheduler.submit(request("1", model_name="a"), 0.0)
    assert scheduler.submit(request("2", model_name="a"), 0.0) == []
    [decision] = scheduler.submit(request("3", model_name="b"), 0.0)
    assert decision.request.id == "3"


def test_waiting_ends_at_the_timeout_or_the_deadline_whichever_is_nearer() -> None:
    scheduler = one_slot(queue_timeout_s=5.0, recheck_s=100.0)
    scheduler.submit(request("a"), 0.0)
    scheduler.submit(request("b"), 0.0)
    scheduler.submit(request("c", e2e_s=2.0), 0.0)
    assert scheduler.next_wake_s == 2.0
    assert [(d.request.id, reason(d)) for d in scheduler.tick(2.0)] == [("c", "deadline")]
    assert scheduler.next_wake_s == 5.0
    assert [(d.request.id, reason(d)) for d in scheduler.tick(5.0)] == [("b", "deadline")]
    assert scheduler.next_wake_s == math.inf


def test_one_more_than_the_queue_holds_is_rejected_with_an_honest_retry_after() -> None:
    scheduler = one_slot(queue_limit=1)
    for number in range(40):
        scheduler.submit(request(f"x{number}"), number / 4)
        scheduler.attempt_ended(f"x{number}", 1, End.FINISHED, 1, number / 4)
    scheduler.submit(request("a"), 10.0)
    scheduler.submit(request("b"), 10.0)
    [decision] = scheduler.submit(request("c"), 10.0)
    assert reason(decision) == "overloaded"
    assert isinstance(decision.outcome, Reject)
    assert decision.outcome.retry_after_s == 1.0, "four a second leave, one waits; never less than a second"


def test_a_full_queue_of_one_kind_turns_no_other_kind_away_that_can_be_served() -> None:
    view = fleet(
        worker("a", pool("a", model_name="a", hard_slots=True, max_seqs=1)), worker("b", pool("b", model_name="b"))
    )
    scheduler = Scheduler(view, RoundRobin(), queue_limit=1)
    for number in range(2):
        scheduler.submit(request(f"a{number}", model_name="a"), 0.0)
    assert reason(scheduler.submit(request("a2", model_name="a"), 0.0)[0]) == "overloaded"
    [decision] = scheduler.submit(request("b0", model_name="b"), 0.0)
    assert isinstance(decision.outcome, Placement)
    assert scheduler.waiting == 1


def test_an_idle_worker_of_hard_slots_takes_what_may_outgrow_it() -> None:
    """Else a long prompt waits in vain until its time is up, and all behind it wait with it."""
    view = fleet(worker("w", pool(hard_slots=True, kv_tokens=2500, max_context_tokens=2500)))
    scheduler = Scheduler(view, CostSlo())
    [decision] = scheduler.submit(request("long", prompt_tokens=2400), 0.0)
    assert isinstance(decision.outcome, Placement)
    assert scheduler.submit(request("short", prompt_tokens=100), 0.0) == []
    [after] = scheduler.attempt_ended("long", 1, End.FINISHED, 50, 1.0)
    assert after.request.id == "short"


def test_before_anything_ended_retry_after_is_the_queue_timeout() -> None:
    scheduler = one_slot(queue_limit=0, queue_timeout_s=7.0)
    scheduler.submit(request("a"), 0.0)
    [decision] = scheduler.submit(request("b"), 0.0)
    assert isinstance(decision.outcome, Reject)
    assert decision.outcome.retry_after_s == 7.0


def test_what_no_worker_in_rotation_can_take_is_rejected_at_once() -> None:
    scheduler = one_slot()
    assert reason(scheduler.submit(request("a", model_name="other"), 0.0)[0]) == "no_worker"
    assert reason(scheduler.submit(request("b", attempt=2, avoid=["w"]), 0.0)[0]) == "no_worker"
    scheduler.worker_lost("w", 0.0)
    assert reason(scheduler.submit(request("c"), 0.0)[0]) == "no_worker"
    scheduler.worker_found("w", 1.0)
    assert isinstance(scheduler.submit(request("d"), 1.0)[0].outcome, Placement)


def test_one_who_left_the_queue_is_not_rejected_again_when_time_is_up() -> None:
    scheduler = one_slot(queue_timeout_s=5.0)
    for name in "abc":
        scheduler.submit(request(name), 0.0)
    scheduler.attempt_ended("c", 1, End.CANCELLED, 0, 1.0)
    assert [(d.request.id, reason(d)) for d in scheduler.tick(6.0)] == [("b", "deadline")]


def test_the_end_of_a_prefill_leg_makes_room_for_the_next() -> None:
    view = fleet(
        worker("p", pool("p", phases=PREFILL)), worker("d", pool("d", phases=DECODE)), links={("p", "d"): Link(50e9)}
    )
    scheduler = Scheduler(view, RoundRobin())
    scheduler.submit(request("a", prompt_tokens=1000), 0.0)
    assert scheduler.fleet.load(view.by_name["p"]).prefill_wait_s(0.05) == pytest.approx(0.05)
    assert scheduler.prefilled("a", 1, 0.05) == []
    assert scheduler.fleet.load(view.by_name["p"]).prefill_wait_s(0.05) == 0.0


def test_losing_the_last_worker_rejects_those_who_wait_for_it() -> None:
    scheduler = one_slot()
    scheduler.submit(request("a"), 0.0)
    scheduler.submit(request("b"), 0.0)
    [decision] = scheduler.worker_lost("w", 1.0)
    assert (decision.request.id, reason(decision)) == ("b", "no_worker")
    assert scheduler.reserved == 1, "what runs there ends by itself"


def test_a_waiting_request_that_is_cancelled_leaves_the_queue() -> None:
    scheduler = one_slot()
    scheduler.submit(request("a"), 0.0)
    scheduler.submit(request("b"), 0.0)
    assert scheduler.attempt_ended("b", 1, End.CANCELLED, 0, 0.5) == []
    assert scheduler.waiting == 0
    assert scheduler.attempt_ended("a", 1, End.FINISHED, 5, 1.0) == []
    assert scheduler.next_wake_s == math.inf


def test_late_news_of_an_old_attempt_changes_nothing() -> None:
    scheduler = Scheduler(fleet(worker("w"), worker("v")), LeastLoad())
    scheduler.submit(request("a"), 0.0)
    scheduler.attempt_ended("a", 1, End.FAILED, 0, 1.0)
    scheduler.submit(request("a", attempt=2, avoid=["w"]), 1.0)
    before = scheduler.fleet.load(scheduler.fleet.by_name["v"]).requests
    assert scheduler.first_token("a", 1, 2.0) == []
    assert scheduler.prefilled("a", 1, 2.0) == []
    assert scheduler.progress("a", 1, 999, 2.0) == []
    assert scheduler.attempt_ended("a", 1, End.FINISHED, 999, 2.0) == []
    assert scheduler.fleet.load(scheduler.fleet.by_name["v"]).requests == before == 1


def test_the_same_attempt_cannot_be_submitted_twice() -> None:
    scheduler = one_slot()
    scheduler.submit(request("a"), 0.0)
    with pytest.raises(ValueError, match="attempt 1 of request a was submitted before"):
        scheduler.submit(request("a"), 0.0)


def test_progress_past_what_is_reserved_makes_room_for_a_quarter_more() -> None:
    scheduler = Scheduler(fleet(worker("w")), RoundRobin())
    load_ = scheduler.fleet.load(scheduler.fleet.by_name["w"])
    scheduler.submit(request("a", prompt_tokens=100), 0.0)
    assert scheduler.covered_tokens("a", 1) == 200
    scheduler.progress("a", 1, 200, 1.0)
    assert load_.kv_tokens == 300
    scheduler.progress("a", 1, 201, 1.0)
    assert load_.kv_tokens == 100 + scheduler.covered_tokens("a", 1) == 100 + 252
    scheduler.attempt_ended("a", 1, End.FINISHED, 201, 2.0)
    assert scheduler.fleet.idle


def test_a_reservation_never_grows_beyond_the_limit_of_the_client() -> None:
    scheduler = Scheduler(fleet(worker("w")), RoundRobin())
    scheduler.submit(request("a", max_tokens=300), 0.0)
    scheduler.progress("a", 1, 290, 1.0)
    assert scheduler.covered_tokens("a", 1) == 300
    scheduler.progress("a", 1, 301, 1.0)
    assert scheduler.covered_tokens("a", 1) == 301, "an engine that goes on regardless holds the KV all the same"


def test_attempts_that_hold_nothing_cover_nothing() -> None:
    scheduler = one_slot()
    scheduler.submit(request("a"), 0.0)
    scheduler.submit(request("waiting"), 0.0)
    assert scheduler.covered_tokens("waiting", 1) == scheduler.covered_tokens("unknown", 1) == 0
    scheduler.attempt_ended("a", 1, End.CANCELLED, 0, 1.0)
    assert scheduler.covered_tokens("a", 1) == 0


@given(seen=st.lists(st.integers(1, 5000), min_size=1).map(sorted))
def test_a_driver_that_skips_progress_within_what_is_covered_changes_nothing(seen: list[int]) -> None:
    told, skipped = (Scheduler(fleet(worker("w")), RoundRobin()) for _ in range(2))
    for scheduler in (told, skipped):
        scheduler.submit(request("a"), 0.0)
    for tokens in seen:
        told.progress("a", 1, tokens, 1.0)
        if tokens > skipped.covered_tokens("a", 1):
            skipped.progress("a", 1, tokens, 1.0)
        assert told.covered_tokens("a", 1) == skipped.covered_tokens("a", 1)


def test_only_finished_attempts_teach_output_lengths() -> None:
    scheduler = Scheduler(fleet(worker("w")), RoundRobin())
    for number, end in enumerate([End.FAILED, End.CANCELLED]):
        scheduler.submit(request(f"r{number}"), 0.0)
        scheduler.attempt_ended(f"r{number}", 1, end, 9000, 1.0)
    assert scheduler.fleet.output_tokens(request()) == 200
    scheduler.submit(request("good"), 2.0)
    scheduler.attempt_ended("good", 1, End.FINISHED, 9000, 3.0)
    assert scheduler.fleet.output_tokens(request()) == 1000


@dataclass
class Shy:
    """Answers only after a given time, and rejects what it is told to."""

    after_s: float
    rejects: set[str] = field(default_factory=set)

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | Reject | None:
        if request.id in self.rejects:
            return Reject("overloaded", "told to")
        if now < self.after_s:
            return None
        [free, *_] = fleet.decoders(request)
        return Placement(free, free, fleet.quote(request, free, free, now))


def test_a_policy_that_waits_for_time_to_pass_is_asked_again() -> None:
    scheduler = Scheduler(fleet(worker("w")), Shy(after_s=0.25), recheck_s=0.1)
    assert scheduler.submit(request("a"), 0.0) == []
    asked_at = []
    while scheduler.next_wake_s < math.inf:
        asked_at.append(scheduler.next_wake_s)
        scheduler.tick(scheduler.next_wake_s)
    assert asked_at == pytest.approx([0.1, 0.2, 0.3])
    assert scheduler.reserved == 1


def test_a_policy_may_reject() -> None:
    scheduler = Scheduler(fleet(worker("w")), Shy(0.0, {"a"}))
    [decision] = scheduler.submit(request("a"), 0.0)
    assert reason(decision) == "overloaded"
    assert scheduler.fleet.idle


def test_a_report_reaches_the_load_of_its_worker() -> None:
    scheduler = Scheduler(fleet(worker("w")), RoundRobin())
    scheduler.report("w", WorkerReport(8, 2, 0.5, at_s=1.0), 1.0)
    assert scheduler.fleet.load(scheduler.fleet.by_name["w"]).requests == 5


@pytest.mark.parametrize("policy", POLICIES)
@given(story=STORIES)
def test_whatever_happens_nothing_stays_reserved(policy: str, story: Story) -> None:
    scheduler = Scheduler(mixed_fleet(), load(policy), queue_limit=4, queue_timeout_s=10.0)
    open_ = play(scheduler, story)
    for key in sorted(open_):
        scheduler.attempt_ended(*key, End.CANCELLED, 0, 1e6)
    assert scheduler.fleet.idle
    assert (scheduler.reserved, scheduler.waiting, scheduler.next_wake_s) == (0, 0, math.inf)


@given(story=STORIES)
def test_hard_slots_are_never_overbooked(story: Story) -> None:
    scheduler = Scheduler(mixed_fleet(), CostSlo())
    play(scheduler, [step for step in story if step[0] not in {"progress", "report"}])
    load_ = scheduler.fleet.load(scheduler.fleet.by_name["l-0"])
    assert load_.own_requests <= 1
    assert load_.kv_tokens <= 3000
