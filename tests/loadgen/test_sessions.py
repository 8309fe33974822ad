from collections import defaultdict
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.lengths import Lognormal
from loadgen.row import BLOCK_TOKENS, Row, blocks
from loadgen.sessions import ANSWER_S_PER_TOKEN, Sessions

TALK = Sessions(
    first=Lognormal(700, 0.5),
    more=Lognormal(300, 0.5),
    output=Lognormal(100, 0.5),
    turns=4,
    think_p50_s=10,
    think_sigma=0.5,
    shared=Lognormal(1500, 0.2),
    applications=3,
    most_tokens=6000,
)
LONE = Sessions(first=Lognormal(700, 0.5), output=Lognormal(100, 0.5))


def until(duration_s: float, sessions: Sessions = TALK, rate_per_s: float = 5.0, seed: int = 1) -> list[Row]:
    return list(takewhile(lambda row: row.arrival_s < duration_s, sessions.rows(rate_per_s, "poisson", seed)))


def by_session(rows: list[Row]) -> list[list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row.client].append(row)
    return list(found.values())


@pytest.mark.parametrize("sessions", [TALK, LONE])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_requests_come_at_the_rate_asked_for_from_the_first_second_on(sessions: Sessions, seed: int) -> None:
    rows = until(1000, sessions, seed=seed)
    assert len(rows) == pytest.approx(5000, rel=0.1)
    assert sum(row.arrival_s < 200 for row in rows) == pytest.approx(1000, rel=0.2)


def test_rows_are_in_order_of_arrival_and_counted() -> None:
    rows = until(100)
    assert all(one.arrival_s <= other.arrival_s for one, other in pairwise(rows))
    assert [row.index for row in rows] == list(range(len(rows)))
    assert rows[0].arrival_s >= 0


@given(seed=st.integers(0, 2**32), rate_per_s=st.floats(0.5, 20))
def test_the_same_seed_gives_the_same_rows(seed: int, rate_per_s: float) -> None:
    one, other = (list(islice(TALK.rows(rate_per_s, "poisson", seed), 20)) for _ in range(2))
    assert one == other


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short = until(50)
    assert until(120)[: len(short)] == short
    assert until(50, seed=2) != short


def test_sessions_have_the_mean_number_of_turns() -> None:
    middle = [turns for turns in by_session(until(3000)) if 500 < turns[0].arrival_s < 2000]
    assert sum(map(len, middle)) / len(middle) == pytest.approx(4, rel=0.1)


def test_a_turn_comes_after_the_answer_to_the_one_before() -> None:
    for turns in by_session(until(300)):
        for before, after in pairwise(turns):
            assert after.arrival_s > before.arrival_s + ANSWER_S_PER_TOKEN * before.output_tokens


def test_each_prompt_holds_all_that_was_said_before_unless_it_was_cut_back() -> None:
    grown = cut = 0
    for turns in by_session(until(1000)):
        for before, after in pairwise(turns):
            whole = before.input_tokens // BLOCK_TOKENS
            if after.input_tokens > before.input_tokens + before.output_tokens:
                assert after.hash_ids[:whole] == before.hash_ids[:whole]
                grown += 1
            else:
                assert after.hash_ids[:whole] != before.hash_ids[:whole]
                cut += 1
    assert grown > 10 * cut > 0


def test_no_prompt_is_longer_than_the_context() -> None:
    assert max(row.input_tokens for row in until(1000)) <= 6000


def test_ids_are_one_per_block_and_a_chain() -> None:
    parents: dict[int, int | None] = {}
    for row in until(500):
        assert len(row.hash_ids) == blocks(row.input_tokens)
        for parent, block in pairwise((None, *row.hash_ids)):
            assert parents.setdefault(block, parent) == parent


def test_partly_filled_blocks_are_never_found_again() -> None:
    seen: set[int] = set()
    for row in until(500):
        if row.input_tokens % BLOCK_TOKENS:
            assert row.hash_ids[-1] not in seen
        seen.update(row.hash_ids)


def test_sessions_share_the_system_prompts_and_nothing_else() -> None:
    users = defaultdict(set)
    for row in until(500):
        for position, block in enumerate(row.hash_ids):
            users[position, block].add(row.client)
    shared = {key for key, clients in users.items() if len(clients) > 1}
    assert 3 <= len(shared) <= 3 * 6
    popular = sorted((len(clients) for (position, _), clients in users.items() if position == 0), reverse=True)
    assert popular[0] > 1.3 * popular[1] > 1.3 * popular[2] > 0


def test_requests_of_their_own_share_nothing() -> None:
    rows = until(200, LONE)
    ids = [block for row in rows for block in row.hash_ids]
    assert len(set(ids)) == len(ids)
    assert len({row.client for row in rows}) == len(rows)
