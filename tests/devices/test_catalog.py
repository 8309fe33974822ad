import csv
from collections import Counter
from importlib import resources
from pathlib import Path

import catalog_index
import pytest
import yaml

from devices import catalog
from devices.catalog import UnknownId
from devices.profile import DeviceProfile, Nature, Precision, Status
from devices.profile_file import NEEDED

CATALOG = Path(str(resources.files("devices") / "catalog"))
CONFIDENCES = {"vendor-spec", "measured", "press", "estimate", "claim", "assumed"}
SPELLINGS = list(
    csv.DictReader((Path(__file__).parent / "data" / "spellings.csv").read_text("utf-8").splitlines()),
)
"""Names of devices, models and systems as public data sets, benchmarks and engines spell them."""
DEVICES = [catalog.device(name) for name in catalog.device_ids()]
PLACEABLE = [device for device in DEVICES if device.placeable]


def ids(device: DeviceProfile) -> str:
    return device.id


def test_every_nature_and_every_status_occurs() -> None:
    assert {device.nature for device in DEVICES} == set(Nature)
    assert {device.status for device in DEVICES} == set(Status)


def test_every_file_is_in_the_index_and_no_spelling_names_two_entries() -> None:
    written = (CATALOG / "aliases.yaml").read_text("utf-8")
    assert written == catalog_index.index(), "run: python tests/support/catalog_index.py"


def test_ids_are_unique_across_vendors() -> None:
    names = Counter(path.stem for path in (CATALOG / "devices").rglob("*.yaml"))
    assert sorted(names) == catalog.device_ids()
    assert max(names.values()) == 1


@pytest.mark.parametrize("device", DEVICES, ids=ids)
def test_every_figure_of_a_device_has_source_date_and_confidence(device: DeviceProfile) -> None:
    assert set(device.sources) == set(device.dates) == set(device.confidences)
    assert all(len(source) > 5 for source in device.sources.values())
    assert set(device.confidences.values()) | {device.confidence} <= CONFIDENCES
    assert all(date[:2] == "20" and "01" <= date[5:7] <= "12" for date in device.dates.values())
    assert set(device.sources) <= set(DeviceProfile.__slots__), "a figure nobody reads"


@pytest.mark.parametrize("device", DEVICES, ids=ids)
def test_a_device_lies_in_its_vendors_folder(device: DeviceProfile) -> None:
    assert (CATALOG / "devices" / device.vendor / f"{device.id}.yaml").is_file()


@pytest.mark.parametrize("device", DEVICES, ids=ids)
def test_status_and_placeable_are_consistent(device: DeviceProfile) -> None:
    assert device.placeable == (not device.why_not)
    if device.status in (Status.ROADMAP, Status.CANCELLED, Status.CLAIMED):
        assert not device.placeable
    if device.measured:
        assert device.placeable
        assert device.status is Status.SHIPPING
    if device.uncertainty < 0.2:
        assert device.measured


@pytest.mark.parametrize("device", PLACEABLE, ids=ids)
def test_a_placeable_device_has_all_its_nature_needs(device: DeviceProfile) -> None:
    assert all(getattr(device, name) for name in NEEDED[device.nature])
    assert not any(device.sources[name].startswith("family prior") for name in NEEDED[device.nature])
    assert bool(device.batch_buckets) == bool(device.length_buckets) == (device.nature is Nature.PADDED)
    assert list(device.batch_buckets) == sorted(set(device.batch_buckets))
    assert list(device.slice_chips) == sorted(set(device.slice_chips))
    assert 0 < device.uncertainty < 1
    if device.nature is Nature.COMPOSITE:
        assert all(part.device.placeable for part in device.parts)
        return
    assert 0 < device.compute_efficiency <= 1
    assert 0 < device.bandwidth_efficiency <= 1
    assert device.power_w > 0
    assert device.scaleup_domain >= 1
    assert device.nature is Nature.SRAM or any(precision.bits == 16 for precision in device.flops_per_s)


@pytest.mark.parametrize("device", DEVICES, ids=ids)
def test_only_what_its_own_file_leaves_out_comes_from_the_family(device: DeviceProfile) -> None:
    path = CATALOG / "devices" / device.vendor / f"{device.id}.yaml"
    own = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)["figures"]
    for name, source in device.sources.items():
        assert source.startswith("family prior") == (name not in own)


@pytest.mark.parametrize("name", catalog.model_ids())
def test_every_figure_of_a_model_has_source_date_and_confidence(name: str) -> None:
    model = catalog.model(name)
    assert model.id == name
    assert set(model.sources) == set(model.dates) == set(model.confidences)
    assert set(model.confidences.values()) | {model.confidence} <= CONFIDENCES
    assert set(model.sources) <= set(type(model).__slots__), "a figure nobody reads"
    assert model.placeable == (not model.why_not)


