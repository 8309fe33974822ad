from hypothesis import given
from hypothesis import strategies as st

from loadgen.row import Row, chain, chained

prompts = st.lists(st.integers(0, 5), max_size=6).map(tuple)


@given(prompts, prompts)
def test_chained_ids_are_equal_exactly_where_all_before_them_are(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    a, b = chain(one), chain(other)
    assert a[:shared] == b[:shared]
    assert not set(a[shared:]) & set(b[shared:])
    assert len(set(a)) == len(one)


@given(prompts)
def test_chained_ids_fit_in_signed_columns_and_another_lap_shares_none(ids: tuple[int, ...]) -> None:
    assert all(0 <= block < 2**63 for block in chain(ids))
    assert not set(chain(ids)) & set(chain(ids, lap=1))


def test_rows_without_ids_pass_unchanged() -> None:
    plain, named = Row(0, 0.0, 5, 1, (), "c"), Row(1, 0.5, 600, 2, (7, 7), "c")
    first, second = chained([plain, named])
    assert first is plain
    assert (second.index, second.arrival_s, second.input_tokens, second.output_tokens) == (1, 0.5, 600, 2)
    assert (second.hash_ids, second.client) == (chain((7, 7)), "c")
    assert len(set(second.hash_ids)) == 2
