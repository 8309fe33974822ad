import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.catalog import device, model
from devices.economics.operating_point import Bound, OperatingPoint, Promise, Unkept, Workload, operating_point
from devices.feasibility import limits
from devices.natures.choice import predictor
from devices.profile import Precision
from devices.worker import Limits, Predictor

TIGHT = Promise(ttft_s=1.0, tpot_s=0.05)


@dataclass(frozen=True)
class Linear:
    """10 ms an iteration, 1 ms a decode, 10 us a prompt token, 1 us a token of context it looks back on."""

    fixed_s: float = 0.010
    decode_s: float = 0.001
    token_s: float = 10e-6
    context_s: float = 1e-6

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.fixed_s + self.decode_s * sequences

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        prompts = sum(self.token_s * new + self.context_s * context for new, context in chunks)
        return self.decode_step_s(decodes, kv_tokens) + prompts


def room(
    *, kv_tokens: int = 10**9, max_seqs: int = 512, hard: bool = False, budget: int = 2048, context: int = 10**6
) -> Limits:
    return Limits(kv_tokens, max_seqs, hard, budget, context)


def kept(paced: Predictor, limits: Limits, workload: Workload, promise: Promise = TIGHT) -> OperatingPoint:
    point = operating_point(paced, limits, workload, promise)
    assert isinstance(point, OperatingPoint)
    return point


def test_tpot_ends_the_growth_of_a_roomy_worker() -> None:
    # 101 decode iterations a sequence, 1000 prompt tokens in one of them: 10 + B + 10 * B / 101 <= 50 ms
    point = kept(Linear(), room(), Workload(1000, 102))
    assert point.bound is Bound.TPOT
    assert point.batch == int(40 / (1 + 10 / 101))
    assert point.tpot_s == pytest.approx(0.010 + 0.001 * point.batch * (1 + 10 / 101))
    assert point.requests_per_s == pytest.approx(point.batch / 101 / point.tpot_s)


@pytest.mark.parametrize(
    ("limits", "batch", "bound"),
    [
        (room(max_seqs=7), 7, Bound.SLOTS),
        (room(kv_tokens=10_510), 10, Bound.MEMORY),  # 1051 tokens held on average
        (room(kv_tokens=10_510, hard=True), 9, Bound.MEMORY),  # 1102 set aside where nothing can be preempted
    ],
)
def test_slots_and_memory_end_it_sooner(limits: Limits, batch: int, bound: Bound) -> None:
    point = kept(Linear(), limits, Workload(1000, 102))
    assert (point.batch, point.bound) == (batch, bound)


def test_a_promise_on_the_first_token_leaves_room_for_bursts_of_prompts() -> None:
    prompts = Workload(1000, 3)
    loose, tight = Promise(ttft_s=10.0), Promise(ttft_s=0.15)
    assert kept(Linear(), room(), prompts, tight).batch < kept(Linear(), room(), prompts, loose).batch
    assert kept(Linear(), room(), prompts, tight).bound is Bound.TTFT
    assert kept(Linear(), room(), prompts, tight).ttft_s <= 0.15


def test_the_rate_at_which_prompts_are_taken_in_bounds_short_answers() -> None:
    point = kept(Linear(), room(budget=600), Workload(1000, 3), Promise())
    assert point.bound is Bound.PREFILL
    # two answers' worth of decode iterations for each prompt of 1000 tokens
    assert point.batch / 2 * 1000 <= 600 - point.batch


def test_a_long_prompt_is_cut_by_the_token_budget_and_its_chunks_follow_one_another() -> None:
    long = Workload(10_000, 1001)
    point = kept(Linear(), room(budget=1000), long, Promise(kept=0.9))
    whole = kept(Linear(), room(budget=20_000), long, Promise(kept=0.9))
    assert point.ttft_s > whole.ttft_s


@pytest.mark.parametrize(
    ("workload", "promise", "bound"),
    [
        (Workload(1000, 102), Promise(tpot_s=0.005), Bound.TPOT),
        (Workload(1000, 102), Promise(ttft_s=0.005), Bound.TTFT),
        (Workload(10**6, 102), Promise(), Bound.CONTEXT),
    ],
)
def test_what_a_single_sequence_cannot_keep_is_said(workload: Workload, promise: Promise, bound: Bound) -> None:
    point = operating_point(Linear(), room(), workload, promise)
    assert isinstance(point, Unkept)
    assert point.bound is bound
    assert point.tpot_s > 0.010


