from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.feasibility import Infeasible, fewest_chips, limits, usable_bytes
from devices.natures.choice import predictor
from devices.profile import DeviceProfile, Precision
from devices.simulated.engine import Sequence, SimulatedWorker

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


# Hand-checked: 576 LPUs of the first generation.


def test_the_24th_sequence_of_8192_tokens_waits_until_one_of_23_has_finished() -> None:
    fits = limits(LPU, LLAMA_70B, 576, Precision.INT8, Precision.FP16)
    pace = predictor(LPU, LLAMA_70B, 576, Precision.INT8, Precision.FP16)
    worker = SimulatedWorker(pace, fits, list_decoded=False)
    sequences = [Sequence(f"s{i}", prompt_tokens=1000, output_tokens=7192) for i in range(24)]
    for sequence in sequences:
        worker.submit(sequence, 0.0)
    while worker.running < 23:
        worker.advance(worker.next_event_s)
    assert (worker.running, worker.waiting, worker.kv_tokens) == (23, 1, 23 * 8192)
    while worker.finished < 24:
        worker.advance(worker.next_event_s)
    first_end = min(sequence.ended_s for sequence in sequences)
    assert sequences[23].admitted_s >= first_end > sequences[22].admitted_s


# Formats and availability.


def test_the_int8_trap_names_how_slow_it_is_and_what_to_use() -> None:
    with pytest.raises(
        Infeasible, match=r"b300-sxm computes int8 15 times slower than fp16 .* works in .*fp8 \(tp >= 1"
    ):
        limits(device("b300-sxm"), LLAMA_70B, 2, Precision.INT8, Precision.FP16)


def test_a_checkpoint_layout_no_engine_loads_there_is_refused_unless_converted() -> None:
    oss = model("gpt-oss-120b")
    refusal = r"published as mxfp4, .* of ascend-910b do not load .*; converted, gpt-oss-120b works in fp16 \(tp >= 8\)"
    with pytest.raises(Infeasible, match=refusal):
        limits(device("ascend-910b"), replace(oss, native_precision=Precision.INT8), 8, Precision.INT8, Precision.FP16)
    assert limits(device("ascend-910b"), oss, 8, Precision.BF16, Precision.FP16)


def test_a_model_nobody_serves_on_a_vendors_chips_says_whose_and_why() -> None:
    absent = replace(LLAMA_8B, vendors_unavailable={"groq": "not in its model list"})
    with pytest.raises(Infeasible, match=r"llama-3.1-8b is not to be had on chips of groq: not in its model list"):
        limits(LPU, absent, 72, Precision.INT8, Precision.FP16)
    assert limits(H100, absent, 1, Precision.BF16, Precision.FP16)


@pytest.mark.parametrize("name", ["maia-300", "rubin-cpx", "kunlun-p800"])
def test_a_device_without_figures_cannot_be_placed(name: str) -> None:
    with pytest.raises(Infeasible, match=f"{name} cannot be placed: .+"):
        limits(device(name), LLAMA_8B, 8, Precision.BF16, Precision.BF16)


def test_a_model_without_figures_cannot_be_placed() -> None:
    with pytest.raises(Infeasible, match=r"kimi-k3 cannot be placed: .+"):
        limits(H200, model("kimi-k3"), 8, Precision.BF16, Precision.BF16)


# How a worker may be cut.


def test_a_slice_comes_in_fixed_sizes_and_the_message_names_the_smallest_that_works() -> None:
    sliced = replace(TPU, slice_chips=(1, 4, 8, 16))
    with pytest.raises(
        Infeasible, match=r"2 chips are no slice of tpu-v6e \(slices: 1, 4, 8, 16\); .* needs >= 8 chips"
    ):
        limits(sliced, LLAMA_70B, 2, Precision.BF16, Precision.BF16)
    assert limits(sliced, LLAMA_70B, 8, Precision.BF16, Precision.BF16)
    with pytest.raises(Infeasible, match=r"4 x tpu-v6e hold 115.20 GB; it needs >= 8 chips"):
        limits(sliced, LLAMA_70B, 4, Precision.BF16, Precision.BF16)


