"""Two kinds of chips as one device."""

from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.composite import CompositePredictor, LayerSplitPredictor, handover_token_s, part_for
from devices.profile import Precision, Role

LLAMA = model("llama-3.1-70b")
BEDROCK, RACK = device("trainium3-cs3"), device("vera-rubin-lpx")
PHASES = predictor(BEDROCK, LLAMA, 4, Precision.BF16, Precision.FP16)
LAYERS = predictor(RACK, LLAMA, 8, Precision.FP8, Precision.FP16)


def test_a_phase_split_decodes_as_fast_as_its_wafers() -> None:
    wafers = predictor(device("cerebras-wse-3"), LLAMA, 4, Precision.BF16, Precision.FP16)
    assert PHASES.decode_step_s(16, 40_000) == wafers.decode_step_s(16, 40_000)


def test_a_phase_split_prefills_at_the_rate_of_its_other_part() -> None:
    trainium = part_for(BEDROCK, Role.PREFILL)
    alone = predictor(trainium.device, LLAMA, 4 * trainium.chips, Precision.BF16, Precision.FP16)
    full = trainium.device.max_batched_tokens
    assert isinstance(PHASES, CompositePredictor)
    chunk_s = PHASES.step_s(0, 0, [(full, 0)])
    handed_over_s = PHASES.handover_s + full * PHASES.handover_token_s
    assert chunk_s == pytest.approx(alone.step_s(0, 0, [(full, 0)]) + handed_over_s)


def test_prefill_does_not_disturb_decode_until_it_is_the_slower_of_the_two() -> None:
    decode_s = PHASES.decode_step_s(16, 40_000)
    assert PHASES.step_s(16, 40_000, [(8, 0)]) == decode_s
    assert PHASES.step_s(16, 40_000, [(2048, 0)]) > 2 * decode_s


def test_the_cache_of_a_prompt_crosses_the_link_between_the_parts() -> None:
    assert handover_token_s(BEDROCK, LLAMA, 4, Precision.FP16) == 327_680 / (4 * BEDROCK.parts_bytes_per_s)
    slower = replace(BEDROCK, parts_bytes_per_s=BEDROCK.parts_bytes_per_s / 100)
    behind = predictor(slower, LLAMA, 4, Precision.BF16, Precision.FP16)
    assert behind.prefill_s(2000) > PHASES.prefill_s(2000)
    assert behind.decode_step_s(16, 0) == PHASES.decode_step_s(16, 0)


def test_a_layer_split_reads_the_cache_on_one_part_and_the_weights_on_the_other() -> None:
    assert isinstance(LAYERS, CompositePredictor)
    decode = LAYERS.decode
    assert isinstance(decode, LayerSplitPredictor)
    ffn = predictor(device("groq-3-lpu"), LLAMA, 8 * part_for(RACK, Role.FFN).chips, Precision.FP8, Precision.FP16)
    crossings_s = 2 * 80 * (RACK.parts_latency_s + 4 * 8192 * 2 / (8 * RACK.parts_bytes_per_s))
    expected = ffn.decode_step_s(4, 0) + decode.kv_s * 50_000 + crossings_s
    assert LAYERS.decode_step_s(4, 50_000) == pytest.approx(expected)


def test_a_layer_split_hands_no_cache_over() -> None:
    assert handover_token_s(RACK, LLAMA, 8, Precision.FP16) == 0


def test_a_windowed_model_is_bounded_on_the_part_that_reads_its_cache() -> None:
    windowed = predictor(RACK, model("llama-4-scout"), 8, Precision.FP8, Precision.FP16)
    near, far = (windowed.decode_step_s(1, tokens) for tokens in (8_000, 108_000))
    whole = predictor(RACK, replace(model("llama-4-scout"), layers_windowed=0), 8, Precision.FP8, Precision.FP16)
    assert far - near < whole.decode_step_s(1, 108_000) - whole.decode_step_s(1, 8_000)


def test_a_role_nobody_plays_is_an_error_that_names_the_device() -> None:
    with pytest.raises(LookupError, match="trainium3-cs3: no part does ffn"):
        part_for(BEDROCK, Role.FFN)