def test_fewer_late_first_tokens_take_more_waiting_into_account() -> None:
    prompts, limits = Workload(1000, 5), room(max_seqs=12)
    strict, lax = (
        kept(Linear(), limits, prompts, Promise(kept=0.99)),
        kept(Linear(), limits, prompts, Promise(kept=0.9)),
    )
    assert strict.ttft_s > lax.ttft_s
    assert strict.tpot_s == lax.tpot_s


@given(
    prompt=st.integers(1, 20_000),
    output=st.integers(2, 3000),
    cached_share=st.floats(0, 0.9),
    seqs=st.integers(1, 256),
    budget=st.integers(300, 9000),
)
def test_the_seconds_of_a_requests_tokens_add_up_to_the_workers_time_for_it(
    prompt: int, output: int, cached_share: float, seqs: int, budget: int
) -> None:
    workload = Workload(prompt, output, int(prompt * cached_share))
    point = operating_point(Linear(), room(max_seqs=seqs, budget=budget), workload, Promise())
    if isinstance(point, Unkept):
        return
    spent = (
        workload.fresh_tokens * point.input_s
        + workload.cached_tokens * point.cached_s
        + workload.output_tokens * point.output_s
    )
    assert spent == pytest.approx(1 / point.requests_per_s)
    assert min(point.input_s, point.cached_s, point.output_s) >= 0


def test_a_cached_token_costs_the_attention_paid_to_it_and_a_fresh_one_its_arithmetic_too() -> None:
    half = kept(Linear(), room(), Workload(2000, 102, cached_tokens=1000))
    none = kept(Linear(), room(), Workload(1000, 102))
    assert half.cached_s == pytest.approx(1e-6)
    assert none.cached_s == pytest.approx(1e-6)
    assert half.input_s > 10e-6


def test_a_decode_step_that_hides_a_prompt_shares_the_saving_evenly() -> None:
    @dataclass(frozen=True)
    class Flat(Linear):
        """10 ms whatever the step holds."""

        decode_s: float = 0.0
        token_s: float = 0.0
        context_s: float = 0.0

    point = kept(Flat(), room(max_seqs=101), Workload(1000, 102))  # a prompt in every iteration
    assert point.input_s * 1000 == pytest.approx(0.005)
    assert point.output_s * 102 == pytest.approx(0.005)


def test_padded_shapes_are_filled_to_a_bucket_and_not_just_beyond() -> None:
    @dataclass(frozen=True)
    class Padded(Linear):
        def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
            return self.fixed_s + self.decode_s * 2 ** math.ceil(math.log2(max(1, sequences)))

    point = kept(Padded(token_s=0.0, context_s=0.0), room(max_seqs=33), Workload(1000, 102), Promise())
    assert point.batch == 32


def test_faster_means_the_same_latencies_and_every_token_in_less_time() -> None:
    point = kept(Linear(), room(), Workload(1000, 102))
    twice = point.faster(2.0)
    assert (twice.ttft_s, twice.tpot_s) == (point.ttft_s, point.tpot_s)
    assert twice.requests_per_s == 2 * point.requests_per_s
    assert twice.output_s == point.output_s / 2


@pytest.mark.parametrize("wrong", [(10, 1, 0), (10, 5, 10), (10, 5, -1)])
def test_a_workload_needs_something_to_prefill_and_something_to_decode(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="needs 2 output tokens or more"):
        Workload(*wrong)


def test_a_tighter_promise_never_serves_more_on_a_real_device() -> None:
    h200, llama = device("h200-sxm"), model("llama-3.1-70b")
    paced = predictor(h200, llama, 4, Precision.FP8, Precision.FP16)
    fits = limits(h200, llama, 4, Precision.FP8, Precision.FP16)
    rates = [
        kept(paced, fits, Workload(1000, 500), Promise(2.0, tpot_s)).requests_per_s
        for tpot_s in (0.02, 0.04, 0.08, 0.2)
    ]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
