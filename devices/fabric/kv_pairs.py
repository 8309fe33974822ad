"""Whether one worker can hand its KV cache to another: engines' rules and the hardware people made it work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from devices.packaged import read
from devices.profile import DeviceProfile, ModelProfile, Precision


class State(Enum):
    """How far a hand-over between two kinds of hardware has come."""

    WORKS = "works"
    FRAGILE = "fragile"
    """Code exists, tied to single releases, or not merged."""
    VENDOR_INTERNAL = "vendor-internal"
    """Inside one vendor's product."""
    NOT_FOUND = "not found"
    REFUSED = "refused"
    """The engines would turn each other down, on whatever hardware."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a hand-over. None is what nobody stated; the engines still compare it.

    Attributes:
        name: for sentences.
        version: of the engine.
        attention: backend of its attention kernels.
    """

    name: str
    device: DeviceProfile
    engine: str
    kv_precision: Precision
    block_size: int = 16
    tp: int = 1
    version: str | None = None
    attention: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a pair, in one sentence, and who says so. `source` is empty where nothing is known."""

    state: State
    why: str
    source: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Devices a row is about: a vendor, a family, patterns of ids; what is empty fits any."""

    vendor: str = ""
    family: str = ""
    devices: tuple[str, ...] = ()

    def fits(self, device: DeviceProfile) -> bool:
        """Whether `device` is meant. Patterns match as in a shell."""
        return (
            self.vendor in ("", device.vendor)
            and self.family in ("", device.family)
            and (not self.devices or any(fnmatchcase(device.id, pattern) for pattern in self.devices))
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix. `engine` and `connectors` are empty where no engine does it."""

    source_hardware: Hardware
    target_hardware: Hardware
    engine: str
    connectors: tuple[str, ...]
    finding: Finding

    def fits(self, prefill: Side, decode: Side, connector: str) -> bool:
        """Whether the row speaks of this pair; an engine's row only of its own connectors."""
        return (
            self.source_hardware.fits(prefill.device)
            and self.target_hardware.fits(decode.device)
            and self.engine in ("", prefill.engine)
            and (not self.connectors or connector in self.connectors)
        )


def finding(prefill: Side, decode: Side, model: ModelProfile, connector: str) -> Finding:
    """What is known of handing the cache of `model` from `prefill` to `decode`. Nothing known means not compatible."""
    refused = _refused(prefill, decode, model)
    if refused:
        return refused
    known = next((row.finding for row in rows() if row.fits(prefill, decode, connector)), None)
    pair = f"from {prefill.device.id} to {decode.device.id}"
    return known or Finding(State.NOT_FOUND, f"nobody is known to hand KV over {pair} with {connector}")


@cache
def rows() -> tuple[Row, ...]:
    """The matrix, narrow rows first."""
    return tuple(_row(entry) for entry in read("kv_pairs.yaml")["pairs"])


def _refused(prefill: Side, decode: Side, model: ModelProfile) -> Finding | None:
    """What the engines' own handshake turns down, the plainest reason first."""
    if prefill.engine != decode.engine:
        what = f"{prefill.name} runs {prefill.engine}, {decode.name} {decode.engine}"
        return Finding(State.REFUSED, f"{what}; no two engines understand each other's hand-over")
    rules = read("kv_pairs.yaml")["handshake"].get(prefill.engine)
    if rules is None:
        return Finding(State.REFUSED, f"no rules of a hand-over are known of {prefill.engine}")
    reasons = (*_unequal(prefill, decode, rules), *_blocks(prefill, decode, model), *_parallel(prefill, decode, model))
    return Finding(State.REFUSED, reasons[0], rules["source"], str(rules["date"])) if reasons else None


def _unequal(prefill: Side, decode: Side, rules: Mapping[str, Any]) -> Iterator[str]:
    words = {"version": "runs version {}", "attention": "attends with {}", "kv_precision": "keeps its cache in {}"}
    for field in rules["equal"]:
        held, taken = _shown(getattr(prefill, field)), _shown(getattr(decode, field))
        if held and taken and held != taken:
            yield f"{prefill.name} {words[field].format(held)}, {decode.name} {words[field].format(taken)}"


def _shown(value: Precision | str | None) -> str | None:
    return value.value if isinstance(value, Precision) else value


def _blocks(prefill: Side, decode: Side, model: ModelProfile) -> Iterator[str]:
    """Blocks may be smaller on the prefill side, and only where all layers keep one kind of cache."""
    if prefill.block_size == decode.block_size:
        return
    sizes = f"{prefill.name} has blocks of {prefill.block_size} tokens, {decode.name} of {decode.block_size}"
    if model.state_bytes_per_sequence or model.layers_windowed:
        yield f"{sizes}; the layers of {model.id} keep several kinds of cache and need equal blocks"
    elif prefill.block_size > decode.block_size:
        yield f"{sizes}; only smaller blocks on the prefill side can be remapped"


def _parallel(prefill: Side, decode: Side, model: ModelProfile) -> Iterator[str]:
    """Heads are split anew between unequal tp, latent caches are whole on each chip, states are neither."""
    if model.state_bytes_per_sequence and prefill.tp != decode.tp:
        splits = f"{prefill.name} is split over {prefill.tp} chips, {decode.name} over {decode.tp}"
        yield f"{splits}; the states of {model.id} need equal splits"


def _row(entry: Mapping[str, Any]) -> Row:
    found = Finding(State(entry["state"]), entry["why"], entry["source"], str(entry["date"]))
    source, target = _hardware(entry["from"]), _hardware(entry["to"])
    return Row(source, target, entry.get("engine", ""), tuple(entry.get("connectors", ())), found)


def _hardware(entry: Mapping[str, Any]) -> Hardware:
    return Hardware(entry.get("vendor", ""), entry.get("family", ""), tuple(entry.get("devices", ())))