def test_a_model_larger_than_the_largest_slice_says_so() -> None:
    with pytest.raises(Infeasible, match=r"it needs more than the largest slice, 4 chips"):
        limits(replace(TPU, slice_chips=(1, 4)), LLAMA_70B, 4, Precision.BF16, Precision.BF16)


def test_a_chip_of_two_dies_is_cut_twice_as_often() -> None:
    ironwood = replace(device("tpu-v7x"), slice_chips=())
    thirty_heads = replace(LLAMA_8B, heads=33 * 2)
    assert limits(ironwood, thirty_heads, 3, Precision.BF16, Precision.BF16)
    with pytest.raises(Infeasible, match=r"tp 4 \(2 chips of 2 dies\) does not divide the 66 attention heads"):
        limits(ironwood, thirty_heads, 2, Precision.BF16, Precision.BF16)


def test_where_no_smaller_split_exists_the_message_says_that() -> None:
    prime = replace(LLAMA_8B, heads=67)
    assert limits(H100, prime, 1, Precision.BF16, Precision.BF16)
    with pytest.raises(Infeasible, match=r"next smaller that does is 1, the model needs tp >= 1"):
        limits(H100, prime, 2, Precision.BF16, Precision.BF16)
    with pytest.raises(Infeasible, match=r"no smaller one does"):
        limits(replace(H100, devices_per_chip=2), prime, 2, Precision.BF16, Precision.BF16)


def test_neuron_pads_heads_where_others_refuse() -> None:
    inferentia = replace(device("inferentia2"), slice_chips=())
    assert limits(inferentia, LLAMA_8B, 12, Precision.BF16, Precision.BF16)  # tp 24 on 32 heads


def test_kv_heads_repeat_once_they_are_fewer_than_the_chips() -> None:
    eight, sixteen = (limits(H200, LLAMA_70B, tp, Precision.FP8, Precision.FP16).kv_tokens for tp in (8, 16))
    spare_8, spare_16 = (tp * usable_bytes(H200) - LLAMA_70B.weight_bytes(Precision.FP8) for tp in (8, 16))
    assert eight == pytest.approx(spare_8 / 327_680, abs=16)
    assert sixteen == pytest.approx(spare_16 / 327_680 / 2, abs=16)  # 8 KV heads on 16 chips lie there twice


def test_latent_attention_is_spread_over_the_chips() -> None:
    fits = limits(H200, DEEPSEEK, 16, Precision.FP8, Precision.FP16)
    spare = 16 * usable_bytes(H200) - DEEPSEEK.weight_bytes(Precision.FP8)
    assert fits.kv_tokens == pytest.approx(spare / 70_272, abs=16)


# What a sequence holds besides tokens.


def test_windowed_layers_let_a_long_cache_hold_more_tokens() -> None:
    oss = model("gpt-oss-120b")
    fits = limits(H200, oss, 2, Precision.FP4, Precision.FP16)
    spare = 2 * usable_bytes(H200) - oss.weight_bytes(Precision.FP4)
    window = 1024 * 128 * 73_728 / 2  # every sequence fills its window in half of the layers
    assert fits.kv_tokens == pytest.approx((spare - window) / (73_728 / 2), abs=16)


def test_where_windows_are_wider_than_the_cache_all_layers_count() -> None:
    scout = model("llama-4-scout")
    fits = limits(H200, scout, 2, Precision.BF16, Precision.FP16)
    spare = 2 * usable_bytes(H200) - scout.weight_bytes(Precision.BF16)
    assert fits.kv_tokens == pytest.approx(spare / 196_608, abs=16)


def test_fixed_states_are_set_aside_for_every_sequence() -> None:
    hybrid = model("qwen3.5-397b-a17b")
    fits = limits(H200, hybrid, 4, Precision.FP8, Precision.FP16)
    spare = 4 * usable_bytes(H200) - hybrid.weight_bytes(Precision.FP8)
    assert fits.max_seqs == int(spare / 2 / hybrid.state_bytes_per_sequence)
    left = spare - fits.max_seqs * hybrid.state_bytes_per_sequence
    assert fits.kv_tokens == pytest.approx(left / (30_720 * 2), abs=16)  # 2 KV heads on 4 chips