@pytest.mark.parametrize("name", [name for name in catalog.model_ids() if catalog.model(name).placeable])
def test_a_placeable_model_has_a_whole_shape(name: str) -> None:
    model = catalog.model(name)
    assert 0 < model.active_parameters <= model.parameters
    assert (model.experts > 0) == (model.active_parameters < model.parameters)
    assert min(model.layers, model.hidden, model.heads, model.head_dim, model.max_context_tokens) > 0
    assert model.kv_bytes_per_token > 0
    assert model.mla != bool(model.kv_heads)
    assert bool(model.window_tokens) == bool(model.layers_windowed)
    assert model.layers_windowed < model.layers


@pytest.mark.parametrize("row", SPELLINGS, ids=lambda row: f"{row['kind']}-{row['spelling']}")
def test_every_public_spelling_resolves(row: dict[str, str]) -> None:
    found = {
        "device": lambda name: catalog.device(name).id,
        "model": lambda name: catalog.model(name).id,
        "system": lambda name: " + ".join(f"{chips} x {chip}" for chip, chips in catalog.system(name)),
    }[row["kind"]](row["spelling"])
    assert found == row["id"]


def test_spellings_ignore_case_spaces_and_underscores() -> None:
    for name in ("h100_sxm", "H100-SXM", "H100 SXM", "h100-SXM-80GB", "NVIDIA H100 80GB HBM3"):
        assert catalog.device(name) is catalog.device("h100-sxm")
    assert catalog.model("meta-llama/Llama-3.3-70B-Instruct") is catalog.model("llama-3.1-70b")


def test_an_id_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownId, match=r"^unknown device 'h1000'; did you mean 'h100-sxm'\?$"):
        catalog.device("h1000")
    with pytest.raises(UnknownId, match=r"^unknown model 'llama-3.1-7b'; did you mean 'llama-3.1-70b'\?$"):
        catalog.model("llama-3.1-7b")


def test_an_id_like_no_other_is_answered_with_where_to_look() -> None:
    with pytest.raises(UnknownId, match=r"^unknown device 'zzzzz'; see `tokenyard devices list`$"):
        catalog.device("zzzzz")
    with pytest.raises(UnknownId, match=r"^unknown model 'zzzzz'; known: bloom-176b, codellama-34b,"):
        catalog.model("zzzzz")
    with pytest.raises(UnknownId, match=r"^unknown system 'zzzzz'; 10\d are known$"):
        catalog.system("zzzzz")


def test_only_the_index_the_priors_and_the_asked_file_are_read() -> None:
    catalog._read.cache_clear()
    catalog._device.cache_clear()
    catalog.device("maia-200")
    assert catalog._read.cache_info().currsize == 3


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("h100-sxm", (0.55, 0.88, 0.0036, 4.5e-6, 45e-6)),
        ("h200-sxm", (0.55, 0.88, 0.0036, 4.5e-6, 45e-6)),
        ("mi355x", (0.55, 0.8, 0.0036, 7.5e-6, 30e-6)),
        ("tpu-v6e", (0.6, 0.8, 0.001, 2e-6, 74e-6)),
        ("groq-lpu-v1", (0.5, 0.083, 0.00155, 0, 0)),
        ("cerebras-wse-3", (0.5, 0.083, 0.00063, 0, 0)),
    ],
)
def test_what_was_fitted_by_hand_is_not_overridden_by_the_family(name: str, figures: tuple[float, ...]) -> None:
    device = catalog.device(name)
    assert figures == (
        device.compute_efficiency,
        device.bandwidth_efficiency,
        device.step_overhead_s,
        device.collective_s,
        device.sequence_overhead_s,
    )


def test_list_prices_are_per_million_tokens_and_cached_input_may_be_missing() -> None:
    assert catalog.api_price("cerebras", "llama-3.1-70b").usd_per_m_output == 0.60
    assert catalog.api_price("cerebras", "llama-3.1-70b").usd_per_m_cached_input is None
    assert catalog.api_price("groq", "openai/gpt-oss-120b").usd_per_m_cached_input == 0.075


def test_a_provider_or_model_without_a_list_price_is_named() -> None:
    with pytest.raises(UnknownId, match=r"unknown provider 'grok'; did you mean 'groq'\?"):
        catalog.api_price("grok", "llama-3.1-70b")
    with pytest.raises(UnknownId, match=r"unknown price at groq: model 'llama-3.1-70b'"):
        catalog.api_price("groq", "llama-3.1-70b")


def test_a_chip_that_is_not_rented_out_has_no_price() -> None:
    assert catalog.device("groq-lpu-v1").usd_per_chip_hour is None
    assert catalog.device("h200-sxm").usd_per_chip_hour == 1.60
    assert Precision.FP8 not in catalog.device("groq-lpu-v1").weight_formats
