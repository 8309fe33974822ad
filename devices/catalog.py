"""The catalogue: one YAML file per device and model, each figure beside its source. Only what is asked for is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from devices.profile import DeviceProfile, ModelProfile, Nature, Precision
from devices.worker import ApiPrice


class UnknownId(LookupError):
    """No such entry; the message names the nearest one."""


def device_ids() -> list[str]:
    """All devices, sorted."""
    return _ids("devices")


def model_ids() -> list[str]:
    """All models, sorted."""
    return _ids("models")


@cache
def device(device_id: str) -> DeviceProfile:
    """The profile of a chip; raises `UnknownId`. A figure that does not apply to a chip is left out of its file."""
    entry = _entry("devices", "device", device_id)
    figure, sources = _figures(entry)
    return DeviceProfile(
        id=device_id,
        vendor=entry["vendor"],
        family=entry["family"],
        nature=Nature(entry["nature"]),
        status=entry["status"],
        flops_per_s={Precision(name): float(rate) for name, rate in figure["flops_per_s"].items()},
        memory_bytes=float(figure.get("memory_bytes", 0)),
        sram_bytes=float(figure.get("sram_bytes", 0)),
        bandwidth_bytes_per_s=float(figure["bandwidth_bytes_per_s"]),
        compute_efficiency=float(figure["compute_efficiency"]),
        bandwidth_efficiency=float(figure["bandwidth_efficiency"]),
        step_overhead_s=float(figure["step_overhead_s"]),
        collective_s=float(figure.get("collective_s", 0)),
        sequence_overhead_s=float(figure.get("sequence_overhead_s", 0)),
        batch_buckets=tuple(figure.get("batch_buckets", ())),
        length_buckets=tuple(figure.get("length_buckets", ())),
        max_seqs=figure["max_seqs"],
        max_batched_tokens=figure["max_batched_tokens"],
        usd_per_chip_hour=figure.get("usd_per_chip_hour"),
        power_w=float(figure["power_w"]),
        confidence=entry["confidence"],
        sources=sources,
        notes=entry.get("notes", ""),
        scaleup_bytes_per_s=float(figure.get("scaleup_bytes_per_s", 0)),
    )


@cache
def model(model_id: str) -> ModelProfile:
    """The shape of a model; raises `UnknownId`."""
    entry = _entry("models", "model", model_id)
    figure, sources = _figures(entry)
    return ModelProfile(
        id=model_id,
        parameters=float(figure["parameters"]),
        active_parameters=float(figure["active_parameters"]),
        layers=figure["layers"],
        hidden=figure["hidden"],
        heads=figure["heads"],
        head_dim=figure["head_dim"],
        kv_bytes_per_token=figure["kv_bytes_per_token"],
        experts=figure.get("experts", 0),
        experts_per_token=figure.get("experts_per_token", 0),
        max_context_tokens=figure["max_context_tokens"],
        native_precision=Precision(figure["native_precision"]),
        sources=sources,
        notes=entry.get("notes", ""),
    )


def api_price(provider: str, model_name: str) -> ApiPrice:
    """The list price of a model at a metered API; raises `UnknownId`."""
    providers: Mapping[str, Any] = _read("prices.yaml")["providers"]
    _known("provider", provider, providers)
    prices = providers[provider]
    _known(f"price at {provider}: model", model_name, prices)
    price = prices[model_name]
    return ApiPrice(price["input"], price["output"], price.get("cached_input"))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, or all of them."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownId(f"unknown {kind} '{name}'; {did_you_mean(name, known)}")


def _ids(folder: str) -> list[str]:
    files = resources.files("devices") / "catalog" / folder
    return sorted(file.name.removesuffix(".yaml") for file in files.iterdir() if file.name.endswith(".yaml"))


def _entry(folder: str, kind: str, name: str) -> dict[str, Any]:
    _known(kind, name, _ids(folder))
    return _read(f"{folder}/{name}.yaml")


@cache
def _read(path: str) -> dict[str, Any]:
    text = (resources.files("devices") / "catalog" / path).read_text("utf-8")
    entry: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return entry


def _figures(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and sources of all figures; a figure without a source is a KeyError, and a test loads every entry."""
    figures = entry["figures"]
    return {name: figure["value"] for name, figure in figures.items()}, {
        name: figure["source"] for name, figure in figures.items()
    }
