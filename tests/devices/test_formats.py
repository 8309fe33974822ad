"""What chips make of number formats, as published; the traps of the catalogue among them."""

import pytest

from devices.catalog import device, model
from devices.formats import (
    Gain,
    attention_flops_per_s,
    checkpoint_problem,
    flops_per_s,
    kept_formats,
    weight_format,
)
from devices.profile import Precision

FP8, INT8, FP4, BF16, FP16, INT4 = (Precision(name) for name in ("fp8", "int8", "fp4", "bf16", "fp16", "int4"))


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("h100-sxm", FP8),
        ("h100-sxm", BF16),
        ("mi355x", FP4),
        ("groq-lpu-v1", INT8),
        ("tpu-v6e", INT8),
        ("tpu-v7x", FP8),
    ],
)
def test_a_format_the_chip_computes_faster_in_gains_in_full(name: str, precision: Precision) -> None:
    found = weight_format(device(name), precision)
    assert (found.gain, found.why) == (Gain.FULL, "")
    assert found.flops_per_s == device(name).flops_per_s[precision]


@pytest.mark.parametrize(
    ("name", "precision", "at"),
    [("tpu-v5p", FP8, "bf16"), ("tpu-v6e", FP8, "bf16"), ("gaudi3", FP8, "fp16"), ("trainium3", FP4, "fp8")],
)
def test_a_format_computed_at_the_rate_of_a_wider_one_saves_memory_only(
    name: str, precision: Precision, at: str
) -> None:
    found = weight_format(device(name), precision)
    assert found.gain is Gain.MEMORY
    assert found.why == f"computes {precision.value} at the rate of {at}"
    assert flops_per_s(device(name), precision) == device(name).flops_per_s[Precision(at)]


@pytest.mark.parametrize("name", ["b300-sxm", "gb300-nvl72"])
def test_int8_is_a_trap_on_blackwell_ultra(name: str) -> None:
    found = weight_format(device(name), INT8)
    assert found.gain is Gain.NONE
    assert found.why.startswith("computes int8 15 times slower than fp16")


@pytest.mark.parametrize(("name", "precision"), [("a100-80g-sxm", FP8), ("h100-sxm", FP4), ("h100-sxm", INT4)])
def test_a_format_that_is_only_kept_is_widened_to_16_bits(name: str, precision: Precision) -> None:
    found = weight_format(device(name), precision)
    assert found.gain is Gain.MEMORY
    assert found.flops_per_s == device(name).flops_per_s[FP16]


def test_a_chip_without_16_bit_arithmetic_widens_to_what_it_has() -> None:
    assert flops_per_s(device("d-matrix-corsair"), INT4) == device("d-matrix-corsair").flops_per_s[INT8]
    assert attention_flops_per_s(device("d-matrix-corsair")) == device("d-matrix-corsair").flops_per_s[INT8]


def test_a_format_the_chip_computes_in_but_no_engine_keeps_weights_in_is_refused() -> None:
    gaudi = weight_format(device("gaudi3"), INT8)
    assert (gaudi.gain, gaudi.why) == (Gain.NONE, "keeps no weights in int8")


def test_an_lpu_of_the_first_generation_has_no_fp8_and_the_third_no_fp4() -> None:
    assert weight_format(device("groq-lpu-v1"), FP8).why == "does not compute in fp8"
    assert weight_format(device("groq-3-lpu"), FP4).gain is Gain.NONE


def test_kept_formats_are_listed_widest_first() -> None:
    assert kept_formats(device("groq-lpu-v1")) == [FP16, INT8]
    assert INT8 not in kept_formats(device("b300-sxm"))


def test_attention_runs_in_16_bits_where_the_chip_has_them() -> None:
    assert attention_flops_per_s(device("h100-sxm")) == device("h100-sxm").flops_per_s[BF16]


@pytest.mark.parametrize(
    ("device_id", "model_id", "loads"),
    [
        ("h200-sxm", "gpt-oss-120b", True),  # mxfp4
        ("mi355x", "gpt-oss-120b", True),
        ("ascend-910b", "gpt-oss-120b", False),
        ("ascend-950pr", "deepseek-v3.1", True),  # fp8 with UE8M0 scales
        ("mtt-s5000", "deepseek-v3.1", True),
        ("ascend-910c", "deepseek-v3.1", False),
        ("tpu-v6e", "deepseek-v3.1", False),
        ("tpu-v6e", "llama-3.1-70b", True),  # plain tensors
    ],
)
def test_a_checkpoint_is_loaded_only_where_its_layout_is_known(device_id: str, model_id: str, loads: bool) -> None:
    shape = model(model_id)
    assert (checkpoint_problem(device(device_id), shape, shape.native_precision) is None) is loads


def test_a_refused_checkpoint_says_what_the_engines_load() -> None:
    why = checkpoint_problem(device("tpu-v6e"), model("deepseek-v3.1"), FP8)
    assert why == (
        "deepseek-v3.1 is published as ue8m0-fp8, which the engines of tpu-v6e do not load (they load: fp8-block)"
    )
    plain = checkpoint_problem(device("groq-lpu-v1"), model("gpt-oss-20b"), FP4)
    assert plain is not None
    assert plain.endswith("(they load: plain tensors only)")


def test_converted_weights_are_plain_tensors_again() -> None:
    assert checkpoint_problem(device("tpu-v6e"), model("deepseek-v3.1"), BF16) is None
