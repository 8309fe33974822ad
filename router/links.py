"""From the links of a fleet file to seconds and bytes: presets, the network between two pools, and figures given."""

from __future__ import annotations

from collections.abc import Iterator

from devices import catalog
from devices.catalog import UnknownId
from devices.fabric import presets
from devices.fabric.presets import LinkPreset, Reach
from devices.fabric.topology import Path, Place, Topology
from devices.worker import Link
from router.located import Loc
from router.pairs import KV_BLOCK
from router.schema import Config, LinkEntry, PoolEntry


def link(config: Config, entry: LinkEntry) -> Link:
    """A link of a checked file. Figures given in the file win over those of the preset and of the way."""
    block_size = _block_size(config, entry)
    base = _preset_link(config, entry, block_size) if entry.preset else Link(0.0, block_size=block_size)
    return Link(
        bytes_per_s=base.bytes_per_s if entry.gbytes_per_s is None else entry.gbytes_per_s * 1e9,
        latency_s=base.latency_s if entry.latency_s is None else entry.latency_s,
        per_block_s=base.per_block_s if entry.per_block_s is None else entry.per_block_s,
        block_size=block_size,
        usd_per_byte=base.usd_per_byte if entry.usd_per_gbyte is None else entry.usd_per_gbyte / 1e9,
    )


def link_problems(config: Config) -> Iterator[tuple[Loc, str]]:
    """Contradictions of links and the network they cross, each with its place. Pools are known to exist."""
    if config.fabric:
        try:
            network(config)
        except UnknownId as error:
            yield ("fabric", "topology"), str(error)
            return
        except ValueError as error:
            yield ("fabric", "leaf_down"), str(error)
            return
    pools = {pool.name: pool for pool in config.pools}
    for i, entry in enumerate(config.links):
        if entry.preset is None:
            yield from _unpreset(i, entry)
        elif entry.from_pool in pools and entry.to_pool in pools:
            yield from _preset_problems(config, i, entry, pools[entry.from_pool], pools[entry.to_pool])


def network(config: Config) -> Topology | None:
    """The data-centre network of a file, None where it names none; raises `UnknownId` and `ValueError`."""
    if config.fabric is None:
        return None
    return presets.topology(config.fabric.topology, config.fabric.leaf_down or 0)


def place(pool: PoolEntry) -> Place:
    """Where a pool stands."""
    return Place(pool.site, pool.rack, pool.tray)


def way(config: Config, entry: LinkEntry) -> Path | None:
    """The way of a link through the network, None where there is no network, or no way but scale-up."""
    crossed = network(config)
    if crossed is None or (entry.preset and presets.link_preset(entry.preset).reach is Reach.SCALE_UP):
        return None
    pools = {pool.name: pool for pool in config.pools}
    return crossed.path(place(pools[entry.from_pool]), place(pools[entry.to_pool]))


def _preset_link(config: Config, entry: LinkEntry, block_size: int) -> Link:
    return presets.link(
        presets.link_preset(str(entry.preset)),
        network(config),
        way(config, entry),
        adapters=entry.adapters,
        km=entry.km,
        descriptors_per_block=_descriptors(config, entry),
        block_size=block_size,
    )


def _block_size(config: Config, entry: LinkEntry) -> int:
    """Blocks move as the prefill side keeps them; the other side takes them apart or together."""
    stated = next((pool.block_size for pool in config.pools if pool.name == entry.from_pool), None)
    return stated or (entry.kv.block_size if entry.kv else KV_BLOCK)


def _descriptors(config: Config, entry: LinkEntry) -> int:
    """Pieces of memory one block is sent in: one a layer for latent caches, else K and V of each layer."""
    if entry.kv and entry.kv.cross_layer_blocks:
        return 1
    model = next(pool.model for pool in config.pools if pool.name == entry.from_pool)
    shape = catalog.model(config.shape_id(model))
    return shape.layers * (1 if shape.mla else 2)


def _unpreset(i: int, entry: LinkEntry) -> Iterator[tuple[Loc, str]]:
    if entry.gbytes_per_s is None:
        yield ("links", i), f"needs preset or gbytes_per_s; presets: {', '.join(presets.link_presets())}"
    if entry.km or entry.adapters != 1:
        field = "km" if entry.km else "adapters"
        yield ("links", i, field), "goes with a preset; without one, latency_s and gbytes_per_s say it all"


def _preset_problems(
    config: Config, i: int, entry: LinkEntry, source: PoolEntry, target: PoolEntry
) -> Iterator[tuple[Loc, str]]:
    at: Loc = ("links", i, "preset")
    try:
        preset = presets.link_preset(str(entry.preset))
    except UnknownId as error:
        yield at, str(error)
        return
    why = _too_short(preset, source, target)
    if why:
        yield at, f"{why}; {_longer(preset)}"
    elif preset.reach is not Reach.SCALE_UP and config.fabric and way(config, entry) is None:
        tray = f"the GPUs of tray {source.tray} stand on rails that never meet"
        yield at, f"{tray}; use an nvlink preset, which stays inside the tray"


def _too_short(preset: LinkPreset, source: PoolEntry, target: PoolEntry) -> str | None:
    if preset.reach is not Reach.SITES and source.site != target.site:
        here, there = (f"{pool.name} is at {pool.site or 'no named site'}" for pool in (source, target))
        return f"{preset.name} ends at the site, {here}, {there}"
    if preset.reach is Reach.SCALE_UP and source.rack and target.rack and source.rack != target.rack:
        here, there = (f"{pool.name} is in {pool.rack}" for pool in (source, target))
        return f"{preset.name} ends at the rack, {here}, {there}"
    return None


def _longer(preset: LinkPreset) -> str:
    reach = Reach.SITE if preset.reach is Reach.SCALE_UP else Reach.SITES
    names = [name for name in presets.link_presets() if presets.link_preset(name).reach is reach]
    return f"reach further with {', '.join(names)}, or give figures instead of a preset"
