import pytest

from devices.catalog import model
from devices.profile import Precision

LLAMA_70B = model("llama-3.1-70b")


def test_an_8192_token_prompt_of_a_70b_llama_has_2684354560_bytes_of_kv_in_fp16() -> None:
    assert LLAMA_70B.kv_bytes(8192, Precision.FP16) == 2_684_354_560


def test_a_cache_in_8_bits_is_half_of_one_in_16() -> None:
    assert LLAMA_70B.kv_bytes(100, Precision.FP8) == LLAMA_70B.kv_bytes(100, Precision.BF16) / 2


@pytest.mark.parametrize(
    ("precision", "gigabytes"),
    [(Precision.FP16, 141.1), (Precision.BF16, 141.1), (Precision.FP8, 70.55), (Precision.INT8, 70.55)],
)
def test_weights_take_their_width_in_bytes_for_each_parameter(precision: Precision, gigabytes: float) -> None:
    assert LLAMA_70B.weight_bytes(precision) == pytest.approx(gigabytes * 1e9)


def test_fp4_weights_carry_their_scales() -> None:
    assert LLAMA_70B.weight_bytes(Precision.FP4) == pytest.approx(39.7e9, rel=1e-3)


def test_precisions_are_ordered_by_their_bits() -> None:
    assert Precision.FP4.bits < Precision.INT8.bits == Precision.FP8.bits < Precision.BF16.bits == Precision.FP16.bits


def test_windowed_layers_stop_growing_at_their_window() -> None:
    oss = model("gpt-oss-120b")
    within = oss.kv_bytes(128, Precision.FP16)
    assert within == 128 * oss.kv_bytes_per_token
    assert oss.kv_bytes(1128, Precision.FP16) - within == 1000 * oss.kv_bytes_per_token / 2


def test_an_index_keeps_its_own_width_in_a_narrow_cache() -> None:
    sparse = model("deepseek-v3.2")
    assert sparse.kv_bytes(10, Precision.FP8) == 10 * (70_272 / 2 + 7_808)


def test_a_hybrid_model_holds_a_fixed_state_for_every_sequence() -> None:
    hybrid = model("qwen3.5-397b-a17b")
    assert hybrid.sequence_bytes(0, Precision.FP16) == hybrid.state_bytes_per_sequence > 0
    assert LLAMA_70B.sequence_bytes(7, Precision.FP16) == LLAMA_70B.kv_bytes(7, Precision.FP16)
