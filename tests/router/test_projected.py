"""Devices nobody has measured: simulated freely, served only where the fleet file says so."""

from pathlib import Path

import pytest

from router.config import ConfigError, load

MODELS = "models: [{name: llama-3.1-70b}]\n"
URL = "workers: ['http://10.0.0.1:8000']"


def complaint(file: Path, device: str, rest: str, precision: str = "bf16") -> str | None:
    """What is wrong with a pool of that device, None if nothing is."""
    pool = f"{{name: p, device: {device}, tp: 8, model: llama-3.1-70b, precision: {precision}, {rest}}}"
    file.write_text(f"{MODELS}pools:\n  - {pool}\n")
    try:
        load(file)
    except ConfigError as error:
        return str(error).replace(f"{file.parent}/", "")
    return None


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def test_real_workers_on_a_projected_device_are_refused_with_the_switch_and_its_place(fleet: Path) -> None:
    assert complaint(fleet, "maia-200", URL) == (
        "fleet.yaml:3:23: pools[0].device: nobody has published how fast maia-200 (internal) serves language models, "
        "its timings are projected; set allow_projected: true on this pool to use them for real workers, or simulate: 1"
    )


@pytest.mark.parametrize("rest", [f"{URL}, allow_projected: true", "simulate: 2"])
def test_the_switch_or_a_simulation_lets_them_pass(fleet: Path, rest: str) -> None:
    assert complaint(fleet, "maia-200", rest) is None


def test_discovered_workers_are_real_ones(fleet: Path) -> None:
    assert "allow_projected" in (complaint(fleet, "tpu-v5p", "discover: {dns: tpu.svc, port: 8000}") or "")


@pytest.mark.parametrize("device", ["h200-sxm", "mi300x", "gaudi3", "ascend-910b"])
def test_measured_devices_need_no_permission(fleet: Path, device: str) -> None:
    assert complaint(fleet, device, URL) is None


@pytest.mark.parametrize("rest", [URL, f"{URL}, allow_projected: true", "simulate: 1"])
def test_a_roadmap_name_cannot_be_placed_whatever_the_file_says(fleet: Path, rest: str) -> None:
    told = complaint(fleet, "maia-300", rest)
    assert told == "fleet.yaml:3:23: pools[0].device: maia-300 cannot be placed: roadmap: no figures published"


def test_a_device_may_be_named_as_its_vendor_does(fleet: Path) -> None:
    assert complaint(fleet, "NVIDIA-H100-80GB-HBM3", "simulate: 1") is None
