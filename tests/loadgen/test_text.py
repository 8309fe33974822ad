import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.text import block, prompt
from loadgen.trace import Row


@given(tokens=st.integers(1, 5000), index=st.integers(0, 10**9), seed=st.integers(0, 5))
def test_a_prompt_has_four_bytes_per_token(tokens: int, index: int, seed: int) -> None:
    text = prompt(Row(index, 0.0, tokens, 1), seed)
    assert len(text.encode()) == 4 * tokens


def test_rows_without_hash_ids_share_no_prefix() -> None:
    heads = {prompt(Row(index, 0.0, 600, 1))[:16] for index in range(2000)}
    assert len(heads) == 2000
    assert prompt(Row(0, 0.0, 600, 1), seed=1) != prompt(Row(0, 0.0, 600, 1), seed=2)


def test_very_long_prompts_are_filled_to_the_end() -> None:
    assert len(prompt(Row(0, 0.0, 200_000, 1))) == 800_000


def test_equal_leading_hash_ids_are_equal_leading_bytes() -> None:
    one = prompt(Row(0, 0.0, 1200, 1, hash_ids=(1, 2, 3)))
    other = prompt(Row(1, 0.0, 1500, 1, hash_ids=(1, 2, 4)))
    assert one[:4096] == other[:4096]
    assert one[4096:] != other[4096:4800]
    assert len(one) == 4800


def test_a_block_is_the_same_text_in_every_run() -> None:
    assert len(block(7)) == 2048
    assert block(7).isascii()
    assert block(7)[:16] == BLOCK_7


BLOCK_7 = "ohx yrg aqp kdr "


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5])
def test_the_shortest_prompts_are_filled_too(tokens: int) -> None:
    assert len(prompt(Row(5, 0.0, tokens, 1))) == 4 * tokens
