"""The naive twin against runs worked out on paper: small enough to check by reading."""

import math
from dataclasses import dataclass

import pytest
from engine_oracle import Asked, Oracle, TooLong

from devices.worker import Limits


@dataclass(frozen=True)
class Paper:
    """An iteration in whole and binary fractions of seconds, so that sums on paper are exact."""

    fixed_s: float = 0.0
    prompt_token_s: float = 0.0
    decode_s: float = 0.0
    kv_token_s: float = 0.0

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        prompt = sum(new for new, _ in chunks)
        return self.fixed_s + self.prompt_token_s * prompt + self.decode_s * decodes + self.kv_token_s * kv_tokens

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), self.kv_token_s, math.inf


FLAT = Paper(fixed_s=1.0)
PER_TOKEN = Paper(prompt_token_s=1.0, decode_s=1.0)


def oracle(
    under: Paper = FLAT,
    *,
    blocks: int = 100,
    block_size: int = 4,
    max_seqs: int = 10,
    budget: int = 100,
    hard_slots: bool = False,
    lease_s: float = 10.0,
    prefix_tokens: int = 4,
) -> Oracle:
    limits = Limits(blocks * block_size, max_seqs, hard_slots, budget, 1000, block_size)
    return Oracle(under, limits, lease_s=lease_s, prefix_tokens=prefix_tokens)


def test_a_prompt_is_cut_into_chunks_of_the_budget() -> None:
    engine = oracle(Paper(fixed_s=1.0, prompt_token_s=1.0, kv_token_s=1 / 8), budget=4)
    engine.submit(Asked("a", 10, 2), 0.0)
    engine.run(100.0)
    # 4 + 4 + 2 tokens: 5 s, 5 s, 3 s; then one decode that leaves 11 tokens: 1 + 11/8 s
    assert engine.tokens == {"a": [13.0, 15.375]}


def test_who_cannot_enter_stops_those_behind() -> None:
    engine = oracle(blocks=4)
    engine.submit(Asked("a", 8, 2), 0.0)  # 2 blocks, at 1 s a third
    engine.submit(Asked("b", 12, 1), 0.0)  # 3 blocks: not before a ends
    engine.submit(Asked("c", 1, 1), 0.0)  # 1 block would be free
    engine.run(100.0)
    assert engine.tokens == {"a": [1.0, 2.0], "b": [3.0], "c": [3.0]}


