"""Published figures as they must arrive: units, traps of published tables, conflicts."""

import pytest

from devices import catalog
from devices.profile import Nature, Precision, Role, Status

FP4, FP8, BF16, INT8 = Precision.FP4, Precision.FP8, Precision.BF16, Precision.INT8


@pytest.mark.parametrize(
    ("name", "bandwidth", "memory", "scaleup", "domain"),
    [
        ("h100-sxm", 3.35e12, 80e9, 450e9, 8),
        ("h200-sxm", 4.8e12, 141e9, 450e9, 8),
        ("gb200-nvl72", 8e12, 185e9, 900e9, 72),
        ("mi355x", 8e12, 288e9, 576e9, 8),
        ("tpu-v5p", 2.765e12, 95e9, 600e9, 8960),
        ("tpu-v7x", 7.38e12, 192 * 2**30, 600e9, 9216),
        ("trainium2-ultra", 2.9e12, 96e9, 640e9, 64),
        ("maia-100", 1.8e12, 64e9, 600e9, 4),
        ("ascend-910c", 3.2e12, 128e9, 392e9, 384),
    ],
)
def test_published_figures_arrive_in_bytes_and_one_direction(
    name: str, bandwidth: float, memory: float, scaleup: float, domain: int
) -> None:
    device = catalog.device(name)
    assert device.bandwidth_bytes_per_s == bandwidth
    assert device.memory_bytes == memory
    assert device.scaleup_bytes_per_s == scaleup
    assert device.scaleup_domain == domain


def test_arithmetic_is_dense_never_sparse() -> None:
    assert catalog.device("l40s").flops_per_s[FP8] == 733e12
    assert catalog.device("h100-sxm").flops_per_s[FP8] == 1979e12
    assert catalog.device("rtx-4090").flops_per_s[BF16] == 165.2e12
    assert max(catalog.device("cerebras-wse-3").flops_per_s.values()) < 125e15


def test_int8_is_a_trap_on_b300_and_gb300() -> None:
    for name in ("b300-sxm", "gb300-nvl72"):
        device = catalog.device(name)
        assert device.flops_per_s[INT8] < device.flops_per_s[BF16] / 10
        assert INT8 not in device.weight_formats


@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [("tpu-v5p", FP8, BF16), ("tpu-v6e", FP8, BF16), ("gaudi3", FP8, BF16), ("trainium3", FP4, FP8)],
)
def test_some_narrow_formats_save_memory_but_no_arithmetic(name: str, narrow: Precision, wide: Precision) -> None:
    device = catalog.device(name)
    assert device.flops_per_s[narrow] == device.flops_per_s[wide]
    assert narrow in device.weight_formats


def test_engines_count_the_dies_of_some_chips() -> None:
    assert catalog.device("tpu-v7x").devices_per_chip == 2
    assert catalog.device("ascend-910c").devices_per_chip == 2
    assert catalog.device("h100-sxm").devices_per_chip == 1


def test_a_mesh_gives_one_peer_a_seventh() -> None:
    mi300x = catalog.device("mi300x")
    assert mi300x.peer_bytes_per_s == mi300x.scaleup_bytes_per_s / 7 == 64e9


def test_an_ironwood_pod_adds_up() -> None:
    ironwood = catalog.device("ironwood")
    assert ironwood.scaleup_domain * ironwood.flops_per_s[FP8] == pytest.approx(42.5e18, rel=0.001)


def test_h20_has_a_seventh_of_the_arithmetic_and_more_bandwidth_than_h100() -> None:
    h20, h100 = catalog.device("h20"), catalog.device("h100-sxm")
    assert h20.flops_per_s[BF16] / h100.flops_per_s[BF16] == pytest.approx(0.15, abs=0.001)
    assert h20.bandwidth_bytes_per_s > h100.bandwidth_bytes_per_s


def test_one_huawei_die_comes_with_two_memories() -> None:
    prefill, decode = catalog.device("ascend-950pr"), catalog.device("ascend-950dt")
    assert prefill.flops_per_s == decode.flops_per_s
    assert decode.bandwidth_bytes_per_s == 2.5 * prefill.bandwidth_bytes_per_s