def test_more_states_than_fit_are_refused_with_the_number_that_would() -> None:
    hybrid = model("qwen3.5-397b-a17b")
    with pytest.raises(Infeasible, match=r"0.19 GB of state for each of 2000 sequences, .* or at most 292 sequences"):
        limits(H200, hybrid, 4, Precision.FP8, Precision.FP16, max_seqs=2000)
    assert limits(H200, hybrid, 4, Precision.FP8, Precision.FP16, max_seqs=292).max_seqs == 292


def test_a_hybrid_model_whose_weights_do_not_fit_says_what_does() -> None:
    with pytest.raises(
        Infeasible, match=r"state for each of 1 sequences, 2 x h200-sxm hold 253.80 GB; it needs tp >= 4$"
    ):
        limits(H200, model("qwen3.5-397b-a17b"), 2, Precision.FP8, Precision.FP16)


# Two kinds of chips as one device.


def test_every_part_of_a_composite_must_hold_what_it_does() -> None:
    bedrock = device("trainium3-cs3")
    fits = limits(bedrock, LLAMA_70B, 4, Precision.BF16, Precision.FP16)
    wafers = limits(device("cerebras-wse-3"), LLAMA_70B, 4, Precision.BF16, Precision.FP16)
    assert (fits.kv_tokens, fits.hard_slots) == (wafers.kv_tokens, True)
    assert fits.max_seqs == min(wafers.max_seqs, bedrock.max_seqs)
    assert fits.max_batched_tokens == bedrock.max_batched_tokens
    with pytest.raises(Infeasible, match=r"1 x trainium3-cs3 does not work, for of its parts: .* needs >= 4 units"):
        limits(bedrock, LLAMA_70B, 1, Precision.BF16, Precision.FP16)


def test_where_layers_are_split_the_cache_lies_with_the_attention() -> None:
    rack = device("vera-rubin-lpx")
    gpus = limits(device("rubin-vr200"), LLAMA_70B, 64, Precision.FP8, Precision.FP16)
    fits = limits(rack, LLAMA_70B, 8, Precision.FP8, Precision.FP16)
    assert (fits.kv_tokens, fits.hard_slots) == (gpus.kv_tokens, False)
    with pytest.raises(Infeasible, match=r"70.55 GB of weights, 32 x groq-3-lpu hold 16.00 GB; .* >= 8 units"):
        limits(rack, LLAMA_70B, 1, Precision.FP8, Precision.FP16)


def test_a_format_one_part_does_not_take_is_refused_for_the_whole() -> None:
    rack = device("vera-rubin-lpx")
    with pytest.raises(
        Infeasible, match=r"groq-3-lpu does not compute in bf16; .* needs what no number of units up to 64 gives"
    ):
        limits(rack, LLAMA_70B, 8, Precision.BF16, Precision.FP16)
    assert fewest_chips(rack, LLAMA_70B, Precision.BF16, Precision.FP16) is None


@pytest.mark.parametrize(
    ("name", "precision", "chips"),
    [("h100-sxm", Precision.FP8, 1), ("groq-lpu-v1", Precision.INT8, 307), ("trainium3-cs3", Precision.BF16, 4)],
)
def test_the_fewest_chips_work_and_one_fewer_does_not(name: str, precision: Precision, chips: int) -> None:
    assert fewest_chips(device(name), LLAMA_70B, precision, Precision.FP16) == chips
    assert limits(device(name), LLAMA_70B, chips, precision, Precision.FP16).kv_tokens > 0
    if chips > 1:
        with pytest.raises(Infeasible):
            limits(device(name), LLAMA_70B, chips - 1, precision, Precision.FP16)


def _shrunk() -> DeviceProfile:
    return replace(H100, memory_bytes=0.1e9)
