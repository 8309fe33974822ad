"""Random lives of a scheduler: what may happen, in any order, and who is then still waiting or served."""

from __future__ import annotations

from builders import BOTH, DECODE, PREFILL, fleet, pool, request, worker
from hypothesis import strategies as st

from devices.worker import Link
from policies.api import Reject
from router.fleet import Fleet
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler

Story = list[tuple[str, int, int, float]]
"""(event, number, attempt, seconds since the step before); the number picks request, worker, end or amount."""

STORIES: st.SearchStrategy[Story] = st.lists(
    st.tuples(
        st.sampled_from(["submit", "prefilled", "first_token", "progress", "end", "lost", "found", "report", "tick"]),
        st.integers(0, 11),
        st.integers(1, 2),
        st.floats(0.0, 3.0),
    ),
    max_size=60,
)


def mixed_fleet() -> Fleet:
    return fleet(
        worker("g-0", pool("g", phases=BOTH, max_seqs=2)),
        worker("p-0", pool("p", phases=PREFILL)),
        worker("d-0", pool("d", phases=DECODE)),
        worker("l-0", pool("l", hard_slots=True, max_seqs=1, kv_tokens=3000)),
        links={("p", "d"): Link(50e9), ("g", "l"): Link(1e9), ("l", "d"): Link(1e9)},
    )


def play(scheduler: Scheduler, story: Story) -> set[tuple[str, int]]:
    """Tell a story; returns the attempts that are open: submitted, not rejected, not ended."""
    now = 0.0
    names = list(scheduler.fleet.by_name)
    asked: set[tuple[str, int]] = set()
    open_: set[tuple[str, int]] = set()
    for event, number, attempt, passed in story:
        now += passed
        key = f"r{number}", attempt
        decisions: list[Decision] = []
        if event == "submit" and key not in asked:
            asked.add(key)
            open_.add(key)
            decisions = scheduler.submit(request(key[0], attempt=attempt, e2e_s=20.0 if number % 2 else None), now)
        elif event == "prefilled":
            decisions = scheduler.prefilled(*key, now)
        elif event == "first_token":
            decisions = scheduler.first_token(*key, now)
        elif event == "progress":
            decisions = scheduler.progress(*key, number * 100, now)
        elif event == "end":
            open_.discard(key)
            decisions = scheduler.attempt_ended(*key, list(End)[number % 3], number, now)
        elif event == "lost":
            decisions = scheduler.worker_lost(names[number % len(names)], now)
        elif event == "found":
            decisions = scheduler.worker_found(names[number % len(names)], now)
        elif event == "report":
            decisions = scheduler.report(names[number % len(names)], WorkerReport(number, attempt, 0.5, now), now)
        elif event == "tick":
            decisions = scheduler.tick(now)
        for decision in decisions:
            if isinstance(decision.outcome, Reject):
                open_.remove((decision.request.id, decision.request.attempt))
        assert scheduler.reserved + scheduler.waiting == len(open_)
        assert scheduler.waiting == 0 or scheduler.next_wake_s <= now + 0.1
    return open_
