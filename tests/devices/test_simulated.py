"""The simulated worker, one behaviour a test. An iteration takes 1 s, plus 1 s for each 100 prompt tokens."""

from __future__ import annotations

import math

import pytest

from devices.simulated.engine import DoesNotFit, Sequence, SimulatedWorker, State, Step
from devices.worker import Limits


class Plain:
    """1 s an iteration, 1 s more for each 100 prompt tokens in it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, float, list[tuple[int, int]]]] = []

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        self.calls.append((decodes, kv_tokens, list(chunks)))
        return 1.0 + sum(new for new, _ in chunks) / 100


def worker(
    *,
    kv: int = 10_000,
    seqs: int = 8,
    budget: int = 1000,
    lease_s: float = 30.0,
    list_decoded: bool = True,
    skip: bool = False,
    prefix_tokens: int = 512,
    hard_slots: bool = False,
) -> SimulatedWorker:
    limits = Limits(
        kv_tokens=kv, max_seqs=seqs, hard_slots=hard_slots, max_batched_tokens=budget, max_context_tokens=8000
    )
    return SimulatedWorker(
        Plain(), limits, lease_s=lease_s, skip=skip, list_decoded=list_decoded, prefix_tokens=prefix_tokens
    )


def prompt(name: str, tokens: int = 100, output: int = 3, prefix: tuple[int, ...] = ()) -> Sequence:
    return Sequence(name, tokens, output, prefix=prefix)


def prefill_leg(name: str, tokens: int = 100) -> Sequence:
    return Sequence(name, tokens, 1, pin=True)


def decode_leg(name: str, transfer_s: float, tokens: int = 100, output: int = 2) -> Sequence:
    return Sequence(name, tokens, output, transfer_s=transfer_s)


def drained(simulated: SimulatedWorker) -> list[Step]:
    steps: list[Step] = []
    while simulated.next_event_s < math.inf:
        steps += simulated.advance(simulated.next_event_s)
    return steps


def token_times(steps: list[Step], sequence: Sequence) -> list[float]:
    return [step.end_s for step in steps if sequence in step.decoded]


def sizes(simulated: SimulatedWorker) -> list[tuple[int, float, list[tuple[int, int]]]]:
    predictor = simulated._predictor
    assert isinstance(predictor, Plain)
    return predictor.calls


def test_a_lone_sequence_prefills_then_decodes_one_token_an_iteration() -> None:
    simulated, a = worker(), prompt("a")
    simulated.submit(a, 5.0)
    assert (simulated.running, simulated.waiting, simulated.next_event_s) == (1, 0, 7.0)
    steps = drained(simulated)
    assert token_times(steps, a) == [7.0, 8.0, 9.0]
    assert [step.first for step in steps] == [[a], [], []]
    assert [step.finished for step in steps] == [[], [], [a]]
    assert [(step.tokens, step.prefilled_tokens) for step in steps] == [(1, 100), (1, 0), (1, 0)]
    assert (a.submitted_s, a.admitted_s, a.first_s, a.ended_s, a.state) == (5.0, 5.0, 7.0, 9.0, State.FINISHED)
    assert (simulated.submitted, simulated.finished, simulated.kv_tokens, simulated.running) == (1, 1, 0, 0)


def test_an_iteration_that_ends_after_now_is_not_reported() -> None:
    simulated = worker()
    simulated.submit(prompt("a"), 0.0)
    assert simulated.advance(1.999) == []
    assert [step.end_s for step in simulated.advance(2.0)] == [2.0]


def test_a_late_caller_gets_the_iterations_at_the_times_they_happened() -> None:
    simulated = worker()
    simulated.submit(prompt("a"), 0.0)
    assert [(step.start_s, step.end_s) for step in simulated.advance(60.0)] == [(0.0, 2.0), (2.0, 3.0), (3.0, 4.0)]


def test_an_arrival_joins_at_the_next_boundary() -> None:
    simulated, a, b = worker(), prompt("a"), prompt("b")
    simulated.submit(a, 0.0)
    simulated.submit(b, 0.5)
    assert simulated.waiting == 1
    assert token_times(drained(simulated), b)[0] == 4.0


def test_arrivals_of_one_instant_share_the_first_iteration_however_often_the_clock_is_read() -> None:
    simulated, a, b = worker(), prompt("a"), prompt("b")
    simulated.submit(a, 0.0)
    assert simulated.advance(0.0) == []
    simulated.submit(b, 0.0)
    drained(simulated)
    assert a.first_s == b.first_s == 3.0


def test_a_long_prompt_is_chunked_and_shares_its_iterations_with_decodes() -> None:
    simulated, a, b = worker(budget=50), prompt("a", 20, output=9), prompt("b", 100, output=1)
    simulated.submit(a, 0.0)
    simulated.submit(b, 0.5)
    drained(simulated)
    assert [chunks for _, _, chunks in sizes(simulated)][:4] == [[(20, 0)], [(49, 0)], [(49, 49)], [(2, 98)]]
    assert [decodes for decodes, _, _ in sizes(simulated)][:4] == [0, 1, 1, 1]
    assert [context for _, context, _ in sizes(simulated)][:4] == [0, 21, 22, 23]


def test_a_prompt_waits_while_decodes_use_the_whole_budget() -> None:
    simulated, a, b = worker(budget=2), prompt("a", 2, output=9), prompt("b", 2, output=9)
    late = prompt("late", 3, output=1)
    simulated.submit(a, 0.0)
    simulated.submit(b, 0.0)
    simulated.submit(late, 0.0)
    drained(simulated)
    assert max(decodes for decodes, _, _ in sizes(simulated)) == 2
    assert late.state is State.FINISHED


def test_a_half_done_prompt_pauses_while_decodes_use_the_whole_budget() -> None:
    simulated, a = worker(budget=2), prompt("a", 1, output=6)
    long = prompt("long", 9, output=1)
    simulated.submit(a, 0.0)
    simulated.submit(long, 0.0)
    simulated.submit(decode_leg("d", 0.5, output=2), 0.0)
    drained(simulated)
    assert (2, [()]) not in sizes(simulated)
    assert any(decodes == 2 and not chunks for decodes, _, chunks in sizes(simulated))
    assert long.state is State.FINISHED


def test_a_cached_prefix_is_not_computed_but_the_last_block_of_a_prompt_is() -> None:
    simulated = worker(prefix_tokens=32)
    simulated.submit(prompt("first", 96, output=1, prefix=(1, 2, 3)), 0.0)
    simulated.submit(prompt("part", 100, output=1, prefix=(1, 2, 7, 8)), 1.0)
    simulated.submit(prompt("all", 96, output=1, prefix=(1, 2, 3)), 1.0)
    drained(simulated)
    assert sizes(simulated)[-1] == (0, 0, [(36, 64), (32, 64)])


def test_a_prompt_hits_what_another_of_the_same_iteration_computes() -> None:
    simulated = worker(prefix_tokens=32)
    simulated.submit(prompt("first", 65, output=1, prefix=(1, 2, 3)), 0.0)
    simulated.submit(prompt("second", 65, output=1, prefix=(1, 2, 3)), 0.0)
    assert sizes(simulated)[-1] == (0, 0, [(65, 0), (1, 64)])
    assert simulated.kv_tokens == 64 + 2 * 16


def test_cached_prefixes_make_room_oldest_and_deepest_first() -> None:
    simulated = worker(kv=160, prefix_tokens=32)
    simulated.submit(prompt("old", 64, output=1, prefix=(1, 2)), 0.0)
    simulated.advance(2.0)
    simulated.submit(prompt("big", 100, output=1), 2.0)  # 7 of 10 blocks: of 2 x 2 cached ones, one id must go
    drained(simulated)
    again = prompt("again", 65, output=1, prefix=(1, 2, 3))
    simulated.submit(again, 90.0)
    assert again.cached_tokens == 32


def test_who_entered_last_is_preempted_and_computed_again_with_what_it_had_written() -> None:
    simulated, a, b = worker(kv=64), prompt("a", 30, output=6), prompt("b", 30, output=6)
    simulated.submit(a, 0.0)
    simulated.submit(b, 0.0)
    steps = drained(simulated)
    assert simulated.preemptions == 1
    assert token_times(steps, a) == [1.6, 2.6, 3.6, 4.6, 5.6, 6.6]
    assert token_times(steps, b)[:3] == [1.6, 2.6, 3.6]
    assert (b.admitted_s, b.last_s, b.first_s) == (0.0, 3.6, 1.6)
    assert sizes(simulated)[-3] == (0, 0, [(33, 0)])
    assert [step.resumed for step in steps if step.resumed] == [[b]]


def test_a_mark_is_told_when_so_many_tokens_are_made() -> None:
    simulated, a = worker(skip=True), prompt("a", 100, output=9)
    a.mark_tokens = 4
    simulated.submit(a, 0.0)
    simulated.advance(5.0)
    simulated.mark(a, 7, 5.0)
    assert [(step.end_s, step.marked) for step in drained(simulated)] == [(8.0, [a]), (10.0, [])]


def test_many_iterations_are_one_step_until_somebody_brings_news() -> None:
    simulated, a = worker(skip=True), prompt("a", 100, output=21)
    simulated.submit(a, 0.0)
    simulated.advance(2.0)
    assert simulated.next_event_s == 22.0
    simulated.submit(prompt("b", 100, output=1), 6.5)
    assert simulated.next_event_s == 7.0
    assert [(s.end_s, s.iterations, s.tokens) for s in drained(simulated)] == [(7.0, 5, 5), (9.0, 1, 2), (23.0, 14, 14)]


def test_admission_is_first_come_first_served_even_if_a_later_one_would_fit() -> None:
    simulated = worker(kv=312)
    big, bigger, small = prompt("big", 200), prompt("bigger", 300), prompt("small", 10)
    for sequence in (big, bigger, small):
        simulated.submit(sequence, 0.0)
    assert (simulated.running, simulated.waiting, simulated.kv_tokens) == (1, 2, 208)
    drained(simulated)
    assert bigger.admitted_s == big.ended_s
    assert small.admitted_s == bigger.ended_s


def test_kv_grows_by_the_block_and_where_slots_are_hard_it_is_reserved_for_the_whole_answer() -> None:
    paged, reserved = worker(), worker(hard_slots=True)
    for simulated in (paged, reserved):
        simulated.submit(prompt("a", 30, output=5), 0.0)
    assert (paged.kv_tokens, reserved.kv_tokens) == (32, 48)
    for simulated in (paged, reserved):
        simulated.advance(4.4)
    assert (paged.kv_tokens, reserved.kv_tokens) == (48, 48)


def test_no_more_than_max_seqs_run() -> None:
    simulated = worker(seqs=2)
    for name in "abc":
        simulated.submit(prompt(name), 0.0)
    assert (simulated.running, simulated.waiting) == (2, 1)
    drained(simulated)
    assert simulated.finished == 3


@pytest.mark.parametrize(("tokens", "output"), [(9000, 1), (7990, 11), (5000, 1)])
def test_a_sequence_that_never_fits_is_refused_at_once(tokens: int, output: int) -> None:
    simulated = worker(kv=4096)
    with pytest.raises(DoesNotFit, match=rf"sequence a: {tokens} prompt \+ {output} output tokens exceed"):
        simulated.submit(prompt("a", tokens, output=output), 0.0)
    assert simulated.submitted == 0


@pytest.mark.parametrize("bad", [Sequence("a", 0, 1), Sequence("a", 1, 0)])
def test_a_malformed_sequence_is_refused(bad: Sequence) -> None:
    with pytest.raises(ValueError, match="sequence a: needs"):
        worker().submit(bad, 0.0)


def test_an_id_is_used_once_while_it_waits_runs_or_is_pinned() -> None:
    simulated = worker(seqs=1)
    simulated.submit(prefill_leg("pinned"), 0.0)
    simulated.advance(2.0)
    simulated.submit(prompt("running"), 2.0)
    simulated.submit(prompt("waiting"), 2.0)
    for name in ("pinned", "running", "waiting"):
        with pytest.raises(ValueError, match=f"{name} is already on this worker"):
            simulated.submit(prompt(name), 2.0)


def test_time_never_runs_backwards() -> None:
    simulated = worker()
    simulated.advance(2.0)
    with pytest.raises(ValueError, match="time runs backwards"):
        simulated.advance(1.0)


def test_abort_frees_a_sequence_in_every_state() -> None:
    simulated = worker(budget=50, seqs=5)
    decoding, partial, waiting = prompt("decode", 40, output=20), prompt("prefill", 500), prompt("wait", 40)
    transferring, ready = decode_leg("transfer", 90.0), decode_leg("ready", 1.3)
    simulated.submit(decoding, 0.0)
    simulated.submit(ready, 0.1)
    simulated.submit(transferring, 0.1)
    simulated.advance(1.5)
    for sequence in (partial, waiting):
        simulated.submit(sequence, 1.5)
    simulated.advance(3.0)
    states = [s.state for s in (decoding, partial, waiting, transferring, ready)]
    assert states == [State.DECODE, State.PREFILL, State.WAITING, State.TRANSFER, State.READY]
    assert (simulated.running, simulated.waiting, simulated.transferring) == (3, 1, 1)
    assert all(simulated.abort(s.id, 3.1) for s in (decoding, partial, waiting, transferring, ready))
    assert (simulated.kv_tokens, simulated.running, simulated.waiting, simulated.transferring) == (0, 0, 0, 0)
    [step] = drained(simulated)[-1:]
    assert (step.tokens, step.first, step.finished) == (0, [], [])
    assert (simulated.aborted, simulated.finished, decoding.ended_s) == (5, 0, 3.1)


def test_abort_of_a_prompt_in_its_last_chunk_stops_its_first_token() -> None:
    simulated, a = worker(), prompt("a")
    simulated.submit(a, 0.0)
    assert simulated.abort("a", 1.0)
    [step] = drained(simulated)
    assert (step.tokens, step.end_s, a.state) == (0, 2.0, State.ABORTED)


def test_abort_of_a_decode_leg_in_its_first_iteration_stops_its_first_token() -> None:
    simulated = worker()
    simulated.submit(decode_leg("d", 1.0), 0.0)
    simulated.advance(1.0)
    assert simulated.abort("d", 1.5)
    [step] = drained(simulated)
    assert (step.first, step.tokens) == ([], 0)


def test_abort_of_what_has_ended_or_never_came_changes_nothing() -> None:
    simulated = worker()
    simulated.submit(prompt("a"), 0.0)
    drained(simulated)
    assert not simulated.abort("a", 10.0)
    assert not simulated.abort("ghost", 10.0)
    assert (simulated.finished, simulated.aborted) == (1, 0)


def test_abort_lets_the_next_in_the_queue_in() -> None:
    simulated = worker(kv=208)
    simulated.submit(prompt("a", 200), 0.0)
    simulated.submit(prompt("b", 200), 0.0)
    simulated.abort("a", 1.0)
    assert simulated.waiting == 1  # it joins when the iteration under way ends
    simulated.advance(3.0)
    assert (simulated.waiting, simulated.running) == (0, 1)


def test_a_decode_leg_reserves_kv_before_the_transfer_and_gets_its_first_token_one_iteration_after_it() -> None:
    simulated, leg = worker(), decode_leg("d", 5.0)
    simulated.submit(leg, 1.0)
    assert (simulated.kv_tokens, simulated.transferring, simulated.running) == (112, 1, 0)
    assert simulated.next_event_s == 6.0
    steps = drained(simulated)
    assert token_times(steps, leg) == [7.0, 8.0]
    assert [step.first for step in steps] == [[leg], []]
    assert sizes(simulated) == [(1, 100, []), (1, 101, [])]


def test_a_decode_leg_is_admitted_and_joins_when_an_iteration_begins() -> None:
    simulated, leg = worker(), decode_leg("d", 0.5)
    simulated.submit(prompt("a"), 0.0)
    simulated.submit(leg, 0.5)
    assert leg.state is State.WAITING
    simulated.advance(2.75)
    assert (leg.admitted_s, leg.kv_ready_s, leg.state) == (2.0, 2.5, State.READY)
    drained(simulated)
    assert leg.first_s == 4.0


def test_the_transfer_starts_only_when_there_is_room() -> None:
    simulated, leg = worker(kv=208), decode_leg("d", 4.0, 200)
    simulated.submit(prompt("a", 200), 0.0)
    simulated.submit(leg, 1.0)
    assert leg.state is State.WAITING
    drained(simulated)
    assert leg.admitted_s == 5.0
    assert leg.kv_ready_s == 9.0
    assert leg.first_s == 10.0


def test_kv_travels_into_a_worker_one_after_another() -> None:
    simulated, first, second, later = worker(), decode_leg("a", 2.0), decode_leg("b", 3.0), decode_leg("c", 1.0)
    simulated.submit(first, 0.0)
    simulated.submit(second, 0.5)
    simulated.submit(later, 20.0)
    drained(simulated)
    assert (first.kv_ready_s, second.kv_ready_s, later.kv_ready_s) == (2.0, 5.0, 21.0)


def test_kv_that_takes_no_time_starts_decoding_at_once() -> None:
    simulated, leg = worker(), decode_leg("d", 0.0)
    simulated.submit(leg, 3.0)
    assert simulated.next_event_s == 3.0
    drained(simulated)
    assert leg.first_s == 4.0


def test_a_prefill_leg_keeps_its_kv_until_it_is_released() -> None:
    simulated = worker()
    simulated.submit(prefill_leg("p"), 0.0)
    assert not simulated.release("p", 1.0)  # not finished yet
    simulated.advance(2.0)
    assert (simulated.finished, simulated.pinned_tokens, simulated.kv_tokens, simulated.running) == (1, 112, 112, 0)
    assert not simulated.abort("p", 2.0)
    assert simulated.release("p", 3.0)
    assert not simulated.release("p", 3.0)
    assert (simulated.pinned_tokens, simulated.kv_tokens, simulated.next_event_s) == (0, 0, math.inf)


def test_a_lease_ends_by_itself_and_is_counted() -> None:
    simulated = worker(lease_s=10.0)
    simulated.submit(prefill_leg("p"), 0.0)
    simulated.advance(2.0)
    assert simulated.next_event_s == 12.0
    simulated.advance(12.0)
    assert (simulated.lease_expired, simulated.pinned_tokens, simulated.kv_tokens) == (1, 0, 0)
    assert simulated.renew("p", 12.0) is None


def test_a_renewed_lease_starts_anew_and_others_do_not() -> None:
    simulated, p = worker(lease_s=10.0), prefill_leg("p")
    simulated.submit(p, 0.0)
    simulated.submit(prefill_leg("q"), 0.0)
    simulated.advance(3.0)
    assert simulated.renew("p", 8.0) is p
    simulated.advance(13.0)
    assert simulated.lease_expired == 1
    assert simulated.renew("p", 17.0) is p
    assert simulated.next_event_s == 27.0


def test_pinned_kv_blocks_admission_until_the_lease_ends() -> None:
    simulated, b = worker(kv=208, lease_s=10.0), prompt("b", 200)
    simulated.submit(prefill_leg("p", 200), 0.0)
    simulated.submit(b, 1.0)
    drained(simulated)
    assert b.admitted_s == 13.0


def test_a_release_lets_the_next_in_at_once() -> None:
    simulated, b = worker(kv=208), prompt("b", 200)
    simulated.submit(prefill_leg("p", 200), 0.0)
    simulated.submit(b, 1.0)
    simulated.release("p", 4.0)
    assert b.admitted_s == 4.0


def test_without_the_list_of_decoded_a_step_still_counts_tokens() -> None:
    listed, counted = worker(), worker(list_decoded=False)
    for simulated in (listed, counted):
        simulated.submit(prompt("a"), 0.0)
        simulated.submit(decode_leg("d", 0.5), 0.0)
    with_list, without = drained(listed), drained(counted)
    assert [step.tokens for step in with_list] == [step.tokens for step in without] == [1, 2, 2]
    assert [len(step.decoded) for step in with_list] == [1, 2, 2]
    assert [step.decoded for step in without] == [(), (), ()]
