"""The engine plays a story, and what it tells is laid beside what the oracle knows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine_oracle import Asked, Life, Oracle
from engine_stories import TICK_S, Story, Timed, told
from hypothesis import currently_in_test_context, note

from devices.simulated.engine import SimulatedWorker
from devices.simulated.sequence import Sequence, Step

NEAR_S = 1e-9
"""On devices' figures sums differ in their last bits; ticks are exact."""

Looks = Callable[[int], bool]


@dataclass
class Told:
    """What one engine told of itself.

    Attributes:
        sequences: all it accepted, in order.
        tokens: when each of their tokens came.
        load: (running or transferring, waiting, tokens pinned) after each call.
    """

    engine: SimulatedWorker
    sequences: list[Sequence] = field(default_factory=list)
    tokens: dict[Sequence, list[float]] = field(default_factory=lambda: defaultdict(list))
    firsts: dict[Sequence, float] = field(default_factory=dict)
    finishes: list[tuple[float, str]] = field(default_factory=list)
    marks: dict[Sequence, float] = field(default_factory=dict)
    answers: list[object] = field(default_factory=list)
    load: list[tuple[int, int, int]] = field(default_factory=list)
    prefilled_tokens: int = 0

    def hear(self, steps: Iterable[Step]) -> None:
        for step in steps:
            ends = [
                step.start_s + j * step.gap_s + step.growth_s * (j * (j - 1) / 2) for j in range(1, step.iterations + 1)
            ]
            assert abs(ends[-1] - step.end_s) <= NEAR_S
            assert step.tokens == len(step.decoded) * step.iterations
            for sequence in step.decoded:
                self.tokens[sequence] += ends
            self.firsts |= dict.fromkeys(step.first, step.end_s)
            self.marks |= dict.fromkeys(step.marked, step.end_s)
            self.finishes += [(step.end_s, sequence.id) for sequence in step.finished]
            self.prefilled_tokens += step.prefilled_tokens


def worker(story: Story, *, skip: bool = True) -> SimulatedWorker:
    return SimulatedWorker(
        story.predictor,
        story.limits,
        lease_s=story.lease_s,
        skip=skip,
        list_decoded=True,
        prefix_tokens=story.prefix_tokens,
    )


def sequence(asked: Asked) -> Sequence:
    return Sequence(
        asked.id,
        asked.prompt_tokens,
        asked.output_tokens,
        prefix=asked.prefix,
        pin=asked.pin,
        transfer_s=asked.transfer_s,
        mark_tokens=mark_of(asked),
    )


def mark_of(asked: Asked) -> int:
    """Some token of it after the first; none (0) for most short ones."""
    mark = asked.prompt_tokens * 31 % asked.output_tokens
    return mark if mark > 1 else 0


def played(
    story: Story, calls: list[Timed], *, skip: bool = True, look: Looks = lambda _: False, loads: bool = False
) -> Told:
    """The calls of a story at their moments; `look` says before which of them the engine is asked for news.

    What a call starts at its own instant, as a transfer of 0 s, is seen in the load once the engine has been asked.
    """
    heard = Told(worker(story, skip=skip))
    engine, before = heard.engine, 0.0
    for number, call in enumerate(calls):
        if look(number):
            heard.hear(engine.advance((before + call.now) / 2))
            heard.hear(engine.advance(call.now))
        heard.answers.append(_answer(heard, call))
        if loads:
            heard.hear(engine.advance(call.now))
            heard.load.append((engine.running + engine.transferring, engine.waiting, engine.pinned_tokens))
        before = call.now
    finish_engine(heard, before)
    return heard


def finish_engine(heard: Told, now: float) -> None:
    heard.hear(heard.engine.advance(now))
    while heard.engine.next_event_s < math.inf:
        heard.hear(heard.engine.advance(heard.engine.next_event_s))
    engine = heard.engine
    assert (engine.running, engine.waiting, engine.transferring, engine.kv_tokens, engine.pinned_tokens) == (0,) * 5


