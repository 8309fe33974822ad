"""The three iteration models: properties they share, anchors they must hit, and what tells them apart."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices.catalog import device, model
from devices.natures.choice import predictor, prior
from devices.natures.fitted import FittedPredictor
from devices.natures.hbm import HbmPredictor
from devices.natures.padded import PaddedPredictor, bucket
from devices.natures.remote import RemotePredictor
from devices.natures.sram import SramPredictor
from devices.profile import Precision
from devices.roofline import experts_read, token_s
from devices.worker import Predictor

LLAMA_70B, LLAMA_8B, DEEPSEEK = model("llama-3.1-70b"), model("llama-3.1-8b"), model("deepseek-v3")
GPU = prior(device("h200-sxm"), LLAMA_70B, 4, Precision.FP8, Precision.FP16, 8192)
FITTED = predictor(device("h200-sxm"), LLAMA_70B, 4, Precision.FP8, Precision.FP16)
LPU = predictor(device("groq-lpu-v1"), LLAMA_70B, 576, Precision.INT8, Precision.FP16)
TPU = predictor(device("tpu-v6e"), LLAMA_70B, 8, Precision.BF16, Precision.BF16)
MIXTURE = predictor(device("h200-sxm"), DEEPSEEK, 8, Precision.FP8, Precision.BF16)
WAFER = predictor(device("cerebras-wse-3"), LLAMA_70B, 4, Precision.FP16, Precision.FP16)
ALL = [GPU, FITTED, LPU, TPU, MIXTURE, WAFER]

predictors = st.sampled_from(ALL)
batch = st.integers(0, 400)
kv = st.integers(0, 1_000_000)
tokens = st.integers(1, 40_000)
context = st.integers(0, 100_000)
chunk = st.tuples(st.integers(1, 8192), context)


def h100(chips: int, precision: Precision) -> Predictor:
    return predictor(device("h100-sxm"), LLAMA_70B, chips, precision, Precision.FP16)


def tpot_s(under: Predictor, concurrent: int, prompt: int, output: int) -> float:
    """Mean time per output token in a closed loop: each of `output` steps prefills its share of a prompt."""
    held = concurrent * (prompt + output / 2)
    step_s = under.decode_step_s(concurrent, held)
    beside_s = under.step_s(concurrent, held, [(prompt, 0)]) - step_s
    return step_s + concurrent / output * beside_s


@given(predictors, batch, kv, st.lists(chunk, max_size=4))
def test_every_step_takes_time(under: Predictor, decodes: int, held: int, chunks: list[tuple[int, int]]) -> None:
    assert 0 < under.step_s(decodes, held, chunks) < math.inf


@given(predictors, batch, kv)
def test_a_decode_step_is_a_step_without_chunks(under: Predictor, decodes: int, held: int) -> None:
    assert under.decode_step_s(decodes, held) == pytest.approx(under.step_s(decodes, held, []), rel=1e-12)


@given(predictors, batch, batch, kv)
def test_more_sequences_never_take_less_time(under: Predictor, fewer: int, more: int, held: int) -> None:
    fewer, more = sorted((fewer, more))
    assert under.decode_step_s(fewer, held) <= under.decode_step_s(more, held)


@given(predictors, batch, kv, kv)
def test_more_context_never_takes_less_time(under: Predictor, decodes: int, less: int, more: int) -> None:
    less, more = sorted((less, more))
    assert under.decode_step_s(decodes, less) <= under.decode_step_s(decodes, more)


@given(predictors, tokens, tokens, context)
def test_a_longer_prompt_never_takes_less_time(under: Predictor, shorter: int, longer: int, cached: int) -> None:
    shorter, longer = sorted((shorter, longer))
    assert 0 < under.prefill_s(shorter, cached) <= under.prefill_s(longer, cached) * (1 + 1e-9)


@given(predictors, tokens, context, context)
def test_prefill_after_a_longer_prefix_never_takes_less_time(under: Predictor, new: int, less: int, more: int) -> None:
    less, more = sorted((less, more))
    assert under.prefill_s(new, less) <= under.prefill_s(new, more)


@given(predictors, batch, kv, chunk)
def test_prefill_beside_decodes_never_shortens_a_step(
    under: Predictor, decodes: int, held: int, work: tuple[int, int]
) -> None:
    assert under.step_s(decodes, held, [work]) >= under.decode_step_s(decodes, held)


@given(st.sampled_from([(GPU, 8192), (FITTED, 8192), (MIXTURE, 8192), (TPU, 1024), (LPU, 128)]), tokens, context)
@example((LPU, 128), 256, 100)
def test_prefill_is_the_sum_of_its_chunks(case: tuple[Predictor, int], new: int, cached: int) -> None:
    under, budget = case
    seconds, left, held = 0.0, new, cached
    while left:
        size = min(left, budget)
        seconds += under.step_s(0, 0, [(size, held)])
        left, held = left - size, held + size
    assert under.prefill_s(new, cached) == pytest.approx(seconds, rel=1e-9)


# What the natures are.


def test_each_nature_has_its_own_model_and_what_was_measured_its_fit() -> None:
    assert isinstance(GPU, HbmPredictor)
    assert isinstance(FITTED, FittedPredictor)
    assert isinstance(LPU, SramPredictor)
    assert isinstance(TPU, PaddedPredictor)


def test_an_lpu_is_flat_in_batch_and_context_where_a_gpu_climbs() -> None:
    full = LPU.decode_step_s(23, 23 * 8192) / LPU.decode_step_s(1, 100)
    assert full < 1.02
    assert GPU.decode_step_s(256, 256 * 4096) / GPU.decode_step_s(1, 100) > 2


def test_an_lpu_slows_once_its_pipeline_is_full() -> None:
    assert LPU.decode_step_s(80, 0) == LPU.decode_step_s(1, 0)
    assert LPU.decode_step_s(160, 0) == pytest.approx(2 * LPU.decode_step_s(1, 0))


def test_a_prompt_chunk_rides_along_in_the_free_stages_of_an_lpu() -> None:
    assert LPU.step_s(16, 0, [(64, 0)]) == LPU.decode_step_s(16, 0)
    assert GPU.step_s(16, 0, [(64, 0)]) == pytest.approx(GPU.decode_step_s(16, 0), rel=0.01)  # still memory-bound
    assert GPU.step_s(16, 0, [(2048, 0)]) > 5 * GPU.decode_step_s(16, 0)


def test_a_tpu_climbs_in_steps_where_a_gpu_climbs_smoothly() -> None:
    assert TPU.decode_step_s(33, 0) == TPU.decode_step_s(64, 0) < TPU.decode_step_s(65, 0)
    assert GPU.decode_step_s(33, 0) < GPU.decode_step_s(64, 0) < GPU.decode_step_s(65, 0)
    assert TPU.prefill_s(513) == TPU.prefill_s(1000) < TPU.prefill_s(1025)


def test_a_mixture_reads_more_experts_the_more_tokens_it_has() -> None:
    one, many = MIXTURE.decode_step_s(1, 0), MIXTURE.decode_step_s(64, 0)
    dense = predictor(device("h200-sxm"), LLAMA_70B, 8, Precision.FP8, Precision.FP16)
    assert many / one > 3 > dense.decode_step_s(64, 0) / dense.decode_step_s(1, 0)


def test_the_parameters_a_mixture_always_reads_and_its_experts_add_up() -> None:
    shared, experts = experts_read(DEEPSEEK)
    assert shared + experts == pytest.approx(DEEPSEEK.parameters)
    assert shared + experts * 8 / 256 == pytest.approx(DEEPSEEK.active_parameters)


def test_a_device_without_a_published_link_pays_for_arithmetic_only() -> None:
    h200 = device("h200-sxm")
    bare = replace(h200, scaleup_bytes_per_s=0.0)
    assert token_s(bare, LLAMA_70B, 4, Precision.FP8) < token_s(h200, LLAMA_70B, 4, Precision.FP8)
    assert token_s(bare, LLAMA_70B, 1, Precision.FP8) == token_s(h200, LLAMA_70B, 1, Precision.FP8)


def test_a_smaller_token_budget_means_more_chunks() -> None:
    chunky = predictor(device("h200-sxm"), LLAMA_70B, 4, Precision.FP8, Precision.FP16, max_batched_tokens=256)
    assert chunky.prefill_s(4096) > GPU.prefill_s(4096)


@pytest.mark.parametrize(("size", "padded"), [(0, 0), (1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (33, 48)])
def test_sizes_are_rounded_up_to_buckets_and_then_to_multiples_of_the_largest(size: int, padded: int) -> None:
    assert bucket(size, (8, 16)) == padded


def test_an_api_takes_its_measured_medians_whatever_is_asked() -> None:
    api = RemotePredictor(ttft_s=0.3, tpot_s=0.01)
    assert api.prefill_s(1) == api.prefill_s(10_000) == api.step_s(3, 100, [(5, 0)]) == 0.3
    assert api.decode_step_s(1, 0) == api.decode_step_s(100, 1e6) == api.step_s(3, 100, []) == 0.01


# What was published. Bounds are ours, the figures are in the catalogue with their sources.


@pytest.mark.parametrize(("concurrent", "measured_s"), [(64, 0.0254), (128, 0.0354)])
def test_a_tpu_v6e_of_8_chips_serves_a_70b_model_as_fast_as_google_published(
    concurrent: int, measured_s: float
) -> None:
    assert tpot_s(TPU, concurrent, 1000, 1000) == pytest.approx(measured_s, rel=0.03)


@pytest.mark.parametrize(
    ("name", "chips", "concurrent", "prompt", "output", "measured_s"),
    [
        # Llama-3.1-70B fp8 on vLLM, public InferenceX samples
        ("h100-sxm", 2, 4, 1024, 8192, 0.01797),
        ("h100-sxm", 4, 8, 1024, 1024, 0.01211),
        ("h100-sxm", 8, 8, 8192, 1024, 0.01159),
        ("h200-sxm", 1, 32, 8192, 1024, 0.07574),
        ("h200-sxm", 2, 64, 8192, 1024, 0.07180),
        ("h200-sxm", 4, 64, 1024, 1024, 0.01607),
        ("h200-sxm", 8, 16, 1024, 8192, 0.00975),
    ],
)
def test_gpus_serve_a_70b_model_as_fast_as_measured(
    name: str, chips: int, concurrent: int, prompt: int, output: int, measured_s: float
) -> None:
    under = predictor(device(name), LLAMA_70B, chips, Precision.FP8, Precision.FP16)
    assert tpot_s(under, concurrent, prompt, output) == pytest.approx(measured_s, rel=0.15)


def test_an_lpu_streams_a_70b_model_at_its_published_speed() -> None:
    assert 1 / LPU.decode_step_s(1, 2000) == pytest.approx(330, rel=0.02)
    small = predictor(device("groq-lpu-v1"), LLAMA_8B, 72, Precision.INT8, Precision.FP16)
    assert 1 / small.decode_step_s(1, 1000) == pytest.approx(751, rel=0.2)


def test_a_2000_token_prompt_reaches_an_lpus_first_token_within_the_published_120_ms() -> None:
    assert LPU.prefill_s(2000) + LPU.decode_step_s(1, 2000) < 0.120


def test_wafers_stream_llamas_at_their_published_speed() -> None:
    assert 1 / WAFER.decode_step_s(1, 1000) == pytest.approx(445, rel=0.02)
    small = predictor(device("cerebras-wse-3"), LLAMA_8B, 1, Precision.FP16, Precision.FP16)
    assert 1 / small.decode_step_s(1, 1000) == pytest.approx(1837, rel=0.02)


@pytest.mark.parametrize(("chips", "precision"), [(2, Precision.FP8), (4, Precision.BF16)])
def test_an_lpu_decodes_five_times_faster_than_the_smallest_h100_worker_that_holds_the_model(
    chips: int, precision: Precision
) -> None:
    assert h100(chips, precision).decode_step_s(1, 1000) / LPU.decode_step_s(1, 1000) >= 5


def test_an_lpu_decodes_less_than_three_times_faster_than_eight_h100() -> None:
    """The factor of five does not survive tensor parallelism over a whole GPU server."""
    assert 2.5 < h100(8, Precision.FP8).decode_step_s(1, 1000) / LPU.decode_step_s(1, 1000) < 3
