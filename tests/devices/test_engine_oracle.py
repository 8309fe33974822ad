"""The engine that skips iterations against the naive twin that lives through each of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from engine_oracle import Asked, Life, Oracle
from engine_stories import TICK_S, Story, Timed, device_stories, finish, oracle_of, tick_stories, told
from hypothesis import given, note, settings
from hypothesis import strategies as st

from devices.simulated.engine import SimulatedWorker
from devices.simulated.sequence import DoesNotFit, Sequence, Step

NEAR_S = 1e-9
"""On devices' figures sums differ in their last bits; ticks are exact."""

Looks = Callable[[int], bool]
looks = st.lists(st.booleans(), min_size=1, max_size=5).map(lambda pattern: lambda n: pattern[n % len(pattern)])


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
            ends = [step.start_s + j * step.gap_s + step.growth_s * (j * (j - 1) / 2) for j in _from_1(step.iterations)]
            assert ends[-1] == pytest.approx(step.end_s, abs=NEAR_S)
            assert step.tokens == len(step.decoded) * step.iterations
            for sequence in step.decoded:
                self.tokens[sequence] += ends
            self.firsts |= dict.fromkeys(step.first, step.end_s)
            self.marks |= dict.fromkeys(step.marked, step.end_s)
            self.finishes += [(step.end_s, sequence.id) for sequence in step.finished]
            self.prefilled_tokens += step.prefilled_tokens


def _from_1(count: int) -> range:
    return range(1, count + 1)


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
        mark_tokens=_mark(asked),
    )


def _mark(asked: Asked) -> int:
    """Some token of it after the first; none (0) for most short ones."""
    mark = asked.prompt_tokens * 31 % asked.output_tokens
    return mark if mark > 1 else 0


def played(story: Story, calls: list[Timed], *, skip: bool = True, look: Looks = lambda _: False) -> Told:
    """The calls of a story at their moments; `look` says before which of them the engine is asked for news."""
    heard = Told(worker(story, skip=skip))
    engine, before = heard.engine, 0.0
    for number, call in enumerate(calls):
        if look(number):
            heard.hear(engine.advance((before + call.now) / 2))
            heard.hear(engine.advance(call.now))
        heard.answers.append(_answer(heard, call))
        load = engine.running + engine.transferring, engine.waiting, engine.pinned_tokens
        heard.load.append(load)
        before = call.now
    finish_fast(heard, before)
    return heard


def finish_fast(heard: Told, now: float) -> None:
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
    except (DoesNotFit, ValueError):
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
    engine, how_many = heard.engine, defaultdict(int)
    for _, _, how in oracle.ends:
        how_many[how] += 1
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
    mark = _mark(life.asked)
    assert (twin in heard.marks) == (0 < mark <= len(life.tokens)), f"{life.asked.id}: token {mark} was marked"
    if twin in heard.marks:
        assert_same_times("mark", [heard.marks[twin]], [life.tokens[mark - 1]], near_s)


def assert_same_times(what: str, fast: list[float], naive: list[float], near_s: float) -> None:
    same = len(fast) == len(naive) and all(abs(a - b) <= near_s for a, b in zip(fast, naive, strict=True))
    assert same, f"{what}: {_in_ticks(fast)} instead of {_in_ticks(naive)}"


def _in_ticks(times: list[float]) -> list[float]:
    return [t / TICK_S for t in times]


def assert_agree(story: Story, near_s: float) -> None:
    oracle, calls = told(story)
    note(_trace(oracle, calls))
    heard = played(story, calls)
    assert heard.answers == [call.answer for call in calls]
    loads = [(call.now / TICK_S, fast, call.load) for call, fast in zip(calls, heard.load, strict=True)]
    assert [load for load in loads if load[1] != load[2]] == []
    assert_same(oracle, heard, near_s)


def assert_agree_however_often_asked(story: Story, look: Looks, near_s: float) -> None:
    oracle, calls = told(story)
    note(_trace(oracle, calls))
    for skip in (True, False):
        heard = played(story, calls, skip=skip, look=look)
        assert heard.answers == [call.answer for call in calls]
        assert_same(oracle, heard, near_s)


def _trace(oracle: Oracle, calls: list[Timed]) -> str:
    """In ticks, for whoever has to understand a failure."""
    lines = [
        f"{call.now / TICK_S:g} {call.verb} {call.asked or call.id} -> {call.answer} {call.load}" for call in calls
    ]
    lines += [f"[{a / TICK_S:g}, {b / TICK_S:g}]: {d} decodes, {p} prompt tokens" for a, b, d, p in oracle.iterations]
    lines += [f"{life.asked.id}: {_in_ticks(life.tokens)} {life.end[1]} cached {life.cached}" for life in oracle.lives]
    return "\n".join(lines)


# Two engines: a prompt is computed on one, its KV goes to the other


@dataclass(frozen=True)
class Pair:
    prefill: Story
    decode: Story


pairs = st.builds(Pair, tick_stories(), tick_stories())


def client_calls(pair: Pair) -> list[tuple[float, str, Asked | None, str]]:
    """Requests and cancellations; the story of the decode side only gives its device."""
    now, calls = 0.0, []
    for call in pair.prefill.calls:
        now += call.wait_s + 37 * call.events * TICK_S
        calls.append((now, call.verb, call.asked, call.id))
    return calls


