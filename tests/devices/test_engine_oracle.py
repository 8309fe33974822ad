"""The engine that skips iterations against the naive twin that lives through each of them."""

import pytest
from engine_oracle import Asked
from engine_pairs import Pair, assert_agree_in_pairs, pairs
from engine_stories import TICK_S, Call, Story, TickPredictor, device_stories, tick_stories
from engine_told import NEAR_S, Looks, assert_agree, assert_agree_however_often_asked
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.worker import Limits

looks = st.lists(st.booleans(), min_size=1, max_size=5).map(lambda pattern: lambda n: pattern[n % len(pattern)])


def story(*calls: Call, blocks: int = 100, block_size: int = 1, budget: int = 100, prefix_tokens: int = 1) -> Story:
    """One tick for every token."""
    limits = Limits(blocks * block_size, 10, False, budget, 1000, block_size)
    return Story(TickPredictor(0, token=1, knee=1000), limits, 10_000 * TICK_S, prefix_tokens, calls)


def submit(
    id: str,
    prompt_tokens: int,
    output_tokens: int,
    *,
    after: int = 0,
    prefix: tuple[int, ...] = (),
    pin: bool = False,
    transfer: int | None = None,
) -> Call:
    """So many ticks after the call before."""
    transfer_s = None if transfer is None else transfer * TICK_S
    asked = Asked(id, prompt_tokens, output_tokens, prefix, pin, transfer_s)
    return Call(after * TICK_S, 0, "submit", asked)


def abort(id: str, *, after: int = 0) -> Call:
    return Call(after * TICK_S, 0, "abort", id=id)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(
            story(
                submit("long", 2, 1),
                submit("one", 1, 1, transfer=0),
                submit("two", 2, 1, transfer=0),
                blocks=3,
                budget=1,
            ),
            id="decode legs that arrive are behind a half-done prompt",
        ),
        pytest.param(
            story(submit("a", 3, 1), submit("b", 2, 1), abort("a"), submit("c", 2, 1)),
            id="who joins after an abort does not compute the aborted prompt",
        ),
        pytest.param(
            story(submit("a", 3, 5), abort("a"), submit("c", 2, 1)),
            id="nor when nobody else was in the iteration",
        ),
        pytest.param(
            # b is preempted with three tokens made; its fourth, the marked one (4 * 31 % 6), completes its prompt anew
            story(submit("a", 3, 4), submit("b", 4, 6), blocks=11),
            id="a marked token may be the first after a preemption",
        ),
        pytest.param(
            story(
                submit("old", 48, 1, prefix=(2,)),
                submit("leg", 98, 1, after=1, transfer=1),
                submit("new", 49, 1, prefix=(2,)),
                blocks=10,
                block_size=12,
                budget=11,
                prefix_tokens=48,
            ),
            id="the admission before may have evicted what the next one hoped to find",
        ),
        pytest.param(
            # at 12 a, alone beside pinned blocks, is preempted and begins anew: b may not join that begin
            story(
                submit("x", 8, 1, pin=True),
                submit("a", 4, 2, after=8),
                submit("b", 1, 1, after=4, transfer=0),
                blocks=3,
                block_size=4,
                budget=4,
                prefix_tokens=4,
            ),
            id="nobody joins a begin that preempted all and admitted anew",
        ),
        pytest.param(
            # a decodes all the time; x never fits beside it and stops y; at 9 an iteration of a ends and one begins
            story(
                submit("a", 4, 20),
                submit("x", 36, 1, after=1),
                submit("y", 1, 1),
                abort("x", after=8),
                submit("z", 1, 1),
                blocks=10,
                block_size=4,
                prefix_tokens=4,
            ),
            id="who was stopped by an aborted one joins with the next submission at that instant",
        ),
    ],
)
def test_what_was_once_told_differently_comes_when_the_twin_says(told: Story) -> None:
    assert_agree(told, 0.0)


# Some stories for every commit


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


# Many for every change of the engine


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
