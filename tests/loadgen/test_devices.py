"""`tokenyard devices list` and `show` as users meet them."""

import json

import pytest

from devices import catalog
from loadgen.cli import main
from loadgen.figure_text import figure_text


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("devices", *arguments))
    return (ended.value.code, *capsys.readouterr())


def test_the_list_has_every_device_roadmap_names_included(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "list")
    assert code == 0
    assert all(name in out for name in catalog.device_ids())
    assert f"{len(catalog.device_ids())} devices." in out


@pytest.mark.parametrize(
    ("option", "value", "some", "other"),
    [
        ("--vendor", "huawei", "ascend-910b", "h100-sxm"),
        ("--family", "tpu", "tpu-v7x", "trainium2"),
        ("--status", "roadmap", "maia-300", "maia-200"),
    ],
)
def test_the_list_can_be_narrowed(
    capsys: pytest.CaptureFixture[str], option: str, value: str, some: str, other: str
) -> None:
    _, out, _ = ran(capsys, "list", option, value, "--json")
    found = [device["id"] for device in json.loads(out)]
    assert some in found
    assert other not in found


def test_a_filter_that_fits_nothing_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "list", "--vendor", "nvida")
    assert (code, err) == (2, "tokenyard: --vendor: no device of vendor 'nvida'; did you mean 'nvidia'?\n")


def test_the_json_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ran(capsys, "list", "--json")
    devices = {device["id"]: device for device in json.loads(out)}
    assert set(devices) == set(catalog.device_ids())
    for device in devices.values():
        assert {"vendor", "family", "status", "placeable", "projected", "sources", "conflicts"} <= device.keys()
        assert set(device["sources"]) == set(device["dates"]) == set(device["confidences"])
    assert devices["maia-300"]["status"] == "roadmap"
    assert devices["h100-sxm"]["flops_per_s"]["fp8"] == 1979e12
    assert devices["trainium3-cs3"]["parts"][0]["device"] == "trainium3"


def test_a_device_is_shown_with_units_sources_conflicts_and_whether_it_may_serve(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = ran(capsys, "show", "Maia_200")
    assert "Microsoft Maia 200  [maia-200]" in out
    assert "serve: only where the pool says allow_projected: true" in out
    assert "7 TB/s" in out
    assert "272 MB" in out
    assert "glennklockwood.com" in out
    assert "family prior" in out
    assert "conflict: launched 2026-01-26" in out


def test_a_name_without_figures_says_why_and_borrows_none_from_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ran(capsys, "show", "titan")
    assert "serve: no, it cannot be placed anywhere: no figures published" in out
    assert "family prior" not in out


def test_a_composite_shows_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ran(capsys, "show", "trainium3-cs3")
    assert "part: 16 x trainium3 for prefill" in out
    assert "part: 1 x cerebras-wse-3 for decode" in out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory_bytes", 80e9, "80 GB"),
        ("sram_bytes", 230e6, "230 MB"),
        ("bandwidth_bytes_per_s", 3.35e12, "3.35 TB/s"),
        ("bandwidth_bytes_per_s", 21e15, "21,000 TB/s"),
        ("collective_s", 4.5e-6, "4.5 us"),
        ("collective_s", 0.0, "0 us"),
        ("compile_s", 120.0, "120 s"),
        ("usd_per_chip_hour", 1.6, "1.6 USD"),
        ("purchase_usd", 30799.0, "30,799 USD"),
        ("power_w", 700.0, "700 W"),
        ("allin_kw", 1.73, "1.73 kW"),
        ("compute_efficiency", 0.55, "0.55"),
        ("measured", True, "yes"),
        ("batch_buckets", (8, 16), "8, 16"),
    ],
)
def test_figures_are_written_with_their_units(name: str, value: object, text: str) -> None:
    assert figure_text(name, value) == text
