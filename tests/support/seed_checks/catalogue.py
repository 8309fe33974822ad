"""What the catalogue says of the chips the articles name."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devices.catalog import device, device_ids, model
from devices.feasibility import Infeasible, limits
from devices.formats import checkpoint_problem
from devices.natures.choice import predictor
from devices.profile import DeviceProfile, Precision, Status
from router.config import ConfigError, load
from seed_checks.key import Checks, near


def maia_200_has_an_on_chip_tier_beside_hbm() -> None:
    maia = device("maia-200")
    assert (maia.sram_bytes, maia.memory_bytes > 0) == (272e6, True)
    tier = replace(maia, sram_bytes_per_s=maia.sram_bytes_per_s or 10 * maia.bandwidth_bytes_per_s)
    assert _step_s(tier) < _step_s(replace(maia, sram_bytes=0.0))


def maia_100_bandwidth_is_the_vendors_and_the_conflict_is_kept() -> None:
    near(device("maia-100").bandwidth_bytes_per_s, 1800e9)
    assert _conflict(device("maia-100"), "1,600")


def tpu_v5p_bandwidth() -> None:
    near(device("tpu-v5p").bandwidth_bytes_per_s, 2765e9, 0)


def trainium2e_bandwidth() -> None:
    near(device("trainium2e").bandwidth_bytes_per_s, 2898e9)


def tpu_v7_bandwidth() -> None:
    assert 7370e9 <= device("tpu-v7").bandwidth_bytes_per_s <= 7380e9


def maia_200_status_conflict_is_kept() -> None:
    assert _conflict(device("maia-200"), "2025")


def maia_200_is_projected_and_no_one_serves_with_it_unasked() -> None:
    assert device("maia-200").projected
    pool = "{name: a, device: maia-200, tp: 4, model: llama-3.1-8b, precision: bf16"
    assert "allow_projected" in _complaint(f'{pool}, workers: ["http://a:1"]}}')
    assert _complaint(f'{pool}, workers: ["http://a:1"], allow_projected: true}}') == ""
    assert _complaint(f"{pool}, simulate: 1}}") == ""


def maia_300_is_on_the_roadmap_without_figures() -> None:
    _listed_only("maia-300", Status.ROADMAP)


def mtia_names_are_listed() -> None:
    assert {"mtia-v2", "mtia-300", "mtia-400", "mtia-450", "mtia-500"} <= set(device_ids())
    for name in ("mtia-athena", "mtia-iris", "mtia-arke"):
        _listed_only(name, Status.ROADMAP)


def titan_is_on_the_roadmap() -> None:
    _listed_only("titan" if "titan" in device_ids() else "openai-titan", Status.ROADMAP)


def neurophos_is_a_claim_nobody_can_place() -> None:
    _listed_only("neurophos-t100", Status.CLAIMED)


def h20_has_15_per_cent_of_the_arithmetic() -> None:
    for precision in (Precision.BF16, Precision.FP8):
        share = device("h20").flops_per_s[precision] / device("h100-sxm").flops_per_s[precision]
        near(share, 0.15, 0.01)
        assert share <= 0.20


def c700_is_on_the_roadmap() -> None:
    _listed_only("metax-c700", Status.ROADMAP)


def ue8m0_checkpoints_need_chips_that_know_them() -> None:
    shape = model("deepseek-v3.1")
    assert shape.checkpoint_format == "ue8m0-fp8"
    assert checkpoint_problem(device("mtt-s5000"), shape, Precision.FP8) is None
    assert checkpoint_problem(device("trainium2"), shape, Precision.FP8)
    with pytest.raises(Infeasible, match=r"UE8M0|ue8m0"):
        limits(device("trainium2"), shape, 64, Precision.FP8, Precision.FP16)


def ironwood_fp8() -> None:
    near(device("tpu-v7").flops_per_s[Precision.FP8], 4614e12, 0)


def ironwood_pod_size() -> None:
    assert device("tpu-v7").scaleup_domain == 9216


def ironwood_pod_compute() -> None:
    ironwood = device("tpu-v7")
    near(ironwood.scaleup_domain * ironwood.flops_per_s[Precision.FP8], 42.5e18)


CHECKS: Checks = {
    ("000", "Maia 200", "on-chip SRAM"): maia_200_has_an_on_chip_tier_beside_hbm,
    ("002", "Maia 100", "memory bandwidth"): maia_100_bandwidth_is_the_vendors_and_the_conflict_is_kept,
    ("002", "TPU v5p", "memory bandwidth"): tpu_v5p_bandwidth,
    ("002", "Trainium2E", "memory bandwidth"): trainium2e_bandwidth,
    ("002", "TPU v7", "memory bandwidth"): tpu_v7_bandwidth,
    ("002", "Maia 200", "mass production"): maia_200_status_conflict_is_kept,
    ("002", "Maia 200", "internal verdict"): maia_200_is_projected_and_no_one_serves_with_it_unasked,
    ("002", "Maia 300", "earliest deployment"): maia_300_is_on_the_roadmap_without_figures,
    ("002", "Meta MTIA", "roadmap"): mtia_names_are_listed,
    ("002", "OpenAI Titan", "status"): titan_is_on_the_roadmap,
    ("002", "Neurophos OPU", "FLOPS gain"): neurophos_is_a_claim_nobody_can_place,
    ("003", "H20", "compute vs H100"): h20_has_15_per_cent_of_the_arithmetic,
    ("004", "MetaX C700", "target"): c700_is_on_the_roadmap,
    ("004", "DeepSeek V3.1", "format"): ue8m0_checkpoints_need_chips_that_know_them,
    ("004", "TPU Ironwood", "FP8"): ironwood_fp8,
    ("004", "TPU Ironwood", "pod size"): ironwood_pod_size,
    ("004", "TPU Ironwood pod", "compute"): ironwood_pod_compute,
}


def _conflict(of: DeviceProfile, figure: str) -> bool:
    return any(figure in conflict and "seeds/claims.csv" in conflict for conflict in of.conflicts)


def _step_s(of: DeviceProfile) -> float:
    return predictor(of, model("llama-3.1-8b"), 4, Precision.BF16, Precision.FP16).decode_step_s(1, 1000)


def _listed_only(name: str, status: Status) -> None:
    chip = device(name)
    assert chip.status is status
    assert not chip.placeable
    assert chip.why_not
    with pytest.raises(Infeasible, match="cannot be placed"):
        limits(chip, model("llama-3.1-8b"), 8, Precision.BF16, Precision.FP16)


def _complaint(pool: str) -> str:
    """What a fleet file of this one pool is refused with; empty where it is sound."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.yaml"
        file.write_text(f"models: [{{name: llama-3.1-8b}}]\npools: [{pool}]\n")
        try:
            load(file)
        except ConfigError as error:
            return str(error)
    return ""
