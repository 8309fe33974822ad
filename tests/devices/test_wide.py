"""Experts of a mixture spread over a worker's chips, attention on each of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.catalog import device, model
from devices.economics.cheapest import Configuration, Offer, cheapest, configurations, wide_counts
from devices.economics.operating_point import Promise, Workload
from devices.economics.rents import Rent
from devices.feasibility import Infeasible, wide_limits
from devices.natures.choice import prior
from devices.natures.wide import exchange_s, wide
from devices.profile import Precision

RACK, BOX = device("gb200-nvl72"), device("b200-sxm")
DEEPSEEK, LLAMA, GPT_OSS = model("deepseek-v3"), model("llama-3.1-70b"), model("gpt-oss-120b")
FP4, FP8, BF16 = Precision.FP4, Precision.FP8, Precision.BF16
REASONING = Workload(800, 3746)


def test_a_large_batch_takes_far_less_spread_over_a_rack_than_cut_over_it() -> None:
    spread = wide(RACK, DEEPSEEK, 32, FP4, BF16, 8192)
    cut = prior(RACK, DEEPSEEK, 32, FP4, BF16, 8192)
    assert spread.decode_step_s(2048, 2048 * 1500) < cut.decode_step_s(2048, 2048 * 1500) / 3


def test_a_lone_sequence_is_served_faster_by_chips_that_share_attention() -> None:
    spread = wide(BOX, DEEPSEEK, 8, FP4, BF16, 8192)
    cut = prior(BOX, DEEPSEEK, 8, FP4, BF16, 8192)
    assert spread.decode_step_s(1, 1000) > cut.decode_step_s(1, 1000)


def test_a_token_travels_to_its_experts_on_other_chips_and_back_in_every_layer() -> None:
    sent = 61 * 8 * (31 / 32) * 7168 * 3  # layers, experts a token, elsewhere, hidden, bytes out and back
    assert exchange_s(RACK, DEEPSEEK, 32) == pytest.approx(sent / (32 * 900e9))


def test_beyond_the_scale_up_domain_tokens_take_the_network_card() -> None:
    inside, outside = (exchange_s(BOX, DEEPSEEK, chips) * chips for chips in (8, 16))
    links = (BOX.scaleup_bytes_per_s or 0.0) / (BOX.scaleout_bytes_per_s or 1.0)
    assert outside / inside == pytest.approx(links * (15 / 16) / (7 / 8))


def test_one_chip_and_chips_without_a_link_exchange_nothing() -> None:
    assert exchange_s(BOX, DEEPSEEK, 1) == 0.0
    assert exchange_s(replace(BOX, scaleup_bytes_per_s=None), DEEPSEEK, 8) == 0.0


def test_windows_bound_what_a_spread_worker_reads() -> None:
    spread = wide(BOX, GPT_OSS, 4, FP4, BF16, 8192)
    assert spread.bounds is not None
    once, twice = (spread.decode_step_s(8, 8 * tokens) for tokens in (50_000, 100_000))
    growing_only = spread.kv_s * 8 * 50_000
    assert twice - once == pytest.approx(growing_only)


@given(st.integers(2, 72), st.integers(1, 4096), st.integers(1, 100_000))
def test_more_sequences_and_more_context_never_take_less(chips: int, sequences: int, context: int) -> None:
    spread = wide(RACK, DEEPSEEK, chips, FP4, BF16, 8192)
    step_s = spread.decode_step_s(sequences, sequences * context)
    assert 0 < step_s <= spread.decode_step_s(sequences + 1, (sequences + 1) * context)
    assert step_s <= spread.step_s(sequences, sequences * context, [(100, 0)])


def test_every_chip_holds_all_of_attention_and_its_share_of_the_experts() -> None:
    few, many = (wide_limits(RACK, DEEPSEEK, chips, FP4, BF16) for chips in (8, 72))
    assert many.kv_tokens / 72 > few.kv_tokens / 8
    assert (few.max_seqs, many.max_batched_tokens) == (8 * RACK.max_seqs, 72 * RACK.max_batched_tokens)


def test_a_sequence_must_fit_on_its_chip() -> None:
    found = wide_limits(BOX, DEEPSEEK, 4, FP4, BF16)
    assert found.max_context_tokens == min(DEEPSEEK.max_context_tokens, found.kv_tokens // 4)


def test_too_few_chips_are_refused_with_what_each_would_hold() -> None:
    with pytest.raises(Infeasible, match=r"2 x b200-sxm.*GB of weights on each.*more chips hold fewer"):
        wide_limits(BOX, DEEPSEEK, 2, FP8, BF16)


@pytest.mark.parametrize(
    ("name", "model_id", "chips", "precision", "most"),
    [
        ("b200-sxm", "llama-3.1-70b", 8, FP4, "no GPUs"),
        ("b200-sxm", "gpt-oss-120b", 1, FP4, "2 to 128 GPUs"),
        ("tpu-v6e", "gpt-oss-120b", 8, BF16, "2 to 128 GPUs"),
    ],
)
def test_only_mixtures_spread_and_only_over_several_gpus(
    name: str, model_id: str, chips: int, precision: Precision, most: str
) -> None:
    with pytest.raises(Infeasible, match=most):
        wide_limits(device(name), model(model_id), chips, precision, BF16)


def test_wide_configurations_stay_in_one_domain_and_end_with_the_whole_of_it() -> None:
    assert wide_counts(RACK, DEEPSEEK) == [2, 4, 8, 16, 32, 64, 72]
    assert wide_counts(BOX, DEEPSEEK) == [2, 4, 8]
    assert wide_counts(BOX, LLAMA) == []
    assert wide_counts(RACK, GPT_OSS)
    assert wide_counts(BOX, GPT_OSS) == []
    assert Configuration(8, FP4, wide=True) in list(configurations(BOX, DEEPSEEK, 4))


def test_at_15_ms_a_rack_spreads_wide_and_gives_several_times_what_a_box_does() -> None:
    rack, box = (
        cheapest(chip, DEEPSEEK, REASONING, Promise(1.5, 0.015), Rent(1.0, "any"))
        for chip in (RACK, device("b300-sxm"))
    )
    assert isinstance(rack, Offer)
    assert isinstance(box, Offer)
    assert rack.configuration.wide
    assert rack.configuration.chips > 8
    assert rack.requests_per_chip_s > 2.5 * box.requests_per_chip_s


@pytest.mark.parametrize(
    ("name", "promise", "tokens_per_chip_s"),
    [
        ("gb200-nvl72", Promise(1.5, 0.015), 3338),
        ("gb300-nvl72", Promise(1.5, 0.015), 3481),
        ("b200-sxm", Promise(2.0, 0.08), 6462),
        ("b300-sxm", Promise(2.0, 0.08), 7552),
        ("gb300-nvl72", Promise(2.0, 0.08), 7994),
    ],
)
def test_deepseek_comes_within_a_fifth_of_what_mlperf_measured(
    name: str, promise: Promise, tokens_per_chip_s: float
) -> None:
    """Figures of MLPerf Inference v6.0 (`catalog/measured_points.yaml`), to which nothing here is fitted."""
    offer = cheapest(device(name), DEEPSEEK, REASONING, promise, Rent(1.0, "any"))
    assert isinstance(offer, Offer)
    assert offer.requests_per_chip_s * REASONING.output_tokens == pytest.approx(tokens_per_chip_s, rel=0.2)
