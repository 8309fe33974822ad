"""A worker that becomes slower or faster under way. Its iterations take 1 s, prompts 1 s more for each 100 tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.natures.altered import Slowed
from devices.simulated.engine import Sequence, SimulatedWorker, Step
from devices.worker import Limits, Predictor


@dataclass(frozen=True)
class Growing:
    """Iterations grow by `growth_s` with each KV token."""

    growth_s: float = 0.0

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), self.growth_s, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 1.0 + self.growth_s * kv_tokens + sum(new for new, _ in chunks) / 100


LIMITS = Limits(kv_tokens=10_000, max_seqs=8, hard_slots=False, max_batched_tokens=1000, max_context_tokens=8000)


def worker(predictor: Predictor, *, skip: bool = True) -> SimulatedWorker:
    return SimulatedWorker(predictor, LIMITS, skip=skip, list_decoded=True)


def ends(steps: list[Step]) -> list[float]:
    """When each iteration ended."""
    return [
        step.start_s + j * step.gap_s + step.growth_s * j * (j - 1) / 2
        for step in steps
        for j in range(1, step.iterations + 1)
    ]


def drained(simulated: SimulatedWorker) -> list[Step]:
    steps = simulated.advance(max(simulated._now, 0.0))
    while simulated.next_event_s < math.inf:
        steps += simulated.advance(simulated.next_event_s)
    return steps


@pytest.mark.parametrize("skip", [True, False])
def test_the_iteration_under_way_keeps_its_time_and_the_next_ones_take_the_new_one(skip: bool) -> None:
    simulated = worker(Growing(), skip=skip)
    simulated.submit(Sequence("a", 100, 6), 0.0)
    simulated.repace(Slowed(Growing(), 3.0), 3.5)
    assert ends(drained(simulated)) == [2.0, 3.0, 4.0, 7.0, 10.0, 13.0]


@pytest.mark.parametrize("skip", [True, False])
def test_an_iteration_that_begins_at_that_very_moment_is_under_way(skip: bool) -> None:
    simulated = worker(Growing(), skip=skip)
    simulated.submit(Sequence("a", 100, 5), 0.0)
    simulated.repace(Slowed(Growing(), 3.0), 3.0)
    assert ends(drained(simulated)) == [2.0, 3.0, 4.0, 7.0, 10.0]


def test_an_idle_worker_begins_at_its_new_pace() -> None:
    simulated = worker(Growing())
    simulated.repace(Slowed(Growing(), 3.0), 1.0)
    assert simulated.next_event_s == math.inf
    simulated.submit(Sequence("a", 100, 2), 1.0)
    assert ends(drained(simulated)) == [7.0, 10.0]


def test_the_tokens_a_sequence_has_made_are_told_in_mid_stretch() -> None:
    simulated, a = worker(Growing()), Sequence("a", 100, 9)
    simulated.submit(a, 0.0)
    assert [simulated.made_tokens(a, now) for now in (0.0, 1.9, 2.0, 2.9, 3.0, 6.5)] == [0, 0, 1, 1, 2, 5]


@given(
    lengths=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300), st.integers(1, 40)), min_size=1, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0.5, 1.0, 2.0, 4.0])), max_size=4),
)
def test_skipping_iterations_changes_nothing_whatever_the_pace(
    lengths: list[tuple[int, int, int]], changes: list[tuple[int, float]]
) -> None:
    calls = [(at + 0.3, 0, (inputs, outputs)) for at, inputs, outputs in lengths]
    calls += [(at + 0.6, 1, (factor, 0)) for at, factor in changes]  # type: ignore[misc]
    told = []
    for skip in (True, False):
        simulated = worker(Growing(2**-10), skip=skip)
        steps: list[Step] = []
        for number, (at, what, (value, outputs)) in enumerate(sorted(calls)):
            if what:
                simulated.repace(Slowed(Growing(2**-10), value), at)
            else:
                simulated.submit(Sequence(f"s{number}", int(value), outputs), at)
        steps += drained(simulated)
        told.append((ends(steps), [(step.end_s, [one.id for one in step.finished]) for step in steps if step.finished]))
    (fast, fast_ends), (slow, slow_ends) = told
    assert fast == pytest.approx(slow, abs=1e-9)
    assert [names for _, names in fast_ends] == [names for _, names in slow_ends]
    assert [at for at, _ in fast_ends] == pytest.approx([at for at, _ in slow_ends], abs=1e-9)
