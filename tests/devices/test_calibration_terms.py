"""What an iteration is made of, and the mean iteration of a closed loop."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.calibration.closed_loop import FIRST_TERMS, Loop, running_most
from devices.calibration.measured_files import read
from devices.catalog import device, model
from devices.fits.measurements import EndToEnd, Setup, Side, Split
from devices.fits.terms import BULK_TOKENS, TERMS, Shape, Work
from devices.profile import Precision

LLAMA = Setup(device("h100-sxm"), model("llama-3.1-70b"), "vllm", "1", Precision.FP8)
MIXTURE = Setup(device("h200-sxm"), model("deepseek-v3"), "vllm", "1", Precision.FP8)
LOOPS = [
    row
    for row in read(Path(__file__).parent / "data" / "closed_loops.csv")
    if isinstance(row, EndToEnd) and row.declared
]


def seconds(setup: Setup = LLAMA, split: Split = Split(8), **work: float) -> dict[str, float]:  # noqa: B008
    shape = Shape.of(setup, split, Precision.FP16)
    return dict(zip(TERMS, shape.seconds(Work(**({"decodes": 0, "kv_tokens": 0} | work))), strict=True))


def test_reading_and_arithmetic_are_those_of_the_data_sheet() -> None:
    found = seconds(decodes=10, kv_tokens=1000)
    assert found["dense"] == pytest.approx(70.55e9 / 8 / 3.35e12, rel=0.01)
    assert found["kv"] == pytest.approx(1000 * 327_680 / 8 / 3.35e12)
    assert found["decode_flops"] == pytest.approx(10 * 2 * 70.55e9 / 8 / 1979e12, rel=0.01)


def test_prompts_cost_arithmetic_attention_and_a_launch() -> None:
    one, two = seconds(prompts=1, new_tokens=1000), seconds(prompts=1, new_tokens=2000)
    assert two["prompt_flops"] == pytest.approx(2 * one["prompt_flops"])
    assert two["pairs"] == pytest.approx(4 * one["pairs"])
    assert two["prompt_launch"] == one["prompt_launch"] > seconds(decodes=1)["prompt_launch"] == 0


def test_the_knee_is_in_the_transfers_of_long_chunks() -> None:
    assert seconds(prompts=1, new_tokens=BULK_TOKENS)["bulk"] == 0
    assert seconds(prompts=1, new_tokens=2 * BULK_TOKENS)["bulk"] > 0
    assert seconds(prompts=4, new_tokens=BULK_TOKENS)["bulk"] > 0  # together they are long
    assert seconds(split=Split(1), prompts=1, new_tokens=9999)["bulk"] == 0  # nothing to transfer


def test_one_chip_waits_for_no_other() -> None:
    found = seconds(split=Split(1), decodes=4, prompts=1, new_tokens=100)
    assert found["collective"] == found["transfer"] == 0


def test_a_mixture_reads_the_experts_its_tokens_hit() -> None:
    few, many = seconds(MIXTURE, decodes=1), seconds(MIXTURE, decodes=1000)
    assert few["experts"] / many["experts"] == pytest.approx(8 / 256, rel=0.01)
    assert seconds()["experts"] == 0


def test_half_a_prompt_an_iteration_hits_experts_half_the_time() -> None:
    none, half, one = (seconds(MIXTURE, decodes=1, prompts=p, new_tokens=500)["experts"] for p in (0, 0.5, 1))
    assert half == pytest.approx((none + one) / 2)


def test_copies_of_attention_read_more_weights_and_share_the_cache() -> None:
    one, eight = (seconds(MIXTURE, Split(8, copies, True), decodes=64, kv_tokens=64_000) for copies in (1, 8))
    assert eight["dense"] == pytest.approx(8 * one["dense"])
    assert eight["experts"] == one["experts"]
    assert eight["kv"] == pytest.approx(one["kv"] / 8)  # latent attention is kept whole on every chip of a copy


@given(st.sampled_from([LLAMA, MIXTURE]), st.integers(0, 500), st.integers(0, 10**6), st.integers(0, 4),
       st.integers(0, 9000), st.integers(0, 50_000))  # fmt: skip
def test_more_of_anything_never_takes_less(
    setup: Setup, decodes: int, kv: int, prompts: int, new: int, context: int
) -> None:
    shape = Shape.of(setup, Split(8), Precision.FP16)
    work = Work(decodes, kv, prompts, new, context)
    before = shape.seconds(work)
    assert min(before) >= 0
    for more in (
        replace(work, decodes=decodes + 1),
        replace(work, kv_tokens=kv + 100),
        replace(work, prompts=prompts + 1),
        replace(work, new_tokens=new + 1),
        replace(work, context_tokens=context + 1),
    ):
        assert all(b <= m + 1e-15 for b, m in zip(before, shape.seconds(more), strict=True))


def loop(concurrency: float, prompt: int = 1024, output: int = 1024, **changes: object) -> EndToEnd:
    row = EndToEnd("i", LLAMA, prompt, output, concurrency, None, Side(1, Split(8)), 0.1, 0.01, "s")
    return replace(row, **changes)  # type: ignore[arg-type]


def test_all_clients_decode_while_the_cache_lasts() -> None:
    assert Loop.of(loop(64)).running == 64
    assert Loop.of(loop(64)).waiting == 0


def test_beyond_the_cache_clients_wait_for_a_slot() -> None:
    most = running_most(LLAMA, Split(2), 8192 + 1024)
    full = Loop.of(loop(512, 8192, decode=Side(1, Split(2))))
    assert full.running == pytest.approx(most)
    assert full.waiting == pytest.approx((512 - most) / most)
    slot = FIRST_TERMS.index("slot")
    assert full.first_token(0.02)[slot] == pytest.approx(full.waiting * 1024 * 0.02)
    assert Loop.of(loop(4)).first_token(0.02)[slot] == 0


def test_a_model_that_leaves_no_room_still_runs_one() -> None:
    assert running_most(MIXTURE, Split(4), 10**6) >= 1


def test_prompts_burden_the_steps_only_where_they_run() -> None:
    together = dict(zip(TERMS, Loop.of(loop(64)).step, strict=True))
    apart = Loop.of(loop(64, prefill=Side(4, Split(8))))
    assert together["prompt_flops"] > 0 == dict(zip(TERMS, apart.step, strict=True))["prompt_flops"]


def test_a_starved_decode_worker_runs_fewer_than_there_are_clients() -> None:
    fed, starved = (Loop.of(loop(512, 8192, 128, prefill=Side(n, Split(8)))).running for n in (64, 1))
    assert starved < fed / 4
    queue = FIRST_TERMS.index("queue")
    long, short = (Loop.of(loop(512, 8192, 128, prefill=Side(n, Split(8)))).first_token(0.01)[queue] for n in (1, 64))
    assert long > 10 * short


@pytest.mark.parametrize("row", LOOPS[::9], ids=lambda row: row.id)
def test_every_term_of_a_published_run_is_finite_and_not_negative(row: EndToEnd) -> None:
    found = Loop.of(row)
    for terms in (found.step, found.first_token(0.02)):
        assert all(0 <= term < 1e5 for term in terms)
    assert 1 <= found.running <= max(row.concurrency, 1)
