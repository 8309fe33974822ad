"""From a file of the catalogue to a profile: figures with their sources, gaps filled from the family's prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from devices.profile import DeviceProfile, ModelProfile, Nature, Part, Precision, Role, Status

Entry: TypeAlias = Mapping[str, Any]
"""A file as YAML reads it."""

NEEDED = {
    Nature.HBM: ("flops_per_s", "memory_bytes", "bandwidth_bytes_per_s"),
    Nature.PADDED: ("flops_per_s", "memory_bytes", "bandwidth_bytes_per_s"),
    Nature.CPU: ("flops_per_s", "memory_bytes", "bandwidth_bytes_per_s"),
    Nature.SRAM: ("flops_per_s", "sram_bytes", "bandwidth_bytes_per_s"),
    Nature.COMPOSITE: ("parts_bytes_per_s",),
}
"""Published figures without which nothing can be said of a device; a prior never stands in for them."""


_WORDS = {
    "flops_per_s": "arithmetic throughput",
    "memory_bytes": "memory size",
    "sram_bytes": "SRAM size",
    "bandwidth_bytes_per_s": "memory bandwidth",
    "parts_bytes_per_s": "link between its parts",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Values of a file, and for each its source, its date and how far it can be trusted."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    dates: Mapping[str, str]
    confidences: Mapping[str, str]

    def number(self, name: str) -> float:
        """0 where the file has no such figure."""
        return float(self.values.get(name, 0))

    def number_or_none(self, name: str) -> float | None:
        value = self.values.get(name)
        return None if value is None else float(value)


def figures(*entries: Entry) -> Figures:
    """Of the first entry that has each. One without source, date and confidence is a KeyError; tests load all."""
    found: dict[str, Entry] = {}
    for entry in reversed(entries):
        found.update(entry["figures"])
    return Figures(
        {name: figure["value"] for name, figure in found.items()},
        {name: figure["source"] for name, figure in found.items()},
        {name: str(figure["date"]) for name, figure in found.items()},
        {name: figure["confidence"] for name, figure in found.items()},
    )


def device_profile(
    device_id: str, entry: Entry, priors: Mapping[str, Entry], device: Callable[[str], DeviceProfile]
) -> DeviceProfile:
    """The profile in one file. `device` reads the parts of a composite."""
    nature = Nature(entry["nature"])
    parts = tuple(
        Part(device(part["device"]), part["chips"], frozenset(map(Role, part["roles"])))
        for part in entry.get("parts", ())
    )
    why_not = entry.get("why_not") or _missing(nature, entry, parts)
    got = figures(entry, priors[entry["prior"]])
    flops = {Precision(name): float(rate) for name, rate in got.values.get("flops_per_s", {}).items()}
    formats = frozenset(map(Precision, got.values.get("weight_formats", ()))) or frozenset(flops)
    low, high = got.number_or_none("usd_on_demand_low"), got.number_or_none("usd_on_demand_high")
    return DeviceProfile(
        id=device_id,
        name=entry["name"],
        vendor=entry["vendor"],
        family=entry["family"],
        prior=entry["prior"],
        nature=nature,
        year=entry.get("year"),
        status=Status(entry["status"]),
        status_note=entry.get("status_note", ""),
        api_only=entry.get("api_only", False),
        aliases=tuple(entry.get("aliases", ())),
        conflicts=tuple(entry.get("conflicts", ())),
        notes=entry.get("notes", ""),
        confidence=entry["confidence"],
        placeable=not why_not,
        why_not=why_not,
        flops_per_s=flops,
        weight_formats=formats,
        checkpoint_formats=frozenset(got.values.get("checkpoint_formats", ())),
        memory_bytes=got.number("memory_bytes"),
        memory_type=got.values.get("memory_type", ""),
        sram_bytes=got.number("sram_bytes"),
        sram_bytes_per_s=got.number("sram_bytes_per_s"),
        cache_bytes=got.number("cache_bytes"),
        bandwidth_bytes_per_s=got.number("bandwidth_bytes_per_s"),
        compute_efficiency=got.number("compute_efficiency"),
        bandwidth_efficiency=got.number("bandwidth_efficiency"),
        step_overhead_s=got.number("step_overhead_s"),
        collective_s=got.number("collective_s"),
        sequence_overhead_s=got.number("sequence_overhead_s"),
        batch_buckets=tuple(got.values.get("batch_buckets", ())),
        length_buckets=tuple(got.values.get("length_buckets", ())),
        compile_s=got.number("compile_s"),
        slice_chips=tuple(got.values.get("slice_chips", ())),
        reroute_s=got.number_or_none("reroute_s"),
        max_seqs=got.values["max_seqs"],
        max_batched_tokens=got.values["max_batched_tokens"],
        uncertainty=got.number("uncertainty"),
        measured=got.values["measured"],
        scaleup_bytes_per_s=got.number("scaleup_bytes_per_s"),
        scaleup_domain=got.values.get("scaleup_domain", 1),
        peer_bytes_per_s=got.number_or_none("peer_bytes_per_s"),
        scaleout_bytes_per_s=got.number_or_none("scaleout_bytes_per_s"),
        devices_per_chip=got.values.get("devices_per_chip", 1),
        availability=got.number_or_none("availability"),
        usd_per_chip_hour=got.number_or_none("usd_per_chip_hour"),
        usd_on_demand_low=low,
        usd_on_demand_high=high,
        usd_tco_hyperscaler=got.number_or_none("usd_tco_hyperscaler"),
        usd_tco_neocloud=got.number_or_none("usd_tco_neocloud"),
        purchase_usd=got.number_or_none("purchase_usd"),
        power_w=got.number("power_w"),
        allin_kw=got.number_or_none("allin_kw"),
        parts=parts,
        parts_bytes_per_s=got.number("parts_bytes_per_s"),
        parts_latency_s=got.number("parts_latency_s"),
        sources=got.sources,
        dates=got.dates,
        confidences=got.confidences,
    )


def _missing(nature: Nature, entry: Entry, parts: tuple[Part, ...]) -> str:
    missing = [_WORDS.get(name, name) for name in NEEDED[nature] if name not in entry["figures"]]
    if missing:
        return f"no published {', '.join(missing)}"
    return next((f"{part.device.id}: {part.device.why_not}" for part in parts if not part.device.placeable), "")


def model_profile(model_id: str, entry: Entry) -> ModelProfile:
    """The profile in one file. Models have no priors: a shape is published or it is not."""
    got = figures(entry)
    return ModelProfile(
        id=model_id,
        name=entry["name"],
        aliases=tuple(entry.get("aliases", ())),
        conflicts=tuple(entry.get("conflicts", ())),
        notes=entry.get("notes", ""),
        confidence=entry["confidence"],
        placeable=not entry.get("why_not"),
        why_not=entry.get("why_not", ""),
        parameters=got.number("parameters"),
        active_parameters=got.number("active_parameters"),
        layers=got.values.get("layers", 0),
        hidden=got.values.get("hidden", 0),
        heads=got.values.get("heads", 0),
        kv_heads=got.values.get("kv_heads", 0),
        head_dim=got.values.get("head_dim", 0),
        mla=got.values.get("mla", False),
        kv_bytes_per_token=got.values.get("kv_bytes_per_token", 0),
        window_tokens=got.values.get("window_tokens", 0),
        layers_windowed=got.values.get("layers_windowed", 0),
        state_bytes_per_sequence=got.number("state_bytes_per_sequence"),
        indexer_bytes_per_token=got.number("indexer_bytes_per_token"),
        attended_tokens=got.values.get("attended_tokens", 0),
        ffn_intermediate=got.values.get("ffn_intermediate", 0),
        moe_intermediate=got.values.get("moe_intermediate", 0),
        experts=got.values.get("experts", 0),
        experts_shared=got.values.get("experts_shared", 0),
        experts_per_token=got.values.get("experts_per_token", 0),
        vocabulary=got.values.get("vocabulary", 0),
        max_context_tokens=got.values.get("max_context_tokens", 0),
        native_precision=Precision(got.values["native_precision"]),
        checkpoint_format=got.values.get("checkpoint_format", ""),
        vendors_unavailable=entry.get("vendors_unavailable", {}),
        sources=got.sources,
        dates=got.dates,
        confidences=got.confidences,
    )
