"""Scale-out networks as values: how many GPUs they hold, and what lies between two places in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pool stands. An empty rack or tray is unknown, and taken for another one."""

    site: str = ""
    rack: str = ""
    tray: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """The way between two places: switches on it, and the ratio by which its worst stage is oversubscribed."""

    switches: int
    oversubscription: float


@dataclass(frozen=True, slots=True)
class Topology:
    """A scale-out network of equal switches: a folded Clos, `planes` times over, and that once for each rail.

    Attributes:
        tiers: 2 to 4; a path goes up through as many switches, and down again.
        radix: ports of one switch.
        planes: ports of one GPU's adapter, each in a plane of its own; planes never meet.
        rails: GPUs of one tray, each in a network of its own; 1 where all GPUs share one.
        leaf_down: ports of a leaf that face GPUs, half of them where nothing is oversubscribed.
        switch_s: delay of one switch.
    """

    tiers: int
    radix: int
    port_bits_per_s: float
    planes: int = 1
    rails: int = 1
    leaf_down: int = 0
    switch_s: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.tiers <= 4:
            raise ValueError(f"a Clos of {self.tiers} tiers; 2 to 4 are possible")
        if self.radix < 2 or self.radix % 2:
            raise ValueError(f"a radix of {self.radix}; half of a switch's ports face up, so it is even")
        if self.leaf_down == 0:
            object.__setattr__(self, "leaf_down", self.radix // 2)
        if not 0 < self.leaf_down < self.radix:
            raise ValueError(f"leaf_down {self.leaf_down} of {self.radix} ports; at least one must face up")

    @property
    def max_gpus(self) -> int:
        """GPUs when every port is taken."""
        return self._leaves * self.leaf_down * self.rails

    @property
    def switches(self) -> int:
        """Switches of all tiers, planes and rails, for `max_gpus`; of the top tier, whole ones."""
        up = self._leaves * (self.radix - self.leaf_down)
        middle = (self.tiers - 2) * -(-up // (self.radix // 2))
        top = -(-up // self.radix)
        return (self._leaves + middle + top) * self.planes * self.rails

    @property
    def gpus_per_switch(self) -> float:
        """What a GPU costs in switches, turned over."""
        return self.max_gpus / self.switches

    @property
    def oversubscription(self) -> float:
        """Bandwidth of the GPUs under a leaf over that of its uplinks; 1 for a full Clos."""
        return self.leaf_down / (self.radix - self.leaf_down)

    @property
    def adapter_bits_per_s(self) -> float:
        """Of one GPU, all planes together."""
        return self.planes * self.port_bits_per_s

    @property
    def tray_bits_per_s(self) -> float:
        """Uplink of a tray with one GPU on each rail."""
        return self.rails * self.adapter_bits_per_s

    @property
    def switch_bits_per_s(self) -> float:
        """Capacity of one switch, one way."""
        return self.radix * self.port_bits_per_s

    def path(self, source: Place, target: Place) -> Path | None:
        """The longest of the shortest ways between GPUs at two places; None where there is no way but scale-up."""
        if source.site != target.site:
            return Path(2 * self.tiers, self.oversubscription)
        rack = source.rack != "" and source.rack == target.rack
        if rack and source.tray != "" and source.tray == target.tray:
            return Path(1, 1.0) if self.rails == 1 else None  # each GPU of the tray is on another rail
        return Path(1, 1.0) if rack else Path(2 * self.tiers - 1, self.oversubscription)

    @property
    def _leaves(self) -> int:
        """Of one plane: every tier above doubles as it would in a full Clos of this radix."""
        half = self.radix // 2
        return 2 * (half, half**2, half**3)[self.tiers - 2]