def _answer(heard: Told, call: Timed) -> object:
    match call.verb:
        case "abort":
            return heard.engine.abort(call.id, call.now)
        case "release":
            return heard.engine.release(call.id, call.now)
        case "renew":
            return heard.engine.renew(call.id, call.now) is not None
    assert call.asked is not None
    new = sequence(call.asked)
    try:
        heard.engine.submit(new, call.now)
    except ValueError:  # DoesNotFit is one
        return False
    heard.sequences.append(new)
    return True


def assert_same(oracle: Oracle, heard: Told, near_s: float) -> None:
    """Every life of the oracle beside the sequence that stands for it."""
    assert len(heard.sequences) == len(oracle.lives)
    for life, twin in zip(oracle.lives, heard.sequences, strict=True):
        assert_same_times(life.asked.id, heard.tokens[twin], life.tokens, near_s)
        assert_same_life(life, twin, heard, near_s)
    finishes = [(t, id) for t, id, how in oracle.ends if how == "finished"]
    assert [id for _, id in heard.finishes] == [id for _, id in finishes]
    assert_same_times("finishes", [t for t, _ in heard.finishes], [t for t, _ in finishes], near_s)
    engine, how_many = heard.engine, Counter(how for _, _, how in oracle.ends)
    assert engine.preemptions == oracle.preemptions
    assert engine.submitted == len(oracle.lives)
    assert (engine.finished, engine.aborted) == (how_many["finished"], how_many["aborted"])
    assert engine.lease_expired == how_many["expired"]
    assert heard.prefilled_tokens == oracle.prefilled_tokens


def assert_same_life(life: Life, twin: Sequence, heard: Told, near_s: float) -> None:
    assert twin.cached_tokens == (life.cached or [0])[0]
    if life.tokens:
        assert_same_times("first", [twin.first_s, heard.firsts[twin]], [life.tokens[0]] * 2, near_s)
    assert (twin in heard.firsts) == bool(life.tokens)
    mark = mark_of(life.asked)
    assert (twin in heard.marks) == (0 < mark <= len(life.tokens)), f"{life.asked.id}: token {mark} was marked"
    if twin in heard.marks:
        assert_same_times("mark", [heard.marks[twin]], [life.tokens[mark - 1]], near_s)


def assert_same_times(what: str, fast: list[float], naive: list[float], near_s: float) -> None:
    apart = [n for n, (a, b) in enumerate(zip(fast, naive, strict=False), 1) if not abs(a - b) <= near_s]
    apart += [] if len(fast) == len(naive) else [min(len(fast), len(naive)) + 1]
    assert not apart, f"{what}, from number {apart[0]} on: {_in_ticks(fast)} instead of {_in_ticks(naive)}"


def _in_ticks(times: list[float]) -> list[float]:
    return [t / TICK_S for t in times]


def assert_agree(story: Story, near_s: float) -> None:
    oracle, calls = told(story)
    show(trace(oracle, calls))
    heard = played(story, calls, loads=True)
    assert heard.answers == [call.answer for call in calls]
    loads = [(call.now / TICK_S, fast, call.load) for call, fast in zip(calls, heard.load, strict=True)]
    assert [load for load in loads if load[1] != load[2]] == []
    assert_same(oracle, heard, near_s)


def assert_agree_however_often_asked(story: Story, look: Looks, near_s: float) -> None:
    oracle, calls = told(story)
    show(trace(oracle, calls))
    for skip in (True, False):
        heard = played(story, calls, skip=skip, look=look)
        assert heard.answers == [call.answer for call in calls]
        assert_same(oracle, heard, near_s)


def show(story: str) -> None:
    """With a failure that hypothesis reports."""
    if currently_in_test_context():
        note(story)


def trace(oracle: Oracle, calls: list[Timed]) -> str:
    """In ticks, for whoever has to understand a failure."""
    lines = [
        f"{call.now / TICK_S:g} {call.verb} {call.asked or call.id} -> {call.answer} {call.load}" for call in calls
    ]
    lines += [f"[{a / TICK_S:g}, {b / TICK_S:g}]: {d} decodes, {p} prompt tokens" for a, b, d, p in oracle.iterations]
    lines += [f"{life.asked.id}: {_in_ticks(life.tokens)} {life.end[1]} cached {life.cached}" for life in oracle.lives]
    return "\n".join(lines)
