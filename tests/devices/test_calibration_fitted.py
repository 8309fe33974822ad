"""The shipped fits, and the predictor made from them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.calibration.fitting import fits
from devices.calibration.reference import reference
from devices.catalog import device, model
from devices.fits.measurements import EndToEnd, Iteration
from devices.natures.choice import predictor, prior
from devices.natures.fitted import STACKS, FittedPredictor, find
from devices.natures.predictor_table import PredictorTable
from devices.profile import Precision


def fitted(device_id: str, model_id: str, chips: int, precision: Precision, chunk: int = 8192) -> FittedPredictor:
    found = find(device_id, model_id, "vllm", precision)
    assert found is not None
    profile, shape = device(device_id), model(model_id)
    return FittedPredictor.of(profile, shape, chips, precision, Precision.FP16, chunk, found.factors)


DENSE = fitted("h200-sxm", "llama-3.1-70b", 4, Precision.FP8)
MIXTURE = fitted("b200-sxm", "deepseek-v3", 8, Precision.FP4)
WINDOWED = fitted("h100-sxm", "gpt-oss-120b", 4, Precision.FP4)
SMALL = fitted("rtx-4090", "llama-3.1-8b", 1, Precision.BF16, 2048)
ALL = [DENSE, MIXTURE, WINDOWED, SMALL]

predictors = st.sampled_from(ALL)
batch, kv, tokens, context = st.integers(0, 400), st.integers(0, 10**6), st.integers(1, 40_000), st.integers(0, 10**5)


@given(predictors, batch, kv, st.lists(st.tuples(st.integers(1, 8192), context), max_size=3))
def test_every_step_takes_time_and_more_work_never_less(
    under: FittedPredictor, decodes: int, held: int, chunks: list[tuple[int, int]]
) -> None:
    before = under.step_s(decodes, held, chunks)
    assert 0 < before < math.inf
    assert under.step_s(decodes + 1, held, chunks) >= before
    assert under.step_s(decodes, held + 64, chunks) >= before
    assert under.step_s(decodes, held, [*chunks, (16, 0)]) >= before
    if chunks:
        (new, at), *rest = chunks
        assert under.step_s(decodes, held, [(new, at + 1), *rest]) >= before


@given(predictors, tokens, context)
def test_a_prefill_is_the_sum_of_its_chunks(under: FittedPredictor, new: int, cached: int) -> None:
    left, held, seconds = new, cached, 0.0
    while left:
        size = min(left, under.chunk_tokens)
        seconds += under.step_s(0, 0, [(size, held)])
        left, held = left - size, held + size
    assert under.prefill_s(new, cached) == pytest.approx(seconds, rel=1e-9)


@given(predictors, batch, kv)
def test_a_step_without_prompts_is_a_decode_step(under: FittedPredictor, decodes: int, held: int) -> None:
    assert under.step_s(decodes, held, []) == under.decode_step_s(decodes, held)


@given(st.lists(st.tuples(predictors, st.integers(1, 400), kv), min_size=1, max_size=9))
def test_the_numpy_twin_agrees(asked: list[tuple[FittedPredictor, int, int]]) -> None:
    table = PredictorTable([under for under, _, _ in asked])
    got = table.decode_step_s(np.array([b for _, b, _ in asked]), np.array([float(k) for _, _, k in asked]))
    assert got == pytest.approx([under.decode_step_s(b, k) for under, b, k in asked])


@pytest.mark.parametrize(
    ("chips", "concurrent", "prompt", "output", "measured_s"),
    [(1, 32, 1024, 1024, 0.0332), (4, 64, 1024, 1024, 0.01607), (8, 64, 1024, 1024, 0.01273)],
)
def test_what_was_measured_comes_out(chips: int, concurrent: int, prompt: int, output: int, measured_s: float) -> None:
    """InferenceX: Llama-3.1-70B in FP8 with vLLM on H200, single runs of which scatter."""
    under = fitted("h200-sxm", "llama-3.1-70b", chips, Precision.FP8)
    held = concurrent * (prompt + output / 2)
    step_s = under.decode_step_s(concurrent, held)
    beside_s = under.step_s(concurrent, held, [(prompt, 0)]) - step_s
    assert step_s + concurrent / output * beside_s == pytest.approx(measured_s, rel=0.15)


def test_a_group_that_was_measured_says_so() -> None:
    seen, unseen = (
        find("h200-sxm", "llama-3.1-70b", "vllm", Precision.FP8),
        find("h200-sxm", "qwen3-8b", "vllm", Precision.BF16),
    )
    assert seen is not None
    assert unseen is not None
    assert (seen.rows, unseen.rows) == (60, 0)
    assert seen.error < unseen.error
    assert "InferenceX" in seen.source


def test_devices_nobody_measured_have_no_fit() -> None:
    assert find("mi355x", "llama-3.1-70b", "vllm", Precision.FP8) is None
    assert find("tpu-v6e", "llama-3.1-8b", "vllm", Precision.BF16) is None  # only in a stack that is no engine


def test_devices_measured_by_iteration_only_stand_on_the_newest_stack() -> None:
    found = find("a100-80g-sxm", "qwen3-32b", "vllm", Precision.BF16)
    assert found is not None
    assert found.rows == 116
    assert "vllm aiconfigurator db" in STACKS


def test_a_worker_that_was_measured_is_predicted_by_its_fit_and_others_by_their_nature() -> None:
    seen = predictor(device("h200-sxm"), model("llama-3.1-70b"), 4, Precision.FP8, Precision.FP16)
    assert seen == fitted("h200-sxm", "llama-3.1-70b", 4, Precision.FP8, device("h200-sxm").max_batched_tokens)
    for name, shape, precision in (
        ("h200-sxm", "qwen3-8b", Precision.BF16),
        ("mi355x", "llama-3.1-70b", Precision.FP8),
    ):
        profile = device(name)
        got = predictor(profile, model(shape), 1, precision, Precision.FP16)
        assert got == prior(profile, model(shape), 1, precision, Precision.FP16, profile.max_batched_tokens)


def test_the_shipped_points_are_all_there() -> None:
    points = reference()
    assert sum(isinstance(row, Iteration) for row in points) == 4215
    assert sum(isinstance(row, EndToEnd) for row in points) == 3003


@pytest.mark.slow
def test_the_shipped_fits_are_what_their_points_give() -> None:
    from devices.natures.fitted import _shipped

    for name, fit in fits(reference(), "2026-11-22", lambda line: None).items():
        shipped = _shipped(name)
        assert shipped.rows == fit.rows
        for category, label in fit.pooled.effects:
            groups = {category: label}
            assert shipped.pooled.factors(groups) == pytest.approx(fit.pooled.factors(groups), rel=0.01)
