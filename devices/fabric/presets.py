"""The catalogue's links and networks as values: what a hand-over of KV cache crosses, how long, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from math import ceil
from typing import Any

from devices.catalog import UnknownId, did_you_mean
from devices.fabric.topology import Path, Topology
from devices.packaged import read
from devices.worker import Link


class Reach(Enum):
    """How far a kind of link goes."""

    SCALE_UP = "scale-up"
    """Within one domain of chips wired to each other: a tray, or a rack."""
    SITE = "site"
    SITES = "sites"


@dataclass(frozen=True, slots=True)
class LinkPreset:
    """A kind of link.

    Attributes:
        bytes_per_s: what a transfer attains on one adapter.
        latency_s: of one transfer, before its first byte; distance and switches come on top.
        per_descriptor_s: to post one piece of memory.
        shared_bytes_per_s: bound of all traffic between the two ends, None where the adapters are the only bound.
        usd_per_byte: charge of whoever owns the wire; 0 where it is yours.
        sources: of every figure.
    """

    name: str
    reach: Reach
    bytes_per_s: float
    latency_s: float
    per_descriptor_s: float
    shared_bytes_per_s: float | None
    usd_per_byte: float
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Optics:
    """What one pair of fibres between two sites carries, one way."""

    channel_bits_per_s: float
    channels: int

    @property
    def pair_bits_per_s(self) -> float:
        return self.channel_bits_per_s * self.channels

    def pairs(self, bits_per_s: float) -> int:
        """Fibre pairs needed for `bits_per_s`."""
        return ceil(bits_per_s / self.pair_bits_per_s)


def link(
    preset: LinkPreset,
    topology: Topology | None = None,
    path: Path | None = None,
    *,
    adapters: int = 1,
    km: float = 0.0,
    descriptors_per_block: int = 1,
    block_size: int = 16,
) -> Link:
    """A preset on its way: `topology` and `path` bound it by the ports of each adapter and by oversubscription.

    `adapters` work side by side on the bytes, yet each posts the pieces of every block, so they do not share that.
    """
    one = preset.bytes_per_s
    latency_s = preset.latency_s + km * constant("fibre_s_per_km")
    if topology and path:
        one = min(one, topology.adapter_bits_per_s / 8 / path.oversubscription)
        latency_s += path.switches * topology.switch_s
    bytes_per_s = one * adapters
    if preset.shared_bytes_per_s is not None:
        bytes_per_s = min(bytes_per_s, preset.shared_bytes_per_s)
    per_block_s = preset.per_descriptor_s * descriptors_per_block
    return Link(bytes_per_s, latency_s, per_block_s, block_size, preset.usd_per_byte)


def link_presets() -> list[str]:
    """Names of all kinds of link, sorted."""
    return sorted(_section("links"))


def topologies() -> list[str]:
    """Names of all networks, sorted."""
    return sorted(_section("topologies"))


@cache
def link_preset(name: str) -> LinkPreset:
    """A kind of link; raises `UnknownId`."""
    entry = _entry("links", "link preset", name)
    figure = {key: cell["value"] for key, cell in entry.items() if isinstance(cell, Mapping)}
    return LinkPreset(
        name=name,
        reach=Reach(entry["reach"]),
        bytes_per_s=figure["nominal_bytes_per_s"] * figure["attained"],
        latency_s=figure["latency_s"],
        per_descriptor_s=figure["per_descriptor_s"],
        shared_bytes_per_s=figure.get("shared_bytes_per_s"),
        usd_per_byte=figure.get("usd_per_gbyte", 0.0) / 1e9,
        sources={key: cell["source"] for key, cell in entry.items() if isinstance(cell, Mapping)},
    )


@cache
def topology(name: str, leaf_down: int = 0) -> Topology:
    """A network of the catalogue, oversubscribed where `leaf_down` is more than half its radix; raises `UnknownId`."""
    entry = _entry("topologies", "topology", name)
    figure = {key: cell["value"] for key, cell in entry.items() if isinstance(cell, Mapping)}
    return Topology(entry["tiers"], leaf_down=leaf_down, switch_s=constant("switch_s"), **figure)


@cache
def optics(name: str) -> Optics:
    """A kind of transmission over fibre pairs; raises `UnknownId`."""
    entry = _entry("optics", "optics", name)
    return Optics(entry["channel_bits_per_s"]["value"], entry["channels"]["value"])


def constant(name: str) -> float:
    """A figure that belongs to no single link or network."""
    value: float = _section("constants")[name]["value"]
    return value


def _section(name: str) -> dict[str, Any]:
    section: dict[str, Any] = read("fabric.yaml")[name]
    return section


def _entry(section: str, kind: str, name: str) -> dict[str, Any]:
    known = _section(section)
    if name not in known:
        raise UnknownId(f"unknown {kind} '{name}'; {did_you_mean(name, known)}")
    entry: dict[str, Any] = known[name]
    return entry
