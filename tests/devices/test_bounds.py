"""Attention that looks back only so far."""

from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.natures.bounds import Bounds, attention
from devices.natures.choice import predictor
from devices.profile import Nature, Precision
from devices.roofline import cache_reads, kv_copies, pair_s

H200, OSS, SPARSE = device("h200-sxm"), model("gpt-oss-120b"), model("deepseek-v3.2")
LLAMA = model("llama-3.1-70b")


def test_half_of_a_windowed_cache_stops_growing() -> None:
    reads = cache_reads(OSS, Precision.FP16)
    assert (reads.growing, reads.bounded, reads.bound) == (73_728 / 2, 73_728 / 2, 128)
    assert reads.bytes_per_step(2, 100) == 100 * 73_728  # both within the window
    assert reads.bytes_per_step(2, 10_000) == (10_000 + 2 * 128) * 73_728 / 2


def test_sparse_attention_reads_its_index_whole_and_a_bounded_part_of_the_cache() -> None:
    reads = cache_reads(SPARSE, Precision.FP16)
    assert (reads.growing, reads.bounded, reads.bound) == (7808, 70_272, 2048)


def test_a_plain_cache_is_read_whole() -> None:
    reads = cache_reads(LLAMA, Precision.FP8)
    assert (reads.growing, reads.bounded) == (163_840, 0)
    assert reads.bytes_per_step(3, 10) == 1_638_400


def test_the_two_parts_of_the_arithmetic_add_up_to_the_whole() -> None:
    parts = attention(H200, OSS, 2, Precision.FP16)
    assert parts.bounds is not None
    assert parts.pair_s + parts.bounds.pair_s == pytest.approx(pair_s(H200, OSS, 2))
    assert attention(H200, LLAMA, 2, Precision.FP16).bounds is None
    sparse = attention(H200, SPARSE, 8, Precision.FP16)
    assert sparse.pair_s == 0


def test_reads_and_arithmetic_stop_growing_at_the_bound() -> None:
    bounds = Bounds(tokens=100, kv_s=1.0, pair_s=1.0)
    assert bounds.read_s(2, 150) == 150
    assert bounds.read_s(2, 1000) == 200
    assert bounds.chunk_s(10, 50) == 10 * 55
    assert bounds.chunk_s(10, 5000) == 10 * 100


def test_kv_heads_repeat_where_the_split_is_finer_and_never_in_a_pipeline() -> None:
    assert [kv_copies(H200, LLAMA, tp) for tp in (1, 4, 8, 16, 64)] == [1, 1, 1, 2, 8]
    assert kv_copies(device("groq-lpu-v1"), LLAMA, 576) == 1
    assert kv_copies(H200, model("deepseek-v3"), 16) == 1
    assert kv_copies(device("tpu-v7x"), LLAMA, 8) == 2  # two dies a chip


@pytest.mark.parametrize("name", ["h200-sxm", "tpu-v6e", "cerebras-wse-3", "xeon-6980p"])
def test_long_contexts_cost_less_where_attention_is_bounded(name: str) -> None:
    whole = replace(OSS, layers_windowed=0, window_tokens=0)
    chips = {Nature.PADDED: 4, Nature.SRAM: 8}.get(device(name).nature, 2)
    windowed, plain = (predictor(device(name), shape, chips, Precision.BF16, Precision.FP16) for shape in (OSS, whole))
    assert windowed.decode_step_s(8, 400_000) < plain.decode_step_s(8, 400_000)
    assert windowed.decode_step_s(8, 80) == pytest.approx(plain.decode_step_s(8, 80))
    assert windowed.prefill_s(60_000) < plain.prefill_s(60_000)
