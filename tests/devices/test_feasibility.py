from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.feasibility import Infeasible, limits
from devices.profile import DeviceProfile, Precision

LPU, H100, H200, TPU = device("groq-lpu-v1"), device("h100-sxm"), device("h200-sxm"), device("tpu-v6e")
LLAMA_70B, LLAMA_8B, DEEPSEEK = model("llama-3.1-70b"), model("llama-3.1-8b"), model("deepseek-v3")


def test_576_lpus_hold_a_70b_model_in_int8_and_23_sequences_of_8192_tokens() -> None:
    # (576 * 230e6 - 70.55e9) / (327,680 * 8,192) = 23.07
    fits = limits(LPU, LLAMA_70B, 576, Precision.INT8, Precision.FP16)
    assert fits.kv_tokens // 8192 == 23
    assert fits.hard_slots


def test_fp16_weights_do_not_fit_576_lpus_and_the_message_says_how_many_would_do() -> None:
    with pytest.raises(
        Infeasible, match=r"141.10 GB of weights, 576 x groq-lpu-v1 hold 132.48 GB; it needs >= 614 chips"
    ):
        limits(LPU, LLAMA_70B, 576, Precision.FP16, Precision.FP16)
    assert limits(LPU, LLAMA_70B, 614, Precision.FP16, Precision.FP16).kv_tokens > 0


def test_an_lpu_does_not_compute_in_fp8_and_the_message_names_what_works() -> None:
    with pytest.raises(
        Infeasible, match=r"groq-lpu-v1 does not compute in fp8; .* fp16 \(>= 614 chips\), int8 \(>= 307 chips\)"
    ):
        limits(LPU, LLAMA_70B, 576, Precision.FP8, Precision.FP16)


def test_a_gpu_keeps_a_tenth_of_its_memory_free_and_counts_whole_blocks() -> None:
    # (4 * 141e9 * 0.9 - 70.55e9) / 327,680 = 1,333,770.75
    fits = limits(H200, LLAMA_70B, 4, Precision.FP8, Precision.FP16)
    assert fits.kv_tokens == 1_333_760
    assert not fits.hard_slots


def test_an_8_bit_cache_holds_twice_the_tokens() -> None:
    fp16, fp8 = (limits(H200, LLAMA_70B, 4, Precision.FP8, kv).kv_tokens for kv in (Precision.FP16, Precision.FP8))
    assert fp8 == pytest.approx(2 * fp16, abs=16)


def test_a_model_too_big_for_one_gpu_names_the_smallest_tp() -> None:
    with pytest.raises(Infeasible, match=r"1 x h100-sxm holds 72.00 GB; it needs tp >= 2"):
        limits(H100, LLAMA_70B, 1, Precision.BF16, Precision.BF16)


def test_tp_must_divide_the_attention_heads() -> None:
    with pytest.raises(Infeasible, match=r"tp 6 does not divide the 64 attention heads of llama-3.1-70b; .* is 4"):
        limits(H100, LLAMA_70B, 6, Precision.FP8, Precision.FP16)
    assert limits(LPU, LLAMA_70B, 577, Precision.INT8, Precision.FP16)  # a pipeline may be cut anywhere


def test_a_model_that_no_split_of_its_heads_can_hold_says_so() -> None:
    with pytest.raises(Infeasible, match=r"more than its 32 attention heads"):
        limits(_shrunk(), LLAMA_8B, 32, Precision.BF16, Precision.BF16)


def test_limits_of_the_engine_override_those_of_the_device() -> None:
    fits = limits(TPU, LLAMA_8B, 4, Precision.BF16, Precision.BF16, max_seqs=7, max_batched_tokens=99, block_size=128)
    assert (fits.max_seqs, fits.max_batched_tokens, fits.block_size, fits.kv_tokens % 128) == (7, 99, 128, 0)
    plain = limits(TPU, LLAMA_8B, 4, Precision.BF16, Precision.BF16)
    assert (plain.max_seqs, plain.max_batched_tokens) == (TPU.max_seqs, TPU.max_batched_tokens)


def test_context_is_bounded_by_the_model_and_by_the_cache() -> None:
    assert limits(H200, LLAMA_70B, 8, Precision.FP8, Precision.FP16).max_context_tokens == 131_072
    tight = limits(LPU, LLAMA_70B, 320, Precision.INT8, Precision.FP16)
    assert tight.max_context_tokens == tight.kv_tokens < 131_072


def test_deepseek_needs_more_than_four_h200() -> None:
    with pytest.raises(Infeasible, match=r"tp >= 8"):
        limits(H200, DEEPSEEK, 4, Precision.FP8, Precision.FP16)
    assert limits(H200, DEEPSEEK, 8, Precision.FP8, Precision.FP16).kv_tokens > 1_000_000


def _shrunk() -> DeviceProfile:
    return replace(H100, memory_bytes=0.1e9)
