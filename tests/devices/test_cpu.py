"""A server processor."""

import pytest

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.cpu import CpuPredictor
from devices.natures.hbm import HbmPredictor
from devices.profile import Precision

XEON, LLAMA, MIXTURE = device("xeon-6980p"), model("llama-3.1-8b"), model("qwen3-30b-a3b")
CPU = predictor(XEON, LLAMA, 2, Precision.INT8, Precision.FP16)


def test_a_processor_gets_its_own_model() -> None:
    assert isinstance(CPU, CpuPredictor)


def test_every_sequence_costs_from_the_first_on_where_a_gpu_hides_them_behind_its_weights() -> None:
    gpu = HbmPredictor.of(XEON, LLAMA, 2, Precision.INT8, Precision.FP16, 8192)
    assert isinstance(CPU, CpuPredictor)
    assert CPU.decode_step_s(2, 0) - CPU.decode_step_s(1, 0) == pytest.approx(CPU.token_s + CPU.sequence_s)
    assert gpu.decode_step_s(2, 0) - gpu.decode_step_s(1, 0) == pytest.approx(gpu.sequence_s)
    assert CPU.decode_step_s(16, 0) > gpu.decode_step_s(16, 0)


def test_a_mixture_reads_more_experts_the_more_tokens_it_has() -> None:
    mixture = predictor(XEON, MIXTURE, 2, Precision.BF16, Precision.FP16)
    assert mixture.decode_step_s(16, 0) > 3 * mixture.decode_step_s(1, 0)


def test_prefill_is_the_sum_of_its_chunks() -> None:
    whole = predictor(XEON, LLAMA, 2, Precision.INT8, Precision.FP16, max_batched_tokens=512)
    parts = whole.step_s(0, 0, [(512, 7)]) + whole.step_s(0, 0, [(88, 519)])
    assert whole.prefill_s(600, 7) == pytest.approx(parts)


def test_bounded_attention_counts_in_chunks_beside_decodes() -> None:
    windowed = predictor(XEON, model("gpt-oss-20b"), 1, Precision.BF16, Precision.FP16)
    assert windowed.step_s(4, 4000, [(64, 900)]) > windowed.decode_step_s(4, 4000)