def test_the_last_to_enter_is_preempted_first_and_the_queue_keeps_their_order() -> None:
    engine = oracle(blocks=3)
    for id in "abc":
        engine.submit(Asked(id, 3, 4), 0.0)
    engine.run(100.0)
    # At 2 s all hold 4 tokens: a takes c's block, then b is the last itself. Both come back with 3 + 2 tokens to
    # compute, 2 blocks each: b when a has ended (4 s), c when b has (6 s).
    assert engine.tokens == {"a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, 2.0, 5.0, 6.0], "c": [1.0, 2.0, 7.0, 8.0]}
    assert engine.preemptions == 2


def test_a_half_done_prompt_without_room_preempts_itself() -> None:
    engine = oracle(blocks=4, budget=5)
    engine.submit(Asked("a", 4, 5), 0.0)  # 1 block, a second one from 1 s on
    engine.submit(Asked("b", 10, 1), 0.0)  # chunks of 1 (0 s), 4 (1 s), then no third block at 2 s
    engine.run(100.0)
    # anew from 3 s: chunks of 4 (3 s), 4 (4 s), 2 (5 s)
    assert engine.tokens == {"a": [1.0, 2.0, 3.0, 4.0, 5.0], "b": [6.0]}
    assert engine.preemptions == 1


def test_a_sequence_alone_beside_pinned_blocks_waits_for_the_lease_to_end() -> None:
    engine = oracle(blocks=3)
    engine.submit(Asked("x", 8, 1, pin=True), 0.0)  # 2 blocks from 0 s to 1 + 10 s
    engine.submit(Asked("a", 4, 2), 1.0)  # the third; at 2 s it needs a fourth
    engine.run(100.0)
    assert engine.tokens == {"x": [1.0], "a": [2.0, 12.0]}
    assert engine.ends == [(1.0, "x", "finished"), (11.0, "x", "expired"), (12.0, "a", "finished")]
    assert engine.preemptions == 1


def test_a_batch_that_was_preempted_whole_tries_admission_at_the_same_instant() -> None:
    engine = oracle(blocks=3, budget=4)
    engine.submit(Asked("x", 8, 1, pin=True), 0.0)  # two chunks: pinned at 2 s
    engine.submit(Asked("a", 4, 2), 2.0)
    engine.run(5.5)
    # a at 3 s: preempted, 5 tokens to compute, 4 of which fit into its budget and the free block; so at 4 and 5 s again
    assert (engine.tokens["a"], engine.preemptions) == ([3.0], 3)
    assert engine.release("x", 5.5)
    engine.run(100.0)  # 6 s: room for the fifth token
    assert (engine.tokens["a"], engine.preemptions) == ([3.0, 7.0], 3)


def test_cached_prefixes_are_not_computed_again_and_go_deepest_first() -> None:
    engine = oracle(PER_TOKEN, blocks=6, block_size=2)
    engine.submit(Asked("a", 9, 1, (1, 2)), 0.0)  # leaves 1 and 2 in 4 blocks, 2 the first to go
    engine.submit(Asked("b", 9, 1, (1, 3)), 9.0)  # finds 1; 3 new blocks, 2 empty: 2 goes
    engine.submit(Asked("c", 5, 1, (1, 2)), 14.0)  # finds 1
    engine.submit(Asked("d", 4, 1, (1,)), 15.0)  # one token at least is computed, and by whole ids
    engine.submit(Asked("e", 11, 1), 19.0)  # takes all 6 blocks
    engine.submit(Asked("f", 5, 1, (1,)), 30.0)  # finds nothing
    engine.run(100.0)
    assert engine.tokens == {"a": [9.0], "b": [14.0], "c": [15.0], "d": [19.0], "e": [30.0], "f": [35.0]}
    assert engine.cached == {"a": [0], "b": [4], "c": [4], "d": [0], "e": [0], "f": [0]}


def test_a_prefix_under_way_is_shared_and_counted_once() -> None:
    engine = oracle(PER_TOKEN, blocks=4)
    engine.submit(Asked("a", 9, 3, (1, 2)), 0.0)  # 3 blocks
    engine.submit(Asked("b", 9, 3, (1, 2)), 0.0)  # both ids are a's: 1 more
    engine.run(0.0)
    assert (engine.cached["b"], engine.kv_tokens) == ([8], 8)
    engine.run(100.0)
    assert engine.tokens == {"a": [10.0, 12.0, 14.0], "b": [10.0, 12.0, 14.0]}
    assert engine.preemptions == 0


def test_a_lease_lives_from_the_latest_renewal_and_ends_before_calls_of_its_instant() -> None:
    engine = oracle()
    engine.submit(Asked("x", 4, 1, pin=True), 0.0)
    engine.submit(Asked("y", 4, 1, pin=True), 0.0)
    renewed = engine.renew("x", 6.0)
    assert renewed is not None
    assert renewed.id == "x"
    assert engine.release("y", 7.0)
    assert engine.renew("x", 16.0) is None
    assert not engine.release("x", 16.0)
    assert engine.ends[2:] == [(7.0, "y", "released"), (16.0, "x", "expired")]


def test_a_decode_leg_computes_its_last_prompt_token_when_its_cache_has_arrived() -> None:
    engine = oracle(Paper(fixed_s=1.0, kv_token_s=1 / 8), blocks=2)
    engine.submit(Asked("a", 5, 2, transfer_s=3.0), 0.0)  # 1 block for 4 tokens; at 3 s the second
    engine.run(100.0)
    assert engine.tokens == {"a": [3 + 1 + 5 / 8, 4.625 + 1 + 6 / 8]}


def test_cache_that_arrives_during_an_iteration_waits_for_its_end() -> None:
    engine = oracle()
    engine.submit(Asked("a", 2, 4), 0.0)
    engine.submit(Asked("now", 2, 1, transfer_s=0.0), 0.0)  # joins at 1 s: the iteration had begun
    engine.submit(Asked("half", 2, 1, transfer_s=0.5), 0.0)  # joins at 1 s
    engine.submit(Asked("late", 2, 1, transfer_s=1.0), 0.0)  # travels after it, joins at 2 s
    engine.submit(Asked("idle", 2, 1, transfer_s=0.0), 9.0)  # nothing under way: joins at once
    engine.run(100.0)
    assert engine.tokens == {"a": [1.0, 2.0, 3.0, 4.0], "half": [2.0], "now": [2.0], "late": [3.0], "idle": [10.0]}


def test_a_decode_leg_takes_of_the_budget_of_a_half_done_prompt() -> None:
    engine = oracle(budget=4, blocks=4)
    engine.submit(Asked("long", 10, 1), 0.0)  # chunks of 4, then 3 and 3 beside the leg
    engine.submit(Asked("leg", 4, 4, transfer_s=0.5), 0.0)
    engine.run(100.0)
    # blocks at 2 s: the leg 2 (its fifth token), long 2 and a third wanted for 10 tokens: it preempts itself;
    # anew at 3 s: 3 tokens beside the leg, at 4 s 3 more, at 5 s 4
    assert engine.tokens == {"leg": [2.0, 3.0, 4.0, 5.0], "long": [6.0]}
    assert engine.preemptions == 1


def test_an_arrived_decode_leg_without_room_goes_before_the_half_done_prompt_ahead_of_it() -> None:
    engine = oracle(budget=4, blocks=2)
    engine.submit(Asked("long", 5, 1), 0.0)  # 1 block, at 1 s a second
    engine.submit(Asked("leg", 5, 3, transfer_s=0.5), 0.0)  # 1 block, at 1 s it joins and needs a second
    engine.run(100.0)
    # at 1 s the leg is the last; at 2 s it comes back with 5 tokens, 4 and 1
    assert engine.tokens == {"long": [2.0], "leg": [4.0, 5.0, 6.0]}
    assert engine.preemptions == 1


def test_a_preempted_decode_leg_comes_back_as_a_prompt() -> None:
    engine = oracle(PER_TOKEN, blocks=3)
    engine.submit(Asked("a", 4, 4), 0.0)  # 1 block, a second at 4 s
    engine.submit(Asked("leg", 5, 4, transfer_s=1.0), 0.0)  # 1 block; wants a second at 4 s, when it joins
    engine.run(100.0)
    # at 4 s a takes the last free block, the leg is the last and goes; alone a needs 1 s each, to 7 s;
    # then 5 tokens at once, three decodes
    assert engine.tokens == {"a": [4.0, 5.0, 6.0, 7.0], "leg": [12.0, 13.0, 14.0, 15.0]}
    assert engine.cached["leg"] == [0, 0]  # as a leg, then as a prompt


def test_hard_slots_take_all_blocks_at_the_door() -> None:
    engine = oracle(blocks=4, hard_slots=True)
    engine.submit(Asked("a", 4, 8, (1,)), 0.0)  # 3 blocks
    engine.submit(Asked("b", 5, 3, (1,)), 0.0)  # 2 blocks: not before a ends, and no cache
    engine.submit(Asked("c", 3, 1), 0.0)  # 1 block would be free
    engine.run(100.0)
    assert engine.tokens["a"] == [float(t) for t in range(1, 9)]
    assert (engine.tokens["b"], engine.tokens["c"]) == ([9.0, 10.0, 11.0], [9.0])
    assert (engine.preemptions, engine.cached["b"]) == (0, [0])


def test_a_submission_at_the_very_start_of_an_iteration_joins_it() -> None:
    engine = oracle(PER_TOKEN, budget=4)
    engine.submit(Asked("a", 3, 1), 0.0)
    engine.submit(Asked("b", 2, 1), 0.0)  # 1 token of it fits
    engine.submit(Asked("c", 1, 1), 2.0)  # under way since 0 s
    engine.run(100.0)
    assert engine.tokens == {"a": [4.0], "b": [6.0], "c": [6.0]}


def test_nothing_joins_an_iteration_that_began_with_a_preemption() -> None:
    engine = oracle(blocks=3)
    for id in "abc":
        engine.submit(Asked(id, 3, 4), 0.0)
    engine.run(2.0)
    assert engine.preemptions == 2
    assert engine.abort("b", 2.0)
    assert engine.abort("c", 2.0)
    engine.submit(Asked("d", 1, 1), 2.0)  # a block is free, but this begin was one of preemptions
    engine.run(100.0)
    assert (engine.tokens["a"], engine.tokens["d"]) == ([1.0, 2.0, 3.0, 4.0], [4.0])


def test_who_joins_after_an_abort_at_the_same_instant_finds_the_budget_but_not_the_time_taken() -> None:
    engine = oracle(PER_TOKEN, budget=6)
    engine.submit(Asked("a", 3, 1), 0.0)
    engine.submit(Asked("b", 2, 1), 0.0)
    engine.abort("a", 0.0)
    engine.submit(Asked("c", 2, 1), 0.0)  # 1 token of it fits beside the 5; 3 are computed
    engine.run(100.0)
    assert engine.tokens == {"b": [3.0], "c": [4.0]}


def test_an_aborted_sequence_leaves_its_iteration_as_long_as_it_was() -> None:
    engine = oracle(PER_TOKEN)
    engine.submit(Asked("a", 3, 2), 0.0)
    engine.submit(Asked("b", 2, 2), 0.0)
    assert engine.abort("b", 1.0)
    assert not engine.abort("b", 1.0)
    engine.submit(Asked("c", 2, 1), 2.0)
    assert engine.abort("a", 5.0)  # after its token; the iteration with c began at that instant
    engine.run(100.0)
    assert engine.tokens == {"a": [5.0], "c": [8.0]}


def test_what_can_never_run_is_refused_and_leaves_nothing() -> None:
    engine = oracle(blocks=3)
    for too_long in (Asked("a", 12, 1), Asked("b", 1, 1000)):
        with pytest.raises(TooLong):
            engine.submit(too_long, 0.0)
    engine.submit(Asked("c", 11, 1), 0.0)
    for wrong in (Asked("d", 0, 1), Asked("e", 1, 0), Asked("c", 1, 1)):
        with pytest.raises(ValueError):
            engine.submit(wrong, 0.0)
    engine.run(100.0)
    assert engine.tokens == {"c": [1.0]}