def legs(asked: Asked) -> tuple[Asked, Asked]:
    transfer_s = asked.prompt_tokens % 7 * TICK_S * 10 if asked.transfer_s is None else asked.transfer_s
    first = Asked(asked.id, asked.prompt_tokens, 1, asked.prefix, pin=True)
    return first, Asked(asked.id, asked.prompt_tokens, asked.output_tokens, asked.prefix, transfer_s=transfer_s)


def handed_over_naively(pair: Pair) -> tuple[Oracle, Oracle]:
    a, b = oracle_of(pair.prefill), oracle_of(pair.decode)
    second: dict[str, Asked] = {}
    calls, now, seen = client_calls(pair), 0.0, 0
    under_way: list[Life] = []
    while True:
        arrivals = [life.arrives_s for life in under_way]
        now = max(now, min([a.next_event_s, b.next_event_s, *arrivals, *(call[0] for call in calls[:1])]))
        if now == math.inf:
            return a, b
        a.run(now)
        b.run(now)
        news, seen = a.ends[seen:], len(a.ends)
        for _, id, how in news:
            if how == "finished":
                try:
                    b.submit(second[id], now)
                    under_way.append(b.lives[-1])
                except ValueError:
                    a.release(id, now)
        for life in list(under_way):
            if life.arrives_s <= now or life.end[1]:
                under_way.remove(life)
                a.release(life.asked.id, now)
        if calls and calls[0][0] == now:
            _, verb, asked, id = calls.pop(0)
            if verb == "abort":
                _ = a.abort(id, now) or b.abort(id, now)
            elif verb == "renew":
                a.renew(id, now)
            elif asked is not None and asked.id not in second:
                first, second[asked.id] = legs(asked)
                try:
                    a.submit(first, now)
                except ValueError:
                    continue


def handed_over(pair: Pair) -> tuple[Told, Told]:
    a, b = Told(worker(pair.prefill)), Told(worker(pair.decode))
    second: dict[str, Asked] = {}
    calls, now, seen = client_calls(pair), 0.0, 0
    under_way: list[Sequence] = []
    while True:
        arrivals = [leg.kv_ready_s for leg in under_way if not math.isnan(leg.kv_ready_s)]
        events = a.engine.next_event_s, b.engine.next_event_s
        now = max(now, min([*events, *arrivals, *(call[0] for call in calls[:1])]))
        if now == math.inf:
            return a, b
        a.hear(a.engine.advance(now))
        b.hear(b.engine.advance(now))
        news, seen = a.finishes[seen:], len(a.finishes)
        for _, id in news:
            leg = sequence(second[id])
            try:
                b.engine.submit(leg, now)
                b.sequences.append(leg)
                under_way.append(leg)
            except DoesNotFit:
                a.engine.release(id, now)
        for leg in list(under_way):
            if leg.kv_ready_s <= now or not math.isnan(leg.ended_s):
                under_way.remove(leg)
                a.engine.release(leg.id, now)
        if calls and calls[0][0] == now:
            _, verb, asked, id = calls.pop(0)
            if verb == "abort":
                _ = a.engine.abort(id, now) or b.engine.abort(id, now)
            elif verb == "renew":
                a.engine.renew(id, now)
            elif asked is not None and asked.id not in second:
                one, second[asked.id] = legs(asked)
                first = sequence(one)
                try:
                    a.engine.submit(first, now)
                    a.sequences.append(first)
                except DoesNotFit:
                    continue


def assert_agree_in_pairs(pair: Pair) -> None:
    naive_a, naive_b = handed_over_naively(pair)
    finish(naive_a)
    finish(naive_b)
    note(f"prefill\n{_trace(naive_a, [])}\ndecode\n{_trace(naive_b, [])}")
    fast_a, fast_b = handed_over(pair)
    assert_same(naive_a, fast_a, 0.0)
    assert_same(naive_b, fast_b, 0.0)


# The properties, a few stories each for every commit and many for every release


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tick_stories())
def test_every_token_comes_exactly_when_the_twin_says(story: Story) -> None:
    assert_agree(story, 0.0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(device_stories())
def test_on_every_nature_of_device_tokens_come_when_the_twin_says(story: Story) -> None:
    assert_agree(story, NEAR_S)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(tick_stories(), looks)
def test_nothing_depends_on_how_often_the_engine_is_asked(story: Story, look: Looks) -> None:
    assert_agree_however_often_asked(story, look, 0.0)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(pairs)
def test_two_engines_hand_over_exactly_as_two_twins_do(pair: Pair) -> None:
    assert_agree_in_pairs(pair)


@pytest.mark.slow
@settings(max_examples=1200, deadline=None, derandomize=True)
@given(tick_stories())
def test_every_token_of_many_stories_comes_exactly_when_the_twin_says(story: Story) -> None:
    assert_agree(story, 0.0)


@pytest.mark.slow
@settings(max_examples=800, deadline=None, derandomize=True)
@given(device_stories())
def test_on_every_nature_of_device_tokens_of_many_stories_come_when_the_twin_says(story: Story) -> None:
    assert_agree(story, NEAR_S)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.one_of(tick_stories(), device_stories()), looks)
def test_nothing_in_many_stories_depends_on_how_often_the_engine_is_asked(story: Story, look: Looks) -> None:
    assert_agree_however_often_asked(story, look, NEAR_S)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, derandomize=True)
@given(pairs)
def test_in_many_stories_two_engines_hand_over_exactly_as_two_twins_do(pair: Pair) -> None:
    assert_agree_in_pairs(pair)