def test_maia_200_has_an_on_chip_tier_beside_its_hbm_and_its_conflict_on_record() -> None:
    maia = catalog.device("maia-200")
    assert maia.nature is Nature.PADDED
    assert maia.sram_bytes == 272e6
    assert maia.memory_bytes == 216e9
    assert maia.sram_bytes_per_s > maia.bandwidth_bytes_per_s
    assert any("judged a failure" in conflict for conflict in maia.conflicts)
    assert maia.projected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maia-100", "1,600"),
        ("tpu-v7x", "7,370"),
        ("rubin-cpx", "cancelled"),
        ("rubin-vr200", "NVL144"),
        ("h20", "550 W"),
        ("ascend-910c", "96 GB"),
        ("ascend-950pr", "112 GB"),
        ("mtt-s5000", "64 GB"),
        ("tpu-8i", "11.6 EFLOPS"),
    ],
)
def test_what_sources_disagree_on_is_recorded(name: str, words: str) -> None:
    assert any(words in conflict for conflict in catalog.device(name).conflicts)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("maia-300", Status.ROADMAP),
        ("openai-titan", Status.ROADMAP),
        ("metax-c700", Status.ROADMAP),
        ("mtia-iris", Status.ROADMAP),
        ("neurophos-t100", Status.CLAIMED),
        ("rubin-cpx", Status.CANCELLED),
        ("kunlun-p800", Status.SHIPPING),
        ("alibaba-ppu", Status.SHIPPING),
    ],
)
def test_names_without_figures_are_listed_and_cannot_be_placed(name: str, status: Status) -> None:
    device = catalog.device(name)
    assert device.status is status
    assert not device.placeable
    assert device.why_not


@pytest.mark.parametrize("name", ["maia-200", "mtia-400", "rubin-vr200", "groq-3-lpu", "tpu-8i", "mi455x", "trainium3"])
def test_devices_without_public_measurements_are_projected(name: str) -> None:
    device = catalog.device(name)
    assert device.projected
    assert device.placeable
    assert device.uncertainty >= 0.3


def test_power_scale_checkpoints_load_where_engines_know_them() -> None:
    layout = catalog.model("deepseek-v3.1").checkpoint_format
    assert layout == "ue8m0-fp8"
    assert layout in catalog.device("ascend-950dt").checkpoint_formats
    assert layout in catalog.device("mtt-s5000").checkpoint_formats
    assert layout not in catalog.device("ascend-910b").checkpoint_formats
    assert layout not in catalog.device("groq-lpu-v1").checkpoint_formats


def test_a_composite_names_its_parts_and_what_they_do() -> None:
    bedrock, lpx = catalog.device("trainium3-cs3"), catalog.device("vera-rubin-lpx")
    assert {role for part in bedrock.parts for role in part.roles} == {Role.PREFILL, Role.DECODE}
    assert {role for part in lpx.parts for role in part.roles} == {Role.PREFILL, Role.ATTENTION, Role.FFN}


def test_kv_per_token_follows_from_the_published_shape() -> None:
    for name in ("llama-3.1-70b", "llama-3.1-8b", "qwen3-32b", "llama-3.1-405b", "glm-4.5", "minimax-m2.5"):
        model = catalog.model(name)
        assert model.kv_bytes_per_token == 2 * model.layers * model.kv_heads * model.head_dim * 2
    for name in ("deepseek-v3", "kimi-k2", "glm-5"):
        assert catalog.model(name).kv_bytes_per_token == catalog.model(name).layers * (512 + 64) * 2


def test_the_shapes_that_matter_to_placement_are_as_published() -> None:
    assert catalog.model("deepseek-v3.2").indexer_bytes_per_token == 7808
    assert catalog.model("qwen3.5-397b-a17b").state_bytes_per_sequence == pytest.approx(189e6, rel=0.01)
    assert catalog.model("gpt-oss-120b").native_precision is FP4
    assert catalog.model("llama-3.1-405b").weight_bytes(FP8) == pytest.approx(405.85e9)
