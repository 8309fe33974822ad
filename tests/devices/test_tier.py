"""On-chip memory beside HBM."""

from dataclasses import replace

import pytest

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.tier import PLACED_SHARE, Tier
from devices.profile import DeviceProfile, Nature, Precision

MAIA, LLAMA = device("maia-200"), model("llama-3.1-8b")
TOKEN_BYTES = LLAMA.kv_bytes(1, Precision.FP16)


def without_tier(chip: DeviceProfile) -> DeviceProfile:
    return replace(chip, sram_bytes=0.0)


def test_maia_200_keeps_part_of_the_weights_on_the_chip() -> None:
    tier = Tier.of(MAIA, 1, 8e9, TOKEN_BYTES)
    assert tier is not None
    placed = 272e6 * PLACED_SHARE
    slow, fast = (rate * MAIA.bandwidth_efficiency for rate in (7.0e12, MAIA.sram_bytes_per_s))
    assert tier.weights_s == pytest.approx(placed * (1 / slow - 1 / fast))
    assert tier.kv_tokens == 0


def test_what_the_weights_leave_of_the_tier_holds_cache() -> None:
    tier = Tier.of(MAIA, 100, 8e9, TOKEN_BYTES)
    assert tier is not None
    assert tier.kv_tokens == pytest.approx((100 * 272e6 * PLACED_SHARE - 8e9) / TOKEN_BYTES)
    assert tier.saved_s(10) == pytest.approx(10 * tier.kv_s)
    assert tier.saved_s(1e9) == pytest.approx(tier.kv_tokens * tier.kv_s)


def test_a_cacheless_model_leaves_the_rest_of_the_tier_empty() -> None:
    tier = Tier.of(MAIA, 100, 8e9, 0.0)
    assert tier is not None
    assert tier.saved_s(1000) == 0


@pytest.mark.parametrize("name", ["h100-sxm", "tpu-v6e"])
def test_a_chip_without_such_memory_has_no_tier(name: str) -> None:
    assert Tier.of(device(name), 8, 8e9, TOKEN_BYTES) is None


def test_memory_of_unknown_or_lower_bandwidth_is_no_tier() -> None:
    assert Tier.of(replace(MAIA, sram_bytes_per_s=0.0), 1, 8e9, TOKEN_BYTES) is None
    assert Tier.of(replace(MAIA, sram_bytes_per_s=7.0e12), 1, 8e9, TOKEN_BYTES) is None


@pytest.mark.parametrize("nature", [Nature.PADDED, Nature.HBM])
@pytest.mark.parametrize("chips", [1, 64])
def test_the_tier_shortens_every_step(nature: Nature, chips: int) -> None:
    chip = replace(MAIA, nature=nature)
    with_tier, bare = (
        predictor(known, LLAMA, chips, Precision.FP8, Precision.FP16) for known in (chip, without_tier(chip))
    )
    assert with_tier.decode_step_s(8, 8000) < bare.decode_step_s(8, 8000)
    assert with_tier.step_s(8, 8000, [(1, 0)]) < bare.step_s(8, 8000, [(1, 0)])


def test_a_larger_tier_lowers_the_demand_on_bandwidth() -> None:
    larger = replace(MAIA, sram_bytes=10 * MAIA.sram_bytes)
    steps = [predictor(chip, LLAMA, 4, Precision.FP8, Precision.FP16).decode_step_s(8, 8000) for chip in (MAIA, larger)]
    assert steps[1] < steps[0]
