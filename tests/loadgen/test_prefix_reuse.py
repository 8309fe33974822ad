from hypothesis import given
from hypothesis import strategies as st

from loadgen.prefix_reuse import PrefixCache
from loadgen.row import BLOCK_TOKENS, chain

stories = st.lists(st.lists(st.integers(0, 2), max_size=5).map(tuple).map(chain), max_size=30)


def replayed(story: list[tuple[int, ...]], most_tokens: int | None) -> PrefixCache:
    cache = PrefixCache(most_tokens)
    for ids in story:
        cache.prompt(ids)
    return cache


@given(stories)
def test_an_endless_cache_finds_the_longest_prefix_of_any_earlier_prompt(story: list[tuple[int, ...]]) -> None:
    naive = 0
    for now, ids in enumerate(story):
        naive += max((sum(ids[: i + 1] == old[: i + 1] for i in range(len(ids))) for old in story[:now]), default=0)
    assert replayed(story, None).hit_blocks == naive


@given(stories, st.integers(0, 12))
def test_a_small_cache_is_a_list_in_order_of_last_use(story: list[tuple[int, ...]], most_blocks: int) -> None:
    kept: list[int] = []
    naive = 0
    for ids in story:
        naive += next((at for at, block in enumerate(ids) if block not in kept), len(ids))
        for block in reversed(ids):
            kept = [block, *(other for other in kept if other != block)]
        kept = kept[:most_blocks]
    assert replayed(story, most_blocks * BLOCK_TOKENS).hit_blocks == naive


@given(stories)
def test_a_larger_cache_never_finds_less(story: list[tuple[int, ...]]) -> None:
    found = [replayed(story, blocks * BLOCK_TOKENS).hit_blocks for blocks in range(40)]
    assert found == sorted(found)
    assert replayed(story, 1000 * BLOCK_TOKENS).hit_blocks == replayed(story, None).hit_blocks
