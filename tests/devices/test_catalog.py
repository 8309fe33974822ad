from importlib import resources

import pytest
import yaml

from devices import catalog
from devices.catalog import UnknownId
from devices.profile import Nature, Precision


def test_the_catalogue_holds_three_natures() -> None:
    assert catalog.device_ids() == ["cerebras-wse-3", "groq-lpu-v1", "h100-sxm", "h200-sxm", "mi355x", "tpu-v6e"]
    assert {catalog.device(name).nature for name in catalog.device_ids()} == set(Nature)


@pytest.mark.parametrize("name", catalog.device_ids())
def test_every_figure_of_a_device_has_a_source(name: str) -> None:
    device = catalog.device(name)
    assert device.id == name
    assert all(len(source) > 10 for source in device.sources.values())
    assert {"flops_per_s", "bandwidth_bytes_per_s", "max_seqs", "compute_efficiency"} <= set(device.sources)
    assert 0 < device.compute_efficiency <= 1
    assert 0 < device.bandwidth_efficiency <= 1
    assert any(precision.bits == 16 for precision in device.flops_per_s)
    assert (device.sram_bytes > 0) == (device.nature is Nature.SRAM) == (device.memory_bytes == 0)
    assert bool(device.batch_buckets) == bool(device.length_buckets) == (device.nature is Nature.PADDED)
    assert list(device.batch_buckets) == sorted(device.batch_buckets)


@pytest.mark.parametrize("name", catalog.device_ids())
def test_no_figure_of_a_device_goes_unread(name: str) -> None:
    text = (resources.files("devices") / "catalog" / "devices" / f"{name}.yaml").read_text("utf-8")
    fields = set(catalog.device(name).__slots__)
    assert set(yaml.safe_load(text)["figures"]) <= fields


@pytest.mark.parametrize("name", catalog.model_ids())
def test_every_figure_of_a_model_has_a_source(name: str) -> None:
    model = catalog.model(name)
    assert model.id == name
    assert set(model.sources) >= {"parameters", "layers", "kv_bytes_per_token", "max_context_tokens"}
    assert 0 < model.active_parameters <= model.parameters
    assert (model.experts > 0) == (model.active_parameters < model.parameters)


def test_published_figures_arrive_in_seconds_bytes_and_flops() -> None:
    h100 = catalog.device("h100-sxm")
    assert h100.bandwidth_bytes_per_s == 3.35e12
    assert h100.memory_bytes == 80e9
    assert h100.flops_per_s[Precision.FP8] == 1979e12
    assert Precision.FP4 not in h100.flops_per_s
    assert catalog.device("groq-lpu-v1").sram_bytes == 230e6


def test_a_chip_that_is_not_rented_out_has_no_price() -> None:
    assert catalog.device("groq-lpu-v1").usd_per_chip_hour is None
    assert catalog.device("h200-sxm").usd_per_chip_hour == 1.60


def test_kv_per_token_follows_from_the_published_shape() -> None:
    # 2 x layers x KV heads x head size x 2 bytes; latent attention keeps 512 + 64 values a layer
    assert catalog.model("llama-3.1-70b").kv_bytes_per_token == 2 * 80 * 8 * 128 * 2
    assert catalog.model("llama-3.1-8b").kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert catalog.model("qwen3-32b").kv_bytes_per_token == 2 * 64 * 8 * 128 * 2
    assert catalog.model("deepseek-v3").kv_bytes_per_token == 61 * (512 + 64) * 2 == 70_272


def test_an_unknown_device_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownId, match=r"^unknown device 'h1000'; did you mean 'h100-sxm'\?$"):
        catalog.device("h1000")


def test_an_unknown_model_without_a_near_one_lists_all() -> None:
    with pytest.raises(
        UnknownId, match=r"unknown model 'zzz'; known: deepseek-v3, llama-3.1-70b, llama-3.1-8b, qwen3-32b"
    ):
        catalog.model("zzz")


def test_a_profile_is_read_once() -> None:
    assert catalog.device("h200-sxm") is catalog.device("h200-sxm")


def test_list_prices_are_per_million_tokens_and_cached_input_may_be_missing() -> None:
    assert catalog.api_price("cerebras", "llama-3.1-70b").usd_per_m_output == 0.60
    assert catalog.api_price("cerebras", "llama-3.1-70b").usd_per_m_cached_input is None
    assert catalog.api_price("groq", "openai/gpt-oss-120b").usd_per_m_cached_input == 0.075


def test_a_provider_or_model_without_a_list_price_is_named() -> None:
    with pytest.raises(UnknownId, match=r"unknown provider 'grok'; did you mean 'groq'\?"):
        catalog.api_price("grok", "llama-3.1-70b")
    with pytest.raises(UnknownId, match=r"unknown price at groq: model 'llama-3.1-70b'"):
        catalog.api_price("groq", "llama-3.1-70b")
