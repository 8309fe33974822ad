"""The catalogue: one YAML file per device and model, each figure beside its source. Only what is asked for is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from devices.profile import DeviceProfile, ModelProfile
from devices.profile_file import Entry, device_profile, model_profile
from devices.worker import ApiPrice


class UnknownId(LookupError):
    """No such entry; the message names the nearest one."""


def device_ids() -> list[str]:
    """All devices, sorted, those that cannot be placed included."""
    return sorted(_index("devices"))


def model_ids() -> list[str]:
    """All models, sorted."""
    return sorted(_index("models"))


def device(name: str) -> DeviceProfile:
    """The profile of a chip by its id or any spelling of it; raises `UnknownId`."""
    return _device(_id("device", "devices", name))


def model(name: str) -> ModelProfile:
    """The shape of a model by its id or any spelling of it; raises `UnknownId`."""
    return _model(_id("model", "models", name))


def system(name: str) -> tuple[tuple[str, int], ...]:
    """Device ids and chips of a benchmark submission by the name it gave its system; raises `UnknownId`."""
    systems = _read("systems.yaml")
    _known("system", name, systems)
    return tuple((part["device"], part["chips"]) for part in systems[name])


def api_price(provider: str, model_name: str) -> ApiPrice:
    """The list price of a model at a metered API, under the provider's name for it or ours; raises `UnknownId`."""
    prices = _read("prices.yaml")
    _known("provider", provider, prices["providers"])
    aliases: Mapping[str, str] = prices["aliases"].get(provider, {})
    listed = prices["providers"][provider]
    _known(f"price at {provider}: model", model_name, [*listed, *aliases])
    return ApiPrice.listed(listed[aliases.get(model_name, model_name)])


def spelling(name: str) -> str:
    """What spellings are compared by: case, spaces and underscores make no difference."""
    return "-".join(name.casefold().replace("_", " ").split())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, or all of them where they are few."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(names)}" if len(names) <= FEW else f"{len(names)} are known"


FEW = 30
"""More names than this are no help in an error message."""


@cache
def _device(device_id: str) -> DeviceProfile:
    entry: Entry = _read(f"devices/{_index('devices')[device_id]}/{device_id}.yaml")
    return device_profile(device_id, entry, _read("priors.yaml"), device)


@cache
def _model(model_id: str) -> ModelProfile:
    return model_profile(model_id, _read(f"models/{model_id}.yaml"))


def _id(kind: str, folder: str, name: str) -> str:
    """The id itself, or the one that has this spelling. Ids are tried first: they are what files should say."""
    ids = _index(folder)
    if name in ids:
        return name
    known: Mapping[str, str] = _read("aliases.yaml")["spellings"][folder]
    found = known.get(spelling(name))
    if found is None:
        near = difflib.get_close_matches(spelling(name), known, n=1)
        hint = f"did you mean '{known[near[0]]}'?" if near else _list_hint(kind, ids)
        raise UnknownId(f"unknown {kind} '{name}'; {hint}")
    return found


def _list_hint(kind: str, ids: Iterable[str]) -> str:
    return "see `tokenyard devices list`" if kind == "device" else f"known: {', '.join(sorted(ids))}"


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownId(f"unknown {kind} '{name}'; {did_you_mean(name, known)}")


def _index(folder: str) -> dict[str, str]:
    """Ids with the folder each lies in. A generated file: listing ninety files costs more than reading one."""
    index: dict[str, str] = _read("aliases.yaml")[folder]
    return index


@cache
def _read(path: str) -> dict[str, Any]:
    text = (resources.files("devices") / "catalog" / path).read_text("utf-8")
    entry: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return entry
